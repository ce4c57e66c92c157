//! Proofs that a key has a value, or has none, in the state of a committed block.
//!
//! # The state root
//!
//! The state is a binary Merkle tree over the 256 bits of `SHA-256(encoded key)`, the most significant
//! bit of the first byte first, 0 to the left:
//!
//! - a subtree without keys hashes as 32 zero bytes;
//! - a subtree with one key is that key's leaf, however far up:
//!   `SHA-256(0x02 | SHA-256(encoded key) | SHA-256(encoded value))`;
//! - any other is an inner node: `SHA-256(0x03 | left | right)`.
//!
//! # The proof
//!
//! Encoded as a list of siblings, from the root down, and what is found under them: variant 0, the
//! key's value; 1, nothing; 2, the hashes of another key and of its value. To verify, start with the
//! leaf of the key and the value given, with zero bytes, or with the leaf of the other key, which must
//! differ from this one and share as many of its first bits as there are siblings. Then take the
//! siblings from the last to the first: with sibling number `i` (from 0), the node goes to the right
//! if bit `i` of the key's hash is 1. The last result must be the state root.

use crate::state::{StateKey, StateValue};
use crate::tree::{self, BITS};
use quorate_types::hash::Hash;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// The way from a state root to the place of one key, and what is there.
///
/// Its key is not part of it: whoever verifies names the key it asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateProof {
    /// The siblings on the way, from the root down; zero bytes for an empty one. At most 256.
    #[serde(deserialize_with = "at_most_256")]
    pub(crate) siblings: Vec<Hash>,
    pub(crate) end: End,
}

/// What is at the key's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    /// The key, with this value.
    Present(StateValue),
    /// Nothing.
    Empty,
    /// The one key that the subtree holds, and it is another.
    Other {
        /// Hash of that key.
        key: Hash,
        /// Hash of its value.
        value: Hash,
    },
}

/// Why a state proof does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StateProofError {
    /// More siblings than a key has bits.
    #[error("{0} siblings, where a key has 256 bits")]
    TooLong(usize),
    /// The other key it shows is the key itself, or does not lie where this one would.
    #[error("the other key it shows says nothing about this one")]
    Unrelated,
    /// The value is of a kind that the key cannot have.
    #[error("the value is of another kind than the key")]
    WrongKind,
    /// It leads to another root.
    #[error("the proof leads to another state root")]
    WrongRoot,
}

impl StateProof {
    /// What the state under `root` holds at `key`; `None` if it is proven to hold nothing.
    ///
    /// # Errors
    /// See [`StateProofError`].
    pub fn verify(&self, root: &Hash, key: &StateKey) -> Result<Option<StateValue>, StateProofError> {
        if self.siblings.len() > BITS {
            return Err(StateProofError::TooLong(self.siblings.len()));
        }
        let place = key.hash();
        let start = match &self.end {
            End::Present(value) if !key.fits(value) => return Err(StateProofError::WrongKind),
            End::Present(value) => tree::leaf_hash(&place, &value.hash()),
            End::Empty => Hash::ZERO,
            End::Other { key, value } => {
                let shared =
                    (0..self.siblings.len()).all(|depth| tree::bit(key, depth) == tree::bit(&place, depth));
                if *key == place || !shared {
                    return Err(StateProofError::Unrelated);
                }
                tree::leaf_hash(key, value)
            }
        };
        let found = self.siblings.iter().enumerate().rev().fold(start, |node, (depth, sibling)| {
            if tree::bit(&place, depth) {
                tree::inner_hash(sibling, &node)
            } else {
                tree::inner_hash(&node, sibling)
            }
        });
        if found != *root {
            return Err(StateProofError::WrongRoot);
        }
        match &self.end {
            End::Present(value) => Ok(Some(value.clone())),
            End::Empty | End::Other { .. } => Ok(None),
        }
    }
}

/// Stops at the 257th sibling, however many are claimed.
fn at_most_256<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Hash>, D::Error> {
    struct Siblings;
    impl<'de> Visitor<'de> for Siblings {
        type Value = Vec<Hash>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("at most 256 hashes")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Hash>, A::Error> {
            let mut siblings = Vec::new();
            while let Some(sibling) = seq.next_element()? {
                if siblings.len() == BITS {
                    return Err(A::Error::invalid_length(BITS + 1, &self));
                }
                siblings.push(sibling);
            }
            Ok(siblings)
        }
    }
    deserializer.deserialize_seq(Siblings)
}
