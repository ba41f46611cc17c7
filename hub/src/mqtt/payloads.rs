//! What is said on the topics: JSON of strangers, understood or refused whole.

use std::time::Duration;

use cloudcore_protocol::{
    BoundingBox, CameraState, Detection, DetectionPhase, DeviceId, Heartbeat, NodeName, Timestamp,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    api,
    commands::{self, Ending, NewCommand},
};

/// Largest payload, bytes.
const MAX_PAYLOAD: usize = 64 * 1024;
/// Largest status, bytes: it is kept, and shown with the device.
const MAX_STATUS: usize = 8 * 1024;

/// Why a payload is refused, for the log.
pub(super) type Malformed = String;

fn object(payload: &[u8], most: usize) -> Result<Map<String, Value>, Malformed> {
    if payload.len() > most {
        return Err(format!("more than {most} bytes"));
    }
    match serde_json::from_slice(payload) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("not a JSON object".into()),
        Err(error) => Err(error.to_string()),
    }
}

fn read<T: for<'de> Deserialize<'de>>(object: Map<String, Value>) -> Result<T, Malformed> {
    T::deserialize(Value::Object(object)).map_err(|e| e.to_string())
}

/// A time as the device's clock has it; now where it has none.
fn at(text: Option<&str>) -> Result<Timestamp, Malformed> {
    let Some(text) = text else { return Ok(Timestamp::now()) };
    let at = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| format!("timestamp '{text:.40}' is not RFC 3339"))?;
    let micros = i64::try_from(at.unix_timestamp_nanos() / 1000).map_err(|e| e.to_string())?;
    Ok(Timestamp::from_micros(micros))
}

/// A command that somebody publishes.
#[derive(Debug)]
pub(super) struct Order {
    /// Its name.
    pub name: String,
    /// An object, or null.
    pub parameters: Value,
    /// From now on.
    pub timeout: Duration,
    /// Of a broadcast: only devices of this type.
    pub device_type: Option<String>,
}

#[derive(Deserialize)]
struct Ordered {
    command: String,
    #[serde(default)]
    parameters: Value,
    timeout: Option<u32>,
    device_type: Option<String>,
}

impl Order {
    /// Understands `{"command": …, "parameters": …, "timeout": …, "device_type": …}`. `Ok(None)`
    /// for a command that has an id: that is the hub's own word to a device.
    pub fn parse(payload: &[u8]) -> Result<Option<Self>, Malformed> {
        let object = object(payload, MAX_PAYLOAD)?;
        if object.contains_key("command_id") {
            return Ok(None);
        }
        let ordered: Ordered = read(object)?;
        let checked = commands::check(&ordered.command, &ordered.parameters, ordered.timeout);
        let timeout = checked.map_err(|e| e.message.into_owned())?;
        let Ordered { command, parameters, device_type, .. } = ordered;
        Ok(Some(Self { name: command, parameters, timeout, device_type }))
    }

    /// For this device.
    pub fn to(self, device_id: DeviceId) -> NewCommand {
        let Self { name, parameters, timeout, .. } = self;
        NewCommand { device_id, name, parameters, timeout, queue: true }
    }
}

/// A command on its way to a device: what the device reads.
pub(super) fn command(command: &cloudcore_protocol::Command, now: Timestamp) -> Value {
    let parameters = serde_json::from_str(&command.parameters).unwrap_or(Value::Null);
    json!({
        "command_id": command.id,
        "command": command.name,
        "parameters": if parameters.is_null() { json!({}) } else { parameters },
        // What is left of it, rounded up: the hub's own clock ends the command.
        "timeout": command.time_left_ms.div_ceil(1000),
        "sent_at": now,
    })
}

/// How a device says that it is.
#[derive(Debug)]
pub(super) struct Status {
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

/// A device's status as the hub publishes it: the documented keys first.
pub(super) fn status(
    device: &DeviceId,
    node: &str,
    online: bool,
    vitals: &Value,
    at: Option<Timestamp>,
) -> Value {
    let mut status = json!({
        "online": online,
        "cpu": vitals["cpu_usage"],
        "memory": vitals["memory_used_bytes"].as_u64().map(api::size),
        "device_id": device,
        "node_name": node,
        "timestamp": at,
    });
    if let (Value::Object(status), Value::Object(vitals)) = (&mut status, vitals) {
        for (key, value) in vitals {
            status.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    status
}

#[derive(Deserialize)]
struct Seen {
    object: String,
    confidence: Option<Value>,
    #[serde(default)]
    phase: Phase,
    #[serde(default)]
    track_id: u64,
    bounding_box: Option<BoundingBox>,
    #[serde(default)]
    frame_width: u32,
    #[serde(default)]
    frame_height: u32,
    model: Option<String>,
    timestamp: Option<String>,
    #[serde(default)]
    latency_ms: u32,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum Phase {
    #[default]
    Started,
    Ended,
}

/// Understands `{"object": "person", "confidence": 0.95, …}`.
pub(super) fn detection(payload: &[u8]) -> Result<Detection, Malformed> {
    let seen: Seen = read(object(payload, MAX_PAYLOAD)?)?;
    let confidence = match &seen.confidence {
        // A sensor that sees or does not see.
        None | Some(Value::Null) => Some(1.0),
        Some(Value::Number(number)) => number.as_f64(),
        // The contract's stream has it as text.
        Some(Value::String(text)) => text.parse().ok(),
        Some(_) => None,
    };
    let confidence =
        confidence.filter(|c| (0.0..=1.0).contains(c)).ok_or("confidence is not 0 to 1")?;
    if !(1..=100).contains(&seen.object.len()) {
        return Err("object has not 1 to 100 characters".into());
    }
    let model = seen.model.unwrap_or_else(|| "unknown".into());
    if model.len() > 100 {
        return Err("model has more than 100 characters".into());
    }
    let zero = BoundingBox { x: 0.0, y: 0.0, width: 0.0, height: 0.0 };
    Ok(Detection {
        track_id: seen.track_id,
        phase: match seen.phase {
            Phase::Started => DetectionPhase::Started,
            Phase::Ended => DetectionPhase::Ended,
        },
        object: seen.object,
        #[allow(clippy::cast_possible_truncation, reason = "it is 0 to 1")]
        confidence: confidence as f32,
        bounding_box: seen.bounding_box.unwrap_or(zero),
        frame_width: seen.frame_width,
        frame_height: seen.frame_height,
        model,
        captured_at: at(seen.timestamp.as_deref())?,
        latency_micros: u64::from(seen.latency_ms) * 1000,
    })
}

#[derive(Deserialize)]
struct Ended {
    status: Outcome,
    #[serde(default)]
    result: Value,
    error: Option<String>,
    message: Option<String>,
    execution_time_ms: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Running,
    Completed,
    Failed,
    TimedOut,
    Cancelled,
}

/// Understands `{"status": "completed", "result": {…}}` and
/// `{"status": "failed", "error": "…", "message": "…"}`.
pub(super) fn result(payload: &[u8]) -> Result<(commands::Event, Ending), Malformed> {
    let ended: Ended = read(object(payload, MAX_PAYLOAD)?)?;
    let mut result = match ended.result {
        Value::Null => Map::new(),
        Value::Object(object) => object,
        _ => return Err("result is not an object".into()),
    };
    let success = matches!(ended.status, Outcome::Completed);
    let (event, error, message) = match ended.status {
        Outcome::Running => return Ok((commands::Event::Start, Ending::default())),
        Outcome::Completed => (commands::Event::Complete, None, None),
        Outcome::Failed => (commands::Event::Fail, Some("failed"), Some("the device failed")),
        Outcome::TimedOut => (
            commands::Event::TimeOut,
            Some("timed_out"),
            Some("the command's time ran out while the device ran it"),
        ),
        Outcome::Cancelled => {
            (commands::Event::Cancel, Some("cancelled"), Some("it was cancelled"))
        }
    };
    result.insert("success".into(), json!(success));
    for (key, said, default) in [("error", ended.error, error), ("message", ended.message, message)]
    {
        if let Some(text) = said.or_else(|| default.map(str::to_owned)) {
            result.entry(key).or_insert_with(|| text.into());
        }
    }
    let duration_micros = ended.execution_time_ms.map(|ms| u64::from(ms) * 1000);
    Ok((event, Ending { result: Some(Value::Object(result)), duration_micros }))
}

/// A device and its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// The device.
    pub device_id: DeviceId,
    /// Its node.
    pub node_name: NodeName,
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test that is surprised has failed")]
mod tests {
    use super::*;

    #[test]
    fn the_documented_payloads_are_understood() {
        let order = Order::parse(br#"{"command": "reboot", "device_type": "camera"}"#);
        let order = order.expect("well-formed").expect("a command");
        assert_eq!((order.name.as_str(), order.device_type.as_deref()), ("reboot", Some("camera")));
        assert_eq!(order.timeout, Duration::from_secs(30));
        let status = Status::parse(br#"{"online": true, "cpu": "45%", "memory": "2.3GB"}"#);
        let status = status.expect("well-formed");
        assert!(status.online);
        assert_eq!(status.vitals["cpu_usage"], "45%");
        assert_eq!(status.vitals["cpu_percent"], 45.0);
        assert_eq!(status.vitals["memory_used_bytes"], 2_300_000_000_u64);
        assert_eq!(status.vitals["memory_usage"], "2.3GB");
        assert_eq!(status.vitals["temperature"], Value::Null);
    }

    #[test]
    fn a_sensors_readings_are_kept() {
        let status = Status::parse(br#"{"online":true,"humidity":40.5,"cpu":7}"#).expect("good");
        assert_eq!(status.vitals["reported"], json!({ "humidity": 40.5 }));
        assert_eq!(status.vitals["cpu_percent"], 7.0);
    }

    #[test]
    fn a_published_status_has_the_documented_keys_first() {
        let device: DeviceId = "s-1".parse().expect("an id");
        let vitals = json!({ "cpu_usage": "45%", "memory_used_bytes": 2_300_000_000_u64 });
        let text = status(&device, "n-1", true, &vitals, None).to_string();
        assert!(text.starts_with(r#"{"online":true,"cpu":"45%","memory":"2.3GB","#), "{text}");
        let none = status(&device, "n-1", false, &Value::Null, None);
        assert_eq!((&none["cpu"], &none["memory"]), (&Value::Null, &Value::Null));
    }

    #[test]
    fn a_command_of_the_hub_is_no_new_command() {
        let own = cloudcore_protocol::Command {
            id: cloudcore_protocol::CommandId::generate(),
            name: "reboot".into(),
            parameters: "null".into(),
            time_left_ms: 29_001,
        };
        let told = command(&own, Timestamp::from_micros(0));
        assert_eq!((&told["timeout"], &told["parameters"]), (&json!(30), &json!({})));
        assert!(Order::parse(told.to_string().as_bytes()).expect("well-formed").is_none());
    }

    #[test]
    fn a_command_ends_as_its_device_says() {
        let (event, ending) =
            result(br#"{"status":"completed","result":{"on":true},"execution_time_ms":15}"#)
                .expect("well-formed");
        assert_eq!(event, commands::Event::Complete);
        assert_eq!(ending.result, Some(json!({ "on": true, "success": true })));
        assert_eq!(ending.duration_micros, Some(15_000));
        let (event, ending) =
            result(br#"{"status":"failed","error":"valve_stuck"}"#).expect("well-formed");
        assert_eq!(event, commands::Event::Fail);
        let told = ending.result.expect("a result");
        assert_eq!((&told["success"], &told["error"]), (&json!(false), &json!("valve_stuck")));
        assert!(told["message"].is_string());
        let (event, _) = result(br#"{"status":"running"}"#).expect("well-formed");
        assert_eq!(event, commands::Event::Start);
    }

    #[test]
    fn a_detection_has_defaults() {
        let seen = detection(br#"{"object":"motion"}"#).expect("well-formed");
        assert_eq!((seen.object.as_str(), seen.phase), ("motion", DetectionPhase::Started));
        assert!((seen.confidence - 1.0).abs() < f32::EPSILON);
        let seen = detection(br#"{"object":"person","confidence":"0.95","phase":"ended"}"#);
        assert_eq!(seen.expect("well-formed").phase, DetectionPhase::Ended);
    }

    #[test]
    fn nonsense_is_refused_and_no_more() {
        let deep = "[".repeat(100_000);
        for nonsense in [
            &b""[..],
            b"\xff\xfe\x00",
            b"null",
            b"7",
            b"[]",
            b"\"online\"",
            b"{",
            b"{\"online\":",
            deep.as_bytes(),
            br#"{"online":"yes"}"#,
            br#"{"online":true,"cpu":"NaN"}"#,
            br#"{"online":true,"cpu":"101%"}"#,
            br#"{"online":true,"cpu":[]}"#,
            br#"{"online":true,"memory":"much"}"#,
            br#"{"online":true,"memory":"-1GB"}"#,
            br#"{"online":true,"memory":"1e300TB"}"#,
            br#"{"online":true,"timestamp":"yesterday"}"#,
            br#"{"online":true,"memory":"\u00b5B"}"#,
        ] {
            let text = String::from_utf8_lossy(&nonsense[..nonsense.len().min(60)]).into_owned();
            assert!(Status::parse(nonsense).is_err(), "status {text}");
            assert!(Order::parse(nonsense).is_err(), "command {text}");
            assert!(result(nonsense).is_err(), "result {text}");
            assert!(detection(nonsense).is_err(), "detection {text}");
        }
        for bad in [
            r#"{"command":""}"#,
            r#"{"command":"Reboot"}"#,
            r#"{"command":"reboot","parameters":[]}"#,
            r#"{"command":"reboot","timeout":0}"#,
            r#"{"command":"reboot","timeout":86401}"#,
            r#"{"command":"reboot","device_type":7}"#,
        ] {
            assert!(Order::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(detection(br#"{"object":"","confidence":0.5}"#).is_err());
        assert!(detection(br#"{"object":"x","confidence":1.5}"#).is_err());
        assert!(result(br#"{"status":"completed","result":[]}"#).is_err());
        assert!(result(br#"{"status":"done"}"#).is_err());
        assert!(
            Status::parse(
                format!(r#"{{"online":true,"x":"{}"}}"#, "x".repeat(MAX_STATUS)).as_bytes()
            )
            .is_err()
        );
    }
}
