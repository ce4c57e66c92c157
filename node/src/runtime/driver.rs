//! The one thread that owns the core.
//!
//! It waits for what comes next by priority, steps the core, and hands on what the core wants done, as
//! [`api`](crate::core::api) says it must. It never waits for disk or network.

use super::clock::Clock;
use super::mailbox::{Mailbox, Next, Query};
use super::pool::PoolSender;
use super::writer::{WriteQueue, send};
use crate::core::Core;
use crate::core::api::{Demand, Input, Ready, Report};
use crate::metrics::Metrics;
use crate::storage::RocksStore;
use quorate_transport::Node;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{self, error::TrySendError};

/// How often the core is told how far the other validators are, while it does anything.
const ROUND_TRIPS_EVERY: Duration = Duration::from_secs(1);

/// The core and what it talks to.
pub(super) struct Driver {
    /// The core.
    pub(super) core: Core<RocksStore>,
    /// What it hears.
    pub(super) mailbox: Arc<Mailbox>,
    /// Where its writes go.
    pub(super) queue: Arc<WriteQueue>,
    /// Where its messages go.
    pub(super) node: Arc<Node>,
    /// Where its reports go that wait for no write.
    pub(super) reports: mpsc::Sender<Vec<Report>>,
    /// What it reads the time from.
    pub(super) clock: Clock,
    /// What is counted.
    pub(super) metrics: Arc<Metrics>,
    /// Who verifies what it hears.
    pub(super) pool: PoolSender,
    /// How soon the pool was told that transactions are wanted.
    pub(super) demand: Demand,
    /// When the core is told of round trips again, on the monotonic clock.
    pub(super) round_trips_at: Duration,
}

impl Driver {
    /// Runs until the mailbox says to stop.
    pub(super) fn run(mut self) {
        self.hand_on();
        loop {
            let deadline = self.clock.instant(self.core.deadline());
            let inputs = match self.mailbox.next(deadline, self.queue.is_behind()) {
                Next::Inputs(inputs) => inputs,
                Next::Tick => vec![Input::Tick],
                Next::Query(query) => {
                    self.answer(query);
                    continue;
                }
                Next::Stop => return,
            };
            let now = self.clock.now();
            let round_trips = self.round_trips(now.monotonic);
            self.core.step_all(now, round_trips.into_iter().chain(inputs));
            self.metrics.stepped(self.clock.monotonic().saturating_sub(now.monotonic));
            self.hand_on();
            let demand = self.core.demand();
            if std::mem::replace(&mut self.demand, demand) != demand {
                self.pool.demand(demand);
            }
        }
    }

    fn hand_on(&mut self) {
        while let Some(mut ready) = self.core.take_ready() {
            send(&self.node, std::mem::take(&mut ready.now));
            if let Some(ready) = self.say_at_once(ready) {
                self.queue.push(ready);
            }
        }
    }

    /// What has nothing to write, and nothing before it that is not written, need not wake the storage thread.
    /// Gives back what has to go that way all the same.
    fn say_at_once(&self, mut ready: Ready) -> Option<Ready> {
        if !ready.persist.is_empty() || ready.guard.is_some() || ready.awaited || !self.queue.is_idle() {
            return Some(ready);
        }
        send(&self.node, std::mem::take(&mut ready.then));
        if ready.reports.is_empty() {
            return None;
        }
        match self.reports.try_send(ready.reports) {
            Ok(()) | Err(TrySendError::Closed(_)) => None,
            // It may wait for room; this thread may not.
            Err(TrySendError::Full(reports)) => {
                Some(Ready { number: ready.number, reports, ..Ready::default() })
            }
        }
    }

    /// How far the other validators are, if the core is to be told again.
    fn round_trips(&mut self, now: Duration) -> Option<Input> {
        if now < self.round_trips_at {
            return None;
        }
        self.round_trips_at = now + ROUND_TRIPS_EVERY;
        Some(Input::RoundTrips(self.node.peers().into_iter().filter_map(|peer| peer.rtt).collect()))
    }

    fn answer(&self, query: Query) {
        // Whoever asked may have gone: then nobody minds.
        match query {
            Query::Status(answer) => drop(answer.send(self.core.status())),
            Query::Trace(id, answer) => drop(answer.send(self.core.trace(&id))),
        }
    }
}
