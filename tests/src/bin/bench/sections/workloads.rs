//! Every workload: what is written, by how many, in how many operations.

use super::load::{COLUMNS, SHARES};
use crate::context::Bench;
use crate::summary;
use anyhow::Result;
use quorate_tests::bench::report::{Section, table};
use quorate_tests::bench::rig::{Rig, Setup};
use quorate_tests::bench::workload::{Kind, WRITERS, Workload};
use serde_json::{Map, Value};

const SIGNERS: [usize; 3] = [4, 16, 100];
const OPERATIONS: [usize; 2] = [1, 32];
const PAYLOADS: [usize; 2] = [128, 512];

/// Of the time of one measurement elsewhere: there are many here.
const SHARE_OF_TIME: f64 = 0.5;

fn kinds() -> Vec<(Kind, usize)> {
    let writes = [Kind::Uniform, Kind::Zipfian];
    let mut kinds: Vec<_> = writes.iter().flat_map(|kind| PAYLOADS.map(|payload| (*kind, payload))).collect();
    kinds.push((Kind::Transfer, 0));
    kinds
}

pub(crate) fn run(bench: &mut Bench) -> Result<Section> {
    let (mut rows, mut figures) = (Vec::new(), Map::new());
    for (kind, payload) in kinds() {
        let what = format!("{kind:?}, {payload} bytes");
        // A chain for each kind of data, so that neither state nor disk grows for hours.
        let rig = match prepare(bench, kind) {
            Ok(rig) => rig,
            Err(error) => {
                let (row, of_kind) = bench.row_failed(&what, &error);
                rows.push(row);
                figures.insert(what, of_kind.into());
                continue;
            }
        };
        for signers in SIGNERS {
            for operations in OPERATIONS {
                let keys = bench.arguments.keys();
                let workload = Workload { kind, payload, operations, signers, keys };
                let mut of_workload = Map::new();
                if let Err(error) = one(bench, &rig, workload, &mut rows, &mut of_workload) {
                    let (row, failed) = bench.row_failed(&workload.to_string(), &error);
                    rows.push(row);
                    of_workload.extend(failed);
                }
                figures.insert(workload.to_string(), Value::Object(of_workload));
            }
        }
        if let Err(error) = bench.close(rig) {
            bench.row_failed(&format!("{what}, end"), &error);
        }
    }
    let head: Vec<&str> =
        ["workload", "× floor"].into_iter().chain(COLUMNS.map(|(_, title, _)| title)).collect();
    let text = format!(
        "The first row of each is at saturation, the others are by schedule. Keys are drawn from {}; a transaction of \
         32 operations counts as one.\n\n{}",
        bench.arguments.keys(),
        table(&head, &rows)
    );
    Ok(Section {
        name: "workloads",
        title: "Workloads",
        text,
        figures: Value::Object(figures),
        ..Section::default()
    })
}

/// Founds a consortium for all workloads of a kind, and fills its state.
fn prepare(bench: &mut Bench, kind: Kind) -> Result<Rig> {
    let most = SIGNERS.into_iter().max().unwrap_or(1);
    let rig = bench.start(&Setup { signers: most, ..bench.setup(4) })?;
    let keys = bench.arguments.keys();
    if kind != Kind::Transfer {
        bench.fill(&rig, 0..keys, 0..WRITERS.min(most))?;
        if most > WRITERS {
            let half = Workload { signers: most, keys, ..bench.headline() }.keys_of_a_namespace();
            bench.fill(&rig, 0..half, WRITERS..most)?;
        }
    }
    Ok(rig)
}

/// Measures one workload, and adds its rows and figures as they come.
fn one(
    bench: &Bench,
    rig: &Rig,
    workload: Workload,
    rows: &mut Vec<Vec<String>>,
    figures: &mut Map<String, Value>,
) -> Result<()> {
    let seconds = (bench.arguments.seconds() * SHARE_OF_TIME).max(1.0);
    let mut generator = rig.generator(workload, 2)?;
    let saturated = bench.saturate(rig, &mut generator, workload, seconds)?;
    let over_floor = format!("{:.2}", saturated.over_floor().median);
    rows.push(row(&workload.to_string(), &over_floor, &saturated.runs));
    figures.insert("saturated".to_owned(), summary::saturated(&saturated));
    for share in SHARES {
        let rate = saturated.rate() * f64::from(share) / 100.0;
        let runs = bench.at_rate(rig, &mut generator, rate, seconds)?;
        rows.push(row(&format!("... at {share} %"), "", &runs));
        figures.insert(format!("load_{share}"), Value::Object(summary::figures(&runs)));
    }
    Ok(())
}

fn row(what: &str, over_floor: &str, runs: &[quorate_tests::bench::drive::Measured]) -> Vec<String> {
    let cells = COLUMNS.map(|(key, _, decimals)| summary::quantity_cell(runs, key, decimals));
    [vec![what.to_owned(), over_floor.to_owned()], cells.to_vec()].concat()
}
