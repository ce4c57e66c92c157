//! Agreement: no two honest machines commit different blocks at one height, and each commits height
//! after height.

use super::{Invariant, Observed};
use quorate_types::hash::BlockHash;
use quorate_types::ids::Height;
use std::collections::BTreeMap;
use std::time::Duration;

/// See the module.
#[derive(Default)]
pub(super) struct Agreement {
    chain: BTreeMap<Height, (BlockHash, usize)>,
    last: BTreeMap<usize, Height>,
}

impl Invariant for Agreement {
    fn name(&self) -> &'static str {
        "agreement"
    }

    fn observe(&mut self, _: Duration, machine: usize, observed: &Observed<'_>) -> Result<(), String> {
        match observed {
            Observed::Committed { block, .. } => {
                let height = block.finality.header.height;
                let (agreed, first) = *self.chain.entry(height).or_insert((block.hash, machine));
                if agreed != block.hash {
                    return Err(format!(
                        "at height {height}, machine {machine} committed {:?}, and machine {first} {agreed:?}",
                        block.hash
                    ));
                }
                let last = self.last.insert(machine, height);
                match last {
                    Some(last) if last.next() != height => {
                        Err(format!("machine {machine} committed height {height} after {last}"))
                    }
                    _ => Ok(()),
                }
            }
            // Written and not yet reported before it died, a block is not reported again.
            Observed::Started => {
                self.last.remove(&machine);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
