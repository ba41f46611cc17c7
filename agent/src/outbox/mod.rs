//! What the hub has not acknowledged yet, and what it has asked for: `agent.db`.
//!
//! One thread owns the database. It takes the jobs that wait, does all of them in one
//! transaction, and answers each only after the commit: what a caller was told is done survives
//! `kill -9`. A job that fails (a full disk) is an error to its caller and to nobody else; the
//! agent goes on.
//!
//! No event is deleted before the hub has acknowledged it, unless the outbox is over its
//! [`Limits`]; then the oldest go, in the order that [`bounds`] states.

mod bounds;
mod journal;
mod pictures;
mod schema;
mod thread;

use std::{collections::HashMap, path::Path, sync::Arc};

use bytes::Bytes;
use cloudcore_protocol::{
    Alert, Detection, DetectionPhase, Event, EventAck, EventBody, Frame, Lane, Timestamp, decode,
    encode,
};
use rusqlite::{Connection, params};
use tokio::sync::watch;

pub use self::{
    bounds::{Limits, OUTBOX_FULL},
    journal::{Received, Stage, Unfinished},
    pictures::{ObjectPicture, Picture},
    schema::Summary,
};
use self::{schema::lane_index, thread::Thread};

/// The database's file, inside the data directory.
pub const DATABASE_FILE: &str = "agent.db";

/// Why something was not stored or read.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The database, or the disk under it.
    #[error("the outbox: {0}")]
    Storage(String),
    /// A newer agent wrote this database.
    #[error("the outbox has version {found} and this agent knows {known}: install a newer agent")]
    Newer {
        /// Its version.
        found: i64,
        /// The newest that this build knows.
        known: i64,
    },
    /// The event does not fit a frame.
    #[error("the event is too large: {0}")]
    TooLarge(String),
    /// The agent is stopping.
    #[error("the outbox is closed")]
    Closed,
}

impl From<rusqlite::Error> for OutboxError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage(error.to_string())
    }
}

/// How full the outbox is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that wait, all lanes.
    pub waiting: u64,
    /// Events and pictures that were dropped because they were too many or too old, ever.
    pub dropped: u64,
    /// Pictures that wait.
    pub pictures: u64,
    /// Bytes of the database in use.
    pub bytes: u64,
    /// Grows with each event.
    pub appended: u64,
}

/// An event that waits, as the frame that it travels in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Its number in its lane.
    pub seq: u64,
    /// The frame, without its length.
    pub frame: Bytes,
}

/// The outbox; clones are the same one.
#[derive(Debug, Clone)]
pub struct Outbox {
    thread: Arc<Thread>,
    counts: watch::Receiver<Counts>,
}

impl Outbox {
    /// Opens the outbox of this data directory, or makes it. One that is damaged is put aside and
    /// a new one begun: an agent that can't start helps nobody.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub fn open(data_dir: &Path) -> Result<Self, OutboxError> {
        Self::open_within(data_dir, Limits::default())
    }

    /// As [`Self::open`], with limits of its own.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub fn open_within(data_dir: &Path, limits: Limits) -> Result<Self, OutboxError> {
        let database = schema::open(&data_dir.join(DATABASE_FILE))?;
        let (thread, counts) = Thread::start(database, limits)?;
        Ok(Self { thread: Arc::new(thread), counts })
    }

    /// How full it is.
    #[must_use]
    pub fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    /// Wakes after each commit that added events, and others that changed the counts.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Counts> {
        self.counts.clone()
    }

    /// Waits for all that was asked and closes the database. Later calls say
    /// [`OutboxError::Closed`].
    pub async fn close(&self) {
        self.thread.close().await;
    }

    /// Keeps what happened; its number in its lane, once it is on the disk.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub async fn append(&self, body: EventBody) -> Result<u64, OutboxError> {
        check_size(&body)?;
        self.thread.call(move |db| append(db, body.clone())).await
    }

    /// Keeps an alert that changes something: beginning what goes on, or ending what is over, says
    /// nothing new, also after a restart. Whether it did.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub async fn alert(&self, alert: Alert) -> Result<bool, OutboxError> {
        let body = EventBody::Alert(alert.clone());
        check_size(&body)?;
        self.thread
            .call(move |db| {
                let change = if alert.active {
                    "INSERT OR IGNORE INTO alert (kind) VALUES (?1)"
                } else {
                    "DELETE FROM alert WHERE kind = ?1"
                };
                let changed = db.prepare_cached(change)?.execute([&alert.kind])? > 0;
                if changed {
                    append(db, body.clone())?;
                }
                Ok(changed)
            })
            .await
    }

    /// Whether an alert of this kind goes on.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub async fn alerted(&self, kind: &'static str) -> Result<bool, OutboxError> {
        self.thread
            .call(move |db| {
                db.prepare_cached("SELECT 1 FROM alert WHERE kind = ?1")?.exists([kind])
            })
            .await
    }

    /// Keeps these detections, and which objects are in sight.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub async fn detections(&self, detections: Vec<Detection>) -> Result<(), OutboxError> {
        self.detections_with(detections, Vec::new()).await
    }

    /// Ends the objects that were in sight when the agent died: nobody else will.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub async fn end_forgotten_tracks(&self) -> Result<usize, OutboxError> {
        self.thread
            .call(|db| {
                let mut select = db.prepare_cached("SELECT body FROM track ORDER BY track_id")?;
                let bodies: Vec<Vec<u8>> =
                    select.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
                for body in &bodies {
                    if let Ok(Frame::Event(Event {
                        body: EventBody::Detection(mut seen), ..
                    })) = decode(body)
                    {
                        seen.phase = DetectionPhase::Ended;
                        append(db, EventBody::Detection(seen))?;
                    }
                }
                db.execute("DELETE FROM track", [])?;
                Ok(bodies.len())
            })
            .await
    }

    /// A number for a new track that none before it had, also not before a restart; the next
    /// `room` numbers are the caller's.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub async fn reserve_track_ids(&self, room: u32) -> Result<u64, OutboxError> {
        self.thread
            .call(move |db| {
                let first: i64 =
                    db.query_row("SELECT value FROM meta WHERE key = 'next_track'", [], |row| {
                        row.get(0)
                    })?;
                db.execute("UPDATE meta SET value = value + ?1 WHERE key = 'next_track'", [room])?;
                Ok(first.cast_unsigned())
            })
            .await
    }

    /// The events of a lane after `after`, oldest first, at most `max`.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub async fn read(
        &self,
        lane: Lane,
        after: u64,
        max: usize,
    ) -> Result<Vec<Pending>, OutboxError> {
        self.thread
            .call(move |db| {
                let mut select = db.prepare_cached(
                    "SELECT seq, frame FROM event WHERE lane = ?1 AND seq > ?2 \
                     ORDER BY seq LIMIT ?3",
                )?;
                select
                    .query_map(
                        params![
                            lane_index(lane),
                            after.cast_signed(),
                            i64::try_from(max).unwrap_or(i64::MAX)
                        ],
                        |row| {
                            Ok(Pending {
                                seq: row.get::<_, i64>(0)?.cast_unsigned(),
                                frame: row.get::<_, Vec<u8>>(1)?.into(),
                            })
                        },
                    )?
                    .collect()
            })
            .await
    }

    /// Deletes what the hub has committed.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub async fn ack(&self, ack: EventAck) -> Result<(), OutboxError> {
        self.thread.call(move |db| delete_up_to(db, ack)).await
    }

    /// This outbox's identity, for the hello.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub async fn id(&self) -> Result<u64, OutboxError> {
        self.thread.call(schema::outbox_id).await
    }

    /// Takes what the hub says it has committed. `false` if it has seen numbers that were never
    /// given here: this disk is older than what the hub knows (restored from a backup), the
    /// numbers mean nothing any more, and the outbox has a new identity to say hello with.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub async fn reconcile(&self, acked: Vec<EventAck>) -> Result<bool, OutboxError> {
        self.thread
            .call(move |db| {
                for ack in &acked {
                    if ack.seq >= next_seq(db, ack.lane)? {
                        schema::new_outbox_id(db)?;
                        return Ok(false);
                    }
                }
                for ack in &acked {
                    delete_up_to(db, *ack)?;
                }
                Ok(true)
            })
            .await
    }
}

/// The frame's size without storing it, so that a body that can't be sent is refused at once.
fn check_size(body: &EventBody) -> Result<(), OutboxError> {
    let event =
        Event { lane: body.lane(), seq: u64::MAX, at: Timestamp::now(), body: body.clone() };
    encode(&Frame::Event(event)).map(drop).map_err(|e| OutboxError::TooLarge(e.to_string()))
}

fn next_seq(db: &Connection, lane: Lane) -> rusqlite::Result<u64> {
    db.prepare_cached("SELECT next_seq FROM lane WHERE lane = ?1")?
        .query_row([lane_index(lane)], |row| row.get::<_, i64>(0))
        .map(i64::cast_unsigned)
}

/// Gives the event its number and keeps it, inside the caller's transaction.
fn append(db: &Connection, body: EventBody) -> rusqlite::Result<u64> {
    let lane = body.lane();
    let seq = next_seq(db, lane)?;
    let event = Event { lane, seq, at: Timestamp::now(), body };
    let frame = encode(&Frame::Event(event)).map_err(storage)?;
    db.prepare_cached(
        "INSERT INTO event (lane, seq, frame, ran) VALUES (?1, ?2, ?3, \
         (SELECT value FROM meta WHERE key = 'ran_seconds'))",
    )?
    .execute(params![lane_index(lane), seq.cast_signed(), frame.as_ref()])?;
    db.prepare_cached(
        "UPDATE lane SET next_seq = next_seq + 1, count = count + 1 WHERE lane = ?1",
    )?
    .execute([lane_index(lane)])?;
    Ok(seq)
}

fn delete_up_to(db: &Connection, ack: EventAck) -> rusqlite::Result<()> {
    let deleted = db
        .prepare_cached("DELETE FROM event WHERE lane = ?1 AND seq <= ?2")?
        .execute(params![lane_index(ack.lane), ack.seq.cast_signed()])?;
    if deleted > 0 {
        db.prepare_cached("UPDATE lane SET count = count - ?2 WHERE lane = ?1")?
            .execute(params![lane_index(ack.lane), i64::try_from(deleted).unwrap_or(0)])?;
    }
    Ok(())
}

fn track(db: &Connection, detection: &Detection) -> rusqlite::Result<()> {
    let id = detection.track_id.cast_signed();
    match detection.phase {
        DetectionPhase::Started => {
            let event = Event {
                lane: Lane::Detections,
                seq: 0,
                at: detection.captured_at,
                body: EventBody::Detection(detection.clone()),
            };
            let frame = encode(&Frame::Event(event)).map_err(storage)?;
            db.prepare_cached("INSERT OR REPLACE INTO track (track_id, body) VALUES (?1, ?2)")?
                .execute(params![id, frame.as_ref()])?;
        }
        DetectionPhase::Ended => {
            db.prepare_cached("DELETE FROM track WHERE track_id = ?1")?.execute([id])?;
        }
    }
    Ok(())
}

/// An error of ours on its way through SQLite's.
fn storage(error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}

/// The counts as they stand in the database.
fn counts(db: &Connection) -> rusqlite::Result<Counts> {
    let (waiting, appended, pictures) = db
        .prepare_cached(
            "SELECT sum(count), sum(next_seq), (SELECT count(*) FROM picture) FROM lane",
        )?
        .query_row([], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        })?;
    Ok(Counts {
        waiting: waiting.cast_unsigned(),
        dropped: bounds::dropped(db)?,
        pictures: pictures.cast_unsigned(),
        bytes: bounds::used(db)?,
        appended: appended.cast_unsigned(),
    })
}

/// What stands in the outbox of this data directory, without opening it for writing: for
/// `status`, also while the agent runs.
///
/// # Errors
/// [`OutboxError`].
pub fn summary(data_dir: &Path) -> Result<Summary, OutboxError> {
    schema::summary(&data_dir.join(DATABASE_FILE))
}

/// Events by lane, for people.
pub(crate) type LaneCounts = HashMap<&'static str, u64>;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]
mod tests;
