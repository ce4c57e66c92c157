//! The tree against a model that says what is hashed and nothing about how it is stored.

use super::page::Base;
use super::*;
use crate::store::{Column, MemoryStore, Write};
use proptest::prelude::*;
use std::collections::BTreeMap;

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
        assert!(updated.pages.is_sorted_by(|a, b| a.path < b.path), "ascending by path, each once");
        for Written { path, stored, .. } in &updated.pages {
            self.store.apply(&[Write::put(Column::Nodes, path.store_key(height), stored.clone())]);
        }
        self.roots.push(updated.root);
        updated.pages.len()
    }

    /// Follows `key` at `height`, checks that the siblings lead to the root, and returns the key hash at
    /// the end with the height that wrote it.
    fn traced(&self, height: usize, key: &Hash, values: &BTreeMap<Hash, Hash>) -> Option<(Hash, Height)> {
        let root = self.roots[height];
        let trace = trace(&mut Reader::of_store(&self.store), root, key).unwrap();
        let end = trace.leaf.map(|leaf| (leaf.key, leaf.version));
        let start = end.map_or(Hash::ZERO, |(found, _)| leaf_hash(&found, &values[&found]));
        assert_eq!(trace.leaf.map_or(Hash::ZERO, |leaf| leaf.hash), start);
        let top = trace.siblings.iter().enumerate().rev().fold(start, |node, (depth, sibling)| {
            if bit(key, depth) { inner_hash(sibling, &node) } else { inner_hash(&node, sibling) }
        });
        assert_eq!(top, root.hash());
        let found = find(&mut Reader::of_store(&self.store), root, key).unwrap();
        assert_eq!(found, end.filter(|(found, _)| found == key).map(|(_, version)| version));
        end
    }
}

/// Keys of which many share long prefixes, down to the last bits: more of a kind than a bucket takes.
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
    let change = (any::<u8>(), proptest::option::weighted(0.8, any::<u8>()));
    proptest::collection::vec(proptest::collection::vec(change, 0..96), 1..12)
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
            for n in 0..=u8::MAX {
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
    assert_eq!(pages, 1, "a bucket");
    let values = BTreeMap::from([(a, value(1)), (b, value(2))]);
    assert_eq!(tree.traced(1, &a, &values), Some((a, Height(1))));
    assert_eq!(trace(&mut Reader::of_store(&tree.store), tree.root(), &b).unwrap().siblings.len(), BITS);
    // One leaves: the other moves all the way up.
    tree.update(&BTreeMap::from([(a, None)]));
    assert_eq!(tree.root().hash(), leaf_hash(&b, &value(2)));
    tree.update(&BTreeMap::from([(b, None)]));
    assert_eq!(tree.root(), Slot::Empty);
}

/// As many keys as a bucket takes, and more, that differ in the last byte only: the branches above reach
/// down to the last level.
#[test]
fn a_bucket_that_is_full_becomes_a_branch() {
    let last = |n: u8| Hash(std::array::from_fn(|at| if at == 31 { n } else { 0xab }));
    let mut tree = Tree::new();
    let mut model = BTreeMap::new();
    let mut kinds = Vec::new();
    let step = |tree: &mut Tree, model: &mut BTreeMap<Hash, Hash>, key: Hash, to: Option<Hash>| {
        let pages = tree.update(&BTreeMap::from([(key, to)]));
        match to {
            Some(value) => model.insert(key, value),
            None => model.remove(&key),
        };
        let leaves: Vec<(Hash, Hash)> = model.iter().map(|(key, value)| (*key, *value)).collect();
        assert_eq!(tree.root().hash(), model_root(&leaves, 0));
        for key in model.keys() {
            tree.traced(tree.roots.len() - 1, key, model);
        }
        pages
    };
    let most = u8::try_from(BUCKET_KEYS).unwrap();
    for n in 0..=most {
        kinds.push(step(&mut tree, &mut model, last(n.wrapping_mul(7)), Some(value(n))));
    }
    assert_eq!(kinds[0], 0, "one key is the root itself");
    assert_eq!(&kinds[1..BUCKET_KEYS], vec![1; BUCKET_KEYS - 1], "one bucket");
    // 63 branches, one a nibble, and the buckets of the last.
    assert!(kinds[BUCKET_KEYS] > 63, "{kinds:?}");
    let removed: Vec<usize> =
        (0..=most).map(|n| step(&mut tree, &mut model, last(n.wrapping_mul(7)), None)).collect();
    assert_eq!(removed[removed.len() - 3..], [63, 0, 0], "{removed:?}: branches stay, to the last key");
    assert_eq!(tree.root(), Slot::Empty);
}

#[test]
fn removing_what_is_absent_writes_nothing() {
    let mut tree = Tree::new();
    for present in [5, 40, 200] {
        tree.update(&(0..present).map(|n| (key(n), Some(value(n)))).collect());
        let before = tree.root();
        assert_eq!(tree.update(&(present..=u8::MAX).map(|n| (key(n), None)).collect()), 0);
        assert_eq!(tree.root(), before);
    }
}

/// Each touched page is written once, however many of its keys change.
#[test]
fn a_batch_costs_less_than_its_keys_alone() {
    let keys: Vec<Hash> = (0..4096u32).map(|n| Hash::of(&[&n.to_le_bytes()])).collect();
    let mut tree = Tree::new();
    tree.update(&keys.iter().map(|key| (*key, Some(value(0)))).collect());
    let whole = tree.update(&keys.iter().map(|key| (*key, Some(value(1)))).collect());
    let one = tree.update(&BTreeMap::from([(keys[0], Some(value(2)))]));
    assert!(one <= 4, "{one} pages for one key of 4096");
    assert!(whole < 800, "{whole} pages for 4096 keys");
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

/// The path `a3f`.
fn path() -> Path {
    Path::ROOT.child(10).child(3).child(15)
}

/// The `n`th of the keys below it, ascending.
fn below(n: u8) -> Hash {
    let mut key = Hash([0; 32]);
    key.0[..2].copy_from_slice(&[0xa3, 0xf0 | n >> 4]);
    key.0[2] = n << 4;
    assert!(path().leads_to(&key) && path().nibble_of(&key) == usize::from(n >> 4));
    key
}

/// A branch for that path: references but for one leaf.
fn crowd(version: Height) -> [Slot; 16] {
    std::array::from_fn(|place| match u8::try_from(place) {
        Ok(5) => Slot::Leaf(Leaf { key: below(0x50), hash: value(1), version }),
        Ok(place) => Slot::Page { hash: value(place), version },
        Err(_) => Slot::Empty,
    })
}

/// A bucket for it, of 20 keys.
fn bucket(version: Height) -> Vec<Leaf> {
    (0..20).map(|n| Leaf { key: below(12 * n), hash: value(n), version }).collect()
}

fn branch(slots: &[Slot; 16]) -> Content {
    Content::Branch(Branch::of(slots))
}

/// Pages, each of them one place different from the one before it, of height 1 and up.
fn in_steps(start: Content, change: impl Fn(&mut Content, usize, Height)) -> usize {
    let (whole, _) = Page::hashed(path(), Height(1), start, None);
    let mut page = whole.clone();
    let (mut short, mut bytes) = (0, 0);
    for place in 0..16usize {
        let version = Height(2 + place as u64);
        let mut content = page.content.clone();
        change(&mut content, place, version);
        let before = Before { page: &page, changed: 1 << place, only_newer: true };
        let (next, hash) = Page::hashed(path(), version, content.clone(), Some(before));
        assert_eq!(hash, Page::hashed(path(), version, content.clone(), None).1, "as if hashed anew");
        let encoded = next.encode();
        bytes += encoded.len();
        match Stored::decode(&encoded, &path(), version) {
            Some(Stored::Whole(read)) => {
                assert_eq!((read, page_rests_on(&encoded)), (content, None));
                break;
            }
            Some(Stored::Newer(newer)) => {
                short += 1;
                assert_eq!(newer.base().height, Height(1), "the last that was stored by itself");
                assert_eq!(page_rests_on(&encoded), Some(Height(1)));
                let read = newer.onto(&whole.content).unwrap();
                let again = Page::new(path(), version, read.clone(), Some(newer.base())).encode();
                assert_eq!((read, again), (content, encoded));
            }
            None => panic!("{encoded:02x?}"),
        }
        page = next;
    }
    assert!((5..=12).contains(&short), "{short}");
    assert!(2 * bytes < whole.encode().len() * (short + 1), "{bytes} bytes for {} pages", short + 1);
    bytes / (short + 1)
}

#[test]
fn a_page_is_stored_as_what_is_newer_while_that_is_short() {
    in_steps(branch(&crowd(Height(1))), |content, place, version| {
        let Content::Branch(before) = content else { panic!("a branch") };
        let mut slots = before.slots();
        slots[place] = Slot::Page { hash: value(99), version };
        *content = branch(&slots);
    });
    let with_keys = in_steps(Content::Bucket(bucket(Height(1)).into()), |content, place, version| {
        let Content::Bucket(before) = content else { panic!("a bucket") };
        // Every third is a new key, the others have a new value.
        let at = u8::try_from(place).unwrap() * 16;
        let at = before.partition_point(|leaf| leaf.key < below(at));
        let mut leaves = before.to_vec();
        let hash = value(99);
        if place % 3 == 0 {
            leaves.insert(at + 1, Leaf { key: Hash(leaves[at].key.0.map(|byte| byte | 1)), hash, version });
            leaves[at + 1].key.0[..2].copy_from_slice(&before[at].key.0[..2]);
        } else {
            leaves[at] = Leaf { key: leaves[at].key, hash, version };
        }
        assert!(leaves.is_sorted_by(|a, b| a.key < b.key));
        *content = Content::Bucket(leaves.into());
    });
    let without = in_steps(Content::Bucket(bucket(Height(1)).into()), |content, place, version| {
        let Content::Bucket(leaves) = content else { panic!("a bucket") };
        let at = leaves.partition_point(|leaf| path().nibble_of(&leaf.key) < place);
        (leaves[at].hash, leaves[at].version) = (value(99), version);
    });
    assert!(3 * without < 2 * with_keys, "{without} bytes a page, {with_keys} with new keys among them");
}

#[test]
fn heights_are_read_back_from_ages_of_any_length() {
    let ages = (0..64).flat_map(|bit| [1u64 << bit, (1 << bit) - 1, 1 << bit | 1]).chain([u64::MAX]);
    for (age, later) in ages.flat_map(|age| [(age, 0), (age, (u64::MAX - age) / 2), (age, u64::MAX - age)]) {
        let (written, version) = (Height(later), Height(later + age));
        let leaves: Vec<Leaf> = bucket(written)[..2].to_vec();
        let encoded = Page::new(path(), version, Content::Bucket(leaves.clone().into()), None).encode();
        let read = match Stored::decode(&encoded, &path(), version) {
            Some(Stored::Whole(Content::Bucket(read))) => read.into_vec(),
            other => panic!("{other:?}"),
        };
        assert_eq!(read, leaves);
        if let Some(before) = age.checked_sub(1) {
            let before = Stored::decode(&encoded, &path(), Height(before));
            assert!(before.is_none(), "older than the first height by one");
        }
    }
    // A root record says nothing later than its height either: the next block is built on it.
    let leaf = Slot::Leaf(bucket(Height(2))[0]);
    let mut root = Vec::new();
    leaf.encode_into(Height(7), &mut root);
    let decode = |version| Slot::decode_from(Height(version), &mut &root[..]);
    assert_eq!(decode(7), Some(leaf));
    assert_eq!(decode(5).and_then(|slot| slot.version()), Some(Height(0)));
    assert_eq!(decode(4), None);
    // A longer form of what has a shorter one, and what no number of 64 bits is.
    let page = Page::new(path(), Height(7), Content::Bucket(bucket(Height(7))[..2].into()), None).encode();
    let aged = |age: &[u8]| {
        let bytes = [&page[..page.len() - 1], age].concat();
        Stored::decode(&bytes, &path(), Height(7)).is_some()
    };
    assert!(aged(&[0]) && aged(&[7]));
    assert!(!aged(&[8]) && !aged(&[]) && !aged(&[0x80]) && !aged(&[0x80, 0]) && !aged(&[0x87, 0x80, 0]));
    let bytes = |age: &[u8]| [&page[..page.len() - 1], age].concat();
    let longest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    assert!(Stored::decode(&bytes(&longest), &path(), Height(u64::MAX)).is_some());
    for last in [2, 3, 0x7f, 0x80, 0x81] {
        let mut longer = longest;
        longer[9] = last;
        assert!(Stored::decode(&bytes(&longer), &path(), Height(u64::MAX)).is_none(), "{last:#x}");
    }
}

#[test]
fn a_small_bucket_is_always_stored_by_itself() {
    for keys in [2, 10, 11, 20] {
        let mut leaves = bucket(Height(1))[..keys].to_vec();
        let (page, _) = Page::hashed(path(), Height(1), Content::Bucket(leaves.clone().into()), None);
        leaves[0] = Leaf { hash: value(99), version: Height(2), ..leaves[0] };
        let before = Before { page: &page, changed: 1, only_newer: true };
        let (next, _) = Page::hashed(path(), Height(2), Content::Bucket(leaves.into()), Some(before));
        assert_eq!(page_rests_on(&next.encode()).is_none(), keys <= 10, "{keys}");
    }
}

/// A branch of which only leaves are left is a bucket again.
#[test]
fn a_branch_without_pages_below_becomes_a_bucket() {
    // One key for each of 16 slots, and 20 more for one of them.
    let mut model: BTreeMap<Hash, Hash> = (0..16).map(|n| (Hash([n << 4; 32]), value(n))).collect();
    let more: Vec<Hash> =
        (0..20).map(|n| Hash(std::array::from_fn(|at| if at == 0 { 0x31 } else { n }))).collect();
    model.extend(more.iter().map(|key| (*key, value(0))));
    let mut tree = Tree::new();
    assert_eq!(tree.update(&model.iter().map(|(key, value)| (*key, Some(*value))).collect()), 2);
    let is_bucket = |tree: &Tree| {
        let Slot::Page { version, .. } = tree.root() else { panic!("a page") };
        let page = Reader::of_store(&tree.store).page(version, &Path::ROOT).unwrap();
        matches!(page.content, Content::Bucket(_))
    };
    assert!(!is_bucket(&tree));
    tree.update(&more.iter().map(|key| (*key, None)).collect());
    assert!(is_bucket(&tree));
    model.retain(|key, _| !more.contains(key));
    for key in model.keys() {
        assert_eq!(tree.traced(2, key, &model), Some((*key, Height(1))));
    }
}

/// A page from which a key went away, or in which an older leaf took a place, is stored by itself: what is
/// newer would not say so.
#[test]
fn what_went_away_is_not_there_when_read_again() {
    let keys: Vec<Hash> = (0..40u32).map(|n| Hash::of(&[&n.to_le_bytes()])).collect();
    for count in [20, 40] {
        let mut tree = Tree::new();
        let mut model: BTreeMap<Hash, Hash> = keys[..count].iter().map(|key| (*key, value(0))).collect();
        tree.update(&model.iter().map(|(key, value)| (*key, Some(*value))).collect());
        for (n, key) in keys[..count].iter().enumerate() {
            let other = keys[(n + 1) % count];
            tree.update(&BTreeMap::from([(*key, None), (other, Some(value(1)))]));
            model.remove(key);
            model.insert(other, value(1));
            assert_eq!(tree.traced(n + 2, key, &model).filter(|(found, _)| found == key), None);
            for present in model.keys() {
                assert_eq!(tree.traced(n + 2, present, &model).unwrap().0, *present);
            }
        }
    }
}

#[test]
fn damaged_pages_are_recognised() {
    let mut later = crowd(Height(4));
    later[9] = Slot::Page { hash: value(2), version: Height(7) };
    let mut leaves = bucket(Height(4));
    leaves[9] = Leaf { hash: value(2), version: Height(7), ..leaves[9] };
    let pairs = [
        (branch(&crowd(Height(4))), branch(&later)),
        (Content::Bucket(bucket(Height(4)).into()), Content::Bucket(leaves.into())),
    ];
    for (content, later) in pairs {
        let (whole, _) = Page::hashed(path(), Height(4), content.clone(), None);
        let before = Before { page: &whole, changed: u16::MAX, only_newer: true };
        let (newer, _) = Page::hashed(path(), Height(7), later.clone(), Some(before));
        let mut of_itself = newer.encode();
        of_itself[1..9].copy_from_slice(&7u64.to_be_bytes());
        assert!(Stored::decode(&of_itself, &path(), Height(7)).is_none(), "newer than itself");
        of_itself.truncate(if of_itself[0] == 1 { 11 } else { 13 });
        of_itself[9..].fill(0);
        assert!(Stored::decode(&of_itself, &path(), Height(7)).is_none(), "nothing newer");
        let read = |bytes: &[u8], version| {
            Stored::decode(bytes, &path(), version).and_then(|stored| match stored {
                Stored::Whole(content) => Some((Height(0), content)),
                Stored::Newer(newer) => Some((newer.base().height, newer.onto(&whole.content)?)),
            })
        };
        for (page, content, base) in [(&whole, content, Height(0)), (&newer, later, Height(4))] {
            let bytes = page.encode();
            let (sound, version) = (Some((base, content)), page.version);
            assert_eq!(read(&bytes, version), sound);
            assert_eq!(read(&bytes[..bytes.len() - 1], version), None);
            assert_eq!(read(&[&bytes[..], &[0]].concat(), version), None);
            assert_eq!(read(&[], version), None);
            for at in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[at] ^= 0x81;
                assert_ne!(read(&damaged, version), sound, "byte {at}");
            }
        }
        let elsewhere = Path::ROOT.child(1);
        assert!(Stored::decode(&whole.encode(), &elsewhere, Height(7)).is_none(), "leaves of another path");
    }
    let leaves = bucket(Height(4));
    let decode = |leaves: &[Leaf]| {
        let page = Page::new(path(), Height(7), Content::Bucket(leaves.into()), None);
        Stored::decode(&page.encode(), &path(), Height(7))
    };
    assert!(decode(&leaves[..2]).is_some());
    assert!(decode(&leaves[..1]).is_none(), "one leaf is no page");
    assert!(decode(&[leaves[0], leaves[0]]).is_none(), "one key twice");
    assert!(decode(&[leaves[1], leaves[0]]).is_none(), "not ascending");
    let many: Vec<Leaf> = (0..=32).map(|n| Leaf { key: below(n), ..leaves[0] }).collect();
    assert!(decode(&many[..32]).is_some());
    assert!(decode(&many).is_none(), "more than a bucket takes");
    // Newer than a page of the other kind, or one that has no room for it.
    let newer = |content: Content, has_all_keys| {
        let base = Some(Base { height: Height(3), has_all_keys });
        let before = Page::new(path(), Height(7), content, base);
        match Stored::decode(&before.encode(), &path(), Height(7)) {
            Some(Stored::Newer(newer)) => newer,
            other => panic!("{other:?}"),
        }
    };
    let whole = Content::Bucket(many[..32].into());
    assert!(newer(branch(&crowd(Height(4))), false).onto(&whole).is_none());
    assert!(newer(Content::Bucket(many[32..].into()), false).onto(&whole).is_none());
    assert!(newer(Content::Bucket(many[31..32].into()), false).onto(&whole).is_some());
    // Newer than the last of 20 leaves, where there are as many, or one less, or none.
    let mut last = bucket(Height(3));
    last[19].version = Height(7);
    let last = newer(Content::Bucket(last.into()), true);
    assert!(last.onto(&Content::Bucket(bucket(Height(3)).into())).is_some());
    assert!(last.onto(&Content::Bucket(bucket(Height(3))[..19].into())).is_none());
    assert!(last.onto(&branch(&crowd(Height(3)))).is_none());
}
