//! Random operations against a model that knows nothing of trees, blocks in flight or stores.

use crate::common::*;
use crate::reference::Model;
use proptest::prelude::*;
use quorate_ledger::{Ledger, MemoryStore, StateKey, read};
use quorate_types::outcome::Outcome;
use quorate_types::transaction::{Operation, VerifiedTransaction, Version};

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
        let mut model = Model::new(&genesis().members);
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
