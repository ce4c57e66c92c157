//! The link to one other validator: dials, accepts, and keeps one connection of the two sides.
//!
//! Both sides dial. When connections cross, **the one dialled by the lower index stays**, and both
//! sides decide that alike whatever order they see them in:
//!
//! - upon a connection of another *process* than the present one's, the new one stays: the peer has
//!   restarted, and what is left of its old connections is dead;
//! - upon a connection in the same direction as the present one, the new one stays: who dials again
//!   has lost the old one;
//! - otherwise the one dialled by the lower index stays. So the lower index never gives up a dial that the
//!   other side may have heard of, and the higher one drops its own as soon as it has a connection.
//!
//! A dial is heard of once its hello is sent. One that has not come so far is given up by either side as soon as
//! there is a connection: what was dialled before the peer listened arrives a second late, when much is in flight
//! on the connection that the peer dialled, and would be lost with it.
//!
//! Who dials again and again would have this node close and open as often, and say so each time. So of the
//! first two kinds one that the other side dialled is refused while the present one is young ([`Turnover`]). A
//! validator that was restarted, or has lost its connection, finds an old one, or tries again within a second.
//!
//! One task owns the link, so a peer's coming and going is told in order.

use crate::accept::{Accepted, answer_hello};
use crate::close::{CloseCode, DownReason, close};
use crate::config::Config;
use crate::connect::{ConnectError, Dialler, canonical};
use crate::endpoint::{PEER_WINDOW_BYTES, Tuning, transport};
use crate::hello::{HelloError, Sender};
use crate::inbox::Event;
use crate::lane::{Lane, SendQueue};
use crate::node::{Shared, stopped};
use crate::session::{Direction, Session};
use crate::stats::{Counter, LaneStatus, PeerStatus};
use bytes::Bytes;
use quorate_types::ids::ValidatorIndex;
use quorate_types::keys::PublicKey;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// Connections of one peer that may wait for its link; more are refused.
pub(crate) const MAX_WAITING: usize = 4;

/// Traffic of one lane.
#[derive(Default)]
pub(crate) struct Traffic {
    frames_in: Counter,
    bytes_in: Counter,
    frames_out: Counter,
    bytes_out: Counter,
    dropped: Counter,
}

impl Traffic {
    pub(crate) fn received(&self, frame: &Bytes) {
        self.frames_in.add(1);
        self.bytes_in.add(frame.len() as u64);
    }

    pub(crate) fn sent(&self, frames: &[Bytes]) {
        self.frames_out.add(frames.len() as u64);
        self.bytes_out.add(frames.iter().map(|frame| frame.len() as u64).sum());
    }

    pub(crate) fn dropped(&self, frames: usize) {
        self.dropped.add(frames as u64);
    }
}

/// What the rest of the node sees of a link.
pub(crate) struct Peer {
    pub(crate) index: ValidatorIndex,
    key: PublicKey,
    /// `host:port`, resolved at each dial. Empty: this side only accepts.
    addresses: Vec<String>,
    queues: [SendQueue; 3],
    traffic: [Traffic; 3],
    connects: Counter,
    up: Mutex<Option<(quinn::Connection, Instant)>>,
    last_failure: Mutex<Option<String>>,
    pub(crate) ban: watch::Sender<Option<Ban>>,
}

/// The application's wish not to see a peer for a while.
#[derive(Debug, Clone)]
pub(crate) struct Ban {
    pub(crate) until: Instant,
    pub(crate) reason: String,
}

impl Peer {
    pub(crate) fn new(
        config: &Config,
        index: ValidatorIndex,
        key: PublicKey,
        addresses: Vec<String>,
    ) -> Peer {
        Peer {
            index,
            key,
            addresses,
            queues: Lane::ALL.map(|lane| SendQueue::new(*config.lane(lane))),
            traffic: Default::default(),
            connects: Counter::default(),
            up: Mutex::default(),
            last_failure: Mutex::default(),
            ban: watch::Sender::new(None),
        }
    }

    pub(crate) fn queue(&self, lane: Lane) -> &SendQueue {
        &self.queues[lane.index()]
    }

    pub(crate) fn traffic(&self, lane: Lane) -> &Traffic {
        &self.traffic[lane.index()]
    }

    fn up(&self) -> MutexGuard<'_, Option<(quinn::Connection, Instant)>> {
        self.up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, failure: String) {
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
    }

    pub(crate) fn status(&self) -> PeerStatus {
        let up = self.up().clone();
        let connection = up.as_ref().map(|(connection, _)| connection);
        let lanes = Lane::ALL.map(|lane| {
            let traffic = self.traffic(lane);
            LaneStatus {
                frames_in: traffic.frames_in.get(),
                bytes_in: traffic.bytes_in.get(),
                frames_out: traffic.frames_out.get(),
                bytes_out: traffic.bytes_out.get(),
                dropped: traffic.dropped.get(),
                queued: self.queue(lane).len(),
            }
        });
        PeerStatus {
            peer: self.index,
            connected: up.is_some(),
            since: up.as_ref().map(|(_, since)| *since),
            address: connection.map(|connection| canonical(connection.remote_address())),
            rtt: connection.map(quinn::Connection::rtt),
            connects: self.connects.get(),
            last_failure: self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            lanes,
        }
    }
}

/// Waits that double up to a cap, each shortened at random by up to half.
#[derive(Debug)]
struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    fn new(config: &Config) -> Backoff {
        Backoff { min: config.reconnect_min, max: config.reconnect_max, next: config.reconnect_min }
    }

    fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.max);
        wait.mul_f64(rand::random_range(0.5..=1.0))
    }

    fn reset(&mut self) {
        self.next = self.min;
    }
}

/// How old a connection must be before another that the other side dialled takes its place. It doubles up to a cap
/// with each that does, until one has lasted.
#[derive(Debug)]
struct Turnover {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Turnover {
    fn new(config: &Config) -> Turnover {
        let min = config.supersede_after;
        Turnover { min, max: config.reconnect_max.max(min), next: min }
    }

    fn allows(&self, age: Duration) -> bool {
        age >= self.next
    }

    fn superseded(&mut self, age: Duration) {
        self.next = if age > self.max { self.min } else { (self.next * 2).min(self.max) };
    }
}

/// A connection whose hello was good in both directions, or is about to be.
struct Candidate {
    connection: quinn::Connection,
    direction: Direction,
    process: u64,
    /// Where to answer the other side's hello, if it dialled.
    answer: Option<quinn::SendStream>,
}

type Dial = Pin<Box<dyn Future<Output = Result<Candidate, ConnectError>> + Send>>;

/// The task of one link.
pub(crate) struct Link {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    accepted: mpsc::Receiver<Accepted>,
    bans: watch::Receiver<Option<Ban>>,
    stop: watch::Receiver<bool>,
    session: Option<Session>,
    dial: Option<Dial>,
    /// Whether the dial under way has sent its hello, so that the other side may have taken it.
    said_hello: Arc<AtomicBool>,
    backoff: Backoff,
    turnover: Turnover,
    next_dial: Instant,
}

/// The result of an optional future; never, if there is none.
async fn of<T>(future: Option<impl Future<Output = T>>) -> T {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

impl Link {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        peer: &Arc<Peer>,
        accepted: mpsc::Receiver<Accepted>,
        stop: watch::Receiver<bool>,
    ) -> Link {
        let now = Instant::now();
        // The higher index gives the lower one, whose dial would win, a little time.
        let head_start = if shared.me < peer.index { Duration::ZERO } else { shared.config.reconnect_min };
        Link {
            shared: Arc::clone(shared),
            peer: Arc::clone(peer),
            accepted,
            bans: peer.ban.subscribe(),
            stop,
            session: None,
            dial: None,
            said_hello: Arc::default(),
            backoff: Backoff::new(&shared.config),
            turnover: Turnover::new(&shared.config),
            next_dial: now + head_start,
        }
    }

    /// Keeps the link until told to stop.
    pub(crate) async fn run(mut self) {
        loop {
            let may_dial = self.session.is_none() && self.dial.is_none() && !self.peer.addresses.is_empty();
            tokio::select! {
                biased; // a node that stops reports nothing more; the rest is in order of weight
                () = stopped(&mut self.stop) => break,
                Ok(()) = self.bans.changed() => self.banned().await,
                reason = of(self.session.as_mut().map(Session::ended)) => self.down(reason).await,
                Some(accepted) = self.accepted.recv() => {
                    self.consider(Candidate {
                        connection: accepted.connection,
                        direction: Direction::Accepted,
                        process: accepted.process,
                        answer: Some(accepted.answer),
                    }).await;
                }
                dialled = of(self.dial.as_mut()) => {
                    self.dial = None;
                    match dialled {
                        Ok(candidate) => self.consider(candidate).await,
                        Err(error) => self.dial_failed(&error),
                    }
                }
                () = tokio::time::sleep_until(self.next_dial.into()), if may_dial => {
                    self.shared.counters.dials.add(1);
                    self.said_hello = Arc::default();
                    let dial = dial(Arc::clone(&self.shared), Arc::clone(&self.peer), Arc::clone(&self.said_hello));
                    self.dial = Some(Box::pin(dial));
                }
            }
        }
        self.dial = None;
        if let Some(session) = self.session.take() {
            close(&session.connection, CloseCode::Shutdown, "");
            session.stop().await;
        }
        self.forget_connection();
    }

    fn dial_failed(&mut self, error: &ConnectError) {
        self.shared.counters.dials_failed.add(1);
        tracing::debug!(peer = %self.peer.index, %error, "dial failed");
        self.peer.failed(error.to_string());
        self.next_dial = Instant::now() + self.backoff.wait();
    }

    fn ban(&self) -> Option<Ban> {
        self.bans.borrow().clone().filter(|ban| ban.until > Instant::now())
    }

    async fn banned(&mut self) {
        let Some(ban) = self.bans.borrow_and_update().clone() else { return };
        tracing::warn!(peer = %self.peer.index, reason = %ban.reason, "peer disconnected on request");
        self.dial = None;
        self.next_dial = ban.until;
        self.end_session(CloseCode::Banned, ban.reason).await;
    }

    /// Whether `candidate` takes the place of the present connection; see the top of this file.
    fn supersedes(&self, candidate: &Candidate, present: &Session) -> bool {
        let lower_dials = match candidate.direction {
            Direction::Dialled => self.shared.me < self.peer.index,
            Direction::Accepted => self.peer.index < self.shared.me,
        };
        candidate.process != present.process || candidate.direction == present.direction || lower_dials
    }

    /// Why `candidate` does not take the place of the present connection, if so.
    fn refusal(&self, candidate: &Candidate, present: &Session) -> Option<(CloseCode, &'static str)> {
        if !self.supersedes(candidate, present) {
            return Some((CloseCode::Duplicate, ""));
        }
        let crosses = candidate.process == present.process && candidate.direction != present.direction;
        let dialled_again = candidate.direction == Direction::Accepted && !crosses;
        if dialled_again && !self.turnover.allows(self.age()) {
            return Some((CloseCode::TooManyConnections, TOO_SOON));
        }
        None
    }

    /// How long the present connection has lasted.
    fn age(&self) -> Duration {
        self.peer.up().as_ref().map_or(Duration::ZERO, |(_, since)| since.elapsed())
    }

    async fn consider(&mut self, mut candidate: Candidate) {
        if let Some(ban) = self.ban() {
            self.shared.counters.hellos_refused.add(1);
            return close(&candidate.connection, CloseCode::Banned, &ban.reason);
        }
        if candidate.connection.close_reason().is_some() {
            // Gone while it waited here: the other side has decided otherwise.
            self.next_dial = Instant::now() + self.backoff.wait();
            return;
        }
        let refusal = self.session.as_ref().and_then(|present| self.refusal(&candidate, present));
        if let Some((code, text)) = refusal {
            self.shared.counters.duplicates.add(1);
            return close(&candidate.connection, code, text);
        }
        if let Some(answer) = candidate.answer.as_mut() {
            admit(&candidate.connection);
            if !answer_hello(&self.shared, answer).await {
                return close(&candidate.connection, CloseCode::HelloTimeout, "");
            }
            candidate.answer = None;
        }
        if self.peer.index < self.shared.me || !self.said_hello.load(Ordering::Relaxed) {
            self.dial = None; // it would lose, or is not known there
        }
        if let Some(present) = &self.session {
            self.shared.counters.superseded.add(1);
            if candidate.direction == Direction::Accepted {
                self.turnover.superseded(self.age());
            }
            if present.process != candidate.process {
                tracing::info!(peer = %self.peer.index, address = %candidate.connection.remote_address(),
                    "the peer restarted, or its key is used in two places; the newer connection stays");
            }
            self.end_session(CloseCode::Superseded, String::new()).await;
        }
        self.up(candidate).await;
    }

    async fn up(&mut self, candidate: Candidate) {
        let address = canonical(candidate.connection.remote_address());
        tracing::info!(peer = %self.peer.index, %address, direction = ?candidate.direction, "peer up");
        self.shared.gate.seen(self.peer.index, address.ip());
        self.peer.connects.add(1);
        *self.peer.up() = Some((candidate.connection.clone(), Instant::now()));
        for lane in Lane::ALL {
            self.peer.queue(lane).open();
        }
        self.announce(Event::PeerUp { peer: self.peer.index, address }).await;
        let Candidate { connection, direction, process, answer: _ } = candidate;
        self.session = Some(Session::start(&self.shared, &self.peer, connection, direction, process));
    }

    async fn end_session(&mut self, code: CloseCode, text: String) {
        if let Some(session) = &self.session {
            close(&session.connection, code, &text);
            self.down(DownReason::Here { code, text }).await;
        }
    }

    async fn down(&mut self, reason: DownReason) {
        if let Some(session) = self.session.take() {
            session.stop().await;
        }
        let lasted = self.forget_connection();
        tracing::info!(peer = %self.peer.index, %reason, "peer down");
        self.peer.failed(reason.to_string());
        self.announce(Event::PeerDown { peer: self.peer.index, reason }).await;
        // A connection that did not last says nothing about the next; only one that did starts afresh.
        if lasted > self.shared.config.reconnect_max {
            self.backoff.reset();
        }
        self.next_dial = self.next_dial.max(Instant::now() + self.backoff.wait());
    }

    /// Closes the queues; says how long the connection lasted.
    fn forget_connection(&mut self) -> Duration {
        for lane in Lane::ALL {
            let lost = self.peer.queue(lane).close();
            self.peer.traffic(lane).dropped(lost);
            self.shared.counters.frames_dropped.add(lost as u64);
        }
        self.peer.up().take().map_or(Duration::ZERO, |(_, since)| since.elapsed())
    }

    /// Tells the application, unless the node stops first or nobody listens any more.
    async fn announce(&mut self, event: Event) {
        tokio::select! {
            biased;
            () = stopped(&mut self.stop) => {}
            _ = self.shared.outlets.lane(Lane::Votes).send(event) => {}
        }
    }
}

/// Raises QUIC's limits from those of a stranger to those of a validator: one stream per lane.
fn admit(connection: &quinn::Connection) {
    connection.set_max_concurrent_bi_streams(quinn::VarInt::from_u32(0));
    connection.set_max_concurrent_uni_streams(quinn::VarInt::from_u32(LANES));
    connection.set_receive_window(quinn::VarInt::from_u32(PEER_WINDOW_BYTES));
}

/// Told to whoever dials again too soon.
const TOO_SOON: &str = "the present connection is too young to be replaced; dial again in a second";

/// How many streams a validator may open.
const LANES: u32 = 3;

/// Tries the peer's addresses in turn.
async fn dial(
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    said_hello: Arc<AtomicBool>,
) -> Result<Candidate, ConnectError> {
    let dialler = Dialler {
        endpoint: &shared.endpoint,
        identity: &shared.identity,
        transport: transport(Tuning::of(&shared.config), 0, LANES, PEER_WINDOW_BYTES),
        hello: shared.hello(),
        said_hello,
        timeout: shared.config.handshake_timeout,
    };
    let mut failure = ConnectError::NoAddress { address: String::new() };
    for address in &peer.addresses {
        match dialler.dial(address, peer.key).await {
            Ok((connection, hello)) => match hello.sender {
                Sender::Validator { index, process } if index == peer.index => {
                    return Ok(Candidate {
                        connection,
                        direction: Direction::Dialled,
                        process,
                        answer: None,
                    });
                }
                _ => {
                    let address = canonical(connection.remote_address());
                    let error = HelloError::WrongIdentity;
                    close(&connection, error.code(), &error.to_string());
                    failure = ConnectError::BadHello { address, error };
                }
            },
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_its_own_place_again_and_again_has_to_wait_for_longer() {
        let mut config = Config::new(([127, 0, 0, 1], 0).into());
        config.supersede_after = Duration::from_secs(1);
        config.reconnect_max = Duration::from_secs(5);
        let mut turnover = Turnover::new(&config);
        for seconds in [1, 2, 4, 5, 5, 5] {
            let age = Duration::from_secs(seconds);
            assert!(turnover.allows(age) && !turnover.allows(age - Duration::from_millis(1)), "{seconds} s");
            turnover.superseded(age);
        }
        turnover.superseded(Duration::from_secs(6));
        assert!(turnover.allows(Duration::from_secs(1)), "one has lasted");
    }

    #[test]
    fn waits_double_to_a_cap_and_vary() {
        let mut config = Config::new(([127, 0, 0, 1], 0).into());
        config.reconnect_min = Duration::from_millis(100);
        config.reconnect_max = Duration::from_secs(5);
        let mut backoff = Backoff::new(&config);
        for full_ms in [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000] {
            let wait = backoff.wait();
            let full = Duration::from_millis(full_ms);
            assert!(wait >= full / 2 && wait <= full, "{wait:?} of {full:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= Duration::from_millis(100));
    }
}
