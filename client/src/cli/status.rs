//! Commands for operators: what validators say of themselves. Nothing here is proven.

use super::context::Context;
use super::failure::Failure;
use crate::client::Client;
use crate::error::{Exit, Fault};
use crate::protocol::NodeStatus;
use comfy_table::{Table, presets};
use quorate_genesis::utc;
use quorate_types::hash::TransactionId;
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
pub(super) struct TraceArgs {
    /// The transaction's id
    id: TransactionId,
}

pub(super) async fn status(context: &Context) -> Result<Exit, Failure> {
    context.with_client(async |client| show_status(context, client).await).await
}

async fn show_status(context: &Context, client: &Client) -> Result<Exit, Failure> {
    let answers = client.status().await;
    let mut table = table([
        "validator",
        "height",
        "view",
        "leader",
        "phase",
        "peers",
        "waiting",
        "committed",
        "duplicates",
        "up",
        "trouble",
    ]);
    let leader = |status: &NodeStatus| {
        let leader = client.founding().validator(status.leader);
        leader.map_or_else(|| status.leader.to_string(), |validator| validator.name.clone())
    };
    let mut rows = Vec::new();
    for (name, answer) in &answers {
        match answer {
            Ok(status) => {
                let connected = status.peers.iter().filter(|peer| peer.connected).count();
                table.add_row([
                    name.clone(),
                    status.height.to_string(),
                    status.view.to_string(),
                    leader(status),
                    status.phase.clone(),
                    format!("{connected}/{}", status.peers.len()),
                    status.mempool_transactions.to_string(),
                    status.committed_transactions.to_string(),
                    format!("{:.1} %", Ratio(status.gossip_duplicates_per_1000).percent()),
                    uptime(status.uptime_ms),
                    status.trouble.clone().unwrap_or_default(),
                ]);
                rows.push(json!({ "validator": name, "status": status_json(status) }));
            }
            Err(fault) => {
                let dashes = std::iter::repeat_n("-".to_owned(), 9);
                table.add_row([name.clone()].into_iter().chain(dashes).chain([fault.to_string()]));
                rows.push(json!({ "validator": name, "error": fault.to_string() }));
            }
        }
    }
    context.print_end(table.to_string(), &Value::Array(rows), any_reached(&answers))
}

/// Copies of transactions beyond the first, for each thousand first ones.
struct Ratio(u64);

impl Ratio {
    fn percent(&self) -> f64 {
        f64::from(u32::try_from(self.0).unwrap_or(u32::MAX)) / 10.0
    }
}

pub(super) async fn trace(context: &Context, args: &TraceArgs) -> Result<Exit, Failure> {
    context.with_client(async |client| show_trace(context, client, args).await).await
}

async fn show_trace(context: &Context, client: &Client, args: &TraceArgs) -> Result<Exit, Failure> {
    let answers = client.trace(args.id).await;
    let founding = client.founding();
    let mut table = table(["validator", "first seen", "from", "hops", "committed"]);
    let mut rows = Vec::new();
    for (name, answer) in &answers {
        match answer {
            Ok(trace) => {
                let from = trace.from.map(|index| {
                    founding.validator(index).map_or_else(|| index.to_string(), |from| from.name.clone())
                });
                let committed =
                    trace.committed.map_or_else(|| "no".to_owned(), |height| format!("block {height}"));
                table.add_row([
                    name.clone(),
                    utc::format(trace.first_seen),
                    from.clone().unwrap_or_else(|| "a client".to_owned()),
                    trace.hops.to_string(),
                    committed,
                ]);
                rows.push(json!({
                    "validator": name,
                    "first_seen_ms": trace.first_seen,
                    "from": from,
                    "hops": trace.hops,
                    "committed": trace.committed,
                }));
            }
            Err(fault) => {
                let dash = || "-".to_owned();
                table.add_row([name.clone(), fault.to_string(), dash(), dash(), dash()]);
                rows.push(json!({ "validator": name, "error": fault.to_string() }));
            }
        }
    }
    let nobody_knows = answers.iter().all(|(_, answer)| answer.is_err())
        && answers.iter().any(|(_, a)| matches!(a, Err(Fault::NotFound)));
    let end = if nobody_knows {
        Err(Failure::new(Exit::NotFound, format!("no validator remembers transaction {}", args.id))
            .way_out(format!("`quorate tx {}` shows it if it committed", args.id)))
    } else {
        any_reached(&answers)
    };
    context.print_end(table.to_string(), &Value::Array(rows), end)
}

fn any_reached<T>(answers: &[(String, Result<T, Fault>)]) -> Result<Exit, Failure> {
    if answers.iter().any(|(_, answer)| answer.is_ok()) {
        return Ok(Exit::Ok);
    }
    Err(Failure::new(Exit::Unreachable, "no validator answered")
        .way_out("check the network, and that they run"))
}

fn table<const N: usize>(titles: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(titles);
    table
}

fn uptime(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

fn status_json(status: &NodeStatus) -> Value {
    serde_json::to_value(status).unwrap_or(Value::Null)
}
