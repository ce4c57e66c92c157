//! Bad documents and cards are refused with the line and the reason.

#![allow(clippy::unwrap_used, reason = "a failed step is the test's finding")]

mod common;

use common::{document, keys, line, member_card, signed, validator_card};
use quorate_genesis::document::SignError;
use quorate_genesis::{Card, CardFile, Document};
use quorate_types::keys::SecretKey;
use quorate_types::member::Role;
use quorate_types::parameters::Parameters;

/// Asserts that `text` is refused at `line` with a message that contains `reason`.
#[track_caller]
fn refused(text: &str, line: usize, reason: &str) {
    let error = Document::parse(text).expect_err("must be refused").to_string();
    assert!(error.starts_with(&format!("genesis.toml:{line}: ")), "expected line {line}: {error}\n{text}");
    assert!(error.contains(reason), "expected {reason:?}: {error}");
}

/// The text with its `nth` line that starts with `start` replaced.
fn with(text: &str, start: &str, nth: usize, new: &str) -> String {
    let number = line(text, start, nth);
    let lines = text.lines().enumerate().map(|(i, old)| if i + 1 == number { new } else { old });
    lines.map(|line| format!("{line}\n")).collect()
}

/// The text with the member `card` appended.
fn with_member(text: &str, card: &Card) -> String {
    format!("{text}\n[[member]]\n{}", card.to_toml().replace("[validator]", "[member.validator]"))
}

#[test]
fn what_is_not_toml() {
    let text = document().to_toml();
    refused(&with(&text, "window", 0, "window = = 4"), line(&text, "window", 0), "");
    refused(
        &with(&text, "window", 0, "window = 4\nwindow = 4"),
        line(&text, "window", 0) + 1,
        "duplicate key",
    );
    refused("", 1, "chain");
}

#[test]
fn unknown_and_missing_fields() {
    let text = document().to_toml();
    refused(&with(&text, "window", 0, "window = 4\ncolour = 1"), line(&text, "window", 0) + 1, "colour");
    refused(&with(&text, "name", 1, "name = \"acme\"\ncolour = 1"), line(&text, "name", 1) + 1, "colour");
    refused(&with(&text, "vote_key", 1, "vote_kay = \"\""), line(&text, "vote_key", 1), "vote_kay");
    refused(&format!("{text}\n[extra]\n"), text.lines().count() + 2, "extra");
    refused(&with(&text, "created_ms", 0, ""), line(&text, "[chain]", 0), "created_ms");
    refused(&with(&text, "transport_key", 1, ""), line(&text, "[member.validator]", 1), "transport_key");
    refused(&with(&text, "term_blocks", 0, ""), line(&text, "[parameters]", 0), "`term_blocks` is missing");
}

#[test]
fn impossible_parameters() {
    let text = document().to_toml();
    let bad = [
        ("window = 0", "from 1 to 64"),
        ("window = 65", "from 1 to 64"),
        ("window = -4", "invalid value"),
        ("window = \"4\"", "invalid type"),
        ("term_blocks = 0", "from 1"),
        ("max_block_transactions = 0", "from 1"),
        ("max_block_bytes = 4294967296", "u32"),
        ("max_transaction_bytes = 511", "from 512"),
        ("max_lifetime_ms = 86400001", "to 86400000"),
        ("max_view_timeout_ms = 399", "from 400"),
        ("request_timeout_ms = 399", "from 400"),
    ];
    for (new, reason) in bad {
        let name = new.split(' ').next().unwrap();
        refused(&with(&text, name, 0, new), line(&text, name, 0), reason);
    }
}

#[test]
fn impossible_chains() {
    let text = document().to_toml();
    refused(
        &with(&text, "name", 0, "name = \"Trade Finance\""),
        line(&text, "name", 0),
        "\"Trade Finance\" is no name",
    );
    for time in ["0", "253402300800000"] {
        let new = format!("created_ms = {time}");
        refused(&with(&text, "created_ms", 0, &new), line(&text, "created_ms", 0), "the year 9999");
    }
}

#[test]
fn duplicate_names() {
    let text = document().to_toml();
    let twice = with_member(&text, &member_card(7, "acme", Role::Submitter));
    let first = line(&text, "name", 1);
    refused(
        &twice,
        line(&twice, "name", 4),
        &format!("member \"acme\" appears twice (first at line {first})"),
    );
}

#[test]
fn duplicate_keys_whatever_they_are_for() {
    let text = document().to_toml();
    let twice = with_member(&text, &member_card(1, "dune", Role::Submitter));
    let first = line(&text, "member_key", 0);
    let reason = format!("appears twice (first at line {first}, as the member key of \"acme\")");
    refused(&twice, line(&twice, "member_key", 3), &reason);

    let mut borrowed = keys(7, true);
    borrowed.validator.as_mut().unwrap().transport = keys(2, true).validator.unwrap().vote;
    let address = "node.dune.example:26656".parse().unwrap();
    let card = Card::export(&borrowed, "dune", &[Role::Validator], Some(address)).unwrap();
    let twice = with_member(&text, &card);
    let first = line(&text, "vote_key", 1);
    let reason = format!("appears twice (first at line {first}, as the vote key of \"bolt\")");
    refused(&twice, line(&twice, "transport_key", 2), &reason);
}

#[test]
fn duplicate_addresses() {
    let text = document().to_toml();
    let address = "node.acme.example:26656".parse().unwrap();
    let card = Card::export(&keys(7, true), "dune", &[Role::Validator], Some(address)).unwrap();
    let twice = with_member(&text, &card);
    let reason = format!("first at line {}, as that of \"acme\"", line(&text, "address", 0));
    refused(&twice, line(&twice, "address", 2), &reason);
}

#[test]
fn weak_and_malformed_keys() {
    let text = document().to_toml();
    let identity = format!("01{}", "00".repeat(31));
    let torsion = "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d";
    let second_spelling = format!("ee{}7f", "ff".repeat(30));
    for (key, reason) in [(&*identity, "small order"), (torsion, "torsion"), (&*second_spelling, "canonical")]
    {
        for (field, nth) in [("member_key", 2), ("vote_key", 1), ("transport_key", 0)] {
            let new = format!("{field} = \"{key}\"");
            refused(&with(&text, field, nth, &new), line(&text, field, nth), reason);
        }
    }
    for bad in ["", "00", "0x00", &"g".repeat(64)] {
        let new = format!("vote_key = \"{bad}\"");
        refused(&with(&text, "vote_key", 0, &new), line(&text, "vote_key", 0), "64 hexadecimal digits");
    }
}

#[test]
fn tampered_cards() {
    let text = document().to_toml();
    let changes = [
        ("name", 1, "name = \"acne\"", "signature", 0),
        ("roles", 0, "roles = [\"validator\"]", "signature", 0),
        ("address", 1, "address = \"evil.example:1\"", "signature", 1),
        ("roles", 2, "roles = [\"submitter\"]", "signature", 2),
    ];
    for (field, nth, new, at, at_nth) in changes {
        refused(&with(&text, field, nth, new), line(&text, at, at_nth), "does not verify");
    }
    let other = document().members()[1].signatures[2];
    for field in ["vote_signature", "transport_signature"] {
        let new = format!("{field} = \"{other}\"");
        refused(&with(&text, field, 0, &new), line(&text, field, 0), "does not verify");
    }
}

#[test]
fn roles_that_do_not_fit() {
    let text = document().to_toml();
    refused(&with(&text, "roles", 0, "roles = []"), line(&text, "roles", 0), "no role");
    refused(&with(&text, "roles", 0, "roles = [\"king\"]"), line(&text, "roles", 0), "king");
    let reversed = "roles = [\"submitter\", \"validator\"]";
    refused(&with(&text, "roles", 0, reversed), line(&text, "roles", 0), "in the order");
    refused(&with(&text, "roles", 2, "roles = [\"validator\"]"), line(&text, "roles", 2), "needs a vote key");
    let unnamed = with(&text, "roles", 0, "roles = [\"submitter\"]");
    refused(&unnamed, line(&text, "[member.validator]", 0), "but not the role");
    refused(&with(&text, "address", 0, "address = \"acme\""), line(&text, "address", 0), "is no address");
}

#[test]
fn no_validator_or_too_many() {
    let cards = vec![member_card(1, "acme", Role::Submitter).into()];
    let error = Document::assemble("x", common::CREATED, Parameters::default(), cards).unwrap_err();
    assert!(error.to_string().contains("there is no validator"), "{error}");
    let text = document().to_toml();
    let chain_only = text.split("\n[[member]]").next().unwrap();
    refused(chain_only, chain_only.lines().count(), "there is no validator");

    let key = |kind: u8, n: usize| {
        SecretKey::from_seed(&std::array::from_fn(
            |i| if i == 0 { kind } else { u8::try_from(n % 256).unwrap() },
        ))
    };
    let cards = (0..129).map(|n| {
        let validator = quorate_genesis::keys::ValidatorKeys { vote: key(1, n), transport: key(2, n) };
        let keys = quorate_genesis::MemberKeys { member: key(0, n), validator: Some(validator) };
        let address = format!("node{n}.example:1").parse().unwrap();
        Card::export(&keys, &format!("member-{n:03}"), &[Role::Validator], Some(address)).unwrap().into()
    });
    let error = Document::assemble("x", common::CREATED, Parameters::default(), cards.collect()).unwrap_err();
    assert!(error.to_string().contains("129 validators, where at most 128"), "{error}");
}

#[test]
fn unsigned_documents_are_not_final() {
    let mut document = document();
    let text = document.to_toml();
    let error = Document::parse(&text).unwrap().finalised().unwrap_err().to_string();
    let at = line(&text, "name", 1);
    assert_eq!(error, format!("genesis.toml:{at}: not final: 2 of 2 validators have not signed: acme, bolt"));
    document.sign(&keys(1, true)).unwrap();
    let text = document.to_toml();
    let error = Document::parse(&text).unwrap().finalised().unwrap_err().to_string();
    let at = line(&text, "name", 2);
    assert_eq!(error, format!("genesis.toml:{at}: not final: 1 of 2 validators have not signed: bolt"));
}

#[test]
fn founding_signatures_of_others_twice_or_of_other_content() {
    let text = signed().to_toml();
    let stranger = with(&text, "member =", 1, "member = \"crown\"");
    refused(&stranger, line(&text, "member =", 1), "\"crown\" signs, but is no validator");
    let twice = with(&text, "member =", 1, "member = \"acme\"");
    let first = line(&text, "member =", 0);
    refused(&twice, line(&text, "member =", 1), &format!("\"acme\" signs twice (first at line {first})"));
    // After the third card comes the first founding signature.
    let changed = with(&text, "window", 0, "window = 5");
    refused(&changed, line(&text, "signature", 3), "the founding signature of \"acme\" does not verify");
    let other = signed().signatures()[0].signature;
    let damaged = with(&text, "signature", 4, &format!("signature = \"{other}\""));
    refused(&damaged, line(&text, "signature", 4), "the founding signature of \"bolt\" does not verify");
}

#[test]
fn cards_that_contradict_each_other_are_named_by_file() {
    let card = |n, name: &str, file: &str| CardFile::parse(&validator_card(n, name).to_toml(), file).unwrap();
    let assemble = |cards| Document::assemble("x", common::CREATED, Parameters::default(), cards);
    let error = assemble(vec![card(1, "acme", "a.toml"), card(2, "acme", "b.toml")]).unwrap_err();
    assert_eq!(error.to_string(), "b.toml:3: member \"acme\" appears twice (first at a.toml:3)");
    let error = assemble(vec![card(1, "acme", "a.toml"), card(1, "bolt", "b.toml")]).unwrap_err();
    assert!(error.to_string().starts_with("b.toml:4: the member key "), "{error}");
    assert!(error.to_string().contains("first at a.toml:4, as the member key of \"acme\""), "{error}");
}

#[test]
fn cards_are_refused_with_their_line() {
    let text = validator_card(1, "acme").to_toml();
    let refused = |text: &str, line: usize, reason: &str| {
        let error = Card::from_toml(text, "card.toml").unwrap_err().to_string();
        assert!(error.starts_with(&format!("card.toml:{line}: ")) && error.contains(reason), "{error}");
    };
    refused(&with(&text, "name", 0, "name = \"Acme\""), line(&text, "name", 0), "is no name");
    refused(&with(&text, "name", 0, "name = \"bolt\""), line(&text, "signature", 0), "does not verify");
    refused(&with(&text, "address", 0, "x = 1"), line(&text, "address", 0), "x");
    let key = keys(2, true).member.public();
    let new = format!("vote_key = \"{key}\"");
    refused(&with(&text, "vote_key", 0, &new), line(&text, "signature", 0), "does not verify");
}

#[test]
fn only_a_validator_of_the_document_signs() {
    let mut document = document();
    assert_eq!(document.sign(&keys(3, false)), Err(SignError::NoValidatorKeys));
    assert!(matches!(document.sign(&keys(9, true)), Err(SignError::NotInDocument { .. })));
    let mut mixed = keys(1, true);
    mixed.validator.as_mut().unwrap().transport = keys(9, false).member;
    let error = document.sign(&mixed).unwrap_err();
    assert!(matches!(&error, SignError::OtherKey { name, .. } if name == "acme"), "{error}");
    assert!(document.signatures().is_empty());
    assert_eq!(document.sign(&keys(1, true)), Ok(true));
    assert_eq!(document.sign(&keys(1, true)), Ok(false));
}

#[test]
fn copies_merge_and_others_do_not() {
    let (mut one, mut two) = (document(), document());
    one.sign(&keys(1, true)).unwrap();
    two.sign(&keys(2, true)).unwrap();
    let mut merged = one.clone();
    assert_eq!(merged.merge(&two), Ok(1));
    assert_eq!(merged.merge(&two), Ok(0));
    assert_eq!(merged.to_toml(), signed().to_toml());
    let other = Document::parse(&with(&document().to_toml(), "window", 0, "window = 5")).unwrap();
    let error = one.merge(&other).unwrap_err();
    assert_eq!((&*error.our_line, &*error.their_line), ("window = 4", "window = 5"));
    assert_eq!(one.signatures().len(), 1);
}
