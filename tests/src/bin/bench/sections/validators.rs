//! Cost against the number of validators.

use crate::context::{Bench, SIGNERS, Saturated};
use crate::summary;
use anyhow::Result;
use quorate_tests::bench::drive::Measured;
use quorate_tests::bench::floor::Floor;
use quorate_tests::bench::plot::{Line, Lines};
use quorate_tests::bench::report::{Section, table};
use quorate_tests::bench::stats::Spread;
use quorate_tests::bench::workload::Workload;
use serde_json::Map;

const COUNTS: [usize; 5] = [1, 4, 7, 10, 16];
const QUICK_COUNTS: [usize; 2] = [1, 4];

/// Keys in the state at most: sixteen validators on one machine take a minute or so to be filled with them.
const KEYS: u64 = 100_000;

pub(crate) fn run(bench: &mut Bench) -> Result<Section> {
    let counts = if bench.arguments.quick { &QUICK_COUNTS[..] } else { &COUNTS[..] };
    let workload = Workload { keys: bench.arguments.keys().min(KEYS), ..bench.headline() };
    let (mut rows, mut figures) = (Vec::new(), Map::new());
    let (mut cost, mut floor) = (Vec::new(), Vec::new());
    for &n in counts {
        let saturated = match one(bench, n, workload) {
            Ok(saturated) => saturated,
            Err(error) => {
                let (row, of_n) = bench.row_failed(&n.to_string(), &error);
                rows.push(row);
                figures.insert(n.to_string(), of_n.into());
                continue;
            }
        };
        let of_one =
            |m: &Measured| m.per_1000_ms(m.growth.validators_cpu.total) / m.growth.validators.max(1) as f64;
        let each = Spread::over(&saturated.runs, of_one);
        let floor_each =
            Spread::over(&saturated.floors, |floor: &Floor| (floor.sum() - floor.sign) / n as f64).median;
        cost.push((n as f64, each.median));
        floor.push((n as f64, floor_each));
        rows.push(vec![
            n.to_string(),
            summary::quantity_cell(&saturated.runs, "tps", 0),
            each.text(1),
            format!("{floor_each:.1}"),
            summary::quantity_cell(&saturated.runs, "cpu_ms_per_1000", 1),
            saturated.over_floor().text(2),
        ]);
        let mut of_n = summary::saturated(&saturated);
        of_n["ms_per_1000_per_validator"] = summary::spread(each);
        figures.insert(n.to_string(), of_n);
    }
    let mut pictures = Vec::new();
    if !cost.is_empty() {
        pictures.push("validators.svg".to_owned());
        Lines {
            title: "CPU per 1000 transactions and validator against the number of validators",
            x: "validators",
            y: "ms",
            logarithmic: false,
            lines: vec![
                Line { name: "a validator".to_owned(), points: cost },
                Line { name: "the floor without signing".to_owned(), points: floor },
            ],
        }
        .draw(&bench.directory.join("validators.svg"))?;
    }
    let head = [
        "validators",
        "tx/s",
        "CPU-ms per 1000 and validator",
        "floor of it",
        "CPU-ms per 1000, all processes",
        "× floor",
    ];
    Ok(Section {
        name: "validators",
        title: "Number of validators",
        text: format!(
            "The headline's workload at saturation, all validators on this machine, over {} keys that were put into the \
             state before. With more than four, as many fewer transactions are in flight.\n\n{}",
            workload.keys,
            table(&head, &rows)
        ),
        figures: figures.into(),
        pictures,
    })
}

/// Founds so many validators, fills their state, and measures. The load would else fill it itself, and less of
/// it the slower they are.
fn one(bench: &mut Bench, validators: usize, workload: Workload) -> Result<Saturated> {
    let rig = bench.start(&bench.setup(validators))?;
    let mut generator = rig.generator(workload, 3)?;
    bench.fill(&rig, 0..workload.keys, 0..SIGNERS)?;
    let saturated = bench.saturate(&rig, &mut generator, workload, bench.arguments.seconds())?;
    bench.close(rig)?;
    Ok(saturated)
}
