//! Frames out of a stream that is cut wherever the network pleases.

use bytes::{BufMut, BytesMut};
use cloudcore_protocol::{
    CodecError, Frame, FrameCodec, Goodbye, GoodbyeReason, MAX_FRAME_BYTES, encode,
};
use proptest::{collection::vec, prelude::*};
use tokio_util::codec::{Decoder, Encoder};

use crate::any;

fn goodbye(message: &str) -> Frame {
    Frame::Goodbye(Goodbye { reason: GoodbyeReason::Shutdown, message: message.into() })
}

fn written(frames: &[Frame]) -> BytesMut {
    let mut bytes = BytesMut::new();
    for frame in frames {
        FrameCodec.encode(frame, &mut bytes).unwrap();
    }
    bytes
}

proptest! {
    #[test]
    fn frames_come_out_whole_whatever_the_pieces(
        frames in vec(any::frame(), 1..6),
        pieces in vec(1usize..50, 1..20),
    ) {
        let bytes = written(&frames);
        let (mut src, mut read, mut rest) = (BytesMut::new(), Vec::new(), &bytes[..]);
        for size in pieces.iter().cycle() {
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            src.extend_from_slice(piece);
            rest = after;
            while let Some(frame) = FrameCodec.decode(&mut src).unwrap() {
                read.push(frame);
            }
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(read, frames);
        prop_assert!(src.is_empty());
    }

    #[test]
    fn any_bytes_end_in_a_frame_or_an_error_or_a_wait(bytes in vec(any::<u8>(), 0..400)) {
        let mut src = BytesMut::from(&bytes[..]);
        while let Ok(Some(_)) = FrameCodec.decode(&mut src) {}
    }
}

#[test]
fn byte_by_byte_only_the_last_byte_gives_the_frame() {
    let frame = goodbye("until tomorrow");
    let bytes = written(std::slice::from_ref(&frame));
    let mut src = BytesMut::new();
    for (at, byte) in bytes.iter().enumerate() {
        assert!(FrameCodec.decode(&mut src).unwrap().is_none(), "a frame after {at} bytes");
        src.put_u8(*byte);
    }
    assert_eq!(FrameCodec.decode(&mut src).unwrap(), Some(frame));
    assert!(FrameCodec.decode(&mut src).unwrap().is_none());
}

#[test]
fn half_a_frame_is_waited_for_and_is_an_error_at_the_end() {
    let bytes = written(&[goodbye("cut")]);
    let mut src = BytesMut::from(&bytes[..bytes.len() / 2]);
    assert!(FrameCodec.decode(&mut src).unwrap().is_none());
    assert_eq!(src.len(), bytes.len() / 2, "what arrived stays");
    assert!(matches!(FrameCodec.decode_eof(&mut src), Err(CodecError::Io(_))));
}

#[test]
fn an_announced_frame_over_the_limit_is_refused_by_its_length_alone() {
    for len in [MAX_FRAME_BYTES + 1, u32::MAX as usize] {
        let mut src = BytesMut::new();
        src.put_u32(u32::try_from(len).unwrap());
        assert!(matches!(FrameCodec.decode(&mut src), Err(CodecError::TooLarge(n)) if n == len));
    }
}

#[test]
fn a_frame_of_just_the_limit_passes() {
    let overhead = encode(&goodbye(&"x".repeat(70_000))).unwrap().len() - 70_000;
    let frame = goodbye(&"x".repeat(MAX_FRAME_BYTES - overhead));
    assert_eq!(encode(&frame).unwrap().len(), MAX_FRAME_BYTES);
    let mut src = written(std::slice::from_ref(&frame));
    assert_eq!(FrameCodec.decode(&mut src).unwrap(), Some(frame));
    assert!(matches!(
        FrameCodec.encode(&goodbye(&"x".repeat(MAX_FRAME_BYTES - overhead + 1)), &mut src),
        Err(CodecError::TooLarge(_))
    ));
}

#[test]
fn a_malformed_frame_is_told_apart_from_a_missing_one() {
    for body in [&[][..], &[0xff], &[0x82, 0x01]] {
        let mut src = BytesMut::new();
        src.put_u32(u32::try_from(body.len()).unwrap());
        src.put(body);
        assert!(matches!(FrameCodec.decode(&mut src), Err(CodecError::Malformed(_))));
    }
}

/// A peer that announces much and sends nothing must hold no memory here.
#[test]
fn an_announcement_alone_reserves_nothing() {
    let mut src = BytesMut::with_capacity(8);
    src.put_u32(u32::try_from(MAX_FRAME_BYTES).unwrap());
    let before = src.capacity();
    assert!(FrameCodec.decode(&mut src).unwrap().is_none());
    assert_eq!(src.capacity(), before);
}
