//! A flame graph of the headline's load at saturation.

use crate::context::{Bench, count};
use crate::summary;
use anyhow::{Error, Result};
use quorate_tests::bench::drive::saturate;
use quorate_tests::bench::profile;
use quorate_tests::bench::report::{Section, table};
use serde_json::{Map, Value, json};
use std::fs;
use std::time::Duration;

/// Functions named in the report.
const MOST: usize = 30;

/// Characters of a name in the table.
const NAME: usize = 100;

const PICTURE: &str = "flames.svg";

pub(crate) fn run(bench: &mut Bench) -> Result<Section> {
    let section = Section { name: "profile", title: "Profile", ..Section::default() };
    if let Err(missing) = profile::available() {
        return Ok(not_measured(&missing, section));
    }
    let rate = bench.saturated()?.rate();
    let (rig, mut generator) = bench.take_base()?;
    let drive = bench.arguments.drive();
    let seconds = bench.arguments.seconds();
    bench.progress.say("saturation, sampled");
    let supply = rig.supply(&mut generator, drive.around(count(rate * seconds)))?;
    let validators = (0..rig.consortium.len()).filter_map(|index| rig.consortium.pid(index));
    let pids: Vec<u32> = validators.chain([std::process::id()]).collect();
    let data = bench.directory.join("perf.data");
    let sampling = match profile::start(&pids, Duration::from_secs_f64(seconds), &data) {
        Ok(sampling) => sampling,
        Err(refused) => {
            bench.keep_base((rig, generator));
            return Ok(not_measured(&refused, section));
        }
    };
    let sampled = bench.runtime.block_on(saturate(&rig, supply, drive))?;
    bench.keep_base((rig, generator));
    let stacks = sampling.stacks(&data);
    // There is none if perf did not get that far.
    let _ = fs::remove_file(&data);
    let stacks = match stacks {
        Ok(stacks) => stacks,
        Err(refused) => return Ok(not_measured(&refused, section)),
    };
    profile::draw("All processes at saturation, by thread", &stacks, &bench.directory.join(PICTURE))?;
    let functions = profile::innermost(&stacks, MOST);
    let rows: Vec<Vec<String>> = functions
        .iter()
        .map(|(name, share)| {
            // Names of generic functions run on for lines.
            let name: String = name.replace('|', "/").chars().take(NAME).collect();
            vec![name, format!("{:.1}", 100.0 * share)]
        })
        .collect();
    let samples: u64 = stacks.values().sum();
    let figures: Map<String, Value> =
        functions.iter().map(|(name, share)| (name.clone(), json!(share))).collect();
    Ok(Section {
        text: format!(
            "{}, sampled while that runs ({:.0} transactions a second, {samples} samples). What the compiler put into \
             its caller counts as the caller.\n\n{}",
            bench.headline(),
            sampled.rate(),
            table(&["thread and function", "% of all samples"], &rows)
        ),
        figures: json!({ "samples": samples, "shares": figures, "load": summary::figures(&[sampled]) }),
        pictures: vec![PICTURE.to_owned()],
        ..section
    })
}

/// Where perf is missing or may not sample, which is usual, nothing has failed.
fn not_measured(why: &Error, section: Section) -> Section {
    Section { text: format!("Not measured: {why:#}.\n"), ..section }
}
