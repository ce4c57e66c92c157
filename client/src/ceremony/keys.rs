//! `quorate keys`.

use super::Report;
use quorate_genesis::MemberKeys;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Commands about key files.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make new keys from the operating system's randomness
    New {
        /// Directory for the key files; made if it does not exist
        #[arg(long)]
        dir: PathBuf,
        /// Also make the vote and transport keys that a validator needs
        #[arg(long)]
        validator: bool,
    },
    /// Print the public keys in a directory
    Show {
        /// Directory with the key files
        #[arg(long)]
        dir: PathBuf,
    },
}

impl Command {
    pub(super) fn execute(self) -> anyhow::Result<Report> {
        match self {
            Command::New { dir, validator } => {
                let keys = MemberKeys::create(&dir, validator)?;
                Ok(report(&dir, &keys).advise(format!(
                    "Keep a copy of {} in a safe place, and never on two running machines: a lost key cannot \
                     be replaced, and a validator that votes twice convicts itself.",
                    dir.display()
                )))
            }
            Command::Show { dir } => Ok(report(&dir, &MemberKeys::load(&dir)?)),
        }
    }
}

/// Public keys only.
fn report(dir: &Path, keys: &MemberKeys) -> Report {
    let mut text = String::new();
    let mut fields = Map::from_iter([("dir".to_owned(), json!(dir))]);
    for (kind, key) in keys.iter() {
        let name = format!("{kind} key");
        text.push_str(&format!("{name:<14} {}\n", key.public()));
        fields.insert(format!("{kind}_key"), json!(key.public()));
    }
    Report::new(text, Value::Object(fields))
}
