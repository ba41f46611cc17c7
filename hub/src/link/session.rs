//! One connection, from its first frame to its last.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{Arc, atomic::AtomicBool},
};

use cloudcore_protocol::{
    CAPABILITY_MODELS, Frame, Goodbye, GoodbyeReason, Hello, PROTOCOL_MAX, Timestamp, Unsupported,
    Welcome, negotiate,
};
use quinn::{Connection, VarInt, rustls::pki_types::CertificateDer};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    Peers, Registry, Session,
    frames::{FrameError, FrameReader, FrameWriter},
    registry::QUEUE,
    streams::{self, Slots},
};
use crate::keys;

/// What this hub can do beyond the protocol's version.
const CAPABILITIES: [&str; 4] = ["blobs", "releases", "renew", CAPABILITY_MODELS];

/// Most of an agent's that are kept for a session.
const MAX_CAPABILITIES: usize = 64;

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
        connection: Some(connection.clone()),
        followers: Session::follower_places(),
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
        slots: Slots,
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
                let slots = slots.clone();
                blobs.spawn(
                    async move { streams::serve(&*peers, &session, slots, send, recv).await },
                );
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
