//! Sessions of devices that live on MQTT alone. To the rooms below they are sessions like those
//! of agents: present while they live, sent their commands, ended when the device is removed.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use cloudcore_protocol::{DeviceId, Frame, GoodbyeReason, Timestamp};
use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    broker::QoS,
    members::Members,
    payloads::{self, Named},
    topics::Topic,
    transport::Transport,
};
use crate::{
    commands::Commands,
    devices::Devices,
    link::{Carrier, Registry, Session},
};

/// A session that was kept for a client that was away has its subscriptions a moment after the
/// client is back; so often, and so long apart, it is asked for them.
const LOOKS: usize = 30;
const LOOK: Duration = Duration::from_millis(100);

/// From look to look for devices on another broker that say nothing any more.
const SILENCE_LOOK: Duration = Duration::from_secs(1);

/// How a device got here.
#[derive(Clone)]
pub(super) enum Way {
    /// By a connection to the hub's own broker, from this relay's address, with this password.
    Own { source: SocketAddr, secret: SecretString },
    /// By its word on another broker, which knows whom it lets in.
    External,
}

impl Way {
    /// The client's connection, where the broker is ours.
    fn source(&self) -> Option<SocketAddr> {
        match self {
            Self::Own { source, .. } => Some(*source),
            Self::External => None,
        }
    }
}

#[derive(Clone)]
pub(super) struct Live {
    session: Arc<Session>,
    way: Way,
    /// When the device last said how it is.
    said: Instant,
    gone: CancellationToken,
    subscribed: Arc<Notify>,
}

/// The sessions.
pub(super) struct Sessions {
    pub members: Arc<Members>,
    pub devices: Arc<Devices>,
    pub commands: Arc<Commands>,
    pub registry: Arc<Registry>,
    pub transport: Arc<Transport>,
    pub live: Mutex<HashMap<DeviceId, Live>>,
    pub tasks: TaskTracker,
    pub shutdown: CancellationToken,
}

impl Sessions {
    fn live(&self) -> MutexGuard<'_, HashMap<DeviceId, Live>> {
        // Nothing panics while it holds the lock.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the device has a session here.
    pub fn has(&self, device: &DeviceId) -> bool {
        self.live().contains_key(device)
    }

    /// A device is there.
    pub async fn begin(self: &Arc<Self>, named: &Named, way: Way) {
        let device = &named.device_id;
        let told = payloads::status(
            device,
            named.node_name.as_str(),
            true,
            &Value::Null,
            Some(Timestamp::now()),
        );
        if way.source().is_some() {
            // Before the client learns that it is connected: what it says itself comes after.
            self.transport.publish(&Topic::Status(device.clone()), &told, QoS::Zero).await;
        }
        let (session, carrier) = self.registry.open(device, &named.node_name);
        let live = Live {
            session: Arc::clone(&session),
            way,
            said: Instant::now(),
            gone: CancellationToken::new(),
            subscribed: Arc::new(Notify::new()),
        };
        if let Some(old) = self.live().insert(device.clone(), live.clone()) {
            old.gone.cancel();
        }
        let sessions = Arc::clone(self);
        self.tasks.spawn(async move { sessions.carry(live, carrier).await });
    }

    /// The device has subscribed to something.
    pub fn subscribed(&self, device: &DeviceId) {
        if let Some(live) = self.live().get(device) {
            live.subscribed.notify_one();
        }
    }

    /// The device's connection has ended.
    pub fn lost(&self, device: &DeviceId, source: Option<SocketAddr>) {
        // Out at once: one that comes back before this is dealt with begins another session.
        if let Entry::Occupied(live) = self.live().entry(device.clone())
            && live.get().way.source() == source
        {
            live.remove().gone.cancel();
        }
    }

    /// No device can be reached any more.
    pub fn lose_all(&self) {
        for (_, live) in self.live().drain() {
            live.gone.cancel();
        }
    }

    /// A device on another broker has said how it is.
    pub fn heard(&self, device: &DeviceId) {
        if let Some(live) = self.live().get_mut(device) {
            live.said = Instant::now();
        }
    }

    /// Ends the sessions of those on another broker who have said nothing for `silence`: no
    /// connection of theirs ends here. Until `shutdown`; never without a `silence`.
    pub async fn end_silent(&self, silence: Option<Duration>, shutdown: &CancellationToken) {
        let Some(silence) = silence else { return };
        let mut look = tokio::time::interval(SILENCE_LOOK);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = look.tick() => {}
            }
            self.live().retain(|device, live| {
                let stays = live.said.elapsed() < silence;
                if !stays {
                    tracing::info!(%device, "a device on another MQTT broker says nothing more");
                    live.gone.cancel();
                }
                stays
            });
        }
    }

    /// Whether what let the device in still does. Where nobody can tell, it does.
    async fn may_stay(&self, device: &DeviceId, way: &Way) -> bool {
        let named = match way {
            Way::Own { secret, .. } => {
                self.members.prove(device.as_str(), secret.expose_secret()).await
            }
            Way::External => self.members.get(device.as_str()).await,
        };
        match named {
            Ok(named) => named.is_some(),
            Err(error) => {
                tracing::error!(%device, ?error, "a device on MQTT can't be looked up");
                true
            }
        }
    }

    /// Carries what is sent to the device, until it is gone.
    async fn carry(&self, live: Live, mut carrier: Carrier) {
        let Live { session, way, gone, subscribed, .. } = live;
        let (device, source) = (&session.device_id, way.source());
        // Looked at again: what let it in may have ended before the session stood in the registry.
        if !self.may_stay(device, &way).await {
            self.transport.end(device.as_str(), source).await;
            return self.finish(&session, true).await;
        }
        let about = json!({ "addresses": [], "capabilities": ["mqtt"] });
        if let Err(error) = self.devices.arrived(device, &session.node_name, None, &about).await {
            tracing::error!(%device, ?error, "a device's arrival can't be stored");
        }
        let mut revoked = false;
        let mut looks = 0;
        let mut look = tokio::time::interval(LOOK);
        // Beside what is sent: what a device missed may be more than its queue holds.
        let mut resuming: Option<BoxFuture<'_, ()>> = None;
        loop {
            let frame = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => break,
                () = gone.cancelled() => break,
                reason = async {
                    carrier.end.wait_for(Option::is_some).await.ok().and_then(|reason| *reason)
                } => {
                    // Superseded: by a newer connection, which stays.
                    revoked = reason == Some(GoodbyeReason::Revoked);
                    if reason != Some(GoodbyeReason::Superseded) {
                        self.transport.end(device.as_str(), source).await;
                    }
                    break;
                }
                () = async {
                    match &mut resuming {
                        Some(resuming) => resuming.await,
                        None => std::future::pending().await,
                    }
                } => {
                    resuming = None;
                    continue;
                }
                () = subscribed.notified(), if resuming.is_none() && !session.is_ready() => {
                    resuming = Some(Box::pin(self.resume_if_heard(&session)));
                    continue;
                }
                _ = look.tick(),
                    if resuming.is_none() && !session.is_ready() && looks < LOOKS => {
                    looks += 1;
                    resuming = Some(Box::pin(self.resume_if_heard(&session)));
                    continue;
                }
                frame = carrier.queue.recv() => frame,
            };
            match frame {
                Some(Frame::Command(command)) => {
                    let told = payloads::command(&command, Timestamp::now());
                    let topic = Topic::Command(device.clone());
                    if !self.transport.publish(&topic, &told, QoS::One).await {
                        // The command stays open, and is sent again in the next session.
                        break;
                    }
                }
                Some(Frame::CancelCommand(cancel)) => {
                    let told = json!({ "command_id": cancel.id, "command": "cancel" });
                    let topic = Topic::Command(device.clone());
                    self.transport.publish(&topic, &told, QoS::One).await;
                }
                Some(_) => {}
                None => break,
            }
        }
        drop(resuming);
        self.finish(&session, revoked).await;
    }

    /// Sends what waited, once the device listens.
    async fn resume_if_heard(&self, session: &Arc<Session>) {
        if !self.transport.hears(&session.device_id).await {
            return;
        }
        // Ready first: a command that is accepted from now on is sent at once, and what was
        // accepted before is found by `resume`.
        session.set_ready();
        if let Err(error) = self.commands.resume(session).await {
            tracing::error!(device = %session.device_id, ?error, "commands can't be resumed");
            session.close(GoodbyeReason::Busy);
        }
    }

    async fn finish(&self, session: &Arc<Session>, revoked: bool) {
        let device = &session.device_id;
        let current = self.registry.end(session);
        {
            let mut live = self.live();
            if live.get(device).is_some_and(|l| Arc::ptr_eq(&l.session, session)) {
                live.remove(device);
            }
        }
        if !current || self.shutdown.is_cancelled() {
            return;
        }
        self.devices.lost(device);
        if revoked {
            // Whatever it said of itself is void.
            return self.transport.clear(&Topic::Status(device.clone())).await;
        }
        let (node, now) = (session.node_name.as_str(), Timestamp::now());
        let told = payloads::status(device, node, false, &Value::Null, Some(now));
        self.transport.publish(&Topic::Status(device.clone()), &told, QoS::Zero).await;
    }
}
