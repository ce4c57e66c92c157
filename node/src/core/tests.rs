//! Whole nodes in memory: real core, ledger, codec and checks; a fake clock, network and disk.

mod pace;
mod refused;

use super::api::{Guard, Input, Now, PeerInput, Report};
use super::mempool::Limits;
use super::{Core, CoreConfig, Memory, Ready, Ticket, records, wire};
use bytes::Bytes;
use quorate_ledger::{Column, Genesis, MemoryStore, Store, StoreError, Write};
use quorate_pbft::{Message, Phase, Signed, Status, VerifiedMessage};
use quorate_transport::Lane;
use quorate_types::certificate::{Certificate, Commit};
use quorate_types::codec;
use quorate_types::hash::{ChainId, Hash, ResultHash, TransactionId};
use quorate_types::ids::{Height, Timestamp, ValidatorIndex, View};
use quorate_types::keys::SecretKey;
use quorate_types::member::{Member, Role};
use quorate_types::parameters::Parameters;
use quorate_types::transaction::{Operation, Transaction, verify_transaction};
use quorate_types::validators::{Validator, ValidatorSet};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const START: u64 = 1_700_000_000_000;
const DELAY: Duration = Duration::from_millis(1);

/// A disk that applies whole batches.
#[derive(Default)]
struct Disk(Mutex<MemoryStore>);

impl Disk {
    fn apply(&self, writes: &[Write]) {
        self.0.lock().unwrap().apply(writes);
    }
}

impl Store for Disk {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.0.lock().unwrap().get(column, key)
    }

    fn range(
        &self,
        column: Column,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, StoreError> {
        self.0.lock().unwrap().range(column, from, to, limit)
    }
}

/// Member and vote key of validator `i`.
fn keys(i: usize) -> (SecretKey, SecretKey) {
    let seed = |kind: u8| SecretKey::from_seed(&[kind + 2 * u8::try_from(i).unwrap(); 32]);
    (seed(1), seed(2))
}

fn genesis(n: usize, parameters: Parameters) -> Genesis {
    let members = (0..n).map(|i| Member {
        name: format!("m{i}"),
        key: keys(i).0.public(),
        roles: vec![Role::Validator, Role::Submitter],
    });
    let validators = (0..n).map(|i| Validator { member: keys(i).0.public(), vote_key: keys(i).1.public() });
    Genesis {
        chain: ChainId(Hash([9; 32])),
        parameters,
        members: members.collect(),
        validators: ValidatorSet::new(validators.collect()),
        timestamp: Timestamp(START),
    }
}

type Frame = (Duration, ValidatorIndex, ValidatorIndex, Lane, Bytes);

struct Cluster {
    genesis: Genesis,
    cores: Vec<Option<Core<Arc<Disk>>>>,
    disks: Vec<Arc<Disk>>,
    now: Duration,
    network: VecDeque<Frame>,
    /// How long a frame is under way.
    delay: Duration,
    /// (from, to, lane): what is dropped.
    drop: Box<dyn Fn(usize, usize, Lane) -> bool>,
    committed: BTreeMap<Height, Hash>,
    acknowledged: BTreeSet<TransactionId>,
    refused: usize,
    rng: ChaCha20Rng,
    frames: usize,
    repeats: wire::Repeats,
    /// The one that may halt, and why it did.
    may_halt: Option<usize>,
    halted: Option<String>,
}

impl Cluster {
    fn new(n: usize, parameters: Parameters) -> Cluster {
        let mut cluster = Cluster {
            genesis: genesis(n, parameters),
            cores: (0..n).map(|_| None).collect(),
            disks: (0..n).map(|_| Arc::new(Disk::default())).collect(),
            now: Duration::from_secs(1),
            network: VecDeque::new(),
            delay: DELAY,
            drop: Box::new(|_, _, _| false),
            committed: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            refused: 0,
            rng: ChaCha20Rng::seed_from_u64(1),
            frames: 0,
            repeats: wire::Repeats::default(),
            may_halt: None,
            halted: None,
        };
        for i in 0..n {
            cluster.start(i, Memory::Whole);
        }
        cluster
    }

    fn clock(&self) -> Now {
        let wall = Timestamp(START + u64::try_from(self.now.as_millis()).unwrap());
        Now { monotonic: self.now, wall }
    }

    fn index(i: usize) -> ValidatorIndex {
        ValidatorIndex(u16::try_from(i).unwrap())
    }

    fn start(&mut self, i: usize, memory: Memory) {
        let config = CoreConfig {
            me: Cluster::index(i),
            vote_key: keys(i).1,
            genesis: self.genesis.clone(),
            mempool: Limits::default(),
            memory,
        };
        let core = Core::open(config, Arc::clone(&self.disks[i]), self.clock(), [7; 32]).unwrap();
        self.cores[i] = Some(core);
        for j in 0..self.cores.len() {
            if j != i && self.cores[j].is_some() {
                self.input(i, Input::PeerUp(Cluster::index(j)));
                self.input(j, Input::PeerUp(Cluster::index(i)));
            }
        }
        self.flush(i);
    }

    fn crash(&mut self, i: usize) {
        self.cores[i] = None;
        self.network.retain(|(_, from, to, _, _)| from.as_usize() != i && to.as_usize() != i);
        for j in 0..self.cores.len() {
            if self.cores[j].is_some() {
                self.input(j, Input::PeerDown(Cluster::index(i)));
            }
        }
    }

    fn input(&mut self, i: usize, input: Input) {
        let now = self.clock();
        if let Some(core) = &mut self.cores[i] {
            core.step(now, input);
            self.flush(i);
        }
    }

    fn flush(&mut self, i: usize) {
        while let Some(ready) = self.cores[i].as_mut().and_then(Core::take_ready) {
            let Ready { number, now, persist, then, reports, guard, awaited, .. } = ready;
            // Nothing that it writes down while it learns may lift the doubt about what it has forgotten.
            let core = self.cores[i].as_ref().unwrap();
            if let Some(guard) = guard.filter(|_| core.status().phase == "learning") {
                let before = self.disks[i].get(Column::Votes, records::GUARD).unwrap();
                let before = before.map_or(0, |bytes| codec::decode::<Guard>(&bytes, 32).unwrap().votes);
                assert_eq!(guard.votes, before, "{i} counts a vote while it learns");
            }
            self.disks[i].apply(&persist);
            for out in now.into_iter().chain(then) {
                let arrives = self.now + self.delay;
                self.network.push_back((arrives, Cluster::index(i), out.to, out.lane, out.frame));
            }
            for report in reports {
                self.report(i, report);
            }
            if awaited {
                self.input(i, Input::Persisted(number));
            }
        }
    }

    fn report(&mut self, i: usize, report: Report) {
        match report {
            Report::Committed(block) => {
                let header = &block.finality.header;
                let agreed = self.committed.entry(header.height).or_insert(block.hash.0);
                assert_eq!(*agreed, block.hash.0, "agreement at height {}", header.height);
                let (chain, set) = (self.genesis.chain, self.genesis.validators.clone());
                block.finality.verify(&chain, &set).unwrap();
                self.acknowledged.extend(block.transactions.iter().map(|t| t.id()));
            }
            Report::Admission { verdicts, .. } => {
                self.refused += verdicts.iter().filter(|(_, verdict)| verdict.is_err()).count();
            }
            Report::Halted(why) if self.may_halt == Some(i) => self.halted = Some(why),
            Report::Halted(why) => panic!("{i} halted: {why}"),
            Report::Fault { peer, what } => panic!("{i} blames {peer}: {what}"),
            _ => {}
        }
    }

    fn submit(&mut self, i: usize, count: u64, nonce: u64) {
        let submission = self.submission(i, count, nonce);
        self.input(i, submission);
    }

    fn submission(&self, i: usize, count: u64, nonce: u64) -> Input {
        let key = keys(i).0;
        let expires_at = self.clock().wall.plus_ms(60_000);
        let transactions = (0..count).map(|k| {
            let transaction = Transaction {
                chain: self.genesis.chain,
                sender: key.public(),
                nonce: nonce + k,
                expires_at,
                operations: vec![Operation::CreateNamespace { namespace: format!("n{i}-{}", nonce + k) }],
            };
            let bytes = codec::encode_bytes(&transaction.sign(&key));
            verify_transaction(&self.genesis.chain, bytes).unwrap()
        });
        Input::Submit { ticket: Ticket(nonce), transactions: transactions.collect() }
    }

    /// Runs until `done`, at most `limit` of fake time; true if it was reached.
    fn run(&mut self, limit: Duration, done: impl Fn(&Cluster) -> bool) -> bool {
        let end = self.now + limit;
        while !done(self) {
            let timers = self.cores.iter().flatten().map(Core::deadline).min().unwrap_or(Duration::MAX);
            let frames = self.network.front().map_or(Duration::MAX, |frame| frame.0);
            let next = timers.min(frames).max(self.now);
            if next > end {
                return false;
            }
            let stuck = next == self.now && self.network.front().is_none_or(|frame| frame.0 > self.now);
            self.now = next;
            if let Some((_, from, to, lane, frame)) = self.network.pop_front_if(|frame| frame.0 <= next) {
                self.frames += 1;
                if (self.drop)(from.as_usize(), to.as_usize(), lane) {
                    continue;
                }
                let Some(core) = &self.cores[to.as_usize()] else { continue };
                let committee = Arc::clone(core.committee());
                let mut verdicts =
                    wire::verify(&committee, &self.repeats, &[(from, lane, frame)], &mut self.rng);
                let frame = verdicts.pop().unwrap().unwrap();
                self.input(to.as_usize(), Input::Peer { from, frame });
                continue;
            }
            for i in 0..self.cores.len() {
                if self.cores[i].as_ref().is_some_and(|core| core.deadline() <= self.now) {
                    self.input(i, Input::Tick);
                    let after = self.cores[i].as_ref().unwrap().deadline();
                    assert!(after > self.now, "a tick leaves nothing due, or the driver spins");
                }
            }
            assert!(!stuck || self.network.front().is_some() || timers <= self.now);
        }
        true
    }

    fn height(&self, i: usize) -> Height {
        self.cores[i].as_ref().map_or(Height::GENESIS, |core| core.status().height)
    }

    fn all_committed(&self, count: usize) -> bool {
        self.acknowledged.len() >= count && self.level()
    }

    fn level(&self) -> bool {
        let heights: BTreeSet<Height> =
            (0..self.cores.len()).filter(|i| self.cores[*i].is_some()).map(|i| self.height(i)).collect();
        heights.len() == 1
    }

    fn check_receipts(&self, i: usize) {
        for id in &self.acknowledged {
            let receipt = records::receipt(&self.disks[i], id).unwrap().expect("acknowledged is kept");
            receipt.verify(&self.genesis.chain, &self.genesis.validators).unwrap();
        }
    }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn four_validators_commit_what_any_of_them_was_given() {
    let mut cluster = Cluster::new(4, Parameters::default());
    for i in 0..4 {
        cluster.submit(i, 50, 0);
    }
    assert!(cluster.run(seconds(5), |c| c.all_committed(200)), "{} committed", cluster.acknowledged.len());
    assert_eq!(cluster.refused, 0);
    for i in 0..4 {
        cluster.check_receipts(i);
        let status = cluster.cores[i].as_ref().unwrap().status();
        assert_eq!((status.mempool_transactions, status.gossip_duplicates), (0, 0));
        assert_eq!(status.view.0, 0, "no leader was suspected");
    }
}

/// What one step takes in leaves in one frame for each peer, and every submission has its answer.
#[test]
fn transactions_taken_together_are_sent_together() {
    let mut cluster = Cluster::new(4, Parameters::default());
    let submissions: Vec<Input> = (0..3).map(|nonce| cluster.submission(1, 2, 2 * nonce)).collect();
    let now = cluster.clock();
    let core = cluster.cores[1].as_mut().unwrap();
    core.step_all(now, submissions);
    let (mut frames, mut answered) = (Vec::new(), 0);
    while let Some(ready) = core.take_ready() {
        frames.extend(ready.now.into_iter().filter(|out| out.lane == Lane::Gossip));
        answered += ready.reports.iter().filter(|report| matches!(report, Report::Admission { .. })).count();
    }
    assert_eq!((frames.len(), answered), (3, 3));
    for out in frames {
        match codec::decode(&out.frame, wire::MAX_GOSSIP_FRAME) {
            Ok(wire::PeerFrame::Transactions { transactions, .. }) => assert_eq!(transactions.len(), 6),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn one_validator_alone_is_a_chain() {
    let mut cluster = Cluster::new(1, Parameters { term_blocks: 3, ..Parameters::default() });
    for round in 0..10 {
        cluster.submit(0, 3, round * 3);
        let want = usize::try_from(round + 1).unwrap() * 3;
        assert!(cluster.run(seconds(2), |c| c.all_committed(want)));
    }
    cluster.check_receipts(0);
}

#[test]
fn a_dead_leader_is_replaced() {
    let mut cluster = Cluster::new(4, Parameters::default());
    cluster.crash(0);
    cluster.submit(1, 10, 0);
    assert!(cluster.run(seconds(10), |c| c.all_committed(10)), "{} committed", cluster.acknowledged.len());
    cluster.check_receipts(2);
}

#[test]
fn leadership_rotates_without_losing_pace() {
    let mut cluster = Cluster::new(4, Parameters { term_blocks: 2, ..Parameters::default() });
    for round in 0..20 {
        cluster.submit(usize::try_from(round % 4).unwrap(), 5, round * 5);
        let want = usize::try_from(round + 1).unwrap() * 5;
        assert!(cluster.run(seconds(3), |c| c.all_committed(want)), "round {round}");
    }
    let view = cluster.cores[0].as_ref().unwrap().status().view;
    assert!(view.0 >= 4, "view {view}");
    assert!(cluster.now < seconds(6), "took {:?}: rotation is no outage", cluster.now);
}

#[test]
fn all_crash_and_go_on() {
    let mut cluster = Cluster::new(4, Parameters::default());
    let mut want = 0;
    for round in 0..6 {
        for i in 0..4 {
            cluster.submit(i, 20, round * 100);
        }
        // Somewhere in the middle.
        cluster.run(Duration::from_millis(4 + 3 * round), |_| false);
        for i in 0..4 {
            cluster.crash(i);
        }
        for i in 0..4 {
            cluster.start(i, Memory::Whole);
        }
        cluster.submit(0, 1, round * 100 + 50);
        want = want.max(cluster.acknowledged.len()) + 1;
        let progressed = cluster.run(seconds(10), |c| c.level() && c.acknowledged.len() >= want);
        assert!(progressed, "round {round}: {} of {want}", cluster.acknowledged.len());
    }
    for i in 0..4 {
        cluster.check_receipts(i);
    }
}

#[test]
fn one_that_was_away_catches_up_and_votes() {
    let parameters = Parameters { max_block_transactions: 2, ..Parameters::default() };
    let mut cluster = Cluster::new(4, parameters);
    cluster.crash(3);
    cluster.submit(0, 600, 0);
    assert!(cluster.run(seconds(60), |c| c.all_committed(600)), "{} committed", cluster.acknowledged.len());
    assert!(cluster.height(0).0 >= 300);
    cluster.start(3, Memory::Whole);
    assert!(cluster.run(seconds(10), Cluster::level), "at {} of {}", cluster.height(3), cluster.height(0));
    cluster.check_receipts(3);
    // Its vote is needed now.
    cluster.crash(1);
    cluster.submit(0, 10, 1000);
    assert!(cluster.run(seconds(10), |c| c.all_committed(610)));
}

#[test]
fn a_wiped_one_learns_before_it_votes() {
    let parameters = Parameters { max_block_transactions: 2, term_blocks: 10, ..Parameters::default() };
    let mut cluster = Cluster::new(4, parameters);
    cluster.submit(0, 60, 0);
    assert!(cluster.run(seconds(20), |c| c.all_committed(60)));
    cluster.crash(3);
    cluster.disks[3] = Arc::new(Disk::default());
    cluster.start(3, Memory::Fresh);
    assert!(cluster.run(seconds(10), Cluster::level));
    assert_eq!(cluster.cores[3].as_ref().unwrap().status().phase, "learning");
    cluster.submit(0, 80, 1000);
    assert!(cluster.run(seconds(20), |c| c.all_committed(140)));
    assert_eq!(cluster.cores[3].as_ref().unwrap().status().phase, "active");
    cluster.crash(1);
    cluster.submit(0, 4, 2000);
    assert!(cluster.run(seconds(20), |c| c.all_committed(144)), "its vote counts again");
}

/// One that learns may find, in the very step in which it has learned enough, that all others wait for it
/// to lead: it opens its view and proposes at once. With each of these seeds it once panicked, having
/// dropped its own proposal with those of the view before.
#[test]
fn one_that_has_learned_may_lead_at_once() {
    for seed in [9, 61, 111] {
        learns_and_leads(seed);
    }
}

fn learns_and_leads(seed: u64) {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut draw = |from: u64, to: u64| from + rand_core::Rng::next_u64(&mut rng) % (to - from + 1);
    let parameters = Parameters {
        max_block_transactions: 1,
        term_blocks: draw(1, 12),
        window: draw(1, 4),
        ..Parameters::default()
    };
    let mut cluster = Cluster::new(4, parameters);
    let victim = usize::try_from(draw(0, 3)).unwrap();
    let other = (victim + 1) % 4;
    cluster.submit(other, draw(1, 6), 0);
    cluster.run(Duration::from_millis(draw(0, 40)), |_| false);
    cluster.crash(victim);
    cluster.start(victim, Memory::Lost);
    // Some of what is said to it is lost for a while.
    let lost = [Lane::Votes, Lane::Sync, Lane::Gossip][usize::try_from(draw(0, 2)).unwrap()];
    for round in 1..4 {
        cluster.drop = Box::new(move |_, to, lane| to == victim && lane == lost);
        cluster.submit(other, 10, round * 100);
        cluster.run(Duration::from_millis(draw(1, 60)), |_| false);
        cluster.drop = Box::new(|_, _, _| false);
        cluster.submit(other, 4, round * 100 + 50);
        cluster.run(Duration::from_millis(draw(1, 60)), |_| false);
    }
    let done = cluster.run(seconds(60), Cluster::level);
    assert!(done, "{} committed", cluster.acknowledged.len());
}

#[test]
fn a_founding_chain_has_nothing_to_learn() {
    let mut cluster = Cluster::new(4, Parameters::default());
    for i in 0..4 {
        cluster.crash(i);
        cluster.disks[i] = Arc::new(Disk::default());
    }
    for i in 0..4 {
        cluster.start(i, Memory::Fresh);
    }
    cluster.submit(2, 5, 0);
    assert!(cluster.run(seconds(5), |c| c.all_committed(5)));
}

/// A directory put back from a backup before the first block: what it voted in views that came to nothing
/// is forgotten, and the others found the chain without it.
#[test]
fn one_that_lost_its_votes_founds_no_chain() {
    let parameters = Parameters { max_block_transactions: 2, term_blocks: 10, ..Parameters::default() };
    let mut cluster = Cluster::new(4, parameters);
    for i in 0..4 {
        cluster.crash(i);
        cluster.disks[i] = Arc::new(Disk::default());
    }
    for i in 0..3 {
        cluster.start(i, Memory::Fresh);
    }
    cluster.start(3, Memory::Lost);
    cluster.run(seconds(2), |_| false);
    let phase = |c: &Cluster, i: usize| c.cores[i].as_ref().unwrap().status().phase;
    assert_eq!([0, 1, 2, 3].map(|i| phase(&cluster, i)), ["active", "active", "active", "learning"]);
    cluster.submit(0, 5, 0);
    assert!(cluster.run(seconds(5), |c| c.all_committed(5)));
    assert_eq!(phase(&cluster, 3), "learning");
    cluster.submit(0, 80, 1000);
    assert!(cluster.run(seconds(20), |c| c.all_committed(85)));
    assert_eq!(phase(&cluster, 3), "active", "beyond its barrier");
}

/// Nobody else could tell a validator alone what it voted.
#[test]
fn one_alone_that_lost_its_votes_goes_on() {
    let mut cluster = Cluster::new(1, Parameters::default());
    cluster.submit(0, 5, 0);
    assert!(cluster.run(seconds(5), |c| c.all_committed(5)));
    cluster.crash(0);
    cluster.start(0, Memory::Lost);
    cluster.submit(0, 5, 100);
    assert!(cluster.run(seconds(5), |c| c.all_committed(10)));
}

#[test]
fn what_is_written_leaves_memory() {
    let mut cluster = Cluster::new(4, Parameters { max_block_transactions: 2, ..Parameters::default() });
    cluster.submit(0, 60, 0);
    assert!(cluster.run(seconds(20), |c| c.all_committed(60)));
    for core in cluster.cores.iter().flatten() {
        let footprint = core.footprint();
        assert_eq!((footprint.pending_blocks, footprint.unwritten_blocks), (0, 0));
    }
}

#[test]
fn bodies_that_gossip_lost_are_pulled() {
    let mut cluster = Cluster::new(4, Parameters::default());
    // What was given to 0 never reaches 2 by itself.
    let lost = std::cell::Cell::new(0);
    cluster.drop = Box::new(move |from, to, lane| {
        let first = lane == Lane::Gossip && from == 0 && to == 2 && lost.get() < 1;
        lost.set(lost.get() + usize::from(first));
        first
    });
    cluster.submit(0, 30, 0);
    assert!(cluster.run(seconds(3), |c| c.all_committed(30)), "{} committed", cluster.acknowledged.len());
    cluster.check_receipts(2);
}

#[test]
fn two_of_four_make_no_progress_until_a_third_returns() {
    let mut cluster = Cluster::new(4, Parameters::default());
    cluster.crash(2);
    cluster.crash(3);
    cluster.submit(0, 10, 0);
    assert!(!cluster.run(seconds(30), |c| !c.acknowledged.is_empty()));
    cluster.start(3, Memory::Whole);
    assert!(cluster.run(seconds(15), |c| c.all_committed(10)), "{} committed", cluster.acknowledged.len());
}

#[test]
fn idle_validators_say_little() {
    let mut cluster = Cluster::new(4, Parameters::default());
    cluster.run(seconds(2), |_| false);
    let before = cluster.frames;
    cluster.run(seconds(20), |_| false);
    let per_second = (cluster.frames - before) / 20;
    assert!(per_second <= 4 * 3 * 2, "{per_second} frames a second");
}

#[test]
fn a_beacon_counts_from_its_signer_only() {
    let mut cluster = Cluster::new(4, Parameters::default());
    let (chain, signer) = (cluster.genesis.chain, Cluster::index(2));
    let beacon = Status {
        view: View(0),
        phase: Phase::Active,
        height: Height(99),
        proposals: Height(99),
        stalled: false,
        founding: false,
    };
    let message = Message::Status(Signed::new(beacon, &chain, signer, &keys(2).1));
    let committee = Arc::clone(cluster.cores[0].as_ref().unwrap().committee());
    let message = VerifiedMessage::decode(codec::encode_bytes(&message), &committee).unwrap();
    let claimed = |cluster: &Cluster| cluster.cores[0].as_ref().unwrap().status().peers[2].0;
    for (from, height) in [(1, Height::GENESIS), (2, Height(99))] {
        let frame = PeerInput::Consensus(message.clone());
        cluster.input(0, Input::Peer { from: Cluster::index(from), frame });
        assert_eq!(claimed(&cluster), height, "from {from}");
    }
}

/// A quorum signed another result than executing the block leads to here: one of the two is wrong, and
/// this node cannot know that it is not itself.
#[test]
fn row_17_a_fetched_block_with_another_result_halts_who_fetched_it() {
    let parameters = Parameters { max_block_transactions: 1, ..Parameters::default() };
    let mut cluster = Cluster::new(4, parameters);
    cluster.crash(3);
    cluster.submit(0, 30, 0);
    assert!(cluster.run(seconds(10), |c| c.all_committed(30)), "{} committed", cluster.acknowledged.len());
    // All that the others will serve of height 1 is certified with another result.
    let certificate = records::read_certificate(&cluster.disks[0], Height(1)).unwrap().unwrap();
    let commit = Commit { result: ResultHash(Hash([7; 32])), ..certificate.commit };
    let sign = |i: usize| (Cluster::index(i), commit.sign(&cluster.genesis.chain, &keys(i).1));
    let forged = Certificate { commit, signatures: (0..3).map(sign).collect() };
    for disk in &cluster.disks[..3] {
        let key = records::height_key(Height(1));
        disk.apply(&[Write::put(Column::Certificates, key, codec::encode(&forged))]);
    }
    cluster.may_halt = Some(3);
    cluster.start(3, Memory::Whole);
    assert!(cluster.run(seconds(10), |c| c.halted.is_some()), "at {}", cluster.height(3));
    assert!(cluster.halted.as_ref().unwrap().contains("another result"), "{:?}", cluster.halted);
    assert_eq!(cluster.cores[3].as_ref().unwrap().status().phase, "halted");
    assert_eq!(cluster.height(3), Height::GENESIS);
}

#[test]
fn row_30_blocks_shrink_with_each_view_that_fails_and_grow_again() {
    for (n, dead, most) in [(4, 1, 32), (7, 2, 16)] {
        let parameters = Parameters { max_block_transactions: 64, ..Parameters::default() };
        let mut cluster = Cluster::new(n, parameters);
        for i in 0..dead {
            cluster.crash(i);
        }
        cluster.submit(dead, 200, 0);
        assert!(
            cluster.run(seconds(20), |c| c.all_committed(200)),
            "{} committed",
            cluster.acknowledged.len()
        );
        let size = |height| {
            let record = records::read_block(&cluster.disks[dead], Height(height)).unwrap().unwrap();
            record.header.transaction_count
        };
        assert!(size(1) <= most, "n={n}: {} in the first block", size(1));
        let largest = (1..=cluster.height(dead).0).map(size).max().unwrap();
        assert_eq!(largest, 64, "n={n}: it finishes blocks now");
    }
}
