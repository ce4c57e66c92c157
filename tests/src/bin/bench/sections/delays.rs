//! Commit latency and blocks on slow links, with one proposal in flight and with four.

use super::single;
use crate::context::Bench;
use crate::summary;
use anyhow::{Result, ensure};
use quorate_client::client::Options;
use quorate_tests::Consortium;
use quorate_tests::bench::report::{Section, table};
use quorate_tests::bench::rig::Rig;
use quorate_tests::bench::stats::{Latencies, Spread};
use quorate_tests::consortium::{free_addresses, name};
use quorate_tests::network::{Faults, Proxy, settings};
use quorate_types::ids::View;
use quorate_types::outcome::Outcome;
use quorate_types::transaction::Operation;
use serde_json::{Map, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// One-way delays between validators, in milliseconds; the first shows what everything else takes.
const DELAYS_MS: [u64; 4] = [0, 1, 25, 75];
const QUICK_DELAYS_MS: [u64; 2] = [0, 25];
const WINDOWS: [u64; 2] = [1, 4];

/// Transactions a second: enough that blocks never wait for them, little work.
const RATE: f64 = 500.0;

/// How long a leader has that is not to be suspected, in milliseconds.
const PATIENT_MS: u64 = 5000;

/// Submits one after the other.
const SUBMITS: usize = 40;

/// What was measured with one delay and window.
struct Row {
    delay_ms: u64,
    window: u64,
    /// Half a round trip, as validators measure it.
    measured_ms: f64,
    /// One submit at a time, to the leader and to another: the medians.
    leader_ms: Spread,
    other_ms: Spread,
    /// By schedule.
    p50_ms: Option<Spread>,
    p99_ms: Option<Spread>,
    blocks: Spread,
}

pub(crate) fn run(bench: &mut Bench) -> Result<Section> {
    let delays = if bench.arguments.quick { &QUICK_DELAYS_MS[..] } else { &DELAYS_MS[..] };
    let (mut measured, mut failed) = (Vec::<Row>::new(), Vec::new());
    let (mut rows, mut figures) = (Vec::new(), Map::new());
    for &delay_ms in delays {
        for window in WINDOWS {
            match one(bench, delay_ms, window) {
                Ok(row) => measured.push(row),
                Err(error) => {
                    let (row, of_row) = bench.row_failed(&format!("{delay_ms} ms, window {window}"), &error);
                    failed.push(row);
                    figures.insert(key(delay_ms, window), of_row.into());
                }
            }
        }
    }
    for row in &measured {
        let same = |of: &dyn Fn(&&Row) -> bool| measured.iter().find(|row| of(row));
        let none = same(&|other| other.delay_ms == 0 && other.window == row.window);
        let three = 3.0 * row.measured_ms;
        // What is not three delays: the client's part, syncs and work, as they are without a delay.
        let over = none.map(|none| {
            let rest = (none.leader_ms.median - 3.0 * none.measured_ms).max(0.0);
            row.leader_ms.median / (three + rest)
        });
        let alone = same(&|other| other.delay_ms == row.delay_ms && other.window == 1);
        let blocks = alone.map(|alone| row.blocks.median / alone.blocks.median.max(1e-9));
        let ratio = |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        rows.push(vec![
            format!("{} ms", row.delay_ms),
            row.window.to_string(),
            format!("{:.2}", row.measured_ms),
            row.leader_ms.text(1),
            ratio(over),
            row.other_ms.text(1),
            summary::cell(row.p50_ms, 1),
            summary::cell(row.p99_ms, 1),
            row.blocks.text(1),
            ratio(blocks),
        ]);
        figures.insert(
            key(row.delay_ms, row.window),
            json!({
                "measured_delay_ms": row.measured_ms,
                "single_at_leader_ms": summary::spread(row.leader_ms),
                "single_over_three_delays_and_rest": over,
                "single_at_another_ms": summary::spread(row.other_ms),
                "latency_p50_ms": summary::known(row.p50_ms),
                "latency_p99_ms": summary::known(row.p99_ms),
                "blocks_per_second": summary::spread(row.blocks),
                "blocks_over_window_1": blocks,
            }),
        );
    }
    rows.extend(failed);
    let head = [
        "one way",
        "window",
        "measured, ms",
        "single at the leader, ms",
        "× 3 delays + rest",
        "single at another, ms",
        "p50, ms",
        "p99, ms",
        "blocks/s",
        "× window 1",
    ];
    Ok(Section {
        name: "delays",
        title: "Slow links",
        text: format!(
            "Validators reach each other through proxies that hold every datagram for the time given; clients are near. \
             Single: one submit at a time, p50; a validator that does not lead has to pass it on first. The rest is what \
             a single submit takes without delay. The other columns: {RATE} transactions a second by schedule.\n\n{}",
            table(&head, &rows)
        ),
        figures: figures.into(),
        ..Section::default()
    })
}

/// What a row is called among the figures.
fn key(delay_ms: u64, window: u64) -> String {
    format!("delay_{delay_ms}_window_{window}")
}

fn one(bench: &mut Bench, delay_ms: u64, window: u64) -> Result<Row> {
    let mut setup = bench.setup(4);
    setup.parameters.window = window;
    // The leader stays the same, or somebody suspects it; then nothing is measured.
    setup.parameters.term_blocks = u64::MAX;
    if bench.arguments.quick {
        // What is quick is no measurement, and may run on a machine that is busy with other things.
        let timeouts = &mut setup.parameters;
        (timeouts.view_timeout_ms, timeouts.request_timeout_ms) = (PATIENT_MS, PATIENT_MS);
        timeouts.max_view_timeout_ms = PATIENT_MS;
    }
    let mut rig = bench.found(&setup)?;
    let runtime = bench.runtime;
    let proxies = runtime.block_on(proxies(&rig.consortium, Duration::from_millis(delay_ms)))?;
    runtime.block_on(rig.start())?;
    let before = runtime.block_on(view(&rig))?;
    let (_, leader) = before;
    let other = (leader + 1) % rig.consortium.len();
    let mut generator = rig.generator(bench.headline(), 9)?;
    let submits = if bench.arguments.quick { 3 } else { SUBMITS };
    let (mut leader_ms, mut other_ms) = (Vec::new(), Vec::new());
    for repetition in 1..=bench.arguments.repetitions() {
        bench.progress.say(&format!("{delay_ms} ms, window {window}: single, {repetition}"));
        for (validator, times) in [(leader, &mut leader_ms), (other, &mut other_ms)] {
            let transactions: Vec<_> = (0..submits).map(|_| generator.next_transaction().1).collect();
            times.push(runtime.block_on(singly(&rig, validator, transactions))?);
        }
    }
    let runs = bench.at_rate(&rig, &mut generator, RATE, bench.arguments.seconds())?;
    let measured_ms = runtime.block_on(single::delay_ms(&rig))?;
    let after = runtime.block_on(view(&rig))?;
    ensure!(after == before, "the view changed meanwhile: {before:?} and {after:?}");
    bench.close(rig)?;
    drop(proxies);
    Ok(Row {
        delay_ms,
        window,
        measured_ms,
        leader_ms: Spread::of(leader_ms).unwrap_or_default(),
        other_ms: Spread::of(other_ms).unwrap_or_default(),
        p50_ms: summary::quantity(&runs, "latency_p50_ms"),
        p99_ms: summary::quantity(&runs, "latency_p99_ms"),
        blocks: Spread::over(&runs, |run| run.growth.blocks / run.growth.time.as_secs_f64()),
    })
}

/// The view, and who leads it.
async fn view(rig: &Rig) -> Result<(View, usize)> {
    let leader = rig.consortium.leader().await?;
    Ok((rig.consortium.status(leader).await?.view, leader))
}

/// One after the other to one validator: the median, in milliseconds.
async fn singly(rig: &Rig, validator: usize, transactions: Vec<Vec<Operation>>) -> Result<f64> {
    let options = Options { nodes: vec![name(validator)], ..Options::default() };
    let client = rig.consortium.client_of(&rig.member(0), &options)?;
    let mut latencies = Latencies::default();
    for operations in transactions {
        let signed = client.sign(operations, Duration::from_secs(60));
        let started = Instant::now();
        let receipt = client.submit(&signed).await?;
        latencies.record(started.elapsed());
        ensure!(*receipt.outcome() == Outcome::Applied, "a submit failed: {:?}", receipt.outcome());
    }
    client.shutdown().await;
    Ok(latencies.percentile_ms(500))
}

/// A proxy in front of each validator, by which the others reach it. Clients do not pass it.
async fn proxies(consortium: &Consortium, delay: Duration) -> Result<Vec<Proxy>> {
    let count = consortium.len();
    let fronts = free_addresses(count)?;
    let mut proxies = Vec::new();
    for ((_, validator), front) in consortium.founding().validator_details().zip(&fronts) {
        let target: SocketAddr = validator.address.to_string().parse()?;
        let proxy = Proxy::start(*front, target, 1).await?;
        let faults = Faults { delay, ..Faults::default() };
        proxy.set(faults, faults);
        proxies.push(proxy);
    }
    for index in 0..count {
        settings::change(consortium, index, |table| {
            for (other, front) in fronts.iter().enumerate().filter(|(other, _)| *other != index) {
                settings::set(table, "peers", &name(other), front.to_string());
            }
        })?;
    }
    Ok(proxies)
}
