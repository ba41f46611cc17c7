//! The database: pools, transactions and migrations. Knows no room's tables.
//!
//! SQLite in the data directory, or PostgreSQL by URL: the rooms write one SQL ([`sql`]), and what
//! differs stands here. Writes come one after another: SQLite has one writer anyway, and on
//! PostgreSQL an advisory lock gives the rooms the same promise, over all hubs of one database.

mod sql;
mod tables;

use std::{path::Path, time::Duration};

use sqlx::{
    Connection as _, PgConnection, PgPool, Postgres, Sqlite, SqlitePool, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

pub use sql::{On, Sql, joined, sql};
pub use tables::{Snapshot, Table};

use crate::error::{Code, Error, Result};

/// A database. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Db {
    /// A file in the data directory. Writers queue on a pool of one connection, instead of failing
    /// with "busy"; readers never wait for them (WAL).
    Sqlite {
        /// For statements that only read.
        readers: SqlitePool,
        /// The one that writes.
        writer: SqlitePool,
    },
    /// A server.
    Postgres {
        /// For everything but writing.
        readers: PgPool,
        /// One connection: who waits to write keeps none from reading.
        writer: PgPool,
    },
}

/// A write transaction: durable when [`Write::commit`] returns, undone when it is dropped.
#[derive(Debug)]
pub enum Write {
    /// On SQLite.
    Sqlite(Transaction<'static, Sqlite>),
    /// On PostgreSQL.
    Postgres(Transaction<'static, Postgres>),
}

/// How long a request waits for the database before it is told to try again.
const ACQUIRE: Duration = Duration::from_secs(5);
/// The advisory lock that writers queue on; any number, but always the same.
const WRITERS: i64 = 0x636c_6f75_6463_6f72;
/// Connections for everything but writing.
const POSTGRES_READERS: u32 = 9;

impl Db {
    /// Opens the SQLite database `path`, makes it where there is none, and brings its schema up to
    /// date.
    ///
    /// # Errors
    /// The file can't be opened, or its schema is newer than this program.
    pub async fn open(path: &Path) -> Result<Self> {
        let failed = |e: sqlx::Error| open_error(&path.display().to_string(), e);
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL: a commit that was acknowledged survives the loss of power.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(ACQUIRE);
        let pool = |max| SqlitePoolOptions::new().max_connections(max).acquire_timeout(ACQUIRE);
        // SQLite itself undoes a transaction that meets a full disk. The driver counts it as open
        // for good then, and no other could begin: such a connection is replaced.
        let usable = pool(1).before_acquire(|connection, _| {
            let usable = !connection.is_in_transaction();
            Box::pin(async move { Ok(usable) })
        });
        let writer = usable.connect_with(options.clone()).await.map_err(failed)?;
        sqlx::migrate!("./migrations/sqlite").run(&writer).await.map_err(migrate_error)?;
        let readers = pool(4).connect_with(options).await.map_err(failed)?;
        Ok(Self::Sqlite { readers, writer })
    }

    /// Connects to a PostgreSQL database, and brings its schema up to date.
    ///
    /// # Errors
    /// It can't be reached, or its schema is newer than this program. The URL, which holds a
    /// password, is in no message.
    pub async fn connect(options: PgConnectOptions) -> Result<Self> {
        let place = format!("{}:{}", options.get_host(), options.get_port());
        let options = options.application_name("cloudcore-hub");
        // By a connection of its own, whose statements have no time limit.
        let mut migrating = tokio::time::timeout(ACQUIRE, PgConnection::connect_with(&options))
            .await
            .unwrap_or(Err(sqlx::Error::PoolTimedOut))
            .map_err(|e| open_error(&place, e))?;
        sqlx::migrate!("./migrations/postgres").run(&mut migrating).await.map_err(migrate_error)?;
        migrating.close().await.map_err(|e| open_error(&place, e))?;
        let options = options.options([
            ("lock_timeout", "5s"),
            ("statement_timeout", "60s"),
            ("idle_in_transaction_session_timeout", "60s"),
        ]);
        let pool = |max, options| {
            PgPoolOptions::new().max_connections(max).acquire_timeout(ACQUIRE).connect_with(options)
        };
        let writer = pool(1, options.clone()).await.map_err(|e| open_error(&place, e))?;
        let readers = pool(POSTGRES_READERS, options).await.map_err(|e| open_error(&place, e))?;
        Ok(Self::Postgres { readers, writer })
    }

    /// Begins a write.
    ///
    /// # Errors
    /// API-009 when the database can't be had in time.
    pub async fn write(&self) -> Result<Write> {
        Ok(match self {
            // IMMEDIATE: take the write lock now rather than fail half-way.
            Self::Sqlite { writer, .. } => {
                Write::Sqlite(writer.begin_with("BEGIN IMMEDIATE").await?)
            }
            Self::Postgres { writer, .. } => {
                let mut tx = writer.begin().await?;
                sqlx::query("SELECT pg_advisory_xact_lock($1)")
                    .bind(WRITERS)
                    .execute(&mut *tx)
                    .await?;
                Write::Postgres(tx)
            }
        })
    }

    /// Whether a statement gets through.
    pub async fn is_up(&self) -> bool {
        sql("SELECT 1").run(self).await.is_ok()
    }

    /// Size of the database, bytes.
    ///
    /// # Errors
    /// The database's.
    pub async fn bytes(&self) -> Result<u64> {
        let bytes: i64 = match self {
            Self::Sqlite { .. } => {
                sql("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")
            }
            Self::Postgres { .. } => sql("SELECT pg_database_size(current_database())"),
        }
        .value(self)
        .await?;
        Ok(u64::try_from(bytes).unwrap_or(0))
    }

    /// Leaves nothing in the database's files of what was overwritten or deleted in this table, as
    /// far as it is the database's to say. Where that fails, what is left is overwritten in time.
    pub async fn scrub(&self, table: &'static str) {
        let scrubbed = async {
            match self {
                Self::Sqlite { writer, .. } => {
                    sqlx::query("VACUUM").execute(writer).await?;
                    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(writer).await?;
                }
                Self::Postgres { writer, .. } => {
                    let full = sqlx::AssertSqlSafe(format!("VACUUM FULL {table}"));
                    sqlx::query(full).execute(writer).await?;
                }
            }
            Ok::<_, sqlx::Error>(())
        };
        if let Err(error) = scrubbed.await {
            tracing::warn!(%error, table, "what was deleted is still in the database's files");
        }
    }

    /// Closes all connections.
    pub async fn close(&self) {
        match self {
            Self::Sqlite { readers, writer } => {
                readers.close().await;
                writer.close().await;
            }
            Self::Postgres { readers, writer } => {
                readers.close().await;
                writer.close().await;
            }
        }
    }
}

impl Write {
    /// Lifts the time limit of a statement, for one whose work grows with the tables.
    ///
    /// # Errors
    /// The database's.
    pub async fn take_as_long_as_needed(&mut self) -> Result<()> {
        if let Self::Postgres(tx) = self {
            sqlx::query("SET LOCAL statement_timeout = 0").execute(&mut **tx).await?;
        }
        Ok(())
    }

    /// Makes the change durable.
    ///
    /// # Errors
    /// The database's; nothing has changed then.
    pub async fn commit(self) -> Result<()> {
        match self {
            Self::Sqlite(tx) => tx.commit().await?,
            Self::Postgres(tx) => tx.commit().await?,
        }
        Ok(())
    }
}

fn open_error(place: &str, error: sqlx::Error) -> Error {
    let message = format!("can't open the database {place}: {error}");
    Error { cause: Some(error.into()), ..Error::new(Code::Unavailable, message) }
}

fn migrate_error(error: sqlx::migrate::MigrateError) -> Error {
    let message = match error {
        sqlx::migrate::MigrateError::VersionMissing(version) => format!(
            "the database has schema {version}, which is newer than this program knows: \
             run the newer program"
        ),
        _ => format!("the database's schema can't be brought up to date: {error}"),
    };
    Error { cause: Some(error.into()), ..Error::new(Code::Unavailable, message) }
}

/// Whether a write failed because the row is there already.
#[must_use]
pub fn is_conflict(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}
