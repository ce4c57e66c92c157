//! A model of the ledger, as far as the clients use it, written from its documentation.

use super::{Action, Effect, Key};
use std::collections::BTreeMap;

/// Registers with versions, and accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct World {
    /// Value and version of each key that exists.
    pub registers: BTreeMap<Key, (u64, u64)>,
    /// The balance of each client.
    pub balances: Vec<u128>,
}

impl World {
    /// No key exists; every client holds so much.
    pub fn new(clients: usize, units: u128) -> World {
        World { registers: BTreeMap::new(), balances: vec![units; clients] }
    }

    /// A client's transaction in the block at `height`.
    pub fn apply(&mut self, client: usize, action: &Action, height: u64) -> Effect {
        match *action {
            Action::Put { key, value, expected } => {
                let found = self.registers.get(&key).map_or(0, |(_, version)| *version);
                if expected.is_some_and(|expected| expected != found) {
                    return Effect::Mismatch { found };
                }
                self.registers.insert(key, (value, height));
                Effect::Applied
            }
            Action::Transfer { to, amount } => {
                let balance = self.balances[client];
                if balance < amount {
                    return Effect::Insufficient { balance };
                }
                self.balances[client] -= amount;
                self.balances[to] += amount;
                Effect::Applied
            }
            Action::Read { .. } | Action::Balance { .. } => Effect::Applied,
        }
    }
}
