//! State and results are equal at equal heights, and are what the operations mean: every block is
//! executed again on plain maps.

use super::{Invariant, Observed};
use crate::reference::Model;
use crate::simulator::consortium::Consortium;
use quorate_types::block::BlockResult;
use quorate_types::ids::Height;
use quorate_types::outcome::Outcome;
use std::collections::BTreeMap;
use std::time::Duration;

/// See the module.
pub(super) struct Results {
    model: Model,
    executed: Height,
    results: BTreeMap<Height, BlockResult>,
}

impl Results {
    pub(super) fn new(consortium: &Consortium) -> Results {
        Results {
            model: Model::new(&consortium.genesis.members),
            executed: Height::GENESIS,
            results: BTreeMap::new(),
        }
    }
}

impl Invariant for Results {
    fn name(&self) -> &'static str {
        "equal results"
    }

    fn observe(&mut self, _: Duration, machine: usize, observed: &Observed<'_>) -> Result<(), String> {
        let Observed::Committed { block, .. } = observed else { return Ok(()) };
        let height = block.finality.header.height;
        let result = &block.finality.result;
        if let Some(known) = self.results.get(&height) {
            let same = known == result;
            return if same {
                Ok(())
            } else {
                Err(format!("machine {machine} has another result at {height}"))
            };
        }
        self.results.insert(height, result.clone());
        if height != self.executed.next() {
            return Err(format!("height {height} was reported before {} was", self.executed.next()));
        }
        self.executed = height;
        let expected: Vec<Outcome> = block
            .transactions
            .iter()
            .map(|transaction| self.model.transaction(height.0, transaction))
            .collect();
        if expected != block.outcomes {
            return Err(format!("outcomes at height {height}: {:?}, expected {expected:?}", block.outcomes));
        }
        Ok(())
    }
}
