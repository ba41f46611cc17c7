//! Devices as the API shows them: the documented human forms, and numbers beside them.

use cloudcore_protocol::{CameraState, Heartbeat, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{Device, parse};
use crate::api;

/// A device in a list.
#[derive(Serialize, ToSchema)]
#[schema(as = DeviceSummary)]
pub struct Summary {
    /// Its node.
    #[schema(example = "edge-node-laptop")]
    node_name: String,
    /// Its id.
    #[schema(example = "edge-device-laptop-001")]
    device_id: String,
    /// `Ready`, or `NotReady` 15 seconds after its session was lost.
    #[schema(example = "Ready")]
    status: String,
    /// What its node is.
    #[schema(example = json!(["agent", "edge"]))]
    roles: [&'static str; 2],
    /// Since it was made known.
    #[schema(example = "2d")]
    age: String,
    /// The same, seconds.
    age_seconds: u64,
    /// Release of its agent.
    version: Option<String>,
    /// Pods on its node; null without a cluster.
    pods_count: Option<u64>,
    /// Its addresses, as its agent sees them.
    addresses: Vec<Address>,
    /// What it is.
    #[schema(example = "camera")]
    device_type: Option<String>,
    /// Where it is.
    #[schema(example = "Factory Floor 1")]
    location: Option<String>,
    /// Whether it is a member.
    joined: bool,
    /// When it last said something.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_seen: Option<Timestamp>,
}

/// An address of a device.
#[derive(Serialize, ToSchema)]
#[schema(as = DeviceAddress)]
pub struct Address {
    /// `InternalIP`.
    #[serde(rename = "type")]
    #[schema(example = "InternalIP")]
    kind: &'static str,
    /// The address.
    #[schema(example = "192.168.1.100")]
    address: String,
}

impl Summary {
    pub(super) fn of(device: &Device) -> Self {
        let hello = parse(device.hello.as_deref());
        let addresses = hello["addresses"].as_array().into_iter().flatten();
        let address = |address: &Value| {
            Some(Address { kind: "InternalIP", address: address.as_str()?.to_owned() })
        };
        // What speaks for it: an agent, or itself.
        let on_mqtt = hello["capabilities"][0] == "mqtt";
        let age_seconds = api::seconds_since(Timestamp::from_micros(device.created_at));
        Self {
            node_name: device.node_name.clone(),
            device_id: device.device_id.clone(),
            status: device.status.clone(),
            roles: if on_mqtt { ["mqtt", "edge"] } else { ["agent", "edge"] },
            age: api::age(age_seconds),
            age_seconds,
            version: device.agent_version.clone(),
            // Pods are a cluster's.
            pods_count: None,
            addresses: addresses.filter_map(address).collect(),
            device_type: device.device_type.clone(),
            location: device.location.clone(),
            joined: device.joined_at.is_some(),
            last_seen: device.last_seen.map(Timestamp::from_micros),
        }
    }
}

/// A heartbeat as it is stored and told to watchers: what [`DeviceStatus`] shows of it.
#[must_use]
pub(super) fn vitals(heartbeat: &Heartbeat) -> Value {
    let (camera, camera_error) = match &heartbeat.camera {
        CameraState::None => ("none", None),
        CameraState::Ready => ("ready", None),
        CameraState::Lost(reason) => ("lost", Some(reason)),
    };
    json!({
        "cpu_usage": heartbeat.cpu_percent.map(|p| api::percent(p.into())),
        "cpu_percent": heartbeat.cpu_percent,
        "memory_usage": format!(
            "{}/{}",
            api::size(heartbeat.memory_used_bytes),
            api::size(heartbeat.memory_total_bytes)
        ),
        "memory_used_bytes": heartbeat.memory_used_bytes,
        "memory_total_bytes": heartbeat.memory_total_bytes,
        "temperature": heartbeat.temperature_celsius.map(|t| format!("{t:.0}°C")),
        "temperature_celsius": heartbeat.temperature_celsius,
        "disk_usage": format!(
            "{}/{}",
            api::size(heartbeat.disk_used_bytes),
            api::size(heartbeat.disk_total_bytes)
        ),
        "disk_used_bytes": heartbeat.disk_used_bytes,
        "disk_total_bytes": heartbeat.disk_total_bytes,
        "uptime_seconds": heartbeat.uptime_seconds,
        "agent_version": heartbeat.agent_version,
        "camera": camera,
        "camera_error": camera_error,
        "detecting": heartbeat.detecting,
        "outbox_events": heartbeat.outbox_events,
    })
}

/// How a device is, by its last heartbeat; null is what none has said.
#[derive(Serialize, ToSchema)]
pub struct DeviceStatus {
    /// Whether it has a session now.
    online: bool,
    /// When it sent its last heartbeat, by its own clock.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_heartbeat: Option<Timestamp>,
    /// When it last said something, by the hub's clock.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_seen: Option<Timestamp>,
    /// Load of all its cores.
    #[schema(example = "45%")]
    cpu_usage: Option<String>,
    /// The same, per cent.
    cpu_percent: Option<f64>,
    /// Memory in use, and all of it.
    #[schema(example = "2.3GB/8GB")]
    memory_usage: Option<String>,
    /// Memory in use, bytes.
    memory_used_bytes: Option<u64>,
    /// All memory, bytes.
    memory_total_bytes: Option<u64>,
    /// Its hottest sensor; null where it has none.
    #[schema(example = "65°C")]
    temperature: Option<String>,
    /// The same, degrees Celsius.
    temperature_celsius: Option<f64>,
    /// Of the disk that holds the agent's data: what is used, and all of it.
    #[schema(example = "12GB/32GB")]
    disk_usage: Option<String>,
    /// What is used of it, bytes.
    disk_used_bytes: Option<u64>,
    /// All of it, bytes.
    disk_total_bytes: Option<u64>,
    /// Since its machine started, seconds.
    uptime_seconds: Option<u64>,
    /// Release of its agent.
    agent_version: Option<String>,
    /// `none`, `ready` or `lost`.
    #[schema(example = "ready")]
    camera: Option<String>,
    /// Why the camera is lost.
    camera_error: Option<String>,
    /// Whether it watches its camera.
    detecting: Option<bool>,
    /// Events that wait at the device.
    outbox_events: Option<u64>,
    /// What else a device without an agent says of itself: a sensor's readings.
    #[schema(value_type = Option<Object>, example = json!({ "humidity": 40.5 }))]
    reported: Value,
}

impl DeviceStatus {
    fn of(device: &Device, vitals: &Value, online: bool) -> Self {
        let text = |key: &str| vitals[key].as_str().map(str::to_owned);
        let (whole, real) = (|key: &str| vitals[key].as_u64(), |key: &str| vitals[key].as_f64());
        Self {
            online,
            last_heartbeat: device.heartbeat_at.map(Timestamp::from_micros),
            last_seen: device.last_seen.map(Timestamp::from_micros),
            cpu_usage: text("cpu_usage"),
            cpu_percent: real("cpu_percent"),
            memory_usage: text("memory_usage"),
            memory_used_bytes: whole("memory_used_bytes"),
            memory_total_bytes: whole("memory_total_bytes"),
            temperature: text("temperature"),
            temperature_celsius: real("temperature_celsius"),
            disk_usage: text("disk_usage"),
            disk_used_bytes: whole("disk_used_bytes"),
            disk_total_bytes: whole("disk_total_bytes"),
            uptime_seconds: whole("uptime_seconds"),
            agent_version: text("agent_version"),
            camera: text("camera"),
            camera_error: text("camera_error"),
            detecting: vitals["detecting"].as_bool(),
            outbox_events: whole("outbox_events"),
            reported: vitals["reported"].clone(),
        }
    }
}

/// What a device runs on; null until it has said so.
#[derive(Serialize, ToSchema)]
#[schema(as = DevicePlatform)]
pub struct Platform {
    /// Operating system.
    #[schema(example = "linux")]
    os: Option<String>,
    /// Processor.
    #[schema(example = "aarch64")]
    arch: Option<String>,
    /// Name of its machine.
    hostname: Option<String>,
}

/// A device, without what other rooms know of it.
#[derive(Serialize, ToSchema)]
#[schema(as = DeviceDetails)]
pub struct Details {
    /// Its id.
    #[schema(example = "edge-device-laptop-001")]
    device_id: String,
    /// Its node.
    #[schema(example = "edge-node-laptop")]
    node_name: String,
    /// What it is.
    #[schema(example = "camera")]
    device_type: Option<String>,
    /// Where it is.
    #[schema(example = "Factory Floor 1")]
    location: Option<String>,
    /// `Ready` or `NotReady`.
    #[schema(example = "Ready")]
    status: String,
    /// Whether it is a member.
    joined: bool,
    /// Release of its agent.
    agent_version: Option<String>,
    /// What it runs on.
    platform: Platform,
    /// What its owner says of it.
    #[schema(value_type = Option<Object>)]
    labels: Value,
    /// How it is.
    device_status: DeviceStatus,
    /// What it was joined with, and `camera_enabled`.
    #[schema(value_type = Object, example = json!({
        "runtime": "containerd", "cni_version": "1.3.0", "kubeedge_version": "1.18.0",
        "camera_enabled": true
    }))]
    configuration: Value,
}

impl Details {
    /// Of this device.
    #[must_use]
    pub fn of(device: &Device, online: bool) -> Self {
        let heartbeat = parse(device.heartbeat.as_deref());
        let hello = parse(device.hello.as_deref());
        let said = |key: &str| hello[key].as_str().map(str::to_owned);
        let mut configuration = json!({
            "runtime": null,
            "cni_version": null,
            "kubeedge_version": null,
        });
        let given = parse(Some(&device.configuration));
        if let (Value::Object(configuration), Value::Object(given)) = (&mut configuration, given) {
            configuration.extend(given);
        }
        configuration["camera_enabled"] =
            json!(matches!(heartbeat["camera"].as_str(), Some("ready" | "lost")));
        Self {
            device_id: device.device_id.clone(),
            node_name: device.node_name.clone(),
            device_type: device.device_type.clone(),
            location: device.location.clone(),
            status: device.status.clone(),
            joined: device.joined_at.is_some(),
            agent_version: device.agent_version.clone(),
            platform: Platform { os: said("os"), arch: said("arch"), hostname: said("hostname") },
            labels: hello["labels"].clone(),
            device_status: DeviceStatus::of(device, &heartbeat, online),
            configuration,
        }
    }

    /// Since its machine started, seconds.
    #[must_use]
    pub const fn uptime_seconds(&self) -> Option<u64> {
        self.device_status.uptime_seconds
    }
}
