//! What must hold at every step of a simulated run, whatever goes wrong. One invariant a file, each
//! written from the protocol's promises and not from the code that keeps them.
//!
//! Everything here concerns honest machines only; what liars say and store is their own affair.

mod agreement;
mod bounds;
mod certified;
mod durable;
mod evidence;
mod frames;
mod once;
mod reads;
mod results;
mod votes;

use crate::simulator::consortium::Consortium;
use crate::simulator::disk::Disk;
use crate::simulator::scenario::Scenario;
use bytes::Bytes;
use quorate_node::core::api::{CommittedBlock, Footprint};
use quorate_transport::Lane;
use quorate_types::ids::{Height, ValidatorIndex};
use std::time::Duration;

/// Something that an honest machine did, or that was seen of it.
pub enum Observed<'a> {
    /// A frame left it.
    Sent {
        /// On which lane.
        lane: Lane,
        /// The frame.
        bytes: &'a Bytes,
    },
    /// A frame that an honest machine sent, unchanged, was refused by it.
    Refused {
        /// Who sent it.
        from: ValidatorIndex,
        /// Why it was refused.
        why: &'a str,
    },
    /// It told its clients that a block is final. From here on every transaction in it is acknowledged.
    Committed {
        /// The block.
        block: &'a CommittedBlock,
        /// Its disk at that moment, unless a fault has damaged it.
        disk: Option<&'a Disk>,
    },
    /// It keeps evidence against a validator.
    Evidence {
        /// Against whom.
        against: ValidatorIndex,
        /// Of what.
        what: &'a str,
    },
    /// It took a step.
    Stepped {
        /// What it keeps.
        footprint: Footprint,
    },
    /// It started.
    Started,
    /// The run is over, and it runs.
    Ended {
        /// Its disk.
        disk: &'a Disk,
        /// Its last committed block.
        height: Height,
    },
}

/// One invariant, over a whole run.
pub trait Invariant {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Looks at what machine `machine` (not its validator: twins are two) did at `at`.
    ///
    /// # Errors
    /// What is broken.
    fn observe(&mut self, at: Duration, machine: usize, observed: &Observed<'_>) -> Result<(), String>;
}

/// All invariants, for a run of `scenario`.
pub fn all(scenario: &Scenario, consortium: &Consortium) -> Vec<Box<dyn Invariant>> {
    let liars: Vec<ValidatorIndex> =
        scenario.adversaries.iter().map(|(liar, _)| crate::simulator::consortium::index(*liar)).collect();
    vec![
        Box::new(agreement::Agreement::default()),
        Box::new(certified::Certified::new(consortium)),
        Box::new(votes::Votes::default()),
        Box::new(durable::Durable::default()),
        Box::new(once::Once::default()),
        Box::new(results::Results::new(consortium)),
        Box::new(reads::Reads::new(consortium)),
        Box::new(bounds::Bounds::new(scenario)),
        Box::new(evidence::Guilty::new(liars)),
        Box::new(frames::Frames),
    ]
}
