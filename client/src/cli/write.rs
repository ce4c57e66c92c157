//! Commands that submit one transaction.

use super::context::{Context, UnderWay, parse_seconds};
use super::failure::Failure;
use crate::client::Client;
use crate::client::submit::DEFAULT_LIFETIME;
use crate::error::Exit;
use crate::operations::{self, Members};
use crate::receipt_file;
use crate::verify::VerifiedReceipt;
use clap::Subcommand;
use quorate_genesis::files::{self, Access};
use quorate_genesis::{Founding, utc};
use quorate_types::ids::Height;
use quorate_types::keys::PublicKey;
use quorate_types::outcome::Outcome;
use quorate_types::parameters::limits;
use quorate_types::transaction::{Operation, Version};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How a transaction is submitted.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct SubmitArgs {
    /// Save the receipt to this file; it must not exist yet
    #[arg(long, value_name = "FILE", conflicts_with = "no_wait")]
    receipt: Option<PathBuf>,
    /// Return once a validator has it, with its id, without waiting for a receipt
    #[arg(long)]
    no_wait: bool,
    /// Seconds within which it may commit [default: 60, at most what the chain allows]
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    lifetime: Option<Duration>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Set a key in a namespace
    Put {
        /// The namespace
        namespace: String,
        /// The key, as text
        key: String,
        /// The value, as text
        #[arg(required_unless_present = "value_file", conflicts_with = "value_file")]
        value: Option<String>,
        /// Take the value from a file, byte for byte; - for stdin
        #[arg(long, value_name = "FILE")]
        value_file: Option<PathBuf>,
        /// Fail unless the key was last written at this height; 0 if it must not exist
        #[arg(long, value_name = "HEIGHT")]
        expected_version: Option<u64>,
        /// KEY and VALUE are hexadecimal digits
        #[arg(long)]
        hex: bool,
        #[command(flatten)]
        submit: SubmitArgs,
    },
    /// Remove a key from a namespace
    Delete {
        /// The namespace
        namespace: String,
        /// The key, as text
        key: String,
        /// Fail unless the key was last written at this height
        #[arg(long, value_name = "HEIGHT")]
        expected_version: Option<u64>,
        /// KEY is hexadecimal digits
        #[arg(long)]
        hex: bool,
        #[command(flatten)]
        submit: SubmitArgs,
    },
    /// Create a namespace, or set who may write to it
    #[command(subcommand)]
    Namespace(Namespace),
    /// Create, mint, transfer or burn an asset
    #[command(subcommand)]
    Asset(Asset),
    /// Submit several operations from a JSON file as one transaction: all or none take effect
    ///
    /// An operation is one of, for example:
    ///
    /// {"create_namespace": {"namespace": "crates"}}
    ///
    /// {"set_namespace_members": {"namespace": "crates", "owners": ["acme"], "writers": ["bolt"]}}
    ///
    /// {"put": {"namespace": "crates", "key": "k", "value": {"hex": "00ff"}, "expected_version": 0}}
    ///
    /// {"delete": {"namespace": "crates", "key": "k"}}
    ///
    /// {"create_asset": {"asset": "credits"}}
    ///
    /// {"mint": {"asset": "credits", "to": "acme", "amount": 1000}}
    ///
    /// {"transfer": {"asset": "credits", "to": "bolt", "amount": "1000"}}
    ///
    /// {"burn": {"asset": "credits", "amount": 5}}
    Submit {
        /// One operation or an array of them; - for stdin
        file: PathBuf,
        #[command(flatten)]
        submit: SubmitArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Namespace {
    /// Create it; you become its owner and writer
    Create {
        /// Its name
        namespace: String,
        #[command(flatten)]
        submit: SubmitArgs,
    },
    /// Replace its owners and writers
    Members {
        /// Its name
        namespace: String,
        /// A member that may change both lists, by name or key; may be repeated
        #[arg(long = "owner", value_name = "MEMBER", required = true)]
        owners: Vec<String>,
        /// A member that may put and delete, by name or key; may be repeated
        #[arg(long = "writer", value_name = "MEMBER")]
        writers: Vec<String>,
        #[command(flatten)]
        submit: SubmitArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Asset {
    /// Create it; you become its issuer
    Create {
        /// Its name
        asset: String,
        #[command(flatten)]
        submit: SubmitArgs,
    },
    /// Make new units (issuer only)
    Mint {
        /// The asset
        asset: String,
        /// The member that receives them, by name or key
        to: String,
        /// How many units
        amount: u128,
        #[command(flatten)]
        submit: SubmitArgs,
    },
    /// Give units of yours to another member
    Transfer {
        /// The asset
        asset: String,
        /// The member that receives them, by name or key
        to: String,
        /// How many units
        amount: u128,
        #[command(flatten)]
        submit: SubmitArgs,
    },
    /// Destroy units of yours
    Burn {
        /// The asset
        asset: String,
        /// How many units
        amount: u128,
        #[command(flatten)]
        submit: SubmitArgs,
    },
}

pub(super) async fn run(context: &Context, command: Command) -> Result<Exit, Failure> {
    let work = async |client: &Client| {
        let (operations, submit) = operations_of(client.founding(), command)?;
        for (index, operation) in operations.iter().enumerate() {
            operation.check().map_err(|error| Failure::usage(format!("operation {index}: {error}")))?;
        }
        submit_one(context, client, operations, &submit).await
    };
    context.with_client(work).await
}

fn operations_of(founding: &Founding, command: Command) -> Result<(Vec<Operation>, SubmitArgs), Failure> {
    let version = |height: Option<u64>| height.map(|height| Version(Height(height)));
    let (operation, submit) = match command {
        Command::Put { namespace, key, value, value_file, expected_version, hex, submit } => {
            let value = match (value, value_file) {
                (_, Some(path)) => read_value(&path)?,
                (Some(value), None) => bytes_of(value, hex)?,
                (None, None) => return Err(Failure::usage("give a VALUE or --value-file")),
            };
            let (key, expected) = (bytes_of(key, hex)?, version(expected_version));
            (Operation::Put { namespace, key, value, expected }, submit)
        }
        Command::Delete { namespace, key, expected_version, hex, submit } => {
            let (key, expected) = (bytes_of(key, hex)?, version(expected_version));
            (Operation::Delete { namespace, key, expected }, submit)
        }
        Command::Namespace(Namespace::Create { namespace, submit }) => {
            (Operation::CreateNamespace { namespace }, submit)
        }
        Command::Namespace(Namespace::Members { namespace, owners, writers, submit }) => {
            let (owners, writers) = (keys_of(founding, &owners)?, keys_of(founding, &writers)?);
            (Operation::SetNamespaceMembers { namespace, owners, writers }, submit)
        }
        Command::Asset(Asset::Create { asset, submit }) => (Operation::CreateAsset { asset }, submit),
        Command::Asset(Asset::Mint { asset, to, amount, submit }) => {
            let to = Context::member(founding, &to)?;
            (Operation::Mint { asset, to, amount }, submit)
        }
        Command::Asset(Asset::Transfer { asset, to, amount, submit }) => {
            let to = Context::member(founding, &to)?;
            (Operation::Transfer { asset, to, amount }, submit)
        }
        Command::Asset(Asset::Burn { asset, amount, submit }) => (Operation::Burn { asset, amount }, submit),
        Command::Submit { file, submit } => return Ok((read_operations(founding, &file)?, submit)),
    };
    Ok((vec![operation], submit))
}

/// Text as bytes, or hexadecimal digits as the bytes they spell.
pub(super) fn bytes_of(text: String, hex: bool) -> Result<Vec<u8>, Failure> {
    if !hex {
        return Ok(text.into_bytes());
    }
    const_hex::decode(&text).map_err(|error| Failure::usage(format!("{text:?} is not hexadecimal: {error}")))
}

fn keys_of(founding: &Founding, names: &[String]) -> Result<Vec<PublicKey>, Failure> {
    let mut keys = names.iter().map(|name| Context::member(founding, name)).collect::<Result<Vec<_>, _>>()?;
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

/// A file's name for messages, and its content; `-` is stdin.
fn open(path: &Path) -> Result<Box<dyn Read>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    match File::open(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(Failure::usage(format!("cannot read {}: {error}", path.display()))),
    }
}

fn read_value(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut value = Vec::new();
    open(path)?
        .take(limits::VALUE_BYTES as u64 + 1)
        .read_to_end(&mut value)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    if value.len() > limits::VALUE_BYTES {
        return Err(Failure::usage(format!(
            "{} is longer than a value may be, {} bytes",
            path.display(),
            limits::VALUE_BYTES
        ))
        .way_out("store the file elsewhere, and its SHA-256 here"));
    }
    Ok(value)
}

fn read_operations(founding: &Founding, path: &Path) -> Result<Vec<Operation>, Failure> {
    let members = Members(founding.members());
    operations::read(open(path)?, &path.display().to_string(), &members)
        .map_err(|error| Failure::usage(error).way_out("`quorate submit --help` shows the form"))
}

async fn submit_one(
    context: &Context,
    client: &Client,
    operations: Vec<Operation>,
    submit: &SubmitArgs,
) -> Result<Exit, Failure> {
    if let Some(path) = &submit.receipt
        && path.exists()
    {
        return Err(Failure::usage(format!("{} exists already and is left as it is", path.display()))
            .so("nothing was submitted"));
    }
    let transaction = client.sign(operations, submit.lifetime.unwrap_or(DEFAULT_LIFETIME));
    let bytes = transaction.bytes().len();
    let most = client.founding().parameters().max_transaction_bytes;
    if bytes as u64 > u64::from(most) {
        return Err(Failure::usage(format!(
            "the transaction has {bytes} bytes, and this chain allows {most}"
        ))
        .so("nothing was submitted"));
    }
    let id = transaction.id();
    context.set_under_way(UnderWay::Transaction(id));
    if submit.no_wait {
        let validator = client.hand_in(&transaction).await?;
        let json = json!({ "transaction": id, "handed_to": validator });
        context.print(id.to_string(), &json)?;
        context.note(format!("handed to {validator}; whether it commits, `quorate receipt {id}` tells"));
        return Ok(Exit::Ok);
    }
    let receipt = client.submit(&transaction).await?;
    context.set_under_way(UnderWay::Nothing);
    if let Some(path) = &submit.receipt {
        save(path, &receipt)?;
    }
    let end = match receipt.outcome() {
        Outcome::Applied => Ok(Exit::Ok),
        Outcome::Failed { operation, reason } => {
            let of = receipt.receipt().transaction.transaction.operations.len();
            let which = if of > 1 {
                format!("operation {operation} of {of} (counted from 0)")
            } else {
                "it".to_owned()
            };
            Err(Failure::new(
                Exit::Rejected,
                format!("the ledger rejected the transaction: {which} failed: {reason}"),
            )
            .so(format!("it is recorded in block {}, and nothing of it took effect", receipt.height()))
            .way_out("correct the cause, then submit anew")
            .of_transaction(id))
        }
    };
    context.print_end(summary(&receipt), &to_json(&receipt), end)
}

/// Saves a receipt under a new name.
pub(super) fn save(path: &Path, receipt: &VerifiedReceipt) -> Result<(), Failure> {
    files::write_new(path, &receipt_file::render(receipt), Access::Public).map_err(|error| {
        Failure::new(Exit::Failure, error)
            .so(format!("transaction {} committed in block {} all the same", receipt.id(), receipt.height()))
            .way_out(format!("fetch the receipt again with `quorate receipt {} --out FILE`", receipt.id()))
    })
}

/// A receipt in one line.
pub(super) fn summary(receipt: &VerifiedReceipt) -> String {
    let outcome = match receipt.outcome() {
        Outcome::Applied => "applied",
        Outcome::Failed { .. } => "failed",
    };
    format!(
        "{outcome}  transaction {}  block {}  {}",
        receipt.id(),
        receipt.height(),
        utc::format(receipt.timestamp())
    )
}

pub(super) fn to_json(receipt: &VerifiedReceipt) -> Value {
    json!({
        "transaction": receipt.id(),
        "height": receipt.height(),
        "block": receipt.block(),
        "timestamp_ms": receipt.timestamp(),
        "outcome": outcome_json(receipt.outcome()),
    })
}

/// An outcome for programs: the reason as text beside its name.
pub(super) fn outcome_json(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Applied => json!({ "applied": true }),
        Outcome::Failed { operation, reason } => {
            json!({ "applied": false, "operation": operation, "reason": reason.to_string() })
        }
    }
}
