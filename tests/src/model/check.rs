//! Exploring: to exhaustion, to the shortest violation, or by random walks.

use super::actions::{Action, Step};
use super::block::Block;
use super::rules::{Rules, Scope};
use super::state::{Replica, State};
use super::trace::Trace;
use super::variations::Variation;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use stateright::{Checker, HasDiscoveries, Model, Property};
use std::time::{Duration, Instant};

/// What an exploration met.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Distinct states, up to names of replicas and what can matter no more.
    pub states: usize,
    /// Steps tried between them.
    pub transitions: usize,
    /// Steps on the longest of the shortest ways to a state.
    pub depth: usize,
    /// How long it took.
    pub elapsed: Duration,
    /// Whether every state was met; false if the limit ended it, or a violation.
    pub exhausted: bool,
    /// A way to break agreement, if one was met.
    pub violation: Option<Trace>,
}

/// Explores breadth first, until every state is met, or agreement is broken, or `limit` steps were
/// tried. A violation is among the shortest ones.
pub fn explore(rules: Rules, limit: usize) -> Outcome {
    explore_after(rules, &[], limit)
}

/// Explores like [`explore`], from where `prefix` leads: for violations so deep that there are too many
/// states on the way. A violation begins with the prefix, and is among the shortest that do.
///
/// # Panics
/// If the rules do not allow a step of the prefix.
pub fn explore_after(mut rules: Rules, prefix: &[Action], limit: usize) -> Outcome {
    let start = Instant::now();
    for action in prefix {
        let mut allowed = Vec::new();
        rules.actions(&rules.start, &mut allowed);
        assert!(allowed.contains(action), "the rules do not allow that {action}");
        rules.start = rules.after(&rules.start, *action);
    }
    // One thread, as several would not go strictly by depth.
    let checker = rules.checker().threads(1).target_state_count(limit);
    let checker = checker.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let violation = checker
        .discovery(AGREEMENT)
        .map(|path| Trace::of(rules, prefix.iter().copied().chain(path.into_actions())));
    Outcome {
        states: checker.unique_state_count(),
        transitions: checker.state_count(),
        depth: checker.max_depth().saturating_sub(1),
        elapsed: start.elapsed(),
        exhausted: violation.is_none() && checker.state_count() < limit,
        violation,
    }
}

/// The name of the invariant.
pub(super) const AGREEMENT: &str = "agreement";

/// In which scope each variation is shown to break agreement: a small one in which it does.
pub fn scope_of(variation: Variation) -> Scope {
    let scope = |heights, views, window, choices| Scope { heights, views, window, choices };
    match variation {
        Variation::QuorumOneLess | Variation::PreparesTwice => scope(1, 1, 1, 2),
        Variation::VotesInViewLeft
        | Variation::ForgetsViewLeft
        | Variation::DropsCertificate
        | Variation::CutsChain => scope(1, 2, 1, 2),
        Variation::CommitsBeyondWindow => scope(2, 2, 1, 1),
        Variation::HeaderView => scope(1, 4, 1, 1),
        Variation::BestCertificateAlone => scope(2, 3, 2, 1),
        Variation::ParentPreparedBefore => scope(2, 4, 2, 1),
    }
}

/// The scopes that are exhausted: the largest in minutes and a few gigabytes of memory.
pub const SCOPES: [Scope; 7] = [
    Scope { heights: 1, views: 3, window: 1, choices: 2 },
    Scope { heights: 1, views: 4, window: 1, choices: 2 },
    Scope { heights: 2, views: 2, window: 1, choices: 2 },
    Scope { heights: 2, views: 2, window: 2, choices: 2 },
    Scope { heights: 2, views: 3, window: 2, choices: 1 },
    Scope { heights: 3, views: 2, window: 2, choices: 1 },
    Scope { heights: 3, views: 2, window: 3, choices: 1 },
];

/// Takes `walks` random walks, each from the beginning until nothing is left to do, and returns the
/// number of steps taken, or the first violation met. The same seed walks the same ways.
///
/// # Errors
/// The violation.
pub fn walk(rules: Rules, seed: u64, walks: u64) -> Result<u64, Box<Trace>> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut taken = 0;
    for _ in 0..walks {
        // Views are left at once by chance alone, and nothing deep would be met. Each walk draws how
        // reluctant its replicas are to leave.
        let reluctance = 1_u32 << random.random_range(0..6);
        let mut state = rules.start;
        let (mut path, mut options) = (Vec::new(), Vec::new());
        loop {
            rules.actions(&state, &mut options);
            if options.is_empty() {
                break;
            }
            let mut action: Action = options[random.random_range(0..options.len())];
            if matches!(action.step, Step::ViewChange { .. }) && random.random_range(0..reluctance) > 0 {
                action = options[random.random_range(0..options.len())];
            }
            options.clear();
            state = rules.after(&state, action);
            path.push(action);
            taken += 1;
            if state.fork.is_some() {
                return Err(Box::new(Trace::of(rules, path)));
            }
        }
    }
    Ok(taken)
}

/// The rules asked for what *should* be reachable, so that a model in which nothing happens, and
/// agreement holds, is noticed.
#[derive(Debug, Clone, Copy)]
struct Reach(Rules);

impl Model for Reach {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        self.0.init_states()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.0.actions(state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        self.0.next_state(state, action)
    }

    fn properties(&self) -> Vec<Property<Reach>> {
        vec![
            Property::sometimes("the highest block has a certificate", |Reach(rules), state| {
                certified(state).any(|block| block.height() == rules.scope.heights)
            }),
            Property::sometimes("a block of the last view has a certificate", |Reach(rules), state| {
                certified(state).any(|block| block.header_view() + 1 == rules.scope.views)
            }),
            Property::sometimes(
                "a re-proposed block gets its certificate in the last view",
                |model, state: &State| {
                    let last = model.0.scope.views - 1;
                    let mut commits = state.replicas.iter().flat_map(|r| r.commits[usize::from(last)]);
                    commits.any(|blocks| {
                        blocks.iter().any(|b| b.header_view() < last && model.0.has_commits(state, last, b))
                    })
                },
            ),
            Property::sometimes("a replica has to catch up to the base of its view", |_, state: &State| {
                state.replicas.iter().any(|replica| replica.base != Block::GENESIS)
            }),
            Property::sometimes(
                "two ViewChanges for one view have different certificates",
                |_, state: &State| {
                    let said = |replica: &Replica| replica.changes[1].map(|change| change.certificate);
                    let said: Vec<Block> = state.replicas.iter().filter_map(said).collect();
                    said.iter().any(|one| said.iter().any(|other| one != other))
                },
            ),
        ]
    }
}

fn certified(state: &State) -> impl Iterator<Item = Block> {
    state.certified.into_iter().filter(|block| *block != Block::GENESIS)
}

/// What should be reachable within a scope of two views or more, and is not, exploring at most `limit`
/// steps.
pub fn unreached(rules: Rules, limit: usize) -> Vec<&'static str> {
    let reach = Reach(rules);
    let names: Vec<&'static str> = reach.properties().iter().map(|property| property.name).collect();
    let all = HasDiscoveries::AllOf(names.iter().copied().collect());
    let checker = reach.checker().threads(1).target_state_count(limit).finish_when(all).spawn_bfs().join();
    names.into_iter().filter(|name| checker.discovery(name).is_none()).collect()
}
