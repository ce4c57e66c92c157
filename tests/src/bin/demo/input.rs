//! The work: a file of transactions for each member that submits, in the form `quorate bulk` reads.

use anyhow::{Context, Result};
use quorate_tests::packages::Package;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// The namespace of the packages.
pub(crate) const NAMESPACE: &str = "packages";

/// The asset that the members hand about.
pub(crate) const ASSET: &str = "credits";

/// The members that submit. The first notarises the packages.
pub(crate) const SUBMITTERS: [&str; 4] = ["acme", "bolt", "mill", "shop"];

/// What each of them holds at the start.
pub(crate) const ENDOWMENT: u64 = 1_000_000;

/// One member's file.
pub(crate) struct Input {
    /// Who signs and submits it.
    pub(crate) member: &'static str,
    /// Where it is.
    pub(crate) file: PathBuf,
    /// How many transactions it holds.
    pub(crate) lines: u64,
}

/// Writes the files: the packages, and `transfers` transfers, by turns from each member to the next.
pub(crate) fn write(directory: &Path, packages: &[Package], transfers: u64) -> Result<Vec<Input>> {
    std::fs::create_dir_all(directory)?;
    let mut inputs = Vec::new();
    for (index, member) in SUBMITTERS.into_iter().enumerate() {
        let to = SUBMITTERS[(index + 1) % SUBMITTERS.len()];
        let count = SUBMITTERS.len() as u64;
        let share = transfers / count + u64::from((index as u64) < transfers % count);
        let transfer =
            |number: u64| json!({ "transfer": { "asset": ASSET, "to": to, "amount": 1 + number % 9 } });
        let transfers = (0..share).map(transfer);
        let puts = packages.iter().filter(|_| index == 0).map(|package| package.operation(NAMESPACE));
        let file = directory.join(format!("{member}.jsonl"));
        let lines = lines(&file, puts.chain(transfers))
            .with_context(|| format!("cannot write {}", file.display()))?;
        inputs.push(Input { member, file, lines });
    }
    Ok(inputs)
}

fn lines(file: &Path, operations: impl Iterator<Item = Value>) -> Result<u64> {
    let mut out = BufWriter::new(File::create_new(file)?);
    let mut lines = 0;
    for operation in operations {
        writeln!(out, "{operation}")?;
        lines += 1;
    }
    out.flush()?;
    Ok(lines)
}
