//! A validator whose directory is damaged while it does not run, and what becomes of it.

use crate::{LOAD, SOON, holds, load, nobody_contradicts, pulse, put};
use anyhow::{Context, Result, bail, ensure};
use quorate_client::client::Options;
use quorate_client::client::submit::DEFAULT_LIFETIME;
use quorate_tests::consortium::name;
use quorate_tests::{Acknowledged, Consortium, audit, wait};
use quorate_types::outcome::Outcome;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Transactions before and after a damage.
const PULSE: u64 = 60;

/// What the texts of refusals advise for a database that is beyond reading.
pub(crate) const MOVE_AWAY: &str = "move the data directory away";

/// The validator that is damaged.
pub(crate) struct Victim<'a> {
    pub(crate) consortium: &'a mut Consortium,
    pub(crate) index: usize,
    pub(crate) acknowledged: Acknowledged,
    /// Data directories that were moved away so far.
    moved: usize,
}

/// How the victim ends before it is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// In an orderly way: everything is in table files.
    Stopped,
    /// By `kill -9`: the latest is only in the log.
    Killed,
}

impl<'a> Victim<'a> {
    pub(crate) fn new(consortium: &'a mut Consortium, index: usize) -> Victim<'a> {
        Victim { consortium, index, acknowledged: Acknowledged::default(), moved: 0 }
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.consortium.node_directory(self.index).to_owned()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.home().join("data")
    }

    pub(crate) fn guard(&self) -> PathBuf {
        self.home().join(quorate_node::storage::GUARD_FILE)
    }

    /// Work, in which it takes part, and its end.
    pub(crate) async fn works_and_ends(&mut self, end: End) -> Result<()> {
        pulse(self.consortium, PULSE, &mut self.acknowledged).await?;
        let top = self.consortium.height().await?;
        self.consortium.reaches(self.index, top, SOON).await?;
        match end {
            End::Stopped => self.consortium.stop(self.index).await,
            End::Killed => self.consortium.kill9(self.index),
        }
    }

    fn log(&self) -> Result<String> {
        let log = fs::read(self.home().join("log"))?;
        Ok(String::from_utf8_lossy(&log).into_owned())
    }

    /// Starts it; returns where in its log this start begins.
    pub(crate) fn starts(&mut self) -> Result<usize> {
        let before = self.log()?.len();
        self.consortium.start(self.index)?;
        Ok(before)
    }

    /// What it has logged since.
    pub(crate) fn logged_since(&self, before: usize) -> Result<String> {
        Ok(self.log()?[before..].to_owned())
    }

    /// Waits until it has logged these words since.
    pub(crate) async fn logs(&self, before: usize, words: &str) -> Result<()> {
        wait::until(&format!("the victim to log {words:?}"), SOON, async || {
            let log = self.logged_since(before).map_err(|error| error.to_string())?;
            if log.contains(words) { Ok(()) } else { Err(log) }
        })
        .await
    }

    /// Starts it, and waits until it has ended by itself or says something on its HTTP port. `Ok` with
    /// what it logged if it refused to start.
    pub(crate) async fn refuses(&mut self) -> Result<Result<String, usize>> {
        let before = self.starts()?;
        let index = self.index;
        let ended = wait::until("the victim to end or to listen", SOON, async || {
            match self.consortium.ended(index) {
                Ok(Some(status)) => Ok(Some(status)),
                Ok(None) => match self.consortium.http(index, "/healthz").await {
                    Ok((200, _)) => Ok(None),
                    other => Err(format!("{other:?}")),
                },
                Err(error) => Err(error.to_string()),
            }
        })
        .await?;
        let Some(status) = ended else { return Ok(Err(before)) };
        let log = self.logged_since(before)?;
        ensure!(status.code() == Some(1), "it ended with {status}: {log}");
        Ok(Ok(log))
    }

    /// Starts it twice, and expects it to refuse both times alike, naming its directory and saying this.
    pub(crate) async fn must_refuse(&mut self, says: &[&str]) -> Result<()> {
        for _ in 0..2 {
            match self.refuses().await? {
                Ok(log) => {
                    let home = self.home().display().to_string();
                    for words in says.iter().copied().chain([home.as_str()]) {
                        ensure!(log.contains(words), "it does not say {words:?}: {log}");
                    }
                }
                Err(before) => bail!("it started: {}", self.logged_since(before)?),
            }
        }
        Ok(())
    }

    /// The way out that the refusals name.
    pub(crate) fn moves_data_away(&mut self) -> Result<()> {
        self.moved += 1;
        fs::rename(self.data(), self.home().join(format!("data-moved-away-{}", self.moved)))?;
        Ok(())
    }

    /// Waits until it, running, is ready, under load: it may have to learn from the others. Then lets it
    /// prove that it votes, and that what it gives to others is whole.
    pub(crate) async fn comes_back(&mut self) -> Result<()> {
        let load = load(self.consortium)?;
        let ready = self.consortium.ready(self.index).await;
        let (_, more) = load.stop().await?;
        self.acknowledged.extend(more);
        ready?;
        let top = self.consortium.height().await?;
        self.consortium.reaches(self.index, top, SOON).await?;
        self.votes().await?;
        self.gives_everything().await?;
        nobody_contradicts(self.consortium).await
    }

    /// With another one held still, no block commits without its vote.
    async fn votes(&mut self) -> Result<()> {
        let other = (self.index + 1) % self.consortium.len();
        self.consortium.pause(other)?;
        let client = self.consortium.client("mill")?;
        let receipt = client.submit(&client.sign(put(7), DEFAULT_LIFETIME)).await;
        self.consortium.resume(other)?;
        let receipt = receipt.context("it does not vote")?;
        ensure!(*receipt.outcome() == Outcome::Applied, "{LOAD}: {:?}", receipt.outcome());
        self.acknowledged.note(receipt.id(), receipt.height());
        client.shutdown().await;
        self.consortium.reaches(self.index, receipt.height(), SOON).await?;
        Ok(())
    }

    /// An audit of what it alone gives.
    pub(crate) async fn gives_everything(&self) -> Result<()> {
        let options = Options { nodes: vec![name(self.index)], ..Options::default() };
        let client = self.consortium.client_of("watch", &options)?;
        let audited = audit(&client, |_| {}).await;
        client.shutdown().await;
        audited.context("the chain as the victim gives it")?.holds(&self.acknowledged)
    }

    /// The end of a test: all of them audited.
    pub(crate) async fn done(self) -> Result<()> {
        self.consortium.all_ready().await?;
        holds(self.consortium, &self.acknowledged).await
    }
}

/// Files of the database whose names hold this, ascending.
pub(crate) fn files(data: &Path, words: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(data.join("db"))? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().contains(words)) {
            files.push(path);
        }
    }
    files.sort();
    ensure!(!files.is_empty(), "no {words} file in {}", data.display());
    Ok(files)
}

/// The longest of them.
pub(crate) fn longest(data: &Path, words: &str) -> Result<PathBuf> {
    let files = files(data, words)?;
    let longest = files.into_iter().max_by_key(|file| length(file).unwrap_or(0));
    longest.context("there is one")
}

pub(crate) fn length(file: &Path) -> Result<u64> {
    Ok(fs::metadata(file)?.len())
}

/// Cuts a file off.
pub(crate) fn truncate(file: &Path, length: u64) -> Result<()> {
    Ok(OpenOptions::new().write(true).open(file)?.set_len(length)?)
}

/// Flips one bit.
pub(crate) fn flip(file: &Path, at: u64) -> Result<()> {
    let file = File::options().read(true).write(true).open(file)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 0x10], at)?;
    Ok(())
}

/// Copies a directory with everything in it, file by file, as someone does who knows of no other way.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy(&from, &to)?;
        } else {
            match fs::copy(&from, &to) {
                Ok(_) => {}
                // Removed by the running node since the directory was read.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| format!("cannot copy {}", from.display())),
            }
        }
    }
    Ok(())
}
