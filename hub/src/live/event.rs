//! What can happen, and how it is told. Two spellings of each event come from here and from
//! nowhere else: the stream's ("6. Real-time Monitoring") and that of messages ("WebSocket
//! Events"), which webhooks have too.

use axum::extract::ws::Utf8Bytes;
use cloudcore_protocol::{Detection, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The contract's seven events.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A device has a session.
    DeviceJoined,
    /// A device has none any more.
    DeviceLeft,
    /// How a device is.
    Heartbeat,
    /// An object came or went.
    Detection,
    /// A command was accepted.
    CommandSent,
    /// A command ended.
    CommandResult,
    /// Something that an operator should know began or ended.
    Alert,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::DeviceJoined,
        Self::DeviceLeft,
        Self::Heartbeat,
        Self::Detection,
        Self::CommandSent,
        Self::CommandResult,
        Self::Alert,
    ];

    /// In messages and webhooks.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DeviceJoined => "device_joined",
            Self::DeviceLeft => "device_left",
            Self::Heartbeat => "heartbeat",
            Self::Detection => "detection",
            Self::CommandSent => "command_sent",
            Self::CommandResult => "command_result",
            Self::Alert => "alert",
        }
    }

    /// In the stream, where the contract speaks of nodes.
    #[must_use]
    pub const fn stream_name(self) -> &'static str {
        match self {
            Self::DeviceJoined => "node_joined",
            Self::DeviceLeft => "node_left",
            other => other.name(),
        }
    }

    /// Where it belongs.
    #[must_use]
    pub const fn topic(self) -> Topic {
        match self {
            Self::DeviceJoined | Self::DeviceLeft | Self::Heartbeat => Topic::DeviceStatus,
            Self::Detection => Topic::Detections,
            Self::CommandSent | Self::CommandResult => Topic::Commands,
            Self::Alert => Topic::Alerts,
        }
    }
}

/// What one subscribes to.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// `device_joined`, `device_left`, `heartbeat`.
    DeviceStatus,
    /// `detection`.
    Detections,
    /// `command_sent`, `command_result`.
    Commands,
    /// `alert`.
    Alerts,
}

/// Something that happened, as its room knows it.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// Its device, where it concerns one.
    pub device_id: Option<&'a str>,
    /// The device's node.
    pub node_name: Option<&'a str>,
    /// What it was.
    pub what: What<'a>,
}

/// What happened.
#[derive(Debug, Clone, Copy)]
pub enum What<'a> {
    /// See [`Kind::DeviceJoined`].
    Joined,
    /// See [`Kind::DeviceLeft`].
    Left {
        /// For people.
        reason: &'a str,
    },
    /// See [`Kind::Heartbeat`].
    Heartbeat {
        /// `45%`.
        cpu: Option<&'a str>,
        /// `2.3GB`.
        memory: Option<&'a str>,
        /// All that the device's details have too.
        vitals: &'a Value,
    },
    /// See [`Kind::Detection`].
    Detection {
        /// As its device said.
        detection: &'a Detection,
        /// Where anybody may see it, for an hour.
        image_url: Option<&'a str>,
        /// `started` or `ended`.
        phase: &'a str,
        /// 0 to 1.
        confidence: f32,
        /// Names of the zones that it was in.
        zones: &'a [&'a str],
    },
    /// See [`Kind::CommandSent`].
    CommandSent {
        /// Its id.
        id: &'a str,
        /// Its name.
        command: &'a str,
    },
    /// See [`Kind::CommandResult`].
    CommandResult {
        /// Its id.
        id: &'a str,
        /// Its name.
        command: &'a str,
        /// How it ended (`completed`).
        status: &'a str,
        /// As the command's status has it: an object or null.
        result: &'a Value,
    },
    /// See [`Kind::Alert`].
    Alert {
        /// A term (`camera_lost`).
        term: &'a str,
        /// `critical`, `warning`, or `info` where it ends.
        level: &'a str,
        /// For people.
        message: &'a str,
        /// Whether it begins.
        active: bool,
    },
}

/// An event in both spellings, to be shared by all who are told.
#[derive(Debug, Clone)]
pub struct News {
    /// Which event it is.
    pub kind: Kind,
    /// The device it concerns, where it concerns one.
    pub device_id: Option<String>,
    /// The stream's JSON object.
    pub stream: String,
    /// The message's JSON object; its first key is `type`.
    pub message: Utf8Bytes,
}

/// How each message of this kind begins; at least one more key follows.
pub(super) fn head(kind: Kind) -> String {
    format!("{{\"type\":\"{}\",", kind.name())
}

impl Event<'_> {
    /// In both spellings.
    #[must_use]
    pub fn news(&self) -> News {
        let (kind, at) = (self.kind(), Timestamp::now());
        let mut stream = Map::new();
        stream.insert("timestamp".into(), json!(at));
        stream.insert("event".into(), json!(kind.stream_name()));
        let mut message = Map::new();
        for object in [&mut stream, &mut message] {
            object.insert("node_name".into(), json!(self.node_name));
            object.insert("device_id".into(), json!(self.device_id));
        }
        self.fill(&mut stream, &mut message);
        message.insert("timestamp".into(), json!(at));
        let message = bounded(message);
        News {
            kind,
            device_id: self.device_id.map(str::to_owned),
            stream: bounded(stream),
            message: format!("{}{}", head(kind), &message[1..]).into(),
        }
    }

    const fn kind(&self) -> Kind {
        match self.what {
            What::Joined => Kind::DeviceJoined,
            What::Left { .. } => Kind::DeviceLeft,
            What::Heartbeat { .. } => Kind::Heartbeat,
            What::Detection { .. } => Kind::Detection,
            What::CommandSent { .. } => Kind::CommandSent,
            What::CommandResult { .. } => Kind::CommandResult,
            What::Alert { .. } => Kind::Alert,
        }
    }

    /// The keys that are this kind's own, where the contract names them so and, where it does
    /// not, in one form for both.
    fn fill(&self, stream: &mut Map<String, Value>, message: &mut Map<String, Value>) {
        match self.what {
            What::Joined => both(stream, message, json!({ "status": "Ready" })),
            What::Left { reason } => {
                both(stream, message, json!({ "status": "NotReady", "reason": reason }));
            }
            What::Heartbeat { cpu, memory, vitals } => {
                both(stream, message, json!({ "cpu": cpu, "memory": memory }));
                both(stream, message, vitals.clone());
            }
            What::Detection { detection: d, image_url, phase, confidence, zones } => {
                both(stream, message, json!({ "object": d.object }));
                // The stream's is a text, so the number stands beside it.
                stream.insert("confidence".into(), json!(format!("{confidence:.2}")));
                stream.insert("score".into(), rounded(confidence));
                message.insert("confidence".into(), rounded(confidence));
                let rest = json!({
                    "phase": phase,
                    "detection_id": d.id,
                    "image_url": image_url,
                    "track_id": d.track_id,
                    "bounding_box": d.bounding_box,
                    "frame_width": d.frame_width,
                    "frame_height": d.frame_height,
                    "model": d.model,
                    "captured_at": d.captured_at,
                    "zones": zones,
                });
                both(stream, message, rest);
            }
            What::CommandSent { id, command } => {
                both(stream, message, json!({ "command_id": id, "command": command }));
            }
            What::CommandResult { id, command, status, result } => {
                let rest = json!({ "command_id": id, "command": command, "status": status });
                both(stream, message, rest);
                stream.insert("result".into(), result.clone());
                // The message's is a text, so the object stands beside it.
                message.insert("result".into(), json!(in_words(status, result)));
                message.insert("output".into(), result.clone());
            }
            What::Alert { term, level, message: words, active } => {
                // The message's `type` is `alert`.
                stream.insert("type".into(), json!(term));
                message.insert("alert_type".into(), json!(term));
                let rest = json!({ "level": level, "message": words, "active": active });
                both(stream, message, rest);
            }
        }
    }
}

fn both(stream: &mut Map<String, Value>, message: &mut Map<String, Value>, fields: Value) {
    if let Value::Object(fields) = fields {
        stream.extend(fields.clone());
        message.extend(fields);
    }
}

/// Without the digits that are an artefact of its 32 bits: 0.95, not 0.949999988079071.
fn rounded(confidence: f32) -> Value {
    json!((f64::from(confidence) * 1e4).round() / 1e4)
}

/// A command's end for people: `success`, or why there is none.
fn in_words<'a>(status: &'a str, result: &'a Value) -> &'a str {
    match status {
        "completed" => "success",
        _ => result["message"].as_str().unwrap_or(status),
    }
}

/// Largest event, bytes: what waits for slow watchers is so many of them at most.
const MAX_EVENT: usize = 32 * 1024;
/// Largest value in an event that is larger than that.
const MAX_VALUE: usize = 1024;

/// The object as text. One that is too large loses its large values: they are null, and
/// `truncated` says so; the API has the whole.
fn bounded(mut object: Map<String, Value>) -> String {
    let text = text(&object);
    if text.len() <= MAX_EVENT {
        return text;
    }
    for value in object.values_mut() {
        if value.to_string().len() > MAX_VALUE {
            *value = Value::Null;
        }
    }
    object.insert("truncated".into(), json!(true));
    self::text(&object)
}

fn text(object: &Map<String, Value>) -> String {
    serde_json::to_string(object).unwrap_or_else(|_| "{}".into())
}
