//! States of equal meaning are made equal, which is what keeps the number of states small.

use super::block::{Block, Blocks};
use super::rules::Rules;
use super::state::{HEIGHTS, HONEST, Prepared, Replica, State, VIEWS};

impl Rules {
    /// Forgets what no rule can read any more. What is forgotten here is read under a condition only
    /// that can never hold again, so that the state without it has the same futures.
    pub fn forget(&self, state: &mut State) {
        self.forget_views_left(state);
        self.forget_votes(state);
        self.forget_reports(state);
    }

    /// What a view started from matters to those who vote in it and have not committed that much;
    /// promises, to those who may yet report them.
    fn forget_views_left(&self, state: &mut State) {
        for replica in &mut state.replicas {
            let committed = replica.committed.height();
            if replica.base.height() <= committed {
                replica.base = Block::GENESIS;
            }
            if replica.top.height() <= committed {
                replica.top = Block::GENESIS;
            }
            if self.lowest_view(replica) > replica.entered {
                (replica.entered, replica.base, replica.top) = (0, Block::GENESIS, Block::GENESIS);
            }
            let last = self.lowest_view(replica) + 1 == self.scope.views;
            let stale = if last { HEIGHTS } else { usize::from(committed) };
            replica.promises[..stale].fill(Prepared::default());
        }
    }

    /// Votes matter to their signer while it votes in their view, above its committed block; to the
    /// others, while they could complete a quorum that is not complete yet (see `has_prepares`).
    fn forget_votes(&self, state: &mut State) {
        let settled = state.replicas.iter().map(|replica| replica.committed.height()).min().unwrap_or(0);
        for view in 0..self.scope.views {
            let at = usize::from(view);
            let open: [bool; HONEST] = std::array::from_fn(|r| self.lowest_view(&state.replicas[r]) <= view);
            for height in 0..HEIGHTS {
                let useful = |state: &State, votes: fn(&Replica) -> &[[Blocks<2>; HEIGHTS]; VIEWS], block| {
                    let could = |(replica, open): (&Replica, &bool)| {
                        *open || votes(replica)[at][height].contains(block)
                    };
                    state.replicas.iter().zip(&open).filter(|both| could(*both)).count()
                        >= self.honest_in_quorum()
                };
                for r in 0..open.len() {
                    let settled = height < usize::from(settled);
                    let (prepares, commits) =
                        (state.replicas[r].prepares[at][height], state.replicas[r].commits[at][height]);
                    if settled || (!open[r] && !open.contains(&true)) {
                        state.replicas[r].prepares[at][height] = Blocks::default();
                        state.replicas[r].commits[at][height] = Blocks::default();
                    } else if !open[r] {
                        let done = state.prepared[at][height];
                        if prepares.iter().all(|b| done.contains(b) || !useful(state, |r| &r.prepares, b)) {
                            state.replicas[r].prepares[at][height] = Blocks::default();
                        }
                        let done = state.certified[height];
                        if commits.iter().all(|b| done == b || !useful(state, |r| &r.commits, b)) {
                            state.replicas[r].commits[at][height] = Blocks::default();
                        }
                    }
                }
            }
        }
    }

    /// ViewChanges and certificates matter while a view can be entered with them, above the height that
    /// every ViewChange for it will certify.
    fn forget_reports(&self, state: &mut State) {
        let enters = |r: &Replica, view: u8| r.entered < view && self.lowest_view(r) <= view;
        let mut floor = state.replicas.iter().map(|replica| replica.committed.height()).min().unwrap_or(0);
        let mut highest = 0;
        for view in 1..self.scope.views {
            if state.replicas.iter().any(|replica| enters(replica, view)) {
                highest = view;
            }
            let at = usize::from(view);
            for r in 0..state.replicas.len() {
                if highest < view {
                    state.replicas[r].changes[at] = None;
                } else if let Some(change) = state.replicas[r].changes[at] {
                    floor = floor.min(change.certificate.height());
                }
            }
        }
        for height in 0..usize::from(floor) {
            for replica in &mut state.replicas {
                for change in replica.changes.iter_mut().flatten() {
                    change.prepared[height] = Prepared::default();
                }
            }
            // Two blocks contradict each other where they contradict the same descendant.
            if state.certified[height + 1..].iter().any(|above| *above != Block::GENESIS) {
                state.certified[height] = Block::GENESIS;
            }
        }
        let open = state.replicas.iter().map(|replica| self.lowest_view(replica)).min().unwrap_or(0);
        for view in 0..self.scope.views {
            let read = view < highest;
            let below = if read || view >= open { usize::from(floor) } else { HEIGHTS };
            state.prepared[usize::from(view)][..below].fill(Blocks::default());
        }
    }
}
