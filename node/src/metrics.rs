//! What is counted, in Prometheus' text format.
//!
//! Names begin with `quorate_` and end with their base unit. Peers are labelled by member name, never
//! by address; nothing is labelled by transaction. Counters are raised where things happen; gauges
//! are read when someone asks.

use crate::core::api::{CommittedBlock, CoreStatus};
use crate::runtime::{Class, Observer, clock};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use quorate_client::protocol::NodeStatus;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Peer {
    peer: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Lane {
    lane: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Synced {
    file: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Source {
    source: &'static str,
}

type Wide = Gauge<u64, AtomicU64>;

/// All metrics of a node.
pub struct Metrics {
    registry: Registry,
    // Raised where things happen.
    blocks: Family<Source, Counter>,
    transactions: Counter,
    transaction_bytes: Counter,
    failed: Counter,
    block_transactions: Histogram,
    block_age: Histogram,
    write_seconds: Histogram,
    written_bytes: Counter,
    write_group: Histogram,
    syncs: Family<Synced, Counter>,
    verify_seconds: Family<Lane, Histogram, fn() -> Histogram>,
    step_seconds: Histogram,
    faults: Family<Peer, Counter>,
    // Read when asked.
    height: Wide,
    view: Wide,
    ready: Wide,
    mempool_transactions: Wide,
    mempool_bytes: Wide,
    committed_transactions: Wide,
    gossip_first: Wide,
    gossip_duplicates: Wide,
    evidence: Wide,
    view_changes: Wide,
    waiting: Family<Lane, Wide>,
    write_backlog: Wide,
    peer_connected: Family<Peer, Wide>,
    peer_height: Family<Peer, Wide>,
    peer_rtt: Family<Peer, Gauge<f64, AtomicU64>>,
    peer_in: Family<Peer, Wide>,
    peer_out: Family<Peer, Wide>,
    clients: Wide,
    frames_dropped: Wide,
    strangers: Wide,
    uptime: Gauge<f64, AtomicU64>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// From 50 µs to about 26 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_05, 2.0, 20))
}

/// From 1 to 16 384.
fn counts() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 15))
}

impl Metrics {
    /// All at zero.
    pub fn new(chain: String, name: String) -> Metrics {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("quorate"),
            blocks: Family::default(),
            transactions: Counter::default(),
            transaction_bytes: Counter::default(),
            failed: Counter::default(),
            block_transactions: counts(),
            block_age: seconds(),
            write_seconds: seconds(),
            written_bytes: Counter::default(),
            write_group: counts(),
            syncs: Family::default(),
            verify_seconds: Family::new_with_constructor(seconds),
            step_seconds: seconds(),
            faults: Family::default(),
            height: Wide::default(),
            view: Wide::default(),
            ready: Wide::default(),
            mempool_transactions: Wide::default(),
            mempool_bytes: Wide::default(),
            committed_transactions: Wide::default(),
            gossip_first: Wide::default(),
            gossip_duplicates: Wide::default(),
            evidence: Wide::default(),
            view_changes: Wide::default(),
            waiting: Family::default(),
            write_backlog: Wide::default(),
            peer_connected: Family::default(),
            peer_height: Family::default(),
            peer_rtt: Family::default(),
            peer_in: Family::default(),
            peer_out: Family::default(),
            clients: Wide::default(),
            frames_dropped: Wide::default(),
            strangers: Wide::default(),
            uptime: Gauge::default(),
        };
        metrics.register(chain, name);
        metrics
    }

    fn register(&mut self, chain: String, name: String) {
        let Metrics { registry: r, .. } = self;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        r.register(
            "node",
            "This node",
            Info::new([("chain", chain), ("member", name), ("version", version)]),
        );
        r.register(
            "blocks_committed",
            "Blocks committed since start, by voting or by catching up",
            self.blocks.clone(),
        );
        r.register("transactions_committed", "Transactions committed since start", self.transactions.clone());
        r.register(
            "transactions_failed",
            "Of those, the ones that failed and had no effect",
            self.failed.clone(),
        );
        r.register_with_unit(
            "transactions_committed",
            "Their bytes",
            Unit::Bytes,
            self.transaction_bytes.clone(),
        );
        r.register("block_transactions", "Transactions of a block", self.block_transactions.clone());
        r.register_with_unit(
            "block_age",
            "Time from a block's timestamp to its commit here",
            Unit::Seconds,
            self.block_age.clone(),
        );
        r.register_with_unit(
            "storage_write",
            "Time of one batch, synced or not",
            Unit::Seconds,
            self.write_seconds.clone(),
        );
        r.register_with_unit(
            "storage_written",
            "Bytes of batches before compression",
            Unit::Bytes,
            self.written_bytes.clone(),
        );
        r.register("storage_write_group", "Pieces of work that shared one batch", self.write_group.clone());
        r.register(
            "storage_syncs",
            "Writes that were waited for until they were durable",
            self.syncs.clone(),
        );
        r.register("storage_backlog", "Pieces of work waiting for the disk", self.write_backlog.clone());
        r.register_with_unit(
            "verify_batch",
            "Time to verify one batch",
            Unit::Seconds,
            self.verify_seconds.clone(),
        );
        r.register_with_unit(
            "core_step",
            "Time of one step of the core",
            Unit::Seconds,
            self.step_seconds.clone(),
        );
        r.register("core_waiting", "Inputs waiting for the core", self.waiting.clone());
        r.register(
            "peer_faults",
            "Broken rules by the peer whose connection they came by",
            self.faults.clone(),
        );
        r.register("height", "Height of the last committed block", self.height.clone());
        r.register("view", "Current view", self.view.clone());
        r.register("ready", "1 if the node votes and is caught up, as /readyz says", self.ready.clone());
        r.register(
            "mempool_transactions",
            "Transactions waiting to be ordered",
            self.mempool_transactions.clone(),
        );
        r.register_with_unit("mempool", "Their bytes", Unit::Bytes, self.mempool_bytes.clone());
        r.register(
            "chain_transactions",
            "Transactions committed since the chain began",
            self.committed_transactions.clone(),
        );
        r.register(
            "gossip_first_copies",
            "First copies of transactions received from peers",
            self.gossip_first.clone(),
        );
        r.register("gossip_duplicates", "Further copies", self.gossip_duplicates.clone());
        r.register("evidence", "Kept evidence of contradicting signatures", self.evidence.clone());
        r.register("view_changes", "View changes since start", self.view_changes.clone());
        r.register("peer_connected", "1 if connected", self.peer_connected.clone());
        r.register("peer_height", "Last known height of a peer", self.peer_height.clone());
        r.register_with_unit("peer_rtt", "Round trip to a peer", Unit::Seconds, self.peer_rtt.clone());
        r.register_with_unit(
            "peer_received",
            "Bytes received from a peer",
            Unit::Bytes,
            self.peer_in.clone(),
        );
        r.register_with_unit("peer_sent", "Bytes sent to a peer", Unit::Bytes, self.peer_out.clone());
        r.register("client_connections", "Client connections", self.clients.clone());
        r.register(
            "transport_frames_dropped",
            "Frames not sent: a queue was full or lost its connection",
            self.frames_dropped.clone(),
        );
        r.register(
            "transport_strangers",
            "Connections refused because the key is no member's",
            self.strangers.clone(),
        );
        r.register_with_unit("uptime", "Time since start", Unit::Seconds, self.uptime.clone());
    }

    /// A block was committed and stored.
    pub fn committed(&self, block: &CommittedBlock) {
        let source = if block.caught_up { "caught up" } else { "voted" };
        self.blocks.get_or_create(&Source { source }).inc();
        let count = block.transactions.len();
        self.transactions.inc_by(count as u64);
        self.transaction_bytes
            .inc_by(block.transactions.iter().map(|transaction| transaction.bytes().len() as u64).sum());
        let applied = |outcome: &&quorate_types::outcome::Outcome| {
            **outcome == quorate_types::outcome::Outcome::Applied
        };
        self.failed.inc_by((count - block.outcomes.iter().filter(applied).count().min(count)) as u64);
        self.block_transactions.observe(u32::try_from(count).map_or(f64::INFINITY, f64::from));
        if !block.caught_up {
            let age = clock::wall().0.saturating_sub(block.finality.header.timestamp.0);
            self.block_age.observe(Duration::from_millis(age).as_secs_f64());
        }
    }

    /// A batch was written.
    pub fn written(&self, time: Duration, bytes: usize, readies: usize) {
        self.write_seconds.observe(time.as_secs_f64());
        self.written_bytes.inc_by(bytes as u64);
        self.write_group.observe(u32::try_from(readies).map_or(f64::INFINITY, f64::from));
    }

    /// Something was made durable: in the `database`, or in the `guard` file.
    pub fn synced(&self, file: &'static str) {
        self.syncs.get_or_create(&Synced { file }).inc();
    }

    /// A batch was verified.
    pub fn verify_seconds(&self, class: Class, time: Duration) {
        self.verify_seconds.get_or_create(&Lane { lane: class.name() }).observe(time.as_secs_f64());
    }

    /// The core took a step.
    pub fn stepped(&self, time: Duration) {
        self.step_seconds.observe(time.as_secs_f64());
    }

    /// A peer broke a rule.
    pub fn fault(&self, peer: &str) {
        self.faults.get_or_create(&Peer { peer: peer.to_owned() }).inc();
    }

    /// The text of all metrics. Without a status (the core does not answer) the gauges keep their last
    /// values.
    pub fn render(&self, observer: &Observer, known: Option<&(CoreStatus, NodeStatus)>) -> String {
        let status = known.map(|(_, status)| status);
        if let Some((core, status)) = known {
            self.gossip_first.set(core.gossip_first);
            self.gossip_duplicates.set(core.gossip_duplicates);
            self.view_changes.set(core.view_changes);
            self.take(status);
        }
        self.ready.set(u64::from(status.is_some_and(|status| crate::runtime::not_ready(status).is_none())));
        for (class, length) in Class::ALL.into_iter().zip(observer.mailbox.lengths()) {
            self.waiting.get_or_create(&Lane { lane: class.name() }).set(length as u64);
        }
        self.write_backlog.set(observer.queue.len() as u64);
        let transport = observer.transport();
        self.clients.set(transport.clients_connected);
        self.frames_dropped.set(transport.frames_dropped);
        self.strangers.set(transport.strangers);
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    fn take(&self, status: &NodeStatus) {
        self.height.set(status.height.0);
        self.view.set(status.view.0);
        self.mempool_transactions.set(status.mempool_transactions);
        self.mempool_bytes.set(status.mempool_bytes);
        self.committed_transactions.set(status.committed_transactions);
        self.evidence.set(status.evidence);
        self.uptime.set(Duration::from_millis(status.uptime_ms).as_secs_f64());
        for peer in &status.peers {
            let label = Peer { peer: peer.name.clone() };
            self.peer_connected.get_or_create(&label).set(u64::from(peer.connected));
            self.peer_height.get_or_create(&label).set(peer.height.0);
            self.peer_rtt.get_or_create(&label).set(Duration::from_micros(peer.rtt_us).as_secs_f64());
            self.peer_in.get_or_create(&label).set(peer.bytes_in);
            self.peer_out.get_or_create(&label).set(peer.bytes_out);
        }
    }
}
