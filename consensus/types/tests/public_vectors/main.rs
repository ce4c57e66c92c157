//! Public test vectors through the code that decides: every Ed25519 vector through every way in
//! which this crate verifies a signature, every Merkle vector through both proof checks.
//!
//! Where the vectors come from: `tests/vectors/README.md`.

#![allow(clippy::unwrap_used, reason = "a failed step is the test's finding")]

mod differential;
mod ed25519;
mod merkle;
mod paths;

use std::path::PathBuf;

/// A file or directory among the vectors at the repository's root.
fn vectors(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors").join(path)
}

/// A JSON file among them.
fn json(path: &str) -> serde_json::Value {
    let path = vectors(path);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
