//! The checks against histories made by hand: good ones pass, and each kind of lie is found.

use super::blind::linearizable;
use super::check::{Chain, check};
use super::world::World;
use super::{Action, Answer, Call, Effect, History, Key, Place};
use quorate_types::hash::{Hash, TransactionId};
use std::time::Duration;

const UNITS: u128 = 10;

fn id(number: u8) -> TransactionId {
    TransactionId(Hash([number; 32]))
}

fn at(height: u64, index: u32) -> Place {
    Place { height, index }
}

/// A call of a client from one time to another.
fn call(client: usize, times: (u64, u64), number: u8, action: Action, answer: Answer) -> Call {
    let write = matches!(action, Action::Put { .. } | Action::Transfer { .. });
    Call {
        client,
        action,
        id: write.then(|| id(number)),
        invoked: Duration::from_millis(times.0),
        answered: Duration::from_millis(times.1),
        answer,
    }
}

fn put(key: Key, value: u64) -> Action {
    Action::Put { key, value, expected: None }
}

fn swap(key: Key, value: u64, expected: u64) -> Action {
    Action::Put { key, value, expected: Some(expected) }
}

fn applied(height: u64, index: u32) -> Answer {
    Answer::Receipt(at(height, index), Effect::Applied)
}

/// Two clients on one key, with a lost race, an open call, reads and transfers.
fn good() -> (History, Chain) {
    let mismatch = Answer::Receipt(at(6, 0), Effect::Mismatch { found: 5 });
    let poor = Answer::Receipt(at(8, 0), Effect::Insufficient { balance: 4 });
    let calls = vec![
        call(0, (0, 10), 1, put(1, 100), applied(3, 0)),
        call(1, (1, 11), 2, swap(2, 101, 0), applied(3, 1)),
        call(0, (20, 30), 3, swap(1, 102, 3), applied(5, 0)),
        call(1, (21, 40), 4, swap(1, 103, 3), mismatch),
        call(0, (41, 42), 0, Action::Read { key: 1 }, Answer::Value { at: 6, found: Some((102, 5)) }),
        // Of another client, and older: it may be.
        call(1, (43, 44), 0, Action::Read { key: 1 }, Answer::Value { at: 6, found: Some((102, 5)) }),
        call(0, (50, 60), 5, Action::Transfer { to: 1, amount: 6 }, applied(7, 0)),
        call(0, (61, 70), 6, Action::Transfer { to: 1, amount: 5 }, poor),
        call(1, (62, 63), 0, Action::Balance { of: 0 }, Answer::Units { at: 6, units: 10 }),
        call(1, (64, 99), 7, put(1, 104), Answer::Unknown),
        call(0, (71, 80), 8, swap(1, 105, 9), applied(10, 0)),
        call(0, (81, 82), 9, put(1, 106), Answer::Nothing),
        call(1, (100, 101), 0, Action::Read { key: 1 }, Answer::Value { at: 10, found: Some((105, 10)) }),
    ];
    let chain = [
        (at(3, 0), 1),
        (at(3, 1), 2),
        (at(5, 0), 3),
        (at(6, 0), 4),
        (at(7, 0), 5),
        (at(8, 0), 6),
        (at(9, 0), 7),
        (at(10, 0), 8),
    ];
    (History { calls }, chain.into_iter().map(|(place, number)| (place, id(number))).collect())
}

fn judge(history: &History, chain: &Chain) -> Result<(), String> {
    check(history, chain, &World::new(2, UNITS)).map(|_| ()).map_err(|error| error.to_string())
}

fn blindly(history: &History) -> bool {
    linearizable(history, 2, UNITS).is_ok()
}

#[test]
fn a_good_history_passes() {
    let (history, chain) = good();
    let counts = check(&history, &chain, &World::new(2, UNITS)).unwrap();
    assert_eq!((counts.receipts, counts.failed, counts.reads), (7, 2, 4));
    assert_eq!((counts.unknown, counts.unknown_committed), (1, 1));
    assert!(blindly(&history));
}

/// Changes one thing in the good history, and expects that to be found and named.
fn bad(change: impl FnOnce(&mut History, &mut Chain), named: &str) {
    let (mut history, mut chain) = good();
    change(&mut history, &mut chain);
    let found = judge(&history, &chain).unwrap_err();
    assert!(found.contains(named), "{found}");
}

#[test]
fn a_double_effect_is_found() {
    bad(|_, chain| assert_ne!(chain.insert(at(11, 0), id(1)), Some(id(0))), "stands on the chain twice");
}

#[test]
fn a_lost_transaction_is_found() {
    bad(|_, chain| assert_ne!(chain.remove(&at(5, 0)), Some(id(0))), "the receipt names");
    bad(
        |history, _| history.calls[0].answer = applied(4, 0),
        "the receipt names Place { height: 4, index: 0 }, it stands at Some(Place { height: 3, index: 0 })",
    );
}

#[test]
fn an_effect_of_what_was_handed_to_nobody_is_found() {
    bad(|_, chain| assert_ne!(chain.insert(at(11, 0), id(9)), Some(id(0))), "handed to nobody");
}

#[test]
fn a_transaction_of_nobody_is_found() {
    bad(|_, chain| assert_ne!(chain.insert(at(11, 0), id(77)), Some(id(0))), "nobody submitted");
}

#[test]
fn an_order_against_real_time_is_found() {
    // Call 8 began after call 6 was over.
    let swap_places = |history: &mut History, chain: &mut Chain| {
        let poor = Effect::Insufficient { balance: 4 };
        history.calls[7].answer = Answer::Receipt(at(11, 0), poor);
        chain.remove(&at(8, 0));
        chain.insert(at(11, 0), id(6));
    };
    bad(swap_places, "stands after it");
    // Even where no outcome tells, and for a call whose client learned nothing.
    let early = |_: &mut History, chain: &mut Chain| {
        chain.remove(&at(9, 0));
        chain.insert(at(2, 0), id(7));
    };
    bad(early, "stands after it");
}

#[test]
fn a_lost_update_is_found() {
    // Both clients replaced version 3.
    let both = |history: &mut History, _: &mut Chain| history.calls[3].answer = applied(6, 0);
    bad(both, "it must have come to Mismatch { found: 5 }");
    let (mut history, _) = good();
    history.calls[3].answer = applied(6, 0);
    assert!(!blindly(&history));
}

#[test]
fn a_wrong_reason_is_found() {
    let other = Answer::Receipt(at(6, 0), Effect::Mismatch { found: 3 });
    bad(|history, _| history.calls[3].answer = other, "it must have come to");
    let richer = Answer::Receipt(at(8, 0), Effect::Insufficient { balance: 3 });
    bad(|history, _| history.calls[7].answer = richer, "it must have come to");
    let (mut history, _) = good();
    history.calls[7].answer = richer;
    assert!(!blindly(&history), "no order of the transfers leaves 3");
}

#[test]
fn overdrawing_is_found() {
    bad(|history, _| history.calls[7].answer = applied(8, 0), "it must have come to Insufficient");
    let (mut history, _) = good();
    history.calls[7].answer = applied(8, 0);
    assert!(!blindly(&history));
}

#[test]
fn a_stale_read_after_ones_own_write_is_found() {
    let stale = Answer::Value { at: 3, found: Some((100, 3)) };
    bad(|history, _| history.calls[4].answer = stale, "this client knew of block 5 already");
    // And after one's own read.
    let stale = Answer::Value { at: 5, found: Some((102, 5)) };
    bad(|history, _| history.calls[5].answer = stale, "this client knew of block 6 already");
}

#[test]
fn a_read_of_what_never_was_is_found() {
    for found in [None, Some((103, 5)), Some((102, 6))] {
        let wrong = Answer::Value { at: 6, found };
        bad(|history, _| history.calls[4].answer = wrong, "after block 6 the key held Some((102, 5))");
    }
    let wrong = Answer::Units { at: 7, units: 10 };
    bad(|history, _| history.calls[8].answer = wrong, "after block 7 the balance was 4");
}

/// The blind search keeps to real time, and lets what was never answered happen late or not at all.
#[test]
fn the_search_knows_time_and_open_calls() {
    // One after the other, but with versions the wrong way round.
    let calls =
        vec![call(0, (0, 10), 1, put(1, 1), applied(9, 0)), call(1, (20, 30), 2, put(1, 2), applied(4, 0))];
    assert!(!blindly(&History { calls }));
    // At the same time, they may be.
    let calls =
        vec![call(0, (0, 10), 1, put(1, 1), applied(9, 0)), call(1, (5, 30), 2, put(1, 2), applied(4, 0))];
    assert!(blindly(&History { calls }));
    // The version that the second found is the open call's, or nobody's.
    let mismatch = |found| Answer::Receipt(at(9, 0), Effect::Mismatch { found });
    let open = |answer| {
        vec![
            call(0, (0, 10), 1, put(1, 1), applied(3, 0)),
            call(1, (20, 90), 2, put(1, 2), answer),
            call(0, (40, 50), 3, swap(1, 3, 3), mismatch(5)),
            call(1, (91, 99), 4, swap(1, 4, 5), applied(9, 1)),
        ]
    };
    assert!(blindly(&History { calls: open(Answer::Unknown) }));
    assert!(!blindly(&History { calls: open(Answer::Nothing) }));
    let never = vec![
        call(0, (0, 10), 1, put(1, 1), applied(3, 0)),
        call(1, (20, 90), 2, put(1, 2), Answer::Unknown),
        call(0, (40, 50), 3, swap(1, 3, 3), applied(9, 0)),
    ];
    assert!(blindly(&History { calls: never }));
}
