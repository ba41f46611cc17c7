//! Pictures, each on a stream of its own, so that none delays a heartbeat or a command.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use cloudcore_protocol::{BlobHeader, BlobReply, Frame, FrameCodec};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::{Instant, timeout_at};
use tokio_util::codec::{FramedRead, FramedWrite};

use super::{LinkError, LinkHandle, Live};

/// After a failed try on a session that still lives.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a blob did not reach the hub.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// Its time is over.
    #[error("the hub did not take it in time ({0})")]
    Late(String),
    /// The hub does not want it.
    #[error("the hub refused it: {0}")]
    Refused(String),
}

impl LinkHandle {
    /// Brings a blob to the hub, over as many sessions as it takes.
    ///
    /// # Errors
    /// [`UploadError`].
    pub async fn upload(
        &self,
        header: BlobHeader,
        bytes: Bytes,
        deadline: Instant,
    ) -> Result<(), UploadError> {
        let mut state = self.state.clone();
        let mut problem = "there was no link".to_owned();
        let tries = async {
            loop {
                let live = state
                    .wait_for(|state| state.live.is_some())
                    .await
                    .map(|seen| seen.live.clone());
                let live = match live {
                    Ok(Some(live)) => live,
                    Ok(None) => continue,
                    // The link has stopped for good: only the deadline is left.
                    Err(_) => return std::future::pending().await,
                };
                match upload_once(&live, header.clone(), bytes.clone()).await {
                    Ok(BlobReply::Stored) => return Ok(()),
                    Ok(BlobReply::Refused(why)) => return Err(UploadError::Refused(why)),
                    Err(error) => {
                        tracing::info!(%error, blob = %header.hash, "a blob was cut off, trying again");
                        problem = error.to_string();
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        };
        match timeout_at(deadline, tries).await {
            Ok(result) => result,
            Err(_) => Err(UploadError::Late(problem)),
        }
    }
}

async fn upload_once(
    live: &Arc<Live>,
    header: BlobHeader,
    bytes: Bytes,
) -> Result<BlobReply, LinkError> {
    let (send, recv) = live.connection.open_bi().await?;
    let mut writer = FramedWrite::new(send, FrameCodec);
    writer.send(&Frame::BlobHeader(header)).await?;
    let mut send = writer.into_inner();
    let sending = async {
        // A hub that refuses at once stops reading; its reply says why.
        if send.write_chunk(bytes).await.is_ok() {
            send.finish().ok();
        }
        std::future::pending::<LinkError>().await
    };
    let mut reader = FramedRead::new(recv, FrameCodec);
    tokio::select! {
        never = sending => Err(never),
        reply = reader.next() => match reply {
            Some(Ok(Frame::BlobReply(reply))) => Ok(reply),
            Some(Ok(_)) => Err(LinkError::Protocol("a blob was answered with another frame".into())),
            Some(Err(error)) => Err(error.into()),
            None => Err(LinkError::Lost("the stream ended without a reply".into())),
        },
    }
}
