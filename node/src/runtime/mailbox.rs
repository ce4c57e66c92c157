//! What waits for the core, in the order in which it deserves attention.
//!
//! One lock, one condition variable, no polling: the core's thread sleeps until something arrives or its
//! deadline comes. Lanes keep their own order; between lanes the higher one goes first, so that bulk
//! never delays agreement; below votes, one turn in [`TURNS`] goes to the lowest.
//!
//! Each queued input carries a [`Claim`] on its lane's budget, taken before the bytes were even
//! verified and given back when the core takes the input. What is in the verify pool and what waits
//! here are thus bounded together, and a lane that is full stops being read, which the senders feel
//! through flow control.

use crate::core::api::{CoreStatus, Input};
use quorate_client::protocol::Trace;
use quorate_types::hash::TransactionId;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// A class of inputs. The order is that of priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Messages of agreement, and peers coming and going.
    Votes,
    /// Blocks and bodies that someone lacks.
    Sync,
    /// Transactions of other validators.
    Gossip,
    /// Transactions of local clients.
    Clients,
}

impl Class {
    /// All, the most urgent first.
    pub const ALL: [Class; 4] = [Class::Votes, Class::Sync, Class::Gossip, Class::Clients];

    /// Position in [`Class::ALL`].
    pub fn index(self) -> usize {
        match self {
            Class::Votes => 0,
            Class::Sync => 1,
            Class::Gossip => 2,
            Class::Clients => 3,
        }
    }

    /// For metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Class::Votes => "votes",
            Class::Sync => "sync",
            Class::Gossip => "gossip",
            Class::Clients => "clients",
        }
    }

    /// Encoded bytes that may be in the verify pool and wait for the core. Decoded they take a few times
    /// as much. Every budget holds the lane's longest frame (see the transport's configuration).
    const fn budget_bytes(self) -> usize {
        match self {
            Class::Votes => 64 << 20,
            Class::Sync => 128 << 20,
            Class::Gossip | Class::Clients => 32 << 20,
        }
    }
}

/// Bytes of a budget; given back when dropped.
#[derive(Debug)]
pub struct Claim(#[allow(dead_code, reason = "held for its drop")] Option<OwnedSemaphorePermit>);

impl Claim {
    /// A claim on nothing, for inputs without bytes.
    pub fn none() -> Claim {
        Claim(None)
    }
}

/// A question to the core that changes nothing.
#[derive(Debug)]
pub enum Query {
    /// What it says of itself.
    Status(oneshot::Sender<CoreStatus>),
    /// Where a transaction came from.
    Trace(TransactionId, oneshot::Sender<Option<Trace>>),
}

/// What the core's thread does next.
#[derive(Debug)]
pub enum Next {
    /// Step with these: with one, or with several that are nothing but transactions.
    Inputs(Vec<Input>),
    /// The deadline came.
    Tick,
    /// Answer this.
    Query(Query),
    /// Stop.
    Stop,
}

/// Questions that may wait for the core. More are refused: whoever asks is told that it is busy.
const MAX_QUERIES: usize = 256;

/// Transactions in one step, unless a frame has more: votes wait for as long as that takes.
const GATHERED: usize = 256;

/// Of so many turns that votes leave, one goes to the least urgent class that waits: a peer that never stops
/// asking for blocks must not keep all transactions out.
const TURNS: usize = 16;

/// Inputs for one core, by class. No lock, no clock: the simulator's machines choose by this as well.
#[derive(Debug, Default)]
pub struct Inbox {
    inputs: [VecDeque<(Input, Claim)>; 4],
    /// Turns since the last [`TURNS`]th.
    turns: usize,
    /// The highest number persisted and not yet told.
    persisted: Option<u64>,
}

impl Inbox {
    /// Queues inputs of one class.
    pub fn push(&mut self, class: Class, inputs: impl IntoIterator<Item = (Input, Claim)>) {
        self.inputs[class.index()].extend(inputs);
    }

    /// Everything up to this Ready is written.
    pub fn persisted(&mut self, number: u64) {
        self.persisted = self.persisted.max(Some(number));
    }

    /// What the core takes next: one input, or several that are nothing but transactions. With `held_back`,
    /// storage is behind: nothing that could make more work for it is taken.
    pub fn next(&mut self, held_back: bool) -> Option<Vec<Input>> {
        // Votes before everything; then what storage says, for votes wait on that as well.
        if !held_back && let Some((input, _claim)) = self.inputs[Class::Votes.index()].pop_front() {
            return Some(vec![input]);
        }
        if let Some(number) = self.persisted.take() {
            return Some(vec![Input::Persisted(number)]);
        }
        if held_back {
            return None;
        }
        self.turns = (self.turns + 1) % TURNS;
        let mut waiting = self.inputs.iter_mut().filter(|queue| !queue.is_empty());
        if self.turns == 0 { waiting.next_back() } else { waiting.next() }.map(gather)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.persisted.is_none() && self.inputs.iter().all(VecDeque::is_empty)
    }

    /// Inputs that wait, by class.
    pub fn lengths(&self) -> [usize; 4] {
        std::array::from_fn(|class| self.inputs[class].len())
    }
}

#[derive(Default)]
struct Waiting {
    inbox: Inbox,
    queries: VecDeque<Query>,
    stop: bool,
}

/// Inputs for the core, by class; the core's thread waits here.
pub struct Mailbox {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    budgets: [Arc<Semaphore>; 4],
}

impl Default for Mailbox {
    fn default() -> Mailbox {
        Mailbox::new()
    }
}

impl Mailbox {
    /// An empty one.
    pub fn new() -> Mailbox {
        Mailbox {
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            budgets: Class::ALL.map(|class| Arc::new(Semaphore::new(class.budget_bytes()))),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while holding the lock, and the queues are whole between any two statements.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims room for `bytes` of a class; waits until there is some.
    pub async fn claim(&self, class: Class, bytes: usize) -> Claim {
        let wanted = u32::try_from(bytes.clamp(1, class.budget_bytes())).unwrap_or(u32::MAX);
        // The budgets are never closed, so this waits and never fails.
        Claim(Arc::clone(&self.budgets[class.index()]).acquire_many_owned(wanted).await.ok())
    }

    /// Queues inputs of one class.
    pub fn push(&self, class: Class, inputs: impl IntoIterator<Item = (Input, Claim)>) {
        self.waiting().inbox.push(class, inputs);
        self.arrived.notify_one();
    }

    /// Tells the core that everything up to this Ready is written.
    pub fn persisted(&self, number: u64) {
        self.waiting().inbox.persisted(number);
        self.arrived.notify_one();
    }

    /// Asks; `false` if too many questions wait already.
    pub fn ask(&self, query: Query) -> bool {
        let mut waiting = self.waiting();
        if waiting.queries.len() >= MAX_QUERIES || waiting.stop {
            return false;
        }
        waiting.queries.push_back(query);
        drop(waiting);
        self.arrived.notify_one();
        true
    }

    /// Stops the core's thread as soon as it looks.
    pub fn stop(&self) {
        self.waiting().stop = true;
        self.arrived.notify_one();
    }

    /// Waits for what comes next, at the latest until `deadline`. With `held_back`, storage is behind:
    /// nothing that could make more work for it is taken, and no timer runs.
    pub fn next(&self, deadline: Instant, held_back: bool) -> Next {
        let mut waiting = self.waiting();
        loop {
            if waiting.stop {
                return Next::Stop;
            }
            if let Some(query) = waiting.queries.pop_front() {
                return Next::Query(query);
            }
            let now = Instant::now();
            if !held_back && now >= deadline {
                return Next::Tick;
            }
            if let Some(inputs) = waiting.inbox.next(held_back) {
                return Next::Inputs(inputs);
            }
            if held_back {
                waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let patience = deadline.saturating_duration_since(now).min(Duration::from_secs(3600));
            waiting = self.arrived.wait_timeout(waiting, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Inputs that wait, by class.
    pub fn lengths(&self) -> [usize; 4] {
        self.waiting().inbox.lengths()
    }
}

/// Takes what is first, and while that is nothing but transactions, more of the kind.
fn gather(queue: &mut VecDeque<(Input, Claim)>) -> Vec<Input> {
    let mut inputs = Vec::new();
    let mut gathered = 0;
    while let Some((next, _)) = queue.front() {
        // An empty one is work, too.
        let count = next.transactions().map(|transactions| transactions.len().max(1));
        if !inputs.is_empty() && count.is_none_or(|count| gathered + count > GATHERED) {
            break;
        }
        inputs.extend(queue.pop_front().map(|(input, _claim)| input));
        match count {
            Some(count) => gathered += count,
            None => break,
        }
    }
    inputs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::api::{PeerInput, Ticket};
    use quorate_types::ids::{Height, ValidatorIndex};

    fn far() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn submit(ticket: u64) -> (Input, Claim) {
        (Input::Submit { ticket: Ticket(ticket), transactions: Vec::new() }, Claim::none())
    }

    fn up() -> (Input, Claim) {
        (Input::PeerUp(ValidatorIndex(1)), Claim::none())
    }

    fn name(next: &Next) -> &'static str {
        match next {
            Next::Inputs(inputs) => match &inputs[0] {
                Input::PeerUp(_) => "votes",
                Input::Persisted(_) => "persisted",
                Input::Submit { .. } => "clients",
                _ => "other",
            },
            Next::Tick => "tick",
            Next::Query(_) => "query",
            Next::Stop => "stop",
        }
    }

    fn inputs(mailbox: &Mailbox) -> Vec<Input> {
        match mailbox.next(far(), false) {
            Next::Inputs(inputs) => inputs,
            other => panic!("{other:?}"),
        }
    }

    /// Nothing waits behind transactions that came after it.
    #[test]
    fn only_transactions_are_gathered() {
        let mailbox = Mailbox::new();
        let announced = || {
            let frame = PeerInput::Announce(Vec::new());
            (Input::Peer { from: ValidatorIndex(1), frame }, Claim::none())
        };
        mailbox.push(Class::Gossip, [announced(), announced(), submit(1), submit(2), announced(), submit(3)]);
        let lengths: Vec<usize> = (0..5).map(|_| inputs(&mailbox).len()).collect();
        assert_eq!(lengths, [1, 1, 2, 1, 1]);
    }

    #[test]
    fn urgent_first() {
        let mailbox = Mailbox::new();
        mailbox.push(Class::Clients, (0..1000).map(submit));
        mailbox.persisted(3);
        mailbox.persisted(2);
        mailbox.push(Class::Votes, [up()]);
        assert_eq!(name(&mailbox.next(Instant::now(), false)), "tick", "a timer waits for nothing");
        assert_eq!(name(&mailbox.next(far(), false)), "votes");
        assert!(matches!(&inputs(&mailbox)[..], [Input::Persisted(3)]));
        let gathered: Vec<Vec<Input>> = (0..4).map(|_| inputs(&mailbox)).collect();
        assert_eq!(gathered.iter().map(Vec::len).collect::<Vec<_>>(), [GATHERED, GATHERED, GATHERED, 232]);
        for (expected, input) in (0..1000).zip(gathered.into_iter().flatten()) {
            assert!(matches!(input, Input::Submit { ticket: Ticket(ticket), .. } if ticket == expected));
        }
        mailbox.stop();
        assert_eq!(name(&mailbox.next(far(), false)), "stop");
    }

    #[test]
    fn requests_without_end_keep_no_transaction_out_for_long() {
        let mailbox = Mailbox::new();
        let request = || {
            let frame = PeerInput::FetchBlocks { from: Height(1), to: Height(1) };
            (Input::Peer { from: ValidatorIndex(1), frame }, Claim::none())
        };
        mailbox.push(Class::Sync, (0..3 * TURNS).map(|_| request()));
        mailbox.push(Class::Clients, [submit(1), submit(2)]);
        let taken: Vec<bool> =
            (0..2 * TURNS).map(|_| matches!(inputs(&mailbox)[0], Input::Submit { .. })).collect();
        assert!(taken.contains(&true));
        assert!(!taken[..TURNS - 1].contains(&true), "else the more urgent goes first: {taken:?}");
    }

    #[test]
    fn held_back_hears_storage_and_questions_only() {
        let mailbox = Mailbox::new();
        mailbox.push(Class::Votes, [up()]);
        mailbox.push(Class::Clients, [submit(1)]);
        mailbox.persisted(7);
        assert_eq!(name(&mailbox.next(Instant::now(), true)), "persisted");
        let (answer, _keep) = oneshot::channel();
        assert!(mailbox.ask(Query::Status(answer)));
        assert_eq!(name(&mailbox.next(Instant::now(), true)), "query");
        assert_eq!(name(&mailbox.next(far(), false)), "votes");
    }

    #[tokio::test]
    async fn budgets_are_given_back_when_the_core_takes_the_input() {
        let mailbox = Mailbox::new();
        let all = mailbox.claim(Class::Gossip, usize::MAX).await;
        let empty = |mailbox: &Mailbox| mailbox.budgets[Class::Gossip.index()].available_permits() == 0;
        assert!(empty(&mailbox));
        mailbox.push(Class::Gossip, [(submit(1).0, all)]);
        assert!(empty(&mailbox));
        mailbox.next(far(), false);
        assert!(!empty(&mailbox));
        // Other classes are not touched.
        mailbox.claim(Class::Votes, 1000).await;
    }
}
