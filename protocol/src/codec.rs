//! Frames to bytes and back.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::Frame;

/// Largest frame, without its 4 length bytes. A frame is small: what is large is a blob.
pub const MAX_FRAME_BYTES: usize = 256 * 1024;

/// Why bytes are not a frame, or a frame can't be sent. The stream is of no use afterwards.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The stream itself.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The frame is larger than [`MAX_FRAME_BYTES`].
    #[error("a frame of {0} bytes is over the limit of {MAX_FRAME_BYTES}")]
    TooLarge(usize),
    /// The bytes are not a frame.
    #[error("malformed frame: {0}")]
    Malformed(String),
}

/// The frame's bytes, without a length.
///
/// # Errors
/// [`CodecError::TooLarge`].
pub fn encode(frame: &Frame) -> Result<Bytes, CodecError> {
    let bytes = minicbor::to_vec(frame).map_err(|e| CodecError::Malformed(e.to_string()))?;
    if bytes.len() > MAX_FRAME_BYTES {
        return Err(CodecError::TooLarge(bytes.len()));
    }
    Ok(bytes.into())
}

/// The frame that these bytes, without a length, are.
///
/// # Errors
/// [`CodecError::Malformed`], also when bytes are left over.
pub fn decode(bytes: &[u8]) -> Result<Frame, CodecError> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let frame = decoder.decode().map_err(|e| CodecError::Malformed(e.to_string()))?;
    if decoder.position() != bytes.len() {
        return Err(CodecError::Malformed("bytes after the frame".into()));
    }
    Ok(frame)
}

/// Length-prefixed frames for `FramedRead` and `FramedWrite`.
#[derive(Debug, Default, Clone, Copy)]
pub struct FrameCodec;

impl Decoder for FrameCodec {
    type Item = Frame;
    type Error = CodecError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, CodecError> {
        let Some(prefix) = src.first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_be_bytes(*prefix) as usize;
        if len > MAX_FRAME_BYTES {
            return Err(CodecError::TooLarge(len));
        }
        if src.len() < 4 + len {
            // Room for what is announced only as it arrives: a peer that announces much and sends
            // nothing holds no memory.
            return Ok(None);
        }
        src.advance(4);
        decode(&src.split_to(len)).map(Some)
    }
}

impl Encoder<&Frame> for FrameCodec {
    type Error = CodecError;

    fn encode(&mut self, frame: &Frame, dst: &mut BytesMut) -> Result<(), CodecError> {
        let bytes = encode(frame)?;
        dst.reserve(4 + bytes.len());
        dst.put_u32(u32::try_from(bytes.len()).map_err(|_| CodecError::TooLarge(bytes.len()))?);
        dst.put(bytes);
        Ok(())
    }
}
