//! One submit at a time, beside what it must wait for: syncs and messages.

use crate::context::Bench;
use crate::summary;
use anyhow::{Context, Result, ensure};
use quorate_tests::bench::metrics::Metrics;
use quorate_tests::bench::report::{Section, table};
use quorate_tests::bench::rig::Rig;
use quorate_tests::bench::stats::{Latencies, Spread};
use quorate_types::outcome::Outcome;
use serde_json::json;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

/// Submits of one repetition.
const SUBMITS: usize = 200;

/// Syncs of one repetition.
const SYNCS: usize = 200;

/// Bytes that are appended before a sync: about a vote with what it rests on.
const APPENDED: usize = 1024;

/// What a submit may take besides four syncs and three message delays, in milliseconds.
const REST_MS: f64 = 2.0;

pub(crate) fn run(bench: &mut Bench) -> Result<Section> {
    let (rig, mut generator) = bench.take_base()?;
    let (mut p50, mut p99, mut syncs, mut delays) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let submits = if bench.arguments.quick { 20 } else { SUBMITS };
    for repetition in 1..=bench.arguments.repetitions() {
        bench.progress.say(&format!("one at a time, {repetition} of {}", bench.arguments.repetitions()));
        syncs.push(sync_ms(rig.consortium.directory())?);
        let supply = rig.supply(&mut generator, submits)?;
        let mut latencies = bench.runtime.block_on(async {
            let mut latencies = Latencies::default();
            for signed in &supply.signed {
                let started = Instant::now();
                let receipt = rig.clients[0].submit(signed).await?;
                latencies.record(started.elapsed());
                ensure!(*receipt.outcome() == Outcome::Applied, "a submit failed: {:?}", receipt.outcome());
            }
            Ok::<_, anyhow::Error>(latencies)
        })?;
        p50.push(latencies.percentile_ms(500));
        p99.push(if latencies.tell(990) { latencies.percentile_ms(990) } else { f64::NAN });
        delays.push(bench.runtime.block_on(delay_ms(&rig))?);
    }
    bench.keep_base((rig, generator));
    let of = |values: &[f64]| Spread::of(values.iter().copied()).unwrap_or_default();
    let (p50, p99, sync, delay) = (of(&p50), Spread::of(p99), of(&syncs), of(&delays));
    let bound = 4.0 * sync.median + 3.0 * delay.median + REST_MS;
    let row = |what: &str, spread: Spread, decimals| vec![what.to_owned(), spread.text(decimals)];
    let rows = [
        row("latency p50, ms", p50, 2),
        vec!["latency p99, ms".to_owned(), summary::cell(p99, 2)],
        row("a sync, p50, ms", sync, 3),
        row("a message between validators, one way, ms", delay, 3),
        vec!["4 syncs + 3 messages + 2 ms, ms".to_owned(), format!("{bound:.2}")],
    ];
    Ok(Section {
        name: "single",
        title: "One submit at a time",
        text: format!(
            "From submit to verified receipt, {submits} times; the client asks the validators by turns.\n\n{}",
            table(&["", "median (range)"], &rows)
        ),
        figures: json!({
            "latency_p50_ms": summary::spread(p50),
            "latency_p99_ms": summary::known(p99),
            "latency_samples": submits,
            "sync_ms": summary::spread(sync),
            "message_ms": summary::spread(delay),
            "bound_ms": bound,
        }),
        ..Section::default()
    })
}

/// How long appending to a file and syncing it takes, where the validators' data is: the median.
fn sync_ms(directory: &Path) -> Result<f64> {
    let path = directory.join("sync.tmp");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let mut latencies = Latencies::default();
    for _ in 0..SYNCS {
        let started = Instant::now();
        file.write_all(&[7; APPENDED])?;
        file.sync_data()?;
        latencies.record(started.elapsed());
    }
    std::fs::remove_file(&path)?;
    Ok(latencies.percentile_ms(500))
}

/// Half of the round trips as QUIC measures them: the mean over the others that a validator reaches, of which
/// the median over all validators.
pub(super) async fn delay_ms(rig: &Rig) -> Result<f64> {
    let others = rig.consortium.len().saturating_sub(1).max(1) as f64;
    let mut delays = Vec::new();
    for (_, text) in rig.consortium.http_of_all("/metrics").await? {
        delays.push(Metrics::parse(&text).sum("quorate_peer_rtt_seconds")? * 1e3 / 2.0 / others);
    }
    Spread::of(delays).map(|delay| delay.median).context("no validator runs")
}
