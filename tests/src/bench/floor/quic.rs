//! Bytes through QUIC on loopback: TLS 1.3, one stream, both ends.

use super::super::cpu;
use crate::network::attacker::{Anyone, certified};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quorate_types::keys::SecretKey;
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Bytes sent: a few tenths of a second.
const BYTES: usize = 128 << 20;

const ALPN: &[u8] = b"floor";

/// CPU milliseconds for 1000 transactions, sent once.
pub(super) fn per_1000(transactions: &[Bytes]) -> Result<f64> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let key = SecretKey::from_seed(&[1; 32]);
    let (server, client) = (server(&key)?, client()?);
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let round = transactions.iter().map(Bytes::len).sum::<usize>().max(1);
    let rounds = BYTES.div_ceil(round);
    let (sent, spent) = cpu::of_process(|| {
        runtime.block_on(async {
            let listening = quinn::Endpoint::server(server, anywhere)?;
            let mut dialling = quinn::Endpoint::client(anywhere)?;
            dialling.set_default_client_config(client);
            let receive = async {
                let connection = listening.accept().await.context("nobody dials")?.await?;
                let mut stream = connection.accept_uni().await?;
                let mut received = 0;
                while let Some(chunk) = stream.read_chunk(usize::MAX, true).await? {
                    received += chunk.bytes.len();
                }
                Ok::<_, anyhow::Error>(received)
            };
            let send = async {
                let connection = dialling.connect(listening.local_addr()?, "floor")?.await?;
                let mut stream = connection.open_uni().await?;
                for _ in 0..rounds {
                    for bytes in transactions {
                        stream.write_all(bytes).await?;
                    }
                }
                stream.finish()?;
                // Until the other end has everything: nothing is lost when the connection goes.
                stream.stopped().await?;
                Ok::<_, anyhow::Error>(connection)
            };
            let (received, _connection) = tokio::try_join!(receive, send)?;
            ensure!(received == rounds * round, "{received} bytes arrived of {}", rounds * round);
            Ok(())
        })
    })?;
    sent?;
    super::each_1000(spent, rounds * transactions.len())
}

fn server(key: &SecretKey) -> Result<quinn::ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::new(certified(
            key.public(),
            key,
        )))));
    tls.alpn_protocols = vec![ALPN.to_vec()];
    Ok(quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?)))
}

fn client() -> Result<quinn::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.enable_sni = false;
    Ok(quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?)))
}
