//! The founding facts, and a point on the chain.

use crate::execution::Execution;
use crate::reader::{Layer, Reader, value_key_into};
use crate::state::{StateKey, StateValue};
use crate::store::{Column, MemoryStore, Pieces, Store, StoreError, Write};
use crate::table;
use crate::tree::Slot;
use quorate_types::block::BlockResult;
use quorate_types::codec;
use quorate_types::hash::{BlockHash, ChainId, ResultHash};
use quorate_types::ids::{Height, Timestamp};
use quorate_types::keys::PublicKey;
use quorate_types::member::Member;
use quorate_types::merkle::{self, Frontier, Node};
use quorate_types::parameters::Parameters;
use quorate_types::validators::ValidatorSet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The founding facts as the ledger needs them. The genesis document's checks come before: keys and
/// names are distinct and well formed, every validator's member exists, parameters are in range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Genesis {
    /// The chain: the hash of the genesis document, and of "block 0".
    pub chain: ChainId,
    /// What the founders chose.
    pub parameters: Parameters,
    /// Everyone who takes part.
    pub members: Vec<Member>,
    /// Those who vote.
    pub validators: ValidatorSet,
    /// The time of "block 0".
    pub timestamp: Timestamp,
}

impl Genesis {
    /// The hash of "block 0": the parent of the first block.
    pub fn block(&self) -> BlockHash {
        BlockHash(self.chain.0)
    }

    pub(crate) fn members_by_key(&self) -> BTreeMap<PublicKey, Member> {
        self.members.iter().map(|member| (member.key, member.clone())).collect()
    }
}

/// The result of "block 0": the state that holds the members and nothing else.
pub fn founding_result(genesis: &Genesis) -> BlockResult {
    found(genesis).0.result
}

/// The last committed block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// Its height; 0 if only the genesis document is there.
    pub height: Height,
    /// Its hash; at height 0 the chain id.
    pub block: BlockHash,
    /// The hash of its result.
    pub result: ResultHash,
    /// Its time.
    pub timestamp: Timestamp,
}

/// Everything about a block that a block on top of it depends on, but for the pages and values.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub(crate) tip: Tip,
    pub(crate) result: BlockResult,
    /// The state tree after the block.
    pub(crate) root: Slot,
    /// The log of block hashes up to and including this block's.
    pub(crate) log: Frontier,
}

/// `ledger/tip` in the store. The root of the tree has its own record, like that of every height.
#[derive(Serialize, Deserialize)]
pub(crate) struct TipRecord {
    height: Height,
    block: BlockHash,
    timestamp: Timestamp,
    result: BlockResult,
    log: Frontier,
}

impl Point {
    /// Everything there is to write when this point becomes the tip, but for the replay index.
    /// `completed` are the log nodes that its hash completed.
    pub(crate) fn writes(
        &self,
        layer: &Layer,
        completed: &[(Node, quorate_types::hash::Hash)],
    ) -> Vec<Write> {
        let height = self.tip.height;
        let mut writes = Vec::with_capacity(layer.pages.len() + layer.values.len() + completed.len() + 4);
        let entries = layer.pages.len() + layer.values.len();
        let mut keys = Pieces::with_capacity(entries);
        for page in &layer.pages {
            keys.add(|key| page.path.store_key_into(height, key));
        }
        for (hash, _) in &layer.values {
            keys.add(|key| value_key_into(height, hash, key));
        }
        let pages = layer.pages.iter().map(|page| (Column::Nodes, &page.stored));
        let values = layer.values.iter().map(|(_, value)| (Column::Values, value));
        let entries = pages.chain(values).zip(keys.finish());
        writes.extend(entries.map(|((column, value), key)| Write {
            column,
            key,
            value: Some(value.clone()),
        }));
        let mut root = Vec::new();
        layer.root.encode_into(height, &mut root);
        writes.push(Write::put(Column::Nodes, table::root_key(height), root));
        for (node, hash) in completed {
            writes.push(Write::put(Column::History, table::history_key(*node), hash.0.to_vec()));
        }
        let record = TipRecord {
            height,
            block: self.tip.block,
            timestamp: self.tip.timestamp,
            result: self.result.clone(),
            log: self.log.clone(),
        };
        writes.push(Write::put(Column::Meta, table::META_TIP, codec::encode(&record)));
        writes
    }

    /// The tip of a store that has one, checked against the parts it rests on.
    pub(crate) fn load(store: &impl Store, chain: &ChainId) -> Result<Point, StoreError> {
        let damaged = |what: &str| StoreError::Corrupt(format!("the tip of the ledger: {what}"));
        let record: TipRecord =
            table::load(store, Column::Meta, table::META_TIP)?.ok_or_else(|| damaged("missing"))?;
        let root = crate::reader::load_root(store, record.height)?
            .ok_or_else(|| damaged("no state of its height"))?;
        if root.hash() != record.result.state_root {
            return Err(damaged("the state of its height has another root"));
        }
        if !record.log.is_consistent() || record.log.size() != record.height.next().0 {
            return Err(damaged("the log of block hashes has another size"));
        }
        let tip = Tip {
            height: record.height,
            block: record.block,
            result: record.result.hash(chain),
            timestamp: record.timestamp,
        };
        Ok(Point { tip, result: record.result, root, log: record.log })
    }
}

/// The point at height 0, what it writes to the state, and all writes that found a store.
pub(crate) fn found(genesis: &Genesis) -> (Point, Layer, Vec<Write>) {
    let store = MemoryStore::new();
    let members = genesis.members_by_key();
    let mut reader = Reader::of_store(&store);
    let mut execution = Execution::new(&mut reader, &members, Slot::Empty, Height::GENESIS, 0);
    for member in &genesis.members {
        execution.found(&StateKey::Member(member.key), StateValue::Member(member.clone()));
    }
    let layer = execution.finish().expect("an empty tree has nothing to read");
    let result = BlockResult {
        state_root: layer.root.hash(),
        outcomes_root: merkle::empty_root(),
        next_validators: genesis.validators.hash(&genesis.chain),
    };
    let tip = Tip {
        height: Height::GENESIS,
        block: genesis.block(),
        result: result.hash(&genesis.chain),
        timestamp: genesis.timestamp,
    };
    let mut log = Frontier::new();
    let completed = log.append(merkle::leaf_hash(&tip.block.0.0));
    let point = Point { tip, result, root: layer.root, log };
    let mut writes = vec![
        Write::put(Column::Meta, table::META_FORMAT, codec::encode(&table::FORMAT)),
        Write::put(Column::Meta, table::META_CHAIN, codec::encode(&genesis.chain)),
    ];
    writes.extend(point.writes(&layer, &completed));
    (point, layer, writes)
}
