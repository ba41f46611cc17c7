//! An id is the same from text and from the wire, and is safe in paths, topics and logs.
#![no_main]

use cloudcore_protocol::{CommandId, DeviceId, NodeName};
use libfuzzer_sys::fuzz_target;

fn check<T>(bytes: &[u8])
where
    T: std::str::FromStr + for<'b> minicbor::Decode<'b, ()> + ToString,
{
    let _ = minicbor::decode::<T>(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let wire = minicbor::to_vec(text).expect("a Vec takes any text");
    let from_wire = minicbor::decode::<T>(&wire).ok().map(|id| id.to_string());
    let from_text = text.parse::<T>().ok().map(|id| id.to_string());
    assert_eq!(from_wire, from_text);
    if let Some(id) = from_text {
        assert_eq!(id, text);
        assert!((1..=100).contains(&id.len()) && !id.starts_with('.'));
        assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)));
    }
}

fuzz_target!(|bytes: &[u8]| {
    check::<NodeName>(bytes);
    check::<DeviceId>(bytes);
    check::<CommandId>(bytes);
});
