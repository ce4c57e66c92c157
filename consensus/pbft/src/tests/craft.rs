//! Messages as a Byzantine validator may make them, signed with real keys.

use super::cluster::{Cluster, index, key};
use super::node::{self, header};
use crate::{Committee, Message, NewView, Phase, PrePrepare, Signed, Statement, Status, ViewChange};
use quorate_types::block::Header;
use quorate_types::certificate::{Certificate, Commit, Prepare, PreparedCertificate};
use quorate_types::hash::{BlockHash, Hash, ResultHash, TransactionId};
use quorate_types::ids::{Height, Timestamp, View};

pub(super) fn sign<T: Statement>(committee: &Committee, signer: usize, statement: T) -> Signed<T> {
    Signed::new(statement, &committee.chain, index(signer), &key(signer))
}

pub(super) fn ids(name: &str) -> Vec<TransactionId> {
    vec![TransactionId(Hash::of(&[name.as_bytes()]))]
}

/// A valid block of the founding height upon the chain id, told from others by `name`.
pub(super) fn first_block(committee: &Committee, view: u64, name: &str) -> Header {
    block_on(committee, view, 1, BlockHash(committee.chain.0), node::genesis_result(), name)
}

/// A valid block on `parent`.
pub(super) fn child(committee: &Committee, view: u64, parent: &Header, name: &str) -> Header {
    let hash = parent.hash();
    block_on(committee, view, parent.height.0 + 1, hash, node::result_of(hash, 0), name)
}

fn block_on(
    committee: &Committee,
    view: u64,
    height: u64,
    parent: BlockHash,
    parent_result: ResultHash,
    name: &str,
) -> Header {
    header(committee, (View(view), Height(height), parent), parent_result, Timestamp(1000), &ids(name))
}

/// The proposal of a block made by [`first_block`] or [`child`] with the same name.
pub(super) fn proposal(committee: &Committee, header: &Header, name: &str) -> Message {
    let statement = PrePrepare { view: header.view, header: header.clone(), ids: ids(name) };
    Message::PrePrepare(Box::new(sign(committee, header.proposer.as_usize(), statement)))
}

pub(super) fn prepare(committee: &Committee, signer: usize, view: u64, block: &Header) -> Message {
    let vote = Prepare { view: View(view), height: block.height, block: block.hash() };
    Message::Prepare(sign(committee, signer, vote))
}

pub(super) fn commit(committee: &Committee, signer: usize, view: u64, block: &Header) -> Message {
    Message::Commit(sign(committee, signer, commit_statement(view, block)))
}

pub(super) fn commit_statement(view: u64, block: &Header) -> Commit {
    let hash = block.hash();
    Commit { view: View(view), height: block.height, block: hash, result: node::result_of(hash, 0) }
}

pub(super) fn prepared(
    committee: &Committee,
    view: u64,
    block: &Header,
    signers: &[usize],
) -> PreparedCertificate {
    let vote = Prepare { view: View(view), height: block.height, block: block.hash() };
    let signatures = signers.iter().map(|s| (index(*s), vote.sign(&committee.chain, &key(*s)))).collect();
    PreparedCertificate { header: block.clone(), view: View(view), signatures }
}

pub(super) fn certificate(
    committee: &Committee,
    view: u64,
    block: &Header,
    signers: &[usize],
) -> Certificate {
    let commit = commit_statement(view, block);
    let signatures = signers.iter().map(|s| (index(*s), commit.sign(&committee.chain, &key(*s)))).collect();
    Certificate { commit, signatures }
}

pub(super) fn view_change(
    committee: &Committee,
    signer: usize,
    view: u64,
    certificate: Option<Certificate>,
    prepared: Vec<PreparedCertificate>,
) -> Signed<ViewChange> {
    sign(committee, signer, ViewChange { view: View(view), certificate, prepared })
}

/// A NewView signed by the leader of its view.
pub(super) fn new_view(committee: &Committee, view: u64, view_changes: Vec<Signed<ViewChange>>) -> Message {
    let leader = committee.validators.leader(View(view)).as_usize();
    Message::NewView(Box::new(sign(committee, leader, NewView { view: View(view), view_changes })))
}

pub(super) fn status(committee: &Committee, signer: usize, view: u64, height: u64) -> Message {
    let status = Status {
        view: View(view),
        phase: Phase::Active,
        height: Height(height),
        proposals: Height(height),
        stalled: false,
        founding: false,
    };
    Message::Status(sign(committee, signer, status))
}

/// The last ViewChange of `signer` for `view` that a Byzantine validator was sent.
pub(super) fn received_view_change(
    cluster: &Cluster,
    signer: usize,
    view: u64,
) -> Option<Signed<ViewChange>> {
    cluster.inbox.iter().rev().find_map(|message| match message.message() {
        Message::ViewChange(m) if m.signer == index(signer) && m.statement.view == View(view) => {
            Some(m.as_ref().clone())
        }
        _ => None,
    })
}
