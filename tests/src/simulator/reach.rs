//! What the runs reached: code paths as they show from outside, counted. A path that no run reaches is
//! a path that no invariant was held against.

use quorate_node::core::PeerInput;
use quorate_pbft::Message;
use std::collections::BTreeMap;

/// Every path that runs are expected to reach between them.
pub const EXPECTED: [&str; 71] = [
    "replica hears PrePrepare",
    "replica hears Prepare",
    "replica hears Commit",
    "replica hears ViewChange",
    "replica hears NewView",
    "replica hears Status",
    "core hears Transactions",
    "core hears Announce",
    "core hears Pull",
    "core hears FetchProposal",
    "core hears Proposal",
    "core hears FetchBlocks",
    "core hears Blocks",
    "record of Prepare",
    "record of Commit",
    "record of a view",
    "leaves: nothing committed in time",
    "leaves: a transaction waits",
    "leaves: slow proposals",
    "leaves: the view did not begin",
    "leaves: end of the term",
    "leaves: f+1 have left",
    "leaves: invalid proposal",
    "leaves: proposal extends another block",
    "leaves: proposal beyond the term",
    "enters: NewView",
    "commits: by its own certificate",
    "commits: through a descendant",
    "commits: by catching up",
    "starts: settled",
    "starts: fresh",
    "starts: behind",
    "starts: lost",
    "votes again after learning",
    "a lull at rest",
    "a step of several inputs",
    "waits for its disk",
    "frame refused: not a frame",
    "frame refused: wrong lane",
    "frame refused: message does not decode",
    "frame refused: unknown signer",
    "frame refused: bad signature",
    "frame refused: not the leader",
    "frame refused: header",
    "frame refused: certificate in a view change",
    "frame refused: prepared certificates",
    "frame refused: new view",
    "frame refused: block",
    "frame refused: transaction",
    "peer at fault: timeout",
    "peer at fault: unasked",
    "peer at fault: wrong heights",
    "peer at fault: not on the chain",
    "peer at fault: no certificate",
    "evidence: two proposals",
    "evidence: two Prepare votes",
    "evidence: two Commit votes",
    "evidence: two ViewChanges",
    "evidence: two NewViews",
    "submitted: taken",
    "submitted: already committed",
    "submitted: expired",
    "submitted: expires too late",
    "submitted: member full",
    "submitted: node full",
    "submitted: not a member",
    "client refused: does not verify",
    "transactions expire",
    "outcome: applied",
    "outcome: failed",
    "halts on damage, is wiped and returns",
];

/// Counts by path.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    counts: BTreeMap<&'static str, u64>,
}

impl Reach {
    /// A path was reached.
    pub fn hit(&mut self, path: &'static str) {
        *self.counts.entry(path).or_default() += 1;
    }

    /// How often a path was reached.
    pub fn count(&self, path: &str) -> u64 {
        self.counts.get(path).copied().unwrap_or(0)
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Reach) {
        for (path, count) in &other.counts {
            *self.counts.entry(path).or_default() += count;
        }
    }

    /// All counts.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.counts.iter().map(|(path, count)| (*path, *count))
    }

    /// A frame reached a core.
    pub fn heard(&mut self, input: &PeerInput) {
        self.hit(match input {
            PeerInput::Consensus(message) => match message.message() {
                Message::PrePrepare(_) => "replica hears PrePrepare",
                Message::Prepare(_) => "replica hears Prepare",
                Message::Commit(_) => "replica hears Commit",
                Message::ViewChange(_) => "replica hears ViewChange",
                Message::NewView(_) => "replica hears NewView",
                Message::Status(_) => "replica hears Status",
            },
            PeerInput::Transactions { .. } => "core hears Transactions",
            PeerInput::Announce(_) => "core hears Announce",
            PeerInput::Pull(_) => "core hears Pull",
            PeerInput::FetchProposal(_) => "core hears FetchProposal",
            PeerInput::Proposal { .. } => "core hears Proposal",
            PeerInput::FetchBlocks { .. } => "core hears FetchBlocks",
            PeerInput::Blocks(_) => "core hears Blocks",
        });
    }

    /// Counts a path by what a text says: the first pattern that it contains.
    pub fn text(&mut self, text: &str, patterns: &[(&str, &'static str)], otherwise: &'static str) {
        let found = patterns.iter().find(|(pattern, _)| text.contains(pattern));
        self.hit(found.map_or(otherwise, |(_, path)| path));
    }

    /// A replica moved to a view, for this reason.
    pub fn view(&mut self, why: &str) {
        let patterns = [
            ("nothing committed", "leaves: nothing committed in time"),
            ("a transaction waits", "leaves: a transaction waits"),
            ("come late", "leaves: slow proposals"),
            ("did not begin", "leaves: the view did not begin"),
            ("end of the term", "leaves: end of the term"),
            ("have reached it", "leaves: f+1 have left"),
            ("is invalid", "leaves: invalid proposal"),
            ("extends another block", "leaves: proposal extends another block"),
            ("beyond its term", "leaves: proposal beyond the term"),
            ("opened it", "enters: NewView"),
        ];
        self.text(why, &patterns, "leaves: for another reason");
    }

    /// A frame was refused, for this reason.
    pub fn refused(&mut self, why: &str) {
        let patterns = [
            ("message: not a message", "frame refused: message does not decode"),
            ("wrong lane", "frame refused: wrong lane"),
            ("is not in the validator set", "frame refused: unknown signer"),
            ("prepared certificates of", "frame refused: prepared certificates"),
            ("certificate of a view change", "frame refused: certificate in a view change"),
            ("view changes of a new view", "frame refused: new view"),
            ("does not lead", "frame refused: not the leader"),
            ("proposal's header", "frame refused: header"),
            ("block at height", "frame refused: block"),
            ("certificate at height", "frame refused: block"),
            ("the signature of validator", "frame refused: bad signature"),
            ("transaction:", "frame refused: transaction"),
            ("frame", "frame refused: not a frame"),
        ];
        self.text(why, &patterns, "frame refused: for another reason");
    }

    /// A peer was found at fault.
    pub fn fault(&mut self, what: &str) {
        let patterns = [
            ("in time", "peer at fault: timeout"),
            ("nobody asked", "peer at fault: unasked"),
            ("other heights", "peer at fault: wrong heights"),
            ("not on the certified chain", "peer at fault: not on the chain"),
            ("without a certificate", "peer at fault: no certificate"),
        ];
        self.text(what, &patterns, "peer at fault: otherwise");
    }

    /// Evidence was kept.
    pub fn evidence(&mut self, what: &str) {
        let patterns = [
            ("two proposals", "evidence: two proposals"),
            ("two Prepare", "evidence: two Prepare votes"),
            ("two Commit", "evidence: two Commit votes"),
            ("two ViewChanges", "evidence: two ViewChanges"),
            ("two NewViews", "evidence: two NewViews"),
        ];
        self.text(what, &patterns, "evidence: otherwise");
    }
}
