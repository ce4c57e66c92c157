//! Runs the verifier in Python that was written from `FORMAT.md` alone, where there is a Python for it.

#![allow(clippy::unwrap_used, reason = "a failed step is the test's finding")]

use std::path::PathBuf;
use std::process::Command;

#[test]
fn a_verifier_written_from_the_document_agrees() {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/verify.py");
    let has_toml = Command::new("python3").args(["-c", "import tomllib"]).output();
    if !has_toml.is_ok_and(|output| output.status.success()) {
        println!("skipped: there is no python3 of version 3.11 or later to run {}", script.display());
        return;
    }
    let output = Command::new("python3").arg(&script).output().unwrap();
    let (said, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{failed}");
    assert_eq!(said.lines().filter(|line| line.ends_with(": ok")).count(), 6, "{said}");
}
