//! What is said on the topics: JSON of strangers, understood or refused whole.

mod status;
#[cfg(test)]
mod tests;

use std::time::Duration;

use cloudcore_protocol::{BoundingBox, Detection, DetectionPhase, DeviceId, NodeName, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

pub(super) use status::Status;

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
        zones: None,
        id: None,
        snapshot: None,
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
