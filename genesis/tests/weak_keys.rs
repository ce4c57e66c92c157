//! Keys under which anyone can sign never get onto a card, however well the signature verifies.

#![allow(clippy::unwrap_used, reason = "a failed step is the test's finding")]

mod common;

use common::validator_card;
use quorate_genesis::Card;
use quorate_genesis::card::CardError;
use quorate_genesis::keys::KeyKind;
use quorate_types::keys::{PublicKey, Signature};
use std::collections::BTreeMap;

const ZIP215: &str = include_str!("../../tests/vectors/ed25519/zip215.json");

/// Each key of the ZIP-215 vectors, with one of the signatures that fit every message under it.
fn weak() -> BTreeMap<PublicKey, Signature> {
    let values = |name: &str| -> Vec<String> {
        let head = format!("\"{name}\": \"");
        let rest = ZIP215.split(&head).skip(1);
        rest.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
    };
    let signature = |digits: String| Signature(const_hex::decode_to_array(digits).unwrap());
    let keys = values("vk_bytes").into_iter().map(|digits| digits.parse().unwrap());
    keys.zip(values("sig_bytes").into_iter().map(signature)).collect()
}

#[test]
fn in_no_place_of_a_card() {
    assert_eq!(weak().len(), 14);
    for (key, signature) in weak() {
        for (position, kind) in [KeyKind::Member, KeyKind::Vote, KeyKind::Transport].into_iter().enumerate() {
            let mut card: Card = validator_card(1, "acme");
            let validator = card.validator.as_mut().unwrap();
            match kind {
                KeyKind::Member => card.member_key = key,
                KeyKind::Vote => validator.vote_key = key,
                KeyKind::Transport => validator.transport_key = key,
            }
            card.signatures[position] = signature;
            assert_eq!(key.verify(&card.preimage(), &signature), Ok(()), "ZIP-215 itself takes it");
            let refused = card.verify();
            assert!(
                matches!(refused, Err(CardError::Key { kind: found, .. }) if found == kind),
                "{refused:?}"
            );
        }
    }
}
