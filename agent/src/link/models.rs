//! Models of the hub's catalog, each on a stream of its own.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use cloudcore_protocol::{
    Frame, FrameCodec, ModelFound, ModelId, ModelRefused, ModelReply, ModelRequest,
};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::timeout;
use tokio_util::codec::{FramedRead, FramedWrite};

use super::{LinkError, LinkHandle, Live};

/// The hub's reply; others may be served first.
const REPLY: Duration = Duration::from_secs(60);
/// Longest wait for more bytes.
const STALL: Duration = Duration::from_secs(30);

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum NoModel {
    /// The hub is older than its catalog.
    #[error("the hub knows no models")]
    OldHub,
    /// The hub has none of this name, or not now.
    #[error("{}", .0.message)]
    Refused(ModelRefused),
    /// The session was cut.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// A model on its way.
#[derive(Debug)]
pub struct ModelStream {
    /// What it is.
    pub found: ModelFound,
    rest: BytesMut,
    stream: quinn::RecvStream,
}

impl LinkHandle {
    /// Asks for a model from a byte on, as soon as there is a session.
    ///
    /// # Errors
    /// [`NoModel`].
    pub async fn model(&self, id: &ModelId, offset: u64) -> Result<ModelStream, NoModel> {
        let mut state = self.state.clone();
        let live = state.wait_for(|state| state.live.is_some()).await;
        let live = live.ok().and_then(|seen| seen.live.clone());
        let lost = |why: &str| LinkError::Lost(why.to_owned());
        let live = live.ok_or_else(|| lost("the agent stops"))?;
        if !live.has_models {
            return Err(NoModel::OldHub);
        }
        match timeout(REPLY, ask(&live, id, offset)).await {
            Ok(asked) => asked,
            Err(_) => Err(lost("the hub does not answer for the model").into()),
        }
    }
}

async fn ask(live: &Arc<Live>, id: &ModelId, offset: u64) -> Result<ModelStream, NoModel> {
    let (send, recv) = live.connection.open_bi().await.map_err(LinkError::from)?;
    let mut writer = FramedWrite::new(send, FrameCodec);
    let request = ModelRequest { id: id.clone(), offset };
    writer.send(&Frame::ModelRequest(request)).await.map_err(LinkError::from)?;
    writer.into_inner().finish().ok();
    let mut reader = FramedRead::new(recv, FrameCodec);
    match reader.next().await {
        Some(Ok(Frame::ModelReply(ModelReply::Found(found)))) => {
            let rest = reader.read_buffer_mut().split();
            Ok(ModelStream { found, rest, stream: reader.into_inner() })
        }
        Some(Ok(Frame::ModelReply(ModelReply::Refused(refused)))) => Err(NoModel::Refused(refused)),
        Some(Ok(Frame::Unsupported(_))) => Err(NoModel::OldHub),
        Some(Ok(_)) => {
            Err(LinkError::Protocol("a model was answered with another frame".into()).into())
        }
        Some(Err(error)) => Err(LinkError::from(error).into()),
        None => Err(LinkError::Lost("the stream ended without a reply".into()).into()),
    }
}

impl ModelStream {
    /// The next bytes; `None` where the hub has sent all.
    ///
    /// # Errors
    /// [`LinkError::Lost`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, LinkError> {
        if !self.rest.is_empty() {
            return Ok(Some(self.rest.split().freeze()));
        }
        let lost = |why: String| LinkError::Lost(format!("a model broke off: {why}"));
        match timeout(STALL, self.stream.read_chunk(64 * 1024, true)).await {
            Ok(Ok(chunk)) => Ok(chunk.map(|chunk| chunk.bytes)),
            Ok(Err(error)) => Err(lost(error.to_string())),
            Err(_) => Err(lost("nothing came".into())),
        }
    }
}
