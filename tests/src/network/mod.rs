//! **Real processes under network faults**: links that drop packets, links that lose, delay, double and
//! reorder them, and peers that speak QUIC with bad intent.
//!
//! | module | subject |
//! |---|---|
//! | [`namespace`] | network namespaces without names, which the kernel takes back by itself |
//! | [`fabric`] | validators, each in a namespace of its own, and the links between them cut one way or both |
//! | [`proxy`] | a UDP proxy that loses, delays, doubles and reorders datagrams, from a seed |
//! | [`attacker`] | QUIC spoken by hand, with any key and any bytes |
//! | [`memory`] | resident memory of a process, sampled |
//! | [`settings`] | changing a validator's `node.toml` |

pub mod attacker;
pub mod fabric;
pub mod memory;
pub mod namespace;
pub mod proxy;
pub mod settings;

pub use fabric::{Fabric, Networked};
pub use proxy::{Faults, Proxy};
