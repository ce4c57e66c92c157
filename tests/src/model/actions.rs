//! The steps of the honest replicas, and the invariant.

use super::block::Block;
use super::rules::{Plan, Rules};
use super::state::{Prepared, Replica, State, slot};
use super::variations::Variation;
use stateright::{Model, Property};
use std::fmt;

/// What one honest replica does next. The Byzantine one takes no steps: whatever it could sign counts
/// as said from the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Accepts a block and votes Prepare on it.
    Prepare {
        /// In this view.
        view: u8,
        /// On this block.
        block: Block,
    },
    /// Votes Commit.
    Commit {
        /// In this view.
        view: u8,
        /// On this block.
        block: Block,
    },
    /// Commits a certified block and those below it.
    CatchUp {
        /// Up to this one.
        block: Block,
    },
    /// Leaves its view.
    ViewChange {
        /// For this one.
        view: u8,
        /// Without the certificate at this height: a variation.
        without: Option<u8>,
    },
    /// Takes a NewView.
    NewView {
        /// Of this view.
        view: u8,
        /// From which everyone computes this.
        plan: Plan,
    },
    /// Restarts, having forgotten that it left its view: a variation. A restart by the rules changes
    /// nothing of what the model holds, as that is what is durable.
    Forget,
}

/// A step with who takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    /// Which honest replica.
    pub replica: usize,
    /// What it does.
    pub step: Step,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "replica {} ", self.replica)?;
        match self.step {
            Step::Prepare { view, block } => write!(f, "votes Prepare in view {view} on {block}"),
            Step::Commit { view, block } => write!(f, "votes Commit in view {view} on {block}"),
            Step::CatchUp { block } => write!(f, "commits up to {block}, which has a certificate"),
            Step::ViewChange { view, without: None } => write!(f, "sends ViewChange for view {view}"),
            Step::ViewChange { view, without: Some(height) } => {
                write!(f, "sends ViewChange for view {view}, leaving out the certificate at height {height}")
            }
            Step::NewView { view, plan: Plan { base, top } } if base == top => {
                write!(f, "takes a NewView of view {view}: base {base}, nothing re-proposed")
            }
            Step::NewView { view, plan: Plan { base, top } } => {
                write!(f, "takes a NewView of view {view}: base {base}, re-proposed up to {top}")
            }
            Step::Forget => write!(f, "restarts, and has forgotten that it left its view"),
        }
    }
}

impl Rules {
    fn steps(&self, state: &State, r: usize, mut push: impl FnMut(Step)) {
        let replica = &state.replicas[r];
        let mut votes = Vec::new();
        self.prepares(state, replica, &mut votes);
        votes.drain(..).for_each(|(view, block)| push(Step::Prepare { view, block }));
        self.commits(state, replica, &mut votes);
        votes.into_iter().for_each(|(view, block)| push(Step::Commit { view, block }));
        let mut blocks = Vec::new();
        self.catch_ups(state, replica, &mut blocks);
        blocks.into_iter().for_each(|block| push(Step::CatchUp { block }));
        for view in self.leaves(state, r) {
            push(Step::ViewChange { view, without: None });
            self.droppable(replica).for_each(|height| push(Step::ViewChange { view, without: Some(height) }));
        }
        if self.variation == Some(Variation::ForgetsViewLeft) && replica.view > replica.entered {
            push(Step::Forget);
        }
    }

    /// The state after `action`.
    pub fn after(&self, state: &State, action: Action) -> State {
        let mut next = *state;
        let replica = &mut next.replicas[action.replica];
        match action.step {
            Step::Prepare { view, block } => {
                let at = slot(block.height());
                replica.prepares[usize::from(view)][at].insert(block);
                // Certificates of the last view are reported to no other.
                if view + 1 < self.scope.views && self.has_prepares(&next, view, block) {
                    next.prepared[usize::from(view)][at].insert(block);
                }
            }
            Step::Commit { view, block } => {
                let at = slot(block.height());
                replica.commits[usize::from(view)][at].insert(block);
                replica.promises[at] = Prepared { view, block };
                if self.has_commits(&next, view, block) {
                    certify(&mut next, block);
                }
            }
            Step::CatchUp { block } => replica.committed = block,
            Step::ViewChange { view, without } => {
                replica.changes[usize::from(view)] = Some(self.change(replica, without));
                replica.view = view;
            }
            Step::NewView { view, plan } => enter(replica, view, plan),
            Step::Forget => replica.view = replica.entered,
        }
        if self.forgets {
            self.forget(&mut next);
        }
        next
    }
}

fn enter(replica: &mut Replica, view: u8, plan: Plan) {
    replica.view = view;
    replica.entered = view;
    replica.base = plan.base;
    replica.top = plan.top;
}

/// A certificate for `block` exists now. Two that contradict each other are the end of the world.
fn certify(state: &mut State, block: Block) {
    let against = state.certified.iter().copied().find(|other| {
        *other != Block::GENESIS && !block.descends_from(*other) && !other.descends_from(block)
    });
    state.fork = state.fork.or(against.map(|other| (other, block)));
    state.certified[slot(block.height())] = block;
}

impl Model for Rules {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.start]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.fork.is_some() {
            return;
        }
        for replica in 0..state.replicas.len() {
            self.steps(state, replica, |step| actions.push(Action { replica, step }));
        }
        for view in 1..self.scope.views {
            let enters = |r: &Replica| r.view < view || (r.view == view && r.entered < view);
            if !state.replicas.iter().any(enters) {
                continue;
            }
            for plan in self.plans(state, view) {
                let who = (0..state.replicas.len()).filter(|r| enters(&state.replicas[*r]));
                actions.extend(who.map(|replica| Action { replica, step: Step::NewView { view, plan } }));
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        Some(self.after(state, action))
    }

    fn properties(&self) -> Vec<Property<Rules>> {
        vec![Property::always(super::check::AGREEMENT, |_, state: &State| state.fork.is_none())]
    }

    fn format_action(&self, action: &Action) -> String {
        action.to_string()
    }
}
