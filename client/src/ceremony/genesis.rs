//! `quorate genesis`.

use super::{Report, card};
use anyhow::Context;
use quorate_genesis::files::{self, Access};
use quorate_genesis::{CardFile, Document, MemberKeys, parameters, utc};
use quorate_types::ids::Timestamp;
use quorate_types::parameters::Parameters;
use quorate_types::validators::Quorum;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Commands about the genesis document.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Assemble a document from member cards and parameters; needs nobody's secret key
    New {
        /// The chain's name, for people
        #[arg(long)]
        name: String,
        /// TOML file with parameters; what it leaves out stays at its default
        #[arg(long, value_name = "FILE")]
        parameters: Option<PathBuf>,
        /// A parameter that differs from file or default, for instance window=8; may be repeated
        #[arg(long, value_name = "NAME=VALUE")]
        set: Vec<String>,
        /// Time of founding in milliseconds since 1970; by default now
        #[arg(long, value_name = "MS")]
        created_ms: Option<u64>,
        /// The members' cards
        #[arg(required = true, value_name = "CARD")]
        cards: Vec<PathBuf>,
        /// File to write; it must not exist yet
        #[arg(long)]
        out: PathBuf,
    },
    /// Check a document and print what it says and who has signed it
    Inspect {
        /// The document
        file: PathBuf,
    },
    /// Add your validator's founding signature to a document you have inspected
    Sign {
        /// Directory with your key files
        #[arg(long)]
        dir: PathBuf,
        /// The document; it is replaced by the signed one
        file: PathBuf,
    },
    /// Gather signatures collected on several copies of one document
    Merge {
        /// The copies
        #[arg(required = true, num_args = 2..)]
        files: Vec<PathBuf>,
        /// File to write; it must not exist yet
        #[arg(long)]
        out: PathBuf,
    },
    /// Check everything, all signatures included, and print the chain id
    Finalise {
        /// The document
        file: PathBuf,
    },
}

impl Command {
    pub(super) fn execute(self) -> anyhow::Result<Report> {
        match self {
            Command::New { name, parameters, set, created_ms, cards, out } => {
                let parameters = choose(parameters.as_deref(), &set)?;
                let created = created_ms.map_or_else(now, |ms| Ok(Timestamp(ms)))?;
                assemble(&name, created, parameters, &cards, &out)
            }
            Command::Inspect { file } => Ok(inspect(&Document::load(&file)?)),
            Command::Sign { dir, file } => sign(&MemberKeys::load(&dir)?, &file, now()?),
            Command::Merge { files, out } => merge(&files, &out),
            Command::Finalise { file } => finalise(&file),
        }
    }
}

/// This machine's clock.
fn now() -> anyhow::Result<Timestamp> {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .context("this machine's clock stands before 1970; set it")?;
    Ok(Timestamp(u64::try_from(since.as_millis()).context("this machine's clock is out of range; set it")?))
}

fn choose(file: Option<&Path>, settings: &[String]) -> anyhow::Result<Parameters> {
    let mut chosen = match file {
        Some(path) => parameters::load(path)?,
        None => Parameters::default(),
    };
    for setting in settings {
        parameters::set(&mut chosen, setting)?;
    }
    chosen.check()?;
    Ok(chosen)
}

fn assemble(
    name: &str,
    created: Timestamp,
    parameters: Parameters,
    cards: &[PathBuf],
    out: &Path,
) -> anyhow::Result<Report> {
    let cards = cards.iter().map(|path| CardFile::load(path)).collect::<Result<Vec<_>, _>>()?;
    let document = Document::assemble(name, created, parameters, cards)?;
    files::write_new(out, &document.to_toml(), Access::Public)?;
    Ok(progress(&document, out).advise(format!(
        "Next, every validator inspects the document (`quorate genesis inspect {0}`) and signs it \
         (`quorate genesis sign --dir DIR {0}`), one after the other or on copies to be merged.",
        out.display()
    )))
}

fn sign(keys: &MemberKeys, path: &Path, now: Timestamp) -> anyhow::Result<Report> {
    let mut document = Document::load(path)?;
    // A chain founded in the future stands still until then: its blocks may be neither earlier than
    // their parents nor ahead of the validators' clocks.
    let latest = now.plus_ms(document.parameters().max_clock_drift_ms);
    if document.created() > latest {
        anyhow::bail!(
            "{}: the time of founding, {}, lies ahead of this machine's clock ({}); not signed. Correct the \
             clock, or have the document assembled again",
            path.display(),
            utc::format(document.created()),
            utc::format(now)
        );
    }
    if document.sign(keys).with_context(|| format!("{} is not signed", path.display()))? {
        files::replace(path, &document.to_toml())?;
    }
    Ok(progress(&document, path))
}

fn merge(paths: &[PathBuf], out: &Path) -> anyhow::Result<Report> {
    let mut documents = paths.iter().map(|path| Document::load(path).map(|document| (path, document)));
    let Some(first) = documents.next() else {
        anyhow::bail!("there is nothing to merge; name the copies");
    };
    let (first_path, mut merged) = first?;
    for next in documents {
        let (path, document) = next?;
        merged
            .merge(&document)
            .with_context(|| format!("cannot merge {} with {}", first_path.display(), path.display()))?;
    }
    files::write_new(out, &merged.to_toml(), Access::Public)?;
    Ok(progress(&merged, out))
}

fn finalise(path: &Path) -> anyhow::Result<Report> {
    let founding = Document::load(path)?.finalised()?;
    let Quorum { n, f, q } = founding.validators().quorum();
    let json = json!({
        "chain_id": founding.chain(),
        "name": founding.name(),
        "final": true,
        "validators": n,
        "tolerated": f,
        "quorum": q,
        "members": founding.members().len(),
    });
    Ok(Report::new(format!("{}\n", founding.chain()), json).advise(format!(
        "The document is final: all {n} validators have signed. Compare this chain id with the other members', \
         then start from it."
    )))
}

/// Chain id, file, and who has not signed yet.
fn progress(document: &Document, path: &Path) -> Report {
    let json = json!({
        "file": path,
        "chain_id": document.chain_id(),
        "signed": signed(document),
        "unsigned": unsigned(document),
    });
    let text = format!(
        "file      {}\nchain id  {}\nstatus    {}\n",
        path.display(),
        document.chain_id(),
        status(document)
    );
    Report::new(text, json)
}

fn signed(document: &Document) -> Vec<&str> {
    document.signatures().iter().map(|signature| signature.member.as_str()).collect()
}

fn unsigned(document: &Document) -> Vec<&str> {
    document.unsigned().map(|card| card.name.as_str()).collect()
}

fn status(document: &Document) -> String {
    let missing = unsigned(document);
    let of = document.validators().count();
    if missing.is_empty() {
        format!("final: all {of} validators have signed")
    } else {
        format!("{} of {of} validators have signed; missing: {}", of - missing.len(), missing.join(", "))
    }
}

fn inspect(document: &Document) -> Report {
    Report::new(describe(document), describe_json(document))
}

fn describe(document: &Document) -> String {
    let Quorum { n, f, q } = Quorum::of(document.validators().count());
    let mut text = format!(
        "chain     {}\nchain id  {}\ncreated   {}\nstatus    {}\nquorum    {q} of {n} validators; {f} may fail or lie\n\nparameters\n",
        document.name(),
        document.chain_id(),
        utc::format(document.created()),
        status(document),
    );
    let defaults = parameters::list(&Parameters::default());
    for ((name, value), (_, default)) in parameters::list(document.parameters()).into_iter().zip(defaults) {
        let note = if value == default { String::new() } else { format!("  (default {default})") };
        text.push_str(&format!("  {name:<24} {value}{note}\n"));
    }
    text.push_str("\nmembers\n");
    let mut index = 0;
    for card in document.members() {
        text.push_str(&format!("  {}: {}\n", card.name, card::roles(card)));
        if let Some(validator) = &card.validator {
            let signed = if document.has_signed(&card.name) { "has signed" } else { "has NOT signed" };
            text.push_str(&format!("    {:<14} {index}, {signed}\n", "validator"));
            text.push_str(&format!("    {:<14} {}\n", "address", validator.address));
            index += 1;
        }
        for (kind, key) in card.keys() {
            text.push_str(&format!("    {:<14} {key}\n", format!("{kind} key")));
        }
    }
    text
}

fn describe_json(document: &Document) -> Value {
    let Quorum { n, f, q } = Quorum::of(document.validators().count());
    let mut index = 0;
    let members = document.members().iter().map(|card| {
        let mut member = card::as_json(card);
        if card.is_validator() {
            member["validator"]["index"] = json!(index);
            member["validator"]["signed"] = json!(document.has_signed(&card.name));
            index += 1;
        }
        member
    });
    json!({
        "name": document.name(),
        "chain_id": document.chain_id(),
        "created_ms": document.created(),
        "created": utc::format(document.created()),
        "final": document.unsigned().next().is_none(),
        "validators": n,
        "tolerated": f,
        "quorum": q,
        "parameters": document.parameters(),
        "members": members.collect::<Vec<_>>(),
        "signed": signed(document),
        "unsigned": unsigned(document),
    })
}
