//! Identifiers are checked where they enter: from text, from JSON, from the wire.

use std::fmt::Debug;

use cloudcore_protocol::{CommandId, DeviceId, NodeName};
use proptest::prelude::*;

use crate::any;

/// Whether all three doors agree on `text`.
fn accepts<T>(text: &str) -> bool
where
    T: std::str::FromStr
        + serde::de::DeserializeOwned
        + for<'b> minicbor::Decode<'b, ()>
        + ToString
        + Debug,
{
    let parsed = text.parse::<T>().ok();
    let json = serde_json::from_value::<T>(text.into()).ok();
    let wire = minicbor::decode::<T>(&minicbor::to_vec(text).unwrap()).ok();
    let as_text = |id: Option<T>| id.map(|id| id.to_string());
    let parsed = as_text(parsed);
    assert_eq!(parsed, as_text(json), "JSON and text disagree on {text:?}");
    assert_eq!(parsed, as_text(wire), "the wire and text disagree on {text:?}");
    assert!(parsed.as_deref().is_none_or(|id| id == text), "an id is kept as it was written");
    parsed.is_some()
}

#[test]
fn node_names() {
    let longest = "a".repeat(100);
    for good in ["a", "7", "edge-node-001", "cam.floor-1.example", "a--b", &longest] {
        assert!(accepts::<NodeName>(good), "{good}");
    }
    let too_long = "a".repeat(101);
    for bad in [
        "",
        ".",
        "-a",
        "a-",
        "a..b",
        ".a",
        "a.",
        "a.-b",
        "A",
        "edge_node",
        "a b",
        "a/b",
        "../a",
        "ä",
        "a\0",
        "a\n",
        "a'b",
        "a\"b",
        "\u{202e}a",
        &too_long,
    ] {
        assert!(!accepts::<NodeName>(bad), "{bad:?}");
    }
}

#[test]
fn device_ids() {
    let longest = "Z".repeat(100);
    for good in ["a", "7", "edge-device-001", "Cam_1.front", "a..b", &longest] {
        assert!(accepts::<DeviceId>(good), "{good}");
    }
    let too_long = "a".repeat(101);
    for bad in [
        "", ".", "..", "-a", "a_", "_a", "a b", "a/b", "a#", "a+", "$a", "ä", "a\0", "a\n", "%2e",
        "'", &too_long,
    ] {
        assert!(!accepts::<DeviceId>(bad), "{bad:?}");
    }
}

#[test]
fn command_ids() {
    assert!(accepts::<CommandId>("cmd_01ARZ3NDEKTSV4RRFFQ69G5FAV"));
    for bad in [
        "",
        "cmd_",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "CMD_01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "cmd_01arz3ndektsv4rrffq69g5fav",  // one spelling only
        "cmd_01ARZ3NDEKTSV4RRFFQ69G5FAI",  // I is read as 1
        "cmd_81ARZ3NDEKTSV4RRFFQ69G5FAV",  // over 128 bits
        "cmd_01ARZ3NDEKTSV4RRFFQ69G5FA",   // short
        "cmd_01ARZ3NDEKTSV4RRFFQ69G5FAVX", // long
        "cmd_01ARZ3NDEKTSV4RRFFQ69G5FA\u{e9}",
        "cmd_cmd_01ARZ3NDEKTSV4RRFFQ69G5FAV",
    ] {
        assert!(!accepts::<CommandId>(bad), "{bad:?}");
    }
}

#[test]
fn a_new_command_id_is_valid_and_sorts_behind_an_old_one() {
    let id = CommandId::generate();
    assert!(accepts::<CommandId>(id.as_str()));
    assert!(id > "cmd_01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(), "an id of 2016");
    assert_ne!(id, CommandId::generate());
}

#[test]
fn what_is_not_utf_8_or_not_text_is_refused() {
    // A byte string, text with a bad byte, a number, null, text of indefinite length.
    for bytes in
        [&[0x41, b'a'][..], &[0x62, b'a', 0xff], &[0x01], &[0xf6], &[0x7f, 0x61, b'a', 0xff]]
    {
        assert!(minicbor::decode::<NodeName>(bytes).is_err(), "{bytes:02x?}");
        assert!(minicbor::decode::<DeviceId>(bytes).is_err(), "{bytes:02x?}");
        assert!(minicbor::decode::<CommandId>(bytes).is_err(), "{bytes:02x?}");
    }
}

#[test]
fn the_refusal_names_the_field_and_not_the_strangers_text() {
    let error = "<script>".parse::<DeviceId>().unwrap_err().to_string();
    assert!(error.starts_with("device_id must be"), "{error}");
    assert!(!error.contains("script"));
}

proptest! {
    #[test]
    fn every_node_name_is_a_device_id(name in any::node_name()) {
        let id = DeviceId::from(name.clone());
        prop_assert!(accepts::<NodeName>(name.as_str()));
        prop_assert!(accepts::<DeviceId>(id.as_str()));
        prop_assert_eq!(id.as_str(), name.as_str());
    }

    #[test]
    fn ids_of_the_documented_form_pass(device in any::device_id(), command in any::command_id()) {
        prop_assert!(accepts::<DeviceId>(device.as_str()));
        prop_assert!(accepts::<CommandId>(command.as_str()));
    }

    /// What passes is safe as a file name, in a URL path, in an MQTT topic and in a log.
    #[test]
    fn any_text_is_refused_or_harmless(text in "\\PC{0,120}|[a-z0-9._/#+-]{0,12}") {
        for ok in [accepts::<NodeName>(&text), accepts::<DeviceId>(&text), accepts::<CommandId>(&text)] {
            prop_assert!(!ok || (text.len() <= 100
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
                && !text.starts_with('.')));
        }
    }
}
