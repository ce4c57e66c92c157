//! Read proofs verify: what a machine's disk holds of the state, at the tip and at earlier heights, is
//! proven under the root that a quorum signed, presence and absence alike; and a receipt proves its
//! transaction.

use super::{Invariant, Observed};
use crate::reference::Model;
use crate::simulator::consortium::Consortium;
use quorate_ledger::{Genesis, StateKey, StateValue, read};
use quorate_node::core::records;
use quorate_types::hash::Hash;
use quorate_types::ids::Height;
use quorate_types::transaction::Operation;
use std::collections::BTreeMap;
use std::time::Duration;

/// Keys, and what each holds.
type Held = Vec<(StateKey, Option<StateValue>)>;

/// See the module.
pub(super) struct Reads {
    genesis: Genesis,
    model: Model,
    executed: Height,
    /// The root after each block, and what some keys held.
    roots: BTreeMap<Height, (Hash, Held)>,
}

impl Reads {
    pub(super) fn new(consortium: &Consortium) -> Reads {
        Reads {
            model: Model::new(&consortium.genesis.members),
            genesis: consortium.genesis.clone(),
            executed: Height::GENESIS,
            roots: BTreeMap::new(),
        }
    }
}

/// The keys that an operation may have changed, and one beside them that it did not.
fn touched(operation: &Operation, keys: &mut Vec<StateKey>) {
    match operation {
        Operation::CreateNamespace { namespace } | Operation::SetNamespaceMembers { namespace, .. } => {
            keys.push(StateKey::Namespace(namespace.clone()));
        }
        Operation::Put { namespace, key, .. } | Operation::Delete { namespace, key, .. } => {
            keys.push(StateKey::Entry { namespace: namespace.clone(), key: key.clone() });
            keys.push(StateKey::Entry { namespace: namespace.clone(), key: [key.as_slice(), b"?"].concat() });
        }
        Operation::CreateAsset { asset } | Operation::Burn { asset, .. } => {
            keys.push(StateKey::Asset(asset.clone()));
        }
        Operation::Mint { asset, to, .. } | Operation::Transfer { asset, to, .. } => {
            keys.push(StateKey::Asset(asset.clone()));
            keys.push(StateKey::Balance { asset: asset.clone(), member: *to });
        }
    }
}

impl Invariant for Reads {
    fn name(&self) -> &'static str {
        "reads are proven"
    }

    fn observe(&mut self, _: Duration, machine: usize, observed: &Observed<'_>) -> Result<(), String> {
        match observed {
            Observed::Committed { block, .. } => {
                let height = block.finality.header.height;
                if height != self.executed.next() {
                    return Ok(());
                }
                self.executed = height;
                let mut keys = Vec::new();
                for transaction in &block.transactions {
                    self.model.transaction(height.0, transaction);
                    for operation in &transaction.transaction().operations {
                        touched(operation, &mut keys);
                    }
                }
                // Every key of every block would be read again at the end: a few tell.
                keys.truncate(6);
                let values = keys.into_iter().map(|key| (key.clone(), self.model.get(&key))).collect();
                self.roots.insert(height, (block.finality.result.state_root, values));
                Ok(())
            }
            Observed::Ended { disk, height } => {
                for (at, (root, values)) in self.roots.range(..=*height) {
                    for (key, expected) in values {
                        let (value, proof) = read(*disk, *at, key)
                            .map_err(|error| format!("machine {machine} at height {at}: {error}"))?;
                        if value != *expected {
                            return Err(format!(
                                "machine {machine} holds {value:?} at {key:?}, height {at}, not {expected:?}"
                            ));
                        }
                        if proof.verify(root, key) != Ok(value) {
                            return Err(format!("machine {machine} cannot prove {key:?} at height {at}"));
                        }
                    }
                    let record = records::read_block(*disk, *at).map_err(|error| error.to_string())?;
                    let Some(id) = record.and_then(|record| record.ids.last().copied()) else { continue };
                    let receipt = records::receipt(*disk, &id).map_err(|error| error.to_string())?;
                    let receipt = receipt.ok_or(format!("machine {machine} has no receipt of {id:?}"))?;
                    receipt
                        .verify(&self.genesis.chain, &self.genesis.validators)
                        .map_err(|error| format!("machine {machine}: the receipt of {id:?}: {error}"))?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
