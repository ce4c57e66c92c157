//! A store in memory that keeps the latest state and forgets what no longer counts.
//!
//! A node keeps every page and value that any block wrote, to prove any height. An audit reads only
//! what the last block left: at each place of the tree the page with the highest version, with the older
//! one that it rests on if it is stored as changes, and of each key the latest value. So its memory
//! follows the size of the state, not the length of the chain.
//!
//! It rests on the key table of [`quorate_ledger::store`]: in `Nodes` and `Values` the height comes
//! first in the key, and names the version. Should the ledger ask for an older one, it is told that
//! it is missing, and the audit stops with that; it cannot come to a wrong verdict.

use bytes::Bytes;
use quorate_ledger::{Column, MemoryStore, Store, StoreError, Write, page_rests_on};
use quorate_types::ids::Height;
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// Bytes of the height in front of a key.
const HEIGHT: usize = 8;

/// A version, and what it holds.
type Version = (Height, Bytes);

/// Of each place the latest version, and the older one that it rests on.
type Latest = HashMap<Vec<u8>, (Version, Option<Version>)>;

#[derive(Debug, Default)]
struct Entries {
    pages: Latest,
    values: Latest,
    /// Few, and removed by the ledger itself.
    meta: MemoryStore,
}

impl Entries {
    fn latest(&self, column: Column) -> Option<&Latest> {
        match column {
            Column::Nodes => Some(&self.pages),
            Column::Values => Some(&self.values),
            _ => None,
        }
    }

    fn write(&mut self, write: Write) {
        let latest = match write.column {
            Column::Nodes => &mut self.pages,
            Column::Values => &mut self.values,
            // The log's frontier is in `Meta`; its nodes are for proofs of history.
            Column::History => return,
            _ => return self.meta.apply(&[write]),
        };
        let Some((height, place)) = split(&write.key) else { return };
        let Some(value) = write.value else {
            latest.remove(place);
            return;
        };
        let older = match page_rests_on(&value) {
            Some(older) if write.column == Column::Nodes => {
                let before = latest.remove(place);
                before.and_then(|(last, base)| {
                    [Some(last), base].into_iter().flatten().find(|one| one.0 == older)
                })
            }
            _ => None,
        };
        // Copied: it is kept for long, and shares its memory with others that may be gone sooner.
        latest.insert(place.to_vec(), ((height, Bytes::copy_from_slice(&value)), older));
    }
}

/// The version that a key names, and the place.
fn split(key: &[u8]) -> Option<(Height, &[u8])> {
    let (height, place) = key.split_first_chunk::<HEIGHT>()?;
    Some((Height(u64::from_be_bytes(*height)), place))
}

/// The present state of a chain that is executed again.
#[derive(Debug, Default)]
pub(super) struct LatestStore(RwLock<Entries>);

impl LatestStore {
    /// Makes these changes. The ledger owns the store, so it is changed through a shared reference.
    pub(super) fn apply(&self, writes: Vec<Write>) {
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for write in writes {
            entries.write(write);
        }
    }

    fn entries(&self) -> RwLockReadGuard<'_, Entries> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn ordered(column: Column) -> Result<(), StoreError> {
        match column {
            Column::Meta => Ok(()),
            other => Err(StoreError::Io(format!("the audit keeps no order of column {}", other.name()))),
        }
    }
}

impl Store for LatestStore {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let entries = self.entries();
        let Some(latest) = entries.latest(column) else { return entries.meta.get(column, key) };
        let Some((height, place)) = split(key) else { return Ok(None) };
        let Some((last, older)) = latest.get(place) else { return Ok(None) };
        let found = [Some(last), older.as_ref()].into_iter().flatten().find(|version| version.0 == height);
        Ok(found.map(|(_, value)| value.clone()))
    }

    fn range(
        &self,
        column: Column,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, StoreError> {
        LatestStore::ordered(column)?;
        self.entries().meta.range(column, from, to, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(height: u64, place: &[u8], value: &'static [u8]) -> Write {
        Write::put(Column::Nodes, [&height.to_be_bytes()[..], place].concat(), value)
    }

    #[test]
    fn only_the_latest_version_is_kept() {
        let store = LatestStore::default();
        store.apply(vec![page(1, b"a", b"one"), page(1, b"b", b"bee"), page(2, b"a", b"two")]);
        let get = |height: u64, place: &[u8]| {
            store.get(Column::Nodes, &[&height.to_be_bytes()[..], place].concat()).unwrap()
        };
        assert_eq!(get(1, b"a"), None);
        assert_eq!(get(2, b"a").unwrap(), "two");
        assert_eq!(get(1, b"b").unwrap(), "bee");
        assert_eq!(get(2, b"b"), None);
        assert_eq!(store.entries().pages.len(), 2);
        // Changes keep what they rest on, as long as they do.
        let changes = |height: u64, base: u64| {
            let value = [&[1][..], &base.to_be_bytes(), b"changes"].concat();
            Write::put(Column::Nodes, [&height.to_be_bytes()[..], b"b"].concat(), value)
        };
        store.apply(vec![changes(3, 1), changes(4, 1)]);
        assert_eq!(get(1, b"b").unwrap(), "bee");
        assert_eq!((get(3, b"b"), get(4, b"b").map(|value| value.len())), (None, Some(16)));
        store.apply(vec![page(5, b"b", b"\0hive")]);
        assert_eq!((get(1, b"b"), get(4, b"b"), get(5, b"b").unwrap().len()), (None, None, 5));
        store.apply(vec![
            Write::put(Column::Meta, *b"m", &b"x"[..]),
            Write::put(Column::History, [0], &b"h"[..]),
        ]);
        assert_eq!(store.get(Column::Meta, b"m").unwrap().unwrap(), "x");
        assert_eq!(store.get(Column::History, &[0]), Ok(None));
        assert!(store.range(Column::Nodes, &[], &[9], 1).is_err());
    }
}
