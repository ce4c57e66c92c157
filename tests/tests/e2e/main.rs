//! The end-to-end suite: consortiums of real processes, killed, cut down, lied to and audited.
//!
//! Every test founds its own consortium and records what was acknowledged to its clients. At its end
//! the chain is audited from the outside, and each acknowledged transaction must stand there once.
//! Nothing here waits for time to pass: tests wait for conditions, each with a deadline.
//!
//! The programs have to be built first: `cargo build --release -p quorate-node -p quorate-client
//! -p quorate-tests`. `make test` does so.

mod benchmark;
mod cli;
mod crashes;
mod files;
mod identity;
mod outages;
mod readme;
mod submitting;
mod watching;

use anyhow::{Context, Result, ensure};
use quorate_client::client::Client;
use quorate_client::client::submit::DEFAULT_LIFETIME;
use quorate_client::verify::VerifiedReceipt;
use quorate_tests::{Consortium, Load, Plan};
use quorate_types::outcome::Outcome;
use quorate_types::transaction::Operation;
use std::time::Duration;

/// How long any one condition may take to come about. Most take a fraction of a second; a loaded
/// machine may be slow.
const SOON: Duration = Duration::from_secs(60);

/// How long a whole test may take.
const TEST: Duration = Duration::from_secs(240);

/// Founds a consortium, runs a test on it, and checks that whoever still runs stops cleanly. If the
/// test fails, the directory with all logs is kept.
fn with(plan: &Plan, test: impl AsyncFnOnce(&mut Consortium) -> Result<()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let mut consortium = Consortium::temporary(plan).expect("the consortium is founded");
    let done = runtime.block_on(async {
        let test = async {
            test(&mut consortium).await?;
            consortium.stop_all().await
        };
        tokio::time::timeout(TEST, test).await.context("the test takes too long")?
    });
    // A panic while the consortium is there keeps its directory.
    if let Err(error) = done {
        panic!("{error:?}");
    }
}

fn put(namespace: &str, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Operation {
    Operation::Put { namespace: namespace.to_owned(), key: key.into(), value: value.into(), expected: None }
}

/// Submits operations as one transaction, which must apply.
async fn apply(client: &Client, operations: Vec<Operation>) -> Result<VerifiedReceipt> {
    let receipt = client.submit(&client.sign(operations, DEFAULT_LIFETIME)).await?;
    ensure!(*receipt.outcome() == Outcome::Applied, "failed: {:?}", receipt.outcome());
    Ok(receipt)
}

/// The namespace of the load.
const LOAD: &str = "load";

/// As member mill, opens a namespace and writes to it without end.
async fn load(consortium: &Consortium, in_flight: usize) -> Result<Load> {
    let client = consortium.client("mill")?;
    apply(&client, vec![Operation::CreateNamespace { namespace: LOAD.to_owned() }]).await?;
    Ok(Load::start(client, in_flight, |number| {
        vec![put(LOAD, format!("key-{}", number % 997), format!("value {number}"))]
    }))
}
