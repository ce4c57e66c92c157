//! What gossip wants sent, gathered into frames.

use super::tree::PeerSet;
use quorate_types::hash::TransactionId;
use quorate_types::ids::ValidatorIndex;
use quorate_types::transaction::VerifiedTransaction;
use std::collections::BTreeMap;

/// Bytes of transactions in one frame: enough to make the cost of a frame small, little enough that
/// a relay soon has something to pass on. A single larger transaction still travels, alone.
pub const FRAME_BYTES: usize = 256 << 10;
/// Transactions in one frame.
pub const FRAME_TRANSACTIONS: usize = 1024;
/// Ids in one announcement: 128 KiB.
pub const ANNOUNCE_IDS: usize = 4096;
/// Ids in one pull: with small transactions, about what [`ANSWER_BYTES`](super::ANSWER_BYTES) answers.
pub const PULL_IDS: usize = 1024;

/// A frame to be encoded once and sent to each of `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GossipFrame {
    /// Bodies.
    Transactions {
        /// To whom, ascending.
        to: Vec<ValidatorIndex>,
        /// Validators they have passed when they arrive.
        hops: u8,
        /// At most [`FRAME_TRANSACTIONS`] and [`FRAME_BYTES`] of them, at least one.
        transactions: Vec<VerifiedTransaction>,
    },
    /// Ids of bodies that can be asked for here.
    Announce {
        /// To whom, ascending.
        to: Vec<ValidatorIndex>,
        /// At most [`ANNOUNCE_IDS`].
        ids: Vec<TransactionId>,
    },
    /// Ids of bodies wanted.
    Pull {
        /// From whom.
        to: ValidatorIndex,
        /// At most [`PULL_IDS`].
        ids: Vec<TransactionId>,
    },
}

/// Emptied after every step of the core, so it holds what one input can cause.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pulls: BTreeMap<ValidatorIndex, Vec<TransactionId>>,
    bodies: BTreeMap<(u8, PeerSet), Vec<VerifiedTransaction>>,
    announcements: BTreeMap<PeerSet, Vec<TransactionId>>,
}

impl Outbox {
    pub(super) fn pull(&mut self, from: ValidatorIndex, id: TransactionId) {
        self.pulls.entry(from).or_default().push(id);
    }

    pub(super) fn push(&mut self, to: PeerSet, hops: u8, transaction: VerifiedTransaction) {
        if !to.is_empty() {
            self.bodies.entry((hops, to)).or_default().push(transaction);
        }
    }

    pub(super) fn announce(&mut self, to: PeerSet, id: TransactionId) {
        if !to.is_empty() {
            self.announcements.entry(to).or_default().push(id);
        }
    }

    /// Everything gathered: pulls first, as a proposal may wait for them.
    pub(super) fn take(&mut self) -> Vec<GossipFrame> {
        let mut frames = Vec::new();
        for (to, ids) in std::mem::take(&mut self.pulls) {
            frames.extend(ids.chunks(PULL_IDS).map(|ids| GossipFrame::Pull { to, ids: ids.to_vec() }));
        }
        for ((hops, to), all) in std::mem::take(&mut self.bodies) {
            let to: Vec<ValidatorIndex> = to.iter().collect();
            for transactions in in_frames(all) {
                frames.push(GossipFrame::Transactions { to: to.clone(), hops, transactions });
            }
        }
        for (to, ids) in std::mem::take(&mut self.announcements) {
            let to: Vec<ValidatorIndex> = to.iter().collect();
            let announce =
                |ids: &[TransactionId]| GossipFrame::Announce { to: to.clone(), ids: ids.to_vec() };
            frames.extend(ids.chunks(ANNOUNCE_IDS).map(announce));
        }
        frames
    }
}

/// Cuts a run of transactions into frames.
fn in_frames(all: Vec<VerifiedTransaction>) -> Vec<Vec<VerifiedTransaction>> {
    let mut frames = Vec::new();
    let (mut frame, mut bytes) = (Vec::new(), 0);
    for transaction in all {
        let length = transaction.bytes().len();
        if !frame.is_empty() && (bytes + length > FRAME_BYTES || frame.len() == FRAME_TRANSACTIONS) {
            frames.push(std::mem::take(&mut frame));
            bytes = 0;
        }
        bytes += length;
        frame.push(transaction);
    }
    if !frame.is_empty() {
        frames.push(frame);
    }
    frames
}
