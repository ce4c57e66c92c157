//! `quorate audit` and `quorate export`.

use super::context::Context;
use super::failure::Failure;
use crate::audit::{AuditError, Totals, Verdict, audit};
use crate::error::{ClientError, Exit};
use crate::export;
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use quorate_genesis::utc;
use quorate_types::ids::Height;
use serde_json::json;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
            eprintln!("{}: {}", self.what, message());
        }
    }

    /// Prints a line without tearing the bar.
    pub(super) fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
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
pub(super) async fn audit_live(context: &Context, _args: &AuditArgs) -> Result<Exit, Failure> {
    let client = context.client()?;
    let founding = client.founding().clone();
    // For the bar only: what they claim is not proven.
    let claimed = client.status().await.into_iter().filter_map(|(_, status)| status.ok());
    let claimed = claimed.map(|status| status.height.0).max().unwrap_or(0);
    let mut progress = Progress::new(context, "audit", claimed, "blocks");
    let mut blocks = client.unverified_blocks();
    let started = Instant::now();
    let auditing = tokio::task::spawn_blocking(move || {
        let source = Arc::new(std::sync::Mutex::new(String::new()));
        let noted = Arc::clone(&source);
        let blocks = std::iter::from_fn(move || {
            let next = blocks.blocking_next().transpose();
            if let Ok(mut noted) = noted.lock() {
                *noted = blocks.source().unwrap_or_default();
            }
            next
        });
        let verdict = audit(&founding.ledger_genesis(), blocks, |totals| {
            progress.tell(totals.height.0, || message(totals));
        });
        progress.end();
        let source = source.lock().map(|source| source.clone()).unwrap_or_default();
        (verdict, source)
    });
    let (verdict, source): (Result<Verdict, AuditError<ClientError>>, String) = auditing
        .await
        .map_err(|error| Failure::new(Exit::Failure, format!("the audit broke off: {error}")))?;
    let result = match verdict {
        Ok(verdict) => report(context, &verdict, started.elapsed(), &source),
        Err(AuditError::Source { error, sound }) => Err(Failure {
            cause: format!("{error}; the blocks up to height {} are sound", sound.height),
            ..error.into()
        }),
        Err(error) => Err(Failure::new(Exit::Failure, error)),
    };
    client.shutdown().await;
    result
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
            context.print(text, &json)?;
            Ok(Exit::Ok)
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
            context.print(text, &json)?;
            Err(Failure::new(Exit::Unverified, format!("block {height} from {source} is wrong: {what}"))
                .so(format!("what follows block {} of this source proves nothing", height.previous().unwrap_or(Height::GENESIS)))
                .way_out("keep the file as evidence, and audit another validator or export; honest validators cannot differ"))
        }
    }
}

/// Writes the chain to a file, each block verified before it is written.
pub(super) async fn export(context: &Context, args: &ExportArgs) -> Result<Exit, Failure> {
    let client = context.client()?;
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
    context.print(text, &json)?;
    client.shutdown().await;
    Ok(Exit::Ok)
}
