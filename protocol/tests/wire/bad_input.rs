//! Whatever a stranger sends, decoding ends: with a frame or with a sentence, never with a panic.

use cloudcore_protocol::{CodecError, Frame, MAX_FRAME_BYTES, decode, encode};
use proptest::{collection::vec, prelude::*, sample::Index};

use crate::any;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes(bytes in vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes);
    }

    /// Random bytes seldom look like CBOR; these begin as `[kind, [` and get further.
    #[test]
    fn random_bytes_behind_a_true_kind(kind in 0u8..24, bytes in vec(any::<u8>(), 0..300)) {
        let mut frame = vec![0x82, kind, 0x8b];
        frame.extend(bytes);
        let _ = decode(&frame);
    }

    #[test]
    fn a_true_frame_with_a_few_bytes_changed(
        frame in any::frame(),
        changes in vec((any::<Index>(), any::<u8>()), 1..5),
    ) {
        let mut bytes = encode(&frame).unwrap().to_vec();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = decode(&bytes);
    }

    #[test]
    fn a_true_frame_cut_short_is_malformed(frame in any::frame(), at in any::<Index>()) {
        let bytes = encode(&frame).unwrap();
        let cut = &bytes[..at.index(bytes.len())];
        prop_assert!(matches!(decode(cut), Err(CodecError::Malformed(_))));
    }

    #[test]
    fn bytes_after_a_frame_are_malformed(frame in any::frame(), more in vec(any::<u8>(), 1..10)) {
        let mut bytes = encode(&frame).unwrap().to_vec();
        bytes.extend(more);
        prop_assert!(matches!(decode(&bytes), Err(CodecError::Malformed(_))));
    }
}

fn is_malformed(bytes: &[u8]) -> bool {
    matches!(decode(bytes), Err(CodecError::Malformed(_)))
}

/// As deep as a frame can be: the stack of a test thread is 2 MB and must not be the limit.
#[test]
fn deep_nesting_costs_no_stack() {
    for opening in [0x81, 0x9f, 0xbf, 0xc1, 0xd8, 0xa1] {
        // Inside an unknown kind, where everything is skipped …
        let mut unknown = vec![0x82, 0x19, 0x03, 0xe8];
        unknown.resize(MAX_FRAME_BYTES, opening);
        assert!(is_malformed(&unknown));
        // … and as an additional field of a known one.
        let mut known = vec![0x82, 0x09, 0x82, 0x01];
        known.resize(MAX_FRAME_BYTES, opening);
        assert!(is_malformed(&known));
    }
    let mut complete = vec![0x82, 0x19, 0x03, 0xe8];
    complete.resize(MAX_FRAME_BYTES - 1, 0x81);
    complete.push(0);
    assert_eq!(decode(&complete).unwrap(), Frame::Unknown(1000));
}

/// A length is a claim; memory is given for what arrived.
#[test]
fn an_announced_length_reserves_nothing() {
    const HUGE: [u8; 8] = [0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let claim = |before: &[u8], major: u8| {
        let mut bytes = before.to_vec();
        bytes.push(major | 27);
        bytes.extend(HUGE);
        bytes
    };
    // Text, byte string, array and map, each as the body of a frame or as a field of a Hello.
    for major in [0x40, 0x60, 0x80, 0xa0] {
        assert!(is_malformed(&claim(&[0x82, 0x19, 0x03, 0xe8], major)));
        assert!(is_malformed(&claim(&[0x82, 0x07], major)));
        assert!(is_malformed(&claim(&[0x82, 0x07, 0x81], major)));
        assert!(is_malformed(&claim(&[0x82, 0x01, 0x88, 0x01, 0x01, 0x60], major)));
        assert!(is_malformed(&claim(
            &[0x82, 0x01, 0x88, 0x01, 0x01, 0x60, 0x80, 0x00, 0x80],
            major
        )));
    }
    // The envelope itself, with 2^63 elements behind its two.
    let mut envelope = claim(&[], 0x80);
    envelope.extend([0x19, 0x03, 0xe8, 0x00]);
    assert!(is_malformed(&envelope));
}

#[test]
fn what_is_no_envelope_is_malformed() {
    for bytes in [
        &[][..],
        &[0x00],                                     // a number
        &[0x60],                                     // a text
        &[0x80],                                     // []
        &[0x81, 0x01],                               // [kind]
        &[0x9f, 0x01, 0x80, 0xff],                   // of indefinite length
        &[0x82, 0x20, 0x80],                         // kind -1
        &[0x82, 0x61, 0x61, 0x80],                   // kind "a"
        &[0x82, 0x1b, 0, 0, 0, 1, 0, 0, 0, 0, 0x80], // kind 2^32
        &[0x82, 0x01, 0x80],                         // a Hello without its fields
        &[0x82, 0x09, 0x81, 0x20],                   // Unsupported of kind -1
    ] {
        assert!(is_malformed(bytes), "{bytes:02x?}");
    }
}

/// The reason goes to a log: it must not be as long as what a stranger sent.
#[test]
fn the_reason_is_short() {
    let long = "x".repeat(100_000);
    let mut bytes = vec![0x82, 0x06, 0x81];
    bytes.extend(minicbor::to_vec(&long).unwrap());
    let error = decode(&bytes).unwrap_err().to_string();
    assert!(error.len() < 300, "{} bytes of message", error.len());
}
