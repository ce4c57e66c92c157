//! `quorate card`.

use super::Report;
use quorate_genesis::address::Address;
use quorate_genesis::files::{self, Access};
use quorate_genesis::{Card, CardFile, MemberKeys};
use quorate_types::member::Role;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Commands about member cards.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make your member card, signed with your keys, to hand to whoever assembles the document
    Export {
        /// Directory with your key files
        #[arg(long)]
        dir: PathBuf,
        /// Your name: 1 to 64 characters out of a-z, 0-9, '-', '_', '.', the first a letter or digit
        #[arg(long)]
        name: String,
        /// What you do: validator, submitter, auditor; several with commas between
        #[arg(long, value_delimiter = ',', required = true, value_parser = parse_role)]
        roles: Vec<Role>,
        /// Where the others reach your validator: host:port (UDP)
        #[arg(long)]
        address: Option<Address>,
        /// File to write; it must not exist yet. Without it the card goes to stdout
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Check member cards and print what they say
    Check {
        /// Card files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

impl Command {
    pub(super) fn execute(self) -> anyhow::Result<Report> {
        match self {
            Command::Export { dir, name, roles, address, out } => {
                export(&MemberKeys::load(&dir)?, &name, &roles, address, out)
            }
            Command::Check { files } => Ok(check(files)),
        }
    }
}

fn parse_role(text: &str) -> Result<Role, String> {
    match text {
        "validator" => Ok(Role::Validator),
        "submitter" => Ok(Role::Submitter),
        "auditor" => Ok(Role::Auditor),
        _ => Err("the roles are validator, submitter and auditor".to_owned()),
    }
}

/// The roles of a card as text.
pub(super) fn roles(card: &Card) -> String {
    let name = |role: &Role| match role {
        Role::Validator => "validator",
        Role::Submitter => "submitter",
        Role::Auditor => "auditor",
    };
    card.roles.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// What a card says, for programs.
pub(super) fn as_json(card: &Card) -> Value {
    let validator = card.validator.as_ref().map(|validator| {
        json!({
            "address": validator.address,
            "vote_key": validator.vote_key,
            "transport_key": validator.transport_key,
        })
    });
    json!({
        "name": card.name,
        "member_key": card.member_key,
        "roles": card.roles,
        "validator": validator,
    })
}

fn export(
    keys: &MemberKeys,
    name: &str,
    roles: &[Role],
    address: Option<Address>,
    out: Option<PathBuf>,
) -> anyhow::Result<Report> {
    let validates = roles.contains(&Role::Validator);
    if validates && keys.validator.is_none() {
        anyhow::bail!(
            "the directory holds no vote and transport key, so this member cannot be a validator; \
             make keys with `quorate keys new --validator` in a new directory"
        );
    }
    if validates && address.is_none() {
        anyhow::bail!("a validator's card needs the address it is reached at: add `--address host:port`");
    }
    let card = Card::export(keys, name, roles, address)?;
    let text = card.to_toml();
    let Some(path) = out else {
        return Ok(Report::new(text, as_json(&card)));
    };
    files::write_new(&path, &text, Access::Public)?;
    let mut json = as_json(&card);
    json["file"] = json!(path);
    let text = format!("{}\n", path.display());
    Ok(Report::new(text, json)
        .advise("Hand this file to whoever assembles the genesis document. It holds no secret."))
}

fn check(paths: Vec<PathBuf>) -> Report {
    let mut text = String::new();
    let mut entries = Vec::new();
    let mut refused = 0;
    for path in &paths {
        match CardFile::load(path) {
            Ok(file) => {
                let card = file.card();
                text.push_str(&format!("{}: ok: {} ({})\n", path.display(), card.name, roles(card)));
                if let Some(validator) = &card.validator {
                    text.push_str(&format!("  address        {}\n", validator.address));
                }
                for (kind, key) in card.keys() {
                    text.push_str(&format!("  {:<14} {key}\n", format!("{kind} key")));
                }
                entries.push(json!({ "file": path, "ok": true, "card": as_json(card) }));
            }
            Err(error) => {
                refused += 1;
                text.push_str(&format!("refused: {error}\n"));
                entries.push(json!({ "file": path, "ok": false, "error": error.to_string() }));
            }
        }
    }
    let mut report = Report::new(text, Value::Array(entries));
    if refused > 0 {
        report.failure = Some(format!("{refused} of {} cards are refused", paths.len()));
    }
    report
}
