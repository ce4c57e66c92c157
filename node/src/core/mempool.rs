//! Transactions that wait for a block.
//!
//! The mempool holds verified transactions that the ledger's admission rules accepted, until they
//! commit or expire. It answers four questions:
//!
//! - **May this one come in?** Each member has a quota, by count and by bytes, and no member may hold
//!   more than is still free: whatever others flood in, a member that comes late finds room.
//! - **What goes into the next block?** Round-robin over members, first come first served within a
//!   member, starting after the member that filled the last place of the last proposal. Transactions
//!   of proposals in flight are set aside ([`Mempool::mark_proposed`]), so that choosing costs what is
//!   chosen, and come back at their old place when a proposal is dropped ([`Mempool::unmark`]).
//! - **Is the leader ignoring someone?** [`Mempool::oldest_waiting`] gives the moment since which the
//!   most neglected member has been waiting. The clock of a member runs for its oldest transaction
//!   and starts again when that one leaves, so that a long queue that moves is no reason for
//!   suspicion, and one transaction skipped for others of the same member is. A member with a
//!   quarter of its quota waiting has its clock restarted by any commit of its own: nodes hold
//!   different parts of such a flood, and it must not cost leaders their view.
//! - **Where did it come from?** [`Mempool::trace`], for what waits and for what left
//!   lately (see [`TRACES`]).
//!
//! A proposal may name a transaction that has no room here. [`Mempool::insert_required`] takes it all
//! the same, on a reserve of its own: only ids of marked proposals may use it, and it is bounded by
//! the window times the limits of a block. It may also name one that the admission rules refuse:
//! [`Mempool::insert_refused`] keeps that on the reserve, to judge the proposal by and for nothing else.
//!
//! Nothing here iterates over a hash map; equal calls give equal answers on every machine.

use super::recent::Recent;
use foldhash::HashMap;
use quorate_client::protocol::Trace;
use quorate_types::hash::{BlockHash, TransactionId};
use quorate_types::ids::{Height, Timestamp, ValidatorIndex};
use quorate_types::keys::PublicKey;
use quorate_types::parameters::Parameters;
use quorate_types::transaction::VerifiedTransaction;
use slab::Slab;
use std::collections::hash_map::Entry as Place;
use std::collections::{BTreeMap, BTreeSet, VecDeque, btree_map};
use std::ops::Bound;
use std::time::Duration;

#[cfg(test)]
pub(super) mod tests;

/// Traces kept of transactions that left: so many at most, half of them at least. About 100 bytes each.
pub const TRACES: usize = 100_000;

/// What the mempool may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Transactions of all members. Default 100 000: some seconds of the highest load.
    pub transactions: usize,
    /// Bytes of all members' transactions. Default 128 MiB.
    pub bytes: usize,
    /// Transactions of one member. Default 40 000.
    pub member_transactions: usize,
    /// Bytes of one member's transactions. Default 64 MiB.
    pub member_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            transactions: 100_000,
            bytes: 128 << 20,
            member_transactions: 40_000,
            member_bytes: 64 << 20,
        }
    }
}

/// How a transaction got here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The validator it came from; `None` if a client handed it in here.
    pub from: Option<ValidatorIndex>,
    /// Validators it passed before this one: 0 if a client handed it in.
    pub hops: u8,
}

impl Origin {
    /// Handed in here, by a client.
    pub const LOCAL: Origin = Origin { from: None, hops: 0 };
}

/// Why a transaction is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    /// It waits here already.
    #[error("already waiting")]
    Known,
    /// The member has used its quota.
    #[error("the member has {transactions} transactions of {bytes} bytes waiting, which is its quota")]
    MemberFull {
        /// The member's transactions here.
        transactions: usize,
        /// Their bytes.
        bytes: usize,
    },
    /// The node has no room left for a member that has as many waiting as this one.
    #[error(
        "the node has {transactions} transactions of {bytes} bytes waiting and no room for more of this member"
    )]
    Full {
        /// Transactions here.
        transactions: usize,
        /// Their bytes.
        bytes: usize,
    },
}

/// Where a transaction stands in the order of arrival.
type Arrival = u64;

/// Where [`Mempool::entries`] has a transaction. The indexes hold this and no ids: they are searched and shifted
/// for each transaction that comes, is proposed or goes, and should be small.
type Slot = usize;

#[derive(Debug)]
struct Entry {
    transaction: VerifiedTransaction,
    /// Of the transaction, kept at hand: that one lies elsewhere in memory.
    sender: PublicKey,
    /// Likewise.
    expires_at: Timestamp,
    /// In how many proposals in flight it stands.
    marks: u32,
    arrival: Arrival,
    arrived: Duration,
    first_seen: Timestamp,
    origin: Origin,
    room: Room,
}

/// Whose room a transaction takes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// Its member's quota.
    Quota,
    /// The reserve for proposals.
    Reserve,
    /// Likewise, and it is never a candidate: the ledger's admission rules refuse it.
    Refused,
}

/// One member's part of the mempool.
#[derive(Debug)]
struct Sender {
    /// How many of its transactions are here.
    held: usize,
    /// Those that may still be proposed here, oldest first: all but the lapsed and the refused.
    queue: BTreeMap<Arrival, Slot>,
    /// Those of them in no proposal in flight.
    ready: BTreeMap<Arrival, Slot>,
    used: Usage,
    /// When its oldest last committed.
    moved_at: Duration,
    /// Since when the oldest in the queue has been waiting: it arrived, or an older one committed.
    head_since: Duration,
}

/// The clocks of [`Sender::head_since`], longest waiting first, and when the oldest of each member expires.
type Heads = BTreeMap<(Duration, PublicKey), Timestamp>;

impl Sender {
    /// Takes a transaction out of this member's queue. If it was the oldest, the clock of the next one
    /// runs since it arrived or, if an older one committed since, from then on.
    fn leave(
        &mut self,
        key: &PublicKey,
        arrival: Arrival,
        committed_at: Option<Duration>,
        entries: &Slab<Entry>,
        heads: &mut Heads,
    ) {
        let was_head = self.queue.first_key_value().is_some_and(|(first, _)| *first == arrival);
        self.queue.remove(&arrival);
        self.ready.remove(&arrival);
        if !was_head {
            return;
        }
        heads.remove(&(self.head_since, *key));
        self.moved_at = committed_at.unwrap_or(self.moved_at);
        if let Some((_, next)) = self.queue.first_key_value() {
            let next = &entries[*next];
            self.head_since = next.arrived.max(self.moved_at);
            heads.insert((self.head_since, *key), next.expires_at);
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Usage {
    transactions: usize,
    bytes: usize,
}

impl Usage {
    fn add(&mut self, bytes: usize) {
        self.transactions += 1;
        self.bytes += bytes;
    }

    fn remove(&mut self, bytes: usize) {
        self.transactions -= 1;
        self.bytes -= bytes;
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct Mempool {
    limits: Limits,
    /// Window times the limits of a block.
    reserve: Usage,
    entries: Slab<Entry>,
    slots: HashMap<TransactionId, Slot>,
    /// Members with something here, each at least one transaction.
    senders: BTreeMap<PublicKey, Sender>,
    heads: Heads,
    by_expiry: BTreeMap<(Timestamp, Arrival), Slot>,
    used: Usage,
    used_reserve: Usage,
    next_arrival: Arrival,
    /// In how many proposals in flight an id stands that is not held here: of others their entry says it.
    /// Bounded by what the caller marks: the proposals it accepted, at most a window of them in a view.
    marks: HashMap<TransactionId, u32>,
    proposals: BTreeMap<BlockHash, Vec<TransactionId>>,
    /// The member whose transaction filled the last place of the last proposal.
    cursor: Option<PublicKey>,
    /// No clock counts from before this moment.
    waiting_floor: Duration,
    /// Lifetimes that every correct clock accepts.
    certain_lifetime_ms: u64,
    traces: Recent<Trace>,
}

impl Mempool {
    /// An empty mempool. `parameters` bound the reserve for proposals.
    pub fn new(limits: Limits, parameters: &Parameters) -> Mempool {
        let window = usize::try_from(parameters.window).unwrap_or(usize::MAX);
        let times_window = |n: u32| window.saturating_mul(usize::try_from(n).unwrap_or(usize::MAX));
        Mempool {
            limits,
            reserve: Usage {
                transactions: times_window(parameters.max_block_transactions),
                bytes: times_window(parameters.max_block_bytes),
            },
            entries: Slab::new(),
            slots: HashMap::default(),
            senders: BTreeMap::new(),
            heads: Heads::new(),
            by_expiry: BTreeMap::new(),
            used: Usage::default(),
            used_reserve: Usage::default(),
            next_arrival: 0,
            marks: HashMap::default(),
            proposals: BTreeMap::new(),
            cursor: None,
            waiting_floor: Duration::ZERO,
            certain_lifetime_ms: parameters.max_lifetime_ms.saturating_sub(parameters.max_clock_drift_ms),
            traces: Recent::new(TRACES),
        }
    }

    /// Takes a transaction that the ledger's admission rules accepted.
    ///
    /// # Errors
    /// See [`InsertError`].
    pub fn insert(
        &mut self,
        transaction: VerifiedTransaction,
        origin: Origin,
        now: Duration,
        wall: Timestamp,
    ) -> Result<(), InsertError> {
        if self.contains(&transaction.id()) {
            return Err(InsertError::Known);
        }
        self.check_room(&transaction.transaction().sender, transaction.bytes().len())?;
        self.add(transaction, origin, now, wall, Room::Quota);
        Ok(())
    }

    /// Takes a transaction that a proposal names, even where [`Mempool::insert`] has no room: on the
    /// reserve, if a marked proposal holds its id.
    ///
    /// # Errors
    /// `Known`; or the error of [`Mempool::insert`] if no marked proposal holds the id or the reserve,
    /// window times block limits, is used up.
    pub fn insert_required(
        &mut self,
        transaction: VerifiedTransaction,
        origin: Origin,
        now: Duration,
        wall: Timestamp,
    ) -> Result<(), InsertError> {
        match self.insert(transaction.clone(), origin, now, wall) {
            Err(full @ (InsertError::Full { .. } | InsertError::MemberFull { .. })) => {
                if !self.has_reserve_for(&transaction) {
                    return Err(full);
                }
                self.add(transaction, origin, now, wall, Room::Reserve);
                Ok(())
            }
            done => done,
        }
    }

    /// Takes a transaction that a proposal names and the admission rules refuse: on the reserve, until no
    /// proposal names it any more. It is no candidate and nobody waits for it, or a leader could name
    /// what no other leader may propose, and have them suspected for it.
    ///
    /// # Errors
    /// `Known`; or `Full` if no marked proposal holds the id or the reserve is used up.
    pub fn insert_refused(
        &mut self,
        transaction: VerifiedTransaction,
        origin: Origin,
        now: Duration,
        wall: Timestamp,
    ) -> Result<(), InsertError> {
        if self.contains(&transaction.id()) {
            return Err(InsertError::Known);
        }
        if !self.has_reserve_for(&transaction) {
            let Usage { transactions, bytes } = self.used_reserve;
            return Err(InsertError::Full { transactions, bytes });
        }
        self.add(transaction, origin, now, wall, Room::Refused);
        Ok(())
    }

    /// Whether a marked proposal names it, and the reserve has room for it.
    fn has_reserve_for(&self, transaction: &VerifiedTransaction) -> bool {
        self.is_marked(&transaction.id())
            && self.used_reserve.transactions < self.reserve.transactions
            && self.used_reserve.bytes + transaction.bytes().len() <= self.reserve.bytes
    }

    fn check_room(&self, sender: &PublicKey, bytes: usize) -> Result<(), InsertError> {
        let member = self.senders.get(sender).map_or(Usage::default(), |s| s.used);
        if member.transactions >= self.limits.member_transactions
            || member.bytes + bytes > self.limits.member_bytes
        {
            return Err(InsertError::MemberFull { transactions: member.transactions, bytes: member.bytes });
        }
        // No more than is still free: one flooding member ends at half of all room, two at a third
        // each, and k of them leave 1/(k+1) for everyone else.
        let free_transactions = self.limits.transactions.saturating_sub(self.used.transactions);
        let free_bytes = self.limits.bytes.saturating_sub(self.used.bytes);
        if member.transactions >= free_transactions || member.bytes + bytes > free_bytes {
            return Err(InsertError::Full { transactions: self.used.transactions, bytes: self.used.bytes });
        }
        Ok(())
    }

    fn add(
        &mut self,
        transaction: VerifiedTransaction,
        origin: Origin,
        now: Duration,
        wall: Timestamp,
        room: Room,
    ) {
        let (id, bytes) = (transaction.id(), transaction.bytes().len());
        let (key, expires_at) = (transaction.transaction().sender, transaction.transaction().expires_at);
        let marks = self.marks.remove(&id).unwrap_or(0);
        let arrival = self.next_arrival;
        self.next_arrival += 1;
        let slot = self.entries.insert(Entry {
            transaction,
            sender: key,
            expires_at,
            marks,
            arrival,
            arrived: now,
            first_seen: wall,
            origin,
            room,
        });
        self.slots.insert(id, slot);
        let sender = self.senders.entry(key).or_insert_with(|| Sender {
            held: 0,
            queue: BTreeMap::new(),
            ready: BTreeMap::new(),
            used: Usage::default(),
            moved_at: Duration::ZERO,
            head_since: now,
        });
        sender.held += 1;
        if room != Room::Refused {
            if sender.queue.is_empty() {
                sender.head_since = now;
                self.heads.insert((now, key), expires_at);
            }
            sender.queue.insert(arrival, slot);
            if marks == 0 {
                sender.ready.insert(arrival, slot);
            }
        }
        if room == Room::Quota {
            sender.used.add(bytes);
            self.used.add(bytes);
        } else {
            self.used_reserve.add(bytes);
        }
        self.by_expiry.insert((expires_at, arrival), slot);
    }

    /// Takes an entry out of every index but the trace. `committed_at` is given if it committed.
    fn take(&mut self, id: &TransactionId, committed_at: Option<Duration>) -> Option<Entry> {
        let entry = self.entries.remove(self.slots.remove(id)?);
        if entry.marks > 0 {
            self.marks.insert(*id, entry.marks);
        }
        let (key, bytes) = (entry.sender, entry.transaction.bytes().len());
        self.by_expiry.remove(&(entry.expires_at, entry.arrival));
        let sender = self.senders.get_mut(&key).expect("every entry has its sender");
        sender.held -= 1;
        if entry.room == Room::Quota {
            sender.used.remove(bytes);
            self.used.remove(bytes);
        } else {
            self.used_reserve.remove(bytes);
        }
        sender.leave(&key, entry.arrival, committed_at, &self.entries, &mut self.heads);
        if sender.held == 0 {
            self.senders.remove(&key);
        }
        Some(entry)
    }

    fn restart_clock(&mut self, key: &PublicKey, now: Duration) {
        let Some(sender) = self.senders.get_mut(key) else { return };
        if let Some(expires_at) = self.heads.remove(&(sender.head_since, *key)) {
            (sender.head_since, sender.moved_at) = (now, now);
            self.heads.insert((now, *key), expires_at);
        }
    }

    fn entry(&self, id: &TransactionId) -> Option<&Entry> {
        self.slots.get(id).map(|slot| &self.entries[*slot])
    }

    /// A transaction that waits here.
    pub fn get(&self, id: &TransactionId) -> Option<&VerifiedTransaction> {
        self.entry(id).map(|entry| &entry.transaction)
    }

    /// Whether a transaction waits here.
    pub fn contains(&self, id: &TransactionId) -> bool {
        self.slots.contains_key(id)
    }

    /// How many wait here, those on the reserve included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Their bytes, those on the reserve included.
    pub fn bytes(&self) -> usize {
        self.used.bytes + self.used_reserve.bytes
    }

    /// Those of `ids` that do not wait here, in the same order.
    pub fn missing(&self, ids: &[TransactionId]) -> Vec<TransactionId> {
        ids.iter().filter(|id| !self.contains(id)).copied().collect()
    }

    /// Transactions for a proposal, lazily: round-robin over members, oldest first within a member,
    /// without those in flight. The caller stops when its block is full.
    pub fn candidates(&self) -> impl Iterator<Item = VerifiedTransaction> {
        let (after, upto) = match self.cursor {
            Some(cursor) => (
                self.senders.range((Bound::Excluded(cursor), Bound::Unbounded)),
                Some(self.senders.range(..=cursor)),
            ),
            None => (self.senders.range::<PublicKey, _>(..), None),
        };
        let members = after.chain(upto.into_iter().flatten());
        let lanes = members.filter(|(_, s)| !s.ready.is_empty()).map(|(_, s)| s.ready.values()).collect();
        Candidates { entries: &self.entries, lanes }
    }

    /// Whether there is anything for a proposal.
    pub fn has_candidate(&self) -> bool {
        self.senders.values().any(|sender| !sender.ready.is_empty())
    }

    /// Sets the transactions of a proposal in flight aside: they are no candidates until the proposal
    /// is dropped. Ids that are not here yet count too. Marking a block again changes nothing.
    pub fn mark_proposed(&mut self, block: BlockHash, ids: &[TransactionId]) {
        let btree_map::Entry::Vacant(proposal) = self.proposals.entry(block) else { return };
        proposal.insert(ids.to_vec());
        for id in ids {
            let Some(slot) = self.slots.get(id) else {
                *self.marks.entry(*id).or_insert(0) += 1;
                continue;
            };
            let entry = &mut self.entries[*slot];
            entry.marks += 1;
            if let Some(sender) = self.senders.get_mut(&entry.sender) {
                sender.ready.remove(&entry.arrival);
            }
            self.cursor = Some(entry.sender);
        }
    }

    /// Whether a proposal in flight holds this id.
    pub fn is_marked(&self, id: &TransactionId) -> bool {
        self.marks.contains_key(id) || self.entry(id).is_some_and(|entry| entry.marks > 0)
    }

    /// A proposal was dropped: its transactions are candidates again, at their old places. Those on
    /// the reserve move to their member's quota; the ids of those that find no room there, or were refused,
    /// are returned, and no longer held.
    pub fn unmark(&mut self, block: &BlockHash) -> Vec<TransactionId> {
        let released = self.release(block);
        released.into_iter().filter(|id| !self.give_back(id)).collect()
    }

    /// Forgets a proposal. Returns those of its ids that stand in no other one.
    fn release(&mut self, block: &BlockHash) -> Vec<TransactionId> {
        let mut ids = self.proposals.remove(block).unwrap_or_default();
        ids.retain(|id| self.release_mark(id));
        ids
    }

    /// Takes one mark off an id; true if it was the last.
    fn release_mark(&mut self, id: &TransactionId) -> bool {
        if let Some(slot) = self.slots.get(id) {
            let marks = &mut self.entries[*slot].marks;
            *marks = marks.checked_sub(1).expect("each id of a proposal was marked for it");
            return *marks == 0;
        }
        let Place::Occupied(mut mark) = self.marks.entry(*id) else { return false };
        if *mark.get() > 1 {
            *mark.get_mut() -= 1;
            return false;
        }
        mark.remove();
        true
    }

    /// Makes a transaction a candidate again, if it is held here. False if it was on the reserve and finds no
    /// room in its member's quota, or is refused: then it is held no longer.
    fn give_back(&mut self, id: &TransactionId) -> bool {
        let Some(slot) = self.slots.get(id).copied() else { return true };
        let entry = &self.entries[slot];
        let (key, bytes, arrival) = (entry.sender, entry.transaction.bytes().len(), entry.arrival);
        let room = entry.room;
        if room == Room::Refused || (room == Room::Reserve && self.check_room(&key, bytes).is_err()) {
            self.take(id, None);
            return false;
        }
        let sender = self.senders.get_mut(&key).expect("every entry has its sender");
        if room == Room::Reserve {
            self.used_reserve.remove(bytes);
            self.used.add(bytes);
            sender.used.add(bytes);
            self.entries[slot].room = Room::Quota;
        }
        if sender.queue.contains_key(&arrival) {
            sender.ready.insert(arrival, slot);
        }
        true
    }

    /// A block committed: its transactions leave, whether its proposal was marked or not.
    pub fn committed(
        &mut self,
        block: &BlockHash,
        height: Height,
        transactions: &[VerifiedTransaction],
        now: Duration,
    ) {
        // A block's proposal names its transactions in their order. So each is marked no more when it leaves, and
        // need not be noted apart from here; and that is done while it is at hand, for there are thousands.
        let mut proposed = self.proposals.remove(block).unwrap_or_default().into_iter();
        let mut released = Vec::new();
        let mut members = BTreeSet::new();
        for transaction in transactions {
            let id = transaction.id();
            released.extend(proposed.next().filter(|named| self.release_mark(named) && *named != id));
            let taken = self.take(&id, Some(now));
            let elsewhere = || transaction.transaction().sender;
            members.insert(taken.as_ref().map_or_else(elsewhere, |entry| entry.sender));
            if let Some(entry) = taken {
                self.remember(&entry, Some(height));
            }
        }
        released.extend(proposed.filter(|named| self.release_mark(named)));
        for id in &released {
            self.give_back(id);
        }
        let Limits { member_transactions, member_bytes, .. } = self.limits;
        for key in members {
            let used = self.senders.get(&key).map_or(Usage::default(), |sender| sender.used);
            if used.transactions > member_transactions / 4 || used.bytes > member_bytes / 4 {
                self.restart_clock(&key, now);
            }
        }
    }

    /// Removes what no new block may hold: whatever expires before `time`. Returns the ids.
    ///
    /// `time` is the latest committed block's timestamp or, if later, the wall clock minus the allowed
    /// drift: no new block may carry an earlier one. Without the second, a transaction that expired
    /// in an idle chain would wait for ever and have leaders suspected.
    ///
    /// What stands in a proposal stays: one that is proposed again keeps its time, however long ago that
    /// was, and its bodies are needed until it is decided.
    pub fn expire(&mut self, time: Timestamp) -> Vec<TransactionId> {
        let over = self.by_expiry.range(..(time, 0)).map(|(_, slot)| &self.entries[*slot]);
        let expired: Vec<TransactionId> =
            over.filter(|entry| entry.marks == 0).map(|entry| entry.transaction.id()).collect();
        for id in &expired {
            if let Some(entry) = self.take(id, None) {
                self.remember(&entry, None);
            }
        }
        expired
    }

    /// Sets aside what has expired by the wall clock: another leader's clock may be behind and its block
    /// need these, but here they are no candidates any more, and nobody waits for them. Left at the head
    /// of its queue, an expired transaction would hide from suspicion all that came after it.
    pub fn lapse(&mut self, wall: Timestamp) {
        let lapsed: Vec<(PublicKey, Arrival)> = self
            .by_expiry
            .range(..(wall, 0))
            .map(|((_, arrival), slot)| (self.entries[*slot].sender, *arrival))
            .collect();
        for (key, arrival) in lapsed {
            if let Some(sender) = self.senders.get_mut(&key) {
                sender.leave(&key, arrival, None, &self.entries, &mut self.heads);
            }
        }
    }

    /// The moment since which the most neglected member has been waiting, for the leader-suspicion
    /// timer; `None` if nobody waits. Members whose oldest transaction has expired by the wall clock, and
    /// has not [lapsed](Mempool::lapse) yet, do not count: no leader may propose it. Nor do those whose
    /// oldest transaction expires so late that a leader whose clock is behind, within the allowed drift,
    /// must still refuse it: else any member could have leaders suspected at will. Never before the last
    /// [`Mempool::reset_waiting`].
    pub fn oldest_waiting(&self, wall: Timestamp) -> Option<Duration> {
        let latest = wall.plus_ms(self.certain_lifetime_ms);
        let waits = |expires_at: Timestamp| expires_at > wall && expires_at <= latest;
        let ((since, _), _) = self.heads.iter().find(|(_, expires_at)| waits(**expires_at))?;
        Some((*since).max(self.waiting_floor))
    }

    /// Gives a new leader its time: no clock counts from before `now`.
    pub fn reset_waiting(&mut self, now: Duration) {
        self.waiting_floor = now;
    }

    /// How this node came to know a transaction; `None` if it never did, or has forgotten.
    pub fn trace(&self, id: &TransactionId) -> Option<Trace> {
        match self.entry(id) {
            Some(entry) => Some(trace_of(entry, None)),
            None => self.traces.get(id).cloned(),
        }
    }

    fn remember(&mut self, entry: &Entry, committed: Option<Height>) {
        self.traces.insert(entry.transaction.id(), trace_of(entry, committed));
    }
}

fn trace_of(entry: &Entry, committed: Option<Height>) -> Trace {
    Trace { first_seen: entry.first_seen, from: entry.origin.from, hops: entry.origin.hops, committed }
}

/// Round-robin over the members' queues.
struct Candidates<'a> {
    entries: &'a Slab<Entry>,
    lanes: VecDeque<btree_map::Values<'a, Arrival, Slot>>,
}

impl Iterator for Candidates<'_> {
    type Item = VerifiedTransaction;

    fn next(&mut self) -> Option<VerifiedTransaction> {
        while let Some(mut lane) = self.lanes.pop_front() {
            if let Some(slot) = lane.next() {
                self.lanes.push_back(lane);
                return Some(self.entries[*slot].transaction.clone());
            }
        }
        None
    }
}
