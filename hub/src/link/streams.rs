//! The streams beside a session's own: blobs that come, models and releases that go.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use cloudcore_protocol::{
    BlobHeader, BlobReply, Frame, ModelReply, ModelRequest, ReleaseRequest, Unsupported,
};
use futures_util::StreamExt as _;
use quinn::{RecvStream, SendStream, VarInt};
use tokio::{io::AsyncReadExt as _, sync::Semaphore, time::timeout};

use super::{
    Peers, Session,
    frames::{FrameReader, FrameWriter},
};

/// A whole blob, with its wait for a slot.
const BLOB: Duration = Duration::from_secs(120);
/// A stream's first frame.
const FIRST: Duration = Duration::from_secs(10);
/// A whole model, with its wait for a slot: 256 MiB at half a megabit a second.
const MODEL: Duration = Duration::from_secs(4500);
/// Room for more of a model, which the agent makes by reading.
const STALL: Duration = Duration::from_secs(30);
/// A whole release: 20 MB over a slow mobile link.
const RELEASE: Duration = Duration::from_secs(1800);
/// A part of one, bytes.
const RELEASE_PART: usize = 64 * 1024;
/// A stream that was broken off in the middle.
const BROKEN: VarInt = VarInt::from_u32(1);

/// What bounds the streams of one session, and of all.
#[derive(Clone)]
pub(super) struct Slots {
    own_blob: Arc<Semaphore>,
    own_model: Arc<Semaphore>,
    own_release: Arc<Semaphore>,
    blobs: Arc<Semaphore>,
    models: Arc<Semaphore>,
}

impl Slots {
    /// Of a session that shares these with all others.
    pub(super) fn new(blobs: Arc<Semaphore>, models: Arc<Semaphore>) -> Self {
        let one = || Arc::new(Semaphore::new(1));
        Self { own_blob: one(), own_model: one(), own_release: one(), blobs, models }
    }
}

/// Serves a stream that an agent opened.
pub(super) async fn serve<P: Peers>(
    peers: &P,
    session: &Arc<Session>,
    slots: Slots,
    send: SendStream,
    recv: RecvStream,
) {
    let (mut reader, mut writer) = (FrameReader::new(recv), FrameWriter::new(send));
    let device_id = &session.device_id;
    let Ok(first) = timeout(FIRST, reader.next()).await else {
        return tracing::info!(%device_id, "a stream stayed silent");
    };
    let served = match first {
        Ok(Some(Frame::BlobHeader(header))) => {
            timeout(BLOB, blob(peers, session, slots, header, writer, reader)).await
        }
        Ok(Some(Frame::ModelRequest(request))) => {
            timeout(MODEL, model(peers, session, slots, request, writer)).await
        }
        Ok(Some(Frame::ReleaseRequest(request))) => {
            timeout(RELEASE, release(peers, session, slots, request, writer)).await
        }
        Ok(Some(Frame::Unknown(kind))) => {
            let unsupported = Frame::Unsupported(Unsupported { kind });
            if writer.push(&unsupported).is_ok() && writer.flush().await.is_ok() {
                writer.finish().await;
            }
            Ok(())
        }
        Ok(_) => return tracing::info!(%device_id, "a stream began with something else"),
        Err(e) => return tracing::info!(%device_id, "a stream broke off: {e}"),
    };
    if served.is_err() {
        tracing::info!(%device_id, "a stream took too long");
    }
}

async fn model<P: Peers>(
    peers: &P,
    session: &Arc<Session>,
    slots: Slots,
    request: ModelRequest,
    mut writer: FrameWriter,
) {
    let device_id = &session.device_id;
    let slot = (slots.own_model.acquire().await, slots.models.acquire().await);
    let (Ok(_own), Ok(_slot)) = slot else { return };
    let (id, offset) = (request.id.clone(), request.offset);
    let (found, mut bytes) = match peers.model(session, request).await {
        Ok(found) => found,
        Err(refusal) => {
            if writer.push(&Frame::ModelReply(refusal)).is_ok() && writer.flush().await.is_ok() {
                writer.finish().await;
            }
            return;
        }
    };
    let mut left = found.size.saturating_sub(offset);
    tracing::info!(%device_id, model = %id, offset, left, "a model is sent");
    let reply = Frame::ModelReply(ModelReply::Found(found));
    if writer.push(&reply).is_err() || writer.flush().await.is_err() {
        return;
    }
    let mut send = writer.into_inner();
    while let Some(chunk) = bytes.next().await {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => {
                tracing::error!(%device_id, model = %id, ?error, "a model broke off");
                let _ = send.reset(BROKEN);
                return;
            }
        };
        left = left.saturating_sub(chunk.len() as u64);
        match timeout(STALL, send.write_chunk(chunk)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                return tracing::info!(%device_id, model = %id, left, %error, "a model broke off");
            }
            Err(_) => {
                let _ = send.reset(BROKEN);
                return tracing::info!(%device_id, model = %id, left, "an agent takes no more");
            }
        }
    }
    if send.finish().is_ok() {
        // The session's end would cut what is on its way: the agent says when it has it.
        let _ = timeout(STALL, send.stopped()).await;
    }
}

async fn release<P: Peers>(
    peers: &P,
    session: &Arc<Session>,
    slots: Slots,
    request: ReleaseRequest,
    mut writer: FrameWriter,
) {
    let device_id = &session.device_id;
    // One at a time: a device has one agent.
    let Ok(_own) = slots.own_release.try_acquire() else { return };
    let (header, mut file) = match peers.release(session, request).await {
        Ok(found) => found,
        Err(why) => {
            let refused = Frame::BlobReply(BlobReply::Refused(why));
            if writer.push(&refused).is_ok() && writer.flush().await.is_ok() {
                writer.finish().await;
            }
            return;
        }
    };
    if writer.push(&Frame::ReleaseHeader(header)).is_err() || writer.flush().await.is_err() {
        return;
    }
    let mut send = writer.into_inner();
    let mut part = BytesMut::new();
    loop {
        part.reserve(RELEASE_PART);
        match file.read_buf(&mut part).await {
            Ok(0) => break,
            Ok(_) => match timeout(STALL, send.write_chunk(part.split().freeze())).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    return tracing::info!(%device_id, %error, "a release broke off");
                }
                Err(_) => {
                    let _ = send.reset(BROKEN);
                    return tracing::info!(%device_id, "an agent takes no more of a release");
                }
            },
            Err(error) => {
                tracing::error!(%device_id, %error, "a release can't be read");
                let _ = send.reset(BROKEN);
                return;
            }
        }
    }
    if send.finish().is_ok() {
        let _ = timeout(STALL, send.stopped()).await;
    }
}

async fn blob<P: Peers>(
    peers: &P,
    session: &Arc<Session>,
    slots: Slots,
    header: BlobHeader,
    mut writer: FrameWriter,
    reader: FrameReader,
) {
    let device_id = &session.device_id;
    // Its bytes wait at the agent: the stream's window is small. One device has one of the slots
    // at most, so that a slow uplink holds up nobody else.
    let (Ok(_own), Ok(_slot)) = (slots.own_blob.acquire().await, slots.blobs.acquire().await)
    else {
        return;
    };
    let reply = match peers.blob_limit(&header) {
        Err(refusal) => Some(refusal),
        Ok(size) => match reader.rest(size).await {
            Ok(Some(bytes)) => peers.blob(session, header, bytes.freeze()).await,
            Ok(None) => Some(BlobReply::Refused("the size is not the one announced".into())),
            Err(e) => return tracing::info!(%device_id, "a blob broke off: {e}"),
        },
    };
    // Without a reply the stream just ends, and the agent sends the blob again.
    let Some(reply) = reply else { return };
    if writer.push(&Frame::BlobReply(reply)).is_ok() && writer.flush().await.is_ok() {
        writer.finish().await;
    }
}
