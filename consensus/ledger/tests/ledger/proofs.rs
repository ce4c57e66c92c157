//! Proofs of what the state holds and of old blocks, and forgeries of both.

use crate::common::*;
use quorate_ledger::{
    Ledger, MemoryStore, ReadError, StateKey, StateProof, StateProofError, StateValue, history_proof, read,
    state_root,
};
use quorate_types::codec;
use quorate_types::hash::{BlockHash, Hash};
use quorate_types::ids::Height;
use quorate_types::merkle;

/// A chain of a few blocks, its state roots and its block hashes, from height 0 on.
fn chain(blocks: u64) -> (Ledger<MemoryStore>, Vec<Hash>, Vec<BlockHash>, Vec<Hash>) {
    let mut ledger = Ledger::in_memory(genesis());
    let mut roots = vec![ledger.result(ledger.tip().block).unwrap().state_root];
    let mut hashes = vec![ledger.tip().block];
    let mut histories = vec![merkle::empty_root()];
    for n in 1..=blocks {
        let operations = match n {
            1 => vec![create_namespace("docs"), create_asset("eur"), mint(BOB, 1000)],
            n => vec![put(&format!("k{n}"), &n.to_string()), put("changing", &n.to_string())],
        };
        let committed = commit(&mut ledger, vec![transaction(ALICE, n, operations)]);
        roots.push(committed.result.state_root);
        hashes.push(committed.header.hash());
        histories.push(committed.header.history_root);
    }
    (ledger, roots, hashes, histories)
}

fn value_of(value: Option<StateValue>) -> Option<(u64, Vec<u8>)> {
    match value? {
        StateValue::Entry(entry) => Some((entry.version.0.0, entry.value)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_height_stays_readable_with_proofs() {
    let (ledger, roots, _, _) = chain(30);
    let store = ledger.store();
    for (height, root) in roots.iter().enumerate() {
        let at = Height(height as u64);
        assert_eq!(state_root(store, at), Ok(Some(*root)));
        let proven = |key: &StateKey| {
            let (value, proof) = read(store, at, key).unwrap();
            assert_eq!(proof.verify(root, key), Ok(value.clone()));
            value
        };
        for n in 2..=31u64 {
            let expected = (n <= height as u64 && n >= 2).then(|| (n, n.to_string().into_bytes()));
            assert_eq!(value_of(proven(&entry_key(&format!("k{n}")))), expected);
        }
        let expected = (height >= 2).then(|| (height as u64, height.to_string().into_bytes()));
        assert_eq!(value_of(proven(&entry_key("changing"))), expected);
        assert!(proven(&StateKey::Member(key(CAROL))).is_some());
        assert_eq!(proven(&StateKey::Member(key(STRANGER))), None);
        assert_eq!(proven(&StateKey::Asset("eur".into())).is_some(), height >= 1);
        let balance = StateKey::Balance { asset: "eur".into(), member: key(BOB) };
        assert_eq!(proven(&balance), (height >= 1).then_some(StateValue::Balance(1000)));
    }
    let beyond = Height(31);
    assert_eq!(read(store, beyond, &entry_key("k2")).unwrap_err(), ReadError::UnknownHeight(beyond));
}

#[test]
fn a_proof_holds_for_one_key_one_root_and_one_value() {
    let (ledger, roots, _, _) = chain(30);
    let root = roots[30];
    let (_, present) = read(ledger.store(), Height(30), &entry_key("k9")).unwrap();
    assert_eq!(present.verify(&roots[29], &entry_key("k9")), Err(StateProofError::WrongRoot));
    assert_eq!(present.verify(&root, &entry_key("k10")), Err(StateProofError::WrongRoot));
    assert_eq!(present.verify(&root, &StateKey::Member(key(ALICE))), Err(StateProofError::WrongKind));
    // The absence of one key never proves the absence of one that is there.
    for n in 0..200 {
        let (value, absent) = read(ledger.store(), Height(30), &entry_key(&format!("absent-{n}"))).unwrap();
        assert_eq!(value, None);
        for m in 2..=30 {
            assert!(absent.verify(&root, &entry_key(&format!("k{m}"))).is_err());
        }
    }
}

/// Whatever byte of a proof is changed, it is refused, or does not decode; the value it was made for
/// never comes out different.
#[test]
fn tampered_proofs_do_not_verify() {
    let (ledger, roots, _, _) = chain(30);
    let root = roots[30];
    for key in [entry_key("k9"), entry_key("nothing"), entry_key("nil"), StateKey::Asset("usd".into())] {
        let (_, proof) = read(ledger.store(), Height(30), &key).unwrap();
        let bytes = codec::encode(&proof);
        assert_eq!(codec::decode::<StateProof>(&bytes, 1 << 20).unwrap(), proof);
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut tampered = bytes.clone();
                tampered[at] ^= flip;
                if let Ok(tampered) = codec::decode::<StateProof>(&tampered, 1 << 20) {
                    assert!(tampered.verify(&root, &key).is_err(), "byte {at} of {key:?}");
                }
            }
        }
    }
}

#[test]
fn a_proof_of_too_many_siblings_does_not_decode() {
    // Siblings, then `End::Empty`, variant 1.
    let encoded = |siblings: usize| {
        let mut bytes = codec::encode(&vec![Hash::ZERO; siblings]);
        bytes.extend_from_slice(&1u32.to_le_bytes());
        bytes
    };
    let longest: StateProof = codec::decode(&encoded(256), 1 << 20).unwrap();
    assert_eq!(longest.verify(&Hash([1; 32]), &entry_key("a")), Err(StateProofError::WrongRoot));
    assert!(codec::decode::<StateProof>(&encoded(257), 1 << 20).is_err());
    let empty: StateProof = codec::decode(&encoded(0), 1 << 20).unwrap();
    assert_eq!(empty.verify(&Hash::ZERO, &entry_key("a")), Ok(None), "nothing is in the empty state");
}

#[test]
fn any_recent_header_proves_any_old_block() {
    let (ledger, _, hashes, histories) = chain(20);
    let store = ledger.store();
    for size in 1..=20u64 {
        // The header at height `size` names the root over the hashes before it.
        let root = histories[usize::try_from(size).unwrap()];
        for height in 0..size {
            let path = history_proof(store, Height(height), size).unwrap().expect("in the log");
            let hash = |height: u64| merkle::leaf_hash(&hashes[usize::try_from(height).unwrap()].0.0);
            assert_eq!(merkle::verify_inclusion(&root, &hash(height), height, size, &path), Ok(()));
            if height > 0 {
                assert!(merkle::verify_inclusion(&root, &hash(height - 1), height, size, &path).is_err());
            }
        }
        assert_eq!(history_proof(store, Height(size), size), Ok(None));
    }
    assert_eq!(history_proof(store, Height(0), 1000), Ok(None), "further than the store reaches");
}
