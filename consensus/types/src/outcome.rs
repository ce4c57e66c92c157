//! What came of a transaction.

use crate::codec;
use crate::hash::{Hash, TransactionId};
use crate::ids::Height;
use crate::merkle;
use serde::{Deserialize, Serialize};

/// What came of a transaction. A failed one is recorded, and has no effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every operation took effect.
    Applied,
    /// One operation failed, so none took effect.
    Failed {
        /// The position of the operation, from 0.
        operation: u16,
        /// Why.
        reason: Failure,
    },
}

/// Why an operation failed against the state it met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// A namespace of this name exists.
    #[error("the namespace exists already")]
    NamespaceExists,
    /// No namespace of this name exists.
    #[error("there is no such namespace")]
    NoSuchNamespace,
    /// The sender does not own the namespace.
    #[error("the sender is not an owner of the namespace")]
    NotOwner,
    /// The sender may not write to the namespace.
    #[error("the sender is not a writer of the namespace")]
    NotWriter,
    /// The key's version is not the expected one.
    #[error("the key's version is {found}, not the expected one")]
    VersionMismatch {
        /// The version it has; 0 if it does not exist.
        found: Height,
    },
    /// There is no such key to delete.
    #[error("there is no such key")]
    NoSuchKey,
    /// An asset of this name exists.
    #[error("the asset exists already")]
    AssetExists,
    /// No asset of this name exists.
    #[error("there is no such asset")]
    NoSuchAsset,
    /// The sender is not the asset's issuer.
    #[error("the sender is not the issuer of the asset")]
    NotIssuer,
    /// The sender holds less than the amount.
    #[error("the sender holds {balance}, less than the amount")]
    InsufficientBalance {
        /// What the sender holds.
        balance: u128,
    },
    /// The supply would exceed 2^128 - 1.
    #[error("the supply would exceed the largest number")]
    SupplyOverflow,
    /// The recipient, an owner or a writer is no member.
    #[error("the key named is not a member's")]
    NoSuchMember,
}

/// A leaf of the outcomes tree of a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeRecord {
    /// Of which transaction.
    pub transaction: TransactionId,
    /// What came of it.
    pub outcome: Outcome,
}

impl OutcomeRecord {
    /// Its RFC 6962 leaf hash.
    pub fn leaf(&self) -> Hash {
        merkle::leaf_hash(&codec::encode(self))
    }
}
