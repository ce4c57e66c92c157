//! Validators killed without warning, alone and all together; directories lost.

use crate::{SOON, apply, load, with};
use anyhow::{Result, ensure};
use quorate_node::storage::GUARD_FILE;
use quorate_tests::consortium::name;
use quorate_tests::{Consortium, Plan};
use quorate_types::ids::Height;
use quorate_types::transaction::Operation;
use std::fs;

/// `kill -9` each in turn under load, the leader among them: the others go on, and it comes back.
#[test]
fn each_in_turn_is_killed_under_load() {
    with(&Plan::of(4), async |consortium| {
        consortium.start_all().await?;
        let mut load = load(consortium, 64).await?;
        for index in 0..4 {
            load.progresses(100, SOON).await?;
            consortium.kill9(index)?;
            load.progresses(300, SOON).await?;
            let top = consortium.height().await?;
            consortium.start(index)?;
            consortium.ready(index).await?;
            consortium.reaches(index, top, SOON).await?;
        }
        load.progresses(300, SOON).await?;
        let (_, acknowledged) = load.stop().await?;
        consortium.audit_each(&acknowledged).await?;
        Ok(())
    });
}

/// `kill -9` all at once under load, several times: nothing acknowledged is lost.
#[test]
fn all_at_once_are_killed_under_load() {
    with(&Plan::of(4), async |consortium| {
        consortium.start_all().await?;
        let mut load = load(consortium, 64).await?;
        for _ in 0..3 {
            load.progresses(300, SOON).await?;
            for index in 0..4 {
                consortium.kill9(index)?;
            }
            consortium.start_all().await?;
        }
        load.progresses(300, SOON).await?;
        let (_, acknowledged) = load.stop().await?;
        consortium.audit_each(&acknowledged).await?;
        Ok(())
    });
}

/// Kills one of the others, so that no block commits without the vote of `index`, and waits for blocks.
async fn votes(consortium: &mut Consortium, index: usize) -> Result<()> {
    let other = (index + 1) % consortium.len();
    consortium.kill9(other)?;
    let client = consortium.client("shop")?;
    let asset = format!("needs-{}", name(index));
    apply(&client, vec![Operation::CreateAsset { asset }]).await?;
    client.shutdown().await;
    consortium.start(other)?;
    consortium.ready(other).await
}

/// Away for thousands of blocks: it catches up while the others go on, and votes again.
#[test]
fn a_validator_is_away_for_thousands_of_blocks() {
    // One transaction a block.
    let plan = Plan::of(4).with(|parameters| parameters.max_block_transactions = 1);
    with(&plan, async |consortium| {
        consortium.start_all().await?;
        let mut load = load(consortium, 16).await?;
        load.progresses(20, SOON).await?;
        consortium.kill9(3)?;
        let missed = consortium.height().await?.plus(2000);
        consortium.reaches(0, missed, 2 * SOON).await?;

        consortium.start(3)?;
        consortium.ready(3).await?;
        let status = consortium.status(3).await?;
        ensure!(status.height >= missed, "ready at block {}, with {missed} known", status.height);
        load.progresses(50, SOON).await?;
        let (_, acknowledged) = load.stop().await?;
        votes(consortium, 3).await?;
        consortium.audit_each(&acknowledged).await?;
        Ok(())
    });
}

/// A wiped directory: the validator learns everything from the others before it votes, and then does.
#[test]
fn a_wiped_validator_learns_and_returns() {
    with(&Plan::of(4), async |consortium| {
        consortium.start_all().await?;
        let mut load = load(consortium, 64).await?;
        load.progresses(300, SOON).await?;

        // The database alone, then everything that is not configuration.
        for (index, files) in [(1, &["data"][..]), (2, &["data", GUARD_FILE])] {
            consortium.kill9(index)?;
            for file in files {
                let path = consortium.node_directory(index).join(file);
                if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
            }
            let top = consortium.height().await?;
            consortium.start(index)?;
            load.progresses(100, SOON).await?;
            consortium.ready(index).await?;
            consortium.reaches(index, top, SOON).await?;
        }
        let (_, acknowledged) = load.stop().await?;
        for index in [1, 2] {
            votes(consortium, index).await?;
        }
        consortium.audit_each(&acknowledged).await?;
        Ok(())
    });
}

/// All stop in an orderly way and start again: the chain goes on, nothing is replayed wrongly.
#[test]
fn everything_is_there_after_a_restart() {
    with(&Plan::of(4), async |consortium| {
        consortium.start_all().await?;
        let mut load = load(consortium, 64).await?;
        load.progresses(300, SOON).await?;
        let (_, acknowledged) = load.stop().await?;
        let before = consortium.audit_each(&acknowledged).await?;
        consortium.stop_all().await?;
        ensure!(consortium.running().count() == 0);

        consortium.start_all().await?;
        let after = consortium.audit_each(&acknowledged).await?;
        ensure!(after >= before && before > Height::GENESIS, "block {after} where block {before} was");
        let client = consortium.client("shop")?;
        apply(&client, vec![Operation::CreateAsset { asset: "credits".into() }]).await?;
        Ok(())
    });
}
