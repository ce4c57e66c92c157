//! A small consortium with keys that are the same in every run.

#![allow(dead_code, reason = "each test file uses its part")]

use quorate_genesis::keys::ValidatorKeys;
use quorate_genesis::{Card, Document, MemberKeys};
use quorate_types::ids::Timestamp;
use quorate_types::keys::SecretKey;
use quorate_types::member::Role;
use quorate_types::parameters::Parameters;

pub(crate) const CREATED: Timestamp = Timestamp(1_795_334_400_000);

/// Keys out of the seeds `3n`, `3n + 1`, `3n + 2`.
pub(crate) fn keys(n: u8, validator: bool) -> MemberKeys {
    let key = |offset| SecretKey::from_seed(&[3 * n + offset; 32]);
    let validator = validator.then(|| ValidatorKeys { vote: key(1), transport: key(2) });
    MemberKeys { member: key(0), validator }
}

pub(crate) fn validator_card(n: u8, name: &str) -> Card {
    let address = format!("node.{name}.example:26656").parse().unwrap();
    Card::export(&keys(n, true), name, &[Role::Validator, Role::Submitter], Some(address)).unwrap()
}

pub(crate) fn member_card(n: u8, name: &str, role: Role) -> Card {
    Card::export(&keys(n, false), name, &[role], None).unwrap()
}

/// Written out, so that tuning a default does not give the golden chain another id.
pub(crate) fn parameters() -> Parameters {
    Parameters {
        window: 4,
        term_blocks: 1000,
        max_block_transactions: 10_000,
        max_block_bytes: 4 << 20,
        max_transaction_bytes: 64 << 10,
        max_lifetime_ms: 300_000,
        max_clock_drift_ms: 10_000,
        view_timeout_ms: 400,
        max_view_timeout_ms: 10_000,
        request_timeout_ms: 2_000,
    }
}

/// Validators `acme` (keys 1) and `bolt` (keys 2), auditor `crown` (keys 3).
pub(crate) fn document() -> Document {
    let cards =
        [validator_card(1, "acme"), validator_card(2, "bolt"), member_card(3, "crown", Role::Auditor)];
    let cards = cards.map(Into::into).into();
    Document::assemble("trade-finance", CREATED, parameters(), cards).unwrap()
}

pub(crate) fn signed() -> Document {
    let mut document = document();
    for n in [1, 2] {
        assert!(document.sign(&keys(n, true)).unwrap());
    }
    document
}

/// The number of the `nth` line, from 0, that starts with `start`.
pub(crate) fn line(text: &str, start: &str, nth: usize) -> usize {
    let matching = |(_, line): &(usize, &str)| line.starts_with(start);
    text.lines().enumerate().filter(matching).nth(nth).unwrap_or_else(|| panic!("no {start} in {text}")).0 + 1
}
