//! QUIC spoken by hand: any key, any bytes, and no manners.
//!
//! The validator's transport offers no way to misbehave, so its first steps are written here again from
//! the protocol's description: TLS 1.3 with raw public keys, then a hello as the first frame of the
//! first stream.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use quinn::crypto::rustls::QuicClientConfig;
use quorate_transport::PROTOCOL_VERSION;
use quorate_types::codec;
use quorate_types::hash::ChainId;
use quorate_types::ids::ValidatorIndex;
use quorate_types::keys::{PublicKey, SecretKey};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    AlwaysResolvesClientRawPublicKeys, ClientSessionMemoryCache, ClientSessionStore, Resumption,
    Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{
    DigitallySignedStruct, Error, NamedGroup, SignatureAlgorithm, SignatureScheme, SupportedProtocolVersion,
};
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// How long any one step of an attack may take before it counts as refused.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The name of the protocol in the handshake.
const ALPN: &[u8] = b"quorate/1";

/// What goes before the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// The key that is shown, and the key that signs. In an honest handshake they belong together.
#[derive(Debug, Clone)]
struct Shown {
    shown: PublicKey,
    signs: SecretKey,
}

impl SigningKey for Shown {
    fn choose_scheme(&self, _offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        Some(Box::new(self.clone()))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from([&SPKI_PREFIX[..], &self.shown.0].concat()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for Shown {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.signs.sign(message).0.to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// One key to show and one to sign with, as TLS takes them: a raw public key.
pub(crate) fn certified(shown: PublicKey, signs: &SecretKey) -> CertifiedKey {
    let key = Shown { shown, signs: signs.clone() };
    let spki = CertificateDer::from([&SPKI_PREFIX[..], &shown.0].concat());
    CertifiedKey::new(vec![spki], Arc::new(key))
}

/// Whoever is there is right.
#[derive(Debug)]
pub(crate) struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is never offered".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Keeps session tickets as a browser does, and counts them.
#[derive(Debug)]
struct Tickets {
    kept: ClientSessionMemoryCache,
    received: AtomicUsize,
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        self.kept.set_kx_hint(server_name, group);
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        self.kept.kx_hint(server_name)
    }

    fn set_tls12_session(&self, _server_name: ServerName<'static>, _value: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _server_name: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, server_name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.received.fetch_add(1, Ordering::Relaxed);
        self.kept.insert_tls13_ticket(server_name, value);
    }

    fn take_tls13_ticket(&self, server_name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.kept.take_tls13_ticket(server_name)
    }
}

/// As what an attacker says that it connects.
#[derive(Debug, Clone, Copy, Serialize)]
pub enum Claim {
    /// A validator.
    Validator {
        /// Its index.
        index: ValidatorIndex,
        /// Which run of its process.
        process: u64,
    },
    /// A member's client.
    Client,
}

/// Someone who dials validators, and keeps session tickets.
#[derive(Debug)]
pub struct Attacker {
    endpoint: quinn::Endpoint,
    config: quinn::ClientConfig,
    tickets: Arc<Tickets>,
}

impl Attacker {
    /// Dials from `source`, with this key.
    ///
    /// # Errors
    /// If the address cannot be used.
    pub fn new(source: SocketAddr, key: &SecretKey) -> Result<Attacker> {
        Attacker::showing(source, key.public(), key)
    }

    /// Dials from `source`, shows one key and signs with another.
    ///
    /// # Errors
    /// If the address cannot be used.
    pub fn showing(source: SocketAddr, shown: PublicKey, signs: &SecretKey) -> Result<Attacker> {
        let certified = Arc::new(certified(shown, signs));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(VERSIONS)?
            .dangerous() // rustls' word for a verifier of one's own
            .with_custom_certificate_verifier(Arc::new(Anyone))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(certified)));
        let tickets =
            Arc::new(Tickets { kept: ClientSessionMemoryCache::new(64), received: AtomicUsize::new(0) });
        tls.alpn_protocols = vec![ALPN.to_vec()];
        tls.resumption = Resumption::store(Arc::clone(&tickets) as Arc<dyn ClientSessionStore>);
        tls.enable_early_data = true;
        tls.enable_sni = false;
        let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        let mut transport = quinn::TransportConfig::default();
        transport.keep_alive_interval(Some(Duration::from_secs(2)));
        // It reads hellos, and nothing else: what is sent to it stays where it is.
        transport.stream_receive_window(quinn::VarInt::from_u32(16 << 10));
        config.transport_config(Arc::new(transport));
        let endpoint =
            quinn::Endpoint::client(source).with_context(|| format!("cannot dial from {source}"))?;
        Ok(Attacker { endpoint, config, tickets })
    }

    /// How many session tickets it was given so far.
    pub fn tickets(&self) -> usize {
        self.tickets.received.load(Ordering::Relaxed)
    }

    /// Begins a handshake.
    ///
    /// # Errors
    /// If the address cannot be dialled at all.
    pub fn begin(&self, target: SocketAddr) -> Result<quinn::Connecting> {
        Ok(self.endpoint.connect_with(self.config.clone(), target, "quorate")?)
    }

    /// Shakes hands. That succeeds on this side before the other has looked at the key.
    ///
    /// # Errors
    /// Whatever ends the handshake.
    pub async fn dial(&self, target: SocketAddr) -> Result<quinn::Connection> {
        Ok(timeout(PATIENCE, self.begin(target)?).await.context("no answer")??)
    }

    /// Shakes hands and says who it is. Returns once the validator has said the same of itself.
    ///
    /// # Errors
    /// Whatever ends the connection; see [`why`].
    pub async fn admitted(
        &self,
        target: SocketAddr,
        chain: ChainId,
        claim: Claim,
    ) -> Result<quinn::Connection> {
        let connection = self.dial(target).await?;
        let greeted = timeout(PATIENCE, greet(&connection, chain, claim)).await;
        match greeted.context("no answer to the hello")? {
            Ok(()) => Ok(connection),
            Err(error) => Err(error),
        }
    }

    /// Closes everything at once.
    pub fn vanish(&self) {
        self.endpoint.close(0u32.into(), b"");
    }
}

/// A frame as it goes on the wire: its length, then its bytes.
pub fn frame(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("frames of an attack are short");
    [&length.to_le_bytes()[..], bytes].concat()
}

/// The bytes of a hello.
pub fn hello(chain: ChainId, claim: Claim) -> Vec<u8> {
    let mut bytes = PROTOCOL_VERSION.to_le_bytes().to_vec();
    codec::encode_into(&(chain, claim), &mut bytes);
    bytes
}

/// The dialler's half of the greeting.
async fn greet(connection: &quinn::Connection, chain: ChainId, claim: Claim) -> Result<()> {
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(&frame(&hello(chain, claim))).await?;
    send.finish()?;
    let answer = receive.read_to_end(1024).await?;
    ensure!(!answer.is_empty(), "an empty answer to the hello");
    Ok(())
}

/// Why a connection was closed: the code and text of the application at the other side, or what QUIC
/// says.
pub async fn why(connection: &quinn::Connection) -> Result<String> {
    let error = timeout(PATIENCE, connection.closed()).await.context("the connection stays open")?;
    Ok(match error {
        quinn::ConnectionError::ApplicationClosed(close) => {
            format!("code {}: {}", close.error_code, String::from_utf8_lossy(&close.reason))
        }
        other => other.to_string(),
    })
}

/// A stream that begins with these bytes and is not finished.
///
/// # Errors
/// If it cannot be opened or written.
pub async fn stream(connection: &quinn::Connection, bytes: &[u8]) -> Result<quinn::SendStream> {
    let mut stream = timeout(PATIENCE, connection.open_uni()).await.context("no stream")??;
    stream.write_all(bytes).await?;
    Ok(stream)
}

/// First packets of so many genuine handshakes, none of which reached anyone: whoever sends them on
/// begins a handshake that never goes on.
///
/// # Errors
/// If no packets come.
pub async fn first_packets(key: &SecretKey, count: usize) -> Result<Vec<Bytes>> {
    let tap = UdpSocket::bind("127.0.0.1:0").await?;
    let mut packets = Vec::with_capacity(count);
    let mut buffer = vec![0; 2048];
    while packets.len() < count {
        let attacker = Attacker::new(([127, 0, 0, 1], 0).into(), key)?;
        // A batch at a time: each repeats its packet until it is dropped.
        for _ in 0..64.min(count - packets.len()) {
            let connecting = attacker.begin(tap.local_addr()?)?;
            let (length, _) =
                timeout(PATIENCE, tap.recv_from(&mut buffer)).await.context("no first packet")??;
            packets.push(Bytes::copy_from_slice(&buffer[..length]));
            drop(connecting);
        }
        attacker.vanish();
    }
    Ok(packets)
}
