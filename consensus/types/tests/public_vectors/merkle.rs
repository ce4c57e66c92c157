//! Merkle proofs: the probes of transparency-dev's `merkle` library, which hashes as RFC 6962 does.
//!
//! # Where this ledger differs on purpose
//!
//! - A hash is 32 bytes by its type; a root, leaf or node of another length cannot be stated, and
//!   does not decode. So are 26 probes of inclusion and some of consistency, whose roots are words
//!   such as "don't care 2". They run all the same, with a hash made out of such a word in its place,
//!   which keeps equal words equal and others different. One then asks something else:
//!   `inclusion/single-entry/empty-root-and-leaf` is a sound tree of one leaf.
//! - `consistency/additional/size1-is-zero-and-size2-is-not-zero`: the probe wants an error, since a
//!   proof from the empty tree says nothing about the other root. Here the empty tree is a prefix of
//!   every tree, with an empty proof: the statement is true, however little it says, and a caller
//!   that starts from nothing needs no case of its own. An empty tree with another root than
//!   SHA-256("") and a proof that is not empty are refused, as the other probes of size 0 want.

use crate::vectors;
use quorate_types::codec;
use quorate_types::hash::Hash;
use quorate_types::merkle::{ProofError, empty_root, verify_consistency, verify_inclusion};
use serde_json::Value;
use std::path::Path;

/// RFC 4648 base64, as the vectors write bytes.
fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut held, mut bytes) = (0u32, 0, Vec::new());
    for digit in text.bytes().filter(|byte| *byte != b'=') {
        let value = DIGITS.iter().position(|known| *known == digit).expect("a digit of base64");
        bits = bits << 6 | u32::try_from(value).unwrap();
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).unwrap());
        }
    }
    bytes
}

/// A hash of the vector; of something of another length, its stand-in.
struct Read {
    hash: Hash,
    is_hash: bool,
}

fn read(value: &Value) -> Read {
    let bytes = base64(value.as_str().unwrap());
    match <[u8; 32]>::try_from(&bytes[..]) {
        Ok(hash) => Read { hash: Hash(hash), is_hash: true },
        Err(_) => {
            assert!(codec::decode::<Hash>(&bytes, 1024).is_err(), "only 32 bytes decode to a hash");
            Read { hash: Hash::of(&[b"stands in for ", &bytes]), is_hash: false }
        }
    }
}

fn proof(vector: &Value) -> (Vec<Hash>, bool) {
    let nodes: Vec<Read> =
        vector["proof"].as_array().map_or(Vec::new(), |nodes| nodes.iter().map(read).collect());
    (nodes.iter().map(|node| node.hash).collect(), nodes.iter().all(|node| node.is_hash))
}

/// Every vector below this directory, with its name.
fn each(directory: &str, mut check: impl FnMut(&str, &Value)) -> usize {
    fn walk(directory: &Path, files: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, files) } else { files.push(path) }
        }
    }
    let root = vectors("merkle");
    let mut files = Vec::new();
    walk(&root.join(directory), &mut files);
    files.sort();
    for file in &files {
        let vector = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let name = file.strip_prefix(&root).unwrap().with_extension("");
        check(name.to_str().unwrap(), &vector);
    }
    files.len()
}

#[test]
fn inclusion() {
    let (mut accepted, mut unstatable) = (0, 0);
    let found = each("inclusion", |name, vector| {
        let (root, leaf) = (read(&vector["root"]), read(&vector["leafHash"]));
        let (path, path_is_hashes) = proof(vector);
        let (index, size) = (vector["leafIdx"].as_u64().unwrap(), vector["treeSize"].as_u64().unwrap());
        let wanted = !vector["wantErr"].as_bool().unwrap();
        let verdict = verify_inclusion(&root.hash, &leaf.hash, index, size, &path);
        if !(root.is_hash && leaf.is_hash && path_is_hashes) {
            assert!(!wanted, "{name}: a probe with something other than hashes wants success");
            unstatable += 1;
            // Root and leaf of no bytes: their stand-ins are one and the same hash.
            let equal = name == "inclusion/single-entry/empty-root-and-leaf";
            assert_eq!(verdict.is_ok(), equal, "{name} with stand-ins: {verdict:?}");
            return;
        }
        assert_eq!(verdict.is_ok(), wanted, "{name}: {verdict:?}");
        accepted += usize::from(verdict.is_ok());
    });
    assert_eq!((found, unstatable), (98, 26));
    assert_eq!(accepted, 5 + 1, "the happy paths, and the tree of one leaf");
}

const DIFFERS: &str = "consistency/additional/size1-is-zero-and-size2-is-not-zero";

#[test]
fn consistency() {
    let (mut accepted, mut differ) = (0, Vec::new());
    let found = each("consistency", |name, vector| {
        let (old, new) = (read(&vector["root1"]), read(&vector["root2"]));
        let (path, _) = proof(vector);
        let (old_size, new_size) = (vector["size1"].as_u64().unwrap(), vector["size2"].as_u64().unwrap());
        let wanted = !vector["wantErr"].as_bool().unwrap();
        let verdict = verify_consistency(&old.hash, old_size, &new.hash, new_size, &path);
        if verdict.is_ok() != wanted {
            differ.push((name.to_owned(), verdict));
        }
        accepted += usize::from(verdict.is_ok());
    });
    assert_eq!(found, 98);
    assert_eq!(differ, [(DIFFERS.to_owned(), Ok(()))]);
    assert_eq!(accepted, 5 + 1 + 1, "the happy paths, equal roots of size one, and the one that differs");
}

/// What the difference comes down to.
#[test]
fn the_empty_tree_is_a_prefix_of_every_tree_and_of_nothing_is_more_claimed() {
    let any = Hash::of(&[b"any"]);
    assert_eq!(verify_consistency(&empty_root(), 0, &any, 1, &[]), Ok(()));
    assert_eq!(verify_consistency(&any, 0, &any, 1, &[]), Err(ProofError::WrongRoot));
    assert!(verify_consistency(&empty_root(), 0, &any, 1, &[any]).is_err());
    assert_eq!(verify_consistency(&empty_root(), 0, &any, 0, &[]), Err(ProofError::WrongRoot));
    assert_eq!(verify_consistency(&empty_root(), 0, &empty_root(), 0, &[]), Ok(()));
}
