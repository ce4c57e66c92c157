//! Commands that show what is on the chain: blocks, transactions, receipts.

use super::context::Context;
use super::failure::Failure;
use super::write::{outcome_json, save, summary, to_json};
use crate::client::Client;
use crate::error::Exit;
use crate::operations::{Members, to_json as operations_json};
use crate::receipt_file;
use crate::verify::{Anchor, VerifiedBlock, VerifiedReceipt};
use clap::Subcommand;
use quorate_genesis::{Founding, utc};
use quorate_types::hash::TransactionId;
use quorate_types::ids::Height;
use quorate_types::outcome::Outcome;
use quorate_types::transaction::{Transaction, VerifiedTransaction};
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show a block and its transactions
    Block {
        /// Its height [default: the latest]
        height: Option<u64>,
    },
    /// Show a transaction and what came of it
    Tx {
        /// Its id
        id: TransactionId,
    },
    /// Fetch the receipt of a transaction
    Receipt {
        /// The transaction's id
        id: TransactionId,
        /// Save it to this file; it must not exist yet
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Check something offline, with the genesis document alone
    Verify {
        #[command(subcommand)]
        what: Verify,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Verify {
    /// Check a receipt file
    Receipt {
        /// The file
        file: PathBuf,
    },
}

pub(super) async fn run(context: &Context, command: Command) -> Result<Exit, Failure> {
    context.with_client(async |client| show(context, client, command).await).await
}

async fn show(context: &Context, client: &Client, command: Command) -> Result<Exit, Failure> {
    let founding = client.founding().clone();
    match command {
        Command::Block { height } => {
            let block = client.block(height.map(Height)).await?;
            context.print(block_text(&founding, &block), &block_json(&founding, &block))?;
        }
        Command::Tx { id } => {
            let receipt = client.receipt(id).await?;
            let transaction = &receipt.receipt().transaction.transaction;
            let mut json = transaction_json(&founding, id, transaction);
            json["height"] = json!(receipt.height());
            json["index"] = json!(receipt.receipt().inclusion.index);
            json["timestamp_ms"] = json!(receipt.timestamp());
            json["outcome"] = outcome_json(receipt.outcome());
            context.print(transaction_text(&founding, &receipt), &json)?;
        }
        Command::Receipt { id, out } => {
            let receipt = client.receipt(id).await?;
            if let Some(path) = &out {
                save(path, &receipt)?;
            }
            context.print(summary(&receipt), &to_json(&receipt))?;
        }
        Command::Verify { what } => return verify(context, &what),
    }
    Ok(Exit::Ok)
}

/// Checks a file offline.
pub(super) fn verify(context: &Context, what: &Verify) -> Result<Exit, Failure> {
    let Verify::Receipt { file } = what;
    let founding = context.founding()?;
    let text = read_text(file)?;
    let receipt = receipt_file::parse(&text, &Anchor::of(&founding)).map_err(|error| {
        Failure::new(Exit::Unverified, format!("{}: {error}", file.display()))
            .so("the file proves nothing")
            .way_out("get the receipt again with `quorate receipt ID --out FILE`; check that --genesis is of its chain")
    })?;
    let mut json = to_json(&receipt);
    json["verified"] = json!(true);
    context.print(format!("verified  {}", summary(&receipt)), &json)?;
    Ok(Exit::Ok)
}

fn read_text(path: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::usage(format!("cannot read {}: {error}", path.display()));
    let mut bytes = Vec::new();
    let limit = receipt_file::MAX_FILE_BYTES as u64 + 1;
    File::open(path).map_err(failed)?.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    String::from_utf8(bytes).map_err(|_| {
        Failure::new(Exit::Unverified, format!("{} is no receipt file: not text", path.display()))
            .so("the file proves nothing")
    })
}

/// A block for people.
pub(super) fn block_text(founding: &Founding, block: &VerifiedBlock) -> String {
    let header = block.header();
    let proposer = founding.validator(header.proposer).map_or("?", |validator| &validator.name);
    let mut text = format!(
        "block {}  {}  {} transactions  view {}  by {proposer}\n  hash {}",
        header.height,
        utc::format(header.timestamp),
        header.transaction_count,
        header.view,
        block.hash(),
    );
    for transaction in block.transactions() {
        // Writing to a string does not fail.
        let _ = write!(text, "\n  {}", transaction_line(founding, transaction));
    }
    text
}

pub(super) fn block_json(founding: &Founding, block: &VerifiedBlock) -> Value {
    let header = block.header();
    let transactions = block
        .transactions()
        .iter()
        .map(|transaction| transaction_json(founding, transaction.id(), transaction.transaction()));
    json!({
        "height": header.height,
        "block": block.hash(),
        "timestamp_ms": header.timestamp,
        "view": header.view,
        "proposer": founding.validator(header.proposer).map(|validator| &validator.name),
        "parent": header.parent,
        "transactions_root": header.transactions_root,
        "history_root": header.history_root,
        "transactions": transactions.collect::<Vec<_>>(),
    })
}

fn transaction_json(founding: &Founding, id: TransactionId, transaction: &Transaction) -> Value {
    let members = Members(founding.members());
    json!({
        "transaction": id,
        "sender": members.name(&transaction.sender),
        "nonce": transaction.nonce.to_string(),
        "expires_at_ms": transaction.expires_at,
        "operations": operations_json(&transaction.operations, &members),
    })
}

/// Operations are shown as far as this many characters in a line of a block.
const LINE_CHARACTERS: usize = 160;

fn transaction_line(founding: &Founding, transaction: &VerifiedTransaction) -> String {
    let members = Members(founding.members());
    let inner = transaction.transaction();
    let operations = operations_json(&inner.operations, &members).to_string();
    let mut shown: String = operations.chars().take(LINE_CHARACTERS).collect();
    if shown.len() < operations.len() {
        shown.push_str(" ...");
    }
    format!("{}  {}  {shown}", transaction.id(), members.name(&inner.sender))
}

fn transaction_text(founding: &Founding, receipt: &VerifiedReceipt) -> String {
    let members = Members(founding.members());
    let transaction = &receipt.receipt().transaction.transaction;
    let outcome = match receipt.outcome() {
        Outcome::Applied => "applied".to_owned(),
        Outcome::Failed { operation, reason } => format!("failed: operation {operation}: {reason}"),
    };
    let mut text = format!(
        "transaction {}\n  sender   {}\n  block    {} (transaction {})  {}\n  outcome  {outcome}",
        receipt.id(),
        members.name(&transaction.sender),
        receipt.height(),
        receipt.receipt().inclusion.index,
        utc::format(receipt.timestamp()),
    );
    if let Value::Array(operations) = operations_json(&transaction.operations, &members) {
        for operation in operations {
            let _ = write!(text, "\n  {operation}");
        }
    }
    text
}
