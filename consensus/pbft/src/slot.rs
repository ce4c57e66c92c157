//! One height in one view: the proposal and the votes on it.

use crate::message::{Hashed, Message, VerifiedMessage};
use quorate_types::certificate::{Commit, Signatures};
use quorate_types::hash::{BlockHash, ResultHash, TransactionId};
use quorate_types::ids::ValidatorIndex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A block this replica takes as the only one at its height in this view.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    pub(crate) block: Hashed,
    /// `None` for a re-proposal.
    pub(crate) ids: Option<Arc<[TransactionId]>>,
    /// When it was accepted.
    pub(crate) at: Duration,
    /// What executing it led to; `None` until it was executed.
    pub(crate) result: Option<ResultHash>,
}

/// One height in one view.
///
/// Bound: one proposal and two votes of each validator; what contradicts the first is evidence, and
/// not kept here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slot {
    /// The leader's proposal, as it came: accepted or not yet.
    pub(crate) offered: Option<VerifiedMessage>,
    pub(crate) accepted: Option<Accepted>,
    prepares: BTreeMap<ValidatorIndex, VerifiedMessage>,
    commits: BTreeMap<ValidatorIndex, VerifiedMessage>,
    /// The block on which this replica voted Prepare, never to be another in this view.
    pub(crate) voted_prepare: Option<BlockHash>,
    /// What this replica voted Commit on, never to be anything else in this view.
    pub(crate) voted_commit: Option<Commit>,
}

impl Slot {
    /// Records a proposal or vote; counts signers, never messages. Returns what the same signer said before, if that
    /// was something else.
    pub(crate) fn record(&mut self, message: &VerifiedMessage) -> Option<VerifiedMessage> {
        let first = match message.message() {
            Message::PrePrepare(_) => self.offered.get_or_insert_with(|| message.clone()),
            Message::Prepare(_) => self.prepares.entry(message.signer()).or_insert_with(|| message.clone()),
            Message::Commit(_) => self.commits.entry(message.signer()).or_insert_with(|| message.clone()),
            Message::ViewChange(_) | Message::NewView(_) | Message::Status(_) => return None,
        };
        (first.bytes() != message.bytes()).then(|| first.clone())
    }

    /// Those who voted Prepare on `block`, ascending.
    pub(crate) fn prepares_on(&self, block: BlockHash) -> Signatures {
        let votes = self.prepares.values().filter_map(|message| match message.message() {
            Message::Prepare(vote) if vote.statement.block == block => Some((vote.signer, vote.signature)),
            _ => None,
        });
        votes.collect()
    }

    fn commit_votes(&self) -> impl Iterator<Item = (ValidatorIndex, &Commit)> {
        self.commits.values().filter_map(|message| match message.message() {
            Message::Commit(vote) => Some((vote.signer, &vote.statement)),
            _ => None,
        })
    }

    /// Those who voted exactly `commit`, ascending.
    pub(crate) fn commits_on(&self, commit: &Commit) -> Signatures {
        let votes = self.commits.values().filter_map(|message| match message.message() {
            Message::Commit(vote) if vote.statement == *commit => Some((vote.signer, vote.signature)),
            _ => None,
        });
        votes.collect()
    }

    /// A Commit on which a quorum agrees, whether or not its block is known here.
    pub(crate) fn certified(&self, quorum: usize) -> Option<Commit> {
        // Signers are distinct, so equal votes are equal signers.
        self.commit_votes()
            .find(|(_, commit)| self.commit_votes().filter(|(_, other)| other == commit).count() >= quorum)
            .map(|(_, commit)| *commit)
    }

    /// How many validators committed to `block` with another result than `result`.
    pub(crate) fn other_results(&self, block: BlockHash, result: ResultHash) -> usize {
        self.commit_votes().filter(|(_, vote)| vote.block == block && vote.result != result).count()
    }

    /// Who voted Prepare here: those who hold the bodies.
    pub(crate) fn holders(&self, block: BlockHash) -> Vec<ValidatorIndex> {
        self.prepares_on(block).into_iter().map(|(signer, _)| signer).collect()
    }

    /// Whether this validator voted Prepare on another block than the one that is accepted here.
    pub(crate) fn has_other_prepare(&self, signer: ValidatorIndex) -> bool {
        let prepare = self.prepares.get(&signer).map(VerifiedMessage::message);
        let (Some(Message::Prepare(vote)), Some(accepted)) = (prepare, &self.accepted) else { return false };
        vote.statement.block != accepted.block.hash
    }

    /// Whether anyone proposed or voted here. One vote is enough: if the proposal was lost on its way to
    /// all, its leader's vote is all there is.
    pub(crate) fn is_in_flight(&self) -> bool {
        let votes = !self.prepares.is_empty() || !self.commits.is_empty();
        votes || self.accepted.is_some() || self.offered.is_some()
    }

    /// The Commit vote of one validator.
    pub(crate) fn commit_of(&self, signer: ValidatorIndex) -> Option<&VerifiedMessage> {
        self.commits.get(&signer)
    }

    /// This replica's own votes, for sending again.
    pub(crate) fn votes_of(&self, me: ValidatorIndex) -> impl Iterator<Item = &VerifiedMessage> {
        self.prepares.get(&me).into_iter().chain(self.commits.get(&me))
    }
}
