//! The ledger from the outside: operations, rules, forks, restarts, proofs, and a model to compare
//! with.

mod common;
mod forks;
mod model;
mod operations;
mod proofs;
mod restart;
mod validity;
