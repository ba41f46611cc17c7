//! MQTT: the documented topics, on a broker inside the hub or on somebody else's.
//!
//! ```text
//! publish ──► broker/ or external ──► guard ──► ears ──► commands, devices, detections
//! commands, bus ──► sessions, voice ──► transport ──► broker/ or external ──► subscribers
//! ```
//!
//! A device without an agent may live on MQTT alone: its session stands in the same registry as
//! those of agents, so that the rooms below see no difference. What must never happen: that a
//! command reaches a device on its topic without having been accepted and stored, or that a device
//! hears or says anything on another's topics.

mod broker;
mod ears;
mod external;
mod guard;
mod members;
mod payloads;
mod quota;
mod routes;
mod sessions;
mod topics;
mod transport;
mod voice;

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cloudcore_protocol::{DeviceId, Timestamp};
use rumqttc::v5::mqttbytes::v5::Publish;
use secrecy::SecretString;
use serde::Serialize;
use tokio::sync::{Notify, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use utoipa::ToSchema;

pub use routes::routes;

use self::{
    broker::Broker,
    ears::Ears,
    external::{Engine, External, Listener},
    guard::Gate,
    members::Members,
    sessions::Sessions,
    topics::Topic,
    transport::Transport,
    voice::Voice,
};
use crate::{
    auth::{Audit, Auth},
    commands::Commands,
    config::Place,
    db::Db,
    devices::Devices,
    error::Result,
    link::Registry,
    live::Bus,
    settings::Settings,
    traffic::Traffic,
};

/// The contract's "MQTT Connections: 100 concurrent connections".
const MAX_CONNECTIONS: usize = 100;
/// Messages of somebody else's broker that wait to be dealt with.
const INCOMING: usize = 256;

/// The rooms that MQTT speaks for.
pub struct Parts {
    /// The database.
    pub db: Db,
    /// Who is who.
    pub auth: Arc<Auth>,
    /// Where commands and refusals are recorded.
    pub audit: Audit,
    /// Whether the hub takes new members.
    pub settings: Arc<Settings>,
    /// The devices.
    pub devices: Arc<Devices>,
    /// Their commands.
    pub commands: Arc<Commands>,
    /// Their sessions.
    pub registry: Arc<Registry>,
    /// What happens.
    pub bus: Arc<Bus>,
    /// Whether anybody may watch.
    pub public_monitoring: bool,
    /// Where clients and refusals are counted.
    pub traffic: Traffic,
}

/// Which broker.
pub enum Choice<'a> {
    /// One inside the hub.
    Own {
        /// Where it listens.
        plain: SocketAddr,
        /// Where it listens for TLS.
        tls: Option<(SocketAddr, Arc<rustls::ServerConfig>)>,
        /// The host that clients reach it by; as bound where there is none.
        host: Option<String>,
    },
    /// Somebody else's.
    External {
        /// Where it is.
        place: Place,
        /// How long a device's word there stands; for ever where there is none.
        silence: Option<Duration>,
        /// Where the client id is kept.
        data_dir: &'a Path,
    },
}

/// MQTT.
pub struct Mqtt {
    /// Where the hub's own broker listens.
    pub address: Option<SocketAddr>,
    /// Where it listens for TLS.
    pub tls_address: Option<SocketAddr>,
    /// The broker's URL.
    broker: String,
    broker_tls: Option<String>,
    /// How long a device's word on another broker stands.
    silence: Option<Duration>,
    members: Arc<Members>,
    ears: Arc<Ears>,
    transport: Arc<Transport>,
    traffic: Traffic,
    running: Mutex<Option<Running>>,
}

/// What [`Mqtt::run`] runs.
struct Running {
    parts: Parts,
    sessions: Arc<Sessions>,
    writer: ears::Writer,
    engine: Option<Engine>,
    shutdown: CancellationToken,
}

/// How MQTT is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Standing {
    /// The broker.
    #[schema(example = "mqtt://3.70.53.21:1883")]
    pub broker: String,
    /// The broker by TLS, where it listens for it.
    #[schema(example = "mqtts://3.70.53.21:8883")]
    pub broker_tls: Option<String>,
    /// Whether the broker is the hub's own.
    pub own: bool,
    /// Whether the broker can be reached.
    pub connected: bool,
    /// Clients of the hub's own broker; null where the broker is another.
    #[schema(example = 12)]
    pub connections: Option<usize>,
    /// Most of them at once.
    #[schema(example = 100)]
    pub max_connections: Option<usize>,
    /// Messages that were malformed, or asked for what can't be, since the hub started.
    pub messages_refused: u64,
}

impl Mqtt {
    /// Binds the broker's ports, or makes a client; [`Self::run`] serves. `shutdown` is the
    /// hub's.
    ///
    /// # Errors
    /// API-009 when a port can't be had.
    pub async fn open(
        parts: Parts,
        choice: Choice<'_>,
        shutdown: CancellationToken,
    ) -> Result<Arc<Self>> {
        let (mut address, mut tls_address, mut engine, mut standing) = (None, None, None, None);
        let (transport, broker, broker_tls) = match choice {
            Choice::Own { plain, tls, host } => {
                let broker = Broker::bind(plain, tls, MAX_CONNECTIONS).await?;
                (address, tls_address) = (Some(broker.address), broker.tls_address);
                let at = |scheme: &str, bound: SocketAddr| match &host {
                    Some(host) => format!("{scheme}://{host}:{}", bound.port()),
                    None => format!("{scheme}://{bound}"),
                };
                let urls =
                    (at("mqtt", broker.address), tls_address.map(|bound| at("mqtts", bound)));
                (Transport::Own(broker), urls.0, urls.1)
            }
            Choice::External { place, silence, data_dir } => {
                standing = silence;
                let url = place.to_string();
                let by_tls = place.tls.then(|| url.clone());
                let (client, opened) = external::open(place, data_dir)?;
                engine = Some(opened);
                (Transport::External(client), url, by_tls)
            }
        };
        let transport = Arc::new(transport);
        let members = Arc::new(Members {
            db: parts.db.clone(),
            devices: Arc::clone(&parts.devices),
            registry: Arc::clone(&parts.registry),
            settings: Arc::clone(&parts.settings),
        });
        let (ears, writer) =
            ears::open(&parts.db, &parts.commands, &parts.bus, &parts.settings, &parts.traffic);
        let sessions = Arc::new(Sessions {
            members: Arc::clone(&members),
            devices: Arc::clone(&parts.devices),
            commands: Arc::clone(&parts.commands),
            registry: Arc::clone(&parts.registry),
            transport: Arc::clone(&transport),
            live: Mutex::default(),
            tasks: TaskTracker::new(),
            shutdown: shutdown.clone(),
        });
        let traffic = parts.traffic.clone();
        let running = Running { parts, sessions, writer, engine, shutdown };
        Ok(Arc::new(Self {
            address,
            tls_address,
            broker,
            broker_tls,
            silence: standing,
            members,
            ears: Arc::new(ears),
            transport,
            traffic,
            running: Mutex::new(Some(running)),
        }))
    }

    /// Serves until the hub stops.
    pub async fn run(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running { parts, sessions, writer, engine, shutdown }) = running else { return };
        let back = Arc::new(Notify::new());
        let voice = Voice {
            bus: Arc::clone(&parts.bus),
            devices: Arc::clone(&parts.devices),
            sessions: Arc::clone(&sessions),
            transport: Arc::clone(&self.transport),
            back: Arc::clone(&back),
        };
        // The writer outlives the clients: what they wait for is committed.
        let writing = CancellationToken::new();
        let speaking = shutdown.child_token();
        let serving = async {
            match (&*self.transport, engine) {
                (Transport::External(client), Some(engine)) => {
                    let audit = &parts.audit;
                    Box::pin(
                        self.serve_external(client, engine, &back, &sessions, audit, &shutdown),
                    )
                    .await;
                }
                (Transport::Own(broker), _) => {
                    back.notify_one();
                    Box::pin(self.serve_own(broker, &parts, &sessions, &shutdown)).await;
                }
                (Transport::External(_), None) => {}
            }
            sessions.tasks.close();
            sessions.tasks.wait().await;
            writing.cancel();
            speaking.cancel();
        };
        tokio::join!(serving, voice.run(speaking.clone()), writer.run(writing.clone()));
    }

    async fn serve_own(
        &self,
        broker: &Broker<guard::Identity>,
        parts: &Parts,
        sessions: &Arc<Sessions>,
        shutdown: &CancellationToken,
    ) {
        let gate = Arc::new(Gate {
            auth: Arc::clone(&parts.auth),
            audit: parts.audit.clone(),
            members: Arc::clone(&self.members),
            ears: Arc::clone(&self.ears),
            sessions: Arc::clone(sessions),
            transport: Arc::clone(&self.transport),
            public_monitoring: parts.public_monitoring,
            traffic: parts.traffic.clone(),
            callers: Mutex::default(),
            refusals: Mutex::default(),
        });
        let serving = broker.serve(Arc::clone(&gate), shutdown.clone());
        // Where the broker fails this ends, and the hub with it.
        tokio::select! {
            served = serving => if let Err(error) = served {
                tracing::error!(?error, "the MQTT broker failed");
            },
            () = async {
                gate.recheck(shutdown.clone()).await;
                std::future::pending::<()>().await;
            } => {}
        }
    }

    async fn serve_external(
        &self,
        client: &External,
        engine: Engine,
        back: &Arc<Notify>,
        sessions: &Arc<Sessions>,
        audit: &Audit,
        shutdown: &CancellationToken,
    ) {
        let (sender, incoming) = mpsc::channel::<Publish>(INCOMING);
        let listener = Listener {
            members: Arc::clone(&self.members),
            ears: Arc::clone(&self.ears),
            sessions: Arc::clone(sessions),
            client: client.client(),
            audit: audit.clone(),
            place: self.broker.clone(),
            silence: self.silence,
        };
        tokio::join!(
            engine.run(sender, Arc::clone(back), Arc::clone(sessions), shutdown.clone()),
            listener.run(incoming, shutdown.clone()),
            sessions.end_silent(self.silence, shutdown),
        );
    }

    /// How MQTT is.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let (connected, connections) = match &*self.transport {
            Transport::Own(broker) => (true, Some(broker.connected())),
            Transport::External(client) => (client.is_connected(), None),
        };
        Standing {
            broker: self.broker.clone(),
            broker_tls: self.broker_tls.clone(),
            own: connections.is_some(),
            connected,
            connections,
            max_connections: connections.map(|_| MAX_CONNECTIONS),
            messages_refused: self.traffic.mqtt_refused(),
        }
    }

    /// Lets a device in; see [`Members::admit`].
    async fn admit(
        &self,
        device: &DeviceId,
        by: &str,
    ) -> Result<(Option<SecretString>, Timestamp)> {
        let own = matches!(&*self.transport, Transport::Own(_));
        let admitted = self.members.admit(device, own, by).await?;
        // Whoever had the client id before.
        self.transport.end(device.as_str(), None).await;
        Ok(admitted)
    }

    /// Ends what lets a device in; see [`Members::dismiss`].
    async fn dismiss(&self, device: &DeviceId) -> Result<()> {
        self.members.dismiss(device).await?;
        self.transport.end(device.as_str(), None).await;
        self.transport.clear(&Topic::Status(device.clone())).await;
        Ok(())
    }
}
