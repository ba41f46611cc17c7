//! The documented topics (contract, "MQTT Topics"), and those beside them.

use std::fmt;

use cloudcore_protocol::{CommandId, DeviceId};

/// A topic that means something here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Topic {
    /// Takes commands for a device, and brings them to one that lives on MQTT.
    Command(DeviceId),
    /// Takes commands for all devices, or all of a type.
    Broadcast,
    /// How a device is; retained.
    Status(DeviceId),
    /// What a device saw.
    Detection(DeviceId),
    /// What became of a command.
    Result(DeviceId, CommandId),
    /// What an operator should know.
    Alerts,
}

impl Topic {
    /// Understands a topic; `None` for one that means nothing here.
    pub fn parse(topic: &str) -> Option<Self> {
        let rest = topic.strip_prefix("cloudcore/")?;
        match rest {
            "broadcast/command" => return Some(Self::Broadcast),
            "alerts" => return Some(Self::Alerts),
            _ => {}
        }
        let (device, kind) = rest.strip_prefix("device/")?.split_once('/')?;
        let device = device.parse().ok()?;
        match kind {
            "command" => Some(Self::Command(device)),
            "status" => Some(Self::Status(device)),
            "detection" => Some(Self::Detection(device)),
            _ => {
                let id = kind.strip_prefix("command/")?.strip_suffix("/result")?;
                Some(Self::Result(device, id.to_owned().try_into().ok()?))
            }
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(device) => write!(f, "cloudcore/device/{device}/command"),
            Self::Broadcast => f.write_str("cloudcore/broadcast/command"),
            Self::Status(device) => write!(f, "cloudcore/device/{device}/status"),
            Self::Detection(device) => write!(f, "cloudcore/device/{device}/detection"),
            Self::Result(device, id) => write!(f, "cloudcore/device/{device}/command/{id}/result"),
            Self::Alerts => f.write_str("cloudcore/alerts"),
        }
    }
}

/// Everything.
pub(super) const ALL: &str = "cloudcore/#";

/// Where commands may be published: one device's, or all devices'.
pub(super) const COMMANDS: [&str; 2] =
    ["cloudcore/device/+/command", "cloudcore/broadcast/command"];

/// What anybody may hear where monitoring is public: what the event stream tells.
pub(super) const WATCHED: [&str; 4] = [
    "cloudcore/device/+/status",
    "cloudcore/device/+/detection",
    "cloudcore/device/+/command/+/result",
    "cloudcore/alerts",
];

/// Where any device speaks.
pub(super) const SAID: [&str; 3] = [
    "cloudcore/device/+/status",
    "cloudcore/device/+/detection",
    "cloudcore/device/+/command/+/result",
];

/// Where this device may speak.
pub(super) fn said_by(device: &DeviceId) -> Vec<String> {
    SAID.iter().map(|filter| filter.replacen('+', device.as_str(), 1)).collect()
}

/// What this device may hear.
pub(super) fn heard_by(device: &DeviceId) -> Vec<String> {
    vec![format!("cloudcore/device/{device}/#")]
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test that is surprised has failed")]
mod tests {
    use super::*;
    use crate::mqtt::broker::filter;

    #[test]
    fn each_topic_is_read_as_it_is_written() {
        let device: DeviceId = "cam-1".parse().expect("an id");
        for topic in [
            Topic::Command(device.clone()),
            Topic::Broadcast,
            Topic::Status(device.clone()),
            Topic::Detection(device.clone()),
            Topic::Result(device, CommandId::generate()),
            Topic::Alerts,
        ] {
            assert_eq!(Topic::parse(&topic.to_string()), Some(topic));
        }
    }

    #[test]
    fn other_topics_mean_nothing() {
        for topic in [
            "",
            "cloudcore",
            "cloudcore/",
            "cloudcore/device",
            "cloudcore/device/cam-1",
            "cloudcore/device//status",
            "cloudcore/device/-/status",
            "cloudcore/device/cam-1/status/",
            "cloudcore/device/cam-1/command/cmd_12345/result",
            "cloudcore/device/cam-1/command/cmd_01ARZ3NDEKTSV4RRFFQ69G5FAV/results",
            "cloudcore/device/cam 1/status",
            "/cloudcore/alerts",
            "cloudcore/broadcast/command/x",
        ] {
            assert_eq!(Topic::parse(topic), None, "{topic}");
        }
    }

    #[test]
    fn a_device_speaks_on_its_own_topics_only() {
        let device: DeviceId = "cam-1".parse().expect("an id");
        let may = |topic: &str| said_by(&device).iter().any(|f| filter::has(f, topic));
        assert!(may("cloudcore/device/cam-1/status"));
        assert!(may("cloudcore/device/cam-1/command/cmd_01ARZ3NDEKTSV4RRFFQ69G5FAV/result"));
        assert!(!may("cloudcore/device/cam-1/command"));
        assert!(!may("cloudcore/device/cam-2/status"));
        assert!(!may("cloudcore/alerts"));
        let hears = |asked: &str| heard_by(&device).iter().any(|f| filter::covers(f, asked));
        assert!(hears("cloudcore/device/cam-1/command"));
        assert!(!hears("cloudcore/device/+/command"));
        assert!(!hears("cloudcore/broadcast/command"));
    }
}
