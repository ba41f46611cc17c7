//! An older and a newer build understand each other.

use cloudcore_protocol::{
    Alert, Event, EventBody, Frame, Hello, JoinRequest, Lane, Platform, Timestamp, Unsupported,
    decode, encode,
};
use minicbor::{Encode, Encoder};

/// `[kind, body]` from CBOR written by hand.
fn envelope(kind: u32, body: impl FnOnce(&mut Encoder<&mut Vec<u8>>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes);
    encoder.array(2).unwrap().u32(kind).unwrap();
    body(&mut encoder);
    bytes
}

#[test]
fn a_field_of_a_newer_peer_is_skipped() {
    // Each kind of value that a newer field could be, behind the one field known here.
    let newer = |e: &mut Encoder<&mut Vec<u8>>| {
        e.array(6).unwrap().u32(77).unwrap();
        e.map(1).unwrap().str("k").unwrap().array(2).unwrap().f64(1.5).unwrap().null().unwrap();
        e.begin_array().unwrap().begin_map().unwrap().end().unwrap().end().unwrap();
        e.tag(minicbor::data::Tag::new(1)).unwrap().i64(-5).unwrap();
        e.bytes(b"bytes").unwrap().bool(true).unwrap();
    };
    assert_eq!(decode(&envelope(9, newer)).unwrap(), Frame::Unsupported(Unsupported { kind: 77 }));
}

#[test]
fn a_field_of_a_newer_peer_is_skipped_in_the_middle_of_an_event() {
    let bytes = envelope(3, |e| {
        e.array(5).unwrap().u8(0).unwrap().u64(7).unwrap().i64(1_000_000).unwrap();
        e.array(3).unwrap().u32(5).unwrap();
        e.array(4).unwrap().str("camera_lost").unwrap().str("gone").unwrap().bool(true).unwrap();
        e.str("severity").unwrap(); // a newer field of the alert
        e.u8(9).unwrap(); // a newer element of the body's envelope
        e.str("trace").unwrap(); // a newer field of the event
    });
    let expected = Event {
        lane: Lane::Commands,
        seq: 7,
        at: Timestamp::from_micros(1_000_000),
        body: EventBody::Alert(Alert {
            kind: "camera_lost".into(),
            message: "gone".into(),
            active: true,
        }),
    };
    assert_eq!(decode(&bytes).unwrap(), Frame::Event(expected));
}

#[test]
fn an_optional_field_that_an_older_peer_does_not_send_is_none() {
    let bytes = envelope(30, |e| {
        e.array(3).unwrap().bytes(&[7; 32]).unwrap().u64(9).unwrap().str("image/png").unwrap();
    });
    let Frame::BlobHeader(header) = decode(&bytes).unwrap() else { panic!("no blob header") };
    assert_eq!((header.size, header.command_id), (9, None));
}

#[test]
fn a_required_field_that_is_missing_is_an_error() {
    let bytes = envelope(10, |e| {
        e.array(1).unwrap().u8(2).unwrap();
    });
    let error = decode(&bytes).unwrap_err().to_string();
    assert!(error.contains("missing"), "{error}");
}

#[test]
fn a_kind_of_a_newer_peer_is_skipped_and_named() {
    let bytes = envelope(4242, |e| {
        e.array(2).unwrap().str("anything").unwrap().map(1).unwrap().u8(1).unwrap().u8(2).unwrap();
    });
    assert_eq!(decode(&bytes).unwrap(), Frame::Unknown(4242));
    let scalar = envelope(u32::MAX, |e| {
        e.null().unwrap();
    });
    assert_eq!(decode(&scalar).unwrap(), Frame::Unknown(u32::MAX));
}

#[test]
fn an_event_of_a_newer_peer_keeps_its_place_in_its_lane() {
    let bytes = envelope(3, |e| {
        e.array(4).unwrap().u8(2).unwrap().u64(11).unwrap().i64(5).unwrap();
        e.array(2).unwrap().u32(99).unwrap().array(1).unwrap().str("new").unwrap();
    });
    let Frame::Event(event) = decode(&bytes).unwrap() else { panic!("no event") };
    assert_eq!((event.lane, event.seq), (Lane::Detections, 11));
    assert_eq!(event.body, EventBody::Unknown(99));
}

#[test]
fn elements_behind_kind_and_body_are_skipped() {
    let mut bytes = vec![0x84]; // [kind, body, more, more]
    bytes.extend(&minicbor::to_vec(9u32).unwrap());
    bytes.extend(&minicbor::to_vec([77u32]).unwrap());
    bytes.extend(&minicbor::to_vec("more").unwrap());
    bytes.extend(&minicbor::to_vec([[1u8], [2]]).unwrap());
    assert_eq!(decode(&bytes).unwrap(), Frame::Unsupported(Unsupported { kind: 77 }));
    bytes[0] = 0x83;
    assert!(decode(&bytes).is_err(), "one element less than there is");
}

/// A `Hello` and a `JoinRequest` begin with the versions, so that peers who share nothing else can
/// still say so.
#[test]
fn the_versions_come_first() {
    fn first_two(frame: &Frame) -> (u16, u16) {
        let bytes = encode(frame).unwrap();
        let mut d = minicbor::Decoder::new(&bytes);
        d.array().unwrap();
        d.u32().unwrap();
        d.array().unwrap();
        (d.u16().unwrap(), d.u16().unwrap())
    }
    let hello = Hello {
        min_version: 3,
        max_version: 4,
        agent_version: String::new(),
        capabilities: vec![],
        outbox_id: 0,
        platform: Platform::default(),
        labels: Default::default(),
        addresses: vec![],
    };
    assert_eq!(first_two(&Frame::Hello(hello)), (3, 4));
    let join = JoinRequest {
        min_version: 5,
        max_version: 6,
        jwt: cloudcore_protocol::Secret("a.b.c".into()),
        node_name: "n".parse().unwrap(),
        device_id: None,
        csr: vec![].into(),
        agent_version: String::new(),
        platform: Platform::default(),
        labels: Default::default(),
    };
    assert_eq!(first_two(&Frame::JoinRequest(join)), (5, 6));
}

/// An unknown kind is written with an empty body: what was skipped is not made up.
#[test]
fn an_unknown_frame_is_written_without_a_body() {
    let mut bytes = Vec::new();
    Frame::Unknown(4242).encode(&mut Encoder::new(&mut bytes), &mut ()).unwrap();
    assert_eq!(bytes, [0x82, 0x19, 0x10, 0x92, 0xf6]);
}
