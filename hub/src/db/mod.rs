//! The database: pools, transactions and migrations. Knows no room's tables.
//!
//! SQLite has one writer, so writers queue here, on a pool of one connection, instead of failing
//! with "busy"; readers never wait for them (WAL).

use std::{path::Path, time::Duration};

use sqlx::{
    Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::error::{Code, Error, Result};

/// The pools of one database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Db {
    readers: SqlitePool,
    writer: SqlitePool,
}

/// A write transaction: durable when [`Transaction::commit`] returns.
pub type Write = Transaction<'static, Sqlite>;

/// How long a request waits for the database before it is told to try again.
const ACQUIRE: Duration = Duration::from_secs(5);

impl Db {
    /// Opens `path`, makes it where there is none, and brings its schema up to date.
    ///
    /// # Errors
    /// The file can't be opened, or its schema is newer than this program.
    pub async fn open(path: &Path) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL: a commit that was acknowledged survives the loss of power.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(ACQUIRE);
        let pool = |max| SqlitePoolOptions::new().max_connections(max).acquire_timeout(ACQUIRE);
        let writer =
            pool(1).connect_with(options.clone()).await.map_err(|e| open_error(path, e))?;
        sqlx::migrate!("./migrations").run(&writer).await.map_err(|error| {
            let message = match error {
                sqlx::migrate::MigrateError::VersionMissing(version) => format!(
                    "the database has schema {version}, which is newer than this program knows: \
                     run the newer program"
                ),
                _ => format!("the database's schema can't be brought up to date: {error}"),
            };
            Error { cause: Some(error.into()), ..Error::new(Code::Unavailable, message) }
        })?;
        let readers = pool(4).connect_with(options).await.map_err(|e| open_error(path, e))?;
        Ok(Self { readers, writer })
    }

    /// For statements that only read.
    #[must_use]
    pub const fn read(&self) -> &SqlitePool {
        &self.readers
    }

    /// Begins a write.
    ///
    /// # Errors
    /// API-009 when the database can't be had in time.
    pub async fn write(&self) -> Result<Write> {
        // IMMEDIATE: take the write lock now rather than fail half-way.
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Whether a statement gets through.
    pub async fn is_up(&self) -> bool {
        sqlx::query("SELECT 1").execute(&self.readers).await.is_ok()
    }

    /// Size of the database, bytes.
    ///
    /// # Errors
    /// The database's.
    pub async fn bytes(&self) -> Result<u64> {
        let bytes: i64 = sqlx::query_scalar(
            "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
        )
        .fetch_one(&self.readers)
        .await?;
        Ok(u64::try_from(bytes).unwrap_or(0))
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

fn open_error(path: &Path, error: sqlx::Error) -> Error {
    let message = format!("can't open the database {}: {error}", path.display());
    Error { cause: Some(error.into()), ..Error::new(Code::Unavailable, message) }
}

/// Whether a write failed because the row is there already.
#[must_use]
pub fn is_conflict(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}
