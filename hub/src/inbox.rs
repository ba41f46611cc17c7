//! What agents say → the rooms it concerns.
//!
//! All events of all sessions pass through one writer, which commits them in batches: one
//! transaction for whatever has gathered while the last one was written. Only then is an event
//! acknowledged, and only then do watchers hear of it. The sequence numbers that were committed
//! stand in the same transaction, so that a repeat is dropped whatever was killed in between.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use cloudcore_protocol::{
    Alert, BlobHeader, BlobReply, DeviceId, Event, EventAck, EventBody, Frame, Goodbye,
    GoodbyeReason, Hello, JoinRefusal, JoinRefused, JoinReply, JoinRequest, Lane, ModelFound,
    ModelRefused, ModelReply, ModelRequest, ReleaseHeader, ReleaseRequest,
};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    alerts::{self, Judge},
    api::to_the_end,
    apps,
    blobs::{Blobs, MAX_BLOB_BYTES},
    commands::{self, Change, Commands, Ending},
    db::{self, Db, On, Write},
    detections::{self, DetectionRow},
    devices::{self, Devices, HeartbeatRow},
    error::{Code, Result},
    link::{Admission, ModelBytes, Peers, Session},
    live::{Bus, News},
    models::Models,
    releases::Releases,
    settings::Settings,
};

/// Events that wait for the writer; a session whose event finds no room waits.
const QUEUE: usize = 4096;
/// Events in one transaction.
const BATCH: usize = 1024;
/// Join requests that are worked on at once.
const MAX_JOINS: usize = 16;

struct Said {
    session: Arc<Session>,
    event: Event,
}

/// Where bytes come from and go to.
pub struct Files {
    /// Pictures and files of devices.
    pub blobs: Arc<Blobs>,
    /// The catalog.
    pub models: Arc<Models>,
    /// Releases of the agent.
    pub releases: Arc<Releases>,
}

/// The face that the link sees.
pub struct Inbox {
    db: Db,
    devices: Arc<Devices>,
    commands: Arc<Commands>,
    blobs: Arc<Blobs>,
    models: Arc<Models>,
    releases: Arc<Releases>,
    queue: mpsc::Sender<Said>,
    joins: Semaphore,
}

/// The one that commits.
pub struct Writer {
    db: Db,
    commands: Arc<Commands>,
    blobs: Arc<Blobs>,
    bus: Arc<Bus>,
    settings: Arc<Settings>,
    judge: Judge,
    queue: mpsc::Receiver<Said>,
    /// What is committed, for the outboxes that spoke lately.
    committed: HashMap<(DeviceId, u64, Lane), u64>,
}

/// Lanes remembered without asking the database.
const MAX_REMEMBERED: usize = 100_000;

/// An inbox and its writer.
#[must_use]
pub fn open(
    db: &Db,
    devices: &Arc<Devices>,
    commands: &Arc<Commands>,
    files: Files,
    bus: &Arc<Bus>,
    settings: &Arc<Settings>,
) -> (Inbox, Writer) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let inbox = Inbox {
        db: db.clone(),
        devices: Arc::clone(devices),
        commands: Arc::clone(commands),
        blobs: Arc::clone(&files.blobs),
        models: files.models,
        releases: files.releases,
        queue: sender,
        joins: Semaphore::new(MAX_JOINS),
    };
    let writer = Writer {
        db: db.clone(),
        commands: Arc::clone(commands),
        blobs: files.blobs,
        bus: Arc::clone(bus),
        settings: Arc::clone(settings),
        judge: Judge::default(),
        queue,
        committed: HashMap::new(),
    };
    (inbox, writer)
}

fn stored_id(outbox_id: u64) -> i64 {
    outbox_id.cast_signed()
}

async fn last_seq(
    db: impl Into<On<'_>>,
    device: &DeviceId,
    outbox_id: u64,
    lane: Lane,
) -> Result<u64> {
    let last: Option<i64> = db::sql(
        "SELECT last_seq FROM outboxes WHERE device_id = $1 AND outbox_id = $2 AND lane = $3",
    )
    .bind(device.as_str())
    .bind(stored_id(outbox_id))
    .bind(lane as i64)
    .optional_value(db)
    .await?;
    Ok(last.and_then(|n| u64::try_from(n).ok()).unwrap_or(0))
}

impl Peers for Inbox {
    async fn join(&self, request: JoinRequest, from: SocketAddr) -> JoinReply {
        let _permit = self.joins.acquire().await;
        let devices = Arc::clone(&self.devices);
        let (node_name, request) = (request.node_name.clone(), request);
        let reply = to_the_end(async move { Ok(devices.join(&request).await) }).await;
        let reply = reply.unwrap_or_else(|error| {
            tracing::error!(?error, "a join failed");
            JoinReply::Refused(JoinRefused {
                reason: JoinRefusal::Unavailable,
                message: "the hub can't take a new member now; try again".into(),
            })
        });
        if let JoinReply::Refused(refused) = &reply {
            tracing::warn!(
                %from, %node_name, reason = ?refused.reason, "a join was refused"
            );
        }
        reply
    }

    async fn admit(&self, fingerprint: &str, hello: &Hello) -> Result<Admission, Goodbye> {
        let goodbye = |reason, message: &str| Goodbye { reason, message: message.to_owned() };
        let later = |error| {
            tracing::error!(?error, "a member can't be let in");
            goodbye(GoodbyeReason::Busy, "the hub can't look you up now; come back")
        };
        let member = self.devices.member(fingerprint).await.map_err(later)?.ok_or_else(|| {
            goodbye(
                GoodbyeReason::Revoked,
                "no member: the device was removed or its certificate revoked",
            )
        })?;
        let mut acked = Vec::with_capacity(Lane::ALL.len());
        for lane in Lane::ALL {
            let seq = last_seq(&self.db, &member.device_id, hello.outbox_id, lane)
                .await
                .map_err(later)?;
            acked.push(EventAck { lane, seq });
        }
        Ok(Admission { device_id: member.device_id, node_name: member.node_name, acked })
    }

    async fn began(&self, session: &Arc<Session>, hello: &Hello) {
        let resumed = async {
            // Whoever was revoked since it was let in was not in the registry to be cut off.
            if self.devices.member(&session.fingerprint).await?.is_none() {
                session.close(GoodbyeReason::Revoked);
                return Ok(());
            }
            self.devices.greet(&session.device_id, &session.node_name, hello).await?;
            self.commands.resume(session).await
        };
        if let Err(error) = resumed.await {
            // Without its commands a session is of no use: the agent comes back.
            tracing::error!(device_id = %session.device_id, ?error, "a session can't be resumed");
            session.close(GoodbyeReason::Busy);
        }
    }

    async fn said(&self, session: &Arc<Session>, frame: Frame) -> Result<(), Goodbye> {
        match frame {
            Frame::Event(event) => {
                let said = Said { session: Arc::clone(session), event };
                self.queue.send(said).await.map_err(|_| Goodbye {
                    reason: GoodbyeReason::Shutdown,
                    message: "the hub stops".into(),
                })
            }
            Frame::RenewRequest(request) => {
                let reply = self.devices.renew(session, &request.csr).await;
                // A queue that is full ends the session by itself.
                let _ = session.send(Frame::RenewReply(reply));
                Ok(())
            }
            Frame::Unsupported(unsupported) => {
                tracing::info!(device_id = %session.device_id, kind = unsupported.kind,
                    "the agent does not know this kind of frame");
                Ok(())
            }
            other => Err(Goodbye {
                reason: GoodbyeReason::Protocol,
                message: format!("an agent does not send this: {}", kind_of(&other)),
            }),
        }
    }

    fn blob_limit(&self, header: &BlobHeader) -> Result<usize, BlobReply> {
        match usize::try_from(header.size) {
            Ok(size) if header.size <= MAX_BLOB_BYTES => Ok(size),
            _ => Err(BlobReply::Refused(format!("more than {MAX_BLOB_BYTES} bytes"))),
        }
    }

    async fn blob(
        &self,
        session: &Arc<Session>,
        header: BlobHeader,
        bytes: Bytes,
    ) -> Option<BlobReply> {
        match self.blobs.put(&session.device_id, &header, bytes).await {
            Ok(()) => Some(BlobReply::Stored),
            Err(error) if error.code == Code::Invalid => {
                Some(BlobReply::Refused(error.message.into_owned()))
            }
            Err(error) => {
                tracing::error!(device_id = %session.device_id, ?error, "a blob can't be stored");
                None
            }
        }
    }

    async fn model(
        &self,
        session: &Arc<Session>,
        request: ModelRequest,
    ) -> Result<(ModelFound, ModelBytes), ModelReply> {
        let refused = |error: crate::error::Error| {
            let passing = !matches!(error.code, Code::NotFound | Code::Invalid);
            if passing {
                let device_id = &session.device_id;
                tracing::error!(%device_id, model = %request.id, ?error, "a model can't be sent");
            }
            ModelReply::Refused(ModelRefused { message: error.message.into_owned(), passing })
        };
        let read = self.models.read(&request.id, request.offset).await.map_err(refused)?;
        let found =
            ModelFound { sha256: read.sha256, size: read.size, description: read.description };
        Ok((found, read.bytes))
    }

    async fn release(
        &self,
        session: &Arc<Session>,
        request: ReleaseRequest,
    ) -> Result<(ReleaseHeader, tokio::fs::File), String> {
        self.releases.fetch(&request).await.map_err(|error| {
            tracing::info!(device_id = %session.device_id, ?error, "a release was not served");
            error.message.into_owned()
        })
    }

    async fn ended(&self, session: &Session) {
        self.devices.lost(&session.device_id);
    }
}

/// A frame's kind, without its content.
fn kind_of(frame: &Frame) -> String {
    let text = format!("{frame:?}");
    text.split('(').next().unwrap_or_default().to_owned()
}

/// What a session will be told is committed.
struct Acks {
    session: Arc<Session>,
    lanes: HashMap<Lane, u64>,
}

/// What a commit leaves to be told.
#[derive(Default)]
struct Outcome {
    /// By session, which is its device and generation.
    acks: HashMap<(DeviceId, u64), Acks>,
    fresh: Vec<usize>,
    changes: Vec<Change>,
    alerts: Vec<usize>,
    judged: Vec<(usize, Alert)>,
    news: Vec<News>,
}

impl Writer {
    /// Commits until all sessions are gone, or until `shutdown` and nothing waits.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            batch.clear();
            tokio::select! {
                biased;
                n = self.queue.recv_many(&mut batch, BATCH) => if n == 0 { return },
                () = shutdown.cancelled() => return,
            }
            if !self.commit(&batch, &shutdown).await {
                return;
            }
        }
    }

    /// Commits a batch, however often that takes: what was read of a session must not be passed
    /// over, or the next acknowledgement would cover what is not stored. `false` when the hub
    /// stopped first; nothing after this batch may be committed then.
    async fn commit(&mut self, batch: &[Said], shutdown: &CancellationToken) -> bool {
        let mut pause = Duration::from_millis(100);
        loop {
            let error = match self.try_commit(batch, true).await {
                Ok(outcome) => {
                    self.tell(outcome);
                    return true;
                }
                Err(error) => error,
            };
            // What the failed transaction noted is not committed.
            self.committed.clear();
            tracing::error!(?error, events = batch.len(), "events can't be stored");
            if error.code == Code::Internal {
                // The database works and one event does not: it must not hold up the fleet.
                if let (first, second @ [_, ..]) = batch.split_at(batch.len() / 2)
                    && !first.is_empty()
                {
                    return Box::pin(self.commit(first, shutdown)).await
                        && Box::pin(self.commit(second, shutdown)).await;
                }
                if let Ok(outcome) = self.try_commit(batch, false).await {
                    let devices: Vec<_> = batch.iter().map(|s| &s.session.device_id).collect();
                    tracing::error!(?devices, "an event that can't be stored was dropped");
                    self.tell(outcome);
                    return true;
                }
                self.committed.clear();
            }
            tokio::select! {
                () = shutdown.cancelled() => return false,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    /// One transaction; without `store` only the sequence numbers are noted.
    async fn try_commit(&mut self, batch: &[Said], store: bool) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let mut tx = self.db.write().await?;
        for (index, said) in batch.iter().enumerate() {
            let (session, lane, seq) = (&said.session, said.event.lane, said.event.seq);
            let key = (session.device_id.clone(), session.outbox_id, lane);
            let last = match self.committed.get(&key) {
                Some(last) => *last,
                None => last_seq(&mut tx, &session.device_id, session.outbox_id, lane).await?,
            };
            // A repeat is acknowledged again: the first acknowledgement may have been lost.
            if seq > last && store {
                outcome.fresh.push(index);
            }
            self.committed.insert(key, seq.max(last));
            let acks = outcome
                .acks
                .entry((session.device_id.clone(), session.generation))
                .or_insert_with(|| Acks { session: Arc::clone(session), lanes: HashMap::new() });
            // Only what this session said: an older one's events may be ahead of it in the queue.
            let acked = acks.lanes.entry(lane).or_insert(seq);
            *acked = seq.max(*acked);
        }
        self.store(&mut tx, batch, &mut outcome).await?;
        for Acks { session, lanes } in outcome.acks.values() {
            for (lane, seq) in lanes {
                db::sql(
                    "INSERT INTO outboxes (device_id, outbox_id, lane, last_seq) \
                     VALUES ($1, $2, $3, $4) \
                     ON CONFLICT (device_id, outbox_id, lane) DO UPDATE \
                     SET last_seq = CASE WHEN excluded.last_seq > outboxes.last_seq \
                     THEN excluded.last_seq ELSE outboxes.last_seq END",
                )
                .bind(session.device_id.as_str())
                .bind(stored_id(session.outbox_id))
                .bind(*lane as i64)
                .bind(i64::try_from(*seq).unwrap_or(i64::MAX))
                .run(&mut tx)
                .await?;
            }
        }
        tx.commit().await?;
        if self.committed.len() > MAX_REMEMBERED {
            self.committed.clear();
        }
        Ok(outcome)
    }

    /// Gives each room what concerns it.
    async fn store(&mut self, tx: &mut Write, batch: &[Said], outcome: &mut Outcome) -> Result<()> {
        let (mut heartbeats, mut said, mut from) = (Vec::new(), Vec::new(), Vec::new());
        let mut seen = Vec::new();
        for &index in &outcome.fresh {
            let Said { session, event } = &batch[index];
            let device_id = &session.device_id;
            match &event.body {
                EventBody::Heartbeat(heartbeat) => {
                    heartbeats.push(HeartbeatRow::of(device_id, event.at, heartbeat));
                    said.push((device_id, event.at, heartbeat));
                    from.push(index);
                }
                EventBody::Detection(detection) => seen.push(DetectionRow { device_id, detection }),
                EventBody::CommandStarted(started) => outcome.changes.extend(
                    commands::apply(
                        tx,
                        &started.id,
                        Some(device_id),
                        commands::Event::Start,
                        &Ending::default(),
                    )
                    .await?,
                ),
                EventBody::CommandFinished(finished) => {
                    let (end, ending) = commands::ending(finished);
                    let change =
                        commands::apply(tx, &finished.id, Some(device_id), end, &ending).await?;
                    outcome.changes.extend(change);
                }
                EventBody::Alert(alert) => {
                    if alerts::record(tx, device_id, event.at, alert).await? {
                        outcome.alerts.push(index);
                    }
                }
                // A newer agent's; it is acknowledged, or it would wait for ever.
                _ => tracing::info!(%device_id, body = ?event.body, "an event of an unknown kind"),
            }
        }
        devices::record_heartbeats(tx, &heartbeats).await?;
        for (device, _, heartbeat) in &said {
            apps::hear(tx, device, heartbeat.apps.as_deref().unwrap_or_default()).await?;
        }
        detections::record(tx, &seen).await?;
        let judged = self.judge.judge(tx, &self.settings.live().alerts, &said).await?;
        outcome.judged = judged.into_iter().map(|(place, alert)| (from[place], alert)).collect();
        outcome.news = self.news(batch, outcome);
        self.bus.keep(tx, &outcome.news).await
    }

    /// What watchers are told of a batch.
    fn news(&self, batch: &[Said], outcome: &Outcome) -> Vec<News> {
        let mut news = Vec::with_capacity(outcome.fresh.len());
        for index in &outcome.fresh {
            let Said { session, event } = &batch[*index];
            let (device, node) = (&session.device_id, &session.node_name);
            match &event.body {
                EventBody::Heartbeat(heartbeat) => {
                    news.push(devices::heartbeat_news(device, node, heartbeat));
                }
                EventBody::Detection(d) => {
                    let image_url = detections::image_url(&self.blobs, device, d);
                    news.push(detections::news(device, node, d, image_url.as_deref()));
                }
                EventBody::Alert(alert) if outcome.alerts.contains(index) => {
                    news.push(alerts::news(device, node, alert));
                }
                _ => {}
            }
        }
        news.extend(outcome.judged.iter().map(|(index, alert)| {
            let session = &batch[*index].session;
            alerts::news(&session.device_id, &session.node_name, alert)
        }));
        news.extend(self.commands.news(&outcome.changes));
        news
    }

    /// Acknowledges what is committed, and tells the watchers.
    fn tell(&self, outcome: Outcome) {
        for Acks { session, lanes } in outcome.acks.into_values() {
            for (lane, seq) in lanes {
                // A session that has ended hears it in its next welcome.
                let _ = session.send(Frame::EventAck(EventAck { lane, seq }));
            }
        }
        outcome.news.into_iter().for_each(|news| self.bus.publish(news));
        self.commands.wake(&outcome.changes);
    }
}
