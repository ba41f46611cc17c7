//! Releases of the agent, each on a stream of its own.

use cloudcore_protocol::{BlobHash, BlobReply, Frame, FrameCodec, ReleaseHeader, ReleaseRequest};
use futures_util::{SinkExt as _, StreamExt as _};
use ring::digest;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    time::{Duration, timeout},
};
use tokio_util::codec::{FramedRead, FramedWrite};

use super::{LinkError, LinkHandle};

/// What the hub may take for its answer, or for the next part.
const PART: Duration = Duration::from_secs(60);

/// Why there is no release.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// There is no link.
    #[error("there is no link to the hub")]
    Offline,
    /// The hub has none.
    #[error("{0}")]
    Refused(String),
    /// It broke off.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// What arrived is not what the hub announced.
    #[error("what arrived is not what the hub announced: {0}")]
    Torn(&'static str),
    /// It is larger than any release.
    #[error("the release has {0} bytes, and the most is {1}")]
    TooLarge(u64, u64),
    /// It can't be kept.
    #[error("it can't be kept: {0}")]
    Disk(#[from] std::io::Error),
}

impl LinkHandle {
    /// Writes a release of at most `most` bytes into `file`; what the hub says of it. Its hash
    /// has been checked, its signature has not.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn fetch_release(
        &self,
        request: ReleaseRequest,
        file: &mut (impl AsyncWrite + Unpin + Send),
        most: u64,
    ) -> Result<ReleaseHeader, FetchError> {
        let live = self.state().live.ok_or(FetchError::Offline)?;
        let slow = |_| LinkError::Slow(PART);
        let (send, recv) = live.connection.open_bi().await.map_err(LinkError::from)?;
        let mut writer = FramedWrite::new(send, FrameCodec);
        writer.send(&Frame::ReleaseRequest(request)).await.map_err(LinkError::from)?;
        let mut reader = FramedRead::new(recv, FrameCodec);
        let header = match timeout(PART, reader.next()).await.map_err(slow)? {
            Some(Ok(Frame::ReleaseHeader(header))) => header,
            Some(Ok(Frame::BlobReply(BlobReply::Refused(why)))) => {
                return Err(FetchError::Refused(why));
            }
            Some(Ok(_)) => {
                let why = "a release was answered with another frame";
                return Err(LinkError::Protocol(why.into()).into());
            }
            Some(Err(error)) => return Err(LinkError::from(error).into()),
            None => return Err(FetchError::Refused("the hub serves no releases".into())),
        };
        if header.size > most {
            return Err(FetchError::TooLarge(header.size, most));
        }
        let mut context = digest::Context::new(&digest::SHA256);
        let first = reader.read_buffer_mut().split().freeze();
        let mut recv = reader.into_inner();
        let (mut part, mut size) = (first, 0_u64);
        loop {
            size += part.len() as u64;
            if size > header.size {
                return Err(FetchError::Torn("it is longer"));
            }
            context.update(&part);
            file.write_all(&part).await?;
            let next = timeout(PART, recv.read_chunk(64 * 1024, true)).await.map_err(slow)?;
            match next.map_err(|e| LinkError::Lost(e.to_string()))? {
                Some(chunk) => part = chunk.bytes,
                None => break,
            }
        }
        file.flush().await?;
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        if size < header.size {
            return Err(FetchError::Torn("it is shorter"));
        }
        if BlobHash::from_bytes(hash) != header.hash {
            return Err(FetchError::Torn("its SHA-256 is another"));
        }
        Ok(header)
    }
}
