//! Bytes that a node or an auditor reads back from a disk.

use super::canonical;
use super::known::chain;
use super::memory::{BINARY, Cap, bounded};
use super::peer::is_damage;
use bytes::Bytes;
use quorate_client::export::{Reader, Writer};
use quorate_ledger::{Ledger, LedgerError, MemoryStore, ReadError, StoreError, Write, history_proof, read};
use quorate_node::config;
use quorate_node::core::api::Guard;
use quorate_node::core::mempool::Limits;
use quorate_node::core::records::{self, BlockRecord, CommitRecord, PrepareRecord, ProposalRecord};
use quorate_node::core::{Core, CoreConfig, Memory, Now, OpenError};
use quorate_node::storage::{self, GuardFile, RocksStore, Standing};
use quorate_types::block::Block;
use quorate_types::hash::{ChainId, Hash};
use quorate_types::ids::{Height, ValidatorIndex, View};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};
use tempfile::TempDir;

/// A directory of its own in memory, where there is such a file system.
pub(super) fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    made.expect("a temporary directory can be made")
}

/// A file of these bytes in it.
pub(super) fn file(directory: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.path().join(name);
    std::fs::write(&path, bytes).expect("a temporary file can be written");
    path
}

/// Records of the node, each in the canonical encoding. The first byte says which kind.
pub fn records(bytes: &[u8]) {
    const MAX_VALUE: usize = 64 << 20;
    let Some((kind, value)) = bytes.split_first() else { return };
    match kind % 6 {
        0 => drop(canonical::<BlockRecord>(value, MAX_VALUE)),
        1 => drop(canonical::<PrepareRecord>(value, MAX_VALUE)),
        2 => drop(canonical::<CommitRecord>(value, MAX_VALUE)),
        3 => drop(canonical::<ProposalRecord>(value, MAX_VALUE)),
        4 => drop(canonical::<Vec<Bytes>>(value, MAX_VALUE)),
        _ => drop(canonical::<Guard>(value, 32)),
    }
}

/// The store of a validator in which one entry holds something else: the first two bytes say which,
/// the rest is what.
pub fn store(bytes: &[u8]) {
    let Some((place, value)) = bytes.split_first_chunk::<2>() else { return };
    let chain = chain();
    let place = usize::from(u16::from_le_bytes(*place)) % chain.entries.len();
    let (column, key, sound) = &chain.entries[place];
    let mut store = chain.store.clone();
    store.apply(&[Write::put(*column, key.clone(), Bytes::copy_from_slice(value))]);
    let is_sound = value == &sound[..];
    // Every page, value and record is read once for each key and height.
    let cap = Cap { fixed: 16 << 20, each: 64 };
    bounded(cap, value.len(), || read_all(&store, is_sound));
    bounded(cap, value.len(), || open(&store, is_sound));
}

/// Reads everything there is to read, and believes only what is proven.
fn read_all(store: &MemoryStore, is_sound: bool) {
    let chain = chain();
    for height in (0..).map(Height).take(chain.blocks.len() + 2) {
        let root = quorate_ledger::state_root(&chain.store, height).expect("a sound store");
        for key in &chain.keys {
            match (read(store, height, key), root) {
                (Ok((value, proof)), Some(root)) => {
                    if let Ok(proven) = proof.verify(&root, key) {
                        assert_eq!(proven, value, "a proof of something else");
                        chain.assert_value(height, key, value.as_ref());
                    }
                    assert!(!is_sound || proof.verify(&root, key).is_ok());
                }
                (Err(ReadError::Store(error)), _) => assert!(!is_sound && is_damage(&error), "{error}"),
                (Err(ReadError::UnknownHeight(_)), root) => assert!(!is_sound || root.is_none()),
                (Ok(_), None) => panic!("a state that never was"),
            }
        }
        for size in [1, height.0, 4, 5, u64::MAX] {
            damage(history_proof(store, height, size), is_sound);
        }
        damage(records::read_block(store, height), is_sound);
        damage(records::full_block(store, height), is_sound);
        if let Some(finality) = damage(records::finality(store, height), is_sound).flatten()
            && finality.verify(&chain.genesis.chain, &chain.genesis.validators).is_ok()
        {
            assert_eq!(chain.block(finality.header.height), Some(finality.header.hash()));
        }
    }
    for (id, (height, outcome)) in &chain.outcomes {
        let receipt = damage(records::receipt(store, id), is_sound).flatten();
        let verified = receipt.map(|receipt| chain.anchor.receipt(receipt, Some(*id)));
        if let Some(Ok(verified)) = &verified {
            assert_eq!((verified.height(), verified.outcome()), (*height, outcome));
        }
        assert!(!is_sound || matches!(verified, Some(Ok(_))), "a sound store has the receipt of {id}");
    }
    damage(records::committed_height(store), is_sound);
}

/// What was read; damage is no answer, and the only error there may be.
fn damage<T>(read: Result<T, StoreError>, is_sound: bool) -> Option<T> {
    match read {
        Ok(found) => Some(found),
        Err(error) => {
            assert!(!is_sound && is_damage(&error), "{error}");
            None
        }
    }
}

/// Starts a ledger and a whole core on it.
fn open(store: &MemoryStore, is_sound: bool) {
    let chain = chain();
    match Ledger::open(store.clone(), chain.genesis.clone()) {
        Ok(_) => {}
        Err(LedgerError::Store(error)) => assert!(!is_sound && is_damage(&error), "{error}"),
        Err(LedgerError::OtherChain { .. } | LedgerError::NewerFormat { .. }) => assert!(!is_sound),
        Err(error) => panic!("{error}"),
    }
    let config = CoreConfig {
        me: ValidatorIndex(0),
        vote_key: super::known::vote_key(ValidatorIndex(0)),
        genesis: chain.genesis.clone(),
        mempool: Limits::default(),
        memory: Memory::Whole,
    };
    let now = Now { monotonic: Duration::from_secs(1), wall: chain.genesis.timestamp.plus_ms(10_000) };
    match Core::open(config, store.clone(), now, [1; 32]) {
        Ok(mut core) => drop(core.take_ready()),
        Err(OpenError::NotAValidator(index)) => panic!("validator {index} is one"),
        Err(error) => assert!(!is_sound, "{error}"),
    }
}

/// The guard file, judged apart from the code that reads it.
pub fn guard(bytes: &[u8]) {
    guard_standing(bytes);
}

/// The same, and what it was found to be. A slot that names inode 1 is meant to be no copy: it gets the
/// file's own inode and time of birth, and a checksum that is right if it was.
pub fn guard_standing(bytes: &[u8]) -> Standing {
    let (home, id) = (directory(), chain().genesis.chain);
    let path = file(&home, "guard", bytes);
    let metadata = std::fs::metadata(&path).expect("just made");
    let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
    let born = u64::try_from(born.unwrap_or_default().as_nanos()).expect("before the year 2554");
    let mut bytes = bytes.to_vec();
    SLOTS.iter().for_each(|offset| own(&mut bytes, *offset, metadata.ino(), born));
    std::fs::write(&path, &bytes).expect("a temporary file can be written");
    let bytes = &bytes[..];
    let held = Guard { view: View(2), height: Height(5), committed: Height(4), votes: 2 };
    let cap = Cap { fixed: 64 << 10, each: 0 };
    let opened = bounded(cap, 0, || GuardFile::open(&path, id, Some(held), false));
    let (guard, standing) = opened.expect("damage is a doubt, not an error");
    let whole = SLOTS.iter().any(|offset| is_whole_slot(bytes, *offset, &id));
    if !whole {
        assert!(matches!(standing, Standing::Lost { .. }), "{standing:?} by a damaged guard file");
    }
    // What is written down at once must be found again: a doubt outlives a restart.
    drop(guard);
    let (_, again) = GuardFile::open(&path, id, Some(held), false).expect("it was just written");
    match (&standing, &again) {
        (Standing::Lost { .. }, Standing::Lost { .. })
        | (Standing::Behind { .. }, Standing::Behind { .. }) => {}
        (before, after) => assert_eq!(before, after, "what was found is forgotten"),
    }
    standing
}

/// Where the slots of a guard file are.
const SLOTS: [usize; 2] = [0, 4096];

/// How much of a slot its checksum covers; the time of birth comes last.
const CHECKED: usize = 97;

fn own(bytes: &mut [u8], offset: usize, inode: u64, born: u64) {
    let Some(slot) = bytes.get_mut(offset..offset + 512) else { return };
    if !slot.starts_with(b"QRTGUARD") || slot[16..24] != 1u64.to_le_bytes() {
        return;
    }
    let was_right = Hash::of(&[&slot[..CHECKED]]).0 == slot[CHECKED..CHECKED + 32];
    slot[16..24].copy_from_slice(&inode.to_le_bytes());
    slot[CHECKED - 8..CHECKED].copy_from_slice(&born.to_le_bytes());
    if was_right {
        let checksum = Hash::of(&[&slot[..CHECKED]]);
        slot[CHECKED..CHECKED + 32].copy_from_slice(&checksum.0);
    }
}

/// Whether a slot is there, carries its checksum, and is of this chain.
fn is_whole_slot(bytes: &[u8], offset: usize, chain: &ChainId) -> bool {
    let slot = bytes.get(offset..offset + 512);
    slot.is_some_and(|slot| {
        slot.starts_with(b"QRTGUARD")
            && slot[24..56] == chain.0.0
            && Hash::of(&[&slot[..CHECKED]]).0 == slot[CHECKED..CHECKED + 32]
    })
}

/// The marker of a data directory that holds nothing else.
pub fn marker(bytes: &[u8]) {
    let (home, id) = (directory(), chain().genesis.chain);
    file(&home, "FORMAT", bytes);
    let cap = Cap { fixed: 64 << 10, each: 128 };
    let settings = config::Storage::default();
    match bounded(cap, bytes.len(), || RocksStore::open_existing(home.path(), &id, &settings)) {
        // As if nothing was ever stored: only a marker that says so.
        Ok(None) => assert!(contains(bytes, b"creating"), "a half-made directory, and none says so"),
        Ok(Some(_)) => panic!("opened a database that is not there"),
        Err(storage::OpenError::Missing { .. }) => {
            assert!(contains(bytes, id.to_string().as_bytes()), "taken for this chain's");
        }
        Err(error) => drop(error.to_string()),
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.to_ascii_lowercase().windows(part.len()).any(|window| window == part)
}

/// An export: what is read as whole is written as the same bytes.
pub fn export(bytes: &[u8]) {
    let (home, id) = (directory(), chain().genesis.chain);
    let path = file(&home, "chain.export", bytes);
    let read = bounded(BINARY, bytes.len(), || -> Result<Vec<Block>, String> {
        let reader = Reader::open(&path, &id).map_err(|error| error.to_string())?;
        reader.collect::<Result<_, _>>().map_err(|error| error.to_string())
    });
    let Ok(blocks) = read else { return };
    let copy = home.path().join("copy");
    let mut writer = Writer::create(&copy, &id).expect("a file can be made");
    blocks.iter().for_each(|block| writer.write(block).expect("it was short enough to be read"));
    writer.finish().expect("a file can be written");
    assert!(
        std::fs::read(&copy).expect("it was just written") == bytes,
        "read as whole, and written otherwise"
    );
}
