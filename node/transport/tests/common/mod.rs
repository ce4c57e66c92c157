//! Two or more endpoints on loopback, and waiting for what they report.

// Each test file uses its part, and none is a library.
#![allow(dead_code, unreachable_pub)]

use bytes::Bytes;
use quorate_transport::{
    Client, ClientConfig, Config, Connection, Directory, DownReason, Event, Inbox, Lane, LaneReceiver, Node,
    SendVerdict,
};
use quorate_types::hash::{ChainId, Hash};
use quorate_types::ids::ValidatorIndex;
use quorate_types::keys::{PublicKey, SecretKey};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Nothing here takes long; a loaded machine may.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const CHAIN: ChainId = ChainId(Hash([7; 32]));

pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long for {what}"),
    }
}

/// Transport key of a validator.
pub fn validator_key(index: u16) -> SecretKey {
    SecretKey::from_seed(&[u8::try_from(index).expect("few validators"); 32])
}

/// Key of a member.
pub fn member_key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[100 + n; 32])
}

/// Validators 0..count, and members 0..4 as clients.
pub fn directory(count: u16) -> Arc<Directory> {
    Arc::new(Directory {
        validators: (0..count).map(|index| validator_key(index).public()).collect(),
        clients: (0..4).map(|n| member_key(n).public()).collect(),
    })
}

pub fn config() -> Config {
    let mut config = Config::new(loopback(0));
    config.reconnect_min = Duration::from_millis(20);
    config.reconnect_max = Duration::from_millis(500);
    config.supersede_after = Duration::from_millis(50);
    config
}

pub fn loopback(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// A UDP port that is free now, so that peers can name each other before either runs.
pub fn free_port() -> u16 {
    let socket = std::net::UdpSocket::bind(loopback(0)).expect("a free port");
    socket.local_addr().expect("bound").port()
}

pub fn at(index: u16, port: u16) -> (ValidatorIndex, Vec<String>) {
    (ValidatorIndex(index), vec![format!("127.0.0.1:{port}")])
}

pub struct Running {
    pub node: Node,
    pub inbox: Inbox,
}

pub fn start(
    config: Config,
    me: u16,
    peers: Vec<(ValidatorIndex, Vec<String>)>,
    directory: Arc<Directory>,
) -> Running {
    start_on(config, me, CHAIN, peers, directory)
}

pub fn start_on(
    config: Config,
    me: u16,
    chain: ChainId,
    peers: Vec<(ValidatorIndex, Vec<String>)>,
    directory: Arc<Directory>,
) -> Running {
    let (node, inbox) =
        Node::start(config, &validator_key(me), ValidatorIndex(me), chain, directory, peers).expect("starts");
    Running { node, inbox }
}

/// Node 1 dials node 0, which only listens.
pub fn pair(config: Config) -> (Running, Running) {
    let zero = start(config.clone(), 0, vec![], directory(2));
    let port = zero.node.local_addr().port();
    let one = start(config, 1, vec![at(0, port)], directory(2));
    (zero, one)
}

impl Running {
    pub async fn up(&mut self) -> ValidatorIndex {
        loop {
            if let Event::PeerUp { peer, .. } = next(&mut self.inbox.votes).await {
                return peer;
            }
        }
    }

    pub async fn down(&mut self) -> DownReason {
        loop {
            if let Event::PeerDown { reason, .. } = next(&mut self.inbox.votes).await {
                return reason;
            }
        }
    }

    pub async fn frame(&mut self, lane: Lane) -> Bytes {
        let receiver = match lane {
            Lane::Votes => &mut self.inbox.votes,
            Lane::Sync => &mut self.inbox.sync,
            Lane::Gossip => &mut self.inbox.gossip,
        };
        loop {
            if let Event::Frame { frame, lane: found, .. } = next(receiver).await {
                assert_eq!(found, lane);
                return frame;
            }
        }
    }

    pub fn send(&self, to: u16, lane: Lane, frame: impl Into<Bytes>) -> SendVerdict {
        self.node.send(ValidatorIndex(to), lane, frame.into())
    }
}

pub async fn next(receiver: &mut LaneReceiver) -> Event {
    soon("an event", receiver.recv()).await.expect("the node runs")
}

pub fn client(n: u8) -> Client {
    Client::new(&member_key(n), CHAIN, ClientConfig::default()).expect("client")
}

pub async fn connect(client: &Client, node: &Node, key: PublicKey) -> Connection {
    let address = node.local_addr().to_string();
    client.connect(&address, key, PATIENCE).await.expect("connects")
}

/// Waits until `done` holds, looking again whenever the runtime has been busy with other things.
pub async fn until(what: &str, mut done: impl FnMut() -> bool) {
    soon(what, async {
        while !done() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
