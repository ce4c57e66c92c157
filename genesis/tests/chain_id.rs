//! The chain id: held still by a golden value, recomputed from the documented layout by hand.

#![allow(clippy::unwrap_used, reason = "a failed step is the test's finding")]

mod common;

use common::{document, keys, signed};
use proptest::prelude::*;
use quorate_genesis::document::FoundingSignature;
use quorate_genesis::{Card, Document, parameters};
use quorate_types::hash::Hash;
use quorate_types::member::Role;
use quorate_types::parameters::Parameters;
use std::collections::BTreeSet;

/// A change of this value means that every founded chain would get another id: never update it
/// without a new domain tag.
const GOLDEN: &str = "9d61774e5dede5630efc2a5ba9deddd0689f3e6aea38ec453846a62575039b28";

#[test]
fn golden() {
    assert_eq!(document().chain_id().to_string(), GOLDEN);
    assert_eq!(signed().chain_id().to_string(), GOLDEN, "founding signatures do not count");
}

/// The layout of the module documentation, written out without the codec.
#[test]
fn the_documented_layout_gives_the_chain_id() {
    fn text(out: &mut Vec<u8>, text: &str) {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    }
    let mut out = Vec::new();
    text(&mut out, "trade-finance");
    out.extend(common::CREATED.0.to_le_bytes());
    out.extend(4u64.to_le_bytes());
    out.extend(1000u64.to_le_bytes());
    out.extend(10_000u32.to_le_bytes());
    out.extend(4_194_304u32.to_le_bytes());
    out.extend(65_536u32.to_le_bytes());
    for ms in [300_000u64, 10_000, 400, 10_000, 2_000] {
        out.extend(ms.to_le_bytes());
    }
    out.extend(3u64.to_le_bytes());
    for (n, name, roles) in [(1, "acme", &[0u32, 1][..]), (2, "bolt", &[0, 1]), (3, "crown", &[2])] {
        let is_validator = roles[0] == 0;
        let keys = keys(n, is_validator);
        let mut card = Vec::new();
        text(&mut card, name);
        card.extend(keys.member.public().0);
        card.extend((roles.len() as u64).to_le_bytes());
        for role in roles {
            card.extend(role.to_le_bytes());
        }
        card.push(u8::from(is_validator));
        if let Some(validator) = &keys.validator {
            card.extend(validator.vote.public().0);
            card.extend(validator.transport.public().0);
            text(&mut card, &format!("node.{name}.example:26656"));
        }
        let preimage = [b"\x0equorate/1/card", &[0u8; 32][..], &card].concat();
        out.extend(card);
        out.extend((keys.iter().count() as u64).to_le_bytes());
        for (_, key) in keys.iter() {
            out.extend(key.sign(&preimage).0);
        }
    }
    let chain = Hash::of(&[b"\x11quorate/1/genesis", &[0; 32], &out]);
    assert_eq!(document().chain_id().0, chain);

    let preimage = [b"\x11quorate/1/genesis", &chain.0[..]].concat();
    assert_eq!(preimage.len(), 50);
    let signature = keys(1, true).validator.unwrap().vote.sign(&preimage);
    let expected = FoundingSignature { member: "acme".into(), signature };
    assert_eq!(signed().signatures()[0], expected);
}

#[test]
fn layout_comments_and_order_do_not_count() {
    let text = signed().to_toml();
    // Members change places, and each takes its [member.validator] along.
    let (head, rest) = text.split_once("\n[[member]]").unwrap();
    let (members, signatures) = rest.split_once("\n[[signature]]").unwrap();
    let mut members: Vec<&str> = members.split("\n[[member]]").collect();
    members.reverse();
    let reordered = format!("{head}\n[[member]]{}\n[[signature]]{signatures}", members.join("\n[[member]]"));
    let reformatted =
        reordered.replace(" = ", "   =\t").replace("\n", " # why not\n\n").replace("\", \"", "\",\"");
    let one_key_style = reordered.replace("[chain]\nname =", "[chain]\n\"name\" =");
    for text in [reordered, reformatted, one_key_style] {
        let document = Document::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(document.chain_id(), signed().chain_id());
        assert_eq!(document.to_toml(), signed().to_toml());
        assert!(document.finalised().is_ok());
    }
}

/// Every document below differs from every other in one field, and so do the chain ids.
#[test]
fn every_field_counts() {
    let assemble = |name: &str, created: u64, parameters: Parameters, cards: Vec<Card>| {
        let cards = cards.into_iter().map(Into::into).collect();
        Document::assemble(name, quorate_types::ids::Timestamp(created), parameters, cards).unwrap()
    };
    let cards = document().members().to_vec();
    let created = common::CREATED.0;
    let same = || Parameters::default();
    let mut documents = vec![
        assemble("trade-finance", created, same(), cards.clone()),
        assemble("trade-finance2", created, same(), cards.clone()),
        assemble("trade-finance", created + 1, same(), cards.clone()),
    ];
    for (name, value) in parameters::list(&Parameters::default()) {
        let mut changed = Parameters::default();
        parameters::set(&mut changed, &format!("{name}={}", value + 1)).unwrap();
        documents.push(assemble("trade-finance", created, changed, cards.clone()));
    }
    let address = |text: &str| Some(text.parse().unwrap());
    let here = || address("node.acme.example:26656");
    let roles = [Role::Validator, Role::Submitter];
    let key = |n| keys(n, false).member;
    let other = |change: fn(&mut quorate_genesis::MemberKeys, quorate_types::keys::SecretKey)| {
        let mut keys = keys(1, true);
        change(&mut keys, key(20));
        keys
    };
    let others = [
        Card::export(&keys(1, true), "acne", &roles, here()),
        Card::export(&keys(1, true), "acme", &[Role::Validator], here()),
        Card::export(&keys(1, true), "acme", &roles, address("node.acme.example:26657")),
        Card::export(&keys(1, true), "acme", &[Role::Submitter], None),
        Card::export(&other(|keys, key| keys.member = key), "acme", &roles, here()),
        Card::export(&other(|keys, key| keys.validator.as_mut().unwrap().vote = key), "acme", &roles, here()),
        Card::export(
            &other(|keys, key| keys.validator.as_mut().unwrap().transport = key),
            "acme",
            &roles,
            here(),
        ),
    ];
    for card in others {
        let mut cards = cards.clone();
        cards[0] = card.unwrap();
        documents.push(assemble("trade-finance", created, same(), cards));
    }
    documents.push(assemble("trade-finance", created, same(), cards[..2].to_vec()));
    let ids: BTreeSet<_> = documents.iter().map(Document::chain_id).collect();
    assert_eq!(ids.len(), documents.len());
    assert_eq!(documents.len(), 3 + 10 + 7 + 1);
}

#[test]
fn the_largest_numbers_survive_their_text() {
    let parameters = Parameters { term_blocks: u64::MAX, ..Parameters::default() };
    let cards = document().members().iter().cloned().map(Into::into).collect();
    let document = Document::assemble("x", quorate_genesis::utc::MAX, parameters.clone(), cards).unwrap();
    assert_eq!(document.parameters(), &parameters);
}

proptest! {
    /// A person's slip anywhere in a final document: it is refused, or it did not matter.
    #[test]
    fn one_changed_byte_never_gives_another_final_chain(position in 0usize..4000, byte in 32u8..127) {
        let text = signed().to_toml();
        let mut bytes = text.clone().into_bytes();
        let position = position % bytes.len();
        prop_assume!(bytes[position].is_ascii());
        bytes[position] = byte;
        let changed = String::from_utf8(bytes).unwrap();
        if let Ok(founding) = Document::parse(&changed).map_err(drop).and_then(|d| d.finalised().map_err(drop)) {
            prop_assert_eq!(founding.chain(), signed().chain_id());
        }
    }

    /// No text makes the parser panic.
    #[test]
    fn any_text_is_refused_or_read(start in 0usize..4000, end in 0usize..4000) {
        let text = signed().to_toml();
        let (start, end) = (start.min(end) % text.len(), start.max(end) % text.len());
        if let Some(cut) = text.get(start..end) {
            let _ = Document::parse(cut);
            let _ = Document::parse(&format!("{}{}", &text[..start], text.get(end..).unwrap_or_default()));
        }
    }
}
