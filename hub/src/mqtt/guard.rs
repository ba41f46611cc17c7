//! Who may connect to the hub's own broker, and what becomes of what they publish.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use secrecy::{ExposeSecret as _, SecretString};
use tokio_util::sync::CancellationToken;

use super::{
    broker::{Attempt, Client, Grant, Guard, Message, Refused, Verdict, filter},
    ears::{self, Ears, Heard, Ordered},
    members::Members,
    payloads::Named,
    sessions::{Sessions, Way},
    topics::{self, Topic},
    transport::Transport,
};
use crate::{
    auth::{Audit, Auth, Caller, Entry, Outcome, Role},
    error::Code,
    traffic::Traffic,
};

/// How often it is looked at whether people and programs may still be here: their sessions and
/// keys end elsewhere.
const RECHECK: Duration = Duration::from_secs(10);
/// Refusals of one address that are audited in a minute.
const AUDITED: u32 = 20;
/// Watchers at once: they leave places for those with a name.
const MAX_WATCHERS: usize = 50;
/// Addresses that are remembered for that.
const MAX_ADDRESSES: usize = 10_000;

/// Who a client is.
pub(super) enum Identity {
    /// A device that lives on MQTT, and what proved it.
    Device(Named, SecretString),
    /// A user or an API key, and what proved it.
    Caller(Caller, SecretString),
    /// Somebody who watches, where monitoring is public.
    Watcher,
}

/// The hub's guard at its broker.
pub(super) struct Gate {
    pub auth: Arc<Auth>,
    pub audit: Audit,
    pub members: Arc<Members>,
    pub ears: Arc<Ears>,
    pub sessions: Arc<Sessions>,
    pub transport: Arc<Transport>,
    /// Whether anybody may watch.
    pub public_monitoring: bool,
    pub traffic: Traffic,
    /// The people and programs that are connected, by client id.
    pub callers: Mutex<HashMap<String, Arc<Client<Identity>>>>,
    pub refusals: Mutex<HashMap<IpAddr, (Instant, u32)>>,
}

type ClientOf = Arc<Client<Identity>>;

impl Gate {
    /// Cuts off those whose session or key has ended, until `shutdown`.
    pub async fn recheck(&self, shutdown: CancellationToken) {
        let mut tick = tokio::time::interval(RECHECK);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = tick.tick() => {}
            }
            if let Transport::Own(broker) = &*self.transport {
                self.traffic.set_mqtt_clients(broker.connected());
            }
            let callers: Vec<ClientOf> = {
                let callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
                callers.values().cloned().collect()
            };
            for client in callers {
                let Identity::Caller(caller, secret) = &client.identity else { continue };
                let why = match self.auth.identify(secret.expose_secret()).await {
                    Ok(now) if now.role() == caller.role() => continue,
                    Ok(_) => "the role has changed".into(),
                    Err(error) if error.code == Code::Unauthenticated => error.message,
                    // The database is away: nobody loses a connection over that.
                    Err(_) => continue,
                };
                tracing::info!(client_id = client.id, %why, "an MQTT client is cut off");
                self.transport.end(&client.id, Some(client.source)).await;
            }
        }
    }

    async fn identify(&self, attempt: &Attempt<'_>) -> Result<Identity, Refused> {
        let later = |error| {
            tracing::error!(?error, "an MQTT client can't be looked up");
            Refused::Later
        };
        if self.public_monitoring && attempt.username.is_none() && attempt.password.is_none() {
            return self.watcher(attempt).await;
        }
        let (username, password) =
            attempt.username.zip(attempt.password).ok_or(Refused::Credentials)?;
        let password = std::str::from_utf8(password).map_err(|_| Refused::Credentials)?;
        if let Some(named) = self.members.prove(username, password).await.map_err(later)? {
            // A client id is a session, and a device has one.
            return match named.device_id.as_str() == attempt.client_id {
                true => Ok(Identity::Device(named, password.to_owned().into())),
                false => Err(Refused::Forbidden),
            };
        }
        let caller = match self.auth.identify(password).await {
            Ok(caller) => caller,
            Err(error) if error.code == Code::Unauthenticated => return Err(Refused::Credentials),
            Err(error) => return Err(later(error)),
        };
        if matches!(&caller, Caller::User(user) if user.username != username) {
            return Err(Refused::Credentials);
        }
        // Nobody takes a device's place.
        if self.members.get(attempt.client_id).await.map_err(later)?.is_some() {
            return Err(Refused::Forbidden);
        }
        Ok(Identity::Caller(caller, password.to_owned().into()))
    }

    async fn watcher(&self, attempt: &Attempt<'_>) -> Result<Identity, Refused> {
        match self.members.get(attempt.client_id).await {
            Ok(None) => Ok(Identity::Watcher),
            Ok(Some(_)) => Err(Refused::Forbidden),
            Err(_) => Err(Refused::Later),
        }
    }

    async fn record(&self, entry: Entry) {
        if entry.outcome == Outcome::Refused {
            let Ok(address) = entry.address.parse() else { return };
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            if refusals.len() >= MAX_ADDRESSES {
                refusals.clear();
            }
            let (since, n) = refusals.entry(address).or_insert((Instant::now(), 0));
            if since.elapsed() >= Duration::from_secs(60) {
                (*since, *n) = (Instant::now(), 0);
            }
            *n += 1;
            if *n > AUDITED {
                return;
            }
        }
        self.audit.record(entry).await;
    }

    async fn ordered(&self, client: &ClientOf, topic: &Topic, payload: &[u8]) -> Verdict {
        // As it is now: the last will of one whose key was withdrawn is no order any more.
        let Identity::Caller(_, secret) = &client.identity else { return Verdict::Consume };
        match self.auth.identify(secret.expose_secret()).await {
            Ok(now) if now.role() != Role::Viewer => {}
            Err(error) if error.code != Code::Unauthenticated => return Verdict::Later,
            Ok(_) | Err(_) => {
                self.forbade(client, "publish on", &topic.to_string()).await;
                return Verdict::Consume;
            }
        }
        let ordered = self.ears.ordered(&client.id, topic, payload).await;
        let (outcome, id) = match ordered {
            Ordered::Accepted(id) => (Outcome::Done, id),
            Ordered::Own => {
                self.ears.refuse(&client.id, topic, "command_id is the hub's to give");
                (Outcome::Failed, None)
            }
            Ordered::Refused => (Outcome::Failed, None),
            Ordered::Later => return Verdict::Later,
        };
        let action = match topic {
            Topic::Broadcast => "MQTT PUBLISH cloudcore/broadcast/command",
            _ => "MQTT PUBLISH cloudcore/device/{device_id}/command",
        };
        let request_id = id.map_or_else(String::new, |id| id.to_string());
        self.record(Entry { request_id, ..entry(client, action, &topic.to_string(), outcome) })
            .await;
        // What devices hear is the hub's own word, with the command's id.
        Verdict::Consume
    }
}

fn entry(client: &ClientOf, action: &str, target: &str, outcome: Outcome) -> Entry {
    let (actor, role) = match &client.identity {
        Identity::Device(named, _) => (format!("device:{}", named.device_id), None),
        Identity::Caller(caller, _) => (caller.name().to_owned(), Some(caller.role())),
        Identity::Watcher => ("anonymous".to_owned(), None),
    };
    Entry {
        actor,
        role,
        address: client.peer.ip().to_string(),
        action: action.to_owned(),
        target: target.to_owned(),
        outcome,
        status: 0,
        request_id: String::new(),
    }
}

impl Guard for Gate {
    type Identity = Identity;

    async fn authenticate(&self, attempt: Attempt<'_>) -> Result<Grant<Identity>, Refused> {
        let identity = match self.identify(&attempt).await {
            Ok(identity) => identity,
            Err(refused) => {
                if refused != Refused::Later {
                    let actor = attempt.username.unwrap_or("anonymous");
                    self.record(Entry {
                        actor: actor.chars().take(100).collect(),
                        role: None,
                        address: attempt.peer.ip().to_string(),
                        action: "MQTT CONNECT".into(),
                        target: attempt.client_id.chars().take(100).collect(),
                        outcome: Outcome::Refused,
                        status: 0,
                        request_id: String::new(),
                    })
                    .await;
                }
                return Err(refused);
            }
        };
        Ok(match identity {
            Identity::Device(named, secret) => Grant {
                owner: format!("device/{}", named.device_id),
                at_once: None,
                publish: topics::said_by(&named.device_id),
                subscribe: topics::heard_by(&named.device_id),
                identity: Identity::Device(named, secret),
            },
            Identity::Caller(caller, secret) => Grant {
                owner: match &caller {
                    Caller::User(user) => format!("user/{}", user.username),
                    Caller::Key { key_id, .. } => format!("key/{key_id}"),
                    Caller::Account { name, .. } => format!("account/{name}"),
                },
                at_once: None,
                publish: match caller.role() {
                    Role::Viewer => Vec::new(),
                    Role::Operator | Role::Admin => {
                        topics::COMMANDS.iter().map(ToString::to_string).collect()
                    }
                },
                subscribe: vec![topics::ALL.to_owned()],
                identity: Identity::Caller(caller, secret),
            },
            Identity::Watcher => Grant {
                identity: Identity::Watcher,
                owner: "anonymous".into(),
                at_once: Some(MAX_WATCHERS),
                publish: Vec::new(),
                subscribe: topics::WATCHED.iter().map(ToString::to_string).collect(),
            },
        })
    }

    async fn connected(&self, client: &ClientOf) {
        match &client.identity {
            Identity::Device(named, secret) => {
                let way = Way::Own { source: client.source, secret: secret.clone() };
                self.sessions.begin(named, way).await;
            }
            Identity::Caller(..) | Identity::Watcher => {
                let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
                callers.insert(client.id.clone(), Arc::clone(client));
            }
        }
    }

    async fn subscribed(&self, client: &ClientOf, filter: &str) {
        if let Identity::Device(named, _) = &client.identity
            && filter::has(filter, &Topic::Command(named.device_id.clone()).to_string())
        {
            self.sessions.subscribed(&named.device_id);
        }
    }

    async fn published(&self, client: &ClientOf, message: Message<'_>) -> Verdict {
        // What a grant allows is one of our topics, but for ids that are none.
        let Some(topic) = Topic::parse(message.topic) else {
            self.ears.refuse(&client.id, message.topic, "the topic means nothing");
            return Verdict::Consume;
        };
        let named = match &client.identity {
            Identity::Device(named, _) => named,
            Identity::Caller(..) => return self.ordered(client, &topic, message.payload).await,
            // A watcher is granted no topic.
            Identity::Watcher => return Verdict::Consume,
        };
        let heard = match self.ears.said(named, &topic, message.payload, false).await {
            Ok(None) => Heard::Stored,
            Ok(Some(pending)) => ears::settled(pending).await,
            Err(why) => {
                self.ears.refuse(&client.id, &topic, &why);
                Heard::Refused
            }
        };
        match heard {
            Heard::Stored => Verdict::Forward { retain: matches!(topic, Topic::Status(_)) },
            Heard::Refused => Verdict::Consume,
            Heard::Later => Verdict::Later,
        }
    }

    async fn forbade(&self, client: &ClientOf, what: &'static str, topic: &str) {
        let action = match what {
            "publish on" => "MQTT PUBLISH",
            _ => "MQTT SUBSCRIBE",
        };
        self.ears.refuse(&client.id, topic, "the client may not do this");
        let target: String = topic.chars().take(200).collect();
        self.record(entry(client, action, &target, Outcome::Refused)).await;
    }

    async fn disconnected(&self, client: &ClientOf) {
        match &client.identity {
            Identity::Device(named, _) => {
                self.sessions.lost(&named.device_id, Some(client.source));
            }
            Identity::Caller(..) | Identity::Watcher => {
                let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
                if callers.get(&client.id).is_some_and(|c| c.source == client.source) {
                    callers.remove(&client.id);
                }
            }
        }
    }
}
