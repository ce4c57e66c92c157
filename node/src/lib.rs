//! The validator daemon: a deterministic core and the shell around it.
//!
//! | module | subject |
//! |---|---|
//! | [`core`] | the sans-IO core: replica, mempool, gossip and sync as one state machine |
//! | [`config`] | the configuration file |
//! | [`storage`] | RocksDB behind the ledger's storage trait; recognising a damaged or foreign directory |
//! | [`runtime`] | the shell: the task that owns the core, the verify pool, the storage thread |
//! | [`clients`] | serving clients: submissions, reads with proofs, block streams |
//! | [`http`] | metrics, health and status on a local port |

pub mod core;
