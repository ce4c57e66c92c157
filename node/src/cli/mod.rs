//! The command line.
//!
//! Data goes to standard output, logs and errors to standard error. Exit codes: 0 done, 1 failure,
//! 2 usage or configuration, 4 nothing there, 6 damage found, 7 unreachable, 130 interrupted.

mod init;
mod offline;
mod start;
mod status;

use clap::{Parser, Subcommand};
use quorate_client::error::Exit;
use quorate_genesis::Founding;
use quorate_node::config::{Config, ConfigError};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A Quorate validator: orders, executes and stores the transactions of a consortium.
#[derive(Debug, Parser)]
#[command(name = "quorate-node", version, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a node's directory: check keys against the genesis document, write node.toml
    Init(init::Init),
    /// Run the validator until SIGTERM or SIGINT
    Start(start::Start),
    /// Ask the validator on this machine how it is
    Status(status::Status),
    /// Write the chain of a stopped validator to one file, for archives and audits
    Export(offline::Export),
    /// Read everything in a stopped validator's database, checking every checksum
    Check(offline::Check),
}

/// Why a command failed: the code the shell sees, and what the person reads.
#[derive(Debug)]
struct Failed {
    exit: Exit,
    text: String,
}

impl Failed {
    fn new(exit: Exit, error: impl fmt::Display) -> Failed {
        Failed { exit, text: error.to_string() }
    }

    fn failure(error: impl fmt::Display) -> Failed {
        Failed::new(Exit::Failure, error)
    }

    fn usage(error: impl fmt::Display) -> Failed {
        Failed::new(Exit::Usage, error)
    }
}

impl From<ConfigError> for Failed {
    fn from(error: ConfigError) -> Failed {
        Failed::usage(error)
    }
}

/// Runs a command.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let result = match arguments.command {
        Command::Init(init) => init.run(),
        Command::Start(start) => start.run(),
        Command::Status(status) => status.run(),
        Command::Export(export) => export.run(),
        Command::Check(check) => check.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed { exit, text }) => {
            eprintln!("error: {text}");
            ExitCode::from(exit.code())
        }
    }
}

/// The node's directory.
#[derive(Debug, clap::Args)]
struct Directory {
    /// The node's directory, which holds node.toml
    #[arg(long, value_name = "DIR", env = "QUORATE_NODE_DIR")]
    dir: PathBuf,
}

impl Directory {
    fn config(&self) -> Result<Config, Failed> {
        Ok(Config::load(&self.dir)?)
    }
}

fn founding(path: &Path) -> Result<Founding, Failed> {
    Founding::load(path).map_err(Failed::usage)
}
