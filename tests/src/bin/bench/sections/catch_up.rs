//! How fast a validator that was away has everything again, beside the live rate.

use crate::context::{Bench, count};
use crate::summary;
use anyhow::{Context, Result};
use quorate_tests::bench::drive::submit_all;
use quorate_tests::bench::report::{Section, table};
use quorate_tests::bench::stats::Spread;
use serde_json::json;
use std::time::{Duration, Instant};

/// Who is away.
const AWAY: usize = 3;

/// How often it misses as much as commits in the time of one measurement. A start takes a few hundred
/// milliseconds: about a twentieth of the time in which so much is caught up with.
const PIECES: usize = 3;

/// How long catching up may take.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) fn run(bench: &mut Bench) -> Result<Section> {
    let live = bench.saturated()?.rate();
    let (mut rig, mut generator) = bench.take_base()?;
    let (mut transactions, mut blocks) = (Vec::new(), Vec::new());
    let repetitions = bench.arguments.repetitions();
    let drive = bench.arguments.drive();
    let piece = count(live * bench.arguments.seconds()).max(drive.in_flight);
    let missed = PIECES * piece;
    for repetition in 1..=repetitions {
        bench
            .progress
            .say(&format!("{missed} transactions without one validator, {repetition} of {repetitions}"));
        let runtime = bench.runtime;
        let before = runtime.block_on(async {
            rig.consortium.all_ready().await?;
            let before = rig.consortium.status(AWAY).await?;
            rig.consortium.stop(AWAY).await?;
            Ok::<_, anyhow::Error>(before)
        })?;
        // Piece by piece, as a load has only so much time to commit.
        for _ in 0..PIECES {
            let supply = rig.supply(&mut generator, piece)?;
            runtime.block_on(submit_all(&rig, supply, drive))?;
        }
        let top = runtime.block_on(rig.consortium.status(0))?;
        let count = top.committed_transactions.saturating_sub(before.committed_transactions);
        let height = (before.height, top.height);
        bench.progress.say(&format!("catching up, {repetition} of {repetitions}"));
        let took = runtime.block_on(async {
            let started = Instant::now();
            rig.consortium.start(AWAY)?;
            rig.consortium.reaches(AWAY, height.1, PATIENCE).await.context("catching up")?;
            let took = started.elapsed();
            rig.consortium.ready(AWAY).await?;
            Ok::<_, anyhow::Error>(took.as_secs_f64())
        })?;
        transactions.push(count as f64 / took);
        blocks.push((height.1.0 - height.0.0) as f64 / took);
    }
    bench.keep_base((rig, generator));
    let of = |values: &[f64]| Spread::of(values.iter().copied()).unwrap_or_default();
    let (transactions, blocks) = (of(&transactions), of(&blocks));
    let ratio = Spread {
        min: transactions.min / live,
        median: transactions.median / live,
        max: transactions.max / live,
    };
    bench.report.headline.catch_up_ratio = Some(ratio.median);
    let rows = [
        vec!["transactions a second".to_owned(), transactions.text(0)],
        vec!["blocks a second".to_owned(), blocks.text(0)],
        vec!["live rate, transactions a second".to_owned(), format!("{live:.0}")],
        vec!["multiple of the live rate".to_owned(), ratio.text(1)],
    ];
    Ok(Section {
        name: "catch-up",
        title: "Catch-up",
        text: format!(
            "One of four validators is stopped while {missed} transactions commit, and started again when the load is \
             over. Time counts from the start of its process until it has the last block. The live rate is that of all \
             four at saturation.\n\n{}",
            table(&["", "median (range)"], &rows)
        ),
        figures: json!({
            "tps": summary::spread(transactions),
            "blocks_per_second": summary::spread(blocks),
            "live_tps": live,
            "ratio": summary::spread(ratio),
        }),
        ..Section::default()
    })
}
