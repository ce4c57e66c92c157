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

/// Keys enough that the upper pages are crowded, changed a few at a time.
#[test]
fn crowded_pages_are_what_the_model_says_after_every_change() {
    let mut tree = Tree::new();
    let mut model: BTreeMap<Hash, Hash> =
        (0..600u32).map(|n| (Hash::of(&[&n.to_le_bytes()]), value(0))).collect();
    tree.update(&model.iter().map(|(key, value)| (*key, Some(*value))).collect());
    let keys: Vec<Hash> = model.keys().copied().collect();
    let mut states = vec![BTreeMap::new(), model.clone()];
    for step in 0..60u8 {
        let chosen = (0..1 + usize::from(step % 3)).map(|n| keys[(usize::from(step) * 37 + n * 101) % 600]);
        let changes: BTreeMap<Hash, Option<Hash>> =
            chosen.map(|key| (key, (step % 5 != 4).then(|| value(step)))).collect();
        tree.update(&changes);
        for (key, value) in changes {
            match value {
                Some(value) => model.insert(key, value),
                None => model.remove(&key),
            };
        }
        states.push(model.clone());
    }
    for (height, state) in states.iter().enumerate() {
        let leaves: Vec<(Hash, Hash)> = state.iter().map(|(key, value)| (*key, *value)).collect();
        assert_eq!(tree.roots[height].hash(), model_root(&leaves, 0));
        for key in keys.iter().step_by(17) {
            let found = tree.traced(height, key, state);
            assert_eq!(found.is_some_and(|(found, _)| found == *key), state.contains_key(key));
        }
    }
}

/// The sixteen slots of a page whose path is `a3f`: references but for one leaf.
fn crowd(path: &Path, version: Height) -> [Slot; 16] {
    let mut key = Hash([0; 32]);
    key.0[..2].copy_from_slice(&[0xa3, 0xf5]);
    assert!(path.leads_to(&key) && path.nibble_of(&key) == 5);
    std::array::from_fn(|place| match u8::try_from(place) {
        Ok(5) => Slot::Leaf { key, hash: value(1), version },
        Ok(place) => Slot::Page { hash: value(place), version },
        Err(_) => Slot::Empty,
    })
}

#[test]
fn a_page_is_stored_as_what_changed_while_that_is_short() {
    let path = Path::ROOT.child(10).child(3).child(15);
    let mut slots = crowd(&path, Height(1));
    let (whole, _) = Page::hashed(&slots);
    let mut page = whole.clone();
    let (mut as_changes, mut bytes) = (0, 0);
    for place in 0..16usize {
        let (version, before) = (Height(2 + place as u64), Height(1 + place as u64));
        slots[place] = if place == 3 { Slot::Empty } else { Slot::Page { hash: value(99), version } };
        let (next, hash) = page.changed(before, &slots, 1 << place);
        assert_eq!(hash, Page::hashed(&slots).1, "as if hashed anew");
        let encoded = next.encode();
        bytes += encoded.len();
        match Stored::decode(&encoded, &path, version) {
            Some(Stored::Whole(read)) => assert_eq!(read.slots(), slots),
            Some(Stored::Changes(changes)) => {
                as_changes += 1;
                assert_eq!(changes.whole(), Height(1), "the last that was whole");
                let read = changes.onto(&whole);
                assert_eq!((read.slots(), read.encode()), (slots, encoded.clone()));
            }
            None => panic!("{encoded:02x?}"),
        }
        page = next;
        if encoded[0] == 0 {
            break;
        }
    }
    assert!((5..=8).contains(&as_changes), "{as_changes}");
    assert!(bytes < whole.encode().len() * 4, "{bytes} bytes for {} pages", as_changes + 1);
}

#[test]
fn damaged_pages_are_recognised() {
    let path = Path::ROOT.child(10).child(3).child(15);
    let slots = crowd(&path, Height(4));
    let (whole, _) = Page::hashed(&slots);
    let mut later = slots;
    later[9] = Slot::Page { hash: value(2), version: Height(7) };
    let (changed, _) = whole.changed(Height(4), &later, 1 << 9);
    let mut of_itself = changed.encode();
    of_itself[1..9].copy_from_slice(&7u64.to_be_bytes());
    assert!(Stored::decode(&of_itself, &path, Height(7)).is_none(), "based on itself");
    for (page, slots) in [(whole.clone(), slots), (changed, later)] {
        let bytes = page.encode();
        let read = |bytes: &[u8], path: &Path, version| {
            Stored::decode(bytes, path, version).map(|stored| match stored {
                Stored::Whole(page) => (Height(0), page.slots()),
                Stored::Changes(changes) => (changes.whole(), changes.onto(&whole).slots()),
            })
        };
        let base = if bytes[0] == 0 { Height(0) } else { Height(4) };
        assert_eq!(read(&bytes, &path, Height(7)), Some((base, slots)));
        assert_eq!(read(&bytes[..bytes.len() - 1], &path, Height(7)), None);
        assert_eq!(read(&[&bytes[..], &[0]].concat(), &path, Height(7)), None);
        assert_eq!(read(&bytes, &path, Height(3)), None, "a page from a later height");
        assert_eq!(read(&[], &path, Height(7)), None);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x81;
            assert_ne!(read(&damaged, &path, Height(7)), Some((base, slots)), "byte {at}");
        }
    }
    let bytes = whole.encode();
    assert!(Stored::decode(&bytes, &Path::ROOT, Height(7)).is_none(), "a leaf that belongs elsewhere");
}
