//! Gossip alone, and many of them in a network of the tests' own with a fake clock.

use super::*;
use crate::core::mempool::tests::transaction;
use proptest::prelude::*;
use rand_core::Rng;
use std::collections::BTreeMap;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn v(index: usize) -> ValidatorIndex {
    ValidatorIndex(u16::try_from(index).unwrap())
}

fn tx(nonce: u64) -> VerifiedTransaction {
    transaction(1, nonce, u64::MAX, 100)
}

fn ids(transactions: &[VerifiedTransaction]) -> Vec<TransactionId> {
    transactions.iter().map(VerifiedTransaction::id).collect()
}

/// A gossip of validator 0 with everyone connected.
fn connected(n: usize) -> Gossip {
    let mut gossip = Gossip::new(v(0), n, [3; 32]);
    for peer in 1..n {
        gossip.peer_up(v(peer));
    }
    gossip
}

fn announced(gossip: &mut Gossip) -> Vec<TransactionId> {
    let frames = gossip.take_outgoing().into_iter();
    frames.flat_map(|f| if let GossipFrame::Announce { ids, .. } = f { ids } else { vec![] }).collect()
}

fn pulls(gossip: &mut Gossip) -> Vec<(ValidatorIndex, Vec<TransactionId>)> {
    let frames = gossip.take_outgoing().into_iter();
    frames
        .filter_map(|f| if let GossipFrame::Pull { to, ids } = f { Some((to, ids)) } else { None })
        .collect()
}

struct Node {
    gossip: Gossip,
    bodies: BTreeMap<TransactionId, (VerifiedTransaction, u8)>,
    /// Receives, but sends nothing on of others.
    selfish: bool,
}

struct Network {
    nodes: Vec<Node>,
    /// By link from the lower to the higher index.
    links: BTreeMap<(usize, usize), bool>,
    packets: BTreeMap<(Duration, u64), (usize, usize, GossipFrame)>,
    sent: u64,
    now: Duration,
    rng: ChaCha20Rng,
    loss_percent: u64,
}

impl Network {
    fn new(n: usize, seed: u64, loss_percent: u64) -> Network {
        let nodes = (0..n).map(|me| Node {
            gossip: Gossip::new(v(me), n, [u8::try_from(me).unwrap(); 32]),
            bodies: BTreeMap::new(),
            selfish: false,
        });
        let mut network = Network {
            nodes: nodes.collect(),
            links: BTreeMap::new(),
            packets: BTreeMap::new(),
            sent: 0,
            now: Duration::ZERO,
            rng: ChaCha20Rng::seed_from_u64(seed),
            loss_percent,
        };
        for a in 0..n {
            for b in a + 1..n {
                network.link(a, b, true);
            }
        }
        network
    }

    fn link(&mut self, a: usize, b: usize, up: bool) {
        self.links.insert((a.min(b), a.max(b)), up);
        for (node, peer) in [(a, b), (b, a)] {
            let gossip = &mut self.nodes[node].gossip;
            if up {
                gossip.peer_up(v(peer))
            } else {
                gossip.peer_down(v(peer))
            }
            self.flush(node);
        }
    }

    fn submit(&mut self, node: usize, transactions: &[VerifiedTransaction]) {
        for t in transactions {
            self.nodes[node].bodies.insert(t.id(), (t.clone(), 0));
        }
        self.nodes[node].gossip.local(transactions, self.now);
        self.flush(node);
    }

    fn flush(&mut self, node: usize) {
        for frame in self.nodes[node].gossip.take_outgoing() {
            let recipients = match &frame {
                GossipFrame::Transactions { hops, to, .. } => {
                    if self.nodes[node].selfish && *hops > 1 {
                        vec![]
                    } else {
                        to.clone()
                    }
                }
                GossipFrame::Announce { to, .. } => to.clone(),
                GossipFrame::Pull { to, .. } => vec![*to],
            };
            for to in recipients {
                let to = to.as_usize();
                assert_ne!(to, node, "nobody talks to itself");
                let lost = self.rng.next_u64() % 100 < self.loss_percent;
                if !lost && self.links[&(node.min(to), node.max(to))] {
                    let latency = ms(1 + self.rng.next_u64() % 10);
                    self.packets.insert((self.now + latency, self.sent), (node, to, frame.clone()));
                    self.sent += 1;
                }
            }
        }
    }

    fn deliver(&mut self, from: usize, to: usize, frame: GossipFrame) {
        let node = &mut self.nodes[to];
        match frame {
            GossipFrame::Transactions { hops, transactions, .. } => {
                let fresh = node.gossip.received(v(from), transactions, self.now);
                for t in &fresh {
                    let before = node.bodies.insert(t.id(), (t.clone(), hops));
                    assert!(before.is_none(), "fresh means never seen");
                }
                node.gossip.admitted(v(from), hops, &fresh, self.now);
            }
            GossipFrame::Announce { ids, .. } => node.gossip.announced(v(from), &ids, self.now),
            GossipFrame::Pull { ids, .. } => {
                let bodies = &node.bodies;
                let lookup = |id: &TransactionId| bodies.get(id).map(|(t, _)| t.clone());
                node.gossip.pull_requested(v(from), &ids, self.now, lookup);
            }
        }
        self.flush(to);
    }

    /// Lets everything happen that is due up to `until`.
    fn run(&mut self, until: Duration) {
        loop {
            let packet = self.packets.first_key_value().map(|((at, _), _)| *at);
            let timers = self.nodes.iter().enumerate();
            let timer = timers.filter_map(|(n, node)| node.gossip.deadline().map(|at| (at, n))).min();
            let next = packet.into_iter().chain(timer.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|at| *at <= until) else { break };
            self.now = self.now.max(next);
            if packet == Some(next) {
                if let Some((_, (from, to, frame))) = self.packets.pop_first()
                    && self.links[&(from.min(to), from.max(to))]
                {
                    self.deliver(from, to, frame);
                }
            } else if let Some((_, node)) = timer {
                self.nodes[node].gossip.tick(self.now);
                self.flush(node);
            }
        }
        self.now = until;
    }

    fn complete(&self, count: usize) -> bool {
        self.nodes.iter().all(|node| node.bodies.len() == count)
    }

    /// Copies of a body that arrived at a node, for each that was the first.
    fn copies(&self) -> f64 {
        let counts = self.nodes.iter().map(|node| node.gossip.counts());
        let (first, all) = counts.fold((0, 0), |(f, a), c| (f + c.first, a + c.first + c.duplicates));
        f64::from(u32::try_from(all).unwrap()) / f64::from(u32::try_from(first).unwrap())
    }
}

/// `each` transactions for each of `n` nodes.
fn transactions(n: usize, each: usize) -> Vec<Vec<VerifiedTransaction>> {
    let nonce = |node: usize, i: usize| u64::try_from(node * each + i).unwrap();
    (0..n).map(|node| (0..each).map(|i| tx(nonce(node, i))).collect()).collect()
}

#[test]
fn without_loss_every_body_arrives_everywhere_once() {
    for n in [1, 2, 4, 7, 9, 10, 16, 31] {
        let each = 4;
        let mut network = Network::new(n, 1, 0);
        for (node, batch) in transactions(n, each).iter().enumerate() {
            network.submit(node, batch);
        }
        network.run(ms(60));
        assert!(network.complete(n * each), "n={n}: two hops of at most 11 ms reach everyone");
        network.run(ms(5_000));
        assert!(network.nodes.iter().all(|node| node.bodies.values().all(|(_, hops)| *hops <= 2)));
        let duplicates: u64 = network.nodes.iter().map(|node| node.gossip.counts().duplicates).sum();
        assert_eq!(duplicates, 0, "n={n}");
    }
}

#[test]
fn loss_is_repaired() {
    for (n, loss, seed) in [(2, 50, 1), (2, 50, 2), (4, 30, 3), (4, 30, 4), (10, 20, 5), (31, 20, 6)] {
        let each = 3;
        let mut network = Network::new(n, seed, loss);
        for (node, batch) in transactions(n, each).iter().enumerate() {
            network.submit(node, batch);
        }
        while !network.complete(n * each) {
            assert!(network.now < ms(20_000), "n={n}: repaired within seconds");
            network.run(network.now + ms(50));
        }
        network.run(network.now + ms(1_000));
        let copies = network.copies();
        println!("n={n} loss={loss}%: {copies:.3} copies of each body after {:?}", network.now);
        assert!(copies < 1.2, "n={n}: {copies}");
    }
}

#[test]
fn links_come_and_go_and_everything_arrives() {
    for n in [4, 10, 31] {
        let batches = transactions(n, 3);
        let mut network = Network::new(n, 3, 5);
        for step in 0..30 {
            for _ in 0..n {
                let pick = |rng: &mut ChaCha20Rng| usize::try_from(rng.next_u64() % n as u64).unwrap();
                let (a, b) = (pick(&mut network.rng), pick(&mut network.rng));
                let up = network.rng.next_u64().is_multiple_of(2);
                if a != b {
                    network.link(a, b, up);
                }
            }
            if let Some(batch) = batches.get(step) {
                network.submit(step, batch);
            }
            network.run(network.now + ms(20));
        }
        for (node, batch) in batches.iter().enumerate().skip(30) {
            network.submit(node, batch);
        }
        for a in 0..n {
            for b in a + 1..n {
                network.link(a, b, true);
            }
        }
        while !network.complete(3 * n) {
            assert!(network.now < ms(30_000), "n={n}");
            network.run(network.now + ms(50));
        }
        println!("n={n} churn: complete after {:?}, {:.3} copies", network.now, network.copies());
        assert!(network.copies() < 1.2);
    }
}

#[test]
fn an_origin_that_dies_after_telling_one_peer_is_outlived() {
    let n = 10;
    let mut network = Network::new(n, 4, 0);
    for peer in 2..n {
        network.link(0, peer, false);
    }
    network.submit(0, &[tx(1)]);
    network.run(ms(20));
    network.link(0, 1, false);
    network.run(ms(3_000));
    assert_eq!(network.nodes.iter().filter(|node| node.bodies.len() == 1).count(), n);
}

#[test]
fn relays_that_pass_nothing_on_cost_a_moment() {
    let n = 31;
    let mut network = Network::new(n, 5, 0);
    for node in 1..n {
        network.nodes[node].selfish = true;
    }
    network.submit(0, &transactions(1, 20)[0]);
    network.run(ms(100));
    assert!(!network.complete(20));
    network.run(PULL_DELAY + ms(100));
    assert!(network.complete(20), "the rest is pulled from the origin");
    assert!(network.copies() < 1.01);
}

#[test]
fn a_restarted_peer_learns_what_waits() {
    let n = 4;
    let mut network = Network::new(n, 6, 0);
    for (node, batch) in transactions(n, 5).iter().enumerate() {
        network.submit(node, batch);
    }
    network.run(ms(2_000));
    for peer in 0..3 {
        network.link(3, peer, false);
    }
    network.nodes[3].gossip = Gossip::new(v(3), n, [9; 32]);
    network.nodes[3].bodies.clear();
    for peer in 0..3 {
        network.link(3, peer, true);
    }
    network.run(network.now + ms(50));
    assert_eq!(network.nodes[3].bodies.len(), 15, "what the others' own clients handed in, at once");
    network.run(network.now + ms(12_000));
    assert_eq!(network.nodes[3].bodies.len(), 20, "the rest by repair");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_small_network_converges(n in 2..14usize, seed: u64, loss in 0..40u64) {
        let mut network = Network::new(n, seed, loss);
        for (node, batch) in transactions(n, 2).iter().enumerate() {
            network.submit(node, batch);
        }
        network.run(ms(30_000));
        prop_assert!(network.complete(2 * n));
    }
}

#[test]
fn a_wanted_body_is_asked_of_the_proposer_then_of_everyone_until_it_comes() {
    let mut gossip = connected(4);
    let wanted = tx(1);
    gossip.wanted(&[wanted.id()], Some(v(2)), ms(0));
    gossip.tick(WANTED_DELAY - ms(1));
    assert_eq!(pulls(&mut gossip), [], "it may be on its way");
    gossip.tick(WANTED_DELAY + ms(1));
    assert_eq!(pulls(&mut gossip), [(v(2), vec![wanted.id()])]);
    gossip.wanted(&[wanted.id()], Some(v(2)), WANTED_DELAY + ms(2));
    assert_eq!(pulls(&mut gossip), [], "once is enough");
    let mut asked = Vec::new();
    for _ in 0..40 {
        let now = gossip.deadline().expect("goes on asking");
        gossip.tick(now);
        asked.extend(pulls(&mut gossip).into_iter().map(|(to, _)| to.as_usize()));
    }
    assert!(asked[..2].contains(&1) && asked[..2].contains(&3), "all are asked before anyone twice");
    assert_eq!(asked.len(), 40);
    let fresh = gossip.received(v(3), vec![wanted.clone()], ms(9_000));
    gossip.admitted(v(3), 1, &fresh, ms(9_000));
    gossip.tick(ms(60_000));
    assert_eq!(pulls(&mut gossip), []);
    assert!(gossip.peers.iter().all(|peer| peer.asked == 0 && peer.announced == 0));
}

#[test]
fn every_peer_that_is_asked_gets_twice_the_time_of_the_one_before_unless_a_proposal_waits() {
    let asked_at = |hear: &dyn Fn(&mut Gossip)| -> Vec<Duration> {
        let mut gossip = connected(31);
        hear(&mut gossip);
        let mut asked_at = Vec::new();
        while asked_at.len() < 7 {
            let now = gossip.deadline().expect("goes on asking");
            gossip.tick(now);
            assert_eq!(pulls(&mut gossip).len(), 1);
            asked_at.push(now);
        }
        asked_at
    };
    let announced = asked_at(&|gossip| (1..9).for_each(|n| gossip.announced(v(n), &[tx(1).id()], ms(0))));
    assert_eq!(announced, [150, 250, 450, 850, 1_650, 2_650, 3_650].map(ms));
    let wanted = asked_at(&|gossip| gossip.wanted(&[tx(1).id()], None, ms(0)));
    assert_eq!(wanted, [50, 150, 250, 350, 450, 550, 650].map(ms));
}

#[test]
fn what_waits_its_turn_is_not_announced() {
    let mut gossip = connected(4);
    let all: Vec<_> = (0..4).map(tx).collect();
    let [first, waits, later, last] = &all[..] else { unreachable!() };
    for (transaction, at) in [(first, 0), (waits, 10), (later, 400), (last, 410)] {
        gossip.local(std::slice::from_ref(transaction), ms(at));
    }
    gossip.take_outgoing();
    gossip.committed(&[first.id()], ms(280));
    gossip.tick(ms(320));
    assert_eq!(announced(&mut gossip), [], "what came before it has just been committed");
    gossip.committed(&[later.id()], ms(900));
    gossip.tick(ms(920));
    assert_eq!(announced(&mut gossip), [waits.id()], "it was passed over: it may be lost");
    gossip.tick(ms(1_050));
    assert_eq!(announced(&mut gossip), [], "the last waits its turn");
    gossip.tick(ms(900) + QUIET + REPAIR_DELAY);
    assert!(announced(&mut gossip).contains(&last.id()), "nothing is committed any more");
}

#[test]
fn where_bodies_usually_take_long_they_are_pulled_later() {
    let mut gossip = connected(31);
    let mut now = ms(0);
    // Announced by one, asked of it, and then it comes from `sender` 600 ms after the announcement.
    let mut late = |gossip: &mut Gossip, nonce: u64, sender: usize| -> Duration {
        gossip.announced(v(1), &[tx(nonce).id()], now);
        let due = gossip.deadline().unwrap();
        gossip.tick(due);
        assert_eq!(pulls(gossip).len(), 1);
        let fresh = gossip.received(v(sender), vec![tx(nonce)], now + ms(600));
        gossip.admitted(v(sender), 1, &fresh, now + ms(600));
        gossip.removed(&[tx(nonce).id()]);
        gossip.tick(now + ms(5_000));
        gossip.take_outgoing();
        let waited = due - now;
        now += ms(10_000);
        waited
    };
    assert_eq!(late(&mut gossip, 1, 1), PULL_DELAY);
    assert_eq!(late(&mut gossip, 2, 1), PULL_DELAY, "whoever was asked says nothing of how long the way is");
    assert_eq!(late(&mut gossip, 3, 2), PULL_DELAY);
    assert_eq!(late(&mut gossip, 4, 2), PULL_DELAY_CAP, "known once, and not well");
    assert!((ms(600)..ms(900)).contains(&(5..20).map(|n| late(&mut gossip, n, 2)).last().unwrap()));
    // What a proposal needs is asked for sooner all the same.
    gossip.wanted(&[tx(100).id()], None, ms(900_000));
    assert_eq!(gossip.deadline(), Some(ms(900_000) + WANTED_DELAY_CAP));
}

#[test]
fn an_unwanted_body_is_asked_for_no_more() {
    let mut gossip = connected(4);
    gossip.wanted(&[tx(1).id(), tx(2).id()], None, ms(0));
    pulls(&mut gossip);
    gossip.unwanted(&[tx(1).id()]);
    gossip.tick(ms(500));
    let asked: Vec<_> = pulls(&mut gossip).into_iter().flat_map(|(_, ids)| ids).collect();
    assert_eq!(asked, [tx(2).id()]);
}

#[test]
fn an_announcement_never_honoured_is_dropped() {
    let mut gossip = connected(4);
    gossip.announced(v(1), &[tx(1).id()], ms(0));
    gossip.tick(ms(0));
    assert_eq!(pulls(&mut gossip).len(), 1);
    for at in [1_000, 2_000, 3_000] {
        gossip.tick(ms(at));
    }
    assert_eq!(pulls(&mut gossip).len(), 1, "twice in all");
    assert!(gossip.missing.is_empty() && gossip.deadline().is_none());
    assert_eq!(gossip.peers[1].announced, 0);
}

#[test]
fn refused_and_committed_ones_are_not_taken_again() {
    let mut gossip = connected(4);
    let (gone, full, wanted) = (tx(1), tx(2), tx(3));
    let all = vec![gone.clone(), full.clone(), wanted.clone()];
    assert_eq!(gossip.received(v(1), all.clone(), ms(0)), all);
    gossip.removed(&[gone.id()]);
    gossip.deferred(&[full.id(), wanted.id()], ms(0));
    gossip.announced(v(2), &ids(&all), ms(1));
    gossip.tick(ms(50));
    assert_eq!(pulls(&mut gossip), []);
    gossip.wanted(&[wanted.id()], None, ms(50));
    gossip.tick(ms(51) + WANTED_DELAY);
    assert_eq!(pulls(&mut gossip).len(), 1, "a proposal's need outweighs");
    assert_eq!(gossip.received(v(2), all.clone(), ms(110)), [wanted]);
    gossip.announced(v(2), &[gone.id(), full.id()], DEFER + ms(1));
    gossip.tick(DEFER + ms(10));
    assert_eq!(pulls(&mut gossip), [(v(2), vec![full.id()])], "there may be room by now");
    assert_eq!(gossip.counts(), Counts { first: 4, duplicates: 2 });
}

#[test]
fn a_frame_with_one_transaction_twice_counts_once() {
    let mut gossip = connected(4);
    assert_eq!(gossip.received(v(1), vec![tx(1), tx(1)], ms(0)), [tx(1)]);
    gossip.admitted(v(1), 1, &[tx(1)], ms(0));
    assert_eq!(gossip.received(v(2), vec![tx(1)], ms(0)), []);
    assert_eq!(gossip.counts(), Counts { first: 1, duplicates: 2 });
}

#[test]
fn floods_of_announcements_and_pulls_are_bounded() {
    use quorate_types::hash::Hash;
    let id = |n: u64| TransactionId(Hash::of(&[&n.to_le_bytes()]));
    let mut gossip = connected(31);
    let frame: Vec<_> = (0..5_000).map(id).collect();
    gossip.announced(v(1), &frame, ms(0));
    assert_eq!(gossip.missing.len(), ANNOUNCE_IDS);
    for n in 1..20u64 {
        let frame: Vec<_> = (n * 5_000..(n + 1) * 5_000).map(id).collect();
        gossip.announced(v(1), &frame, ms(0));
    }
    assert_eq!(gossip.missing.len(), ANNOUNCED_TOTAL / 31);
    gossip.announced(v(2), &[id(1_000_000)], ms(0));
    assert_eq!(gossip.missing.len(), ANNOUNCED_TOTAL / 31 + 1, "others are heard");
    gossip.tick(PULL_DELAY);
    let frames = pulls(&mut gossip);
    assert!(frames.iter().all(|(_, ids)| ids.len() <= PULL_IDS));
    assert!(gossip.peers.iter().all(|peer| peer.asked <= PULLS_PER_PEER));
    gossip.removed((0..300_000).map(id).collect::<Vec<_>>().iter());
    assert!((SEEN_IDS / 2..=SEEN_IDS).contains(&gossip.seen.len()), "{}", gossip.seen.len());
}

#[test]
fn answers_to_pulls_are_bounded_in_bytes_and_rate() {
    let mut gossip = connected(4);
    let big = transaction(1, 1, u64::MAX, 300 << 10);
    let ask = [big.id(); 100];
    let mut answered = |now: Duration| -> usize {
        gossip.pull_requested(v(1), &ask, now, |_| Some(big.clone()));
        let frames = gossip.take_outgoing();
        assert!(frames.iter().all(|f| matches!(f, GossipFrame::Transactions { hops: 1, transactions, .. } if transactions.len() == 1)));
        frames.len()
    };
    let one = answered(ms(0));
    assert_eq!(one, ANSWER_BYTES / big.bytes().len());
    for _ in 0..100 {
        answered(ms(0));
    }
    assert_eq!(answered(ms(0)), 0, "the burst is used up");
    assert_eq!(answered(ms(1_000)), one, "and refills with time");
}

#[test]
fn bodies_for_many_peers_are_one_frame_and_frames_are_bounded() {
    let mut gossip = connected(4);
    gossip.local(&transactions(1, 3)[0], ms(0));
    let frames = gossip.take_outgoing();
    let [GossipFrame::Transactions { to, hops: 1, transactions }] = &frames[..] else {
        panic!("one frame for all: {frames:?}");
    };
    assert_eq!((to.len(), transactions.len()), (3, 3));

    let big: Vec<_> = (100..110).map(|nonce| transaction(1, nonce, u64::MAX, 100 << 10)).collect();
    gossip.local(&big, ms(0));
    let lengths: Vec<usize> = gossip
        .take_outgoing()
        .iter()
        .map(|f| if let GossipFrame::Transactions { transactions, .. } = f { transactions.len() } else { 0 })
        .collect();
    assert_eq!(lengths, [2; 5]);
}
