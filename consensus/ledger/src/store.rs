//! The one storage trait, and its implementation in memory.
//!
//! RocksDB implements [`Store`] in the node; [`MemoryStore`] serves tests, simulators and auditors.
//! Reading is all the ledger does by itself: what is to be written it hands out as [`Write`]s, for
//! the node to put into one atomic batch beside the block and its certificate.
//!
//! # Key table
//!
//! Numbers in keys are big endian, so that the order of keys is the order of numbers. Values are in
//! the canonical encoding unless a layout is given. Almost every key starts with a height: keys that
//! arrive in order cost a fraction of those that arrive at random.
//!
//! | column | key | value | written by |
//! |---|---|---|---|
//! | `Meta` | `ledger/format` | layout number of the ledger's columns, `u32` | ledger, at founding |
//! | `Meta` | `ledger/chain` | chain id | ledger, at founding |
//! | `Meta` | `ledger/tip` | last committed block: height, hash, timestamp, result, log frontier | ledger, each block |
//! | `Meta` | `ledger/ids/` height (8) | ids of the block's transactions with their expiry; removed once all have expired | ledger, each block |
//! | `Meta` | any other prefix | the node's own facts | node |
//! | `Nodes` | height (8), `ff` | root of the state tree after that block | ledger, each block |
//! | `Nodes` | height (8), number of nibbles (1), nibbles packed two a byte | a page of the state tree as that block wrote it, by itself or as what is newer than an older one ([`page_rests_on`](crate::page_rests_on)) | ledger, each page a block changes |
//! | `Values` | height (8), state key hash (32) | the state value that block wrote | ledger, each key a block changes |
//! | `History` | level (1), index (8) | hash of a complete subtree of the log of block hashes (32) | ledger, each block |
//! | `Blocks` | height (8) | header, ids, outcomes and result of the committed block | node |
//! | `Bodies` | height (8), block hash (32) | all encoded transactions of the block, one value | node |
//! | `Certificates` | height (8) | certificate, where the block has its own | node |
//! | `Transactions` | id (32) | height and position | node |
//! | `Votes` | the node's choice | own votes, and the uncommitted proposals they rest on | node |
//! | `Evidence` | sequence (8) | two contradicting statements of one signer | node |

use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// A part of the store with keys of its own: one RocksDB column family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// Single facts: chain, tip, unexpired ids.
    Meta,
    /// Pages of the state tree.
    Nodes,
    /// State values.
    Values,
    /// Nodes of the log of block hashes.
    History,
    /// Headers and results.
    Blocks,
    /// Transactions by block.
    Bodies,
    /// Certificates.
    Certificates,
    /// Where each transaction is.
    Transactions,
    /// Own votes, and what they rest on.
    Votes,
    /// Proofs of contradiction.
    Evidence,
}

impl Column {
    /// Every column.
    pub const ALL: [Column; 10] = [
        Column::Meta,
        Column::Nodes,
        Column::Values,
        Column::History,
        Column::Blocks,
        Column::Bodies,
        Column::Certificates,
        Column::Transactions,
        Column::Votes,
        Column::Evidence,
    ];

    /// The name of its column family.
    pub const fn name(self) -> &'static str {
        match self {
            Column::Meta => "meta",
            Column::Nodes => "nodes",
            Column::Values => "values",
            Column::History => "history",
            Column::Blocks => "blocks",
            Column::Bodies => "bodies",
            Column::Certificates => "certificates",
            Column::Transactions => "transactions",
            Column::Votes => "votes",
            Column::Evidence => "evidence",
        }
    }
}

/// One change of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Where.
    pub column: Column,
    /// Which entry.
    pub key: Bytes,
    /// What it becomes; `None` removes it.
    pub value: Option<Bytes>,
}

impl Write {
    /// Sets an entry.
    pub fn put(column: Column, key: impl Into<Vec<u8>>, value: impl Into<Bytes>) -> Write {
        Write { column, key: Bytes::from(key.into()), value: Some(value.into()) }
    }

    /// Removes an entry.
    pub fn delete(column: Column, key: impl Into<Vec<u8>>) -> Write {
        Write { column, key: Bytes::from(key.into()), value: None }
    }
}

/// Keys and values of a block, made one after the other: many share a piece of memory. There are thousands, and
/// memory would be asked for each of them, and given back from another thread. Whoever keeps one of them for long
/// should copy it, since it keeps its neighbours.
#[derive(Debug, Default)]
pub struct Pieces {
    done: Vec<Bytes>,
    /// The last piece of memory.
    bytes: Vec<u8>,
    /// Where each of those in it ends.
    ends: Vec<usize>,
}

impl Pieces {
    /// Bytes that are asked for at once: so few that the allocator has them at hand from a block before, while a
    /// megabyte for a whole block was new memory each time.
    const ROOM: usize = 32 << 10;

    /// With less than this left, the next piece of memory is begun.
    const LEFT: usize = 4 << 10;

    /// None yet, and room in the list for so many.
    pub fn with_capacity(pieces: usize) -> Pieces {
        Pieces { done: Vec::with_capacity(pieces), ..Pieces::default() }
    }

    /// Adds what `append` appends, and shows it.
    pub fn add(&mut self, append: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        if self.bytes.capacity() - self.bytes.len() < Pieces::LEFT {
            self.share();
            self.bytes.reserve_exact(Pieces::ROOM);
        }
        let start = self.bytes.len();
        append(&mut self.bytes);
        self.ends.push(self.bytes.len());
        &self.bytes[start..]
    }

    /// All of them, in order.
    pub fn finish(mut self) -> Vec<Bytes> {
        self.share();
        self.done
    }

    fn share(&mut self) {
        let bytes = Bytes::from(std::mem::take(&mut self.bytes));
        let mut start = 0;
        for end in self.ends.drain(..) {
            self.done.push(bytes.slice(start..end));
            start = end;
        }
    }
}

/// Why the store could not answer. Nothing about a block may be concluded from it: the node stops
/// and says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk or the database refused.
    #[error("storage failed: {0}")]
    Io(String),
    /// What was read is not what was written.
    #[error("storage is damaged: {0}")]
    Corrupt(String),
}

/// Ordered entries by column.
pub trait Store {
    /// The value of `key`.
    ///
    /// # Errors
    /// [`StoreError`] if it could not be read.
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// The entries with `from <= key < to`, ascending, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] if they could not be read.
    fn range(
        &self,
        column: Column,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, StoreError>;
}

impl<S: Store + ?Sized> Store for Arc<S> {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        (**self).get(column, key)
    }

    fn range(
        &self,
        column: Column,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, StoreError> {
        (**self).range(column, from, to, limit)
    }
}

type Entries = BTreeMap<Vec<u8>, Bytes>;

/// A store in memory. A clone is a snapshot that costs nothing until one of the two is written to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryStore {
    columns: BTreeMap<Column, Arc<Entries>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// Makes these changes, in order.
    pub fn apply(&mut self, writes: &[Write]) {
        for write in writes {
            let entries = Arc::make_mut(self.columns.entry(write.column).or_default());
            match &write.value {
                // Copied: what is kept for long should not keep the neighbours that it was made with.
                Some(value) => entries.insert(write.key.to_vec(), Bytes::copy_from_slice(value)),
                None => entries.remove(&write.key[..]),
            };
        }
    }

    /// How many entries a column holds.
    pub fn len(&self, column: Column) -> usize {
        self.columns.get(&column).map_or(0, |entries| entries.len())
    }

    /// Whether no column holds an entry.
    pub fn is_empty(&self) -> bool {
        self.columns.values().all(|entries| entries.is_empty())
    }

    fn entries<'a>(
        &'a self,
        column: Column,
        from: &'a [u8],
        to: &'a [u8],
    ) -> impl Iterator<Item = (Vec<u8>, Bytes)> + 'a {
        // An empty range is no mistake; `BTreeMap::range` would panic on a reversed one.
        let entries = self.columns.get(&column).filter(|_| from < to);
        entries
            .into_iter()
            .flat_map(move |entries| entries.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to))))
            .map(|(key, value)| (key.clone(), value.clone()))
    }
}

impl Store for MemoryStore {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.columns.get(&column).and_then(|entries| entries.get(key)).cloned())
    }

    fn range(
        &self,
        column: Column,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, StoreError> {
        Ok(self.entries(column, from, to).take(limit).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_store_is_ordered_and_snapshots() {
        let mut store = MemoryStore::new();
        for n in [3u8, 1, 2] {
            store.apply(&[Write::put(Column::Meta, [n], vec![n])]);
        }
        let snapshot = store.clone();
        store.apply(&[Write::delete(Column::Meta, [2])]);
        let keys = |store: &MemoryStore, from: u8, to: u8| -> Vec<u8> {
            store.range(Column::Meta, &[from], &[to], 10).unwrap().iter().map(|(key, _)| key[0]).collect()
        };
        assert_eq!(keys(&store, 0, 9), [1, 3]);
        assert_eq!(keys(&snapshot, 0, 9), [1, 2, 3]);
        assert_eq!(keys(&store, 2, 9), [3]);
        assert_eq!(keys(&snapshot, 2, 3), [2]);
        assert_eq!(keys(&snapshot, 3, 2), [0u8; 0]);
        assert_eq!(store.get(Column::Nodes, &[1]), Ok(None));
    }

    #[test]
    fn pieces_are_what_was_added_whatever_their_length() {
        let lengths = [0, 1, 40, 700, 4096, 5000, 32 << 10, 100_000, 3, 0].repeat(9);
        let expected: Vec<Vec<u8>> = (0u8..).zip(lengths).map(|(n, length)| vec![n; length]).collect();
        let mut pieces = Pieces::with_capacity(0);
        for piece in &expected {
            assert_eq!(pieces.add(|out| out.extend_from_slice(piece)), piece);
        }
        assert!(pieces.finish().iter().eq(&expected));
        assert!(Pieces::default().finish().is_empty());
    }
}
