//! `quorate bulk`: a stream of transactions.

use super::audit::Progress;
use super::context::{Context, UnderWay, parse_seconds};
use super::failure::Failure;
use crate::client::bulk::{BulkError, BulkOptions, BulkTotals, Fate, Landed};
use crate::client::submit::DEFAULT_LIFETIME;
use crate::error::Exit;
use crate::operations::{JsonLines, OperationsError};
use quorate_genesis::Founding;
use quorate_types::outcome::Outcome;
use quorate_types::transaction::Operation;
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// JSON lines, each one operation or an array of them, each line one transaction; - for stdin
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Transactions that may await their receipts at a time
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=16_384))]
    in_flight: u32,
    /// Append a line `id height` for each verified receipt
    #[arg(long, value_name = "FILE")]
    acknowledged: Option<PathBuf>,
    /// Seconds within which each may commit [default: 60, at most what the chain allows]
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    lifetime: Option<Duration>,
}

/// Bad lines and failures printed one by one; the rest are counted.
const FAILURES_SHOWN: u64 = 20;

pub(super) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    let client = context.client()?;
    let options = BulkOptions {
        in_flight: usize::try_from(args.in_flight).unwrap_or(usize::MAX),
        lifetime: args.lifetime.unwrap_or(DEFAULT_LIFETIME),
    };
    let lines = if is_stdin(&args.file) { 0 } else { count_lines(&args.file)? };
    let input = transactions(client.founding(), &args.file)?;
    let mut acknowledged = args.acknowledged.as_deref().map(Acknowledged::open).transpose()?;
    let counts = Arc::new([const { AtomicU64::new(0) }; 2]);
    context.set_under_way(UnderWay::Bulk(Arc::clone(&counts)));
    let mut progress = Progress::new(context, "bulk", lines, "transactions");
    let started = Instant::now();
    let mut shown = 0;
    let mut disk = None;
    let result = client
        .bulk(input, &options, |landed, totals| {
            let settled = totals.applied + totals.failed + totals.refused + totals.unknown;
            counts[0].store(totals.submitted, Ordering::Relaxed);
            counts[1].store(settled, Ordering::Relaxed);
            if let Some(file) = &mut acknowledged
                && let Err(error) = file.note(landed)
            {
                disk = Some(error);
                acknowledged = None;
            }
            if let Some(text) = failure_line(landed) {
                shown += 1;
                if shown <= FAILURES_SHOWN {
                    progress.line(&if context.global.json { failure_json(landed) } else { text });
                }
            }
            progress.tell(settled, || message(totals, started.elapsed()));
        })
        .await;
    progress.end();
    context.set_under_way(UnderWay::Nothing);
    if shown > FAILURES_SHOWN {
        context.note(format!("... and {} more that did not apply", shown - FAILURES_SHOWN));
    }
    let end = match result {
        Ok(totals) => report(context, &totals, started.elapsed()),
        Err(BulkError::Input(error)) => Err(Failure::usage(error)
            .so(format!(
                "the lines before it were submitted and settled ({} of them); nothing from it on was",
                counts[1].load(Ordering::Relaxed)
            ))
            .way_out("correct the line, and submit the rest from there")),
        Err(BulkError::Client(error)) => Err(error.into()),
    };
    client.shutdown().await;
    if let Some(error) = disk {
        return Err(Failure::new(
            Exit::Failure,
            format!("cannot write the file of acknowledged receipts: {error}"),
        )
        .so("it lacks some; the transactions were settled all the same"));
    }
    end
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn open(path: &Path) -> Result<Box<dyn BufRead + Send>, Failure> {
    if is_stdin(path) {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let file = File::open(path)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    Ok(Box::new(BufReader::with_capacity(1 << 18, file)))
}

/// How many lines hold something, for the progress bar; 0 if it is no plain file.
fn count_lines(path: &Path) -> Result<u64, Failure> {
    let failed = |error: io::Error| Failure::usage(format!("cannot read {}: {error}", path.display()));
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Ok(0);
    }
    let mut input = open(path)?;
    let mut lines = 0;
    let mut blank = true;
    loop {
        let buffer = input.fill_buf().map_err(failed)?;
        if buffer.is_empty() {
            return Ok(lines + u64::from(!blank));
        }
        for byte in buffer {
            match byte {
                b'\n' => {
                    lines += u64::from(!blank);
                    blank = true;
                }
                b' ' | b'\t' | b'\r' => {}
                _ => blank = false,
            }
        }
        let read = buffer.len();
        input.consume(read);
    }
}

/// What a line asks for.
type Line = Result<(u64, Vec<Operation>), OperationsError>;

/// The transactions of a file. The iterator is handed to another thread, so it owns what it needs.
fn transactions(
    founding: &Founding,
    path: &Path,
) -> Result<impl Iterator<Item = Line> + Send + use<>, Failure> {
    let name = if is_stdin(path) { "stdin".to_owned() } else { path.display().to_string() };
    Ok(JsonLines::new(open(path)?, &name, founding.members()))
}

/// The file of acknowledged receipts.
struct Acknowledged(File);

impl Acknowledged {
    fn open(path: &Path) -> Result<Acknowledged, Failure> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.map(Acknowledged)
            .map_err(|error| Failure::usage(format!("cannot write {}: {error}", path.display())))
    }

    /// One write for each line, so that no line is ever torn in two by a crash of this program.
    fn note(&mut self, landed: &Landed) -> io::Result<()> {
        match landed.fate {
            Fate::Committed { height, .. } => {
                self.0.write_all(format!("{} {height}\n", landed.id).as_bytes())
            }
            _ => Ok(()),
        }
    }
}

fn what_failed(fate: &Fate) -> Option<String> {
    match fate {
        Fate::Committed { outcome: Outcome::Applied, .. } => None,
        Fate::Committed { outcome: Outcome::Failed { operation, reason }, height, .. } => {
            Some(format!("rejected by the ledger in block {height}: operation {operation}: {reason}"))
        }
        Fate::Refused(reason) => Some(format!("refused: {reason}")),
        Fate::Unknown => Some("expired without a receipt; it may have committed all the same".to_owned()),
    }
}

fn failure_line(landed: &Landed) -> Option<String> {
    what_failed(&landed.fate).map(|what| format!("line {}, transaction {}: {what}", landed.line, landed.id))
}

fn failure_json(landed: &Landed) -> String {
    json!({ "line": landed.line, "transaction": landed.id, "problem": what_failed(&landed.fate) }).to_string()
}

fn milliseconds(latency: Option<Duration>) -> Option<f64> {
    latency.map(|latency| (latency.as_secs_f64() * 1e4).round() / 10.0)
}

fn rate(totals: &BulkTotals, elapsed: Duration) -> f64 {
    let committed = u32::try_from(totals.applied + totals.failed).unwrap_or(u32::MAX);
    (f64::from(committed) / elapsed.as_secs_f64().max(1e-6)).round()
}

fn message(totals: &BulkTotals, elapsed: Duration) -> String {
    format!("{} receipts, {} tx/s", totals.applied + totals.failed, rate(totals, elapsed))
}

fn report(context: &Context, totals: &BulkTotals, elapsed: Duration) -> Result<Exit, Failure> {
    let (p50, p99) = (totals.latencies.percentile(500), totals.latencies.percentile(990));
    let (p50, p99) = (milliseconds(p50), milliseconds(p99));
    let shown = |latency: Option<f64>| latency.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
    let text = format!(
        "submitted  {}\napplied    {}\nfailed     {}\nrefused    {}\nunknown    {}\nheight     {}\ntook       {:.1} s\nrate       {} tx/s\nlatency    p50 {}, p99 {}",
        totals.submitted,
        totals.applied,
        totals.failed,
        totals.refused,
        totals.unknown,
        totals.height,
        elapsed.as_secs_f64(),
        rate(totals, elapsed),
        shown(p50),
        shown(p99),
    );
    let json = json!({
        "submitted": totals.submitted,
        "applied": totals.applied,
        "failed": totals.failed,
        "refused": totals.refused,
        "unknown": totals.unknown,
        "height": totals.height,
        "seconds": elapsed.as_secs_f64(),
        "tx_per_s": rate(totals, elapsed),
        "p50_ms": p50,
        "p99_ms": p99,
    });
    context.print(text, &json)?;
    if totals.unknown > 0 {
        return Err(Failure::new(
            Exit::Unknown,
            format!("the fate of {} transactions is unknown", totals.unknown),
        )
        .so("they may or may not have committed")
        .way_out("ask for each with `quorate receipt ID` before submitting the same again"));
    }
    let rejected = totals.failed + totals.refused;
    if rejected > 0 {
        return Err(Failure::new(
            Exit::Rejected,
            format!("{rejected} of {} transactions were rejected", totals.submitted),
        )
        .so("those took no effect; all others did"));
    }
    Ok(Exit::Ok)
}
