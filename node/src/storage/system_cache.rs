//! What the operating system's cache keeps of the database's files.
//!
//! Left to itself the system keeps every page that is written, and finds new memory for each: dear where a machine
//! gets its memory page by page, as virtual ones do. So pages that nobody will read are given back once they are
//! on the disk, and the next ones take their place:
//!
//! - those of the log, which is read at the next start if ever;
//! - those of new table files, while their column is read less than it grows. What is read now and then comes from
//!   the disk, and stays once it was read. Where much is read back, as from the state once it outgrows the
//!   ledger's cache, all stays.
//!
//! A node that starts has none of the state's pages in its own cache, and the system may have dropped them. Executing
//! then waits for the disk at each key, one after the other. So the newest of them are read through at once, in the
//! order in which they lie on the disk.
//!
//! None of this is needed: if advice cannot be given, the pages stay, and what cannot be read ahead is read later.

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use quorate_ledger::Column;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of the log that may stay: pages are given back with the first sync after as many were written.
const KEPT_OF_LOG: u64 = 1 << 20;

/// Bytes that are written from one look at the table files to the next. All that there are are listed for it.
const BETWEEN_LOOKS: u64 = 16 << 20;

/// What reading an entry takes from a table file at least: a block of the columns that are read at random.
const LEAST_READ: u64 = 4 << 10;

/// Bytes of table files that are read through at a start, at most: a larger state is read as it is needed.
const READ_AT_START: u64 = 1 << 30;

/// Bytes that are read at once then.
const READ_AT_ONCE: usize = 256 << 10;

/// The files of a database in the system's cache.
#[derive(Debug)]
pub(super) struct SystemCache {
    directory: PathBuf,
    /// Bytes written to the log since its pages were last given back.
    log: AtomicU64,
    /// Bytes written since the table files were last looked at.
    looked: AtomicU64,
    /// The highest number of a table file at the last look; 0 before the first.
    newest: AtomicU64,
    /// Bytes read of each column since it last had new table files.
    read: [AtomicU64; Column::ALL.len()],
}

/// A table file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// The name of its column family.
    pub(super) column: String,
    /// Its path in the database's directory, with or without a slash before it.
    pub(super) name: String,
    pub(super) bytes: u64,
}

impl SystemCache {
    /// Of the database in a directory.
    pub(super) fn of(directory: PathBuf) -> SystemCache {
        let [log, looked, newest] = [const { AtomicU64::new(0) }; 3];
        SystemCache { directory, log, looked, newest, read: [const { AtomicU64::new(0) }; Column::ALL.len()] }
    }

    /// Reads the newest pages of the state through, on a thread of its own. Returns the names of their files.
    pub(super) fn read_state(&self, tables: Vec<Table>) -> Vec<String> {
        let names = newest_of_state(tables, READ_AT_START);
        let paths: Vec<PathBuf> = names.iter().map(|name| self.directory.join(name)).collect();
        let reader = std::thread::Builder::new().name("read-ahead".to_owned()).spawn(move || {
            for path in paths {
                if let Err(error) = read_through(&path) {
                    tracing::debug!(path = %path.display(), %error, "not read ahead; the database will say more of it");
                }
            }
        });
        // Without a thread they are read when they are needed.
        reader.map_or_else(|_| Vec::new(), |_| names)
    }

    /// An entry of so many bytes was read, in the column and perhaps from a table file.
    pub(super) fn read(&self, column: Column, bytes: usize) {
        // The discriminants are the places in `ALL`.
        self.read[column as usize].fetch_add(LEAST_READ.max(bytes as u64), Ordering::Relaxed);
    }

    /// A batch of so many bytes was written, and if `synced`, it and all before it are on the disk. Says whether
    /// pages of the log were given back now.
    pub(super) fn wrote(&self, bytes: usize, synced: bool) -> bool {
        self.looked.fetch_add(bytes as u64, Ordering::Relaxed);
        let written = self.log.fetch_add(bytes as u64, Ordering::Relaxed).saturating_add(bytes as u64);
        if !synced || written < KEPT_OF_LOG {
            return false;
        }
        self.log.store(0, Ordering::Relaxed);
        newest_log(&self.directory).is_some_and(|path| give_back(&path))
    }

    /// Whether so much was written that there may be new table files.
    pub(super) fn is_look_due(&self) -> bool {
        self.looked.load(Ordering::Relaxed) >= BETWEEN_LOOKS
    }

    /// Looks at the table files, all that there are, and gives back the pages of those that are new and of columns
    /// that are read less. Returns their names.
    pub(super) fn look(&self, tables: Vec<Table>) -> Vec<String> {
        self.looked.store(0, Ordering::Relaxed);
        let known = self.newest.load(Ordering::Relaxed);
        let mut new: BTreeMap<String, Vec<Table>> = BTreeMap::new();
        let mut newest = known;
        for table in tables {
            let Some(number) = number(Path::new(&table.name), ".sst") else { continue };
            newest = newest.max(number);
            // What was there before the first look may have left the cache long ago.
            if known > 0 && number > known {
                new.entry(table.column.clone()).or_default().push(table);
            }
        }
        self.newest.store(newest.max(1), Ordering::Relaxed);
        let mut given_back = Vec::new();
        for column in Column::ALL {
            let Some(tables) = new.remove(column.name()) else { continue };
            let read = self.read[column as usize].swap(0, Ordering::Relaxed);
            let grown = tables.iter().fold(0u64, |sum, table| sum.saturating_add(table.bytes));
            if read >= grown {
                continue;
            }
            let names = tables.into_iter().map(|table| table.name);
            given_back
                .extend(names.filter(|name| give_back(&self.directory.join(name.trim_start_matches('/')))));
        }
        given_back
    }
}

/// Of the table files with the state's pages the newest that are `most` bytes together, or one: paths in the
/// database's directory.
fn newest_of_state(tables: Vec<Table>, most: u64) -> Vec<String> {
    let of_state = tables.into_iter().filter(|table| table.column == Column::Nodes.name());
    let numbered = of_state.filter_map(|table| Some((number(Path::new(&table.name), ".sst")?, table)));
    let mut tables: Vec<(u64, Table)> = numbered.collect();
    tables.sort_unstable_by_key(|(number, _)| Reverse(*number));
    let mut bytes = 0u64;
    let newest = tables.into_iter().take_while(|(_, table)| {
        let fits = bytes == 0 || bytes.saturating_add(table.bytes) <= most;
        bytes = bytes.saturating_add(table.bytes);
        fits
    });
    newest.map(|(_, table)| table.name.trim_start_matches('/').to_owned()).collect()
}

/// Gives back the pages of a file that are on the disk; the system keeps what it has not written.
fn give_back(path: &Path) -> bool {
    // 0, 0: from the beginning to the end.
    let advise = |file| posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    File::open(path).is_ok_and(|file| advise(file).is_ok())
}

/// Reads a file, so that the system has its pages; how many bytes it has. Advised to read all of it, the system
/// would stop after some megabytes.
fn read_through(path: &Path) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; READ_AT_ONCE];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(bytes),
            more => bytes += more as u64,
        }
    }
}

/// The number in the name of a file: RocksDB counts its files upwards.
fn number(path: &Path, ending: &str) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(ending)?.parse().ok()
}

/// The log that is written to.
fn newest_log(directory: &Path) -> Option<PathBuf> {
    let paths = fs::read_dir(directory).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter_map(|path| Some((number(&path, ".log")?, path))).max().map(|(_, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_the_log_are_given_back_when_they_are_many_and_synced() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("000007.log"), [7; 5000]).unwrap();
        let cache = SystemCache::of(directory.path().to_owned());
        let half = usize::try_from(KEPT_OF_LOG / 2).unwrap();
        let given = [(half, true), (half, false), (1, true), (half, true), (half, true)]
            .map(|(bytes, synced)| cache.wrote(bytes, synced));
        assert_eq!(given, [false, false, true, false, true]);
        assert_eq!(
            fs::read(directory.path().join("000007.log")).unwrap(),
            [7; 5000],
            "all of it can still be read"
        );
    }

    #[test]
    fn the_log_is_the_one_with_the_highest_number() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(newest_log(directory.path()), None);
        let cache = SystemCache::of(directory.path().to_owned());
        assert!(!cache.wrote(usize::MAX, true), "there is none, and nothing is wrong with that");
        for name in ["000009.log", "000010.log", "000011.sst", "LOG", "x.log", "99.log.old"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        assert_eq!(newest_log(directory.path()), Some(directory.path().join("000010.log")));
    }

    #[test]
    fn new_tables_are_given_back_while_their_column_is_read_less_than_it_grows() {
        let directory = tempfile::tempdir().unwrap();
        let cache = SystemCache::of(directory.path().to_owned());
        let table = |column: Column, number: u64, bytes: u64| {
            fs::write(directory.path().join(format!("{number:06}.sst")), [7; 100]).unwrap();
            Table { column: column.name().to_owned(), name: format!("/{number:06}.sst"), bytes }
        };
        let given = |tables: &[Table]| cache.look(tables.to_vec());

        let mut tables = vec![table(Column::Nodes, 4, 1 << 20)];
        assert_eq!(given(&tables), [""; 0], "what was there before is not touched");
        tables.extend([table(Column::Nodes, 8, 5000), table(Column::Bodies, 9, 5000)]);
        cache.read(Column::Nodes, 100);
        cache.read(Column::Nodes, 100);
        cache.read(Column::Bodies, 100);
        assert_eq!(given(&tables), ["/000009.sst"], "two blocks of nodes were read, one of bodies");
        assert_eq!(given(&tables), [""; 0], "once");
        // What was read before is forgotten, and a long entry counts as what it is.
        tables.extend([table(Column::Nodes, 12, 5000), table(Column::Bodies, 11, 5000)]);
        cache.read(Column::Bodies, 5000);
        assert_eq!(given(&tables), ["/000012.sst"]);
        // One that is gone, and what is no table of ours.
        tables.push(Table { column: "nodes".into(), name: "/000099.sst".into(), bytes: 9 });
        tables.push(Table { column: "other".into(), name: "/000098.sst".into(), bytes: 9 });
        tables.push(Table { column: "nodes".into(), name: "/x.sst".into(), bytes: 9 });
        assert_eq!(given(&tables), [""; 0]);
    }

    #[test]
    fn the_newest_tables_of_the_state_are_read_at_a_start() {
        let table = |column: Column, number: u64, bytes: u64| Table {
            column: column.name().to_owned(),
            name: format!("/{number:06}.sst"),
            bytes,
        };
        let mut tables: Vec<Table> =
            [8, 12, 100_003, 9].map(|number| table(Column::Nodes, number, 40)).to_vec();
        tables.push(table(Column::Bodies, 200_000, 1));
        tables.push(Table { column: "nodes".into(), name: "/x.sst".into(), bytes: 1 });
        let newest = |most| newest_of_state(tables.clone(), most);
        assert_eq!(newest(1000), ["100003.sst", "000012.sst", "000009.sst", "000008.sst"]);
        assert_eq!(newest(100), ["100003.sst", "000012.sst"], "as many as fit");
        assert_eq!(newest(10), ["100003.sst"], "one, however large");
        assert_eq!(newest_of_state(Vec::new(), 1000), [""; 0]);

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("000007.sst");
        fs::write(&path, vec![7; READ_AT_ONCE + 1]).unwrap();
        assert_eq!(read_through(&path).unwrap(), READ_AT_ONCE as u64 + 1);
        assert!(read_through(&directory.path().join("000008.sst")).is_err());
    }

    #[test]
    fn tables_are_looked_at_after_so_many_bytes() {
        let cache = SystemCache::of(PathBuf::from("nowhere"));
        let half = usize::try_from(BETWEEN_LOOKS / 2).unwrap();
        cache.wrote(half, false);
        assert!(!cache.is_look_due());
        cache.wrote(half, false);
        assert!(cache.is_look_due());
        cache.look(Vec::new());
        assert!(!cache.is_look_due());
    }

    #[test]
    fn each_column_is_counted_at_its_own_place() {
        for (place, column) in Column::ALL.into_iter().enumerate() {
            assert_eq!(column as usize, place);
        }
    }
}
