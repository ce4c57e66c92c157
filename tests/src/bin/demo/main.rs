//! `make demo`: the main job of Quorate, on this machine, with real processes and real input.
//!
//! Founds a consortium of four validators and three further members, submits the packages that this
//! workspace is built from and transfers between the members, kills the leader in the middle, restarts
//! it, and audits the chain from the outside. The exit code is 0 only if all of that held.

mod input;
mod job;
mod progress;

use anyhow::Result;
use clap::Parser;
use nix::sys::signal::Signal;
use quorate_tests::claim::Claim;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Found a consortium on this machine, give it work, kill its leader, audit what it did
#[derive(Debug, Parser)]
#[command(name = "demo", max_term_width = 100)]
struct Arguments {
    /// Where the consortium lives; made anew at every run, and kept afterwards to look at
    #[arg(long, value_name = "DIR", default_value = "target/demo")]
    dir: PathBuf,
    /// How many transfers the members make, besides the packages
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    transfers: u64,
    /// A Cargo.lock with the packages to notarise [default: that of this workspace]
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(signal)) => {
            eprintln!(
                "\ninterrupted: all validators are stopped, nothing is left running; the next run starts afresh"
            );
            ExitCode::from(if signal == Signal::SIGINT { 130 } else { 143 })
        }
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            eprintln!("what the validators logged is in {}/*/node/log", arguments.dir.display());
            ExitCode::FAILURE
        }
    }
}

/// Does it all; the signal that ended it early, if one did.
fn run(arguments: &Arguments) -> Result<Option<Signal>> {
    let claim = Claim::take(&arguments.dir)?;
    claim.clear()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        // Whichever way this ends, the job is dropped, and the validators with it.
        tokio::select! {
            done = job::run(arguments) => done.map(|()| None),
            _ = interrupt.recv() => Ok(Some(Signal::SIGINT)),
            _ = terminate.recv() => Ok(Some(Signal::SIGTERM)),
        }
    })
}
