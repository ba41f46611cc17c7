//! One session, from hello to goodbye.
//!
//! Five things go on at once and none waits for another: events go out, frames come in, what was
//! acknowledged is deleted, the certificate is watched, and the log is shown to those who follow
//! it.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use cloudcore_protocol::{
    ALPN_LINK, CAPABILITY_LOGS, CAPABILITY_MODELS, EventAck, Frame, FrameCodec, Goodbye,
    GoodbyeReason, Hello, Lane, PROTOCOL_MAX, PROTOCOL_MIN, RenewReply, Timestamp, Unsupported,
    Welcome, encode,
};
use futures_util::{SinkExt, StreamExt as _};
use quinn::{RecvStream, SendStream};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::timeout,
};
use tokio_util::{
    codec::{FramedRead, FramedWrite, LengthDelimitedCodec},
    sync::CancellationToken,
};

use super::{End, Link, LinkError, LinkState, Live, Order, dial, renew::blocking};
use crate::{identity::Identity, machine};

const WELCOME: Duration = Duration::from_secs(10);
const GOODBYE: Duration = Duration::from_secs(1);
/// Events of a lane that were sent and not acknowledged, at most.
const WINDOW: usize = 512;
/// Events of a lane that are sent before the next lane has its turn.
const TURN: usize = 64;
/// What this agent can do beyond the protocol's version.
const CAPABILITIES: [&str; 4] = ["blobs", CAPABILITY_LOGS, "renew", "renew-now"];
/// Frames that are no events and wait to be sent.
const CONTROL: usize = 64;

type Reader = FramedRead<RecvStream, FrameCodec>;
/// Writes frames that are bytes already, as the outbox keeps them.
type Writer = FramedWrite<SendStream, LengthDelimitedCodec>;

/// A number for each lane.
type PerLane = [u64; 3];

const fn index(lane: Lane) -> usize {
    match lane {
        Lane::Commands => 0,
        Lane::Status => 1,
        Lane::Detections => 2,
    }
}

impl Link {
    /// One session, from dialling to its end.
    pub(super) async fn attempt(&self, hub: usize, cancel: &CancellationToken) -> End {
        let config = self.settings.get();
        // `hub` counts on for ever, the list is never empty.
        let listed = config.hub.get(hub % config.hub.len().max(1));
        let Some(hub) = self.hub.as_ref().or(listed) else {
            return End::Cut(LinkError::Network("no hub is configured".into()));
        };
        let data_dir = self.settings.data_dir().to_owned();
        let tls = blocking(move || Identity::load(&data_dir)?.tls(ALPN_LINK));
        let dialled = tokio::select! {
            () = cancel.cancelled() => return End::Stopped,
            dialled = async { dial(hub, tls.await?).await } => match dialled {
                Ok(dialled) => dialled,
                Err(error) => return End::Cut(error),
            },
        };
        let end = match self.session(&dialled.connection, cancel).await {
            Ok(end) => end,
            // The connection's own reason says more than that of the stream that felt it first.
            Err(error @ (LinkError::Lost(_) | LinkError::Slow(_))) => {
                End::Cut(dialled.connection.close_reason().map_or(error, LinkError::from))
            }
            Err(error) => End::Cut(error),
        };
        dialled.close("").await;
        end
    }

    async fn session(
        &self,
        connection: &quinn::Connection,
        cancel: &CancellationToken,
    ) -> Result<End, LinkError> {
        let (send, recv) = connection.open_bi().await?;
        let mut reader = FramedRead::new(recv, FrameCodec);
        let mut writer = FramedWrite::new(send, LengthDelimitedCodec::new());
        let greeting = async {
            let hello = self.hello().await?;
            writer.send(encode(&Frame::Hello(hello))?).await?;
            match reader.next().await {
                Some(Ok(Frame::Welcome(welcome))) => Ok(welcome),
                Some(Ok(Frame::Goodbye(goodbye))) => {
                    Err(LinkError::Goodbye(goodbye.reason, goodbye.message))
                }
                Some(Ok(_)) => Err(LinkError::Protocol("hello was not answered by welcome".into())),
                Some(Err(error)) => Err(error.into()),
                None => Err(LinkError::Lost("the hub ended the stream".into())),
            }
        };
        let welcome = tokio::select! {
            () = cancel.cancelled() => return Ok(End::Stopped),
            welcome = timeout(WELCOME, greeting) => welcome.map_err(|_| LinkError::Slow(WELCOME))??,
        };
        if !(PROTOCOL_MIN..=PROTOCOL_MAX).contains(&welcome.version) {
            return Err(LinkError::Protocol(format!(
                "version {} was not offered",
                welcome.version
            )));
        }
        if !self.outbox.reconcile(welcome.acked.clone()).await? {
            tracing::warn!(
                "the hub knows more of this outbox than this disk: it was restored from a copy; beginning a new one"
            );
            return Ok(End::Rotated);
        }
        self.announce(connection, &welcome);

        let mut acked: PerLane = [0; 3];
        for ack in &welcome.acked {
            acked[index(ack.lane)] = ack.seq;
        }
        let (acks_in, mut acks) = watch::channel(acked);
        let (sent_in, sent) = watch::channel(acked);
        let (frames_in, mut frames) = mpsc::channel(CONTROL);
        let (renewed_in, mut renewed) = mpsc::channel(1);
        let renew_now = Notify::new();
        let mut acks_to_keep = acks_in.subscribe();
        let error = tokio::select! {
            () = cancel.cancelled() => {
                say_goodbye(writer).await;
                return Ok(End::Stopped);
            }
            error = self.writing(&mut writer, &mut acks, &sent_in, &mut frames) => error,
            error = self.reading(&mut reader, &acks_in, &sent, &frames_in, &renewed_in, &renew_now) => error,
            error = self.keeping(&mut acks_to_keep, acked) => error,
            error = self.renewing(&frames_in, &mut renewed, &renew_now) => error,
            error = super::logs::serving(connection, &self.logs) => error,
        };
        if let LinkError::Protocol(_) = error {
            say(writer, GoodbyeReason::Protocol, &error.to_string()).await;
        }
        Ok(End::Cut(error))
    }

    async fn hello(&self) -> Result<Hello, LinkError> {
        let config = self.settings.get();
        Ok(Hello {
            min_version: PROTOCOL_MIN,
            max_version: PROTOCOL_MAX,
            agent_version: env!("CARGO_PKG_VERSION").into(),
            capabilities: CAPABILITIES.map(str::to_owned).into(),
            outbox_id: self.outbox.id().await?,
            platform: machine::platform(),
            labels: config.labels.clone(),
            addresses: machine::addresses(),
        })
    }

    fn announce(&self, connection: &quinn::Connection, welcome: &Welcome) {
        let now = Timestamp::now();
        let live = Live {
            connection: connection.clone(),
            generation: welcome.generation,
            hub_version: welcome.hub_version.clone(),
            hub: connection.remote_address(),
            since: now,
            has_models: welcome.capabilities.iter().any(|can| can == CAPABILITY_MODELS),
            clock_offset_ms: (welcome.now.micros().saturating_sub(now.micros())) / 1000,
        };
        tracing::info!(
            hub = %live.hub, generation = live.generation, hub_version = live.hub_version,
            device_id = %welcome.device_id, "linked"
        );
        self.state.send_replace(LinkState { live: Some(Arc::new(live)), problem: None });
        self.pulse.now();
    }

    /// Sends what waits. Ends with the reason why it can't.
    async fn writing(
        &self,
        writer: &mut Writer,
        acks: &mut watch::Receiver<PerLane>,
        sent: &watch::Sender<PerLane>,
        frames: &mut mpsc::Receiver<Frame>,
    ) -> LinkError {
        let mut appended = self.outbox.subscribe();
        let mut cursor = *acks.borrow();
        let mut in_flight: [VecDeque<u64>; 3] = Default::default();
        let result: Result<(), LinkError> = async {
            loop {
                // Seen before the outbox is read, or an event in between would wait for the next.
                appended.mark_unchanged();
                let acked = *acks.borrow_and_update();
                let mut idle = true;
                for lane in Lane::ALL {
                    let i = index(lane);
                    while in_flight[i].front().is_some_and(|seq| *seq <= acked[i]) {
                        in_flight[i].pop_front();
                    }
                    let room = WINDOW.saturating_sub(in_flight[i].len()).min(TURN);
                    if room == 0 {
                        continue;
                    }
                    let events = self.outbox.read(lane, cursor[i], room).await?;
                    let Some(last) = events.last() else { continue };
                    cursor[i] = last.seq;
                    // Before the first byte leaves, so that no ack can overtake it.
                    sent.send_replace(cursor);
                    idle &= events.len() < room;
                    for event in events {
                        in_flight[i].push_back(event.seq);
                        writer.feed(event.frame).await?;
                    }
                }
                while let Ok(frame) = frames.try_recv() {
                    writer.feed(encode(&frame)?).await?;
                }
                SinkExt::<Bytes>::flush(writer).await?;
                if idle {
                    tokio::select! {
                        changed = appended.changed() => changed.map_err(|_| gone())?,
                        changed = acks.changed() => changed.map_err(|_| gone())?,
                        frame = frames.recv() => {
                            writer.feed(encode(&frame.ok_or_else(gone)?)?).await?;
                        }
                    }
                }
            }
        }
        .await;
        result.err().unwrap_or_else(gone)
    }

    /// Takes what the hub says. Ends with the reason why it says no more.
    async fn reading(
        &self,
        reader: &mut Reader,
        acks: &watch::Sender<PerLane>,
        sent: &watch::Receiver<PerLane>,
        frames: &mpsc::Sender<Frame>,
        renewed: &mpsc::Sender<RenewReply>,
        renew_now: &Notify,
    ) -> LinkError {
        loop {
            let frame = match reader.next().await {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return error.into(),
                None => return LinkError::Lost("the hub ended the stream".into()),
            };
            let order = match frame {
                Frame::EventAck(EventAck { lane, seq }) => {
                    // To believe it would delete what the hub has never seen.
                    if seq > sent.borrow()[index(lane)] {
                        return LinkError::Protocol(format!("{lane:?} {seq} was acked, not sent"));
                    }
                    acks.send_if_modified(|acks| {
                        let newer = seq > acks[index(lane)];
                        if newer {
                            acks[index(lane)] = seq;
                        }
                        newer
                    });
                    continue;
                }
                Frame::Command(command) => Order::Run(command),
                Frame::CancelCommand(cancel) => Order::Cancel(cancel.id),
                Frame::RenewReply(reply) => {
                    // One was asked for at a time: a second has nobody who waits for it.
                    renewed.try_send(reply).ok();
                    continue;
                }
                Frame::RenewNow(_) => {
                    renew_now.notify_one();
                    continue;
                }
                Frame::Goodbye(goodbye) => {
                    return LinkError::Goodbye(goodbye.reason, goodbye.message);
                }
                Frame::Unsupported(Unsupported { kind }) => {
                    tracing::warn!(kind, "the hub does not know this kind of frame");
                    continue;
                }
                Frame::Unknown(kind) => {
                    // A hub that sends many while it reads none gets no more answers.
                    frames.try_send(Frame::Unsupported(Unsupported { kind })).ok();
                    continue;
                }
                other => {
                    return LinkError::Protocol(format!("not on this stream: {}", kind_of(&other)));
                }
            };
            // The executor takes orders without waiting for what it runs.
            if self.orders.send(order).await.is_err() {
                return LinkError::Lost("the agent stops".into());
            }
        }
    }

    /// Deletes what was acknowledged, apart from reading, so that a slow disk delays no command.
    async fn keeping(&self, acks: &mut watch::Receiver<PerLane>, mut kept: PerLane) -> LinkError {
        loop {
            if acks.changed().await.is_err() {
                return gone();
            }
            let acked = *acks.borrow_and_update();
            for lane in Lane::ALL {
                let i = index(lane);
                if acked[i] <= kept[i] {
                    continue;
                }
                match self.outbox.ack(EventAck { lane, seq: acked[i] }).await {
                    Ok(()) => kept[i] = acked[i],
                    // The hub has them: the next ack deletes these as well.
                    Err(error) => tracing::warn!(%error, "acknowledged events were not deleted"),
                }
            }
        }
    }
}

/// One half of the session has ended, and so has the session.
fn gone() -> LinkError {
    LinkError::Lost("the session ended".into())
}

/// The name of a frame's kind, without what it holds: it may be a secret.
fn kind_of(frame: &Frame) -> &'static str {
    match frame {
        Frame::Hello(_) => "hello",
        Frame::Welcome(_) => "a second welcome",
        Frame::Event(_) => "event",
        Frame::RenewRequest(_) => "renew request",
        Frame::JoinRequest(_) | Frame::JoinReply(_) => "join",
        Frame::BlobHeader(_) | Frame::BlobReply(_) => "blob",
        _ => "another kind",
    }
}

async fn say_goodbye(writer: Writer) {
    say(writer, GoodbyeReason::Shutdown, "the agent stops").await;
}

/// Last words; a hub that does not take them in time does without.
async fn say(mut writer: Writer, reason: GoodbyeReason, message: &str) {
    let last = async {
        let goodbye = Frame::Goodbye(Goodbye { reason, message: message.to_owned() });
        let bytes: Bytes = encode(&goodbye).ok()?;
        writer.send(bytes).await.ok()?;
        let mut stream = writer.into_inner();
        stream.finish().ok()?;
        stream.stopped().await.ok()
    };
    timeout(GOODBYE, last).await.ok();
}
