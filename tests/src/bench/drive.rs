//! Driving a consortium through real clients, and measuring it meanwhile.
//!
//! Two ways. *Saturation* keeps a fixed number of transactions in flight: as soon as one has its verified
//! receipt, the next is submitted. *A rate* submits by a fixed schedule, a group each millisecond, whatever
//! becomes of those before; latency counts from the time of the schedule, so that a transaction which had
//! to wait for its submission shows it.
//!
//! What is measured lies between two moments at which the load is steady: warm-up and tail are left out.

use super::rig::{Rig, Supply};
use super::snapshot::{Growth, Snapshot, forget_peaks};
use super::stats::Latencies;
use anyhow::{Context, Result, anyhow, ensure};
use quorate_client::client::bulk::{BulkTotals, Fate};
use quorate_client::client::submit::Signed;
use quorate_client::error::ClientError;
use quorate_types::outcome::Outcome;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, sleep_until, timeout};

/// How often counts are looked at.
const LOOK: Duration = Duration::from_millis(5);

/// The step of the schedule, in nanoseconds.
const STEP_NANOS: u64 = 1_000_000;

/// A saturating load is measured after one in so many of its transactions has landed.
const WARM_UP: usize = 5;

/// And until so many times what may be in flight is left: half of that waits then, so the load is as before
/// for as long as it takes to look at everything.
const LEFT: usize = 2;

/// The share of the time after which a load by schedule is measured.
const RATE_WARM_UP: f64 = 0.25;

/// How long all of a load may take beyond what was planned.
const PATIENCE: Duration = Duration::from_secs(90);

/// Validators for which [`Drive::in_flight`] is meant.
const USUAL_VALIDATORS: usize = 4;

/// How the load is handed in.
#[derive(Debug, Clone, Copy)]
pub struct Drive {
    /// Clients that connect; they hand in what all members signed.
    pub clients: usize,
    /// Transactions in flight at most, over all clients.
    pub in_flight: usize,
}

impl Drive {
    /// The same with fewer in flight where a transaction costs more: it has several operations, or there are more
    /// than the usual four validators on the machine. As many would wait as much longer, and after some seconds
    /// clients hand in again and leaders are suspected.
    pub fn of(self, operations: usize, validators: usize) -> Drive {
        let times = operations.max(1) * validators.max(USUAL_VALIDATORS) / USUAL_VALIDATORS;
        Drive { in_flight: (self.in_flight / times).max(64 * self.clients), ..self }
    }

    /// How many transactions make a saturating load of which about so many are measured; enough in any case to
    /// measure some.
    pub fn around(self, measured: usize) -> usize {
        let most = measured.saturating_add(self.in_flight.saturating_mul(LEFT));
        most.saturating_add(most.div_ceil(WARM_UP - 1)).max(self.least())
    }

    /// The least number of transactions of which saturation is measured: twice what is in flight lies between
    /// warm-up and tail then.
    fn least(self) -> usize {
        self.in_flight.saturating_mul(5)
    }
}

impl Default for Drive {
    /// So many in flight that more would commit no faster: with half of it the benchmark's machine committed a
    /// fifteenth less, with twice of it no more, only a second later.
    fn default() -> Drive {
        Drive { clients: 4, in_flight: 8192 }
    }
}

/// What one run of a load came to.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// Transactions with a verified receipt in the time measured.
    pub committed: u64,
    /// What was used in that time.
    pub growth: Growth,
    /// CPU time of signing 1000 transactions, in milliseconds.
    pub sign_ms: f64,
    /// Of those measured, from submission (or its scheduled time) to the verified receipt.
    pub latencies: Latencies,
}

/// One transaction's landing.
struct Landing {
    number: u64,
    at: Instant,
    /// Since a client took it.
    latency: Duration,
}

/// Clients at work, and their channels.
struct Running {
    channels: Vec<mpsc::Sender<(u64, Signed)>>,
    clients: JoinSet<Result<(BulkTotals, Vec<Landing>), ClientError>>,
    /// Of each client: the set itself does not tell who has ended.
    handles: Vec<AbortHandle>,
    /// Transactions of which the fate is known, whatever it is.
    landed: Arc<AtomicU64>,
}

impl Running {
    fn start(rig: &Rig, drive: Drive, room: usize) -> Running {
        let landed = Arc::new(AtomicU64::new(0));
        let mut clients = JoinSet::new();
        let (mut channels, mut handles) = (Vec::new(), Vec::new());
        let count = drive.clients.clamp(1, rig.clients.len());
        for client in rig.clients.iter().take(count) {
            let client = client.clone();
            let (give, input) = mpsc::channel(room.max(1));
            channels.push(give);
            let count_landed = Arc::clone(&landed);
            let in_flight = (drive.in_flight / count).max(1);
            handles.push(clients.spawn(async move {
                let mut landings = Vec::new();
                let totals = client.bulk_signed(input, in_flight, |landed, _| {
                    count_landed.fetch_add(1, Ordering::Relaxed);
                    if let Fate::Committed { outcome: Outcome::Applied, latency, .. } = landed.fate {
                        landings.push(Landing { number: landed.line, at: Instant::now(), latency });
                    }
                });
                Ok((totals.await?, landings))
            }));
        }
        Running { channels, clients, handles, landed }
    }

    /// Waits until so many have landed, whatever became of them. A client that ends before has given up: it is
    /// not waited for, and [`Running::end`] says why.
    async fn until(&self, wanted: usize) -> Result<()> {
        let started = Instant::now();
        loop {
            let landed = self.landed.load(Ordering::Relaxed);
            if landed >= wanted as u64 || self.handles.iter().any(AbortHandle::is_finished) {
                return Ok(());
            }
            ensure!(started.elapsed() < PATIENCE, "the load takes too long: {landed} of {wanted} landed");
            sleep(LOOK).await;
        }
    }

    /// Waits for everything that was handed in.
    async fn end(mut self, submitted: usize) -> Result<Vec<Landing>> {
        self.channels.clear();
        let mut landings = Vec::new();
        let (mut failed, mut refused, mut unknown) = (0, 0, 0);
        let all = async {
            while let Some(client) = self.clients.join_next().await {
                let (totals, more) = client??;
                failed += totals.failed;
                refused += totals.refused;
                unknown += totals.unknown;
                landings.extend(more);
            }
            Ok::<_, anyhow::Error>(())
        };
        timeout(PATIENCE, all).await.context("the load did not end")??;
        ensure!(
            failed + refused + unknown == 0,
            "of {submitted} transactions {failed} failed, {refused} were refused, {unknown} are of unknown fate"
        );
        ensure!(landings.len() == submitted, "{} of {submitted} transactions landed", landings.len());
        Ok(landings)
    }
}

/// Submits everything as fast as receipts come, without measuring. How long it took.
///
/// # Errors
/// If a transaction does not apply, or not in time.
pub async fn submit_all(rig: &Rig, supply: Supply, drive: Drive) -> Result<Duration> {
    let started = Instant::now();
    let total = supply.signed.len();
    let running = Running::start(rig, drive, total);
    let channels = running.channels.iter().cycle();
    for (one, channel) in (0u64..).zip(supply.signed).zip(channels) {
        // Fails only when the client has given up, which its own error tells.
        let _ = channel.try_send(one);
    }
    running.end(total).await?;
    Ok(started.elapsed())
}

/// Submits everything as fast as receipts come. There must be several times as many transactions as may be in
/// flight: [`Drive::around`] says how many.
///
/// # Errors
/// If there are too few, or one does not apply, or not in time.
pub async fn saturate(rig: &Rig, supply: Supply, drive: Drive) -> Result<Measured> {
    let sign_ms = supply.cpu_per_1000_ms();
    let total = supply.signed.len();
    ensure!(total >= drive.least(), "{total} transactions are too few with {} in flight", drive.in_flight);
    forget_peaks(&rig.consortium)?;
    // A few wait for each client.
    let mut running = Running::start(rig, drive, drive.in_flight / drive.clients / 4);
    // One queue for all, so that no client runs out before the others.
    let queue = Arc::new(Mutex::new((0u64..).zip(supply.signed)));
    let mut feeding = JoinSet::new();
    for channel in std::mem::take(&mut running.channels) {
        let queue = Arc::clone(&queue);
        let next = move || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        feeding.spawn(async move {
            while let Some(one) = next() {
                // Fails only when the client has given up, which its own error tells.
                if channel.send(one).await.is_err() {
                    return;
                }
            }
        });
    }
    running.until(total / WARM_UP).await?;
    let before = Snapshot::take(&rig.consortium).await?;
    running.until(total - LEFT * drive.in_flight).await?;
    let after = Snapshot::take(&rig.consortium).await?;
    let landings = running.end(total).await?;
    let measured = measured(&landings, &before, &after, sign_ms, |landing| (landing.at, landing.latency))?;
    ensure!(measured.committed > 0, "nothing committed while it was measured");
    Ok(measured)
}

/// Submits everything by a schedule of so many a second.
///
/// # Errors
/// If a transaction does not apply, or not in time.
pub async fn at_rate(rig: &Rig, supply: Supply, drive: Drive, rate: f64) -> Result<Measured> {
    let sign_ms = supply.cpu_per_1000_ms();
    let total = supply.signed.len();
    ensure!(rate > 0.0, "a rate of {rate} transactions a second");
    forget_peaks(&rig.consortium)?;
    // All fit: the schedule waits for nobody.
    let mut running = Running::start(rig, drive, total);
    let channels = std::mem::take(&mut running.channels);
    let start = Instant::now() + Duration::from_millis(50);
    let due = move |number: u64| start + step_of(number, rate);
    // A thread of its own: a runtime's timers are too coarse.
    let pace = thread::Builder::new().name("pace".to_owned()).spawn(move || {
        for ((number, signed), turn) in (0u64..).zip(supply.signed).zip((0..channels.len()).cycle()) {
            let wait = due(number).saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                thread::sleep(wait);
            }
            if channels[turn].try_send((number, signed)).is_err() {
                return;
            }
        }
    })?;
    let length = Duration::from_secs_f64(total as f64 / rate);
    sleep_until((start + length.mul_f64(RATE_WARM_UP)).into()).await;
    let before = Snapshot::take(&rig.consortium).await?;
    sleep_until((start + length).into()).await;
    let after = Snapshot::take(&rig.consortium).await?;
    let landings = running.end(total).await?;
    pace.join().map_err(|_| anyhow!("the schedule panicked"))?;
    measured(&landings, &before, &after, sign_ms, |landing| {
        let due = due(landing.number);
        (due, landing.at.saturating_duration_since(due))
    })
}

/// When a transaction is due, after the first: in a group with those of the same millisecond.
fn step_of(number: u64, rate: f64) -> Duration {
    let exact = Duration::from_secs_f64(number as f64 / rate);
    exact - Duration::from_nanos(u64::from(exact.subsec_nanos()) % STEP_NANOS)
}

/// Counts what landed between two snapshots. `latency` gives the time by which a transaction belongs between
/// them, and its latency: those that landed after the second count too if they were due before.
fn measured(
    landings: &[Landing],
    before: &Snapshot,
    after: &Snapshot,
    sign_ms: f64,
    latency: impl Fn(&Landing) -> (Instant, Duration),
) -> Result<Measured> {
    let mut measured = Measured { growth: after.since(before)?, sign_ms, ..Measured::default() };
    let between = before.at()..after.at();
    for landing in landings {
        measured.committed += u64::from(between.contains(&landing.at));
        let (time, latency) = latency(landing);
        if between.contains(&time) {
            measured.latencies.record(latency);
        }
    }
    Ok(measured)
}

impl Measured {
    /// Committed transactions a second.
    pub fn rate(&self) -> f64 {
        self.committed as f64 / self.growth.time.as_secs_f64()
    }

    /// A quantity for each committed transaction; infinite if none committed.
    pub fn each(&self, quantity: f64) -> f64 {
        if self.committed == 0 { f64::INFINITY } else { quantity / self.committed as f64 }
    }

    /// CPU time for 1000 committed transactions, in milliseconds.
    pub fn per_1000_ms(&self, spent: Duration) -> f64 {
        self.each(spent.as_secs_f64() * 1e6)
    }

    /// The latency that `per_thousand` of 1000 do not exceed, in milliseconds; `None` where too few were measured
    /// to tell.
    pub fn latency_ms(&self, per_thousand: usize) -> Option<f64> {
        self.latencies.tell(per_thousand).then(|| self.latencies.clone().percentile_ms(per_thousand))
    }

    /// CPU time of all processes for 1000 committed transactions, in milliseconds: validators, clients and
    /// signing.
    pub fn cpu_ms(&self) -> f64 {
        let Growth { validators_cpu, clients_cpu, .. } = &self.growth;
        self.per_1000_ms(validators_cpu.total) + self.per_1000_ms(clients_cpu.total) + self.sign_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saturating_load_holds_what_is_measured_besides_warm_up_and_tail() {
        let drive = Drive { clients: 4, in_flight: 4096 };
        for wanted in [20_000, 160_000, 1_000_000] {
            let total = drive.around(wanted);
            let measured = total - LEFT * drive.in_flight - total / WARM_UP;
            assert!((wanted..=wanted + 2).contains(&measured), "{measured} of {wanted}");
        }
        let least = drive.around(1);
        assert!(least / WARM_UP < least - LEFT * drive.in_flight);
    }

    #[test]
    fn the_schedule_keeps_its_rate_in_groups_of_a_millisecond() {
        let times: Vec<Duration> = (0..25_000).map(|number| step_of(number, 12_500.0)).collect();
        assert_eq!(times[0], Duration::ZERO);
        assert_eq!(times[12_500], Duration::from_secs(1));
        assert!(times.is_sorted());
        assert!(times.iter().all(|time| time.subsec_nanos() % 1_000_000 == 0));
        // 12.5 each millisecond.
        let within = times.iter().filter(|time| **time == Duration::from_millis(100)).count();
        assert!((12..=13).contains(&within), "{within}");
    }
}
