//! Reading pages and values through what is not in the store yet.
//!
//! Every page and value is named by the height of the block that wrote it. So a look-up goes straight
//! to the one place that can have it: the block itself while it is pending or its writes are on their
//! way, else the store.

use crate::store::{Column, Store, StoreError};
use crate::table;
use crate::tree::{Page, Path, Slot, Stored};
use bytes::Bytes;
use quorate_types::hash::Hash;
use quorate_types::ids::Height;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What one block writes to the state.
#[derive(Debug)]
pub(crate) struct Layer {
    /// The tree after the block.
    pub(crate) root: Slot,
    pub(crate) pages: BTreeMap<Path, Arc<Page>>,
    /// Pages that the block replaced: nobody who reads the latest state needs them any more.
    pub(crate) replaced: Vec<(Height, Path)>,
    /// Encoded values by key hash.
    pub(crate) values: BTreeMap<Hash, Bytes>,
}

/// Pages of a generation of the [`PageCache`]: at most twice as many, each of half a kilobyte to two, are kept.
const CACHE_PAGES: usize = 16_384;

/// Recently used pages of committed blocks. Pages never change, so it cannot be stale.
///
/// Two generations: a page used moves to the young one; when that is full it becomes the old one, and
/// what was old and unused is gone.
#[derive(Debug, Default)]
pub(crate) struct PageCache {
    young: BTreeMap<(Height, Path), Arc<Page>>,
    old: BTreeMap<(Height, Path), Arc<Page>>,
}

impl PageCache {
    fn get(&mut self, version: Height, path: &Path) -> Option<Arc<Page>> {
        let name = (version, *path);
        if let Some(page) = self.young.get(&name) {
            return Some(Arc::clone(page));
        }
        let page = self.old.remove(&name)?;
        self.insert(version, path, Arc::clone(&page));
        Some(page)
    }

    fn insert(&mut self, version: Height, path: &Path, page: Arc<Page>) {
        if self.young.len() >= CACHE_PAGES {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert((version, *path), page);
    }

    /// Takes in what a committed block wrote, and drops what it replaced.
    pub(crate) fn commit(&mut self, height: Height, layer: &Layer) {
        for name in &layer.replaced {
            self.young.remove(name);
            self.old.remove(name);
        }
        for (path, page) in &layer.pages {
            self.insert(height, path, Arc::clone(page));
        }
    }
}

/// Reads pages and values as one block's parent left them.
pub(crate) struct Reader<'a, S> {
    store: &'a S,
    /// Committed, on the way to the store.
    unapplied: Option<&'a BTreeMap<Height, Arc<Layer>>>,
    /// Uncommitted ancestors.
    pending: BTreeMap<Height, &'a Layer>,
    cache: Option<&'a mut PageCache>,
}

impl<'a, S: Store> Reader<'a, S> {
    /// Reads what is in the store and nothing else.
    pub(crate) fn of_store(store: &'a S) -> Reader<'a, S> {
        Reader { store, unapplied: None, pending: BTreeMap::new(), cache: None }
    }

    pub(crate) fn new(
        store: &'a S,
        unapplied: &'a BTreeMap<Height, Arc<Layer>>,
        pending: BTreeMap<Height, &'a Layer>,
        cache: Option<&'a mut PageCache>,
    ) -> Reader<'a, S> {
        Reader { store, unapplied: Some(unapplied), pending, cache }
    }

    fn layer(&self, version: Height) -> Option<&'a Layer> {
        let unapplied = || self.unapplied.and_then(|layers| layers.get(&version)).map(|layer| &**layer);
        self.pending.get(&version).copied().or_else(unapplied)
    }

    /// The page at `path` as the block at `version` wrote it. One must exist: another page names it.
    pub(crate) fn page(&mut self, version: Height, path: &Path) -> Result<Arc<Page>, StoreError> {
        if let Some(page) = self.layer(version).and_then(|layer| layer.pages.get(path)) {
            return Ok(Arc::clone(page));
        }
        if let Some(page) = self.cache.as_mut().and_then(|cache| cache.get(version, path)) {
            return Ok(page);
        }
        let page = match self.stored(version, path)? {
            Stored::Whole(page) => page,
            Stored::Changes(changes) => {
                // Straight from the store: what the newer page replaced is not worth a place in the cache.
                let Stored::Whole(older) = self.stored(changes.whole(), path)? else {
                    return Err(damaged(version, path, "based on one that is not whole"));
                };
                changes.onto(&older)
            }
        };
        let page = Arc::new(page);
        if let Some(cache) = &mut self.cache {
            cache.insert(version, path, Arc::clone(&page));
        }
        Ok(page)
    }

    fn stored(&self, version: Height, path: &Path) -> Result<Stored, StoreError> {
        let bytes = self.store.get(Column::Nodes, &path.store_key(version))?;
        let bytes = bytes.ok_or_else(|| damaged(version, path, "missing"))?;
        Stored::decode(&bytes, path, version).ok_or_else(|| damaged(version, path, "malformed"))
    }

    /// The encoded value of `key` as the block at `version` wrote it. One must exist: a leaf names it.
    pub(crate) fn value(&mut self, version: Height, key: &Hash) -> Result<Bytes, StoreError> {
        if let Some(value) = self.layer(version).and_then(|layer| layer.values.get(key)) {
            return Ok(value.clone());
        }
        let missing = || StoreError::Corrupt(format!("the value of {key} at height {version} is missing"));
        self.store.get(Column::Values, &value_key(version, key))?.ok_or_else(missing)
    }
}

fn damaged(version: Height, path: &Path, what: &str) -> StoreError {
    StoreError::Corrupt(format!("page {path:?} of height {version} is {what}"))
}

/// The key of a value in the store.
pub(crate) fn value_key(version: Height, key: &Hash) -> Vec<u8> {
    [&version.0.to_be_bytes()[..], &key.0].concat()
}

/// The root of the state after `height`, if the store has it.
pub(crate) fn load_root(store: &impl Store, height: Height) -> Result<Option<Slot>, StoreError> {
    let Some(bytes) = store.get(Column::Nodes, &table::root_key(height))? else { return Ok(None) };
    let mut rest = &bytes[..];
    match Slot::decode_from(&mut rest) {
        Some(root) if rest.is_empty() => Ok(Some(root)),
        _ => Err(StoreError::Corrupt(format!("the root record of height {height} is malformed"))),
    }
}
