//! `quorate watch`: blocks and transactions as they commit.

use super::chain::{block_json, block_text};
use super::context::Context;
use super::failure::Failure;
use crate::client::Client;
use crate::error::Exit;
use quorate_ledger::StateKey;
use quorate_types::ids::Height;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The first block to show; to go on where you stopped, give the height after the last one you
    /// have [default: the next to commit]
    #[arg(long, value_name = "HEIGHT")]
    from: Option<u64>,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    context.with_client(async |client| watch(context, client, &args).await).await
}

async fn watch(context: &Context, client: &Client, args: &Args) -> Result<Exit, Failure> {
    let from = match args.from {
        Some(height) => Height(height),
        // Any key will do: the proof says which block is the latest.
        None => client.read(StateKey::Member(context.me()?), None).await?.height().next(),
    };
    context.note(format!("watching from block {}", from.max(Height(1))));
    let founding = client.founding().clone();
    let mut blocks = client.blocks(from, true);
    while let Some(block) = blocks.next().await? {
        let json = if context.global.json { block_json(&founding, &block) } else { serde_json::Value::Null };
        let text = if context.global.json { String::new() } else { block_text(&founding, &block) };
        context.print(text, &json)?;
    }
    Ok(Exit::Ok)
}
