//! Validators that lie, with real keys.

use super::cluster::{Cluster, Options, ms};
use super::craft::*;
use super::node;
use crate::{Message, Phase, VerifiedMessage};
use quorate_types::block::Header;
use quorate_types::codec;
use quorate_types::ids::{Height, View};
use std::time::Duration;

/// Honest validators but for those named.
fn with_byzantine(byzantine: &[usize]) -> Cluster {
    Cluster::new(Options { byzantine: byzantine.to_vec(), ..Options::default() })
}

/// One honest validator, 2, among three that say what the script makes them say.
fn alone() -> Cluster {
    with_byzantine(&[0, 1, 3])
}

/// The heights and views at which `signer` was heard to vote Commit.
fn commits_of(cluster: &Cluster, signer: u16) -> Vec<(View, Height)> {
    let votes = cluster.inbox.iter().filter_map(|message| match message.message() {
        Message::Commit(vote) if vote.signer.0 == signer => {
            Some((vote.statement.view, vote.statement.height))
        }
        _ => None,
    });
    let mut votes: Vec<_> = votes.collect();
    votes.sort_unstable();
    votes.dedup();
    votes
}

fn prepares_of(cluster: &Cluster, signer: u16) -> Vec<(View, Height)> {
    let votes = cluster.inbox.iter().filter_map(|message| match message.message() {
        Message::Prepare(vote) if vote.signer.0 == signer => {
            Some((vote.statement.view, vote.statement.height))
        }
        _ => None,
    });
    let mut votes: Vec<_> = votes.collect();
    votes.sort_unstable();
    votes.dedup();
    votes
}

/// Proposes as the Byzantine leader to some; all bodies can be had.
fn propose_to(cluster: &mut Cluster, to: &[usize], block: &Header, name: &str) {
    let message = proposal(&cluster.committee, block, name);
    for i in to {
        cluster.deliver(*i, &message);
    }
}

fn from_to(cluster: &mut Cluster, to: &[usize], message: &Message) {
    for i in to {
        cluster.deliver(*i, message);
    }
}

#[test]
fn row_1_a_leader_that_proposes_two_blocks_commits_at_most_one_and_leaves_evidence() {
    for byzantine_votes in [false, true] {
        let mut cluster = with_byzantine(&[0]);
        let committee = cluster.committee.clone();
        let (a, b) = (first_block(&committee, 0, "a"), first_block(&committee, 0, "b"));
        propose_to(&mut cluster, &[1], &a, "a");
        propose_to(&mut cluster, &[2, 3], &b, "b");
        if byzantine_votes {
            for block in [&a, &b] {
                from_to(&mut cluster, &[1, 2, 3], &prepare(&committee, 0, 0, block));
                from_to(&mut cluster, &[1, 2, 3], &commit(&committee, 0, 0, block));
            }
        }
        let ids = cluster.submit(1);
        cluster.run_to("a new leader", Duration::from_secs(4), |c| (1..4).all(|i| c.has(i, ids[0])));
        assert_ne!(cluster.observer.block(1), Some(a.hash()), "only one validator voted for it");
        let evidence: Vec<&str> = cluster.observer.evidence.iter().map(|e| e.1.as_str()).collect();
        assert!(evidence.contains(&"two proposals at height 1 in view 0"), "{evidence:?}");
        if byzantine_votes {
            assert!(evidence.contains(&"two Prepare votes at height 1 in view 0"), "{evidence:?}");
        }
    }
}

#[test]
fn row_2_a_proposal_moved_to_another_height_or_view_for_one_replica_gets_no_vote() {
    let mut cluster = with_byzantine(&[0]);
    let committee = cluster.committee.clone();
    let a = first_block(&committee, 0, "a");
    let moved_up = Header { height: Height(2), ..a.clone() };
    let moved_on = Header { view: View(4), ..a.clone() };
    propose_to(&mut cluster, &[1, 2], &a, "a");
    propose_to(&mut cluster, &[3], &moved_up, "a");
    propose_to(&mut cluster, &[3], &moved_on, "a");
    cluster.run(ms(80));
    assert_eq!(prepares_of(&cluster, 3), [], "nothing to vote for yet");
    from_to(&mut cluster, &[1, 2, 3], &prepare(&committee, 0, 0, &a));
    // Validator 3 learns the proposal from its peers and votes for that; the moved one is then seen
    // not to extend it.
    let ids = cluster.submit(1);
    cluster.run_to("progress", Duration::from_secs(4), |c| (1..4).all(|i| c.has(i, ids[0])));
    assert!(prepares_of(&cluster, 3).iter().all(|(view, height)| *view > View(0) || *height == Height(1)));
}

#[test]
fn row_4_a_forged_certificate_in_a_view_change_spoils_nothing_beside_it() {
    let mut cluster = with_byzantine(&[3]);
    let committee = cluster.committee.clone();
    cluster.network = Box::new(|flight, _| match flight.message {
        Message::Commit(_) => vec![],
        _ => vec![ms(2)],
    });
    cluster.submit(1);
    cluster.run(ms(100));
    let (_, prepared_block) = cluster.nodes[0].disk.commits[&Height(1)].clone();
    let a = prepared_block.header.clone();
    // One of the two others is gone, so that the quorum needs the liar's ViewChange.
    cluster.crash(2);
    cluster.submit(1);
    let mut forged = prepared(&committee, 0, &first_block(&committee, 0, "x"), &[0, 1, 2]);
    forged.signatures[2].1.0[9] ^= 1;
    let lie = view_change(&committee, 3, 1, None, vec![forged]);
    cluster.run(ms(600));
    from_to(&mut cluster, &[0, 1], &Message::ViewChange(Box::new(lie)));
    cluster.run(ms(50));
    assert!(cluster.all_active(), "{}", cluster.describe());
    cluster.network = super::cluster::perfect();
    cluster.restart(2);
    cluster.run_to_quiet("the block and the next", Duration::from_secs(5));
    assert_eq!(cluster.observer.block(1), Some(a.hash()));
}

#[test]
fn row_5_a_false_new_view_is_refused_before_the_replica_and_changes_nothing() {
    let mut cluster = with_byzantine(&[1]);
    let committee = cluster.committee.clone();
    let honest = |s| view_change(&committee, s, 1, None, vec![]);
    let mut forged = honest(2);
    forged.signature.0[0] ^= 1;
    for changes in
        [vec![], vec![honest(1)], vec![honest(1), honest(1), honest(1)], vec![honest(0), honest(1), forged]]
    {
        let message = new_view(&committee, 1, changes);
        assert!(VerifiedMessage::decode(codec::encode_bytes(&message), &committee).is_err());
    }
    cluster.submit(1);
    cluster.run_to_quiet("business as usual", ms(200));
    assert_eq!(cluster.views(), [View(0); 3]);
}

#[test]
fn row_10_a_validator_that_votes_many_times_counts_once() {
    let mut cluster = alone();
    let committee = cluster.committee.clone();
    let a = first_block(&committee, 0, "a");
    propose_to(&mut cluster, &[2], &a, "a");
    cluster.run(ms(20));
    for _ in 0..5 {
        cluster.deliver(2, &prepare(&committee, 0, 0, &a));
        cluster.deliver(2, &commit(&committee, 0, 0, &a));
    }
    cluster.run(ms(20));
    assert_eq!(commits_of(&cluster, 2), [], "two Prepares are no quorum");
    cluster.deliver(2, &prepare(&committee, 1, 0, &a));
    cluster.run(ms(20));
    assert_eq!(commits_of(&cluster, 2), [(View(0), Height(1))]);
    assert_eq!(cluster.height(2), Height(0), "two Commits are no quorum");
    cluster.deliver(2, &commit(&committee, 3, 0, &a));
    cluster.run(ms(20));
    assert_eq!(cluster.height(2), Height(1));
}

#[test]
fn row_11_a_message_counts_for_its_signer_whoever_hands_it_over() {
    let mut cluster = with_byzantine(&[3]);
    cluster.network = Box::new(|flight, _| match (flight.from, flight.to) {
        (1, 2) => vec![],
        _ => vec![ms(2)],
    });
    cluster.submit(1);
    cluster.run(ms(50));
    assert_eq!(commits_of(&cluster, 2), [], "two Prepares are no quorum");
    for message in std::mem::take(&mut cluster.inbox) {
        if message.signer().0 == 1 {
            cluster.dispatch(3, 2, &message);
        }
    }
    cluster.run(ms(10));
    assert_eq!(commits_of(&cluster, 2), [(View(0), Height(1))]);
    assert_eq!(cluster.height(0), Height(1));
}

#[test]
fn row_15_nothing_is_committed_out_of_order_and_no_vote_counts_in_another_view() {
    let mut cluster = alone();
    let committee = cluster.committee.clone();
    let a = first_block(&committee, 0, "a");
    let b = child(&committee, 0, &a, "b");
    propose_to(&mut cluster, &[2], &a, "a");
    propose_to(&mut cluster, &[2], &b, "b");
    for signer in [0, 1, 3] {
        cluster.deliver(2, &prepare(&committee, signer, 0, &b));
    }
    cluster.run(ms(20));
    assert_eq!(commits_of(&cluster, 2), [], "the parent is not prepared");
    for signer in [0, 1] {
        cluster.deliver(2, &prepare(&committee, signer, 0, &a));
    }
    cluster.run(ms(20));
    assert_eq!(commits_of(&cluster, 2), [(View(0), Height(1)), (View(0), Height(2))]);
    // A certificate commits its uncertified ancestors too, in order.
    for signer in [0, 1] {
        cluster.deliver(2, &commit(&committee, signer, 0, &b));
    }
    cluster.run(ms(20));
    assert_eq!(cluster.height(2), Height(2));
    assert!(cluster.nodes[2].disk.chain[0].certificate.is_none());

    let mut cluster = alone();
    propose_to(&mut cluster, &[2], &a, "a");
    cluster.run(ms(20));
    for signer in [0, 1, 3] {
        cluster.deliver(2, &prepare(&committee, signer, 4, &a));
        cluster.deliver(2, &commit(&committee, signer, 4, &a));
    }
    cluster.run(ms(20));
    assert_eq!((commits_of(&cluster, 2), cluster.height(2)), (vec![], Height(0)));
    assert_eq!(cluster.replica(2).view(), View(4), "f+1 validators have reached it");
    assert_eq!(cluster.replica(2).phase(), Phase::Changing);
}

/// *Prepared* is recursive within one view: a chain that is prepared partly in this view and partly in
/// an older one could be outbid in its lower part.
#[test]
fn row_16_a_parent_prepared_in_an_older_view_only_does_not_count() {
    let mut cluster = alone();
    let committee = cluster.committee.clone();
    let a = first_block(&committee, 0, "a");
    propose_to(&mut cluster, &[2], &a, "a");
    for signer in [0, 1] {
        cluster.deliver(2, &prepare(&committee, signer, 0, &a));
    }
    cluster.run(ms(20));
    assert_eq!(commits_of(&cluster, 2), [(View(0), Height(1))]);
    // Two others leave the view; it joins them and reports what it has prepared.
    for signer in [0, 1] {
        let change = view_change(&committee, signer, 1, None, vec![]);
        cluster.deliver(2, &Message::ViewChange(Box::new(change)));
    }
    cluster.run(ms(20));
    let own = received_view_change(&cluster, 2, 1).expect("sent to all");
    assert_eq!(own.statement.prepared.len(), 1);
    let others = [0, 1].map(|s| view_change(&committee, s, 1, None, vec![]));
    let changes = others.into_iter().chain([own]).collect();
    cluster.deliver(2, &new_view(&committee, 1, changes));
    let b = child(&committee, 1, &a, "b");
    propose_to(&mut cluster, &[2], &b, "b");
    for signer in [0, 1, 3] {
        cluster.deliver(2, &prepare(&committee, signer, 1, &b));
    }
    cluster.run(ms(50));
    assert_eq!(prepares_of(&cluster, 2).last(), Some(&(View(1), Height(2))), "{}", cluster.describe());
    assert_eq!(commits_of(&cluster, 2), [(View(0), Height(1))], "the parent is not prepared in view 1");
    for signer in [0, 1] {
        cluster.deliver(2, &prepare(&committee, signer, 1, &a));
    }
    cluster.run(ms(20));
    let all = [(View(0), Height(1)), (View(1), Height(1)), (View(1), Height(2))];
    assert_eq!(commits_of(&cluster, 2), all);
}

#[test]
fn row_17_a_validator_that_computes_something_else_stops_and_says_so() {
    let mut cluster = with_byzantine(&[]);
    cluster.nodes[3].salt = 1;
    cluster.submit(3);
    cluster.run(ms(100));
    let why = cluster.nodes[3].halted.clone().expect("it halts");
    assert!(why.contains("another result"), "{why}");
    assert_eq!(cluster.replica(3).deadline(), Duration::MAX);
    assert!((0..3).all(|i| cluster.height(i) == Height(1) && cluster.nodes[i].halted.is_none()));
    cluster.submit(3);
    cluster.run(ms(100));
    assert!((0..3).all(|i| cluster.height(i) == Height(2)));
}

#[test]
fn row_17_two_results_with_two_voices_each_halt_everyone_and_certify_nothing() {
    let mut cluster = with_byzantine(&[]);
    cluster.nodes[2].salt = 1;
    cluster.nodes[3].salt = 1;
    cluster.submit(3);
    cluster.run(Duration::from_secs(5));
    assert_eq!(cluster.observer.height(), Height(0));
    assert!(cluster.nodes.iter().all(|node| node.halted.is_some()), "{}", cluster.describe());
}

#[test]
fn row_25_votes_for_far_views_and_heights_are_bounded_and_change_nothing() {
    let mut cluster = with_byzantine(&[3]);
    let committee = cluster.committee.clone();
    for far in 1..500 {
        let mut block = first_block(&committee, 3 + 4 * far, "x");
        block.height = Height(far);
        cluster.deliver(0, &proposal(&committee, &block, "x"));
        for view in [0, 7, 1000 + far, u64::MAX - far] {
            cluster.deliver(0, &prepare(&committee, 3, view, &block));
            cluster.deliver(0, &commit(&committee, 3, view, &block));
        }
        cluster.deliver(0, &Message::ViewChange(Box::new(view_change(&committee, 3, 9 + far, None, vec![]))));
    }
    let held = cluster.replica(0).held();
    assert!(held.future <= 2 * 4 * 3, "{held:?}: of one signer");
    assert!(held.heights <= 2 * 4, "{held:?}");
    cluster.submit(3);
    cluster.run_to_quiet("business as usual", ms(100));
    assert_eq!(cluster.views(), [View(0); 3], "one validator moves nobody");
}

#[test]
fn a_leader_that_signs_two_new_views_stops_nobody() {
    let mut cluster = with_byzantine(&[1]);
    let committee = cluster.committee.clone();
    // View 0: two blocks are prepared at validator 0 only.
    cluster.network = Box::new(|flight, _| match flight.message {
        Message::Commit(_) => vec![],
        Message::Prepare(_) if flight.to != 0 => vec![],
        Message::NewView(_) => vec![],
        _ => vec![ms(2)],
    });
    cluster.submit(6);
    cluster.run(ms(30));
    for height in [1, 2] {
        let block = cluster.nodes[0].executed.values().find(|e| e.header.height == Height(height));
        let block = block.expect("proposed").header.clone();
        cluster.deliver(0, &prepare(&committee, 1, 0, &block));
        cluster.run(ms(10));
    }
    assert_eq!(cluster.nodes[0].disk.commits.len(), 2, "{}", cluster.describe());
    cluster.run_to("all to leave", Duration::from_secs(5), |c| c.views() == [View(1); 3]);
    cluster.run(ms(50));
    let [c0, c2, c3] = [0, 2, 3].map(|i| received_view_change(&cluster, i, 1).expect("sent to all"));
    let own = view_change(&committee, 1, 1, None, vec![]);
    let with_them = new_view(&committee, 1, vec![c0, own.clone(), c2.clone()]);
    let without = new_view(&committee, 1, vec![own, c2, c3]);
    cluster.deliver(0, &with_them);
    from_to(&mut cluster, &[2, 3], &without);
    cluster.network = super::cluster::perfect();
    let x = first_block(&committee, 1, "x");
    propose_to(&mut cluster, &[2, 3], &x, "x");
    for vote in [prepare(&committee, 1, 1, &x), commit(&committee, 1, 1, &x)] {
        from_to(&mut cluster, &[0, 2, 3], &vote);
    }
    cluster.run_to_quiet("all three go on", Duration::from_secs(10));
    assert_eq!(cluster.observer.block(1), Some(x.hash()));
    assert!(
        cluster.running().iter().all(|i| cluster.replica(*i).halted().is_none()),
        "{}",
        cluster.describe()
    );
}

#[test]
fn a_liar_cannot_make_others_leave_a_view_or_believe_in_blocks() {
    let mut cluster = with_byzantine(&[3]);
    let committee = cluster.committee.clone();
    for i in 0..3 {
        cluster.deliver(i, &status(&committee, 3, 1 << 40, 1 << 50));
        cluster
            .deliver(i, &Message::ViewChange(Box::new(view_change(&committee, 3, u64::MAX, None, vec![]))));
    }
    cluster.submit(9);
    cluster.run_to_quiet("business as usual", ms(200));
    assert_eq!(cluster.views(), [View(0); 3]);
    assert_eq!(cluster.nodes[0].catch_up, Height(0));
    assert_eq!(node::genesis(&committee).height, Height(0));
}

#[test]
fn row_27_of_heights_that_others_claim_one_honest_one_must_have_reached_it() {
    let mut cluster = alone();
    let committee = cluster.committee.clone();
    cluster.deliver(2, &status(&committee, 3, 0, 1 << 50));
    assert_eq!(cluster.nodes[2].catch_up, Height(0), "one may lie");
    cluster.deliver(2, &status(&committee, 0, 0, 5));
    assert_eq!(cluster.nodes[2].catch_up, Height(5));
    cluster.deliver(2, &status(&committee, 1, 0, 7));
    assert_eq!(cluster.nodes[2].catch_up, Height(7));
}

#[test]
fn an_invalid_proposal_costs_its_leader_the_view_at_once() {
    let mut cluster = with_byzantine(&[0]);
    let committee = cluster.committee.clone();
    let wrong = Header { history_root: quorate_types::hash::Hash::ZERO, ..first_block(&committee, 0, "a") };
    propose_to(&mut cluster, &[1, 2, 3], &wrong, "a");
    cluster.run(ms(50));
    assert_eq!(cluster.views(), [View(1); 3]);
    assert!(cluster.all_active());
    assert_eq!(prepares_of(&cluster, 1), []);
}

#[test]
fn a_view_change_told_in_two_versions_is_evidence() {
    let mut cluster = with_byzantine(&[3]);
    let committee = cluster.committee.clone();
    cluster.crash(0);
    cluster.submit(1);
    let block = first_block(&committee, 0, "a");
    let story = prepared(&committee, 0, &block, &[0, 1, 2]);
    let one = Message::ViewChange(Box::new(view_change(&committee, 3, 1, None, vec![])));
    let other = Message::ViewChange(Box::new(view_change(&committee, 3, 1, None, vec![story])));
    cluster.deliver(1, &one);
    cluster.deliver(2, &other);
    // Validator 3 says just enough to be heard.
    for view in [0, 1] {
        from_to(&mut cluster, &[1, 2], &status(&committee, 3, view, 0));
        cluster.run(ms(1500));
    }
    let evidence: Vec<&str> = cluster.observer.evidence.iter().map(|e| e.1.as_str()).collect();
    assert!(evidence.contains(&"two ViewChanges for view 1"), "{evidence:?}\n{}", cluster.describe());
}
