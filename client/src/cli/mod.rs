//! The program `quorate`.
//!
//! Data goes to stdout, everything else to stderr. A flag wins over the environment. Exit codes are
//! those of [`Exit`].

mod audit;
mod bulk;
mod chain;
mod context;
mod failure;
mod follow;
mod read;
mod status;
mod write;

use crate::ceremony;
use crate::error::Exit;
use clap::{Parser, Subcommand};
use context::{Context, Global};
use failure::Failure;
use std::future::Future;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// Submit to, read, watch and audit a Quorate chain
///
/// Every answer is checked against the genesis document before it is shown.
#[derive(Debug, Parser)]
#[command(name = "quorate", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 ok, 1 failure, 2 usage, 3 rejected by the ledger, 4 not found, \
5 outcome unknown (ask again by id), 6 verification failed, 7 unreachable or refused, 130 interrupted";

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Write(write::Command),
    /// Submit a stream of transactions, one JSON line each, with thousands in flight
    Bulk(bulk::Args),
    #[command(flatten)]
    Read(read::Command),
    #[command(flatten)]
    Chain(chain::Command),
    /// Check a whole chain from the genesis document on
    Audit(audit::AuditArgs),
    /// Write the whole chain to a file, verified
    Export(audit::ExportArgs),
    /// Follow blocks and transactions as they commit
    Watch(follow::Args),
    /// Show what each validator says of itself (not proven)
    Status,
    /// Show how each validator came to know a transaction (not proven)
    Trace(status::TraceArgs),
    #[command(flatten)]
    Ceremony(ceremony::Command),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let Cli { global, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no mistakes; clap knows where each belongs.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Exit::Usage.code() } else { Exit::Ok.code() });
        }
    };
    start_logging(global.verbose);
    let context = Context::new(global);
    let exit = match run(&context, command) {
        Ok(exit) => exit,
        Err(failure) => {
            if !failure.is_broken_pipe() {
                failure.print(context.global.json);
            }
            failure.exit
        }
    };
    ExitCode::from(exit.code())
}

fn start_logging(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "info,quorate_client=debug",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env("QUORATE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let colour =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    // Fails only if a log was started before, and then that one serves.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .try_init();
}

fn run(context: &Context, command: Command) -> Result<Exit, Failure> {
    match command {
        // Local, without a network.
        Command::Ceremony(command) => match command.run(context.global.json) {
            Ok(()) => Ok(Exit::Ok),
            Err(error) => Err(Failure::new(Exit::Failure, format!("{error:#}"))),
        },
        Command::Chain(chain::Command::Verify { what }) => chain::verify(context, &what),
        Command::Audit(args) if args.is_file() => audit::audit_file(context, &args),
        command => with_runtime(context, online(context, command)),
    }
}

async fn online(context: &Context, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Write(command) => write::run(context, command).await,
        Command::Bulk(args) => bulk::run(context, args).await,
        Command::Read(command) => read::run(context, command).await,
        Command::Chain(command) => chain::run(context, command).await,
        Command::Audit(_) => audit::audit_live(context).await,
        Command::Export(args) => audit::export(context, &args).await,
        Command::Watch(args) => follow::run(context, args).await,
        Command::Status => status::status(context).await,
        Command::Trace(args) => status::trace(context, &args).await,
        Command::Ceremony(_) => Err(Failure::usage("the ceremony needs no network")),
    }
}

/// Runs a command that talks to validators, until it is done or interrupted.
fn with_runtime(
    context: &Context,
    command: impl Future<Output = Result<Exit, Failure>>,
) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failure, format!("cannot start threads: {error}")))?;
    let result = runtime.block_on(async {
        tokio::select! {
            result = command => result,
            signal = tokio::signal::ctrl_c() => match signal {
                Ok(()) => Err(context.interrupted()),
                Err(error) => Err(Failure::new(Exit::Failure, format!("cannot listen for Ctrl-C: {error}"))),
            },
        }
    });
    // A thread may be waiting for a line on stdin; it must not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

#[cfg(test)]
mod tests;
