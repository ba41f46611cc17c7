//! The broker: MQTT 3.1, 3.1.1 and 5 for whoever the [`Guard`] lets in. It knows topics and
//! clients, and nothing of devices or commands.
//!
//! The protocol is [rmqtt](https://docs.rs/rmqtt)'s, behind an acceptor of ours: a client's bytes
//! come in by plain TCP or TLS, and are relayed to rmqtt's listener on loopback. The relay holds
//! the limits that rmqtt has not (connections, time to authenticate, bytes a second), and its own
//! source address is how a hook knows the client's real one; whoever connects to the loopback
//! port without a relay is refused.
//!
//! What a client publishes is acknowledged only after the guard has dealt with it.

mod connections;
mod expiry;
pub(super) mod filter;
mod hooks;
mod relay;
mod retained;
mod routing;

use std::{future::Future, net::SocketAddr, num::NonZeroU16, sync::Arc, time::Duration};

use bytes::Bytes;
use rmqtt::{
    codec::types::{Publish as Packet, QoS as WireQoS},
    context::ServerContext,
    server::MqttServer,
    session::SessionState,
    types::{From as Origin, Id, Publish},
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use self::{
    connections::Connections, expiry::Fitting, hooks::Hooks, retained::Retained, routing::Paced,
};
use crate::error::{Code, Error, Result};

/// Largest packet, bytes.
const MAX_PACKET: u32 = 256 * 1024;
/// Messages that wait for one client, connected or not; then the oldest give way.
const MAX_WAITING: usize = 1000;
/// Messages sent to a client, or begun by it, and not yet acknowledged.
const MAX_INFLIGHT: NonZeroU16 = NonZeroU16::new(128).unwrap();
/// Subscriptions of one client.
const MAX_SUBSCRIPTIONS: usize = 100;
/// Sessions, connected or kept for a client that is away.
const MAX_SESSIONS: isize = 400;
/// How long a session is kept for a client that is away, and the messages for it.
const KEPT: Duration = Duration::from_secs(2 * 3600);
/// How long a client has to take what it is sent.
const SEND: Duration = Duration::from_secs(10);
/// How long the sessions have to end when the hub stops.
const STOP: Duration = Duration::from_secs(5);

/// Who wants to connect.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// The client id; a random one where the client named none.
    pub client_id: &'a str,
    /// The user name.
    pub username: Option<&'a str>,
    /// The password. Never logged.
    pub password: Option<&'a [u8]>,
    /// Where from.
    pub peer: SocketAddr,
}

/// What a client may do.
#[derive(Debug)]
pub struct Grant<I> {
    /// Who it is, for the guard.
    pub identity: I,
    /// Whose its client id is from now on, until the session ends: nobody else gets it.
    pub owner: String,
    /// How many clients of this owner may be connected at once, where that is limited.
    pub at_once: Option<usize>,
    /// Filters of the topics that it may publish on.
    pub publish: Vec<String>,
    /// Filters that it may subscribe to, or to a part of.
    pub subscribe: Vec<String>,
}

/// Why a client is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// User name and password are not right.
    Credentials,
    /// They are, and may not do this.
    Forbidden,
    /// All connections are taken.
    Full,
    /// The hub can't tell now.
    Later,
}

/// A client that was let in.
#[derive(Debug)]
pub struct Client<I> {
    /// The client id.
    pub id: String,
    /// Where from.
    pub peer: SocketAddr,
    /// Who it is.
    pub identity: I,
    publish: Vec<String>,
    subscribe: Vec<String>,
    /// The relay's address, which tells this connection from the client's others.
    pub source: SocketAddr,
}

/// Something published.
#[derive(Debug)]
pub struct Message<'a> {
    /// Where.
    pub topic: &'a str,
    /// What.
    pub payload: &'a Bytes,
}

/// What becomes of something published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to the subscribers; `retain` keeps it for later ones.
    Forward {
        /// Whether it is kept, whatever the client asked for.
        retain: bool,
    },
    /// It ends here, as it should.
    Consume,
    /// It can't be dealt with now: it is not acknowledged and the client is cut off, so that it
    /// sends it again.
    Later,
}

/// Who may connect, and what becomes of what clients say.
pub trait Guard: Send + Sync + 'static {
    /// What it knows of a client.
    type Identity: Send + Sync + 'static;

    /// Somebody wants to connect.
    fn authenticate(
        &self,
        attempt: Attempt<'_>,
    ) -> impl Future<Output = Result<Grant<Self::Identity>, Refused>> + Send;
    /// A client is connected; it learns so when this returns.
    fn connected(&self, client: &Arc<Client<Self::Identity>>) -> impl Future<Output = ()> + Send;
    /// A client has subscribed to a filter.
    fn subscribed(
        &self,
        client: &Arc<Client<Self::Identity>>,
        filter: &str,
    ) -> impl Future<Output = ()> + Send;
    /// A client published something that it may. It is acknowledged when this returns, and
    /// nothing more is read of the client until then.
    fn published(
        &self,
        client: &Arc<Client<Self::Identity>>,
        message: Message<'_>,
    ) -> impl Future<Output = Verdict> + Send;
    /// A client wants to do what it may not: `publish on` or `subscribe to` this.
    fn forbade(
        &self,
        client: &Arc<Client<Self::Identity>>,
        what: &'static str,
        topic: &str,
    ) -> impl Future<Output = ()> + Send;
    /// A client's connection has ended, and no newer one of it has begun.
    fn disconnected(&self, client: &Arc<Client<Self::Identity>>)
    -> impl Future<Output = ()> + Send;
}

/// How surely a message arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QoS {
    /// At most once.
    Zero,
    /// At least once.
    One,
}

/// A broker.
pub struct Broker<I> {
    scx: ServerContext,
    connections: Arc<Connections<I>>,
    listeners: std::sync::Mutex<Vec<Listener>>,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it listens for TLS.
    pub tls_address: Option<SocketAddr>,
}

struct Listener {
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    bound.await.map_err(|e: std::io::Error| Error {
        cause: Some(e.into()),
        ..Error::new(Code::Unavailable, format!("can't listen on {address}/tcp for MQTT"))
    })
}

impl<I: Send + Sync + 'static> Broker<I> {
    /// Binds the ports, for at most `max_connections` clients at once. Nobody is let in before
    /// [`Self::serve`].
    ///
    /// # Errors
    /// API-009 when a port can't be had.
    pub async fn bind(
        plain: SocketAddr,
        tls: Option<(SocketAddr, Arc<rustls::ServerConfig>)>,
        max_connections: usize,
    ) -> Result<Self> {
        let (socket, address) = bind(plain).await?;
        let mut listeners = vec![Listener { socket, tls: None }];
        let mut tls_address = None;
        if let Some((at, config)) = tls {
            let (socket, bound) = bind(at).await?;
            tls_address = Some(bound);
            listeners.push(Listener { socket, tls: Some(TlsAcceptor::from(config)) });
        }
        let scx = ServerContext::new()
            .busy_check_enable(false)
            .mqtt_max_sessions(MAX_SESSIONS)
            .build()
            .await;
        *scx.extends.retain_mut().await = Box::new(Retained::default());
        *scx.extends.fitter_mgr_mut().await = Box::new(Fitting);
        *scx.extends.shared_mut().await = Box::new(Paced::new(scx.clone()));
        Ok(Self {
            scx,
            connections: Arc::new(Connections::new(max_connections)),
            listeners: std::sync::Mutex::new(listeners),
            address,
            tls_address,
        })
    }

    /// Serves clients until `shutdown`; then all of them are cut off.
    ///
    /// # Errors
    /// API-009 when loopback has no port for it, API-007 when the engine ends by itself.
    pub async fn serve<G: Guard<Identity = I>>(
        &self,
        guard: Arc<G>,
        shutdown: CancellationToken,
    ) -> Result<()> {
        let listener = rmqtt::net::Builder::new()
            .name("cloudcore")
            .laddr((relay::LOOPBACK, 0).into())
            .nodelay(true)
            .allow_anonymous(false)
            // A client that never says anything would be present for ever.
            .allow_zero_keepalive(false)
            .max_packet_size(MAX_PACKET)
            .max_inflight(MAX_INFLIGHT)
            .max_mqueue_len(MAX_WAITING)
            .max_clientid_len(256)
            .max_topic_levels(16)
            .max_subscriptions(MAX_SUBSCRIPTIONS)
            .handshake_timeout(relay::AUTHENTICATE)
            .send_timeout(SEND)
            .session_expiry_interval(KEPT)
            .max_session_expiry_interval(KEPT)
            .message_expiry_interval(KEPT)
            .bind()
            .and_then(rmqtt::net::Listener::tcp)
            .map_err(|e| Error {
                cause: Some(e.into()),
                ..Error::new(Code::Unavailable, "can't listen on loopback for MQTT")
            })?;
        let inner = listener.local_addr().map_err(|e| Error::internal(e.to_string()))?;
        Hooks::register(&self.scx, guard, &self.connections, shutdown.clone()).await;
        let server = MqttServer::new(self.scx.clone()).listener_by_id(listener, 1).build();
        let mut engine = tokio::spawn(server.run());

        let listeners = match self.listeners.lock() {
            Ok(mut listeners) => std::mem::take(&mut *listeners),
            Err(poisoned) => std::mem::take(&mut *poisoned.into_inner()),
        };
        let mut accepting = JoinSet::new();
        for Listener { socket, tls } in listeners {
            let connections = Arc::clone(&self.connections);
            accepting.spawn(relay::accept(socket, tls, inner, connections, shutdown.clone()));
        }
        let failed = tokio::select! {
            () = async { while accepting.join_next().await.is_some() {} } => false,
            _ = &mut engine => true,
        };
        accepting.shutdown().await;
        engine.abort();
        self.end_sessions().await;
        match failed {
            true => Err(Error::internal("the MQTT engine ended by itself")),
            false => Ok(()),
        }
    }

    /// Tells the subscribers of `topic`, and with `retain` those who come later.
    ///
    /// # Errors
    /// API-007 when the broker refuses it, which it never should.
    pub async fn publish(&self, topic: &str, payload: Bytes, retain: bool, qos: QoS) -> Result<()> {
        let packet = Packet {
            dup: false,
            retain,
            qos: match qos {
                QoS::Zero => WireQoS::AtMostOnce,
                QoS::One => WireQoS::AtLeastOnce,
            },
            topic: topic.into(),
            packet_id: None,
            payload,
            properties: None,
        };
        let now = rmqtt::utils::timestamp_millis();
        let publish = Publish::from(Box::new(packet)).create_time(now);
        let origin = Origin::from_system(Id::from(self.scx.node.id(), "hub".into()));
        SessionState::forwards(&self.scx, origin, publish, false, None)
            .await
            .map_err(|e| Error::internal(e.to_string()))
    }

    /// Whether the client, connected or away, has subscribed to the topic.
    pub async fn is_subscribed(&self, client_id: &str, topic: &str) -> bool {
        let id = Id::from(self.scx.node.id(), client_id.into());
        let entry = self.scx.extends.shared().await.entry(id);
        let subscriptions = entry.subscriptions().await.unwrap_or_default();
        subscriptions.iter().any(|s| filter::has(&s.topic, topic))
    }

    /// Cuts a client off and forgets its session; with `source`, only where that is its newest
    /// connection.
    pub async fn end(&self, client_id: &str, source: Option<SocketAddr>) {
        match self.connections.of(client_id) {
            Some(connection) if source.is_none_or(|source| connection.is_of(source)) => {
                connection.cut();
            }
            None if source.is_none() => {}
            _ => return,
        }
        hooks::forget(&self.scx, Id::from(self.scx.node.id(), client_id.into())).await;
    }

    /// How many clients are connected.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.connections.taken()
    }

    /// Ends the sessions that are kept for clients that are away: each has a task.
    async fn end_sessions(&self) {
        let ids: Vec<Id> = self.scx.extends.shared().await.iter().map(|entry| entry.id()).collect();
        let mut ending = JoinSet::new();
        for id in ids {
            let scx = self.scx.clone();
            ending.spawn(async move { hooks::forget(&scx, id).await });
        }
        let ended = async { while ending.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP, ended).await.is_err() {
            tracing::warn!("MQTT sessions did not end in time");
        }
    }
}
