//! Serving members' clients: the other end of [`quorate_client::protocol`].
//!
//! One task serves one stream, which is one request or subscription. How many there may be, and how
//! many bytes their unfinished frames may hold, the transport bounds by connection and member; what a
//! request may cost beyond that is bounded here:
//!
//! - transactions of one stream that await their commit: [`MAX_IN_FLIGHT`](quorate_client::protocol::MAX_IN_FLIGHT), then it
//!   is not read;
//! - of one member, over all streams: [`MAX_MEMBER_IN_FLIGHT`], then they are refused;
//! - reads of the database at once: `clients.max_reads`, then they wait;
//! - bytes of answers that a member has not taken, over all streams: those from the database are not read
//!   until there is room, and a stream to which there is no room to say what became of its transactions ends
//!   (module `budget`). An answer of which nothing is taken for a while is given up with its stream.
//!
//! ```text
//! submit: stream ─▶ verify pool ─▶ core ─▶ storage ─▶ reports ─▶ Router ─▶ stream
//! read:   stream ─▶ blocking thread ─▶ database ─▶ stream
//! ```
//!
//! A client can break nothing but its own stream: a malformed request is answered with what is wrong
//! with it, and the stream ends.

mod answers;
mod budget;
mod router;
mod submit;

pub use budget::Allowances;
pub use router::{Router, Tickets};
pub(crate) use submit::Submitted;

use crate::runtime::{Class, Mailbox, Observer, PoolSender, Stored};
use crate::storage::RocksStore;
use answers::Answers;
use bytes::Bytes;
use quorate_client::protocol::{MAX_REQUEST_BYTES, Request, Response};
use quorate_ledger::StoreError;
use quorate_transport::{ClientStream, FrameReceiver, FrameSender, StreamError};
use quorate_types::codec;
use quorate_types::keys::PublicKey;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

/// Transactions of one member that may await their commit, over all its streams and connections.
pub const MAX_MEMBER_IN_FLIGHT: usize = 65_536;

/// How long a client may take to receive why its stream ends.
const LAST_WORD: Duration = Duration::from_secs(1);

/// What serving a stream needs.
pub struct Desk {
    /// The database.
    pub store: RocksStore,
    /// The rest of the node.
    pub observer: Observer,
    /// Where submissions wait for the core.
    pub(crate) mailbox: Arc<Mailbox>,
    /// Where submissions are verified.
    pub(crate) pool: PoolSender,
    /// The last block that is stored; grows.
    pub stored: watch::Receiver<Stored>,
    /// Why no more is served, once that is so.
    pub closing: watch::Receiver<Option<String>>,
    /// Reads at once.
    pub reads: Arc<Semaphore>,
    /// What may wait for members.
    pub allowances: Allowances,
}

/// A request cannot be answered; the text goes to the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// The stream broke: there is nobody to tell.
    #[error("the client is gone")]
    Gone,
    /// The client is told.
    #[error("{0}")]
    Unavailable(String),
}

impl From<StreamError> for Failure {
    fn from(_: StreamError) -> Failure {
        Failure::Gone
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        tracing::error!(%error, "a read of the database failed");
        Failure::Unavailable(format!("the node cannot read its database ({error}); ask another validator"))
    }
}

impl Failure {
    fn unavailable(why: impl Into<String>) -> Failure {
        Failure::Unavailable(why.into())
    }
}

/// Serves streams until the node closes; then those that are open are told, and this ends.
pub async fn serve(desk: Arc<Desk>, mut streams: mpsc::Receiver<ClientStream>) {
    let mut tasks = JoinSet::new();
    let mut closing = desk.closing.clone();
    loop {
        tokio::select! {
            _ = closing.wait_for(Option::is_some) => break,
            stream = streams.recv() => match stream {
                Some(stream) => drop(tasks.spawn(one(Arc::clone(&desk), stream))),
                None => break,
            },
            // Collects what is done, so that nothing piles up.
            Some(done) = tasks.join_next(), if !tasks.is_empty() => {
                if let Err(error) = done && error.is_panic() {
                    tracing::error!(%error, "serving a stream panicked");
                }
            }
        }
    }
    while tasks.join_next().await.is_some() {}
}

async fn one(desk: Arc<Desk>, stream: ClientStream) {
    let member = stream.member;
    let (mut sender, mut receiver) = stream.split();
    let mut closing = desk.closing.clone();
    let outcome = tokio::select! {
        outcome = answer(&desk, member, &mut sender, &mut receiver) => outcome,
        // Long ones are told; short ones are about to end anyway and lose nothing by asking again.
        why = async { closing.wait_for(Option::is_some).await.ok().and_then(|why| why.clone()) } => {
            Err(Failure::unavailable(why.unwrap_or_else(|| "the node is shutting down".into())))
        }
    };
    match outcome {
        Ok(()) => sender.finish(),
        Err(Failure::Gone) => {}
        Err(Failure::Unavailable(why)) => {
            if sender.send(encode(&Response::Unavailable(why))).await.is_ok() {
                sender.finish();
                // The node may be closing, and its connections with it.
                let _ = tokio::time::timeout(LAST_WORD, sender.delivered()).await;
            }
        }
    }
}

fn encode(response: &Response) -> Bytes {
    codec::encode_bytes(response)
}

async fn answer(
    desk: &Arc<Desk>,
    member: PublicKey,
    sender: &mut FrameSender,
    receiver: &mut FrameReceiver,
) -> Result<(), Failure> {
    let Some(frame) = receiver.receive().await? else { return Ok(()) };
    let request: Request = codec::decode(&frame, MAX_REQUEST_BYTES)
        .map_err(|error| Failure::unavailable(format!("the request is malformed: {error}")))?;
    // What follows may take as long as the client likes.
    drop(frame);
    let allowance = desk.allowances.of(member);
    let answers = Answers { desk, room: &allowance.answers, sender };
    match request {
        Request::Submit => submit::serve(desk, member, allowance.settled, sender, receiver).await,
        Request::Blocks { from, follow } => answers.blocks(from, follow).await,
        Request::Status => answers.status().await,
        Request::Trace(id) => answers.trace(id).await,
        Request::Read { key, height } => answers.state(key, height).await,
        Request::Receipt(id) => answers.receipt(id).await,
        Request::Block(height) => answers.block(height).await,
    }
}

impl Desk {
    /// Claims room in the core's queue for a client's bytes.
    async fn claim(&self, bytes: usize) -> crate::runtime::Claim {
        self.mailbox.claim(Class::Clients, bytes).await
    }
}
