//! QUIC: who may speak, how long a peer may take, and which session a device has.
//!
//! This room neither authenticates (TLS and [`Peers`] do) nor interprets (the inbox does). It
//! bounds: every queue has a length, every wait a deadline, and what breaks the protocol is cut
//! off without touching any other session.

mod frames;
mod logs;
mod registry;
mod session;
mod streams;

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use cloudcore_protocol::{
    ALPN_JOIN, ALPN_LINK, BlobHeader, BlobReply, DeviceId, EventAck, Frame, Goodbye, Hello,
    JoinReply, JoinRequest, ModelFound, ModelReply, ModelRequest, NodeName, ReleaseHeader,
    ReleaseRequest,
};
use futures_util::stream::BoxStream;
use quinn::{Endpoint, TransportConfig, VarInt, crypto::rustls::QuicServerConfig};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

pub use logs::LogStream;
pub use registry::{Carrier, Registry, Session};

use crate::error::{Error, Result};

/// Most connections that have not proved who they are, at once.
const MAX_STRANGERS: usize = 1024;
/// Most blobs that are received, in memory, at once.
const MAX_BLOBS: usize = 8;
/// Most models that are sent at once, each from the object store as the agent takes it.
const MAX_MODELS: usize = 16;
/// From the first packet to an accepted hello or a join's end.
const ADMISSION: Duration = Duration::from_secs(10);
/// A connection that says nothing for this long is lost. Agents send a keep-alive every 5 s.
const IDLE: Duration = Duration::from_secs(15);

/// A model's bytes on their way out.
pub type ModelBytes = BoxStream<'static, Result<Bytes>>;

/// A member that is let in.
#[derive(Debug)]
pub struct Admission {
    /// The device.
    pub device_id: DeviceId,
    /// Its node.
    pub node_name: NodeName,
    /// What is committed of its outbox.
    pub acked: Vec<EventAck>,
}

/// What the link asks of the rooms above it.
pub trait Peers: Send + Sync + 'static {
    /// A node with a join token wants in.
    fn join(
        &self,
        request: JoinRequest,
        from: SocketAddr,
    ) -> impl Future<Output = JoinReply> + Send;
    /// A node with a certificate (hex SHA-256 of its DER) wants to speak.
    fn admit(
        &self,
        fingerprint: &str,
        hello: &Hello,
    ) -> impl Future<Output = Result<Admission, Goodbye>> + Send;
    /// A session has begun; its device can be sent to.
    fn began(&self, session: &Arc<Session>, hello: &Hello) -> impl Future<Output = ()> + Send;
    /// A session said something. While this waits, nothing more is read of that session.
    fn said(
        &self,
        session: &Arc<Session>,
        frame: Frame,
    ) -> impl Future<Output = Result<(), Goodbye>> + Send;
    /// How large a blob this session may send now; its refusal otherwise.
    fn blob_limit(&self, header: &BlobHeader) -> Result<usize, BlobReply>;
    /// A session sent a blob; `None` where it is worth sending again.
    fn blob(
        &self,
        session: &Arc<Session>,
        header: BlobHeader,
        bytes: Bytes,
    ) -> impl Future<Output = Option<BlobReply>> + Send;
    /// A session wants a model: what it is, and its bytes from the offset on.
    fn model(
        &self,
        session: &Arc<Session>,
        request: ModelRequest,
    ) -> impl Future<Output = Result<(ModelFound, ModelBytes), ModelReply>> + Send;
    /// A session wants a release of the agent; or why it gets none.
    fn release(
        &self,
        session: &Arc<Session>,
        request: ReleaseRequest,
    ) -> impl Future<Output = Result<(ReleaseHeader, tokio::fs::File), String>> + Send;
    /// A session has ended, and no newer one of its device took over.
    fn ended(&self, session: &Session) -> impl Future<Output = ()> + Send;
}

/// The agents' port.
pub struct Link {
    endpoint: Endpoint,
    registry: Arc<Registry>,
    blobs: Arc<Semaphore>,
    models: Arc<Semaphore>,
}

impl Link {
    /// Binds the port; nobody is let in before [`Self::serve`].
    ///
    /// # Errors
    /// API-009 when the port can't be had.
    pub fn bind(
        address: SocketAddr,
        tls: rustls::ServerConfig,
        registry: Arc<Registry>,
    ) -> Result<Self> {
        let crypto = QuicServerConfig::try_from(tls).map_err(Error::internal)?;
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        config.transport_config(Arc::new(transport()?));
        config.migration(true);
        let endpoint = Endpoint::server(config, address).map_err(|e| Error {
            cause: Some(e.into()),
            ..Error::new(crate::error::Code::Unavailable, format!("can't listen on {address}/udp"))
        })?;
        let (blobs, models) = (Semaphore::new(MAX_BLOBS), Semaphore::new(MAX_MODELS));
        Ok(Self { endpoint, registry, blobs: Arc::new(blobs), models: Arc::new(models) })
    }

    /// What was bound.
    ///
    /// # Errors
    /// API-007 when the socket is gone.
    pub fn address(&self) -> Result<SocketAddr> {
        self.endpoint.local_addr().map_err(Error::internal)
    }

    /// What a session's streams share with those of all others.
    fn slots(&self) -> streams::Slots {
        streams::Slots::new(Arc::clone(&self.blobs), Arc::clone(&self.models))
    }

    /// Lets nodes in until `shutdown`, then says goodbye to all and returns when they are gone.
    pub async fn serve<P: Peers>(self, peers: Arc<P>, shutdown: CancellationToken) {
        let strangers = Arc::new(Semaphore::new(MAX_STRANGERS));
        let mut tasks = JoinSet::new();
        loop {
            let incoming = tokio::select! {
                () = shutdown.cancelled() => break,
                incoming = self.endpoint.accept() => incoming,
                Some(_) = tasks.join_next() => continue,
            };
            let Some(incoming) = incoming else { break };
            let busy = strangers.available_permits() < MAX_STRANGERS / 2;
            if busy && !incoming.remote_address_validated() && incoming.may_retry() {
                // Under pressure an address must be shown to be real before it costs a handshake.
                let _ = incoming.retry();
                continue;
            }
            let Ok(permit) = Arc::clone(&strangers).try_acquire_owned() else {
                incoming.refuse();
                continue;
            };
            let (peers, registry) = (Arc::clone(&peers), Arc::clone(&self.registry));
            let (slots, shutdown) = (self.slots(), shutdown.clone());
            tasks.spawn(async move {
                let from = incoming.remote_address();
                let admitted = timeout(ADMISSION, admit(incoming, &*peers, &registry)).await;
                drop(permit);
                match admitted {
                    Ok(Ok(Some(live))) => live.run(peers, registry, slots, shutdown).await,
                    Ok(Ok(None)) => {}
                    Ok(Err(reason)) => tracing::info!(%from, reason, "not let in"),
                    Err(_) => tracing::info!(%from, "not let in: too slow"),
                }
            });
        }
        self.registry.close_all();
        while tasks.join_next().await.is_some() {}
        self.endpoint.close(VarInt::from_u32(0), b"shutdown");
        // The last packets; a peer that is gone can't hold this up.
        let _ = timeout(Duration::from_secs(2), self.endpoint.wait_idle()).await;
    }
}

/// Handshake, then a join or a hello.
async fn admit<P: Peers>(
    incoming: quinn::Incoming,
    peers: &P,
    registry: &Registry,
) -> Result<Option<session::Live>, String> {
    let from = incoming.remote_address();
    let connection = incoming.await.map_err(|e| e.to_string())?;
    let alpn = connection
        .handshake_data()
        .and_then(|data| data.downcast::<quinn::crypto::rustls::HandshakeData>().ok())
        .and_then(|data| data.protocol);
    match alpn.as_deref() {
        Some(ALPN_JOIN) => {
            session::join(&connection, peers, from).await?;
            Ok(None)
        }
        Some(ALPN_LINK) => session::hello(connection, peers, registry).await.map(Some),
        _ => Err("no ALPN in common".into()),
    }
}

/// Settings of every connection. Stream limits and buffers are what its memory goes to.
fn transport() -> Result<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        // The link's own stream and three for blobs and models.
        .max_concurrent_bidi_streams(VarInt::from_u32(4))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(IDLE.try_into().map_err(Error::internal)?));
    Ok(transport)
}
