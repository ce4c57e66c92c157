//! The model of the ordering protocol: agreement holds wherever it goes, and falls with every rule that
//! DESIGN.md says it hangs on.

use quorate_tests::model::{
    Rules, Scope, Variation, explore, explore_after, prefix_of, scope_of, unreached, walk,
};

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
    let outcome = explore_after(Rules::new(scope).broken_by(variation), &prefix_of(variation), LIMIT);
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

#[test]
fn reading_a_certificates_view_from_the_header_breaks_it() {
    breaks(Variation::HeaderView, 24);
}

#[test]
fn following_the_single_best_certificate_breaks_it() {
    breaks(Variation::BestCertificateAlone, 24);
}

#[test]
fn a_parent_prepared_in_an_older_view_breaks_it() {
    breaks(Variation::ParentPreparedBefore, 28);
}

/// With the rules as they are, none of the prefixes leads anywhere bad: it is the variation that breaks.
#[test]
fn the_rules_hold_after_each_prefix() {
    for variation in [Variation::BestCertificateAlone, Variation::HeaderView] {
        let rules = Rules::new(scope_of(variation));
        let outcome = explore_after(rules, &prefix_of(variation), LIMIT);
        assert!(outcome.violation.is_none() && outcome.exhausted, "{variation}: {} states", outcome.states);
    }
}

/// Forgetting what no rule reads must hide no violation, and shorten or lengthen the way to none.
#[test]
fn forgetting_changes_no_verdict() {
    let scope = Scope { heights: 1, views: 2, window: 1, choices: 2 };
    for variation in [None].into_iter().chain(Variation::ALL.map(Some)) {
        let forgetful = Rules { variation, ..Rules::new(scope) };
        let steps = [forgetful, Rules { forgets: false, ..forgetful }].map(|rules| {
            let outcome = explore(rules, LIMIT);
            assert!(outcome.exhausted || outcome.violation.is_some(), "{variation:?}");
            outcome.violation.map(|trace| trace.steps())
        });
        assert_eq!(steps[0], steps[1], "{variation:?}");
    }
    // Where heights are settled one after the other, and a window closes.
    for variation in [None, Some(Variation::CommitsBeyondWindow)] {
        let scope = Scope { heights: 2, views: 2, window: 1, choices: 1 };
        let forgetful = Rules { variation, ..Rules::new(scope) };
        let steps = [forgetful, Rules { forgets: false, ..forgetful }]
            .map(|rules| explore(rules, LIMIT).violation.map(|trace| trace.steps()));
        assert_eq!(steps[0], steps[1], "{variation:?}");
    }
}

#[test]
fn random_walks_where_states_are_too_many_meet_no_violation() {
    let scope = Scope { heights: 3, views: 4, window: 3, choices: 2 };
    if let Err(trace) = walk(Rules::new(scope), 1, 10_000) {
        panic!("agreement is broken at {scope}:\n{trace}");
    }
}

/// The walks are able to meet one.
#[test]
fn random_walks_meet_the_violation_of_a_broken_rule() {
    for variation in [Variation::CutsChain, Variation::DropsCertificate] {
        let scope = Scope { heights: 3, views: 4, window: 3, choices: 2 };
        let broken = Rules::new(scope).broken_by(variation);
        assert!(walk(broken, 1, 1_000_000).is_err(), "{variation}");
    }
}
