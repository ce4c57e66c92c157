//! Keys, signatures, and the one predicate for the validity of a signature.
//!
//! The predicate is **ZIP-215**, everywhere: single checks, batches, votes, transactions, audits.
//! Other Ed25519 verifiers disagree with one another, and even with their own batch mode, on
//! signatures that only an attacker makes; two honest validators could then disagree on a block.
//! ZIP-215 gives one verdict by definition, so batching is only an accelerator.
//!
//! Keys that enter the ledger pass [`PublicKey::check`] first: canonical encoding, not of small
//! order, in the prime-order subgroup. No signature verifies under two such keys by accident of
//! cofactors.

use crate::hash::{ParseHexError, fixed_bytes_order, fixed_bytes_serde, parse_hex};
use crate::memory;
use curve25519_dalek::edwards::CompressedEdwardsY;
use ed25519_dalek::Signer;
use ed25519_zebra::{VerificationKeyBytes, batch};
use rand_core::CryptoRng;
use std::fmt;
use std::str::FromStr;

/// An Ed25519 public key as bytes. Any 32 bytes are representable; [`PublicKey::check`] tells
/// whether they may be registered.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(pub [u8; 32]);

fixed_bytes_order!(PublicKey);
fixed_bytes_serde!(PublicKey, 32);

/// An Ed25519 signature as bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature(pub [u8; 64]);

fixed_bytes_serde!(Signature, 64);

impl FromStr for PublicKey {
    type Err = ParseHexError;

    fn from_str(text: &str) -> Result<PublicKey, ParseHexError> {
        parse_hex(text).map(PublicKey)
    }
}

/// Why a public key may not be registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The bytes encode no point of the curve.
    #[error("not a point of the curve")]
    NotAPoint,
    /// A second spelling of a point that has a canonical one.
    #[error("not the canonical encoding of its point")]
    NotCanonical,
    /// One of the eight points under which anyone can sign.
    #[error("a weak key: its point has small order")]
    SmallOrder,
    /// Outside the prime-order subgroup.
    #[error("a malformed key: its point has a torsion component")]
    Torsion,
}

/// The signature does not verify under ZIP-215.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("signature does not verify")]
pub struct BadSignature;

impl PublicKey {
    /// Whether this key may be registered: in a member card, a genesis document, a validator set.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn check(&self) -> Result<(), KeyError> {
        let compressed = CompressedEdwardsY(self.0);
        let point = compressed.decompress().ok_or(KeyError::NotAPoint)?;
        if point.compress() != compressed {
            Err(KeyError::NotCanonical)
        } else if point.is_small_order() {
            Err(KeyError::SmallOrder)
        } else if !point.is_torsion_free() {
            Err(KeyError::Torsion)
        } else {
            Ok(())
        }
    }

    /// Whether `signature` is this key's over `message`, by ZIP-215.
    ///
    /// # Errors
    /// [`BadSignature`], whatever is wrong with key or signature.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        memory::or_check(self, message, signature, || {
            let key = memory::point(self).ok_or(BadSignature)?;
            key.verify(&ed25519_zebra::Signature::from(signature.0), message).map_err(|_| BadSignature)
        })
    }
}

/// An Ed25519 secret key. Zeroed when dropped, and never printed.
#[derive(Clone)]
pub struct SecretKey(ed25519_dalek::SigningKey);

impl SecretKey {
    /// The key of a 32-byte seed, as in RFC 8032.
    pub fn from_seed(seed: &[u8; 32]) -> SecretKey {
        SecretKey(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The seed, to be stored in a key file or handed to the TLS signer.
    pub fn to_seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `message`; the same key and message always give the same signature (RFC 8032).
    pub fn sign(&self, message: &[u8]) -> Signature {
        let signature = Signature(self.0.sign(message).to_bytes());
        memory::made_here(|| self.public(), message, &signature);
        signature
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {:?})", self.public())
    }
}

/// Signatures gathered for one batched check.
///
/// Groups by key: a batch over few keys costs about half of one over unrelated keys. Above a
/// hundred signatures the cost of each hardly falls any more; 1024 is a good size.
#[derive(Default)]
pub struct Batch {
    items: Vec<Item>,
    pushed: usize,
}

/// One check that has to be computed.
struct Item {
    /// Among all that were gathered.
    position: usize,
    check: batch::Item,
    /// Under which it is remembered, on a thread that remembers.
    digest: Option<memory::Digest>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Adds one check. Only a hash of `message` is kept. What this thread has found valid before is not
    /// computed again; see [`memory`].
    pub fn push(&mut self, key: &PublicKey, message: &[u8], signature: &Signature) {
        let position = self.pushed;
        self.pushed += 1;
        let digest = memory::digest_if_remembering(key, message, signature);
        if digest.as_ref().is_some_and(memory::is_known) {
            return;
        }
        let key = VerificationKeyBytes::from(key.0);
        let signature = ed25519_zebra::Signature::from(signature.0);
        self.items.push(Item { position, check: batch::Item::from((key, signature, message)), digest });
    }

    /// Checks gathered so far.
    pub fn len(&self) -> usize {
        self.pushed
    }

    /// Whether nothing was gathered.
    pub fn is_empty(&self) -> bool {
        self.pushed == 0
    }

    /// Checks all. On failure finds each culprit, halving the batch until it stands alone, so that
    /// k bad signatures among n cost O(k log n) checks of the rest.
    ///
    /// `rng` must be unpredictable to whoever made the signatures. The verdict equals that of
    /// [`PublicKey::verify`] on each (up to chance 2^-128).
    ///
    /// # Errors
    /// The positions, ascending, of the signatures that do not verify.
    pub fn verify<R: CryptoRng>(self, rng: &mut R) -> Result<(), Vec<usize>> {
        let mut culprits = Vec::new();
        find_culprits(&self.items, rng, &mut culprits);
        if culprits.is_empty() { Ok(()) } else { Err(culprits) }
    }
}

fn find_culprits<R: CryptoRng>(items: &[Item], rng: &mut R, culprits: &mut Vec<usize>) {
    let valid = match items {
        [] => true,
        [item] => item.check.clone().verify_single().is_ok(),
        _ => {
            let mut verifier = batch::Verifier::new();
            for item in items {
                verifier.queue(item.check.clone());
            }
            verifier.verify(&mut *rng).is_ok()
        }
    };
    if valid {
        for digest in items.iter().filter_map(|item| item.digest) {
            memory::note(digest);
        }
    } else if let [item] = items {
        culprits.push(item.position);
    } else {
        let (left, right) = items.split_at(items.len() / 2);
        find_culprits(left, rng, culprits);
        find_culprits(right, rng, culprits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    fn key(n: u8) -> SecretKey {
        SecretKey::from_seed(&[n; 32])
    }

    #[test]
    fn a_batch_names_every_culprit() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut batch = Batch::new();
        for n in 0..40u8 {
            let key = key(n % 3);
            let message = [n; 10];
            let mut signature = key.sign(&message);
            if n == 0 || n == 17 || n == 39 {
                signature.0[5] ^= 1;
            }
            batch.push(&key.public(), &message, &signature);
        }
        assert_eq!(batch.verify(&mut rng), Err(vec![0, 17, 39]));
        assert_eq!(Batch::new().verify(&mut rng), Ok(()));
    }

    #[test]
    fn weak_keys_are_refused() {
        let identity = PublicKey(std::array::from_fn(|i| u8::from(i == 0)));
        assert_eq!(identity.check(), Err(KeyError::SmallOrder));
        let mut second_spelling = [0xff; 32];
        second_spelling[0] = 0xee; // y = 1 + p
        second_spelling[31] = 0x7f;
        assert_eq!(PublicKey(second_spelling).check(), Err(KeyError::NotCanonical));
        let mixed_order = "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d";
        assert_eq!(mixed_order.parse::<PublicKey>().expect("hex").check(), Err(KeyError::Torsion));
        assert_eq!(key(1).public().check(), Ok(()));
        let points = (0..=u8::MAX).filter(|n| PublicKey([*n; 32]).check() == Err(KeyError::NotAPoint));
        assert!(points.count() > 50, "about half of all strings encode no point");
    }

    #[test]
    fn secrets_are_not_printed() {
        let key = key(9);
        assert!(!format!("{key:?}").contains(&const_hex::encode(key.to_seed())));
    }
}
