//! One connection, from its first frame to its last.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use bytes::BytesMut;
use cloudcore_protocol::{
    BlobHeader, BlobReply, Frame, Goodbye, GoodbyeReason, Hello, PROTOCOL_MAX, ReleaseRequest,
    Timestamp, Unsupported, Welcome, negotiate,
};
use quinn::{Connection, VarInt, rustls::pki_types::CertificateDer};
use tokio::{
    io::AsyncReadExt as _,
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    Peers, Registry, Session,
    frames::{FrameError, FrameReader, FrameWriter},
    registry::QUEUE,
};
use crate::keys;

/// What this hub can do beyond the protocol's version.
const CAPABILITIES: [&str; 3] = ["blobs", "releases", "renew"];

/// Most of an agent's that are kept for a session.
const MAX_CAPABILITIES: usize = 64;

/// A whole blob, with its wait for a slot.
const BLOB: Duration = Duration::from_secs(120);
/// A whole release: 20 MB over a slow mobile link.
const RELEASE: Duration = Duration::from_secs(1800);
/// A part of it.
const RELEASE_PART: Duration = Duration::from_secs(60);
const PART_BYTES: usize = 64 * 1024;
/// Its header.
const BLOB_HEADER: Duration = Duration::from_secs(10);

/// Serves a join: one request, one reply.
pub(super) async fn join<P: Peers>(
    connection: &Connection,
    peers: &P,
    from: SocketAddr,
) -> Result<(), String> {
    let (send, recv) = connection.accept_bi().await.map_err(|e| e.to_string())?;
    let frame = FrameReader::new(recv).next().await.map_err(|e| e.to_string())?;
    let Some(Frame::JoinRequest(request)) = frame else {
        connection.close(VarInt::from_u32(1), b"a join begins with a join request");
        return Err("a join began with something else".into());
    };
    let mut writer = FrameWriter::new(send);
    let reply = peers.join(request, from).await;
    let sent = async {
        writer.push(&Frame::JoinReply(reply))?;
        writer.flush().await
    };
    sent.await.map_err(|e: FrameError| e.to_string())?;
    writer.finish().await;
    Ok(())
}

/// A member's connection that was let in.
pub(super) struct Live {
    connection: Connection,
    session: Arc<Session>,
    hello: Hello,
    reader: FrameReader,
    writer: FrameWriter,
    queue: mpsc::Receiver<Frame>,
    end: watch::Receiver<Option<GoodbyeReason>>,
}

/// Serves the first frame of a member.
pub(super) async fn hello<P: Peers>(
    connection: Connection,
    peers: &P,
    registry: &Registry,
) -> Result<Live, String> {
    let fingerprint = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .and_then(|chain| chain.first().map(|leaf| keys::sha256_hex(leaf)));
    let Some(fingerprint) = fingerprint else {
        connection.close(VarInt::from_u32(1), b"a member shows its certificate");
        return Err("no client certificate".into());
    };
    let (send, recv) = connection.accept_bi().await.map_err(|e| e.to_string())?;
    let (mut reader, mut writer) = (FrameReader::new(recv), FrameWriter::new(send));
    let admitted = match reader.next().await.map_err(|e| e.to_string())? {
        Some(Frame::Hello(hello)) => match negotiate(hello.min_version, hello.max_version) {
            Some(version) => peers.admit(&fingerprint, &hello).await.map(|a| (a, hello, version)),
            None => Err(Goodbye {
                reason: GoodbyeReason::Version,
                message: format!("this hub speaks up to version {PROTOCOL_MAX}"),
            }),
        },
        _ => Err(Goodbye {
            reason: GoodbyeReason::Protocol,
            message: "a link begins with a hello".into(),
        }),
    };
    let (admission, hello, version) = match admitted {
        Ok(admitted) => admitted,
        Err(goodbye) => {
            let message = goodbye.message.clone();
            say_goodbye(writer, &connection, goodbye).await;
            return Err(message);
        }
    };
    let (queue_in, queue) = mpsc::channel(QUEUE);
    let (end_in, end) = watch::channel(None);
    let session = Arc::new(Session {
        device_id: admission.device_id,
        node_name: admission.node_name,
        generation: registry.next_generation(),
        fingerprint,
        capabilities: hello.capabilities.iter().take(MAX_CAPABILITIES).cloned().collect(),
        outbox_id: hello.outbox_id,
        queue: queue_in,
        end: end_in,
        ready: AtomicBool::new(true),
    });
    let welcome = Frame::Welcome(Welcome {
        version,
        hub_version: env!("CARGO_PKG_VERSION").into(),
        capabilities: CAPABILITIES.map(str::to_owned).into(),
        generation: session.generation,
        acked: admission.acked,
        now: Timestamp::now(),
        device_id: session.device_id.clone(),
    });
    let sent = async {
        writer.push(&welcome)?;
        writer.flush().await
    };
    sent.await.map_err(|e: FrameError| e.to_string())?;
    Ok(Live { connection, session, hello, reader, writer, queue, end })
}

async fn say_goodbye(mut writer: FrameWriter, connection: &Connection, goodbye: Goodbye) {
    let code = VarInt::from_u32(2 + goodbye.reason as u32);
    let text = goodbye.message.clone();
    if writer.push(&Frame::Goodbye(goodbye)).is_ok() && writer.flush().await.is_ok() {
        writer.finish().await;
    }
    connection.close(code, text.as_bytes());
}

impl Live {
    /// Runs the session to its end.
    pub(super) async fn run<P: Peers>(
        self,
        peers: Arc<P>,
        registry: Arc<Registry>,
        blob_slots: Arc<Semaphore>,
        shutdown: CancellationToken,
    ) {
        let Self { connection, session, hello, mut reader, mut writer, mut queue, mut end } = self;
        let (device_id, generation) = (&session.device_id, session.generation);
        registry.begin(&session);
        tracing::info!(%device_id, generation, from = %connection.remote_address(), "session began");
        let mut writing = Box::pin(async {
            while let Some(frame) = queue.recv().await {
                writer.push(&frame)?;
                while let Ok(frame) = queue.try_recv() {
                    writer.push(&frame)?;
                }
                writer.flush().await?;
            }
            Ok::<_, FrameError>(())
        });
        // What a device missed may be more than its queue holds: it is written meanwhile.
        let written = {
            let mut began = pin!(peers.began(&session, &hello));
            tokio::select! {
                () = &mut began => None,
                written = &mut writing => {
                    began.await;
                    Some(written)
                }
            }
        };
        let writing = async move {
            match written {
                Some(written) => written,
                None => writing.await,
            }
        };
        let mut blobs = JoinSet::new();
        let own_slot = Arc::new(Semaphore::new(1));
        let releases = Arc::new(Semaphore::new(1));
        let reading = async {
            loop {
                match reader.next().await {
                    Ok(Some(Frame::Goodbye(goodbye))) => break Ok(goodbye.message),
                    Ok(Some(Frame::Unknown(kind))) => {
                        // A full queue means that the peer does not read: `send` ends the session.
                        let _ = session.send(Frame::Unsupported(Unsupported { kind }));
                    }
                    Ok(Some(frame)) => {
                        if let Err(goodbye) = peers.said(&session, frame).await {
                            break Err(goodbye);
                        }
                    }
                    Ok(None) => break Ok("the agent ended the stream".into()),
                    Err(FrameError::Codec(e)) => {
                        let message = e.to_string();
                        break Err(Goodbye { reason: GoodbyeReason::Protocol, message });
                    }
                    Err(e) => break Ok(e.to_string()),
                }
            }
        };
        let accepting = async {
            loop {
                let accepted = tokio::select! {
                    accepted = connection.accept_bi() => accepted,
                    Some(_) = blobs.join_next() => continue,
                };
                let Ok((send, recv)) = accepted else { break };
                let (peers, session) = (Arc::clone(&peers), Arc::clone(&session));
                let slots = [Arc::clone(&own_slot), Arc::clone(&blob_slots)];
                let releases = Arc::clone(&releases);
                blobs.spawn(async move {
                    stream(&*peers, &session, slots, releases, send, recv).await;
                });
            }
        };
        let closing = async {
            let reason = tokio::select! {
                reason = end.wait_for(Option::is_some) => reason.ok().and_then(|r| *r),
                () = shutdown.cancelled() => Some(GoodbyeReason::Shutdown),
            };
            reason.unwrap_or(GoodbyeReason::Shutdown)
        };
        let (why, goodbye) = tokio::select! {
            read = reading => match read {
                Ok(why) => (why, None),
                Err(goodbye) => (goodbye.message.clone(), Some(goodbye)),
            },
            written = writing => match written {
                Ok(()) => ("the queue closed".into(), None),
                Err(e) => (e.to_string(), None),
            },
            () = accepting => ("the connection was lost".into(), None),
            reason = closing => {
                let message = match reason {
                    GoodbyeReason::Revoked => "this device was removed or its certificate revoked",
                    GoodbyeReason::Superseded => "a newer session took over",
                    GoodbyeReason::Shutdown => "the hub stops",
                    _ => "the session was ended",
                };
                (message.into(), Some(Goodbye { reason, message: message.into() }))
            }
        };
        blobs.abort_all();
        let current = registry.end(&session);
        match goodbye {
            Some(goodbye) => say_goodbye(writer, &connection, goodbye).await,
            None => connection.close(VarInt::from_u32(0), b""),
        }
        tracing::info!(%device_id, generation, why, "session ended");
        if current {
            peers.ended(&session).await;
        }
    }
}

/// A stream beside the session's own: a blob, or a release that is asked for.
async fn stream<P: Peers>(
    peers: &P,
    session: &Arc<Session>,
    slots: [Arc<Semaphore>; 2],
    releases: Arc<Semaphore>,
    send: quinn::SendStream,
    recv: quinn::RecvStream,
) {
    let mut reader = FrameReader::new(recv);
    let device_id = &session.device_id;
    let Ok(first) = timeout(BLOB_HEADER, reader.next()).await else {
        return tracing::info!(%device_id, "a stream stayed silent");
    };
    let writer = FrameWriter::new(send);
    let in_time = match first {
        Ok(Some(Frame::BlobHeader(header))) => {
            timeout(BLOB, blob(peers, session, slots, header, reader, writer)).await
        }
        Ok(Some(Frame::ReleaseRequest(request))) => {
            // One at a time: a device has one agent.
            let Ok(_slot) = releases.try_acquire() else { return };
            timeout(RELEASE, release(peers, session, request, writer)).await
        }
        Ok(_) => return tracing::info!(%device_id, "a stream began with something else"),
        Err(e) => return tracing::info!(%device_id, "a blob broke off: {e}"),
    };
    if in_time.is_err() {
        tracing::info!(%device_id, "a blob or a release took too long");
    }
}

async fn release<P: Peers>(
    peers: &P,
    session: &Arc<Session>,
    request: ReleaseRequest,
    mut writer: FrameWriter,
) {
    let sent = async {
        let (header, mut file) = match peers.release(session, request).await {
            Ok(found) => found,
            Err(why) => {
                writer.push(&Frame::BlobReply(BlobReply::Refused(why)))?;
                writer.flush().await?;
                return Ok(());
            }
        };
        writer.push(&Frame::ReleaseHeader(header))?;
        writer.flush().await?;
        let mut part = BytesMut::new();
        loop {
            part.reserve(PART_BYTES);
            match file.read_buf(&mut part).await {
                Ok(0) => return Ok(()),
                Ok(_) => writer.raw(part.split().freeze(), RELEASE_PART).await?,
                Err(error) => {
                    tracing::error!(%error, "a release can't be read");
                    return Err(FrameError::Truncated);
                }
            }
        }
    };
    match sent.await {
        Ok(()) => writer.finish().await,
        Err(error) => {
            tracing::info!(device_id = %session.device_id, %error, "a release broke off");
        }
    }
}

async fn blob<P: Peers>(
    peers: &P,
    session: &Arc<Session>,
    slots: [Arc<Semaphore>; 2],
    header: BlobHeader,
    reader: FrameReader,
    mut writer: FrameWriter,
) {
    let device_id = &session.device_id;
    // Its bytes wait at the agent: the stream's window is small. One device has one of the slots
    // at most, so that a slow uplink holds up nobody else.
    let [own, all] = &slots;
    let (Ok(_own), Ok(_slot)) = (own.acquire().await, all.acquire().await) else { return };
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
