//! A frame that decodes can be written and read again, to the same bytes the second time.
#![no_main]

use cloudcore_protocol::{decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(frame) = decode(bytes) else { return };
    // Bytes, not frames, are compared: a score of NaN is not equal to itself.
    let Ok(written) = encode(&frame) else { return };
    let again = decode(&written).expect("what was written can be read");
    assert_eq!(encode(&again).expect("it fitted before"), written);
});
