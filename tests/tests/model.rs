//! The model of the ordering protocol: agreement holds wherever it goes, and falls with every rule that
//! DESIGN.md says it hangs on.

use quorate_tests::model::{Rules, Scope, Variation, explore, scope_of, unreached};

/// Scopes small enough to exhaust in seconds.
const SMALL: [Scope; 4] = [
    Scope { heights: 1, views: 3, window: 1, choices: 2 },
    Scope { heights: 2, views: 2, window: 1, choices: 2 },
    Scope { heights: 2, views: 2, window: 2, choices: 1 },
    Scope { heights: 3, views: 2, window: 1, choices: 1 },
];

const LIMIT: usize = 50_000_000;

#[test]
fn agreement_holds_in_every_state_of_small_scopes() {
    for scope in SMALL {
        let outcome = explore(Rules::new(scope), LIMIT);
        if let Some(trace) = outcome.violation {
            panic!("agreement is broken at {scope}:\n{trace}");
        }
        assert!(outcome.exhausted, "{scope}: {} states and more", outcome.states);
    }
}

#[test]
fn what_should_happen_can_happen() {
    for scope in SMALL.into_iter().filter(|scope| scope.heights > 1) {
        assert_eq!(unreached(Rules::new(scope), LIMIT), Vec::<&str>::new(), "{scope}");
    }
}

/// Breaks the rules with `variation` and expects a shortest violation of so many steps.
fn breaks(variation: Variation, steps: usize) {
    let scope = scope_of(variation);
    let outcome = explore(Rules::new(scope).broken_by(variation), LIMIT);
    let Some(trace) = outcome.violation else {
        panic!("{variation} breaks nothing in {} states at {scope}", outcome.states)
    };
    assert_eq!(trace.steps(), steps, "{variation} at {scope}:\n{trace}");
}

#[test]
fn a_quorum_one_less_breaks_it() {
    breaks(Variation::QuorumOneLess, 4);
}

#[test]
fn voting_prepare_twice_breaks_it() {
    breaks(Variation::PreparesTwice, 8);
}

#[test]
fn voting_in_a_view_left_breaks_it() {
    breaks(Variation::VotesInViewLeft, 12);
}

#[test]
fn forgetting_over_a_restart_that_the_view_was_left_breaks_it() {
    breaks(Variation::ForgetsViewLeft, 13);
}

#[test]
fn leaving_a_prepared_certificate_out_breaks_it() {
    breaks(Variation::DropsCertificate, 12);
}

#[test]
fn cutting_the_chain_short_breaks_it() {
    breaks(Variation::CutsChain, 12);
}

#[test]
fn cutting_view_changes_to_the_window_but_not_commits_breaks_it() {
    breaks(Variation::CommitsBeyondWindow, 18);
}
