//! What the application receives, one bounded queue per lane.
//!
//! When a lane's queue is full its streams are not read, and flow control stops the senders; the
//! other lanes go on. Readers of different peers wait in line, so none starves another.

use crate::clients::ClientStream;
use crate::close::DownReason;
use crate::config::{Config, LaneLimits};
use crate::lane::Lane;
use bytes::Bytes;
use quorate_types::ids::ValidatorIndex;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Something that happened between this validator and another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A peer is connected: its key and hello were accepted. Comes on the lane of votes, before the
    /// first frame of that connection there (frames of other lanes may overtake it).
    PeerUp {
        /// Which validator.
        peer: ValidatorIndex,
        /// Where it is.
        address: SocketAddr,
    },
    /// A peer is no longer connected; frames queued for it are lost. Comes on the lane of votes, after
    /// the last frame of that connection there.
    PeerDown {
        /// Which validator.
        peer: ValidatorIndex,
        /// Why.
        reason: DownReason,
    },
    /// A frame of a connected peer.
    Frame {
        /// Which validator.
        from: ValidatorIndex,
        /// On which lane.
        lane: Lane,
        /// Its bytes.
        frame: Bytes,
    },
}

/// What a node receives. Read every part of it, each in a task or branch of its own.
pub struct Inbox {
    /// Votes, and peers coming and going.
    pub votes: LaneReceiver,
    /// Blocks and bodies.
    pub sync: LaneReceiver,
    /// Gossiped transactions.
    pub gossip: LaneReceiver,
    /// Streams that clients opened.
    pub clients: mpsc::Receiver<ClientStream>,
}

/// The receiving end of one lane, over all peers.
pub struct LaneReceiver {
    queue: mpsc::Receiver<Queued>,
}

struct Queued {
    event: Event,
    /// Gives its bytes back to the lane when the application takes the event.
    _claim: Option<OwnedSemaphorePermit>,
}

impl LaneReceiver {
    /// The next event; `None` when the node has shut down. Cancelling loses nothing.
    pub async fn recv(&mut self) -> Option<Event> {
        self.queue.recv().await.map(|queued| queued.event)
    }

    /// The next event, if one waits.
    pub fn try_recv(&mut self) -> Option<Event> {
        self.queue.try_recv().ok().map(|queued| queued.event)
    }
}

/// The sending end of one lane.
#[derive(Clone)]
pub(crate) struct LaneSender {
    queue: mpsc::Sender<Queued>,
    budget: Arc<Semaphore>,
}

/// The application no longer receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InboxClosed;

impl LaneSender {
    /// Hands an event over; waits while the lane is full.
    pub(crate) async fn send(&self, event: Event) -> Result<(), InboxClosed> {
        let bytes = match &event {
            Event::Frame { frame, .. } => frame.len(),
            Event::PeerUp { .. } | Event::PeerDown { .. } => 0,
        };
        let claim = match u32::try_from(bytes) {
            Ok(bytes) if bytes > 0 => {
                let claim = tokio::select! {
                    claim = Arc::clone(&self.budget).acquire_many_owned(bytes) => claim,
                    () = self.queue.closed() => return Err(InboxClosed),
                };
                Some(claim.map_err(|_| InboxClosed)?)
            }
            _ => None,
        };
        self.queue.send(Queued { event, _claim: claim }).await.map_err(|_| InboxClosed)
    }
}

/// The sending ends of an inbox.
#[derive(Clone)]
pub(crate) struct Outlets {
    lanes: [LaneSender; 3],
    pub(crate) clients: mpsc::Sender<ClientStream>,
}

impl Outlets {
    pub(crate) fn lane(&self, lane: Lane) -> &LaneSender {
        &self.lanes[lane.index()]
    }
}

fn lane_channel(limits: &LaneLimits) -> (LaneSender, LaneReceiver) {
    let (sender, receiver) = mpsc::channel(limits.inbox_frames);
    let budget = Arc::new(Semaphore::new(limits.inbox_bytes.min(Semaphore::MAX_PERMITS)));
    (LaneSender { queue: sender, budget }, LaneReceiver { queue: receiver })
}

pub(crate) fn channels(config: &Config) -> (Outlets, Inbox) {
    let (votes_in, votes) = lane_channel(&config.votes);
    let (sync_in, sync) = lane_channel(&config.sync);
    let (gossip_in, gossip) = lane_channel(&config.gossip);
    let (clients_in, clients) = mpsc::channel(config.clients.inbox_streams);
    let outlets = Outlets { lanes: [votes_in, sync_in, gossip_in], clients: clients_in };
    (outlets, Inbox { votes, sync, gossip, clients })
}
