//! Small disks: a tmpfs for each validator that is to run out of space.
//!
//! They are mounted in a mount namespace of the test's own thread, which the threads and processes that
//! it starts inherit. The kernel unmounts them with the last of these, whatever ends the test.

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use quorate_node::storage::free_bytes;
use quorate_tests::Consortium;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// What to do where the kernel refuses.
const NEEDS: &str = "tests of full disks need root (CAP_SYS_ADMIN)";

/// The size of each disk, in bytes.
const SIZE: u64 = 160 << 20;

/// The mounts of a test, unmounted when dropped, so that its directory can be removed.
pub(crate) struct Disks {
    mounted: Vec<PathBuf>,
}

impl Disks {
    /// Moves the directories of these validators, none of which runs, each to a disk of its own.
    pub(crate) fn under(consortium: &Consortium, indices: &[usize]) -> Result<Disks> {
        unshare(CloneFlags::CLONE_NEWNS)
            .with_context(|| format!("cannot make a mount namespace: {NEEDS}"))?;
        let nothing = None::<&str>;
        mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)
            .context("cannot keep mounts to this test")?;
        let mut disks = Disks { mounted: Vec::new() };
        for index in indices {
            disks.mount(consortium.node_directory(*index))?;
            // Little enough that a log of RocksDB, which takes its space in advance, fits several times.
            consortium.set(*index, "write_buffer_bytes", "\"8 MiB\"")?;
            consortium.set(*index, "min_free_bytes", &format!("\"{} MiB\"", RESERVE >> 20))?;
        }
        Ok(disks)
    }

    fn mount(&mut self, directory: &Path) -> Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            let bytes = fs::read(&path).with_context(|| format!("{} is no file", path.display()))?;
            files.push((path, bytes));
        }
        let options = format!("size={SIZE}");
        mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
            .with_context(|| format!("cannot mount a tmpfs: {NEEDS}"))?;
        self.mounted.push(directory.to_owned());
        for (path, bytes) in files {
            fs::write(path, bytes)?;
        }
        Ok(())
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for directory in &self.mounted {
            // Whoever still has files open there keeps only those.
            let _ = umount2(directory, MntFlags::MNT_DETACH);
        }
    }
}

/// What the validators keep free, in bytes.
pub(crate) const RESERVE: u64 = 24 << 20;

fn filler(consortium: &Consortium, index: usize) -> PathBuf {
    consortium.node_directory(index).join("filler")
}

/// Something else on the same disk takes all its space but `leave` bytes.
pub(crate) fn fill(consortium: &Consortium, index: usize, leave: u64) -> Result<()> {
    let mut file = File::options().create(true).append(true).open(filler(consortium, index))?;
    let piece = vec![0; 64 << 10];
    loop {
        let free = free_bytes(consortium.node_directory(index))?;
        let wanted = usize::try_from(free.saturating_sub(leave))?.min(piece.len());
        if wanted == 0 {
            return Ok(());
        }
        match file.write_all(&piece[..wanted]) {
            Ok(()) => {}
            // The validator took the rest meanwhile.
            Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
            Err(error) => bail!("cannot fill the disk: {error}"),
        }
    }
}

/// And gives it back.
pub(crate) fn give_back(consortium: &Consortium, index: usize) -> Result<()> {
    fs::remove_file(filler(consortium, index)).context("cannot remove what fills the disk")
}
