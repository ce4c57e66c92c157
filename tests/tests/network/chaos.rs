//! Links cut at random, and a path that becomes narrower.

use crate::{SOON, grows, load, recovers, with_network};
use anyhow::{Context, Result, ensure};
use quorate_tests::Plan;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::env;
use std::time::Instant;

/// Names another seed than the fixed one.
const SEED_VARIABLE: &str = "QUORATE_NETWORK_SEED";
/// Draws of links.
const ROUNDS: usize = 30;

fn seed() -> Result<u64> {
    match env::var(SEED_VARIABLE) {
        Ok(text) => text.parse().with_context(|| format!("{SEED_VARIABLE} is no number: {text}")),
        Err(_) => Ok(4),
    }
}

/// Each round cuts other links, some one way. Whenever three of four connect, blocks commit; whenever they
/// do not, nothing is said to have; and in the end all is as if nothing had been.
#[test]
fn links_are_cut_at_random() {
    with_network(&Plan::of(4), async |net| {
        let seed = seed()?;
        let mut random = StdRng::seed_from_u64(seed);
        let mut load = load(&net.consortium, 32).await?;
        load.progresses(100, SOON).await?;
        let mut live = 0;
        for round in 0..ROUNDS {
            let mut cut = Vec::new();
            for (from, to) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
                match random.random_range(0..10) {
                    0 => cut.push((from, to)),
                    1 => cut.push((to, from)),
                    2 | 3 => cut.extend([(from, to), (to, from)]),
                    _ => {}
                }
            }
            let story = format!("seed {seed} ({SEED_VARIABLE}), round {round}, cut {cut:?}");
            net.fabric.heal()?;
            net.fabric.cut(cut)?;
            if net.fabric.connects(3) {
                live += 1;
                load.progresses(40, SOON).await.with_context(|| story)?;
            } else {
                let dropped = net.fabric.dropped()?;
                grows("dropped packets", dropped + 60, || net.fabric.dropped())
                    .await
                    .with_context(|| story)?;
            }
        }
        eprintln!("random cuts: a quorum was connected in {live} of {ROUNDS} rounds");
        ensure!(live > 0 && live < ROUNDS, "this seed cuts too little or too much");
        let healed = Instant::now();
        net.fabric.heal()?;
        recovers("random cuts", &mut load, healed).await?;
        net.consortium.all_ready().await?;
        let (_, acknowledged) = load.stop().await?;
        net.consortium.audit_each(&acknowledged).await?;
        Ok(())
    });
}

/// Under load, the paths between validators come to drop, without a word, packets as large as those in
/// use: the validators find that out and go on with smaller ones, without a restart.
#[test]
fn paths_become_narrower() {
    with_network(&Plan::of(4), async |net| {
        let mut load = load(&net.consortium, 64).await?;
        load.progresses(500, SOON).await?;
        let dropped = net.fabric.dropped()?;
        // 1280 bytes is the least that IPv6 allows of any path, and more than QUIC needs.
        net.fabric.narrow(Some(1280))?;
        let narrowed = Instant::now();
        load.progresses(1000, SOON).await.context("on a narrow path")?;
        eprintln!("a narrower path: 1000 receipts in {:.1} s", narrowed.elapsed().as_secs_f64());
        ensure!(net.fabric.dropped()? > dropped, "no packet was as large as that");
        net.fabric.narrow(None)?;
        load.progresses(200, SOON).await?;
        net.consortium.all_ready().await?;
        let (_, acknowledged) = load.stop().await?;
        net.consortium.audit_each(&acknowledged).await?;
        Ok(())
    });
}
