//! Signatures that were found valid, remembered so that they are computed once.
//!
//! A vote comes by itself, again inside a certificate, and again inside the view changes and new views
//! that carry the certificate on. Its verdict never changes, for it depends on nothing but key, message
//! and signature. A thread that checks many such messages may therefore remember those it found valid;
//! one that does not ask for it remembers nothing. What the thread signed itself counts as found. What is
//! remembered is a SHA-256 over all three, so that no other signature passes for one of them.
//!
//! Bound: twice the number asked for, of 32 bytes and what the set needs around them. The older half
//! goes at once.
//!
//! Such a thread also remembers the points of up to 256 keys it checks with: votes come from
//! the same few validators, and to find the point of an encoded key is a fifth of a check.

use crate::keys::{PublicKey, Signature};
use ed25519_zebra::{VerificationKey, VerificationKeyBytes};
use sha2::{Digest as _, Sha256};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
struct Memory {
    most: usize,
    recent: BTreeSet<[u8; 32]>,
    older: BTreeSet<[u8; 32]>,
    points: BTreeMap<PublicKey, VerificationKey>,
}

/// Points that a thread remembers, of 200 bytes each: a chain has at most 128 validators.
const POINTS: usize = 256;

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::new(Memory::default());
}

/// From now on this thread remembers at least the last `signatures` that it found valid, and at most
/// twice as many; 0 forgets all and remembers no more.
pub fn remember_signatures(signatures: usize) {
    MEMORY.with(|memory| *memory.borrow_mut() = Memory { most: signatures, ..Memory::default() });
}

/// Stands for a key, a message and a signature.
pub(crate) type Digest = [u8; 32];

/// The digest of a check, if this thread remembers any.
pub(crate) fn digest_if_remembering(
    key: &PublicKey,
    message: &[u8],
    signature: &Signature,
) -> Option<Digest> {
    if MEMORY.with(|memory| memory.borrow().most == 0) {
        return None;
    }
    // Both come before the message and have fixed lengths: no two triples give the same bytes.
    Some(Sha256::new().chain_update(key.0).chain_update(signature.0).chain_update(message).finalize().into())
}

/// This thread has just made a signature: it counts as found valid.
pub(crate) fn made_here(key: impl FnOnce() -> PublicKey, message: &[u8], signature: &Signature) {
    if MEMORY.with(|memory| memory.borrow().most > 0)
        && let Some(digest) = digest_if_remembering(&key(), message, signature)
    {
        note(digest);
    }
}

/// Whether this thread found it valid before.
pub(crate) fn is_known(digest: &Digest) -> bool {
    MEMORY.with(|memory| {
        let memory = memory.borrow();
        memory.recent.contains(digest) || memory.older.contains(digest)
    })
}

/// This thread found it valid.
pub(crate) fn note(digest: Digest) {
    MEMORY.with(|memory| {
        let memory = &mut *memory.borrow_mut();
        memory.recent.insert(digest);
        if memory.recent.len() >= memory.most {
            memory.older = std::mem::take(&mut memory.recent);
        }
    });
}

/// The point that a key encodes; `None` if it encodes none.
pub(crate) fn point(key: &PublicKey) -> Option<VerificationKey> {
    let known = MEMORY.with(|memory| memory.borrow().points.get(key).copied());
    if known.is_some() {
        return known;
    }
    let point = VerificationKey::try_from(VerificationKeyBytes::from(key.0)).ok()?;
    MEMORY.with(|memory| {
        let memory = &mut *memory.borrow_mut();
        if memory.most > 0 {
            if memory.points.len() >= POINTS {
                memory.points.clear();
            }
            memory.points.insert(*key, point);
        }
    });
    Some(point)
}

/// Whether this thread found the signature valid, or otherwise what `check` says, to be remembered.
pub(crate) fn or_check<E>(
    key: &PublicKey,
    message: &[u8],
    signature: &Signature,
    check: impl FnOnce() -> Result<(), E>,
) -> Result<(), E> {
    let Some(digest) = digest_if_remembering(key, message, signature) else { return check() };
    if !is_known(&digest) {
        check()?;
        note(digest);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{BadSignature, Batch, SecretKey};
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;
    use std::cell::Cell;

    #[test]
    fn a_batch_remembers_what_held_and_still_names_the_culprits() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (one, other) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
        let made: Vec<(Vec<u8>, Signature)> = (0..8u8).map(|n| (vec![n], one.sign(&[n]))).collect();
        remember_signatures(64);
        let mut check = |bad: &[usize]| {
            let mut batch = Batch::new();
            for (position, (message, signature)) in made.iter().enumerate() {
                let key = if bad.contains(&position) { &other } else { &one };
                batch.push(&key.public(), message, signature);
            }
            assert_eq!(batch.len(), made.len());
            batch.verify(&mut rng)
        };
        assert_eq!(check(&[2, 5]), Err(vec![2, 5]));
        let known = |position: usize, key: &SecretKey| {
            let (message, signature) = &made[position];
            digest_if_remembering(&key.public(), message, signature).is_some_and(|digest| is_known(&digest))
        };
        assert!(known(0, &one) && known(7, &one), "what stood beside a culprit and held");
        assert!(!known(2, &one) && !known(2, &other));
        assert_eq!(check(&[]), Ok(()));
        assert!(known(2, &one));
        assert_eq!(check(&[2]), Err(vec![2]), "what is known is not computed, and keeps its position");
        remember_signatures(0);
    }

    #[test]
    fn a_valid_signature_is_computed_once_and_no_other_passes_for_it() {
        let (one, other) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
        let signature = one.sign(b"vote");
        let computed = Cell::new(0);
        let ask = |key: &PublicKey, message: &[u8], signature: &Signature, verdict| {
            or_check(key, message, signature, || {
                computed.set(computed.get() + 1);
                verdict
            })
        };
        let (valid, bad) = (Ok(()), Err(BadSignature));
        assert_eq!(ask(&one.public(), b"vote", &signature, valid), valid);
        assert_eq!(ask(&one.public(), b"vote", &signature, valid), valid);
        assert_eq!(computed.take(), 2, "nothing is remembered unless asked for");

        remember_signatures(4);
        assert_eq!(ask(&other.public(), b"own", &other.sign(b"own"), valid), valid);
        assert_eq!(computed.take(), 0, "made here");
        for _ in 0..3 {
            assert_eq!(ask(&one.public(), b"vote", &signature, valid), valid);
        }
        assert_eq!(computed.take(), 1);
        let mut changed = signature;
        changed.0[63] ^= 1;
        for _ in 0..2 {
            assert_eq!(ask(&other.public(), b"vote", &signature, bad), bad);
            assert_eq!(ask(&one.public(), b"votes", &signature, bad), bad);
            assert_eq!(ask(&one.public(), b"vote", &changed, bad), bad);
        }
        assert_eq!(computed.take(), 6, "what failed is not remembered");

        for n in 0..100u8 {
            let message = [n];
            assert_eq!(ask(&one.public(), &message, &one.sign(&message), valid), valid);
            let held = MEMORY.with(|memory| memory.borrow().recent.len() + memory.borrow().older.len());
            assert!(held <= 8, "{held}");
        }
        computed.set(0);
        assert_eq!(ask(&one.public(), &[99], &one.sign(&[99]), bad), valid);
        remember_signatures(0);
        assert_eq!(ask(&one.public(), &[99], &one.sign(&[99]), bad), bad);
    }

    #[test]
    fn each_key_has_its_own_point_and_there_are_never_more_than_the_bound() {
        let held = || MEMORY.with(|memory| memory.borrow().points.len());
        let signers: Vec<SecretKey> = (0..=u8::MAX).map(|n| SecretKey::from_seed(&[n; 32])).collect();
        let no_point = (0..=u8::MAX).map(|n| PublicKey([n; 32])).find(|key| point(key).is_none());
        assert_eq!(held(), 0, "nothing is remembered unless asked for");
        remember_signatures(1);
        for round in 0..2 {
            for (signer, other) in signers.iter().zip(signers.iter().skip(1)) {
                let signature = signer.sign(&[round]);
                other.sign(b"so that the one before is forgotten");
                assert_eq!(signer.public().verify(&[round], &signature), Ok(()));
                assert_eq!(other.public().verify(&[round], &signature), Err(BadSignature));
                assert!((1..=POINTS).contains(&held()));
            }
        }
        for n in 0..4 {
            point(&SecretKey::from_seed(&[7, n].repeat(16).try_into().expect("32 bytes")).public());
        }
        assert!(held() <= POINTS, "{}", held());
        assert!(point(&no_point.expect("half of all strings encode no point")).is_none());
        remember_signatures(0);
        assert_eq!(held(), 0);
    }
}
