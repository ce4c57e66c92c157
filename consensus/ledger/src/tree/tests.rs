//! The tree against a model that says what is hashed and nothing about how it is stored.

use super::*;
use crate::store::{Column, MemoryStore, Write};
use proptest::prelude::*;

/// The definition, word for word: the root over leaves that share their first `depth` bits.
fn model_root(leaves: &[(Hash, Hash)], depth: usize) -> Hash {
    match leaves {
        [] => Hash::ZERO,
        [(key, value)] => leaf_hash(key, value),
        _ => {
            let (left, right): (Vec<_>, Vec<_>) = leaves.iter().partition(|(key, _)| !bit(key, depth));
            inner_hash(&model_root(&left, depth + 1), &model_root(&right, depth + 1))
        }
    }
}

/// A tree in a store, with its root at every height.
struct Tree {
    store: MemoryStore,
    roots: Vec<Slot>,
}

impl Tree {
    fn new() -> Tree {
        Tree { store: MemoryStore::new(), roots: vec![Slot::Empty] }
    }

    fn root(&self) -> Slot {
        self.roots[self.roots.len() - 1]
    }

    /// Applies changes of key to value (`None` removes); returns how many pages were written.
    fn update(&mut self, changes: &BTreeMap<Hash, Option<Hash>>) -> usize {
        let height = Height(self.roots.len() as u64);
        let changes: Vec<Change> = changes
            .iter()
            .map(|(key, value)| Change { key: *key, leaf: value.map(|value| leaf_hash(key, &value)) })
            .collect();
        let updated = update(&mut Reader::of_store(&self.store), self.root(), &changes, height).unwrap();
        for (path, page) in &updated.pages {
            self.store.apply(&[Write::put(Column::Nodes, path.store_key(height), page.encode())]);
        }
        self.roots.push(updated.root);
        updated.pages.len()
    }

    /// Follows `key` at `height`, checks that the siblings lead to the root, and returns the key hash at
    /// the end with the height that wrote it.
    fn traced(&self, height: usize, key: &Hash, values: &BTreeMap<Hash, Hash>) -> Option<(Hash, Height)> {
        let root = self.roots[height];
        let trace = trace(&mut Reader::of_store(&self.store), root, key).unwrap();
        let start = trace.leaf.map_or(Hash::ZERO, |(found, _)| leaf_hash(&found, &values[&found]));
        let end = trace.siblings.iter().enumerate().rev().fold(start, |node, (depth, sibling)| {
            if bit(key, depth) { inner_hash(sibling, &node) } else { inner_hash(&node, sibling) }
        });
        assert_eq!(end, root.hash());
        let found = find(&mut Reader::of_store(&self.store), root, key).unwrap();
        let at_end = trace.leaf.filter(|(found, _)| found == key).map(|(_, version)| version);
        assert_eq!(found, at_end);
        trace.leaf
    }
}

/// Keys of which many share long prefixes, down to the last bit.
fn key(n: u8) -> Hash {
    let mut bytes = [0; 32];
    match n % 4 {
        0 => bytes[31] = n,
        1 => bytes[0] = n,
        2 => bytes[15] = n,
        _ => bytes = Hash::of(&[&[n]]).0,
    }
    Hash(bytes)
}

fn value(n: u8) -> Hash {
    Hash::of(&[b"value", &[n]])
}

type Batch = Vec<(u8, Option<u8>)>;

fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let change = (0..64u8, proptest::option::weighted(0.7, any::<u8>()));
    proptest::collection::vec(proptest::collection::vec(change, 0..24), 1..12)
}

fn changes(batch: &Batch) -> BTreeMap<Hash, Option<Hash>> {
    batch.iter().map(|(k, v)| (key(*k), v.map(value))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn roots_and_traces_of_every_height_are_those_of_the_model(batches in batches()) {
        let mut tree = Tree::new();
        let mut model: BTreeMap<Hash, Hash> = BTreeMap::new();
        let mut states = vec![model.clone()];
        let mut written: BTreeMap<Hash, Height> = BTreeMap::new();
        let mut versions = vec![written.clone()];
        for batch in &batches {
            let changes = changes(batch);
            tree.update(&changes);
            for (key, value) in changes {
                match value {
                    Some(value) => {
                        model.insert(key, value);
                        written.insert(key, Height(states.len() as u64));
                    }
                    None => {
                        model.remove(&key);
                        written.remove(&key);
                    }
                }
            }
            states.push(model.clone());
            versions.push(written.clone());
        }
        // After all updates: none has disturbed an earlier height.
        for (height, (state, versions)) in states.iter().zip(&versions).enumerate() {
            let leaves: Vec<_> = state.iter().map(|(k, v)| (*k, *v)).collect();
            prop_assert_eq!(tree.roots[height].hash(), model_root(&leaves, 0));
            for n in 0..64 {
                let found = tree.traced(height, &key(n), state).filter(|(found, _)| *found == key(n));
                prop_assert_eq!(found.map(|(_, version)| version), versions.get(&key(n)).copied());
            }
        }
    }

    #[test]
    fn the_root_does_not_depend_on_batching_or_order(batch in batches(), reversed: bool) {
        let whole: BTreeMap<Hash, Option<Hash>> = batch.iter().flatten().map(|(k, v)| (key(*k), v.map(value))).collect();
        let mut at_once = Tree::new();
        at_once.update(&whole);
        let mut one_by_one = Tree::new();
        let mut steps: Vec<_> = whole.into_iter().collect();
        if reversed {
            steps.reverse();
        }
        for step in steps {
            one_by_one.update(&BTreeMap::from([step]));
        }
        prop_assert_eq!(at_once.root().hash(), one_by_one.root().hash());
    }
}

#[test]
fn keys_that_differ_in_the_last_bit_only() {
    let mut tree = Tree::new();
    let (a, mut b) = (Hash([0xab; 32]), Hash([0xab; 32]));
    b.0[31] ^= 1;
    let pages = tree.update(&BTreeMap::from([(a, Some(value(1))), (b, Some(value(2)))]));
    assert_eq!(pages, 64);
    let values = BTreeMap::from([(a, value(1)), (b, value(2))]);
    assert_eq!(tree.traced(1, &a, &values), Some((a, Height(1))));
    assert_eq!(trace(&mut Reader::of_store(&tree.store), tree.root(), &b).unwrap().siblings.len(), BITS);
    // One leaves: the other moves all the way up.
    tree.update(&BTreeMap::from([(a, None)]));
    assert_eq!(tree.root().hash(), leaf_hash(&b, &value(2)));
    tree.update(&BTreeMap::from([(b, None)]));
    assert_eq!(tree.root(), Slot::Empty);
}

#[test]
fn removing_what_is_absent_writes_nothing() {
    let mut tree = Tree::new();
    tree.update(&(0..40).map(|n| (key(n), Some(value(n)))).collect());
    let before = tree.root();
    assert_eq!(tree.update(&(40..64).map(|n| (key(n), None)).collect()), 0);
    assert_eq!(tree.root(), before);
}

/// Each touched page is written once, however many of its keys change.
#[test]
fn a_batch_costs_less_than_its_keys_alone() {
    let keys: Vec<Hash> = (0..4096u32).map(|n| Hash::of(&[&n.to_le_bytes()])).collect();
    let mut tree = Tree::new();
    tree.update(&keys.iter().map(|key| (*key, Some(value(0)))).collect());
    let whole = tree.update(&keys.iter().map(|key| (*key, Some(value(1)))).collect());
    let one = tree.update(&BTreeMap::from([(keys[0], Some(value(2)))]));
    assert!(one <= 6, "{one} pages for one key of 4096");
    assert!(whole < 2000, "{whole} pages for 4096 keys");
}

#[test]
fn damaged_pages_are_recognised() {
    let mut slots = [Slot::Empty; 16];
    let path = Path::ROOT.child(10).child(3).child(15);
    let mut key = Hash([0; 32]);
    key.0[..2].copy_from_slice(&[0xa3, 0xf5]);
    slots[5] = Slot::Leaf { key, hash: value(1), version: Height(4) };
    slots[9] = Slot::Page { hash: value(2), version: Height(7) };
    let page = Page { slots };
    let bytes = page.encode();
    assert_eq!(Page::decode(&bytes, &path, Height(7)).as_ref(), Some(&page));
    assert_eq!(Page::decode(&bytes[..bytes.len() - 1], &path, Height(7)), None);
    assert_eq!(Page::decode(&[&bytes[..], &[0]].concat(), &path, Height(7)), None);
    assert_eq!(Page::decode(&bytes, &path, Height(6)), None, "a page from a later height");
    assert_eq!(Page::decode(&bytes, &Path::ROOT, Height(7)), None, "a leaf that belongs elsewhere");
    assert_eq!(Page::decode(&[], &path, Height(7)), None);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x81;
        assert_ne!(Page::decode(&damaged, &path, Height(7)).as_ref(), Some(&page));
    }
}
