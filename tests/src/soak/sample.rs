//! What one validator's process uses and does at one time.

use crate::Consortium;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// One sample of one validator that runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Since the soak began.
    pub at: Duration,
    /// Which validator.
    pub validator: usize,
    /// Its process: another after each restart.
    pub pid: u32,
    /// How many data directories it had before this one.
    pub directory: u32,
    /// Memory in use (resident set), in bytes.
    pub rss: u64,
    /// Open files, sockets among them.
    pub files: u64,
    /// Space that its data directory takes on the disk, in bytes.
    pub disk: u64,
    /// What it says of itself, if it answers.
    pub said: Option<Said>,
}

/// What a validator says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// Its height.
    pub height: u64,
    /// Transactions since the chain began.
    pub transactions: u64,
    /// Transactions a second since its sample before; 0 for the first.
    pub rate: f64,
    /// Its view.
    pub view: u64,
    /// View changes since the process started.
    pub view_changes: u64,
}

impl Sample {
    /// Looks at a validator that runs. `before` is its sample before, of whichever process.
    ///
    /// # Errors
    /// If the process is gone.
    pub async fn take(
        consortium: &Consortium,
        validator: usize,
        at: Duration,
        directory: u32,
        before: Option<&Sample>,
    ) -> Result<Sample> {
        let pid = consortium.pid(validator).context("it does not run")?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let rss = rss.and_then(|rss| rss.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        let files = fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
        Ok(Sample {
            at,
            validator,
            pid,
            directory,
            rss: rss.context("no VmRSS")? << 10,
            files,
            disk: space(&consortium.node_directory(validator).join("data"))?,
            said: said(consortium, validator, at, before).await,
        })
    }
}

async fn said(
    consortium: &Consortium,
    validator: usize,
    at: Duration,
    before: Option<&Sample>,
) -> Option<Said> {
    let status = consortium.status(validator).await.ok()?;
    let (_, metrics) = consortium.http(validator, "/metrics").await.ok()?;
    let view_changes = metrics.lines().find_map(|line| line.strip_prefix("quorate_view_changes "));
    let transactions = status.committed_transactions;
    let rate = before.and_then(|before| {
        let more = transactions.checked_sub(before.said.as_ref()?.transactions)?;
        let time = at.checked_sub(before.at)?.as_secs_f64();
        (time > 0.0).then(|| float(more) / time)
    });
    Some(Said {
        height: status.height.0,
        transactions,
        rate: rate.unwrap_or(0.0),
        view: status.view.0,
        view_changes: view_changes.and_then(|count| count.trim().parse().ok()).unwrap_or(0),
    })
}

/// Exact below 2^53, which nothing here reaches.
#[allow(clippy::cast_precision_loss, reason = "exact below 2^53")]
pub fn float(number: u64) -> f64 {
    number as f64
}

/// What a directory takes on the disk, in bytes; files that vanish meanwhile do not count.
fn space(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    let Ok(entries) = fs::read_dir(directory) else { return Ok(0) };
    for entry in entries {
        let Ok(entry) = entry else { continue };
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes += space(&entry.path())?,
            // In units of 512 bytes, whatever the file system.
            Ok(metadata) => bytes += metadata.blocks() * 512,
            Err(_) => {}
        }
    }
    Ok(bytes)
}

/// The samples as a file of comma-separated values, with a header.
#[derive(Debug)]
pub struct Table {
    file: BufWriter<File>,
}

impl Table {
    /// Begins the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create(path: &Path) -> Result<Table> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut file = BufWriter::new(file);
        let header = "seconds,validator,pid,directory,rss_bytes,open_files,disk_bytes,height,transactions,\
                      transactions_per_second,view,view_changes";
        writeln!(file, "{header}")?;
        Ok(Table { file })
    }

    /// Appends a sample; columns that the validator did not answer for stay empty.
    ///
    /// # Errors
    /// If the disk is full.
    pub fn write(&mut self, sample: &Sample) -> Result<()> {
        let Sample { at, validator, pid, directory, rss, files, disk, said } = sample;
        let seconds = at.as_secs_f64();
        write!(self.file, "{seconds:.1},{validator},{pid},{directory},{rss},{files},{disk},")?;
        match said {
            Some(Said { height, transactions, rate, view, view_changes }) => {
                writeln!(self.file, "{height},{transactions},{rate:.1},{view},{view_changes}")?;
            }
            None => writeln!(self.file, ",,,,")?,
        }
        Ok(self.file.flush()?)
    }
}
