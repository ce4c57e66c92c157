//! Crashes, lost disks, old disks.

use super::cluster::{Cluster, Options, ms, perfect};
use super::node::Disk;
use crate::{Learning, Message, Phase};
use quorate_types::ids::{Height, View};
use std::time::Duration;

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// A load, a view change in the middle, a load: with one node that crashes at one of its records.
fn life_with_a_crash(node: usize, record: u64, synced: bool) -> bool {
    let mut cluster = Cluster::new(Options { term_blocks: 3, ..Options::default() });
    cluster.crash_at = Some((node, record, synced));
    let mut ids = cluster.submit(6);
    cluster.run(ms(25));
    cluster.network = Box::new(|f, _| match f.message {
        Message::Commit(_) | Message::NewView(_) => vec![],
        _ => vec![ms(2)],
    });
    ids.extend(cluster.submit(6));
    cluster.run(ms(700));
    cluster.network = perfect();
    cluster.run(ms(300));
    cluster.crash_at = None;
    let crashed = cluster.nodes[node].replica.is_none();
    if crashed {
        cluster.restart(node);
    }
    ids.extend(cluster.submit(6));
    let what = format!("after a crash of {node} at record {record}, synced: {synced}");
    cluster.run_to(&what, seconds(6), |c| ids.iter().all(|id| (0..4).all(|i| c.has(i, *id))));
    crashed
}

#[test]
fn rows_47_and_48_a_crash_at_any_record_loses_and_contradicts_nothing() {
    for node in 0..4 {
        for synced in [false, true] {
            let crashes = (1..200).take_while(|record| life_with_a_crash(node, *record, synced)).count();
            assert!(crashes >= 10, "node {node} wrote {crashes} records");
        }
    }
}

#[test]
fn all_at_once_at_any_moment_and_the_chain_goes_on() {
    for moment in 0..60 {
        let mut cluster = Cluster::new(Options::default());
        let ids = cluster.submit(12);
        cluster.run(ms(moment));
        let acknowledged: Vec<Height> = (0..4).map(|i| cluster.height(i)).collect();
        for i in 0..4 {
            cluster.crash(i);
        }
        cluster.run(ms(100));
        for (i, acknowledged) in acknowledged.into_iter().enumerate() {
            assert_eq!(cluster.height(i), acknowledged);
            cluster.start(i, Learning::No);
        }
        cluster.run_to(&format!("after {moment} ms"), seconds(3), |c| {
            ids.iter().all(|id| (0..4).all(|i| c.has(i, *id)))
        });
    }
}

#[test]
fn row_26_one_wiped_disk_among_four_learns_before_it_votes() {
    let mut cluster = Cluster::new(Options { term_blocks: 20, ..Options::default() });
    cluster.submit(15);
    cluster.run_to_quiet("a load", seconds(1));
    for i in 0..4 {
        cluster.crash(i);
    }
    cluster.nodes[3].disk = Disk::default();
    for i in 0..3 {
        cluster.start(i, Learning::No);
    }
    cluster.start(3, Learning::Fresh);
    cluster.submit(3);
    cluster.run_to_quiet("the chain goes on", seconds(3));
    assert_eq!(cluster.replica(3).phase(), Phase::Learning);
    let votes = |c: &Cluster| c.observer.votes_by(3);
    let before = votes(&cluster);
    cluster.run(seconds(2));
    let Learning::Until { height, view } = *cluster.replica(3).learning() else {
        panic!("the others were heard")
    };
    assert!(height >= Height(5 + 8) && view == View(1), "{height} {view}");
    assert_eq!(votes(&cluster), before);
    // Load goes on; at the end of the term the next view begins, and it votes again.
    while cluster.height(0) < Height(30) {
        cluster.submit(3);
        cluster.run(ms(20));
    }
    cluster.run_to_quiet("a second term", seconds(2));
    assert_eq!(cluster.replica(3).phase(), Phase::Active);
    assert!(votes(&cluster) > before);
    // And it counts: another one may now fail.
    cluster.crash(0);
    cluster.submit(3);
    cluster.run_to_quiet("its vote is needed", seconds(5));
}

#[test]
fn a_new_chain_is_founded_by_validators_that_know_nothing() {
    for (n, late) in [(1, 0), (2, 0), (3, 0), (4, 0), (4, 1), (7, 2)] {
        let mut cluster = Cluster::new(Options { n, ..Options::default() });
        for i in 0..n {
            cluster.crash(i);
        }
        for i in 0..n - late {
            cluster.start(i, Learning::Fresh);
            cluster.run(ms(30));
        }
        cluster.submit(6);
        cluster.run_to_quiet("the first blocks", seconds(4));
        for i in n - late..n {
            cluster.start(i, Learning::Fresh);
        }
        cluster.submit(6);
        cluster.run_to_quiet("with those who came late", seconds(4));
    }
}

#[test]
fn row_49_an_old_backup_under_a_live_key_votes_only_beyond_what_it_may_have_voted() {
    let mut cluster = Cluster::new(Options { term_blocks: 10, ..Options::default() });
    cluster.submit(6);
    cluster.run_to_quiet("a load", seconds(1));
    let backup = cluster.nodes[3].disk.clone();
    for _ in 0..10 {
        cluster.submit(3);
        cluster.run_to_quiet("more", seconds(1));
    }
    cluster.crash(3);
    cluster.nodes[3].disk = backup;
    let barrier = Learning::Until { height: Height(16), view: View(1) };
    cluster.start(3, barrier);
    let before = cluster.observer.votes_by(3);
    cluster.run_to("catching up", seconds(3), |c| c.height(3) == c.height(0));
    assert_eq!(cluster.replica(3).phase(), Phase::Learning);
    assert_eq!(cluster.observer.votes_by(3), before);
    for _ in 0..10 {
        cluster.submit(3);
        cluster.run_to_quiet("beyond the barrier", seconds(2));
    }
    assert_eq!(cluster.replica(3).phase(), Phase::Active);
    assert!(cluster.observer.votes_by(3) > before);
}

#[test]
fn an_old_backup_made_in_the_middle_of_a_view_change_learns_the_way_out() {
    // It comes up between two views, forbidden to vote, in the view that the others are in; and for a
    // while they have their ViewChanges for it, and no NewView.
    let mut cluster = Cluster::new(Options { term_blocks: 3, ..Options::default() });
    cluster.network = Box::new(|f, _| match f.message {
        Message::NewView(_) => vec![],
        _ => vec![ms(2)],
    });
    cluster.submit(9);
    cluster.run(ms(60));
    assert_eq!(cluster.replica(3).phase(), Phase::Changing, "{}", cluster.describe());
    let view = cluster.replica(3).view();
    cluster.crash(3);
    cluster.start(3, Learning::Until { height: Height(1000), view: View(1000) });
    // The wait for a NewView is over long before it comes; there is nothing to do about it.
    cluster.run(ms(350));
    cluster.crash(1);
    cluster.restart(1);
    cluster.run(seconds(2));
    assert_eq!(cluster.replica(3).view(), view);
    cluster.network = Box::new(move |f, _| match f.message {
        Message::NewView(m) if f.to == 3 && m.statement.view > view => vec![],
        _ => vec![ms(2)],
    });
    cluster.run(seconds(5));
    cluster.network = perfect();
    cluster.run(seconds(5));
    assert_eq!(cluster.replica(3).view(), cluster.replica(0).view());
    cluster.submit(3);
    cluster.run_to_quiet("it follows", ms(200));
}

#[test]
fn a_replica_that_learns_is_told_that_its_view_has_begun() {
    let mut cluster = Cluster::new(Options { term_blocks: 3, ..Options::default() });
    cluster.network = Box::new(|f, _| match f.message {
        Message::NewView(_) if f.to == 3 => vec![],
        _ => vec![ms(2)],
    });
    cluster.submit(9);
    cluster.run(ms(60));
    assert_eq!(cluster.replica(3).phase(), Phase::Changing, "{}", cluster.describe());
    cluster.crash(3);
    cluster.start(3, Learning::Until { height: Height(1000), view: View(1000) });
    cluster.network = perfect();
    cluster.run(seconds(3));
    let begun = |(view, active, _): &(View, bool, String)| *view == View(1) && *active;
    assert!(cluster.nodes[3].views.iter().any(begun), "{:?}", cluster.nodes[3].views);
}

#[test]
fn row_28_a_pause_of_thirty_minutes_in_the_middle_of_a_batch_does_not_matter() {
    for crash in [false, true] {
        let mut cluster = Cluster::new(Options::default());
        cluster.network = Box::new(|f, _| match f.message {
            Message::Commit(_) => vec![],
            _ => vec![ms(2)],
        });
        let ids = cluster.submit(9);
        cluster.run(ms(60));
        assert_eq!(cluster.nodes[2].disk.commits.len(), 3);
        if crash {
            for i in 0..4 {
                cluster.crash(i);
            }
        }
        cluster.network = Box::new(|_, _| vec![]);
        cluster.run(seconds(1800));
        cluster.network = perfect();
        if crash {
            for i in 0..4 {
                cluster.start(i, Learning::No);
            }
        }
        cluster.run_to("the old batch", seconds(12), |c| ids.iter().all(|id| (0..4).all(|i| c.has(i, *id))));
        assert_eq!(cluster.observer.height(), Height(3));
    }
}
