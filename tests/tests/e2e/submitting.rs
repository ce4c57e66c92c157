//! Submitting and reading while nothing goes wrong.

use crate::{SOON, apply, load, put, with};
use anyhow::{Result, bail, ensure};
use quorate_client::client::Options;
use quorate_client::client::submit::DEFAULT_LIFETIME;
use quorate_ledger::{StateKey, StateValue};
use quorate_tests::consortium::name;
use quorate_tests::{Acknowledged, Consortium, Plan};
use quorate_types::ids::Height;
use quorate_types::transaction::Operation;

fn entry(key: &str) -> StateKey {
    StateKey::Entry { namespace: "notes".to_owned(), key: key.into() }
}

/// Four validators: what each acknowledges, all have, and all prove.
#[test]
fn four_validators_submit_and_verify() {
    with(&Plan::of(4), async |consortium| {
        consortium.start_all().await?;
        let client = consortium.client("acme")?;
        let mut acknowledged = Acknowledged::default();
        let founded = apply(&client, vec![Operation::CreateNamespace { namespace: "notes".into() }]).await?;
        acknowledged.note(founded.id(), founded.height());

        // Through each validator, leader or not.
        let mut last = Height::GENESIS;
        for index in 0..consortium.len() {
            let options = Options { nodes: vec![name(index)], ..Options::default() };
            let client = consortium.client_of("acme", &options)?;
            let receipt = apply(&client, vec![put("notes", "who", name(index))]).await?;
            ensure!(receipt.height() > last, "block {} came after {last}", receipt.height());
            last = receipt.height();
            acknowledged.note(receipt.id(), last);

            let state = client.read(entry("who"), None).await?;
            let Some(StateValue::Entry(found)) = state.value() else { bail!("nothing at the key") };
            ensure!((found.value.as_slice(), found.version.0) == (name(index).as_bytes(), last));
            ensure!(client.read(entry("nobody"), None).await?.value().is_none());
            client.shutdown().await;
        }
        // The past is proven too: before the key was written, and as it was first written.
        ensure!(client.read(entry("who"), Some(founded.height())).await?.value().is_none());
        let first = client.read(entry("who"), Some(founded.height().next())).await?;
        let Some(StateValue::Entry(found)) = first.value() else { bail!("nothing at the key then") };
        ensure!(found.value == name(0).into_bytes());

        // The same transaction again, to whomever: one effect, the same receipt.
        let transaction = client.sign(vec![put("notes", "once", "1")], DEFAULT_LIFETIME);
        let first = client.submit(&transaction).await?;
        acknowledged.note(first.id(), first.height());
        for _ in 0..consortium.len() {
            let again = client.submit(&transaction).await?;
            ensure!((again.id(), again.height()) == (first.id(), first.height()), "a second effect");
        }
        consortium.audit_each(&acknowledged).await?;
        Ok(())
    });
}

async fn carries_load(consortium: &mut Consortium) -> Result<()> {
    consortium.start_all().await?;
    let mut load = load(consortium, 128).await?;
    load.progresses(500, SOON).await?;
    let (_, acknowledged) = load.stop().await?;
    consortium.audit_each(&acknowledged).await?;
    Ok(())
}

/// A chain of one validator is legal, for trying out; it goes on after a crash.
#[test]
fn one_validator_alone() {
    with(&Plan::of(1), async |consortium| {
        carries_load(consortium).await?;
        let before = consortium.height().await?;
        consortium.kill9(0)?;
        consortium.start(0)?;
        consortium.ready(0).await?;
        let client = consortium.client("shop")?;
        let receipt = apply(&client, vec![Operation::CreateAsset { asset: "credits".into() }]).await?;
        ensure!(receipt.height() > before, "block {} after block {before}", receipt.height());
        Ok(())
    });
}

/// Seven validators, of which two may fail.
#[test]
fn seven_validators_and_two_of_them_gone() {
    with(&Plan::of(7), async |consortium| {
        carries_load(consortium).await?;
        // The leader and the next.
        let leader = consortium.leader().await?;
        consortium.kill9(leader)?;
        consortium.kill9((leader + 1) % 7)?;
        let client = consortium.client("shop")?;
        let receipt = apply(&client, vec![Operation::CreateAsset { asset: "credits".into() }]).await?;
        let mut acknowledged = Acknowledged::default();
        acknowledged.note(receipt.id(), receipt.height());
        consortium.audit_each(&acknowledged).await?;
        Ok(())
    });
}
