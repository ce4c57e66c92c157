//! **The thin client.** Submits, reads, watches and audits a Quorate chain, and believes nothing
//! that it has not checked itself against the genesis document.
//!
//! | module | subject |
//! |---|---|
//! | [`protocol`] | what a client and a validator say to each other |
//! | [`client`] | asking validators, submitting, bulk, following blocks |
//! | [`cli`] | the program `quorate` |
//! | [`verify`] | checks of everything a validator says |
//! | [`audit`] | the whole chain checked from genesis, offline or from a live node |
//! | [`export`] | the chain in one file |
//! | [`operations`] | operations as JSON |
//! | [`receipt_file`] | a receipt in a file |
//! | [`ceremony`] | the founding ceremony on the command line |
//! | [`error`] | faults of validators, errors, exit codes |

pub mod audit;
pub mod ceremony;
pub mod cli;
pub mod client;
pub mod error;
pub mod export;
pub mod operations;
pub mod protocol;
pub mod receipt_file;
pub mod verify;
