//! Blocks that were executed and are not committed: a tree that grows from the tip.

use crate::chain::Point;
use crate::reader::Layer;
use crate::replay::Ticket;
use quorate_types::block::{BlockResult, Header};
use quorate_types::hash::{BlockHash, Hash};
use quorate_types::ids::Height;
use quorate_types::merkle::Node;
use quorate_types::outcome::Outcome;
use quorate_types::receipt::BlockTrees;
use quorate_types::transaction::VerifiedTransaction;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A block and what executing it led to.
#[derive(Debug, Clone)]
pub struct Executed {
    /// The block's header.
    pub header: Header,
    /// Its transactions.
    pub transactions: Vec<VerifiedTransaction>,
    /// What came of each.
    pub outcomes: Vec<Outcome>,
    /// What proves where each stands: the roots in header and result are theirs.
    pub trees: BlockTrees,
    /// The result that a commit vote signs the hash of.
    pub result: BlockResult,
}

/// An executed block with all that its children, and its commit, will need.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) executed: Executed,
    pub(crate) point: Point,
    pub(crate) layer: Arc<Layer>,
    /// The nodes of the log of block hashes that its hash completes.
    pub(crate) completed: Vec<(Node, Hash)>,
    /// Of its transactions, ascending.
    pub(crate) tickets: Vec<Ticket>,
    /// When it was last proposed or checked, counted in such calls.
    pub(crate) used: u64,
}

/// The pending blocks, by hash. Every one descends from the tip through others of the set.
#[derive(Debug, Default)]
pub(crate) struct PendingBlocks {
    blocks: BTreeMap<BlockHash, Pending>,
    uses: u64,
}

impl PendingBlocks {
    pub(crate) fn get(&self, block: &BlockHash) -> Option<&Pending> {
        self.blocks.get(block)
    }

    pub(crate) fn remove(&mut self, block: &BlockHash) -> Option<Pending> {
        self.blocks.remove(block)
    }

    pub(crate) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Notes that the block is in use, so that others are given up before it.
    pub(crate) fn touch(&mut self, block: &BlockHash) {
        self.uses += 1;
        if let Some(pending) = self.blocks.get_mut(block) {
            pending.used = self.uses;
        }
    }

    /// `block` and its pending ancestors, from it downward; nothing if it is not pending.
    pub(crate) fn line<'a>(&'a self, block: &BlockHash) -> impl Iterator<Item = &'a Pending> + use<'a> {
        std::iter::successors(self.blocks.get(block), |pending| {
            self.blocks.get(&pending.executed.header.parent)
        })
    }

    /// Adds a block. If there are more than `limit` then, gives up the one that was out of use for
    /// longest, among those without children.
    pub(crate) fn insert(&mut self, pending: Pending, limit: usize) {
        let block = pending.point.tip.block;
        self.blocks.insert(block, pending);
        self.touch(&block);
        while self.blocks.len() > limit {
            let parents: BTreeSet<BlockHash> =
                self.blocks.values().map(|pending| pending.executed.header.parent).collect();
            let leaves = self.blocks.iter().filter(|(hash, _)| **hash != block && !parents.contains(hash));
            let Some(oldest) = leaves.min_by_key(|(_, pending)| pending.used).map(|(hash, _)| *hash) else {
                return;
            };
            self.blocks.remove(&oldest);
        }
    }

    /// Keeps only descendants of `tip`.
    pub(crate) fn settle(&mut self, tip: BlockHash) {
        let mut by_height: Vec<(Height, BlockHash, BlockHash)> = self
            .blocks
            .iter()
            .map(|(hash, pending)| (pending.executed.header.height, *hash, pending.executed.header.parent))
            .collect();
        by_height.sort_unstable();
        let mut kept = BTreeSet::from([tip]);
        for (_, hash, parent) in by_height {
            if kept.contains(&parent) {
                kept.insert(hash);
            } else {
                self.blocks.remove(&hash);
            }
        }
    }
}
