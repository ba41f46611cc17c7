//! A stream gives the same frames and ends the same way, whatever pieces it comes in.
#![no_main]

use bytes::BytesMut;
use cloudcore_protocol::{Frame, FrameCodec, encode};
use libfuzzer_sys::fuzz_target;
use tokio_util::codec::Decoder;

/// What was read, in bytes, and whether the stream was still good at its end.
fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, bool) {
    let written = |frame: &Frame| encode(frame).map_or_else(|_| Vec::new(), |bytes| bytes.to_vec());
    let (mut src, mut frames) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        src.extend_from_slice(piece);
        loop {
            match FrameCodec.decode(&mut src) {
                Ok(Some(frame)) => frames.push(written(&frame)),
                Ok(None) => break,
                Err(_) => return (frames, false),
            }
        }
    }
    (frames, true)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let whole = read(std::iter::once(bytes));
    let pieces = read(bytes.chunks(usize::from(size).max(1)));
    assert_eq!(whole, pieces);
});
