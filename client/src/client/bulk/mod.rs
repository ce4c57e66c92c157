//! Streams of transactions, thousands in flight, each until its verified receipt.
//!
//! ```text
//! input ─ reader thread ─▶ coordinator ─ signing threads ─▶ flights ─┬─▶ lane: one validator
//!                              ▲                                     ├─▶ lane
//!                              └──── verified receipts, refusals ◀───┴─── lane
//! ```
//!
//! A *flight* is a transaction that was signed and has no receipt yet. A *lane* is one Submit stream
//! to one validator; it verifies the finality of a block once, however many flights the block holds.
//! When a lane goes down, or a flight waits for too long, its bytes go to another lane: the same
//! transaction, so it has one effect. What has expired is looked up once more and then reported as
//! unknown.
//!
//! What trickles in is gathered for five milliseconds before it is sent (`flights::GATHERING`): that is how much
//! later than a single `submit` a transaction may leave.
//!
//! Memory is bounded by [`BulkOptions::in_flight`] and `IN_FLIGHT_BYTES`; the input is read no
//! faster. [`Client::bulk_signed`] is the same for transactions that were signed before.

mod flights;
mod lane;
mod latency;

use super::{Client, submit::Signed, wall_clock};
use crate::error::{ClientError, Complaint, Complaints, Fault};
use crate::protocol::{MAX_IN_FLIGHT, SubmitError};
use crate::verify::Finalities;
use flights::{Flights, Step};
use lane::{Lane, LaneEvent, News, Verdict};
pub use latency::Latencies;
use quorate_types::hash::TransactionId;
use quorate_types::ids::Height;
use quorate_types::outcome::Outcome;
use quorate_types::transaction::Operation;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

/// Bytes of all transactions in flight: far more than a chain commits in a second.
const IN_FLIGHT_BYTES: usize = 64 << 20;

/// Lines signed in one piece of work.
const SIGN_CHUNK: usize = 64;

/// Pieces of signing work at a time.
const SIGNERS: usize = 4;

/// Lines read ahead.
const READ_AHEAD: usize = 1024;

/// Expired transactions looked up at a time.
const LOOKUPS: usize = 16;

/// How often waiting flights are looked at. Receipts are not waited for by this.
const TICK: Duration = Duration::from_millis(200);

/// How long transactions take of late is a mean in which the last one has a weight of one in so many.
const OF_LATE: u32 = 64;

/// How a bulk run behaves.
#[derive(Debug, Clone)]
pub struct BulkOptions {
    /// Transactions without a receipt at a time, at most [`MAX_IN_FLIGHT`].
    pub in_flight: usize,
    /// How long each may take to commit.
    pub lifetime: Duration,
}

/// What became of one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landed {
    /// The line of the input that asked for it.
    pub line: u64,
    /// The transaction.
    pub id: TransactionId,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It committed: there is a verified receipt.
    Committed {
        /// In which block.
        height: Height,
        /// What came of it.
        outcome: Outcome,
        /// From signing to verified receipt.
        latency: Duration,
    },
    /// So many validators refuse it for good that one of them is honest: it will not commit.
    Refused(SubmitError),
    /// It is longer than the chain allows. This client did not send it.
    TooLarge {
        /// Its length, in bytes.
        bytes: usize,
        /// The chain's limit, in bytes.
        limit: u32,
    },
    /// It expired and nobody has a receipt. It may have committed all the same.
    Unknown {
        /// What those said who refused it: too few to be believed.
        refusals: Complaints,
    },
}

/// A bulk run so far.
#[derive(Debug, Clone, Default)]
pub struct BulkTotals {
    /// Transactions signed and handed in, those that are too long among them.
    pub submitted: u64,
    /// Committed, and applied.
    pub applied: u64,
    /// Committed, and failed without effect.
    pub failed: u64,
    /// Refused by validators, or too long to be sent.
    pub refused: u64,
    /// Of unknown fate.
    pub unknown: u64,
    /// From signing to verified receipt.
    pub latencies: Latencies,
    /// The highest height of a receipt.
    pub height: Height,
}

/// Why a bulk run ended early. Receipts up to then were reported.
#[derive(Debug, thiserror::Error)]
pub enum BulkError<E: std::error::Error + 'static> {
    /// The input is bad. Everything before it was handed in and its fate reported.
    #[error("{error}")]
    Input {
        /// The first error of the input.
        #[source]
        error: E,
        /// What came of everything before it.
        totals: Box<BulkTotals>,
    },
    /// No validator can be reached. Nothing was submitted.
    #[error(transparent)]
    Client(ClientError),
}

impl Client {
    /// Submits every transaction of `input`, each with the line it is on, and reports what became of
    /// each, in the order in which they land.
    ///
    /// # Errors
    /// [`BulkError::Input`] with the first error of the input, or [`BulkError::Client`] if nobody can
    /// be reached at the start.
    pub async fn bulk<I, E>(
        &self,
        input: I,
        options: &BulkOptions,
        landed: impl FnMut(&Landed, &BulkTotals),
    ) -> Result<BulkTotals, BulkError<E>>
    where
        I: Iterator<Item = Result<(u64, Vec<Operation>), E>> + Send + 'static,
        E: std::error::Error + Send + 'static,
    {
        self.bulk_counted(input, options, Arc::default(), landed).await
    }

    /// As [`bulk`](Client::bulk), and counts in `submitted` what is handed in, before it is: whoever breaks the run
    /// off knows by it how many may still commit.
    ///
    /// # Errors
    /// As [`bulk`](Client::bulk).
    pub async fn bulk_counted<I, E>(
        &self,
        input: I,
        options: &BulkOptions,
        submitted: Arc<AtomicU64>,
        mut landed: impl FnMut(&Landed, &BulkTotals),
    ) -> Result<BulkTotals, BulkError<E>>
    where
        I: Iterator<Item = Result<(u64, Vec<Operation>), E>> + Send + 'static,
        E: std::error::Error + Send + 'static,
    {
        let (give, lines) = mpsc::channel(READ_AHEAD);
        // Detached: it may wait for a terminal for ever. It ends when nobody takes its lines.
        tokio::task::spawn_blocking(move || {
            for line in input {
                if give.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        let mut run = Run::start(self, options, submitted);
        let ended = run.go(lines, &mut landed).await;
        run.lanes.shutdown().await;
        match ended.map_err(BulkError::Client)? {
            None => Ok(run.totals),
            Some(error) => Err(BulkError::Input { error, totals: Box::new(run.totals) }),
        }
    }

    /// Submits transactions that were signed before, by this client or others of the chain, each with a
    /// number of the caller's, and reports what became of each, in the order in which they land. It ends
    /// when the channel is closed and everything has landed.
    ///
    /// No more than `in_flight`, at most [`MAX_IN_FLIGHT`], are without a receipt at a time; the channel is
    /// read no faster. Latencies are from reading the channel to the verified receipt. A transaction that is
    /// given again while it is under way is reported once, with its later number.
    ///
    /// # Errors
    /// [`ClientError::NoAnswer`] if nobody can be reached at the start.
    pub async fn bulk_signed(
        &self,
        input: mpsc::Receiver<(u64, Signed)>,
        in_flight: usize,
        mut landed: impl FnMut(&Landed, &BulkTotals),
    ) -> Result<BulkTotals, ClientError> {
        // Nothing is signed here, so no lifetime is given out.
        let options = BulkOptions { in_flight, lifetime: Duration::ZERO };
        let mut run = Run::start(self, &options, Arc::default());
        let ended = run.go_signed(input, &mut landed).await;
        run.lanes.shutdown().await;
        ended.map(|()| run.totals)
    }
}

/// Waits until then; for ever without a time.
async fn pause(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// One bulk run.
struct Run {
    client: Client,
    in_flight: usize,
    lifetime: Duration,
    flights: Flights,
    lanes: JoinSet<()>,
    handles: Vec<Lane>,
    events: mpsc::Receiver<LaneEvent>,
    signing: JoinSet<Vec<(u64, Signed)>>,
    /// Lines that are being signed.
    signing_lines: usize,
    lookups: JoinSet<(TransactionId, Option<(Height, Outcome)>)>,
    totals: BulkTotals,
    /// As in the totals, for others to see.
    submitted: Arc<AtomicU64>,
    /// How long a transaction took of late.
    usual: Duration,
    /// Of lanes that were never up: what is wrong with each.
    down: HashMap<usize, Fault>,
    ever_up: bool,
}

impl Run {
    fn start(client: &Client, options: &BulkOptions, submitted: Arc<AtomicU64>) -> Run {
        let in_flight = options.in_flight.clamp(1, MAX_IN_FLIGHT);
        let order = client.order();
        // Room for every lane to say a few things; a lane that waits only stops reading.
        let (give, events) = mpsc::channel(4 * order.len().max(1));
        let finalities = Arc::new(Mutex::new(Finalities::new()));
        let mut lanes = JoinSet::new();
        let mut handles = Vec::new();
        for (index, validator) in order.into_iter().enumerate() {
            let (lane, task) =
                lane::lane(client.clone(), index, validator, Arc::clone(&finalities), give.clone());
            handles.push(lane);
            lanes.spawn(task);
        }
        Run {
            client: client.clone(),
            in_flight,
            lifetime: options.lifetime,
            flights: Flights::new(client.inner.timeout),
            lanes,
            handles,
            events,
            signing: JoinSet::new(),
            signing_lines: 0,
            lookups: JoinSet::new(),
            totals: BulkTotals::default(),
            submitted,
            usual: Duration::ZERO,
            down: HashMap::new(),
            ever_up: false,
        }
    }

    /// Runs to the end of the input, or its first error.
    async fn go<E: std::error::Error + Send + 'static>(
        &mut self,
        mut lines: mpsc::Receiver<Result<(u64, Vec<Operation>), E>>,
        landed: &mut impl FnMut(&Landed, &BulkTotals),
    ) -> Result<Option<E>, ClientError> {
        let mut bad_input = None;
        let mut reading = true;
        let mut buffer = Vec::with_capacity(SIGN_CHUNK);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while reading || !self.flights.is_empty() || !self.signing.is_empty() {
            let under_way = self.flights.len() + self.signing_lines;
            let room = reading
                && self.signing.len() < SIGNERS
                && under_way < self.in_flight
                && self.flights.bytes() < IN_FLIGHT_BYTES
                && self.ever_up;
            let most = self.in_flight.saturating_sub(under_way).min(SIGN_CHUNK);
            tokio::select! {
                Some(event) = self.events.recv() => self.on_lane(event, landed)?,
                Some(Ok(signed)) = self.signing.join_next() => {
                    self.signing_lines -= signed.len();
                    self.take(signed, landed);
                }
                Some(Ok((id, found))) = self.lookups.join_next() => self.on_lookup(id, found, landed),
                read = lines.recv_many(&mut buffer, most), if room => {
                    if read == 0 {
                        reading = false;
                    }
                    let mut chunk = Vec::with_capacity(read);
                    for line in buffer.drain(..) {
                        match line {
                            Ok(line) if bad_input.is_none() => chunk.push(line),
                            Ok(_) => {}
                            Err(error) => {
                                bad_input = bad_input.or(Some(error));
                                reading = false;
                            }
                        }
                    }
                    self.sign(chunk);
                }
                _ = tick.tick() => self.on_tick(),
                () = pause(self.flights.gathers_until(Instant::now())) => {}
            }
            self.send();
        }
        Ok(bad_input)
    }

    async fn go_signed(
        &mut self,
        mut input: mpsc::Receiver<(u64, Signed)>,
        landed: &mut impl FnMut(&Landed, &BulkTotals),
    ) -> Result<(), ClientError> {
        let mut reading = true;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut buffer = Vec::with_capacity(READ_AHEAD);
        while reading || !self.flights.is_empty() {
            let under_way = self.flights.len();
            let room = reading
                && under_way < self.in_flight
                && self.flights.bytes() < IN_FLIGHT_BYTES
                && self.ever_up;
            let most = self.in_flight.saturating_sub(under_way).min(READ_AHEAD);
            tokio::select! {
                Some(event) = self.events.recv() => self.on_lane(event, landed)?,
                Some(Ok((id, found))) = self.lookups.join_next() => self.on_lookup(id, found, landed),
                read = input.recv_many(&mut buffer, most), if room => {
                    reading = read > 0;
                    self.take(buffer.drain(..), landed);
                }
                _ = tick.tick() => self.on_tick(),
                () = pause(self.flights.gathers_until(Instant::now())) => {}
            }
            self.send();
        }
        Ok(())
    }

    /// Takes what was signed under way. What is longer than the chain allows lands at once: a frame with it may be
    /// longer than any node reads, and then every stream that it is tried on breaks, with all that others sent.
    fn take(
        &mut self,
        signed: impl IntoIterator<Item = (u64, Signed)>,
        landed: &mut impl FnMut(&Landed, &BulkTotals),
    ) {
        let limit = self.client.founding().parameters().max_transaction_bytes;
        let now = Instant::now();
        for (line, signed) in signed {
            self.totals.submitted += 1;
            self.submitted.fetch_add(1, Ordering::Relaxed);
            let bytes = signed.bytes().len();
            if u32::try_from(bytes).is_ok_and(|bytes| bytes <= limit) {
                self.flights.add([(line, signed)], now);
            } else {
                self.report(line, signed.id(), Fate::TooLarge { bytes, limit }, landed);
            }
        }
    }

    /// Sends what is queued, unless more is gathered first.
    fn send(&mut self) {
        let now = Instant::now();
        if self.flights.gathers_until(now).is_none() {
            self.flights.send(&mut self.handles, now);
        }
    }

    fn sign(&mut self, chunk: Vec<(u64, Vec<Operation>)>) {
        if chunk.is_empty() {
            return;
        }
        self.signing_lines += chunk.len();
        let (client, lifetime) = (self.client.clone(), self.lifetime);
        self.signing.spawn_blocking(move || {
            let sign = |(line, operations)| (line, client.sign(operations, lifetime));
            chunk.into_iter().map(sign).collect()
        });
    }

    fn on_lane(
        &mut self,
        LaneEvent { lane, news }: LaneEvent,
        landed: &mut impl FnMut(&Landed, &BulkTotals),
    ) -> Result<(), ClientError> {
        let now = Instant::now();
        match news {
            News::Up => {
                self.ever_up = true;
                self.heard(lane);
            }
            News::Down(fault) => {
                let validator = &self.handles[lane].validator;
                validator.note(Some(&fault));
                if self.handles[lane].up {
                    tracing::info!(validator = validator.name, %fault, "bulk: going on with the others");
                }
                self.handles[lane].up = false;
                self.flights.lane_down(lane);
                self.down.insert(lane, fault);
                if !self.ever_up && self.down.len() == self.handles.len() {
                    let complaint = |(lane, fault): (usize, Fault)| Complaint {
                        validator: self.handles[lane].validator.name.clone(),
                        fault,
                    };
                    let complaints = Complaints(self.down.drain().map(complaint).collect());
                    let wanted = "a stream for transactions".to_owned();
                    return Err(ClientError::NoAnswer { wanted, complaints });
                }
            }
            News::Committed { height, outcomes } => {
                self.heard(lane);
                self.client.saw(height);
                for (index, other) in self.handles.iter_mut().enumerate() {
                    if other.up && index != lane {
                        other.silence.other_commits(now);
                    }
                }
                for (id, outcome) in outcomes {
                    self.commit(id, height, outcome, landed);
                }
            }
            News::Refused { id, reason } => {
                self.heard(lane);
                let needed = self.client.one_honest();
                match self.flights.refused(id, lane, &reason, needed, &self.handles, now) {
                    Step::Wait => {}
                    Step::LookUp => self.look_up(id),
                    Step::GiveUp => self.land(id, Fate::Refused(reason), landed),
                }
            }
        }
        Ok(())
    }

    /// A lane has spoken, so it is up.
    fn heard(&mut self, lane: usize) {
        let lane = &mut self.handles[lane];
        lane.up = true;
        lane.silence.heard(Instant::now());
    }

    /// Gives to others what was sent to lanes that have fallen silent. If others report commits, they count
    /// as down until they speak again.
    fn leave_silent_lanes(&mut self) {
        let now = Instant::now();
        let patience = lane::patience(self.usual, self.client.inner.timeout);
        let mut shared = Vec::new();
        for (index, lane) in self.handles.iter_mut().enumerate().filter(|(_, lane)| lane.up) {
            if !self.flights.any_on(index) {
                lane.silence.is_idle();
            }
            match lane.silence.too_long(now, patience) {
                None => continue,
                Some(Verdict::Share) => shared.push(index),
                Some(Verdict::Down(silent)) => {
                    let validator = &lane.validator;
                    tracing::info!(
                        validator = validator.name,
                        "bulk: it says nothing; going on with the others"
                    );
                    // Look-ups ask it last from now on.
                    validator.note(Some(&Fault::Slow(silent)));
                    lane.hang_up();
                }
            }
            lane.up = false;
            self.flights.lane_down(index);
        }
        if !shared.is_empty() {
            // To those who are not silent, if there are any.
            self.flights.send(&mut self.handles, now);
            shared.into_iter().for_each(|index| self.handles[index].up = true);
        }
    }

    fn commit(
        &mut self,
        id: TransactionId,
        height: Height,
        outcome: Outcome,
        landed: &mut impl FnMut(&Landed, &BulkTotals),
    ) {
        // The same block may be reported by several validators.
        if let Some(started) = self.flights.started(&id) {
            let latency = started.elapsed();
            self.usual = (self.usual * (OF_LATE - 1) + latency) / OF_LATE;
            self.land(id, Fate::Committed { height, outcome, latency }, landed);
        }
    }

    fn land(&mut self, id: TransactionId, fate: Fate, landed: &mut impl FnMut(&Landed, &BulkTotals)) {
        if let Some(line) = self.flights.remove(&id) {
            self.report(line, id, fate, landed);
        }
    }

    fn report(
        &mut self,
        line: u64,
        id: TransactionId,
        fate: Fate,
        landed: &mut impl FnMut(&Landed, &BulkTotals),
    ) {
        let totals = &mut self.totals;
        match &fate {
            Fate::Committed { height, outcome, latency } => {
                totals.height = totals.height.max(*height);
                totals.latencies.record(*latency);
                match outcome {
                    Outcome::Applied => totals.applied += 1,
                    Outcome::Failed { .. } => totals.failed += 1,
                }
            }
            Fate::Refused(_) | Fate::TooLarge { .. } => totals.refused += 1,
            Fate::Unknown { .. } => totals.unknown += 1,
        }
        landed(&Landed { line, id, fate }, totals);
    }

    fn on_tick(&mut self) {
        self.leave_silent_lanes();
        let room = LOOKUPS.saturating_sub(self.lookups.len());
        for id in self.flights.overdue(Instant::now(), wall_clock(), room) {
            self.look_up(id);
        }
    }

    fn look_up(&mut self, id: TransactionId) {
        if self.lookups.len() >= LOOKUPS {
            self.flights.look_up_later(id, Instant::now());
            return;
        }
        let client = self.client.clone();
        self.lookups.spawn(async move {
            let receipt = client.receipt(id).await.ok();
            (id, receipt.map(|receipt| (receipt.height(), receipt.outcome().clone())))
        });
    }

    fn on_lookup(
        &mut self,
        id: TransactionId,
        found: Option<(Height, Outcome)>,
        landed: &mut impl FnMut(&Landed, &BulkTotals),
    ) {
        match found {
            Some((height, outcome)) => self.commit(id, height, outcome, landed),
            None if self.flights.is_expired(&id, wall_clock()) => {
                let complaint = |(lane, reason): (usize, &SubmitError)| Complaint {
                    validator: self.handles[lane].validator.name.clone(),
                    fault: Fault::Refused(reason.clone()),
                };
                let refusals = Complaints(self.flights.refusals(&id).map(complaint).collect());
                self.land(id, Fate::Unknown { refusals }, landed);
            }
            None => self.flights.look_up_later(id, Instant::now()),
        }
    }
}
