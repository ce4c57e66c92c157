//! Replicas in memory under a fake clock and a scripted network.

use super::node::{self, Node, Settled};
use super::observer::Observer;
use crate::{Committee, Config, Learning, Message, Output, Phase, Replica, To, VerifiedMessage};
use quorate_types::block::Header;
use quorate_types::codec;
use quorate_types::hash::{BlockHash, ChainId, Hash, TransactionId};
use quorate_types::ids::{Height, ValidatorIndex, View};
use quorate_types::keys::SecretKey;
use quorate_types::validators::{Validator, ValidatorSet};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub(super) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub(super) fn index(i: usize) -> ValidatorIndex {
    ValidatorIndex(u16::try_from(i).expect("small"))
}

/// A message on its way to one receiver.
pub(super) struct Flight<'a> {
    pub(super) now: Duration,
    /// Who hands it over; not always who signed it.
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) message: &'a Message,
}

/// Delays after which copies arrive; empty loses the message.
pub(super) type Network = Box<dyn FnMut(&Flight<'_>, &mut ChaCha20Rng) -> Vec<Duration>>;

pub(super) fn perfect() -> Network {
    Box::new(|_, _| vec![LATENCY])
}

const LATENCY: Duration = Duration::from_millis(2);
const FETCH: Duration = Duration::from_millis(6);
/// How long a missing body is looked for.
const GIVE_UP: Duration = Duration::from_secs(3);

/// What a test chooses; the rest is as in a real chain.
pub(super) struct Options {
    pub(super) n: usize,
    pub(super) window: u64,
    pub(super) term_blocks: u64,
    pub(super) block_size: usize,
    pub(super) sync: Duration,
    pub(super) execution: Duration,
    /// Played by the script.
    pub(super) byzantine: Vec<usize>,
    /// Byzantine by running twice under one key: each of the two is honest, together they lie.
    pub(super) twins: Vec<usize>,
    pub(super) seed: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            n: 4,
            window: 4,
            term_blocks: 1000,
            block_size: 3,
            sync: ms(1),
            execution: ms(1),
            byzantine: Vec::new(),
            twins: Vec::new(),
            seed: 0,
        }
    }
}

pub(super) const VIEW_TIMEOUT: Duration = Duration::from_millis(400);
pub(super) const MAX_VIEW_TIMEOUT: Duration = Duration::from_millis(10_000);
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_millis(2_000);

/// What happens at a moment of the fake clock.
enum Event {
    Deliver { to: usize, message: VerifiedMessage },
    Synced { node: usize, life: u64 },
    Execute { node: usize, life: u64, task: Box<Task> },
    Fetch { node: usize, life: u64 },
}

/// A block to execute.
struct Task {
    asked: Duration,
    header: Header,
    ids: Option<Arc<[TransactionId]>>,
    reproposal: bool,
}

/// A cluster. Honest nodes run; Byzantine ones are an inbox and a key.
pub(super) struct Cluster {
    pub(super) committee: Arc<Committee>,
    pub(super) now: Duration,
    pub(super) nodes: Vec<Node>,
    pub(super) network: Network,
    pub(super) observer: Observer,
    pub(super) rng: ChaCha20Rng,
    pub(super) options: Options,
    /// What Byzantine validators were sent.
    pub(super) inbox: Vec<VerifiedMessage>,
    /// The node to crash when it has written so many records: before the sync of the last, or after.
    pub(super) crash_at: Option<(usize, u64, bool)>,
    /// Who cannot hand bodies to whom.
    pub(super) cut: Box<dyn Fn(usize, usize) -> bool>,
    events: BTreeMap<(Duration, u64), Event>,
    sequence: u64,
    submitted: u64,
}

pub(super) fn key(i: usize) -> SecretKey {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&(i as u64).to_le_bytes());
    SecretKey::from_seed(&seed)
}

pub(super) fn committee(n: usize, window: u64) -> Arc<Committee> {
    let validator = |i| Validator { member: key(1000 + i).public(), vote_key: key(i).public() };
    Arc::new(Committee {
        chain: ChainId(Hash::of(&[b"a test chain"])),
        validators: ValidatorSet::new((0..n).map(validator).collect()),
        window,
    })
}

impl Cluster {
    pub(super) fn new(options: Options) -> Cluster {
        let committee = committee(options.n, options.window);
        let validator = |i: usize| if i < options.n { i } else { options.twins[i - options.n] };
        let config = |i: usize| Config {
            committee: committee.clone(),
            me: index(validator(i)),
            key: key(validator(i)),
            term_blocks: options.term_blocks,
            view_timeout: VIEW_TIMEOUT,
            max_view_timeout: MAX_VIEW_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
            full_block_transactions: options.block_size,
        };
        let nodes = options.n + options.twins.len();
        let byzantine: BTreeSet<usize> = options.byzantine.iter().chain(&options.twins).copied().collect();
        let mut cluster = Cluster {
            nodes: (0..nodes).map(|i| Node::new(config(i))).collect(),
            observer: Observer::new(committee.clone(), byzantine),
            rng: ChaCha20Rng::seed_from_u64(options.seed),
            network: perfect(),
            now: Duration::from_secs(1),
            inbox: Vec::new(),
            crash_at: None,
            cut: Box::new(|_, _| false),
            events: BTreeMap::new(),
            sequence: 0,
            submitted: 0,
            committee,
            options,
        };
        for i in 0..nodes {
            if cluster.is_honest(i) {
                cluster.start(i, Learning::No);
            }
        }
        cluster
    }

    pub(super) fn is_honest(&self, i: usize) -> bool {
        !self.options.byzantine.contains(&i)
    }

    pub(super) fn running(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|i| self.nodes[*i].replica.is_some()).collect()
    }

    pub(super) fn replica(&self, i: usize) -> &Replica {
        self.nodes[i].replica.as_ref().expect("it runs")
    }

    pub(super) fn start(&mut self, i: usize, learning: Learning) {
        self.nodes[i].start(self.now, learning);
        self.settle_node(i);
    }

    pub(super) fn crash(&mut self, i: usize) {
        self.nodes[i].crash();
    }

    pub(super) fn restart(&mut self, i: usize) {
        if self.nodes[i].replica.is_some() {
            self.crash(i);
        }
        self.start(i, Learning::No);
    }

    /// Every connection of a node is down and up again.
    pub(super) fn reconnect(&mut self, i: usize) {
        let now = self.now;
        for other in self.running().into_iter().filter(|other| *other != i) {
            for (here, there) in [(i, other), (other, i)] {
                let peer = self.nodes[there].config.me;
                self.nodes[here].replica.as_mut().expect("it runs").greet(now, peer);
                self.settle_node(here);
            }
        }
    }

    /// New transactions, at the nodes named.
    pub(super) fn submit_to(&mut self, nodes: &[usize], count: usize) -> Vec<TransactionId> {
        let mut ids = Vec::new();
        for _ in 0..count {
            self.submitted += 1;
            ids.push(TransactionId(Hash::of(&[b"transaction", &self.submitted.to_le_bytes()])));
        }
        for i in nodes {
            let now = self.now;
            self.nodes[*i].pool.extend(ids.iter().map(|id| (*id, now)));
            self.settle_node(*i);
        }
        ids
    }

    /// New transactions, everywhere.
    pub(super) fn submit(&mut self, count: usize) -> Vec<TransactionId> {
        let all: Vec<usize> = (0..self.nodes.len()).filter(|i| self.is_honest(*i)).collect();
        self.submit_to(&all, count)
    }

    /// Whether a transaction is final at a node.
    pub(super) fn has(&self, i: usize, id: TransactionId) -> bool {
        self.nodes[i].disk.chain.iter().any(|block| block.ids.contains(&id))
    }

    pub(super) fn height(&self, i: usize) -> Height {
        self.nodes[i].committed().height
    }

    fn at(&mut self, time: Duration, event: Event) {
        self.sequence += 1;
        self.events.insert((time, self.sequence), event);
    }

    /// Hands a message to one receiver at once, as it is: it must pass the checks.
    pub(super) fn deliver(&mut self, to: usize, message: &Message) {
        let message = VerifiedMessage::decode(codec::encode_bytes(message), &self.committee)
            .expect("a crafted message that passes the checks");
        self.receive(to, message);
    }

    fn receive(&mut self, to: usize, message: VerifiedMessage) {
        let now = self.now;
        if let Some(replica) = &mut self.nodes[to].replica {
            replica.receive(now, message);
            self.settle_node(to);
        }
    }

    /// Puts a message on the network.
    pub(super) fn dispatch(&mut self, from: usize, to: usize, message: &VerifiedMessage) {
        if !self.is_honest(to) {
            self.inbox.push(message.clone());
        }
        let flight = Flight { now: self.now, from, to, message: message.message() };
        for delay in (self.network)(&flight, &mut self.rng) {
            self.at(self.now + delay, Event::Deliver { to, message: message.clone() });
        }
    }

    fn send(&mut self, from: usize, to: To, message: &VerifiedMessage) {
        // What is sent is bytes; the receiver's checks run once for all receivers of the same bytes.
        let checked = VerifiedMessage::decode(message.bytes().clone(), &self.committee)
            .expect("an honest message passes the checks");
        let (committed, kind) = (self.height(from), super::observer::kind(message.message()));
        let own = message.signer() == self.nodes[from].config.me;
        assert!(
            !own || self.nodes[from].stands_by(message.message()),
            "{from}: a {kind} said before it is durable"
        );
        let me = self.nodes[from].config.me;
        let receives = |node: &Node| match to {
            To::All => node.config.me != me,
            To::One(peer) => node.config.me == peer,
        };
        let receivers: Vec<usize> = (0..self.nodes.len()).filter(|i| receives(&self.nodes[*i])).collect();
        for to in receivers {
            self.observer.sent(me.as_usize(), committed, &checked);
            self.dispatch(from, to, &checked);
        }
    }

    /// Does what a node's replica asks, in order, until it waits for something; and proposes.
    fn settle_node(&mut self, i: usize) {
        loop {
            let (now, size) = (self.now, self.options.block_size);
            self.nodes[i].propose(now, size);
            while let Some(output) = self.nodes[i].replica.as_mut().and_then(Replica::take_output) {
                match output {
                    Output::Send { to, message, at_once: true } => self.send(i, to, &message),
                    other => self.nodes[i].queue.push_back(other),
                }
            }
            if !self.step_queue(i) {
                return;
            }
        }
    }

    /// One output of a node; false when there is none, or it must wait for a sync.
    fn step_queue(&mut self, i: usize) -> bool {
        if self.nodes[i].syncing {
            return false;
        }
        let Some(output) = self.nodes[i].queue.front() else { return false };
        if let Output::Persist(_) = output {
            self.nodes[i].syncing = true;
            let (life, time) = (self.nodes[i].life, self.now + self.options.sync);
            self.at(time, Event::Synced { node: i, life });
            return false;
        }
        let output = self.nodes[i].queue.pop_front().expect("just seen");
        let (node, life) = (i, self.nodes[i].life);
        match output {
            Output::Persist(_) => {}
            Output::Send { to, message, .. } => self.send(i, to, &message),
            Output::Execute { header, ids, reproposal, .. } => {
                if let Some(ids) = &ids {
                    self.nodes[i].proposed.extend(ids.iter().copied());
                }
                let time = self.now + self.options.execution + self.nodes[i].slower;
                let task = Box::new(Task { asked: self.now, header, ids, reproposal });
                self.at(time, Event::Execute { node, life, task });
            }
            Output::Commit { blocks, certificate } => {
                certificate
                    .verify(&self.committee.chain, &self.committee.validators)
                    .expect("a replica commits by a certificate");
                assert_eq!(blocks.last(), Some(&certificate.commit.block));
                let below = blocks.len() as u64 - 1;
                for (block, down) in blocks.into_iter().zip((0..=below).rev()) {
                    // Fetched meanwhile, as this output waited for a sync.
                    if certificate.commit.height.0 - down <= self.height(i).0 {
                        continue;
                    }
                    let executed = self.nodes[i].executed[&block].clone();
                    let own = (certificate.commit.block == block).then(|| certificate.clone());
                    self.settle_block(
                        i,
                        Settled {
                            header: executed.header,
                            ids: executed.ids,
                            result: executed.result,
                            certificate: own,
                        },
                    );
                }
                self.nodes[i].prune();
            }
            Output::CatchUp { height } => {
                self.nodes[i].catch_up = self.nodes[i].catch_up.max(height);
                self.plan_fetch(i);
            }
            Output::Evidence(evidence) => self.observer.accused(&evidence),
            Output::View { view, active, why } => {
                self.nodes[i].views.push((view, active, why));
                self.nodes[i].proposed.clear();
            }
            Output::Halt(why) => self.nodes[i].halted = Some(why),
        }
        true
    }

    fn settle_block(&mut self, i: usize, settled: Settled) {
        // The node's own result: a diverged one must never get here.
        self.observer.committed(i, &settled.header, settled.result);
        self.nodes[i].settle(settled);
    }

    fn plan_fetch(&mut self, i: usize) {
        if !self.nodes[i].fetching {
            self.nodes[i].fetching = true;
            let life = self.nodes[i].life;
            self.at(self.now + FETCH, Event::Fetch { node: i, life });
        }
    }

    /// Fetches certified blocks from a peer that has more.
    fn fetch(&mut self, i: usize) {
        self.nodes[i].fetching = false;
        let own = self.height(i);
        if own >= self.nodes[i].catch_up {
            return;
        }
        let peers: Vec<usize> = (0..self.nodes.len())
            .filter(|p| self.nodes[*p].replica.is_some() && !(self.cut)(*p, i) && self.height(*p) > own)
            .collect();
        if !peers.is_empty() {
            let peer = peers[self.rng.random_range(0..peers.len())];
            let blocks: Vec<Settled> = self.nodes[peer]
                .disk
                .chain
                .iter()
                .skip(usize::try_from(own.0).expect("small"))
                .cloned()
                .collect();
            let certified = blocks.iter().rposition(|block| block.certificate.is_some());
            let certified = certified.expect("the last block of a chain has a certificate");
            let salt = self.nodes[i].salt;
            for block in blocks.into_iter().take(certified + 1) {
                if let Some(certificate) = &block.certificate {
                    certificate
                        .verify(&self.committee.chain, &self.committee.validators)
                        .expect("stored certificates verify");
                    let own_result = node::result_of(block.header.hash(), salt);
                    if own_result != certificate.commit.result {
                        let replica = self.nodes[i].replica.as_mut().expect("it runs");
                        replica.halt("fetched blocks give another result here".into());
                        return;
                    }
                }
                self.settle_block(i, block);
            }
            let (now, certificate) = (self.now, self.nodes[i].committed().certificate.expect("just settled"));
            let replica = self.nodes[i].replica.as_mut().expect("it runs");
            if certificate.commit.height > replica.committed().height {
                replica.caught_up(now, certificate);
            }
            self.nodes[i].prune();
        }
        if self.height(i) < self.nodes[i].catch_up {
            self.plan_fetch(i);
        }
    }

    /// The ids and bodies of a block, from whoever can be reached and has them.
    fn find(&self, i: usize, block: BlockHash) -> Option<Arc<[TransactionId]>> {
        let reachable = |p: &usize| *p == i || (self.nodes[*p].replica.is_some() && !(self.cut)(*p, i));
        (0..self.nodes.len()).filter(reachable).find_map(|p| self.nodes[p].bodies.get(&block).cloned())
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Deliver { to, message } => self.receive(to, message),
            Event::Synced { node, life } if self.nodes[node].life == life => self.on_synced(node),
            Event::Execute { node, life, task } if self.nodes[node].life == life => {
                self.on_execute(node, task);
            }
            Event::Fetch { node, life } if self.nodes[node].life == life => {
                self.fetch(node);
                self.settle_node(node);
            }
            _ => {}
        }
    }

    fn on_synced(&mut self, i: usize) {
        let crash =
            self.crash_at.filter(|(node, records, _)| *node == i && self.nodes[i].records + 1 == *records);
        if let Some((_, _, synced)) = crash {
            self.crash_at = None;
            if synced && let Some(Output::Persist(record)) = self.nodes[i].queue.pop_front() {
                self.nodes[i].write(record);
            }
            self.crash(i);
            return;
        }
        self.nodes[i].syncing = false;
        if let Some(Output::Persist(record)) = self.nodes[i].queue.pop_front() {
            self.nodes[i].write(record);
        }
        while self.step_queue(i) {}
        self.settle_node(i);
    }

    fn on_execute(&mut self, i: usize, task: Box<Task>) {
        let block = task.header.hash();
        if task.header.height <= self.height(i) {
            return;
        }
        let now = self.now;
        let ids = task.ids.clone().or_else(|| self.find(i, block));
        let verdict = ids.and_then(|ids| self.nodes[i].execute(now, &task.header, &ids, task.reproposal));
        match verdict {
            Some(verdict) => {
                self.nodes[i].replica.as_mut().expect("it runs").executed(now, block, verdict);
                self.settle_node(i);
            }
            // Its parent or its bodies are missing still.
            None if now < task.asked + GIVE_UP => {
                let life = self.nodes[i].life;
                self.at(now + ms(5), Event::Execute { node: i, life, task });
            }
            None => {}
        }
    }

    fn next_tick(&self) -> Option<(Duration, usize)> {
        self.running().into_iter().map(|i| (self.replica(i).deadline(), i)).min()
    }

    /// Runs until the fake clock reads `until`.
    pub(super) fn run_until(&mut self, until: Duration) {
        loop {
            let event = self.events.keys().next().map(|(time, _)| *time);
            let tick = self.next_tick();
            match (event, tick) {
                (Some(time), tick) if time <= until && tick.is_none_or(|(due, _)| time <= due) => {
                    self.now = self.now.max(time);
                    let (_, event) = self.events.pop_first().expect("just seen");
                    self.on_event(event);
                }
                (_, Some((due, i))) if due <= until => {
                    self.now = self.now.max(due);
                    let now = self.now;
                    let replica = self.nodes[i].replica.as_mut().expect("it runs");
                    replica.tick(now);
                    assert!(replica.deadline() > now, "the driver would spin: {replica:?}");
                    self.settle_node(i);
                }
                _ => break,
            }
        }
        self.now = until;
    }

    pub(super) fn run(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    /// Runs until `done`, in steps of 5 ms; how long that took.
    ///
    /// # Panics
    /// If it takes longer than `limit`.
    pub(super) fn run_to(
        &mut self,
        what: &str,
        limit: Duration,
        done: impl Fn(&Cluster) -> bool,
    ) -> Duration {
        let began = self.now;
        while !done(self) {
            assert!(self.now - began <= limit, "not within {limit:?}: {what}\n{}", self.describe());
            self.run(ms(5));
        }
        self.now - began
    }

    /// Runs until all running nodes have the same height and their pools are empty.
    pub(super) fn run_to_quiet(&mut self, what: &str, limit: Duration) -> Duration {
        self.run_to(what, limit, |cluster| {
            let running = cluster.running();
            let top = cluster.observer.height();
            running.iter().all(|i| cluster.nodes[*i].pool.is_empty() && cluster.height(*i) == top)
        })
    }

    /// Where everyone stands.
    pub(super) fn describe(&self) -> String {
        let line = |i: usize| match &self.nodes[i].replica {
            None => format!("{i}: down, height {}\n", self.height(i)),
            Some(replica) => format!(
                "{i}: view {} {:?} height {} pool {} halted {:?} slot {:?}\n   {:?}\n",
                replica.view(),
                replica.phase(),
                self.height(i),
                self.nodes[i].pool.len(),
                replica.halted(),
                replica.slot(),
                self.nodes[i].views.iter().rev().take(4).collect::<Vec<_>>(),
            ),
        };
        format!("at {:?}\n{}", self.now, (0..self.nodes.len()).map(line).collect::<String>())
    }

    /// The views the running nodes are in.
    pub(super) fn views(&self) -> Vec<View> {
        self.running().into_iter().map(|i| self.replica(i).view()).collect()
    }

    pub(super) fn all_active(&self) -> bool {
        self.running().into_iter().all(|i| self.replica(i).phase() == Phase::Active)
    }
}
