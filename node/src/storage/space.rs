//! Room on the disk.

use std::io;
use std::path::Path;

/// Bytes that this user may still write to the file system of `path`.
///
/// # Errors
/// If the file system does not say.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let statistics = nix::sys::statvfs::statvfs(path)?;
    // The types differ between platforms.
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "not useless on every platform")]
    let (blocks, size) = (statistics.blocks_available() as u64, statistics.fragment_size() as u64);
    Ok(blocks.saturating_mul(size))
}
