//! How devices say that they are.

use cloudcore_protocol::{CameraState, Heartbeat, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{MAX_STATUS, Malformed, at, object, read};
use crate::api;

/// How a device says that it is.
#[derive(Debug)]
pub struct Status {
    /// Whether it takes part; a last will says that it does not.
    pub online: bool,
    /// When, by its clock.
    pub at: Timestamp,
    /// As the device's details show it.
    pub vitals: Value,
}

#[derive(Deserialize)]
struct Said {
    online: bool,
    timestamp: Option<String>,
    cpu: Option<Value>,
    cpu_percent: Option<f64>,
    memory: Option<Value>,
    memory_used_bytes: Option<u64>,
    memory_total_bytes: Option<u64>,
    temperature_celsius: Option<f64>,
    disk_used_bytes: Option<u64>,
    disk_total_bytes: Option<u64>,
    uptime_seconds: Option<u64>,
    version: Option<String>,
}

impl Status {
    /// Understands `{"online": true, "cpu": "45%", "memory": "2.3GB", …}`. Keys that mean nothing
    /// here are kept beside the others: a sensor's readings.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let object = object(payload, MAX_STATUS)?;
        let said: Said = read(object.clone())?;
        let cpu = match (&said.cpu_percent, &said.cpu) {
            (Some(percent), _) => Some(*percent),
            (None, Some(Value::String(text))) => Some(percent(text)?),
            (None, Some(Value::Number(number))) => number.as_f64(),
            (None, None | Some(Value::Null)) => None,
            _ => return Err("cpu is neither text nor a number".into()),
        };
        if cpu.is_some_and(|percent| !(0.0..=100.0).contains(&percent)) {
            return Err("cpu is not 0 to 100 %".into());
        }
        let memory = match (&said.memory_used_bytes, &said.memory) {
            (Some(bytes), _) => Some(*bytes),
            (None, Some(Value::String(text))) => Some(bytes(text)?),
            (None, Some(Value::Number(number))) => number.as_u64(),
            (None, None | Some(Value::Null)) => None,
            _ => return Err("memory is neither text nor a number".into()),
        };
        let of = |used: Option<u64>, total: Option<u64>| {
            used.map(|used| match total {
                Some(total) => format!("{}/{}", api::size(used), api::size(total)),
                None => api::size(used),
            })
        };
        let reported: Map<String, Value> =
            object.into_iter().filter(|(key, _)| !KNOWN.contains(&key.as_str())).collect();
        Ok(Self {
            online: said.online,
            at: at(said.timestamp.as_deref())?,
            vitals: json!({
                "cpu_usage": cpu.map(api::percent),
                "cpu_percent": cpu,
                "memory_usage": of(memory, said.memory_total_bytes),
                "memory_used_bytes": memory,
                "memory_total_bytes": said.memory_total_bytes,
                "temperature": said.temperature_celsius.map(|t| format!("{t:.0}°C")),
                "temperature_celsius": said.temperature_celsius,
                "disk_usage": of(said.disk_used_bytes, said.disk_total_bytes),
                "disk_used_bytes": said.disk_used_bytes,
                "disk_total_bytes": said.disk_total_bytes,
                "uptime_seconds": said.uptime_seconds,
                "agent_version": said.version,
                "reported": reported,
            }),
        })
    }
}

const KNOWN: [&str; 12] = [
    "online",
    "timestamp",
    "cpu",
    "cpu_percent",
    "memory",
    "memory_used_bytes",
    "memory_total_bytes",
    "temperature_celsius",
    "disk_used_bytes",
    "disk_total_bytes",
    "uptime_seconds",
    "version",
];

impl Status {
    /// As alerts are judged on it; what it does not say is nothing out of nothing.
    pub fn heartbeat(&self) -> Heartbeat {
        let whole = |key: &str| self.vitals[key].as_u64().unwrap_or(0);
        #[allow(clippy::cast_possible_truncation, reason = "a quantity of a sensor")]
        let real = |key: &str| self.vitals[key].as_f64().map(|n| n as f32);
        Heartbeat {
            cpu_percent: real("cpu_percent"),
            memory_used_bytes: whole("memory_used_bytes"),
            memory_total_bytes: whole("memory_total_bytes"),
            temperature_celsius: real("temperature_celsius"),
            uptime_seconds: whole("uptime_seconds"),
            disk_used_bytes: whole("disk_used_bytes"),
            disk_total_bytes: whole("disk_total_bytes"),
            agent_version: String::new(),
            camera: CameraState::None,
            detecting: false,
            outbox_events: 0,
            apps: None,
        }
    }
}

/// `45%`.
fn percent(text: &str) -> Result<f64, Malformed> {
    text.trim_end_matches('%').trim().parse().map_err(|_| format!("cpu '{text:.40}' is no number"))
}

/// `2.3GB`, and `2.3GB/8GB` of which the first counts.
fn bytes(text: &str) -> Result<u64, Malformed> {
    let bad = || format!("memory '{text:.40}' is no size");
    let used = text.split('/').next().unwrap_or_default().trim();
    let digits = used.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let number: f64 = digits.parse().map_err(|_| bad())?;
    let unit = match used[digits.len()..].trim().to_ascii_uppercase().as_str() {
        "" | "B" => 1.0,
        "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        _ => return Err(bad()),
    };
    let bytes = number * unit;
    if !(0.0..1e15).contains(&bytes) {
        return Err(bad());
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is 0 to 1e15")]
    Ok(bytes as u64)
}
