//! How fast the chain is audited from the outside, beside the live rate on the same processors.

use crate::context::Bench;
use crate::summary;
use anyhow::{Result, bail};
use quorate_client::audit::{Verdict, audit};
use quorate_client::export::Reader;
use quorate_tests::bench::report::{Section, table};
use quorate_tests::bench::stats::Spread;
use serde_json::json;
use std::ffi::OsStr;
use std::time::Instant;

pub(crate) fn run(bench: &mut Bench) -> Result<Section> {
    // A chain of its own: that of the headline begins with transactions of 64 operations.
    let mut rig = bench.start(&bench.setup(4))?;
    let mut generator = rig.generator(bench.headline(), 7)?;
    let saturated = bench.saturate(&rig, &mut generator, bench.headline(), bench.arguments.seconds())?;
    let live = saturated.rate();
    let file = bench.directory.join("chain.quorate");
    bench.runtime.block_on(rig.consortium.stop_all())?;
    bench.progress.say("exporting the chain");
    rig.consortium.node(0, "export", [OsStr::new("--out"), file.as_os_str()])?.exits(0)?;
    let founding = rig.consortium.founding();
    let (mut rates, mut transactions) = (Vec::new(), 0);
    for repetition in 1..=bench.arguments.repetitions() {
        bench.progress.say(&format!("auditing, {repetition} of {}", bench.arguments.repetitions()));
        let blocks = Reader::open(&file, &founding.chain())?;
        let started = Instant::now();
        match audit(&founding.ledger_genesis(), blocks, |_| ())? {
            Verdict::Sound(totals) => {
                transactions = totals.transactions;
                rates.push(transactions as f64 / started.elapsed().as_secs_f64());
            }
            Verdict::Wrong { height, what, .. } => bail!("the chain is wrong at height {height}: {what}"),
        }
    }
    std::fs::remove_file(&file)?;
    bench.close(rig)?;
    let rate = Spread::of(rates).unwrap_or_default();
    let ratio = Spread { min: rate.min / live, median: rate.median / live, max: rate.max / live };
    bench.report.headline.audit_ratio = Some(ratio.median);
    let rows = [
        vec!["transactions a second".to_owned(), rate.text(0)],
        vec!["live rate, transactions a second".to_owned(), format!("{live:.0}")],
        vec!["multiple of the live rate".to_owned(), ratio.text(2)],
    ];
    Ok(Section {
        name: "audit",
        title: "Audit",
        text: format!(
            "Of an exported chain of {transactions} transactions, everything checked and executed again, on all \
             processors. The live rate is the saturated rate at which that chain was made.\n\n{}",
            table(&["", "median (range)"], &rows)
        ),
        figures: json!({
            "tps": summary::spread(rate),
            "live_tps": live,
            "ratio": summary::spread(ratio),
            "transactions": transactions,
        }),
        ..Section::default()
    })
}
