//! Bytes that people hand over: documents, cards, keys, operations, settings.

use super::disk::{directory, file};
use super::known::chain;
use super::memory::{TEXT, bounded};
use quorate_client::operations::{JsonLines, Members, parse, to_json};
use quorate_genesis::address::Address;
use quorate_genesis::{Card, Document, MemberKeys, parameters as parameter_files};
use quorate_node::config::{ByteSize, Config, HttpAddress, LogFormat, LogLevel};
use quorate_types::codec;
use quorate_types::parameters::Parameters;
use quorate_types::transaction::Operation;
use std::fmt::Display;
use std::os::unix::fs::PermissionsExt;
use std::str::FromStr;

/// A genesis document: what is accepted is written as a text of the same chain.
pub fn genesis(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let document = match bounded(TEXT, bytes.len(), || Document::parse(text)) {
        Ok(document) => document,
        Err(refusal) => {
            // A person looks for the line.
            let lines = text.lines().count().max(1) + 1;
            assert!((1..=lines).contains(&refusal.at.line), "line {} of {lines}", refusal.at.line);
            return drop(refusal.to_string());
        }
    };
    let written = document.to_toml();
    let mut again = Document::parse(&written).expect("what it writes it reads");
    assert_eq!(again.chain_id(), document.chain_id());
    assert_eq!(again.to_toml(), written);
    assert_eq!(again.merge(&document).expect("a copy"), 0);
    assert_eq!(again.signatures(), document.signatures());
    if let Ok(founding) = document.finalised() {
        assert_eq!(founding.chain(), document.chain_id());
        assert_eq!(founding.validators().len(), document.validators().count());
        assert_eq!(document.unsigned().count(), 0, "a founder has not signed");
        assert_eq!(founding.chain(), chain().founding.chain(), "a chain that nobody founded");
    }
}

/// A member card: what is accepted is written as a text of the same card, and none is anyone else's.
pub fn card(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match bounded(TEXT, bytes.len(), || Card::from_toml(text, "card.toml")) {
        Ok(card) => {
            assert_eq!(Card::from_toml(&card.to_toml(), "again").as_ref(), Ok(&card));
            let encoded = codec::encode(&card);
            assert_eq!(codec::decode(&encoded, encoded.len()).as_ref(), Ok(&card));
            assert_eq!(card.verify(), Ok(()));
            let theirs = chain().founding.member_by_key(&card.member_key);
            assert!(theirs.is_none_or(|known| *known == card.member()), "a member says what it never said");
        }
        Err(refusal) => drop(refusal.to_string()),
    }
}

/// A file of parameters, and a single one on a command line.
pub fn parameters(bytes: &[u8]) {
    let home = directory();
    let path = file(&home, "parameters.toml", bytes);
    if let Ok(parameters) = bounded(TEXT, bytes.len(), || parameter_files::load(&path)) {
        assert_eq!(parameters.check(), Ok(()));
        let encoded = codec::encode(&parameters);
        assert_eq!(codec::decode(&encoded, encoded.len()).as_ref(), Ok(&parameters));
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for line in text.lines().take(16) {
        let mut parameters = Parameters::default();
        if let Err(error) = parameter_files::set(&mut parameters, line) {
            assert_eq!(parameters, Parameters::default(), "refused, and set");
            drop(error.to_string());
        }
    }
}

/// The key file of a member.
pub fn key_file(bytes: &[u8]) {
    let home = directory();
    let path = file(&home, "member.key", bytes);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("it is ours");
    match bounded(TEXT, bytes.len().min(1024), || MemberKeys::load(home.path())) {
        Ok(keys) => {
            let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
            assert!(text.contains(&const_hex::encode(keys.member.to_seed())), "a key from nowhere");
            assert!(text.contains(&keys.member.public().to_string()), "a public key that is not there");
        }
        Err(error) => {
            let text = error.to_string();
            let whole = String::from_utf8_lossy(bytes);
            let secret = whole.lines().find_map(|line| line.strip_prefix("secret "));
            // An error ends up in a log.
            let told = secret.is_some_and(|secret| secret.len() >= 16 && text.contains(secret));
            assert!(!told, "a secret in an error");
        }
    }
}

/// Operations as JSON, whole and line by line.
pub fn operations(bytes: &[u8]) {
    let members = chain().founding.members();
    for found in bounded(TEXT, bytes.len(), || JsonLines::new(bytes, "lines", members).collect::<Vec<_>>()) {
        match found {
            Ok((_, operations)) => written_again(&operations),
            Err(error) => drop(error.to_string()),
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match bounded(TEXT, bytes.len(), || parse(text, "operations.json", 1, &Members(members))) {
        Ok(operations) => written_again(&operations),
        Err(error) => {
            let lines = text.lines().count() as u64 + 1;
            assert!((1..=lines).contains(&error.line), "line {} of {lines}", error.line);
            drop(error.to_string());
        }
    }
}

fn written_again(operations: &[Operation]) {
    let members = Members(chain().founding.members());
    let written = to_json(operations, &members).to_string();
    let again = parse(&written, "again", 1, &members).expect("what it writes it reads");
    assert_eq!(again, operations, "another text says something else");
    assert!(operations.iter().all(|operation| operation.check().is_ok()));
}

/// The settings of a node, and the texts within them by themselves.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(config) = bounded(TEXT, bytes.len(), || Config::parse(text)) {
        assert!(config.storage.write_buffer_bytes.0 >= 1, "a store without a buffer");
    }
    for line in text.lines().take(16) {
        spelled_again::<ByteSize>(line);
        spelled_again::<HttpAddress>(line);
        spelled_again::<LogLevel>(line);
        spelled_again::<LogFormat>(line);
        if let Some(address) = spelled_again::<Address>(line) {
            assert_eq!(address.to_string(), line, "two spellings of an address");
        }
    }
}

/// What a text means; written down, it means the same.
fn spelled_again<T: FromStr + Display + PartialEq>(text: &str) -> Option<T> {
    let value: T = bounded(TEXT, text.len(), || text.parse().ok())?;
    let again = value.to_string();
    assert!(again.parse().is_ok_and(|other: T| other == value), "{text:?} and {again:?}");
    Some(value)
}
