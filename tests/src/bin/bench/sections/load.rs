//! Latency and cost at 25, 50 and 75 % of saturation, by schedule.

use crate::context::Bench;
use crate::summary;
use anyhow::Result;
use quorate_tests::bench::drive::Measured;
use quorate_tests::bench::plot::{Line, Lines};
use quorate_tests::bench::report::{Section, table};
use quorate_tests::bench::stats::Spread;
use serde_json::{Map, Value, json};

/// Shares of the saturated rate, in percent.
pub(super) const SHARES: [u32; 3] = [25, 50, 75];

/// What of each share stands in the tables.
pub(super) const COLUMNS: [(&str, &str, usize); 6] = [
    ("tps", "tx/s", 0),
    ("cpu_ms_per_1000", "CPU-ms per 1000", 1),
    ("latency_samples", "latencies", 0),
    ("latency_p50_ms", "p50, ms", 1),
    ("latency_p99_ms", "p99, ms", 1),
    ("latency_p999_ms", "p99.9, ms", 1),
];

pub(crate) fn run(bench: &mut Bench) -> Result<Section> {
    let saturated = bench.saturated()?;
    let (rig, mut generator) = bench.take_base()?;
    let mut loads = Vec::new();
    for share in SHARES {
        let rate = saturated.rate() * f64::from(share) / 100.0;
        loads.push((share, bench.at_rate(&rig, &mut generator, rate, bench.arguments.seconds())?));
    }
    bench.keep_base((rig, generator));
    if let Some((_, runs)) = loads.iter().find(|(share, _)| *share == 50) {
        let median = |key| summary::quantity(runs, key).map(|latency| latency.median);
        bench.report.headline.latency_p50_ms = median("latency_p50_ms");
        bench.report.headline.latency_p99_ms = median("latency_p99_ms");
    }

    let mut rows = Vec::new();
    let mut figures = Map::new();
    for (share, runs) in &loads {
        let cells = COLUMNS.map(|(key, _, decimals)| summary::quantity_cell(runs, key, decimals));
        rows.push([vec![format!("{share} %")], cells.to_vec()].concat());
        figures.insert(format!("load_{share}"), Value::Object(summary::figures(runs)));
    }
    figures.insert("saturated_tps".to_owned(), json!(saturated.rate()));
    let picture = "latency.svg";
    let line = |name: &str, key: &str| {
        let point = |runs: &[Measured]| {
            let latency = summary::quantity(runs, key)?;
            Some((Spread::over(runs, Measured::rate).median, latency.median))
        };
        let runs = loads.iter().map(|(_, runs)| runs).chain([&saturated.runs]);
        Line { name: name.to_owned(), points: runs.filter_map(|runs| point(runs)).collect() }
    };
    Lines {
        title: "Latency against throughput (the last point: saturation)",
        x: "committed transactions a second",
        y: "ms",
        logarithmic: false,
        lines: vec![
            line("p50", "latency_p50_ms"),
            line("p99", "latency_p99_ms"),
            line("p99.9", "latency_p999_ms"),
        ],
    }
    .draw(&bench.directory.join(picture))?;
    let head: Vec<&str> = ["load"].into_iter().chain(COLUMNS.map(|(_, title, _)| title)).collect();
    let text = format!(
        "The headline's workload, submitted by a fixed schedule whatever becomes of it; latency counts from the \
         scheduled time to the verified receipt. A dash: too few were measured to tell.\n\n{}",
        table(&head, &rows)
    );
    Ok(Section {
        name: "load",
        title: "Latency under load",
        text,
        figures: Value::Object(figures),
        pictures: vec![picture.to_owned()],
    })
}
