//! Whether table files can be written past the system's cache.
//!
//! What a node stores is rarely read back soon, and then mostly from RocksDB's own cache: copying each table
//! through the pages of the system cost a tenth of all CPU time at saturation. Not every file system can do
//! without, and which one it is shows when it is tried.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// A multiple of every block size in use.
const ALIGNMENT: usize = 4096;

/// Whether a file in this directory takes a direct write. If that cannot be told, for want of space or of
/// anything else, the answer is no: the system's cache always works.
pub(super) fn works_in(directory: &Path) -> bool {
    match try_in(directory) {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(%error, "table files are written through the system's cache");
            false
        }
    }
}

fn try_in(directory: &Path) -> io::Result<()> {
    let mut file = tempfile::Builder::new().prefix("direct-").make_in(directory, open)?;
    let room = vec![0; 2 * ALIGNMENT];
    let start = room.as_ptr().align_offset(ALIGNMENT);
    let block = room.get(start..start.saturating_add(ALIGNMENT)).ok_or(io::ErrorKind::Unsupported)?;
    file.write_all(block)
}

#[cfg(target_os = "linux")]
fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let direct = nix::fcntl::OFlag::O_DIRECT.bits();
    File::options().write(true).create_new(true).custom_flags(direct).open(path)
}

#[cfg(not(target_os = "linux"))]
fn open(_: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_behind_and_what_cannot_be_told_is_no() {
        let directory = tempfile::tempdir().unwrap();
        works_in(directory.path());
        assert_eq!(directory.path().read_dir().unwrap().count(), 0);
        assert!(!works_in(&directory.path().join("missing")));
        assert!(!works_in(Path::new("/proc/self")), "procfs takes no files at all");
    }
}
