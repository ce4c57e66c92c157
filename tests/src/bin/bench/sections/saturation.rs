//! The floor, and the headline's load at saturation: where the CPU time goes.

use crate::context::Bench;
use crate::summary;
use anyhow::Result;
use quorate_tests::bench::plot;
use quorate_tests::bench::report::{Section, table};

pub(crate) fn run(bench: &mut Bench) -> Result<Section> {
    let saturated = bench.saturated()?;
    bench.report.headline.cpu_over_floor = Some(saturated.over_floor().median);
    bench.report.headline.committed_tps = Some(saturated.rate());
    let activities = summary::activities(&saturated.runs);
    let picture = "cpu-by-activity.svg";
    let title = "CPU at saturation by activity, all processes, ms per 1000 transactions";
    plot::bars(title, "ms", &activities, &bench.directory.join(picture))?;
    let rows: Vec<Vec<String>> =
        activities.iter().map(|(name, ms)| vec![name.clone(), format!("{ms:.1}")]).collect();
    let text = format!(
        "{}, four validators; {} bytes encoded.\n\nCPU of all processes over the floor: **{}**.\n\n{}\n{}\n{}",
        bench.headline(),
        saturated.bytes,
        saturated.over_floor().text(2),
        summary::quantities(&saturated.runs),
        summary::floor(&saturated.floors),
        table(&["activity", "CPU-ms per 1000 transactions"], &rows),
    );
    Ok(Section {
        name: "saturation",
        title: "Saturation",
        text,
        figures: summary::saturated(&saturated),
        pictures: vec![picture.to_owned()],
    })
}
