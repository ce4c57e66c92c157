//! TLS 1.3 with Ed25519 raw public keys (RFC 7250), both ways.
//!
//! There are no certificates, names or authorities: a side proves one key, and the other looks it up
//! in its [`Directory`], or, when dialling, compares it with the one key it expects. Session tickets,
//! resumption and 0-RTT are off, for a removed member would otherwise come back without its key being
//! looked up. Signatures are judged by ZIP-215 like all others of the workspace.

use crate::directory::Directory;
use crate::stats::Counters;
use quorate_types::keys::{PublicKey, SecretKey, Signature};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, SignatureAlgorithm,
    SignatureScheme,
};
use std::sync::{Arc, OnceLock};

/// Names the protocol in the handshake, so that other QUIC software on the port fails at once.
const ALPN: &[u8] = b"quorate/1";

/// A SubjectPublicKeyInfo of an Ed25519 key is these 12 bytes (RFC 8410) and the 32 of the key.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

pub(crate) fn to_spki(key: &PublicKey) -> Vec<u8> {
    [&SPKI_PREFIX[..], &key.0].concat()
}

pub(crate) fn from_spki(spki: &[u8]) -> Option<PublicKey> {
    let key = spki.strip_prefix(&SPKI_PREFIX)?;
    key.try_into().ok().map(PublicKey)
}

/// The key that the other side of an established connection proved.
pub(crate) fn proved_key(connection: &quinn::Connection) -> Option<PublicKey> {
    let identity = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    from_spki(identity.first()?)
}

/// Signs handshakes with a transport or member key.
#[derive(Debug, Clone)]
struct HandshakeKey(SecretKey);

impl SigningKey for HandshakeKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SignatureScheme::ED25519).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(to_spki(&self.0.public())))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for HandshakeKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.sign(message).0.to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

fn certified(identity: &SecretKey) -> Arc<CertifiedKey> {
    let spki = CertificateDer::from(to_spki(&identity.public()));
    Arc::new(CertifiedKey::new(vec![spki], Arc::new(HandshakeKey(identity.clone()))))
}

/// The key offered, if it is one Ed25519 raw public key and nothing else.
fn offered_key(end_entity: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> Result<PublicKey, Error> {
    match from_spki(end_entity) {
        Some(key) if rest.is_empty() => Ok(key),
        _ => Err(Error::InvalidCertificate(CertificateError::BadEncoding)),
    }
}

fn verify_signature(
    message: &[u8],
    spki: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let bad = || Error::InvalidCertificate(CertificateError::BadSignature);
    if signed.scheme != SignatureScheme::ED25519 {
        return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    }
    let key = offered_key(spki, &[])?;
    let signature = signed.signature().try_into().map_err(|_| bad())?;
    key.verify(message, &Signature(signature)).map_err(|_| bad())?;
    Ok(HandshakeSignatureValid::assertion())
}

fn no_tls12() -> Error {
    PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into()
}

/// Sent as the alert `access_denied`, by which a dialler knows that its key is not admitted.
fn not_admitted() -> Error {
    Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
}

/// What quinn reports when the other side sent the alert of [`not_admitted`].
pub(crate) fn is_not_admitted(error: &quinn::ConnectionError) -> bool {
    const ACCESS_DENIED: u8 = 49; // RFC 8446, section 6
    matches!(error, quinn::ConnectionError::ConnectionClosed(close)
        if close.error_code == quinn::TransportErrorCode::crypto(ACCESS_DENIED))
}

/// Accepting side: any key of the directory.
#[derive(Debug)]
struct KnownKeys {
    directory: Arc<Directory>,
    counters: Arc<Counters>,
}

impl ClientCertVerifier for KnownKeys {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let key = offered_key(end_entity, intermediates)?;
        if self.directory.admit(&key).is_none() {
            self.counters.strangers.add(1);
            tracing::debug!(%key, "refused a key that is not admitted");
            return Err(not_admitted());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Dialling side: exactly one key.
#[derive(Debug)]
pub(crate) struct ExpectedKey {
    expected: PublicKey,
    other: OnceLock<PublicKey>,
}

impl ExpectedKey {
    pub(crate) fn new(expected: PublicKey) -> Arc<ExpectedKey> {
        Arc::new(ExpectedKey { expected, other: OnceLock::new() })
    }

    /// The key offered instead of the expected one, if that is why the handshake failed.
    pub(crate) fn other(&self) -> Option<PublicKey> {
        self.other.get().copied()
    }
}

impl ServerCertVerifier for ExpectedKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let key = offered_key(end_entity, intermediates)?;
        if key != self.expected {
            self.other.get_or_init(|| key);
            return Err(not_admitted());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// TLS of the accepting side.
pub(crate) fn server_tls(
    identity: &SecretKey,
    directory: Arc<Directory>,
    counters: Arc<Counters>,
) -> Result<rustls::ServerConfig, Error> {
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(KnownKeys { directory, counters }))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified(identity))));
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.send_tls13_tickets = 0;
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.max_early_data_size = 0;
    Ok(tls)
}

/// TLS of the dialling side, which expects the key of `verifier`.
pub(crate) fn client_tls(
    identity: &SecretKey,
    verifier: Arc<ExpectedKey>,
) -> Result<rustls::ClientConfig, Error> {
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous() // rustls' word for a verifier of one's own; there are no authorities here
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(certified(identity))));
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.resumption = Resumption::disabled();
    tls.enable_early_data = false;
    tls.enable_sni = false; // the name dialled is a constant and means nothing
    Ok(tls)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    #[test]
    fn a_key_is_44_bytes_of_spki_and_back() {
        let public = key(1).public();
        let spki = to_spki(&public);
        assert_eq!(spki.len(), 44);
        assert_eq!(from_spki(&spki), Some(public));
        assert_eq!(from_spki(&spki[..43]), None);
        assert_eq!(from_spki(&[spki.clone(), vec![0]].concat()), None);
        let mut other_algorithm = spki;
        other_algorithm[8] = 0x6e; // X25519
        assert_eq!(from_spki(&other_algorithm), None);
    }

    #[test]
    fn nothing_is_resumed() {
        let tls = server_tls(&key(1), Arc::default(), Arc::default()).expect("server");
        assert_eq!(tls.send_tls13_tickets, 0);
        assert_eq!(tls.max_early_data_size, 0);
        assert!(!tls.ticketer.enabled());
        assert!(!tls.session_storage.can_cache());
        let tls = client_tls(&key(1), ExpectedKey::new(key(2).public())).expect("client");
        assert!(!tls.enable_early_data);
        assert!(!tls.enable_sni);
        assert!(format!("{:?}", tls.resumption).contains("NoClientSessionStorage"));
    }

    /// Shakes hands in memory; the first error of either side.
    fn shake(client: rustls::ClientConfig, server: rustls::ServerConfig) -> Result<(), Error> {
        let name = ServerName::try_from("quorate").expect("a name");
        let mut client = rustls::ClientConnection::new(Arc::new(client), name)?;
        let mut server = rustls::ServerConnection::new(Arc::new(server))?;
        while client.is_handshaking() || server.is_handshaking() {
            let mut flight = Vec::new();
            client.write_tls(&mut flight).expect("memory");
            server.read_tls(&mut &flight[..]).expect("memory");
            server.process_new_packets()?;
            flight.clear();
            server.write_tls(&mut flight).expect("memory");
            client.read_tls(&mut &flight[..]).expect("memory");
            client.process_new_packets()?;
        }
        Ok(())
    }

    /// failures.md, row 36: a public key is everyone's to show, and only its owner's to prove.
    #[test]
    fn a_key_shown_without_its_secret_is_refused() {
        let directory = || {
            let validators = vec![key(1).public(), key(2).public()];
            Arc::new(Directory { validators, ..Directory::default() })
        };
        let server = || server_tls(&key(1), directory(), Arc::default()).expect("server");
        let client = || client_tls(&key(2), ExpectedKey::new(key(1).public())).expect("client");
        // Shows one key and signs with another.
        let impostor = |shown: u8| {
            let spki = CertificateDer::from(to_spki(&key(shown).public()));
            Arc::new(CertifiedKey::new(vec![spki], Arc::new(HandshakeKey(key(3)))))
        };
        assert_eq!(shake(client(), server()), Ok(()));
        let bad = Err(Error::InvalidCertificate(CertificateError::BadSignature));
        let mut posing = client();
        posing.client_auth_cert_resolver = Arc::new(AlwaysResolvesClientRawPublicKeys::new(impostor(2)));
        assert_eq!(shake(posing, server()), bad);
        let mut posing = server();
        posing.cert_resolver = Arc::new(AlwaysResolvesServerRawPublicKeys::new(impostor(1)));
        assert_eq!(shake(client(), posing), bad);
    }

    #[test]
    fn only_keys_of_the_directory_pass() {
        let counters = Arc::<Counters>::default();
        let directory =
            Directory { validators: vec![key(1).public()], clients: [key(2).public()].into_iter().collect() };
        let known = KnownKeys { directory: Arc::new(directory), counters: Arc::clone(&counters) };
        let verdict = |seed: u8| {
            let spki = CertificateDer::from(to_spki(&key(seed).public()));
            known.verify_client_cert(&spki, &[], UnixTime::now()).is_ok()
        };
        assert!(verdict(1) && verdict(2) && !verdict(3));
        assert_eq!(counters.strangers.get(), 1);
        assert!(known.verify_client_cert(&CertificateDer::from(vec![1; 44]), &[], UnixTime::now()).is_err());
    }
}
