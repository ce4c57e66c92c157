//! A page: part of the tree, in memory.
//!
//! A *bucket* holds a subtree of at most [`BUCKET_KEYS`] keys as its leaves, and whoever needs a node within
//! makes it of them. A *branch* holds the first four levels of a larger one as 16 slots, each empty, a leaf,
//! or a reference to a page below. Both are hashed alike: there are 16 nodes at the lower edge of the four
//! levels, and 15 above them.

use super::{BITS, Change, Leaf, Path, Slot, bit, inner_hash};
use quorate_types::hash::Hash;
use quorate_types::ids::Height;
use std::sync::Arc;

/// Keys in a bucket at most: one more, and it becomes a branch. With fewer than a branch has slots, most
/// pages at the bottom of a tree would hold two or three keys, and each key cost one page more to reach.
pub(super) const BUCKET_KEYS: usize = 32;

/// From so many slots or leaves in use on, a page keeps the nodes above them, so that what changed costs
/// four hashes and its own. Below, hashing all again is no dearer.
const CROWDED: usize = 8;

/// A node within a page, as far as hashing is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Empty,
    Leaf(Hash),
    Inner(Hash),
}

impl Node {
    /// The subtree of these leaves, which are ascending by key and share their first `depth` bits.
    fn over(leaves: &[Leaf], depth: usize) -> Node {
        match leaves {
            [] => Node::Empty,
            [leaf] => Node::Leaf(leaf.hash),
            _ => {
                let (left, right) = halves(leaves, depth);
                Node::above(Node::over(left, depth + 1), Node::over(right, depth + 1))
            }
        }
    }

    pub(super) fn hash(&self) -> Hash {
        match self {
            Node::Empty => Hash::ZERO,
            Node::Leaf(hash) | Node::Inner(hash) => *hash,
        }
    }

    /// The node above two: the rule that a subtree of one key is its leaf.
    fn above(left: Node, right: Node) -> Node {
        match (left, right) {
            (Node::Empty, lone @ (Node::Empty | Node::Leaf(_))) | (lone @ Node::Leaf(_), Node::Empty) => lone,
            (left, right) => Node::Inner(inner_hash(&left.hash(), &right.hash())),
        }
    }
}

/// Ascending leaves, parted by bit `depth` of their keys.
fn halves(leaves: &[Leaf], depth: usize) -> (&[Leaf], &[Leaf]) {
    leaves.split_at(leaves.partition_point(|leaf| !bit(&leaf.key, depth)))
}

/// Up to four levels of the tree, or a small subtree.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) path: Path,
    /// The height that wrote it.
    pub(crate) version: Height,
    pub(super) content: Content,
    /// Of a crowded page that was hashed. Most are, and a page in one piece is found and copied sooner.
    above: Option<Above>,
    /// If it is stored as what is newer than an older page of the same path: that one.
    pub(super) base: Option<Base>,
}

/// The page that another of the same path is stored as newer than.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Base {
    /// The height that wrote it.
    pub(crate) height: Height,
    /// Both are buckets, and have the same keys.
    pub(crate) has_all_keys: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Branch(Branch),
    /// Two leaves at least, ascending by key.
    Bucket(Box<[Leaf]>),
}

/// The nodes of a page's upper levels: 1 is its root, the children of `i` are `2i` and `2i + 1`, and 16 to 31
/// are those at the lower edge, which are not kept here.
#[derive(Debug, Clone)]
struct Above {
    /// From number 1 on; zero of one that is empty.
    hashes: [Hash; 15],
    /// Which are leaves, by number.
    leaves: u16,
    /// Which are inner nodes.
    inner: u16,
}

impl Above {
    const EMPTY: Above = Above { hashes: [Hash::ZERO; 15], leaves: 0, inner: 0 };

    fn node(&self, number: usize) -> Node {
        let hash = self.hashes[number - 1];
        if self.inner >> number & 1 == 1 {
            Node::Inner(hash)
        } else if self.leaves >> number & 1 == 1 {
            Node::Leaf(hash)
        } else {
            Node::Empty
        }
    }

    fn set(&mut self, number: usize, node: Node) {
        self.hashes[number - 1] = node.hash();
        let (leaf, inner) = (matches!(node, Node::Leaf(_)), matches!(node, Node::Inner(_)));
        self.leaves = self.leaves & !(1 << number) | u16::from(leaf) << number;
        self.inner = self.inner & !(1 << number) | u16::from(inner) << number;
    }
}

/// The slots of a branch. There are many in memory, and most of their slots lead to pages, so the keys of
/// leaves have no room in each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Branch {
    /// Which slots are in use, slot 0 lowest.
    used: u16,
    /// Which of these are leaves.
    leaves: u16,
    /// The slots in use, ascending.
    entries: Box<[Entry]>,
    /// The keys of those that are leaves, likewise.
    keys: Box<[Hash]>,
}

/// What a leaf and a reference to a page have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    hash: Hash,
    version: Height,
}

/// How many of the places below this one a bitmap has.
fn rank(bitmap: u16, place: usize) -> usize {
    (u32::from(bitmap) & ((1 << place) - 1)).count_ones() as usize
}

impl Branch {
    pub(super) fn of(slots: &[Slot; 16]) -> Branch {
        let (mut used, mut leaves) = (0u16, 0u16);
        for (place, slot) in slots.iter().enumerate() {
            used |= u16::from(*slot != Slot::Empty) << place;
            leaves |= u16::from(matches!(slot, Slot::Leaf(_))) << place;
        }
        // Room for just these: nothing is moved while they are gathered.
        let mut entries = Vec::with_capacity(used.count_ones() as usize);
        let mut keys = Vec::with_capacity(leaves.count_ones() as usize);
        for slot in slots {
            match *slot {
                Slot::Empty => {}
                Slot::Leaf(Leaf { key, hash, version }) => {
                    entries.push(Entry { hash, version });
                    keys.push(key);
                }
                Slot::Page { hash, version } => entries.push(Entry { hash, version }),
            }
        }
        Branch { used, leaves, entries: entries.into_boxed_slice(), keys: keys.into_boxed_slice() }
    }

    /// All 16 slots.
    pub(super) fn slots(&self) -> [Slot; 16] {
        std::array::from_fn(|place| self.slot(place))
    }

    /// The slots in use, each with its place.
    pub(super) fn in_use(&self) -> impl Iterator<Item = (usize, Slot)> {
        (0..16).filter(|place| self.used >> place & 1 == 1).map(|place| (place, self.slot(place)))
    }

    /// One of the 16 slots.
    pub(super) fn slot(&self, place: usize) -> Slot {
        let Some(Entry { hash, version }) = self.entry(place) else { return Slot::Empty };
        if !self.is_leaf(place) {
            return Slot::Page { hash, version };
        }
        Slot::Leaf(Leaf { key: self.keys[rank(self.leaves, place)], hash, version })
    }

    /// Puts this into a slot.
    pub(super) fn set(&mut self, place: usize, slot: Slot) {
        let was = self.entry(place).map(|_| self.is_leaf(place));
        let at = rank(self.used, place);
        match slot {
            Slot::Page { hash, version } if was == Some(false) => self.entries[at] = Entry { hash, version },
            Slot::Leaf(Leaf { key, hash, version }) if was == Some(true) => {
                self.entries[at] = Entry { hash, version };
                self.keys[rank(self.leaves, place)] = key;
            }
            Slot::Empty | Slot::Leaf(_) | Slot::Page { .. } => {
                let mut slots = self.slots();
                slots[place] = slot;
                *self = Branch::of(&slots);
            }
        }
    }

    /// Whether it has nothing but leaves.
    pub(super) fn has_only_leaves(&self) -> bool {
        self.used == self.leaves
    }

    fn is_leaf(&self, place: usize) -> bool {
        self.leaves >> place & 1 == 1
    }

    fn entry(&self, place: usize) -> Option<Entry> {
        (self.used >> place & 1 == 1).then(|| self.entries[rank(self.used, place)])
    }

    /// One of the slots, as far as hashing is concerned.
    fn node(&self, place: usize) -> Node {
        match self.entry(place) {
            None => Node::Empty,
            Some(Entry { hash, .. }) if self.is_leaf(place) => Node::Leaf(hash),
            Some(Entry { hash, .. }) => Node::Inner(hash),
        }
    }
}

/// The page that another one replaces, and how they differ.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before<'a> {
    pub(super) page: &'a Page,
    /// Of the 16 nodes at the lower edge those that may differ, the first one lowest.
    pub(super) changed: u16,
    /// Whether every slot or leaf that differs was written by the height of the new page, and none is gone.
    pub(super) only_newer: bool,
}

/// Node `number` of the 31 of the page at `path`, if `above` are those below 16.
fn node(path: &Path, content: &Content, above: &Above, number: usize) -> Node {
    match (number.checked_sub(16), content) {
        (None, _) => above.node(number),
        (Some(place), Content::Branch(branch)) => branch.node(place),
        (Some(place), Content::Bucket(leaves)) => {
            let from = leaves.partition_point(|leaf| path.nibble_of(&leaf.key) < place);
            let len = leaves[from..].partition_point(|leaf| path.nibble_of(&leaf.key) == place);
            Node::over(&leaves[from..from + len], path.depth() + 4)
        }
    }
}

impl Page {
    /// A page that was read.
    pub(crate) fn new(path: Path, version: Height, content: Content, base: Option<Base>) -> Page {
        Page { path, version, content, above: None, base }
    }

    /// Reads a little of every line of memory that an update of the page will read.
    pub(crate) fn touch(&self) -> usize {
        let above = self.above.iter().flat_map(|above| above.hashes.iter().step_by(2));
        let above = above.fold(0, |seen, hash| seen ^ usize::from(hash.0[0]));
        match &self.content {
            Content::Branch(branch) => {
                branch.entries.iter().fold(above, |seen, entry| seen ^ usize::from(entry.hash.0[0]))
            }
            Content::Bucket(leaves) => {
                leaves.iter().fold(above, |seen, leaf| seen ^ usize::from(leaf.key.0[0]))
            }
        }
    }

    /// Parts changes below this page, ascending, by the pages below it that they lead to.
    pub(crate) fn below<'a>(&self, changes: &'a [Change], mut each: impl FnMut(Path, &'a [Change])) {
        let Content::Branch(branch) = &self.content else { return };
        let path = &self.path;
        for group in changes.chunk_by(|a, b| path.nibble_of(&a.key) == path.nibble_of(&b.key)) {
            let nibble = path.nibble_of(&group[0].key);
            if matches!(branch.slot(nibble), Slot::Page { .. }) {
                each(path.child(nibble), group);
            }
        }
    }

    /// Whether it is at the bottom of the tree.
    pub(crate) fn is_bucket(&self) -> bool {
        matches!(self.content, Content::Bucket(_))
    }

    /// A page that `version` writes, and its hash.
    pub(super) fn hashed(
        path: Path,
        version: Height,
        content: Content,
        before: Option<Before<'_>>,
    ) -> (Arc<Page>, Hash) {
        // Which nodes are not what they were, by their numbers. What stays is copied once, to its new place.
        let known = before.and_then(|before| Some((before.page.above.as_ref()?, before.changed)));
        let (above, changed) = match known {
            Some((above, changed)) => (above.clone(), changed),
            None => (Above::EMPTY, u16::MAX),
        };
        let mut shared = Arc::new(Page { path, version, content, above: Some(above), base: None });
        let page = Arc::get_mut(&mut shared).expect("nobody else has it yet");
        let above = page.above.as_mut().expect("it was made with them");
        let mut stale = u32::from(changed) << 16;
        for number in (1..16).rev() {
            if stale >> (2 * number) & 3 != 0 {
                let [left, right] =
                    [2 * number, 2 * number + 1].map(|child| node(&page.path, &page.content, above, child));
                above.set(number, Node::above(left, right));
                stale |= 1 << number;
            }
        }
        let hash = above.node(1).hash();
        let in_use = match &page.content {
            Content::Branch(branch) => branch.entries.len(),
            Content::Bucket(leaves) => leaves.len(),
        };
        if in_use < CROWDED {
            page.above = None;
        }
        if let Some(before) = before.filter(|before| before.only_newer) {
            let base = before.page.base.unwrap_or(Base { height: before.page.version, has_all_keys: true });
            if page.is_short_since(base.height) {
                // None is gone, so there are as many only if they are the same.
                let has_all_keys = match (&page.content, &before.page.content) {
                    (Content::Bucket(now), Content::Bucket(before)) => now.len() == before.len(),
                    _ => false,
                };
                page.base = Some(Base { has_all_keys: base.has_all_keys && has_all_keys, ..base });
            }
        }
        (shared, hash)
    }

    /// What is found in this page on the way to `key`.
    pub(super) fn slot(&self, key: &Hash) -> Slot {
        match &self.content {
            Content::Branch(branch) => branch.slot(self.path.nibble_of(key)),
            Content::Bucket(leaves) => match leaves.binary_search_by(|leaf| leaf.key.cmp(key)) {
                Ok(at) => Slot::Leaf(leaves[at]),
                Err(_) => Slot::Empty,
            },
        }
    }

    /// Follows `key` through this page: adds the siblings on the way, and returns what it leads to.
    pub(super) fn trace(&self, key: &Hash, siblings: &mut Vec<Hash>) -> Slot {
        match &self.content {
            Content::Branch(branch) => self.trace_branch(branch, key, siblings),
            Content::Bucket(leaves) => {
                let mut leaves = &leaves[..];
                // Two keys part at the last bit at the latest.
                for depth in self.path.depth()..BITS {
                    if leaves.len() < 2 {
                        break;
                    }
                    let (left, right) = halves(leaves, depth);
                    let sibling;
                    (leaves, sibling) = if bit(key, depth) { (right, left) } else { (left, right) };
                    siblings.push(Node::over(sibling, depth + 1).hash());
                }
                leaves.first().map_or(Slot::Empty, |leaf| Slot::Leaf(*leaf))
            }
        }
    }

    fn trace_branch(&self, branch: &Branch, key: &Hash, siblings: &mut Vec<Hash>) -> Slot {
        let mut nodes = [Node::Empty; 32];
        for place in 0..16 {
            nodes[16 + place] = branch.node(place);
        }
        for number in (1..16).rev() {
            nodes[number] = match &self.above {
                Some(above) => above.node(number),
                None => Node::above(nodes[2 * number], nodes[2 * number + 1]),
            };
        }
        let nibble = self.path.nibble_of(key);
        // Down the four levels, until a slot or a subtree of at most one key is reached.
        let (mut at, mut level) = (1, 0);
        while level < 4 && matches!(nodes[at], Node::Inner(_)) {
            at = 2 * at + (nibble >> (3 - level) & 1);
            siblings.push(nodes[at ^ 1].hash());
            level += 1;
        }
        // The slots below the node reached: of those at most one is in use, unless it is a slot.
        let width = 16 >> level;
        let first = (at << (4 - level)) - 16;
        let mut below = (first..first + width).map(|place| branch.slot(place));
        below.find(|slot| *slot != Slot::Empty).unwrap_or(Slot::Empty)
    }
}
