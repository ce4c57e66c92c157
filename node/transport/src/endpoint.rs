//! The socket, and QUIC's own limits.
//!
//! Windows are chosen so that a lane that is not read blocks neither its neighbours nor a write on
//! them: one stream may hold [`STREAM_WINDOW_BYTES`], and the connection has room for every lane to
//! hold that at once, on both sides.

use crate::config::Config;
use crate::connect::ConnectError;
use crate::identity;
use quinn::{AckFrequencyConfig, EndpointConfig, IdleTimeout, TransportConfig, VarInt};
use quorate_types::keys::SecretKey;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Bytes in flight or unread on one stream.
const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;

/// Bytes in flight or unread on all streams with a validator: four stream windows, one more than
/// lanes, so that no lane can use up the connection.
pub(crate) const PEER_WINDOW_BYTES: u32 = 4 * STREAM_WINDOW_BYTES;

/// Bytes that one client connection may have in flight or unread towards a validator.
const CLIENT_WINDOW_BYTES: u32 = 1024 * 1024;

/// Bytes in flight or unread towards a member's client, over all its streams.
pub(crate) const ANSWERS_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// Received bytes kept for handshakes that were not looked at yet, each and in all.
const INCOMING_BUFFER_BYTES: u64 = 16 * 1024;
const INCOMING_BUFFER_TOTAL_BYTES: u64 = 1024 * 1024;

/// Packets that may go unacknowledged. Below the ten of QUIC's first window, so that a sender is never held
/// up by it for long.
const ACK_PACKETS: u32 = 8;

/// The longest an acknowledgement may wait for more packets, or for a message to travel with.
const ACK_DELAY: Duration = Duration::from_millis(5);

/// Timings and switches common to all connections of an endpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tuning {
    pub(crate) keep_alive: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) gso: bool,
}

impl Tuning {
    pub(crate) fn of(config: &Config) -> Tuning {
        Tuning { keep_alive: config.keep_alive, idle_timeout: config.idle_timeout, gso: config.gso }
    }
}

/// How seldom the other side should acknowledge: by itself it would send a packet for every two. Most
/// messages are answered before either is due, and the answer carries the acknowledgement.
fn seldom_acknowledged() -> AckFrequencyConfig {
    let mut seldom = AckFrequencyConfig::default();
    seldom.ack_eliciting_threshold(VarInt::from_u32(ACK_PACKETS)).max_ack_delay(Some(ACK_DELAY));
    seldom
}

/// QUIC's limits on the other side: so many streams it may open, so many bytes outstanding.
pub(crate) fn transport(tuning: Tuning, bidi: u32, uni: u32, window: u32) -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    let idle_ms = u32::try_from(tuning.idle_timeout.as_millis()).unwrap_or(u32::MAX);
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(bidi))
        .max_concurrent_uni_streams(VarInt::from_u32(uni))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(window))
        .send_window(u64::from(PEER_WINDOW_BYTES))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(idle_ms))))
        .keep_alive_interval(Some(tuning.keep_alive))
        .datagram_receive_buffer_size(None)
        .ack_frequency_config(Some(seldom_acknowledged()))
        .enable_segmentation_offload(tuning.gso);
    Arc::new(transport)
}

/// The accepting side's configuration. Until a key is known to be a validator's or a member's, the
/// other side may open one stream, for its hello.
pub(crate) fn server_config(
    tls: rustls::ServerConfig,
    tuning: Tuning,
    max_incoming: usize,
) -> Result<quinn::ServerConfig, quinn::crypto::rustls::NoInitialCipherSuite> {
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(tls)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let mut tokens = quinn::ValidationTokenConfig::default();
    tokens.sent(0);
    config
        .transport_config(transport(tuning, 1, 0, CLIENT_WINDOW_BYTES))
        .validation_token_config(tokens)
        .migration(false)
        .max_incoming(max_incoming)
        .incoming_buffer_size(INCOMING_BUFFER_BYTES)
        .incoming_buffer_size_total(INCOMING_BUFFER_TOTAL_BYTES);
    Ok(config)
}

/// The dialling side's configuration.
pub(crate) fn client_config(
    identity: &SecretKey,
    expected: Arc<identity::ExpectedKey>,
    transport: Arc<TransportConfig>,
) -> Result<quinn::ClientConfig, ConnectError> {
    let setup = |error: &dyn std::fmt::Display| ConnectError::Setup(error.to_string());
    let tls = identity::client_tls(identity, expected).map_err(|error| setup(&error))?;
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).map_err(|error| setup(&error))?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport);
    Ok(config)
}

/// A bound UDP socket with the buffers asked for, as far as the kernel grants them.
pub(crate) fn bind(listen: SocketAddr, buffer_bytes: usize) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(listen),
        socket2::Type::DGRAM,
        Some(socket2::Protocol::UDP),
    )?;
    if listen.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_recv_buffer_size(buffer_bytes)?;
    socket.set_send_buffer_size(buffer_bytes)?;
    let granted = socket.recv_buffer_size()?;
    if granted < buffer_bytes {
        tracing::info!(
            asked = buffer_bytes,
            granted,
            "the kernel grants a smaller receive buffer (net.core.rmem_max); packets may be lost under load"
        );
    }
    socket.bind(&listen.into())?;
    Ok(socket.into())
}

/// Tells when the last trace of an endpoint is gone: its port is free again only then, and quinn's own
/// tasks end a moment after the last handle is dropped.
pub(crate) struct Remains(mpsc::Receiver<()>);

impl Remains {
    /// Waits until nothing of the endpoint is left. Drop all handles before.
    pub(crate) async fn gone(&mut self) {
        // Nothing is ever sent; the channel closes when all that hold its other end are dropped.
        let _ = self.0.recv().await;
    }
}

/// Tokio, as quinn sees it, with every task of quinn's holding a share of [`Remains`].
#[derive(Debug)]
struct Runtime {
    tokio: quinn::TokioRuntime,
    share: mpsc::Sender<()>,
}

impl quinn::Runtime for Runtime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn quinn::AsyncTimer>> {
        self.tokio.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let share = self.share.clone();
        self.tokio.spawn(Box::pin(async move {
            future.await;
            drop(share);
        }));
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        self.tokio.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        self.tokio.now()
    }
}

/// A QUIC endpoint on a bound socket.
pub(crate) fn open(
    socket: UdpSocket,
    server: Option<quinn::ServerConfig>,
) -> io::Result<(quinn::Endpoint, Remains)> {
    let (share, remains) = mpsc::channel(1);
    let runtime = Arc::new(Runtime { tokio: quinn::TokioRuntime, share });
    let endpoint = quinn::Endpoint::new(EndpointConfig::default(), server, socket, runtime)?;
    Ok((endpoint, Remains(remains)))
}
