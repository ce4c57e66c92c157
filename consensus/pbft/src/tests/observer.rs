//! What must never happen, whoever lies: stated apart from the replica's code, over what leaves the
//! honest nodes and what they commit, for their whole life, restarts included.

use crate::{Committee, Evidence, Message, VerifiedMessage};
use quorate_types::block::Header;
use quorate_types::codec;
use quorate_types::hash::{BlockHash, ResultHash};
use quorate_types::ids::{Height, ValidatorIndex, View};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The kind of a statement that must not be made twice.
type Kind = &'static str;

/// Sees all that honest nodes send and commit.
pub(super) struct Observer {
    committee: Arc<Committee>,
    byzantine: BTreeSet<usize>,
    /// The statement of each kind at one (signer, view, height).
    said: BTreeMap<(Kind, usize, View, Height), Vec<u8>>,
    /// The view each signer has left or entered, out loud.
    left: BTreeMap<usize, View>,
    /// The highest view of a Commit by each signer at each height.
    promised: BTreeMap<(usize, Height), View>,
    chain: BTreeMap<Height, (BlockHash, ResultHash)>,
    pub(super) evidence: Vec<(ValidatorIndex, String)>,
    /// Messages by kind.
    pub(super) sent: BTreeMap<Kind, u64>,
}

impl Observer {
    pub(super) fn new(committee: Arc<Committee>, byzantine: BTreeSet<usize>) -> Observer {
        Observer {
            committee,
            byzantine,
            said: BTreeMap::new(),
            left: BTreeMap::new(),
            promised: BTreeMap::new(),
            chain: BTreeMap::new(),
            evidence: Vec::new(),
            sent: BTreeMap::new(),
        }
    }

    /// An honest node, whose committed height is `committed`, lets a message go to one peer.
    pub(super) fn sent(&mut self, sender: usize, committed: Height, message: &VerifiedMessage) {
        let kind = kind(message.message());
        *self.sent.entry(kind).or_default() += 1;
        let signer = message.signer().as_usize();
        if signer != sender {
            // Only a leader's words are passed on.
            assert!(matches!(message.message(), Message::PrePrepare(_) | Message::NewView(_)), "{kind}");
            return;
        }
        if self.byzantine.contains(&sender) {
            return;
        }
        let (view, window) = (message.view(), self.committee.window);
        let (height, statement) = match message.message() {
            Message::PrePrepare(m) => (m.statement.header.height, codec::encode(&m.statement)),
            Message::Prepare(m) => (m.statement.height, codec::encode(&m.statement)),
            Message::Commit(m) => (m.statement.height, codec::encode(&m.statement)),
            Message::ViewChange(m) => (Height::GENESIS, codec::encode(&m.statement)),
            Message::NewView(m) => (Height::GENESIS, codec::encode(&m.statement)),
            Message::Status(_) => return,
        };
        let before = self.said.entry((kind, sender, view, height)).or_insert_with(|| statement.clone());
        assert_eq!(*before, statement, "validator {sender}: two {kind}s at view {view}, height {height}");
        let left = self.left.entry(sender).or_default();
        match message.message() {
            Message::ViewChange(_) | Message::NewView(_) => *left = view.max(*left),
            Message::PrePrepare(_) | Message::Prepare(_) | Message::Commit(_) => {
                assert!(view >= *left, "validator {sender}: a {kind} in view {view}, which it left");
                assert!(height <= committed.plus(window), "validator {sender}: a {kind} above its window");
            }
            Message::Status(_) => {}
        }
        if let Message::Commit(_) = message.message() {
            let promised = self.promised.entry((sender, height)).or_default();
            *promised = view.max(*promised);
        }
        if let Message::ViewChange(change) = message.message() {
            assert!(message.discarded().is_empty(), "validator {sender}: a false certificate");
            // Every block above the certificate on which it voted Commit is reported.
            for ((_, height), promised) in self.promised.range((sender, Height(0))..(sender + 1, Height(0))) {
                let above = *height > change.statement.height() && *promised < view;
                let reported = change.statement.prepared.iter().find(|p| p.header.height == *height);
                assert!(
                    !above || reported.is_some_and(|p| p.view >= *promised),
                    "validator {sender}: its ViewChange for {view} leaves out height {height}"
                );
            }
        }
    }

    /// An honest node commits a block.
    pub(super) fn committed(&mut self, node: usize, header: &Header, result: ResultHash) {
        let hash = header.hash();
        let settled = *self.chain.entry(header.height).or_insert((hash, result));
        assert_eq!(settled, (hash, result), "validator {node} at height {}", header.height);
        if let Some(below) = header.height.previous().filter(|below| *below > Height::GENESIS) {
            assert_eq!(self.chain.get(&below).map(|b| b.0), Some(header.parent), "a hash chain");
            assert_eq!(self.chain.get(&below).map(|b| b.1), Some(header.parent_result), "its results");
        }
    }

    /// An honest node keeps evidence.
    pub(super) fn accused(&mut self, evidence: &Evidence) {
        let (guilty, what) = evidence
            .verify(&self.committee)
            .expect("evidence is made of verified messages")
            .expect("evidence shows a contradiction");
        assert!(self.byzantine.contains(&guilty.as_usize()), "the honest {guilty} is accused: {what}");
        self.evidence.push((guilty, what));
    }

    /// The highest block that anyone committed.
    pub(super) fn height(&self) -> Height {
        self.chain.keys().next_back().copied().unwrap_or_default()
    }

    /// The block committed at a height.
    pub(super) fn block(&self, height: u64) -> Option<BlockHash> {
        self.chain.get(&Height(height)).map(|block| block.0)
    }

    /// How many different votes an honest validator has cast.
    pub(super) fn votes_by(&self, signer: usize) -> usize {
        let votes =
            self.said.keys().filter(|(kind, by, ..)| *by == signer && matches!(*kind, "Prepare" | "Commit"));
        votes.count()
    }

    /// All messages sent so far, one for each receiver.
    pub(super) fn total(&self) -> u64 {
        self.sent.values().sum()
    }
}

pub(super) fn kind(message: &Message) -> Kind {
    match message {
        Message::PrePrepare(_) => "PrePrepare",
        Message::Prepare(_) => "Prepare",
        Message::Commit(_) => "Commit",
        Message::ViewChange(_) => "ViewChange",
        Message::NewView(_) => "NewView",
        Message::Status(_) => "Status",
    }
}
