//! Full disks: of one validator, and of all at once.

use crate::tmpfs::{Disks, RESERVE, fill, give_back};
use crate::{SOON, four, holds, load, open_namespace, with};
use anyhow::{Context, Result, bail, ensure};
use quorate_client::error::ClientError;
use quorate_tests::consortium::name;
use quorate_tests::programs::{self, program};
use quorate_tests::{Consortium, wait};
use quorate_types::transaction::Operation;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// What a validator says everywhere while its disk is full.
const FULL: &str = "the disk is full";

/// Waits until a validator says on its HTTP port that its disk is full, and how that ends.
async fn says_so(consortium: &Consortium, index: usize) -> Result<()> {
    let what = format!("{} to say that its disk is full", name(index));
    wait::until(&what, SOON, async || {
        match consortium.http(index, "/readyz").await.map_err(|error| error.to_string())? {
            (503, why)
                if why.contains(FULL) && why.contains("free some space, the node goes on by itself") =>
            {
                Ok(())
            }
            (code, why) => Err(format!("{code}: {why}")),
        }
    })
    .await?;
    let trouble = consortium.status(index).await?.trouble.context("status names no trouble")?;
    ensure!(trouble.contains(FULL), "status says {trouble}");
    Ok(())
}

/// Starts a validator on its full disk, for a while. Replaying the log takes room: usually there is too
/// little, and it says so. Where the crash left a log behind that is not needed any more, with the room set
/// aside for it, that is enough: then the validator runs, and writes nothing.
fn starts_or_says_why(consortium: &Consortium, index: usize) -> Result<()> {
    let mut start = Command::new("timeout");
    start.args(["--kill-after=20", "10"]).arg(program("quorate-node")?);
    start.args(["start", "--http", "off", "--dir"]).arg(consortium.node_directory(index));
    let ran = programs::run(&mut start)?;
    match ran.code {
        Some(1) => {
            ran.says("no space left for")?.says("free some, then start again: nothing was lost")?;
        }
        _ => {
            // Ended for want of time.
            ran.exits(124)?.says(FULL)?;
        }
    }
    Ok(())
}

/// Submits a transaction that has little time, and expects that nobody can say whether it committed.
async fn nothing_commits(consortium: &Consortium) -> Result<()> {
    let client = consortium.client("shop")?;
    let asset = Operation::CreateAsset { asset: "meanwhile".to_owned() };
    let transaction = client.sign(vec![asset], Duration::from_secs(3));
    let told = client.submit(&transaction).await;
    client.shutdown().await;
    match told {
        Err(ClientError::Unknown { .. }) => Ok(()),
        Err(other) => bail!("submitting gives {other}"),
        Ok(receipt) => bail!("a block committed without a quorum that can write: {}", receipt.height()),
    }
}

/// One validator's disk fills up under load. It stops voting and says so; the others go on without it;
/// and it votes again when there is space, without a restart.
#[test]
fn one_disk_is_full() {
    let consortium = four();
    let _disks = Disks::under(&consortium, &[1]).expect("disks are mounted");
    with(consortium, async |consortium| {
        consortium.start_all().await?;
        open_namespace(consortium).await?;
        let mut load = load(consortium)?;
        load.progresses(200, SOON).await?;

        fill(consortium, 1, RESERVE / 2)?;
        says_so(consortium, 1).await?;
        let log = fs::read_to_string(consortium.node_directory(1).join("log"))?;
        ensure!(log.contains("the node writes nothing and does not vote until there is space"), "{log}");
        load.progresses(300, SOON).await?;

        // With another one gone, its vote is needed. It is not given.
        consortium.kill9(2)?;
        nothing_commits(consortium).await?;
        says_so(consortium, 1).await?;
        let process = consortium.pid(1);

        // Given space it votes, by itself.
        give_back(consortium, 1)?;
        load.progresses(300, SOON).await?;
        ensure!(consortium.ended(1)?.is_none() && consortium.pid(1) == process, "it was restarted");
        consortium.ready(1).await?;
        consortium.start(2)?;
        consortium.all_ready().await?;
        let (_, acknowledged) = load.stop().await?;
        holds(consortium, &acknowledged).await
    });
}

/// All disks fill up to the last byte, the logs' own included. Nothing that was acknowledged is lost,
/// not even by those that are killed meanwhile; one that is started on the full disk says what it
/// needs; and all go on when there is space.
#[test]
fn all_disks_are_full() {
    let consortium = four();
    let _disks = Disks::under(&consortium, &[0, 1, 2, 3]).expect("disks are mounted");
    with(consortium, async |consortium| {
        consortium.start_all().await?;
        open_namespace(consortium).await?;
        let mut load = load(consortium)?;
        load.progresses(200, SOON).await?;
        for index in 0..4 {
            fill(consortium, index, 0)?;
        }
        for index in 0..4 {
            says_so(consortium, index).await?;
        }
        nothing_commits(consortium).await?;

        // Two crash on their full disks.
        for index in [0, 3] {
            consortium.kill9(index)?;
            starts_or_says_why(consortium, index)?;
        }
        for index in 0..4 {
            give_back(consortium, index)?;
        }
        for index in [0, 3] {
            consortium.start(index)?;
        }
        consortium.all_ready().await?;
        load.progresses(300, SOON).await?;
        let (_, acknowledged) = load.stop().await?;
        holds(consortium, &acknowledged).await
    });
}
