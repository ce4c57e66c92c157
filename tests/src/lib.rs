//! **Whole consortiums on one machine**: simulated in one thread, or founded by the real ceremony and run
//! by real processes for the end-to-end tests, `make demo` and `make devnet`.
//!
//! A consortium of processes is founded by the real ceremony and run by real processes, each validator with
//! its own keys, directory and QUIC port. The programs are those that users run, `quorate-node` and
//! `quorate`, so they have to be built first; see [`programs`].
//!
//! | module | subject |
//! |---|---|
//! | [`simulator`] | whole nodes on a virtual clock, from a seed |
//! | [`adversaries`] | validators that lie, one behaviour a file |
//! | [`invariants`] | what must hold at every step, one a file |
//! | [`consortium`] | founding; starting, killing and asking validators |
//! | [`programs`] | where the built programs are; running `quorate` as a member |
//! | [`load`] | transactions without end, and a record of what was acknowledged |
//! | [`audited`] | the chain seen from the outside: sound, and nothing acknowledged missing |
//! | [`network`] | validators under network faults: links cut, a faulty proxy, hostile peers |
//! | [`history`] | what several clients saw, and whether the ledger keeps its word on it |
//! | [`model`] | the ordering protocol as an explicit-state model, explored to exhaustion |
//! | [`packages`] | real input: the packages this workspace is built from |
//! | [`fuzz`] | every decoder that meets a peer, a client or a disk, as a function of bytes |
//! | [`mod@bench`] | what a load costs: CPU by activity, floor, latencies, report |
//! | [`claim`] | directories that one program at a time uses |
//! | [`soak`] | what validators' processes use over hours, and whether it grows |
//! | [`wait`] | waiting for conditions, with a deadline |

pub mod adversaries;
pub mod audited;
pub mod bench;
pub mod claim;
pub mod consortium;
pub mod fuzz;
pub mod history;
pub mod invariants;
pub mod load;
pub mod model;
pub mod network;
pub mod packages;
pub mod programs;
pub mod simulator;
pub mod soak;
pub mod wait;

#[path = "../../consensus/ledger/tests/ledger/reference.rs"]
mod reference;

pub use audited::{Audited, audit};
pub use consortium::{Consortium, Plan};
pub use load::{Acknowledged, Load};
