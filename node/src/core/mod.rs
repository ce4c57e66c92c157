//! The sans-IO core: replica, ledger, mempool, gossip and sync as one deterministic state machine.
//!
//! Time and randomness are arguments, storage is behind the ledger's trait, and what is to be sent,
//! stored or reported comes out as [`Ready`]. The daemon drives it ([`runtime`](crate::runtime)), and so
//! does the simulator, with no change. What the driver owes is written in [`api`].
//!
//! | module | subject |
//! |---|---|
//! | [`api`] | inputs, outputs, and the driver's duties |
//! | [`wire`] | frames between validators and their verification |
//! | [`records`] | what is stored, and reading it back |
//! | `proposals` | gathering the bodies of proposals and executing them |
//! | `lead` | when to propose, and what |
//! | `commit` | committing, by votes or by catching up |
//! | [`mempool`], [`gossip`], [`sync`] | waiting transactions, spreading them, fetching blocks |
//! | `recent` | what is remembered of transactions that are gone |

pub mod api;
mod commit;
pub mod gossip;
mod lead;
pub mod mempool;
mod open;
mod proposals;
mod recent;
pub mod records;
pub mod sync;
pub mod wire;

#[cfg(test)]
mod tests;

pub use api::{
    CommittedBlock, CoreStatus, Demand, Footprint, Guard, Input, Now, Outgoing, PeerInput, Ready, Report,
    Ticket, VerifiedBlock,
};
pub use open::{CoreConfig, Memory, OpenError};

use gossip::{Gossip, GossipFrame};
use lead::Pace;
use mempool::{InsertError, Mempool, Origin};
use proposals::Proposals;
use quorate_client::protocol::{SubmitError, Trace};
use quorate_ledger::{Column, Ledger, Store, Write};
use quorate_pbft::{Committee, Output, Phase, Replica, To};
use quorate_types::codec;
use quorate_types::hash::TransactionId;
use quorate_types::ids::{Height, ValidatorIndex};
use quorate_types::transaction::VerifiedTransaction;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use sync::Sync;
use wire::PeerFrame;

/// Transactions that stand in no proposal, from which on those that come are wanted no sooner than they are cheap.
const PLENTY: usize = 512;

/// How often what has expired is looked for, in a chain that stands still.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);

/// Transactions executed in one step while catching up, unless one block has more, before votes, timers and the
/// next answer get their turn.
const CATCH_UP_TRANSACTIONS: usize = 1024;

/// Bytes of blocks and proposals served to one peer in a second; above that its requests go unanswered.
const SERVED_BYTES_PER_SECOND: u64 = 128 << 20;

/// One validator, without its clock, disk and sockets.
pub struct Core<S: Store> {
    me: ValidatorIndex,
    committee: Arc<Committee>,
    now: Now,
    ledger: Ledger<S>,
    replica: Replica,
    mempool: Mempool,
    gossip: Gossip,
    sync: Sync,
    proposals: Proposals,
    pace: Pace,
    connected: BTreeSet<ValidatorIndex>,
    /// What each peer was served: bytes not yet paid for with time, and as of when.
    served: BTreeMap<ValidatorIndex, (u64, Duration)>,
    expiry_at: Duration,
    evidence: u64,
    view_changes: u64,
    guard: Guard,
    /// Ready number after which the writes up to a height are in the store.
    applying: BTreeMap<u64, Height>,
    building: Ready,
    finished: std::collections::VecDeque<Ready>,
    next_number: u64,
}

impl<S: Store> Core<S> {
    /// Takes one input, and does all that follows from it.
    pub fn step(&mut self, now: Now, input: Input) {
        self.step_all(now, [input]);
    }

    /// Takes inputs, and does all that follows from each before it takes the next; except that
    /// transactions are gathered, so that what follows is done once, and one frame to each peer has them.
    pub fn step_all(&mut self, now: Now, inputs: impl IntoIterator<Item = Input>) {
        self.now = now;
        let mut gathered = false;
        for input in inputs {
            // These are put to ledger, mempool and gossip, and nothing to the replica, which must be heard
            // after every word.
            gathered = input.transactions().is_some();
            self.take(input);
            if !gathered {
                self.settle();
            }
        }
        if gathered {
            self.settle();
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Tick => {}
            Input::PeerUp(peer) => self.peer_up(peer),
            Input::PeerDown(peer) => self.peer_down(peer),
            Input::RoundTrips(times) => self.on_round_trips(times),
            Input::Peer { from, frame } => self.on_peer(from, frame),
            Input::Submit { ticket, transactions } => self.on_submit(ticket, transactions),
            Input::Persisted(number) => self.on_persisted(number),
        }
    }

    /// The next work for the driver. To be called until it gives nothing.
    pub fn take_ready(&mut self) -> Option<Ready> {
        self.finished.pop_front()
    }

    /// When [`Input::Tick`] is due at the latest, on the monotonic clock.
    pub fn deadline(&self) -> Duration {
        let timers = [
            self.gossip.deadline(),
            self.sync.deadline(),
            self.proposals.deadline(),
            self.pace_deadline(),
            (!self.mempool.is_empty()).then_some(self.expiry_at),
        ];
        timers.into_iter().flatten().fold(self.replica.deadline(), Duration::min)
    }

    /// How soon it wants transactions that are on their way to it.
    pub fn demand(&self) -> Demand {
        if self.proposals.lacks_bodies() {
            Demand::Missing
        } else if self.waiting() >= PLENTY {
            Demand::Satisfied
        } else {
            Demand::Usual
        }
    }

    /// Transactions that stand in no proposal yet.
    fn waiting(&self) -> usize {
        self.mempool.len().saturating_sub(self.proposals.in_flight())
    }

    /// What it says of itself.
    pub fn status(&self) -> CoreStatus {
        let tip = self.ledger.tip();
        let counts = self.gossip.counts();
        let validators = &self.committee.validators;
        let claims: Vec<_> = validators.indexes().map(|v| self.replica.claim(v)).collect();
        let phase = match self.replica.phase() {
            _ if self.replica.halted().is_some() => "halted",
            Phase::Learning => "learning",
            _ if self.sync.is_catching_up() => "catching up",
            // Whoever has not heard from a quorum since it started cannot know what it has missed.
            _ if claims.iter().flatten().count() + 1 < validators.quorum().q => "joining",
            Phase::Active => "active",
            Phase::Changing => "changing view",
        };
        let learning = matches!(self.replica.phase(), Phase::Learning).then(|| {
            "votes may have been forgotten: this node follows without voting until none of its votes \
             can contradict an earlier one"
                .to_owned()
        });
        CoreStatus {
            height: tip.height,
            block: tip.block,
            block_time: tip.timestamp,
            view: self.replica.view(),
            leader: self.replica.leader(),
            phase,
            trouble: self.replica.halted().map(str::to_owned).or(learning),
            mempool_transactions: self.mempool.len(),
            mempool_bytes: self.mempool.bytes(),
            gossip_first: counts.first,
            gossip_duplicates: counts.duplicates,
            evidence: self.evidence,
            view_changes: self.view_changes,
            peers: claims.into_iter().map(Option::unwrap_or_default).collect(),
        }
    }

    /// How much it keeps of what peers and clients can make it keep.
    pub fn footprint(&self) -> Footprint {
        Footprint {
            replica: self.replica.held(),
            pending_blocks: self.ledger.pending_count(),
            unwritten_blocks: self.ledger.unapplied_count(),
            proposals: self.proposals.held(),
            mempool: (self.mempool.len(), self.mempool.bytes()),
            gossip: self.gossip.held(),
            sync: self.sync.held(),
        }
    }

    /// How a transaction came here.
    pub fn trace(&self, id: &TransactionId) -> Option<Trace> {
        self.mempool.trace(id)
    }

    /// What frames of peers are verified against.
    pub fn committee(&self) -> &Arc<Committee> {
        &self.committee
    }

    fn peer_up(&mut self, peer: ValidatorIndex) {
        if peer == self.me || self.committee.validators.get(peer).is_none() {
            return;
        }
        self.connected.insert(peer);
        self.gossip.peer_up(peer);
        self.sync.peer_up(peer, self.now.monotonic);
        self.replica.greet(self.now.monotonic, peer);
    }

    fn peer_down(&mut self, peer: ValidatorIndex) {
        self.connected.remove(&peer);
        self.gossip.peer_down(peer);
        self.sync.peer_down(peer, self.now.monotonic);
    }

    fn on_peer(&mut self, from: ValidatorIndex, frame: PeerInput) {
        let now = self.now.monotonic;
        match frame {
            PeerInput::Consensus(message) => {
                // A beacon carries nothing that dates it: only its signer may say it, or an old one
                // could be played back. All else means the same whoever passes it on.
                let beacon = matches!(message.message(), quorate_pbft::Message::Status(_));
                if !beacon || message.signer() == from {
                    self.hear(from, &message);
                    self.replica.receive(now, message);
                }
            }
            PeerInput::Transactions { hops, transactions } => self.on_transactions(from, hops, transactions),
            PeerInput::Announce(ids) => self.gossip.announced(from, &ids, now),
            PeerInput::Pull(ids) => {
                let (mempool, proposals) = (&self.mempool, &self.proposals);
                let lookup = |id: &TransactionId| mempool.get(id).cloned().or_else(|| proposals.body(id));
                self.gossip.pull_requested(from, &ids, now, lookup);
            }
            PeerInput::FetchProposal(block) => self.serve_proposal(from, block),
            PeerInput::Proposal { header, ids } => self.on_proposal(*header, ids),
            PeerInput::FetchBlocks { from: first, to } => self.serve_blocks(from, first, to),
            PeerInput::Blocks(blocks) => self.sync.blocks(from, blocks, now),
        }
    }

    /// What a message tells of heights, for catching up.
    fn hear(&mut self, from: ValidatorIndex, message: &quorate_pbft::VerifiedMessage) {
        use quorate_pbft::Message;
        let now = self.now.monotonic;
        match message.message() {
            Message::Status(status) => self.sync.peer_height(status.signer, status.statement.height, now),
            Message::ViewChange(change) => {
                if let Some(certificate) = &change.statement.certificate {
                    self.sync.certified(from, certificate.commit.height, now);
                }
            }
            Message::NewView(new_view) => {
                for change in &new_view.statement.view_changes {
                    if let Some(certificate) = &change.statement.certificate {
                        self.sync.certified(from, certificate.commit.height, now);
                    }
                }
            }
            _ => {}
        }
    }

    fn on_transactions(&mut self, from: ValidatorIndex, hops: u8, transactions: Vec<VerifiedTransaction>) {
        let now = self.now.monotonic;
        let fresh = self.gossip.received(from, transactions, now);
        let (mut admitted, mut refused, mut deferred) = (Vec::new(), Vec::new(), Vec::new());
        for transaction in fresh {
            let id = transaction.id();
            let origin = Origin { from: Some(from), hops };
            let marked = self.mempool.is_marked(&id);
            let verdict = match self.ledger.admit(&transaction, self.now.wall) {
                Ok(()) => self.insert(transaction.clone(), origin, marked).map_err(|_| false),
                Err(refusal) => {
                    // What a proposal names is needed to judge the proposal, whatever is wrong with it.
                    let (now, wall) = (self.now.monotonic, self.now.wall);
                    if marked && self.mempool.insert_refused(transaction.clone(), origin, now, wall).is_ok() {
                        self.proposals.arrived(&id);
                    }
                    Err(refusal.is_permanent())
                }
            };
            match verdict {
                Ok(()) => {
                    self.proposals.arrived(&id);
                    admitted.push(transaction);
                }
                Err(true) => refused.push(id),
                Err(false) => deferred.push(id),
            }
        }
        self.gossip.admitted(from, hops, &admitted, now);
        self.gossip.removed(&refused);
        self.gossip.deferred(&deferred, now);
    }

    fn insert(
        &mut self,
        transaction: VerifiedTransaction,
        origin: Origin,
        marked: bool,
    ) -> Result<(), InsertError> {
        let (now, wall) = (self.now.monotonic, self.now.wall);
        let inserted = if marked {
            self.mempool.insert_required(transaction, origin, now, wall)
        } else {
            self.mempool.insert(transaction, origin, now, wall)
        };
        match inserted {
            Err(InsertError::Known) => Ok(()),
            other => other,
        }
    }

    fn on_submit(&mut self, ticket: Ticket, transactions: Vec<VerifiedTransaction>) {
        let mut verdicts = Vec::with_capacity(transactions.len());
        let mut taken = Vec::new();
        for transaction in transactions {
            let id = transaction.id();
            let verdict = self.submit_one(transaction, &mut taken);
            verdicts.push((id, verdict));
        }
        self.gossip.local(&taken, self.now.monotonic);
        self.building.reports.push(Report::Admission { ticket, verdicts });
    }

    fn submit_one(
        &mut self,
        transaction: VerifiedTransaction,
        taken: &mut Vec<VerifiedTransaction>,
    ) -> Result<(), SubmitError> {
        if let Some(why) = self.replica.halted() {
            return Err(SubmitError::Unavailable(why.to_owned()));
        }
        let id = transaction.id();
        if self.mempool.contains(&id) {
            return Ok(());
        }
        self.ledger.admit(&transaction, self.now.wall).map_err(SubmitError::Refused)?;
        let marked = self.mempool.is_marked(&id);
        match self.insert(transaction.clone(), Origin::LOCAL, marked) {
            Ok(()) => {
                self.proposals.arrived(&id);
                taken.push(transaction);
                Ok(())
            }
            Err(full) => Err(SubmitError::Full(full.to_string())),
        }
    }

    fn on_persisted(&mut self, number: u64) {
        let later = self.applying.split_off(&(number + 1));
        if let Some(height) = std::mem::replace(&mut self.applying, later).into_values().next_back() {
            self.ledger.applied(height);
        }
    }

    /// Does everything that has become possible, until nothing more is.
    fn settle(&mut self) {
        let now = self.now.monotonic;
        self.replica.waiting(self.mempool.oldest_waiting(self.now.wall));
        self.replica.tick(now);
        self.gossip.tick(now);
        self.sync.tick(now);
        let mut budget = CATCH_UP_TRANSACTIONS;
        loop {
            // What the replica has decided is carried out before anything else is put to it: a block
            // that it has just committed must not be fetched, nor one it voted on be forgotten.
            let mut progress = self.take_outputs();
            progress |= self.execute_proposals();
            progress |= self.take_outputs();
            progress |= self.catch_up(&mut budget);
            // A view may have begun in these. What it drops goes before anything is proposed in it.
            progress |= self.take_outputs();
            progress |= self.lead();
            if !progress {
                break;
            }
        }
        self.expire();
        self.retry_proposals();
        self.send_requests();
        self.finish();
    }

    /// Does what the replica asks for. Taken after each word to it, before the next: a view that begins
    /// drops what was known of earlier proposals, and votes rest on what is known.
    pub(super) fn take_outputs(&mut self) -> bool {
        let mut any = false;
        while let Some(output) = self.replica.take_output() {
            any = true;
            match output {
                Output::Persist(record) => self.persist(record),
                Output::Send { to, message, at_once } => {
                    self.send(to, PeerFrame::Consensus(message.bytes().clone()), at_once);
                }
                Output::Execute { block, header, ids, sources, reproposal } => {
                    self.obtain(block, header, ids, sources, reproposal);
                }
                Output::Commit { blocks, certificate } => self.commit(&blocks, &certificate),
                // Whoever has the block says so in a beacon, which the replica asks for when it stalls:
                // asking those who do not have it yet would only get them blamed.
                Output::CatchUp { height } => tracing::trace!(%height, "others are further"),
                Output::Evidence(evidence) => self.keep_evidence(&evidence),
                Output::View { view, active, why } => {
                    if active {
                        self.view_changes += 1;
                        self.drop_proposals();
                    }
                    self.mempool.reset_waiting(self.now.monotonic);
                    self.building.reports.push(Report::View { view, active, why });
                }
                Output::Halt(why) => self.building.reports.push(Report::Halted(why)),
            }
        }
        any
    }

    fn keep_evidence(&mut self, evidence: &quorate_pbft::Evidence) {
        let (signer, what) = evidence.describe();
        let key = self.evidence.to_be_bytes().to_vec();
        self.building.persist.push(Write::put(Column::Evidence, key, codec::encode(evidence)));
        self.evidence += 1;
        self.building.reports.push(Report::Evidence { signer, what });
    }

    /// Drops what no new block may hold.
    fn expire(&mut self) {
        if self.now.monotonic < self.expiry_at {
            return;
        }
        self.expiry_at = self.now.monotonic.saturating_add(EXPIRY_INTERVAL);
        // No new block may carry an earlier time than either.
        let drift = self.ledger.genesis().parameters.max_clock_drift_ms;
        let time = self.ledger.tip().timestamp.max(self.now.wall.minus_ms(drift));
        self.mempool.lapse(self.now.wall);
        let expired = self.mempool.expire(time);
        if !expired.is_empty() {
            self.gossip.removed(&expired);
            self.building.reports.push(Report::Expired(expired));
        }
    }

    fn send_requests(&mut self) {
        for frame in self.gossip.take_outgoing() {
            match frame {
                GossipFrame::Transactions { to, hops, transactions } => {
                    let transactions = transactions.iter().map(|t| t.bytes().clone()).collect();
                    self.send_now(&to, &PeerFrame::Transactions { hops, transactions });
                }
                GossipFrame::Announce { to, ids } => self.send_now(&to, &PeerFrame::Announce(ids)),
                GossipFrame::Pull { to, ids } => self.send_now(&[to], &PeerFrame::Pull(ids)),
            }
        }
        for request in self.sync.take_requests() {
            let frame = PeerFrame::FetchBlocks { from: request.from, to: request.to };
            self.send_now(&[request.peer], &frame);
        }
        for (peer, fault) in self.sync.take_faults() {
            self.building.reports.push(Report::Fault { peer, what: fault.to_string() });
        }
    }

    fn send_now(&mut self, to: &[ValidatorIndex], frame: &PeerFrame) {
        let (lane, bytes) = (frame.lane(), frame.encode());
        for to in to.iter().filter(|to| self.connected.contains(to)) {
            self.building.now.push(Outgoing { to: *to, lane, frame: bytes.clone() });
        }
    }

    fn send(&mut self, to: To, frame: PeerFrame, at_once: bool) {
        let (lane, bytes) = (frame.lane(), frame.encode());
        let peers: Vec<ValidatorIndex> = match to {
            To::All => self.connected.iter().copied().collect(),
            To::One(peer) => self.connected.get(&peer).copied().into_iter().collect(),
        };
        let frames = peers.into_iter().map(|to| Outgoing { to, lane, frame: bytes.clone() });
        if at_once {
            self.building.now.extend(frames);
        } else {
            self.building.then.extend(frames);
        }
    }

    /// Serves committed blocks from the store, within a bound of bytes for each peer and second.
    fn serve_blocks(&mut self, peer: ValidatorIndex, from: Height, to: Height) {
        if !self.may_serve(peer) {
            return;
        }
        let mut blocks = Vec::new();
        let mut bytes = 0usize;
        let mut height = from;
        while height <= to && blocks.len() < wire::MAX_BLOCKS && bytes < wire::BLOCKS_FRAME_BYTES {
            match records::full_block(self.ledger.store(), height) {
                Ok(Some(block)) => {
                    let length = block.transactions.iter().map(|body| body.len() + 8).sum::<usize>() + 1024;
                    // One may be as long as a frame at most: another before it could leave no room.
                    if bytes > 0 && bytes + length > wire::BLOCKS_FRAME_BYTES {
                        break;
                    }
                    bytes += length;
                    blocks.push(block);
                }
                Ok(None) => break,
                Err(error) => {
                    self.replica.halt(format!("a committed block cannot be read: {error}"));
                    return;
                }
            }
            height = height.next();
        }
        if !blocks.is_empty() {
            self.charge(peer, bytes);
            self.send_now(&[peer], &PeerFrame::Blocks(blocks));
        }
    }

    /// Whether a peer may be served: a request costs it little, and the answer is long.
    fn may_serve(&mut self, peer: ValidatorIndex) -> bool {
        let now = self.now.monotonic;
        let (unpaid, since) = self.served.get(&peer).copied().unwrap_or((0, now));
        let paid = u64::try_from(now.saturating_sub(since).as_millis()).unwrap_or(u64::MAX);
        let unpaid = unpaid.saturating_sub(paid.saturating_mul(SERVED_BYTES_PER_SECOND / 1000));
        self.served.insert(peer, (unpaid, now));
        unpaid <= SERVED_BYTES_PER_SECOND
    }

    /// Notes what a peer was served.
    fn charge(&mut self, peer: ValidatorIndex, bytes: usize) {
        let (unpaid, _) = self.served.entry(peer).or_insert((0, self.now.monotonic));
        *unpaid = unpaid.saturating_add(bytes as u64);
    }

    /// Closes the Ready that this step built, if it holds anything.
    fn finish(&mut self) {
        let building = &self.building;
        let empty = building.now.is_empty()
            && building.persist.is_empty()
            && building.then.is_empty()
            && building.reports.is_empty();
        if empty {
            return;
        }
        let mut ready = std::mem::take(&mut self.building);
        ready.number = self.next_number;
        ready.awaited = self.applying.contains_key(&ready.number);
        self.next_number += 1;
        if ready.guard.is_some() {
            ready.persist.push(Write::put(Column::Votes, records::GUARD, codec::encode(&self.guard)));
        }
        self.finished.push_back(ready);
    }
}
