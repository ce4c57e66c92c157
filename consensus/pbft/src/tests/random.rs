//! Random schedules: whatever the network and the crashes do, the observer finds nothing; and once
//! they stop, the cluster is back within seconds.

use super::cluster::{Cluster, Options, ms};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::time::Duration;

/// Runs one schedule; how long recovery took.
fn schedule(seed: u64, n: usize, window: u64) -> Duration {
    let mut script = ChaCha20Rng::seed_from_u64(seed);
    let term_blocks = [1, 2, 5, 1000][script.random_range(0..4)];
    let mut cluster = Cluster::new(Options { n, window, term_blocks, seed, ..Options::default() });
    let (loss, duplicates) = (script.random_range(0..30), script.random_range(0..20));
    let slowest = [3, 20, 150, 600][script.random_range(0..4)];
    for _ in 0..6 {
        // Sides of a partition; one side is no partition.
        let sides: Vec<u8> = (0..n).map(|_| script.random_range(0..2)).collect();
        let cut = script.random_range(0..3) == 0;
        let between = sides.clone();
        cluster.cut = Box::new(move |a, b| cut && between[a] != between[b]);
        cluster.network = Box::new(move |flight, rng| {
            if (cut && sides[flight.from] != sides[flight.to]) || rng.random_range(0..100) < loss {
                return Vec::new();
            }
            let copies = if rng.random_range(0..100) < duplicates { 2 } else { 1 };
            (0..copies).map(|_| ms(rng.random_range(1..=slowest))).collect()
        });
        for _ in 0..script.random_range(1..4) {
            cluster.submit(script.random_range(0..8));
            cluster.run(ms(script.random_range(20..400)));
            let i = script.random_range(0..n);
            match script.random_range(0..6) {
                0 if cluster.nodes[i].replica.is_some() => cluster.crash(i),
                0 | 1 => cluster.restart(i),
                _ => {}
            }
        }
    }
    cluster.network = super::cluster::perfect();
    cluster.cut = Box::new(|_, _| false);
    for i in 0..n {
        if cluster.nodes[i].replica.is_none() {
            cluster.restart(i);
        }
    }
    let ids = cluster.submit(5);
    let took = cluster.run_to(&format!("recovery of seed {seed}, n={n}"), Duration::from_secs(30), |c| {
        ids.iter().all(|id| (0..n).all(|i| c.has(i, *id)))
    });
    assert!(cluster.running().iter().all(|i| cluster.replica(*i).halted().is_none()), "seed {seed}");
    took
}

fn schedules(n: usize, window: u64, seeds: std::ops::Range<u64>) {
    let mut longest = (Duration::ZERO, 0);
    let mut total = Duration::ZERO;
    let count = u32::try_from(seeds.end - seeds.start).expect("few");
    for seed in seeds {
        let took = schedule(seed, n, window);
        total += took;
        longest = longest.max((took, seed));
    }
    println!("n={n} W={window}: recovery {:?} on average, at most {longest:?}", total / count);
}

#[test]
fn four_validators_survive_random_schedules() {
    schedules(4, 4, 0..100);
}

#[test]
fn four_validators_with_the_smallest_window_survive_random_schedules() {
    schedules(4, 1, 1000..1040);
}

#[test]
fn three_validators_survive_random_schedules() {
    schedules(3, 8, 2000..2040);
}

#[test]
fn seven_validators_survive_random_schedules() {
    schedules(7, 4, 3000..3020);
}
