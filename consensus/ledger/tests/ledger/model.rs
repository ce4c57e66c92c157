//! Random operations against a model that knows nothing of trees, blocks in flight or stores.

use crate::common::*;
use proptest::prelude::*;
use quorate_ledger::{Ledger, MemoryStore, StateKey, StateValue, read};
use quorate_types::keys::PublicKey;
use quorate_types::outcome::{Failure, Outcome};
use quorate_types::transaction::{Operation, VerifiedTransaction, Version};
use std::collections::BTreeMap;

/// The state as plain maps.
#[derive(Clone, Default, PartialEq, Debug)]
struct Model {
    namespaces: BTreeMap<String, (Vec<PublicKey>, Vec<PublicKey>)>,
    entries: BTreeMap<(String, Vec<u8>), (u64, Vec<u8>)>,
    /// Issuer, and who holds what.
    assets: BTreeMap<String, (PublicKey, BTreeMap<PublicKey, u128>)>,
}

impl Model {
    fn operation(&mut self, sender: PublicKey, height: u64, operation: &Operation) -> Result<(), Failure> {
        let members: Vec<PublicKey> = genesis().members.iter().map(|member| member.key).collect();
        let member =
            |key: &PublicKey| if members.contains(key) { Ok(()) } else { Err(Failure::NoSuchMember) };
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

    fn transaction(&mut self, height: u64, transaction: &VerifiedTransaction) -> Outcome {
        let transaction = transaction.transaction();
        let before = self.clone();
        for (index, operation) in transaction.operations.iter().enumerate() {
            if let Err(reason) = self.operation(transaction.sender, height, operation) {
                *self = before;
                return Outcome::Failed { operation: u16::try_from(index).unwrap(), reason };
            }
        }
        Outcome::Applied
    }

    /// What the state should hold at each of these keys.
    fn get(&self, key: &StateKey) -> Option<StateValue> {
        use quorate_ledger::{Asset, Entry, Namespace};
        match key {
            StateKey::Member(key) => {
                genesis().members.iter().find(|member| member.key == *key).cloned().map(StateValue::Member)
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

const NAMESPACES: [&str; 2] = ["docs", "other"];
const ASSETS: [&str; 2] = ["eur", "usd"];
const KEYS: [&[u8]; 4] = [b"a", b"b", b"\0", b"long key"];

/// Every key that random operations can touch.
fn all_keys() -> Vec<StateKey> {
    let mut all: Vec<StateKey> = (0..6).map(|n| StateKey::Member(key(n))).collect();
    for namespace in NAMESPACES {
        all.push(StateKey::Namespace(namespace.into()));
        all.extend(KEYS.map(|key| StateKey::Entry { namespace: namespace.into(), key: key.to_vec() }));
    }
    for asset in ASSETS {
        all.push(StateKey::Asset(asset.into()));
        all.extend((0..6).map(|n| StateKey::Balance { asset: asset.into(), member: key(n) }));
    }
    all
}

fn operation() -> impl Strategy<Value = Operation> {
    let namespace = || proptest::sample::select(&NAMESPACES[..]).prop_map(str::to_owned);
    let asset = || proptest::sample::select(&ASSETS[..]).prop_map(str::to_owned);
    let entry = || proptest::sample::select(&KEYS[..]).prop_map(<[u8]>::to_vec);
    let expected =
        || proptest::option::weighted(0.3, (0..12u64).prop_map(|h| Version(quorate_types::ids::Height(h))));
    // Member 5 is a stranger.
    let list =
        |least| proptest::collection::btree_set((0..6u8).prop_map(key), least..4).prop_map(Vec::from_iter);
    let amount = || prop_oneof![4 => 1..50u128, 1 => Just(u128::MAX), 1 => Just(u128::MAX / 2)];
    prop_oneof![
        1 => namespace().prop_map(|namespace| Operation::CreateNamespace { namespace }),
        1 => (namespace(), list(1), list(0))
            .prop_map(|(namespace, owners, writers)| Operation::SetNamespaceMembers { namespace, owners, writers }),
        4 => (namespace(), entry(), proptest::collection::vec(any::<u8>(), 0..4), expected())
            .prop_map(|(namespace, key, value, expected)| Operation::Put { namespace, key, value, expected }),
        2 => (namespace(), entry(), expected())
            .prop_map(|(namespace, key, expected)| Operation::Delete { namespace, key, expected }),
        1 => asset().prop_map(|asset| Operation::CreateAsset { asset }),
        2 => (asset(), 0..6u8, amount()).prop_map(|(asset, to, amount)| Operation::Mint { asset, to: key(to), amount }),
        3 => (asset(), 0..6u8, amount())
            .prop_map(|(asset, to, amount)| Operation::Transfer { asset, to: key(to), amount }),
        1 => (asset(), amount()).prop_map(|(asset, amount)| Operation::Burn { asset, amount }),
    ]
}

/// Blocks of transactions of the three submitters.
fn blocks() -> impl Strategy<Value = Vec<Vec<(u8, Vec<Operation>)>>> {
    let transaction = (0..3u8, proptest::collection::vec(operation(), 1..4));
    proptest::collection::vec(proptest::collection::vec(transaction, 1..6), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_ledger_does_what_the_model_does(blocks in blocks()) {
        let mut nonce = 0;
        let blocks: Vec<Vec<VerifiedTransaction>> = blocks
            .into_iter()
            .map(|block| {
                let sign = |(sender, operations)| {
                    nonce += 1;
                    transaction(sender, nonce, operations)
                };
                block.into_iter().map(sign).collect()
            })
            .collect();
        // One ledger commits at once; the other has all blocks in flight, among decoys, and never
        // hears that anything was applied.
        let mut prompt = Ledger::in_memory(genesis());
        let (mut late, _) = Ledger::open(MemoryStore::new(), genesis()).unwrap();
        let mut model = Model::default();
        let mut states = vec![model.clone()];
        let mut parent = late.tip().block;
        for block in &blocks {
            let height = states.len() as u64;
            let expected: Vec<Outcome> = block.iter().map(|one| model.transaction(height, one)).collect();
            states.push(model.clone());
            let committed = commit(&mut prompt, block.clone());
            prop_assert_eq!(&committed.outcomes, &expected);
            let decoy = transaction(ALICE, 1_000_000 + height, vec![create_asset("usd"), create_namespace("docs")]);
            propose(&mut late, parent, vec![decoy]);
            let result = late.check(&committed.header, &committed.transactions, None).unwrap();
            prop_assert_eq!(result, committed.result.hash(&genesis().chain));
            parent = committed.header.hash();
            prop_assert_eq!(&late.pending(parent).unwrap().outcomes, &expected);
        }
        // Every height reads as the model was then, with proofs.
        for (height, state) in states.iter().enumerate() {
            let height = quorate_types::ids::Height(height as u64);
            let root = quorate_ledger::state_root(prompt.store(), height).unwrap().unwrap();
            for key in all_keys() {
                let (value, proof) = read(prompt.store(), height, &key).unwrap();
                prop_assert_eq!(&value, &state.get(&key), "{:?} at height {}", &key, height);
                prop_assert_eq!(proof.verify(&root, &key), Ok(value));
            }
        }
        // A restart in the middle of nowhere continues the same chain.
        let (reopened, _) = Ledger::open(prompt.store().clone(), genesis()).unwrap();
        prop_assert_eq!(reopened.tip(), prompt.tip());
        for key in all_keys() {
            prop_assert_eq!(reopened.get(&key).unwrap(), model.get(&key));
        }
    }
}
