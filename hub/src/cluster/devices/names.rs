//! Which objects stand for a device and its node: names and labels that Kubernetes takes, each for
//! one id only.

use cloudcore_protocol::{DeviceId, NodeName};

use crate::cluster::labels::unique;

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
        for text in ["Überwachung im Hof", "---", "日本", "a b", &"y".repeat(50)] {
            assert!(is_subdomain(&model(text)), "{}", model(text));
        }
    }
}
