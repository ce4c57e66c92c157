//! The founding ceremony on the command line: `quorate keys`, `quorate card`, `quorate genesis`.
//!
//! The rules live in [`quorate_genesis`]; here they get arguments and output. Every command returns
//! a `Report`: what it prints does not depend on how it was computed, and tests read it without
//! a terminal.

mod card;
mod genesis;
mod keys;

use serde_json::Value;
use std::io::{self, Write};

/// The commands of the founding ceremony.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make and show your keys; they stay on this machine
    #[command(subcommand)]
    Keys(keys::Command),
    /// Export and check member cards: name, public keys, roles and address, signed
    #[command(subcommand)]
    Card(card::Command),
    /// Assemble, inspect, sign and finalise the document that founds a chain
    #[command(subcommand)]
    Genesis(genesis::Command),
}

impl Command {
    /// Runs the command: data on stdout, as text or as one JSON value, advice on stderr.
    ///
    /// # Errors
    /// Whatever stops the command; the message names the cause and the way out.
    pub fn run(self, json: bool) -> anyhow::Result<()> {
        self.execute()?.print(json)
    }

    fn execute(self) -> anyhow::Result<Report> {
        match self {
            Command::Keys(command) => command.execute(),
            Command::Card(command) => command.execute(),
            Command::Genesis(command) => command.execute(),
        }
    }
}

/// What a command found out or did.
#[derive(Debug)]
struct Report {
    /// For people, with its last line ended.
    text: String,
    /// For programs.
    json: Value,
    /// What to do next; not data.
    advice: Option<String>,
    /// Set if the command ran to its end and the answer is no.
    failure: Option<String>,
}

impl Report {
    fn new(text: String, json: Value) -> Report {
        Report { text, json, advice: None, failure: None }
    }

    fn advise(mut self, advice: impl Into<String>) -> Report {
        self.advice = Some(advice.into());
        self
    }

    fn print(self, json: bool) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        if json {
            writeln!(out, "{}", serde_json::to_string_pretty(&self.json)?)?;
        } else {
            out.write_all(self.text.as_bytes())?;
        }
        out.flush()?;
        if let Some(advice) = self.advice {
            eprintln!("{advice}");
        }
        match self.failure {
            None => Ok(()),
            Some(failure) => Err(anyhow::anyhow!(failure)),
        }
    }
}

#[cfg(test)]
mod tests;
