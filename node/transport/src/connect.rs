//! Dialling: resolve, shake hands, exchange hellos.

use crate::close::{CloseCode, DownReason, close};
use crate::endpoint::client_config;
use crate::frame::{FrameReader, gather};
use crate::hello::{Hello, HelloError, MAX_HELLO_BYTES};
use crate::identity::{ExpectedKey, is_not_admitted};
use bytes::Bytes;
use quinn::TransportConfig;
use quorate_types::keys::{PublicKey, SecretKey};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The name dialled. It goes nowhere (SNI is off) and means nothing (keys are compared, not names).
const SERVER_NAME: &str = "quorate";

/// Addresses tried of one name; a name server cannot make a dial last for ever.
const MAX_ADDRESSES_PER_NAME: usize = 8;

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name could not be resolved.
    #[error("cannot resolve {address}: {source}")]
    Resolve {
        /// The address as given.
        address: String,
        /// The system's error.
        source: io::Error,
    },
    /// The name resolves to nothing.
    #[error("{address} has no address")]
    NoAddress {
        /// The address as given.
        address: String,
    },
    /// This endpoint cannot dial: bad address family, or shut down.
    #[error("cannot dial {address}: {reason}")]
    Unusable {
        /// The address dialled.
        address: SocketAddr,
        /// What QUIC says.
        reason: String,
    },
    /// Nobody answered in time.
    #[error("no answer from {address} within {} ms", timeout.as_millis())]
    TimedOut {
        /// The address dialled.
        address: SocketAddr,
        /// The time allowed.
        timeout: Duration,
    },
    /// Someone else is there.
    #[error("the node at {address} proves another key than the genesis document names: {proved}")]
    WrongKey {
        /// The address dialled.
        address: SocketAddr,
        /// The key found there.
        proved: PublicKey,
    },
    /// The dialler itself is there.
    #[error("the node at {address} is this node itself")]
    Oneself {
        /// The address dialled.
        address: SocketAddr,
    },
    /// The node there does not know the dialler's key.
    #[error("not admitted: the node at {address} does not know this key")]
    NotAdmitted {
        /// The address dialled.
        address: SocketAddr,
    },
    /// The node there closed the connection and said why.
    #[error("the node at {address} refuses: {code} ({text})")]
    Refused {
        /// The address dialled.
        address: SocketAddr,
        /// Its reason.
        code: CloseCode,
        /// Its explanation.
        text: String,
    },
    /// The node there is who it should be, but not of this chain or version.
    #[error("the node at {address} {error}")]
    BadHello {
        /// The address dialled.
        address: SocketAddr,
        /// What is wrong.
        error: HelloError,
    },
    /// The connection broke.
    #[error("connection to {address} lost: {reason}")]
    Lost {
        /// The address dialled.
        address: SocketAddr,
        /// What QUIC says.
        reason: String,
    },
    /// TLS or QUIC could not be set up.
    #[error("cannot set up TLS: {0}")]
    Setup(String),
}

/// Who dials, and how.
pub(crate) struct Dialler<'a> {
    pub(crate) endpoint: &'a quinn::Endpoint,
    pub(crate) identity: &'a SecretKey,
    pub(crate) transport: Arc<TransportConfig>,
    pub(crate) hello: Hello,
    /// Set when a hello is about to be sent: from then on the other side may take the connection.
    pub(crate) said_hello: Arc<AtomicBool>,
    /// For resolving the name; then, for each address, handshake and hello together.
    pub(crate) timeout: Duration,
}

/// An address without the disguise that IPv4 wears on a dual-stack socket.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A hello as it goes on the wire.
pub(crate) fn hello_bytes(hello: &Hello) -> Vec<u8> {
    gather(&[Bytes::from(hello.encode())]).concat()
}

impl Dialler<'_> {
    /// Dials each address behind `name` until one answers with the key expected and a good hello.
    pub(crate) async fn dial(
        &self,
        name: &str,
        expected: PublicKey,
    ) -> Result<(quinn::Connection, Hello), ConnectError> {
        let resolved = tokio::time::timeout(self.timeout, tokio::net::lookup_host(name)).await;
        let addresses = resolved
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|source| ConnectError::Resolve { address: name.to_owned(), source })?;
        let mut failure = ConnectError::NoAddress { address: name.to_owned() };
        for address in addresses.take(MAX_ADDRESSES_PER_NAME) {
            let attempt = self.attempt(address, expected);
            match tokio::time::timeout(self.timeout, attempt).await {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(error)) => failure = error,
                Err(_) => failure = ConnectError::TimedOut { address, timeout: self.timeout },
            }
        }
        Err(failure)
    }

    async fn attempt(
        &self,
        address: SocketAddr,
        expected: PublicKey,
    ) -> Result<(quinn::Connection, Hello), ConnectError> {
        let verifier = ExpectedKey::new(expected);
        let config = client_config(self.identity, Arc::clone(&verifier), Arc::clone(&self.transport))?;
        let lost = |error: quinn::ConnectionError| match verifier.other() {
            Some(key) if key == self.identity.public() => ConnectError::Oneself { address },
            Some(proved) => ConnectError::WrongKey { address, proved },
            None => classify(address, &error),
        };
        let connection = self
            .endpoint
            .connect_with(config, address, SERVER_NAME)
            .map_err(|error| ConnectError::Unusable { address, reason: error.to_string() })?
            .await
            .map_err(lost)?;
        match self.greet(&connection).await {
            Ok(hello) => Ok((connection, hello)),
            Err(error) => match connection.close_reason() {
                Some(reason) => Err(lost(reason)),
                None => {
                    close(&connection, error.code(), &error.to_string());
                    Err(ConnectError::BadHello { address, error })
                }
            },
        }
    }

    /// The dialler's half of the hello.
    async fn greet(&self, connection: &quinn::Connection) -> Result<Hello, HelloError> {
        let (mut send, receive) = connection.open_bi().await.map_err(|_| HelloError::Malformed)?;
        self.said_hello.store(true, Ordering::Relaxed);
        send.write_all(&hello_bytes(&self.hello)).await.map_err(|_| HelloError::Malformed)?;
        send.finish().map_err(|_| HelloError::Malformed)?;
        let answer = FrameReader::new(receive, MAX_HELLO_BYTES).next().await;
        let answer = answer.ok().flatten().ok_or(HelloError::Malformed)?;
        Hello::decode(&answer, self.hello.chain)
    }
}

fn classify(address: SocketAddr, error: &quinn::ConnectionError) -> ConnectError {
    if is_not_admitted(error) {
        return ConnectError::NotAdmitted { address };
    }
    match DownReason::of(error) {
        DownReason::There { code, text } => ConnectError::Refused { address, code, text },
        other => ConnectError::Lost { address, reason: other.to_string() },
    }
}
