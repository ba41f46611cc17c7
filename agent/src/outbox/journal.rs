//! The journal of commands: what makes each run once.

use cloudcore_protocol::{
    Command, CommandFinished, CommandId, CommandOutcome, CommandStarted, Event, EventBody, Frame,
    Lane, Timestamp, command::without_secrets, decode, encode,
};
use rusqlite::{Connection, OptionalExtension as _, params};
use std::{sync::atomic::Ordering, time::Duration};

use super::{
    Outbox, OutboxError, append, check_size,
    schema::{self, lane_index},
    storage,
};

/// How long a command's end is remembered, so that a late repeat is known.
const REMEMBER: Duration = Duration::from_secs(7 * 86_400);

/// How far a command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Kept, not begun.
    Received,
    /// Begun.
    Running,
    /// Ended.
    Done,
}

impl Stage {
    const fn number(self) -> i64 {
        match self {
            Self::Received => 0,
            Self::Running => 1,
            Self::Done => 2,
        }
    }

    const fn from_number(number: i64) -> Self {
        match number {
            0 => Self::Received,
            1 => Self::Running,
            _ => Self::Done,
        }
    }
}

/// What receiving a command came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// It was not known.
    New,
    /// It was, and is this far.
    Known(Stage),
}

/// A command that had not ended when the agent did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// Its id.
    pub id: CommandId,
    /// Its name.
    pub name: String,
    /// Its parameters, as received.
    pub parameters: String,
    /// When its time is over, by this machine's clock.
    pub deadline_at: Timestamp,
    /// [`Stage::Received`] or [`Stage::Running`].
    pub stage: Stage,
}

impl Outbox {
    /// Keeps a command, before anything of it is done. With `begin` it is begun in the same
    /// breath, as [`Self::begin`] would.
    ///
    /// A repeat of one that has ended says its end again, if the hub had acknowledged it: it must
    /// have lost it since.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub async fn receive(&self, command: &Command, begin: bool) -> Result<Received, OutboxError> {
        let command = command.clone();
        let now = Timestamp::now();
        let deadline = now.plus(Duration::from_millis(command.time_left_ms));
        self.thread
            .call(move |db| {
                let known = db
                    .prepare_cached("SELECT stage FROM journal WHERE command_id = ?1")?
                    .query_row([command.id.as_str()], |row| row.get(0))
                    .optional()?
                    .map(Stage::from_number);
                if let Some(stage) = known {
                    if stage == Stage::Done {
                        repeat_end(db, &command.id)?;
                    }
                    return Ok(Received::Known(stage));
                }
                db.prepare_cached(
                    "INSERT INTO journal \
                     (command_id, name, parameters, received_at, deadline_at, stage) \
                     VALUES (?1, ?2, ?3, ?4, ?5, 0)",
                )?
                .execute(params![
                    command.id.as_str(),
                    command.name,
                    command.parameters,
                    now.micros(),
                    deadline.micros()
                ])?;
                if begin {
                    begin_in(db, &command.id)?;
                }
                Ok(Received::New)
            })
            .await
    }

    /// Marks a command as running and says so to the hub, both or neither.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub async fn begin(&self, id: &CommandId) -> Result<(), OutboxError> {
        let id = id.clone();
        self.thread.call(move |db| begin_in(db, &id)).await
    }

    /// Marks a command as ended and says how to the hub, both or neither; the event's number.
    /// `None` if it had ended before: its first end stands. Its parameters are forgotten, and where
    /// they held secrets nothing of them is left in the database's files.
    ///
    /// # Errors
    /// [`OutboxError`]; [`OutboxError::TooLarge`] for a result that no frame carries.
    pub async fn finish(
        &self,
        id: &CommandId,
        outcome: CommandOutcome,
        took: Duration,
    ) -> Result<Option<u64>, OutboxError> {
        let body = EventBody::CommandFinished(CommandFinished {
            id: id.clone(),
            outcome,
            duration_micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        });
        check_size(&body)?;
        let id = id.clone();
        let erased = self.thread.erased();
        self.thread
            .call(move |db| {
                let known: Option<(i64, String, String)> = db
                    .prepare_cached(
                        "SELECT stage, name, parameters FROM journal WHERE command_id = ?1",
                    )?
                    .query_row([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                    .optional()?;
                let Some((stage, name, parameters)) = known else { return Ok(None) };
                if Stage::from_number(stage) == Stage::Done {
                    return Ok(None);
                }
                if holds_secrets(&name, &parameters) {
                    schema::erase(db, |db| forget_parameters(db, &id))?;
                    erased.store(true, Ordering::Relaxed);
                } else {
                    forget_parameters(db, &id)?;
                }
                let event = Event {
                    lane: Lane::Commands,
                    seq: 0,
                    at: Timestamp::now(),
                    body: body.clone(),
                };
                let kept = encode(&Frame::Event(event)).map_err(storage)?;
                let seq = append(db, body.clone())?;
                db.prepare_cached(
                    "UPDATE journal SET stage = ?2, finished_at = ?3, finished = ?4, \
                     finished_seq = ?5 WHERE command_id = ?1",
                )?
                .execute(params![
                    id.as_str(),
                    Stage::Done.number(),
                    Timestamp::now().micros(),
                    kept.as_ref(),
                    seq.cast_signed()
                ])?;
                Ok(Some(seq))
            })
            .await
    }

    /// The commands that had not ended, oldest first.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub async fn unfinished(&self) -> Result<Vec<Unfinished>, OutboxError> {
        self.thread
            .call(|db| {
                db.prepare_cached(
                    "SELECT command_id, name, parameters, deadline_at, stage FROM journal \
                     WHERE stage < 2 ORDER BY received_at, command_id",
                )?
                .query_map([], |row| {
                    Ok(Unfinished {
                        id: row.get::<_, String>(0)?.try_into().map_err(storage)?,
                        name: row.get(1)?,
                        parameters: row.get(2)?,
                        deadline_at: Timestamp::from_micros(row.get(3)?),
                        stage: Stage::from_number(row.get(4)?),
                    })
                })?
                .collect()
            })
            .await
    }

    /// Whether the hub has acknowledged this number of the commands' lane.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub async fn command_event_waits(&self, seq: u64) -> Result<bool, OutboxError> {
        self.thread.call(move |db| waits(db, seq.cast_signed())).await
    }

    /// Forgets commands that ended long ago; how many.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub async fn forget_old_commands(&self) -> Result<usize, OutboxError> {
        let remember = i64::try_from(REMEMBER.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp::now().micros().saturating_sub(remember);
        self.thread
            .call(move |db| {
                db.prepare_cached(
                    "DELETE FROM journal WHERE stage = 2 AND finished_at < ?1 AND NOT EXISTS \
                     (SELECT 1 FROM event WHERE lane = ?2 AND seq = finished_seq)",
                )?
                .execute(params![before, lane_index(Lane::Commands)])
            })
            .await
    }
}

/// What is no JSON, or of a command that is not known, is treated as what it may be.
fn holds_secrets(name: &str, parameters: &str) -> bool {
    !matches!(serde_json::from_str(parameters), Ok(read) if without_secrets(name, &read).is_none())
}

fn forget_parameters(db: &Connection, id: &CommandId) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE journal SET parameters = '' WHERE command_id = ?1")?
        .execute([id.as_str()])
        .map(drop)
}

fn begin_in(db: &Connection, id: &CommandId) -> rusqlite::Result<()> {
    let begun = db
        .prepare_cached("UPDATE journal SET stage = 1 WHERE command_id = ?1 AND stage = 0")?
        .execute([id.as_str()])?;
    if begun > 0 {
        append(db, EventBody::CommandStarted(CommandStarted { id: id.clone() }))?;
    }
    Ok(())
}

fn waits(db: &Connection, seq: i64) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM event WHERE lane = ?1 AND seq = ?2")?
        .exists(params![lane_index(Lane::Commands), seq])
}

fn repeat_end(db: &Connection, id: &CommandId) -> rusqlite::Result<()> {
    let (seq, kept): (i64, Option<Vec<u8>>) = db
        .prepare_cached("SELECT finished_seq, finished FROM journal WHERE command_id = ?1")?
        .query_row([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if waits(db, seq)? {
        return Ok(());
    }
    // Without its copy, dropped for want of room, nothing can be said again.
    if let Some(Ok(Frame::Event(event))) = kept.as_deref().map(decode) {
        let seq = append(db, event.body)?;
        db.prepare_cached("UPDATE journal SET finished_seq = ?2 WHERE command_id = ?1")?
            .execute(params![id.as_str(), seq.cast_signed()])?;
    }
    Ok(())
}
