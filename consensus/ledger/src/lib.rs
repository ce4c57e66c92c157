//! **What it means.** What a block of transactions does to the state, how that state is
//! authenticated, and how anyone proves what it holds.
//!
//! Two honest machines must compute the same answer to every question asked here, so the crate is
//! pure: no clock, no randomness, no threads, no files. Time is an argument, storage is behind a trait,
//! and what is to be stored is returned.
//!
//! | module | subject |
//! |---|---|
//! | [`ledger`] | [`Ledger`]: admission, proposing, checking, committing |
//! | [`validity`] | the rules a transaction and a block must meet, each with its name |
//! | [`state`] | typed keys and values of the state |
//! | [`mod@read`] | reading any committed height, with proofs, from a store alone |
//! | [`proof`] | [`StateProof`]: presence and absence, checked against a state root |
//! | [`chain`] | founding facts, tip |
//! | [`store`] | the storage trait, the key table, the store in memory |
//! | `execution`, `tree`, `reader`, `replay`, `pending` | inside: operations, the Merkle tree, layered reads, replay protection, uncommitted blocks |
//!
//! # A block's way
//!
//! A leader calls [`Ledger::propose`], the other replicas [`Ledger::check`]: both execute the block
//! on its parent's state and keep what it would write in memory, so that children can be executed on
//! it before it is committed. Several children of one block may be pending; each sees its own
//! ancestors and nothing else. [`Ledger::commit`] makes one of them the tip and hands out its writes.
//! The node stores them with the block and its certificate in one batch, and says so with
//! [`Ledger::applied`]; until then they are read from memory.

pub mod chain;
mod execution;
pub mod ledger;
mod pending;
pub mod proof;
pub mod read;
mod reader;
mod replay;
pub mod state;
pub mod store;
mod table;
mod tree;
pub mod validity;

pub use chain::{Genesis, Tip, founding_result};
pub use ledger::{Committed, Ledger, LedgerError, Proposed};
pub use pending::Executed;
pub use proof::{StateProof, StateProofError};
pub use read::{ReadError, history_proof, read, state_root};
pub use state::{Asset, Entry, Namespace, StateKey, StateValue};
pub use store::{Column, MemoryStore, Pieces, Store, StoreError, Write};
pub use tree::page_rests_on;
pub use validity::{InvalidBlock, Refusal};
