//! One validator's process.

use crate::programs::program;
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// Lines of a log that are shown when something went wrong.
const TAIL_LINES: usize = 15;

/// A validator's directory, and its process while it runs.
#[derive(Debug)]
pub(super) struct Node {
    directory: PathBuf,
    process: Option<Child>,
}

impl Node {
    pub(super) fn new(directory: PathBuf) -> Node {
        Node { directory, process: None }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the node notes its HTTP address.
    fn http_file(&self) -> PathBuf {
        self.directory.join(quorate_node::runtime::HTTP_FILE)
    }

    pub(super) fn http_address(&self) -> Result<String, String> {
        let text =
            fs::read_to_string(self.http_file()).map_err(|error| format!("no HTTP address yet: {error}"))?;
        Ok(text.trim().to_owned())
    }

    fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// The process id, if it was started and not yet seen to end.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    pub(super) fn start(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "{} runs already", self.directory.display());
        // One that was killed leaves its old address.
        let _ = fs::remove_file(self.http_file());
        let log = OpenOptions::new().create(true).append(true).open(self.log());
        let log = log.with_context(|| format!("cannot write {}", self.log().display()))?;
        let process = Command::new(program("leash")?)
            .arg(std::process::id().to_string())
            .arg(program("quorate-node")?)
            .arg("start")
            .arg("--dir")
            .arg(&self.directory)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("cannot start a validator")?;
        self.process = Some(process);
        Ok(())
    }

    /// How it ended, if it did by itself; it then counts as stopped.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let Some(process) = &mut self.process else { bail!("{} does not run", self.directory.display()) };
        let ended = process.try_wait().context("cannot tell whether a validator runs")?;
        if ended.is_some() {
            self.process = None;
        }
        Ok(ended)
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        let Some(process) = &self.process else { bail!("{} does not run", self.directory.display()) };
        let pid = i32::try_from(process.id()).context("a process id")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("cannot send {signal}"))
    }

    /// SIGKILL, and waits until the process is gone, which takes no time.
    pub(super) fn kill(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else {
            bail!("{} does not run", self.directory.display())
        };
        process.kill().context("cannot kill a validator")?;
        process.wait().context("cannot wait for a validator that was killed")?;
        Ok(())
    }

    /// The end of its log.
    pub(super) fn log_tail(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.process.is_some() {
            // Fails only if it has ended in this very moment.
            let _ = self.kill();
        }
    }
}
