//! Validators that answer clients over the real transport from one shared chain, each with a
//! behaviour of its own. They agree by sharing memory: here it is the client that is tested.

use super::{Chain, Consortium, keys};
use bytes::Bytes;
use quorate_client::client::wall_clock;
use quorate_client::protocol::{
    CommittedBatch, MAX_REQUEST_BYTES, NodeStatus, Request, Response, Submission, SubmitError, Trace,
};
use quorate_ledger::Refusal;
use quorate_transport::{ClientStream, Config, Directory, Inbox, Node};
use quorate_types::codec;
use quorate_types::hash::TransactionId;
use quorate_types::ids::{Height, Timestamp, ValidatorIndex, View};
use quorate_types::outcome::{Failure, Outcome};
use quorate_types::transaction::{VerifiedTransaction, verify_transaction};
use std::collections::{BTreeMap, BTreeSet};
use std::net::UdpSocket;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// How a validator treats its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    Honest,
    /// Does not run.
    Down,
    /// Takes everything and says nothing.
    Silent,
    /// Forges whatever it says.
    Liar,
    /// Refuses every transaction, and has never heard of anything.
    Refuser,
    /// Commits what it is handed, and cuts the stream instead of saying so.
    Cutter,
    /// Commits what it is handed, and says of one transaction that it failed.
    Misreporter,
    /// Honest, and knows only the first half of the chain.
    Behind,
    /// Asked for blocks, it answers without end and gives none.
    Empty,
}

pub struct Shared {
    pub chain: Mutex<Chain>,
    height: watch::Sender<u64>,
    /// Transactions handed in, over all validators.
    pub handed_in: AtomicU64,
    /// Streams for transactions that were opened to each.
    pub streams: [AtomicU64; 4],
    behaviours: Mutex<[Behaviour; 4]>,
}

pub struct Validators {
    pub shared: Arc<Shared>,
    pub consortium: Consortium,
    nodes: Vec<Option<Node>>,
}

fn free_ports() -> [u16; 4] {
    // All held at once, so that they differ.
    let sockets = [(); 4].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    sockets.map(|socket| socket.local_addr().unwrap().port())
}

pub fn start(behaviours: [Behaviour; 4]) -> Validators {
    let created = wall_clock().minus_ms(1000);
    let ports = free_ports();
    let consortium = Consortium::at(ports, created);
    let chain = Chain::new(Consortium::at(ports, created));
    let shared = Arc::new(Shared {
        chain: Mutex::new(chain),
        height: watch::channel(0).0,
        handed_in: AtomicU64::new(0),
        streams: Default::default(),
        behaviours: Mutex::new(behaviours),
    });
    let founding = &consortium.founding;
    let directory = Arc::new(Directory {
        validators: founding.validator_details().map(|(_, v)| v.transport_key).collect(),
        clients: founding.members().iter().map(|member| member.key).collect(),
    });
    let nodes = behaviours.iter().enumerate().map(|(index, behaviour)| {
        if *behaviour == Behaviour::Down {
            return None;
        }
        let me = ValidatorIndex(u16::try_from(index).unwrap());
        let key = keys(index).validator.unwrap().transport;
        let config = Config::new(([127, 0, 0, 1], ports[index]).into());
        let directory = Arc::clone(&directory);
        let (node, inbox) = Node::start(config, &key, me, founding.chain(), directory, Vec::new()).unwrap();
        tokio::spawn(serve(inbox, Arc::clone(&shared), index));
        Some(node)
    });
    let nodes = nodes.collect();
    Validators { shared, nodes, consortium }
}

impl Validators {
    /// From now on.
    pub fn behave(&self, index: usize, behaviour: Behaviour) {
        self.shared.behaviours.lock().unwrap()[index] = behaviour;
    }

    pub async fn stop(&mut self, index: usize) {
        if let Some(node) = self.nodes[index].take() {
            node.shutdown().await;
        }
    }

    /// A block of the chain, without a client.
    pub fn commit(&self, operations: Vec<quorate_types::transaction::Operation>) -> TransactionId {
        self.commit_as(operations, true)
    }

    /// The same, with a certificate of its own or without.
    pub fn commit_as(
        &self,
        operations: Vec<quorate_types::transaction::Operation>,
        certified: bool,
    ) -> TransactionId {
        let mut chain = self.shared.chain.lock().unwrap();
        let transaction = chain.transaction(operations);
        let id = transaction.id();
        chain.commit(vec![transaction], certified);
        self.shared.height.send_replace(chain.height().0);
        id
    }
}

async fn serve(mut inbox: Inbox, shared: Arc<Shared>, index: usize) {
    while let Some(stream) = inbox.clients.recv().await {
        tokio::spawn(answer(stream, Arc::clone(&shared), index));
    }
}

async fn say(stream: &mut ClientStream, response: &Response) -> Option<()> {
    stream.send(codec::encode_bytes(response)).await.ok()
}

async fn answer(mut stream: ClientStream, shared: Arc<Shared>, index: usize) -> Option<()> {
    let frame = stream.receive().await.ok()??;
    let request: Request = codec::decode(&frame, MAX_REQUEST_BYTES).ok()?;
    let behaviour = shared.behaviours.lock().unwrap()[index];
    if matches!(request, Request::Submit) {
        shared.streams[index].fetch_add(1, Ordering::Relaxed);
    }
    match (behaviour, request) {
        (Behaviour::Silent, _) => {
            // Until the client gives up.
            while stream.receive().await.ok()?.is_some() {}
            std::future::pending::<()>().await;
        }
        (_, Request::Submit) => submissions(&mut stream, &shared, behaviour).await?,
        (Behaviour::Empty, Request::Blocks { .. }) => loop {
            say(&mut stream, &Response::Blocks { blocks: Vec::new(), finality: None }).await?;
        },
        (Behaviour::Behind, Request::Blocks { from, .. }) => {
            let half = shared.chain.lock().unwrap().height().0 / 2;
            for height in from.0..=half {
                let block = shared.chain.lock().unwrap().made(height).block.clone();
                say(&mut stream, &Response::Blocks { blocks: vec![block], finality: None }).await?;
            }
        }
        (Behaviour::Behind, Request::Read { key, height: None }) => {
            let half = Height(shared.chain.lock().unwrap().height().0 / 2);
            let request = Request::Read { key, height: Some(half) };
            let response = one(&shared.chain.lock().unwrap(), &request, index, false);
            say(&mut stream, &response).await?;
        }
        (_, Request::Blocks { from, follow }) => blocks(&mut stream, &shared, from, follow).await?,
        (Behaviour::Refuser, _) => say(&mut stream, &Response::NotFound).await?,
        (_, request) => {
            let response = one(&shared.chain.lock().unwrap(), &request, index, behaviour == Behaviour::Liar);
            say(&mut stream, &response).await?;
        }
    }
    stream.finish();
    Some(())
}

/// The answer to a question with one.
fn one(chain: &Chain, request: &Request, index: usize, lie: bool) -> Response {
    let latest = chain.final_height();
    let known = |height: &Option<Height>| {
        let height = height.map_or(latest, |height| height.0);
        (1..=latest).contains(&height).then_some(height)
    };
    match request {
        Request::Read { key, height } => {
            let Some(height) = known(height) else { return Response::NotFound };
            let mut finality = chain.finality(height);
            if lie {
                finality.result.state_root.0[0] ^= 1;
            }
            Response::State { proof: chain.proof(height, key), finality }
        }
        Request::Receipt(id) => {
            let Some((height, at)) = chain.locate(id) else { return Response::NotFound };
            let mut receipt = chain.receipt(height, at);
            if lie {
                receipt.inclusion.outcome = quorate_types::outcome::Outcome::Failed {
                    operation: 0,
                    reason: quorate_types::outcome::Failure::NotOwner,
                };
            }
            Response::Receipt(Box::new(receipt))
        }
        Request::Block(height) => {
            let Some(height) = known(height) else { return Response::NotFound };
            let mut block = chain.made(height).block.clone();
            if lie {
                block.transactions.clear();
            }
            Response::Blocks { blocks: vec![block], finality: Some(Box::new(chain.finality(height))) }
        }
        Request::Trace(id) => match chain.locate(id) {
            Some((height, _)) => Response::Trace(Trace {
                first_seen: Timestamp(1),
                from: None,
                hops: 0,
                committed: Some(Height(height)),
            }),
            None => Response::NotFound,
        },
        _ => Response::Status(Box::new(status(chain, index))),
    }
}

fn status(chain: &Chain, index: usize) -> NodeStatus {
    let me = ValidatorIndex(u16::try_from(index).unwrap());
    NodeStatus {
        chain: chain.consortium.founding.chain(),
        version: "test".to_owned(),
        name: super::NAMES[index].to_owned(),
        validator: me,
        height: chain.height(),
        block: chain.made.last().map(|made| made.hash).unwrap_or_default(),
        block_time: Timestamp(0),
        view: View(0),
        leader: ValidatorIndex(0),
        phase: "active".to_owned(),
        trouble: None,
        mempool_transactions: 0,
        mempool_bytes: 0,
        committed_transactions: 0,
        gossip_duplicates_per_1000: 0,
        evidence: 0,
        uptime_ms: 1,
        peers: Vec::new(),
    }
}

async fn submissions(stream: &mut ClientStream, shared: &Shared, behaviour: Behaviour) -> Option<()> {
    let mut position = 0;
    while let Some(frame) = stream.receive().await.ok()? {
        let Submission { transactions } = codec::decode(&frame, MAX_REQUEST_BYTES).ok()?;
        shared.handed_in.fetch_add(transactions.len() as u64, Ordering::Relaxed);
        if behaviour == Behaviour::Refuser {
            for _ in &transactions {
                let reason = SubmitError::Refused(Refusal::NotSubmitter);
                say(stream, &Response::Refused { position, reason }).await?;
                position += 1;
            }
            continue;
        }
        let batches = commit(shared, &transactions);
        position += transactions.len() as u64;
        if behaviour == Behaviour::Cutter {
            return None;
        }
        for mut batch in batches {
            if behaviour == Behaviour::Misreporter {
                let outcome = &mut batch.inclusions.places[0].record.outcome;
                *outcome = Outcome::Failed { operation: 0, reason: Failure::NotWriter };
            }
            if behaviour == Behaviour::Liar {
                batch.finality.certificate.signatures[0].1.0[0] ^= 1;
            }
            say(stream, &Response::Committed(batch)).await?;
        }
    }
    Some(())
}

/// Commits what is new as one block; answers for all, wherever they stand.
fn commit(shared: &Shared, encoded: &[Bytes]) -> Vec<CommittedBatch> {
    let mut chain = shared.chain.lock().unwrap();
    let id = chain.consortium.founding.chain();
    let verified = encoded.iter().map(|bytes| verify_transaction(&id, bytes.clone()).unwrap());
    let verified: Vec<VerifiedTransaction> = verified.collect();
    let new: Vec<_> = verified.iter().filter(|t| chain.locate(&t.id()).is_none()).cloned().collect();
    if !new.is_empty() {
        chain.commit_at(new, true, wall_clock());
        shared.height.send_replace(chain.height().0);
    }
    let mut places: BTreeMap<u64, BTreeSet<usize>> = BTreeMap::new();
    for transaction in &verified {
        let (height, index) = chain.locate(&transaction.id()).unwrap();
        places.entry(height).or_default().insert(index);
    }
    let batch = |(height, indexes): (u64, BTreeSet<usize>)| {
        let indexes: Vec<usize> = indexes.into_iter().collect();
        CommittedBatch { finality: chain.finality(height), inclusions: chain.inclusions(height, &indexes) }
    };
    places.into_iter().map(batch).collect()
}

async fn blocks(stream: &mut ClientStream, shared: &Shared, from: Height, follow: bool) -> Option<()> {
    let mut heights = shared.height.subscribe();
    let mut next = from.0;
    loop {
        let latest = *heights.borrow_and_update();
        while next <= latest {
            let block = shared.chain.lock().unwrap().made(next).block.clone();
            say(stream, &Response::Blocks { blocks: vec![block], finality: None }).await?;
            next += 1;
        }
        if !follow {
            return Some(());
        }
        heights.changed().await.ok()?;
    }
}
