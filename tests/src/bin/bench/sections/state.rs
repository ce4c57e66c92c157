//! Cost against the size of the state.

use crate::context::{Bench, SIGNERS, Saturated};
use crate::summary;
use anyhow::Result;
use quorate_tests::bench::drive::Measured;
use quorate_tests::bench::plot::{Line, Lines};
use quorate_tests::bench::report::{Section, table};
use quorate_tests::bench::rig::Rig;
use quorate_tests::bench::stats::Spread;
use quorate_tests::bench::workload::Workload;
use serde_json::{Map, json};

const SIZES: [u64; 4] = [10_000, 100_000, 1_000_000, 10_000_000];
const QUICK_SIZES: [u64; 2] = [1_000, 5_000];

pub(crate) fn run(bench: &mut Bench) -> Result<Section> {
    let sizes = if bench.arguments.quick { &QUICK_SIZES[..] } else { &SIZES[..] };
    let (mut rows, mut figures, mut costs) = (Vec::new(), Map::new(), Vec::new());
    let rig = bench.start(&bench.setup(4))?;
    let mut filled = 0;
    let mut smallest = None;
    for &keys in sizes {
        let saturated = match one(bench, &rig, &mut filled, keys) {
            Ok(saturated) => saturated,
            Err(error) => {
                let (row, of_size) = bench.row_failed(&keys.to_string(), &error);
                rows.push(row);
                figures.insert(keys.to_string(), of_size.into());
                continue;
            }
        };
        let cost = Spread::over(&saturated.runs, Measured::cpu_ms);
        let over_floor = saturated.over_floor();
        costs.push((keys as f64, cost.median));
        // Processors are not equally fast at all times; the floor was measured at the same time.
        let (first, first_over_floor) = *smallest.get_or_insert((cost.median, over_floor.median));
        let (multiple, multiple_over_floor) = (cost.median / first, over_floor.median / first_over_floor);
        rows.push(vec![
            keys.to_string(),
            summary::quantity_cell(&saturated.runs, "tps", 0),
            cost.text(1),
            format!("{multiple:.2}"),
            over_floor.text(2),
            format!("{multiple_over_floor:.2}"),
            summary::quantity_cell(&saturated.runs, "peak_rss_mib", 0),
        ]);
        let mut of_size = summary::saturated(&saturated);
        of_size["multiple_of_the_smallest"] = json!(multiple);
        of_size["over_floor_multiple_of_the_smallest"] = json!(multiple_over_floor);
        figures.insert(keys.to_string(), of_size);
    }
    if let Err(error) = bench.close(rig) {
        bench.row_failed("end", &error);
    }
    let mut pictures = Vec::new();
    if !costs.is_empty() {
        pictures.push("state.svg".to_owned());
        Lines {
            title: "CPU of all processes per 1000 transactions against keys in the state",
            x: "keys",
            y: "ms",
            logarithmic: true,
            lines: vec![Line { name: "512-byte uniform writes".to_owned(), points: costs }],
        }
        .draw(&bench.directory.join("state.svg"))?;
    }
    let head =
        ["keys", "tx/s", "CPU-ms per 1000", "× the smallest", "× floor", "× the smallest", "peak RSS, MiB"];
    Ok(Section {
        name: "state",
        title: "Size of the state",
        text: format!(
            "The headline's workload at saturation, over as many keys as there are. The keys were put there before by \
             ordinary transactions of 64 operations on the same chain. Multiples of the smallest: of the cost, and of \
             the cost over the floor, which was measured between the runs.\n\n{}",
            table(&head, &rows)
        ),
        figures: figures.into(),
        pictures,
    })
}

/// Fills the state up to so many keys, and measures over them.
fn one(bench: &Bench, rig: &Rig, filled: &mut u64, keys: u64) -> Result<Saturated> {
    let workload = Workload { keys, ..bench.headline() };
    let mut generator = rig.generator(workload, 5)?;
    bench.fill(rig, *filled..keys, 0..SIGNERS)?;
    *filled = keys;
    bench.saturate(rig, &mut generator, workload, bench.arguments.seconds())
}
