//! The accepting side: from a first packet to an admitted peer or client.
//!
//! The loop itself awaits nothing but the next attempt. Each handshake runs in a task of its own,
//! holds a [`Pass`] of the gate, and has to end in time.

use crate::clients;
use crate::close::{CloseCode, close};
use crate::connect::{canonical, hello_bytes};
use crate::directory::Admitted;
use crate::frame::FrameReader;
use crate::gate::Pass;
use crate::hello::{Hello, HelloError, MAX_HELLO_BYTES, Sender};
use crate::identity::proved_key;
use crate::node::{Shared, stopped};
use quorate_types::ids::ValidatorIndex;
use quorate_types::keys::PublicKey;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// A connection of a validator whose hello was good; its link decides whether to keep it.
pub(crate) struct Accepted {
    pub(crate) connection: quinn::Connection,
    pub(crate) answer: quinn::SendStream,
    /// See [`Sender::Validator`].
    pub(crate) process: u64,
}

/// Where accepted connections of each validator go.
pub(crate) type Links = BTreeMap<ValidatorIndex, mpsc::Sender<Accepted>>;

/// Accepts until told to stop.
pub(crate) async fn run(shared: Arc<Shared>, links: Arc<Links>, mut stop: watch::Receiver<bool>) {
    // One task per handshake under way or client connected; the gate and the table of clients bound it.
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            Some(_) = tasks.join_next() => {}
            incoming = shared.endpoint.accept() => {
                let Some(incoming) = incoming else { break };
                if let Some((connecting, pass)) = begin(&shared, incoming) {
                    tasks.spawn(welcome(Arc::clone(&shared), Arc::clone(&links), connecting, pass));
                }
            }
        }
    }
    // Ends whatever is under way with a code, and waits for it, so that nothing outlives the node.
    shared.endpoint.close(CloseCode::Shutdown.varint(), b"");
    tasks.shutdown().await;
}

/// Begins a handshake if there is room for one.
fn begin(shared: &Shared, incoming: quinn::Incoming) -> Option<(quinn::Connecting, Pass)> {
    let gate = &shared.gate;
    let address = incoming.remote_address();
    if gate.is_busy() && !incoming.remote_address_validated() && incoming.may_retry() {
        shared.counters.handshakes_retried.add(1);
        // Fails only for an address that was proved, which was just excluded.
        let _ = incoming.retry();
        return None;
    }
    let Some(pass) = gate.enter(address.ip()) else {
        shared.counters.handshakes_refused.add(1);
        incoming.refuse();
        return None;
    };
    shared.counters.handshakes_started.add(1);
    match incoming.accept() {
        Ok(connecting) => Some((connecting, pass)),
        Err(error) => {
            shared.counters.handshakes_failed.add(1);
            tracing::debug!(%address, %error, "bad first packet");
            None
        }
    }
}

/// Sees one attempt through; for a client, until it disconnects.
async fn welcome(shared: Arc<Shared>, links: Arc<Links>, connecting: quinn::Connecting, pass: Pass) {
    let address = canonical(connecting.remote_address());
    let timeout = shared.config.handshake_timeout;
    let connection = match tokio::time::timeout(timeout, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            shared.counters.handshakes_failed.add(1);
            tracing::debug!(%address, %error, "handshake failed");
            return;
        }
        Err(_) => {
            shared.counters.handshakes_timed_out.add(1);
            tracing::debug!(%address, "handshake not finished in time");
            return;
        }
    };
    let refuse = |code: CloseCode, text: &str| {
        shared.counters.hellos_refused.add(1);
        tracing::debug!(%address, %code, text, "connection refused");
        close(&connection, code, text);
    };
    let Some(admitted) = proved_key(&connection).and_then(|key| shared.directory.admit(&key)) else {
        return refuse(CloseCode::WrongIdentity, "no admitted key");
    };
    if admitted == Admitted::Validator(shared.me) {
        return refuse(CloseCode::Oneself, "this node holds the same key");
    }
    let hello = match tokio::time::timeout(timeout, read_hello(&shared, &connection)).await {
        Ok(Some(Ok((hello, answer)))) => (hello, answer),
        Ok(Some(Err(error))) => return refuse(error.code(), &error.to_string()),
        Ok(None) => return, // the other side is gone
        Err(_) => {
            shared.counters.handshakes_timed_out.add(1);
            return refuse(CloseCode::HelloTimeout, "");
        }
    };
    let (hello, answer) = hello;
    match (admitted, hello.sender) {
        (Admitted::Validator(peer), Sender::Validator { index, process }) if index == peer => {
            let accepted = Accepted { connection: connection.clone(), answer, process };
            let taken = links.get(&peer).is_some_and(|link| link.try_send(accepted).is_ok());
            if !taken {
                refuse(CloseCode::TooManyConnections, "earlier ones are still being looked at");
            }
        }
        (Admitted::Client(member), Sender::Client) => {
            drop(pass);
            serve_client(&shared, connection.clone(), answer, member).await;
        }
        _ => refuse(CloseCode::WrongIdentity, &HelloError::WrongIdentity.to_string()),
    }
}

/// The first frame of the first stream. `None` when the connection ends before.
async fn read_hello(
    shared: &Shared,
    connection: &quinn::Connection,
) -> Option<Result<(Hello, quinn::SendStream), HelloError>> {
    let (answer, receive) = connection.accept_bi().await.ok()?;
    let frame = match FrameReader::new(receive, MAX_HELLO_BYTES).next().await {
        Ok(Some(frame)) => frame,
        _ if connection.close_reason().is_some() => return None,
        _ => return Some(Err(HelloError::Malformed)),
    };
    Some(Hello::decode(&frame, shared.chain).map(|hello| (hello, answer)))
}

/// Answers a hello, which tells the dialler that it is admitted.
pub(crate) async fn answer_hello(shared: &Shared, answer: &mut quinn::SendStream) -> bool {
    let bytes = hello_bytes(&shared.hello());
    let write = answer.write_all(&bytes);
    let written = tokio::time::timeout(shared.config.handshake_timeout, write).await;
    matches!(written, Ok(Ok(()))) && answer.finish().is_ok()
}

async fn serve_client(
    shared: &Arc<Shared>,
    connection: quinn::Connection,
    mut answer: quinn::SendStream,
    member: PublicKey,
) {
    let seat = match shared.clients.enter(member) {
        Ok(seat) => seat,
        Err(full) => {
            shared.counters.clients_refused.add(1);
            tracing::debug!(%member, %full, "client refused");
            return close(&connection, CloseCode::TooManyConnections, &full.to_string());
        }
    };
    clients::admit(shared, &connection);
    if answer_hello(shared, &mut answer).await {
        drop(answer);
        clients::serve(shared, &connection, member).await;
    }
    drop(seat);
}
