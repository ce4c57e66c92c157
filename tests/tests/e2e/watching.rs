//! Following the chain.

use crate::{SOON, load, with};
use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use quorate_client::client::Options;
use quorate_tests::programs::program;
use quorate_tests::{Consortium, Plan, wait};
use quorate_types::ids::Height;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// `quorate watch`, writing to a file; killed when dropped.
struct Watch(Child);

impl Watch {
    /// Interrupts it; the exit code it ends with.
    fn interrupt(mut self) -> Result<Option<i32>> {
        kill(Pid::from_raw(self.0.id().try_into()?), Signal::SIGINT)?;
        Ok(self.0.wait()?.code())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn watch(consortium: &Consortium, from: u64, out: &Path) -> Result<Watch> {
    let child = Command::new(program("quorate")?)
        .arg("--genesis")
        .arg(consortium.genesis())
        .arg("--keys")
        .arg(consortium.keys("watch"))
        .args(["--json", "watch", "--from", &from.to_string()])
        .stdin(Stdio::null())
        .stdout(File::create(out)?)
        .stderr(Stdio::null())
        .spawn()?;
    Ok(Watch(child))
}

/// The whole lines that were written: heights, and transactions.
fn seen(out: &Path) -> Result<(Vec<u64>, BTreeSet<String>)> {
    let text = fs::read_to_string(out)?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut heights = Vec::new();
    let mut transactions = BTreeSet::new();
    for line in whole.lines() {
        let block: Value = serde_json::from_str(line)?;
        heights.push(block["height"].as_u64().context("a height")?);
        for transaction in block["transactions"].as_array().context("transactions")? {
            let id = transaction["transaction"].as_str().context("an id")?;
            ensure!(transactions.insert(id.to_owned()), "transaction {id} was shown twice");
        }
    }
    Ok((heights, transactions))
}

async fn sees(out: &Path, blocks: usize) -> Result<()> {
    let what = format!("watch to show {blocks} blocks");
    wait::until(&what, SOON, async || {
        let (heights, _) = seen(out).map_err(|error| format!("{error:#}"))?;
        if heights.len() >= blocks { Ok(()) } else { Err(format!("{} blocks", heights.len())) }
    })
    .await
}

/// Resumed at the height after the last one it had, through crashes of validators: no gap, no block
/// twice, every acknowledged transaction seen.
#[test]
fn watch_resumes_without_a_gap() {
    with(&Plan::of(4), async |consortium| {
        consortium.start_all().await?;
        let home = tempfile::tempdir()?;
        let (first, second) = (home.path().join("first"), home.path().join("second"));
        let watching = watch(consortium, 1, &first)?;
        let mut load = load(consortium, 8).await?;
        sees(&first, 20).await?;
        // Whichever validator it follows.
        for index in 0..4 {
            consortium.kill9(index)?;
            load.progresses(50, SOON).await?;
            consortium.start(index)?;
            consortium.ready(index).await?;
        }
        let shown = seen(&first)?.0.len();
        sees(&first, shown + 5).await?;
        // Ctrl-C.
        ensure!(watching.interrupt()? == Some(130), "an interrupted command says so by its exit code");
        let (heights, mut transactions) = seen(&first)?;
        let last = *heights.last().context("blocks")?;

        load.progresses(100, SOON).await?;
        let _watching = watch(consortium, last + 1, &second)?;
        sees(&second, 5).await?;
        let (_, acknowledged) = load.stop().await?;
        let top = acknowledged.0.values().max().context("receipts")?.0;
        sees(&second, usize::try_from(top.saturating_sub(last))?).await?;

        let (more, later) = seen(&second)?;
        let all: Vec<u64> = heights.iter().chain(&more).copied().collect();
        let expected: Vec<u64> = (1..).take(all.len()).collect();
        ensure!(all == expected, "a gap, or a block twice: {all:?}");
        transactions.extend(later);
        let missing = acknowledged.0.keys().find(|id| !transactions.contains(&id.to_string()));
        ensure!(missing.is_none(), "transaction {missing:?} was never shown");
        consortium.audit_each(&acknowledged).await?;
        Ok(())
    });
}

/// The library's stream goes on with another validator when its own dies.
#[test]
fn a_stream_survives_its_validator() {
    with(&Plan::of(4), async |consortium| {
        consortium.start_all().await?;
        let client = consortium.client_of("watch", &Options::default())?;
        let mut blocks = client.blocks(Height(1), true);
        let mut load = load(consortium, 8).await?;
        let mut due = Height(1);
        for round in 0..3 {
            for _ in 0..10 {
                let block = blocks.next().await?.context("the stream ended")?;
                ensure!(block.height() == due, "block {} where {due} was due", block.height());
                due = due.next();
            }
            let source = blocks.source().context("a source")?;
            let index = consortium.founding().validator_details().find(|(_, each)| each.name == source);
            let index = index.context("a validator")?.0.as_usize();
            consortium.kill9(index)?;
            load.progresses(30, SOON).await?;
            let top = consortium.height().await?;
            while due <= top {
                let block = blocks.next().await?.context("the stream ended")?;
                ensure!(block.height() == due, "round {round}: block {} where {due} was due", block.height());
                due = due.next();
            }
            consortium.start(index)?;
            consortium.ready(index).await?;
        }
        let (_, acknowledged) = load.stop().await?;
        consortium.audit_each(&acknowledged).await?;
        Ok(())
    });
}
