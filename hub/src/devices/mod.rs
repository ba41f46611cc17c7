//! Devices: how they join, how they are, how they leave.
//!
//! A device is online while its session lives. It is `Ready` until [`GRACE`] after that, so that a
//! short cut of the network is no news.

mod join;
mod routes;
mod store;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use cloudcore_protocol::{DeviceId, GoodbyeReason, Heartbeat, Hello, NodeName, Timestamp};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use join::NewDevice;
pub use routes::{details, routes};
pub use store::{Device, Filter, HeartbeatRow, has_agent, record_heartbeats, set_member};

use crate::{
    db::{self, Db},
    error::{Error, Result},
    link::Registry,
    live::Bus,
    pki::Pki,
    settings::Settings,
    tokens::Tokens,
};

/// How long a device whose session was lost is still `Ready`.
pub const GRACE: Duration = Duration::from_secs(15);

/// The devices.
pub struct Devices {
    db: Db,
    tokens: Arc<Tokens>,
    pki: Arc<Pki>,
    registry: Arc<Registry>,
    bus: Arc<Bus>,
    settings: Arc<Settings>,
    presence: Mutex<HashMap<DeviceId, Presence>>,
}

/// A device that is `Ready`.
#[derive(Debug)]
struct Presence {
    node_name: NodeName,
    /// When its session was lost; `None` while it lives.
    lost: Option<Instant>,
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
    ) -> Self {
        Self { db, tokens, pki, registry, bus, settings, presence: Mutex::default() }
    }

    fn presence(&self) -> MutexGuard<'_, HashMap<DeviceId, Presence>> {
        // Nothing panics while it holds the lock.
        self.presence.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes back what the last run of the hub knew: nobody is linked yet, and what was revoked
    /// stays so.
    ///
    /// # Errors
    /// The database's.
    pub async fn load(&self) -> Result<()> {
        self.pki.revoke(store::revoked_certificates(&self.db).await?);
        let mut tx = self.db.write().await?;
        db::sql("UPDATE devices SET status = 'NotReady'").run(&mut tx).await?;
        tx.commit().await
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
        let arrived = Presence { node_name: node.clone(), lost: None };
        let known = self.presence().insert(device.clone(), arrived);
        store::greet(&self.db, device, agent_version, about).await?;
        if known.is_none() {
            self.bus.publish(
                "node_joined",
                Some(device.as_str()),
                json!({ "node_name": node, "device_id": device, "status": "Ready" }),
            );
        }
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

    /// Whether the device has a session now.
    #[must_use]
    pub fn is_online(&self, device: &DeviceId) -> bool {
        self.registry.is_online(device)
    }

    /// Ends the readiness of devices whose session has been lost for [`GRACE`], until `shutdown`.
    pub async fn watch_presence(&self, shutdown: CancellationToken) {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = tick.tick() => {}
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
                match self.leave(&device).await {
                    Ok(true) => {}
                    Ok(false) => continue,
                    Err(error) => {
                        tracing::error!(%device, ?error, "the device's status can't be stored");
                    }
                }
                self.bus.publish(
                    "node_left",
                    Some(device.as_str()),
                    json!({
                        "node_name": presence.node_name,
                        "device_id": device,
                        "status": "NotReady",
                        "reason": "connection lost",
                    }),
                );
            }
        }
    }

    /// Stores that a device is not `Ready`, unless it has come back; whether it stays away. Looked
    /// at inside the write transaction: those come one after another, so that the last one knows
    /// what is true.
    async fn leave(&self, device: &DeviceId) -> Result<bool> {
        let mut tx = self.db.write().await?;
        if self.presence().contains_key(device) {
            return Ok(false);
        }
        store::set_not_ready(&mut tx, device).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Tells the watchers how a device is.
    pub fn publish_heartbeat(&self, device: &DeviceId, node: &NodeName, heartbeat: &Heartbeat) {
        self.publish_vitals(device, node, &routes::vitals(heartbeat));
    }

    /// Tells the watchers how a device is: `vitals` are what its details show.
    pub fn publish_vitals(&self, device: &DeviceId, node: &NodeName, vitals: &Value) {
        // The stream's documented keys first, then all that the details have too.
        let mut fields = json!({
            "node_name": node,
            "device_id": device,
            "cpu": vitals["cpu_usage"],
            "memory": vitals["memory_used_bytes"].as_u64().map(crate::api::size),
        });
        if let (Value::Object(fields), Value::Object(vitals)) = (&mut fields, vitals) {
            fields.extend(vitals.clone());
        }
        self.bus.publish("heartbeat", Some(device.as_str()), fields);
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

    /// Removes a device: its certificates end, its tokens are withdrawn, its session is cut.
    /// Returns what was done, in words.
    ///
    /// # Errors
    /// API-004.
    pub async fn remove(&self, id: &DeviceId) -> Result<Vec<String>> {
        let device = self.get(id).await?;
        let mut tx = self.db.write().await?;
        let certificates = store::revoke_certificates(&mut tx, &device.node_name).await?;
        let tokens = self.tokens.revoke_in(&mut tx, &device.node_name).await?;
        store::delete(&mut tx, id).await?;
        tx.commit().await?;
        let mut done = Vec::new();
        if !certificates.is_empty() {
            done.push("Certificate revoked".to_owned());
        }
        self.pki.revoke(certificates);
        if self.registry.is_online(id) {
            self.registry.close(id, GoodbyeReason::Revoked);
            done.push("Session closed".to_owned());
        }
        if tokens > 0 {
            done.push("Token revoked".to_owned());
        }
        done.push("Device removed".to_owned());
        if self.presence().remove(id).is_some() {
            self.bus.publish(
                "node_left",
                Some(id.as_str()),
                json!({
                    "node_name": device.node_name,
                    "device_id": id,
                    "status": "NotReady",
                    "reason": "removed",
                }),
            );
        }
        Ok(done)
    }

    /// Withdraws what lets a node in: its tokens, and the certificates it got by them; its session
    /// is cut. The device stays known, and may join again with a new token. Returns how many
    /// tokens were withdrawn, and whether a member was cut off.
    ///
    /// # Errors
    /// API-004 when the node never had a token.
    pub async fn revoke_node(&self, node: &NodeName) -> Result<(u64, bool)> {
        let mut tx = self.db.write().await?;
        if !self.tokens.has_any(&mut tx, node.as_str()).await? {
            return Err(Error::not_found("token of node", node));
        }
        let tokens = self.tokens.revoke_in(&mut tx, node.as_str()).await?;
        let certificates = store::revoke_certificates(&mut tx, node.as_str()).await?;
        let device = store::by_node(&mut tx, node).await?;
        let on_mqtt = match &device {
            Some(device) => store::end_mqtt(&mut tx, device).await?,
            None => false,
        };
        store::set_not_joined(&mut tx, node).await?;
        tx.commit().await?;
        let member = on_mqtt || !certificates.is_empty();
        self.pki.revoke(certificates);
        if let Some(device) = device {
            self.registry.close(&device, GoodbyeReason::Revoked);
        }
        Ok((tokens, member))
    }

    /// Removes heartbeats received before `before`.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget_heartbeats(&self, before: Timestamp) -> Result<u64> {
        store::forget_heartbeats(&self.db, before).await
    }
}

/// A JSON text of ours; null where it is none.
fn parse(text: Option<&str>) -> Value {
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null)
}
