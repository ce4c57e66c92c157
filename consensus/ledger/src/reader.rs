//! Reading pages and values through what is not in the store yet.
//!
//! Every page and value is named by the height of the block that wrote it. So a look-up goes straight
//! to the one place that can have it: the block itself while it is pending or its writes are on their
//! way, else the store.

use crate::store::{Column, Store, StoreError};
use crate::table;
use crate::tree::{Change, Page, Path, Slot, Stored, Written};
use bytes::Bytes;
use quorate_types::hash::Hash;
use quorate_types::ids::Height;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What one block writes to the state.
#[derive(Debug)]
pub(crate) struct Layer {
    /// The tree after the block.
    pub(crate) root: Slot,
    /// Its pages, ascending by path.
    pub(crate) pages: Vec<Written>,
    /// Encoded values, ascending by key hash.
    pub(crate) values: Vec<(Hash, Bytes)>,
}

impl Layer {
    fn page(&self, path: &Path) -> Option<&Arc<Page>> {
        let at = self.pages.binary_search_by(|written| written.path.cmp(path)).ok()?;
        Some(&self.pages[at].page)
    }

    fn value(&self, key: &Hash) -> Option<&Bytes> {
        let at = self.values.binary_search_by(|value| value.0.cmp(key)).ok()?;
        Some(&self.values[at].1)
    }
}

/// Pages that the [`PageCache`] keeps at most, each of half a kilobyte to three.
const CACHE_PAGES: usize = 98_304;

/// Pages whose paths may fall together before one of them goes. With four, one in ten of the pages of a
/// million keys was not found, although there was room for all.
const WAYS: usize = 12;

/// Replaced pages that wait to be given up, at most: some ten megabytes.
const REPLACED_PAGES: usize = 8192;

/// Sets that are looked at together, so that memory brings them together.
const AT_ONCE: usize = 32;

/// Pages of a set that were used after it make a page an old one.
const LATELY: usize = 3;

/// Recently used pages of committed blocks. Pages never change, so it cannot be stale.
///
/// Of a path the page that was used last is kept, in one of twelve places that follow from the path: the
/// bits of a path are those of SHA-256 hashes, and spread by themselves. The table starts small and
/// doubles as it fills.
///
/// Where there are more pages than places, those at the bottom of the tree go first: on the way to each of them
/// lies a branch that leads to fifteen others. Only of those that were used lately a few stay.
#[derive(Debug)]
pub(crate) struct PageCache {
    sets: Vec<Set>,
    pages: usize,
    /// Pages that were replaced, to be given up one by one while others are made: see [`PageCache::give_up`].
    replaced: VecDeque<Arc<Page>>,
}

/// Places for pages whose paths fall together. What is searched lies in front: there are more pages than the
/// processor's caches hold, and to look at each of a set is to wait for memory as often.
#[derive(Debug, Clone)]
struct Set {
    /// Of each page some bits of its path, never 0; 0 where there is none.
    tags: [u16; WAYS],
    /// Of each place, how many were used after it.
    ranks: [u8; WAYS],
    /// Which of the pages are buckets, the first place lowest.
    buckets: u16,
    pages: [Option<Arc<Page>>; WAYS],
}

impl Default for PageCache {
    fn default() -> PageCache {
        PageCache { sets: vec![Set::EMPTY; 64], pages: 0, replaced: VecDeque::new() }
    }
}

impl Set {
    const EMPTY: Set = Set {
        tags: [0; WAYS],
        ranks: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
        buckets: 0,
        pages: [const { None }; WAYS],
    };

    fn find(&self, tag: u16, path: &Path) -> Option<usize> {
        let is_at = |way: &usize| self.pages[*way].as_ref().is_some_and(|page| page.path == *path);
        (0..WAYS).filter(|way| self.tags[*way] == tag).find(is_at)
    }

    /// The place to be given up: of the bucket used before all others, unless that was lately; else of the page
    /// used before all others.
    fn victim(&self) -> usize {
        let is_bucket = |way: &usize| self.buckets >> way & 1 == 1;
        let old = (0..WAYS).filter(|way| usize::from(self.ranks[*way]) >= LATELY).filter(is_bucket);
        old.max_by_key(|way| self.ranks[*way]).unwrap_or_else(|| self.oldest())
    }

    /// Notes that this place was used last.
    fn touch(&mut self, way: usize) {
        let rank = self.ranks[way];
        for other in &mut self.ranks {
            *other += u8::from(*other < rank);
        }
        self.ranks[way] = 0;
    }

    /// The place that was used before all others.
    fn oldest(&self) -> usize {
        self.ranks.iter().position(|rank| usize::from(*rank) == WAYS - 1).expect("each rank is at one place")
    }
}

impl PageCache {
    /// The number of a path's set, and its tag there.
    fn place(&self, path: &Path) -> (usize, u16) {
        let [.., a, b, c, d] = path.spread().to_be_bytes();
        // The number of sets is a power of two, and below two to the sixteen.
        let set = usize::from(u16::from_be_bytes([c, d])) & (self.sets.len() - 1);
        (set, u16::from_be_bytes([a, b]) | 1)
    }

    /// The set of a path, and its tag there.
    fn set(&mut self, path: &Path) -> (&mut Set, u16) {
        let (set, tag) = self.place(path);
        (&mut self.sets[set], tag)
    }

    fn get(&mut self, version: Height, path: &Path) -> Option<Arc<Page>> {
        let (set, tag) = self.set(path);
        let way = set.find(tag, path)?;
        set.touch(way);
        let found = set.pages[way].as_ref()?;
        (found.version == version).then(|| Arc::clone(found))
    }

    fn insert(&mut self, page: Arc<Page>) {
        let (set, tag) = self.set(&page.path);
        let free = || set.tags.iter().position(|tag| *tag == 0);
        // By the tag alone: to look at the page itself is to wait for memory, and if once in some thousand times it
        // is of another path, that one goes.
        let same = || set.tags.iter().position(|other| *other == tag);
        let way = same().or_else(free).unwrap_or_else(|| set.victim());
        set.touch(way);
        set.tags[way] = tag;
        set.buckets = set.buckets & !(1 << way) | u16::from(page.is_bucket()) << way;
        if let Some(before) = set.pages[way].replace(page) {
            if self.replaced.len() >= REPLACED_PAGES {
                self.replaced.pop_front();
            }
            self.replaced.push_back(before);
            return;
        }
        self.pages += 1;
        if self.pages > self.sets.len() * WAYS / 2 && self.sets.len() * WAYS < CACHE_PAGES {
            self.double();
        }
    }

    /// Gives up a page that was replaced. One for each page that is made: the allocator then has memory of its
    /// size at hand, where thousands given back at once, and asked for later at once, cost it a search for each.
    fn give_up(&mut self) {
        // In front are branches, at the end buckets.
        if self.replaced.len().is_multiple_of(2) {
            self.replaced.pop_front();
        } else {
            self.replaced.pop_back();
        }
    }

    fn double(&mut self) {
        let sets = vec![Set::EMPTY; 2 * self.sets.len()];
        let old = std::mem::replace(&mut self.sets, sets);
        self.pages = 0;
        for page in old.into_iter().flat_map(|set| set.pages).flatten() {
            self.insert(page);
        }
    }

    /// Reads a little of a path's set.
    fn look(&self, path: &Path) -> usize {
        usize::from(self.sets[self.place(path).0].tags[0])
    }

    /// The page kept at a path, whatever wrote it.
    fn peek(&self, path: &Path) -> Option<&Page> {
        let (set, tag) = self.place(path);
        let set = &self.sets[set];
        set.find(tag, path).and_then(|way| set.pages[way].as_deref())
    }

    /// Looks at what the pages on the way to these changes, which lie below `path`, are made of, and at the pages
    /// that will be given up for those to come.
    ///
    /// There is more of it than the processor's caches hold, and each page is found by the one before it: to
    /// update one key after the other is to wait for memory again and again. Here one thing of many pages is
    /// looked at, then the next, and the processor has them brought at once.
    fn prefetch(&self, path: &Path, changes: &[Change]) {
        let mut level = Vec::with_capacity(changes.len());
        level.push((*path, changes));
        let ends = self.replaced.iter().take(changes.len());
        let ends = ends.chain(self.replaced.iter().rev().take(changes.len()));
        let mut seen = ends.fold(0, |seen, page| seen ^ Arc::strong_count(page));
        while !level.is_empty() {
            for (path, _) in &level {
                seen ^= self.look(path);
            }
            let mut pages: Vec<(&Page, &[Change])> = Vec::with_capacity(level.len());
            pages.extend(level.iter().filter_map(|(path, changes)| Some((self.peek(path)?, *changes))));
            level.clear();
            for (page, changes) in pages {
                seen ^= page.touch();
                page.below(changes, |path, changes| level.push((path, changes)));
            }
        }
        std::hint::black_box(seen);
    }

    /// Takes in what a committed block wrote.
    pub(crate) fn commit(&mut self, layer: &Layer) {
        self.replaced.clear();
        for written in layer.pages.chunks(AT_ONCE) {
            let look =
                |seen, Written { path, page, .. }: &Written| seen ^ self.look(path) ^ Arc::strong_count(page);
            std::hint::black_box(written.iter().fold(0, look));
            for written in written {
                self.insert(Arc::clone(&written.page));
            }
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

    /// Says that these changes, which lie below `path`, are about to be made.
    pub(crate) fn prefetch(&self, path: &Path, changes: &[Change]) {
        if let Some(cache) = &self.cache {
            cache.prefetch(path, changes);
        }
    }

    /// Says that a page is about to be made.
    pub(crate) fn make_room(&mut self) {
        if let Some(cache) = &mut self.cache {
            cache.give_up();
        }
    }

    /// The page at `path` as the block at `version` wrote it. One must exist: another page names it.
    pub(crate) fn page(&mut self, version: Height, path: &Path) -> Result<Arc<Page>, StoreError> {
        if let Some(page) = self.layer(version).and_then(|layer| layer.page(path)) {
            return Ok(Arc::clone(page));
        }
        if let Some(page) = self.cache.as_mut().and_then(|cache| cache.get(version, path)) {
            return Ok(page);
        }
        let (content, base) = match self.stored(version, path)? {
            Stored::Whole(content) => (content, None),
            Stored::Newer(newer) => {
                // Straight from the store: what the newer page replaced is not worth a place in the cache.
                let Stored::Whole(older) = self.stored(newer.base().height, path)? else {
                    return Err(damaged(version, path, "newer than one that is not stored by itself"));
                };
                let content = newer.onto(&older);
                let content =
                    content.ok_or_else(|| damaged(version, path, "newer than one of another kind"))?;
                (content, Some(newer.base()))
            }
        };
        let page = Arc::new(Page::new(*path, version, content, base));
        if let Some(cache) = &mut self.cache {
            cache.insert(Arc::clone(&page));
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
        if let Some(value) = self.layer(version).and_then(|layer| layer.value(key)) {
            return Ok(value.clone());
        }
        let missing = || StoreError::Corrupt(format!("the value of {key} at height {version} is missing"));
        let mut place = Vec::with_capacity(VALUE_KEY);
        value_key_into(version, key, &mut place);
        self.store.get(Column::Values, &place)?.ok_or_else(missing)
    }
}

fn damaged(version: Height, path: &Path, what: &str) -> StoreError {
    StoreError::Corrupt(format!("page {path:?} of height {version} is {what}"))
}

/// The length of a value's key in the store.
const VALUE_KEY: usize = 40;

/// Appends the key of a value in the store.
pub(crate) fn value_key_into(version: Height, key: &Hash, out: &mut Vec<u8>) {
    out.extend_from_slice(&version.0.to_be_bytes());
    out.extend_from_slice(&key.0);
}

/// The root of the state after `height`, if the store has it.
pub(crate) fn load_root(store: &impl Store, height: Height) -> Result<Option<Slot>, StoreError> {
    let Some(bytes) = store.get(Column::Nodes, &table::root_key(height))? else { return Ok(None) };
    let mut rest = &bytes[..];
    match Slot::decode_from(height, &mut rest) {
        Some(root) if rest.is_empty() => Ok(Some(root)),
        _ => Err(StoreError::Corrupt(format!("the root record of height {height} is malformed"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Write;
    use crate::tree::{leaf_hash, update};

    /// Pages of a tree of so many keys.
    fn pages(keys: u32, height: Height) -> Vec<Written> {
        let store = crate::store::MemoryStore::new();
        let mut changes: Vec<Change> = (0..keys)
            .map(|n| Hash::of(&[&n.to_le_bytes()]))
            .map(|key| Change { key, leaf: Some(leaf_hash(&key, &Hash::of(&[&height.0.to_le_bytes()]))) })
            .collect();
        changes.sort_unstable_by_key(|change| change.key);
        update(&mut Reader::of_store(&store), Slot::Empty, &changes, height).unwrap().pages
    }

    /// The same page, as if it hung elsewhere.
    fn at(path: &Path, page: &Page) -> Arc<Page> {
        let mut page = page.clone();
        page.path = *path;
        Arc::new(page)
    }

    #[test]
    fn the_last_page_of_each_path_is_kept_while_there_is_room() {
        let mut cache = PageCache::default();
        for height in [Height(1), Height(2)] {
            for written in &pages(20_000, height) {
                cache.insert(Arc::clone(&written.page));
            }
        }
        let written = pages(20_000, Height(2));
        let kept = written.iter().filter(|Written { path, stored, .. }| {
            assert!(cache.get(Height(1), path).is_none(), "replaced");
            cache.get(Height(2), path).is_some_and(|kept| kept.encode() == *stored)
        });
        let kept = kept.count();
        assert!(kept * 100 > written.len() * 95, "{kept} of {}", written.len());
    }

    #[test]
    fn updates_through_the_cache_are_those_of_the_store() {
        let mut store = crate::store::MemoryStore::new();
        let mut cache = PageCache::default();
        let mut root = Slot::Empty;
        // All keys, then every third of them, and so on. From the second block on some of them go.
        for (height, step) in [(1, 1), (2, 3), (3, 7), (4, 400), (5, 2)] {
            let height = Height(height);
            let change = |n: u32| {
                let (key, value) = (Hash::of(&[&n.to_le_bytes()]), Hash::of(&[&height.0.to_le_bytes()]));
                let goes = height.0 > 1 && n % 5 == 4;
                Change { key, leaf: (!goes).then(|| leaf_hash(&key, &value)) }
            };
            let mut changes: Vec<Change> = (0..6000).step_by(step).map(change).collect();
            changes.sort_unstable_by_key(|change| change.key);
            let unapplied = BTreeMap::new();
            let mut cached = Reader::new(&store, &unapplied, BTreeMap::new(), Some(&mut cache));
            let updated = update(&mut cached, root, &changes, height).unwrap();
            let plain = update(&mut Reader::of_store(&store), root, &changes, height).unwrap();
            assert_eq!(updated.root, plain.root);
            assert!(
                updated.pages.iter().map(|page| &page.stored).eq(plain.pages.iter().map(|page| &page.stored))
            );
            for Written { path, stored, .. } in &updated.pages {
                store.apply(&[Write::put(Column::Nodes, path.store_key(height), stored.clone())]);
            }
            root = updated.root;
            cache.commit(&Layer { root, pages: updated.pages, values: Vec::new() });
        }
        assert!(cache.pages > 200 && cache.replaced.len() > 200, "{}", cache.pages);
    }

    #[test]
    fn branches_stay_where_buckets_come_and_go() {
        let mut cache = PageCache::default();
        let written = pages(20_000, Height(1));
        let (buckets, branches): (Vec<_>, Vec<_>) =
            written.iter().partition(|written| written.page.is_bucket());
        assert!(branches.len() > 200);
        for branch in &branches {
            cache.insert(Arc::clone(&branch.page));
        }
        for number in 0..3 * CACHE_PAGES {
            let path = (0..6).fold(Path::ROOT, |path, level| path.child(number >> (4 * level) & 15));
            cache.insert(at(&path, &buckets[0].page));
        }
        let kept = branches.iter().filter(|branch| cache.get(Height(1), &branch.path).is_some()).count();
        assert_eq!(kept, branches.len());
        // One that was used just now stays as well, whatever it is.
        let path = (0..6).fold(Path::ROOT, |path, _| path.child(7));
        cache.insert(at(&path, &buckets[0].page));
        assert!(cache.get(Height(1), &path).is_some());
    }

    #[test]
    fn there_are_never_more_than_the_bound() {
        let mut cache = PageCache::default();
        let page = pages(100, Height(1)).remove(0).page;
        for number in 0..3 * CACHE_PAGES {
            let path = (0..5).fold(Path::ROOT, |path, level| path.child(number >> (4 * level) & 15));
            cache.insert(at(&path, &page));
        }
        let held = cache.sets.iter().flat_map(|set| &set.pages).flatten().count();
        assert!(held <= CACHE_PAGES, "{held}");
        assert!(held > CACHE_PAGES / 2, "{held}");
        assert_eq!(cache.replaced.len(), REPLACED_PAGES, "of those that went");
    }
}
