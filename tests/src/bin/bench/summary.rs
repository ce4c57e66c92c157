//! Tables and figures of several repetitions.

use crate::context::Saturated;
use quorate_tests::bench::drive::Measured;
use quorate_tests::bench::floor::Floor;
use quorate_tests::bench::report::table;
use quorate_tests::bench::stats::Spread;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// What each quantity is called, how many decimals it has, and what it is; that is no number where a run does not
/// tell.
type Quantity = (&'static str, &'static str, usize, fn(&Measured) -> f64);

const QUANTITIES: [Quantity; 17] = [
    ("tps", "committed transactions a second", 0, Measured::rate),
    ("cpu_ms_per_1000", "CPU-ms per 1000 transactions, all processes", 1, Measured::cpu_ms),
    ("validators_ms_per_1000", "of that validators", 1, |m| m.per_1000_ms(m.growth.validators_cpu.total)),
    ("clients_ms_per_1000", "of that clients", 1, |m| m.per_1000_ms(m.growth.clients_cpu.total)),
    ("signing_ms_per_1000", "of that signing", 1, |m| m.sign_ms),
    ("latency_samples", "latencies measured", 0, |m| m.latencies.count() as f64),
    ("latency_p50_ms", "latency p50, ms", 1, |m| m.latency_ms(500).unwrap_or(f64::NAN)),
    ("latency_p99_ms", "latency p99, ms", 1, |m| m.latency_ms(990).unwrap_or(f64::NAN)),
    ("latency_p999_ms", "latency p99.9, ms", 1, |m| m.latency_ms(999).unwrap_or(f64::NAN)),
    ("peer_bytes_per_tx", "bytes between validators per transaction", 0, |m| m.each(m.growth.peer_bytes)),
    ("loopback_bytes_per_tx", "bytes on the loopback device per transaction", 0, |m| {
        m.each(m.growth.loopback_bytes)
    }),
    ("packets_per_tx", "packets on the loopback device per transaction", 3, |m| {
        m.each(m.growth.loopback_packets)
    }),
    ("written_bytes_per_tx", "bytes written to disk per transaction, all validators", 0, |m| {
        m.each(m.growth.written)
    }),
    ("syncs_per_1000", "syncs per 1000 transactions, all validators", 1, |m| 1e3 * m.each(m.growth.syncs)),
    ("block_transactions", "transactions a block", 0, |m| m.committed as f64 / m.growth.blocks.max(1.0)),
    ("gossip_duplicates", "further copies for each first copy by gossip", 4, |m| {
        m.growth.duplicates / m.growth.first_copies.max(1.0)
    }),
    ("peak_rss_mib", "peak RSS of a validator, MiB", 0, |m| m.growth.peak_memory as f64 / 1_048_576.0),
];

/// Minimum, median and maximum as JSON.
pub(crate) fn spread(spread: Spread) -> Value {
    json!({ "min": spread.min, "median": spread.median, "max": spread.max })
}

/// The same; `null` where it is not known.
pub(crate) fn known(known: Option<Spread>) -> Value {
    known.map_or(Value::Null, spread)
}

/// The same as text; a dash where it is not known.
pub(crate) fn cell(known: Option<Spread>, decimals: usize) -> String {
    known.map_or_else(|| "-".to_owned(), |spread| spread.text(decimals))
}

/// Every quantity as JSON.
pub(crate) fn figures(runs: &[Measured]) -> Map<String, Value> {
    let quantity = |(key, _, _, of): Quantity| (key.to_owned(), known(Spread::of(runs.iter().map(of))));
    let mut figures: Map<String, Value> = QUANTITIES.into_iter().map(quantity).collect();
    let activities: Map<String, Value> =
        activities(runs).into_iter().map(|(name, ms)| (name, json!(ms))).collect();
    figures.insert("activities_ms_per_1000".to_owned(), Value::Object(activities));
    figures
}

/// Every quantity as a table.
pub(crate) fn quantities(runs: &[Measured]) -> String {
    let row = |(_, what, decimals, of): Quantity| {
        vec![what.to_owned(), cell(Spread::of(runs.iter().map(of)), decimals)]
    };
    table(&["", "median (range)"], &QUANTITIES.map(row))
}

/// One quantity of several repetitions, by its key; `None` if a run does not tell.
pub(crate) fn quantity(runs: &[Measured], key: &str) -> Option<Spread> {
    let (_, _, _, of) = QUANTITIES.into_iter().find(|(known, ..)| *known == key)?;
    Spread::of(runs.iter().map(of))
}

/// The same as text.
pub(crate) fn quantity_cell(runs: &[Measured], key: &str, decimals: usize) -> String {
    cell(quantity(runs, key), decimals)
}

/// CPU-ms per 1000 transactions by process kind and activity, most first: medians.
pub(crate) fn activities(runs: &[Measured]) -> Vec<(String, f64)> {
    let names: BTreeSet<(bool, String)> = runs
        .iter()
        .flat_map(|run| {
            let of = |client: bool, names: &std::collections::BTreeMap<String, Duration>| {
                names.keys().map(|name| (client, name.clone())).collect::<Vec<_>>()
            };
            let mut names = of(false, &run.growth.validators_cpu.activities);
            names.extend(of(true, &run.growth.clients_cpu.activities));
            names
        })
        .collect();
    let time = |run: &Measured, client: bool, name: &str| {
        let spent = if client { &run.growth.clients_cpu } else { &run.growth.validators_cpu };
        run.per_1000_ms(spent.activities.get(name).copied().unwrap_or_default())
    };
    let mut all: Vec<(String, f64)> = names
        .iter()
        .map(|(client, name)| {
            let kind = if *client { "client" } else { "validator" };
            (format!("{kind}: {name}"), Spread::over(runs, |run| time(run, *client, name)).median)
        })
        .filter(|(_, ms)| *ms >= 0.05)
        .collect();
    all.push(("signing".to_owned(), Spread::over(runs, |run| run.sign_ms).median));
    all.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    all
}

/// The floor's parts as a table.
pub(crate) fn floor(floors: &[Floor]) -> String {
    let parts = floors.first().map(Floor::parts).unwrap_or_default();
    let mut rows: Vec<Vec<String>> = parts
        .iter()
        .enumerate()
        .map(|(index, (name, _))| {
            vec![(*name).to_owned(), Spread::over(floors, |floor| floor.parts()[index].1).text(1)]
        })
        .collect();
    rows.push(vec!["sum".to_owned(), Spread::over(floors, Floor::sum).text(1)]);
    table(&["floor", "CPU-ms per 1000 transactions"], &rows)
}

/// The floor as JSON.
pub(crate) fn floor_figures(floors: &[Floor]) -> Value {
    let parts = floors.first().map(Floor::parts).unwrap_or_default();
    let mut figures: Map<String, Value> = parts
        .iter()
        .enumerate()
        .map(|(index, (name, _))| {
            ((*name).to_owned(), spread(Spread::over(floors, |floor| floor.parts()[index].1)))
        })
        .collect();
    figures.insert("sum".to_owned(), spread(Spread::over(floors, Floor::sum)));
    Value::Object(figures)
}

/// A saturating load with its floor as JSON.
pub(crate) fn saturated(saturated: &Saturated) -> Value {
    let mut figures = figures(&saturated.runs);
    figures.insert("floor_ms_per_1000".to_owned(), floor_figures(&saturated.floors));
    figures.insert("cpu_over_floor".to_owned(), spread(saturated.over_floor()));
    figures.insert("transaction_bytes".to_owned(), json!(saturated.bytes));
    Value::Object(figures)
}
