//! Where the time of processes goes, function by function: sampled by perf, drawn as a flame graph.
//!
//! A flame graph needs a name for each place on a stack. The programs are built without debugging
//! information, so what the compiler has put into its caller counts as the caller.

use anyhow::{Context, Result, bail, ensure};
use inferno::flamegraph::{self, Options};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Samples a second of each thread: no divisor of anything that happens by the clock.
const FREQUENCY: &str = "199";

/// Bytes of the stack kept with each sample.
const STACKS: &str = "dwarf,16384";

/// Whether this machine can sample other processes, or what is missing.
///
/// # Errors
/// Says what to do.
pub fn available() -> Result<()> {
    match Command::new("perf").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        _ => bail!("there is no `perf` here (on Debian: apt-get install linux-perf)"),
    }
}

/// Samples under way.
pub struct Sampling(Child);

/// Samples processes for so long, into a file.
///
/// # Errors
/// If perf does not start.
pub fn start(pids: &[u32], length: Duration, data: &Path) -> Result<Sampling> {
    let pids = pids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let perf = Command::new("perf")
        .args(["record", "--quiet", "--freq", FREQUENCY, "--call-graph", STACKS, "--pid", &pids, "--output"])
        .arg(data)
        .args(["--", "sleep", &length.as_secs_f64().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Ok(Sampling(perf.context("perf does not start")?))
}

impl Sampling {
    /// Waits for its end. The stacks, outermost first and divided by `;`, and how often each was seen.
    ///
    /// # Errors
    /// If perf fails, or saw nothing.
    pub fn stacks(mut self, data: &Path) -> Result<BTreeMap<String, u64>> {
        let status = self.0.wait().context("perf")?;
        ensure!(status.success(), "perf record failed ({status}); see kernel.perf_event_paranoid");
        let mut script = Command::new("perf");
        script.args(["script", "--fields", "comm,ip,sym", "--input"]).arg(data);
        let output = script_output(&mut script)?;
        let stacks = fold(&output);
        ensure!(!stacks.is_empty(), "perf saw nothing");
        Ok(stacks)
    }
}

fn script_output(script: &mut Command) -> Result<String> {
    let output = script.stdin(Stdio::null()).output().context("perf script")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "perf script failed: {}", errors.trim_end());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Stacks as perf writes them: the thread's name, a line for each place from the innermost, an empty line.
fn fold(script: &str) -> BTreeMap<String, u64> {
    let mut stacks = BTreeMap::new();
    let mut thread = "";
    let mut places: Vec<&str> = Vec::new();
    for line in script.lines().chain([""]) {
        if line.trim().is_empty() {
            if !thread.is_empty() {
                places.push(thread);
                places.reverse();
                *stacks.entry(places.join(";")).or_default() += 1;
            }
            (thread, places) = ("", Vec::new());
        } else if line.starts_with(char::is_whitespace) && !thread.is_empty() {
            // An address, then the name, which may hold spaces.
            let name = line.trim().split_once(' ').map_or("[unknown]", |(_, name)| name);
            places.push(name);
        } else {
            thread = line.trim();
        }
    }
    stacks
}

/// The functions in which most samples were, innermost, with the thread's name: so many, most first, with
/// their share of all.
pub fn innermost(stacks: &BTreeMap<String, u64>, most: usize) -> Vec<(String, f64)> {
    let mut functions: BTreeMap<String, u64> = BTreeMap::new();
    for (stack, seen) in stacks {
        let thread = stack.split(';').next().unwrap_or_default();
        let name = stack.rsplit(';').next().unwrap_or_default();
        *functions.entry(format!("{thread}: {name}")).or_default() += seen;
    }
    let all = stacks.values().sum::<u64>().max(1) as f64;
    let mut functions: Vec<_> = functions.into_iter().map(|(name, seen)| (name, seen as f64 / all)).collect();
    functions.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    functions.truncate(most);
    functions
}

/// Draws a flame graph.
///
/// # Errors
/// If it cannot be written.
pub fn draw(title: &str, stacks: &BTreeMap<String, u64>, path: &Path) -> Result<()> {
    let lines: Vec<String> = stacks.iter().map(|(stack, seen)| format!("{stack} {seen}")).collect();
    let mut options = Options::default();
    title.clone_into(&mut options.title);
    "samples".clone_into(&mut options.count_name);
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut svg)
        .map_err(|error| anyhow::anyhow!("no flame graph: {error}"))?;
    fs::write(path, svg).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "core \n\t    55d0 inner (a, b)\n\t    55d1 outer\n\nverify-1 \n\t  1 square\n\t  2 outer\n\ncore \n\
                          \t    55d0 inner (a, b)\n\t    55d1 outer\n\nidle \n\n";

    #[test]
    fn stacks_are_folded_by_thread_with_the_outermost_first() {
        let stacks = fold(SCRIPT);
        let expected = [("core;outer;inner (a, b)", 2), ("idle", 1), ("verify-1;outer;square", 1)];
        assert_eq!(stacks, expected.map(|(stack, seen)| (stack.to_owned(), seen)).into());
        assert_eq!(fold(""), BTreeMap::new());
        let most = innermost(&stacks, 1);
        assert_eq!(most, [("core: inner (a, b)".to_owned(), 0.5)]);
    }

    #[test]
    fn a_flame_graph_holds_every_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flames.svg");
        draw("what takes time", &fold(SCRIPT), &path).unwrap();
        let svg = fs::read_to_string(path).unwrap();
        for name in ["what takes time", "core", "verify-1", "square", "inner (a, b)"] {
            assert!(svg.contains(name), "{name}");
        }
    }
}
