//! Who may say what: rules 2 to 7 of DESIGN.md, with the variations where they bite.

use super::block::Block;
use super::state::{Change, HEIGHTS, Prepared, Replica, State, slot};
use super::variations::Variation;
use std::fmt;

/// How much of the protocol is explored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// Heights, 1 to [`HEIGHTS`].
    pub heights: u8,
    /// Views, 1 to [`VIEWS`](super::state::VIEWS).
    pub views: u8,
    /// The window W.
    pub window: u8,
    /// Blocks that a leader may propose on one parent in one view, 1 or 2.
    pub choices: u8,
}

/// The rules within a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How far they are explored.
    pub scope: Scope,
    /// What is wrong with them, if anything.
    pub variation: Option<Variation>,
    /// Whether states of equal meaning are made equal, which changes the number of states and nothing
    /// else.
    pub forgets: bool,
    /// Where exploring begins: at the beginning, or after steps that led to a state of interest.
    pub start: State,
}

/// What a NewView gives everyone to start from: the re-proposed chain above the base, by its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Plan {
    /// The highest certificate's block.
    pub base: Block,
    /// The highest re-proposed block, or the base.
    pub top: Block,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |n: u8, what: &str| if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") };
        let Scope { heights, views, window, choices } = *self;
        write!(f, "{}, {}, W = {window}, ", plural(heights, "height"), plural(views, "view"))?;
        write!(f, "{} a leader", plural(choices, "block"))
    }
}

impl Rules {
    /// The rules as they are.
    pub fn new(scope: Scope) -> Rules {
        Rules { scope, variation: None, forgets: true, start: State::default() }
    }

    /// The rules with one thing wrong.
    #[must_use]
    pub fn broken_by(self, variation: Variation) -> Rules {
        Rules { variation: Some(variation), ..self }
    }

    fn is(&self, variation: Variation) -> bool {
        self.variation == Some(variation)
    }

    /// How many of the honest must say a thing for a quorum to have said it, the Byzantine replica being
    /// ready to say anything. Of n = 4 a quorum is 3.
    pub fn honest_in_quorum(&self) -> usize {
        let quorum = if self.is(Variation::QuorumOneLess) { 2 } else { 3 };
        quorum - 1
    }

    /// The view in which a replica votes, if any.
    pub fn voting_view(&self, replica: &Replica) -> Option<u8> {
        let active = replica.entered == replica.view || self.is(Variation::VotesInViewLeft);
        // Whoever lacks the base catches up before voting.
        (active && replica.base.height() <= replica.committed.height()).then_some(replica.entered)
    }

    /// The lowest view in which it may vote, now or later, or which it may enter.
    pub fn lowest_view(&self, replica: &Replica) -> u8 {
        match self.variation {
            Some(Variation::VotesInViewLeft | Variation::ForgetsViewLeft) => replica.entered,
            _ => replica.view,
        }
    }

    fn highest_vote(&self, replica: &Replica) -> u8 {
        let committed = replica.committed.height();
        let window = if self.is(Variation::CommitsBeyondWindow) { HEIGHTS_U8 } else { self.scope.window };
        self.scope.heights.min(committed + window)
    }

    /// The blocks on which a replica may vote Prepare (rule 2), each with its view.
    ///
    /// What it accepted is what it voted on: an acceptance without a vote binds nobody, as a restart
    /// forgets it. Any leader is taken to propose anything, so a proposal needs no state.
    pub fn prepares(&self, state: &State, replica: &Replica, out: &mut Vec<(u8, Block)>) {
        let Some(view) = self.voting_view(replica) else { return };
        let mut parents = vec![replica.committed];
        for height in replica.committed.height() + 1..=self.highest_vote(replica) {
            let voted = replica.prepares[usize::from(view)][slot(height)];
            let votes = if self.is(Variation::PreparesTwice) { 2 } else { 1 };
            if voted.len() < votes {
                for parent in &parents {
                    self.proposals(state, replica, view, *parent, |block| {
                        if !voted.contains(block) {
                            out.push((view, block));
                        }
                    });
                }
            }
            // A child is accepted on what was accepted in this view.
            parents = voted.iter().filter(|block| parents.contains(&block.parent())).collect();
        }
    }

    /// What may stand on `parent` in `view`: the re-proposal where there is one, else anything new.
    fn proposals(
        &self,
        state: &State,
        replica: &Replica,
        view: u8,
        parent: Block,
        mut accept: impl FnMut(Block),
    ) {
        let height = parent.height() + 1;
        if replica.top.height() >= height {
            let block = replica.top.at(height);
            if block.parent() == parent {
                accept(block);
            }
            return;
        }
        for choice in 0..self.scope.choices {
            let block = parent.child(view, choice);
            accept(block);
            // The choices differ in nothing but their names, so the first to be voted on is the first.
            if !state.replicas.iter().any(|r| r.prepares[usize::from(view)][slot(height)].contains(block)) {
                break;
            }
        }
    }

    /// Whether a quorum voted Prepare on `block` in `view`.
    pub fn has_prepares(&self, state: &State, view: u8, block: Block) -> bool {
        let at = slot(block.height());
        if state.prepared[usize::from(view)][at].contains(block) {
            return true;
        }
        let voted = |r: &&Replica| r.prepares[usize::from(view)][at].contains(block);
        state.replicas.iter().filter(voted).count() >= self.honest_in_quorum()
    }

    /// Whether a quorum voted Commit on `block` in `view`.
    pub fn has_commits(&self, state: &State, view: u8, block: Block) -> bool {
        let at = slot(block.height());
        let voted = |r: &&Replica| r.commits[usize::from(view)][at].contains(block);
        state.replicas.iter().filter(voted).count() >= self.honest_in_quorum()
    }

    /// The blocks on which a replica may vote Commit (rule 3): prepared in this view, like all between it
    /// and the committed block. It votes upward, each height after the one below.
    pub fn commits(&self, state: &State, replica: &Replica, out: &mut Vec<(u8, Block)>) {
        let Some(view) = self.voting_view(replica) else { return };
        let (prepares, commits) = (&replica.prepares[usize::from(view)], &replica.commits[usize::from(view)]);
        let mut parents = vec![replica.committed];
        for height in replica.committed.height() + 1..=self.highest_vote(replica) {
            let at = slot(height);
            let mut next = Vec::new();
            for block in prepares[at].iter().filter(|block| parents.contains(&block.parent())) {
                if commits[at].contains(block) {
                    next.push(block);
                } else if self.has_prepares(state, view, block) {
                    out.push((view, block));
                }
                let before = || state.prepared[..usize::from(view)].iter().any(|p| p[at].contains(block));
                if self.is(Variation::ParentPreparedBefore)
                    && replica.promises[at].block == block
                    && !next.contains(&block)
                    && before()
                {
                    next.push(block);
                }
            }
            parents = next;
        }
    }

    /// The blocks to which a replica may catch up (rules 4 and 8): any certified one above its own.
    pub fn catch_ups(&self, state: &State, replica: &Replica, out: &mut Vec<Block>) {
        let above = state.certified.iter().filter(|block| block.height() > replica.committed.height());
        out.extend(above);
    }

    /// The views for which replica `r` may leave its own (rule 6): the next, on suspicion; a higher one
    /// that another honest replica has reached, as that and the Byzantine one are f+1.
    pub fn leaves(&self, state: &State, r: usize) -> impl Iterator<Item = u8> + use<> {
        let replica = &state.replicas[r];
        let reached = state.replicas.iter().map(|replica| replica.view).max().unwrap_or(0);
        let highest = reached.max(replica.view + 1).min(self.scope.views - 1);
        let said = replica.changes.map(|change| change.is_some());
        (replica.view + 1..=highest).filter(move |view| !said[usize::from(*view)])
    }

    /// What a replica says on leaving (rule 6), but for the certificate at height `without`.
    pub fn change(&self, replica: &Replica, without: Option<u8>) -> Change {
        let committed = replica.committed.height();
        let mut prepared = replica.promises;
        if let Some(height) = without {
            prepared[slot(height)] = Prepared::default();
        }
        let window = usize::from(self.scope.window) + usize::from(committed);
        // Nothing stands there but in the variation that commits beyond the window.
        prepared[window.min(HEIGHTS)..].fill(Prepared::default());
        Change { certificate: replica.committed, prepared }
    }

    /// The heights of which a faulty ViewChange may leave out the certificate.
    pub fn droppable(&self, replica: &Replica) -> impl Iterator<Item = u8> + use<> {
        let drops = self.is(Variation::DropsCertificate);
        let promises = replica.promises;
        promises.into_iter().map(|promise| promise.block.height()).filter(move |height| drops && *height > 0)
    }

    /// All that a valid NewView for `view` may say (rule 7): any quorum of ViewChanges, the Byzantine
    /// one's among them with whatever certificates can be made.
    pub fn plans(&self, state: &State, view: u8) -> Vec<Plan> {
        let said: Vec<Change> =
            state.replicas.iter().filter_map(|replica| replica.changes[usize::from(view)]).collect();
        let mut plans = Vec::new();
        for members in 0_u8..1 << said.len() {
            let chosen: Vec<Change> =
                (0..said.len()).filter(|at| members >> at & 1 == 1).map(|at| said[at]).collect();
            if chosen.len() >= self.honest_in_quorum() {
                self.plans_of(state, view, &chosen, &mut plans);
            }
        }
        plans
    }

    fn plans_of(&self, state: &State, view: u8, chosen: &[Change], plans: &mut Vec<Plan>) {
        let honest = chosen.iter().map(|change| change.certificate).max_by_key(|b| b.height());
        let honest = honest.unwrap_or(Block::GENESIS);
        // With a lower certificate the Byzantine replica could report less, and nothing else.
        let higher = state.certified.iter().copied().filter(|block| block.height() > honest.height());
        for base in std::iter::once(honest).chain(higher) {
            let mut add = |top| {
                let plan = Plan { base, top };
                if !plans.contains(&plan) {
                    plans.push(plan);
                }
            };
            if self.is(Variation::BestCertificateAlone) {
                self.best_alone(state, view, chosen, base, &mut add);
            } else {
                self.extend(state, view, chosen, base, base, &mut add);
            }
        }
    }

    /// By what certificates for one height are compared.
    fn rank(&self, prepared: &Prepared) -> u8 {
        if self.is(Variation::HeaderView) { prepared.block.header_view() } else { prepared.view }
    }

    /// The prepared certificates that can be made for `height`, of views below `view`.
    fn makeable(state: &State, view: u8, height: u8) -> impl Iterator<Item = Prepared> + use<> {
        let prepared = state.prepared;
        (0..view).flat_map(move |of| {
            prepared[usize::from(of)][slot(height)].iter().map(move |block| Prepared { view: of, block })
        })
    }

    /// From the base upward, at each height the certificate of the highest view, as long as it extends
    /// the one below. Where the Byzantine replica may choose, each choice is followed.
    fn extend(
        &self,
        state: &State,
        view: u8,
        chosen: &[Change],
        base: Block,
        top: Block,
        add: &mut impl FnMut(Block),
    ) {
        let height = top.height() + 1;
        if height > self.scope.heights.min(base.height() + self.scope.window) {
            return add(top);
        }
        let reported = || {
            let at_height = chosen.iter().map(|change| change.prepared[slot(height)]);
            at_height.filter(|prepared| prepared.block != Block::GENESIS)
        };
        let best = reported().map(|prepared| self.rank(&prepared)).max();
        if best.is_none() || self.is(Variation::CutsChain) {
            add(top);
        }
        let options = reported().chain(Self::makeable(state, view, height));
        for option in options.filter(|option| best.is_none_or(|best| self.rank(option) >= best)) {
            if option.block.parent() == top {
                self.extend(state, view, chosen, base, option.block, add);
            } else {
                add(top);
            }
        }
    }

    fn best_alone(
        &self,
        state: &State,
        view: u8,
        chosen: &[Change],
        base: Block,
        add: &mut impl FnMut(Block),
    ) {
        let by = |prepared: &Prepared| (prepared.view, prepared.block.height());
        let in_reach = |prepared: &Prepared| {
            let height = prepared.block.height();
            height > base.height() && height <= base.height() + self.scope.window
        };
        let reported = || chosen.iter().flat_map(|change| change.prepared).filter(in_reach);
        let best = reported().map(|prepared| by(&prepared)).max();
        if best.is_none() {
            add(base);
        }
        let makeable = (1..=self.scope.heights).flat_map(|height| Self::makeable(state, view, height));
        for option in reported().chain(makeable.filter(in_reach)).filter(|o| best.is_none_or(|b| by(o) >= b))
        {
            add(if option.block.descends_from(base) { option.block } else { base });
        }
    }
}

/// [`HEIGHTS`] as a height.
const HEIGHTS_U8: u8 = 3;
const _: () = assert!(HEIGHTS == 3, "one number, twice");
