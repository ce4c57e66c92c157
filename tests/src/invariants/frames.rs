//! Honest machines understand each other: no frame that one sends is refused by another.

use super::{Invariant, Observed};
use std::time::Duration;

/// See the module.
pub(super) struct Frames;

impl Invariant for Frames {
    fn name(&self) -> &'static str {
        "honest frames are accepted"
    }

    fn observe(&mut self, _: Duration, machine: usize, observed: &Observed<'_>) -> Result<(), String> {
        match observed {
            Observed::Refused { from, why } => {
                Err(format!("machine {machine} refused a frame of honest validator {from}: {why}"))
            }
            _ => Ok(()),
        }
    }
}
