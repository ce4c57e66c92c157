//! Each operation: what it does, and each way it fails.

use crate::common::*;
use quorate_ledger::{StateKey, StateValue};
use quorate_types::ids::Height;
use quorate_types::outcome::{Failure, Outcome};

fn failed(operation: u16, reason: Failure) -> Outcome {
    Outcome::Failed { operation, reason }
}

/// A chain with a namespace `docs` of Alice and an asset `eur` that she issues.
fn furnished() -> Chain {
    let mut chain = Chain::new();
    assert_eq!(chain.run(ALICE, vec![create_namespace("docs"), create_asset("eur")]), Outcome::Applied);
    chain
}

#[test]
fn members_are_in_the_founding_state() {
    let chain = Chain::new();
    let Some(StateValue::Member(member)) = chain.get(&StateKey::Member(key(AUDITOR))) else {
        panic!("no member")
    };
    assert_eq!(member.name, "member-3");
    assert_eq!(chain.get(&StateKey::Member(key(STRANGER))), None);
}

#[test]
fn namespaces() {
    let mut chain = furnished();
    assert_eq!(chain.run(BOB, vec![create_namespace("docs")]), failed(0, Failure::NamespaceExists));
    assert_eq!(chain.run(BOB, vec![set_members(&[BOB], &[])]), failed(0, Failure::NotOwner));
    assert_eq!(
        chain.run(ALICE, vec![set_members(&[ALICE, STRANGER], &[])]),
        failed(0, Failure::NoSuchMember)
    );
    assert_eq!(chain.run(ALICE, vec![set_members(&[ALICE], &[STRANGER])]), failed(0, Failure::NoSuchMember));
    assert_eq!(chain.run(BOB, vec![put("a", "1")]), failed(0, Failure::NotWriter));
    // Hand over to Bob as owner; Carol writes.
    assert_eq!(chain.run(ALICE, vec![set_members(&[BOB], &[CAROL])]), Outcome::Applied);
    assert_eq!(chain.run(ALICE, vec![put("a", "1")]), failed(0, Failure::NotWriter));
    assert_eq!(chain.run(BOB, vec![put("a", "1")]), failed(0, Failure::NotWriter));
    assert_eq!(chain.run(ALICE, vec![set_members(&[ALICE], &[])]), failed(0, Failure::NotOwner));
    assert_eq!(chain.run(CAROL, vec![put("a", "1")]), Outcome::Applied);
    // Nobody writes, and the owner can still change that.
    assert_eq!(chain.run(BOB, vec![set_members(&[BOB], &[])]), Outcome::Applied);
    assert_eq!(chain.run(CAROL, vec![put("a", "2")]), failed(0, Failure::NotWriter));

    let mut empty = Chain::new();
    assert_eq!(empty.run(ALICE, vec![put("a", "1")]), failed(0, Failure::NoSuchNamespace));
    assert_eq!(empty.run(ALICE, vec![delete("a", None)]), failed(0, Failure::NoSuchNamespace));
    assert_eq!(empty.run(ALICE, vec![set_members(&[ALICE], &[])]), failed(0, Failure::NoSuchNamespace));
}

#[test]
fn entries_and_versions() {
    let mut chain = furnished(); // height 1
    assert_eq!(chain.run(ALICE, vec![put("a", "one")]), Outcome::Applied);
    assert_eq!(chain.entry("a"), Some((2, b"one".to_vec())));
    let mismatch = |found| failed(0, Failure::VersionMismatch { found: Height(found) });
    assert_eq!(chain.run(ALICE, vec![put_if("a", "two", Some(0))]), mismatch(2));
    assert_eq!(chain.run(ALICE, vec![put_if("b", "two", Some(2))]), mismatch(0));
    assert_eq!(chain.run(ALICE, vec![put_if("a", "two", Some(2))]), Outcome::Applied);
    assert_eq!(chain.entry("a"), Some((5, b"two".to_vec())));
    assert_eq!(chain.run(ALICE, vec![put_if("b", "new", Some(0))]), Outcome::Applied);
    // The same value again is a new version all the same.
    assert_eq!(chain.run(ALICE, vec![put("a", "two")]), Outcome::Applied);
    assert_eq!(chain.entry("a"), Some((7, b"two".to_vec())));

    assert_eq!(chain.run(ALICE, vec![delete("a", Some(5))]), mismatch(7));
    assert_eq!(chain.run(ALICE, vec![delete("a", Some(7))]), Outcome::Applied);
    assert_eq!(chain.entry("a"), None);
    assert_eq!(chain.run(ALICE, vec![delete("a", None)]), failed(0, Failure::NoSuchKey));
    assert_eq!(chain.run(ALICE, vec![delete("a", Some(0))]), failed(0, Failure::NoSuchKey));
    assert_eq!(chain.run(BOB, vec![delete("b", None)]), failed(0, Failure::NotWriter));
    // An empty value is a value.
    assert_eq!(chain.run(ALICE, vec![put_if("a", "", Some(0))]), Outcome::Applied);
    assert_eq!(chain.entry("a").map(|(_, value)| value), Some(vec![]));
}

#[test]
fn operations_of_one_transaction_see_one_another() {
    let mut chain = furnished();
    let here = chain.ledger.tip().height.next().0;
    let all = vec![
        put_if("a", "1", Some(0)),
        put_if("a", "2", Some(here)),
        delete("a", Some(here)),
        put_if("a", "3", Some(0)),
        put("gone", "x"),
        delete("gone", None),
    ];
    assert_eq!(chain.run(ALICE, all), Outcome::Applied);
    assert_eq!(chain.entry("a"), Some((here, b"3".to_vec())));
    assert_eq!(chain.entry("gone"), None);
    assert_eq!(chain.run(ALICE, vec![delete("a", None), delete("a", None)]), failed(1, Failure::NoSuchKey));
    assert!(chain.entry("a").is_some());
}

#[test]
fn assets() {
    let mut chain = furnished();
    assert_eq!(chain.run(BOB, vec![create_asset("eur")]), failed(0, Failure::AssetExists));
    assert_eq!(chain.run(BOB, vec![mint(BOB, 5)]), failed(0, Failure::NotIssuer));
    assert_eq!(chain.run(ALICE, vec![mint(STRANGER, 5)]), failed(0, Failure::NoSuchMember));
    assert_eq!(chain.run(ALICE, vec![mint(BOB, 100)]), Outcome::Applied);
    assert_eq!((chain.balance(BOB, "eur"), chain.supply("eur")), (Some(100), 100));
    let poor = |balance| failed(0, Failure::InsufficientBalance { balance });
    assert_eq!(chain.run(BOB, vec![transfer(CAROL, 101)]), poor(100));
    assert_eq!(chain.run(CAROL, vec![transfer(BOB, 1)]), poor(0));
    assert_eq!(chain.run(BOB, vec![transfer(STRANGER, 1)]), failed(0, Failure::NoSuchMember));
    assert_eq!(chain.run(BOB, vec![transfer(CAROL, 40)]), Outcome::Applied);
    assert_eq!((chain.balance(BOB, "eur"), chain.balance(CAROL, "eur")), (Some(60), Some(40)));
    // To oneself: needs the balance, and changes nothing.
    assert_eq!(chain.run(BOB, vec![transfer(BOB, 61)]), poor(60));
    assert_eq!(chain.run(BOB, vec![transfer(BOB, 60)]), Outcome::Applied);
    assert_eq!(chain.balance(BOB, "eur"), Some(60));
    // An auditor may hold units.
    assert_eq!(chain.run(BOB, vec![transfer(AUDITOR, 60)]), Outcome::Applied);
    assert_eq!(chain.balance(BOB, "eur"), None, "a balance of 0 leaves the state");
    assert_eq!(chain.run(CAROL, vec![burn(41)]), poor(40));
    assert_eq!(chain.run(CAROL, vec![burn(40)]), Outcome::Applied);
    assert_eq!((chain.balance(CAROL, "eur"), chain.supply("eur")), (None, 60));

    let mut empty = Chain::new();
    for operation in [mint(BOB, 1), transfer(BOB, 1), burn(1)] {
        assert_eq!(empty.run(ALICE, vec![operation]), failed(0, Failure::NoSuchAsset));
    }
}

/// failures.md, row 44: no overflow, no negative balance, no panic, no effect.
#[test]
fn numbers_at_their_ends() {
    let mut chain = furnished();
    assert_eq!(chain.run(ALICE, vec![mint(BOB, u128::MAX)]), Outcome::Applied);
    assert_eq!(chain.run(ALICE, vec![mint(CAROL, 1)]), failed(0, Failure::SupplyOverflow));
    assert_eq!(chain.run(ALICE, vec![mint(BOB, u128::MAX)]), failed(0, Failure::SupplyOverflow));
    assert_eq!(chain.run(BOB, vec![transfer(BOB, u128::MAX)]), Outcome::Applied);
    assert_eq!(chain.run(BOB, vec![transfer(CAROL, u128::MAX)]), Outcome::Applied);
    assert_eq!((chain.balance(BOB, "eur"), chain.balance(CAROL, "eur")), (None, Some(u128::MAX)));
    assert_eq!(chain.run(CAROL, vec![burn(u128::MAX)]), Outcome::Applied);
    assert_eq!(chain.supply("eur"), 0);
    assert_eq!(chain.run(ALICE, vec![mint(BOB, 7)]), Outcome::Applied, "an asset outlives its units");
}

#[test]
fn a_failed_transaction_changes_nothing() {
    let mut chain = furnished();
    assert_eq!(chain.run(ALICE, vec![mint(BOB, 10), put("a", "1")]), Outcome::Applied);
    let before = chain.ledger.result(chain.ledger.tip().block).unwrap().state_root;
    let ending = |operation| {
        vec![put("a", "2"), put("b", "2"), create_namespace("n"), mint(CAROL, 5), burn(1), operation]
    };
    // Operation 4 fails already: Alice holds nothing to burn.
    let outcome = chain.run(ALICE, ending(put("c", "3")));
    assert_eq!(outcome, failed(4, Failure::InsufficientBalance { balance: 0 }));
    assert_eq!(chain.ledger.result(chain.ledger.tip().block).unwrap().state_root, before);
    assert_eq!(chain.balance(CAROL, "eur"), None);
    assert_eq!(chain.entry("a"), Some((2, b"1".to_vec())));
    assert_eq!(chain.get(&StateKey::Namespace("n".into())), None);
    // A failure leaves nothing behind for later transactions of the same block either.
    let block = vec![
        transaction(ALICE, 1000, vec![put("a", "x"), create_asset("eur")]),
        transaction(ALICE, 1001, vec![put_if("a", "y", Some(2))]),
    ];
    let committed = commit(&mut chain.ledger, block);
    assert_eq!(committed.outcomes, [failed(1, Failure::AssetExists), Outcome::Applied]);
}
