//! How transactions spread: every body to every validator, about once.
//!
//! - **Push.** A transaction handed in here is pushed to the [`MESH`] relays of this validator, and
//!   they pass it on, once, to those they serve (`gossip/tree.rs`). With up to nine validators the
//!   relays are everybody, and nobody passes anything on.
//! - **Announce.** Those that a relay serves get the id from the origin at once. If the body is not
//!   there [`PULL_DELAY`] later (the relay is slow, dead or lying) they pull it.
//! - **Repair.** A transaction still waiting after [`REPAIR_DELAY`] is announced again: by its origin
//!   to all, by others to [`REPAIR_FANOUT`] random peers, in either case only to peers not known to
//!   have it; and again after twice the time, up to [`REPAIR_CAP`]. So whatever was lost reaches every
//!   connected validator, in a number of rounds logarithmic in n, even if the origin is gone. Where blocks
//!   commit, and only what came before it, it waits its turn and is not announced.
//! - **Pull.** A body that a proposal needs is pulled if it is not there [`WANTED_DELAY`] later, first from
//!   the leader or who announced it, then from one peer after another until it comes. An announced one is
//!   pulled from its announcers only, twice each, and then forgotten until it is announced again.
//!
//! Both delays of pulls are the least: where bodies usually take longer they grow, up to
//! [`PULL_DELAY_CAP`] and [`WANTED_DELAY_CAP`] (`gossip/lateness.rs`).
//!
//! Upon a frame of transactions the core calls [`Gossip::received`], which gives those never seen,
//! asks ledger and mempool about them, and says for each what became of it: [`Gossip::admitted`],
//! [`Gossip::removed`] (refused for good) or [`Gossip::deferred`] (no room now). Nothing is passed on
//! before it is admitted. Whatever leaves the mempool later is [`Gossip::committed`] or `removed`. After
//! each step the core takes [`Gossip::take_outgoing`], and calls [`Gossip::tick`] no later than
//! [`Gossip::deadline`].
//!
//! | what a peer can grow | bound | why |
//! |---|---|---|
//! | held transactions | the mempool's limits | one entry per transaction there |
//! | seen ids | [`SEEN_IDS`] | some seconds of the highest load; older copies are refused by the ledger |
//! | announced, not here | [`ANNOUNCED_PER_PEER`], less when n is large | [`ANNOUNCED_TOTAL`] entries in all |
//! | wanted for proposals | the caller's: window times transactions of a block | only accepted proposals want |
//! | outstanding pulls | [`PULLS_PER_PEER`] | a slow peer must not hold everything |
//! | answers to pulls | [`ANSWER_BYTES`] a frame, [`ANSWER_RATE`] a second | 32 bytes may ask for a megabyte |

use super::recent::Recent;
use foldhash::HashMap;
use lateness::{Turn, Way};
use outbox::Outbox;
use quorate_types::hash::TransactionId;
use quorate_types::ids::ValidatorIndex;
use quorate_types::parameters::limits;
use quorate_types::transaction::VerifiedTransaction;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::collections::BTreeMap;
use std::time::Duration;
use tree::{PeerSet, Tree};
use wheel::{Slot, Wheel};

pub use outbox::{ANNOUNCE_IDS, FRAME_BYTES, FRAME_TRANSACTIONS, GossipFrame, PULL_IDS};

mod lateness;
mod outbox;
mod tree;
mod wheel;

#[cfg(test)]
mod tests;

/// Relays of an origin. Eight copies leave its link instead of n-1.
pub const MESH: usize = 8;
/// How long an announced body may be on its way through a relay before it is pulled.
pub const PULL_DELAY: Duration = Duration::from_millis(150);
/// The longest that this delay becomes.
pub const PULL_DELAY_CAP: Duration = Duration::from_secs(1);
/// How long a body that a proposal needs may be on its way before it is pulled: votes overtake bodies, which
/// wait for their batch to be verified.
pub const WANTED_DELAY: Duration = Duration::from_millis(50);
/// The longest that this delay becomes: a third of the default view timeout.
pub const WANTED_DELAY_CAP: Duration = Duration::from_millis(200);
/// How long a pull may take before another peer is asked. Doubles up to [`PULL_TIMEOUT_CAP`]: with each peer that
/// was asked, or if a proposal needs the body with each round of all peers.
pub const PULL_TIMEOUT: Duration = Duration::from_millis(100);
/// The longest a pull may take.
pub const PULL_TIMEOUT_CAP: Duration = Duration::from_secs(1);
/// After how long an uncommitted transaction is announced again, at first.
pub const REPAIR_DELAY: Duration = Duration::from_millis(300);
/// The longest between two such announcements.
pub const REPAIR_CAP: Duration = Duration::from_secs(10);
/// How long after a commit transactions may still wait their turn.
pub const QUIET: Duration = Duration::from_secs(1);
/// To how many peers a validator announces what others handed in.
pub const REPAIR_FANOUT: usize = 3;
/// Announcements made in one tick; the rest wait for the next.
pub const REPAIR_BATCH: usize = 16_384;
/// How long announcements of a transaction are ignored for which there was no room.
pub const DEFER: Duration = Duration::from_secs(10);
/// Ids remembered of transactions no longer held: so many at most, half of them at least.
pub const SEEN_IDS: usize = 200_000;
/// Ids that one peer may have announced and not yet delivered.
pub const ANNOUNCED_PER_PEER: usize = 20_000;
/// The same for all peers together; each has an equal share if that is less.
pub const ANNOUNCED_TOTAL: usize = 400_000;
/// Ids one peer may be asked for at a time.
pub const PULLS_PER_PEER: usize = 16_384;
/// Bytes that answer one pull, except that one transaction always goes.
pub const ANSWER_BYTES: usize = 4 << 20;
/// Bytes a second that answer the pulls of one peer; as much again may go in a burst.
pub const ANSWER_RATE: usize = 64 << 20;

/// A transaction in the mempool.
#[derive(Debug)]
struct Held {
    hops: u8,
    /// Peers that sent, announced or asked us to believe they have it. What we pushed does not
    /// count: it may have been lost.
    known: PeerSet,
    /// Place among those handed in here.
    local: Option<u64>,
    /// When it came.
    since: Duration,
    repairs: u32,
    repair_at: Slot,
}

/// A transaction that is not here and should be.
#[derive(Debug)]
struct Missing {
    announcers: PeerSet,
    /// Asked since the round began.
    tried: PeerSet,
    /// Whom we wait for.
    asked: Option<ValidatorIndex>,
    /// Every candidate was asked so many times.
    rounds: u32,
    /// How often somebody was asked.
    asks: u32,
    /// When it was first heard of.
    since: Duration,
    /// A proposal needs it: ask anyone, never give up.
    wanted: bool,
    /// Who announced it first: on whose account it is.
    account: Option<ValidatorIndex>,
    act_at: Slot,
}

impl Missing {
    /// One that was heard of now, from nobody yet.
    fn since(now: Duration) -> Missing {
        Missing {
            announcers: PeerSet::EMPTY,
            tried: PeerSet::EMPTY,
            asked: None,
            rounds: 0,
            asks: 0,
            since: now,
            wanted: false,
            account: None,
            act_at: Slot::default(),
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Peer {
    /// Entries of `missing` on its account.
    announced: usize,
    /// Entries of `missing` that wait for it.
    asked: usize,
    /// Bytes it has been answered with and has not paid for with time.
    answered: usize,
    answered_at: Duration,
}

/// How often bodies came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// First copies from peers.
    pub first: u64,
    /// Further copies, of what was known from whatever source.
    pub duplicates: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Gossip {
    tree: Tree,
    n: usize,
    rng: ChaCha20Rng,
    up: PeerSet,
    peers: Vec<Peer>,
    held: HashMap<TransactionId, Held>,
    local: BTreeMap<u64, TransactionId>,
    next_local: u64,
    missing: HashMap<TransactionId, Missing>,
    /// Between `received` and the verdict: whether it was pulled. Cleared by the next frame.
    arriving: HashMap<TransactionId, bool>,
    /// Until when copies and announcements are ignored.
    seen: Recent<Duration>,
    repairs: Wheel,
    pulls: Wheel,
    way: Way,
    turn: Turn,
    outbox: Outbox,
    counts: Counts,
}

impl Gossip {
    /// No peers, no transactions. `seed` drives the choice of whom to ask and tell.
    ///
    /// # Panics
    /// If `n` exceeds [`limits::VALIDATORS`]: the genesis document's checks come before.
    pub fn new(me: ValidatorIndex, n: usize, seed: [u8; 32]) -> Gossip {
        assert!(n <= limits::VALIDATORS, "a chain has at most {} validators", limits::VALIDATORS);
        Gossip {
            tree: Tree::new(me, u16::try_from(n).expect("at most 128")),
            n,
            rng: ChaCha20Rng::from_seed(seed),
            up: PeerSet::EMPTY,
            peers: vec![Peer::default(); n],
            held: HashMap::default(),
            local: BTreeMap::new(),
            next_local: 0,
            missing: HashMap::default(),
            arriving: HashMap::default(),
            seen: Recent::new(SEEN_IDS),
            repairs: Wheel::default(),
            pulls: Wheel::default(),
            way: Way::default(),
            turn: Turn::default(),
            outbox: Outbox::default(),
            counts: Counts::default(),
        }
    }

    /// A connection is up. The peer is told of what was handed in here, as much as it listens to;
    /// repair tells the rest.
    pub fn peer_up(&mut self, peer: ValidatorIndex) {
        if peer.as_usize() >= self.n || self.up.contains(peer) {
            return;
        }
        self.up.insert(peer);
        for id in self.local.values().take(ANNOUNCED_PER_PEER) {
            self.outbox.announce(PeerSet::of(peer), *id);
        }
    }

    /// A connection is down. What the peer had is forgotten: it may come back with nothing.
    pub fn peer_down(&mut self, peer: ValidatorIndex) {
        if !self.up.contains(peer) {
            return;
        }
        self.up.remove(peer);
        for held in self.held.values_mut() {
            held.known.remove(peer);
        }
    }

    /// Transactions that clients handed in here and the mempool took.
    pub fn local(&mut self, transactions: &[VerifiedTransaction], now: Duration) {
        let first = self.tree.first(self.up);
        for transaction in transactions {
            let id = transaction.id();
            self.arriving.remove(&id);
            if self.held.contains_key(&id) {
                continue;
            }
            self.forget_missing(&id);
            self.outbox.push(first, 1, transaction.clone());
            self.outbox.announce(self.up.without(first), id);
            self.hold(id, 0, PeerSet::EMPTY, now);
        }
    }

    /// A frame of transactions came. Returns those this node has not seen, each once, in order; the
    /// core says for each what becomes of it before the next frame.
    pub fn received(
        &mut self,
        from: ValidatorIndex,
        transactions: Vec<VerifiedTransaction>,
        now: Duration,
    ) -> Vec<VerifiedTransaction> {
        self.arriving.clear();
        let mut fresh = Vec::with_capacity(transactions.len());
        let mut unasked = None;
        for transaction in transactions {
            let id = transaction.id();
            if let Some(held) = self.held.get_mut(&id) {
                held.known.insert(from);
                self.counts.duplicates += 1;
                continue;
            }
            let missing = self.forget_missing(&id);
            let wanted = missing.as_ref().is_some_and(|m| m.wanted);
            if let Some(missing) = missing.as_ref().filter(|m| m.rounds == 0 && !m.tried.contains(from)) {
                unasked = unasked.max(Some(now.saturating_sub(missing.since)));
            }
            if self.arriving.contains_key(&id) || (self.ignores(&id, now) && !wanted) {
                self.counts.duplicates += 1;
                continue;
            }
            self.counts.first += 1;
            self.arriving.insert(id, missing.is_some_and(|m| m.asked.is_some()));
            fresh.push(transaction);
        }
        // Those of one frame came together: they say one thing.
        if let Some(took) = unasked {
            self.way.took(took);
        }
        fresh
    }

    /// Transactions from a frame that the mempool took. Those that their origin pushed are passed on
    /// to whom this validator relays for it.
    pub fn admitted(
        &mut self,
        from: ValidatorIndex,
        hops: u8,
        transactions: &[VerifiedTransaction],
        now: Duration,
    ) {
        // 0 is for what clients hand in here; a peer that says so lies.
        let hops = hops.max(1);
        let served = self.tree.second(from).and(self.up).without(PeerSet::of(from));
        for transaction in transactions {
            let id = transaction.id();
            let pulled = self.arriving.remove(&id).unwrap_or(false);
            if self.held.contains_key(&id) {
                continue;
            }
            // One that we had to pull was announced to those we serve as well, and they pulled it.
            if hops == 1 && !pulled {
                self.outbox.push(served, 2, transaction.clone());
            }
            self.forget_missing(&id);
            self.hold(id, hops, PeerSet::of(from), now);
        }
    }

    fn hold(&mut self, id: TransactionId, hops: u8, known: PeerSet, now: Duration) {
        let repair_at = self.repairs.set(now + REPAIR_DELAY, id);
        let local = (hops == 0).then_some(self.next_local);
        if let Some(place) = local {
            self.local.insert(place, id);
            self.next_local += 1;
        }
        self.held.insert(id, Held { hops, known, local, since: now, repairs: 0, repair_at });
    }

    fn release(&mut self, id: &TransactionId) {
        self.arriving.remove(id);
        self.forget_missing(id);
        if let Some(place) = self.held.remove(id).and_then(|held| held.local) {
            self.local.remove(&place);
        }
    }

    fn ignores(&self, id: &TransactionId, now: Duration) -> bool {
        self.seen.get(id).is_some_and(|until| *until > now)
    }

    /// The transactions of a block were committed.
    pub fn committed(&mut self, ids: &[TransactionId], now: Duration) {
        let came = ids.iter().filter_map(|id| self.held.get(id)).map(|held| held.since).max();
        if let Some(came) = came {
            self.turn.committed(came, now);
        }
        self.removed(ids);
    }

    /// Transactions that this node is done with: committed, expired, or refused for good. Further
    /// copies and announcements are ignored.
    pub fn removed<'a>(&mut self, ids: impl IntoIterator<Item = &'a TransactionId>) {
        for id in ids {
            self.release(id);
            self.seen.insert(*id, Duration::MAX);
        }
    }

    /// Transactions that this node cannot take now (no room, or the ledger may accept them later).
    /// Copies and announcements are ignored for [`DEFER`], unless a proposal wants them.
    pub fn deferred<'a>(&mut self, ids: impl IntoIterator<Item = &'a TransactionId>, now: Duration) {
        for id in ids {
            self.release(id);
            self.seen.insert(*id, now + DEFER);
        }
    }

    /// A peer says that it has these. At most [`ANNOUNCE_IDS`] count.
    pub fn announced(&mut self, from: ValidatorIndex, ids: &[TransactionId], now: Duration) {
        let share = ANNOUNCED_PER_PEER.min(ANNOUNCED_TOTAL / self.n);
        // Where everybody is a relay, an announcement is a repair: the push has had its time. The
        // wheel's slots still gather what several peers announce.
        let delay =
            if self.n <= MESH + 1 { Duration::ZERO } else { self.way.patience(PULL_DELAY, PULL_DELAY_CAP) };
        for id in ids.iter().take(ANNOUNCE_IDS) {
            if let Some(held) = self.held.get_mut(id) {
                held.known.insert(from);
            } else if let Some(missing) = self.missing.get_mut(id) {
                missing.announcers.insert(from);
            } else if !self.ignores(id, now) {
                let Some(peer) = self.peers.get_mut(from.as_usize()).filter(|p| p.announced < share) else {
                    continue;
                };
                peer.announced += 1;
                let missing = Missing {
                    announcers: PeerSet::of(from),
                    account: Some(from),
                    act_at: self.pulls.set(now + delay, *id),
                    ..Missing::since(now)
                };
                self.missing.insert(*id, missing);
            }
        }
    }

    /// A proposal needs these bodies, and this node holds none of them: pulled after [`WANTED_DELAY`], from
    /// `hint` (whoever proposed) and who announced them first, until they come or are [`Gossip::unwanted`].
    /// The caller wants no more than a window of proposals does.
    pub fn wanted(&mut self, ids: &[TransactionId], hint: Option<ValidatorIndex>, now: Duration) {
        let delay = self.way.patience(WANTED_DELAY, WANTED_DELAY_CAP);
        for id in ids {
            if self.held.contains_key(id) || self.missing.get(id).is_some_and(|m| m.wanted) {
                continue;
            }
            let mut missing = self.missing.remove(id).unwrap_or_else(|| Missing::since(now));
            missing.wanted = true;
            missing.announcers = missing.announcers.or(hint.map_or(PeerSet::EMPTY, PeerSet::of));
            // Whoever is being asked already gets its time.
            if missing.asked.is_none() {
                missing.act_at = self.pulls.set(now + delay, *id);
            }
            self.missing.insert(*id, missing);
        }
    }

    /// No proposal needs these any more.
    pub fn unwanted<'a>(&mut self, ids: impl IntoIterator<Item = &'a TransactionId>) {
        for id in ids {
            if self.missing.get(id).is_some_and(|missing| missing.wanted) {
                self.forget_missing(id);
            }
        }
    }

    /// A peer asks for these. `lookup` finds a body here, in the mempool or a proposal.
    pub fn pull_requested(
        &mut self,
        from: ValidatorIndex,
        ids: &[TransactionId],
        now: Duration,
        lookup: impl Fn(&TransactionId) -> Option<VerifiedTransaction>,
    ) {
        let Some(peer) = self.peers.get_mut(from.as_usize()) else { return };
        let paid =
            now.saturating_sub(peer.answered_at).as_millis().saturating_mul(ANSWER_RATE as u128) / 1000;
        peer.answered = peer.answered.saturating_sub(usize::try_from(paid).unwrap_or(usize::MAX));
        peer.answered_at = now;
        let mut bytes = 0;
        for transaction in ids.iter().take(ANNOUNCE_IDS).filter_map(lookup) {
            let length = transaction.bytes().len();
            if (bytes > 0 && bytes + length > ANSWER_BYTES) || peer.answered > ANSWER_RATE {
                break;
            }
            bytes += length;
            peer.answered += length;
            let hops = self.held.get(&transaction.id()).map_or(1, |held| held.hops.saturating_add(1));
            self.outbox.push(PeerSet::of(from), hops, transaction);
        }
    }

    /// Pulls and announces what is due.
    pub fn tick(&mut self, now: Duration) {
        self.tick_pulls(now);
        self.tick_repairs(now);
    }

    fn tick_pulls(&mut self, now: Duration) {
        while let Some((slot, ids)) = self.pulls.due(now) {
            for id in ids {
                if self.missing.get(&id).is_none_or(|missing| missing.act_at != slot) {
                    continue;
                }
                if let Some(mut missing) = self.missing.remove(&id) {
                    self.settle_asked(&mut missing);
                    self.ask(id, missing, now);
                }
            }
        }
    }

    /// Whoever was asked is asked no more.
    fn settle_asked(&mut self, missing: &mut Missing) {
        if let Some(peer) = missing.asked.take().and_then(|peer| self.peers.get_mut(peer.as_usize())) {
            peer.asked = peer.asked.saturating_sub(1);
        }
    }

    /// Asks the next peer for a missing transaction, and keeps or drops the entry.
    fn ask(&mut self, id: TransactionId, mut missing: Missing, now: Duration) {
        let anyone = if missing.wanted { self.up } else { missing.announcers.and(self.up) };
        if anyone.without(missing.tried).is_empty() {
            missing.tried = PeerSet::EMPTY;
            missing.rounds += 1;
        }
        if !missing.wanted && (anyone.is_empty() || missing.rounds >= 2) {
            self.close_account(&missing);
            return;
        }
        let free = anyone
            .iter()
            .filter(|peer| self.peers[peer.as_usize()].asked < PULLS_PER_PEER)
            .fold(PeerSet::EMPTY, |set, peer| set.or(PeerSet::of(peer)));
        let untried = free.without(missing.tried);
        let announcers = untried.and(missing.announcers);
        let likely = if announcers.is_empty() { untried } else { announcers };
        let chosen = likely.choose(&mut self.rng);
        // What a proposal needs must not wait for those who announced it and keep silent.
        let doublings = if missing.wanted { missing.rounds } else { missing.asks };
        let wait = PULL_TIMEOUT.saturating_mul(1 << doublings.min(8)).min(PULL_TIMEOUT_CAP);
        if let Some(peer) = chosen {
            self.peers[peer.as_usize()].asked += 1;
            missing.asked = Some(peer);
            missing.tried.insert(peer);
            missing.asks = missing.asks.saturating_add(1);
            self.outbox.pull(peer, id);
        }
        missing.act_at = self.pulls.set(now + wait, id);
        self.missing.insert(id, missing);
    }

    fn close_account(&mut self, missing: &Missing) {
        if let Some(peer) = missing.account.and_then(|peer| self.peers.get_mut(peer.as_usize())) {
            peer.announced = peer.announced.saturating_sub(1);
        }
    }

    /// Drops the entry of a transaction that is no longer missing, and returns it as it was.
    fn forget_missing(&mut self, id: &TransactionId) -> Option<Missing> {
        let mut missing = self.missing.remove(id)?;
        let asked = missing.asked;
        self.settle_asked(&mut missing);
        missing.asked = asked;
        self.close_account(&missing);
        Some(missing)
    }

    fn tick_repairs(&mut self, now: Duration) {
        if self.repairs.next().is_none_or(|next| next > now) {
            return;
        }
        let mut few = PeerSet::EMPTY;
        while few.len() < REPAIR_FANOUT.min(self.up.len()) {
            // The same few for the whole tick, so that their announcements share frames.
            if let Some(peer) = self.up.without(few).choose(&mut self.rng) {
                few.insert(peer);
            }
        }
        let mut announced = 0;
        while announced < REPAIR_BATCH
            && let Some((slot, ids)) = self.repairs.due(now)
        {
            for id in ids {
                let Some(held) = self.held.get_mut(&id).filter(|held| held.repair_at == slot) else {
                    continue;
                };
                if self.turn.is_to_come(held.since, now) {
                    held.repair_at = self.repairs.set(now + REPAIR_DELAY, id);
                    continue;
                }
                if announced >= REPAIR_BATCH {
                    held.repair_at = self.repairs.set(now + PULL_TIMEOUT, id);
                    continue;
                }
                let to = if held.local.is_some() { self.up } else { few }.without(held.known);
                if !to.is_empty() {
                    announced += 1;
                    self.outbox.announce(to, id);
                }
                held.repairs = held.repairs.saturating_add(1);
                let wait = REPAIR_DELAY.saturating_mul(1 << held.repairs.min(8)).min(REPAIR_CAP);
                held.repair_at = self.repairs.set(now + wait, id);
            }
        }
    }

    /// What to send now. To be taken after every step.
    pub fn take_outgoing(&mut self) -> Vec<GossipFrame> {
        self.outbox.take()
    }

    /// When [`Gossip::tick`] has something to do next.
    pub fn deadline(&self) -> Option<Duration> {
        self.pulls.next().into_iter().chain(self.repairs.next()).min()
    }

    /// Ids of transactions: held, missing, and remembered though no longer held.
    pub fn held(&self) -> (usize, usize, usize) {
        (self.held.len(), self.missing.len(), self.seen.len())
    }

    /// How often bodies came from peers so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}
