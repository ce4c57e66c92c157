//! Cost against the number of validators.

use crate::context::Bench;
use crate::summary;
use anyhow::Result;
use quorate_tests::bench::drive::Measured;
use quorate_tests::bench::floor::Floor;
use quorate_tests::bench::plot::{Line, Lines};
use quorate_tests::bench::report::{Section, table};
use quorate_tests::bench::stats::Spread;
use serde_json::{Map, json};

const COUNTS: [usize; 5] = [1, 4, 7, 10, 16];

pub(crate) fn run(bench: &mut Bench) -> Result<Section> {
    let (mut rows, mut figures) = (Vec::new(), Map::new());
    let (mut cost, mut floor) = (Vec::new(), Vec::new());
    for n in COUNTS {
        let rig = bench.start(&bench.setup(n))?;
        let workload = bench.headline();
        let mut generator = rig.generator(workload, 3)?;
        let saturated = bench.saturate(&rig, &mut generator, workload, bench.arguments.seconds())?;
        bench.close(rig)?;
        let of_one =
            |m: &Measured| m.per_1000_ms(m.growth.validators_cpu.total) / m.growth.validators.max(1) as f64;
        let each = Spread::over(&saturated.runs, of_one);
        let floor_each =
            Spread::over(&saturated.floors, |floor: &Floor| (floor.sum() - floor.sign) / n as f64).median;
        cost.push((n as f64, each.median));
        floor.push((n as f64, floor_each));
        rows.push(vec![
            n.to_string(),
            summary::quantity(&saturated.runs, "tps").text(0),
            each.text(1),
            format!("{floor_each:.1}"),
            summary::quantity(&saturated.runs, "cpu_ms_per_1000").text(1),
            saturated.over_floor().text(2),
        ]);
        let mut of_n = summary::figures(&saturated.runs);
        of_n.insert("ms_per_1000_per_validator".to_owned(), summary::spread(each));
        of_n.insert("floor_ms_per_1000".to_owned(), summary::floor_figures(&saturated.floors));
        figures.insert(n.to_string(), json!(of_n));
    }
    let picture = "validators.svg";
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
    .draw(&bench.directory.join(picture))?;
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
            "The headline's workload at saturation, all validators on this machine, on an empty state.\n\n{}",
            table(&head, &rows)
        ),
        figures: figures.into(),
        pictures: vec![picture.to_owned()],
    })
}
