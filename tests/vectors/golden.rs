//! Golden vectors: bytes that may never change, kept as JSON of names and hexadecimal digits.
//!
//! Test files of several crates take this module in by path. Each makes its values anew from fixed
//! seeds and compares the whole file. `QUORATE_GOLDEN=write cargo test golden` writes the files
//! instead: only ever for a new name, since a changed value means that old signatures, hashes and
//! files no longer hold.

#![allow(dead_code, reason = "each test file uses its part")]

use std::path::PathBuf;

/// A file under `tests/vectors/golden`.
pub(crate) fn path(name: &str) -> PathBuf {
    // Every crate of the workspace lies one or two levels below its root.
    let crate_root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let root = crate_root.ancestors().find(|directory| directory.join("tests/vectors/golden").is_dir());
    root.expect("tests run inside the repository").join("tests/vectors/golden").join(name)
}

/// The file's text, compared with what it should be.
pub(crate) fn check_text(name: &str, expected: &str) {
    let path = path(name);
    if std::env::var_os("QUORATE_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(&path, expected).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    for (number, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "line {} of {} has changed", number + 1, path.display());
    }
    assert_eq!(found, expected, "{} has changed", path.display());
}

/// Named values, in the order in which they were added.
#[derive(Default)]
pub(crate) struct Golden(Vec<(String, String)>);

impl Golden {
    pub(crate) fn new() -> Golden {
        Golden::default()
    }

    /// Adds bytes, as hexadecimal digits.
    pub(crate) fn hex(&mut self, name: &str, bytes: impl AsRef<[u8]>) {
        let digits: String = bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        self.text(name, &digits);
    }

    /// Adds a text that JSON need not escape.
    pub(crate) fn text(&mut self, name: &str, text: &str) {
        assert!(self.0.iter().all(|(known, _)| known != name), "{name} twice");
        assert!(!text.contains(['"', '\\', '\n']), "{name} would need escaping");
        self.0.push((name.to_owned(), text.to_owned()));
    }

    /// Compares all of them with the file.
    pub(crate) fn check(&self, file: &str) {
        let lines: Vec<String> =
            self.0.iter().map(|(name, value)| format!("  \"{name}\": \"{value}\"")).collect();
        check_text(file, &format!("{{\n{}\n}}\n", lines.join(",\n")));
    }
}
