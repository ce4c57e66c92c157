//! `quorate audit` and `quorate export`.

use super::context::Context;
use super::failure::Failure;
use crate::audit::{AuditError, Totals, Verdict, audit};
use crate::client::Client;
use crate::error::{ClientError, Exit};
use crate::export;
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use quorate_genesis::utc;
use quorate_types::ids::Height;
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug, clap::Args)]
pub(super) struct AuditArgs {
    /// An exported file, or `live` to read from validators
    #[arg(default_value = "live", value_name = "FILE|live")]
    source: PathBuf,
}

impl AuditArgs {
    pub(super) fn is_file(&self) -> bool {
        self.source != Path::new("live")
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// The file to write; one of that name is replaced when the export is whole
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// How often progress is told where there is no terminal.
const PLAIN_PROGRESS: Duration = Duration::from_secs(5);

/// Progress on stderr: a bar on a terminal, a line now and then elsewhere, nothing for programs.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    plain: Option<Instant>,
    what: &'static str,
}

impl Progress {
    /// `total` is what counts as done; 0 if unknown. `unit` is what it counts.
    pub(super) fn new(context: &Context, what: &'static str, total: u64, unit: &str) -> Progress {
        let quiet = context.global.json;
        if quiet || !std::io::stderr().is_terminal() {
            return Progress { bar: None, plain: (!quiet).then(Instant::now), what };
        }
        let bar = ProgressBar::with_draw_target((total > 0).then_some(total), ProgressDrawTarget::stderr());
        let template = match (total, unit) {
            (0, _) => "{spinner} {prefix} {msg} [{elapsed}]",
            (_, "bytes") => "{prefix} {wide_bar} {bytes}/{total_bytes} {msg} [{eta}]",
            _ => "{prefix} {wide_bar} {pos}/{len} {msg} [{eta}]",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(what);
        Progress { bar: Some(bar), plain: None, what }
    }

    pub(super) fn tell(&mut self, position: u64, message: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            // Beyond a total that was a guess, the bar stays full.
            if bar.length().is_some_and(|length| position > length) {
                bar.set_length(position);
            }
            bar.set_position(position);
            bar.set_message(message());
        } else if let Some(last) = &mut self.plain
            && last.elapsed() >= PLAIN_PROGRESS
        {
            *last = Instant::now();
            print_error(&format!("{}: {}", self.what, message()));
        }
    }

    /// Prints a line without tearing the bar.
    pub(super) fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| print_error(text)),
            None => print_error(text),
        }
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn print_error(text: &str) {
    // With stderr gone there is nobody to tell.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn message(totals: &Totals) -> String {
    format!("block {}, {} transactions", totals.height, totals.transactions)
}

/// Audits an exported file. Needs neither keys nor a network.
pub(super) fn audit_file(context: &Context, args: &AuditArgs) -> Result<Exit, Failure> {
    let founding = context.founding()?;
    let mut reader = export::Reader::open(&args.source, &founding.chain())?;
    let mut progress = Progress::new(context, "audit", reader.length(), "bytes");
    let offset = Arc::new(AtomicU64::new(0));
    let read_so_far = Arc::clone(&offset);
    let blocks = std::iter::from_fn(move || {
        let block = reader.next();
        read_so_far.store(reader.offset(), Ordering::Relaxed);
        block
    });
    let started = Instant::now();
    let verdict = audit(&founding.ledger_genesis(), blocks, |totals| {
        progress.tell(offset.load(Ordering::Relaxed), || message(totals));
    });
    progress.end();
    match verdict {
        Ok(verdict) => report(context, &verdict, started.elapsed(), &args.source.display().to_string()),
        Err(AuditError::Source { error, sound }) => Err(Failure {
            cause: format!("{error}; the blocks up to height {} are sound", sound.height),
            ..error.into()
        }),
        Err(error) => Err(Failure::new(Exit::Failure, error)),
    }
}

/// Audits what validators give.
pub(super) async fn audit_live(context: &Context) -> Result<Exit, Failure> {
    context.with_client(async |client| audit_of(context, client).await).await
}

/// From which height on blocks came from which validator, ascending.
#[derive(Debug, Default)]
struct Sources(Vec<(Height, String)>);

impl Sources {
    fn note(&mut self, height: Height, source: String) {
        if self.0.last().is_none_or(|(_, last)| *last != source) {
            self.0.push((height, source));
        }
    }

    /// Who gave the block at this height. Blocks are read ahead of the verdict, perhaps from others by then.
    fn of(&self, height: Height) -> String {
        let from = self.0.iter().rev().find(|(from, _)| *from <= height);
        from.map(|(_, source)| source.clone()).unwrap_or_default()
    }

    fn all(&self) -> String {
        let mut names: Vec<&str> = self.0.iter().map(|(_, source)| source.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names.join(", ")
    }
}

async fn audit_of(context: &Context, client: &Client) -> Result<Exit, Failure> {
    let founding = client.founding().clone();
    // For the bar only: what they claim is not proven.
    let claimed = client.status().await.into_iter().filter_map(|(_, status)| status.ok());
    let claimed = claimed.map(|status| status.height.0).max().unwrap_or(0);
    let mut progress = Progress::new(context, "audit", claimed, "blocks");
    let mut blocks = client.unverified_blocks();
    let started = Instant::now();
    let auditing = tokio::task::spawn_blocking(move || {
        let sources = Arc::new(Mutex::new(Sources::default()));
        let noted = Arc::clone(&sources);
        let blocks = std::iter::from_fn(move || {
            let next = blocks.blocking_next().transpose();
            if let (Some(Ok(block)), Some(source)) = (&next, blocks.source()) {
                noted.lock().unwrap_or_else(PoisonError::into_inner).note(block.header.height, source);
            }
            next
        });
        let verdict = audit(&founding.ledger_genesis(), blocks, |totals| {
            progress.tell(totals.height.0, || message(totals));
        });
        progress.end();
        let sources = std::mem::take(&mut *sources.lock().unwrap_or_else(PoisonError::into_inner));
        (verdict, sources)
    });
    let (verdict, sources): (Result<Verdict, AuditError<ClientError>>, Sources) = auditing
        .await
        .map_err(|error| Failure::new(Exit::Failure, format!("the audit broke off: {error}")))?;
    match verdict {
        Ok(verdict) => {
            let source = match &verdict {
                Verdict::Sound(_) => sources.all(),
                Verdict::Wrong { height, .. } => sources.of(*height),
            };
            report(context, &verdict, started.elapsed(), &source)
        }
        Err(AuditError::Source { error, sound }) => Err(Failure {
            cause: format!("{error}; the blocks up to height {} are sound", sound.height),
            ..error.into()
        }),
        Err(error) => Err(Failure::new(Exit::Failure, error)),
    }
}

fn report(context: &Context, verdict: &Verdict, elapsed: Duration, source: &str) -> Result<Exit, Failure> {
    match verdict {
        Verdict::Sound(totals) => {
            let text = format!(
                "audit: ok\n  source        {source}\n  height        {}\n  blocks        {}\n  transactions  {} ({} failed)\n  \
                 bytes         {}\n  last block    {}  {}\n  state root    {}\n  took          {:.1} s",
                totals.height,
                totals.height,
                totals.transactions,
                totals.failed,
                HumanBytes(totals.bytes),
                totals.block,
                utc::format(totals.timestamp),
                totals.state_root,
                elapsed.as_secs_f64(),
            );
            let json = json!({
                "verdict": "ok",
                "source": source,
                "height": totals.height,
                "blocks": totals.height,
                "transactions": totals.transactions,
                "failed": totals.failed,
                "bytes": totals.bytes,
                "block": totals.block,
                "timestamp_ms": totals.timestamp,
                "state_root": totals.state_root,
                "seconds": elapsed.as_secs_f64(),
            });
            context.print_end(text, &json, Ok(Exit::Ok))
        }
        Verdict::Wrong { height, what, sound } => {
            let text = format!("audit: WRONG at height {height}: {what}");
            let json = json!({
                "verdict": "wrong",
                "source": source,
                "height": height,
                "what": what.to_string(),
                "sound_height": sound.height,
            });
            let failure = Failure::new(Exit::Unverified, format!("block {height} from {source} is wrong: {what}"))
                .so(format!("what follows block {} of this source proves nothing", height.previous().unwrap_or(Height::GENESIS)))
                .way_out("keep the file as evidence, and audit another validator or export; honest validators cannot differ");
            context.print_end(text, &json, Err(failure))
        }
    }
}

/// Writes the chain to a file, each block verified before it is written.
pub(super) async fn export(context: &Context, args: &ExportArgs) -> Result<Exit, Failure> {
    context.with_client(async |client| export_to(context, client, args).await).await
}

async fn export_to(context: &Context, client: &Client, args: &ExportArgs) -> Result<Exit, Failure> {
    let claimed = client.status().await.into_iter().filter_map(|(_, status)| status.ok());
    let claimed = claimed.map(|status| status.height.0).max().unwrap_or(0);
    let mut progress = Progress::new(context, "export", claimed, "blocks");
    let mut writer = export::Writer::create(&args.out, &client.founding().chain())?;
    let mut blocks = client.blocks(Height(1), false);
    while let Some(block) = blocks.next().await? {
        writer.write(block.block())?;
        progress.tell(block.height().0, || format!("{}", HumanBytes(writer.bytes())));
    }
    progress.end();
    let summary = writer.finish()?;
    let text = format!(
        "exported {} blocks, {}, to {}\nsha256 {}",
        summary.blocks,
        HumanBytes(summary.bytes),
        args.out.display(),
        summary.sha256
    );
    let json = json!({ "file": args.out, "blocks": summary.blocks, "bytes": summary.bytes, "sha256": summary.sha256 });
    context.print_end(text, &json, Ok(Exit::Ok))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_of_the_validator_that_gave_it() {
        let mut sources = Sources::default();
        for (height, source) in [(1, "acme"), (2, "acme"), (3, "bolt"), (9, "acme"), (10, "crown")] {
            sources.note(Height(height), source.to_owned());
        }
        let of = [1, 2, 3, 8, 9, 10, 99].map(|height| sources.of(Height(height)));
        assert_eq!(of, ["acme", "acme", "bolt", "bolt", "acme", "crown", "crown"]);
        assert_eq!(sources.all(), "acme, bolt, crown");
        assert_eq!(Sources::default().of(Height(1)), "");
    }
}
