//! Links that work one way.

use crate::{RECOVERY, SOON, highest, load, lose, with_network};
use anyhow::{Context, ensure};
use quorate_client::protocol::NodeStatus;
use quorate_tests::Plan;
use std::time::Instant;

/// A leader that is heard but hears nobody, and one that hears everyone but is not heard: each is
/// replaced, the rest goes on, and the one catches up when its link works both ways again.
#[test]
fn a_leader_that_is_deaf_and_one_that_is_mute() {
    with_network(&Plan::of(4), async |net| {
        let mut load = load(&net.consortium, 64).await?;
        load.progresses(200, SOON).await?;
        for deaf in [true, false] {
            let what = if deaf { "deaf" } else { "mute" };
            let leader = net.consortium.leader().await?;
            let others: Vec<usize> = (0..4).filter(|index| *index != leader).collect();
            let (_, view) = highest(&net.consortium, &others).await?;
            let dropped = net.fabric.dropped()?;
            if deaf {
                net.fabric.deafen(leader)?
            } else {
                net.fabric.mute(leader)?
            }
            let began = Instant::now();
            for index in &others {
                let replaced = |status: &NodeStatus| {
                    status.view > view && status.leader.as_usize() != leader && status.phase == "active"
                };
                net.consortium.sees(*index, "another leader", SOON, replaced).await?;
            }
            eprintln!("a {what} leader was replaced after {:.1} s", began.elapsed().as_secs_f64());
            load.progresses(300, SOON).await.with_context(|| format!("with a {what} leader"))?;
            ensure!(net.fabric.dropped()? > dropped, "nothing was dropped");
            // QUIC needs both ways: in the end there is no connection.
            lose(&net.consortium, &[leader], &others).await?;
            load.progresses(300, SOON).await.with_context(|| format!("long after a {what} leader"))?;

            let (top, _) = highest(&net.consortium, &others).await?;
            let healed = Instant::now();
            net.fabric.heal()?;
            net.consortium.reaches(leader, top, RECOVERY).await?;
            net.consortium.ready(leader).await?;
            eprintln!("the {what} one has caught up after {:.1} s", healed.elapsed().as_secs_f64());

            // And it counts: without another one there is no quorum but with it.
            net.fabric.isolate(others[1])?;
            load.progresses(200, SOON).await.with_context(|| format!("needing the one that was {what}"))?;
            net.fabric.heal()?;
            net.consortium.ready(others[1]).await?;
        }
        let (_, acknowledged) = load.stop().await?;
        net.consortium.audit_each(&acknowledged).await?;
        Ok(())
    });
}
