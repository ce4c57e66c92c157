//! Random schedules: whatever the network and the crashes do, the observer finds nothing; and once
//! they stop, the cluster is back within seconds.

use super::cluster::{Cluster, Options, ms};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::time::Duration;

/// Runs one schedule; how long recovery took.
fn schedule(seed: u64, n: usize, window: u64) -> Duration {
    let mut script = ChaCha20Rng::seed_from_u64(seed);
    let term_blocks = [1, 2, 5, 1000][script.random_range(0..4)];
    let execution = ms([1, 30, 150, 300][script.random_range(0..4)]);
    let mut cluster = Cluster::new(Options { n, window, term_blocks, seed, execution, ..Options::default() });
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

/// Some validators run twice under one key, as far as `f` allows. The network shows each of the two
/// another part of the others; everyone honest must still agree.
fn twins(seed: u64, n: usize, window: u64) -> Duration {
    let mut script = ChaCha20Rng::seed_from_u64(seed);
    let f = (n - 1) / 3;
    let mut validators: Vec<usize> = (0..n).collect();
    let twins: Vec<usize> =
        (0..f).map(|_| validators.swap_remove(script.random_range(0..validators.len()))).collect();
    let term_blocks = [2, 5, 1000][script.random_range(0..3)];
    let options = Options { n, window, term_blocks, seed, twins: twins.clone(), ..Options::default() };
    let mut cluster = Cluster::new(options);
    let nodes = n + f;
    for _ in 0..10 {
        let sides: Vec<u8> = (0..nodes).map(|_| script.random_range(0..3)).collect();
        let loss = script.random_range(0..15);
        let slowest = [3, 30, 200][script.random_range(0..3)];
        cluster.network = Box::new(move |flight, rng| {
            // The third side hears both.
            let (a, b) = (sides[flight.from], sides[flight.to]);
            let apart = a != b && a != 2 && b != 2;
            if apart || rng.random_range(0..100) < loss {
                vec![]
            } else {
                vec![ms(rng.random_range(1..=slowest))]
            }
        });
        for _ in 0..script.random_range(1..4) {
            // Not everyone knows of everything: the two propose different blocks.
            let some: Vec<usize> = (0..nodes).filter(|_| script.random_range(0..2) == 0).collect();
            cluster.submit_to(&some, script.random_range(0..6));
            cluster.run(ms(script.random_range(20..500)));
        }
        if script.random_range(0..3) == 0 {
            cluster.restart(validators[script.random_range(0..validators.len())]);
        }
    }
    for i in twins.iter().copied().chain(n..nodes) {
        cluster.crash(i);
    }
    cluster.network = super::cluster::perfect();
    let ids = cluster.submit(5);
    let took = cluster.run_to(&format!("recovery of seed {seed}, n={n}"), Duration::from_secs(30), |c| {
        ids.iter().all(|id| validators.iter().all(|i| c.has(*i, *id)))
    });
    assert!(validators.iter().all(|i| cluster.replica(*i).halted().is_none()), "seed {seed}");
    took
}

fn each(what: &str, seeds: std::ops::Range<u64>, schedule: impl Fn(u64) -> Duration) {
    let count = u32::try_from(seeds.end - seeds.start).expect("few");
    let took: Vec<(Duration, u64)> = seeds.map(|seed| (schedule(seed), seed)).collect();
    let total: Duration = took.iter().map(|(time, _)| *time).sum();
    println!("{what}: recovery {:?} on average, at most {:?}", total / count, took.iter().max());
}

#[test]
fn four_validators_survive_random_schedules() {
    each("n=4 W=4", 0..100, |seed| schedule(seed, 4, 4));
}

#[test]
fn four_validators_with_the_smallest_window_survive_random_schedules() {
    each("n=4 W=1", 1000..1040, |seed| schedule(seed, 4, 1));
}

#[test]
fn three_validators_survive_random_schedules() {
    each("n=3 W=8", 2000..2040, |seed| schedule(seed, 3, 8));
}

#[test]
fn seven_validators_survive_random_schedules() {
    each("n=7 W=4", 3000..3020, |seed| schedule(seed, 7, 4));
}

#[test]
fn one_of_four_with_a_twin_divides_nobody() {
    each("n=4 W=4, a twin", 4000..4060, |seed| twins(seed, 4, 4));
}

#[test]
fn two_of_seven_with_twins_divide_nobody() {
    each("n=7 W=2, two twins", 5000..5020, |seed| twins(seed, 7, 2));
}
