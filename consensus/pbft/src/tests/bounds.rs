//! What one peer can make a replica keep, and what a replica without memory waits for.

use super::cluster::{committee, index};
use super::craft::*;
use crate::future::Future;
use crate::learning::{Claim, Learning};
use crate::{Committee, Message, VerifiedMessage};
use quorate_types::codec;
use quorate_types::ids::{Height, ValidatorIndex, View};
use std::collections::BTreeMap;

const WINDOW: u64 = 4;

fn verified(committee: &Committee, message: &Message) -> VerifiedMessage {
    VerifiedMessage::decode(codec::encode_bytes(message), committee).expect("valid")
}

/// A Prepare and a Commit of a validator at a view and height.
fn votes(committee: &Committee, signer: usize, view: u64, height: u64) -> [VerifiedMessage; 2] {
    let mut block = first_block(committee, 0, "x");
    block.height = Height(height);
    let votes = [prepare(committee, signer, view, &block), commit(committee, signer, view, &block)];
    votes.map(|vote| verified(committee, &vote))
}

#[test]
fn row_25_messages_of_views_to_come_are_bounded_for_each_peer() {
    let committee = committee(4, WINDOW);
    let mut future = Future::new(WINDOW);
    let bound = usize::try_from(2 * 2 * WINDOW).expect("small");
    for far in 1..300 {
        votes(&committee, 3, 7, far).into_iter().for_each(|vote| future.hold(vote));
        assert!(future.len() <= bound, "{} of one signer", future.len());
    }
    assert_eq!(future.len(), bound);
    // The others' share is untouched.
    for signer in [1, 2] {
        votes(&committee, signer, 5, 1).into_iter().for_each(|vote| future.hold(vote));
    }
    assert_eq!(future.len(), bound + 4);
    let released = future.release(View(5));
    let mut signers: Vec<ValidatorIndex> = released.iter().map(VerifiedMessage::signer).collect();
    signers.dedup();
    assert_eq!((released.len(), signers), (4, vec![index(1), index(2)]));
    assert_eq!(future.release(View(7)).len(), bound);
    assert_eq!(future.len(), 0);
}

#[test]
fn row_25_few_proposals_of_views_to_come_are_kept_for_they_are_long() {
    let committee = committee(4, WINDOW);
    let mut future = Future::new(WINDOW);
    for height in 1..20 {
        let mut block = first_block(&committee, 3, "x");
        block.height = Height(height);
        future.hold(verified(&committee, &proposal(&committee, &block, "x")));
    }
    assert_eq!(future.release(View(3)).len(), 2);
}

/// There is no view so far that it is cut off: whoever is ahead counts from there, and once only.
#[test]
fn row_25_of_one_peer_the_highest_view_is_kept() {
    let committee = committee(4, WINDOW);
    let mut future = Future::new(WINDOW);
    for view in [9, 1 << 60, 3, u64::MAX, 1 << 50] {
        votes(&committee, 3, view, 1).into_iter().for_each(|vote| future.hold(vote));
        assert_eq!(future.len(), 2);
    }
    assert_eq!(future.release(View(1 << 60)).len(), 0);
    assert_eq!(future.release(View(u64::MAX)).len(), 2);
}

fn claims(of: &[(u64, u64, bool)]) -> BTreeMap<ValidatorIndex, Claim> {
    let claim = |(view, height, founding): &(u64, u64, bool)| Claim {
        view: View(*view),
        height: Height(*height),
        founding: *founding,
    };
    of.iter().enumerate().map(|(i, of)| (index(i + 1), claim(of))).collect()
}

/// What one of seven, with a quorum of five, makes of claims.
fn heard_by(mut learning: Learning, of: &[(u64, u64, bool)]) -> Learning {
    learning.hear(&claims(of), 5, WINDOW);
    learning
}

/// What a fresh one makes of them.
fn heard(of: &[(u64, u64, bool)]) -> Learning {
    heard_by(Learning::Fresh, of)
}

#[test]
fn row_26_a_wiped_replica_waits_for_a_quorum_of_others() {
    let one = (3, 100, false);
    assert_eq!(heard(&[]), Learning::Fresh);
    assert_eq!(heard(&[one; 4]), Learning::Fresh, "with itself a quorum; but it knows nothing");
    let until = |height, view| Learning::Until { height: Height(height), view: View(view) };
    assert_eq!(heard(&[one; 5]), until(100 + 2 * WINDOW, 4));
    // The most that any of them claims: it may have voted that far.
    let mixed = [(3, 90, false), (9, 20, false), (2, 100, false), (0, 0, false), (1, 1, false)];
    assert_eq!(heard(&mixed), until(100 + 2 * WINDOW, 10));
}

#[test]
fn row_26_a_chain_is_founded_by_a_quorum_that_knows_of_no_block() {
    let founding = (0, 0, true);
    assert_eq!(heard(&[founding; 3]), Learning::Fresh);
    assert_eq!(heard(&[founding; 4]), Learning::No, "with itself a quorum");
    // Up to f may be wiped at once, or lie: fewer than a quorum with it found nothing.
    let lost = [(7, 80, false), (7, 80, false), founding, founding, founding];
    let until = Learning::Until { height: Height(80 + 2 * WINDOW), view: View(8) };
    assert_eq!(heard(&lost), until);
}

#[test]
fn row_49_who_knows_that_it_forgot_founds_nothing() {
    let founding = (6, 0, true);
    assert_eq!(heard_by(Learning::Lost, &[founding; 4]), Learning::Lost);
    let until = Learning::Until { height: Height(2 * WINDOW), view: View(7) };
    assert_eq!(heard_by(Learning::Lost, &[founding; 5]), until, "they may go on, and it must not");
    assert_eq!(heard_by(until.clone(), &[founding; 6]), until);
    let one = (3, 100, false);
    assert_eq!(heard_by(Learning::Lost, &[one; 5]), heard(&[one; 5]));
    // Alone there is nobody to hear.
    let mut alone = Learning::Lost;
    alone.hear(&BTreeMap::new(), 1, WINDOW);
    assert_eq!(alone, Learning::No);
}

#[test]
fn row_49_the_barrier_is_one_of_height_and_of_view() {
    let barrier = Learning::Until { height: Height(20), view: View(5) };
    for (height, view, over) in [(19, 9, false), (99, 4, false), (20, 5, true), (21, 6, true)] {
        let mut learning = barrier.clone();
        assert_eq!(learning.reach(Height(height), View(view)), over, "{height}, {view}");
        assert_eq!(learning, if over { Learning::No } else { barrier.clone() });
    }
    for mut learning in [Learning::Fresh, Learning::Lost] {
        assert!(!learning.reach(Height(u64::MAX), View(u64::MAX)), "there is no barrier yet");
    }
}
