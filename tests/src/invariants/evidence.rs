//! Evidence names only the guilty.

use super::{Invariant, Observed};
use quorate_types::ids::ValidatorIndex;
use std::time::Duration;

/// See the module.
pub(super) struct Guilty {
    liars: Vec<ValidatorIndex>,
}

impl Guilty {
    pub(super) fn new(liars: Vec<ValidatorIndex>) -> Guilty {
        Guilty { liars }
    }
}

impl Invariant for Guilty {
    fn name(&self) -> &'static str {
        "evidence names only the guilty"
    }

    fn observe(&mut self, _: Duration, machine: usize, observed: &Observed<'_>) -> Result<(), String> {
        match observed {
            Observed::Evidence { against, what } if !self.liars.contains(against) => {
                Err(format!("machine {machine} accuses honest validator {against} of {what}"))
            }
            _ => Ok(()),
        }
    }
}
