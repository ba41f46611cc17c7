//! What one side writes, the other reads.

use std::time::Duration;

use cloudcore_protocol::{
    CodecError, Command, Frame, MAX_FRAME_BYTES, Timestamp, decode, encode, negotiate,
};
use proptest::prelude::*;

use crate::any;

proptest! {
    /// Every wire type is a frame or a part of one, so this covers them all.
    #[test]
    fn every_frame_comes_back_as_it_was(frame in any::frame()) {
        prop_assert_eq!(decode(&encode(&frame).unwrap()).unwrap(), frame);
    }

    /// The agent's outbox keeps events on disk in this form.
    #[test]
    fn every_event_body_comes_back_as_it_was(body in any::event_body()) {
        let bytes = minicbor::to_vec(&body).unwrap();
        prop_assert_eq!(minicbor::decode::<cloudcore_protocol::EventBody>(&bytes).unwrap(), body);
    }

    #[test]
    fn a_version_both_speak_is_in_both_ranges(min in 0u16..5, max in 0u16..5) {
        if let Some(version) = negotiate(min, max) {
            prop_assert!((min..=max).contains(&version));
            prop_assert!((cloudcore_protocol::PROTOCOL_MIN..=cloudcore_protocol::PROTOCOL_MAX).contains(&version));
        } else {
            prop_assert!(min > max || max < cloudcore_protocol::PROTOCOL_MIN || min > cloudcore_protocol::PROTOCOL_MAX);
        }
    }

    /// No clock, however wrong, makes time arithmetic or printing panic.
    #[test]
    fn any_clock_can_be_shown_and_moved(a in any::<i64>(), b in any::<i64>(), micros in any::<u64>()) {
        let (a, b) = (Timestamp::from_micros(a), Timestamp::from_micros(b));
        let later = a.plus(Duration::from_micros(micros));
        prop_assert!(later >= a);
        prop_assert!(!a.to_string().is_empty());
        prop_assert!(a.since(b).is_zero() || b.since(a).is_zero());
    }
}

#[test]
fn a_time_is_shown_as_the_contract_shows_it() {
    assert_eq!(Timestamp::from_micros(1_705_314_600_999_999).to_string(), "2024-01-15T10:30:00Z");
}

#[test]
fn what_is_over_the_limit_is_not_encoded() {
    let frame = Frame::Command(Command {
        id: cloudcore_protocol::CommandId::generate(),
        name: "capture_image".into(),
        parameters: "x".repeat(MAX_FRAME_BYTES),
        time_left_ms: 1,
    });
    assert!(matches!(encode(&frame), Err(CodecError::TooLarge(n)) if n > MAX_FRAME_BYTES));
}
