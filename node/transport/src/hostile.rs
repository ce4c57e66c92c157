//! Peers that are admitted and then misbehave, and strangers that stall. They hold a good key and speak
//! QUIC by hand.

use crate::close::{CloseCode, DownReason};
use crate::config::Config;
use crate::connect::Dialler;
use crate::directory::Directory;
use crate::endpoint::{Tuning, bind, open, transport};
use crate::hello::{Hello, Sender};
use crate::inbox::{Event, Inbox};
use crate::lane::Lane;
use crate::node::Node;
use quorate_types::hash::{ChainId, Hash};
use quorate_types::ids::ValidatorIndex;
use quorate_types::keys::SecretKey;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const CHAIN: ChainId = ChainId(Hash([7; 32]));
const PATIENCE: Duration = Duration::from_secs(60);

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

fn anywhere() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// Validator 0, which only listens.
fn victim(config: Config) -> (Node, Inbox) {
    let directory = Directory {
        validators: vec![key(0).public(), key(1).public()],
        clients: [key(9).public()].into_iter().collect(),
    };
    Node::start(config, &key(0), ValidatorIndex(0), CHAIN, Arc::new(directory), vec![]).expect("starts")
}

struct Attacker {
    endpoint: quinn::Endpoint,
    identity: SecretKey,
}

impl Attacker {
    fn new(seed: u8) -> Attacker {
        let socket = bind(anywhere(), 1 << 20).expect("binds");
        Attacker { endpoint: open(socket, None).expect("opens").0, identity: key(seed) }
    }

    /// Connects with `hello`; what it may do is up to the victim alone.
    async fn dial(&self, node: &Node, sender: Sender) -> quinn::Connection {
        let dialler = Dialler {
            endpoint: &self.endpoint,
            identity: &self.identity,
            transport: transport(Tuning::of(&Config::new(anywhere())), 100, 100, 1 << 20),
            hello: Hello { chain: CHAIN, sender },
            said_hello: Arc::default(),
            timeout: PATIENCE,
        };
        let address = node.local_addr().to_string();
        dialler.dial(&address, key(0).public()).await.expect("admitted").0
    }

    async fn dial_as_validator(&self, node: &Node) -> quinn::Connection {
        self.dial(node, Sender::Validator { index: ValidatorIndex(1), process: 1 }).await
    }
}

async fn down(inbox: &mut Inbox) -> DownReason {
    loop {
        if let Event::PeerDown { reason, .. } = soon(inbox.votes.recv()).await.expect("runs") {
            return reason;
        }
    }
}

/// Both sides see the same code.
async fn assert_closed(connection: &quinn::Connection, inbox: &mut Inbox, expected: CloseCode) {
    let here = down(inbox).await;
    assert!(matches!(&here, DownReason::Here { code, .. } if *code == expected), "{here}");
    let there = DownReason::of(&soon(connection.closed()).await);
    assert_eq!(there.code(), Some(expected), "{there}");
}

async fn stream_of(connection: &quinn::Connection, bytes: &[u8]) -> quinn::SendStream {
    let mut stream = soon(connection.open_uni()).await.expect("opens");
    stream.write_all(bytes).await.expect("writes");
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oversized_frame_closes_the_connection_by_its_length_alone() {
    let (node, mut inbox) = victim(Config::new(anywhere()));
    let attacker = Attacker::new(1);
    for (lane, too_long) in [(Lane::Votes, (8u32 << 20) + 1), (Lane::Gossip, u32::MAX)] {
        let connection = attacker.dial_as_validator(&node).await;
        let mut bytes = vec![lane.tag()];
        bytes.extend(too_long.to_le_bytes());
        let _stream = stream_of(&connection, &bytes).await; // not one byte of the frame itself
        assert_closed(&connection, &mut inbox, CloseCode::FrameTooLong).await;
    }
    assert_eq!(node.stats().frames_too_long, 2);
    assert_eq!(node.stats().violations, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_the_protocol_does_not_foresee_close_the_connection() {
    let (node, mut inbox) = victim(Config::new(anywhere()));
    let attacker = Attacker::new(1);

    let connection = attacker.dial_as_validator(&node).await;
    let _unknown_lane = stream_of(&connection, &[77]).await;
    assert_closed(&connection, &mut inbox, CloseCode::Malformed).await;

    let connection = attacker.dial_as_validator(&node).await;
    let _first = stream_of(&connection, &[0]).await;
    let _second = stream_of(&connection, &[0]).await;
    assert_closed(&connection, &mut inbox, CloseCode::Malformed).await;

    let connection = attacker.dial_as_validator(&node).await;
    let mut cut = stream_of(&connection, &[1, 10, 0, 0, 0, 1, 2]).await;
    cut.finish().expect("finishes");
    assert_closed(&connection, &mut inbox, CloseCode::Malformed).await;

    let connection = attacker.dial_as_validator(&node).await;
    let mut ended = stream_of(&connection, &[2]).await;
    ended.finish().expect("finishes");
    assert_closed(&connection, &mut inbox, CloseCode::Malformed).await;
    assert_eq!(node.stats().violations, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validator_gets_one_stream_per_lane_and_no_more() {
    let (node, mut inbox) = victim(Config::new(anywhere()));
    let attacker = Attacker::new(1);
    let connection = attacker.dial_as_validator(&node).await;
    let mut held = Vec::new();
    for lane in Lane::ALL {
        held.push(stream_of(&connection, &[lane.tag(), 1, 0, 0, 0, 42]).await);
    }
    assert!(matches!(soon(inbox.sync.recv()).await, Some(Event::Frame { lane: Lane::Sync, .. })));
    assert!(matches!(soon(inbox.gossip.recv()).await, Some(Event::Frame { lane: Lane::Gossip, .. })));
    let more = tokio::time::timeout(Duration::from_millis(300), connection.open_uni()).await;
    assert!(more.is_err(), "a fourth stream has to wait for ever");
}

/// Each would cost the others of this node a closed and an opened connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_young_connection_is_not_replaced_by_one_that_is_dialled_again() {
    let mut config = Config::new(anywhere());
    config.supersede_after = Duration::from_secs(600);
    let (node, mut inbox) = victim(config);
    let attacker = Attacker::new(1);
    let connection = attacker.dial_as_validator(&node).await;
    assert!(matches!(soon(inbox.votes.recv()).await, Some(Event::PeerUp { .. })));
    for process in [1, 2, 3] {
        let dialler = Dialler {
            endpoint: &attacker.endpoint,
            identity: &attacker.identity,
            transport: transport(Tuning::of(&Config::new(anywhere())), 0, 3, 1 << 20),
            hello: Hello { chain: CHAIN, sender: Sender::Validator { index: ValidatorIndex(1), process } },
            said_hello: Arc::default(),
            timeout: PATIENCE,
        };
        let error = dialler.dial(&node.local_addr().to_string(), key(0).public()).await.expect_err("refused");
        let crate::ConnectError::Refused { code, text, .. } = error else { panic!("{error}") };
        assert_eq!(code, CloseCode::TooManyConnections, "{text}");
    }
    let mut lane = stream_of(&connection, &[Lane::Votes.tag(), 1, 0, 0, 0, 42]).await;
    assert!(matches!(soon(inbox.votes.recv()).await, Some(Event::Frame { .. })), "the first one stays");
    lane.finish().expect("finishes");
    assert_eq!((node.stats().duplicates, node.stats().superseded), (3, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hello_must_agree_with_the_key() {
    let (node, _inbox) = victim(Config::new(anywhere()));
    let dial = async |seed: u8, hello: Hello| {
        let attacker = Attacker::new(seed);
        let dialler = Dialler {
            endpoint: &attacker.endpoint,
            identity: &attacker.identity,
            transport: transport(Tuning::of(&Config::new(anywhere())), 0, 3, 1 << 20),
            hello,
            said_hello: Arc::default(),
            timeout: PATIENCE,
        };
        let address = node.local_addr().to_string();
        let error = dialler.dial(&address, key(0).public()).await.expect_err("refused");
        match error {
            crate::ConnectError::Refused { code, .. } => code,
            other => panic!("{other}"),
        }
    };
    let validator = |index| Sender::Validator { index: ValidatorIndex(index), process: 1 };
    let hello = |sender| Hello { chain: CHAIN, sender };
    assert_eq!(dial(1, hello(validator(0))).await, CloseCode::WrongIdentity);
    assert_eq!(dial(1, hello(Sender::Client)).await, CloseCode::WrongIdentity);
    assert_eq!(dial(9, hello(validator(1))).await, CloseCode::WrongIdentity);
    assert_eq!(dial(0, hello(validator(0))).await, CloseCode::Oneself);
    let elsewhere = Hello { chain: ChainId(Hash([8; 32])), sender: validator(1) };
    assert_eq!(dial(1, elsewhere).await, CloseCode::WrongChain);
    assert_eq!(node.stats().hellos_refused, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_says_no_hello_is_closed_in_time() {
    let mut config = Config::new(anywhere());
    config.handshake_timeout = Duration::from_millis(300);
    let (node, _inbox) = victim(config);
    let attacker = Attacker::new(1);
    let verifier = crate::identity::ExpectedKey::new(key(0).public());
    let limits = transport(Tuning::of(&Config::new(anywhere())), 0, 0, 1 << 20);
    let client = crate::endpoint::client_config(&attacker.identity, verifier, limits).expect("client");
    let connecting = attacker.endpoint.connect_with(client, node.local_addr(), "quorate").expect("dials");
    let connection = soon(connecting).await.expect("the key is good");
    // A hello that never ends.
    let (mut send, _receive) = connection.open_bi().await.expect("opens");
    send.write_all(&[50, 0, 0, 0, 1]).await.expect("writes");
    let reason = DownReason::of(&soon(connection.closed()).await);
    assert_eq!(reason.code(), Some(CloseCode::HelloTimeout), "{reason}");
    assert_eq!(node.stats().handshakes_timed_out, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_handshakes_are_bounded_and_end() {
    let mut config = Config::new(anywhere());
    config.max_handshakes = 8;
    config.handshake_timeout = Duration::from_millis(500);
    let (node, mut inbox) = victim(config);
    // First packets of a genuine handshake, replayed from many ports that never answer.
    let tap = tokio::net::UdpSocket::bind(anywhere()).await.expect("binds");
    let attacker = Attacker::new(1);
    let verifier = crate::identity::ExpectedKey::new(key(0).public());
    let limits = transport(Tuning::of(&Config::new(anywhere())), 0, 0, 1 << 20);
    let mut silent = Vec::new();
    for _ in 0..20 {
        let client =
            crate::endpoint::client_config(&attacker.identity, Arc::clone(&verifier), Arc::clone(&limits));
        let to_tap = tap.local_addr().expect("bound");
        let connecting = attacker.endpoint.connect_with(client.expect("client"), to_tap, "quorate");
        let mut packet = vec![0; 2048];
        let (length, _) = soon(tap.recv_from(&mut packet)).await.expect("a first packet");
        let socket = tokio::net::UdpSocket::bind(anywhere()).await.expect("binds");
        socket.send_to(&packet[..length], node.local_addr()).await.expect("sends");
        silent.push((connecting, socket));
    }
    soon(async {
        while node.stats().handshakes_refused + node.stats().handshakes_retried < 10 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(node.stats().handshakes_started <= 8, "{:?}", node.stats());
    // The room is given back, and an honest peer gets in.
    let honest = Attacker::new(1);
    let mut connected = None;
    soon(async {
        while connected.is_none() {
            let dialler = Dialler {
                endpoint: &honest.endpoint,
                identity: &honest.identity,
                transport: Arc::clone(&limits),
                hello: Hello {
                    chain: CHAIN,
                    sender: Sender::Validator { index: ValidatorIndex(1), process: 1 },
                },
                said_hello: Arc::default(),
                timeout: PATIENCE,
            };
            connected = dialler.dial(&node.local_addr().to_string(), key(0).public()).await.ok();
        }
    })
    .await;
    assert!(matches!(soon(inbox.votes.recv()).await, Some(Event::PeerUp { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_requests_of_a_client_share_a_budget() {
    let mut config = Config::new(anywhere());
    config.clients.max_request_bytes = 1000;
    config.clients.max_unfinished_bytes = 2000;
    let (node, mut inbox) = victim(config);
    let attacker = Attacker::new(9);
    let connection = attacker.dial(&node, Sender::Client).await;
    let mut trickles = Vec::new();
    for _ in 0..5 {
        let (mut send, receive) = soon(connection.open_bi()).await.expect("opens");
        send.write_all(&1000u32.to_le_bytes()).await.expect("writes");
        send.write_all(&[0; 999]).await.expect("writes"); // all but the last byte
        trickles.push((send, receive));
    }
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let mut stream = soon(inbox.clients.recv()).await.expect("a stream");
        readers.spawn(async move { stream.receive().await });
    }
    // Two of the five claims fit at a time; as those finish, the next get their turn.
    for (send, _) in &mut trickles {
        send.write_all(&[1]).await.expect("writes");
    }
    for _ in 0..5 {
        let frame = soon(readers.join_next()).await.expect("five").expect("no panic");
        assert_eq!(frame.expect("received").expect("a frame").len(), 1000);
    }
}
