//! Where to look for the deep violations: runs of the rules as they are, from which a broken one is then
//! explored. Nothing in them is against the rules, and the search after them is complete.

use super::actions::{Action, Step};
use super::block::Block;
use super::rules::Plan;
use super::variations::Variation;

fn prepare(replica: usize, view: u8, block: Block) -> Action {
    Action { replica, step: Step::Prepare { view, block } }
}

fn commit(replica: usize, view: u8, block: Block) -> Action {
    Action { replica, step: Step::Commit { view, block } }
}

fn leave(replica: usize, view: u8) -> Action {
    Action { replica, step: Step::ViewChange { view, without: None } }
}

fn enter(replica: usize, view: u8, top: Block) -> Action {
    Action { replica, step: Step::NewView { view, plan: Plan { base: Block::GENESIS, top } } }
}

/// The beginning of a run on which `variation` matters; empty where it is found from the start.
pub fn prefix_of(variation: Variation) -> Vec<Action> {
    let first = Block::GENESIS.child(0, 0);
    let other = Block::GENESIS.child(1, 0);
    match variation {
        // A quorum voted Commit on two blocks in view 0, and view 1 starts from both: the upper one must
        // survive whatever follows.
        Variation::BestCertificateAlone => {
            let both = [first, first.child(0, 0)];
            let votes = |replica| both.map(|block| prepare(replica, 0, block)).into_iter();
            let commits = |replica| both.map(|block| commit(replica, 0, block)).into_iter();
            let next = [leave(1, 1), leave(2, 1), enter(1, 1, both[1]), enter(2, 1, both[1])];
            votes(0).chain(votes(1)).chain(commits(0)).chain(commits(1)).chain(next).collect()
        }
        // One block was prepared in view 0, and one replica voted Commit on it; another one was prepared
        // in view 1, which starts from the ViewChanges of those that did not; view 2 starts from the
        // first again, as the second was only ever seen prepared by the Byzantine replica. Searching on
        // from after view 1 takes minutes and finds nothing shorter.
        Variation::ParentPreparedBefore => vec![
            prepare(0, 0, first),
            prepare(1, 0, first),
            commit(0, 0, first),
            leave(1, 1),
            leave(2, 1),
            enter(1, 1, Block::GENESIS),
            enter(2, 1, Block::GENESIS),
            prepare(1, 1, other),
            prepare(2, 1, other),
            leave(1, 2),
            leave(0, 2),
            enter(0, 2, first),
            enter(2, 2, first),
        ],
        // One block was prepared in view 0, another in view 1.
        Variation::HeaderView => vec![
            prepare(0, 0, first),
            prepare(1, 0, first),
            leave(0, 1),
            leave(1, 1),
            enter(1, 1, Block::GENESIS),
            enter(2, 1, Block::GENESIS),
            prepare(1, 1, other),
            prepare(2, 1, other),
        ],
        _ => Vec::new(),
    }
}
