//! Several clients at once on a few keys and accounts, while validators are killed, held still and
//! restarted: what they saw must be explained by the chain; see [`quorate_tests::history`].

use anyhow::{Context, Result, ensure};
use quorate_tests::history::blind::linearizable;
use quorate_tests::history::check::check;
use quorate_tests::history::clients::{Clients, UNITS, chain};
use quorate_tests::history::world::World;
use quorate_tests::{Consortium, Plan, audit, wait};
use std::time::Duration;

const MEMBERS: [&str; 5] = ["mill", "shop", "acme", "bolt", "crown"];

const SOON: Duration = Duration::from_secs(60);

/// Waits until the clients have made so many further calls.
async fn calls(clients: &Clients, count: u64) -> Result<()> {
    let wanted = clients.made() + count;
    wait::until("the clients to go on", SOON, async || match clients.made() {
        made if made >= wanted => Ok(()),
        made => Err(format!("{made} of {wanted} calls")),
    })
    .await
}

#[test]
fn clients_see_one_ledger_while_validators_fail() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let mut consortium = Consortium::temporary(&Plan::of(4)).expect("the consortium is founded");
    let done = runtime.expect("a runtime starts").block_on(async {
        let run = run(&mut consortium);
        tokio::time::timeout(4 * SOON, run).await.context("the test takes too long")?
    });
    if let Err(error) = done {
        panic!("{error:?}");
    }
}

async fn run(consortium: &mut Consortium) -> Result<()> {
    consortium.start_all().await?;
    let clients = Clients::start(consortium, &MEMBERS, rand::random()).await?;
    for victim in 0..4 {
        calls(&clients, 40).await?;
        consortium.kill9(victim)?;
        calls(&clients, 40).await?;
        consortium.start(victim)?;
        let leader = consortium.leader().await?;
        if leader != victim {
            consortium.pause(leader)?;
            // With the one that starts there is a quorum.
            calls(&clients, 20).await?;
            consortium.resume(leader)?;
        }
        consortium.ready(victim).await?;
    }
    // Two at once: nobody learns what becomes of its transactions. Whoever has them may still propose them.
    calls(&clients, 20).await?;
    consortium.kill9(1)?;
    consortium.kill9(2)?;
    calls(&clients, 15).await?;
    consortium.start(1)?;
    consortium.start(2)?;
    consortium.all_ready().await?;
    calls(&clients, 100).await?;

    let from = clients.from();
    let history = clients.stop().await?;
    let auditor = consortium.client("watch")?;
    audit(&auditor, |_| {}).await?;
    let chain = chain(&auditor, from).await?;
    auditor.shutdown().await;
    let counts = check(&history, &chain, &World::new(MEMBERS.len(), UNITS))?;
    eprintln!("{counts:?}");
    // Otherwise nothing was put to the test.
    ensure!(counts.failed >= 20 && counts.reads >= 50, "the clients hardly met: {counts:?}");
    ensure!(counts.unknown >= 1, "no outage was noticed: {counts:?}");
    linearizable(&history, MEMBERS.len(), UNITS)?;
    consortium.stop_all().await
}
