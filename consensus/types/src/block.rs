//! Headers, results, and the hash chain they form.

use crate::certificate::Certificate;
use crate::codec;
use crate::hash::{BlockHash, ChainId, Hash, ResultHash, TransactionId};
use crate::ids::{Height, Timestamp, ValidatorIndex, View};
use crate::merkle::{self, Tree};
use crate::signed::Domain;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Everything agreed about a block but its bodies. Its hash is the block's hash.
///
/// The first block, at height 1, has the chain id as its parent's hash and
/// the founding state's result as its parent's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The chain.
    pub chain: ChainId,
    /// One more than the parent's.
    pub height: Height,
    /// The view the block was first proposed in; a re-proposal keeps it.
    pub view: View,
    /// The leader that first proposed it; a re-proposal keeps it.
    pub proposer: ValidatorIndex,
    /// At least the parent's.
    pub timestamp: Timestamp,
    /// Hash of the parent's header; the chain id at height 1.
    pub parent: BlockHash,
    /// Hash of the parent's result.
    pub parent_result: ResultHash,
    /// RFC 6962 root over the ids of the transactions, in order.
    pub transactions_root: Hash,
    /// How many transactions, at least 1.
    pub transaction_count: u32,
    /// RFC 6962 root of the log of all earlier block hashes, from height 0 (the chain id) on.
    pub history_root: Hash,
    /// Hash of the validator set that votes on this block.
    pub validators: Hash,
}

impl Header {
    /// The block's hash.
    pub fn hash(&self) -> BlockHash {
        BlockHash(Domain::Block.hash(&self.chain, &codec::encode(self)))
    }
}

/// What executing a block led to. A commit vote signs its hash beside the block's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockResult {
    /// Root of the authenticated state after the block.
    pub state_root: Hash,
    /// RFC 6962 root over the [`OutcomeRecord`](crate::outcome::OutcomeRecord)s, in order.
    pub outcomes_root: Hash,
    /// Hash of the validator set of the next block.
    pub next_validators: Hash,
}

impl BlockResult {
    /// The result's hash.
    pub fn hash(&self, chain: &ChainId) -> ResultHash {
        ResultHash(Domain::Result.hash(chain, &codec::encode(self)))
    }
}

/// The RFC 6962 root over transaction ids.
pub fn transactions_root(ids: &[TransactionId]) -> Hash {
    merkle::root(&ids.iter().map(transaction_leaf).collect::<Vec<Hash>>())
}

/// The tree of that root.
pub fn transactions_tree(ids: impl IntoIterator<Item = TransactionId>) -> Tree {
    Tree::new(ids.into_iter().map(|id| transaction_leaf(&id)).collect())
}

/// Hash of the leaf that a transaction is in the tree of its block.
pub(crate) fn transaction_leaf(id: &TransactionId) -> Hash {
    merkle::leaf_hash(&id.0.0)
}

/// A block as it travels to those who catch up or audit: header, bodies, and its certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The header.
    pub header: Header,
    /// The encoded signed transactions, in order.
    #[serde(deserialize_with = "crate::transaction::deserialize_bodies")]
    pub transactions: Vec<Bytes>,
    /// Its own certificate. `None` where a descendant's certificate made it final.
    pub certificate: Option<Certificate>,
}
