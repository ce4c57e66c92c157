//! What goes into the core and what comes out.
//!
//! The driver (the shell in production, the simulator in tests) owes the core this, in order:
//!
//! 1. Call [`step`](super::Core::step) with one [`Input`], and with [`Input::Tick`] no later than
//!    [`deadline`](super::Core::deadline).
//! 2. Then take every [`Ready`]. For each, in the order of their numbers:
//!    - send `now` at once;
//!    - write `persist` as one atomic batch, synced if `sync`; batches are written in order;
//!    - only when it is written (and synced), send `then` and deliver `reports`;
//!    - and if it is `awaited`, tell the core with [`Input::Persisted`].
//!
//!    A Ready with nothing to persist still waits for those before it.
//! 3. If a write fails, do not deliver what came after it. Retry it in the same order (a full disk may
//!    drain), or stop. No vote leaves before it is written.
//! 4. While it runs, tell it of [`Input::RoundTrips`] now and then. Without, a leader takes all that a commit
//!    takes for the network's part: right and, under load, dearer.

use bytes::Bytes;
use quorate_client::protocol::SubmitError;
use quorate_ledger::Write;
use quorate_pbft::VerifiedMessage;
use quorate_transport::Lane;
use quorate_types::block::{Block, BlockResult, Header};
use quorate_types::hash::{BlockHash, TransactionId};
use quorate_types::ids::{Height, Timestamp, ValidatorIndex, View};
use quorate_types::outcome::Outcome;
use quorate_types::receipt::{BlockTrees, Finality};
use quorate_types::transaction::VerifiedTransaction;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// The two clocks, as the driver reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Never goes back: for timers. Since any fixed moment.
    pub monotonic: Duration,
    /// The wall clock: for block timestamps and admission only.
    pub wall: Timestamp,
}

/// A request of a local client, numbered by the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What happens to a core.
#[derive(Debug, Clone)]
pub enum Input {
    /// Time passed.
    Tick,
    /// A connection to a validator is up.
    PeerUp(ValidatorIndex),
    /// And down.
    PeerDown(ValidatorIndex),
    /// Of each validator that is connected, how long something sent to it takes, and the answer back, as far as
    /// the network goes.
    RoundTrips(Vec<Duration>),
    /// A frame of a peer, verified by [`wire::verify`](super::wire::verify).
    Peer {
        /// Whose connection it came by: not necessarily who signed.
        from: ValidatorIndex,
        /// What it says.
        frame: PeerInput,
    },
    /// Transactions that local clients submit, verified. Each is answered by one
    /// [`Report::Admission`], in order.
    Submit {
        /// The driver's number for the batch.
        ticket: Ticket,
        /// The transactions.
        transactions: Vec<VerifiedTransaction>,
    },
    /// The Ready of this number, and all before it, are written (and synced where asked).
    Persisted(u64),
}

impl Input {
    /// The transactions, if it is nothing else: of a client, or pushed or pulled from a peer.
    pub fn transactions(&self) -> Option<&[VerifiedTransaction]> {
        match self {
            Input::Submit { transactions, .. }
            | Input::Peer { frame: PeerInput::Transactions { transactions, .. }, .. } => Some(transactions),
            _ => None,
        }
    }
}

/// A verified frame of a peer.
#[derive(Debug, Clone)]
pub enum PeerInput {
    /// A message of the ordering protocol. Lane: votes.
    Consensus(VerifiedMessage),
    /// Transactions pushed or pulled. Lane: gossip.
    Transactions {
        /// Validators they passed before this one: 1 if the sender had them from a client.
        hops: u8,
        /// Verified.
        transactions: Vec<VerifiedTransaction>,
    },
    /// Transactions the peer holds and can be asked for. Lane: gossip.
    Announce(Vec<TransactionId>),
    /// Transactions the peer wants. Lane: sync (a proposal waits for them).
    Pull(Vec<TransactionId>),
    /// A proposal (header and ids) the peer wants. Lane: sync.
    FetchProposal(BlockHash),
    /// The answer: ids that hash to the header's root. Lane: sync.
    Proposal {
        /// The header; its hash was asked for.
        header: Box<Header>,
        /// Its transactions.
        ids: Vec<TransactionId>,
    },
    /// Committed blocks the peer wants. Lane: sync.
    FetchBlocks {
        /// The first height.
        from: Height,
        /// The last height, included. Fewer may come.
        to: Height,
    },
    /// The answer: certificates and signatures verified, and the chain of hashes between the blocks.
    /// Lane: sync.
    Blocks(Vec<VerifiedBlock>),
}

/// A block whose transactions and certificate (if any) were verified, and whose bodies match its
/// header. Whether it extends our chain is the core's question.
#[derive(Debug, Clone)]
pub struct VerifiedBlock {
    /// The block as it came.
    pub block: Block,
    /// Its hash.
    pub hash: BlockHash,
    /// Its transactions.
    pub transactions: Vec<VerifiedTransaction>,
}

/// A frame to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// To whom.
    pub to: ValidatorIndex,
    /// On which lane.
    pub lane: Lane,
    /// An encoded [`PeerFrame`](super::wire::PeerFrame); shared between recipients.
    pub frame: Bytes,
}

/// Work for the driver; see the module's description for what is owed.
#[derive(Debug, Clone, Default)]
pub struct Ready {
    /// Counts from 1, without gaps.
    pub number: u64,
    /// To be sent at once: promises nothing.
    pub now: Vec<Outgoing>,
    /// One atomic batch.
    pub persist: Vec<Write>,
    /// Whether it must survive power loss before `then` is sent.
    pub sync: bool,
    /// To be sent when `persist` is safe.
    pub then: Vec<Outgoing>,
    /// To be delivered when `persist` is safe.
    pub reports: Vec<Report>,
    /// For the guard file beside the database, to be synced before `then` is sent. Given with every
    /// batch of votes.
    pub guard: Option<Guard>,
    /// Whether the core is to hear that it is written. Of others it need not, unless the driver has held it back
    /// until then.
    pub awaited: bool,
}

/// The furthest promise a node has made. Kept in a small synced file of its own, so that a database
/// that lost its tail, or an old backup, is noticed before the node votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Guard {
    /// The highest view voted in or left.
    pub view: View,
    /// The highest height voted on.
    pub height: Height,
    /// The highest committed height.
    pub committed: Height,
    /// How many records of votes and views were ever written, without those of a replica that learns: it
    /// enters views, and votes on nothing.
    pub votes: u64,
}

/// What the core tells its surroundings.
#[derive(Debug, Clone)]
pub enum Report {
    /// What became of the transactions of an [`Input::Submit`], in order. `Ok` means waiting here.
    Admission {
        /// The batch.
        ticket: Ticket,
        /// One verdict for each transaction.
        verdicts: Vec<(TransactionId, Result<(), SubmitError>)>,
    },
    /// A block is final and in the store.
    Committed(Arc<CommittedBlock>),
    /// Transactions left the mempool without committing: no new block may hold them.
    Expired(Vec<TransactionId>),
    /// Transactions left the mempool without committing: a proposal that named them was dropped, and there is no
    /// room for them otherwise.
    Dropped(Vec<TransactionId>),
    /// A peer broke a rule; the text names it. The driver counts, logs, and disconnects repeat
    /// offenders.
    Fault {
        /// Whose connection it came by.
        peer: ValidatorIndex,
        /// What it did.
        what: String,
    },
    /// Two contradicting statements of one signer, kept in the store.
    Evidence {
        /// The signer.
        signer: ValidatorIndex,
        /// What they are.
        what: String,
    },
    /// Moved to a view.
    View {
        /// The view.
        view: View,
        /// Whether it has begun, or this node waits for its leader to open it.
        active: bool,
        /// Why, for the log.
        why: String,
    },
    /// This node must not go on: its result differs from the quorum's, or its store lies. It votes no
    /// more. The text says what to do.
    Halted(String),
}

/// A committed block with all that receipts need.
#[derive(Debug, Clone)]
pub struct CommittedBlock {
    /// Header, result, certificate (own or a descendant's).
    pub finality: Finality,
    /// Hash of the header.
    pub hash: BlockHash,
    /// The transactions, in order.
    pub transactions: Vec<VerifiedTransaction>,
    /// What came of each.
    pub outcomes: Vec<Outcome>,
    /// What proves where each stands.
    pub trees: BlockTrees,
    /// Whether it came by catching up rather than by voting.
    pub caught_up: bool,
}

impl CommittedBlock {
    /// The block's result.
    pub fn result(&self) -> &BlockResult {
        &self.finality.result
    }
}

/// How soon the core wants transactions that are on their way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Demand {
    /// At once: a proposal waits for bodies that are not here.
    Missing,
    /// Soon: they may stand in the next block.
    #[default]
    Usual,
    /// When it is cheapest: more than a few wait before them.
    Satisfied,
}

/// How much a core keeps of what peers and clients can make it keep: numbers of entries, or bytes where
/// it says so. Each is bounded where it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// The replica's.
    pub replica: quorate_pbft::Held,
    /// Uncommitted blocks executed in memory.
    pub pending_blocks: usize,
    /// Committed blocks kept in memory until the driver says that they are written.
    pub unwritten_blocks: usize,
    /// Uncommitted blocks known, and of these the ones to be executed.
    pub proposals: (usize, usize),
    /// Transactions waiting, and their bytes.
    pub mempool: (usize, usize),
    /// Ids in gossip: of transactions held, missing, and remembered though no longer held.
    pub gossip: (usize, usize, usize),
    /// Bytes of fetched blocks that wait, and requests for blocks in flight.
    pub sync: (usize, usize),
}

/// What the core says of itself, for status and metrics.
#[derive(Debug, Clone, Default)]
pub struct CoreStatus {
    /// Last committed height.
    pub height: Height,
    /// Its hash.
    pub block: BlockHash,
    /// Its timestamp.
    pub block_time: Timestamp,
    /// The view.
    pub view: View,
    /// Its leader.
    pub leader: ValidatorIndex,
    /// `active`, `changing view`, `joining` (too few others were heard), `catching up`, `learning` (it follows
    /// without a vote) or `halted`.
    pub phase: &'static str,
    /// Why it halted or does not vote.
    pub trouble: Option<String>,
    /// Transactions waiting.
    pub mempool_transactions: usize,
    /// Their bytes.
    pub mempool_bytes: usize,
    /// First copies of transactions received from peers.
    pub gossip_first: u64,
    /// Further copies.
    pub gossip_duplicates: u64,
    /// Pieces of evidence kept.
    pub evidence: u64,
    /// View changes since start.
    pub view_changes: u64,
    /// Last known height and view of each validator, by index.
    pub peers: Vec<(Height, View)>,
}
