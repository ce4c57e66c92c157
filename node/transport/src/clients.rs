//! Members' clients, as a validator sees them.
//!
//! A client opens one bidirectional stream per request or subscription. Everything that it can grow is
//! bounded: connections in all and per member, streams per connection, bytes in flight, the length of
//! a frame, and the bytes of all its unfinished frames together. So is the time for which it may leave an
//! answer unread.

use crate::close::{CloseCode, close};
use crate::config::ClientLimits;
use crate::connect::canonical;
use crate::frame::{FrameReader, FrameReceiver, FrameSender, StreamError};
use crate::node::Shared;
use bytes::Bytes;
use quorate_types::keys::PublicKey;
use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;

/// Bytes kept for a client until it has acknowledged them.
const CLIENT_SEND_WINDOW_BYTES: u64 = 2 * 1024 * 1024;

/// One request or subscription of a client.
pub struct ClientStream {
    /// Whose client it is; the key was proved in the handshake.
    pub member: PublicKey,
    /// Where it is.
    pub remote: SocketAddr,
    sender: FrameSender,
    receiver: FrameReceiver,
}

impl fmt::Debug for ClientStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientStream({:?} at {})", self.member, self.remote)
    }
}

impl ClientStream {
    /// As [`FrameReceiver::receive`].
    ///
    /// # Errors
    /// See [`StreamError`].
    pub async fn receive(&mut self) -> Result<Option<Bytes>, StreamError> {
        self.receiver.receive().await
    }

    /// As [`FrameSender::send`].
    ///
    /// # Errors
    /// See [`StreamError`].
    pub async fn send(&mut self, frame: Bytes) -> Result<(), StreamError> {
        self.sender.send(frame).await
    }

    /// As [`FrameSender::finish`]. A stream dropped without it counts as abandoned.
    pub fn finish(&mut self) {
        self.sender.finish();
    }

    /// The two halves, to be used by different tasks.
    pub fn split(self) -> (FrameSender, FrameReceiver) {
        (self.sender, self.receiver)
    }
}

/// Client connections at the moment.
pub(crate) struct ClientTable {
    limits: ClientLimits,
    /// At most as many entries as connections.
    by_member: Mutex<HashMap<PublicKey, usize>>,
}

/// One client connection; given back when dropped.
pub(crate) struct Seat {
    table: Arc<ClientTable>,
    member: PublicKey,
}

/// Why a client finds no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    #[error("this member has {0} connections, which is the limit")]
    Member(usize),
    #[error("the node has {0} client connections, which is its limit")]
    Node(usize),
}

impl ClientTable {
    pub(crate) fn new(limits: ClientLimits) -> Arc<ClientTable> {
        Arc::new(ClientTable { limits, by_member: Mutex::default() })
    }

    fn by_member(&self) -> MutexGuard<'_, HashMap<PublicKey, usize>> {
        self.by_member.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn enter(self: &Arc<ClientTable>, member: PublicKey) -> Result<Seat, Full> {
        let mut by_member = self.by_member();
        let total: usize = by_member.values().sum();
        let own = by_member.get(&member).copied().unwrap_or(0);
        if own >= self.limits.max_connections_per_member {
            return Err(Full::Member(own));
        }
        if total >= self.limits.max_connections {
            return Err(Full::Node(total));
        }
        by_member.insert(member, own + 1);
        Ok(Seat { table: Arc::clone(self), member })
    }

    pub(crate) fn connected(&self) -> u64 {
        self.by_member().values().map(|count| *count as u64).sum()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut by_member = self.table.by_member();
        if let Some(count) = by_member.get_mut(&self.member) {
            *count -= 1;
            if *count == 0 {
                by_member.remove(&self.member);
            }
        }
    }
}

/// Raises QUIC's limits from those of a stranger to those of a client.
pub(crate) fn admit(shared: &Shared, connection: &quinn::Connection) {
    connection.set_send_window(CLIENT_SEND_WINDOW_BYTES);
    connection.set_max_concurrent_bi_streams(quinn::VarInt::from_u32(shared.config.clients.max_streams));
}

/// Hands each stream of an admitted client to the application, until the client is gone.
pub(crate) async fn serve(shared: &Shared, connection: &quinn::Connection, member: PublicKey) {
    let limits = &shared.config.clients;
    let remote = canonical(connection.remote_address());
    let unfinished = Arc::new(Semaphore::new(limits.max_unfinished_bytes.min(Semaphore::MAX_PERMITS)));
    tracing::debug!(%member, %remote, "client connected");
    loop {
        let (send, receive) = match connection.accept_bi().await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%member, %remote, %error, "client disconnected");
                return;
            }
        };
        shared.counters.client_streams.add(1);
        let reader = FrameReader::new(receive, limits.max_request_bytes).within(Arc::clone(&unfinished));
        let stream = ClientStream {
            member,
            remote,
            sender: FrameSender::new(send, limits.max_response_bytes).patient_for(limits.answer_patience),
            receiver: FrameReceiver::new(reader),
        };
        tokio::select! {
            sent = shared.outlets.clients.send(stream) => {
                if sent.is_err() {
                    return close(connection, CloseCode::Shutdown, "no longer serving clients");
                }
            }
            _ = connection.closed() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_bounded_per_member_and_in_all() {
        let limits =
            ClientLimits { max_connections: 3, max_connections_per_member: 2, ..ClientLimits::default() };
        let table = ClientTable::new(limits);
        let member = |n: u8| PublicKey([n; 32]);
        let first = table.enter(member(1)).expect("seat");
        let _second = table.enter(member(1)).expect("seat");
        assert_eq!(table.enter(member(1)).err(), Some(Full::Member(2)));
        let _third = table.enter(member(2)).expect("seat");
        assert_eq!(table.enter(member(3)).err(), Some(Full::Node(3)));
        drop(first);
        assert_eq!(table.connected(), 2);
        assert!(table.enter(member(3)).is_ok());
        assert_eq!(table.by_member().len(), 2, "nothing is remembered of those who left");
    }
}
