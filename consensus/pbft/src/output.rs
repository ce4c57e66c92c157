//! What a replica asks of its driver.

use crate::evidence::Evidence;
use crate::message::VerifiedMessage;
use bytes::Bytes;
use quorate_types::block::Header;
use quorate_types::certificate::{Certificate, Commit, PreparedCertificate};
use quorate_types::hash::{BlockHash, TransactionId};
use quorate_types::ids::{Height, ValidatorIndex, View};
use std::sync::Arc;

/// To whom a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// Every other validator.
    All,
    /// One.
    One(ValidatorIndex),
}

/// What must be durable before anything after it leaves the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A Prepare vote. Goes with the header, the ids and **every body**.
    Prepare {
        /// The view voted in.
        view: View,
        /// The block's header.
        header: Header,
        /// Its hash.
        block: BlockHash,
        /// Its transactions; empty for a re-proposal, whose ids the driver knows since it executed it.
        ids: Arc<[TransactionId]>,
    },
    /// A Commit vote, with its prepared certificate.
    Commit {
        /// The vote.
        commit: Commit,
        /// Why it may be cast.
        prepared: PreparedCertificate,
    },
    /// A ViewChange: the encoded message, to be sent again byte for byte.
    ViewChange {
        /// The view.
        view: View,
        /// The encoded [`Message`](crate::Message).
        message: Bytes,
    },
    /// The NewView under which this replica votes from now on: the encoded message.
    NewView {
        /// The view.
        view: View,
        /// The encoded [`Message`](crate::Message).
        message: Bytes,
    },
}

/// What the driver must do, in order.
#[derive(Debug, Clone)]
pub enum Output {
    /// Make durable before any later output takes effect.
    Persist(Record),
    /// Send.
    Send {
        /// To whom.
        to: To,
        /// What.
        message: VerifiedMessage,
        /// A beacon or a repetition: promises nothing new, and need not wait for a sync.
        at_once: bool,
    },
    /// Gather ids and bodies, execute on the parent, and answer with
    /// [`Replica::executed`](crate::Replica::executed). The parent comes first.
    Execute {
        /// The block's hash.
        block: BlockHash,
        /// Its header.
        header: Header,
        /// Its transactions; `None` for a re-proposal whose ids are not known here.
        ids: Option<Arc<[TransactionId]>>,
        /// Who has them, if nobody else: the leader, or those who voted.
        sources: Vec<ValidatorIndex>,
        /// Proposed in an earlier view: its timestamp is not held against this machine's clock.
        reproposal: bool,
    },
    /// Commit all executed blocks from the last committed one up to the certified one. Need not be
    /// synced before what follows is sent, but must be durable no later than any later record.
    Commit {
        /// Ascending; the last is the certified one.
        blocks: Vec<BlockHash>,
        /// The certificate.
        certificate: Certificate,
    },
    /// Others have committed what this replica cannot: blocks up to this height at least are to be fetched. Who has
    /// them says so in beacons; a driver that goes by those need do nothing.
    CatchUp {
        /// The height known to be final.
        height: Height,
    },
    /// Keep this evidence.
    Evidence(Evidence),
    /// In a new view, or on the way to one.
    View {
        /// The view.
        view: View,
        /// Whether it is active, or still waits for its NewView.
        active: bool,
        /// Why.
        why: String,
    },
    /// This replica's result differs from that of others: it votes no more.
    Halt(String),
}
