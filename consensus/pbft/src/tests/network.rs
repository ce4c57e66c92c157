//! Partitions, one-way links, and how much is said when nothing happens.

use super::cluster::{Cluster, Options, VIEW_TIMEOUT, ms, perfect};
use crate::Message;
use quorate_types::ids::{Height, View};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

#[test]
fn row_31_two_against_two_commit_nothing_and_recover_within_seconds() {
    for outage in [1, 10, 100, 1000] {
        let mut cluster = Cluster::new(Options::default());
        cluster.submit(6);
        cluster.run_to_quiet("before", seconds(1));
        cluster.network = Box::new(|f, _| if (f.from < 2) == (f.to < 2) { vec![ms(2)] } else { vec![] });
        cluster.cut = Box::new(|a, b| (a < 2) != (b < 2));
        cluster.submit(6);
        cluster.run(seconds(outage));
        assert_eq!(cluster.observer.height(), Height(2));
        cluster.network = perfect();
        cluster.cut = Box::new(|_, _| false);
        let took = cluster.run_to_quiet("after", seconds(10));
        assert!(took < seconds(3), "{outage} s of outage, {took:?} of recovery");
    }
}

#[test]
fn row_32_any_one_way_link_may_be_missing() {
    for from in 0..4 {
        for to in (0..4).filter(|to| *to != from) {
            let mut cluster = Cluster::new(Options { term_blocks: 5, ..Options::default() });
            cluster.network =
                Box::new(move |f, _| if (f.from, f.to) == (from, to) { vec![] } else { vec![ms(2)] });
            let ids = cluster.submit(30);
            cluster.run_to(&format!("no link {from} to {to}"), seconds(10), |c| {
                (0..4).all(|i| ids.iter().all(|id| c.has(i, *id)))
            });
        }
    }
}

#[test]
fn row_32_a_validator_that_hears_nothing_or_is_not_heard_stops_nobody() {
    for lame in 0..4 {
        for deaf in [false, true] {
            let mut cluster = Cluster::new(Options { term_blocks: 5, ..Options::default() });
            cluster.network = Box::new(move |f, _| {
                let lost = if deaf { f.to == lame } else { f.from == lame };
                if lost { vec![] } else { vec![ms(2)] }
            });
            let ids = cluster.submit(30);
            cluster.run_to(&format!("{lame} lame, deaf: {deaf}"), seconds(10), |c| {
                (0..4).filter(|i| *i != lame).all(|i| ids.iter().all(|id| c.has(i, *id)))
            });
        }
    }
}

#[test]
fn idle_validators_say_little() {
    for n in [1, 4, 31] {
        let mut cluster = Cluster::new(Options { n, ..Options::default() });
        cluster.submit(3);
        cluster.run_to_quiet("a block", seconds(2));
        cluster.run(seconds(2));
        let before = cluster.observer.total();
        cluster.run(seconds(10));
        let said = cluster.observer.total() - before;
        // One beacon a second to each other validator.
        assert!(said <= 11 * (n * (n - 1)) as u64, "n={n}: {said} messages in ten idle seconds");
    }
}

#[test]
fn a_load_without_faults_needs_no_resending() {
    let mut cluster = Cluster::new(Options::default());
    for _ in 0..100 {
        cluster.submit(3);
        cluster.run(ms(20));
    }
    cluster.run_to_quiet("a load", seconds(1));
    let sent = &cluster.observer.sent;
    let blocks = cluster.observer.height().0;
    assert_eq!(blocks, 100);
    assert_eq!((sent["PrePrepare"], sent["Prepare"], sent["Commit"]), (300, 1200, 1200));
    assert!(sent["Status"] <= 48, "{sent:?}");
}

/// Blocks that take longer than validators wait before they ask again are no reason to send everyone every proposal.
#[test]
fn a_proposal_is_sent_again_to_those_only_who_lack_it() {
    let mut cluster = Cluster::new(Options { n: 7, ..Options::default() });
    let offers = Rc::<RefCell<BTreeMap<(usize, usize), u32>>>::default();
    let counted = Rc::clone(&offers);
    // All prepare but the last one, which gets nothing of its leader; and nobody commits for a while.
    cluster.network = Box::new(move |f, _| {
        if let Message::PrePrepare(_) = f.message {
            *counted.borrow_mut().entry((f.from, f.to)).or_default() += 1;
        }
        match f.message {
            _ if (f.from, f.to) == (0, 6) => vec![],
            Message::Commit(_) if f.now < ms(1000) + VIEW_TIMEOUT * 2 / 3 => vec![],
            _ => vec![ms(2)],
        }
    });
    cluster.submit(1);
    cluster.run_to_quiet("the Commits, again", VIEW_TIMEOUT);
    assert_eq!(cluster.views(), [View(0); 7]);
    let offers = offers.borrow();
    assert!((1..6).all(|to| offers[&(0, to)] == 1), "{offers:?}");
    for (from, to) in offers.keys() {
        assert!(*from == 0 || *to == 6, "{from} sent it to {to}, which had it");
    }
    assert!((1..6).any(|from| offers.contains_key(&(from, 6))), "who lacks it gets it of others: {offers:?}");
}

/// With one block in flight nothing follows that would tell the others of what they lack: the leader does.
#[test]
fn what_was_lost_with_a_connection_is_asked_for_as_soon_as_the_next_one_is_up() {
    let mut cluster = Cluster::new(Options { window: 1, ..Options::default() });
    cluster.network = Box::new(|f, _| if f.from == 0 { vec![] } else { vec![ms(2)] });
    cluster.submit(1);
    cluster.run(ms(20));
    assert_eq!(cluster.observer.sent["PrePrepare"], 3);
    cluster.network = perfect();
    cluster.reconnect(0);
    cluster.run_to_quiet("the proposal, again", ms(30));
    assert_eq!(cluster.views(), [View(0); 4]);
}

#[test]
fn those_cut_off_ask_at_a_bounded_rate() {
    let mut cluster = Cluster::new(Options::default());
    cluster.network = Box::new(|f, _| if (f.from < 2) == (f.to < 2) { vec![ms(2)] } else { vec![] });
    cluster.cut = Box::new(|a, b| (a < 2) != (b < 2));
    cluster.submit(60);
    cluster.run(seconds(20));
    let before = cluster.observer.sent.clone();
    cluster.run(seconds(60));
    for (kind, count) in &cluster.observer.sent {
        let said = count - before.get(kind).copied().unwrap_or_default();
        // A beacon and a repetition of all that is said each second, by each to each.
        assert!(said <= 12 * 60 * 4, "{kind}: {said} in a minute");
    }
}

#[test]
fn views_do_not_race_while_a_minority_is_alone() {
    let mut cluster = Cluster::new(Options::default());
    cluster.network = Box::new(|f, _| if f.from == 3 || f.to == 3 { vec![] } else { vec![ms(2)] });
    cluster.cut = Box::new(|a, b| a == 3 || b == 3);
    for _ in 0..100 {
        cluster.submit(1);
        cluster.run(seconds(1));
    }
    assert_eq!(cluster.views(), [View(0); 4], "who hears no quorum does not judge the leader");
    cluster.network = perfect();
    cluster.cut = Box::new(|_, _| false);
    cluster.run_to_quiet("it catches up", seconds(3));
    // And votes again at once, with no restart: it is needed now.
    let before = cluster.observer.votes_by(3);
    cluster.crash(1);
    cluster.submit(1);
    cluster.run_to_quiet("its vote", ms(300));
    assert!(cluster.observer.votes_by(3) > before);
}

#[test]
fn duplicated_and_reordered_messages_change_nothing() {
    use rand::RngExt;
    let mut cluster = Cluster::new(Options::default());
    cluster.network = Box::new(|_, rng| (0..3).map(|_| ms(rng.random_range(1..60))).collect());
    for _ in 0..20 {
        cluster.submit(3);
        cluster.run(ms(50));
    }
    cluster.run_to_quiet("a load", seconds(2));
    assert_eq!(cluster.views(), [View(0); 4]);
}

#[test]
fn a_validator_that_missed_the_last_block_fetches_it_when_idle() {
    let mut cluster = Cluster::new(Options::default());
    cluster.network = Box::new(|f, _| match f.message {
        Message::Status(_) => vec![ms(2)],
        _ if f.to == 3 => vec![],
        _ => vec![ms(2)],
    });
    cluster.submit(3);
    cluster.run_to_quiet("by its peers' beacons", seconds(2));
}
