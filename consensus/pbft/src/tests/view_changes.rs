//! Views are left and opened, and what was decided survives.

use super::cluster::{Cluster, Options, REQUEST_TIMEOUT, VIEW_TIMEOUT, ms, perfect};
use crate::Message;
use quorate_types::ids::{Height, View};
use std::time::Duration;

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn is_commit(message: &Message) -> bool {
    matches!(message, Message::Commit(_))
}

#[test]
fn row_3_a_prepared_block_is_proposed_again_under_the_same_hash() {
    let mut cluster = Cluster::new(Options::default());
    cluster.network = Box::new(|f, _| if is_commit(f.message) { vec![] } else { vec![ms(2)] });
    cluster.submit(9);
    cluster.run(ms(100));
    let prepared: Vec<_> = cluster.nodes[1].disk.commits.values().map(|c| c.0.block).collect();
    assert_eq!(prepared.len(), 3);
    cluster.crash(0);
    cluster.run_to("a view change", seconds(2), |c| c.views() == [View(1); 3]);
    cluster.network = perfect();
    cluster.run_to_quiet("all three blocks", seconds(2));
    for (height, block) in (1..).zip(prepared) {
        assert_eq!(cluster.observer.block(height), Some(block));
        let header = &cluster.nodes[1].disk.chain[usize::try_from(height).expect("small") - 1].header;
        assert_eq!((header.view, header.proposer.0), (View(0), 0), "it keeps its view and proposer");
    }
}

#[test]
fn row_6_a_certificate_of_an_older_view_carries_the_block_on() {
    let mut cluster = Cluster::new(Options::default());
    cluster.network = Box::new(|f, _| match f.message {
        Message::Commit(_) => vec![],
        Message::NewView(m) if m.statement.view < View(3) => vec![],
        _ => vec![ms(2)],
    });
    cluster.submit(1);
    cluster.run(ms(100));
    let block = cluster.nodes[2].disk.commits[&Height(1)].0.block;
    cluster.run_to("view 3", seconds(6), |c| c.views().iter().all(|v| *v == View(3)) && c.all_active());
    cluster.network = perfect();
    cluster.run_to_quiet("the block", seconds(3));
    assert_eq!(cluster.observer.block(1), Some(block));
}

#[test]
fn row_16_a_block_committed_at_one_replica_survives_two_view_changes_and_a_partial_one() {
    let mut cluster = Cluster::new(Options { block_size: 1, ..Options::default() });
    // View 0: two blocks prepared everywhere; their Commits reach validator 3 only.
    cluster.network = Box::new(|f, _| if is_commit(f.message) && f.to != 3 { vec![] } else { vec![ms(2)] });
    cluster.submit(2);
    cluster.run(ms(100));
    assert_eq!(cluster.height(3), Height(2));
    let second = cluster.observer.block(2);
    let first = cluster.observer.block(1);
    // Validator 3 falls silent. View 1 re-prepares the first block and nothing more.
    cluster.crash(3);
    cluster.network = Box::new(|f, _| match f.message {
        Message::Commit(_) => vec![],
        Message::Prepare(vote) if vote.statement.view == View(1) && vote.statement.height > Height(1) => {
            vec![]
        }
        _ => vec![ms(2)],
    });
    cluster.run_to("view 1", seconds(3), |c| c.views() == [View(1); 3] && c.all_active());
    cluster.run(ms(100));
    let records = &cluster.nodes[0].disk.commits;
    assert_eq!((records[&Height(1)].0.view, records[&Height(2)].0.view), (View(1), View(0)));
    cluster.run_to("view 2", seconds(3), |c| c.views() == [View(2); 3] && c.all_active());
    cluster.network = perfect();
    cluster.run_to("both blocks", seconds(3), |c| (0..3).all(|i| c.height(i) >= Height(2)));
    assert_eq!((cluster.observer.block(1), cluster.observer.block(2)), (first, second));
    cluster.restart(3);
    cluster.submit(2);
    cluster.run_to_quiet("everyone", seconds(5));
}

#[test]
fn row_18_view_changes_are_resent_until_the_partition_ends() {
    let mut cluster = Cluster::new(Options::default());
    cluster.crash(0);
    cluster.submit(1);
    cluster.network = Box::new(|f, _| match f.message {
        Message::ViewChange(_) | Message::NewView(_) => vec![],
        _ => vec![ms(2)],
    });
    cluster.run(seconds(60));
    assert_eq!(cluster.observer.height(), Height(0));
    cluster.network = perfect();
    let took = cluster.run_to_quiet("the view change", seconds(5));
    assert!(took < seconds(2), "{took:?}");
}

#[test]
fn row_19_who_committed_and_who_changed_view_do_not_wait_for_each_other() {
    let mut cluster = Cluster::new(Options::default());
    cluster.crash(3);
    cluster.network = Box::new(|f, _| match f.message {
        Message::Commit(_) if f.to != 0 => vec![],
        _ => vec![ms(2)],
    });
    cluster.submit(1);
    cluster.run_to("others to leave", seconds(3), |c| c.replica(1).view() > View(0));
    assert_eq!((cluster.height(0), cluster.height(1)), (Height(1), Height(0)));
    cluster.network = perfect();
    // Nothing new comes that would make the one that has committed suspect its leader by itself.
    cluster.run_to_quiet("all three", seconds(3));
    cluster.submit(1);
    cluster.run_to_quiet("all three, with more", seconds(3));
}

#[test]
fn a_lost_commit_is_resent_and_costs_no_view() {
    let mut cluster = Cluster::new(Options::default());
    cluster.crash(3);
    // Two of three get one Commit too few; the third commits and is a block ahead of them.
    cluster.network = Box::new(|f, _| match f.message {
        Message::Commit(_) if f.from == 0 && f.now < ms(1050) => vec![],
        _ => vec![ms(2)],
    });
    cluster.submit(1);
    cluster.run(ms(50));
    assert_eq!((cluster.height(0), cluster.height(1), cluster.height(2)), (Height(1), Height(0), Height(0)));
    cluster.run_to_quiet("the Commit, again", VIEW_TIMEOUT);
    assert_eq!(cluster.views(), [View(0); 3]);
}

#[test]
fn a_lost_message_of_each_kind_is_resent_before_anyone_suspects() {
    for kind in 0..4 {
        let mut cluster = Cluster::new(Options::default());
        cluster.network = Box::new(move |f, _| match f.message {
            // The last kind: the leader's proposal is lost and its vote too, so that nobody hears of the block.
            Message::PrePrepare(_) | Message::Prepare(_) if kind == 3 && f.now < ms(1050) => vec![],
            Message::PrePrepare(_) if kind == 0 && f.now < ms(1050) => vec![],
            Message::Prepare(_) if kind == 1 && f.now < ms(1050) => vec![],
            Message::Commit(_) if kind == 2 && f.now < ms(1050) => vec![],
            _ => vec![ms(2)],
        });
        cluster.submit(1);
        cluster.run_to_quiet("what was lost", VIEW_TIMEOUT);
        assert_eq!(cluster.views(), [View(0); 4], "kind {kind}");
    }
}

#[test]
fn a_leader_goes_by_the_others_clocks_and_not_its_own() {
    let mut cluster = Cluster::new(Options::default());
    cluster.crash(0);
    cluster.submit(1);
    // The new view takes nearly all of the time that others give it: what its leader proposes commits when
    // the leader's own time is up and theirs has hardly begun.
    cluster.network = Box::new(|f, _| match f.message {
        Message::NewView(_) => vec![VIEW_TIMEOUT - ms(20)],
        Message::Prepare(_) | Message::Commit(_) => vec![ms(15)],
        _ => vec![ms(2)],
    });
    cluster.run_to_quiet("the leader's first block", 3 * VIEW_TIMEOUT);
    assert_eq!(cluster.views(), [View(1); 3]);
    // Where it is the leader that cannot be heard, the others leave, and it goes with them.
    cluster.network = Box::new(|f, _| if f.from == 1 { vec![] } else { vec![ms(2)] });
    cluster.restart(0);
    cluster.submit(1);
    cluster.run_to("the others to leave", seconds(5), |c| c.views().iter().all(|view| *view > View(1)));
    cluster.network = perfect();
    cluster.run_to_quiet("the next leader's block", seconds(5));
}

#[test]
fn views_that_commit_a_little_and_then_stall_get_more_time() {
    let mut cluster = Cluster::new(Options::default());
    // None counts a view that it leads itself, nor one that it left because others had.
    for _ in 0..8 {
        cluster.submit(1);
        cluster.run_to_quiet("a block of this view", seconds(5));
        let view = cluster.replica(0).view();
        cluster.network = Box::new(|f, _| match f.message {
            Message::Commit(_) => vec![],
            _ => vec![ms(2)],
        });
        cluster.submit(1);
        cluster.run_to("all to leave", seconds(5), |c| c.views().iter().all(|next| *next > view));
        cluster.network = perfect();
        cluster.run_to_quiet("a block of the next", seconds(5));
    }
    let waited = |time: Duration| {
        let why = format!("nothing committed for {} ms", time.as_millis());
        cluster.nodes.iter().flat_map(|node| &node.views).any(|(_, _, said)| said.contains(&why))
    };
    assert!(waited(VIEW_TIMEOUT) && waited(2 * VIEW_TIMEOUT), "{}", cluster.describe());
}

#[test]
fn row_20_replicas_that_drifted_apart_converge() {
    let mut cluster = Cluster::new(Options::default());
    // Everyone suspects the silent leader; only validator 0 hears them all, and goes on to view 2.
    cluster.network = Box::new(|f, _| match f.message {
        Message::ViewChange(_) if f.to == 0 => vec![ms(2)],
        Message::Status(m) if m.statement.view == View(0) => vec![ms(2)],
        _ => vec![],
    });
    cluster.submit(1);
    cluster.run_to("drift", seconds(5), |c| c.replica(0).view() == View(2));
    assert_eq!(cluster.views(), [View(2), View(1), View(1), View(1)]);
    // The fourth, without which the two at view 1 are no quorum for it, falls silent.
    cluster.crash(3);
    cluster.network = perfect();
    let took = cluster.run_to_quiet("one view for all", seconds(10));
    assert!(took < seconds(3), "{took:?}");
}

#[test]
fn row_20_who_was_cut_off_joins_a_far_view_in_one_step() {
    let mut cluster = Cluster::new(Options::default());
    cluster.submit(1);
    // Validator 2 is cut off while views of the others fail one after the other.
    cluster.network = Box::new(|f, _| match f.message {
        _ if f.from == 2 || f.to == 2 => vec![],
        Message::ViewChange(_) | Message::Status(_) => vec![ms(2)],
        _ => vec![],
    });
    cluster.cut = Box::new(|a, b| a == 2 || b == 2);
    cluster.run(seconds(600));
    let far = cluster.replica(0).view();
    assert!(far > View(50) && cluster.replica(2).view() == View(0), "{:?}", cluster.views());
    // Without validator 3, the two that are far are no quorum; f+1 of them are enough to be joined.
    cluster.crash(3);
    cluster.network = perfect();
    cluster.cut = Box::new(|_, _| false);
    let took = cluster.run_to_quiet("one view for all", seconds(60));
    assert!(took < seconds(25), "two timeouts at the cap: {took:?}");
    let steps = cluster.nodes[2].views.iter().filter(|(_, active, _)| !active).count();
    assert!(steps <= 3, "{:?}", cluster.nodes[2].views);
}

#[test]
fn row_20_timeouts_stay_capped_however_long_the_outage() {
    let mut cluster = Cluster::new(Options::default());
    cluster.submit(1);
    // ViewChanges pass and NewViews do not: views fail one after the other for an hour.
    cluster.network = Box::new(|f, _| match f.message {
        Message::ViewChange(_) | Message::Status(_) => vec![ms(2)],
        _ => vec![],
    });
    cluster.run(seconds(3600));
    let view = cluster.replica(0).view();
    assert!(view > View(300) && view < View(450), "one view each ten seconds: {view}");
    cluster.network = perfect();
    cluster.run_to_quiet("recovery", seconds(11));
    cluster.submit(1);
    let took = cluster.run_to_quiet("and back to normal", ms(100));
    assert!(took < ms(50), "{took:?}");
}

#[test]
fn row_21_what_comes_before_its_predecessor_is_kept() {
    let mut cluster = Cluster::new(Options { block_size: 1, ..Options::default() });
    cluster.network = Box::new(|f, _| match f.message {
        Message::PrePrepare(m) => vec![ms(100 - 20 * m.statement.header.height.0)],
        Message::Commit(vote) => vec![ms(100 - 20 * vote.statement.height.0)],
        _ => vec![ms(2)],
    });
    cluster.submit(4);
    let took = cluster.run_to_quiet("four blocks back to front", ms(300));
    assert!(took < ms(200), "{took:?}");
    assert_eq!(cluster.views(), [View(0); 4]);
}

#[test]
fn row_22_the_faulty_may_lead_the_next_views_too() {
    for (n, faulty) in [(4, 1), (7, 2), (10, 3), (13, 4)] {
        let mut cluster = Cluster::new(Options { n, ..Options::default() });
        for i in 0..faulty {
            cluster.crash(i);
        }
        cluster.submit(1);
        let took = cluster.run_to_quiet("an honest leader", seconds(20));
        // One view each; the timeout doubles after three views, the one with the dead leader included.
        let views = [0, 1, 2, 4][faulty - 1];
        let bound = REQUEST_TIMEOUT + VIEW_TIMEOUT * views + ms(100);
        assert!(took < bound, "n={n}: {took:?}");
    }
}

#[test]
fn row_23_a_slow_leader_is_replaced_before_it_is_a_dead_one() {
    let mut cluster = Cluster::new(Options { window: 1, block_size: 1000, ..Options::default() });
    cluster.network = Box::new(|f, _| match f.message {
        Message::PrePrepare(m) if m.signer.0 == 0 => vec![ms(350)],
        _ => vec![ms(2)],
    });
    for _ in 0..200 {
        cluster.submit(1);
        cluster.run(ms(20));
    }
    assert!(cluster.views().iter().all(|view| *view == View(1)), "{}", cluster.describe());
    assert!(cluster.nodes[1].views[0].2.contains("late"), "{:?}", cluster.nodes[1].views);
}

#[test]
fn row_24_a_censored_transaction_commits_within_the_request_timeout_and_one_view_change() {
    let mut cluster = Cluster::new(Options::default());
    let censored = cluster.submit_to(&[1, 2, 3], 1)[0];
    let began = cluster.now;
    while !cluster.has(3, censored) {
        cluster.submit(1);
        cluster.run(ms(20));
        assert!(cluster.now - began < REQUEST_TIMEOUT + VIEW_TIMEOUT, "{}", cluster.describe());
    }
    assert!(cluster.height(3) > Height(40), "the leader worked for everyone else");
}

#[test]
fn what_is_executed_after_its_view_was_left_gets_no_vote_any_more() {
    // Validator 3 has the Prepares of view 0 and not the result when it leaves; the result comes while
    // it waits for the NewView.
    let mut cluster = Cluster::new(Options::default());
    cluster.nodes[3].slower = ms(550);
    cluster.network = Box::new(|f, _| match f.message {
        Message::Commit(_) if f.now < ms(1700) => vec![],
        Message::NewView(_) => vec![ms(400)],
        _ => vec![ms(2)],
    });
    cluster.submit(1);
    cluster.run(ms(650));
    assert_eq!((cluster.replica(3).view(), cluster.nodes[3].executed.len()), (View(1), 1));
    assert!(cluster.nodes[3].disk.commits.is_empty());
    cluster.nodes[3].slower = ms(0);
    cluster.run_to_quiet("the block", seconds(5));
}

#[test]
fn machines_slower_than_the_view_timeout_still_commit() {
    for execution in [380, 420, 700] {
        let mut cluster = Cluster::new(Options { execution: ms(execution), ..Options::default() });
        cluster.submit(9);
        cluster.run_to_quiet("timeouts grow", seconds(20));
    }
}
