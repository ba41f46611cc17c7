//! Labels of objects: whose an object is, and texts as the values of labels.

use kube::core::ObjectMeta;

use super::apply::MANAGER;
use crate::keys;

/// Who owns an object.
pub(super) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Hexadecimal digits of the hash behind what had to be changed.
const HASH: usize = 16;
/// The longest value of a label.
const MAX_LABEL: usize = 63;

/// Whether an object is the hub's, by its label.
pub(super) fn is_ours(metadata: &ObjectMeta) -> bool {
    let by = metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY));
    by.is_some_and(|by| by == MANAGER)
}

/// A text as the value of a label.
pub(super) fn value(text: &str) -> String {
    unique(text, MAX_LABEL, is_label_value)
}

/// The text itself where that fits; otherwise what is left of it, and its hash. A text that looks
/// as if it had been changed is changed too, so that no two texts come to the same.
pub(super) fn unique(text: &str, max: usize, fits: fn(&str) -> bool) -> String {
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

fn is_label_value(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
        && edge(bytes.first())
        && edge(bytes.last())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_value_is_one_of_kubernetes_and_of_one_text_only() {
        assert_eq!(value("Camera_1.b"), "Camera_1.b");
        let long = ["x", "y"].map(|letter| letter.repeat(100));
        let changed = value("CAM 1");
        let texts = ["CAM 1", "cam 1", "CAM-1", "cam-1", "Überwachung im Hof", "---", "日本", ""];
        let texts = texts.into_iter().chain([long[0].as_str(), &long[1], &changed]);
        let texts: Vec<&str> = texts.collect();
        let values: BTreeSet<String> = texts.iter().map(|text| value(text)).collect();
        assert_eq!(values.len(), texts.len(), "{values:?}");
        for value in values {
            assert!(is_label_value(&value) && value.len() <= MAX_LABEL, "{value}");
        }
    }
}
