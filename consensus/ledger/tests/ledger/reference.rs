//! What the operations mean, written again with plain maps and no regard for speed: a reference for
//! the ledger. Tests of other crates take it in by path.

use quorate_ledger::{StateKey, StateValue};
use quorate_types::keys::PublicKey;
use quorate_types::member::Member;
use quorate_types::outcome::{Failure, Outcome};
use quorate_types::transaction::{Operation, VerifiedTransaction, Version};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The state as plain maps.
#[derive(Clone, Default, PartialEq, Debug)]
pub(crate) struct Model {
    members: Arc<[Member]>,
    namespaces: BTreeMap<String, (Vec<PublicKey>, Vec<PublicKey>)>,
    entries: BTreeMap<(String, Vec<u8>), (u64, Vec<u8>)>,
    /// Issuer, and who holds what.
    assets: BTreeMap<String, (PublicKey, BTreeMap<PublicKey, u128>)>,
}

impl Model {
    /// The founding state.
    pub(crate) fn new(members: &[Member]) -> Model {
        Model { members: members.into(), ..Model::default() }
    }

    fn operation(&mut self, sender: PublicKey, height: u64, operation: &Operation) -> Result<(), Failure> {
        let members = Arc::clone(&self.members);
        let member = |key: &PublicKey| {
            if members.iter().any(|member| member.key == *key) { Ok(()) } else { Err(Failure::NoSuchMember) }
        };
        match operation {
            Operation::CreateNamespace { namespace } => {
                if self.namespaces.contains_key(namespace) {
                    return Err(Failure::NamespaceExists);
                }
                self.namespaces.insert(namespace.clone(), (vec![sender], vec![sender]));
            }
            Operation::SetNamespaceMembers { namespace, owners, writers } => {
                let lists = self.namespaces.get_mut(namespace).ok_or(Failure::NoSuchNamespace)?;
                if !lists.0.contains(&sender) {
                    return Err(Failure::NotOwner);
                }
                owners.iter().chain(writers).try_for_each(member)?;
                *lists = (owners.clone(), writers.clone());
            }
            Operation::Put { namespace, key, value, expected } => {
                let found = self.writable(sender, namespace, key)?;
                Self::expect(*expected, found)?;
                self.entries.insert((namespace.clone(), key.clone()), (height, value.clone()));
            }
            Operation::Delete { namespace, key, expected } => {
                let found = self.writable(sender, namespace, key)?;
                if found == 0 {
                    return Err(Failure::NoSuchKey);
                }
                Self::expect(*expected, found)?;
                self.entries.remove(&(namespace.clone(), key.clone()));
            }
            Operation::CreateAsset { asset } => {
                if self.assets.contains_key(asset) {
                    return Err(Failure::AssetExists);
                }
                self.assets.insert(asset.clone(), (sender, BTreeMap::new()));
            }
            Operation::Mint { asset, to, amount } => {
                let (issuer, balances) = self.assets.get_mut(asset).ok_or(Failure::NoSuchAsset)?;
                if *issuer != sender {
                    return Err(Failure::NotIssuer);
                }
                member(to)?;
                let supply: u128 = balances.values().sum();
                supply.checked_add(*amount).ok_or(Failure::SupplyOverflow)?;
                *balances.entry(*to).or_default() += amount;
            }
            Operation::Transfer { asset, to, amount } => {
                let (_, balances) = self.assets.get_mut(asset).ok_or(Failure::NoSuchAsset)?;
                member(to)?;
                Self::take(balances, sender, *amount)?;
                *balances.entry(*to).or_default() += amount;
            }
            Operation::Burn { asset, amount } => {
                let (_, balances) = self.assets.get_mut(asset).ok_or(Failure::NoSuchAsset)?;
                Self::take(balances, sender, *amount)?;
            }
        }
        Ok(())
    }

    fn writable(&self, sender: PublicKey, namespace: &str, key: &[u8]) -> Result<u64, Failure> {
        let (_, writers) = self.namespaces.get(namespace).ok_or(Failure::NoSuchNamespace)?;
        if !writers.contains(&sender) {
            return Err(Failure::NotWriter);
        }
        Ok(self.entries.get(&(namespace.to_owned(), key.to_vec())).map_or(0, |(version, _)| *version))
    }

    fn expect(expected: Option<Version>, found: u64) -> Result<(), Failure> {
        match expected {
            Some(version) if version.0.0 != found => {
                Err(Failure::VersionMismatch { found: quorate_types::ids::Height(found) })
            }
            _ => Ok(()),
        }
    }

    fn take(balances: &mut BTreeMap<PublicKey, u128>, from: PublicKey, amount: u128) -> Result<(), Failure> {
        let balance = balances.get(&from).copied().unwrap_or(0);
        let rest = balance.checked_sub(amount).ok_or(Failure::InsufficientBalance { balance })?;
        balances.insert(from, rest);
        Ok(())
    }

    /// What comes of a transaction in the block at `height`.
    pub(crate) fn transaction(&mut self, height: u64, transaction: &VerifiedTransaction) -> Outcome {
        let transaction = transaction.transaction();
        let before = self.clone();
        for (index, operation) in transaction.operations.iter().enumerate() {
            if let Err(reason) = self.operation(transaction.sender, height, operation) {
                *self = before;
                return Outcome::Failed { operation: u16::try_from(index).unwrap_or(u16::MAX), reason };
            }
        }
        Outcome::Applied
    }

    /// What the state should hold at a key.
    pub(crate) fn get(&self, key: &StateKey) -> Option<StateValue> {
        use quorate_ledger::{Asset, Entry, Namespace};
        match key {
            StateKey::Member(key) => {
                self.members.iter().find(|member| member.key == *key).cloned().map(StateValue::Member)
            }
            StateKey::Namespace(name) => self.namespaces.get(name).map(|(owners, writers)| {
                StateValue::Namespace(Namespace { owners: owners.clone(), writers: writers.clone() })
            }),
            StateKey::Entry { namespace, key } => {
                self.entries.get(&(namespace.clone(), key.clone())).map(|(version, value)| {
                    let version = Version(quorate_types::ids::Height(*version));
                    StateValue::Entry(Entry { version, value: value.clone() })
                })
            }
            StateKey::Asset(name) => self.assets.get(name).map(|(issuer, balances)| {
                StateValue::Asset(Asset { issuer: *issuer, supply: balances.values().sum() })
            }),
            StateKey::Balance { asset, member } => self
                .assets
                .get(asset)
                .and_then(|(_, balances)| balances.get(member))
                .filter(|units| **units > 0)
                .map(|units| StateValue::Balance(*units)),
        }
    }
}
