//! Consortiums of real processes under network faults: partitions, links that work one way, links that
//! lose and reorder, floods, and peers that speak QUIC with bad intent.
//!
//! Validators of the tests of partitions each run in a network namespace of their own, so these tests need
//! root and the programs `ip` and `nft`; they fail and say so where that is missing. Every test records what
//! was acknowledged to its clients. At its end the chain is audited from the outside as each validator
//! gives it, and each acknowledged transaction must stand there once.
//!
//! How long a partition lasts is decided by conditions, not by a clock: until everyone has noticed, or
//! until the connections across it have timed out. Figures are printed with `--nocapture`.

mod chaos;
mod flood;
mod hostile;
mod lossy;
mod one_way;
mod partitions;
mod strangers;

use anyhow::{Context, Result, ensure};
use quorate_client::client::Client;
use quorate_client::client::submit::DEFAULT_LIFETIME;
use quorate_client::protocol::NodeStatus;
use quorate_client::verify::VerifiedReceipt;
use quorate_tests::network::Networked;
use quorate_tests::{Consortium, Load, Plan, wait};
use quorate_types::ids::{Height, View};
use quorate_types::outcome::Outcome;
use quorate_types::transaction::Operation;
use std::time::{Duration, Instant};
use tokio::runtime::Builder;

/// How long any one condition may take to come about. Most take a fraction of a second; a loaded
/// machine may be slow.
const SOON: Duration = Duration::from_secs(60);

/// How long the first commit may take once a quorum can talk again, on a machine with two busy
/// processors. Connections that timed out are dialled again after 5 s at the latest, and a dial gives
/// up after 5 s; the rest is for the view change.
const RECOVERY: Duration = Duration::from_secs(20);

/// How long a whole test may take.
const TEST: Duration = Duration::from_secs(240);

/// Runs a test to its end, in time, and panics with the whole story if it fails.
fn run(builder: &mut Builder, test: impl Future<Output = Result<()>>) {
    let runtime = builder.worker_threads(2).enable_all().build().expect("a runtime starts");
    let done = runtime.block_on(async { tokio::time::timeout(TEST, test).await.context("too slow")? });
    // A panic while the consortium is there keeps its directory.
    if let Err(error) = done {
        panic!("{error:?}");
    }
}

/// Founds a consortium on loopback, runs a test on it, and checks that whoever still runs stops cleanly.
fn with(plan: &Plan, test: impl AsyncFnOnce(&mut Consortium) -> Result<()>) {
    let mut consortium = Consortium::temporary(plan).expect("the consortium is founded");
    run(&mut Builder::new_multi_thread(), async {
        test(&mut consortium).await?;
        consortium.stop_all().await
    });
}

/// The same with each validator in a namespace of its own, and the test in the hub between them.
fn with_network(plan: &Plan, test: impl AsyncFnOnce(&mut Networked) -> Result<()> + Send) {
    // A thread that enters a namespace is of no use to other tests.
    let tested = std::thread::scope(|scope| {
        let test = scope.spawn(|| {
            let mut networked = Networked::found(plan).expect("the consortium is founded");
            networked.fabric.hub().enter().expect("the hub can be entered");
            let hub = networked.fabric.hub().try_clone().expect("a second handle");
            let mut builder = Builder::new_multi_thread();
            builder.on_thread_start(move || hub.enter().expect("the hub can be entered"));
            run(&mut builder, async {
                networked.start_all().await?;
                test(&mut networked).await?;
                networked.fabric.heal()?;
                networked.consortium.stop_all().await
            });
        });
        test.join()
    });
    if let Err(panic) = tested {
        std::panic::resume_unwind(panic);
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

/// Waits until each of these has given up the view it was in.
async fn change_view(consortium: &Consortium, validators: &[usize]) -> Result<()> {
    for index in validators {
        let changing = |status: &NodeStatus| status.phase == "changing view";
        consortium.sees(*index, "a view change", SOON, changing).await?;
    }
    Ok(())
}

/// Waits until these have no connection to those, nor those to them.
async fn lose(consortium: &Consortium, these: &[usize], those: &[usize]) -> Result<()> {
    for (from, to) in [(these, those), (those, these)] {
        for index in from {
            let lost = |status: &NodeStatus| {
                let connected = status.peers.iter().filter(|peer| peer.connected);
                connected.into_iter().all(|peer| !to.contains(&peer.validator.as_usize()))
            };
            consortium.sees(*index, &format!("no connection to {to:?}"), SOON, lost).await?;
        }
    }
    Ok(())
}

/// Waits for the first commit after `since`, when a quorum could talk again, and says how long it took.
async fn recovers(what: &str, load: &mut Load, since: Instant) -> Result<()> {
    load.progresses(1, RECOVERY).await.with_context(|| format!("after {what}"))?;
    eprintln!("{what}: the first receipt came {:.1} s after healing", since.elapsed().as_secs_f64());
    load.progresses(200, SOON).await.with_context(|| format!("after {what}"))
}

/// The highest height and view that these say they have.
async fn highest(consortium: &Consortium, validators: &[usize]) -> Result<(Height, View)> {
    let mut highest = (Height::GENESIS, View(0));
    for index in validators {
        let status = consortium.status(*index).await?;
        highest = (highest.0.max(status.height), highest.1.max(status.view));
    }
    Ok(highest)
}

/// Waits until a count has grown to this.
async fn grows(what: &str, to: u64, mut count: impl FnMut() -> Result<u64>) -> Result<()> {
    let grown = wait::until(what, SOON, async || match count() {
        Ok(count) if count >= to => Ok(Ok(())),
        Ok(count) => Err(format!("{count} of {to}")),
        Err(error) => Ok(Err(error)),
    });
    grown.await?
}
