//! A directory that one program at a time uses, and that it may empty.

use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

/// The file that marks a directory as made by these programs, so that nothing else is ever deleted.
const MARK: &str = "made-by-quorate";

/// A directory in use by this process, until dropped.
#[derive(Debug)]
pub struct Claim {
    directory: PathBuf,
    _lock: File,
}

impl Claim {
    /// Takes a directory, which is made if need be.
    ///
    /// # Errors
    /// If it holds files of other programs, or another process uses it.
    pub fn take(directory: &Path) -> Result<Claim> {
        let mark = directory.join(MARK);
        let empty = fs::read_dir(directory).map_or(true, |mut entries| entries.next().is_none());
        ensure!(
            empty || mark.is_file(),
            "{} holds files that this program did not make; give another --dir",
            directory.display()
        );
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let open = File::options().create(true).truncate(false).write(true).open(&mark);
        let lock = open.with_context(|| format!("cannot write {}", mark.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Claim { directory: directory.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                bail!("another process runs in {}; stop that, or give another --dir", directory.display())
            }
            Err(TryLockError::Error(error)) => Err(error).context("cannot lock the directory"),
        }
    }

    /// Removes everything in it.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub fn clear(&self) -> Result<()> {
        let clear = || {
            for entry in fs::read_dir(&self.directory)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    fs::remove_dir_all(entry.path())?;
                } else if entry.file_name() != MARK {
                    fs::remove_file(entry.path())?;
                }
            }
            Ok::<_, std::io::Error>(())
        };
        clear().with_context(|| format!("cannot empty {}", self.directory.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time_and_no_foreign_files() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("a/b");
        let claim = Claim::take(&directory).unwrap();
        assert!(Claim::take(&directory).unwrap_err().to_string().contains("another process"));
        fs::create_dir(directory.join("c")).unwrap();
        fs::write(directory.join("c/d"), "e").unwrap();
        claim.clear().unwrap();
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        drop(claim);
        Claim::take(&directory).unwrap();

        let foreign = home.path().join("foreign");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("thesis"), "").unwrap();
        assert!(Claim::take(&foreign).unwrap_err().to_string().contains("did not make"));
    }
}
