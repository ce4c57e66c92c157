//! Exactly once: a transaction stands on the chain at one place, however often it was sent, and a
//! receipt read back names that place.

use super::{Invariant, Observed};
use quorate_node::core::records;
use quorate_types::hash::TransactionId;
use quorate_types::ids::Height;
use std::collections::BTreeMap;
use std::time::Duration;

/// See the module.
#[derive(Default)]
pub(super) struct Once {
    placed: BTreeMap<TransactionId, (Height, usize)>,
}

impl Invariant for Once {
    fn name(&self) -> &'static str {
        "exactly once"
    }

    fn observe(&mut self, _: Duration, machine: usize, observed: &Observed<'_>) -> Result<(), String> {
        match observed {
            Observed::Committed { block, .. } => {
                let height = block.finality.header.height;
                for (position, transaction) in block.transactions.iter().enumerate() {
                    let place = *self.placed.entry(transaction.id()).or_insert((height, position));
                    if place != (height, position) {
                        return Err(format!(
                            "transaction {:?} stands at {place:?} and at ({height}, {position})",
                            transaction.id()
                        ));
                    }
                }
                Ok(())
            }
            Observed::Ended { disk, .. } => {
                for (id, (height, _)) in &self.placed {
                    let found = records::locate(*disk, id).map_err(|error| error.to_string())?;
                    if found.map(|(height, _)| height) != Some(*height) {
                        return Err(format!("machine {machine} finds {id:?} at {found:?}, not at {height}"));
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
