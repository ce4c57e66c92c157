//! Resident memory of a process, as the kernel counts it.

use anyhow::{Context, Result};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// How often a process is looked at. Memory that comes and goes faster than this can be missed; the
/// kernel's own high-water mark is not used because it cannot be told apart by phase.
const EVERY: Duration = Duration::from_millis(50);

/// Resident memory of a process now, in bytes (`VmRSS` of `/proc/PID/status`).
///
/// # Errors
/// If the process is gone.
pub fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} is gone"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("a line VmRSS in kB")?;
    Ok(kib.trim().parse::<u64>().context("a number of kB")? * 1024)
}

/// Bytes as MiB, for messages.
pub fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

/// Watches a process and remembers the most memory seen since it was last asked. Ends when dropped.
#[derive(Debug)]
pub struct Watch {
    pid: u32,
    highest: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Begins to watch. Must be called in a Tokio runtime.
    pub fn begin(pid: u32) -> Watch {
        let highest = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&highest);
        let task = tokio::spawn(async move {
            while let Ok(bytes) = resident(pid) {
                seen.fetch_max(bytes, Ordering::Relaxed);
                tokio::time::sleep(EVERY).await;
            }
        });
        Watch { pid, highest, task }
    }

    /// The most seen since the last call, now included; in bytes.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn highest(&self) -> Result<u64> {
        let now = resident(self.pid)?;
        Ok(self.highest.swap(0, Ordering::Relaxed).max(now))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_touched_counts() {
        let me = std::process::id();
        let before = resident(me).expect("this process runs");
        let block = std::hint::black_box(vec![1u8; 64 << 20]);
        let after = resident(me).expect("this process runs");
        assert!(after >= before + (48 << 20), "{before} then {after}");
        drop(block);
        assert!(resident(u32::MAX).is_err());
    }
}
