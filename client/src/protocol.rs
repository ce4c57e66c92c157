//! What a client and a validator say to each other.
//!
//! A client opens one bidirectional stream for each request, sends a [`Request`] as the first
//! frame, and reads [`Response`] frames until the node ends the stream. Every frame is one value in
//! the canonical encoding. Only [`Request::Submit`] is followed by more frames from the client, each
//! a [`Submission`].
//!
//! Nothing in a response is to be believed until it was checked against the genesis document:
//! [`Finality`] and the proofs exist for that. [`NodeStatus`] and [`Trace`] are the node's own word,
//! for operators.

use bytes::Bytes;
use quorate_ledger::{Refusal, StateKey, StateProof};
use quorate_types::block::Block;
use quorate_types::hash::{BlockHash, ChainId, TransactionId};
use quorate_types::ids::{Height, Timestamp, ValidatorIndex, View};
use quorate_types::receipt::{Finality, Inclusions, Receipt};
use serde::{Deserialize, Serialize};

/// The longest frame a client may send, in bytes.
pub const MAX_REQUEST_BYTES: usize = 2 << 20;

/// The longest frame a node may send to a client, in bytes.
pub const MAX_RESPONSE_BYTES: usize = 48 << 20;

/// The most transactions in one [`Submission`].
pub const MAX_SUBMISSION: usize = 4096;

/// The most submitted transactions of one stream that may await their commit. A node stops reading
/// the stream until some did; a client need not count.
pub const MAX_IN_FLIGHT: usize = 16_384;

/// The first frame of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Submissions follow. For each transaction comes one [`Response::Refused`], or a
    /// [`Response::Committed`] that names it. The client ends its side when it has no more; the node
    /// ends its own when nothing is in flight.
    Submit,
    /// One [`Response::State`]: a key of the state, with a proof of presence or absence.
    Read {
        /// Which key.
        key: StateKey,
        /// At which height; `None` for the latest.
        height: Option<Height>,
    },
    /// One [`Response::Receipt`], or [`Response::NotFound`].
    Receipt(TransactionId),
    /// One [`Response::Blocks`] with the finality of the block at this height; `None` for the latest.
    Block(Option<Height>),
    /// The blocks from a height on as [`Response::Blocks`] frames, several blocks a frame, ascending,
    /// without gaps. Ends with the node's latest block if `follow` is false; otherwise goes on with
    /// each new block as it commits.
    Blocks {
        /// The first height wanted, at least 1.
        from: Height,
        /// Whether to go on after the latest.
        follow: bool,
    },
    /// One [`Response::Status`].
    Status,
    /// One [`Response::Trace`], or [`Response::NotFound`].
    Trace(TransactionId),
}

/// Transactions handed in: each the canonical encoding of a `SignedTransaction`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// At most [`MAX_SUBMISSION`].
    pub transactions: Vec<Bytes>,
}

/// A frame from the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// The node will not take the transaction. It may have committed all the same, through another
    /// validator or earlier: only a receipt tells.
    Refused {
        /// Position of the transaction among all that this stream has submitted, from 0: a
        /// malformed one has no id.
        position: u64,
        /// Why.
        reason: SubmitError,
    },
    /// Transactions of this stream that one block holds.
    Committed(CommittedBatch),
    /// Answer to [`Request::Read`].
    State {
        /// Proves the value, or that there is none.
        proof: StateProof,
        /// Proves the state root.
        finality: Finality,
    },
    /// Answer to [`Request::Receipt`].
    Receipt(Box<Receipt>),
    /// Answer to [`Request::Block`] (one block, its finality given) and [`Request::Blocks`].
    Blocks {
        /// Ascending, without gaps.
        blocks: Vec<Block>,
        /// For [`Request::Block`] only: proves that the block is final.
        finality: Option<Box<Finality>>,
    },
    /// Answer to [`Request::Status`].
    Status(Box<NodeStatus>),
    /// Answer to [`Request::Trace`].
    Trace(Trace),
    /// The node has no such thing, as far as it knows.
    NotFound,
    /// The node cannot answer; the text says why and what to do.
    Unavailable(String),
}

/// Transactions of one block, with what proves them all; of one alone it makes a [`Receipt`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommittedBatch {
    /// Proves the block.
    pub finality: Finality,
    /// The place and outcome of each transaction, proven together.
    pub inclusions: Inclusions,
}

/// Why a node will not take a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum SubmitError {
    /// Malformed, badly signed, or for another chain. The text says which.
    #[error("invalid: {0}")]
    Invalid(String),
    /// Refused by the ledger's rules for admission.
    #[error("{0}")]
    Refused(Refusal),
    /// The member, or the node, has as many transactions waiting as it may. Try again later, or at
    /// another validator.
    #[error("the mempool is full for this member: {0}")]
    Full(String),
    /// Its time is over, and the node waits for it no more. A block that is not committed yet may hold it all the
    /// same: only a receipt tells.
    #[error("its time is over, and it has not committed here")]
    Expired,
    /// The node is shutting down, catching up or halted.
    #[error("the node takes no transactions now: {0}")]
    Unavailable(String),
}

/// What a validator says of itself. Not proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The chain.
    pub chain: ChainId,
    /// The node's version.
    pub version: String,
    /// The name of the member that runs it.
    pub name: String,
    /// Its index.
    pub validator: ValidatorIndex,
    /// Its last committed block that is stored: whoever asks it for blocks up to this one gets them.
    pub height: Height,
    /// The hash of that block.
    pub block: BlockHash,
    /// The time of that block.
    pub block_time: Timestamp,
    /// Its view.
    pub view: View,
    /// The leader of that view.
    pub leader: ValidatorIndex,
    /// `joining` (not in touch with a quorum since it started), `learning`, `catching up`, `active`,
    /// `changing view`, `halted`.
    pub phase: String,
    /// Why it halted or does not vote, if so.
    pub trouble: Option<String>,
    /// Transactions waiting.
    pub mempool_transactions: u64,
    /// Their bytes.
    pub mempool_bytes: u64,
    /// Transactions committed since the chain began.
    pub committed_transactions: u64,
    /// Copies of transactions received from peers beyond the first, for each first copy: 0.0 is
    /// ideal. In thousandths, as the encoding holds no floats.
    pub gossip_duplicates_per_1000: u64,
    /// Kept evidence of contradicting signatures: how many.
    pub evidence: u64,
    /// Milliseconds since the node started.
    pub uptime_ms: u64,
    /// Its connections to the other validators.
    pub peers: Vec<PeerStatus>,
}

/// A validator's connection to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Which.
    pub validator: ValidatorIndex,
    /// The name of the member that runs it.
    pub name: String,
    /// Whether there is a connection.
    pub connected: bool,
    /// Its last known height.
    pub height: Height,
    /// Its last known view.
    pub view: View,
    /// Round-trip time, in microseconds.
    pub rtt_us: u64,
    /// Bytes received from it.
    pub bytes_in: u64,
    /// Bytes sent to it.
    pub bytes_out: u64,
}

/// How a node came to know a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// When it was first seen, by the node's clock.
    pub first_seen: Timestamp,
    /// The validator it came from; `None` if a client handed it in here.
    pub from: Option<ValidatorIndex>,
    /// Validators it passed on its way here: 0 if a client handed it in.
    pub hops: u8,
    /// The height it committed at, if it did.
    pub committed: Option<Height>,
}
