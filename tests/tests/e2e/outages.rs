//! Fewer validators than a quorum.

use crate::{SOON, apply, load, put, with};
use anyhow::{Result, bail, ensure};
use quorate_client::error::{ClientError, Exit};
use quorate_tests::{Acknowledged, Plan};
use quorate_types::ids::Height;
use quorate_types::transaction::Operation;
use std::time::Duration;

/// Two of four gone: nothing commits, and nobody is told that anything did. Both back: it goes on.
#[test]
fn two_of_four_are_gone_and_come_back() {
    with(&Plan::of(4), async |consortium| {
        consortium.start_all().await?;
        let client = consortium.client("acme")?;
        let mut acknowledged = Acknowledged::default();
        let receipt = apply(&client, vec![Operation::CreateNamespace { namespace: "notes".into() }]).await?;
        acknowledged.note(receipt.id(), receipt.height());
        // Without the one, the other has to vote. One that never did would be taken, when it comes back, for one
        // that lost its disk, and wait for blocks that nobody asks for here.
        for (absent, value) in [(2, "x"), (3, "y")] {
            consortium.pause(absent)?;
            let receipt = apply(&client, vec![put("notes", "before", value)]).await?;
            acknowledged.note(receipt.id(), receipt.height());
            consortium.resume(absent)?;
            for index in 0..4 {
                consortium.reaches(index, receipt.height(), SOON).await?;
            }
        }

        consortium.kill9(2)?;
        consortium.kill9(3)?;
        let before = consortium.height().await?;
        let transaction = client.sign(vec![put("notes", "during", "x")], Duration::from_secs(3));
        match client.submit(&transaction).await {
            Err(error @ ClientError::Unknown { .. }) => ensure!(error.exit() == Exit::Unknown),
            other => bail!("without a quorum, submitting gives {other:?}"),
        }
        let told = consortium.quorate("acme", ["put", "notes", "during", "y", "--lifetime", "2"])?;
        told.exits(5)?.says("may or may not have committed")?;
        for index in [0, 1] {
            let status = consortium.status(index).await?;
            ensure!(status.height == before, "block {} committed without a quorum", status.height);
        }
        // What is final stays readable, with proofs.
        ensure!(client.receipt(receipt.id()).await?.height() == receipt.height());

        consortium.start(2)?;
        consortium.start(3)?;
        consortium.all_ready().await?;
        let receipt = apply(&client, vec![put("notes", "after", "x")]).await?;
        acknowledged.note(receipt.id(), receipt.height());
        // Expired meanwhile, and it stands in no block that could still be proposed again.
        ensure!(matches!(client.receipt(transaction.id()).await, Err(ClientError::NotFound { .. })));
        consortium.audit_each(&acknowledged).await?;
        Ok(())
    });
}

/// Held still in the middle of the work, alone and all together, and let go again: nobody restarts
/// anything, and all of them go on.
#[test]
fn frozen_validators_go_on_when_they_thaw() {
    with(&Plan::of(4), async |consortium| {
        consortium.start_all().await?;
        let mut load = load(consortium, 64).await?;
        for _ in 0..2 {
            load.progresses(100, SOON).await?;
            let leader = consortium.leader().await?;
            consortium.pause(leader)?;
            load.progresses(500, SOON).await?;
            consortium.resume(leader)?;
            let others = (0..4).filter(|index| *index != leader);
            let mut top = Height::GENESIS;
            for index in others {
                top = top.max(consortium.status(index).await?.height);
            }
            consortium.reaches(leader, top, SOON).await?;
            consortium.ready(leader).await?;
        }
        load.progresses(100, SOON).await?;
        for index in 0..4 {
            consortium.pause(index)?;
        }
        for index in 0..4 {
            consortium.resume(index)?;
        }
        load.progresses(300, SOON).await?;
        let (_, acknowledged) = load.stop().await?;
        consortium.audit_each(&acknowledged).await?;
        Ok(())
    });
}

/// With nobody there, that is what the member is told.
#[test]
fn nobody_is_there() -> Result<()> {
    let consortium = quorate_tests::Consortium::temporary(&Plan::of(4))?;
    for arguments in [&["status"][..], &["get", "notes", "x"], &["put", "notes", "x", "y"], &["audit"]] {
        let told = consortium.quorate("acme", arguments.iter().chain(&["--timeout", "1"]))?;
        told.exits(7)?;
    }
    Ok(())
}
