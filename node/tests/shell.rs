//! The whole shell in one process: real sockets, real RocksDB, real threads.
//!
//! What needs processes of their own (signals, `kill -9`, load) is tested in the workspace's `tests`
//! crate; here is what a node promises its clients and its operator while it runs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use bytes::Bytes;
use quorate_client::protocol::{CommittedBatch, Request, Response, Submission, SubmitError};
use quorate_genesis::{Card, CardFile, Document, Founding, MemberKeys};
use quorate_ledger::StateKey;
use quorate_node::config::{ByteSize, Config, HttpAddress};
use quorate_node::export::{self, OfflineError};
use quorate_node::runtime::{self, HTTP_FILE, RunError, Setup, clock};
use quorate_node::storage::OpenError;
use quorate_transport::{Client, ClientConfig, Connection, FrameReceiver, FrameSender};
use quorate_types::codec;
use quorate_types::hash::TransactionId;
use quorate_types::ids::{Height, ValidatorIndex};
use quorate_types::member::Role;
use quorate_types::parameters::Parameters;
use quorate_types::transaction::{Operation, SignedTransaction, Transaction};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Any answer that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

const ROLES: [Role; 2] = [Role::Validator, Role::Submitter];

/// Addresses that nobody else takes, also while the node there is stopped: on an address of this process, ports
/// below those that the system hands out, of which clients of other tests get any.
fn free_addresses() -> impl Iterator<Item = SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let ip = Ipv4Addr::new(127, 64 | (high & 63), middle, low);
    let addresses =
        std::iter::repeat_with(move || SocketAddr::from((ip, NEXT.fetch_add(1, Ordering::Relaxed))));
    // Somebody may listen there on all addresses.
    addresses.filter(|address| UdpSocket::bind(address).is_ok())
}

struct Consortium {
    dir: tempfile::TempDir,
    founding: Founding,
    keys: Vec<MemberKeys>,
}

struct Node {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), RunError>>,
}

impl Node {
    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

impl Consortium {
    /// `n` validators named v0, v1, … on free ports of this machine.
    fn found(n: usize) -> Consortium {
        let dir = tempfile::tempdir().unwrap();
        let mut keys = Vec::new();
        let mut cards = Vec::new();
        for (number, address) in free_addresses().take(n).enumerate() {
            let made = MemberKeys::create(&dir.path().join(format!("node{number}/keys")), true).unwrap();
            let address = address.to_string().parse().unwrap();
            let name = format!("v{number}");
            let card = Card::export(&made, &name, &ROLES, Some(address)).unwrap();
            cards.push(CardFile::parse(&card.to_toml(), &name).unwrap());
            keys.push(made);
        }
        let mut document = Document::assemble("test", clock::wall(), Parameters::default(), cards).unwrap();
        for keys in &keys {
            document.sign(keys).unwrap();
        }
        Consortium { founding: document.finalised().unwrap(), dir, keys }
    }

    fn directory(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("node{number}"))
    }

    fn setup(&self, number: usize) -> Setup {
        let index = self.founding.validator_by_member_key(&self.keys[number].member.public()).unwrap();
        let address = &self.founding.validator(index).unwrap().address;
        let mut config = Config { listen: address.to_string().parse().unwrap(), ..Config::default() };
        config.http.address = HttpAddress::On("127.0.0.1:0".parse().unwrap());
        config.storage.min_free_bytes = ByteSize(0);
        let keys = MemberKeys::load(&self.directory(number).join("keys")).unwrap();
        Setup { directory: self.directory(number), config, founding: self.founding.clone(), keys }
    }

    fn start(&self, number: usize) -> Node {
        self.start_with(self.setup(number))
    }

    fn start_with(&self, setup: Setup) -> Node {
        let (stop, stopped) = oneshot::channel();
        let stopped = async move {
            let _ = stopped.await;
            "the test ends"
        };
        let task = tokio::spawn(async move {
            // One that was stopped here before may still say farewell: connections drain for as long as a few
            // lost packets could take, and a node only waits a second for that.
            let mut turns = tokio::time::interval(Duration::from_millis(20));
            while UdpSocket::bind(setup.config.listen).is_err() {
                turns.tick().await;
            }
            // Printed, for a test that waits for the node would only see that it is not there.
            runtime::run(setup, stopped).await.inspect_err(|error| eprintln!("the node ended: {error}"))
        });
        Node { stop, task }
    }

    fn client(&self, number: usize) -> Client {
        Client::new(&self.keys[number].member, self.founding.chain(), ClientConfig::default()).unwrap()
    }

    /// A connection to a node that may still be starting.
    async fn connect(&self, client: &Client, number: usize) -> Connection {
        let index = self.founding.validator_by_member_key(&self.keys[number].member.public()).unwrap();
        let validator = self.founding.validator(index).unwrap();
        let address = validator.address.to_string();
        let mut turns = tokio::time::interval(Duration::from_millis(50));
        let connected = async {
            loop {
                turns.tick().await;
                let one = Duration::from_secs(1);
                if let Ok(connection) = client.connect(&address, validator.transport_key, one).await {
                    return connection;
                }
            }
        };
        tokio::time::timeout(PATIENCE, connected).await.expect("the node is there in time")
    }

    fn transaction(&self, sender: usize, nonce: u64, operations: Vec<Operation>) -> SignedTransaction {
        let key = &self.keys[sender].member;
        let expires_at = clock::wall().plus_ms(60_000);
        let transaction =
            Transaction { chain: self.founding.chain(), sender: key.public(), nonce, expires_at, operations };
        transaction.sign(key)
    }

    fn check(&self, id: TransactionId, batch: &CommittedBatch) {
        batch.finality.verify(&self.founding.chain(), self.founding.validators()).unwrap();
        assert!(batch.inclusions.places.iter().any(|place| place.record.transaction == id));
        batch.inclusions.verify(&batch.finality.header, &batch.finality.result).unwrap();
    }
}

fn namespace(name: &str) -> Vec<Operation> {
    vec![Operation::CreateNamespace { namespace: name.into() }]
}

async fn next(receiver: &mut FrameReceiver) -> Option<Response> {
    let frame =
        tokio::time::timeout(PATIENCE, receiver.receive()).await.expect("an answer in time").unwrap()?;
    Some(codec::decode(&frame, 48 << 20).unwrap())
}

async fn open(connection: &Connection, request: &Request) -> (FrameSender, FrameReceiver) {
    let (mut sender, receiver) = connection.open().await.unwrap();
    sender.send(codec::encode_bytes(request)).await.unwrap();
    (sender, receiver)
}

async fn ask(connection: &Connection, request: &Request) -> Response {
    let (mut sender, mut receiver) = open(connection, request).await;
    sender.finish();
    next(&mut receiver).await.unwrap()
}

/// Submits everything in one frame; gives all answers.
async fn submit(connection: &Connection, transactions: &[Bytes]) -> Vec<Response> {
    let (mut sender, mut receiver) = open(connection, &Request::Submit).await;
    let submission = Submission { transactions: transactions.to_vec() };
    sender.send(codec::encode_bytes(&submission)).await.unwrap();
    sender.finish();
    let mut answers = Vec::new();
    while let Some(answer) = next(&mut receiver).await {
        answers.push(answer);
    }
    answers
}

fn committed(answers: &[Response]) -> &CommittedBatch {
    match answers {
        [Response::Committed(batch)] => batch,
        other => panic!("expected one commit, got {other:?}"),
    }
}

async fn http(directory: &Path, path: &'static str) -> (u16, String) {
    let address = std::fs::read_to_string(directory.join(HTTP_FILE)).unwrap();
    let url = format!("http://{}{path}", address.trim());
    let asked = tokio::task::spawn_blocking(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut answer = agent.get(&url).call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    });
    asked.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_validator_serves_everything_and_comes_back() {
    let chain = Consortium::found(1);
    let node = chain.start(0);
    let client = chain.client(0);
    let connection = chain.connect(&client, 0).await;

    // Nothing is there yet, and that is said.
    let nothing =
        ask(&connection, &Request::Read { key: StateKey::Namespace("a".into()), height: None }).await;
    assert!(matches!(nothing, Response::Unavailable(_)), "{nothing:?}");
    assert_eq!(ask(&connection, &Request::Block(None)).await, Response::NotFound);

    // Submit, and check what comes back.
    let signed = chain.transaction(0, 1, namespace("a"));
    let (id, bytes) = (signed.transaction.id(), codec::encode_bytes(&signed));
    let answers = submit(&connection, std::slice::from_ref(&bytes)).await;
    chain.check(id, committed(&answers));

    // The same again has the same answer, from the database; a broken one is refused by position.
    let mut broken = signed.clone();
    broken.signature.0[0] ^= 1;
    let again =
        submit(&connection, &[codec::encode_bytes(&broken), bytes.clone(), Bytes::from_static(b"x")]).await;
    assert_eq!(again.len(), 3, "{again:?}");
    for answer in &again {
        match answer {
            Response::Committed(batch) => chain.check(id, batch),
            Response::Refused { position, reason: SubmitError::Invalid(_) } => {
                assert!([0, 2].contains(position))
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    // Reads, each with its proof.
    let key = StateKey::Namespace("a".into());
    match ask(&connection, &Request::Read { key: key.clone(), height: None }).await {
        Response::State { proof, finality } => {
            finality.verify(&chain.founding.chain(), chain.founding.validators()).unwrap();
            assert!(proof.verify(&finality.result.state_root, &key).unwrap().is_some());
        }
        other => panic!("unexpected {other:?}"),
    }
    match ask(&connection, &Request::Receipt(id)).await {
        Response::Receipt(receipt) => {
            receipt.verify(&chain.founding.chain(), chain.founding.validators()).unwrap();
        }
        other => panic!("unexpected {other:?}"),
    }
    let unknown = TransactionId::default();
    assert_eq!(ask(&connection, &Request::Receipt(unknown)).await, Response::NotFound);
    assert_eq!(ask(&connection, &Request::Trace(unknown)).await, Response::NotFound);
    assert!(matches!(ask(&connection, &Request::Trace(id)).await,
        Response::Trace(trace) if trace.committed == Some(Height(1)) && trace.from.is_none()));
    match ask(&connection, &Request::Status).await {
        Response::Status(status) => {
            assert_eq!((status.height, status.validator), (Height(1), ValidatorIndex(0)));
            assert_eq!((status.phase.as_str(), status.committed_transactions), ("active", 1));
        }
        other => panic!("unexpected {other:?}"),
    }

    // Malformed requests are answered, and harm nobody.
    let (mut sender, mut receiver) = connection.open().await.unwrap();
    sender.send(Bytes::from_static(b"\xff\xff\xff\xff")).await.unwrap();
    assert!(matches!(next(&mut receiver).await, Some(Response::Unavailable(_))));
    let none = submit(&connection, &[]).await;
    assert!(matches!(none[..], [Response::Unavailable(_)]), "{none:?}");

    // A follower sees old and new blocks without a gap.
    let (_sender, mut follower) = open(&connection, &Request::Blocks { from: Height(1), follow: true }).await;
    let mut seen = Vec::new();
    for nonce in 2..6 {
        let signed = chain.transaction(0, nonce, namespace(&format!("n{nonce}")));
        committed(&submit(&connection, &[codec::encode_bytes(&signed)]).await);
    }
    while seen.len() < 5 {
        match next(&mut follower).await {
            Some(Response::Blocks { blocks, finality: None }) => {
                seen.extend(blocks.iter().map(|block| block.header.height.0));
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(seen, [1, 2, 3, 4, 5]);

    // The operator's port.
    let directory = chain.directory(0);
    assert_eq!(http(&directory, "/healthz").await.0, 200);
    assert_eq!(http(&directory, "/readyz").await, (200, "ok\n".to_owned()));
    let (_, metrics) = http(&directory, "/metrics").await;
    for line in ["quorate_height 5", "quorate_transactions_committed_total 5", "quorate_ready 1"] {
        assert!(metrics.lines().any(|found| found == line), "{line} in\n{metrics}");
    }
    assert_eq!(http(&directory, "/nothing").await.0, 404);

    // In use.
    let second = Setup {
        config: Config { listen: "127.0.0.1:0".parse().unwrap(), ..chain.setup(0).config },
        ..chain.setup(0)
    };
    let error = chain.start_with(second).task.await.unwrap().unwrap_err();
    assert!(matches!(error, RunError::Storage(OpenError::InUse { .. })), "{error}");
    let config = chain.setup(0).config;
    let error = export::open(&directory, &config, &chain.founding).map(|_| ()).unwrap_err();
    assert!(matches!(error, OfflineError::Open(OpenError::InUse { .. })), "{error}");

    // Stopped, exported, and started again: everything is there.
    node.stop().await;
    assert!(!directory.join(HTTP_FILE).exists());
    let out = chain.dir.path().join("chain.export");
    let store = export::open(&directory, &config, &chain.founding).unwrap();
    assert_eq!(export::export(&store, &chain.founding, &out, |_, _| ()).unwrap().blocks, 5);
    store.close().unwrap();
    drop(store);

    let node = chain.start(0);
    let connection = chain.connect(&client, 0).await;
    chain.check(id, committed(&submit(&connection, &[bytes]).await));
    let signed = chain.transaction(0, 9, namespace("last"));
    committed(&submit(&connection, &[codec::encode_bytes(&signed)]).await);
    assert!(matches!(ask(&connection, &Request::Status).await,
        Response::Status(status) if status.height == Height(6) && status.committed_transactions == 6));
    client.shutdown().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn four_validators_commit_and_one_catches_up() {
    let chain = Consortium::found(4);
    let mut nodes: Vec<Option<Node>> = (0..4).map(|number| Some(chain.start(number))).collect();
    let client = chain.client(0);
    let connection = chain.connect(&client, 0).await;
    let many = |from: u64, to: u64| -> Vec<Bytes> {
        let one = |nonce: u64| {
            let signed = chain.transaction(0, nonce, namespace(&format!("n{nonce}")));
            codec::encode_bytes(&signed)
        };
        (from..to).map(one).collect()
    };
    let settled = |answers: &[Response]| -> usize {
        let count = |answer: &Response| match answer {
            Response::Committed(batch) => batch.inclusions.places.len(),
            other => panic!("unexpected {other:?}"),
        };
        answers.iter().map(count).sum()
    };
    assert_eq!(settled(&submit(&connection, &many(0, 500)).await), 500);

    // One is stopped; the others go on.
    nodes[3].take().unwrap().stop().await;
    for batch in 1..20 {
        assert_eq!(settled(&submit(&connection, &many(batch * 1000, batch * 1000 + 100)).await), 100);
    }
    let Response::Status(ahead) = ask(&connection, &Request::Status).await else { panic!("no status") };

    // It comes back, and catches up.
    nodes[3] = Some(chain.start(3));
    let other = chain.connect(&client, 3).await;
    let (_sender, mut blocks) = open(&other, &Request::Blocks { from: Height(1), follow: true }).await;
    let mut heights = Vec::new();
    while heights.len() < usize::try_from(ahead.height.0).unwrap() {
        match next(&mut blocks).await {
            Some(Response::Blocks { blocks, .. }) => {
                heights.extend(blocks.iter().map(|block| block.header.height.0))
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert!(heights.is_sorted_by(|a, b| a + 1 == *b));
    // Through the one that was away.
    assert_eq!(settled(&submit(&other, &many(50_000, 50_100)).await), 100);
    client.shutdown().await;
    for node in nodes.into_iter().flatten() {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_are_named() {
    let chain = Consortium::found(2);
    let mut setup = chain.setup(0);
    let other = chain.keys[1].validator.clone().unwrap();
    setup.keys.validator.as_mut().unwrap().vote = other.vote;
    let error = chain.start_with(setup).task.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("vote.key"), "{error}");

    let stranger = Consortium::found(1);
    let setup = Setup { keys: stranger.keys[0].clone(), ..chain.setup(0) };
    let error = chain.start_with(setup).task.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("not in the genesis document"), "{error}");

    let mut setup = chain.setup(0);
    setup.config.peers.insert("nobody".into(), "127.0.0.1:1".parse().unwrap());
    let error = chain.start_with(setup).task.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("nobody"), "{error}");
}
