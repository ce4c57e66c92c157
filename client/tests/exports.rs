//! Exports: what was written is read; what was cut or altered is named.

#![allow(clippy::unwrap_used, reason = "a failed step is the test's finding")]

mod common;

use common::{Chain, eight_blocks};
use proptest::prelude::*;
use quorate_client::audit::{Verdict, audit};
use quorate_client::export::{ExportError, Reader, Summary, Writer};
use quorate_types::block::Block;
use quorate_types::hash::{ChainId, Hash};
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use tempfile::tempdir;

fn write(chain: &Chain, path: &Path) -> Summary {
    let mut writer = Writer::create(path, &chain.consortium.founding.chain()).unwrap();
    for block in chain.blocks() {
        writer.write(&block).unwrap();
    }
    assert!(!path.exists(), "nothing of that name before it is whole");
    writer.finish().unwrap()
}

fn read(path: &Path, chain: &ChainId) -> Result<Vec<Block>, ExportError> {
    Reader::open(path, chain)?.collect()
}

/// The bytes of an export of eight blocks.
fn export() -> &'static (ChainId, Vec<u8>) {
    static EXPORT: OnceLock<(ChainId, Vec<u8>)> = OnceLock::new();
    EXPORT.get_or_init(|| {
        let home = tempdir().unwrap();
        let chain = eight_blocks();
        let path = home.path().join("chain.quorate");
        write(&chain, &path);
        (chain.consortium.founding.chain(), fs::read(&path).unwrap())
    })
}

fn read_bytes(bytes: &[u8]) -> Result<Vec<Block>, ExportError> {
    let home = tempdir().unwrap();
    let path = home.path().join("chain.quorate");
    fs::write(&path, bytes).unwrap();
    read(&path, &export().0)
}

#[test]
fn what_was_written_is_read_and_audited() {
    let home = tempdir().unwrap();
    let path = home.path().join("chain.quorate");
    let chain = eight_blocks();
    let summary = write(&chain, &path);
    assert_eq!((summary.blocks, summary.bytes), (8, fs::metadata(&path).unwrap().len()));
    let id = chain.consortium.founding.chain();
    assert_eq!(read(&path, &id).unwrap(), chain.blocks());
    let reader = Reader::open(&path, &id).unwrap();
    let verdict = audit(&chain.consortium.founding.ledger_genesis(), reader, |_| ()).unwrap();
    assert!(matches!(verdict, Verdict::Sound(totals) if totals.height.0 == 8));
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "no temporary file remains");
}

#[test]
fn an_unfinished_export_leaves_the_old_one() {
    let home = tempdir().unwrap();
    let path = home.path().join("chain.quorate");
    fs::write(&path, "old").unwrap();
    let mut writer = Writer::create(&path, &export().0).unwrap();
    writer.write(&eight_blocks().blocks()[0]).unwrap();
    drop(writer);
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    write_over(&path);
    assert_eq!(read(&path, &export().0).unwrap().len(), 8);
}

fn write_over(path: &Path) {
    let chain = eight_blocks();
    let mut writer = Writer::create(path, &chain.consortium.founding.chain()).unwrap();
    chain.blocks().iter().for_each(|block| writer.write(block).unwrap());
    writer.finish().unwrap();
}

#[test]
fn an_empty_chain_has_an_export() {
    let home = tempdir().unwrap();
    let path = home.path().join("chain.quorate");
    let chain = ChainId(Hash([1; 32]));
    Writer::create(&path, &chain).unwrap().finish().unwrap();
    assert_eq!(read(&path, &chain).unwrap(), []);
}

#[test]
fn other_files_are_told_apart() {
    let (chain, bytes) = export();
    assert!(matches!(read_bytes(b""), Err(ExportError::NotAnExport { .. })));
    assert!(matches!(read_bytes(&[7; 4096]), Err(ExportError::NotAnExport { .. })));
    let mut version = bytes.clone();
    version[16] = 2;
    assert!(matches!(read_bytes(&version), Err(ExportError::Version { found: 2, .. })));
    let mut other = bytes.clone();
    other[20] ^= 1;
    assert!(
        matches!(read_bytes(&other), Err(ExportError::WrongChain { expected, .. }) if expected == *chain)
    );
    let mut long = bytes.clone();
    long[52..56].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(read_bytes(&long), Err(ExportError::FrameLength { offset: 52, .. })));
    let mut more = bytes.clone();
    more.push(0);
    assert!(matches!(read_bytes(&more), Err(ExportError::TrailingBytes { .. })));
    let mut count = bytes.clone();
    let at = count.len() - 40;
    count[at] ^= 1;
    assert!(matches!(read_bytes(&count), Err(ExportError::Hash { .. })));
    assert!(matches!(Reader::open(Path::new("/nonexistent"), chain), Err(ExportError::Read { .. })));
}

#[test]
fn every_cut_is_noticed() {
    let (_, bytes) = export();
    for length in (0..bytes.len()).step_by(97).chain(bytes.len() - 50..bytes.len()) {
        match read_bytes(&bytes[..length]) {
            Err(ExportError::NotAnExport { .. }) => assert!(length < 52),
            Err(ExportError::Truncated { offset, .. }) => assert_eq!(offset, length as u64),
            other => panic!("{length}: {other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_flipped_bit_is_noticed(position: prop::sample::Index, bit in 0u8..8) {
        let (_, bytes) = export();
        let mut altered = bytes.clone();
        let position = position.index(altered.len());
        altered[position] ^= 1 << bit;
        prop_assert!(read_bytes(&altered).is_err(), "byte {}", position);
    }

    #[test]
    fn bytes_of_any_kind_never_panic(tail in prop::collection::vec(any::<u8>(), 0..300)) {
        let (_, bytes) = export();
        let spoiled = [&bytes[..52], &tail].concat();
        prop_assert!(read_bytes(&spoiled).is_err());
    }
}
