//! The guard file: the furthest promise a node has made, remembered outside the database.
//!
//! RocksDB may come back without its last writes: a lost tail of its log, an old backup put in its
//! place, a directory wiped by hand. Each looks like a healthy database, and a validator that trusted
//! it could contradict a vote it has sent. So the last [`Guard`] is also kept in this small file,
//! written and synced after the batch it belongs to and before any message that depends on it. At
//! start the two are compared; see [`Standing`].
//!
//! # Layout
//!
//! Two slots of 512 bytes, at offsets 0 and 4096, so that no write touches the sectors of both. Writes
//! alternate between them: a torn write spoils the older slot's place and never the newest whole one.
//! Within a slot, integers little endian:
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 8 | `QRTGUARD` |
//! | 8 | 8 | sequence number; the valid slot with the higher one counts |
//! | 16 | 8 | inode of the file when it was made: a copy, such as a restored backup, differs |
//! | 24 | 32 | chain id |
//! | 56 | 32 | view, height, committed, votes |
//! | 88 | 1 | standing: 0 settled, 1 fresh, 2 behind, 3 lost |
//! | 89 | 8 | when the file was made, in nanoseconds of its file system; 0 if that does not say |
//! | 97 | 32 | SHA-256 of the 97 bytes before |
//!
//! The inode alone would not tell a copy: file systems give a freed one out again at once, so a directory
//! restored in the place of a lost one may well get the same. When a file was made cannot be set. An
//! image of a whole disk has both; nothing in a directory can tell that it is one.
//!
//! A backup that is copied over the file leaves it both (`cp` empties the file that is there, and fills it).
//! So the file does not stay the same for long: each start makes it anew, and so does every
//! [`RENEW_AFTER`]th write. A backup names the file of its time, which is another by then. The times of the last
//! change would not do instead: a copy sets the one, and whoever changes owner or mode changes the other.

use crate::core::Memory;
use crate::core::api::Guard;
use quorate_types::hash::{ChainId, Hash};
use quorate_types::ids::{Height, View};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Writes after which the file is made anew. That takes two syncs more, and each of these writes could
/// otherwise be forgotten by a backup that was taken before it and is copied over the file.
const RENEW_AFTER: u64 = 1024;

const MAGIC: &[u8; 8] = b"QRTGUARD";
const SLOT_OFFSETS: [u64; 2] = [0, 4096];
const SLOT_BYTES: usize = 512;
const CHECKED_BYTES: usize = 97;
const FILE_BYTES: u64 = SLOT_OFFSETS[1] + SLOT_BYTES as u64;

/// Whether what a node finds at its start is all that it has ever promised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The database holds every vote that the guard file knows of.
    Settled,
    /// A new directory that has never voted. It may be a wiped one, so the node asks its peers before
    /// it votes.
    Fresh,
    /// The database has forgotten votes, but the file knows how far they went: the node may vote
    /// again beyond that.
    Behind {
        /// The furthest promise.
        guard: Guard,
        /// How it shows.
        why: String,
    },
    /// Votes may have been forgotten, and nothing here tells how far they went. The node must learn
    /// from the others before it votes.
    Lost {
        /// How it shows.
        why: String,
    },
}

impl Standing {
    /// What the core is told.
    pub fn memory(&self) -> Memory {
        match self {
            Standing::Settled => Memory::Whole,
            Standing::Behind { guard, .. } => Memory::Behind(*guard),
            Standing::Fresh => Memory::Fresh,
            Standing::Lost { .. } => Memory::Lost,
        }
    }

    fn mark(&self) -> u8 {
        match self {
            Standing::Settled => SETTLED,
            Standing::Fresh => FRESH,
            Standing::Behind { .. } => BEHIND,
            Standing::Lost { .. } => LOST,
        }
    }
}

/// What a file has that its copy has not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileIdentity {
    /// Its inode.
    pub inode: u64,
    /// When it was made, in nanoseconds since the Unix epoch; 0 where the file system does not tell.
    pub born: u64,
}

impl FileIdentity {
    fn of(file: &File) -> io::Result<FileIdentity> {
        let metadata = file.metadata()?;
        let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        let born = born.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0);
        Ok(FileIdentity { inode: metadata.ino(), born })
    }
}

/// What the guard file holds, apart from the file: one slot's content, and every decision made on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardSlot {
    sequence: u64,
    identity: FileIdentity,
    chain: ChainId,
    guard: Guard,
    standing: u8,
}

const SETTLED: u8 = 0;
const FRESH: u8 = 1;
const BEHIND: u8 = 2;
const LOST: u8 = 3;

impl GuardSlot {
    /// The first content of a new file.
    pub fn first(chain: ChainId, identity: FileIdentity, guard: Guard, standing: &Standing) -> GuardSlot {
        GuardSlot { sequence: 0, identity, chain, guard, standing: standing.mark() }
    }

    /// Whether a database that holds the guard `held` has every vote that the file, which is
    /// `identity` now, knows of. `found` is `None` where there is no file; `founded` says that the
    /// database was created by this very start.
    pub fn judge(found: Option<&GuardSlot>, identity: FileIdentity, held: &Guard, founded: bool) -> Standing {
        match found {
            Some(slot) => compare(slot, identity, held),
            None if founded => Standing::Fresh,
            None => Standing::Lost {
                why: "the guard file is missing, so nothing proves that the database is complete".into(),
            },
        }
    }

    /// The same content for a new file.
    fn renewed(&self, identity: FileIdentity) -> GuardSlot {
        GuardSlot { sequence: 0, identity, ..*self }
    }

    /// The content that writes a judgement down.
    pub fn judged(&self, standing: &Standing) -> GuardSlot {
        self.next(self.guard, standing.mark())
    }

    /// The content after the core's latest guard; see [`GuardFile::record`].
    pub fn recorded(&self, guard: Guard, voted: bool) -> GuardSlot {
        if self.standing == SETTLED || voted {
            return self.next(guard, SETTLED);
        }
        let last = self.guard;
        let highest = Guard {
            view: guard.view.max(last.view),
            height: guard.height.max(last.height),
            committed: guard.committed.max(last.committed),
            votes: guard.votes.max(last.votes),
        };
        self.next(highest, self.standing)
    }

    fn next(&self, guard: Guard, standing: u8) -> GuardSlot {
        GuardSlot { sequence: self.sequence + 1, guard, standing, ..*self }
    }

    fn encode(&self) -> [u8; SLOT_BYTES] {
        let mut bytes = [0u8; SLOT_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.identity.inode.to_le_bytes());
        bytes[24..56].copy_from_slice(&self.chain.0.0);
        let numbers = [self.guard.view.0, self.guard.height.0, self.guard.committed.0, self.guard.votes];
        for (place, number) in bytes[56..88].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes[88] = self.standing;
        bytes[89..97].copy_from_slice(&self.identity.born.to_le_bytes());
        let checksum = Hash::of(&[&bytes[..CHECKED_BYTES]]);
        bytes[CHECKED_BYTES..CHECKED_BYTES + 32].copy_from_slice(&checksum.0);
        bytes
    }

    /// `None` if the bytes are torn, foreign, or were never written.
    fn decode(bytes: &[u8; SLOT_BYTES]) -> Option<GuardSlot> {
        let checksum = Hash::of(&[&bytes[..CHECKED_BYTES]]);
        if bytes[..8] != *MAGIC || bytes[CHECKED_BYTES..CHECKED_BYTES + 32] != checksum.0 {
            return None;
        }
        let number =
            |at: usize| -> Option<u64> { Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?)) };
        Some(GuardSlot {
            // No file is written to this often, and there is no number to go on with after the last one.
            sequence: number(8).filter(|sequence| *sequence < u64::MAX)?,
            identity: FileIdentity { inode: number(16)?, born: number(89)? },
            chain: ChainId(Hash(bytes[24..56].try_into().ok()?)),
            guard: Guard {
                view: View(number(56)?),
                height: Height(number(64)?),
                committed: Height(number(72)?),
                votes: number(80)?,
            },
            standing: bytes[88],
        })
    }
}

/// The open guard file. One thread owns it: the one that writes the database.
#[derive(Debug)]
pub struct GuardFile {
    path: PathBuf,
    file: File,
    last: GuardSlot,
    /// The file has just got its name, which may not be on the disk yet.
    newly_named: bool,
}

impl GuardFile {
    /// Opens the guard file, or makes one, compares it with what the database holds, and makes it anew.
    ///
    /// `held` is the guard found in the database; `founded` says that the database was created by this
    /// very start. A doubt is written down before this returns, so that a crash does not hide it; it
    /// is lifted by [`GuardFile::record`] when the core votes again.
    ///
    /// # Errors
    /// If the file can be neither read nor written. A damaged one is not an error but a doubt.
    pub fn open(
        path: &Path,
        chain: ChainId,
        held: Option<Guard>,
        founded: bool,
    ) -> io::Result<(GuardFile, Standing)> {
        let found = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => Some(read_slots(&file)?.map(|slot| (file, slot))),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let held = held.unwrap_or_default();
        let lost = |why: &str| Standing::Lost { why: why.to_owned() };
        let standing = match &found {
            None => GuardSlot::judge(None, FileIdentity::default(), &held, founded),
            Some(None) => lost("the guard file is damaged, so nothing proves that the database is complete"),
            Some(Some((_, last))) if last.chain != chain => lost("the guard file belongs to another chain"),
            Some(Some((file, last))) => GuardSlot::judge(Some(last), FileIdentity::of(file)?, &held, founded),
        };
        let mut guard_file = match found.flatten() {
            Some((file, last)) if last.chain == chain => {
                GuardFile { path: path.to_owned(), file, last, newly_named: false }
            }
            _ => {
                let first = GuardSlot::first(chain, FileIdentity::default(), held, &standing);
                let mut guard_file = GuardFile::make(path, first)?;
                guard_file.take_the_name()?;
                guard_file.sync_name()?;
                return Ok((guard_file, standing));
            }
        };
        if guard_file.last.standing != standing.mark() {
            guard_file.write(guard_file.last.judged(&standing))?;
        }
        guard_file.renew(guard_file.last)?;
        Ok((guard_file, standing))
    }

    /// A new file beside the one that is to be replaced, written and synced.
    fn make(path: &Path, content: GuardSlot) -> io::Result<GuardFile> {
        let options =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).clone();
        let file = options.open(beside(path))?;
        file.set_len(FILE_BYTES)?;
        let content = content.renewed(FileIdentity::of(&file)?);
        let mut made = GuardFile { path: path.to_owned(), file, last: content, newly_named: false };
        made.write(content)?;
        Ok(made)
    }

    /// Puts a new file in the place of the one that is there: from now on it is the file, though its name may not be
    /// on the disk yet.
    fn take_the_name(&mut self) -> io::Result<()> {
        std::fs::rename(beside(&self.path), &self.path)?;
        self.newly_named = true;
        Ok(())
    }

    fn sync_name(&mut self) -> io::Result<()> {
        if self.newly_named {
            super::sync_parent(&self.path)?;
            self.newly_named = false;
        }
        Ok(())
    }

    /// Writes `next` to a new file in the place of this one; `false` if there is no space for another one, and
    /// this one is as it was.
    fn renew(&mut self, next: GuardSlot) -> io::Result<bool> {
        let mut made = match GuardFile::make(&self.path, next) {
            Ok(made) => made,
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        made.take_the_name()?;
        *self = made;
        self.sync_name()?;
        Ok(true)
    }

    /// Writes down the core's latest guard and syncs it. Call it after the batch that holds the same
    /// guard is synced, and before anything is sent that depends on it.
    ///
    /// While in doubt or fresh, a guard without a new vote (a block learned from others) only raises
    /// what is remembered. The first new vote means that the core has caught up and trusts itself
    /// again: from then on the core's word counts as it is.
    ///
    /// # Errors
    /// Of the file system. The older slot stays whole; the call may be repeated.
    pub fn record(&mut self, guard: Guard, voted: bool) -> io::Result<()> {
        let next = self.last.recorded(guard, voted);
        if next.sequence >= RENEW_AFTER && self.renew(next)? {
            return Ok(());
        }
        self.write(next)
    }

    /// What the file holds.
    pub fn last(&self) -> Guard {
        self.last.guard
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn write(&mut self, next: GuardSlot) -> io::Result<()> {
        let offset = SLOT_OFFSETS[usize::from(next.sequence % 2 == 1)];
        self.file.write_all_at(&next.encode(), offset)?;
        self.file.sync_data()?;
        self.sync_name()?;
        self.last = next;
        Ok(())
    }
}

/// Where a new file is made.
fn beside(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// The newest whole slot.
fn read_slots(file: &File) -> io::Result<Option<GuardSlot>> {
    let mut newest: Option<GuardSlot> = None;
    for offset in SLOT_OFFSETS {
        let mut bytes = [0u8; SLOT_BYTES];
        match file.read_exact_at(&mut bytes, offset) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => continue,
            Err(error) => return Err(error),
        }
        if let Some(slot) = GuardSlot::decode(&bytes)
            && newest.is_none_or(|newest| newest.sequence < slot.sequence)
        {
            newest = Some(slot);
        }
    }
    Ok(newest)
}

fn compare(file: &GuardSlot, identity: FileIdentity, held: &Guard) -> Standing {
    let known = &file.guard;
    let lost = |why: &str| Standing::Lost { why: why.to_owned() };
    let behind = |why: String| Standing::Behind { guard: *known, why };
    // A copy tells how far the votes went when it was made, and nothing of what came after.
    if file.identity != identity {
        return lost("the directory is a copy, perhaps an old backup put back in place");
    }
    let forgotten = known.view > held.view
        || known.height > held.height
        || known.committed > held.committed
        || known.votes > held.votes;
    match file.standing {
        LOST => {
            lost("votes had been forgotten, and the node was stopped before it had learned from the others")
        }
        FRESH if !forgotten => Standing::Fresh,
        SETTLED if !forgotten => Standing::Settled,
        BEHIND if !forgotten => {
            behind("votes had been forgotten, and the node was stopped before it voted again".into())
        }
        _ => behind(format!(
            "the database ends at view {}, height {}, {} committed, {} votes, but this validator has been at view {}, \
             height {}, {} committed, {} votes",
            held.view,
            held.height,
            held.committed,
            held.votes,
            known.view,
            known.height,
            known.committed,
            known.votes
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN: ChainId = ChainId(Hash([7; 32]));

    fn guard(n: u64) -> Guard {
        Guard { view: View(n), height: Height(n), committed: Height(n), votes: n }
    }

    /// A guard file that has recorded votes 1 to `n`.
    fn voted(path: &Path, n: u64) {
        let (mut file, standing) = GuardFile::open(path, CHAIN, None, true).unwrap();
        assert_eq!(standing, Standing::Fresh);
        for vote in 1..=n {
            file.record(guard(vote), true).unwrap();
        }
    }

    fn reopen(path: &Path, held: u64) -> Standing {
        GuardFile::open(path, CHAIN, Some(guard(held)), false).unwrap().1
    }

    #[test]
    fn remembers_and_compares() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guard");
        voted(&path, 5);
        assert_eq!(reopen(&path, 5), Standing::Settled);
        assert_eq!(reopen(&path, 6), Standing::Settled, "the file is synced after the batch");
        assert!(matches!(reopen(&path, 4), Standing::Behind { guard: known, .. } if known == guard(5)));
    }

    #[test]
    fn each_number_alone_raises_a_doubt() {
        for change in 0..4 {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("guard");
            voted(&path, 5);
            let mut held = guard(5);
            match change {
                0 => held.view = View(4),
                1 => held.height = Height(4),
                2 => held.committed = Height(4),
                _ => held.votes = 4,
            }
            let (_, standing) = GuardFile::open(&path, CHAIN, Some(held), false).unwrap();
            assert!(matches!(standing, Standing::Behind { .. }), "number {change}");
        }
    }

    #[test]
    fn a_doubt_outlives_restarts_until_the_first_new_vote() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guard");
        voted(&path, 5);
        let (mut file, standing) = GuardFile::open(&path, CHAIN, Some(guard(3)), false).unwrap();
        assert!(matches!(standing, Standing::Behind { .. }));
        // Catching up commits blocks without voting: what is remembered must not sink.
        file.record(Guard { committed: Height(9), ..guard(3) }, false).unwrap();
        assert_eq!(file.last(), Guard { committed: Height(9), ..guard(5) });
        drop(file);
        let caught_up = Guard { view: View(9), height: Height(9), committed: Height(9), votes: 9 };
        let (mut file, standing) = GuardFile::open(&path, CHAIN, Some(caught_up), false).unwrap();
        assert!(matches!(standing, Standing::Behind { .. }), "the doubt was written down");
        file.record(caught_up, true).unwrap();
        drop(file);
        let (_, standing) = GuardFile::open(&path, CHAIN, Some(caught_up), false).unwrap();
        assert_eq!(standing, Standing::Settled);
    }

    #[test]
    fn fresh_until_the_first_vote_and_missing_is_a_doubt() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guard");
        voted(&path, 0);
        let (_, standing) = GuardFile::open(&path, CHAIN, None, false).unwrap();
        assert_eq!(standing.memory(), Memory::Fresh);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(reopen(&path, 5).memory(), Memory::Lost);
        assert_eq!(reopen(&path, 5).memory(), Memory::Lost, "still, after the file was made anew");
    }

    #[test]
    fn a_guard_of_an_earlier_life_makes_a_wiped_database_doubtful() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guard");
        voted(&path, 5);
        let (_, standing) = GuardFile::open(&path, CHAIN, None, true).unwrap();
        assert_eq!(standing.memory(), Memory::Behind(guard(5)));
    }

    #[test]
    fn a_copy_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guard");
        voted(&path, 5);
        let copy = dir.path().join("copy");
        std::fs::copy(&path, &copy).unwrap();
        assert!(matches!(reopen(&copy, 5), Standing::Lost { .. }));
    }

    /// A restored file may well get the inode that the lost one had: file systems give freed ones out
    /// again at once.
    #[test]
    fn a_copy_is_noticed_even_with_the_inode_of_the_lost_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guard");
        voted(&path, 5);
        let born = std::fs::metadata(&path).unwrap().created().unwrap();
        let backup = dir.path().join("backup");
        std::fs::copy(&path, &backup).unwrap();
        // Time has passed since, as far as the file system can tell.
        while std::fs::metadata(tempfile::NamedTempFile::new_in(&dir).unwrap().path())
            .unwrap()
            .created()
            .unwrap()
            == born
        {}
        let mut same_inode = 0;
        for _ in 0..20 {
            let inode = std::fs::metadata(&path).unwrap().ino();
            std::fs::remove_file(&path).unwrap();
            std::fs::copy(&backup, &path).unwrap();
            same_inode += u32::from(std::fs::metadata(&path).unwrap().ino() == inode);
            assert!(matches!(reopen(&path, 5), Standing::Lost { .. }));
        }
        eprintln!("{same_inode} of 20 copies got the inode of the lost file");
    }

    /// A backup is copied over what is there: the same file, with what it held a while ago.
    #[test]
    fn a_backup_copied_over_the_file_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guard");
        let copy_over = |backup: &[u8]| {
            let inode = std::fs::metadata(&path).unwrap().ino();
            std::fs::write(&path, backup).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
        };
        voted(&path, 3);
        let backup = std::fs::read(&path).unwrap();
        // It started again since, and voted.
        let (mut file, standing) = GuardFile::open(&path, CHAIN, Some(guard(3)), false).unwrap();
        assert_eq!(standing, Standing::Settled);
        file.record(guard(4), true).unwrap();
        copy_over(&backup);
        assert!(matches!(reopen(&path, 3), Standing::Lost { .. }));

        // It ran all the time, and voted many times.
        let (mut file, _) = GuardFile::open(&path, CHAIN, Some(guard(4)), false).unwrap();
        file.record(guard(5), true).unwrap();
        file.last.sequence = RENEW_AFTER - 2;
        let backup = std::fs::read(&path).unwrap();
        for vote in 6..=8 {
            file.record(guard(vote), true).unwrap();
            assert_eq!(file.last(), guard(vote));
        }
        assert!(file.last.sequence < 3, "the file was made anew");
        let newest = std::fs::read(&path).unwrap();
        copy_over(&backup);
        assert!(matches!(reopen(&path, 5), Standing::Lost { .. }));
        // What it holds itself is no copy.
        let (mut file, _) = GuardFile::open(&path, CHAIN, Some(guard(8)), false).unwrap();
        file.record(guard(9), true).unwrap();
        assert_ne!(std::fs::read(&path).unwrap(), newest);
        assert_eq!(reopen(&path, 9), Standing::Settled);
        assert!(!beside(&path).exists());
    }

    /// Cuts the newest write short after every number of bytes: the one before it must survive.
    #[test]
    fn a_torn_write_never_loses_the_older_slot() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guard");
        voted(&path, 6);
        let (mut file, _) = GuardFile::open(&path, CHAIN, Some(guard(6)), false).unwrap();
        file.record(guard(6), true).unwrap();
        let before = std::fs::read(&path).unwrap();
        file.record(guard(7), true).unwrap();
        drop(file);
        let after = std::fs::read(&path).unwrap();
        let changed: Vec<usize> = (0..after.len()).filter(|i| before[*i] != after[*i]).collect();
        let (first, last) = (changed[0], changed[changed.len() - 1]);
        for cut in first..=last {
            let torn = [&after[..cut], &before[cut..]].concat();
            let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
            file.write_all_at(&torn, 0).unwrap();
            let whole = read_slots(&file).unwrap().unwrap();
            assert_eq!(whole.guard, guard(6), "cut at {cut}");
            let standing = GuardSlot::judge(Some(&whole), FileIdentity::of(&file).unwrap(), &guard(7), false);
            assert_eq!(standing, Standing::Settled, "cut at {cut}");
        }
        assert_eq!(reopen(&path, 7), Standing::Settled);
    }

    /// A checksum proves that a slot was written whole, not that this program wrote it.
    #[test]
    fn the_last_sequence_number_is_damage_and_no_overflow() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guard");
        let identity = FileIdentity::default();
        let last =
            GuardSlot { sequence: u64::MAX, identity, chain: CHAIN, guard: guard(6), standing: SETTLED };
        std::fs::write(&path, last.encode()).unwrap();
        assert!(matches!(reopen(&path, 6), Standing::Lost { .. }));
    }

    #[test]
    fn both_slots_damaged_is_a_doubt() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guard");
        voted(&path, 6);
        OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&[0xff; 4700], 0).unwrap();
        assert!(matches!(reopen(&path, 6), Standing::Lost { .. }));
    }
}
