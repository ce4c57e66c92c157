//! The benchmark: what Quorate costs, beside what it cannot avoid.
//!
//! ```text
//! cargo run --release -p quorate-tests --bin bench              the headline, in under ten minutes
//! cargo run --release -p quorate-tests --bin bench -- --full    everything, for hours
//! ```
//!
//! It founds consortiums of real validator processes on this machine, with durable storage, drives them with
//! real clients, and writes `report.md`, `report.json` and pictures. The machine should do nothing else
//! meanwhile.
//!
//! Under cargo it first builds the programs that it measures. Started by its path it measures those that lie
//! beside it.

mod arguments;
mod build;
mod context;
mod progress;
mod sections;
mod summary;

use anyhow::{Result, ensure};
use arguments::Arguments;
use clap::Parser;
use context::Bench;
use quorate_tests::bench::report::Section;
use quorate_tests::claim::Claim;
use std::num::NonZeroUsize;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let claim = Claim::take(&arguments.dir)?;
    build::what_is_measured()?;
    claim.clear()?;
    let directory = arguments.dir.canonicalize()?;
    let sections = arguments.sections();
    // As many as a validator has for connections: what they take from the validators counts against them.
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get).div_ceil(4);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(threads).thread_name("client").enable_all().build()?;
    // Clients are made outside of asynchronous code too.
    let _entered = runtime.enter();
    let mut bench = Bench::new(arguments, directory.clone(), &runtime, sections.len());
    for section in &sections {
        bench.progress.section(section.name());
        // What can be measured is, whatever else cannot.
        let measured = section.run(&mut bench).unwrap_or_else(|error| {
            let text = format!("Not measured: {error:#}\n");
            bench.progress.say(text.trim_end());
            bench.failed.push(section.name().to_owned());
            Section { name: section.name(), title: section.name(), text, ..Section::default() }
        });
        if bench.arguments.prints() {
            println!("## {}\n\n{}", measured.title, measured.text);
        }
        bench.report.sections.push(measured);
        // Whatever comes later, this much is measured.
        bench.report.write(&directory)?;
    }
    bench.finish()?;
    let text = bench.report.markdown();
    if !bench.arguments.prints() {
        println!("{text}");
    }
    eprintln!("the report is in {}", directory.display());
    ensure!(bench.failed.is_empty(), "not measured: {}", bench.failed.join(", "));
    Ok(())
}
