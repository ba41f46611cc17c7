//! Devices as the API shows them: the documented human forms, and numbers beside them.

use cloudcore_protocol::{CameraState, Heartbeat, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{Device, parse};
use crate::{
    api,
    cluster::{Edge, Node},
};

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
    /// `Ready`, or `NotReady` 15 seconds after its session was lost; for a node of the cluster's,
    /// what its Node object says.
    #[schema(example = "Ready")]
    status: String,
    /// What its node is.
    #[schema(example = json!(["agent", "edge"]))]
    roles: Vec<String>,
    /// Since it was made known, or its node came to the cluster.
    #[schema(example = "2d")]
    age: String,
    /// The same, seconds.
    age_seconds: u64,
    /// Of its node in the cluster; elsewhere the release of its agent.
    version: Option<String>,
    /// Release of its agent.
    agent_version: Option<String>,
    /// Pods on its node that have not ended; null where it is no node of a cluster.
    pods_count: Option<u64>,
    /// Its addresses, as its node has them in the cluster, or its agent sees them.
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
    #[serde(skip)]
    row: i64,
}

/// An address of a device.
#[derive(Serialize, ToSchema)]
#[schema(as = DeviceAddress)]
pub struct Address {
    /// `InternalIP`, or what else the cluster calls it.
    #[serde(rename = "type")]
    #[schema(example = "InternalIP")]
    kind: String,
    /// The address.
    #[schema(example = "192.168.1.100")]
    address: String,
}

impl Summary {
    pub(super) fn of(device: &Device) -> Self {
        let hello = parse(device.hello.as_deref());
        let addresses = hello["addresses"].as_array().into_iter().flatten();
        let address = |address: &Value| {
            Some(Address { kind: "InternalIP".into(), address: address.as_str()?.to_owned() })
        };
        // What speaks for it: an agent, or itself.
        let on_mqtt = hello["capabilities"][0] == "mqtt";
        let age_seconds = api::seconds_since(Timestamp::from_micros(device.created_at));
        Self {
            node_name: device.node_name.clone(),
            device_id: device.device_id.clone(),
            status: device.status.clone(),
            roles: [if on_mqtt { "mqtt" } else { "agent" }, "edge"].map(str::to_owned).to_vec(),
            age: api::age(age_seconds),
            age_seconds,
            version: device.agent_version.clone(),
            agent_version: device.agent_version.clone(),
            // Pods are a cluster's.
            pods_count: None,
            addresses: addresses.filter_map(address).collect(),
            device_type: device.device_type.clone(),
            location: device.location.clone(),
            joined: device.joined_at.is_some(),
            last_seen: device.last_seen.map(Timestamp::from_micros),
            row: device.id,
        }
    }

    /// With what the cluster says of its node, and how many pods that has.
    pub(super) fn on(mut self, node: &Node, pods: Option<u64>) -> Self {
        node.status().clone_into(&mut self.status);
        self.roles.clone_from(&node.roles);
        if let Some(created_at) = node.created_at {
            self.age_seconds = api::seconds_since(created_at);
            self.age = api::age(self.age_seconds);
        }
        self.version.clone_from(&node.version);
        self.pods_count = pods;
        self.addresses = addresses(node);
        self
    }

    pub(super) fn status(&self) -> &str {
        &self.status
    }

    /// The number of its row.
    pub(super) const fn row(&self) -> i64 {
        self.row
    }
}

fn addresses(node: &Node) -> Vec<Address> {
    let all = node.addresses.iter();
    all.map(|(kind, address)| Address { kind: kind.clone(), address: address.clone() }).collect()
}

/// The node of a device, as the cluster has it.
#[derive(Serialize, ToSchema)]
#[schema(as = DeviceNode)]
struct NodeShown {
    /// `Ready` or `NotReady`.
    #[schema(example = "Ready")]
    status: &'static str,
    #[schema(example = json!(["agent", "edge"]))]
    roles: Vec<String>,
    /// Of its kubelet, or edgecore.
    #[schema(example = "v1.29.5-kubeedge-v1.18.0")]
    version: Option<String>,
    /// Those that have not ended.
    pods_count: Option<u64>,
    addresses: Vec<Address>,
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
    /// `Ready` or `NotReady`, by its Node object where the cluster has one.
    #[schema(example = "Ready")]
    status: String,
    /// Its node; null where it is no node of a cluster.
    node: Option<NodeShown>,
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
    /// Of this device, with what the cluster knows of its node.
    #[must_use]
    pub fn of(device: &Device, online: bool, edge: &Edge) -> Self {
        let node = edge.node(&device.node_name);
        let heartbeat = parse(device.heartbeat.as_deref());
        let hello = parse(device.hello.as_deref());
        let said = |key: &str| hello[key].as_str().map(str::to_owned);
        let mut configuration = json!({
            "runtime": null,
            "cni_version": null,
            "kubeedge_version": node.and_then(|(node, _)| node.kubeedge_version()),
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
            status: node.map_or_else(|| device.status.clone(), |(n, _)| n.status().to_owned()),
            node: node.map(|(node, pods_count)| NodeShown {
                status: node.status(),
                roles: node.roles.clone(),
                version: node.version.clone(),
                pods_count,
                addresses: addresses(node),
            }),
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
