//! Catching up: fetching committed blocks from several peers at once, believing none of them.
//!
//! What a peer says of its height is a hint about whom to ask, never a fact. A block counts when a
//! certificate at or above it does, and every link between: upon blocks above what is committed here,
//! this module looks for the lowest certified one that is connected without a gap, walks down from it
//! by the parents' hashes, and releases the whole run if it ends at our chain. Where a link does not
//! fit, the lower block is the wrong one, and whoever sent it is punished. So the core receives, from
//! [`Sync::next_ready`], only blocks that are final, in order; what is left to it is to execute them
//! and compare the results.
//!
//! - **Whom and what.** The missing heights above ours, up to [`LOOK_AHEAD`], are cut into ranges of
//!   about [`RESPONSE_BYTES`] and asked of different peers, at most [`REQUESTS`] at a time and
//!   [`REQUESTS_PER_PEER`] of one. A peer that claims u64::MAX is asked for the same ranges as others.
//! - **When.** At once when f+1 validators claim, or a certificate proves, a height out of the
//!   window's reach; otherwise when we have been behind someone for [`GRACE`] without a commit, since
//!   ordinary commits come by votes.
//! - **Failure.** No answer in time (others that are taken meanwhile put it off, up to [`TIMEOUT_CAP`], for it may
//!   wait behind them), an empty one, a wrong one: the range goes to another peer, and
//!   this one rests for [`REST`], twice as long each further time up to [`REST_CAP`]. What it delivers
//!   late is still welcome. Delivering blocks that prove final wipes its record. As rests end, one
//!   honest peer among any number of liars is enough, later if not sooner.
//! - **No end.** A run may end below its certificate, for the rest is in another answer. But a liar that
//!   cuts the certificate off, and claims heights that nobody else has, would keep us waiting for the rest
//!   for ever: when nothing has been added to a run for [`UNPROVEN`], its senders rest and it is fetched
//!   from others. (A liar may add a block at a time, but no more than two windows of them.)
//!
//! | what a peer can grow | bound | why |
//! |---|---|---|
//! | buffered blocks | [`BUFFER_BYTES`], plus the lowest run of 2 × window + 1 blocks, always taken | some answers of every peer; without the run nothing could ever be released |
//! | requests | [`REQUESTS`] | also bounds what may arrive: one answer each |
//! | a run without a certificate | 2 × window blocks | a commit reaches no further up |

use super::api::VerifiedBlock;
use super::wire::{BLOCKS_FRAME_BYTES, MAX_BLOCKS};
use quorate_types::hash::BlockHash;
use quorate_types::ids::{Height, ValidatorIndex};
use quorate_types::validators::Quorum;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// Heights above ours that may be asked for.
pub const LOOK_AHEAD: u64 = 1024;
/// Blocks asked for at once, at most: as many as an answer may hold.
pub const RANGE: u64 = MAX_BLOCKS as u64;
/// Bytes that an answer should hold: ranges are chosen by it, and the serving side stops there (but
/// always sends one block).
pub const RESPONSE_BYTES: usize = BLOCKS_FRAME_BYTES;
/// Requests in flight.
pub const REQUESTS: usize = 8;
/// Requests in flight to one peer: the second is on its way while the first is served.
pub const REQUESTS_PER_PEER: usize = 2;
/// Bytes of blocks that wait here to be connected or consumed.
pub const BUFFER_BYTES: usize = 64 << 20;
/// How long we may be a little behind before blocks are fetched.
pub const GRACE: Duration = Duration::from_millis(200);
/// How long an answer may take; doubles with each failure of the peer, up to [`TIMEOUT_CAP`]. Time counts from the
/// request, or from when another answer was last taken.
pub const TIMEOUT: Duration = Duration::from_secs(2);
/// The longest an answer may take.
pub const TIMEOUT_CAP: Duration = Duration::from_secs(8);
/// How long a run without a certificate may stay as it is: as long as two answers may take.
pub const UNPROVEN: Duration = Duration::from_secs(16);
/// How long a peer is not asked after its first failure; doubles with each further one.
pub const REST: Duration = Duration::from_millis(500);
/// The longest rest, so that a peer that heals, or was blamed for another, is back within seconds.
pub const REST_CAP: Duration = Duration::from_secs(8);

/// Past requests of one peer that it may still answer without blame.
const LATE_ANSWERS: usize = 8;
/// What a block weighs beside its transactions.
const BLOCK_OVERHEAD_BYTES: usize = 1024;
/// The first guess at the size of a block.
const TYPICAL_BLOCK_BYTES: usize = 128 << 10;

/// Blocks to be asked of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRequest {
    /// Whom.
    pub peer: ValidatorIndex,
    /// The first height.
    pub from: Height,
    /// The last height, included.
    pub to: Height,
}

/// What a peer did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SyncFault {
    /// The time for an answer ran out.
    #[error("blocks asked for did not come in time")]
    Timeout,
    /// Blocks that were not asked for.
    #[error("sent blocks that nobody asked for")]
    Unasked,
    /// Heights out of order, or outside the range asked for.
    #[error("sent other heights than were asked for")]
    WrongHeights,
    /// A block that certified blocks above it do not descend from.
    #[error("sent a block that is not on the certified chain")]
    NotOnChain,
    /// More blocks in a row than there can be without a certificate, or some to which nothing came.
    #[error("sent a run of blocks without a certificate")]
    NoCertificate,
    /// The core refused a block.
    #[error("sent a block that was refused")]
    Refused,
}

#[derive(Debug, Clone, Default)]
struct Peer {
    up: bool,
    /// The height it last claimed.
    claim: Height,
    /// Failures since it last delivered blocks that proved final.
    failures: u32,
    rests_until: Duration,
    /// Requests in flight.
    asked: usize,
    /// When it was last asked, in requests: ties go to who has waited longest.
    last_asked: u64,
    late: VecDeque<(Height, Height)>,
}

#[derive(Debug)]
struct InFlight {
    request: BlockRequest,
    deadline: Duration,
    /// It is never put off beyond this.
    latest: Duration,
}

#[derive(Debug)]
struct Buffered {
    from: ValidatorIndex,
    block: VerifiedBlock,
    bytes: usize,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Sync {
    me: ValidatorIndex,
    f: usize,
    window: u64,
    /// The last block committed here.
    own: (Height, BlockHash),
    /// The last block released, or `own` if that is higher: where the next run begins.
    base: (Height, BlockHash),
    released: VecDeque<Buffered>,
    /// Above `base`, not yet connected to a certificate.
    buffer: BTreeMap<Height, Buffered>,
    /// The last height of the lowest run, which has no certificate yet, and since when it is that.
    unproven: Option<(Height, Duration)>,
    /// Of `released` and `buffer`.
    bytes: usize,
    /// Average weight of a block, for the length of ranges.
    block_bytes: usize,
    peers: Vec<Peer>,
    in_flight: Vec<InFlight>,
    outgoing: Vec<BlockRequest>,
    faults: Vec<(ValidatorIndex, SyncFault)>,
    /// The greatest height that a certificate proves to exist.
    proven: Height,
    /// Since when someone has claimed more than we have, and we have not moved.
    behind_since: Option<Duration>,
    asked_ever: u64,
    /// The time of the last call.
    now: Duration,
}

impl Sync {
    /// For validator `me` of `n`, with the chain's window, whose last committed block is `own` (the
    /// chain id as a hash at height 0).
    pub fn new(me: ValidatorIndex, n: usize, window: u64, own: (Height, BlockHash)) -> Sync {
        Sync {
            me,
            f: Quorum::of(n).f,
            window,
            own,
            base: own,
            released: VecDeque::new(),
            buffer: BTreeMap::new(),
            unproven: None,
            bytes: 0,
            block_bytes: TYPICAL_BLOCK_BYTES,
            peers: vec![Peer::default(); n],
            in_flight: Vec::new(),
            outgoing: Vec::new(),
            faults: Vec::new(),
            proven: Height::GENESIS,
            behind_since: None,
            asked_ever: 0,
            now: Duration::ZERO,
        }
    }

    fn peer(&mut self, peer: ValidatorIndex) -> Option<&mut Peer> {
        if peer == self.me { None } else { self.peers.get_mut(peer.as_usize()) }
    }

    /// Bytes of blocks that wait here, and requests in flight.
    pub fn held(&self) -> (usize, usize) {
        (self.bytes, self.in_flight.len())
    }

    /// A connection is up.
    pub fn peer_up(&mut self, peer: ValidatorIndex, now: Duration) {
        if let Some(peer) = self.peer(peer) {
            peer.up = true;
        }
        self.assign(now);
    }

    /// A connection is down: what the peer was asked for goes to others, without blame. Its record
    /// stays, so that reconnecting washes nothing off.
    pub fn peer_down(&mut self, peer: ValidatorIndex, now: Duration) {
        if let Some(peer) = self.peer(peer) {
            peer.up = false;
            peer.late.clear();
            peer.asked = 0;
        }
        self.in_flight.retain(|in_flight| in_flight.request.peer != peer);
        self.assign(now);
    }

    /// A peer says how high its chain is.
    pub fn peer_height(&mut self, peer: ValidatorIndex, height: Height, now: Duration) {
        if let Some(peer) = self.peer(peer) {
            peer.claim = height;
        }
        self.assign(now);
    }

    /// A verified certificate for `height` came from a peer: the block exists, and the peer is worth
    /// asking.
    pub fn certified(&mut self, from: ValidatorIndex, height: Height, now: Duration) {
        self.proven = self.proven.max(height);
        if let Some(peer) = self.peer(from) {
            peer.claim = peer.claim.max(height);
        }
        self.assign(now);
    }

    /// A block committed here, by votes or from here.
    pub fn own_height(&mut self, height: Height, hash: BlockHash, now: Duration) {
        if height <= self.own.0 {
            return;
        }
        self.own = (height, hash);
        self.behind_since = None;
        while self.released.front().is_some_and(|front| front.block.block.header.height <= height) {
            if let Some(released) = self.released.pop_front() {
                self.bytes -= released.bytes;
            }
        }
        if height > self.base.0 {
            self.rebase();
        }
        self.settle(now);
        self.assign(now);
    }

    /// Starts the next run at what is committed.
    fn rebase(&mut self) {
        self.base = self.own;
        self.bytes -= self.released.drain(..).map(|released| released.bytes).sum::<usize>();
        let above = self.buffer.split_off(&self.own.0.next());
        self.bytes -= self.buffer.values().map(|buffered| buffered.bytes).sum::<usize>();
        self.buffer = above;
        let obsolete = |request: &BlockRequest| request.to <= self.own.0;
        let done: Vec<BlockRequest> =
            self.in_flight.iter().map(|in_flight| in_flight.request).filter(obsolete).collect();
        for request in done {
            self.close(request);
        }
    }

    /// A request is over; its answer may still come.
    fn close(&mut self, request: BlockRequest) {
        self.in_flight.retain(|in_flight| in_flight.request != request);
        if let Some(peer) = self.peer(request.peer) {
            peer.asked = peer.asked.saturating_sub(1);
            peer.late.push_back((request.from, request.to));
            if peer.late.len() > LATE_ANSWERS {
                peer.late.pop_front();
            }
        }
    }

    /// An answer came.
    pub fn blocks(&mut self, from: ValidatorIndex, blocks: Vec<VerifiedBlock>, now: Duration) {
        let Some((first, last)) = self.asked_range(from, &blocks) else {
            // An honest peer's answer may come so late that we have forgotten the request: reported,
            // not punished, and never used.
            self.faults.push((from, SyncFault::Unasked));
            return;
        };
        self.put_off(now);
        let in_order = blocks
            .iter()
            .zip(first.0..=last.0)
            .filter(|(b, height)| b.block.header.height.0 == *height)
            .count();
        if blocks.is_empty() || in_order != blocks.len() {
            self.punish(from, SyncFault::WrongHeights, now);
        } else {
            self.store(from, blocks);
            self.settle(now);
        }
        self.assign(now);
    }

    /// An answer was taken: others may have waited behind it, to be verified or to be taken, for as long as
    /// executing what came before them takes. They get their time again, up to the longest.
    fn put_off(&mut self, now: Duration) {
        for in_flight in &mut self.in_flight {
            in_flight.deadline = in_flight.deadline.max(now + TIMEOUT).min(in_flight.latest);
        }
    }

    /// Finds the request that an answer belongs to, and closes it for good.
    fn asked_range(&mut self, from: ValidatorIndex, blocks: &[VerifiedBlock]) -> Option<(Height, Height)> {
        let first = blocks.first().map(|block| block.block.header.height);
        let answers = |at: Height| first.is_none_or(|first| first == at);
        let in_flight = self.in_flight.iter().map(|in_flight| in_flight.request);
        let open = in_flight.into_iter().find(|request| request.peer == from && answers(request.from));
        if let Some(request) = open {
            self.close(request);
        }
        let late = &mut self.peer(from)?.late;
        let place = match open {
            Some(request) => late.iter().rposition(|range| *range == (request.from, request.to)),
            None => late.iter().position(|(at, _)| answers(*at)),
        };
        let range = late.remove(place?)?;
        // An empty answer to a request that we gave up is no answer to anything.
        (open.is_some() || first.is_some()).then_some(range)
    }

    fn store(&mut self, from: ValidatorIndex, blocks: Vec<VerifiedBlock>) {
        let always = self.base.0.plus(2 * self.window + 1);
        let weights: Vec<usize> = blocks.iter().map(weight).collect();
        let average = weights.iter().sum::<usize>() / weights.len().max(1);
        self.block_bytes = (3 * self.block_bytes + average) / 4;
        for (block, bytes) in blocks.into_iter().zip(weights) {
            let height = block.block.header.height;
            if height <= self.base.0 || self.buffer.contains_key(&height) {
                continue;
            }
            if self.bytes + bytes > BUFFER_BYTES && height > always {
                break;
            }
            self.bytes += bytes;
            self.buffer.insert(height, Buffered { from, block, bytes });
        }
    }

    /// Releases every run that a certificate makes final, and punishes whoever's blocks do not fit.
    fn settle(&mut self, now: Duration) {
        loop {
            let run = self.lowest_run();
            let certified = run.last().copied().filter(|height| {
                self.buffer.get(height).is_some_and(|buffered| is_certified(&buffered.block))
            });
            match certified {
                Some(certified) => match self.misfit_below(certified) {
                    None => self.release(certified),
                    Some(liar) => self.punish(liar, SyncFault::NotOnChain, now),
                },
                None if run.len() as u64 > 2 * self.window => self.give_up(&run, now),
                None => {
                    let end = run.last().copied();
                    if end != self.unproven.map(|(end, _)| end) {
                        self.unproven = end.map(|end| (end, now));
                    }
                    return;
                }
            }
        }
    }

    /// Nothing proves these blocks final: they are fetched again, from others first.
    fn give_up(&mut self, run: &[Height], now: Duration) {
        let mut senders: Vec<ValidatorIndex> =
            run.iter().filter_map(|height| self.buffer.get(height)).map(|b| b.from).collect();
        senders.sort_unstable();
        senders.dedup();
        for sender in senders {
            self.punish(sender, SyncFault::NoCertificate, now);
        }
    }

    /// The heights above the base without a gap, up to the first certified block.
    fn lowest_run(&self) -> Vec<Height> {
        let mut run = Vec::new();
        let mut next = self.base.0.next();
        while let Some(buffered) = self.buffer.get(&next) {
            run.push(next);
            if is_certified(&buffered.block) {
                break;
            }
            next = next.next();
        }
        run
    }

    /// Walks down from a certified block by the parents' hashes; the sender of the first block that
    /// is not the one named from above.
    fn misfit_below(&self, certified: Height) -> Option<ValidatorIndex> {
        let top = self.buffer.get(&certified)?;
        let mut expected = top.block.block.header.parent;
        for buffered in self.buffer.range(self.base.0.next()..certified).rev().map(|(_, buffered)| buffered) {
            if buffered.block.hash != expected {
                return Some(buffered.from);
            }
            expected = buffered.block.block.header.parent;
        }
        // A certified chain beside ours would take more than f liars. Whatever it is, it is not used.
        (expected != self.base.1).then_some(top.from)
    }

    fn release(&mut self, upto: Height) {
        let above = self.buffer.split_off(&upto.next());
        for (height, buffered) in std::mem::replace(&mut self.buffer, above) {
            self.base = (height, buffered.block.hash);
            if let Some(peer) = self.peer(buffered.from) {
                peer.failures = 0;
            }
            self.released.push_back(buffered);
        }
    }

    /// The next final block above all handed out before, and who sent it.
    pub fn next_ready(&mut self) -> Option<(ValidatorIndex, VerifiedBlock)> {
        let released = self.released.pop_front()?;
        self.bytes -= released.bytes;
        Some((released.from, released.block))
    }

    /// The core found a block of this peer wrong: its blocks are thrown away, and everything above
    /// our last commit is fetched again, from others first.
    pub fn refused(&mut self, peer: ValidatorIndex, now: Duration) {
        self.rebase();
        self.punish(peer, SyncFault::Refused, now);
        self.settle(now);
        self.assign(now);
    }

    /// Throws away what a peer sent, and lets it rest.
    fn punish(&mut self, peer: ValidatorIndex, fault: SyncFault, now: Duration) {
        let mut freed = 0;
        self.buffer.retain(|_, buffered| {
            freed += if buffered.from == peer { buffered.bytes } else { 0 };
            buffered.from != peer
        });
        self.bytes -= freed;
        let open: Vec<BlockRequest> =
            self.in_flight.iter().map(|i| i.request).filter(|request| request.peer == peer).collect();
        for request in open {
            self.close(request);
        }
        self.rest(peer, fault, now);
    }

    fn rest(&mut self, index: ValidatorIndex, fault: SyncFault, now: Duration) {
        self.faults.push((index, fault));
        if let Some(peer) = self.peer(index) {
            let rest = REST.saturating_mul(1 << peer.failures.min(8)).min(REST_CAP);
            peer.failures = peer.failures.saturating_add(1);
            peer.rests_until = now + rest;
        }
    }

    /// Gives up on late answers, and asks for what is missing.
    pub fn tick(&mut self, now: Duration) {
        let late: Vec<BlockRequest> =
            self.in_flight.iter().filter(|i| i.deadline <= now).map(|i| i.request).collect();
        for request in late {
            self.close(request);
            self.rest(request.peer, SyncFault::Timeout, now);
        }
        if self.unproven_until().is_some_and(|until| until <= now) {
            self.give_up(&self.lowest_run(), now);
            self.settle(now);
        }
        self.assign(now);
    }

    fn unproven_until(&self) -> Option<Duration> {
        self.unproven.map(|(_, since)| since.saturating_add(UNPROVEN))
    }

    /// Asks for missing ranges, as far as bounds, claims and rests allow.
    fn assign(&mut self, now: Duration) {
        self.now = now;
        if self.highest_claim() <= self.own.0 {
            self.behind_since = None;
            return;
        }
        let since = *self.behind_since.get_or_insert(now);
        let busy = !self.in_flight.is_empty() || !self.buffer.is_empty() || !self.released.is_empty();
        if !busy && !self.is_catching_up() && now < since + GRACE {
            return;
        }
        let limit = self.base.0.plus(LOOK_AHEAD).min(self.highest_claim());
        let mut at = self.base.0.next();
        let mut lowest_missing = true;
        while self.in_flight.len() < REQUESTS && at <= limit {
            if self.buffer.contains_key(&at) {
                at = at.next();
                continue;
            }
            if let Some(covering) =
                self.in_flight.iter().find(|i| (i.request.from..=i.request.to).contains(&at))
            {
                at = covering.request.to.next();
                lowest_missing = false;
                continue;
            }
            let expected = self.bytes.saturating_add((self.in_flight.len() + 1) * RESPONSE_BYTES);
            if !lowest_missing && expected > BUFFER_BYTES {
                break;
            }
            let Some(peer) = self.choose(at, now) else { break };
            let to = self.end_of_gap(at).min(limit).min(self.peers[peer.as_usize()].claim);
            self.send(BlockRequest { peer, from: at, to }, now);
            at = to.next();
            lowest_missing = false;
        }
    }

    /// The last height of a range that starts at `at` and runs into nothing buffered or requested.
    fn end_of_gap(&self, at: Height) -> Height {
        let blocks = (RESPONSE_BYTES / self.block_bytes.max(1)) as u64;
        let range_end = at.plus(blocks.clamp(1, RANGE) - 1);
        let buffered = self.buffer.range(at..).next().map(|(height, _)| *height);
        let requested = self.in_flight.iter().map(|i| i.request.from).filter(|from| *from > at).min();
        let next = buffered.into_iter().chain(requested).min().and_then(Height::previous);
        next.map_or(range_end, |gap_end| gap_end.min(range_end))
    }

    /// Of the peers that claim the height and do not rest: the least busy, then the most reliable,
    /// then the one asked longest ago.
    fn choose(&self, height: Height, now: Duration) -> Option<ValidatorIndex> {
        let fits = |peer: &Peer| {
            peer.up && peer.claim >= height && peer.rests_until <= now && peer.asked < REQUESTS_PER_PEER
        };
        let indexes = (0u16..).map(ValidatorIndex);
        let fitting = indexes.zip(&self.peers).filter(|(_, peer)| fits(peer));
        fitting.min_by_key(|(_, peer)| (peer.asked, peer.failures, peer.last_asked)).map(|(index, _)| index)
    }

    fn send(&mut self, request: BlockRequest, now: Duration) {
        self.asked_ever += 1;
        let asked_ever = self.asked_ever;
        let Some(peer) = self.peer(request.peer) else { return };
        peer.asked += 1;
        peer.last_asked = asked_ever;
        let timeout = TIMEOUT.saturating_mul(1 << peer.failures.min(8)).min(TIMEOUT_CAP);
        self.in_flight.push(InFlight { request, deadline: now + timeout, latest: now + TIMEOUT_CAP });
        self.outgoing.push(request);
    }

    /// What to ask now. To be taken after every step.
    pub fn take_requests(&mut self) -> Vec<BlockRequest> {
        std::mem::take(&mut self.outgoing)
    }

    /// What peers did wrong since the last call.
    pub fn take_faults(&mut self) -> Vec<(ValidatorIndex, SyncFault)> {
        std::mem::take(&mut self.faults)
    }

    fn highest_claim(&self) -> Height {
        self.peers.iter().filter(|peer| peer.up).map(|peer| peer.claim).max().unwrap_or_default()
    }

    /// The height that at least one honest validator has: claimed by f+1 connected peers, proven by a
    /// certificate, or our own.
    pub fn target(&self) -> Height {
        let mut claims: Vec<Height> =
            self.peers.iter().filter(|peer| peer.up).map(|peer| peer.claim).collect();
        claims.sort_unstable();
        let claimed = claims.iter().rev().nth(self.f).copied().unwrap_or_default();
        claimed.max(self.proven).max(self.own.0)
    }

    /// Whether the others are out of the window's reach, so that we cannot vote with them.
    pub fn is_catching_up(&self) -> bool {
        self.target() > self.own.0.plus(self.window)
    }

    /// Bytes of the blocks that wait here.
    pub fn buffered_bytes(&self) -> usize {
        self.bytes
    }

    /// When [`Sync::tick`] has something to do next.
    pub fn deadline(&self) -> Option<Duration> {
        let answers = self.in_flight.iter().map(|in_flight| in_flight.deadline);
        let behind = self.behind_since.is_some();
        let useful = |peer: &&Peer| behind && peer.up && peer.claim > self.base.0;
        let rests = self.peers.iter().filter(useful).map(|peer| peer.rests_until);
        let grace = self.behind_since.map(|since| since + GRACE);
        // What lies in the past was acted upon, as far as anything could be done.
        let due = rests.chain(grace).filter(|at| *at > self.now);
        answers.chain(due).chain(self.unproven_until()).min()
    }
}

/// Whether a block carries its own certificate. That its signatures hold was checked on arrival.
fn is_certified(block: &VerifiedBlock) -> bool {
    block.block.certificate.as_ref().is_some_and(|certificate| {
        certificate.commit.block == block.hash && certificate.commit.height == block.block.header.height
    })
}

fn weight(block: &VerifiedBlock) -> usize {
    BLOCK_OVERHEAD_BYTES + block.block.transactions.iter().map(|bytes| bytes.len()).sum::<usize>()
}
