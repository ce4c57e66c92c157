//! How long a validator with a long chain on its disk takes to start.

use crate::context::Bench;
use crate::summary;
use anyhow::Result;
use quorate_tests::Load;
use quorate_tests::bench::drive::submit_all;
use quorate_tests::bench::report::{Section, table};
use quorate_tests::bench::rig::Rig;
use quorate_tests::bench::stats::Spread;
use quorate_tests::bench::workload::{Workload, put};
use serde_json::json;
use std::time::{Duration, Instant};

/// Transactions on the disk.
const TRANSACTIONS: usize = 1_000_000;

/// Transactions signed at a time.
const CHUNK: usize = 50_000;

/// Transactions in flight while one is killed.
const IN_FLIGHT: usize = 64;

/// Receipts that show that the load runs.
const RUNS: u64 = 200;

/// Which validator is restarted.
const RESTARTED: usize = 2;

const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn run(bench: &mut Bench) -> Result<Section> {
    let mut rig = bench.start(&bench.setup(4))?;
    let workload = Workload { payload: 16, ..bench.headline() };
    let mut generator = rig.generator(workload, 11)?;
    let wanted = if bench.arguments.quick { 5_000 } else { TRANSACTIONS };
    let mut done = 0;
    while done < wanted {
        bench.progress.say(&format!("{done} of {wanted} transactions"));
        let supply = rig.supply(&mut generator, CHUNK.min(wanted - done))?;
        done += supply.signed.len();
        bench.runtime.block_on(submit_all(&rig, supply, bench.arguments.drive()))?;
    }
    let mut rows = Vec::new();
    let mut figures = serde_json::Map::new();
    for (kill, what, key) in
        [(false, "after SIGTERM", "after_stop"), (true, "after SIGKILL under load", "after_kill")]
    {
        let (mut opened, mut ready) = (Vec::new(), Vec::new());
        for repetition in 1..=bench.arguments.repetitions() {
            bench.progress.say(&format!("start {what}, {repetition} of {}", bench.arguments.repetitions()));
            // Something that is in no table file yet.
            let supply = rig.supply(&mut generator, CHUNK.min(wanted))?;
            let runtime = bench.runtime;
            runtime.block_on(submit_all(&rig, supply, bench.arguments.drive()))?;
            let (first, all) = if kill {
                runtime.block_on(restart_under_load(&mut rig))?
            } else {
                runtime.block_on(rig.consortium.stop(RESTARTED))?;
                runtime.block_on(start(&mut rig))?
            };
            opened.push(first.as_secs_f64() * 1e3);
            ready.push(all.as_secs_f64() * 1e3);
        }
        let of = |values: &[f64]| Spread::of(values.iter().copied()).unwrap_or_default();
        let (opened, ready) = (of(&opened), of(&ready));
        rows.push(vec![what.to_owned(), opened.text(0), ready.text(0)]);
        figures.insert(
            key.to_owned(),
            json!({ "answers_ms": summary::spread(opened), "ready_ms": summary::spread(ready) }),
        );
    }
    bench.close(rig)?;
    figures.insert("transactions".to_owned(), json!(wanted));
    Ok(Section {
        name: "cold-start",
        title: "Cold start",
        text: format!(
            "From the start of the process, with {wanted} transactions on disk, until its database is open and it \
             answers, and until it is caught up and votes. In ms. Nothing is to be caught up with after SIGTERM; the \
             SIGKILL falls into a load of {IN_FLIGHT} transactions in flight, which goes on until it is ready. The page \
             cache is warm: the same machine has just written what is read.\n\n{}",
            table(&["", "answers", "ready"], &rows)
        ),
        figures: serde_json::Value::Object(figures),
        ..Section::default()
    })
}

/// Kills it, and starts it, while the others go on.
async fn restart_under_load(rig: &mut Rig) -> Result<(Duration, Duration)> {
    let mut load = Load::start(rig.clients[0].clone(), IN_FLIGHT, |n| vec![put(0, n % 1000, vec![1; 100])]);
    let restarting = async {
        load.progresses(RUNS, PATIENCE).await?;
        rig.consortium.kill9(RESTARTED)?;
        let times = start(rig).await?;
        load.progresses(RUNS, PATIENCE).await?;
        Ok::<_, anyhow::Error>(times)
    };
    let times = restarting.await;
    // Whatever came of it, or it would run on beside what is measured next.
    let stopped = load.stop().await;
    let times = times?;
    stopped?;
    Ok(times)
}

/// Starts it: how long until it answers, and until it is ready.
async fn start(rig: &mut Rig) -> Result<(Duration, Duration)> {
    let consortium = &mut rig.consortium;
    let started = Instant::now();
    consortium.start(RESTARTED)?;
    consortium.sees(RESTARTED, "an answer", PATIENCE, |_| true).await?;
    let answers = started.elapsed();
    consortium.ready(RESTARTED).await?;
    Ok((answers, started.elapsed()))
}
