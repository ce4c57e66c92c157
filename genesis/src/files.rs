//! Bounded reads, and files that are written whole or not at all.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// The longest card, parameter file or genesis document that is read, in bytes. A document of 1024
/// members is below 2 MiB.
pub const MAX_TEXT_BYTES: u64 = 8 << 20;

/// Why a file could not be read or written. The message is complete: it has no further source.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refused to read it.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// Longer than [`MAX_TEXT_BYTES`], or not UTF-8.
    #[error("{} is no text file of at most {MAX_TEXT_BYTES} bytes; give the TOML file itself", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// A file of this name is there already; it was left alone.
    #[error("{} exists already and is left as it is; give another name, or move it away first", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused to write it. No partial file remains.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
}

/// The text of a file.
///
/// # Errors
/// [`FileError::Read`], or [`FileError::NotText`] before more than [`MAX_TEXT_BYTES`] are in memory.
pub fn read_text(path: &Path) -> Result<String, FileError> {
    let failed = |error| FileError::Read { path: path.to_owned(), error };
    let not_text = || FileError::NotText { path: path.to_owned() };
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        return Err(not_text());
    }
    String::from_utf8(bytes).map_err(|_| not_text())
}

/// Who may read a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Its owner only (0600).
    Private,
    /// Everybody (0644).
    Public,
}

/// Makes a new file with this content, synced to disk.
///
/// # Errors
/// [`FileError::Exists`] if there is one of that name, or [`FileError::Write`].
pub fn write_new(path: &Path, text: &str, access: Access) -> Result<(), FileError> {
    let staged = stage(path, text, access)?;
    staged.persist_noclobber(path).map_err(|refused| match refused.error.kind() {
        io::ErrorKind::AlreadyExists => FileError::Exists { path: path.to_owned() },
        _ => FileError::Write { path: path.to_owned(), error: refused.error },
    })?;
    sync_directory(path)
}

/// Puts this content in the place of a file's, synced to disk. After a crash the file holds either
/// the old or the new content.
///
/// # Errors
/// [`FileError::Write`].
pub fn replace(path: &Path, text: &str) -> Result<(), FileError> {
    let staged = stage(path, text, Access::Public)?;
    staged
        .persist(path)
        .map_err(|refused| FileError::Write { path: path.to_owned(), error: refused.error })?;
    sync_directory(path)
}

/// The directory that `path` lies in.
fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A synced temporary file beside `path`: a rename within one directory is atomic.
fn stage(path: &Path, text: &str, access: Access) -> Result<NamedTempFile, FileError> {
    let write = || {
        let mut staged = NamedTempFile::new_in(directory(path))?;
        let mode = match access {
            Access::Private => 0o600,
            Access::Public => 0o644,
        };
        // Before the content is there: a secret is never readable by others, not even for an instant.
        staged.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
        staged.write_all(text.as_bytes())?;
        staged.as_file().sync_all()?;
        Ok(staged)
    };
    write().map_err(|error| FileError::Write { path: path.to_owned(), error })
}

/// Makes a rename durable.
fn sync_directory(path: &Path) -> Result<(), FileError> {
    File::open(directory(path))
        .and_then(|directory| directory.sync_all())
        .map_err(|error| FileError::Write { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_never_replaces_another() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.toml");
        write_new(&path, "one", Access::Public).unwrap();
        assert!(matches!(write_new(&path, "two", Access::Public), Err(FileError::Exists { .. })));
        assert_eq!(read_text(&path).unwrap(), "one");
        replace(&path, "three").unwrap();
        assert_eq!(read_text(&path).unwrap(), "three");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "no temporary file remains");
    }

    #[test]
    fn long_and_binary_files_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let long = home.path().join("long");
        File::create(&long).unwrap().set_len(MAX_TEXT_BYTES + 1).unwrap();
        assert!(matches!(read_text(&long), Err(FileError::NotText { .. })));
        let binary = home.path().join("binary");
        fs::write(&binary, [0xff, 0xfe]).unwrap();
        assert!(matches!(read_text(&binary), Err(FileError::NotText { .. })));
        assert!(matches!(read_text(&home.path().join("none")), Err(FileError::Read { .. })));
    }
}
