//! A member's side: connections to validators.

use crate::close::{CloseCode, DownReason, close};
use crate::config::ClientConfig;
use crate::connect::{ConnectError, Dialler, canonical};
use crate::endpoint::{self, ANSWERS_WINDOW_BYTES, Tuning, transport};
use crate::frame::{FrameReader, FrameReceiver, FrameSender, StreamError};
use crate::hello::{Hello, Sender};
use crate::node::{FAREWELL, TransportError};
use quorate_types::hash::ChainId;
use quorate_types::keys::{PublicKey, SecretKey};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// A member's endpoint, for connections to any number of validators.
pub struct Client {
    endpoint: quinn::Endpoint,
    identity: SecretKey,
    chain: ChainId,
    config: ClientConfig,
}

impl Client {
    /// Opens a port of the system's choice. `identity` is the member's key.
    ///
    /// # Errors
    /// See [`TransportError`].
    pub fn new(identity: &SecretKey, chain: ChainId, config: ClientConfig) -> Result<Client, TransportError> {
        config.check().map_err(TransportError::Config)?;
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(TransportError::NoRuntime);
        }
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let socket = bind_any(config.socket_buffer_bytes)
            .map_err(|source| TransportError::Bind { address: any, source })?;
        let (endpoint, _) =
            endpoint::open(socket, None).map_err(|source| TransportError::Bind { address: any, source })?;
        Ok(Client { endpoint, identity: identity.clone(), chain, config })
    }

    /// Connects to the validator at `address` (`host:port`) that must prove the transport key
    /// `expected`. Returns once the validator has admitted this member. `timeout` is for each address
    /// that the name stands for.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(
        &self,
        address: &str,
        expected: PublicKey,
        timeout: Duration,
    ) -> Result<Connection, ConnectError> {
        let config = &self.config;
        let tuning =
            Tuning { keep_alive: config.keep_alive, idle_timeout: config.idle_timeout, gso: config.gso };
        let dialler = Dialler {
            endpoint: &self.endpoint,
            identity: &self.identity,
            transport: transport(tuning, 0, 0, ANSWERS_WINDOW_BYTES),
            hello: Hello { chain: self.chain, sender: Sender::Client },
            said_hello: Arc::default(),
            timeout,
        };
        let (connection, _) = dialler.dial(address, expected).await?;
        let unfinished = Semaphore::new(config.max_unfinished_bytes.min(Semaphore::MAX_PERMITS));
        Ok(Connection {
            connection,
            unfinished: Arc::new(unfinished),
            max_request_bytes: config.max_request_bytes,
            max_response_bytes: config.max_response_bytes,
        })
    }

    /// Closes all connections, and waits a moment for the validators to hear of it.
    pub async fn shutdown(self) {
        self.endpoint.close(CloseCode::Done.varint(), b"");
        // Whoever does not hear of it notices by the idle timeout.
        let _ = tokio::time::timeout(FAREWELL, self.endpoint.wait_idle()).await;
    }
}

/// IPv6 and IPv4 on one socket where the system has both, else IPv4.
fn bind_any(buffer_bytes: usize) -> io::Result<UdpSocket> {
    endpoint::bind((Ipv6Addr::UNSPECIFIED, 0).into(), buffer_bytes)
        .or_else(|_| endpoint::bind((Ipv4Addr::UNSPECIFIED, 0).into(), buffer_bytes))
}

/// A connection to one validator. Cheap to clone; closed when the last clone and stream are gone.
#[derive(Clone)]
pub struct Connection {
    connection: quinn::Connection,
    unfinished: Arc<Semaphore>,
    max_request_bytes: usize,
    max_response_bytes: usize,
}

impl Connection {
    /// Opens a stream for one request or subscription. Waits while as many are open as the validator
    /// allows. The validator learns of the stream with the first frame.
    ///
    /// # Errors
    /// [`StreamError::Lost`].
    pub async fn open(&self) -> Result<(FrameSender, FrameReceiver), StreamError> {
        let opened = self.connection.open_bi().await;
        let (send, receive) = opened.map_err(|error| StreamError::Lost(DownReason::of(&error)))?;
        let reader = FrameReader::new(receive, self.max_response_bytes).within(Arc::clone(&self.unfinished));
        Ok((FrameSender::new(send, self.max_request_bytes), FrameReceiver::new(reader)))
    }

    /// Where the validator is.
    pub fn remote(&self) -> SocketAddr {
        canonical(self.connection.remote_address())
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.connection.close_reason().is_some()
    }

    /// Waits until the connection is gone, and says why.
    pub async fn closed(&self) -> DownReason {
        DownReason::of(&self.connection.closed().await)
    }

    /// The present estimate of the round trip.
    pub fn rtt(&self) -> Duration {
        self.connection.rtt()
    }

    /// Bytes received so far, everything included.
    pub fn bytes_in(&self) -> u64 {
        self.connection.stats().udp_rx.bytes
    }

    /// Bytes sent so far, everything included.
    pub fn bytes_out(&self) -> u64 {
        self.connection.stats().udp_tx.bytes
    }

    /// Closes the connection. What was sent may be lost: receive all answers first.
    pub fn close(&self) {
        close(&self.connection, CloseCode::Done, "");
    }
}
