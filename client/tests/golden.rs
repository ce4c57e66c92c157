//! The golden chain through the client's eyes: its document, its export, a receipt file.

#![allow(clippy::unwrap_used, reason = "a failed step is the test's finding")]

#[path = "../../tests/vectors/golden.rs"]
mod golden;

use quorate_client::audit::{Verdict, audit};
use quorate_client::export::Reader;
use quorate_client::receipt_file;
use quorate_client::verify::Anchor;
use quorate_genesis::Founding;
use quorate_types::codec;
use quorate_types::ids::Height;
use quorate_types::receipt::Receipt;
use std::collections::BTreeMap;

fn founding() -> Founding {
    Founding::load(&golden::path("genesis.toml")).unwrap()
}

/// A value of `chain.json`.
fn value(name: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(golden::path("chain.json")).unwrap();
    let values: BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
    const_hex::decode(&values[name]).unwrap()
}

#[test]
fn the_export_is_sound() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("golden.export");
    std::fs::write(&path, value("export")).unwrap();
    let reader = Reader::open(&path, &founding().chain()).unwrap();
    let verdict = audit(&founding().ledger_genesis(), reader, |_| ()).unwrap();
    let Verdict::Sound(totals) = verdict else { panic!("{verdict:?}") };
    assert_eq!((totals.height, totals.transactions, totals.failed), (Height(3), 7, 3));
    assert_eq!(totals.block.0.0.to_vec(), value("block_3_hash"));
}

#[test]
fn the_receipt_file_is_what_it_was() {
    let receipt: Receipt = codec::decode(&value("receipt_own"), Receipt::MAX_BYTES).unwrap();
    let anchor = Anchor::of(&founding());
    let text = receipt_file::render(&anchor.receipt(receipt, None).unwrap());
    golden::check_text("receipt.json", &text);
    assert!(receipt_file::parse(&text, &anchor).is_ok());
}
