//! The node's directory on disk: RocksDB behind the ledger's [`Store`], and the judgement on whether
//! what is found there may be trusted.
//!
//! ```text
//! <directory>/data/FORMAT   which format, which chain          (module `format`)
//! <directory>/data/LOCK     held while the directory is founded
//! <directory>/data/db/      RocksDB: one column family for each [`Column`]
//! <directory>/guard         the furthest promise ever made     (module `guard`)
//! ```
//!
//! The guard file lies beside the data directory, not in it: whoever wipes or restores the data
//! leaves it behind, and the two no longer agree.
//!
//! # What is recognised at start
//!
//! Each with its own [`OpenError`], naming cause and way out: another chain's directory, a newer
//! format, a directory of something else, one in use, missing or torn files, damage, no room, no
//! permission. What cannot be refused, because a validator must be able to come back from it, is a
//! database that lost its tail or was replaced by an older one: that is [`Standing::Behind`] or
//! [`Standing::Lost`], with which the node starts, learns from the others, and does not vote until then.
//!
//! # Writing
//!
//! One thread writes. Each batch is atomic; a synced one survives power loss before
//! [`RocksStore::apply`] returns. One that was written and not synced when the process was killed is read back at
//! the next start, and synced by that: RocksDB writes what its log held to table files before it is open (so
//! `avoid_flush_during_recovery` stays off). Votes found there may therefore be said again. Readers on any thread see a batch wholly or not at all. What nobody reads leaves
//! the system's cache (module `system_cache`).

mod format;
mod guard;
mod options;
mod space;
mod system_cache;
#[cfg(test)]
mod tests;

pub use format::FORMAT;
pub use guard::{FileIdentity, GuardFile, GuardSlot, Standing};
pub use options::MAX_LOG_BYTES;
pub use space::free_bytes;

/// Where the core keeps the guard that belongs to the votes in the database.
pub use crate::core::records::GUARD as GUARD_KEY;

use crate::config;
use crate::core::api::Guard;
use bytes::Bytes;
use quorate_ledger::{Column, Store, StoreError, Write};
use quorate_types::codec;
use quorate_types::hash::ChainId;
use rocksdb::{DB, IteratorMode, ReadOptions, WriteBatch, WriteOptions};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use system_cache::{SystemCache, Table};

/// The name of the guard file in the node's directory.
pub const GUARD_FILE: &str = "guard";

/// Why a data directory was not opened. Each text gives the cause and the way out.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The path is a file, or something else that is no directory.
    #[error("{} is not a directory; name another with `data` in node.toml", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The directory holds something, but no marker of ours.
    #[error(
        "{} holds files but is not a Quorate data directory (it has no FORMAT file); name an empty directory, or \
         restore the FORMAT file if it was removed by hand",
        path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// The directory belongs to another chain.
    #[error(
        "{} belongs to chain {found}, but the genesis document founds chain {expected}; use the directory of this \
         chain, or the genesis document of that one",
        path.display()
    )]
    WrongChain {
        /// The directory.
        path: PathBuf,
        /// The chain in the marker.
        found: ChainId,
        /// The chain of the genesis document.
        expected: ChainId,
    },
    /// Written by a newer version.
    #[error(
        "{} has format {found}, written by a newer version; this version knows format {known}: install the newer \
         version again",
        path.display()
    )]
    NewerFormat {
        /// The directory.
        path: PathBuf,
        /// The format in the marker.
        found: u64,
        /// The newest format this version knows.
        known: u64,
    },
    /// The marker was edited or damaged.
    #[error("{} is damaged: {what}; {WAY_OUT}", path.display())]
    MalformedMarker {
        /// The marker.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Another process has it open.
    #[error(
        "{} is in use by another process; stop that one first (two validators with the same keys would contradict \
         each other)",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A file that must be there is not.
    #[error("{} is incomplete: {what}; {WAY_OUT}", path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
        /// Which file, or what RocksDB says.
        what: String,
    },
    /// A file does not hold what was written to it.
    #[error("{} is damaged: {what}; {WAY_OUT}", path.display())]
    Corrupt {
        /// The directory.
        path: PathBuf,
        /// What RocksDB says.
        what: String,
    },
    /// The disk is full.
    #[error("no space left for {}; free some, then start again: nothing was lost", path.display())]
    NoSpace {
        /// The directory.
        path: PathBuf,
    },
    /// Files cannot be read or written by this user.
    #[error(
        "no permission for {}: {source}; give it to the user that runs the node, or run as the user that owns it",
        path.display()
    )]
    Permission {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Any other failure of disk or file system.
    #[error("cannot open {}: {what}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        what: String,
    },
}

/// What to do about a database that is beyond reading. Nothing is lost as long as others have it.
const WAY_OUT: &str = "move the data directory away (keep it until the others are seen to have everything) and start \
                       again; the validator catches up from its peers before it votes";

impl OpenError {
    fn io(path: &Path, error: io::Error) -> OpenError {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                OpenError::Permission { path, source: error }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => OpenError::NoSpace { path },
            io::ErrorKind::NotADirectory => OpenError::NotADirectory { path },
            _ => OpenError::Io { path, what: error.to_string() },
        }
    }

    fn rocks(path: &Path, error: &rocksdb::Error) -> OpenError {
        let (path, text) = (path.to_owned(), error.as_ref());
        // RocksDB's errors cross its C interface as text.
        if text.contains("lock hold by current process") || text.contains("While lock file") {
            OpenError::InUse { path }
        } else if is_no_space(text) {
            OpenError::NoSpace { path }
        } else if text.contains("Permission denied") || text.contains("Read-only file system") {
            OpenError::Permission {
                path,
                source: io::Error::new(io::ErrorKind::PermissionDenied, text.to_owned()),
            }
        } else if text.contains("No such file")
            || text.contains("does not exist")
            || text.contains("Missing WAL")
        {
            OpenError::Missing { path, what: text.to_owned() }
        } else if matches!(error.kind(), rocksdb::ErrorKind::Corruption | rocksdb::ErrorKind::InvalidArgument)
        {
            OpenError::Corrupt { path, what: text.to_owned() }
        } else {
            OpenError::Io { path, what: text.to_owned() }
        }
    }
}

/// What a write takes in a batch, at most: its kind, column and lengths are numbers of variable length.
fn bytes_in_batch(write: &Write) -> usize {
    write.key.len() + write.value.as_ref().map_or(0, bytes::Bytes::len) + 12
}

fn is_no_space(text: &str) -> bool {
    text.contains("No space left") || text.contains("NoSpace") || text.contains("Disk quota exceeded")
}

/// Why a batch was not written. None of it took effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The disk is full. The same batch may be written again once there is room.
    #[error("no space left on the disk: {0}")]
    NoSpace(String),
    /// The disk or the database refused.
    #[error("writing failed: {0}")]
    Failed(String),
}

/// An open data directory, and how far it may be trusted.
#[derive(Debug)]
pub struct Storage {
    /// The database.
    pub store: RocksStore,
    /// The guard file.
    pub guard: GuardFile,
    /// Whether the node may vote on what it finds.
    pub standing: Standing,
    /// The guard that the database itself holds.
    pub held: Guard,
}

impl Storage {
    /// Opens the data directory `data` with the guard file `guard`; founds it if there is none.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        data: &Path,
        guard: &Path,
        chain: &ChainId,
        config: &config::Storage,
    ) -> Result<Storage, OpenError> {
        let (store, founding) = match RocksStore::open_existing(data, chain, config)? {
            Some(store) => (store, None),
            None => {
                let founding = lock(data)?;
                // Another process may have founded it before the lock was ours.
                match RocksStore::open_existing(data, chain, config)? {
                    Some(store) => (store, None),
                    None => (RocksStore::found(data, chain, config)?, Some(founding)),
                }
            }
        };
        let damaged = |what: String| OpenError::Corrupt { path: data.to_owned(), what };
        let held = store.get(Column::Votes, GUARD_KEY).map_err(|error| damaged(error.to_string()))?;
        let held = held.map(|bytes| codec::decode::<Guard>(&bytes, GUARD_BYTES)).transpose();
        let held = held.map_err(|error| damaged(format!("guard record: {error}")))?;
        let opened = GuardFile::open(guard, *chain, held, founding.is_some());
        let (guard, standing) = opened.map_err(|error| OpenError::io(guard, error))?;
        if founding.is_some() {
            // Not before: a whole database without a guard file looks like one that has lost it.
            format::write(data, chain, true)?;
        }
        Ok(Storage { store, guard, standing, held: held.unwrap_or_default() })
    }
}

/// Of so many reads of the state's pages one leaves its blocks in RocksDB's cache. The ledger has a cache of its
/// own for what is read again soon; what passes it comes from anywhere in a large state, and blocks that push
/// one another out cost as much as reading them. Indexes are read each time, so one in a few keeps them there.
const PAGE_READS: u64 = 16;

/// Longest encoding of a [`Guard`], in bytes.
const GUARD_BYTES: usize = 32;

/// The database. Clones are handles of the same one.
#[derive(Debug, Clone)]
pub struct RocksStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    data: PathBuf,
    config: config::Storage,
    /// `None` once closed. Readers hold the lock for one call, so closing waits for no one long.
    db: RwLock<Option<DB>>,
    /// Pages of the state that were read, for [`PAGE_READS`].
    pages_read: AtomicU64,
    cache: SystemCache,
}

impl RocksStore {
    /// Opens the database in `data`; `None` if there is none yet.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_existing(
        data: &Path,
        chain: &ChainId,
        config: &config::Storage,
    ) -> Result<Option<RocksStore>, OpenError> {
        match std::fs::metadata(data) {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(OpenError::NotADirectory { path: data.to_owned() });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(OpenError::io(data, error)),
        }
        if format::recognise(data, chain)? == format::Found::Nothing {
            return Ok(None);
        }
        let current = data.join("db").join("CURRENT");
        if !current.try_exists().map_err(|error| OpenError::io(&current, error))? {
            return Err(OpenError::Missing {
                path: data.to_owned(),
                what: "the file db/CURRENT is missing".into(),
            });
        }
        let db = open_db(data, config, false)?;
        Ok(Some(RocksStore::of(data, config, db)))
    }

    /// Creates an empty database, in a directory that is locked and not yet marked as complete.
    fn found(data: &Path, chain: &ChainId, config: &config::Storage) -> Result<RocksStore, OpenError> {
        format::write(data, chain, false)?;
        let db = data.join("db");
        // What a creation that was cut short left behind: marked as such, it holds nothing.
        match std::fs::remove_dir_all(&db) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(OpenError::io(&db, error)),
        }
        let opened = open_db(data, config, true)?;
        sync_parent(&db).map_err(|error| OpenError::io(&db, error))?;
        Ok(RocksStore::of(data, config, opened))
    }

    fn of(data: &Path, config: &config::Storage, db: DB) -> RocksStore {
        let inner = Inner {
            data: data.to_owned(),
            config: config.clone(),
            db: RwLock::new(Some(db)),
            pages_read: AtomicU64::new(0),
            cache: SystemCache::of(data.join("db")),
        };
        RocksStore { inner: Arc::new(inner) }
    }

    /// Writes a batch: all of it or, on error, none. With `sync` it survives power loss once this
    /// returns.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn apply<'a>(
        &self,
        writes: impl IntoIterator<Item = &'a Write, IntoIter: Clone>,
        sync: bool,
    ) -> Result<(), WriteError> {
        let guard = self.read();
        let db = guard.as_ref().ok_or_else(|| WriteError::Failed(CLOSED.into()))?;
        // Room for all is made at once: growing by doubling would copy megabytes of values again and again.
        let writes = writes.into_iter();
        let bytes = writes.clone().map(bytes_in_batch).sum();
        let mut batch = WriteBatch::with_capacity_bytes(bytes);
        // By name once, and not for each of thousands of writes. The discriminants are the places in `ALL`.
        let families = Column::ALL.into_iter().map(|column| family(db, column));
        let families: Vec<_> =
            families.collect::<Result<_, _>>().map_err(|error| WriteError::Failed(error.to_string()))?;
        for write in writes {
            let family = families[write.column as usize];
            match &write.value {
                Some(value) => batch.put_cf(family, &write.key, value),
                None => batch.delete_cf(family, &write.key),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        db.write_opt(batch, &options).map_err(|error| {
            let text = error.into_string();
            if is_no_space(&text) { WriteError::NoSpace(text) } else { WriteError::Failed(text) }
        })?;
        self.inner.cache.wrote(bytes, sync);
        if self.inner.cache.is_look_due() {
            self.look_at_tables(db);
        }
        Ok(())
    }

    /// Gives back what the system's cache has of new table files that nobody reads. Returns their names.
    fn look_at_tables(&self, db: &DB) -> Vec<String> {
        // If they cannot be listed now, they may be after the next write.
        tables(db).map_or_else(Vec::new, |tables| self.inner.cache.look(tables))
    }

    /// Has the newest pages of the state read into the system's cache, on a thread of its own: for whoever is about to
    /// execute blocks. Returns the names of the table files that are read.
    pub fn read_ahead(&self) -> Vec<String> {
        let guard = self.read();
        let tables = guard.as_ref().and_then(tables);
        tables.map_or_else(Vec::new, |tables| self.inner.cache.read_state(tables))
    }

    /// Closes the database and opens it again, for when RocksDB does not recover by itself from a
    /// full disk. Readers wait.
    ///
    /// # Errors
    /// See [`OpenError`]. The database is then closed.
    pub fn reopen(&self) -> Result<(), OpenError> {
        let mut db = self.inner.db.write().unwrap_or_else(PoisonError::into_inner);
        *db = None;
        *db = Some(open_db(&self.inner.data, &self.inner.config, false)?);
        Ok(())
    }

    /// Writes what is only in memory and log to table files, and closes. Reads of other handles fail
    /// from now on.
    ///
    /// # Errors
    /// [`WriteError`] if the flush failed, in which case the log still has everything.
    pub fn close(&self) -> Result<(), WriteError> {
        let mut db = self.inner.db.write().unwrap_or_else(PoisonError::into_inner);
        let Some(db) = db.take() else { return Ok(()) };
        let families: Vec<_> = Column::ALL.iter().filter_map(|column| db.cf_handle(column.name())).collect();
        let flushed = db.flush_cfs_opt(&families, &rocksdb::FlushOptions::default());
        drop(db);
        flushed.map_err(|error| WriteError::Failed(error.into_string()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.inner.data
    }

    /// Bytes of its table files.
    pub fn table_bytes(&self) -> u64 {
        let guard = self.read();
        let Some(db) = guard.as_ref() else { return 0 };
        let sizes = Column::ALL.iter().map(|column| {
            let family = db.cf_handle(column.name())?;
            db.property_int_value_cf(family, rocksdb::properties::TOTAL_SST_FILES_SIZE).ok().flatten()
        });
        sizes.flatten().sum()
    }

    /// Reads every entry of every column, so that every checksum is checked.
    ///
    /// # Errors
    /// The first damage found, with its column.
    pub fn check(&self, mut progress: impl FnMut(Column, u64)) -> Result<u64, StoreError> {
        let guard = self.read();
        let db = open(&guard)?;
        let mut entries = 0;
        for column in Column::ALL {
            let mut options = ReadOptions::default();
            options.fill_cache(false);
            options.set_readahead_size(2 << 20);
            for entry in db.iterator_cf_opt(family(db, column)?, options, IteratorMode::Start) {
                entry.map_err(|error| damaged(column, &error))?;
                entries += 1;
                if entries % 4096 == 0 {
                    progress(column, entries);
                }
            }
        }
        Ok(entries)
    }

    fn read(&self) -> RwLockReadGuard<'_, Option<DB>> {
        // A panic while the lock was held leaves a whole `Option` all the same.
        self.inner.db.read().unwrap_or_else(PoisonError::into_inner)
    }
}

const CLOSED: &str = "the database is closed: the node is shutting down";

fn open<'a>(guard: &'a RwLockReadGuard<'_, Option<DB>>) -> Result<&'a DB, StoreError> {
    guard.as_ref().ok_or_else(|| StoreError::Io(CLOSED.into()))
}

fn open_db(data: &Path, config: &config::Storage, create: bool) -> Result<DB, OpenError> {
    let options = options::database(config, create);
    let families = options::columns(config);
    DB::open_cf_descriptors(&options, data.join("db"), families)
        .map_err(|error| OpenError::rocks(data, &error))
}

/// All table files; `None` if they cannot be listed now.
fn tables(db: &DB) -> Option<Vec<Table>> {
    let table = |file: rocksdb::LiveFile| Table {
        column: file.column_family_name,
        name: file.name,
        bytes: file.size as u64,
    };
    Some(db.live_files().ok()?.into_iter().map(table).collect())
}

fn family(db: &DB, column: Column) -> Result<&rocksdb::ColumnFamily, StoreError> {
    let missing = || StoreError::Corrupt(format!("column family {} is missing", column.name()));
    db.cf_handle(column.name()).ok_or_else(missing)
}

fn damaged(column: Column, error: &rocksdb::Error) -> StoreError {
    let text = format!("column {}: {error}", column.name());
    match error.kind() {
        rocksdb::ErrorKind::Corruption => StoreError::Corrupt(text),
        _ => StoreError::Io(text),
    }
}

impl Store for RocksStore {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let guard = self.read();
        let db = open(&guard)?;
        let mut options = ReadOptions::default();
        if column == Column::Nodes {
            let read = self.inner.pages_read.fetch_add(1, Ordering::Relaxed);
            options.fill_cache(read.is_multiple_of(PAGE_READS));
        }
        let value =
            db.get_cf_opt(family(db, column)?, key, &options).map_err(|error| damaged(column, &error))?;
        self.inner.cache.read(column, value.as_ref().map_or(0, Vec::len));
        Ok(value.map(Bytes::from))
    }

    fn range(
        &self,
        column: Column,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, StoreError> {
        let guard = self.read();
        let db = open(&guard)?;
        if from >= to {
            return Ok(Vec::new());
        }
        let mut options = ReadOptions::default();
        options.set_iterate_range(from..to);
        let entries = db.iterator_cf_opt(family(db, column)?, options, IteratorMode::Start).take(limit);
        entries
            .map(|entry| match entry {
                Ok((key, value)) => {
                    self.inner.cache.read(column, value.len());
                    Ok((key.into_vec(), Bytes::from(value.into_vec())))
                }
                Err(error) => Err(damaged(column, &error)),
            })
            .collect()
    }
}

/// Makes the directory, and keeps others from founding it at the same time: each would take what the other
/// makes for the rest of a creation that was cut short, and remove it. Given back when dropped; from then on
/// the database has its own lock.
fn lock(data: &Path) -> Result<File, OpenError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data);
    made.map_err(|error| OpenError::io(data, error))?;
    let path = data.join(format::LOCK);
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(|error| OpenError::io(&path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: data.to_owned() }),
        Err(TryLockError::Error(error)) => Err(OpenError::io(&path, error)),
    }
}

/// Makes the name of a new file as durable as its content.
fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}
