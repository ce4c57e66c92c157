//! The ledger from the outside: operations, rules, forks, restarts, proofs, and a model to compare
//! with.

#![allow(clippy::unwrap_used, reason = "a test that unwraps in vain has failed")]

mod common;
mod forks;
mod model;
mod operations;
mod proofs;
mod reference;
mod restart;
mod validity;
