//! The validator daemon: a deterministic core and the shell around it.
//!
//! | module | subject |
//! |---|---|
//! | [`core`] | the sans-IO core: replica, mempool, gossip and sync as one state machine |
//! | [`runtime`] | the shell: the thread that owns the core, the verify pool, the storage thread |
//! | [`storage`] | RocksDB behind the ledger's storage trait; recognising a damaged or foreign directory |
//! | [`clients`] | serving clients: submissions, reads with proofs, block streams |
//! | [`http`], [`metrics`] | metrics, health and status on a local port |
//! | [`config`] | the configuration file |
//! | [`export`] | the chain of a stopped node, in one file |

pub mod clients;
pub mod config;
pub mod core;
pub mod export;
pub mod http;
pub mod metrics;
pub mod runtime;
pub mod storage;
