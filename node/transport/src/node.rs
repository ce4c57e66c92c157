//! A validator's endpoint.

use crate::accept::{self, Links};
use crate::clients::ClientTable;
use crate::close::{CloseCode, printable};
use crate::config::Config;
use crate::directory::Directory;
use crate::endpoint::{self, Remains, Tuning};
use crate::gate::Gate;
use crate::hello::{Hello, Sender};
use crate::identity;
use crate::inbox::{Inbox, Outlets, channels};
use crate::lane::{Lane, SendVerdict};
use crate::link::{Ban, Link, MAX_WAITING, Peer};
use crate::stats::{Counters, PeerStatus, Stats};
use bytes::Bytes;
use quorate_types::hash::ChainId;
use quorate_types::ids::ValidatorIndex;
use quorate_types::keys::SecretKey;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Time for closing messages to leave, and be acknowledged, at shutdown.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);

/// Why an endpoint cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// Limits that contradict each other.
    #[error("bad transport configuration: {0}")]
    Config(&'static str),
    /// Called outside a Tokio runtime.
    #[error("the transport needs a Tokio runtime")]
    NoRuntime,
    /// The directory names another transport key for this node, or none.
    #[error("the transport key of this node is not the one the directory names for validator {0}")]
    WrongIdentity(ValidatorIndex),
    /// The port could not be opened.
    #[error("cannot listen on {address} (UDP): {source}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// TLS or QUIC could not be set up.
    #[error("cannot set up TLS: {0}")]
    Setup(String),
}

/// What all tasks of a node share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) identity: SecretKey,
    pub(crate) me: ValidatorIndex,
    pub(crate) chain: ChainId,
    /// See [`Sender::Validator`].
    pub(crate) process: u64,
    pub(crate) directory: Arc<Directory>,
    pub(crate) endpoint: quinn::Endpoint,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clients: Arc<ClientTable>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) outlets: Outlets,
}

impl Shared {
    pub(crate) fn hello(&self) -> Hello {
        Hello { chain: self.chain, sender: Sender::Validator { index: self.me, process: self.process } }
    }
}

/// Waits until the node stops.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the node is gone, which is the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A validator's endpoint: one UDP port for peers and clients. Dropping it closes everything at once;
/// [`shutdown`](Node::shutdown) lets the others know first.
pub struct Node {
    shared: Arc<Shared>,
    peers: BTreeMap<ValidatorIndex, Arc<Peer>>,
    local_addr: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    /// Taken by [`shutdown`](Node::shutdown).
    remains: Option<Remains>,
}

impl Node {
    /// Opens the port and begins to dial and to accept.
    ///
    /// `identity` is the transport key that `directory` names for validator `me`. `peers` says where
    /// validators may be found, as `host:port`, resolved at each dial; whoever is not in it is only
    /// waited for, and an entry for `me` is ignored, so a genesis list can be passed whole.
    ///
    /// # Errors
    /// See [`TransportError`].
    pub fn start(
        config: Config,
        identity: &SecretKey,
        me: ValidatorIndex,
        chain: ChainId,
        directory: Arc<Directory>,
        peers: Vec<(ValidatorIndex, Vec<String>)>,
    ) -> Result<(Node, Inbox), TransportError> {
        config.check().map_err(TransportError::Config)?;
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(TransportError::NoRuntime);
        }
        if directory.validator_key(me) != Some(identity.public()) {
            return Err(TransportError::WrongIdentity(me));
        }
        let counters = Arc::<Counters>::default();
        let setup = |error: &dyn std::fmt::Display| TransportError::Setup(error.to_string());
        let tls = identity::server_tls(identity, Arc::clone(&directory), Arc::clone(&counters))
            .map_err(|error| setup(&error))?;
        let server = endpoint::server_config(tls, Tuning::of(&config), config.max_handshakes)
            .map_err(|error| setup(&error))?;
        let bind = |source| TransportError::Bind { address: config.listen, source };
        let socket = endpoint::bind(config.listen, config.socket_buffer_bytes).map_err(bind)?;
        let (endpoint, remains) = endpoint::open(socket, Some(server)).map_err(bind)?;
        let local_addr = endpoint.local_addr().map_err(bind)?;

        let (outlets, inbox) = channels(&config);
        let clients = ClientTable::new(config.clients);
        // A name may be anywhere by the time it is asked for; where it was is known once a validator was there.
        let named = peers.iter().filter(|(index, _)| *index != me).flat_map(|(_, addresses)| addresses);
        let named = named.filter_map(|address| Some(address.parse::<SocketAddr>().ok()?.ip()));
        let gate = Gate::new(config.max_handshakes, named);
        let shared = Arc::new(Shared {
            config,
            identity: identity.clone(),
            me,
            chain,
            process: rand::random(),
            directory,
            endpoint,
            counters,
            clients,
            gate,
            outlets,
        });
        let mut node = Node {
            shared,
            peers: BTreeMap::new(),
            local_addr,
            stop: watch::Sender::new(false),
            tasks: JoinSet::new(),
            remains: Some(remains),
        };
        node.run(peers);
        Ok((node, inbox))
    }

    fn run(&mut self, addresses: Vec<(ValidatorIndex, Vec<String>)>) {
        let mut addresses: BTreeMap<ValidatorIndex, Vec<String>> = addresses.into_iter().collect();
        let mut links = Links::new();
        for (index, key) in (0..=u16::MAX).map(ValidatorIndex).zip(&self.shared.directory.validators) {
            if index == self.shared.me {
                continue;
            }
            let found = addresses.remove(&index).unwrap_or_default();
            let peer = Arc::new(Peer::new(&self.shared.config, index, *key, found));
            let (accepted_in, accepted) = mpsc::channel(MAX_WAITING);
            let link = Link::new(&self.shared, &peer, accepted, self.stop.subscribe());
            self.tasks.spawn(link.run());
            links.insert(index, accepted_in);
            self.peers.insert(index, peer);
        }
        self.tasks.spawn(accept::run(Arc::clone(&self.shared), Arc::new(links), self.stop.subscribe()));
    }

    /// Queues a frame for a validator. Never waits; says at once what became of the frame. A full queue
    /// refuses the newest frame, keeping what it has in order: agreement repeats whatever it needs.
    pub fn send(&self, to: ValidatorIndex, lane: Lane, frame: Bytes) -> SendVerdict {
        let Some(peer) = self.peers.get(&to) else { return SendVerdict::NotConnected };
        let verdict = peer.queue(lane).push(frame);
        match verdict {
            SendVerdict::Queued => {}
            SendVerdict::NotConnected => peer.traffic(lane).dropped(1),
            SendVerdict::Full => {
                peer.traffic(lane).dropped(1);
                self.shared.counters.frames_dropped.add(1);
            }
            SendVerdict::TooLong => {
                peer.traffic(lane).dropped(1);
                self.shared.counters.frames_too_long.add(1);
                tracing::warn!(peer = %to, ?lane, "a frame longer than the lane allows was not sent");
            }
        }
        verdict
    }

    /// What is known of each other validator, by index.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.peers.values().map(|peer| peer.status()).collect()
    }

    /// What was counted since the start.
    pub fn stats(&self) -> Stats {
        self.shared.counters.snapshot(self.shared.clients.connected())
    }

    /// Closes the connection with `peer`, telling it `reason`, and refuses it for the time of `ban`.
    pub fn disconnect(&self, peer: ValidatorIndex, reason: &str, ban: Duration) {
        if let Some(peer) = self.peers.get(&peer) {
            let until = Instant::now() + ban;
            peer.ban.send_replace(Some(Ban { until, reason: printable(reason.as_bytes()) }));
        }
    }

    /// The address listened on, with the port taken if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Tells everyone, closes all connections and frees the port. Streams of clients that the
    /// application still holds keep the port busy; drop them, or it is freed with the last of them. So may
    /// connections that have not drained within a second, until they have.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        let remains = self.remains.take();
        drop(self);
        if let Some(mut remains) = remains {
            // Whoever does not hear of it notices by the idle timeout.
            let _ = tokio::time::timeout(FAREWELL, remains.gone()).await;
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.shared.endpoint.close(CloseCode::Shutdown.varint(), b"");
    }
}
