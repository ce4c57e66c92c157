//! `quorate bulk`: a stream of transactions.

use super::audit::Progress;
use super::context::{Context, Counts, UnderWay, parse_seconds};
use super::failure::Failure;
use crate::client::Client;
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
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// JSON lines, each one operation or an array of them, each line one transaction; - for stdin
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Transactions that may await their receipts at a time
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=16_384))]
    in_flight: u32,
    /// Append a line `line id height outcome` for each verified receipt; the outcome is `applied` or `failed`
    #[arg(long, value_name = "FILE")]
    acknowledged: Option<PathBuf>,
    /// Seconds within which each may commit [default: 60, at most what the chain allows]
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    lifetime: Option<Duration>,
}

/// Lines that did not apply are printed one by one up to this many, and then counted. Those of unknown fate are all
/// printed: each must be asked for by its id.
const FAILURES_SHOWN: u64 = 20;

pub(super) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    context.with_client(async |client| submit_all(context, client, &args).await).await
}

async fn submit_all(context: &Context, client: &Client, args: &Args) -> Result<Exit, Failure> {
    let options = BulkOptions {
        in_flight: usize::try_from(args.in_flight).unwrap_or(usize::MAX),
        lifetime: args.lifetime.unwrap_or(DEFAULT_LIFETIME),
    };
    let lines = if is_stdin(&args.file) { 0 } else { count_lines(&args.file)? };
    let input = transactions(client.founding(), &args.file)?;
    let mut acknowledged = args.acknowledged.as_deref().map(Acknowledged::open).transpose()?;
    let counts = Arc::<Counts>::default();
    context.set_under_way(UnderWay::Bulk(Arc::clone(&counts)));
    let mut progress = Progress::new(context, "bulk", lines, "transactions");
    let started = Instant::now();
    let mut failures = 0;
    let mut disk = None;
    let result = client
        .bulk_counted(input, &options, Arc::clone(&counts.submitted), |landed, totals| {
            let settled = settled(totals);
            counts.settled.store(settled, Ordering::Relaxed);
            if let Some(file) = &mut acknowledged
                && let Err(error) = file.note(landed)
            {
                disk = Some(error);
                acknowledged = None;
            }
            if let Some(text) = failure_line(landed) {
                let unknown = matches!(landed.fate, Fate::Unknown { .. });
                failures += u64::from(!unknown);
                if unknown || failures <= FAILURES_SHOWN {
                    progress.line(&if context.global.json { failure_json(landed) } else { text });
                }
            }
            progress.tell(settled, || message(totals, started.elapsed()));
        })
        .await;
    progress.end();
    context.set_under_way(UnderWay::Nothing);
    if failures > FAILURES_SHOWN {
        context.note(format!("... and {} more that did not apply", failures - FAILURES_SHOWN));
    }
    let (totals, bad_input) = match result {
        Ok(totals) => (totals, None),
        Err(BulkError::Input { error, totals }) => (*totals, Some(error)),
        Err(BulkError::Client(error)) => return Err(error.into()),
    };
    let end = end(&totals, bad_input.as_ref(), disk.as_ref());
    report(context, &totals, started.elapsed(), end)
}

fn settled(totals: &BulkTotals) -> u64 {
    totals.applied + totals.failed + totals.refused + totals.unknown
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
        let Fate::Committed { height, outcome, .. } = &landed.fate else { return Ok(()) };
        let outcome = match outcome {
            Outcome::Applied => "applied",
            Outcome::Failed { .. } => "failed",
        };
        self.0.write_all(format!("{} {} {height} {outcome}\n", landed.line, landed.id).as_bytes())
    }
}

/// The name of what became of a transaction that did not apply, and what is to be said of it.
fn what_failed(fate: &Fate) -> Option<(&'static str, String)> {
    Some(match fate {
        Fate::Committed { outcome: Outcome::Applied, .. } => return None,
        Fate::Committed { outcome: Outcome::Failed { operation, reason }, height, .. } => {
            ("failed", format!("rejected by the ledger in block {height}: operation {operation}: {reason}"))
        }
        Fate::Refused(reason) => ("refused", format!("refused: {reason}")),
        Fate::TooLarge { bytes, limit } => {
            ("refused", format!("not sent: it has {bytes} bytes, and this chain allows {limit}"))
        }
        Fate::Unknown { refusals } => {
            let mut text = "expired without a receipt; it may have committed all the same".to_owned();
            if !refusals.0.is_empty() {
                text.push_str(&format!(", whatever these say ({refusals})"));
            }
            ("unknown", text)
        }
    })
}

fn failure_line(landed: &Landed) -> Option<String> {
    let (_, what) = what_failed(&landed.fate)?;
    Some(format!("line {}, transaction {}: {what}", landed.line, landed.id))
}

fn failure_json(landed: &Landed) -> String {
    let (fate, problem) = what_failed(&landed.fate).unzip();
    json!({ "line": landed.line, "transaction": landed.id, "fate": fate, "problem": problem }).to_string()
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

/// How the run ends: the gravest failure gives the exit code, and the others are told with it. Nothing is graver
/// than transactions whose fate is unknown, as submitting them again may apply them twice.
fn end(
    totals: &BulkTotals,
    bad_input: Option<&OperationsError>,
    disk: Option<&io::Error>,
) -> Result<Exit, Failure> {
    let mut failures = Vec::new();
    if totals.unknown > 0 {
        let cause = format!("the fate of {} transactions is unknown", totals.unknown);
        let failure = Failure::new(Exit::Unknown, cause).so("they may or may not have committed");
        failures
            .push(failure.way_out("ask for each with `quorate receipt ID` before submitting the same again"));
    }
    if let Some(error) = bad_input {
        let settled = settled(totals) - totals.unknown;
        let failure = Failure::usage(error).so(format!(
            "the lines before it were submitted and settled ({settled} of them); nothing from it on was"
        ));
        failures.push(failure.way_out("correct the line, and submit the rest from there"));
    }
    if let Some(error) = disk {
        let cause = format!("cannot write the file of acknowledged receipts: {error}");
        let failure = Failure::new(Exit::Failure, cause);
        failures.push(failure.so("it lacks some; the transactions were settled all the same"));
    }
    let rejected = totals.failed + totals.refused;
    if rejected > 0 {
        let cause = format!("{rejected} of {} transactions were rejected", totals.submitted);
        let failure = Failure::new(Exit::Rejected, cause);
        failures.push(failure.so("those that were rejected took no effect"));
    }
    failures.into_iter().reduce(Failure::and).map_or(Ok(Exit::Ok), Err)
}

fn report(
    context: &Context,
    totals: &BulkTotals,
    elapsed: Duration,
    end: Result<Exit, Failure>,
) -> Result<Exit, Failure> {
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
    context.print_end(text, &json, end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Complaint, Complaints, Fault};
    use crate::protocol::SubmitError;
    use quorate_ledger::Refusal;
    use quorate_types::hash::TransactionId;

    #[test]
    fn the_gravest_failure_gives_the_exit_code_and_all_are_told() {
        let totals = |failed, unknown| BulkTotals { failed, unknown, ..BulkTotals::default() };
        let disk = || io::Error::other("no space");
        assert_eq!(end(&totals(0, 0), None, None).ok(), Some(Exit::Ok));
        assert_eq!(end(&totals(1, 0), None, None).unwrap_err().exit, Exit::Rejected);
        assert_eq!(end(&totals(1, 0), None, Some(&disk())).unwrap_err().exit, Exit::Failure);
        let all = end(&totals(1, 2), None, Some(&disk())).unwrap_err();
        assert_eq!(all.exit, Exit::Unknown);
        for part in ["fate of 2", "no space", "1 of 0 transactions were rejected", "`quorate receipt ID`"] {
            assert!(all.to_string().contains(part), "{all}");
        }
    }

    #[test]
    fn who_refused_what_is_of_unknown_fate_is_named() {
        let fault = Fault::Refused(SubmitError::Refused(Refusal::NotSubmitter));
        let refusals = Complaints(vec![Complaint { validator: "bolt".to_owned(), fault }]);
        let landed = Landed { line: 7, id: TransactionId::default(), fate: Fate::Unknown { refusals } };
        let told = failure_line(&landed).unwrap();
        assert!(told.starts_with("line 7, transaction 0000") && told.contains("bolt: refused: "), "{told}");
        let json: serde_json::Value = serde_json::from_str(&failure_json(&landed)).unwrap();
        assert_eq!((json["line"].as_u64(), json["fate"].as_str()), (Some(7), Some("unknown")));
    }
}
