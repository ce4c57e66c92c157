//! The bytes of cards, genesis documents and founding signatures, held still.

#![allow(clippy::unwrap_used, reason = "a failed step is the test's finding")]

mod common;
#[path = "../../tests/vectors/golden.rs"]
mod golden;

use common::{document, signed};
use golden::Golden;
use quorate_genesis::Document;
use quorate_ledger::founding_result;
use quorate_types::codec;
use quorate_types::hash::ChainId;
use quorate_types::signed::Domain;

#[test]
fn layouts_are_what_they_were() {
    let mut golden = Golden::new();
    let document = document();
    let acme = &document.members()[0];
    golden.hex("card", codec::encode(acme));
    golden.hex("card_preimage", acme.preimage());
    golden.hex("card_without_validator", codec::encode(&document.members()[2]));
    let content = (document.name(), document.created(), document.parameters(), document.members());
    let content = codec::encode(&content);
    assert_eq!(Domain::Genesis.hash(&ChainId::default(), &content), document.chain_id().0);
    golden.hex("content", &content);
    golden.hex("chain_id", document.chain_id().0.0);
    golden.hex("founding_preimage", document.founding_preimage());
    golden.hex("founding_signature_of_acme", signed().signatures()[0].signature.0);
    let founding = signed().finalised().unwrap();
    golden.hex("validators_hash", founding.validators().hash(&founding.chain()).0);
    let result = founding_result(&founding.ledger_genesis());
    golden.hex("founding_result", codec::encode(&result));
    golden.hex("founding_result_hash", result.hash(&founding.chain()).0.0);
    golden.check("genesis.json");
}

/// The document that all golden vectors rest on, as a file.
#[test]
fn the_document_is_what_it_was() {
    golden::check_text("genesis.toml", &signed().to_toml());
    let text = std::fs::read_to_string(golden::path("genesis.toml")).unwrap();
    let founding = Document::parse(&text).unwrap().finalised().unwrap();
    assert_eq!(founding.chain(), document().chain_id());
}
