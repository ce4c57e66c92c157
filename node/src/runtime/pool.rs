//! The verify pool: threads that decode and verify what comes from outside, in batches.
//!
//! Nothing unverified reaches the core, and no signature is verified on its thread. One thread is
//! reserved for votes, so that agreement never waits behind a batch of a thousand transactions; the
//! others take the most urgent class first, but for one batch in [`TURNS`].
//!
//! Batches of one class may be verified at once by several threads; their results are handed to the
//! core in the order in which the bytes arrived. So the messages of one sender keep their order, and a
//! peer's going comes after its last message.
//!
//! A signature alone takes three times what one of a hundred takes, and every batch is a step of the core
//! and a frame to each peer. So transactions that come thick and fast are taken [`APART`] from each other in
//! time, or when there is a batch that is worth it; the first after a pause, those that usually come [`SELDOM`]
//! or further from each other, and all while a proposal waits for some of them, are taken at once. While others
//! wait in line before them, they are taken when a batch is full, or [`APART_IN_LINE`]. Those of
//! clients and those of peers are verified together, whichever of them are due: most are signed by the same
//! few members, and each member costs a batch as much as two signatures.
//!
//! A leader that names bodies which never come makes its peers verify without waiting for batches until they
//! leave its view: at worst one signature at a time, which is what the pool does anyway when they come seldom.

use super::Endings;
use super::clock::Clock;
use super::faults::Faults;
use super::mailbox::{Claim, Class, Mailbox};
use crate::clients::Tickets;
use crate::core::api::{Demand, Input};
use crate::core::wire;
use crate::metrics::Metrics;
use bytes::Bytes;
use quorate_client::protocol::SubmitError;
use quorate_pbft::Committee;
use quorate_transport::Lane;
use quorate_types::ids::ValidatorIndex;
use quorate_types::memory::remember_signatures;
use quorate_types::transaction::{TransactionError, VerifiedTransaction, verify_transactions};
use rand::SeedableRng;
use rand::TryRng;
use rand::rngs::SysRng;
use rand_chacha::ChaCha20Rng;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Valid votes that the thread for votes remembers: those of some hundred blocks among 31 validators. At
/// most twice as many take some 4 MB.
const VOTES_REMEMBERED: usize = 16_384;

/// Work that is verified together, each piece with its claim on room.
type Batch = Vec<(Work, Claim)>;

/// Signatures of one class in a batch, as guessed: above that a batch is hardly cheaper for each, and only
/// later done. Clients and peers together may fill two.
const BATCH_SIGNATURES: usize = 1024;

/// The least time between two batches of transactions, unless there are [`ENOUGH`].
const APART: Duration = Duration::from_millis(10);

/// Signatures that come this far from each other are not worth waiting for: nearly all would be taken alone
/// all the same, and each of them later.
const SELDOM: Duration = Duration::from_millis(2);

/// Signatures that are worth a batch at any time.
const ENOUGH: usize = 128;

/// The least time between two batches of transactions, unless one is full, while more than a few wait for a block.
/// What is verified later then commits no later, and a signature in a larger batch costs less: of some
/// five hundred a tenth less than of half as many.
const APART_IN_LINE: Duration = Duration::from_millis(50);

/// Of so many batches one is of the least urgent class that waits.
const TURNS: u32 = 8;

/// Votes in the queue from which on the thread for votes is not left alone with them.
const MANY_VOTES: usize = 8;

/// Encoded bytes that a signature is guessed to come with, to size a batch before decoding it. Of the
/// shortest transactions a batch holds some three times as many as guessed.
const BYTES_PER_SIGNATURE: usize = 512;

/// Something to verify, or to pass on in its place in the order.
#[derive(Debug)]
pub(crate) enum Work {
    /// A frame of a peer.
    Frame {
        /// Whose connection it came by.
        from: ValidatorIndex,
        /// On which lane.
        lane: Lane,
        /// The bytes.
        frame: Bytes,
    },
    /// A peer came or went: nothing to verify.
    Pass(Input),
    /// Transactions that a client submits.
    Submission(crate::clients::Submitted),
}

impl Work {
    fn guessed_signatures(&self) -> usize {
        let bytes = match self {
            Work::Frame { frame, .. } => frame.len(),
            Work::Pass(_) => 0,
            Work::Submission(submitted) => return submitted.transactions.len().max(1),
        };
        1 + bytes / BYTES_PER_SIGNATURE
    }
}

/// One class's queue, and the batches of it that are under way.
#[derive(Default)]
struct Line {
    queue: VecDeque<(Work, Claim)>,
    /// Signatures that these are guessed to have.
    signatures: usize,
    /// When a batch was last taken; none was, at first.
    taken_at: Option<Duration>,
    /// When work last came, and how far from each other its signatures usually do: smoothed.
    came_at: Duration,
    usually_apart: Duration,
    /// The number of the next batch to be taken.
    taken: u64,
    /// The number of the next batch to be handed on.
    delivered: u64,
    /// Finished batches that wait for one before them. At most one for each thread.
    finished: BTreeMap<u64, Vec<(Input, Claim)>>,
}

impl Line {
    /// Queues work.
    fn put(&mut self, work: Work, claim: Claim, now: Duration) {
        let signatures = work.guessed_signatures();
        self.signatures += signatures;
        self.queue.push_back((work, claim));
        // However long a pause was, it says little of what comes after it.
        let pause = now.saturating_sub(self.came_at).min(2 * APART);
        let apart = pause / u32::try_from(signatures).unwrap_or(u32::MAX);
        self.usually_apart = (self.usually_apart * 7 + apart) / 8;
        self.came_at = now;
    }

    /// When a batch of a stream of transactions may be taken that is `apart` from the last one; `None` if they come
    /// seldom, or never did.
    fn next_of_stream(&self, class: Class, apart: Duration) -> Option<Duration> {
        let streams = match class {
            Class::Votes | Class::Sync => false,
            Class::Clients | Class::Gossip => self.usually_apart < SELDOM,
        };
        self.taken_at.filter(|_| streams).map(|at| at + apart)
    }

    /// The next batch, and its number.
    fn take(&mut self, now: Duration) -> (u64, Batch) {
        let mut batch = Vec::new();
        let mut signatures = 0;
        while signatures < BATCH_SIGNATURES
            && let Some((work, claim)) = self.queue.pop_front()
        {
            signatures += work.guessed_signatures();
            batch.push((work, claim));
        }
        self.signatures -= signatures;
        self.taken_at = Some(now);
        self.taken += 1;
        (self.taken - 1, batch)
    }
}

#[derive(Default)]
struct Lines {
    lines: [Line; 4],
    /// Batches taken since the last [`TURNS`]th.
    turns: u32,
    /// When a thread will look for transactions, told or not.
    watched: Option<Duration>,
    /// How soon transactions are wanted.
    demand: Demand,
    stop: bool,
}

impl Lines {
    /// The least time between two batches of a stream of transactions, and how many signatures are worth one at any
    /// time.
    fn batching(&self) -> (Duration, usize) {
        match self.demand {
            Demand::Missing => (Duration::ZERO, usize::MAX),
            Demand::Usual => (APART, ENOUGH),
            Demand::Satisfied => (APART_IN_LINE, BATCH_SIGNATURES),
        }
    }

    /// From when on a batch of this class may be taken; `None` if there is nothing.
    fn due(&self, class: Class) -> Option<Duration> {
        let line = &self.lines[class.index()];
        if line.queue.is_empty() {
            return None;
        }
        let (apart, enough) = self.batching();
        let waits = line.signatures < enough;
        Some(line.next_of_stream(class, apart).filter(|_| waits).unwrap_or_default())
    }

    /// When to look for a batch of this class, if none is due at the moment: for one of a stream when it will be,
    /// so that nobody has to be told of it.
    fn look(&self, class: Class, now: Duration) -> Option<Duration> {
        let (apart, _) = self.batching();
        let expected = || self.lines[class.index()].next_of_stream(class, apart).filter(|at| *at > now);
        self.due(class).or_else(expected)
    }

    /// Of these classes, the most urgent first, one of which a batch is due: as a rule the first, and one time in
    /// [`TURNS`] the last, so that what peers send of one class never keeps all others waiting.
    fn class_due(&mut self, classes: &[Class], now: Duration) -> Option<Class> {
        let is_due = |class: &Class| self.due(*class).is_some_and(|due| due <= now);
        let mut due = classes.iter().copied().filter(is_due);
        let chosen = if (self.turns + 1).is_multiple_of(TURNS) { due.next_back() } else { due.next() }?;
        self.turns = (self.turns + 1) % TURNS;
        Some(chosen)
    }

    /// The next batch of this class, and with transactions of clients or peers those of the others.
    fn take(&mut self, class: Class, now: Duration) -> Vec<Taken> {
        let together: &[Class] = match class {
            Class::Votes => &[Class::Votes],
            Class::Sync => &[Class::Sync],
            Class::Clients | Class::Gossip => &[Class::Clients, Class::Gossip],
        };
        let mut taken = Vec::with_capacity(together.len());
        for class in together {
            let line = &mut self.lines[class.index()];
            if !line.queue.is_empty() {
                let (number, batch) = line.take(now);
                taken.push(Taken { class: *class, number, batch });
            }
        }
        taken
    }
}

/// A batch, and its place in the order of its class.
struct Taken {
    class: Class,
    number: u64,
    batch: Batch,
}

struct Shared {
    lines: Mutex<Lines>,
    /// Told to the thread for votes.
    voted: Condvar,
    /// Told to the others.
    arrived: Condvar,
    committee: Arc<Committee>,
    repeats: wire::Repeats,
    mailbox: Arc<Mailbox>,
    tickets: Arc<Tickets>,
    faults: Arc<Faults>,
    metrics: Arc<Metrics>,
    clock: Clock,
}

/// What the pool works with.
pub(crate) struct PoolParts {
    /// Whose signatures count.
    pub(crate) committee: Arc<Committee>,
    /// Where the core hears what was verified.
    pub(crate) mailbox: Arc<Mailbox>,
    /// Who waits for the core's verdicts.
    pub(crate) tickets: Arc<Tickets>,
    /// Where bad frames are reported.
    pub(crate) faults: Arc<Faults>,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
    /// What it reads the time from.
    pub(crate) clock: Clock,
}

/// The pool. Dropping it does not stop it; [`Pool::stop`] does.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// A handle to hand work in.
#[derive(Clone)]
pub(crate) struct PoolSender(Arc<Shared>);

impl Pool {
    /// Starts `threads` threads, and one for votes alone. Each tells when it ends.
    pub(crate) fn start(threads: usize, parts: PoolParts, endings: &Endings) -> io::Result<Pool> {
        let PoolParts { committee, mailbox, tickets, faults, metrics, clock } = parts;
        let shared = Arc::new(Shared {
            lines: Mutex::default(),
            voted: Condvar::new(),
            arrived: Condvar::new(),
            committee,
            repeats: wire::Repeats::default(),
            mailbox,
            tickets,
            faults,
            metrics,
            clock,
        });
        let mut pool = Pool { shared, threads: Vec::new() };
        for number in 0..=threads {
            let shared = Arc::clone(&pool.shared);
            // Batch verification needs coefficients that no sender can foresee.
            let mut seed = [0u8; 32];
            SysRng.try_fill_bytes(&mut seed).map_err(|error| io::Error::other(error.to_string()))?;
            let rng = ChaCha20Rng::from_seed(seed);
            let only_votes = number == 0;
            let name = if only_votes { "verify-votes".to_owned() } else { format!("verify-{number}") };
            // What the thread was at would be missing in the order of its class, and all after it wait.
            let ending = endings.of(&name);
            let run = move || {
                let _ending = ending;
                shared.run(only_votes, rng);
            };
            pool.threads.push(std::thread::Builder::new().name(name).spawn(run)?);
        }
        Ok(pool)
    }

    pub(crate) fn sender(&self) -> PoolSender {
        PoolSender(Arc::clone(&self.shared))
    }

    /// Stops the threads after what they are at; the rest is dropped. Names one that has panicked.
    pub(crate) fn stop(self) -> Result<(), String> {
        self.shared.lines().stop = true;
        self.shared.voted.notify_all();
        self.shared.arrived.notify_all();
        let mut panicked = None;
        for thread in self.threads {
            let name = thread.thread().name().unwrap_or("verify").to_owned();
            if thread.join().is_err() {
                panicked = Some(name);
            }
        }
        panicked.map_or(Ok(()), Err)
    }
}

impl PoolSender {
    /// Hands work in. The claim bounds how much there can be.
    pub(crate) fn push(&self, class: Class, work: Work, claim: Claim) {
        let now = self.0.clock.monotonic();
        let mut lines = self.0.lines();
        let (_, enough) = lines.batching();
        let line = &mut lines.lines[class.index()];
        line.put(work, claim, now);
        let (queued, enough) = (line.queue.len(), line.signatures >= enough);
        let watched = lines.watched.is_some_and(|at| lines.due(class) >= Some(at));
        drop(lines);
        if class == Class::Votes {
            self.0.voted.notify_one();
        }
        // Of what is in a queue already, a thread knows: it is at work, or waits until that is due.
        let news = match class {
            Class::Votes => queued >= MANY_VOTES,
            Class::Sync => true,
            Class::Clients | Class::Gossip => enough || (queued == 1 && !watched),
        };
        if news {
            self.0.arrived.notify_one();
        }
    }

    /// Tells how soon transactions are wanted.
    pub(crate) fn demand(&self, demand: Demand) {
        self.0.lines().demand = demand;
        if demand != Demand::Satisfied {
            // Who waits for a batch may have to wait no longer.
            self.0.arrived.notify_one();
        }
    }
}

impl Shared {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        // Nothing panics while holding the lock, and the queues are whole between any two statements.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, only_votes: bool, mut rng: ChaCha20Rng) {
        if only_votes {
            remember_signatures(VOTES_REMEMBERED);
        }
        while let Some(taken) = self.take(only_votes) {
            self.verify(taken, &mut rng);
        }
    }

    /// What to verify next; `None` when the pool stops.
    fn take(&self, only_votes: bool) -> Option<Vec<Taken>> {
        let classes = if only_votes { &Class::ALL[..1] } else { &Class::ALL[..] };
        let told = if only_votes { &self.voted } else { &self.arrived };
        let mut lines = self.lines();
        loop {
            if lines.stop {
                return None;
            }
            let now = self.clock.monotonic();
            if let Some(class) = lines.class_due(classes, now) {
                let taken = lines.take(class, now);
                if !only_votes && classes.iter().any(|class| lines.due(*class).is_some()) {
                    // Someone else is to wait for what is left while this one is at work.
                    self.arrived.notify_one();
                }
                return Some(taken);
            }
            lines = match classes.iter().filter_map(|class| lines.look(*class, now)).min() {
                Some(next) => {
                    lines.watched = Some(lines.watched.map_or(next, |sooner| sooner.min(next)));
                    let waited = told.wait_timeout(lines, next.saturating_sub(now));
                    let mut lines = waited.unwrap_or_else(PoisonError::into_inner).0;
                    lines.watched = None;
                    lines
                }
                None => told.wait(lines).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn deliver(&self, class: Class, number: u64, results: Vec<(Input, Claim)>) {
        let mut lines = self.lines();
        let line = &mut lines.lines[class.index()];
        line.finished.insert(number, results);
        // Pushed under the lock: two threads that deliver must not overtake each other.
        while let Some(results) = line.finished.remove(&line.delivered) {
            line.delivered += 1;
            self.mailbox.push(class, results);
        }
    }

    /// Verifies and hands on, all signatures of transactions in one batch.
    fn verify(&self, taken: Vec<Taken>, rng: &mut ChaCha20Rng) {
        let started = self.clock.monotonic();
        let mut encoded = Vec::new();
        let decoded = taken.iter().map(|Taken { batch, .. }| {
            let decoded = wire::Decoded::of(&frames(batch));
            encoded.extend(decoded.transactions().cloned());
            encoded.extend(submissions(batch).flat_map(|submitted| submitted.transactions.iter().cloned()));
            decoded
        });
        let decoded: Vec<wire::Decoded> = decoded.collect();
        let mut verdicts = verify_transactions(&self.committee.chain, &encoded, rng).into_iter();
        for (Taken { class, number, batch }, decoded) in taken.into_iter().zip(decoded) {
            let results = self.results(batch, decoded, &mut verdicts);
            self.metrics.verify_seconds(class, self.clock.monotonic().saturating_sub(started));
            self.deliver(class, number, results);
        }
    }

    /// What the core gets of a batch. `verdicts` begins with those on the transactions of its frames, then
    /// of its submissions.
    fn results(
        &self,
        batch: Batch,
        decoded: wire::Decoded,
        verdicts: &mut impl Iterator<Item = Result<VerifiedTransaction, TransactionError>>,
    ) -> Vec<(Input, Claim)> {
        let mut frames = decoded.admit(&self.committee, &self.repeats, verdicts).into_iter();
        let mut results = Vec::with_capacity(batch.len());
        for (work, claim) in batch {
            match work {
                Work::Frame { from, lane, .. } => match frames.next() {
                    Some(Ok(frame)) => results.push((Input::Peer { from, frame }, claim)),
                    Some(Err(error)) => self.faults.report(from, &format!("{lane:?} frame: {error}")),
                    None => tracing::error!("a frame got no verdict, and is dropped"),
                },
                Work::Pass(input) => results.push((input, claim)),
                Work::Submission(submitted) => {
                    let verdicts = verdicts.by_ref().take(submitted.transactions.len());
                    results.extend(self.admit(submitted, verdicts).map(|input| (input, claim)));
                }
            }
        }
        results
    }

    /// Refuses what does not verify, and keeps a ticket for the rest.
    fn admit(
        &self,
        submitted: crate::clients::Submitted,
        verdicts: impl Iterator<Item = Result<VerifiedTransaction, TransactionError>>,
    ) -> Option<Input> {
        let (mut transactions, mut positions) = (Vec::new(), Vec::new());
        for (position, verdict) in (submitted.first..).zip(verdicts) {
            match verdict {
                Ok(transaction) => {
                    transactions.push(transaction);
                    positions.push(position);
                }
                Err(error) => submitted.stream.refuse(position, SubmitError::Invalid(error.to_string())),
            }
        }
        if transactions.is_empty() {
            return None;
        }
        let ticket = self.tickets.issue(submitted.stream, positions);
        Some(Input::Submit { ticket, transactions })
    }
}

/// The frames of a batch, in order.
fn frames(batch: &Batch) -> Vec<(ValidatorIndex, Lane, Bytes)> {
    let frame = |(work, _): &(Work, Claim)| match work {
        Work::Frame { from, lane, frame } => Some((*from, *lane, frame.clone())),
        Work::Pass(_) | Work::Submission(_) => None,
    };
    batch.iter().filter_map(frame).collect()
}

/// The submissions of a batch, in order.
fn submissions(batch: &Batch) -> impl Iterator<Item = &crate::clients::Submitted> {
    batch.iter().filter_map(|(work, _)| match work {
        Work::Submission(submitted) => Some(submitted),
        Work::Pass(_) | Work::Frame { .. } => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: usize) -> (Work, Claim) {
        let frame = Bytes::from(vec![0; bytes]);
        (Work::Frame { from: ValidatorIndex(1), lane: Lane::Gossip, frame }, Claim::none())
    }

    /// At one time, as in a burst.
    fn put(line: &mut Line, bytes: usize) {
        let (work, claim) = frame(bytes);
        line.put(work, claim, line.came_at);
    }

    /// To the line of a class.
    fn put_to(lines: &mut Lines, class: Class, bytes: usize) {
        put(&mut lines.lines[class.index()], bytes);
    }

    #[test]
    fn a_stream_is_taken_in_batches_and_the_first_at_once() {
        for class in [Class::Gossip, Class::Clients] {
            let mut lines = Lines::default();
            assert_eq!(lines.due(class), None);
            put_to(&mut lines, class, 100);
            assert_eq!(lines.due(class), Some(Duration::ZERO));
            let at = Duration::from_secs(7);
            assert_eq!(lines.take(class, at)[0].batch.len(), 1);
            assert_eq!(lines.due(class), None);
            assert_eq!(lines.look(class, at), Some(at + APART), "more is expected");
            assert_eq!(lines.look(class, at + APART), None, "nothing came");
            put_to(&mut lines, class, 100);
            put_to(&mut lines, class, 100);
            assert_eq!(lines.due(class), Some(at + APART));
            put_to(&mut lines, class, ENOUGH * BYTES_PER_SIGNATURE);
            assert_eq!(lines.due(class), Some(Duration::ZERO), "it is worth a batch");
            let taken = lines.take(class, at).remove(0);
            let left = lines.lines[class.index()].signatures;
            assert_eq!((taken.number, taken.batch.len(), left), (1, 3, 0));
        }
    }

    #[test]
    fn what_a_proposal_may_wait_for_waits_for_no_batch() {
        let mut lines = Lines::default();
        put_to(&mut lines, Class::Gossip, 100);
        let at = Duration::from_secs(7);
        lines.take(Class::Gossip, at);
        put_to(&mut lines, Class::Gossip, 100);
        assert_eq!(lines.due(Class::Gossip), Some(at + APART));
        lines.demand = Demand::Missing;
        assert!(lines.due(Class::Gossip) <= Some(at));
        lines.demand = Demand::Usual;
        assert_eq!(lines.due(Class::Gossip), Some(at + APART));
    }

    #[test]
    fn behind_others_in_line_a_batch_is_awaited() {
        let mut lines = Lines { demand: Demand::Satisfied, ..Lines::default() };
        put_to(&mut lines, Class::Clients, 100);
        let at = Duration::from_secs(7);
        lines.take(Class::Clients, at);
        assert_eq!(lines.look(Class::Clients, at), Some(at + APART_IN_LINE));
        put_to(&mut lines, Class::Clients, ENOUGH * BYTES_PER_SIGNATURE);
        assert_eq!(lines.due(Class::Clients), Some(at + APART_IN_LINE));
        lines.demand = Demand::Usual;
        assert_eq!(lines.due(Class::Clients), Some(Duration::ZERO));
        lines.demand = Demand::Satisfied;
        put_to(&mut lines, Class::Clients, BATCH_SIGNATURES * BYTES_PER_SIGNATURE);
        assert_eq!(lines.due(Class::Clients), Some(Duration::ZERO), "it is full");
    }

    #[test]
    fn what_comes_seldom_is_not_put_off() {
        let mut lines = Lines::default();
        let mut now = Duration::from_secs(7);
        let mut waits = |apart: Duration| -> Vec<bool> {
            let one = || {
                now += apart;
                let (work, claim) = frame(100);
                lines.lines[Class::Clients.index()].put(work, claim, now);
                let waits = lines.due(Class::Clients) > Some(now);
                lines.take(Class::Clients, now);
                let looks = lines.look(Class::Clients, now).is_some();
                assert!(looks || !waits, "nobody would look for the next one");
                waits
            };
            std::iter::repeat_with(one).take(60).collect()
        };
        assert!(!waits(SELDOM * 2)[20..].contains(&true));
        let closer = waits(SELDOM / 4);
        assert!(!closer[0] && !closer[40..].contains(&false), "{closer:?}");
        assert!(!waits(SELDOM * 2)[40..].contains(&true), "and again");
    }

    #[test]
    fn clients_and_peers_are_taken_together_and_nobody_else() {
        let mut lines = Lines::default();
        for class in Class::ALL {
            put_to(&mut lines, class, 100);
        }
        let mut taken = |class| -> Vec<Class> {
            lines.take(class, Duration::ZERO).iter().map(|taken| taken.class).collect()
        };
        assert_eq!(taken(Class::Votes), [Class::Votes]);
        assert_eq!(taken(Class::Gossip), [Class::Clients, Class::Gossip]);
        assert_eq!(taken(Class::Clients), []);
        assert_eq!(taken(Class::Sync), [Class::Sync]);
    }

    #[test]
    fn no_class_keeps_all_others_waiting() {
        let mut lines = Lines::default();
        let mut chosen = Vec::new();
        for _ in 0..2 * TURNS {
            put_to(&mut lines, Class::Sync, 100);
            put_to(&mut lines, Class::Votes, 100);
            put_to(&mut lines, Class::Clients, 100);
            let class = lines.class_due(&Class::ALL, Duration::ZERO).unwrap();
            lines.take(class, Duration::ZERO);
            chosen.push(class);
        }
        let others = chosen.iter().filter(|class| **class != Class::Votes).count();
        assert!(others == 2 && chosen.contains(&Class::Clients), "{chosen:?}");
    }

    #[test]
    fn what_agreement_waits_for_is_never_put_off() {
        for class in [Class::Votes, Class::Sync] {
            let mut lines = Lines::default();
            put_to(&mut lines, class, 100);
            lines.take(class, Duration::from_secs(7));
            assert_eq!(lines.look(class, Duration::from_secs(7)), None);
            put_to(&mut lines, class, 100);
            assert_eq!(lines.due(class), Some(Duration::ZERO));
        }
    }

    #[test]
    fn a_batch_ends_when_it_is_full() {
        let mut line = Line::default();
        for _ in 0..5 {
            put(&mut line, BATCH_SIGNATURES * BYTES_PER_SIGNATURE / 2);
        }
        let sizes: Vec<usize> = (0..3).map(|_| line.take(Duration::ZERO).1.len()).collect();
        assert_eq!((sizes, line.signatures), (vec![2, 2, 1], 0));
    }
}
