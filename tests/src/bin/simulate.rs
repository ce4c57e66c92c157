//! Runs seeds of the simulator, or replays one.

use anyhow::{Result, bail};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use quorate_tests::simulator::campaign::campaign;
use quorate_tests::simulator::shrink::shrink;
use quorate_tests::simulator::{Cut, Scenario, run};
use std::process::ExitCode;

/// Simulates whole consortiums under faults and lies, each from one seed.
#[derive(Parser)]
struct Options {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// Threads. Default: one for each core.
    #[arg(long)]
    jobs: Option<usize>,
    /// Stop at the first failing seed.
    #[arg(long)]
    first: bool,
    /// Do not look for smaller runs that fail.
    #[arg(long)]
    no_shrink: bool,
    /// Replay this seed, with a transcript on stdout.
    #[arg(long)]
    seed: Option<u64>,
    /// Keep only these faults, by number; `none` keeps none.
    #[arg(long, requires = "seed")]
    keep: Option<String>,
    /// No noise on links.
    #[arg(long, requires = "seed")]
    quiet: bool,
    /// At most so many transactions.
    #[arg(long, requires = "seed")]
    load: Option<usize>,
    /// Faults, load and lies for so many milliseconds only.
    #[arg(long, requires = "seed")]
    stress_ms: Option<u64>,
    /// Nobody lies.
    #[arg(long, requires = "seed")]
    honest: bool,
    /// End once everyone has everything.
    #[arg(long, requires = "seed")]
    brisk: bool,
    /// Steps take no time, but of machines that are slow.
    #[arg(long, requires = "seed")]
    nimble: bool,
    /// With --seed: no transcript, only the outcome.
    #[arg(long, requires = "seed")]
    brief: bool,
}

const COMMAND: &str = "cargo run --release -p quorate-tests --bin simulate --";

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    match options.seed {
        Some(seed) => replay(seed, &options),
        None => search(&options),
    }
}

fn replay(seed: u64, options: &Options) -> Result<ExitCode> {
    let keep = match options.keep.as_deref() {
        None => None,
        Some("none") => Some(Vec::new()),
        Some(list) => Some(list.split(',').map(str::parse).collect::<Result<_, _>>()?),
    };
    let cut = Cut {
        keep,
        quiet: options.quiet,
        load: options.load,
        stress_ms: options.stress_ms,
        honest: options.honest,
        brisk: options.brisk,
        nimble: options.nimble,
    };
    let scenario = Scenario::draw(seed).with_cut(cut);
    println!("seed {seed}: {} validators, {:?}", scenario.n, scenario.parameters);
    println!("noise {:?}, disk {:?} us, skew {:?} ms", scenario.noise, scenario.disk_us, scenario.skew_ms);
    println!("a step takes {} us", scenario.step_cost.as_micros());
    println!("liars {:?}, dead in the end {:?}", scenario.adversaries, scenario.dead);
    println!("{:?} for {} ms", scenario.load, scenario.stress.as_millis());
    println!("then nothing for {} ms", scenario.lull.as_millis());
    for (place, fault) in scenario.faults.iter().enumerate() {
        println!("fault {place} {fault}");
    }
    let run = run(&scenario, !options.brief);
    for line in &run.transcript {
        println!("{line}");
    }
    println!(
        "{} blocks, {} transactions, {} events in {} ms of virtual time; digest {:016x}",
        run.blocks,
        run.transactions,
        run.events,
        run.simulated.as_millis(),
        run.digest
    );
    match run.failure {
        None => {
            println!("no failure");
            Ok(ExitCode::SUCCESS)
        }
        Some(failure) => {
            println!("FAILED at {} ms: {}: {}", failure.at.as_millis(), failure.invariant, failure.what);
            Ok(ExitCode::FAILURE)
        }
    }
}

fn search(options: &Options) -> Result<ExitCode> {
    let jobs = match options.jobs {
        Some(jobs) => jobs,
        None => std::thread::available_parallelism()?.get(),
    };
    let Some(end) = options.start.checked_add(options.seeds) else { bail!("there are no seeds that high") };
    let bar = ProgressBar::new(options.seeds);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} seeds, {per_sec}, {eta} left {msg}")?);
    let summary = campaign(options.start..end, jobs, |summary| {
        bar.set_position(summary.seeds);
        if !summary.failures.is_empty() {
            bar.set_message(format!("{} failed", summary.failures.len()));
        }
        !options.first || summary.failures.is_empty()
    });
    bar.finish_and_clear();
    println!("{summary}");
    // The first few are shrunk: more would say the same.
    for (seed, _) in summary.failures.iter().take(3) {
        println!("replay: {COMMAND} --seed {seed}");
        if options.no_shrink {
            continue;
        }
        if let Some(shrunk) = shrink(&Scenario::draw(*seed)) {
            println!("shrunk in {} runs: {COMMAND} --seed {seed}{}", shrunk.tries, shrunk.cut.options());
            if let Some(failure) = shrunk.run.failure {
                println!("  at {} ms: {}: {}", failure.at.as_millis(), failure.invariant, failure.what);
            }
        }
    }
    Ok(if summary.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
