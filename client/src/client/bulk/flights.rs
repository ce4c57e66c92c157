//! Transactions without a receipt, and to whom they go next. No clock and no network of its own.

use super::lane::Lane;
use crate::client::submit::{Refused, Signed, judge_refusal};
use crate::protocol::{MAX_SUBMISSION, SubmitError};
use quorate_types::hash::TransactionId;
use quorate_types::ids::Timestamp;
use quorate_types::keys::PublicKey;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// The most of one submission: small enough that a lane's first transaction need not wait for the
/// last to be written, large enough that the frame does not count.
const SUBMISSION_TRANSACTIONS: usize = 256;
const SUBMISSION_BYTES: usize = 512 << 10;
const _: () = assert!(SUBMISSION_TRANSACTIONS <= MAX_SUBMISSION);

/// Fewer are not shared out: each share is a frame, and the receiver's signatures are cheaper together.
const LEAST_SHARE: usize = 16;

/// The least time between two rounds of sending, unless a whole submission waits. What trickles in would else
/// be a frame for each transaction, and a frame costs both ends as much as verifying several.
const GATHERING: Duration = Duration::from_millis(5);

/// How long to wait when a validator has no room.
const RETRY: Duration = Duration::from_millis(250);

/// How long after expiry, by this machine's clock, the last look-up is made.
const GRACE_MS: u64 = 3_000;

struct Flight {
    line: u64,
    signed: Signed,
    started: Instant,
    /// Where it was last sent.
    lane: Option<usize>,
    /// Nothing happens to it before.
    patience: Instant,
    /// What each lane that refused it said last.
    refusals: BTreeMap<usize, SubmitError>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the queue to be sent.
    Queued,
    /// Sent; waiting for the answer, or for another try.
    Sent,
    /// Its receipt is being looked up.
    LookedUp,
}

/// What to do about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing now.
    Wait,
    /// Ask for its receipt.
    LookUp,
    /// Report it.
    GiveUp,
}

/// All flights of a run.
pub(super) struct Flights {
    flights: HashMap<TransactionId, Flight>,
    /// To be sent, in order.
    queue: VecDeque<TransactionId>,
    bytes: usize,
    turn: usize,
    /// When something was last sent.
    sent_at: Option<Instant>,
    /// How long a lane may keep one without an answer before another gets it too.
    patience: Duration,
}

impl Flights {
    pub(super) fn new(patience: Duration) -> Flights {
        Flights {
            flights: HashMap::new(),
            queue: VecDeque::new(),
            bytes: 0,
            turn: 0,
            sent_at: None,
            patience,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.flights.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn add(&mut self, signed: impl IntoIterator<Item = (u64, Signed)>, now: Instant) {
        for (line, signed) in signed {
            let id = signed.id();
            self.bytes += signed.bytes().len();
            self.queue.push_back(id);
            let flight = Flight {
                line,
                signed,
                started: now,
                lane: None,
                patience: now,
                refusals: BTreeMap::new(),
                state: State::Queued,
            };
            if let Some(same) = self.flights.insert(id, flight) {
                self.bytes -= same.signed.bytes().len();
            }
        }
    }

    pub(super) fn started(&self, id: &TransactionId) -> Option<Instant> {
        self.flights.get(id).map(|flight| flight.started)
    }

    pub(super) fn remove(&mut self, id: &TransactionId) -> Option<u64> {
        let flight = self.flights.remove(id)?;
        self.bytes -= flight.signed.bytes().len();
        Some(flight.line)
    }

    /// The lanes that refused it, and what each said last.
    pub(super) fn refusals(&self, id: &TransactionId) -> impl Iterator<Item = (usize, &SubmitError)> {
        let refusals = self.flights.get(id).map(|flight| &flight.refusals);
        refusals.into_iter().flatten().map(|(lane, reason)| (*lane, reason))
    }

    pub(super) fn is_expired(&self, id: &TransactionId, clock: Timestamp) -> bool {
        self.flights.get(id).is_some_and(|flight| flight.is_expired(clock))
    }

    /// Until when what is queued should wait for more, if it should.
    pub(super) fn gathers_until(&self, now: Instant) -> Option<Instant> {
        let some = (1..SUBMISSION_TRANSACTIONS).contains(&self.queue.len());
        self.sent_at.map(|at| at + GATHERING).filter(|until| some && now < *until)
    }

    /// Sends what is queued, in turn to the lanes that are up, to each its share: if one validator had all
    /// of it and died, the others would know of nothing that it should have proposed.
    pub(super) fn send(&mut self, lanes: &mut [Lane], now: Instant) {
        let up = lanes.iter().filter(|lane| lane.up).count().max(1);
        let share = self.queue.len().div_ceil(up).clamp(LEAST_SHARE, SUBMISSION_TRANSACTIONS);
        while !self.queue.is_empty() {
            let Some(index) = self.next_lane(lanes) else { return };
            let mut batch = Vec::new();
            let mut bytes = 0;
            while let Some(id) = self.queue.front() {
                let flight = self.flights.get_mut(id).filter(|flight| flight.state == State::Queued);
                let Some(flight) = flight else {
                    // It has landed meanwhile.
                    self.queue.pop_front();
                    continue;
                };
                let length = flight.signed.bytes().len();
                let full = batch.len() >= share || bytes + length > SUBMISSION_BYTES;
                if full && !batch.is_empty() {
                    break;
                }
                bytes += length;
                flight.state = State::Sent;
                flight.lane = Some(index);
                flight.patience = now + self.patience;
                batch.push(flight.signed.clone());
                self.queue.pop_front();
            }
            if batch.is_empty() {
                return;
            }
            self.sent_at = Some(now);
            if !lanes[index].give(batch) {
                // It is about to say that it is down; then these are queued again.
                lanes[index].up = false;
                self.lane_down(index);
            }
        }
    }

    fn next_lane(&mut self, lanes: &[Lane]) -> Option<usize> {
        let count = lanes.len();
        let found = (0..count).map(|step| (self.turn + step) % count).find(|index| lanes[*index].up)?;
        self.turn = (found + 1) % count;
        Some(found)
    }

    fn queue_again(&mut self, id: TransactionId) {
        if let Some(flight) = self.flights.get_mut(&id)
            && flight.state == State::Sent
        {
            flight.state = State::Queued;
            self.queue.push_back(id);
        }
    }

    /// Whether anything was sent to this lane and not answered.
    pub(super) fn any_on(&self, lane: usize) -> bool {
        self.flights.values().any(|flight| flight.lane == Some(lane) && flight.state == State::Sent)
    }

    /// What was sent to this lane goes to others.
    pub(super) fn lane_down(&mut self, lane: usize) {
        let of_lane = |(id, flight): (&TransactionId, &Flight)| {
            (flight.lane == Some(lane) && flight.state == State::Sent).then_some(*id)
        };
        let stranded: Vec<TransactionId> = self.flights.iter().filter_map(of_lane).collect();
        for id in stranded {
            self.queue_again(id);
        }
    }

    /// Takes note of a refusal. `needed` distinct validators must refuse for good before it is believed.
    pub(super) fn refused(
        &mut self,
        id: TransactionId,
        lane: usize,
        reason: &SubmitError,
        needed: usize,
        lanes: &[Lane],
        now: Instant,
    ) -> Step {
        let Some(flight) = self.flights.get_mut(&id) else { return Step::Wait };
        let again = flight.refusals.contains_key(&lane);
        // What it refused for good, it did, whatever it says afterwards.
        if flight.refusals.get(&lane).is_none_or(|before| judge_refusal(before) != Refused::ForGood) {
            flight.refusals.insert(lane, reason.clone());
        }
        match judge_refusal(reason) {
            Refused::Known | Refused::Over => {
                // Committed, or pending elsewhere: in both cases the receipt will tell.
                flight.patience = now + RETRY;
                self.look_up_next(id)
            }
            Refused::ForNow => {
                flight.patience = now + RETRY;
                Step::Wait
            }
            Refused::ForGood => {
                let for_good = |reason: &SubmitError| judge_refusal(reason) == Refused::ForGood;
                let by = flight.refusals.iter().filter(|(_, reason)| for_good(reason));
                let by: BTreeSet<PublicKey> = by.map(|(lane, _)| lanes[*lane].validator.identity()).collect();
                if by.len() >= needed {
                    return Step::GiveUp;
                }
                let others = lanes.iter().enumerate();
                let others = others.filter(|(index, lane)| lane.up && !flight.refusals.contains_key(index));
                match others.count() {
                    // All who can be asked have refused. Others may come up before its time is over.
                    0 => flight.patience = now + 4 * RETRY,
                    // It came back to the one that refused it.
                    _ if again => flight.patience = now + RETRY,
                    _ => self.queue_again(id),
                }
                Step::Wait
            }
        }
    }

    fn look_up_next(&mut self, id: TransactionId) -> Step {
        match self.flights.get_mut(&id) {
            Some(flight) if flight.state != State::LookedUp => {
                flight.state = State::LookedUp;
                Step::LookUp
            }
            _ => Step::Wait,
        }
    }

    /// A look-up found nothing yet, or there was no room for it.
    pub(super) fn look_up_later(&mut self, id: TransactionId, now: Instant) {
        if let Some(flight) = self.flights.get_mut(&id) {
            flight.state = State::Sent;
            flight.patience = now + 4 * RETRY;
        }
    }

    /// Queues again what has waited for too long; returns what has expired and must be looked up, at
    /// most `room`.
    pub(super) fn overdue(&mut self, now: Instant, clock: Timestamp, room: usize) -> Vec<TransactionId> {
        let mut expired = Vec::new();
        let mut late = Vec::new();
        for (id, flight) in &mut self.flights {
            if flight.state == State::LookedUp {
                continue;
            }
            if flight.is_expired(clock) {
                if expired.len() < room && flight.patience <= now {
                    flight.state = State::LookedUp;
                    expired.push(*id);
                }
            } else if flight.state == State::Sent && flight.patience <= now {
                late.push(*id);
            }
        }
        for id in late {
            self.queue_again(id);
        }
        expired
    }
}

impl Flight {
    fn is_expired(&self, clock: Timestamp) -> bool {
        clock > self.signed.expires_at().plus_ms(GRACE_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_types::hash::Hash;

    #[test]
    fn what_trickles_in_is_gathered_and_the_rest_is_not() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut flights = Flights::new(Duration::from_secs(1));
        let queue = |flights: &mut Flights, count: usize| {
            flights.queue = std::iter::repeat_n(TransactionId(Hash([1; 32])), count).collect();
        };
        queue(&mut flights, 1);
        assert_eq!(flights.gathers_until(start), None, "nothing was sent before");
        flights.sent_at = Some(start);
        assert_eq!(flights.gathers_until(after(1)), Some(start + GATHERING));
        assert_eq!(flights.gathers_until(start + GATHERING), None, "not for longer");
        queue(&mut flights, SUBMISSION_TRANSACTIONS - 1);
        assert_eq!(flights.gathers_until(after(1)), Some(start + GATHERING));
        queue(&mut flights, SUBMISSION_TRANSACTIONS);
        assert_eq!(flights.gathers_until(after(1)), None, "a whole submission waits for no more");
        queue(&mut flights, 0);
        assert_eq!(flights.gathers_until(after(1)), None, "nobody is woken for nothing");
    }
}
