//! What the node says of itself, gathered for clients, HTTP and metrics alike.

use super::mailbox::{Mailbox, Query};
use super::writer::{Disk, WriteQueue};
use crate::core::api::CoreStatus;
use quorate_client::protocol::{NodeStatus, PeerStatus, Trace};
use quorate_genesis::Founding;
use quorate_transport::{Node, Stats};
use quorate_types::hash::{BlockHash, TransactionId};
use quorate_types::ids::{Height, Timestamp, ValidatorIndex};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// How long the core may take to answer a question before the node calls itself stuck. It answers
/// between two steps, and no step takes a second.
const ANSWER: Duration = Duration::from_secs(5);

/// The core did not answer in time, or is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node is busy or shutting down; ask again")]
pub struct NoAnswer;

/// The last block that is stored here, so that whoever reads it or asks for blocks up to it gets them. The
/// core is ahead of it by what waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its height; 0 if only the genesis document is there.
    pub height: Height,
    /// Its hash.
    pub block: BlockHash,
    /// Its time.
    pub timestamp: Timestamp,
}

/// A view of the whole node.
pub struct Observer {
    /// Asks the core.
    pub mailbox: Arc<Mailbox>,
    /// Knows the peers.
    pub node: Arc<Node>,
    /// Knows the disk.
    pub disk: Arc<Disk>,
    /// Knows the last block.
    pub stored: watch::Receiver<Stored>,
    /// Knows what waits for the disk.
    pub queue: Arc<WriteQueue>,
    /// Knows the names.
    pub founding: Arc<Founding>,
    /// This validator.
    pub me: ValidatorIndex,
    /// Since when it runs.
    pub started: Instant,
}

impl Observer {
    async fn ask<T>(&self, query: impl FnOnce(oneshot::Sender<T>) -> Query) -> Result<T, NoAnswer> {
        let (answer, answered) = oneshot::channel();
        if !self.mailbox.ask(query(answer)) {
            return Err(NoAnswer);
        }
        match tokio::time::timeout(ANSWER, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(NoAnswer),
        }
    }

    /// What the core says of itself.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn core(&self) -> Result<CoreStatus, NoAnswer> {
        self.ask(Query::Status).await
    }

    /// How the node came to know a transaction.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn trace(&self, id: TransactionId) -> Result<Option<Trace>, NoAnswer> {
        self.ask(|answer| Query::Trace(id, answer)).await
    }

    /// What the transport has counted.
    pub fn transport(&self) -> Stats {
        self.node.stats()
    }

    /// The name of a validator.
    pub fn name(&self, validator: ValidatorIndex) -> &str {
        self.founding.validator(validator).map_or("unknown", |validator| validator.name.as_str())
    }

    /// Everything about the node in one piece.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn status(&self) -> Result<NodeStatus, NoAnswer> {
        Ok(self.describe(&self.core().await?))
    }

    /// The same, from what the core said.
    pub fn describe(&self, core: &CoreStatus) -> NodeStatus {
        let peers = self.node.peers().into_iter().map(|peer| {
            let (height, view) = core.peers.get(peer.peer.as_usize()).copied().unwrap_or_default();
            PeerStatus {
                validator: peer.peer,
                name: self.name(peer.peer).to_owned(),
                connected: peer.connected,
                height,
                view,
                rtt_us: peer.rtt.map_or(0, |rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
                bytes_in: peer.lanes.iter().map(|lane| lane.bytes_in).sum(),
                bytes_out: peer.lanes.iter().map(|lane| lane.bytes_out).sum(),
            }
        });
        let stored = *self.stored.borrow();
        // Blocks that were fetched are executed faster than they are written: what is not stored is not served.
        let writing = core.height > stored.height.plus(self.founding.parameters().window);
        let phase = if writing && is_ready(core.phase) { "catching up" } else { core.phase };
        let duplicates = core.gossip_duplicates.saturating_mul(1000).checked_div(core.gossip_first);
        NodeStatus {
            chain: self.founding.chain(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            name: self.name(self.me).to_owned(),
            validator: self.me,
            height: stored.height,
            block: stored.block,
            block_time: stored.timestamp,
            view: core.view,
            leader: core.leader,
            phase: phase.to_owned(),
            trouble: self.disk.trouble().or_else(|| core.trouble.clone()),
            mempool_transactions: core.mempool_transactions as u64,
            mempool_bytes: core.mempool_bytes as u64,
            committed_transactions: self.disk.transactions(),
            gossip_duplicates_per_1000: duplicates.unwrap_or(0),
            evidence: core.evidence,
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            peers: peers.collect(),
        }
    }
}

/// Why the node is not ready: it does not vote, or cannot be relied on for the latest block.
pub fn not_ready(status: &NodeStatus) -> Option<String> {
    if let Some(trouble) = &status.trouble {
        return Some(trouble.clone());
    }
    (!is_ready(&status.phase)).then(|| format!("the node is {}", status.phase))
}

fn is_ready(phase: &str) -> bool {
    matches!(phase, "active" | "changing view")
}
