//! The database: its tables, its version, its identity.

use std::{fs, path::Path, time::Duration};

use cloudcore_protocol::{Lane, Timestamp};
use ring::rand::{SecureRandom as _, SystemRandom};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{LaneCounts, OutboxError};
use crate::files;

/// Version of the schema below, with the change after it.
const VERSION: i64 = 2;

const SCHEMA: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE lane (
    lane     INTEGER PRIMARY KEY,
    next_seq INTEGER NOT NULL,
    count    INTEGER NOT NULL,
    dropped  INTEGER NOT NULL
) STRICT;
CREATE TABLE event (
    lane  INTEGER NOT NULL,
    seq   INTEGER NOT NULL,
    frame BLOB NOT NULL,
    PRIMARY KEY (lane, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE journal (
    command_id   TEXT PRIMARY KEY,
    name         TEXT NOT NULL,
    parameters   TEXT NOT NULL,
    received_at  INTEGER NOT NULL,
    deadline_at  INTEGER NOT NULL,
    stage        INTEGER NOT NULL,
    finished_at  INTEGER,
    finished     BLOB,
    finished_seq INTEGER
) STRICT;
CREATE INDEX journal_stage ON journal (stage, finished_at);
CREATE TABLE alert (kind TEXT PRIMARY KEY) STRICT;
CREATE TABLE track (track_id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
INSERT INTO lane VALUES (0, 1, 0, 0), (1, 1, 0, 0), (2, 1, 0, 0);
INSERT INTO meta VALUES ('next_track', 1);
";

/// `ran`: how long the agent had run then, by the outbox's own clock. No row of `picture` gets an
/// id that another had.
const PICTURES_AND_AGES: &str = "
ALTER TABLE event ADD COLUMN ran INTEGER NOT NULL DEFAULT 0;
CREATE TABLE picture (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    captured_at  INTEGER NOT NULL,
    content_type TEXT NOT NULL,
    bytes        BLOB NOT NULL,
    ran          INTEGER NOT NULL
) STRICT;
CREATE INDEX picture_ran ON picture (ran);
INSERT INTO meta VALUES ('ran_seconds', 0), ('pictures_dropped', 0);
";

/// `header` is what the hub is told of the picture, as the frame that it travels in. No new version
/// of the database: an agent that is rolled back goes on without these columns.
const PICTURES_OF_OBJECTS: &str = "
ALTER TABLE picture ADD COLUMN detection_id TEXT;
ALTER TABLE picture ADD COLUMN kind INTEGER;
ALTER TABLE picture ADD COLUMN header BLOB;
CREATE INDEX picture_detection ON picture (detection_id, kind) WHERE detection_id IS NOT NULL;
CREATE INDEX picture_of_object ON picture (id) WHERE detection_id IS NOT NULL;
";

/// A lane's number in the database; the wire's.
pub(super) const fn lane_index(lane: Lane) -> i64 {
    match lane {
        Lane::Commands => 0,
        Lane::Status => 1,
        Lane::Detections => 2,
    }
}

/// Opens or makes the database, and puts a damaged one aside.
pub(super) fn open(path: &Path) -> Result<Connection, OutboxError> {
    match try_open(path) {
        Err(Opening::Damaged(error)) => {
            let aside = path.with_extension(format!("db.damaged-{}", Timestamp::now().seconds()));
            tracing::error!(%error, kept_as = %aside.display(), "the outbox is damaged: beginning a new one, its events are lost");
            for suffix in ["", "-wal", "-shm"] {
                let with_suffix = |path: &Path| {
                    let mut name = path.as_os_str().to_owned();
                    name.push(suffix);
                    name
                };
                // Only the database itself must be out of the way.
                if let Err(error) = fs::rename(with_suffix(path), with_suffix(&aside))
                    && suffix.is_empty()
                {
                    return Err(OutboxError::Storage(error.to_string()));
                }
            }
            try_open(path).map_err(Opening::into_error)
        }
        other => other.map_err(Opening::into_error),
    }
}

enum Opening {
    Damaged(String),
    Failed(OutboxError),
}

impl Opening {
    fn into_error(self) -> OutboxError {
        match self {
            Self::Damaged(problem) => OutboxError::Storage(problem),
            Self::Failed(error) => error,
        }
    }
}

impl From<rusqlite::Error> for Opening {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged(error.to_string())
            }
            _ => Self::Failed(error.into()),
        }
    }
}

fn try_open(path: &Path) -> Result<Connection, Opening> {
    // SQLite gives its journals the database's mode.
    files::ensure_private(path)
        .map_err(|e| Opening::Failed(OutboxError::Storage(format!("{}: {e}", path.display()))))?;
    let mut db = Connection::open(path)?;
    db.busy_timeout(Duration::from_secs(5))?;
    db.pragma_update(None, "journal_mode", "wal")?;
    // Each commit is on the disk before its caller hears of it.
    db.pragma_update(None, "synchronous", "full")?;
    db.pragma_update(None, "journal_size_limit", 8 << 20)?;
    // What is deleted is overwritten where that costs no write of its own.
    db.pragma_update(None, "secure_delete", "fast")?;
    db.set_prepared_statement_cache_capacity(64);
    let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > VERSION {
        return Err(Opening::Failed(OutboxError::Newer { found, known: VERSION }));
    }
    if found < VERSION {
        let tx = db.transaction()?;
        if found < 1 {
            tx.execute_batch(SCHEMA)?;
            new_outbox_id(&tx)?;
        }
        tx.execute_batch(PICTURES_AND_AGES)?;
        tx.pragma_update(None, "user_version", VERSION)?;
        tx.commit()?;
    }
    const HEADER: &str = "SELECT 1 FROM pragma_table_info('picture') WHERE name = 'header'";
    if !db.prepare(HEADER)?.exists([])? {
        let tx = db.transaction()?;
        tx.execute_batch(PICTURES_OF_OBJECTS)?;
        tx.commit()?;
    }
    // An agent that died may have left something in the log that was erased. A full disk is no
    // reason not to start.
    if let Err(error) = forget_old_parameters(&db).and_then(|()| empty_log(&db)) {
        tracing::warn!(%error, "what was deleted is still in the outbox's files");
    }
    Ok(db)
}

/// Of commands that have ended nothing is wanted but how; older agents kept their parameters. No
/// new version of the database: an agent that is rolled back must be able to go on with it.
fn forget_old_parameters(db: &Connection) -> rusqlite::Result<()> {
    const OLD: &str = "SELECT 1 FROM journal WHERE stage = 2 AND parameters <> ''";
    if !db.prepare(OLD)?.exists([])? {
        return Ok(());
    }
    erase(db, |db| db.execute("UPDATE journal SET parameters = '' WHERE stage = 2", []))?;
    // Secrets may also stand where no row is any more.
    db.execute_batch("VACUUM")
}

/// Does something that deletes or shortens, and leaves nothing of what was there in the database's
/// pages. It still stands in the log: see [`empty_log`].
pub(super) fn erase<T>(
    db: &Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    db.pragma_update(None, "secure_delete", "on")?;
    let done = work(db);
    db.pragma_update(None, "secure_delete", "fast")?;
    done
}

/// Moves all of the log into the database and cuts it to nothing; whether nobody was in the way.
pub(super) fn empty_log(db: &Connection) -> rusqlite::Result<bool> {
    let busy: i64 = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    Ok(busy == 0)
}

/// The identity of this outbox.
pub(super) fn outbox_id(db: &Connection) -> rusqlite::Result<u64> {
    db.prepare_cached("SELECT value FROM meta WHERE key = 'outbox_id'")?
        .query_row([], |row| row.get::<_, i64>(0))
        .map(i64::cast_unsigned)
}

/// Gives the outbox an identity that it never had.
pub(super) fn new_outbox_id(db: &Connection) -> rusqlite::Result<()> {
    let mut bytes = [0; 8];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| super::storage(std::io::Error::other("the system gives no random numbers")))?;
    db.execute(
        "INSERT OR REPLACE INTO meta VALUES ('outbox_id', ?1)",
        [i64::from_ne_bytes(bytes)],
    )?;
    Ok(())
}

/// What stands in an outbox, for people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Events that wait, by lane.
    pub waiting: LaneCounts,
    /// Pictures that wait.
    pub pictures: u64,
    /// Events and pictures dropped because they were too many or too old, ever.
    pub dropped: u64,
    /// Commands that have not ended.
    pub unfinished_commands: u64,
}

/// Reads without changing anything.
pub(super) fn summary(path: &Path) -> Result<Summary, OutboxError> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    db.busy_timeout(Duration::from_secs(2))?;
    let mut summary = Summary::default();
    for (lane, name) in Lane::ALL.into_iter().zip(["commands", "status", "detections"]) {
        let count: i64 =
            db.query_row("SELECT count FROM lane WHERE lane = ?1", [lane_index(lane)], |row| {
                row.get(0)
            })?;
        summary.waiting.insert(name, count.cast_unsigned());
    }
    summary.pictures = db
        .query_row("SELECT count(*) FROM picture", [], |row| row.get::<_, i64>(0))?
        .cast_unsigned();
    summary.dropped = super::bounds::dropped(&db)?;
    summary.unfinished_commands = db
        .query_row("SELECT count(*) FROM journal WHERE stage < 2", [], |row| row.get::<_, i64>(0))?
        .cast_unsigned();
    Ok(summary)
}

/// A database as the first release made it.
#[cfg(test)]
pub(super) fn first_version(path: &Path) -> rusqlite::Result<()> {
    let db = Connection::open(path)?;
    db.execute_batch(SCHEMA)?;
    new_outbox_id(&db)?;
    db.pragma_update(None, "user_version", 1)
}
