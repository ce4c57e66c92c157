//! What a validator uses when nobody wants anything.

use crate::context::Bench;
use crate::summary;
use anyhow::Result;
use quorate_tests::bench::report::Section;
use quorate_tests::bench::snapshot::Snapshot;
use quorate_tests::bench::stats::Spread;
use serde_json::json;
use std::time::Duration;
use tokio::time::sleep;

/// Until what came before is done with: flushes, compactions.
const SETTLE: Duration = Duration::from_secs(5);

pub(crate) fn run(bench: &mut Bench) -> Result<Section> {
    let (rig, generator) = bench.take_base()?;
    let quick = bench.arguments.quick;
    let length = Duration::from_secs_f64(bench.arguments.seconds() * if quick { 1.0 } else { 1.5 });
    let mut percents = Vec::new();
    for repetition in 1..=bench.arguments.repetitions() {
        bench.progress.say(&format!("nothing happens, {repetition} of {}", bench.arguments.repetitions()));
        let growth = bench.runtime.block_on(async {
            if repetition == 1 && !quick {
                sleep(SETTLE).await;
            }
            let before = Snapshot::take(&rig.consortium).await?;
            sleep(length).await;
            Snapshot::take(&rig.consortium).await?.since(&before)
        })?;
        let cores = growth.validators_cpu.total.as_secs_f64() / growth.time.as_secs_f64();
        percents.push(100.0 * cores / growth.validators as f64);
    }
    bench.keep_base((rig, generator));
    let percent = Spread::of(percents).unwrap_or_default();
    Ok(Section {
        name: "idle",
        title: "Idle",
        text: format!("CPU of an idle validator, in percent of a core: {}.\n", percent.text(2)),
        figures: json!({ "percent_of_a_core": summary::spread(percent) }),
        ..Section::default()
    })
}
