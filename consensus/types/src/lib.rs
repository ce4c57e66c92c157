//! **What is said.** Every byte that is signed, hashed, stored or sent between parties that must
//! agree is defined here, together with the one predicate for the validity of a signature.
//!
//! The crate is pure: no clock, no randomness of its own, no threads, no files, no sockets. Where
//! randomness speeds a check up (batch verification) it is an argument.
//!
//! | module | subject |
//! |---|---|
//! | [`ids`] | newtypes: height, view, validator index, timestamp |
//! | [`hash`] | SHA-256 and the newtypes of its outputs |
//! | [`codec`] | the canonical encoding |
//! | [`signed`] | domain tags, what exactly is signed, and [`Verified`](signed::Verified) |
//! | [`keys`] | keys, signatures, ZIP-215 verification, single and batched |
//! | [`memory`] | signatures found valid, remembered by those who check many |
//! | [`parameters`] | what the founders of a chain choose |
//! | [`member`], [`validators`] | who takes part; quorum arithmetic |
//! | [`transaction`], [`outcome`] | what members ask for and what came of it |
//! | [`block`], [`certificate`] | headers, results, votes, certificates |
//! | [`merkle`] | RFC 6962 trees and proofs |
//! | [`receipt`] | the proof that a transaction committed, checked offline |

pub mod block;
pub mod certificate;
pub mod codec;
pub mod hash;
pub mod ids;
pub mod keys;
pub mod member;
pub mod memory;
pub mod merkle;
pub mod outcome;
pub mod parameters;
pub mod receipt;
pub mod signed;
pub mod transaction;
pub mod validators;
