//! Which objects stand for a device and its node: names and labels that Kubernetes takes, each for
//! one id only.

use cloudcore_protocol::{DeviceId, NodeName};

use crate::keys;

/// Hexadecimal digits of the hash behind what had to be changed.
const HASH: usize = 16;
/// The longest value of a label.
const MAX_LABEL: usize = 63;

/// What a device without a type is called, here as in the fleet's numbers.
const UNTYPED: &str = "unknown";

/// Name of a node's `ConfigMap`. A node's name is one of Kubernetes already.
pub(super) fn config_map(node: &NodeName) -> String {
    format!("edgecore-config-{node}")
}

/// Name of a node's `ServiceAccount`, `Role` and `RoleBinding`.
pub(super) fn rights(node: &NodeName) -> String {
    format!("edgecore-{node}")
}

/// Name of a device's object.
pub(super) fn device(id: &DeviceId) -> String {
    unique(id.as_str(), usize::MAX, is_subdomain)
}

/// The device's type, also where none was said.
pub(super) fn type_of(device_type: Option<&str>) -> &str {
    device_type.unwrap_or(UNTYPED)
}

/// Name of the object that stands for a type of device.
pub(super) fn model(device_type: &str) -> String {
    format!("cloudcore-{}", unique(device_type, usize::MAX, is_subdomain))
}

/// A text as the value of a label.
pub(super) fn label(text: &str) -> String {
    unique(text, MAX_LABEL, is_label_value)
}

/// The text itself where that fits; otherwise what is left of it, and its hash. A text that looks
/// as if it had been changed is changed too, so that no two texts come to the same.
fn unique(text: &str, max: usize, fits: fn(&str) -> bool) -> String {
    if text.len() <= max && fits(text) && !ends_in_hash(text) {
        return text.to_owned();
    }
    let plain = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9') => c,
        _ => '-',
    };
    let room = max.min(MAX_LABEL + 100).saturating_sub(HASH + 1);
    let rest: String = text.chars().map(plain).take(room).collect();
    let hash = &keys::sha256_hex(text.as_bytes())[..HASH];
    match rest.trim_matches('-') {
        "" => format!("x-{hash}"),
        rest => format!("{rest}-{hash}"),
    }
}

fn ends_in_hash(text: &str) -> bool {
    text.rsplit_once('-').is_some_and(|(_, end)| {
        end.len() == HASH && end.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Whether it is a name of DNS (RFC 1123), as Kubernetes wants of an object's.
fn is_subdomain(text: &str) -> bool {
    let part = |part: &str| {
        part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    text.len() <= 200 && text.split('.').all(part)
}

fn is_label_value(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
        && edge(bytes.first())
        && edge(bytes.last())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn id(text: &str) -> DeviceId {
        text.to_owned().try_into().unwrap()
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        assert_eq!(device(&id("edge-device-001")), "edge-device-001");
        assert_eq!(device(&id("cam.hall-1")), "cam.hall-1");
        assert_eq!(label("Camera_1.b"), "Camera_1.b");
        assert_eq!(model("camera"), "cloudcore-camera");
        assert_eq!(model(type_of(None)), "cloudcore-unknown");
    }

    #[test]
    fn what_does_not_fit_is_changed_and_no_two_come_to_the_same() {
        let changed = device(&id("cam-1-00112233445566ff"));
        let same = device(&id("CAM-1"));
        let long = "x".repeat(100);
        let ids = ["cam-1", "Cam-1", "CAM-1", "cam_1", "cam..1", "cam.-1", &changed, &same, &long];
        let names: BTreeSet<String> = ids.iter().map(|text| device(&id(text))).collect();
        assert_eq!(names.len(), ids.len(), "{names:?}");
        for name in &names {
            assert!(is_subdomain(name), "{name}");
        }
        let labels: BTreeSet<String> = ids.iter().map(|text| label(text)).collect();
        assert_eq!(labels.len(), ids.len(), "{labels:?}");
        for text in ["Überwachung im Hof", "---", "日本", "a b", &"y".repeat(50)] {
            assert!(is_subdomain(&model(text)), "{}", model(text));
            let value = label(text);
            assert!(is_label_value(&value) && value.len() <= MAX_LABEL, "{value}");
        }
    }
}
