//! Fewer validators than a quorum.

use crate::{SOON, apply, put, with};
use anyhow::{Result, bail, ensure};
use quorate_client::error::{ClientError, Exit};
use quorate_tests::{Acknowledged, Plan};
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
        consortium.reaches(0, receipt.height(), SOON).await?;
        consortium.reaches(1, receipt.height(), SOON).await?;

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
        // Expired meanwhile, so it can never commit.
        ensure!(matches!(client.receipt(transaction.id()).await, Err(ClientError::NotFound { .. })));
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
