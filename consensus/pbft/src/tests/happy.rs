//! Nothing goes wrong.

use super::cluster::{Cluster, Options, ms};
use quorate_types::ids::{Height, View};
use std::time::Duration;

#[test]
fn four_validators_commit_in_three_message_delays() {
    let mut cluster = Cluster::new(Options::default());
    cluster.submit(1);
    let took = cluster.run_to_quiet("one transaction", ms(100));
    // Proposal, Prepare, Commit at 2 ms each; Prepare synced twice, Commit once, executed once: 1 ms each.
    assert!(took <= ms(15), "{took:?}");
    assert_eq!(cluster.observer.height(), Height(1));
}

#[test]
fn every_number_of_validators_and_every_window_commits() {
    for (n, window) in [(1, 4), (2, 4), (3, 4), (4, 1), (4, 4), (4, 8), (7, 4), (13, 4), (31, 4)] {
        let mut cluster = Cluster::new(Options { n, window, ..Options::default() });
        let ids = cluster.submit(if n > 10 { 12 } else { 40 });
        cluster.run_to_quiet("a load", Duration::from_secs(2));
        for id in ids {
            assert!((0..n).all(|i| cluster.has(i, id)), "n={n} W={window}");
        }
        assert!(cluster.views().iter().all(|view| *view == View(0)), "n={n}: nobody had a reason to leave");
    }
}

#[test]
fn leadership_moves_on_at_the_end_of_each_term() {
    for n in [1, 2, 3, 4, 7] {
        let mut cluster = Cluster::new(Options { n, term_blocks: 3, ..Options::default() });
        cluster.submit(30);
        cluster.run_to_quiet("three terms", Duration::from_secs(2));
        assert_eq!(cluster.observer.height(), Height(10), "n={n}");
        cluster.run(ms(100));
        assert!(cluster.views().iter().all(|view| *view == View(3)), "n={n} {:?}", cluster.views());
        assert!(cluster.all_active());
    }
}
