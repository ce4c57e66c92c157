//! Cost against the size of the state.

use crate::context::{Bench, SIGNERS};
use crate::summary;
use anyhow::Result;
use quorate_tests::bench::plot::{Line, Lines};
use quorate_tests::bench::report::{Section, table};
use quorate_tests::bench::workload::Workload;
use serde_json::{Map, json};

const SIZES: [u64; 4] = [10_000, 100_000, 1_000_000, 10_000_000];
const QUICK_SIZES: [u64; 2] = [1_000, 5_000];

pub(crate) fn run(bench: &mut Bench) -> Result<Section> {
    let sizes = if bench.arguments.quick { &QUICK_SIZES[..] } else { &SIZES[..] };
    let (mut rows, mut figures, mut costs) = (Vec::new(), Map::new(), Vec::new());
    let rig = bench.start(&bench.setup(4))?;
    let mut filled = 0;
    for &keys in sizes {
        let workload = Workload { keys, ..bench.headline() };
        let mut generator = rig.generator(workload, 5)?;
        bench.fill(&rig, filled..keys, 0..SIGNERS)?;
        filled = keys;
        let saturated = bench.saturate(&rig, &mut generator, workload, bench.arguments.seconds())?;
        let cost = summary::quantity(&saturated.runs, "cpu_ms_per_1000");
        costs.push((keys as f64, cost.median));
        let first = costs.first().map_or(cost.median, |(_, first)| *first);
        rows.push(vec![
            keys.to_string(),
            summary::quantity(&saturated.runs, "tps").text(0),
            cost.text(1),
            format!("{:.2}", cost.median / first),
            summary::quantity(&saturated.runs, "peak_rss_mib").text(0),
        ]);
        let mut of_size = summary::figures(&saturated.runs);
        of_size.insert("multiple_of_the_smallest".to_owned(), json!(cost.median / first));
        figures.insert(keys.to_string(), json!(of_size));
    }
    bench.close(rig)?;
    let picture = "state.svg";
    Lines {
        title: "CPU of all processes per 1000 transactions against keys in the state",
        x: "keys",
        y: "ms",
        logarithmic: true,
        lines: vec![Line { name: "512-byte uniform writes".to_owned(), points: costs }],
    }
    .draw(&bench.directory.join(picture))?;
    let head = ["keys", "tx/s", "CPU-ms per 1000", "× the smallest", "peak RSS, MiB"];
    Ok(Section {
        name: "state",
        title: "Size of the state",
        text: format!(
            "The headline's workload at saturation, over as many keys as there are. The keys were put there before by \
             ordinary transactions of 64 operations on the same chain.\n\n{}",
            table(&head, &rows)
        ),
        figures: figures.into(),
        pictures: vec![picture.to_owned()],
    })
}
