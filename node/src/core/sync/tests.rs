//! Catching up from peers of every kind, with a fake clock.

use super::*;
use bytes::Bytes;
use proptest::prelude::*;
use quorate_types::block::{Block, Header};
use quorate_types::certificate::{Certificate, Commit};
use quorate_types::hash::{ChainId, Hash, ResultHash};
use quorate_types::ids::{Timestamp, View};

const WINDOW: u64 = 4;
const GENESIS: BlockHash = BlockHash(Hash([7; 32]));

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn v(index: usize) -> ValidatorIndex {
    ValidatorIndex(u16::try_from(index).unwrap())
}

fn block(height: u64, parent: BlockHash, certified: bool, flavour: u64, body: &Bytes) -> VerifiedBlock {
    let header = Header {
        chain: ChainId(GENESIS.0),
        height: Height(height),
        view: View(0),
        proposer: v(0),
        timestamp: Timestamp(flavour),
        parent,
        parent_result: ResultHash::default(),
        transactions_root: Hash::ZERO,
        transaction_count: 1,
        history_root: Hash::ZERO,
        validators: Hash::ZERO,
    };
    let hash = header.hash();
    let commit = Commit { view: View(0), height: Height(height), block: hash, result: ResultHash::default() };
    let certificate = certified.then(|| Certificate { commit, signatures: vec![] });
    let block = Block { header, transactions: vec![body.clone()], certificate };
    VerifiedBlock { block, hash, transactions: vec![] }
}

/// Blocks 1 to `length`; those where `certified` says so carry their certificate, the last always.
fn chain(length: u64, flavour: u64, size: usize, certified: impl Fn(u64) -> bool) -> Vec<VerifiedBlock> {
    let body = Bytes::from(vec![0; size]);
    let mut parent = GENESIS;
    (1..=length)
        .map(|height| {
            let block = block(height, parent, height == length || certified(height), flavour, &body);
            parent = block.hash;
            block
        })
        .collect()
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Honest,
    /// Answers, but later than it may.
    Slow,
    /// Claims everything and answers nothing.
    Silent,
    /// Claims everything and answers with no blocks.
    Empty,
    /// Serves another chain, linked in itself, without certificates.
    Forger,
    /// Serves the true blocks, but other heights than asked.
    Misplacing,
    /// Serves the true blocks and strips their certificates.
    Stripping,
    /// Serves true blocks, every third of them swapped for a forged one.
    Mixing,
    /// Not there at all.
    Down,
}

struct World {
    sync: Sync,
    truth: Vec<VerifiedBlock>,
    forged: Vec<VerifiedBlock>,
    kinds: Vec<Kind>,
    answers: BTreeMap<(Duration, u64), (usize, Vec<VerifiedBlock>)>,
    sent: u64,
    now: Duration,
    own: Height,
    most_buffered: usize,
    requested: Vec<BlockRequest>,
    faults: Vec<(ValidatorIndex, SyncFault)>,
    /// How long an honest peer takes, by its index.
    latency: fn(usize, u64) -> Duration,
}

impl World {
    /// Validator 0 catches up from the others, of these kinds.
    fn new(kinds: &[Kind], truth: Vec<VerifiedBlock>) -> World {
        let n = kinds.len() + 1;
        let forged = chain(truth.len() as u64 + 2000, 666, 100, |_| false);
        World {
            sync: Sync::new(v(0), n, WINDOW, (Height::GENESIS, GENESIS)),
            truth,
            forged,
            kinds: [&[Kind::Down], kinds].concat(),
            answers: BTreeMap::new(),
            sent: 0,
            now: Duration::ZERO,
            own: Height::GENESIS,
            most_buffered: 0,
            requested: Vec::new(),
            faults: Vec::new(),
            latency: |peer, sent| ms(1 + (sent * 7 + peer as u64 * 13) % 40),
        }
    }

    fn connect(&mut self) {
        for (index, kind) in self.kinds.clone().into_iter().enumerate() {
            if kind != Kind::Down {
                self.sync.peer_up(v(index), self.now);
                let honest = Height(self.truth.len() as u64);
                let lies = !matches!(kind, Kind::Honest | Kind::Slow);
                self.sync.peer_height(v(index), if lies { Height(u64::MAX) } else { honest }, self.now);
            }
        }
        self.after_step();
    }

    fn serve(&self, peer: usize, request: BlockRequest) -> Option<(Duration, Vec<VerifiedBlock>)> {
        let slice = |chain: &[VerifiedBlock]| -> Vec<VerifiedBlock> {
            let heights =
                chain.iter().filter(|b| (request.from..=request.to).contains(&b.block.header.height));
            let mut bytes = 0;
            let fits = |b: &&VerifiedBlock| {
                let before = bytes;
                bytes += weight(b);
                before == 0 || bytes <= RESPONSE_BYTES
            };
            heights.take_while(fits).cloned().collect()
        };
        let latency = (self.latency)(peer, self.sent);
        Some(match self.kinds[peer] {
            Kind::Honest => (latency, slice(&self.truth)),
            Kind::Slow => (TIMEOUT + ms(500), slice(&self.truth)),
            Kind::Silent | Kind::Down => return None,
            Kind::Empty => (latency, vec![]),
            Kind::Forger => (latency, slice(&self.forged)),
            Kind::Misplacing => (latency, slice(&self.truth).into_iter().rev().collect()),
            Kind::Stripping => {
                let mut blocks = slice(&self.truth);
                blocks.iter_mut().for_each(|b| b.block.certificate = None);
                (latency, blocks)
            }
            Kind::Mixing => {
                let mut blocks = slice(&self.truth);
                for block in blocks.iter_mut().filter(|b| b.block.header.height.0 % 3 == 0) {
                    *block = self.forged[usize::try_from(block.block.header.height.0 - 1).unwrap()].clone();
                }
                (latency, blocks)
            }
        })
    }

    fn after_step(&mut self) {
        while let Some((_, block)) = self.sync.next_ready() {
            let height = block.block.header.height;
            assert_eq!(height, self.own.next(), "in order, without gaps");
            let truth = &self.truth[usize::try_from(height.0 - 1).unwrap()];
            assert_eq!(block.hash, truth.hash, "and final");
            self.own = height;
            self.sync.own_height(height, block.hash, self.now);
        }
        self.faults.extend(self.sync.take_faults());
        for request in self.sync.take_requests() {
            self.requested.push(request);
            if let Some((latency, blocks)) = self.serve(request.peer.as_usize(), request) {
                self.answers.insert((self.now + latency, self.sent), (request.peer.as_usize(), blocks));
            }
            self.sent += 1;
        }
        assert!(self.sync.in_flight.len() <= REQUESTS);
        for (index, peer) in self.sync.peers.iter().enumerate() {
            let open = self.sync.in_flight.iter().filter(|i| i.request.peer == v(index)).count();
            assert_eq!(peer.asked, open);
            assert!(open <= REQUESTS_PER_PEER);
        }
        let waiting = self.sync.buffer.values().chain(&self.sync.released);
        assert_eq!(self.sync.bytes, waiting.map(|b| b.bytes).sum::<usize>());
        self.most_buffered = self.most_buffered.max(self.sync.bytes);
    }

    /// One event; false if none is left before `until`.
    fn step(&mut self, until: Duration) -> bool {
        let answer = self.answers.first_key_value().map(|((at, _), _)| *at);
        let Some(next) = answer.into_iter().chain(self.sync.deadline()).min().filter(|at| *at <= until)
        else {
            self.now = until;
            return false;
        };
        assert!(next >= self.now || answer == Some(next), "no deadline in the past");
        self.now = self.now.max(next);
        match self.answers.pop_first() {
            Some(((at, _), (peer, blocks))) if at == next => self.sync.blocks(v(peer), blocks, self.now),
            Some((key, value)) => {
                self.answers.insert(key, value);
                self.sync.tick(self.now);
            }
            None => self.sync.tick(self.now),
        }
        self.after_step();
        true
    }

    /// Runs until all is fetched; the time it took.
    fn finish(&mut self, limit: Duration) -> Duration {
        let goal = Height(self.truth.len() as u64);
        while self.own < goal {
            assert!(self.step(limit), "stuck at {} of {goal}: {:?}", self.own, self.faults);
        }
        self.now
    }

    fn faults_of(&self, peer: usize) -> Vec<SyncFault> {
        self.faults.iter().filter(|(p, _)| *p == v(peer)).map(|(_, fault)| *fault).collect()
    }
}

#[test]
fn all_peers_serve_in_parallel_and_out_of_order() {
    let mut world = World::new(&[Kind::Honest; 3], chain(3000, 0, 100, |_| true));
    world.connect();
    assert!(world.sync.is_catching_up());
    world.finish(ms(10_000));
    assert!(!world.sync.is_catching_up());
    assert_eq!(world.faults, []);
    for peer in 1..=3 {
        let share = world.requested.iter().filter(|request| request.peer == v(peer)).count();
        assert!(share > 5, "peer {peer} served {share} of {}", world.requested.len());
    }
    let asked: u64 = world.requested.iter().map(|request| request.to.0 - request.from.0 + 1).sum();
    assert_eq!(asked, 3000, "every block was asked for once");
}

#[test]
fn one_honest_peer_among_liars_is_enough() {
    use Kind::*;
    for liar in [Silent, Empty, Forger, Misplacing, Stripping, Mixing] {
        for honest in 1..=4 {
            let mut kinds = [liar; 4];
            kinds[honest - 1] = Honest;
            let mut world = World::new(&kinds, chain(1500, 0, 100, |height| height % 4 == 0));
            world.connect();
            let took = world.finish(ms(60_000));
            println!("{liar:?}, honest peer {honest}: {took:?}, {} faults", world.faults.len());
            let blamed = (1..=4).filter(|p| *p != honest).any(|p| !world.faults_of(p).is_empty());
            assert!(blamed, "{liar:?} is noticed");
        }
    }
}

#[test]
fn a_claim_of_everything_makes_nobody_catch_up() {
    let mut world = World::new(&[Kind::Silent, Kind::Honest, Kind::Honest], chain(1, 0, 10, |_| true));
    world.connect();
    world.finish(ms(30_000));
    assert!(!world.sync.is_catching_up(), "f claims are no evidence");
    assert_eq!(world.sync.target(), Height(1));
    let before = world.requested.len();
    while world.step(ms(60_000)) {}
    let asked = world.requested.len() - before;
    assert!(asked < 40, "the liar costs a request now and then: {asked}");
    assert!(world.faults_of(1).iter().all(|fault| *fault == SyncFault::Timeout));
}

#[test]
fn a_slow_peer_is_used_when_there_is_no_other() {
    let mut world = World::new(&[Kind::Slow, Kind::Down, Kind::Down], chain(400, 0, 100, |_| true));
    world.connect();
    world.finish(ms(120_000));
    assert!(world.faults_of(1).iter().all(|fault| *fault == SyncFault::Timeout));
}

#[test]
fn a_little_behind_is_left_to_the_votes_for_a_while() {
    let mut world = World::new(&[Kind::Honest; 3], chain(WINDOW, 0, 10, |_| true));
    world.connect();
    assert_eq!(world.requested, []);
    assert_eq!(world.sync.deadline(), Some(GRACE));
    world.finish(ms(1_000));
    assert!(world.now >= GRACE);
}

#[test]
fn a_certificate_starts_it_whatever_is_claimed() {
    let mut sync = Sync::new(v(0), 4, WINDOW, (Height::GENESIS, GENESIS));
    sync.peer_up(v(2), ms(0));
    assert_eq!(sync.take_requests(), []);
    sync.certified(v(2), Height(50), ms(1));
    assert!(sync.is_catching_up());
    let requests = sync.take_requests();
    assert_eq!(requests.first().map(|request| (request.peer, request.from)), Some((v(2), Height(1))));
}

/// Whoever executes slowly takes one answer in a second, though all of them came soon.
#[test]
fn answers_that_wait_for_their_turn_are_not_late() {
    let mut world = World::new(&[Kind::Honest; 3], chain(600, 0, 40_000, |_| true));
    let most = 3 * REQUESTS_PER_PEER as u64;
    assert_eq!(most, 6, "as many as are in flight");
    world.latency = |_, sent| ms(1000 * (sent + 1).min(6));
    world.connect();
    assert_eq!(world.sync.in_flight.len() as u64, most);
    let took = world.finish(ms(60_000));
    assert!(took > 2 * TIMEOUT, "{took:?}");
    assert_eq!(world.faults, []);
}

/// Others may answer all the time: it does not give a silent peer more than the longest that anyone gets.
#[test]
fn a_silent_peer_is_put_off_no_longer_than_the_cap() {
    let mut world = World::new(&[Kind::Silent, Kind::Honest, Kind::Honest], chain(600, 0, 40_000, |_| true));
    world.latency = |_, sent| ms(1000 * (sent + 1).min(4));
    world.connect();
    while world.faults.is_empty() {
        assert!(world.step(ms(60_000)), "nobody is blamed");
    }
    assert_eq!(world.faults[0], (v(1), SyncFault::Timeout));
    assert!((TIMEOUT..=TIMEOUT_CAP).contains(&world.now), "{:?}", world.now);
}

#[test]
fn blocks_without_their_own_certificate_wait_for_a_later_one() {
    let truth = chain(8, 0, 10, |_| false);
    let mut sync = Sync::new(v(0), 4, WINDOW, (Height::GENESIS, GENESIS));
    sync.peer_up(v(1), ms(0));
    sync.certified(v(1), Height(8), ms(0));
    assert_eq!(sync.take_requests(), [BlockRequest { peer: v(1), from: Height(1), to: Height(8) }]);
    sync.blocks(v(1), truth[..7].to_vec(), ms(1));
    assert!(sync.next_ready().is_none());
    assert_eq!(sync.take_requests(), [BlockRequest { peer: v(1), from: Height(8), to: Height(8) }]);
    sync.blocks(v(1), truth[7..].to_vec(), ms(2));
    let heights: Vec<u64> =
        std::iter::from_fn(|| sync.next_ready()).map(|(_, b)| b.block.header.height.0).collect();
    assert_eq!(heights, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(sync.take_faults(), []);
    assert_eq!(sync.buffered_bytes(), 0);
}

/// A liar cuts off the certificate, and claims heights that nobody else has: the rest will never come.
#[test]
fn a_run_without_an_end_is_fetched_again_from_others() {
    let truth = chain(6, 0, 10, |_| false);
    let mut cut = truth.clone();
    cut[5].block.certificate = None;
    let mut sync = Sync::new(v(0), 4, WINDOW, (Height::GENESIS, GENESIS));
    sync.peer_up(v(1), ms(0));
    sync.certified(v(1), Height(6), ms(0));
    sync.peer_height(v(1), Height(100), ms(0));
    sync.take_requests();
    sync.blocks(v(1), cut, ms(1));
    sync.peer_up(v(2), ms(2));
    sync.peer_height(v(2), Height(6), ms(2));
    let until = ms(1) + UNPROVEN;
    let mut now = ms(2);
    while now < until {
        let asked = sync.take_requests();
        assert!(asked.iter().all(|request| request.from > Height(6)), "the rest may still come: {asked:?}");
        now = sync.deadline().expect("something is under way");
        sync.tick(now);
    }
    assert_eq!(now, until);
    let asked = sync.take_requests();
    assert!(asked.contains(&BlockRequest { peer: v(2), from: Height(1), to: Height(6) }), "{asked:?}");
    assert!(sync.take_faults().contains(&(v(1), SyncFault::NoCertificate)));
    sync.blocks(v(2), truth, now);
    assert_eq!(std::iter::from_fn(|| sync.next_ready()).count(), 6);
}

#[test]
fn a_certificate_of_another_block_certifies_nothing() {
    let mut truth = chain(2, 0, 10, |_| true);
    truth[0].block.certificate = truth[1].block.certificate.clone();
    assert!(!is_certified(&truth[0]) && is_certified(&truth[1]));
}

#[test]
fn what_the_core_refuses_is_fetched_again_from_another() {
    let truth = chain(6, 0, 10, |_| true);
    let mut sync = Sync::new(v(0), 4, WINDOW, (Height::GENESIS, GENESIS));
    sync.peer_up(v(1), ms(0));
    sync.certified(v(1), Height(6), ms(0));
    sync.take_requests();
    sync.blocks(v(1), truth.clone(), ms(1));
    assert_eq!(sync.next_ready().map(|(from, _)| from), Some(v(1)));
    sync.own_height(Height(1), truth[0].hash, ms(2));
    assert!(sync.next_ready().is_some());
    sync.refused(v(1), ms(3));
    assert!(sync.next_ready().is_none());
    assert_eq!(sync.take_requests(), [], "it rests");
    sync.peer_up(v(2), ms(4));
    sync.peer_height(v(2), Height(6), ms(4));
    assert_eq!(sync.take_requests(), [BlockRequest { peer: v(2), from: Height(2), to: Height(6) }]);
    assert_eq!(sync.take_faults(), [(v(1), SyncFault::Refused)]);
}

#[test]
fn unasked_blocks_are_not_kept() {
    let mut sync = Sync::new(v(0), 4, WINDOW, (Height::GENESIS, GENESIS));
    sync.peer_up(v(1), ms(0));
    sync.blocks(v(1), chain(5, 0, 10, |_| true), ms(1));
    sync.blocks(v(1), vec![], ms(1));
    sync.blocks(v(9), vec![], ms(1));
    assert!(sync.next_ready().is_none());
    assert_eq!(sync.buffered_bytes(), 0);
    assert_eq!(sync.take_faults().len(), 3);
}

#[test]
fn commits_by_votes_overtake_what_is_under_way() {
    let truth = chain(300, 0, 10, |_| true);
    let mut sync = Sync::new(v(0), 4, WINDOW, (Height::GENESIS, GENESIS));
    for peer in 1..4 {
        sync.peer_up(v(peer), ms(0));
        sync.peer_height(v(peer), Height(300), ms(0));
    }
    let requests = sync.take_requests();
    sync.own_height(Height(300), truth[299].hash, ms(5));
    assert!(sync.in_flight.is_empty() && !sync.is_catching_up());
    for request in requests {
        let from = usize::try_from(request.from.0 - 1).unwrap();
        sync.blocks(request.peer, truth[from..=from].to_vec(), ms(6));
    }
    assert_eq!(sync.take_faults(), [], "late answers are no fault");
    assert_eq!(sync.buffered_bytes(), 0);
    assert_eq!(sync.deadline(), None);
}

#[test]
fn memory_is_bounded_when_blocks_are_large() {
    // A silent peer holds the lowest range back while the others deliver.
    let mut world = World::new(&[Kind::Silent, Kind::Honest, Kind::Honest], chain(120, 0, 3 << 20, |_| true));
    world.connect();
    world.finish(ms(60_000));
    println!("at most {} MiB", world.most_buffered >> 20);
    assert!(world.most_buffered <= BUFFER_BYTES + (2 * 4 + 1) * (4 << 20));
}

#[test]
fn peers_come_and_go() {
    let mut world = World::new(&[Kind::Honest; 3], chain(2500, 0, 2000, |height| height % 3 == 0));
    world.connect();
    let goal = Height(2500);
    let mut round = 0;
    while world.own < goal {
        let peer = 1 + round % 3;
        world.sync.peer_down(v(peer), world.now);
        world.answers.retain(|_, (from, _)| *from != peer);
        world.after_step();
        for _ in 0..3 {
            world.step(world.now + ms(30));
        }
        world.sync.peer_up(v(peer), world.now);
        world.after_step();
        round += 1;
        assert!(round < 2000, "stuck at {}", world.own);
    }
    assert!(world.faults.iter().all(|(_, fault)| *fault == SyncFault::Timeout), "{:?}", world.faults);
}

fn kind() -> impl Strategy<Value = Kind> {
    use Kind::*;
    proptest::sample::select(vec![Honest, Slow, Silent, Empty, Forger, Misplacing, Stripping, Mixing, Down])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_mix_of_peers_with_one_honest_one_catches_up(
        mut kinds in proptest::collection::vec(kind(), 1..9),
        place: prop::sample::Index,
        length in 1..600u64,
        every in 1..5u64,
    ) {
        let place = place.index(kinds.len());
        kinds[place] = Kind::Honest;
        let mut world = World::new(&kinds, chain(length, 0, 100, |height| height % every == 0));
        world.connect();
        world.finish(ms(300_000));
        prop_assert!(world.most_buffered <= BUFFER_BYTES);
    }
}
