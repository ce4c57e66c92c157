//! What there is to know about the consortium at one moment.

use super::block::{Block, Blocks};
use std::hash::{Hash, Hasher};

/// Honest replicas; the fourth signs anything and needs no state.
pub const HONEST: usize = 3;
/// The most heights of any scope.
pub const HEIGHTS: usize = 3;
/// The most views of any scope.
pub const VIEWS: usize = 4;

/// A prepared certificate: the view of its votes, and its block; genesis where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Prepared {
    /// The view of the votes.
    pub view: u8,
    /// The block they are on.
    pub block: Block,
}

/// A ViewChange that was said; one is said for each view and never another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Change {
    /// The block of the certificate in it.
    pub certificate: Block,
    /// The prepared certificates in it, by height less one.
    pub prepared: [Prepared; HEIGHTS],
}

/// One honest replica: what it has made durable, and so what it has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Replica {
    /// The view it is in, or moves to.
    pub view: u8,
    /// The last view whose NewView it took; below `view` while it waits for that one's.
    pub entered: u8,
    /// What that view started from, and the highest block re-proposed in it. Genesis once they say
    /// nothing any more, being committed here.
    pub base: Block,
    /// See `base`.
    pub top: Block,
    /// Its last committed block.
    pub committed: Block,
    /// Its Prepares, by view and height less one.
    pub prepares: [[Blocks<2>; HEIGHTS]; VIEWS],
    /// Its Commits, likewise.
    pub commits: [[Blocks<2>; HEIGHTS]; VIEWS],
    /// The certificate behind its last Commit at each height above the committed block.
    pub promises: [Prepared; HEIGHTS],
    /// Its ViewChanges, by view.
    pub changes: [Option<Change>; VIEWS],
}

/// The whole consortium. All that was ever said stays said, so that loss, delay, reordering and
/// duplication are the freedom to hear of it later, again, or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct State {
    /// The honest replicas.
    pub replicas: [Replica; HONEST],
    /// For which blocks a prepared certificate can be made, by view and height less one.
    pub prepared: [[Blocks<3>; HEIGHTS]; VIEWS],
    /// The blocks that have a certificate, by height less one; genesis where none has.
    pub certified: [Block; HEIGHTS],
    /// Two certified blocks of which neither extends the other: what must never be.
    pub fork: Option<(Block, Block)>,
}

/// Where a height stands in an array.
pub fn slot(height: u8) -> usize {
    usize::from(height).checked_sub(1).expect("genesis has no slot")
}

/// The replicas differ in nothing but their names, as any of them, or none, may lead any view. So
/// states that differ by a renaming are one, and are told apart by what is hashed here only; the trace
/// keeps the names.
impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let mut replicas: [&Replica; HONEST] = std::array::from_fn(|r| &self.replicas[r]);
        replicas.sort_unstable();
        replicas.hash(hasher);
        self.prepared.hash(hasher);
        self.certified.hash(hasher);
        self.fork.hash(hasher);
    }
}
