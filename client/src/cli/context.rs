//! What every command shares: the global options, and what they lead to.

use super::failure::Failure;
use crate::client::{Client, Options};
use crate::error::Exit;
use crate::operations::Members;
use quorate_genesis::{Founding, MemberKeys};
use quorate_types::hash::TransactionId;
use quorate_types::keys::{PublicKey, SecretKey};
use serde_json::Value;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Options of every command. A flag wins over the environment.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Global {
    /// The genesis document of the chain: everything is checked against it
    #[arg(long, global = true, value_name = "FILE", env = "QUORATE_GENESIS")]
    pub(crate) genesis: Option<PathBuf>,
    /// The directory with your member.key
    #[arg(long, global = true, value_name = "DIR", env = "QUORATE_KEYS")]
    pub(crate) keys: Option<PathBuf>,
    /// A validator to ask, by name or address; may be repeated [default: all in the genesis document]
    #[arg(long, global = true, value_name = "NAME|HOST:PORT")]
    pub(crate) node: Vec<String>,
    /// Seconds that one validator may take to answer before others are asked
    #[arg(long, global = true, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    pub(crate) timeout: Duration,
    /// Print JSON, errors included
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Log more to stderr; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// A duration given in seconds, with or without a fraction.
pub(crate) fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds, such as 2.5".to_owned())?;
    if !(0.001..=86_400.0).contains(&seconds) {
        return Err("expected from 0.001 to 86400 seconds".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// The options, and what was loaded by them.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) global: Global,
    under_way: Arc<Mutex<UnderWay>>,
}

/// What is on its way, should the person interrupt.
#[derive(Debug, Clone, Default)]
pub(crate) enum UnderWay {
    /// Nothing that leaves a trace.
    #[default]
    Nothing,
    /// One transaction.
    Transaction(TransactionId),
    /// Many.
    Bulk(Arc<Counts>),
}

/// How far a stream of transactions has come.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// How many were handed in.
    pub(crate) submitted: Arc<AtomicU64>,
    /// How many of those landed.
    pub(crate) settled: AtomicU64,
}

impl Context {
    pub(crate) fn new(global: Global) -> Context {
        Context { global, under_way: Arc::default() }
    }

    /// The genesis document, verified.
    pub(crate) fn founding(&self) -> Result<Arc<Founding>, Failure> {
        let path = self.global.genesis.as_ref().ok_or_else(|| {
            Failure::usage("no genesis document is named")
                .so("without it nothing can be checked, so nothing is asked")
                .way_out("give --genesis FILE, or set QUORATE_GENESIS")
        })?;
        let founding = Founding::load(path).map_err(|error| {
            Failure::usage(error)
                .so("without a final genesis document nothing can be checked")
                .way_out("get the document that all validators signed from any of them; `quorate genesis inspect` shows one")
        })?;
        Ok(Arc::new(founding))
    }

    fn key(&self) -> Result<SecretKey, Failure> {
        let dir = self.global.keys.as_ref().ok_or_else(|| {
            Failure::usage("no directory of keys is named")
                .so("validators answer members only")
                .way_out("give --keys DIR, or set QUORATE_KEYS")
        })?;
        Ok(MemberKeys::load(dir).map_err(Failure::usage)?.member)
    }

    /// A client as the member whose keys are named.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let founding = self.founding()?;
        let options = Options { nodes: self.global.node.clone(), timeout: self.global.timeout };
        Ok(Client::new(founding, self.key()?, &options)?)
    }

    /// The key of a member given by name or key.
    pub(crate) fn member(founding: &Founding, name: &str) -> Result<PublicKey, Failure> {
        let members = Members(founding.members());
        members.resolve(name).ok_or_else(|| {
            Failure::usage(format!("{name:?} is neither the name of a member nor a key"))
                .way_out(format!("the members are {}", members.list()))
        })
    }

    /// The key of the member whose keys are named.
    pub(crate) fn me(&self) -> Result<PublicKey, Failure> {
        Ok(self.key()?.public())
    }

    /// Prints data on stdout: JSON if asked for, else the text.
    pub(crate) fn print(&self, text: impl AsRef<str>, json: &Value) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        if self.global.json {
            writeln!(out, "{json}")?;
        } else {
            writeln!(out, "{}", text.as_ref())?;
        }
        Ok(out.flush()?)
    }

    /// Prints the result of a command that ends as `end` says. That is decided before: with whoever reads stdout
    /// gone, a failure is a failure all the same.
    pub(crate) fn print_end(
        &self,
        text: impl AsRef<str>,
        json: &Value,
        end: Result<Exit, Failure>,
    ) -> Result<Exit, Failure> {
        let printed = self.print(text, json);
        let exit = end?;
        printed.map(|()| exit)
    }

    /// Runs `work` with a client as the member whose keys are named, and ends its connections whatever comes of it.
    pub(crate) async fn with_client(
        &self,
        work: impl AsyncFnOnce(&Client) -> Result<Exit, Failure>,
    ) -> Result<Exit, Failure> {
        let client = self.client()?;
        let result = work(&client).await;
        client.shutdown().await;
        result
    }

    /// Says something on stderr, for people.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        if !self.global.json {
            let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
        }
    }

    pub(crate) fn set_under_way(&self, what: UnderWay) {
        *self.under_way.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    /// What to say when the person interrupts.
    pub(crate) fn interrupted(&self) -> Failure {
        let failure = Failure::new(Exit::Interrupted, "interrupted");
        match &*self.under_way.lock().unwrap_or_else(PoisonError::into_inner) {
            UnderWay::Nothing => failure,
            UnderWay::Transaction(id) => failure
                .so(format!("transaction {id} may still commit"))
                .way_out(format!("ask with `quorate receipt {id}`"))
                .of_transaction(*id),
            UnderWay::Bulk(counts) => {
                let settled = counts.settled.load(Ordering::Relaxed);
                let open = counts.submitted.load(Ordering::Relaxed).saturating_sub(settled);
                failure.so(format!("{settled} transactions were settled; up to {open} more may still commit"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_bounds() {
        assert_eq!(parse_seconds("2.5"), Ok(Duration::from_millis(2500)));
        for bad in ["", "x", "0", "-1", "nan", "inf", "1e9"] {
            assert!(parse_seconds(bad).is_err(), "{bad}");
        }
    }
}
