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
//! | 3, what is newer than an older bucket | 8 bytes | the height that wrote the older page, big endian |
//! | | ... | the leaves that a later height wrote, ascending by key |
//!
//! The older page has the same path and is stored by itself, so reading a page takes at most two look-ups.
//! Every slot and leaf carries the height that wrote it, so what is newer than the older page is plain to
//! see; a page from which something went away is stored by itself. The second form of each is chosen while
//! it is at most half as long: a key changed at random then costs a third of what a whole page would. Small
//! buckets always stand by themselves.

use super::page::{BUCKET_KEYS, Branch, Content, Page};
use super::{Leaf, Path, Slot, take};
use quorate_types::ids::Height;

/// Leaves up to which a bucket is stored by itself, whatever changed. The less there is in each, the more buckets
/// the state has, and the more likely one is read back: a second look-up then costs more than these bytes.
const SMALL_BUCKET: usize = 10;

const BRANCH: u8 = 0;
const NEWER_OF_BRANCH: u8 = 1;
const BUCKET: u8 = 2;
const NEWER_OF_BUCKET: u8 = 3;

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
    /// Whether what is newer than `since` is at most half as long as the whole.
    pub(super) fn is_short_since(&self, since: Height) -> bool {
        // The heads differ by less than a slot.
        match &self.content {
            Content::Branch(branch) => {
                let length = |since| branch.newer(since).map(|(_, slot)| slot.encoded_len()).sum::<usize>();
                2 * length(Some(since)) <= length(None)
            }
            Content::Bucket(leaves) => {
                leaves.len() > SMALL_BUCKET && 2 * newer(leaves, Some(since)).count() <= leaves.len()
            }
        }
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
        out.push(match (&self.content, self.since) {
            (Content::Branch(_), None) => BRANCH,
            (Content::Branch(_), Some(_)) => NEWER_OF_BRANCH,
            (Content::Bucket(_), None) => BUCKET,
            (Content::Bucket(_), Some(_)) => NEWER_OF_BUCKET,
        });
        if let Some(since) = self.since {
            out.extend_from_slice(&since.0.to_be_bytes());
        }
        match &self.content {
            Content::Branch(branch) => {
                let stored = || branch.newer(self.since);
                let bitmap = stored().fold(0u16, |bitmap, (place, _)| bitmap | 1 << place);
                out.extend_from_slice(&bitmap.to_le_bytes());
                stored().for_each(|(_, slot)| slot.encode_into(out));
            }
            Content::Bucket(leaves) => {
                newer(leaves, self.since).for_each(|leaf| leaf.encode_into(out));
            }
        }
    }
}

/// The height whose page at the same path an entry of [`Column::Nodes`](crate::Column::Nodes) rests on: to
/// read it that page must be there too, whatever else replaced it. `None` if it stands by itself.
pub fn page_rests_on(mut entry: &[u8]) -> Option<Height> {
    let [NEWER_OF_BRANCH | NEWER_OF_BUCKET] = take::<1>(&mut entry)? else { return None };
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
}

impl Stored {
    /// `None` unless `bytes` can be the page at `path`, written at `version`.
    pub(crate) fn decode(mut bytes: &[u8], path: &Path, version: Height) -> Option<Stored> {
        let since = page_rests_on(bytes);
        let [kind] = take(&mut bytes)?;
        if kind == NEWER_OF_BRANCH || kind == NEWER_OF_BUCKET {
            take::<8>(&mut bytes)?;
        }
        // So it rests on an older page: with nothing newer it would not have been written.
        let fits = |written: Height| written <= version && since.is_none_or(|since| written > since);
        let content = match kind {
            BRANCH | NEWER_OF_BRANCH => NewerContent::Slots(Box::new(slots(bytes, path, fits)?)),
            BUCKET | NEWER_OF_BUCKET => NewerContent::Leaves(leaves(bytes, path, fits)?),
            _ => return None,
        };
        let is_empty = match &content {
            NewerContent::Slots(slots) => slots.iter().all(|slot| *slot == Slot::Empty),
            NewerContent::Leaves(leaves) => leaves.is_empty(),
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
        }
    }
}

/// A bitmap and the slots it announces, each of which must belong below `path` and have been written when
/// it `fits`.
fn slots(mut bytes: &[u8], path: &Path, fits: impl Fn(Height) -> bool) -> Option<[Slot; 16]> {
    let used = u16::from_le_bytes(take(&mut bytes)?);
    let mut slots = [Slot::Empty; 16];
    for (place, slot) in slots.iter_mut().enumerate() {
        if used >> place & 1 == 0 {
            continue;
        }
        *slot = Slot::decode_from(&mut bytes)?;
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
fn leaves(mut bytes: &[u8], path: &Path, fits: impl Fn(Height) -> bool) -> Option<Vec<Leaf>> {
    if bytes.len() > BUCKET_KEYS * Leaf::LEN {
        return None;
    }
    let mut leaves: Vec<Leaf> = Vec::with_capacity(bytes.len() / Leaf::LEN);
    while !bytes.is_empty() {
        let leaf = Leaf::decode_from(&mut bytes)?;
        let ascends = leaves.last().is_none_or(|last| last.key < leaf.key);
        if !ascends || !path.leads_to(&leaf.key) || !fits(leaf.version) {
            return None;
        }
        leaves.push(leaf);
    }
    Some(leaves)
}

impl Newer {
    /// The height that wrote the older page.
    pub(crate) fn since(&self) -> Height {
        self.since
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
