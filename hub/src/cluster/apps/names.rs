//! What an app's objects are called, and their labels.

use std::collections::BTreeMap;

use cloudcore_protocol::command::ImageReference;

use crate::{
    cluster::{
        apply::MANAGER,
        labels::{MANAGED_BY, value},
    },
    keys,
};

/// What an object is of: an app, and not CloudCore.
const COMPONENT: (&str, &str) = ("app.kubernetes.io/component", "app");
/// Which app on which node: the name of its objects.
pub(in crate::cluster) const INSTANCE: &str = "app.kubernetes.io/instance";
/// The name of the app.
const NAME: &str = "app.kubernetes.io/name";
const VERSION: &str = "app.kubernetes.io/version";
/// The node that it is for.
const NODE: &str = "cloudcore.io/node";

/// Digits of a hash that tell two names apart: 80 bits.
const HASH: usize = 20;
/// What a name repeats of app and node, for people.
const SHOWN: usize = 18;

/// The name of all objects of an app on a node: a DNS label that begins with a letter, as services
/// want it. Whatever the two are called, no other two have it.
pub(super) fn instance(app: &str, node: &str) -> String {
    // No name of an app or a node has a zero byte.
    let hash = keys::sha256_hex(format!("{app}\0{node}").as_bytes());
    format!("app-{}-{}-{}", shown(app), shown(node), &hash[..HASH])
}

/// The beginning of a name, as a part of a label.
fn shown(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let short: String = name.chars().take(SHOWN).map(plain).collect();
    short.trim_matches('-').to_owned()
}

/// What an image says of its version: its digest, its tag, or `latest`.
fn version(image: &ImageReference) -> &str {
    let image = image.as_str();
    if let Some((_, digest)) = image.split_once('@') {
        let hex = digest.split_once(':').map_or(digest, |(_, hex)| hex);
        return hex.get(..HASH).unwrap_or(hex);
    }
    match image.rsplit_once(':') {
        Some((_, tag)) if !tag.contains('/') => tag,
        _ => "latest",
    }
}

/// The labels of all objects of an app on a node.
pub(super) fn labels(app: &str, image: &ImageReference, node: &str) -> BTreeMap<String, String> {
    let pairs = [
        (INSTANCE, instance(app, node)),
        (NAME, app.to_owned()),
        (VERSION, value(version(image))),
        (NODE, value(node)),
        (COMPONENT.0, COMPONENT.1.to_owned()),
        (MANAGED_BY, MANAGER.to_owned()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

/// By which a Deployment knows its pods, for ever: none of them changes with a version.
pub(super) fn pods(instance: &str) -> BTreeMap<String, String> {
    [(INSTANCE.to_owned(), instance.to_owned()), (MANAGED_BY.to_owned(), MANAGER.to_owned())].into()
}

/// All objects of apps, as a watch asks for them.
pub(super) fn selector() -> String {
    format!("{MANAGED_BY}={MANAGER},{}={}", COMPONENT.0, COMPONENT.1)
}

/// Which app on which node a pod is of, by its labels.
pub(in crate::cluster) fn instance_of(labels: &BTreeMap<String, String>) -> Option<&String> {
    let has = |name: &str, value: &str| labels.get(name).is_some_and(|is| is == value);
    labels.get(INSTANCE).filter(|_| has(COMPONENT.0, COMPONENT.1) && has(MANAGED_BY, MANAGER))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_label_of_its_own() {
        let long = "n".repeat(253);
        let names = [
            ("counter", "edge-1"),
            ("counter", "edge-2"),
            ("counter-edge", "1"),
            ("counter", "edge.1"),
            ("9", "9"),
            ("a--------------------b", "-"),
            (&long[..63], &long),
            (&long[..62], &long),
        ];
        let made: Vec<_> = names.iter().map(|(app, node)| instance(app, node)).collect();
        for name in &made {
            assert!(crate::config::is_label(name), "{name}");
            assert!(name.starts_with(|c: char| c.is_ascii_lowercase()), "{name}");
        }
        let mut all = made.clone();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), made.len(), "{made:?}");
        assert!(made[0].starts_with("app-counter-edge-1-"), "{}", made[0]);
    }

    #[test]
    fn labels_take_every_image_and_node() {
        let digest = format!("a@sha256:{}", "0".repeat(64));
        let long = format!("a:{}", "x".repeat(128));
        for (image, shown) in [
            ("a:1.2", Some("1.2")),
            ("r:5000/a", Some("latest")),
            ("a", Some("latest")),
            (digest.as_str(), Some("00000000000000000000")),
            (long.as_str(), None),
            ("a:_1.", None),
        ] {
            let labels = labels("a", &image.parse().unwrap(), &"n.".repeat(120));
            for value in labels.values() {
                let outer = |c: char| c.is_ascii_alphanumeric();
                assert!(value.len() <= 63 && value.starts_with(outer) && value.ends_with(outer));
            }
            if let Some(shown) = shown {
                assert_eq!(labels[VERSION], shown, "{image}");
            }
        }
    }
}
