//! What the outbox may hold, and what goes first when it holds more.
//!
//! In this order, the oldest of each first: copies of results that the hub has acknowledged,
//! pictures, detections, heartbeats, and last of all results and alerts. Numbers that are missing
//! in a lane are no error to the hub.

use std::time::{Duration, Instant};

use cloudcore_protocol::{Alert, EventBody, Lane};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{append, schema::lane_index};

/// The alert that goes on while the outbox can't keep all.
pub const OUTBOX_FULL: &str = "outbox_full";
/// Rows that go at once.
const CHUNK: i64 = 128;
/// Between two lines in the log about what was dropped.
const LOG_GAP: Duration = Duration::from_secs(60);
/// Between two looks at what is too old.
const AGING: Duration = Duration::from_secs(60);

/// How much is kept for the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the database on the disk.
    pub bytes: u64,
    /// How long pictures, detections and heartbeats are kept, in time that the agent ran: a clock
    /// that jumps makes nothing old.
    pub age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 256 << 20, age: Duration::from_secs(30 * 86_400) }
    }
}

/// Most events a lane holds; `None` for one that has only the size's bound.
const fn count_bound(lane: Lane) -> Option<u64> {
    match lane {
        Lane::Commands => None,
        Lane::Status => Some(20_000),
        Lane::Detections => Some(200_000),
    }
}

/// Holds the outbox to its limits, as the last thing in each transaction.
pub(super) struct Bounds {
    limits: Limits,
    aged: Instant,
    /// The age that this transaction will have noted.
    aging: Option<Instant>,
    logged: Option<Instant>,
    unlogged: u64,
}

impl Bounds {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, aged: Instant::now(), aging: None, logged: None, unlogged: 0 }
    }

    /// Drops what is too much or too old; how many there were.
    pub(super) fn enforce(&mut self, db: &Connection) -> rusqlite::Result<u64> {
        let now = Instant::now();
        let ran = now.saturating_duration_since(self.aged);
        self.aging = (ran >= AGING).then_some(now);
        let aged = if self.aging.is_some() { age(db, ran, self.limits.age)? } else { 0 };
        let mut dropped = 0;
        for lane in Lane::ALL {
            if let Some(bound) = count_bound(lane)
                && let over @ 1.. = count(db, lane)?.saturating_sub_unsigned(bound)
            {
                dropped += drop_events(db, lane, over)?;
            }
        }
        let mut full = dropped > 0;
        if used(db)? > self.limits.bytes {
            full = true;
            dropped += shrink(db, self.limits.bytes - self.limits.bytes / 16)?;
        }
        self.tell(db, full)?;
        Ok(dropped + aged)
    }

    /// After the commit.
    pub(super) fn committed(&mut self, dropped: u64) {
        if let Some(at) = self.aging.take() {
            self.aged = at;
        }
        self.unlogged += dropped;
        if self.unlogged > 0 && self.logged.is_none_or(|at| at.elapsed() >= LOG_GAP) {
            tracing::warn!(
                dropped = self.unlogged,
                "the outbox is full or its events are too old: the oldest go, unseen by the hub"
            );
            (self.unlogged, self.logged) = (0, Some(Instant::now()));
        }
    }

    /// Begins or ends the alert.
    fn tell(&self, db: &Connection, full: bool) -> rusqlite::Result<()> {
        let alerted =
            db.prepare_cached("SELECT 1 FROM alert WHERE kind = ?1")?.exists([OUTBOX_FULL])?;
        let alert = |message: String, active| {
            EventBody::Alert(Alert { kind: OUTBOX_FULL.into(), message, active })
        };
        if full && !alerted {
            db.prepare_cached("INSERT INTO alert (kind) VALUES (?1)")?.execute([OUTBOX_FULL])?;
            let text = "What waits for the hub is more than this device may keep: the oldest \
                        pictures, detections and heartbeats are dropped";
            append(db, alert(text.into(), true))?;
        } else if !full && alerted && self.has_room(db)? {
            db.prepare_cached("DELETE FROM alert WHERE kind = ?1")?.execute([OUTBOX_FULL])?;
            append(
                db,
                alert(format!("There is room again; {} dropped so far", dropped(db)?), false),
            )?;
        }
        Ok(())
    }

    /// A fifth is free: not just the room of what was dropped last.
    fn has_room(&self, db: &Connection) -> rusqlite::Result<bool> {
        for lane in Lane::ALL {
            if let Some(bound) = count_bound(lane)
                && count(db, lane)?.cast_unsigned() > bound / 5 * 4
            {
                return Ok(false);
            }
        }
        Ok(used(db)? <= self.limits.bytes / 5 * 4)
    }
}

/// Bytes of the pages in use.
pub(super) fn used(db: &Connection) -> rusqlite::Result<u64> {
    let number = |sql| -> rusqlite::Result<u64> {
        db.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
    };
    let pages = number("PRAGMA page_count")?.saturating_sub(number("PRAGMA freelist_count")?);
    Ok(pages.saturating_mul(number("PRAGMA page_size")?))
}

/// Everything ever dropped.
pub(super) fn dropped(db: &Connection) -> rusqlite::Result<u64> {
    db.prepare_cached(
        "SELECT (SELECT sum(dropped) FROM lane) + \
         (SELECT value FROM meta WHERE key = 'pictures_dropped')",
    )?
    .query_row([], |row| row.get::<_, i64>(0))
    .map(i64::cast_unsigned)
}

fn count(db: &Connection, lane: Lane) -> rusqlite::Result<i64> {
    db.prepare_cached("SELECT count FROM lane WHERE lane = ?1")?
        .query_row([lane_index(lane)], |row| row.get(0))
}

/// Drops in the stated order until no more than `target` bytes are in use, or nothing is left.
fn shrink(db: &Connection, target: u64) -> rusqlite::Result<u64> {
    let mut dropped = 0;
    while let excess @ 1.. = used(db)?.saturating_sub(target) {
        if forget_copies(db)? > 0 {
            continue;
        }
        let gone = match drop_pictures(db)? {
            0 => drop_next_events(db, excess)?,
            pictures => pictures,
        };
        if gone == 0 {
            break;
        }
        dropped += gone;
    }
    Ok(dropped)
}

/// No more than has to be: one may be as large as a thousand others.
fn drop_next_events(db: &Connection, excess: u64) -> rusqlite::Result<u64> {
    for lane in [Lane::Detections, Lane::Status, Lane::Commands] {
        let most: i64 = db
            .prepare_cached(
                "SELECT count(*) FROM (SELECT sum(size) OVER (ORDER BY seq) - size AS before FROM \
                 (SELECT seq, length(frame) AS size FROM event WHERE lane = ?1 \
                  ORDER BY seq LIMIT ?2)) WHERE before < ?3",
            )?
            .query_row(
                params![lane_index(lane), CHUNK, i64::try_from(excess).unwrap_or(i64::MAX)],
                |row| row.get(0),
            )?;
        let gone = drop_events(db, lane, most)?;
        if gone > 0 {
            return Ok(gone);
        }
    }
    Ok(0)
}

/// What is kept of ended commands in case that the hub asks again. That they ran stays known.
fn forget_copies(db: &Connection) -> rusqlite::Result<usize> {
    db.prepare_cached(
        "UPDATE journal SET finished = NULL WHERE command_id IN \
         (SELECT command_id FROM journal WHERE stage = 2 AND finished IS NOT NULL \
          ORDER BY finished_at LIMIT ?1)",
    )?
    .execute([CHUNK])
}

/// The oldest picture.
fn drop_pictures(db: &Connection) -> rusqlite::Result<u64> {
    let gone = db
        .prepare_cached("DELETE FROM picture WHERE id = (SELECT min(id) FROM picture)")?
        .execute([])?;
    count_pictures(db, gone)
}

fn count_pictures(db: &Connection, gone: usize) -> rusqlite::Result<u64> {
    db.prepare_cached("UPDATE meta SET value = value + ?1 WHERE key = 'pictures_dropped'")?
        .execute([i64::try_from(gone).unwrap_or(0)])?;
    Ok(gone as u64)
}

/// The oldest events of a lane.
fn drop_events(db: &Connection, lane: Lane, most: i64) -> rusqlite::Result<u64> {
    let gone = db
        .prepare_cached(
            "DELETE FROM event WHERE lane = ?1 AND seq IN \
             (SELECT seq FROM event WHERE lane = ?1 ORDER BY seq LIMIT ?2)",
        )?
        .execute(params![lane_index(lane), most])?;
    count_events(db, lane, gone)
}

fn count_events(db: &Connection, lane: Lane, gone: usize) -> rusqlite::Result<u64> {
    if gone > 0 {
        db.prepare_cached(
            "UPDATE lane SET count = count - ?2, dropped = dropped + ?2 WHERE lane = ?1",
        )?
        .execute(params![lane_index(lane), i64::try_from(gone).unwrap_or(0)])?;
    }
    Ok(gone as u64)
}

/// Lets the outbox's own clock go on, and drops what is older than `most` by it.
pub(super) fn age(db: &Connection, ran: Duration, most: Duration) -> rusqlite::Result<u64> {
    let ran = i64::try_from(ran.as_secs()).unwrap_or(i64::MAX);
    let now: i64 = db
        .prepare_cached(
            "UPDATE meta SET value = value + ?1 WHERE key = 'ran_seconds' RETURNING value",
        )?
        .query_row([ran], |row| row.get(0))?;
    let before = now.saturating_sub(i64::try_from(most.as_secs()).unwrap_or(i64::MAX));
    let pictures = db.prepare_cached("DELETE FROM picture WHERE ran < ?1")?.execute([before])?;
    let mut dropped = count_pictures(db, pictures)?;
    for lane in [Lane::Detections, Lane::Status] {
        // The first that is young enough ends it: what came later is not older.
        let first: Option<i64> = db
            .prepare_cached(
                "SELECT seq FROM event WHERE lane = ?1 AND ran >= ?2 ORDER BY seq LIMIT 1",
            )?
            .query_row(params![lane_index(lane), before], |row| row.get(0))
            .optional()?;
        let gone = db
            .prepare_cached("DELETE FROM event WHERE lane = ?1 AND seq < ?2")?
            .execute(params![lane_index(lane), first.unwrap_or(i64::MAX)])?;
        dropped += count_events(db, lane, gone)?;
    }
    Ok(dropped)
}
