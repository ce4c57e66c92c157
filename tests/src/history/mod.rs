//! What several clients saw while validators failed, and whether the ledger keeps its word on it.
//!
//! # What is promised
//!
//! - **Writes are linearizable.** Every transaction with a receipt took effect at one moment between its
//!   submission and its receipt: at its place in the chain, which the receipt names (height, and index
//!   within the block). One that was over before another was submitted stands before it. Its outcome is
//!   what that place implies: a compare-and-set applied if the key had the expected version there, a
//!   transfer if the sender held as much.
//! - **Exactly once.** A transaction with a receipt stands on the chain once; one whose fate the client
//!   never learned, at most once; one that was handed to nobody, never; and nothing stands there that
//!   nobody submitted.
//! - **A read names its height**, and gives exactly the state after that block. It need not be the latest:
//!   whoever answers may lag. For one client the heights never fall, neither below an earlier read nor
//!   below its own receipts: sequential consistency, with one's own writes visible. Between clients a
//!   later read may be of an older height; whoever cannot have that passes on the height, or writes.
//!
//! # How it is checked
//!
//! Each call is recorded with the time of its invocation and of its answer, as the client's own process
//! saw them; a call without a definite answer stays open for ever. [`check`](check::check) compares that
//! with the chain, which was audited by itself: places against real time, outcomes and reads against a
//! model of the ledger that knows nothing of its code ([`World`](world::World)). [`blind`] looks at what
//! clients saw and at nothing else: `stateright`'s linearizability tester searches for any order of the
//! writes that explains it, one object (key, or all accounts) at a time.

pub mod blind;
pub mod check;
pub mod clients;
pub mod world;

#[cfg(test)]
mod tests;

use quorate_types::hash::TransactionId;
use std::time::Duration;

/// A key of the namespace that the clients share.
pub type Key = u8;

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Sets a key; if `expected` is given, only if that is its version. Version 0: it does not exist.
    Put {
        /// The key.
        key: Key,
        /// The value, unique in the history.
        value: u64,
        /// The expected version.
        expected: Option<u64>,
    },
    /// Moves units from the client's own account to that of another client.
    Transfer {
        /// The other client.
        to: usize,
        /// How many units.
        amount: u128,
    },
    /// Reads a key at the latest height.
    Read {
        /// The key.
        key: Key,
    },
    /// Reads the balance of a client at the latest height.
    Balance {
        /// Whose.
        of: usize,
    },
}

/// A place in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The block.
    pub height: u64,
    /// The position within it, from 0.
    pub index: u32,
}

/// What a transaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It applied.
    Applied,
    /// It failed: the key had another version.
    Mismatch {
        /// That version.
        found: u64,
    },
    /// It failed: the sender held too little.
    Insufficient {
        /// That much.
        balance: u128,
    },
}

/// What the client was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A verified receipt.
    Receipt(Place, Effect),
    /// A key, proven at a height: its value and version, if it exists.
    Value {
        /// The height.
        at: u64,
        /// Value and version.
        found: Option<(u64, u64)>,
    },
    /// A balance, proven at a height.
    Units {
        /// The height.
        at: u64,
        /// The balance.
        units: u128,
    },
    /// Nobody was handed the transaction, so it never took effect; or nobody answered a read.
    Nothing,
    /// The transaction may or may not have committed, now or later.
    Unknown,
}

/// One call of one client.
#[derive(Debug, Clone)]
pub struct Call {
    /// Which client. Each has one call at a time.
    pub client: usize,
    /// What it asked for.
    pub action: Action,
    /// The transaction's id, if it is one.
    pub id: Option<TransactionId>,
    /// When, since the history began.
    pub invoked: Duration,
    /// When the answer was there.
    pub answered: Duration,
    /// The answer.
    pub answer: Answer,
}

/// Everything that the clients did and saw.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// All calls, in the order of their invocation.
    pub calls: Vec<Call>,
}
