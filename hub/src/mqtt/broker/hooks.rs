//! What the engine asks and tells, put to the [`Guard`].
//!
//! To the engine no answer means yes, so every question has one here. A message that must not
//! reach subscribers is moved to a topic that nobody can subscribe to: the engine has no way to
//! take a message and drop it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use rmqtt::{
    codec::v5::SubscribeAckReason,
    context::ServerContext,
    hook::{Handler, HookResult, Parameter, ReturnType, Type},
    session::Session,
    types::{
        AuthResult, ConnectInfo, From as Origin, FromType, Id, LastWill, Publish, PublishAclResult,
        Subscribe, SubscribeReturn,
    },
};
use tokio_util::sync::CancellationToken;

use super::{
    Attempt, Client, Grant, Guard, Message, Refused, Verdict,
    connections::{Connections, Terms},
    filter,
};

/// How long the guard may take to know somebody.
const AUTHENTICATION: Duration = Duration::from_secs(8);
/// Where a message goes that has been dealt with.
const CONSUMED: &str = "$hub/consumed";
/// Where one goes that may not be published.
const FORBIDDEN: &str = "$hub/forbidden";
/// Where one goes that could not be dealt with.
const UNACCEPTED: &str = "$hub/unaccepted";
/// The client, among a session's attributes.
const CLIENT: &str = "client";

/// The hooks.
pub(super) struct Hooks<G: Guard> {
    guard: Arc<G>,
    connections: Arc<Connections<G::Identity>>,
    scx: ServerContext,
    shutdown: CancellationToken,
}

impl<G: Guard> Clone for Hooks<G> {
    fn clone(&self) -> Self {
        Self {
            guard: Arc::clone(&self.guard),
            connections: Arc::clone(&self.connections),
            scx: self.scx.clone(),
            shutdown: self.shutdown.clone(),
        }
    }
}

type ClientOf<G> = Arc<Client<<G as Guard>::Identity>>;

impl<G: Guard> Hooks<G> {
    /// From now on the engine asks this guard; after `shutdown` it hears nothing more.
    pub async fn register(
        scx: &ServerContext,
        guard: Arc<G>,
        connections: &Arc<Connections<G::Identity>>,
        shutdown: CancellationToken,
    ) {
        let hooks =
            Self { guard, connections: Arc::clone(connections), scx: scx.clone(), shutdown };
        let register = scx.extends.hook_mgr().register();
        for typ in [
            Type::ClientAuthenticate,
            Type::ClientConnected,
            Type::ClientDisconnected,
            Type::SessionTerminated,
            Type::ClientSubscribeCheckAcl,
            Type::SessionSubscribed,
            Type::MessagePublish,
            Type::MessagePublishCheckAcl,
        ] {
            register.add(typ, Box::new(hooks.clone())).await;
        }
        register.start().await;
    }

    async fn authenticate(&self, info: &ConnectInfo) -> AuthResult {
        let Some(connection) = info.ipaddress().and_then(|source| self.connections.from(source))
        else {
            tracing::warn!("an MQTT connection came past the acceptor");
            return AuthResult::NotAuthorized;
        };
        let (client_id, peer) = (&*info.id().client_id, connection.peer);
        let admitted = async {
            let attempt = Attempt {
                client_id,
                username: info.username().map(|name| &**name),
                password: info.password().map(|password| &**password),
                peer,
            };
            let asked = tokio::time::timeout(AUTHENTICATION, self.guard.authenticate(attempt));
            let grant = asked.await.map_err(|_| Refused::Later)??;
            let Grant { identity, owner, at_once, publish, subscribe } = grant;
            if let Some(will) = info.last_will() {
                let topic = match will {
                    LastWill::V3(will) => &will.topic,
                    LastWill::V5(will) => &will.topic,
                };
                if !permits(&publish, topic) {
                    tracing::info!(client_id, %peer, %topic, "a last will on a forbidden topic");
                    return Err(Refused::Forbidden);
                }
            }
            let client = Client {
                id: client_id.to_owned(),
                peer,
                identity,
                publish,
                subscribe,
                source: info.ipaddress().ok_or(Refused::Later)?,
            };
            let keeps = match info {
                ConnectInfo::V3(_, connect) => !connect.clean_session,
                ConnectInfo::V5(_, connect) => connect.session_expiry_interval_secs > 0,
            };
            self.connections.admit(&connection, client, Terms { owner, at_once, keeps })
        };
        let refused = match admitted.await {
            Ok(()) => return AuthResult::Allow(false, None),
            Err(refused) => refused,
        };
        tracing::info!(client_id, %peer, ?refused, "an MQTT client was not let in");
        let codes = match refused {
            Refused::Credentials => return AuthResult::BadUsernameOrPassword,
            Refused::Forbidden => return AuthResult::NotAuthorized,
            // MQTT 3.1.1 knows "server unavailable" only; 5 has more.
            Refused::Full => (3, 0x97),
            Refused::Later => (3, 0x88),
        };
        // The engine can't be told to say this: the relay says it.
        let connack = match info {
            ConnectInfo::V3(..) => vec![0x20, 2, 0, codes.0],
            ConnectInfo::V5(..) => vec![0x20, 3, 0, codes.1, 0],
        };
        let _ = connection.refusal.set(connack);
        AuthResult::NotAuthorized
    }

    async fn connected(&self, session: &Session) {
        let source = session.id.remote_addr;
        let began = source.and_then(|source| self.connections.began(&session.id.client_id, source));
        let Some(client) = began else {
            // It is gone already; without an owner its session may not stay.
            let (scx, id) = (self.scx.clone(), session.id.clone());
            tokio::spawn(async move { forget(&scx, id).await });
            return;
        };
        session.extra_attrs.write().await.insert(CLIENT.into(), Arc::clone(&client));
        tracing::info!(client_id = client.id, peer = %client.peer, "an MQTT client connected");
        self.guard.connected(&client).await;
    }

    async fn client(&self, session: &Session) -> Option<ClientOf<G>> {
        session.extra_attrs.read().await.get::<ClientOf<G>>(CLIENT).cloned()
    }

    async fn disconnected(&self, session: &Session) {
        let Some(client) = self.client(session).await else { return };
        tracing::info!(client_id = client.id, peer = %client.peer, "an MQTT client disconnected");
        if self.connections.is_current(&client) {
            self.guard.disconnected(&client).await;
        }
    }

    async fn may_subscribe(&self, session: &Session, asked: &Subscribe) -> SubscribeReturn {
        let topic_filter = &*asked.topic_filter;
        let client = self.client(session).await;
        let allowed = client.as_ref().is_some_and(|client| {
            filter::is_filter(topic_filter)
                && client.subscribe.iter().any(|allowed| filter::covers(allowed, topic_filter))
        });
        if allowed {
            return SubscribeReturn::new_success(asked.opts.qos(), None);
        }
        if let Some(client) = client {
            self.guard.forbade(&client, "subscribe to", topic_filter).await;
        }
        SubscribeReturn { ack_reason: SubscribeAckReason::NotAuthorized, prev_opts: None }
    }

    async fn published(&self, session: &Session, from: &Origin, publish: &Publish) -> Publish {
        let will = matches!(from.typ(), FromType::LastWill);
        let moved = |topic: &'static str| {
            let mut publish = publish.clone();
            publish.inner.topic = topic.into();
            publish.inner.retain = false;
            publish
        };
        let Some(client) = self.client(session).await else { return moved(FORBIDDEN) };
        if !permits(&client.publish, &publish.topic) {
            self.guard.forbade(&client, "publish on", &publish.topic).await;
            return moved(FORBIDDEN);
        }
        // A client that has come back is not dead, whatever its older connection's will says.
        if will && !self.connections.is_current(&client) {
            return moved(CONSUMED);
        }
        let message = Message { topic: &publish.topic, payload: &publish.payload };
        match self.guard.published(&client, message).await {
            Verdict::Forward { retain } => {
                let mut publish = publish.clone();
                publish.inner.retain = retain;
                publish
            }
            Verdict::Consume => moved(CONSUMED),
            Verdict::Later => moved(UNACCEPTED),
        }
    }
}

fn permits(filters: &[String], topic: &str) -> bool {
    filter::is_topic(topic) && filters.iter().any(|allowed| filter::has(allowed, topic))
}

/// Ends a session, and with it what is kept for it.
pub(super) async fn forget(scx: &ServerContext, id: Id) {
    let mut entry = scx.extends.shared().await.entry(id);
    if let Err(error) = entry.kick(true, true, true).await {
        tracing::debug!(%error, "an MQTT session ended by itself");
    }
}

#[async_trait]
impl<G: Guard> Handler for Hooks<G> {
    async fn hook(&self, param: &Parameter, acc: Option<HookResult>) -> ReturnType {
        let stopped = self.shutdown.is_cancelled();
        match param {
            Parameter::ClientAuthenticate(info) => {
                (false, Some(HookResult::AuthResult(self.authenticate(info).await)))
            }
            Parameter::ClientConnected(session) => {
                self.connected(session).await;
                (true, acc)
            }
            Parameter::ClientDisconnected(session, _) => {
                if !stopped {
                    self.disconnected(session).await;
                }
                (true, acc)
            }
            Parameter::SessionTerminated(session, _) => {
                if let Some(client) = self.client(session).await {
                    self.connections.ended(&client);
                }
                (true, acc)
            }
            Parameter::ClientSubscribeCheckAcl(session, asked) => {
                let answer = self.may_subscribe(session, asked).await;
                (false, Some(HookResult::SubscribeAclResult(answer)))
            }
            Parameter::SessionSubscribed(session, subscribed) => {
                if let Some(client) = self.client(session).await {
                    self.guard.subscribed(&client, &subscribed.topic_filter).await;
                }
                (true, acc)
            }
            // The hub stops, and its clients with it: that is no death of theirs.
            Parameter::MessagePublish(_, from, publish)
                if stopped && matches!(from.typ(), FromType::LastWill) =>
            {
                let mut publish = (*publish).clone();
                publish.inner.topic = CONSUMED.into();
                publish.inner.retain = false;
                (false, Some(HookResult::Publish(publish)))
            }
            Parameter::MessagePublish(Some(session), from, publish) => {
                let publish = self.published(session, from, publish).await;
                (false, Some(HookResult::Publish(publish)))
            }
            // After `MessagePublish`, which left its answer in the topic.
            Parameter::MessagePublishCheckAcl(_, publish) => {
                let answer = match &*publish.topic {
                    FORBIDDEN => PublishAclResult::rejected(false, None),
                    UNACCEPTED => PublishAclResult::rejected(true, None),
                    _ => PublishAclResult::allow(),
                };
                (false, Some(HookResult::PublishAclResult(answer)))
            }
            _ => (true, acc),
        }
    }
}
