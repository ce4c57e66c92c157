//! What exactly is signed or hashed, and the type that proves a check was made.
//!
//! Every signature and every identifying hash of the ledger covers a *preimage*:
//!
//! ```text
//! length of tag (1 byte) | tag | chain id (32 bytes) | canonical encoding
//! ```
//!
//! The tag says what kind of statement follows, so that bytes signed as one kind never pass as
//! another; the chain id does the same for chains. The length in front makes the boundary
//! unambiguous.

use crate::hash::{ChainId, Hash};
use bytes::Bytes;
use std::ops::Deref;
use std::sync::Arc;

/// The kind of a signed or hashed statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    /// A member's transaction: signed by the member, hashed to its id.
    Transaction,
    /// A block header: hashed.
    Block,
    /// The result of a block: hashed.
    Result,
    /// The validator set: hashed.
    Validators,
    /// A leader's proposal: signed by the leader.
    PrePrepare,
    /// A vote for the order: signed by a validator.
    Prepare,
    /// A vote for the order and the result: signed by a validator.
    Commit,
    /// A validator's report on leaving a view: signed by it.
    ViewChange,
    /// A leader's opening of a view: signed by it.
    NewView,
    /// A validator's beacon: signed by it.
    Status,
    /// A member card: signed with each key on it. The chain id is 32 zero bytes: no chain exists yet.
    Card,
    /// The genesis document: hashed to the chain id, with 32 zero bytes in the chain id's place, and
    /// signed by every validator, with the chain id in its place.
    Genesis,
}

impl Domain {
    /// The tag as it is signed.
    pub const fn tag(self) -> &'static str {
        match self {
            Domain::Transaction => "quorate/1/transaction",
            Domain::Block => "quorate/1/block",
            Domain::Result => "quorate/1/result",
            Domain::Validators => "quorate/1/validators",
            Domain::PrePrepare => "quorate/1/pre-prepare",
            Domain::Prepare => "quorate/1/prepare",
            Domain::Commit => "quorate/1/commit",
            Domain::ViewChange => "quorate/1/view-change",
            Domain::NewView => "quorate/1/new-view",
            Domain::Status => "quorate/1/status",
            Domain::Card => "quorate/1/card",
            Domain::Genesis => "quorate/1/genesis",
        }
    }

    /// The bytes in front of the encoding: length of tag, tag, chain id.
    fn prefix(self, chain: &ChainId) -> ([u8; 64], usize) {
        let tag = self.tag().as_bytes();
        let mut prefix = [0u8; 64];
        let end = 1 + tag.len() + 32;
        prefix[0] = u8::try_from(tag.len()).expect("every tag is shorter than 31 bytes");
        prefix[1..1 + tag.len()].copy_from_slice(tag);
        prefix[1 + tag.len()..end].copy_from_slice(&chain.0.0);
        (prefix, end)
    }

    /// The bytes that a signature of this kind covers.
    pub fn preimage(self, chain: &ChainId, encoded: &[u8]) -> Vec<u8> {
        let (prefix, length) = self.prefix(chain);
        [&prefix[..length], encoded].concat()
    }

    /// SHA-256 of [`Domain::preimage`].
    pub fn hash(self, chain: &ChainId, encoded: &[u8]) -> Hash {
        let (prefix, length) = self.prefix(chain);
        Hash::of(&[&prefix[..length], encoded])
    }
}

/// A statement that can be checked, given what it must be checked against.
pub trait Verify {
    /// What the check needs: a chain id, a validator set.
    type Context: ?Sized;
    /// Why the check fails.
    type Error;

    /// Checks every signature and every rule that needs no state.
    ///
    /// # Errors
    /// The first thing wrong.
    fn verify(&self, context: &Self::Context) -> Result<(), Self::Error>;
}

/// A value that passed its check, with the bytes it arrived in. Cheap to clone.
///
/// There is no way to make one but to verify, so whoever holds one need not check again, encode
/// again or hash again.
#[derive(Debug)]
pub struct Verified<T>(Arc<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    value: T,
    bytes: Bytes,
}

impl<T: Verify> Verified<T> {
    /// Checks `value`, whose canonical encoding is `bytes`.
    ///
    /// # Errors
    /// As [`Verify::verify`].
    pub fn check(value: T, bytes: Bytes, context: &T::Context) -> Result<Verified<T>, T::Error> {
        value.verify(context)?;
        Ok(Verified::already(value, bytes))
    }
}

impl<T> Verified<T> {
    /// For the verifying functions of this crate only.
    pub(crate) fn already(value: T, bytes: Bytes) -> Verified<T> {
        Verified(Arc::new(Inner { value, bytes }))
    }

    /// The canonical encoding, as it arrived.
    pub fn bytes(&self) -> &Bytes {
        &self.0.bytes
    }
}

impl<T> Clone for Verified<T> {
    fn clone(&self) -> Verified<T> {
        Verified(Arc::clone(&self.0))
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preimage_is_length_tag_chain_encoding() {
        let chain = ChainId(Hash([7; 32]));
        let preimage = Domain::Commit.preimage(&chain, b"xyz");
        assert_eq!(preimage[0], 16);
        assert_eq!(&preimage[1..17], b"quorate/1/commit");
        assert_eq!(&preimage[17..49], &[7; 32]);
        assert_eq!(&preimage[49..], b"xyz");
        assert_eq!(Domain::Commit.hash(&chain, b"xyz"), Hash::of(&[&preimage]));
    }

    /// Bytes signed as one kind of statement, or for one chain, are never those of another.
    #[test]
    fn one_content_signs_differently_for_each_kind_and_chain() {
        let kinds = [
            Domain::Transaction,
            Domain::Block,
            Domain::Result,
            Domain::Validators,
            Domain::PrePrepare,
            Domain::Prepare,
            Domain::Commit,
            Domain::ViewChange,
            Domain::NewView,
            Domain::Status,
            Domain::Card,
            Domain::Genesis,
        ];
        let chains = [ChainId(Hash([7; 32])), ChainId(Hash([8; 32]))];
        let mut seen = std::collections::BTreeSet::new();
        for kind in kinds {
            for chain in &chains {
                assert!(seen.insert(kind.preimage(chain, b"xyz")), "{kind:?}");
                assert!(seen.insert(kind.hash(chain, b"xyz").0.to_vec()), "{kind:?}");
            }
        }
    }
}
