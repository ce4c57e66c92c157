//! Everything that is counted at one moment, and what it grew by between two.

use super::cpu::{Cpu, Spent};
use super::metrics::Metrics;
use super::usage;
use crate::Consortium;
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};

/// One validator at one moment.
#[derive(Debug, Clone)]
struct Validator {
    pid: u32,
    cpu: Cpu,
    written: u64,
    peak_memory: u64,
    metrics: Metrics,
}

/// All validators that run, and this process with its clients, at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    at: Instant,
    validators: Vec<Validator>,
    own: Cpu,
    loopback: [u64; 2],
}

/// What happened between two snapshots. Counts are sums over all validators.
#[derive(Debug, Clone, Default)]
pub struct Growth {
    /// How long it took.
    pub time: Duration,
    /// How many validators ran.
    pub validators: usize,
    /// CPU time of the validators.
    pub validators_cpu: Spent,
    /// CPU time of this process: the clients.
    pub clients_cpu: Spent,
    /// Bytes that the kernel wrote to disks for validators.
    pub written: f64,
    /// Times that a validator waited for a write to be durable.
    pub syncs: f64,
    /// Bytes of frames that validators sent to each other.
    pub peer_bytes: f64,
    /// Bytes that passed the loopback device: everything, clients and headers included.
    pub loopback_bytes: f64,
    /// Packets that passed the loopback device.
    pub loopback_packets: f64,
    /// First copies of transactions by gossip.
    pub first_copies: f64,
    /// Further copies.
    pub duplicates: f64,
    /// Blocks that the validator with most blocks committed.
    pub blocks: f64,
    /// The most memory that a validator had in use since peaks were forgotten, in bytes.
    pub peak_memory: u64,
}

impl Snapshot {
    /// Of a consortium whose validators all answer.
    ///
    /// # Errors
    /// If one does not.
    pub async fn take(consortium: &Consortium) -> Result<Snapshot> {
        // All at once, and before everything else: this takes time.
        let answers = consortium.http_of_all("/metrics").await?;
        let mut validators = Vec::new();
        for (index, text) in answers {
            let pid = consortium.pid(index).context("a validator that runs")?;
            validators.push(Validator {
                pid,
                cpu: Cpu::of(pid)?,
                written: usage::written(pid)?,
                peak_memory: usage::peak_memory(pid)?,
                metrics: Metrics::parse(&text),
            });
        }
        let own = Cpu::of(std::process::id())?;
        Ok(Snapshot { at: Instant::now(), validators, own, loopback: usage::loopback()? })
    }

    /// When it was taken.
    pub fn at(&self) -> Instant {
        self.at
    }

    /// What happened since `earlier`.
    ///
    /// # Errors
    /// If a validator was started or stopped meanwhile, or does not count what is wanted.
    pub fn since(&self, earlier: &Snapshot) -> Result<Growth> {
        let pids = |snapshot: &Snapshot| snapshot.validators.iter().map(|v| v.pid).collect::<Vec<u32>>();
        ensure!(pids(self) == pids(earlier), "a validator was restarted during a measurement");
        let mut growth = Growth {
            time: self.at - earlier.at,
            validators: self.validators.len(),
            clients_cpu: self.own.since(&earlier.own),
            loopback_bytes: self.loopback[0].saturating_sub(earlier.loopback[0]) as f64,
            loopback_packets: self.loopback[1].saturating_sub(earlier.loopback[1]) as f64,
            ..Growth::default()
        };
        for (now, before) in self.validators.iter().zip(&earlier.validators) {
            let grown = |name| now.metrics.growth(&before.metrics, name);
            growth.validators_cpu.add(&now.cpu.since(&before.cpu));
            growth.written += now.written.saturating_sub(before.written) as f64;
            growth.syncs += grown("quorate_storage_syncs_total")?;
            // A single validator has no peers, so it counts nothing by peer.
            if self.validators.len() > 1 {
                growth.peer_bytes += grown("quorate_peer_sent_bytes")?;
            }
            growth.first_copies += grown("quorate_gossip_first_copies")?;
            growth.duplicates += grown("quorate_gossip_duplicates")?;
            growth.blocks = growth.blocks.max(grown("quorate_height")?);
            growth.peak_memory = growth.peak_memory.max(now.peak_memory);
        }
        Ok(growth)
    }
}

/// Lets the peak of every validator's memory count from now on.
///
/// # Errors
/// If the system does not allow it.
pub fn forget_peaks(consortium: &Consortium) -> Result<()> {
    for index in consortium.running() {
        usage::forget_peak(consortium.pid(index).context("a validator that runs")?)?;
    }
    Ok(())
}
