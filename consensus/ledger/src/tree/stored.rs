//! A page in the store.
//!
//! | first byte | then | |
//! |---|---|---|
//! | 0, a branch | 2 bytes | bitmap of the slots in use, little endian, slot 0 lowest |
//! | | ... | those slots |
//! | 1, what is newer than an older branch | 8 bytes | the height that wrote the older page, big endian |
//! | | 2 bytes | bitmap of the slots that a later height wrote |
//! | | ... | those slots |
//! | 2, a bucket | ... | leaves, ascending by key |
//! | 3, what is newer than an older bucket, keys among it | 8 bytes | the height that wrote the older page, big endian |
//! | | ... | the leaves that a later height wrote, ascending by key |
//! | 4, what is newer than an older bucket of the same keys | 8 bytes | the height that wrote the older page, big endian |
//! | | 4 bytes | bitmap of the leaves that a later height wrote, little endian, the first lowest |
//! | | ... | their hashes, each with its age |
//!
//! A slot is one byte for its kind, 1 for a leaf and 2 for a page, then the leaf, or the hash of the page and
//! its age. The root record of a height is a slot too, and alone may have kind 0: no key, and nothing more. A leaf
//! is its key, its hash and its age. An *age* is how many heights before the page a leaf or a page below was
//! written, seven bits a byte, lowest first, the eighth set in all but the last, which is not 0 unless it is the
//! only one: one or two bytes as a rule, where a height takes eight.
//!
//! The older page has the same path and is stored by itself, so reading a page takes at most two look-ups.
//! Every slot and leaf carries the height that wrote it, so what is newer than the older page is plain to
//! see; a page from which something went away is stored by itself. What is newer is chosen while it is at most
//! half of the slots or leaves: a key changed at random then costs a quarter of what a whole page would. Small
//! buckets always stand by themselves.

use super::page::{BUCKET_KEYS, Base, Branch, Content, Page};
use super::{Leaf, Path, Slot, take};
use quorate_types::hash::Hash;
use quorate_types::ids::Height;

/// Leaves up to which a bucket is stored by itself, whatever changed. The less there is in each, the more buckets
/// the state has, and the more likely one is read back: a second look-up then costs more than these bytes.
const SMALL_BUCKET: usize = 10;

const BRANCH: u8 = 0;
const NEWER_OF_BRANCH: u8 = 1;
const BUCKET: u8 = 2;
const NEWER_OF_BUCKET: u8 = 3;
const NEWER_OF_SAME_KEYS: u8 = 4;

/// The longest age: 64 bits, seven a byte.
const AGE_LEN: usize = 10;

/// The shortest leaf, and the longest.
const LEAST_LEAF_LEN: usize = 32 + 32 + 1;
const LEAF_LEN: usize = 32 + 32 + AGE_LEN;

/// Appends the age of what `written` wrote, in a page of `version`.
fn put_age(version: Height, written: Height, out: &mut Vec<u8>) {
    let mut age = version.0.checked_sub(written.0).expect("nothing in a page is newer than the page");
    while let low @ 0x80.. = age {
        out.push(low.to_le_bytes()[0] | 0x80);
        age >>= 7;
    }
    out.push(age.to_le_bytes()[0]);
}

/// Reads an age off the front of `bytes`: the height that wrote it.
fn take_age(version: Height, bytes: &mut &[u8]) -> Option<Height> {
    let mut age = 0u64;
    for at in 0..AGE_LEN {
        let [byte] = take(bytes)?;
        let bits = u64::from(byte & 0x7f);
        let shifted = bits << (7 * at);
        if shifted >> (7 * at) != bits || (byte == 0 && at > 0) {
            return None;
        }
        age |= shifted;
        if byte & 0x80 == 0 {
            return version.0.checked_sub(age).map(Height);
        }
    }
    None
}

impl Leaf {
    /// Appends what a page of `version` stores of it.
    fn encode_into(&self, version: Height, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.key.0);
        out.extend_from_slice(&self.hash.0);
        put_age(version, self.version, out);
    }

    /// Reads one leaf off the front of `bytes`.
    fn decode_from(version: Height, bytes: &mut &[u8]) -> Option<Leaf> {
        Some(Leaf { key: Hash(take(bytes)?), hash: Hash(take(bytes)?), version: take_age(version, bytes)? })
    }
}

impl Slot {
    /// Appends what a page, or a root record, of `version` stores of it.
    pub(crate) fn encode_into(&self, version: Height, out: &mut Vec<u8>) {
        match self {
            Slot::Empty => out.push(0),
            Slot::Leaf(leaf) => {
                out.push(1);
                leaf.encode_into(version, out);
            }
            Slot::Page { hash, version: written } => {
                out.push(2);
                out.extend_from_slice(&hash.0);
                put_age(version, *written, out);
            }
        }
    }

    /// Reads one slot off the front of `bytes`: whatever they are, nothing that is later than `version`.
    pub(crate) fn decode_from(version: Height, bytes: &mut &[u8]) -> Option<Slot> {
        match take(bytes)? {
            [0] => Some(Slot::Empty),
            [1] => Some(Slot::Leaf(Leaf::decode_from(version, bytes)?)),
            [2] => Some(Slot::Page { hash: Hash(take(bytes)?), version: take_age(version, bytes)? }),
            _ => None,
        }
    }
}

impl Branch {
    /// The slots that are stored if what is newer than `since` is, each with its place.
    fn newer(&self, since: Option<Height>) -> impl Iterator<Item = (usize, Slot)> {
        self.in_use().filter(move |(_, slot)| since.is_none_or(|since| slot.version() > Some(since)))
    }
}

/// Likewise of leaves.
fn newer(leaves: &[Leaf], since: Option<Height>) -> impl Iterator<Item = &Leaf> {
    leaves.iter().filter(move |leaf| since.is_none_or(|since| leaf.version > since))
}

impl Page {
    /// Whether what is newer than `since` is at most half of the whole.
    pub(super) fn is_short_since(&self, since: Height) -> bool {
        let (newer, all) = match &self.content {
            Content::Branch(branch) => (branch.newer(Some(since)).count(), branch.newer(None).count()),
            Content::Bucket(leaves) if leaves.len() <= SMALL_BUCKET => return false,
            Content::Bucket(leaves) => (newer(leaves, Some(since)).count(), leaves.len()),
        };
        2 * newer <= all
    }

    /// What [`Page::encode_into`] appends.
    #[cfg(test)]
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_into(&mut out);
        out
    }

    /// Appends what is stored; see the [module](self).
    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) {
        let since = self.base.map(|base| base.height);
        out.push(match (&self.content, self.base) {
            (Content::Branch(_), None) => BRANCH,
            (Content::Branch(_), Some(_)) => NEWER_OF_BRANCH,
            (Content::Bucket(_), None) => BUCKET,
            (Content::Bucket(_), Some(Base { has_all_keys: false, .. })) => NEWER_OF_BUCKET,
            (Content::Bucket(_), Some(Base { has_all_keys: true, .. })) => NEWER_OF_SAME_KEYS,
        });
        if let Some(since) = since {
            out.extend_from_slice(&since.0.to_be_bytes());
        }
        match &self.content {
            Content::Branch(branch) => {
                let stored = || branch.newer(since);
                let bitmap = stored().fold(0u16, |bitmap, (place, _)| bitmap | 1 << place);
                out.extend_from_slice(&bitmap.to_le_bytes());
                stored().for_each(|(_, slot)| slot.encode_into(self.version, out));
            }
            Content::Bucket(leaves) if self.base.is_some_and(|base| base.has_all_keys) => {
                let is_newer = |leaf: &Leaf| Some(leaf.version) > since;
                let bitmap =
                    leaves.iter().rev().fold(0u32, |bitmap, leaf| bitmap << 1 | u32::from(is_newer(leaf)));
                out.extend_from_slice(&bitmap.to_le_bytes());
                for leaf in newer(leaves, since) {
                    out.extend_from_slice(&leaf.hash.0);
                    put_age(self.version, leaf.version, out);
                }
            }
            Content::Bucket(leaves) => {
                newer(leaves, since).for_each(|leaf| leaf.encode_into(self.version, out));
            }
        }
    }
}

/// The height whose page at the same path an entry of [`Column::Nodes`](crate::Column::Nodes) rests on: to
/// read it that page must be there too, whatever else replaced it. `None` if it stands by itself.
pub fn page_rests_on(mut entry: &[u8]) -> Option<Height> {
    let [NEWER_OF_BRANCH | NEWER_OF_BUCKET | NEWER_OF_SAME_KEYS] = take::<1>(&mut entry)? else {
        return None;
    };
    Some(Height(u64::from_be_bytes(take(&mut entry)?)))
}

/// A page as it is stored.
#[derive(Debug)]
pub(crate) enum Stored {
    /// By itself.
    Whole(Content),
    /// As what is newer than an older page.
    Newer(Newer),
}

/// What is newer than an older page.
#[derive(Debug)]
pub(crate) struct Newer {
    since: Height,
    content: NewerContent,
}

#[derive(Debug)]
enum NewerContent {
    /// All 16; those that are not newer are empty.
    Slots(Box<[Slot; 16]>),
    Leaves(Vec<Leaf>),
    /// Hashes of leaves and the heights that wrote them, each with its place among those of the older page.
    Hashes(Vec<(usize, Hash, Height)>),
}

impl Stored {
    /// `None` unless `bytes` can be the page at `path`, written at `version`.
    pub(crate) fn decode(mut bytes: &[u8], path: &Path, version: Height) -> Option<Stored> {
        let since = page_rests_on(bytes);
        let [kind] = take(&mut bytes)?;
        if since.is_some() {
            take::<8>(&mut bytes)?;
        }
        // So it rests on an older page: with nothing newer it would not have been written.
        let fits = |written: Height| written <= version && since.is_none_or(|since| written > since);
        let content = match kind {
            BRANCH | NEWER_OF_BRANCH => NewerContent::Slots(Box::new(slots(bytes, path, version, fits)?)),
            BUCKET | NEWER_OF_BUCKET => NewerContent::Leaves(leaves(bytes, path, version, fits)?),
            NEWER_OF_SAME_KEYS => NewerContent::Hashes(hashes(bytes, version, fits)?),
            _ => return None,
        };
        let is_empty = match &content {
            NewerContent::Slots(slots) => slots.iter().all(|slot| *slot == Slot::Empty),
            NewerContent::Leaves(leaves) => leaves.is_empty(),
            NewerContent::Hashes(hashes) => hashes.is_empty(),
        };
        match (since, content) {
            _ if is_empty => None,
            (Some(since), content) => Some(Stored::Newer(Newer { since, content })),
            (None, NewerContent::Slots(slots)) => Some(Stored::Whole(Content::Branch(Branch::of(&slots)))),
            (None, NewerContent::Leaves(leaves)) => {
                if leaves.len() < 2 {
                    return None;
                }
                Some(Stored::Whole(Content::Bucket(leaves.into_boxed_slice())))
            }
            (None, NewerContent::Hashes(_)) => None,
        }
    }
}

/// A bitmap and the slots it announces, each of which must belong below `path` and have been written when
/// it `fits`.
fn slots(
    mut bytes: &[u8],
    path: &Path,
    version: Height,
    fits: impl Fn(Height) -> bool,
) -> Option<[Slot; 16]> {
    let used = u16::from_le_bytes(take(&mut bytes)?);
    let mut slots = [Slot::Empty; 16];
    for (place, slot) in slots.iter_mut().enumerate() {
        if used >> place & 1 == 0 {
            continue;
        }
        *slot = Slot::decode_from(version, &mut bytes)?;
        let belongs = match slot {
            Slot::Empty => false,
            Slot::Leaf(Leaf { key, .. }) => path.leads_to(key) && path.nibble_of(key) == place,
            Slot::Page { .. } => path.child(place).has_page(),
        };
        if !belongs || !slot.version().is_some_and(&fits) {
            return None;
        }
    }
    bytes.is_empty().then_some(slots)
}

/// Leaves up to the end, likewise.
fn leaves(
    mut bytes: &[u8],
    path: &Path,
    version: Height,
    fits: impl Fn(Height) -> bool,
) -> Option<Vec<Leaf>> {
    if bytes.len() > BUCKET_KEYS * LEAF_LEN {
        return None;
    }
    // Room for just these as a rule, so that nothing is moved once they are gathered.
    let mut leaves: Vec<Leaf> = Vec::with_capacity(BUCKET_KEYS.min(bytes.len() / LEAST_LEAF_LEN));
    while !bytes.is_empty() && leaves.len() < BUCKET_KEYS {
        let leaf = Leaf::decode_from(version, &mut bytes)?;
        let ascends = leaves.last().is_none_or(|last| last.key < leaf.key);
        if !ascends || !path.leads_to(&leaf.key) || !fits(leaf.version) {
            return None;
        }
        leaves.push(leaf);
    }
    bytes.is_empty().then_some(leaves)
}

/// A bitmap, and of each leaf that it announces the hash and the height, likewise.
fn hashes(
    mut bytes: &[u8],
    version: Height,
    fits: impl Fn(Height) -> bool,
) -> Option<Vec<(usize, Hash, Height)>> {
    let newer = u32::from_le_bytes(take(&mut bytes)?);
    let mut hashes = Vec::with_capacity(newer.count_ones() as usize);
    for place in (0..BUCKET_KEYS).filter(|place| newer >> place & 1 == 1) {
        let (hash, written) = (Hash(take(&mut bytes)?), take_age(version, &mut bytes)?);
        if !fits(written) {
            return None;
        }
        hashes.push((place, hash, written));
    }
    bytes.is_empty().then_some(hashes)
}

impl Newer {
    /// The older page.
    pub(crate) fn base(&self) -> Base {
        Base { height: self.since, has_all_keys: matches!(self.content, NewerContent::Hashes(_)) }
    }

    /// What the page holds, from what the older one does; `None` if that cannot be the one this is newer than.
    pub(crate) fn onto(&self, older: &Content) -> Option<Content> {
        Some(match (&self.content, older) {
            (NewerContent::Slots(newer), Content::Branch(older)) => {
                let mut branch = older.clone();
                for (place, slot) in newer.iter().enumerate().filter(|(_, slot)| **slot != Slot::Empty) {
                    branch.set(place, *slot);
                }
                Content::Branch(branch)
            }
            (NewerContent::Leaves(newer), Content::Bucket(older)) => {
                let leaves = merged(older, newer);
                if leaves.len() > BUCKET_KEYS {
                    return None;
                }
                Content::Bucket(leaves.into_boxed_slice())
            }
            (NewerContent::Hashes(newer), Content::Bucket(older)) => {
                let mut leaves = older.clone();
                for (place, hash, version) in newer {
                    let leaf = leaves.get_mut(*place)?;
                    (leaf.hash, leaf.version) = (*hash, *version);
                }
                Content::Bucket(leaves)
            }
            _ => return None,
        })
    }
}

/// Both, ascending by key as they are; of two with one key the newer.
fn merged(older: &[Leaf], newer: &[Leaf]) -> Vec<Leaf> {
    let mut leaves = Vec::with_capacity(older.len() + newer.len());
    let mut older = older.iter().peekable();
    for leaf in newer {
        while let Some(before) = older.next_if(|before| before.key < leaf.key) {
            leaves.push(*before);
        }
        older.next_if(|same| same.key == leaf.key);
        leaves.push(*leaf);
    }
    leaves.extend(older);
    leaves
}
