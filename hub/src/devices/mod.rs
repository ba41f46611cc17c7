//! Devices: how they join, how they are, how they leave.
//!
//! A device is online while its session lives. It is `Ready` until [`GRACE`] after that, so that a
//! short cut of the network is no news.

mod batch;
mod edge;
mod in_cluster;
mod join;
mod leave;
mod nodes;
mod routes;
mod shown;
mod store;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use cloudcore_protocol::{Alert, DeviceId, GoodbyeReason, Heartbeat, Hello, NodeName, Timestamp};
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, broadcast},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

pub use in_cluster::Gone;
pub use join::NewDevice;
pub use routes::routes;
pub use shown::Details;
pub use store::{Device, Filter, HeartbeatRow, end_mqtt, has_agent, record_heartbeats, set_member};

use crate::{
    alerts,
    cluster::Cluster,
    db::{Db, Write},
    error::{Error, Result},
    link::Registry,
    live::{Bus, Event, News, What},
    pki::{Fingerprint, Pki},
    settings::Settings,
    tokens::Tokens,
};

/// How long a device whose session was lost is still `Ready`.
pub const GRACE: Duration = Duration::from_secs(15);
/// The same when the hub has started: an agent needs 15 s to see that a hub died, and then pauses
/// between its tries.
const RETURN: Duration = Duration::from_secs(30);

/// Renewals that a waiter may be behind.
const RENEWALS: usize = 64;
/// Removals that wait for whoever wants to know.
const REMOVALS: usize = 1024;

/// The devices.
pub struct Devices {
    db: Db,
    tokens: Arc<Tokens>,
    pki: Arc<Pki>,
    registry: Arc<Registry>,
    bus: Arc<Bus>,
    settings: Arc<Settings>,
    cluster: Arc<Cluster>,
    presence: Mutex<HashMap<DeviceId, Presence>>,
    /// Who has a new certificate, and which.
    renewals: broadcast::Sender<(DeviceId, Fingerprint)>,
    removals: broadcast::Sender<DeviceId>,
    /// The cluster's part of some device is not as it should be.
    settle: Notify,
}

/// A device that is `Ready`.
#[derive(Debug)]
struct Presence {
    node_name: NodeName,
    /// When its session was lost; `None` while it lives.
    lost: Option<Instant>,
    /// Whether it is stored, and told, that it joined.
    told: bool,
}

/// A certificate that is a member's.
#[derive(Debug)]
pub struct Member {
    /// The device.
    pub device_id: DeviceId,
    /// Its node.
    pub node_name: NodeName,
}

impl Devices {
    /// Over this database.
    #[must_use]
    pub fn new(
        db: Db,
        tokens: Arc<Tokens>,
        pki: Arc<Pki>,
        registry: Arc<Registry>,
        bus: Arc<Bus>,
        settings: Arc<Settings>,
        cluster: Arc<Cluster>,
    ) -> Self {
        let (renewals, _) = broadcast::channel(RENEWALS);
        let (removals, _) = broadcast::channel(REMOVALS);
        let presence = Mutex::default();
        let settle = Notify::new();
        Self {
            db,
            tokens,
            pki,
            registry,
            bus,
            settings,
            cluster,
            presence,
            renewals,
            removals,
            settle,
        }
    }

    fn presence(&self) -> MutexGuard<'_, HashMap<DeviceId, Presence>> {
        // Nothing panics while it holds the lock.
        self.presence.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes back what the last run of the hub knew: what was revoked stays so, and who was `Ready`
    /// has [`RETURN`] to come back, so that it is told of those that do not, and only of those.
    ///
    /// # Errors
    /// The database's.
    pub async fn load(&self) -> Result<()> {
        self.pki.revoke(store::revoked_certificates(&self.db).await?);
        let lost = Some(Instant::now() + RETURN.saturating_sub(GRACE));
        for Member { device_id, node_name } in store::ready(&self.db).await? {
            self.presence().insert(device_id, Presence { node_name, lost, told: true });
        }
        Ok(())
    }

    /// Whose certificate this is.
    ///
    /// # Errors
    /// `Ok(None)` for one that is not a member's, or no more.
    pub async fn member(&self, fingerprint: &str) -> Result<Option<Member>> {
        store::member(&self.db, fingerprint).await
    }

    /// An agent's session began.
    ///
    /// # Errors
    /// The database's.
    pub async fn greet(&self, device: &DeviceId, node: &NodeName, hello: &Hello) -> Result<()> {
        let about = json!({
            "os": hello.platform.os,
            "arch": hello.platform.arch,
            "hostname": hello.platform.hostname,
            "labels": hello.labels,
            "addresses": hello.addresses,
            "capabilities": hello.capabilities,
        });
        self.arrived(device, node, Some(&hello.agent_version), &about).await
    }

    /// A device's session began; `about` is what it says of itself, as JSON, `agent_version` that
    /// of its agent, where it has one.
    ///
    /// # Errors
    /// The database's.
    pub async fn arrived(
        &self,
        device: &DeviceId,
        node: &NodeName,
        agent_version: Option<&str>,
        about: &Value,
    ) -> Result<()> {
        // Present first, then stored: see `leave`.
        let known = {
            let mut presence = self.presence();
            let told = presence.get(device).is_some_and(|presence| presence.told);
            let arrived = Presence { node_name: node.clone(), lost: None, told };
            presence.insert(device.clone(), arrived);
            told
        };
        let joined = (!known).then(|| news(device, node, What::Joined));
        let mut tx = self.db.write().await?;
        store::greet(&mut tx, device, agent_version, about).await?;
        let back = offline("The device is connected again", false);
        let back = alerts::record(&mut tx, device, Timestamp::now(), &back)
            .await?
            .then(|| alerts::news(device, node, &back));
        let told: Vec<News> = joined.into_iter().chain(back).collect();
        self.bus.keep(&mut tx, &told).await?;
        tx.commit().await?;
        if let Some(presence) = self.presence().get_mut(device) {
            presence.told = true;
        }
        told.into_iter().for_each(|news| self.bus.publish(news));
        Ok(())
    }

    /// A device's session was lost, unless a newer one has begun: [`Self::watch_presence`] sees
    /// to that.
    pub fn lost(&self, device: &DeviceId) {
        if let Some(presence) = self.presence().get_mut(device) {
            presence.lost = Some(Instant::now());
        }
    }

    /// How many devices are `Ready`.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.presence().len()
    }

    /// Who renews its certificate from now on, and the new one's fingerprint.
    pub fn renewals(&self) -> broadcast::Receiver<(DeviceId, Fingerprint)> {
        self.renewals.subscribe()
    }

    /// Which devices are removed from now on.
    pub fn removals(&self) -> broadcast::Receiver<DeviceId> {
        self.removals.subscribe()
    }

    /// The device of a node.
    ///
    /// # Errors
    /// The database's.
    pub async fn of_node(&self, node: &NodeName) -> Result<Option<DeviceId>> {
        store::by_node(&self.db, node).await
    }

    /// Whether the device has a session now.
    #[must_use]
    pub fn is_online(&self, device: &DeviceId) -> bool {
        self.registry.is_online(device)
    }

    /// Ends the readiness of devices whose session has been lost for [`GRACE`], until `shutdown`.
    pub async fn watch_presence(&self, shutdown: CancellationToken) {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        let mut missed = Some(Instant::now() + RETURN);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = tick.tick() => {}
            }
            if missed.is_some_and(|time| time <= Instant::now()) {
                missed = None;
                if let Err(error) = self.miss().await {
                    tracing::error!(?error, "who did not come back can't be stored");
                }
            }
            let gone: Vec<_> = {
                let mut presence = self.presence();
                // Sessions begin and end at the same time; what the registry has now is true.
                for (device, presence) in presence.iter_mut() {
                    if self.registry.is_online(device) {
                        presence.lost = None;
                    } else {
                        presence.lost.get_or_insert_with(Instant::now);
                    }
                }
                let over = |p: &Presence| p.lost.is_some_and(|lost| lost.elapsed() >= GRACE);
                presence.extract_if(|_, p| over(p)).collect()
            };
            for (device, presence) in gone {
                let what = What::Left { reason: "connection lost" };
                let left = news(&device, &presence.node_name, what);
                let mut told = vec![left];
                match self.leave(&device, &presence.node_name, &mut told).await {
                    Ok(true) => {}
                    Ok(false) => continue,
                    Err(error) => {
                        tracing::error!(%device, ?error, "the device's status can't be stored");
                        // The next look tries again, unless it has come back.
                        self.presence().entry(device).or_insert(presence);
                        continue;
                    }
                }
                told.into_iter().for_each(|news| self.bus.publish(news));
            }
        }
    }

    /// Stores that a device is not `Ready`, unless it has come back; whether it stays away. Looked
    /// at inside the write transaction: those come one after another, so that the last one knows
    /// what is true. `told` gets the alert that this began.
    async fn leave(
        &self,
        device: &DeviceId,
        node: &NodeName,
        told: &mut Vec<News>,
    ) -> Result<bool> {
        let mut tx = self.db.write().await?;
        if self.presence().contains_key(device) {
            return Ok(false);
        }
        let member = store::set_not_ready(&mut tx, device).await?;
        let alert = if member { began_offline(&mut tx, device, node).await? } else { None };
        self.bus.keep(&mut tx, &*told).await?;
        self.bus.keep(&mut tx, &alert).await?;
        tx.commit().await?;
        told.extend(alert);
        Ok(true)
    }

    /// Begins the alerts of members that the last run of the hub knew and that did not come back.
    async fn miss(&self) -> Result<()> {
        let mut tx = self.db.write().await?;
        let mut told = Vec::new();
        for (device, node) in store::missing(&mut tx).await? {
            if !self.presence().contains_key(&device) {
                told.extend(began_offline(&mut tx, &device, &node).await?);
            }
        }
        self.bus.keep(&mut tx, &told).await?;
        tx.commit().await?;
        told.into_iter().for_each(|news| self.bus.publish(news));
        Ok(())
    }

    /// A device by id.
    ///
    /// # Errors
    /// API-004.
    pub async fn get(&self, id: &DeviceId) -> Result<Device> {
        store::get(&self.db, id).await?.ok_or_else(|| Error::not_found("device", id))
    }

    /// One page of the devices that match, how many match in all, and the next page's cursor.
    ///
    /// # Errors
    /// API-001 for a bad page.
    pub async fn list(&self, filter: &Filter) -> Result<(i64, Vec<Device>, Option<i64>)> {
        store::list(&self.db, filter).await
    }

    /// How many devices there are of each type, and how many in all.
    ///
    /// # Errors
    /// The database's.
    pub async fn count_by_type(&self) -> Result<Vec<(String, i64)>> {
        store::count_by_type(&self.db).await
    }

    /// Takes over tables that were restored while the hub runs: who is no member any more is cut
    /// off, and who is stays as it is. Returns how many sessions were cut.
    ///
    /// # Errors
    /// The database's.
    pub async fn restored(&self) -> Result<usize> {
        self.pki.revoke(store::revoked_certificates(&self.db).await?);
        let mut cut = 0;
        for session in self.registry.all() {
            let is_member = if session.fingerprint.is_empty() {
                store::is_on_mqtt(&self.db, &session.device_id).await?
            } else {
                self.member(&session.fingerprint).await?.is_some_and(|member| {
                    member.device_id == session.device_id && member.node_name == session.node_name
                })
            };
            if is_member {
                let mut tx = self.db.write().await?;
                store::set_ready(&mut tx, &session.device_id).await?;
                tx.commit().await?;
            } else {
                session.close(GoodbyeReason::Revoked);
                cut += 1;
            }
        }
        let present: Vec<_> = self.presence().keys().cloned().collect();
        for device in present {
            if store::get(&self.db, &device).await?.is_some() {
                continue;
            }
            let present = self.presence().remove(&device);
            if let Some(presence) = present {
                let left = news(&device, &presence.node_name, What::Left { reason: "removed" });
                let mut tx = self.db.write().await?;
                self.bus.keep(&mut tx, [&left]).await?;
                tx.commit().await?;
                self.bus.publish(left);
            }
        }
        self.settle.notify_one();
        Ok(cut)
    }

    /// Removes heartbeats received before `before`.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget_heartbeats(&self, before: Timestamp) -> Result<u64> {
        store::forget_heartbeats(&self.db, before).await
    }
}

/// What watchers are told of a device's health.
#[must_use]
pub fn heartbeat_news(device: &DeviceId, node: &NodeName, heartbeat: &Heartbeat) -> News {
    vitals_news(device, node, &shown::vitals(heartbeat))
}

/// The same of a device without an agent; `vitals` are what its details show.
#[must_use]
pub fn vitals_news(device: &DeviceId, node: &NodeName, vitals: &Value) -> News {
    let memory = vitals["memory_used_bytes"].as_u64().map(crate::api::size);
    let what =
        What::Heartbeat { cpu: vitals["cpu_usage"].as_str(), memory: memory.as_deref(), vitals };
    news(device, node, what)
}

fn offline(message: &str, active: bool) -> Alert {
    Alert { kind: alerts::OFFLINE.into(), message: message.into(), active }
}

/// Stores that a member is offline; what watchers are told, if it is news.
async fn began_offline(tx: &mut Write, device: &DeviceId, node: &NodeName) -> Result<Option<News>> {
    let message = format!("No connection for {}", crate::api::uptime(GRACE.as_secs()));
    let alert = offline(&message, true);
    let is_news = alerts::record(tx, device, Timestamp::now(), &alert).await?;
    Ok(is_news.then(|| alerts::news(device, node, &alert)))
}

fn news(device: &DeviceId, node: &NodeName, what: What<'_>) -> News {
    Event { device_id: Some(device.as_str()), node_name: Some(node.as_str()), what }.news()
}

/// A JSON text of ours; null where it is none.
fn parse(text: Option<&str>) -> Value {
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null)
}
