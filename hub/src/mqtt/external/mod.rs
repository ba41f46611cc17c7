//! Somebody else's broker: the hub is one of its clients. Who may do what there is that broker's
//! business; what the hub hears is taken as said by whom the topic names.

mod bridge;
mod held;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use cloudcore_protocol::{CommandId, Timestamp};
use rumqttc::{
    NetworkOptions, Transport as Socket,
    v5::{
        AsyncClient, Event, EventLoop, MqttOptions,
        mqttbytes::{
            QoS as WireQoS,
            v5::{Filter, Packet, Publish},
        },
    },
};
use secrecy::ExposeSecret as _;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::{bridge::Bridge, held::Held};
use super::{
    broker::QoS,
    ears::{self, Ears, Heard, Ordered},
    members::Members,
    payloads::{Named, Status},
    sessions::{Sessions, Way},
    topics::{self, Topic},
};
use crate::{
    auth::{Audit, Entry, Outcome},
    config::Place,
    error::{Error, Result},
    keys,
};

/// Messages that wait to be sent.
const OUTGOING: usize = 4096;
/// Messages that were received and are not yet dealt with.
const INCOMING: usize = 256;
/// Largest packet, bytes.
const MAX_PACKET: u32 = 512 * 1024;
/// How long the broker keeps what it could not deliver to a hub that is away, seconds.
const KEPT: u32 = 24 * 3600;
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Seconds.
const CONNECT: u64 = 10;
/// From attempt to attempt: the first pause, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// From try to try to store what was received.
const AGAIN: Duration = Duration::from_secs(1);

/// The hub as a client.
pub(super) struct External {
    client: AsyncClient,
    connected: Arc<AtomicBool>,
    held: Arc<Held>,
}

/// The client's engine.
pub(super) struct Engine {
    place: Place,
    client: AsyncClient,
    events: EventLoop,
    connected: Arc<AtomicBool>,
    held: Arc<Held>,
    bridge: Option<Bridge>,
}

/// A client of this broker; `data_dir` keeps the client id.
///
/// # Errors
/// API-009 when TLS can't be set up.
pub(super) fn open(place: Place, data_dir: &Path) -> Result<(External, Engine)> {
    let id = keys::read_or_create(&data_dir.join("mqtt-client-id"), || {
        Ok(format!("cloudcore-hub-{}", keys::hex(&keys::random::<8>()?)).into_bytes())
    })?;
    let id = String::from_utf8(id).map_err(Error::internal)?;
    let bridge = if place.tls { Some(Bridge::open(&place.host, place.port)?) } else { None };
    let mut options = match &bridge {
        None => MqttOptions::new(id, &place.host, place.port),
        Some(bridge) => {
            let mut options = MqttOptions::new(id, bridge.path(), place.port);
            options.set_transport(Socket::unix());
            options
        }
    };
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options
        .set_network_options(network)
        .set_keep_alive(KEEP_ALIVE)
        .set_connection_timeout(CONNECT)
        // What was said while the hub was away is delivered when it is back, and each message
        // is acknowledged when it is committed.
        .set_clean_start(false)
        .set_session_expiry_interval(Some(KEPT))
        .set_manual_acks(true)
        .set_max_packet_size(Some(MAX_PACKET));
    if let Some((username, password)) = &place.login {
        options.set_credentials(username, password.expose_secret());
    }
    let (client, events) = AsyncClient::new(options, OUTGOING);
    let connected = Arc::new(AtomicBool::new(false));
    let held = Arc::new(Held::default());
    let external = External {
        client: client.clone(),
        connected: Arc::clone(&connected),
        held: Arc::clone(&held),
    };
    Ok((external, Engine { place, client, events, connected, held, bridge }))
}

impl External {
    /// Hands a message to the engine; whether it took it.
    pub fn publish(&self, topic: &str, payload: Bytes, retain: bool, qos: QoS) -> bool {
        if !self.connected.load(Ordering::Acquire) {
            return false;
        }
        let qos = match qos {
            QoS::Zero => WireQoS::AtMostOnce,
            QoS::One => WireQoS::AtLeastOnce,
        };
        let taken = self.client.try_publish(topic, qos, retain, payload);
        if taken.is_err() {
            tracing::warn!(topic, "the MQTT broker is too slow: a message was dropped");
        }
        taken.is_ok()
    }

    /// The same for what has to be heard once, however late: where the broker is away, it is told
    /// when the broker is back.
    pub fn publish_late(&self, topic: &str, payload: Bytes) -> bool {
        if self.publish(topic, payload.clone(), false, QoS::One) {
            return true;
        }
        let is_held = self.held.hold(topic, payload);
        if self.is_connected() {
            self.held.tell(&self.client);
        }
        is_held
    }

    /// Whether the broker can be reached.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }
}

impl Engine {
    /// Keeps the connection until `shutdown`. What is received goes to `incoming`; `back` is
    /// notified whenever a connection begins.
    pub async fn run(
        mut self,
        incoming: mpsc::Sender<Publish>,
        back: Arc<Notify>,
        sessions: Arc<Sessions>,
        shutdown: CancellationToken,
    ) {
        let bridge = self.bridge.take();
        let carrying = async {
            match bridge {
                Some(bridge) => bridge.run().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = carrying => {}
            () = self.poll(&incoming, &back, &sessions, &shutdown) => {}
        }
        self.connected.store(false, Ordering::Release);
    }

    async fn poll(
        &mut self,
        incoming: &mpsc::Sender<Publish>,
        back: &Notify,
        sessions: &Sessions,
        shutdown: &CancellationToken,
    ) {
        let mut pause = PAUSE.0;
        let mut said = String::new();
        loop {
            let event = tokio::select! {
                event = self.events.poll() => event,
                () = shutdown.cancelled() => return self.leave().await,
            };
            match event {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    tracing::info!(broker = %self.place, "connected to the MQTT broker");
                    (pause, said) = (PAUSE.0, String::new());
                    if self.client.try_subscribe_many(filters()).is_err() {
                        tracing::error!("no room for the subscriptions");
                    }
                    self.connected.store(true, Ordering::Release);
                    self.held.tell(&self.client);
                    back.notify_one();
                }
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    tokio::select! {
                        _ = incoming.send(publish) => {}
                        () = shutdown.cancelled() => return self.leave().await,
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    self.connected.store(false, Ordering::Release);
                    sessions.lose_all();
                    let why = error.to_string();
                    if why != said {
                        tracing::warn!(broker = %self.place, %why, "no MQTT broker; trying on");
                        said = why;
                    }
                    tokio::select! {
                        () = tokio::time::sleep(jittered(pause)) => {}
                        () = shutdown.cancelled() => return,
                    }
                    pause = (pause * 2).min(PAUSE.1);
                }
            }
        }
    }

    /// Says goodbye, and gives that a moment.
    async fn leave(&mut self) {
        if !self.connected.load(Ordering::Acquire) || self.client.try_disconnect().is_err() {
            return;
        }
        let gone = async {
            // What was handed over before goes out first.
            while let Ok(event) = self.events.poll().await {
                if matches!(event, Event::Outgoing(rumqttc::Outgoing::Disconnect)) {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), gone).await;
    }
}

/// Half to all of it, so that many hubs do not come back at once.
fn jittered(pause: Duration) -> Duration {
    let random = keys::random::<1>().map_or(255, |[byte]| byte);
    pause / 2 + pause / 2 * u32::from(random) / 255
}

/// What the hub listens to, but for what it says itself.
fn filters() -> Vec<Filter> {
    topics::COMMANDS
        .iter()
        .chain(&topics::SAID)
        .map(|path| Filter { nolocal: true, ..Filter::new(*path, WireQoS::AtLeastOnce) })
        .collect()
}

/// The hub's ears at the broker.
pub(super) struct Listener {
    pub members: Arc<Members>,
    pub ears: Arc<Ears>,
    pub sessions: Arc<Sessions>,
    pub client: AsyncClient,
    pub audit: Audit,
    /// The broker, for the audit log.
    pub place: String,
    /// How long a device's word stands.
    pub silence: Option<Duration>,
}

impl External {
    /// For acknowledgements.
    pub fn client(&self) -> AsyncClient {
        self.client.clone()
    }
}

impl Listener {
    /// Deals with what is received, in its order, until `shutdown`.
    pub async fn run(self, mut incoming: mpsc::Receiver<Publish>, shutdown: CancellationToken) {
        // Commits are waited for beside, in the same order, so that many go into one.
        let (later, mut settling) = mpsc::channel::<(Publish, oneshot::Receiver<Heard>)>(INCOMING);
        let listener = &self;
        let stop = shutdown.clone();
        let acknowledging = async move {
            while let Some((publish, mut pending)) = settling.recv().await {
                // A broker sends again what was not acknowledged only to a new connection: what
                // can't be stored now is kept here, until it can.
                while ears::settled(pending).await == Heard::Later {
                    tokio::select! {
                        () = tokio::time::sleep(AGAIN) => {}
                        () = stop.cancelled() => return,
                    }
                    match listener.hear(&publish, true).await {
                        Some(again) => pending = again,
                        None => break,
                    }
                }
                acknowledge(&listener.client, &publish);
            }
        };
        let hearing = async move {
            loop {
                let publish = tokio::select! {
                    publish = incoming.recv() => publish,
                    () = shutdown.cancelled() => return,
                };
                let Some(publish) = publish else { return };
                match listener.hear(&publish, false).await {
                    Some(pending) => {
                        let _ = later.send((publish, pending)).await;
                    }
                    None => acknowledge(&listener.client, &publish),
                }
            }
        };
        tokio::join!(acknowledging, hearing);
    }

    /// What to wait for before the message is acknowledged. `again` for one that could not be
    /// stored before: newer ones may have been dealt with.
    async fn hear(&self, publish: &Publish, again: bool) -> Option<oneshot::Receiver<Heard>> {
        let topic = std::str::from_utf8(&publish.topic).ok().and_then(Topic::parse)?;
        let device = match &topic {
            Topic::Command(_) | Topic::Broadcast => {
                // A retained command would be run again at every start.
                if publish.retain {
                    self.ears.refuse("mqtt", &topic, "a command must not be retained");
                    return None;
                }
                return match self.ears.ordered("mqtt", &topic, &publish.payload).await {
                    // Not acknowledged: the sender's half is gone at once.
                    Ordered::Later => Some(oneshot::channel().1),
                    Ordered::Accepted(id) => self.record(&topic, Outcome::Done, id).await,
                    Ordered::Refused => self.record(&topic, Outcome::Failed, None).await,
                    // The hub's own word to a device.
                    Ordered::Own => None,
                };
            }
            Topic::Status(device) | Topic::Detection(device) | Topic::Result(device, _) => device,
            Topic::Alerts => return None,
        };
        let named = match self.members.get(device.as_str()).await {
            Ok(Some(named)) => named,
            // An agent's topics are the hub's own, whoever speaks there.
            Ok(None) => return None,
            Err(error) => {
                tracing::error!(%topic, ?error, "a device on MQTT can't be looked up");
                return Some(oneshot::channel().1);
            }
        };
        if matches!(topic, Topic::Status(_)) && !again {
            self.presence(&named, publish).await;
            // What the broker kept was heard when it was said.
            if publish.retain {
                return None;
            }
        }
        match self.ears.said(&named, &topic, &publish.payload, again).await {
            Ok(pending) => pending,
            Err(why) => {
                // The hub's own word on a device that is gone is kept there too.
                self.ears.refuse(device.as_str(), &topic, &why);
                None
            }
        }
    }

    /// An order for the audit log: which client of the broker gave it, the broker does not say.
    async fn record<T>(&self, topic: &Topic, outcome: Outcome, id: Option<CommandId>) -> Option<T> {
        let action = match topic {
            Topic::Broadcast => "MQTT PUBLISH cloudcore/broadcast/command",
            _ => "MQTT PUBLISH cloudcore/device/{device_id}/command",
        };
        self.audit
            .record(Entry {
                actor: "mqtt".to_owned(),
                role: None,
                address: self.place.clone(),
                action: action.to_owned(),
                target: topic.to_string(),
                outcome,
                status: 0,
                request_id: id.map_or_else(String::new, |id| id.to_string()),
            })
            .await;
        None
    }

    /// A device is there while it says so.
    async fn presence(&self, named: &Named, publish: &Publish) {
        let Ok(status) = Status::parse(&publish.payload) else { return };
        let age = Timestamp::now().micros().saturating_sub(status.at.micros());
        let is_old =
            self.silence.is_some_and(|silence| i128::from(age) > silence.as_micros().cast_signed());
        if status.online && publish.retain && is_old {
            return;
        }
        self.sessions.heard(&named.device_id);
        match (status.online, self.sessions.has(&named.device_id)) {
            (true, false) => self.sessions.begin(named, Way::External).await,
            (false, true) => self.sessions.lost(&named.device_id, None),
            _ => {}
        }
    }
}

fn acknowledge(client: &AsyncClient, publish: &Publish) {
    if client.try_ack(publish).is_err() {
        tracing::warn!("an MQTT message can't be acknowledged: it comes again");
    }
}
