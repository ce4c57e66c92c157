//! Execution: a pure function of the parent's state and a block's transactions.
//!
//! A transaction writes into a scratch map that joins the block's changes if every operation applied,
//! and is dropped otherwise: a failed transaction is recorded with its reason and changes nothing.
//! A failure is an outcome like any other. Only the store can make execution itself fail.
//!
//! | operation | fails with, checked in this order |
//! |---|---|
//! | `CreateNamespace` | `NamespaceExists` |
//! | `SetNamespaceMembers` | `NoSuchNamespace`, `NotOwner`, `NoSuchMember` |
//! | `Put` | `NoSuchNamespace`, `NotWriter`, `VersionMismatch` |
//! | `Delete` | `NoSuchNamespace`, `NotWriter`, `NoSuchKey`, `VersionMismatch` |
//! | `CreateAsset` | `AssetExists` |
//! | `Mint` | `NoSuchAsset`, `NotIssuer`, `NoSuchMember`, `SupplyOverflow` |
//! | `Transfer` | `NoSuchAsset`, `NoSuchMember`, `InsufficientBalance` |
//! | `Burn` | `NoSuchAsset`, `InsufficientBalance` |
//!
//! A key's version is the height of the block that last wrote it. All writes of one block give the
//! same version, so within a block a compare-and-set cannot tell them apart; from outside only the
//! state after whole blocks is visible, and there a version names exactly one value.

use crate::reader::{Layer, Reader};
use crate::state::{Asset, EntryRef, KeyRef, Namespace, StateKey, StateValue};
use crate::store::{Pieces, Store, StoreError};
use crate::tree::{self, Change, Slot};
use foldhash::HashMap;
use foldhash::fast::RandomState;
use quorate_types::codec;
use quorate_types::hash::Hash;
use quorate_types::ids::Height;
use quorate_types::keys::PublicKey;
use quorate_types::member::Member;
use quorate_types::outcome::{Failure, Outcome};
use quorate_types::transaction::{Operation, Transaction, Version};
use std::collections::BTreeMap;

/// Why an operation stops: its own fault, or the store's.
enum Stop {
    Failed(Failure),
    Store(StoreError),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failed(failure)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Stop {
        Stop::Store(error)
    }
}

/// A state value as the block under execution holds it.
enum Held<'t> {
    /// An entry that the block writes: its bytes stay in their transaction.
    Put(&'t [u8]),
    Other(StateValue),
}

/// A state value as the block under execution sees it.
struct Seen<'t> {
    value: Option<Held<'t>>,
    /// Whether the block changed it, rather than only read it.
    changed: bool,
}

/// The execution of one block.
pub(crate) struct Execution<'a, 'r, 't, S> {
    reader: &'a mut Reader<'r, S>,
    members: &'a BTreeMap<PublicKey, Member>,
    /// The tree after the parent.
    root: Slot,
    /// The block's height, and so the version of all it writes.
    height: Height,
    /// What the block's transactions read and changed so far, by the hash of the key. Entries are here only
    /// once written: their old values are never loaded, so that naming large ones costs nothing. Walked
    /// through once, when they are put into the order of the tree.
    block: HashMap<Hash, Seen<'t>>,
    /// What the transaction under execution changed so far. Moved into `block` as a whole, in any order.
    transaction: HashMap<Hash, Option<Held<'t>>>,
    /// The places of the namespaces that were named so far: most transactions of a block name the same few. By
    /// order, for members choose these names; the other keys are hashes, which nobody chooses.
    namespaces: BTreeMap<&'t str, Hash>,
}

impl<'a, 'r, 't, S: Store> Execution<'a, 'r, 't, S> {
    /// Of a block with so many transactions.
    pub(crate) fn new(
        reader: &'a mut Reader<'r, S>,
        members: &'a BTreeMap<PublicKey, Member>,
        root: Slot,
        height: Height,
        transactions: usize,
    ) -> Execution<'a, 'r, 't, S> {
        let block = HashMap::with_capacity_and_hasher(transactions, RandomState::default());
        let (transaction, namespaces) = (HashMap::default(), BTreeMap::new());
        Execution { reader, members, root, height, block, transaction, namespaces }
    }

    /// Writes a value outside of any transaction: a founding fact.
    pub(crate) fn found(&mut self, key: &StateKey, value: StateValue) {
        self.block.insert(key.hash(), Seen { value: Some(Held::Other(value)), changed: true });
    }

    /// Executes one transaction.
    pub(crate) fn transaction(&mut self, transaction: &'t Transaction) -> Result<Outcome, StoreError> {
        self.transaction.clear();
        for (index, operation) in transaction.operations.iter().enumerate() {
            match self.operation(&transaction.sender, operation) {
                Ok(()) => {}
                Err(Stop::Failed(reason)) => {
                    self.transaction.clear();
                    let operation =
                        u16::try_from(index).expect("a verified transaction has at most 64 operations");
                    return Ok(Outcome::Failed { operation, reason });
                }
                Err(Stop::Store(error)) => return Err(error),
            }
        }
        for (place, value) in self.transaction.drain() {
            self.block.insert(place, Seen { value, changed: true });
        }
        Ok(Outcome::Applied)
    }

    fn operation(&mut self, sender: &PublicKey, operation: &'t Operation) -> Result<(), Stop> {
        match operation {
            Operation::CreateNamespace { namespace } => self.create_namespace(sender, namespace),
            Operation::SetNamespaceMembers { namespace, owners, writers } => {
                self.set_namespace_members(sender, namespace, owners, writers)
            }
            Operation::Put { namespace, key, value, expected } => {
                self.put(sender, namespace, key, value, *expected)
            }
            Operation::Delete { namespace, key, expected } => self.delete(sender, namespace, key, *expected),
            Operation::CreateAsset { asset } => self.create_asset(sender, asset),
            Operation::Mint { asset, to, amount } => self.mint(sender, asset, to, *amount),
            Operation::Transfer { asset, to, amount } => self.transfer(sender, asset, to, *amount),
            Operation::Burn { asset, amount } => self.burn(sender, asset, *amount),
        }
    }

    fn create_namespace(&mut self, sender: &PublicKey, name: &'t str) -> Result<(), Stop> {
        let place = self.namespace_place(name);
        if self.get(place, KeyRef::Namespace(name))?.is_some() {
            return Err(Failure::NamespaceExists.into());
        }
        let namespace = Namespace { owners: vec![*sender], writers: vec![*sender] };
        self.set(place, Some(StateValue::Namespace(namespace)));
        Ok(())
    }

    fn set_namespace_members(
        &mut self,
        sender: &PublicKey,
        name: &'t str,
        owners: &[PublicKey],
        writers: &[PublicKey],
    ) -> Result<(), Stop> {
        if self.namespace(name)?.owners.binary_search(sender).is_err() {
            return Err(Failure::NotOwner.into());
        }
        for key in owners.iter().chain(writers) {
            self.member(key)?;
        }
        let namespace = Namespace { owners: owners.to_vec(), writers: writers.to_vec() };
        let place = self.namespace_place(name);
        self.set(place, Some(StateValue::Namespace(namespace)));
        Ok(())
    }

    fn put(
        &mut self,
        sender: &PublicKey,
        namespace: &'t str,
        key: &[u8],
        value: &'t [u8],
        expected: Option<Version>,
    ) -> Result<(), Stop> {
        self.writer(sender, namespace)?;
        let place = KeyRef::Entry { namespace, key }.hash();
        if let Some(expected) = expected {
            self.expect(place, expected)?;
        }
        self.transaction.insert(place, Some(Held::Put(value)));
        Ok(())
    }

    fn delete(
        &mut self,
        sender: &PublicKey,
        namespace: &'t str,
        key: &[u8],
        expected: Option<Version>,
    ) -> Result<(), Stop> {
        self.writer(sender, namespace)?;
        let place = KeyRef::Entry { namespace, key }.hash();
        if self.entry_version(place)? == Version::ABSENT {
            return Err(Failure::NoSuchKey.into());
        }
        if let Some(expected) = expected {
            self.expect(place, expected)?;
        }
        self.set(place, None);
        Ok(())
    }

    fn create_asset(&mut self, sender: &PublicKey, name: &str) -> Result<(), Stop> {
        let key = KeyRef::Asset(name);
        if self.get(key.hash(), key)?.is_some() {
            return Err(Failure::AssetExists.into());
        }
        self.set_asset(name, Asset { issuer: *sender, supply: 0 });
        Ok(())
    }

    fn mint(&mut self, sender: &PublicKey, name: &str, to: &PublicKey, amount: u128) -> Result<(), Stop> {
        let Asset { issuer, supply } = self.asset(name)?;
        if issuer != *sender {
            return Err(Failure::NotIssuer.into());
        }
        self.member(to)?;
        let supply = supply.checked_add(amount).ok_or(Failure::SupplyOverflow)?;
        // No balance exceeds the supply, so this sum fits as well.
        let balance = self.balance(name, to)?.checked_add(amount).ok_or(Failure::SupplyOverflow)?;
        self.set_asset(name, Asset { issuer, supply });
        self.set_balance(name, to, balance);
        Ok(())
    }

    fn transfer(&mut self, sender: &PublicKey, name: &str, to: &PublicKey, amount: u128) -> Result<(), Stop> {
        self.asset(name)?;
        self.member(to)?;
        let balance = self.balance(name, sender)?;
        let rest = balance.checked_sub(amount).ok_or(Failure::InsufficientBalance { balance })?;
        // Taken before it is given: a transfer to oneself then changes nothing.
        self.set_balance(name, sender, rest);
        let received = self.balance(name, to)?.checked_add(amount).ok_or(Failure::SupplyOverflow)?;
        self.set_balance(name, to, received);
        Ok(())
    }

    fn burn(&mut self, sender: &PublicKey, name: &str, amount: u128) -> Result<(), Stop> {
        let Asset { issuer, supply } = self.asset(name)?;
        let balance = self.balance(name, sender)?;
        let rest = balance.checked_sub(amount).ok_or(Failure::InsufficientBalance { balance })?;
        let supply = supply
            .checked_sub(amount)
            .ok_or_else(|| StoreError::Corrupt(format!("asset {name:?}: a balance exceeds the supply")))?;
        self.set_balance(name, sender, rest);
        self.set_asset(name, Asset { issuer, supply });
        Ok(())
    }

    /// Membership is what the founders fixed: no operation changes it.
    fn member(&self, key: &PublicKey) -> Result<(), Failure> {
        if self.members.contains_key(key) { Ok(()) } else { Err(Failure::NoSuchMember) }
    }

    fn namespace_place(&mut self, name: &'t str) -> Hash {
        *self.namespaces.entry(name).or_insert_with(|| KeyRef::Namespace(name).hash())
    }

    fn namespace(&mut self, name: &'t str) -> Result<&Namespace, Stop> {
        let place = self.namespace_place(name);
        match self.get(place, KeyRef::Namespace(name))? {
            Some(StateValue::Namespace(namespace)) => Ok(namespace),
            _ => Err(Failure::NoSuchNamespace.into()),
        }
    }

    fn writer(&mut self, sender: &PublicKey, namespace: &'t str) -> Result<(), Stop> {
        match self.namespace(namespace)?.writers.binary_search(sender) {
            Ok(_) => Ok(()),
            Err(_) => Err(Failure::NotWriter.into()),
        }
    }

    fn expect(&mut self, place: Hash, expected: Version) -> Result<(), Stop> {
        let found = self.entry_version(place)?;
        if found == expected { Ok(()) } else { Err(Failure::VersionMismatch { found: found.0 }.into()) }
    }

    fn asset(&mut self, name: &str) -> Result<Asset, Stop> {
        let key = KeyRef::Asset(name);
        match self.get(key.hash(), key)? {
            Some(StateValue::Asset(asset)) => Ok(asset.clone()),
            _ => Err(Failure::NoSuchAsset.into()),
        }
    }

    fn set_asset(&mut self, name: &str, asset: Asset) {
        self.set(KeyRef::Asset(name).hash(), Some(StateValue::Asset(asset)));
    }

    fn balance(&mut self, asset: &str, member: &PublicKey) -> Result<u128, Stop> {
        let key = KeyRef::Balance { asset, member };
        match self.get(key.hash(), key)? {
            Some(StateValue::Balance(units)) => Ok(*units),
            _ => Ok(0),
        }
    }

    /// A balance of 0 leaves the state.
    fn set_balance(&mut self, asset: &str, member: &PublicKey, units: u128) {
        let place = KeyRef::Balance { asset, member }.hash();
        self.set(place, (units > 0).then_some(StateValue::Balance(units)));
    }

    fn set(&mut self, place: Hash, value: Option<StateValue>) {
        self.transaction.insert(place, value.map(Held::Other));
    }

    /// What `key`, whose place this is, holds now. Not for entries: see [`Execution::entry_version`].
    fn get(&mut self, place: Hash, key: KeyRef<'_>) -> Result<Option<&StateValue>, StoreError> {
        if !self.transaction.contains_key(&place) && !self.block.contains_key(&place) {
            let value = read(self.reader, self.root, place, key)?.map(Held::Other);
            self.block.insert(place, Seen { value, changed: false });
        }
        let held = match self.transaction.get(&place) {
            Some(value) => value.as_ref(),
            None => self.block.get(&place).and_then(|seen| seen.value.as_ref()),
        };
        Ok(held.and_then(|held| if let Held::Other(value) = held { Some(value) } else { None }))
    }

    /// The version of the entry at this place, which the tree tells without its value being loaded.
    fn entry_version(&mut self, place: Hash) -> Result<Version, StoreError> {
        let written = match self.transaction.get(&place) {
            Some(value) => Some(value),
            None => self.block.get(&place).map(|seen| &seen.value),
        };
        Ok(match written {
            Some(Some(Held::Put(_))) => Version(self.height),
            Some(_) => Version::ABSENT,
            None => tree::find(self.reader, self.root, &place)?.map_or(Version::ABSENT, Version),
        })
    }

    /// Brings the tree up to date with everything the block changed.
    pub(crate) fn finish(self) -> Result<Layer, StoreError> {
        // Ascending by the hash of the key: so are the changes of the tree, and the values.
        let mut changed: Vec<(&Hash, &Seen<'_>)> =
            self.block.iter().filter(|(_, seen)| seen.changed).collect();
        changed.sort_unstable_by_key(|(place, _)| **place);
        let mut values = Pieces::with_capacity(changed.len());
        let mut changes = Vec::with_capacity(changed.len());
        for (place, seen) in changed {
            let leaf = seen.value.as_ref().map(|value| {
                let encoded = values.add(|out| match value {
                    Held::Put(value) => {
                        codec::encode_into(&EntryRef { version: Version(self.height), value }, out);
                    }
                    Held::Other(value) => codec::encode_into(value, out),
                });
                tree::leaf_hash(place, &Hash::of(&[encoded]))
            });
            changes.push(Change { key: *place, leaf });
        }
        let written = changes.iter().filter(|change| change.leaf.is_some()).map(|change| change.key);
        let values = written.zip(values.finish()).collect();
        let updated = tree::update(self.reader, self.root, &changes, self.height)?;
        Ok(Layer { root: updated.root, pages: updated.pages, values })
    }
}

/// What the state under `root` holds at `key`, whose place this is.
pub(crate) fn read<S: Store>(
    reader: &mut Reader<'_, S>,
    root: Slot,
    place: Hash,
    key: KeyRef<'_>,
) -> Result<Option<StateValue>, StoreError> {
    let Some(version) = tree::find(reader, root, &place)? else { return Ok(None) };
    let bytes = reader.value(version, &place)?;
    decode_value(&bytes, key).map(Some)
}

/// A value from the store, which must be one that `key` can have.
pub(crate) fn decode_value(bytes: &[u8], key: KeyRef<'_>) -> Result<StateValue, StoreError> {
    let value = codec::decode(bytes, crate::table::VALUE_LIMIT)
        .map_err(|error| StoreError::Corrupt(format!("the value of {key:?}: {error}")))?;
    if key.fits(&value) {
        Ok(value)
    } else {
        Err(StoreError::Corrupt(format!("the value of {key:?} is of another kind")))
    }
}
