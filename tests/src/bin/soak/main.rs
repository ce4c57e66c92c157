//! A consortium under steady load and scheduled faults, for hours:
//!
//! ```text
//! cargo run --release -p quorate-tests --bin soak -- --hours 8
//! ```
//!
//! Every few seconds it notes what each validator's process uses and does (`samples.csv`), and what was
//! done to them (`faults.csv`); at the end it draws that (`soak.svg`), judges growth by the rule in
//! [`quorate_tests::soak::growth`], and audits the chain, on which everything acknowledged must stand
//! once. Exit code 1 if anything grows or is wrong. Ctrl-C ends it early with the same end.

mod faults;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use faults::Faults;
use quorate_client::client::bulk::BulkOptions;
use quorate_client::client::submit::DEFAULT_LIFETIME;
use quorate_tests::claim::Claim;
use quorate_tests::consortium::name;
use quorate_tests::soak::growth::{self, judge};
use quorate_tests::soak::plot::draw;
use quorate_tests::soak::sample::{Sample, Table};
use quorate_tests::{Acknowledged, Consortium, Load, Plan};
use quorate_types::outcome::Outcome;
use quorate_types::transaction::Operation;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

/// Run a consortium for hours under load and faults, and fail if a process grows
#[derive(Debug, Parser)]
#[command(name = "soak", max_term_width = 100)]
struct Arguments {
    /// How long, in hours
    #[arg(long, value_name = "H", default_value_t = 0.0)]
    hours: f64,
    /// How long, in minutes, beside the hours
    #[arg(long, value_name = "M", default_value_t = 0.0)]
    minutes: f64,
    /// Transactions a second
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Seconds between samples
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    interval: u64,
    /// Seconds from the end of one fault to the next
    #[arg(long, value_name = "S", default_value_t = 20, value_parser = clap::value_parser!(u64).range(5..=3600))]
    pause: u64,
    /// Where everything is written; what an earlier soak left there is removed
    #[arg(long, value_name = "DIR", default_value = "soak")]
    dir: PathBuf,
}

/// Transactions that await their receipts at most.
const IN_FLIGHT: usize = 256;

/// Caches small enough to be full within minutes, so that what grows after that is a leak. Open table
/// files are one of them, each with some memory: small tables of keys that ascend are never merged.
const SETTINGS: [(&str, &str); 3] =
    [("cache_bytes", "\"16 MiB\""), ("write_buffer_bytes", "\"16 MiB\""), ("max_open_files", "48")];

/// How often progress is printed.
const PROGRESS: Duration = Duration::from_secs(30);

/// What the soak ends with.
#[derive(Default)]
struct Record {
    samples: Vec<Sample>,
    faults: Vec<Duration>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let seconds = arguments.hours * 3600.0 + arguments.minutes * 60.0;
    let length = Duration::try_from_secs_f64(seconds).context("no such length of time")?;
    ensure!(
        length >= growth::LEAST + Duration::from_secs(60),
        "give --hours or --minutes, at least 5 minutes: less shows no growth"
    );
    let claim = Claim::take(&arguments.dir)?;
    claim.clear()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(soak(arguments, length))
}

async fn soak(arguments: &Arguments, length: Duration) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let plan = Plan::of(4).with(|parameters| {
        // Ids are remembered this long against replay: that, too, is full within minutes.
        parameters.max_lifetime_ms = 60_000;
    });
    let mut consortium = Consortium::found(&arguments.dir.join("consortium"), &plan)?;
    for index in 0..consortium.len() {
        for (setting, value) in SETTINGS {
            consortium.set(index, setting, value)?;
        }
    }
    consortium.start_all().await?;
    let load = load(&consortium, arguments.rate).await?;
    println!(
        "four validators, {} transactions a second, a fault every {} s or so, for {:.1} min; results in {}",
        arguments.rate,
        arguments.pause,
        length.as_secs_f64() / 60.0,
        arguments.dir.display()
    );

    let mut record = Record::default();
    let started = Instant::now();
    let worked = tokio::select! {
        worked = work(arguments, length, started, &mut consortium, &load, &mut record) => worked,
        _ = interrupt.recv() => {
            println!("interrupted: coming to an end");
            Ok(())
        }
        _ = terminate.recv() => Ok(()),
    };
    // Whatever happened, what was seen is drawn.
    let title = format!(
        "quorate soak: {:.1} min, {} transactions a second, {} faults",
        started.elapsed().as_secs_f64() / 60.0,
        arguments.rate,
        record.faults.len()
    );
    let plot = arguments.dir.join("soak.svg");
    let drawn = draw(&record.samples, &record.faults, &title, &plot);
    worked?;
    drawn?;
    println!("drawn in {}", plot.display());
    let sound = audit(&mut consortium, load, &mut interrupt).await;
    let grown = judged(&record.samples);
    sound?;
    grown?;
    consortium.stop_all().await
}

/// Writes at a steady rate to a bounded set of keys.
async fn load(consortium: &Consortium, rate: u32) -> Result<Load> {
    let client = consortium.client("mill")?;
    let open = Operation::CreateNamespace { namespace: "soak".to_owned() };
    let receipt = client.submit(&client.sign(vec![open], DEFAULT_LIFETIME)).await?;
    ensure!(*receipt.outcome() == Outcome::Applied, "the namespace was not opened");
    let started = Instant::now();
    let options = BulkOptions { in_flight: IN_FLIGHT, lifetime: DEFAULT_LIFETIME };
    Ok(Load::lasting(client, options, move |number| {
        // Called by a thread that only reads the input. What was missed in an outage is not made up for.
        let due = Duration::from_secs_f64(1.0 / f64::from(rate));
        let waiting = due.saturating_sub(Duration::from_nanos(
            u64::try_from(started.elapsed().as_nanos() % due.as_nanos().max(1)).unwrap_or(0),
        ));
        std::thread::sleep(waiting);
        vec![Operation::Put {
            namespace: "soak".to_owned(),
            key: format!("key-{}", number % 997).into(),
            value: vec![u8::try_from(number % 251).unwrap_or(0); 256],
            expected: None,
        }]
    }))
}

/// Samples and faults until the time is over.
async fn work(
    arguments: &Arguments,
    length: Duration,
    started: Instant,
    consortium: &mut Consortium,
    load: &Load,
    record: &mut Record,
) -> Result<()> {
    let mut samples = Table::create(&arguments.dir.join("samples.csv"))?;
    let mut faults = Faults::new(
        &arguments.dir.join("faults.csv"),
        consortium.len(),
        Duration::from_secs(arguments.pause),
    )?;
    let mut ticks = interval(Duration::from_secs(arguments.interval));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut told, mut receipts_before) = (Instant::now(), 0);
    let mut stalled_since = Instant::now();
    while started.elapsed() < length {
        ticks.tick().await;
        let at = started.elapsed();
        if faults.step(consortium, at).await? {
            record.faults.push(at);
        }
        let running: Vec<usize> = consortium.running().collect();
        for index in running {
            if let Some(status) = consortium.ended(index)? {
                bail!(
                    "{} ended by itself ({status}); its log ends:\n{}",
                    name(index),
                    consortium.log_tail(index)
                );
            }
            // One that is held still would keep everybody waiting.
            if faults.holds_still(index) {
                continue;
            }
            let before = record.samples.iter().rev().find(|sample| sample.validator == index);
            let sample = Sample::take(consortium, index, at, faults.directory(index), before).await?;
            samples.write(&sample)?;
            record.samples.push(sample);
        }
        let receipts = load.receipts();
        if receipts > receipts_before {
            stalled_since = Instant::now();
        }
        ensure!(stalled_since.elapsed() < Duration::from_secs(60), "nothing was acknowledged for a minute");
        receipts_before = receipts;
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            progress(at, length, receipts, record);
        }
    }
    faults.end(consortium).await
}

fn progress(at: Duration, length: Duration, receipts: u64, record: &Record) {
    let latest = |index| record.samples.iter().rev().find(|sample| sample.validator == index);
    let memory: Vec<String> = (0..4).filter_map(latest).map(|s| format!("{}", s.rss >> 20)).collect();
    let height =
        record.samples.iter().rev().find_map(|sample| sample.said.as_ref()).map_or(0, |said| said.height);
    println!(
        "{:5.1} of {:.1} min: {receipts} receipts, block {height}, {} faults, memory {} MiB",
        at.as_secs_f64() / 60.0,
        length.as_secs_f64() / 60.0,
        record.faults.len(),
        memory.join(" ")
    );
}

/// Brings everybody back and looks at the chain from the outside.
async fn audit(
    consortium: &mut Consortium,
    load: Load,
    interrupt: &mut tokio::signal::unix::Signal,
) -> Result<()> {
    let audited = async {
        for index in 0..consortium.len() {
            match consortium.pid(index) {
                // Harmless to one that runs.
                Some(_) => consortium.resume(index)?,
                None => consortium.start(index)?,
            }
        }
        let (_, acknowledged): (_, Acknowledged) = load.stop().await?;
        consortium.all_ready().await?;
        let count = acknowledged.0.len();
        let height = consortium.audit_each(&acknowledged).await?;
        println!("audited: block {height}, and all {count} acknowledged transactions stand there once");
        for index in 0..consortium.len() {
            let status = consortium.status(index).await?;
            ensure!(status.evidence == 0, "{} holds evidence of contradicting votes", status.name);
        }
        Ok(())
    };
    tokio::select! {
        audited = audited => audited,
        _ = interrupt.recv() => bail!("interrupted again: the chain was not audited"),
    }
}

fn judged(samples: &[Sample]) -> Result<()> {
    let judgements = judge(samples);
    for judgement in &judgements {
        println!("{judgement}");
    }
    let growing = judgements.iter().filter(|judgement| judgement.grows).count();
    ensure!(growing == 0, "{growing} of {} quantities grow", judgements.len());
    if judgements.is_empty() {
        println!("growth was not judged: no process lived for {} s", growth::LEAST.as_secs());
    } else {
        println!("none of {} quantities grows", judgements.len());
    }
    Ok(())
}
