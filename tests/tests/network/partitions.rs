//! Validators that cannot talk to each other, both ways.

use crate::{
    LOAD, RECOVERY, SOON, apply, change_view, grows, highest, load, lose, put, recovers, with_network,
};
use anyhow::{Context, Result, ensure};
use quorate_client::client::Options;
use quorate_tests::consortium::name;
use quorate_tests::network::Networked;
use quorate_tests::{Load, Plan};
use std::time::Instant;
use tokio::task::JoinSet;

/// So many further packets were dropped: both sides keep trying.
async fn packets_are_dropped(net: &Networked, count: u64) -> Result<()> {
    let before = net.fabric.dropped()?;
    grows("dropped packets", before + count, || net.fabric.dropped()).await
}

/// Checks that nothing commits until `hold` is over. What was decided before the cut may be learnt of a
/// moment later, so the time of a few dozen dropped packets passes first. Receipts for it may come later
/// still, from a validator that the load turns to because the first one is silent.
async fn nothing_commits(
    net: &Networked,
    load: &Load,
    hold: impl AsyncFnOnce(&Networked) -> Result<()>,
) -> Result<()> {
    let everyone: Vec<usize> = (0..net.consortium.len()).collect();
    packets_are_dropped(net, 40).await?;
    let (height, _) = highest(&net.consortium, &everyone).await?;
    hold(net).await?;
    let (after, _) = highest(&net.consortium, &everyone).await?;
    ensure!(after == height, "block {after} came after block {height} without a quorum");
    let receipt = load.highest();
    ensure!(receipt <= height, "a receipt proves block {receipt}, after block {height}, without a quorum");
    Ok(())
}

/// Two and two of four, under load: no block on either side. Healed, it goes on by itself, whether the
/// connections outlast the partition or not.
#[test]
fn two_and_two() {
    with_network(&Plan::of(4), async |net| {
        let mut load = load(&net.consortium, 64).await?;
        load.progresses(200, SOON).await?;

        net.fabric.split(&[&[0, 1], &[2, 3]])?;
        nothing_commits(net, &load, async |net| packets_are_dropped(net, 40).await).await?;
        let healed = Instant::now();
        net.fabric.heal()?;
        recovers("a short split 2/2", &mut load, healed).await?;

        // Long enough that every connection across has timed out.
        net.fabric.split(&[&[0, 2], &[1, 3]])?;
        nothing_commits(net, &load, async |net| lose(&net.consortium, &[0, 2], &[1, 3]).await).await?;
        let healed = Instant::now();
        net.fabric.heal()?;
        recovers("a long split 2/2", &mut load, healed).await?;

        net.consortium.all_ready().await?;
        let (_, acknowledged) = load.stop().await?;
        net.consortium.audit_each(&acknowledged).await?;
        Ok(())
    });
}

/// Five validators, of which one may fail and four must agree: with one cut off they go on, split into three
/// and two neither side does.
#[test]
fn three_and_two_of_five() {
    with_network(&Plan::of(5), async |net| {
        let mut load = load(&net.consortium, 64).await?;
        load.progresses(200, SOON).await?;
        net.fabric.isolate(4)?;
        load.progresses(300, SOON).await.context("four of five")?;
        net.fabric.heal()?;
        net.fabric.split(&[&[0, 1, 2], &[3, 4]])?;
        nothing_commits(net, &load, async |net| packets_are_dropped(net, 60).await).await?;
        let healed = Instant::now();
        net.fabric.heal()?;
        recovers("a split 3/2 of five", &mut load, healed).await?;
        net.consortium.all_ready().await?;
        let (_, acknowledged) = load.stop().await?;
        net.consortium.audit_each(&acknowledged).await?;
        Ok(())
    });
}

/// One of four is cut off under load, first the leader, then another: the rest goes on, the one stands
/// still, and when it is back it catches up and its vote counts.
#[test]
fn three_and_one() {
    with_network(&Plan::of(4), async |net| {
        let mut load = load(&net.consortium, 64).await?;
        load.progresses(200, SOON).await?;
        for leading in [true, false] {
            let leader = net.consortium.leader().await?;
            let one = if leading { leader } else { (leader + 2) % 4 };
            let others: Vec<usize> = (0..4).filter(|index| *index != one).collect();
            net.fabric.isolate(one)?;
            load.progresses(300, SOON).await?;
            let alone = net.consortium.status(one).await?.height;
            lose(&net.consortium, &[one], &others).await?;
            load.progresses(300, SOON).await?;
            let now = net.consortium.status(one).await?.height;
            ensure!(now == alone, "block {now} came to one that is cut off");

            let (top, _) = highest(&net.consortium, &others).await?;
            ensure!(top > alone, "the others stand still at block {top}");
            let healed = Instant::now();
            net.fabric.heal()?;
            net.consortium.reaches(one, top, RECOVERY).await?;
            net.consortium.ready(one).await?;
            let role = if leading { "the leader" } else { "a follower" };
            eprintln!("{role} was cut off: it has caught up after {:.1} s", healed.elapsed().as_secs_f64());

            // With another one gone, no block commits without the vote of the one that is back.
            net.fabric.isolate(others[0])?;
            load.progresses(300, SOON).await.context("without another one")?;
            net.fabric.heal()?;
            net.consortium.ready(others[0]).await?;
        }
        let (_, acknowledged) = load.stop().await?;
        net.consortium.audit_each(&acknowledged).await?;
        Ok(())
    });
}

/// Everyone is cut off from everyone in the middle of a view change, for longer than connections
/// last: what was sent for it is gone for good, and has to be sent again.
#[test]
fn in_the_middle_of_a_view_change() {
    with_network(&Plan::of(4), async |net| {
        let mut load = load(&net.consortium, 64).await?;
        load.progresses(200, SOON).await?;
        // Without the leader and the next one, the others leave the view and open no other.
        let leader = net.consortium.leader().await?;
        let others = [(leader + 2) % 4, (leader + 3) % 4];
        net.fabric.split(&[&others])?;
        // All that the load has under way may be with the two they do not hear, and nobody suspects a leader
        // of ignoring what it does not know. Once cut off for long, nobody suspects anyone.
        let mut asked = JoinSet::new();
        for index in others {
            let options = Options { nodes: vec![name(index)], ..Options::default() };
            let client = net.consortium.client_of("mill", &options)?;
            let operations = vec![put(LOAD, format!("asked {index}"), "value")];
            asked.spawn(async move { apply(&client, operations).await });
        }
        change_view(&net.consortium, &others).await?;
        net.fabric.split(&[])?;
        nothing_commits(net, &load, async |net| {
            for index in 0..4 {
                let rest: Vec<usize> = (0..4).filter(|other| *other != index).collect();
                lose(&net.consortium, &[index], &rest).await?;
            }
            Ok(())
        })
        .await?;
        let (_, view) = highest(&net.consortium, &[0, 1, 2, 3]).await?;
        let healed = Instant::now();
        net.fabric.heal()?;
        recovers("a view change cut short", &mut load, healed).await?;
        let (_, after) = highest(&net.consortium, &[0, 1, 2, 3]).await?;
        ensure!(after >= view, "views went back from {view} to {after}");
        net.consortium.all_ready().await?;
        let (_, mut acknowledged) = load.stop().await?;
        while let Some(receipt) = asked.join_next().await {
            let receipt = receipt??;
            acknowledged.note(receipt.id(), receipt.height());
        }
        net.consortium.audit_each(&acknowledged).await?;
        Ok(())
    });
}

/// A validator comes and goes, the leader or not, and then two links at a time in turn: the others go on,
/// and in the end all are there.
#[test]
fn one_that_flaps() {
    with_network(&Plan::of(4), async |net| {
        let mut load = load(&net.consortium, 64).await?;
        load.progresses(100, SOON).await?;
        for round in 0..8 {
            // The leader of the moment every other time, so that views change while it is away.
            let one = if round % 2 == 0 { net.consortium.leader().await? } else { 3 };
            net.fabric.isolate(one)?;
            load.progresses(60, SOON).await.with_context(|| format!("round {round}, {one} is away"))?;
            net.fabric.heal()?;
            load.progresses(60, SOON).await.with_context(|| format!("round {round}, {one} is back"))?;
        }
        // Two links that have no end in common: nobody has a quorum of links, and three still connect.
        for pairs in [[(0, 1), (1, 0)], [(1, 2), (2, 1)], [(2, 3), (3, 2)], [(3, 0), (0, 3)]] {
            net.fabric.cut(pairs)?;
            load.progresses(60, SOON).await.with_context(|| format!("without the link {:?}", pairs[0]))?;
            net.fabric.heal()?;
        }
        let top = net.consortium.height().await?;
        for index in 0..4 {
            net.consortium.reaches(index, top, SOON).await?;
        }
        net.consortium.all_ready().await?;
        let (_, acknowledged) = load.stop().await?;
        net.consortium.audit_each(&acknowledged).await?;
        Ok(())
    });
}
