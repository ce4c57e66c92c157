//! Counters, and the snapshots in which they are shown.

use crate::lane::Lane;
use quorate_types::ids::ValidatorIndex;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A number that only grows. Wraps after 2^64, which no counter here reaches.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of one endpoint.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
        }

        /// What an endpoint has counted since it started.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
            /// Client connections at the moment.
            pub clients_connected: u64,
        }

        impl Counters {
            pub(crate) fn snapshot(&self, clients_connected: u64) -> Stats {
                Stats { $($name: self.$name.get(),)* clients_connected }
            }
        }
    };
}

counters! {
    /// Incoming handshakes that were begun.
    handshakes_started,
    /// Incoming handshakes refused because too many were under way, in all or from one source.
    handshakes_refused,
    /// Incoming handshakes answered with a request to prove the address first.
    handshakes_retried,
    /// Incoming handshakes that failed.
    handshakes_failed,
    /// Incoming handshakes, or hellos after them, that did not end in time.
    handshakes_timed_out,
    /// Keys refused because the directory does not know them.
    strangers,
    /// Admitted keys refused after the handshake: wrong chain or version, oneself, banned.
    hellos_refused,
    /// Dials begun.
    dials,
    /// Dials that failed.
    dials_failed,
    /// Connections closed because another of the same pair stayed.
    duplicates,
    /// Connections replaced by a newer one of the same peer.
    superseded,
    /// Frames not sent because a queue was full or was given up with its connection.
    frames_dropped,
    /// Frames refused because of their length.
    frames_too_long,
    /// Connections closed because the other side broke the protocol.
    violations,
    /// Client connections refused because there were too many.
    clients_refused,
    /// Streams opened by clients.
    client_streams,
}

/// Traffic of one lane with one peer, since the node started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaneStatus {
    /// Frames received.
    pub frames_in: u64,
    /// Bytes received, without lengths.
    pub bytes_in: u64,
    /// Frames handed to QUIC.
    pub frames_out: u64,
    /// Bytes handed to QUIC, without lengths.
    pub bytes_out: u64,
    /// Frames that were queued or offered and not sent.
    pub dropped: u64,
    /// Frames waiting to be sent.
    pub queued: usize,
}

/// What is known of one validator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// Which validator.
    pub peer: ValidatorIndex,
    /// Whether its hello was accepted on a connection that is still up.
    pub connected: bool,
    /// Since when, if connected.
    pub since: Option<Instant>,
    /// From or at which address, if connected.
    pub address: Option<SocketAddr>,
    /// The present estimate of the round trip, if connected.
    pub rtt: Option<Duration>,
    /// How often a connection came up.
    pub connects: u64,
    /// Why it is not connected, or was not before: the last failure seen.
    pub last_failure: Option<String>,
    /// Traffic per lane, in the order of [`Lane::ALL`].
    pub lanes: [LaneStatus; 3],
}

impl PeerStatus {
    /// Traffic of one lane.
    pub fn lane(&self, lane: Lane) -> &LaneStatus {
        &self.lanes[lane.index()]
    }
}
