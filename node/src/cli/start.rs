//! `quorate-node start`.

use super::{Directory, Failed, founding};
use clap::Args;
use quorate_client::error::Exit;
use quorate_genesis::MemberKeys;
use quorate_node::config::{HttpAddress, Log, LogFormat, LogLevel};
use quorate_node::runtime::{self, RunError, Setup};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[derive(Debug, Args)]
pub(super) struct Start {
    #[command(flatten)]
    directory: Directory,
    /// Address and UDP port to listen on
    #[arg(long, value_name = "ADDRESS", env = "QUORATE_NODE_LISTEN")]
    listen: Option<SocketAddr>,
    /// Address and TCP port for metrics, health and status, or `off`
    #[arg(long, value_name = "ADDRESS", env = "QUORATE_NODE_HTTP")]
    http: Option<HttpAddress>,
    /// The directory of the key files
    #[arg(long, value_name = "DIR", env = "QUORATE_NODE_KEYS")]
    keys: Option<PathBuf>,
    /// The directory of the database
    #[arg(long, value_name = "DIR", env = "QUORATE_NODE_DATA")]
    data: Option<PathBuf>,
    /// error, warn, info, debug, trace, or a filter such as info,quorate_transport=debug
    #[arg(long, value_name = "LEVEL", env = "QUORATE_NODE_LOG")]
    log_level: Option<LogLevel>,
    /// text, or json
    #[arg(long, value_name = "FORMAT", env = "QUORATE_NODE_LOG_FORMAT")]
    log_format: Option<LogFormat>,
}

impl Start {
    pub(super) fn run(self) -> Result<(), Failed> {
        let mut config = self.directory.config()?;
        let directory = self.directory.dir;
        // Paths on the command line are the caller's, those in the file the directory's.
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        config.listen = self.listen.unwrap_or(config.listen);
        config.http.address = self.http.unwrap_or(config.http.address);
        config.keys = self.keys.map_or(config.keys, absolute);
        config.data = self.data.map_or(config.data, absolute);
        config.log.level = self.log_level.unwrap_or(config.log.level);
        config.log.format = self.log_format.unwrap_or(config.log.format);
        log_to_stderr(&config.log)?;

        let founding = founding(&directory.join(&config.genesis))?;
        let keys = MemberKeys::load(&directory.join(&config.keys)).map_err(Failed::usage)?;
        let setup = Setup { directory, config, founding, keys };
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.enable_all().thread_name("io").worker_threads(io_threads()).build();
        let runtime = runtime.map_err(|error| Failed::failure(format!("cannot start threads: {error}")))?;
        runtime.block_on(async { runtime::run(setup, stopped()?).await.map_err(Failed::from) })
    }
}

/// Threads that serve connections: one for four processors. A transaction costs them a tenth of what all others do
/// for it, and what one wakes for another to take over comes later and costs more than if it had gone on alone.
fn io_threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get).div_ceil(4)
}

impl From<RunError> for Failed {
    fn from(error: RunError) -> Failed {
        match error {
            RunError::Identity(_) => Failed::usage(error),
            _ => Failed::new(Exit::Failure, error),
        }
    }
}

/// Resolves with the signal that asks the node to stop.
fn stopped() -> Result<impl Future<Output = &'static str>, Failed> {
    let listen =
        |kind| signal(kind).map_err(|error| Failed::failure(format!("cannot listen for signals: {error}")));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

fn log_to_stderr(log: &Log) -> Result<(), Failed> {
    let filter: Targets =
        log.level.as_str().parse().map_err(|error| Failed::usage(format!("log level: {error}")))?;
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_span_events(FmtSpan::NONE);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match log.format {
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
        LogFormat::Text => registry.with(layer.with_ansi(use_colour())).try_init(),
    };
    started.map_err(|error| Failed::failure(format!("cannot log: {error}")))
}

/// Colour only for a person at a terminal who has not asked for none.
fn use_colour() -> bool {
    use std::io::IsTerminal;
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
