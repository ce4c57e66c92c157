//! What a new view starts from, recomputed from its ViewChanges.

use super::cluster::committee;
use super::craft::*;
use crate::{Committee, Message, Plan, VerifiedMessage, plan};
use quorate_types::block::Header;
use quorate_types::certificate::{Certificate, PreparedCertificate};
use quorate_types::codec;
use quorate_types::hash::BlockHash;
use quorate_types::ids::Height;

const Q: [usize; 3] = [0, 1, 2];

type Report = (Option<Certificate>, Vec<PreparedCertificate>);

/// The plan of a NewView for view 9 with these reports, of validators 0, 1, 2.
fn plan_of(committee: &Committee, reports: Vec<Report>) -> Plan {
    let changes = reports.into_iter().enumerate();
    let changes =
        changes.map(|(s, (certificate, prepared))| view_change(committee, s, 9, certificate, prepared));
    let message = new_view(committee, 9, changes.collect());
    let message = VerifiedMessage::decode(codec::encode_bytes(&message), committee).expect("valid");
    let Message::NewView(signed) = message.message() else { unreachable!() };
    let changes = signed.statement.view_changes.iter().map(|c| (&message, c.signer, &c.statement));
    plan(&committee.chain, committee.window, changes)
}

fn blocks(plan: &Plan) -> Vec<BlockHash> {
    plan.blocks().collect()
}

fn hashes(headers: &[&Header]) -> Vec<BlockHash> {
    headers.iter().map(|header| header.hash()).collect()
}

#[test]
fn nothing_prepared_starts_from_genesis() {
    let committee = committee(4, 4);
    let plan = plan_of(&committee, vec![(None, vec![]), (None, vec![]), (None, vec![])]);
    assert_eq!((plan.base_height(), blocks(&plan)), (Height::GENESIS, vec![]));
    assert_eq!(plan.base_block(&committee.chain), BlockHash(committee.chain.0));
}

#[test]
fn a_block_prepared_anywhere_is_proposed_again_with_its_hash() {
    let committee = committee(4, 4);
    let a = first_block(&committee, 0, "a");
    let report = (None, vec![prepared(&committee, 0, &a, &Q)]);
    let plan = plan_of(&committee, vec![(None, vec![]), report, (None, vec![])]);
    assert_eq!(blocks(&plan), hashes(&[&a]));
}

#[test]
fn at_each_height_the_highest_view_counts_not_the_single_best_certificate() {
    let committee = committee(4, 4);
    let a = first_block(&committee, 0, "a");
    let b = child(&committee, 0, &a, "b");
    let c = child(&committee, 0, &b, "c");
    // View 0 prepared a, b, c; view 3 re-prepared only a. The best certificate by (view, height) is a's
    // of view 3: whoever followed it alone would lose b and c.
    let old = vec![0, 1, 2].into_iter().map(|i| prepared(&committee, 0, [&a, &b, &c][i], &Q)).collect();
    let new = vec![prepared(&committee, 3, &a, &Q)];
    let plan = plan_of(&committee, vec![(None, old), (None, new), (None, vec![])]);
    assert_eq!(blocks(&plan), hashes(&[&a, &b, &c]));
}

#[test]
fn the_view_of_the_votes_counts_not_that_of_the_header() {
    let committee = committee(4, 4);
    // x was first proposed in view 5 and prepared there; a, of view 0, was prepared again in view 7.
    let (a, x) = (first_block(&committee, 0, "a"), first_block(&committee, 5, "x"));
    let plan = plan_of(
        &committee,
        vec![
            (None, vec![prepared(&committee, 7, &a, &Q)]),
            (None, vec![prepared(&committee, 5, &x, &Q)]),
            (None, vec![]),
        ],
    );
    assert_eq!(blocks(&plan), hashes(&[&a]));
}

#[test]
fn the_chain_is_cut_at_a_gap() {
    let committee = committee(4, 4);
    let a = first_block(&committee, 0, "a");
    let b = child(&committee, 0, &a, "b");
    let c = child(&committee, 0, &b, "c");
    let gap = vec![prepared(&committee, 0, &a, &Q), prepared(&committee, 0, &c, &Q)];
    let plan = plan_of(&committee, vec![(None, gap), (None, vec![]), (None, vec![])]);
    assert_eq!(blocks(&plan), hashes(&[&a]));
}

#[test]
fn the_chain_is_cut_where_the_highest_view_extends_another_block() {
    let committee = committee(4, 4);
    let (a, x) = (first_block(&committee, 0, "a"), first_block(&committee, 1, "x"));
    let (b, y) = (child(&committee, 0, &a, "b"), child(&committee, 1, &x, "y"));
    // At height 1 view 2 prepared a again; at height 2 the highest is y on x, of view 1.
    let plan = plan_of(
        &committee,
        vec![
            (None, vec![prepared(&committee, 2, &a, &Q), prepared(&committee, 0, &b, &Q)]),
            (None, vec![prepared(&committee, 1, &x, &Q), prepared(&committee, 1, &y, &Q)]),
            (None, vec![]),
        ],
    );
    assert_eq!(blocks(&plan), hashes(&[&a]));
}

#[test]
fn the_highest_certificate_is_the_base_and_what_lies_below_is_settled() {
    let committee = committee(4, 4);
    let a = first_block(&committee, 0, "a");
    let b = child(&committee, 0, &a, "b");
    let c = child(&committee, 0, &b, "c");
    let reports = vec![
        (None, vec![prepared(&committee, 0, &a, &Q), prepared(&committee, 0, &b, &Q)]),
        (Some(certificate(&committee, 0, &b, &Q)), vec![]),
        (Some(certificate(&committee, 0, &a, &Q)), vec![prepared(&committee, 0, &c, &Q)]),
    ];
    let plan = plan_of(&committee, reports);
    assert_eq!((plan.base_height(), plan.base_block(&committee.chain)), (Height(2), b.hash()));
    assert_eq!(blocks(&plan), hashes(&[&c]));
}

#[test]
fn a_forged_certificate_counts_for_nothing_and_what_stands_beside_it_does() {
    let committee = committee(4, 4);
    let (a, x) = (first_block(&committee, 0, "a"), first_block(&committee, 5, "x"));
    let b = child(&committee, 0, &a, "b");
    let mut forged = prepared(&committee, 8, &x, &Q);
    forged.signatures[0].1.0[0] ^= 1;
    let reports = vec![
        (None, vec![forged, prepared(&committee, 0, &b, &Q)]),
        (None, vec![prepared(&committee, 0, &a, &Q)]),
        (None, vec![]),
    ];
    assert_eq!(blocks(&plan_of(&committee, reports)), hashes(&[&a, &b]));
}
