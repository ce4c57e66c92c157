//! RocksDB's log in the system's cache.
//!
//! The log is written and synced, and read by nobody before the next start. Left to itself the system keeps all
//! of it, in the place of table files, which are read all the time, and finds new memory for every page that is
//! written: dear where a machine gets its memory page by page, as virtual ones do. So pages that are synced are
//! given back, and the next ones take their place.

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of the log that may stay: pages are given back with the first sync after as many were written.
const KEPT: u64 = 1 << 20;

/// What was written to the log of a database.
#[derive(Debug)]
pub(super) struct Log {
    directory: PathBuf,
    /// Bytes written since pages were last given back.
    written: AtomicU64,
}

impl Log {
    /// Of the database in a directory.
    pub(super) fn of(directory: PathBuf) -> Log {
        Log { directory, written: AtomicU64::new(0) }
    }

    /// A batch of so many bytes was written, and if `synced`, it and all before it are on the disk. Says whether
    /// pages were given back now. That is advice to the system: if it cannot be given, they stay.
    pub(super) fn wrote(&self, bytes: usize, synced: bool) -> bool {
        let written = self.written.fetch_add(bytes as u64, Ordering::Relaxed).saturating_add(bytes as u64);
        if !synced || written < KEPT {
            return false;
        }
        self.written.store(0, Ordering::Relaxed);
        let Some(file) = newest(&self.directory).and_then(|path| File::open(path).ok()) else { return false };
        // 0, 0: from the beginning to the end. The system keeps what it has not written.
        posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).is_ok()
    }
}

/// The log that is written to: RocksDB counts its files upwards.
fn newest(directory: &Path) -> Option<PathBuf> {
    let number = |path: &Path| -> Option<u64> {
        let name = path.file_name()?.to_str()?.strip_suffix(".log")?;
        name.parse().ok()
    };
    let paths = fs::read_dir(directory).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter_map(|path| Some((number(&path)?, path))).max().map(|(_, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_given_back_when_they_are_many_and_synced() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("000007.log"), [7; 5000]).unwrap();
        let log = Log::of(directory.path().to_owned());
        let half = usize::try_from(KEPT / 2).unwrap();
        let given = [(half, true), (half, false), (1, true), (half, true), (half, true)]
            .map(|(bytes, synced)| log.wrote(bytes, synced));
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
        assert_eq!(newest(directory.path()), None);
        let log = Log::of(directory.path().to_owned());
        assert!(!log.wrote(usize::MAX, true), "there is none, and nothing is wrong with that");
        for name in ["000009.log", "000010.log", "000011.sst", "LOG", "x.log", "99.log.old"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        assert_eq!(newest(directory.path()), Some(directory.path().join("000010.log")));
    }
}
