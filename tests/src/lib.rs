//! **Whole consortiums on one machine**: for the end-to-end tests, `make demo` and `make devnet`.
//!
//! A consortium here is founded by the real ceremony and run by real processes, each validator with
//! its own keys, directory and QUIC port. The programs are those that users run, `quorate-node` and
//! `quorate`, so they have to be built first; see [`programs`].
//!
//! | module | subject |
//! |---|---|
//! | [`consortium`] | founding; starting, killing and asking validators |
//! | [`programs`] | where the built programs are; running `quorate` as a member |
//! | [`load`] | transactions without end, and a record of what was acknowledged |
//! | [`audited`] | the chain seen from the outside: sound, and nothing acknowledged missing |
//! | [`model`] | the ordering protocol as an explicit-state model, explored to exhaustion |
//! | [`packages`] | real input: the packages this workspace is built from |
//! | [`claim`] | directories that one program at a time uses |
//! | [`wait`] | waiting for conditions, with a deadline |

pub mod audited;
pub mod claim;
pub mod consortium;
pub mod load;
pub mod model;
pub mod packages;
pub mod programs;
pub mod wait;

pub use audited::{Audited, audit};
pub use consortium::{Consortium, Plan};
pub use load::{Acknowledged, Load};
