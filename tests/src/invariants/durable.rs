//! Acknowledged means kept: what an honest machine reported as committed is on its disk then, and after
//! every restart, unless its disk was lost; and at the end it is on the disk of every machine that runs.

use super::{Invariant, Observed};
use crate::simulator::disk::Disk;
use quorate_node::core::records;
use quorate_types::hash::{BlockHash, TransactionId};
use quorate_types::ids::Height;
use std::collections::BTreeMap;
use std::time::Duration;

/// See the module.
#[derive(Default)]
pub(super) struct Durable {
    /// Every block ever acknowledged, with its transactions.
    acknowledged: BTreeMap<Height, (BlockHash, Vec<TransactionId>)>,
}

impl Durable {
    fn check_block(&self, disk: &Disk, height: Height) -> Result<(), String> {
        let Some((hash, ids)) = self.acknowledged.get(&height) else { return Ok(()) };
        let found = records::read_block(disk, height).map_err(|error| error.to_string())?;
        let found = found.ok_or(format!("the block at height {height} is not on disk"))?;
        if found.header.hash() != *hash || found.ids != *ids {
            return Err(format!("another block is on disk at height {height}"));
        }
        let bodies = records::read_bodies(disk, height, hash).map_err(|error| error.to_string())?;
        if bodies.is_none_or(|bodies| bodies.len() != ids.len()) {
            return Err(format!("the bodies of height {height} are not on disk"));
        }
        Ok(())
    }
}

impl Invariant for Durable {
    fn name(&self) -> &'static str {
        "acknowledged is durable"
    }

    fn observe(&mut self, _: Duration, machine: usize, observed: &Observed<'_>) -> Result<(), String> {
        let named = |what: String| format!("machine {machine}: {what}");
        match observed {
            Observed::Committed { block, disk } => {
                let height = block.finality.header.height;
                let ids = block.transactions.iter().map(|transaction| transaction.id()).collect();
                self.acknowledged.insert(height, (block.hash, ids));
                disk.map_or(Ok(()), |disk| self.check_block(disk, height).map_err(named))
            }
            Observed::Ended { disk, height } => {
                for at in self.acknowledged.keys() {
                    if at > height {
                        return Err(named(format!("height {at} was acknowledged, and it ends at {height}")));
                    }
                    self.check_block(disk, *at).map_err(named)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
