//! Disks that fill up, lose or change bytes, are put back as they once were; machines that stand still.
//!
//! Real validators, real RocksDB. Every test ends with an audit of each validator from the outside, in
//! which everything acknowledged must stand once, and with a look at what the validators hold against
//! each other: a vote that contradicts an earlier one would be kept as evidence by whoever received it.
//!
//! Tests of full disks mount a small tmpfs, which needs root; they fail and say so where that is missing.

mod backups;
mod damage;
mod full;
mod standstill;
mod tmpfs;
mod victim;

use anyhow::{Context, Result, ensure};
use quorate_client::client::Client;
use quorate_client::client::submit::DEFAULT_LIFETIME;
use quorate_tests::{Acknowledged, Consortium, Load, Plan};
use quorate_types::outcome::Outcome;
use quorate_types::transaction::Operation;
use std::time::Duration;

/// How long any one condition may take to come about, on a machine under load.
const SOON: Duration = Duration::from_secs(60);

/// How long a whole test may take.
const TEST: Duration = Duration::from_secs(280);

/// Runs a test on a consortium, and checks that whoever still runs stops cleanly. If the test fails, the
/// directory with all logs is kept.
fn with(mut consortium: Consortium, test: impl AsyncFnOnce(&mut Consortium) -> Result<()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let done = runtime.block_on(async {
        let test = async {
            test(&mut consortium).await?;
            consortium.stop_all().await
        };
        tokio::time::timeout(TEST, test).await.context("the test takes too long")?
    });
    if let Err(error) = done {
        panic!("{error:?}");
    }
}

/// Four validators that change views often, so that one that forgot its votes does not wait long for the
/// view from which on it may vote again.
fn four() -> Consortium {
    let plan = Plan::of(4).with(|parameters| {
        parameters.term_blocks = 16;
        parameters.max_block_transactions = 50;
    });
    Consortium::temporary(&plan).expect("the consortium is founded")
}

fn put(number: u64) -> Vec<Operation> {
    let (key, value) = (format!("key-{}", number % 997), format!("value {number}"));
    vec![Operation::Put { namespace: LOAD.to_owned(), key: key.into(), value: value.into(), expected: None }]
}

/// Submits one transaction, which must apply.
async fn apply(client: &Client, operation: Operation) -> Result<()> {
    let receipt = client.submit(&client.sign(vec![operation], DEFAULT_LIFETIME)).await?;
    ensure!(*receipt.outcome() == Outcome::Applied, "failed: {:?}", receipt.outcome());
    Ok(())
}

/// The namespace of the load.
const LOAD: &str = "load";

/// As member mill, opens the namespace of the load.
async fn open_namespace(consortium: &Consortium) -> Result<()> {
    let client = consortium.client("mill")?;
    apply(&client, Operation::CreateNamespace { namespace: LOAD.to_owned() }).await?;
    client.shutdown().await;
    Ok(())
}

/// As member mill, writes without end, a few transactions at a time.
fn load(consortium: &Consortium) -> Result<Load> {
    Ok(Load::start(consortium.client("mill")?, 16, put))
}

/// Writes so many transactions, and records their receipts.
async fn pulse(consortium: &Consortium, count: u64, acknowledged: &mut Acknowledged) -> Result<()> {
    let mut load = load(consortium)?;
    load.progresses(count, SOON).await?;
    let (_, more) = load.stop().await?;
    acknowledged.extend(more);
    Ok(())
}

/// Whether nobody holds evidence of contradicting signatures, as each running validator says.
async fn nobody_contradicts(consortium: &Consortium) -> Result<()> {
    for index in consortium.running().collect::<Vec<_>>() {
        let status = consortium.status(index).await?;
        ensure!(status.evidence == 0, "{} holds evidence of contradicting votes", status.name);
    }
    Ok(())
}

/// The end of every test: the chain as each gives it, and what they hold against each other.
async fn holds(consortium: &Consortium, acknowledged: &Acknowledged) -> Result<()> {
    nobody_contradicts(consortium).await?;
    consortium.audit_each(acknowledged).await?;
    Ok(())
}
