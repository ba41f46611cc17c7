//! The limit that a command's round trip is measured by: 200 bytes over quinn and back, with the
//! same TLS, and nothing else.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use quinn::{
    ClientConfig, Connection, Endpoint, RecvStream, SendStream, ServerConfig,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use rustls::{RootCertStore, pki_types::PrivateKeyDer};

const SIZE: usize = 200;

/// A client and a server in this process.
pub(crate) struct Echo {
    send: SendStream,
    recv: RecvStream,
    _connection: Connection,
    _server: tokio::task::JoinSet<()>,
}

impl Echo {
    pub(crate) async fn start() -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::new(vec!["echo".to_owned()])
            .expect("a name")
            .self_signed(&key)
            .expect("a certificate");
        let mut tls = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .expect("the key fits");
        tls.alpn_protocols = vec![b"echo".to_vec()];
        let crypto = QuicServerConfig::try_from(tls).expect("QUIC");
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Endpoint::server(ServerConfig::with_crypto(Arc::new(crypto)), loopback)
            .expect("a port");
        let address = server.local_addr().expect("an address");
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            let connection = server.accept().await.expect("a client").await.expect("a handshake");
            let (mut send, mut recv) = connection.accept_bi().await.expect("a stream");
            let mut bytes = [0; SIZE];
            while recv.read_exact(&mut bytes).await.is_ok() && send.write_all(&bytes).await.is_ok()
            {
            }
        });

        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).expect("a certificate");
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"echo".to_vec()];
        let crypto = QuicClientConfig::try_from(tls).expect("QUIC");
        let client = Endpoint::client(loopback).expect("a port");
        let connection = client
            .connect_with(ClientConfig::new(Arc::new(crypto)), address, "echo")
            .expect("a name")
            .await
            .expect("a handshake");
        let (send, recv) = connection.open_bi().await.expect("a stream");
        Self { send, recv, _connection: connection, _server: tasks }
    }

    pub(crate) async fn round_trip(&mut self) -> Duration {
        let begun = Instant::now();
        let mut bytes = [7; SIZE];
        self.send.write_all(&bytes).await.expect("the server is there");
        self.recv.read_exact(&mut bytes).await.expect("the server echoes");
        begun.elapsed()
    }
}
