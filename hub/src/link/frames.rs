//! Frames on a QUIC stream, with deadlines: a peer may be silent, but not in the middle of a
//! frame, and it must read what it is sent.

use std::time::Duration;

use bytes::BytesMut;
use cloudcore_protocol::{CodecError, Frame, FrameCodec};
use quinn::{RecvStream, SendStream};
use tokio::time::timeout;
use tokio_util::codec::{Decoder as _, Encoder as _};

/// How long the rest of a frame, or room to write one, is waited for.
const FRAME: Duration = Duration::from_secs(10);

/// Why a stream is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error("the stream broke: {0}")]
    Read(#[from] quinn::ReadError),
    #[error("the stream broke: {0}")]
    Write(#[from] quinn::WriteError),
    #[error("no stream: {0}")]
    Open(#[from] quinn::ConnectionError),
    #[error("the peer stalled in the middle of a frame")]
    Stalled,
    #[error("the stream ended in the middle of a frame")]
    Truncated,
}

/// Reads frames.
#[derive(Debug)]
pub(super) struct FrameReader {
    stream: RecvStream,
    buffer: BytesMut,
}

impl FrameReader {
    pub(super) fn new(stream: RecvStream) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// The next frame; `None` where the stream ended between two.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            if let Some(frame) = FrameCodec.decode(&mut self.buffer)? {
                return Ok(Some(frame));
            }
            let read = self.stream.read_chunk(16 * 1024, true);
            let chunk = if self.buffer.is_empty() {
                read.await?
            } else {
                timeout(FRAME, read).await.map_err(|_| FrameError::Stalled)??
            };
            match chunk {
                Some(chunk) => self.buffer.extend_from_slice(&chunk.bytes),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(FrameError::Truncated),
            }
        }
    }

    /// The `size` bytes that follow the last frame, which must be all there is.
    pub(super) async fn rest(mut self, size: usize) -> Result<Option<BytesMut>, FrameError> {
        while self.buffer.len() <= size {
            let read = self.stream.read_chunk(64 * 1024, true);
            match timeout(FRAME, read).await.map_err(|_| FrameError::Stalled)?? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk.bytes),
                None => break,
            }
        }
        Ok((self.buffer.len() == size).then_some(self.buffer))
    }
}

/// Writes frames.
pub(super) struct FrameWriter {
    stream: SendStream,
    buffer: BytesMut,
}

impl FrameWriter {
    pub(super) fn new(stream: SendStream) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// Puts a frame into the buffer.
    pub(super) fn push(&mut self, frame: &Frame) -> Result<(), FrameError> {
        Ok(FrameCodec.encode(frame, &mut self.buffer)?)
    }

    /// Sends what is in the buffer.
    pub(super) async fn flush(&mut self) -> Result<(), FrameError> {
        let bytes = self.buffer.split().freeze();
        timeout(FRAME, self.stream.write_chunk(bytes)).await.map_err(|_| FrameError::Stalled)??;
        Ok(())
    }

    /// The stream itself, for what is no frame. Everything was flushed before.
    pub(super) fn into_inner(self) -> SendStream {
        self.stream
    }

    /// Ends the stream; what was flushed still goes out.
    pub(super) fn end(mut self) {
        // One that the peer has closed needs no end.
        let _ = self.stream.finish();
    }

    /// Ends the stream and waits until the peer has it all, or a second.
    pub(super) async fn finish(mut self) {
        if self.stream.finish().is_ok() {
            let _ = timeout(Duration::from_secs(1), self.stream.stopped()).await;
        }
    }
}
