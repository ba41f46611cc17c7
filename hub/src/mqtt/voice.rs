//! What happens → the topics: how devices are, what they saw, what became of commands, alerts.

use std::sync::Arc;

use cloudcore_protocol::{CommandId, DeviceId, Timestamp};
use serde_json::Value;
use tokio::sync::{Notify, broadcast::error::RecvError};
use tokio_util::sync::CancellationToken;

use super::{broker::QoS, payloads, sessions::Sessions, topics::Topic, transport::Transport};
use crate::{
    devices::{Device, Devices, Filter},
    error::Result,
    live::{Bus, Kind, LiveEvent},
};

/// Devices read at once.
const PAGE: u32 = 500;

/// The voice.
pub(super) struct Voice {
    pub bus: Arc<Bus>,
    pub devices: Arc<Devices>,
    pub sessions: Arc<Sessions>,
    pub transport: Arc<Transport>,
    /// The broker is there, and knows nothing.
    pub back: Arc<Notify>,
}

impl Voice {
    /// Tells until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let (mut events, mut removals) = (self.bus.subscribe(), self.devices.removals());
        loop {
            let event = tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.back.notified() => {
                    self.tell_all().await;
                    continue;
                }
                removed = removals.recv() => {
                    if let Ok(device) = removed {
                        let (sessions, transport) = (&self.sessions, Arc::clone(&self.transport));
                        // A session that is kept for it may have a last will to come.
                        sessions.tasks.spawn(async move {
                            transport.end(device.as_str(), None).await;
                            transport.clear(&Topic::Status(device)).await;
                        });
                    }
                    continue;
                }
                event = events.recv() => event,
            };
            match event {
                Ok(event) => self.tell(&event).await,
                Err(RecvError::Lagged(missed)) => {
                    // Statuses are kept: they must be right again.
                    tracing::warn!(missed, "MQTT missed events");
                    self.tell_all().await;
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    async fn tell(&self, event: &LiveEvent) {
        let news = &event.news;
        let Ok(mut told) = serde_json::from_str::<Value>(&news.stream) else { return };
        if let Some(object) = told.as_object_mut() {
            object.shift_remove("event");
        }
        let device: Option<DeviceId> = news.device_id.as_deref().and_then(|id| id.parse().ok());
        if news.kind == Kind::Alert {
            self.transport.publish(&Topic::Alerts, &told, QoS::One).await;
            return;
        }
        let Some(device) = device else { return };
        // What a device published itself has reached everybody.
        let own = self.sessions.has(&device);
        match news.kind {
            Kind::Heartbeat | Kind::DeviceJoined if !own => {
                self.status(&device, true, &told).await;
            }
            Kind::DeviceLeft if told["reason"] == "removed" => {
                self.transport.clear(&Topic::Status(device)).await;
            }
            Kind::DeviceLeft if !own => self.status(&device, false, &told).await,
            Kind::Detection if !own => {
                self.transport.publish(&Topic::Detection(device), &told, QoS::Zero).await;
            }
            Kind::CommandResult => {
                let said = matches!(told["status"].as_str(), Some("completed" | "failed"));
                let id = told["command_id"].as_str().map(str::to_owned);
                let id = id.and_then(|id| CommandId::try_from(id).ok());
                if let (Some(id), false) = (id, own && said) {
                    self.transport.publish(&Topic::Result(device, id), &told, QoS::One).await;
                }
            }
            _ => {}
        }
    }

    /// A device's status from an event's fields, which have the vitals' names.
    async fn status(&self, device: &DeviceId, online: bool, event: &Value) {
        let node = event["node_name"].as_str().unwrap_or_default();
        let mut vitals = event.clone();
        if let Some(object) = vitals.as_object_mut() {
            for key in ["status", "timestamp"] {
                object.shift_remove(key);
            }
        }
        let status = payloads::status(device, node, online, &vitals, Some(Timestamp::now()));
        self.transport.publish(&Topic::Status(device.clone()), &status, QoS::Zero).await;
    }

    /// How all devices are.
    async fn tell_all(&self) {
        if let Err(error) = self.try_tell_all().await {
            tracing::error!(?error, "the devices' statuses can't be published");
        }
    }

    async fn try_tell_all(&self) -> Result<()> {
        let mut filter = Filter { limit: Some(PAGE), ..Filter::default() };
        loop {
            let (_, devices, next) = self.devices.list(&filter).await?;
            for device in &devices {
                self.tell_one(device).await;
            }
            filter.cursor = next;
            if next.is_none() {
                return Ok(());
            }
        }
    }

    async fn tell_one(&self, device: &Device) {
        let Ok(id) = device.device_id.parse::<DeviceId>() else { return };
        if device.joined_at.is_none() || self.sessions.has(&id) {
            return;
        }
        let online = self.devices.is_online(&id);
        let vitals = device.heartbeat.as_deref().map(serde_json::from_str).and_then(Result::ok);
        let at = device.heartbeat_at.map(Timestamp::from_micros);
        let vitals = vitals.unwrap_or(Value::Null);
        let status = payloads::status(&id, &device.node_name, online, &vitals, at);
        self.transport.publish(&Topic::Status(id), &status, QoS::Zero).await;
    }
}
