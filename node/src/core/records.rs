//! What the node keeps beside the ledger's own columns, and reading it back.
//!
//! Numbers in keys are big endian, so that keys sort by height. Values are in the canonical encoding.
//!
//! | column | key | value |
//! |---|---|---|
//! | `Blocks` | height (8) | [`BlockRecord`] of the committed block |
//! | `Bodies` | height (8), block hash (32) | its encoded signed transactions, written with the Prepare vote |
//! | `Certificates` | height (8) | [`Certificate`]; absent where a descendant's certificate made it final |
//! | `Transactions` | id (32) | height (8), position (4) |
//! | `Meta` | `node/committed` | height of the last committed block |
//! | `Meta` | `node/transactions` | how many transactions are committed, which the storage thread counts |
//! | `Evidence` | sequence (8) | [`Evidence`](quorate_pbft::Evidence) |
//! | `Votes` | `guard` | [`Guard`](super::api::Guard) |
//! | `Votes` | `view` | the last ViewChange or NewView, an encoded message |
//! | `Votes` | `prepare/`, height (8) | [`PrepareRecord`] of the last vote at an uncommitted height |
//! | `Votes` | `commit/`, height (8) | [`CommitRecord`] of the last vote at an uncommitted height |
//! | `Votes` | `proposal/`, height (8), block hash (32) | [`ProposalRecord`] of each block voted on at an uncommitted height |
//!
//! All entries of a height in `Votes`, and bodies of blocks that lost, go when the height commits.

use bytes::Bytes;
use quorate_client::protocol::CommittedBatch;
use quorate_ledger::{Column, Store, StoreError};
use quorate_types::block::{Block, BlockResult, Header};
use quorate_types::certificate::{Certificate, Commit, PreparedCertificate};
use quorate_types::codec;
use quorate_types::hash::{BlockHash, TransactionId};
use quorate_types::ids::{Height, View};
use quorate_types::outcome::{Outcome, OutcomeRecord};
use quorate_types::receipt::{BlockTrees, Finality, MAX_DESCENDANTS, Place, Receipt};
use quorate_types::transaction::SignedTransaction;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A committed block without its bodies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRecord {
    /// The header.
    pub header: Header,
    /// Its transactions, in order.
    pub ids: Vec<TransactionId>,
    /// What came of each.
    pub outcomes: Vec<Outcome>,
    /// What executing it led to.
    pub result: BlockResult,
}

/// A Prepare vote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrepareRecord {
    /// The view voted in.
    pub view: View,
    /// The block voted on.
    pub block: BlockHash,
}

/// A Commit vote, and why it was cast.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitRecord {
    /// The vote.
    pub commit: Commit,
    /// Its prepared certificate.
    pub prepared: PreparedCertificate,
}

/// A proposal that was voted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalRecord {
    /// The header.
    pub header: Header,
    /// Its transactions, in order.
    pub ids: Vec<TransactionId>,
}

/// The longest value read back: a block's bodies. What was written was within limits, so a longer one
/// is damage.
const MAX_VALUE: usize = 64 << 20;

/// The key of a height.
pub(crate) fn height_key(height: Height) -> Vec<u8> {
    height.0.to_be_bytes().to_vec()
}

/// The key of a block at a height.
pub(crate) fn block_key(height: Height, block: &BlockHash) -> Vec<u8> {
    [&height.0.to_be_bytes()[..], &block.0.0].concat()
}

/// The key of an entry of `Votes` that belongs to a height.
pub(crate) fn vote_key(prefix: &str, height: Height) -> Vec<u8> {
    [prefix.as_bytes(), &height.0.to_be_bytes()].concat()
}

/// The key of a proposal in `Votes`.
pub(crate) fn proposal_key(height: Height, block: &BlockHash) -> Vec<u8> {
    [PROPOSAL.as_bytes(), &height.0.to_be_bytes(), &block.0.0].concat()
}

pub(crate) const COMMITTED: &[u8] = b"node/committed";
/// The key of the guard in `Votes`.
pub const GUARD: &[u8] = b"guard";
pub(crate) const VIEW: &[u8] = b"view";
pub(crate) const PREPARE: &str = "prepare/";
pub(crate) const COMMIT: &str = "commit/";
pub(crate) const PROPOSAL: &str = "proposal/";

/// Decodes what this node wrote earlier.
pub(crate) fn decode<T: Serialize + DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, StoreError> {
    codec::decode(bytes, MAX_VALUE).map_err(|error| StoreError::Corrupt(format!("{what}: {error}")))
}

fn load<S: Store, T: Serialize + DeserializeOwned>(
    store: &S,
    column: Column,
    key: &[u8],
) -> Result<Option<T>, StoreError> {
    store
        .get(column, key)?
        .map(|bytes| decode(&format!("{} {}", column.name(), const_hex::encode(key)), &bytes))
        .transpose()
}

/// The committed block at a height, without bodies.
///
/// # Errors
/// [`StoreError`] if it cannot be read or decoded; so for all functions here.
pub fn read_block<S: Store>(store: &S, height: Height) -> Result<Option<BlockRecord>, StoreError> {
    load(store, Column::Blocks, &height_key(height))
}

/// The encoded signed transactions of a block.
///
/// # Errors
/// See [`read_block`].
pub fn read_bodies<S: Store>(
    store: &S,
    height: Height,
    block: &BlockHash,
) -> Result<Option<Vec<Bytes>>, StoreError> {
    load(store, Column::Bodies, &block_key(height, block))
}

/// The certificate kept at a height.
///
/// # Errors
/// See [`read_block`].
pub fn read_certificate<S: Store>(store: &S, height: Height) -> Result<Option<Certificate>, StoreError> {
    load(store, Column::Certificates, &height_key(height))
}

/// Proof that the block at a height is final: `None` if none is stored there.
///
/// # Errors
/// See [`read_block`]; [`StoreError::Corrupt`] if a block has neither a certificate nor a certified
/// descendant.
pub fn finality<S: Store>(store: &S, height: Height) -> Result<Option<Finality>, StoreError> {
    let Some(record) = read_block(store, height)? else { return Ok(None) };
    finality_of(store, record.header, record.result).map(Some)
}

/// Likewise, of a block that was read.
fn finality_of<S: Store>(store: &S, header: Header, result: BlockResult) -> Result<Finality, StoreError> {
    let height = header.height;
    let mut descendants = Vec::new();
    let mut at = height;
    loop {
        if let Some(certificate) = read_certificate(store, at)? {
            return Ok(Finality { header, result, descendants, certificate });
        }
        at = at.next();
        match read_block(store, at)? {
            Some(next) if descendants.len() < MAX_DESCENDANTS => descendants.push(next.header),
            _ => return Err(StoreError::Corrupt(format!("the block at height {height} has no certificate"))),
        }
    }
}

/// Where a transaction committed: height and position.
///
/// # Errors
/// See [`read_block`].
pub fn locate<S: Store>(store: &S, id: &TransactionId) -> Result<Option<(Height, u32)>, StoreError> {
    let Some(bytes) = store.get(Column::Transactions, &id.0.0)? else { return Ok(None) };
    let (Some(height), Some(position)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<4>()) else {
        return Err(StoreError::Corrupt(format!("the place of transaction {id}")));
    };
    Ok(Some((Height(u64::from_be_bytes(*height)), u32::from_be_bytes(*position))))
}

/// The value [`locate`] reads.
pub(crate) fn place(height: Height, position: u32) -> [u8; 12] {
    let mut place = [0; 12];
    place[..8].copy_from_slice(&height.0.to_be_bytes());
    place[8..].copy_from_slice(&position.to_be_bytes());
    place
}

/// Where transactions of one block stand in it, and what makes the block final. `positions` are the
/// places that [`locate`] gave, ascending. The trees are built once, however many are asked for.
///
/// # Errors
/// See [`read_block`]; a place without its transaction is damage.
pub fn inclusions<S: Store>(
    store: &S,
    height: Height,
    positions: &[(TransactionId, u32)],
) -> Result<CommittedBatch, StoreError> {
    let missing = || StoreError::Corrupt(format!("the block at height {height} lacks what its index names"));
    let BlockRecord { header, ids, outcomes, result } = read_block(store, height)?.ok_or_else(missing)?;
    let finality = finality_of(store, header, result)?;
    let place = |(id, position): &(TransactionId, u32)| {
        let index = usize::try_from(*position).ok()?;
        let outcome = outcomes.get(index).filter(|_| ids.get(index) == Some(id))?.clone();
        Some(Place { index: *position, record: OutcomeRecord { transaction: *id, outcome } })
    };
    let places = positions.iter().map(place).collect::<Option<Vec<Place>>>().ok_or_else(missing)?;
    let trees = BlockTrees::new(&ids, &outcomes);
    let inclusions = trees.inclusions(places).ok_or_else(missing)?;
    Ok(CommittedBatch { finality, inclusions })
}

/// The receipt of a transaction: `None` if it has not committed.
///
/// # Errors
/// See [`read_block`].
pub fn receipt<S: Store>(store: &S, id: &TransactionId) -> Result<Option<Receipt>, StoreError> {
    let Some((height, position)) = locate(store, id)? else { return Ok(None) };
    let missing = || StoreError::Corrupt(format!("the block at height {height} lacks transaction {id}"));
    let CommittedBatch { finality, inclusions } = inclusions(store, height, &[(*id, position)])?;
    let (_, inclusion) = inclusions.only().ok_or_else(missing)?;
    let bodies = read_bodies(store, height, &finality.header.hash())?.ok_or_else(missing)?;
    let body = usize::try_from(position).ok().and_then(|i| bodies.get(i)).ok_or_else(missing)?;
    let transaction: SignedTransaction = decode("transaction", body)?;
    Ok(Some(Receipt { transaction, inclusion, finality }))
}

/// The whole block at a height, as it travels to others.
///
/// # Errors
/// See [`read_block`].
pub fn full_block<S: Store>(store: &S, height: Height) -> Result<Option<Block>, StoreError> {
    let Some(record) = read_block(store, height)? else { return Ok(None) };
    let Some(transactions) = read_bodies(store, height, &record.header.hash())? else {
        return Err(StoreError::Corrupt(format!("the block at height {height} has no bodies")));
    };
    let certificate = read_certificate(store, height)?;
    Ok(Some(Block { header: record.header, transactions, certificate }))
}

/// The height of the last committed block in the store; 0 at genesis.
///
/// # Errors
/// See [`read_block`].
pub fn committed_height<S: Store>(store: &S) -> Result<Height, StoreError> {
    Ok(load(store, Column::Meta, COMMITTED)?.unwrap_or(Height::GENESIS))
}
