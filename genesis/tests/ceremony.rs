//! The whole ceremony: six members, each with its own directory, of whom four are validators. Only
//! cards and copies of the document pass between them.

#![allow(clippy::unwrap_used, reason = "a failed step is the test's finding")]

mod common;

use quorate_genesis::files::{self, Access};
use quorate_genesis::{Card, CardFile, Document, Founding, MemberKeys};
use quorate_types::ids::ValidatorIndex;
use quorate_types::member::Role;
use quorate_types::parameters::Parameters;
use std::path::Path;

const MEMBERS: [(&str, &[Role]); 6] = [
    ("dune", &[Role::Validator, Role::Submitter]),
    ("acme", &[Role::Validator, Role::Submitter]),
    ("bolt", &[Role::Validator]),
    ("watch", &[Role::Auditor]),
    ("crown", &[Role::Validator, Role::Submitter, Role::Auditor]),
    ("shop", &[Role::Submitter]),
];

/// Makes keys and a card in `dir`, as a member does on its own machine.
fn join(dir: &Path, name: &str, roles: &[Role], port: usize) {
    let validates = roles.contains(&Role::Validator);
    MemberKeys::create(dir, validates).unwrap();
    let keys = MemberKeys::load(dir).unwrap();
    let address = validates.then(|| format!("127.0.0.1:{}", 26656 + port).parse().unwrap());
    let card = Card::export(&keys, name, roles, address).unwrap();
    files::write_new(&dir.join("card.toml"), &card.to_toml(), Access::Public).unwrap();
}

#[test]
fn four_validators_and_two_members_found_a_chain() {
    let home = tempfile::tempdir().unwrap();
    let dir = |name: &str| home.path().join(name);
    for (port, (name, roles)) in MEMBERS.into_iter().enumerate() {
        join(&dir(name), name, roles, port);
    }

    // Anyone assembles.
    let cards = MEMBERS.map(|(name, _)| CardFile::load(&dir(name).join("card.toml")).unwrap());
    let parameters = Parameters { window: 8, ..Parameters::default() };
    let created = common::CREATED;
    let document = Document::assemble("consortium", created, parameters.clone(), cards.into()).unwrap();
    let draft = dir("draft.toml");
    files::write_new(&draft, &document.to_toml(), Access::Public).unwrap();
    assert!(Founding::load(&draft).is_err());

    // Two validators sign one copy, one after the other; two sign copies of their own.
    let sign = |file: &Path, name: &str| {
        let mut document = Document::load(file).unwrap();
        assert!(document.sign(&MemberKeys::load(&dir(name)).unwrap()).unwrap());
        files::replace(file, &document.to_toml()).unwrap();
    };
    for name in ["bolt", "crown"] {
        let copy = dir(name).join("genesis.toml");
        std::fs::copy(&draft, &copy).unwrap();
        sign(&copy, name);
    }
    sign(&draft, "acme");
    sign(&draft, "dune");
    let mut merged = Document::load(&draft).unwrap();
    assert!(merged.finalised().is_err());
    for name in ["bolt", "crown"] {
        let copy = Document::load(&dir(name).join("genesis.toml")).unwrap();
        assert_eq!(merged.merge(&copy), Ok(1));
    }
    let genesis = dir("genesis.toml");
    files::write_new(&genesis, &merged.to_toml(), Access::Public).unwrap();

    // Everyone starts from the same founding.
    let founding = Founding::load(&genesis).unwrap();
    assert_eq!(founding.chain(), document.chain_id());
    assert_eq!(founding.parameters(), &parameters);
    assert_eq!(founding.created(), created);
    assert_eq!(founding.name(), "consortium");
    assert_eq!(founding.validators().len(), 4);
    let names: Vec<&str> = founding.validator_details().map(|(_, each)| each.name.as_str()).collect();
    assert_eq!(names, ["acme", "bolt", "crown", "dune"]);
    for (port, (name, roles)) in MEMBERS.into_iter().enumerate() {
        let keys = MemberKeys::load(&dir(name)).unwrap();
        let member = founding.member_by_name(name).unwrap();
        assert_eq!(founding.member_by_key(&keys.member.public()), Some(member));
        assert_eq!(member.roles, roles);
        let index = founding.validator_by_member_key(&member.key);
        assert_eq!(index.is_some(), keys.validator.is_some());
        if let (Some(index), Some(validator)) = (index, keys.validator) {
            let details = founding.validator(index).unwrap();
            assert_eq!(details.transport_key, validator.transport.public());
            assert_eq!(details.address.to_string(), format!("127.0.0.1:{}", 26656 + port));
            let agreed = founding.validators().get(index).unwrap();
            assert_eq!((agreed.vote_key, agreed.member), (validator.vote.public(), details.member_key));
        }
    }
    let genesis = founding.ledger_genesis();
    assert_eq!((genesis.chain, genesis.timestamp), (founding.chain(), created));
    assert_eq!((genesis.members.len(), genesis.validators.len()), (6, 4));
    assert_eq!(founding.validator(ValidatorIndex(4)), None);
    assert_eq!(founding.member_by_name("nobody"), None);
}

/// A chain of one validator is legal, for trying out.
#[test]
fn one_validator_alone() {
    let cards = vec![common::validator_card(1, "solo").into()];
    let mut document = Document::assemble("solo", common::CREATED, Parameters::default(), cards).unwrap();
    document.sign(&common::keys(1, true)).unwrap();
    assert_eq!(document.finalised().unwrap().validators().len(), 1);
}
