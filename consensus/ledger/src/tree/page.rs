//! A page: four levels of the tree, in memory and in the store.
//!
//! # In the store
//!
//! Whole:
//!
//! | bytes | |
//! |---|---|
//! | 1 | 0 |
//! | 2 | bitmap of the slots in use, little endian, slot 0 lowest |
//! | ... | those slots |
//!
//! As what changed since an older page of the same path, which is whole:
//!
//! | bytes | |
//! |---|---|
//! | 1 | 1 |
//! | 8 | the height that wrote the older page, big endian |
//! | 2 | bitmap of the slots that differ |
//! | 2 | bitmap of those of them that are in use |
//! | ... | those slots |
//!
//! The second form is chosen while it is at most half as long, so reading a page takes at most two look-ups,
//! and a slot changed at random costs a third of what a whole page would.

use super::{Path, Slot, inner_hash, take};
use quorate_types::hash::Hash;
use quorate_types::ids::Height;

/// From so many slots in use on, a page keeps the nodes above them, so that a changed slot costs four
/// hashes. Below, hashing all again is no dearer.
const CROWDED: u32 = 8;

/// A node within a page, as far as hashing is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Empty,
    Leaf(Hash),
    Inner(Hash),
}

impl Node {
    fn of(slot: &Slot) -> Node {
        match slot {
            Slot::Empty => Node::Empty,
            Slot::Leaf { hash, .. } => Node::Leaf(*hash),
            Slot::Page { hash, .. } => Node::Inner(*hash),
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

/// An older page of the same path, and the slots that differ from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Since {
    whole: Height,
    changed: u16,
}

/// Four levels of the tree.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    /// Which slots are in use, slot 0 lowest.
    used: u16,
    /// Those slots.
    slots: Box<[Slot]>,
    /// Of a crowded page that was hashed the nodes above the slots: 1 is its root, the children of `i` are
    /// `2i` and `2i + 1`, the slots are 16 to 31. Number 0 is empty.
    above: Option<Box<[Node; 16]>>,
    /// How it is stored.
    since: Option<Since>,
}

impl Page {
    /// A page of these slots, and its hash.
    pub(super) fn hashed(slots: &[Slot; 16]) -> (Page, Hash) {
        Page::of(slots).hashed_after(None, u16::MAX)
    }

    /// This page, written at `version`, with other `slots` where `changed` says so; and its hash.
    pub(super) fn changed(&self, version: Height, slots: &[Slot; 16], changed: u16) -> (Page, Hash) {
        let (mut page, hash) = Page::of(slots).hashed_after(self.above.as_deref(), changed);
        let since = match self.since {
            None => Since { whole: version, changed },
            Some(since) => Since { changed: since.changed | changed, ..since },
        };
        if 2 * page.encoded_len(Some(since)) <= page.encoded_len(None) {
            page.since = Some(since);
        }
        (page, hash)
    }

    fn of(slots: &[Slot; 16]) -> Page {
        let mut used = 0;
        for (place, slot) in slots.iter().enumerate() {
            used |= u16::from(*slot != Slot::Empty) << place;
        }
        // Room for just these: nothing is moved while they are gathered.
        let mut filled = Vec::with_capacity(used.count_ones() as usize);
        filled.extend(slots.iter().filter(|slot| **slot != Slot::Empty));
        Page { used, slots: filled.into_boxed_slice(), above: None, since: None }
    }

    /// `above` are the nodes before the slots in `changed` became what they are.
    fn hashed_after(mut self, above: Option<&[Node; 16]>, changed: u16) -> (Page, Hash) {
        let changed = if above.is_some() { changed } else { u16::MAX };
        let mut nodes = self.slot_nodes();
        if let Some(above) = above {
            nodes[..16].copy_from_slice(above);
        }
        // Which nodes are not what they were, by their numbers.
        let mut stale = u32::from(changed) << 16;
        for number in (1..16).rev() {
            if stale >> (2 * number) & 3 != 0 {
                nodes[number] = Node::above(nodes[2 * number], nodes[2 * number + 1]);
                stale |= 1 << number;
            }
        }
        if self.used.count_ones() >= CROWDED {
            self.above = Some(Box::new(std::array::from_fn(|number| nodes[number])));
        }
        (self, nodes[1].hash())
    }

    /// All 16 slots.
    pub(super) fn slots(&self) -> [Slot; 16] {
        let mut slots = [Slot::Empty; 16];
        let mut filled = self.slots.iter();
        for (place, slot) in slots.iter_mut().enumerate() {
            if self.used >> place & 1 == 1
                && let Some(filled) = filled.next()
            {
                *slot = *filled;
            }
        }
        slots
    }

    /// One of the 16 slots.
    pub(super) fn slot(&self, place: usize) -> Slot {
        if self.used >> place & 1 == 0 {
            return Slot::Empty;
        }
        let before = u32::from(self.used) & ((1 << place) - 1);
        self.slots[before.count_ones() as usize]
    }

    /// The slots as nodes 16 to 31, the rest empty.
    fn slot_nodes(&self) -> [Node; 32] {
        let mut nodes = [Node::Empty; 32];
        let places = (16..32).filter(|number| self.used >> (number - 16) & 1 == 1);
        for (number, slot) in places.zip(&self.slots) {
            nodes[number] = Node::of(slot);
        }
        nodes
    }

    /// All nodes of the page: 1 is its root, the children of `i` are `2i` and `2i + 1`, and the slots
    /// are 16 to 31.
    pub(super) fn nodes(&self) -> [Node; 32] {
        let mut nodes = self.slot_nodes();
        match &self.above {
            Some(above) => nodes[..16].copy_from_slice(&above[..]),
            None => {
                for number in (1..16).rev() {
                    nodes[number] = Node::above(nodes[2 * number], nodes[2 * number + 1]);
                }
            }
        }
        nodes
    }

    /// The slots in use among those of `of`.
    fn among(&self, of: u16) -> impl Iterator<Item = &Slot> {
        let places = (0..16).filter(|place| self.used >> place & 1 == 1);
        places.zip(&self.slots).filter(move |(place, _)| of >> place & 1 == 1).map(|(_, slot)| slot)
    }

    fn encoded_len(&self, since: Option<Since>) -> usize {
        let (head, stored) = match since {
            None => (3, u16::MAX),
            Some(since) => (13, since.changed),
        };
        head + self.among(stored).map(Slot::encoded_len).sum::<usize>()
    }

    /// What is stored; see the [module](self).
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len(self.since));
        let stored = match self.since {
            None => {
                out.push(0);
                out.extend_from_slice(&self.used.to_le_bytes());
                u16::MAX
            }
            Some(Since { whole, changed }) => {
                out.push(1);
                out.extend_from_slice(&whole.0.to_be_bytes());
                out.extend_from_slice(&changed.to_le_bytes());
                out.extend_from_slice(&(self.used & changed).to_le_bytes());
                changed
            }
        };
        for slot in self.among(stored) {
            slot.encode_into(&mut out);
        }
        out
    }
}

/// The height whose page at the same path an entry of [`Column::Nodes`](crate::Column::Nodes) rests on: to
/// read it that page must be there too, whatever else replaced it. `None` if it stands by itself.
pub fn page_rests_on(mut entry: &[u8]) -> Option<Height> {
    let [1] = take::<1>(&mut entry)? else { return None };
    Some(Height(u64::from_be_bytes(take(&mut entry)?)))
}

/// A page as it is stored.
#[derive(Debug)]
pub(crate) enum Stored {
    /// By itself.
    Whole(Page),
    /// As what changed.
    Changes(Box<Changes>),
}

/// What changed since an older page.
#[derive(Debug)]
pub(crate) struct Changes {
    since: Since,
    /// All 16; those that did not change are empty.
    slots: [Slot; 16],
}

impl Stored {
    /// `None` unless `bytes` can be the page at `path`, written at `version`.
    pub(crate) fn decode(mut bytes: &[u8], path: &Path, version: Height) -> Option<Stored> {
        let since = match take::<1>(&mut bytes)? {
            [0] => None,
            [1] => {
                let whole = Height(u64::from_be_bytes(take(&mut bytes)?));
                Some(Since { whole, changed: u16::from_le_bytes(take(&mut bytes)?) })
            }
            _ => return None,
        };
        let used = u16::from_le_bytes(take(&mut bytes)?);
        if since.is_some_and(|Since { whole, changed }| whole >= version || used & !changed != 0) {
            return None;
        }
        let mut slots = [Slot::Empty; 16];
        for (i, slot) in slots.iter_mut().enumerate() {
            if used & 1 << i == 0 {
                continue;
            }
            *slot = Slot::decode_from(&mut bytes)?;
            let (fits, written) = match slot {
                Slot::Empty => return None,
                Slot::Leaf { key, version, .. } => (path.leads_to(key) && path.nibble_of(key) == i, *version),
                Slot::Page { version, .. } => (path.child(i).has_page(), *version),
            };
            if !fits || written > version {
                return None;
            }
        }
        bytes.is_empty().then(|| match since {
            None => Stored::Whole(Page::of(&slots)),
            Some(since) => Stored::Changes(Box::new(Changes { since, slots })),
        })
    }
}

impl Changes {
    /// The height that wrote the older page.
    pub(crate) fn whole(&self) -> Height {
        self.since.whole
    }

    /// The page, from the older one.
    pub(crate) fn onto(&self, older: &Page) -> Page {
        let mut slots = older.slots();
        for (place, slot) in slots.iter_mut().enumerate() {
            if self.since.changed >> place & 1 == 1 {
                *slot = self.slots[place];
            }
        }
        Page { since: Some(self.since), ..Page::of(&slots) }
    }
}
