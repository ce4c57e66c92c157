//! Commands that read the state, with a proof.

use super::context::Context;
use super::failure::Failure;
use super::write::bytes_of;
use crate::client::Client;
use crate::error::Exit;
use crate::operations::{Members, Spelled};
use clap::Subcommand;
use quorate_genesis::utc;
use quorate_ledger::{Entry, StateKey, StateValue};
use quorate_types::ids::Height;
use serde_json::{Value, json};
use std::io::{self, Write};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print the value of a key; exit code 4 if it is proven to be absent
    Get {
        /// The namespace
        namespace: String,
        /// The key, as text
        key: String,
        /// As it was after this block [default: the latest]
        #[arg(long)]
        height: Option<u64>,
        /// KEY is hexadecimal digits
        #[arg(long)]
        hex: bool,
    },
    /// Print what a member holds of an asset
    Balance {
        /// The asset
        asset: String,
        /// The member, by name or key [default: you]
        member: Option<String>,
        /// As it was after this block [default: the latest]
        #[arg(long)]
        height: Option<u64>,
    },
}

pub(super) async fn run(context: &Context, command: Command) -> Result<Exit, Failure> {
    let work = async |client: &Client| match command {
        Command::Get { namespace, key, height, hex } => {
            get(context, client, namespace, bytes_of(key, hex)?, height.map(Height)).await
        }
        Command::Balance { asset, member, height } => {
            balance(context, client, asset, member, height.map(Height)).await
        }
    };
    context.with_client(work).await
}

async fn get(
    context: &Context,
    client: &Client,
    namespace: String,
    key: Vec<u8>,
    height: Option<Height>,
) -> Result<Exit, Failure> {
    let name = json!({ "namespace": &namespace, "key": Spelled(key.clone()) });
    let state = client.read(StateKey::Entry { namespace, key }, height).await?;
    let at = format!("at block {}, {}", state.height(), utc::format(state.timestamp()));
    // The verifier lets nothing else stand at such a key.
    let entry = match state.value() {
        Some(StateValue::Entry(entry)) => Some(entry),
        _ => None,
    };
    let mut json = name;
    json["value"] = entry.map_or(Value::Null, |Entry { value, .. }| json!(Spelled(value.clone())));
    json["version"] = json!(entry.map(|entry| entry.version));
    json["height"] = json!(state.height());
    json["timestamp_ms"] = json!(state.timestamp());
    let end = match entry {
        Some(_) => Ok(Exit::Ok),
        None => Err(Failure::new(Exit::NotFound, format!("there is no such key, proven {at}"))),
    };
    if context.global.json {
        return context.print_end("", &json, end);
    }
    let exit = end?;
    if let Some(Entry { value, version }) = entry {
        let mut out = io::stdout().lock();
        out.write_all(value)?;
        if !value.ends_with(b"\n") {
            out.write_all(b"\n")?;
        }
        out.flush()?;
        context.note(format!("version {}, proven {at}", version.0));
    }
    Ok(exit)
}

async fn balance(
    context: &Context,
    client: &Client,
    asset: String,
    member: Option<String>,
    height: Option<Height>,
) -> Result<Exit, Failure> {
    let founding = client.founding();
    let member = match member {
        Some(name) => Context::member(founding, &name)?,
        None => context.me()?,
    };
    let state = client.read(StateKey::Balance { asset: asset.clone(), member }, height).await?;
    let units = match state.value() {
        Some(StateValue::Balance(units)) => *units,
        // Proven to be absent: who holds nothing has no entry.
        _ => 0,
    };
    let json = json!({
        "asset": asset,
        "member": Members(founding.members()).name(&member),
        "balance": units.to_string(),
        "height": state.height(),
        "timestamp_ms": state.timestamp(),
    });
    context.print(units.to_string(), &json)?;
    context.note(format!("proven at block {}, {}", state.height(), utc::format(state.timestamp())));
    Ok(Exit::Ok)
}
