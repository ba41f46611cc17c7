//! Peers that break the protocol are cut off; nobody else notices.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use cloudcore_protocol::{ALPN_JOIN, ALPN_LINK, Frame, HUB_SERVER_NAME, MAX_FRAME_BYTES, encode};
use quinn::{ClientConfig, Connection, Endpoint, crypto::rustls::QuicClientConfig};
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use serde_json::json;
use tokio::time::timeout;

use crate::world::{PATIENCE, World};

/// A stranger trusts everybody: it is the hub that is tested.
#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

async fn connect(world: &World, alpn: &[u8]) -> Connection {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(provider)))
        .with_no_client_auth();
    tls.alpn_protocols = vec![alpn.to_vec()];
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let hub: SocketAddr = world.quic.parse().unwrap();
    endpoint.connect_with(config, hub, HUB_SERVER_NAME).unwrap().await.unwrap()
}

/// Sends these bytes on a new stream, and waits until the hub has had enough.
async fn cut_off(world: &World, bytes: &[u8]) {
    let connection = connect(world, ALPN_JOIN).await;
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    send.write_all(bytes).await.unwrap();
    timeout(PATIENCE, connection.closed()).await.expect("the hub cuts it off");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_breaks_the_protocol_is_cut_off_alone() {
    let world = World::start().await;
    let agent = world.agent("edge-1", &[]).await;

    let too_large = u32::try_from(MAX_FRAME_BYTES + 1).unwrap().to_be_bytes();
    let hello = encode(&Frame::Unknown(77)).unwrap();
    let mut other_first = u32::try_from(hello.len()).unwrap().to_be_bytes().to_vec();
    other_first.extend_from_slice(&hello);
    tokio::join!(
        // Larger than the limit, announced.
        cut_off(&world, &too_large),
        // No frame at all.
        cut_off(&world, b"\0\0\0\x08GET / HT"),
        // Half a frame, and silence.
        cut_off(&world, b"\0\0\0\x40half"),
        // Half a length, and silence.
        cut_off(&world, b"\0\0"),
        // A frame that does not belong here.
        cut_off(&world, &other_first),
        // Nothing.
        async {
            let connection = connect(&world, ALPN_JOIN).await;
            timeout(PATIENCE, connection.closed()).await.expect("the hub cuts it off");
        },
        // A member without a certificate.
        async {
            let connection = connect(&world, ALPN_LINK).await;
            timeout(PATIENCE, connection.closed()).await.expect("the hub cuts it off");
        },
    );

    let status = world.run("edge-1", "get_status", json!({})).await;
    assert_eq!(status["status"], "completed");
    // The agent's session is the one it had.
    let log = std::fs::read_to_string(world.dir.path().join("hub.log")).unwrap();
    assert_eq!(log.matches("session began").count(), 1, "{log}");
    assert!(!log.contains("panicked"), "{log}");
    assert_eq!(agent.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blank_connection_costs_nothing_for_long() {
    let world = World::start().await;
    let connection = connect(&world, ALPN_LINK).await;
    let closed = timeout(Duration::from_secs(15), connection.closed()).await;
    assert!(closed.is_ok(), "a stranger is cut off within the admission's time");
}
