//! Where the built programs are, and running `quorate` as a member.
//!
//! Cargo tells a test where the programs of its own package are, but not those of other packages. All
//! of one build lie in one directory, so they are found beside the program that is running.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The path of a built program of this workspace.
///
/// # Errors
/// If it was not built; the message says how to.
pub fn program(name: &str) -> Result<PathBuf> {
    let running = std::env::current_exe().context("cannot tell where this program lies")?;
    // Tests lie one level deeper, in deps/.
    for directory in running.ancestors().skip(1).take(2) {
        let path = directory.join(name);
        if path.is_file() {
            return Ok(path);
        }
    }
    bail!(
        "the program {name} was not built beside {}; run: cargo build --release -p quorate-node -p quorate-client \
         -p quorate-tests",
        running.display()
    )
}

/// What a run of a program came to.
#[derive(Debug)]
pub struct Ran {
    /// What was run, for messages.
    pub command: String,
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it printed on stdout.
    pub stdout: String,
    /// What it printed on stderr.
    pub stderr: String,
}

impl Ran {
    fn new(command: &Command, output: Output) -> Ran {
        let words: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ran {
            command: format!("{} {}", command.get_program().to_string_lossy(), words.join(" ")),
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Checks the exit code.
    ///
    /// # Errors
    /// If it is another; the message shows all the output.
    pub fn exits(self, code: i32) -> Result<Ran> {
        if self.code == Some(code) {
            return Ok(self);
        }
        bail!(
            "exit code {:?} where {code} was expected of: {}\nstdout: {}\nstderr: {}",
            self.code,
            self.command,
            self.stdout,
            self.stderr
        )
    }

    /// Checks that stdout or stderr holds a text.
    ///
    /// # Errors
    /// If neither does; the message shows all the output.
    pub fn says(self, text: &str) -> Result<Ran> {
        if self.stdout.contains(text) || self.stderr.contains(text) {
            return Ok(self);
        }
        bail!("{text:?} expected of: {}\nstdout: {}\nstderr: {}", self.command, self.stdout, self.stderr)
    }

    /// Stdout as one JSON value.
    ///
    /// # Errors
    /// If it is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout)
            .with_context(|| format!("JSON expected of: {}\nstdout: {}", self.command, self.stdout))
    }
}

/// Runs a program to its end. Nothing of this process's environment reaches it that could lead it to
/// another chain.
///
/// # Errors
/// If it cannot be run.
pub fn run(command: &mut Command) -> Result<Ran> {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("QUORATE_") {
            command.env_remove(name);
        }
    }
    let output = command
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().to_string_lossy()))?;
    Ok(Ran::new(command, output))
}

/// Runs `quorate` with these arguments, as whoever holds the keys in `keys`.
///
/// # Errors
/// If it cannot be run. What it says of itself is in [`Ran`].
pub fn quorate<A: AsRef<OsStr>>(
    genesis: &Path,
    keys: &Path,
    arguments: impl IntoIterator<Item = A>,
) -> Result<Ran> {
    run(Command::new(program("quorate")?)
        .arg("--genesis")
        .arg(genesis)
        .arg("--keys")
        .arg(keys)
        .args(arguments))
}
