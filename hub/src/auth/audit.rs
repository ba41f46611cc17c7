//! The audit log: who changed what, and who was refused. Append-only, and chained: the hash of each
//! entry covers the one before, so that an entry that is altered or taken out shows.
//!
//! One writer commits what has gathered, like the inbox; a request is answered once its entry is
//! committed.

use std::time::Duration;

use cloudcore_protocol::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::FromRow;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::Role;
use crate::{
    api::{Page, clip},
    db::{self, Db, Write},
    error::Result,
    keys,
};

/// Entries that wait for the writer.
const QUEUE: usize = 1024;
/// Entries in one transaction.
const BATCH: usize = 256;
/// How long an answer waits for its entry.
const WAIT: Duration = Duration::from_secs(5);
/// What the first entry's hash covers.
const ORIGIN: &str = "cloudcore-audit";

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was done.
    Done,
    /// Its sender may not do it.
    Refused,
    /// It was wrong, or it failed.
    Failed,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// What is recorded of a request.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Who: a user's name, an API key's id, or `anonymous`.
    pub actor: String,
    /// What the actor may do.
    pub role: Option<Role>,
    /// From where: an address without port.
    pub address: String,
    /// What: method and route (`DELETE /api/kubeedge/device/{device_id}`).
    pub action: String,
    /// To what: the path.
    pub target: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The HTTP status, 0 where there was none.
    pub status: u16,
    /// The request's id.
    pub request_id: String,
}

/// An entry, as the API shows one.
#[derive(Debug, Serialize, ToSchema)]
pub struct EntryInfo {
    /// Grows with each entry.
    pub id: i64,
    /// When it was recorded.
    #[schema(value_type = String, format = DateTime)]
    pub timestamp: Timestamp,
    /// Who: a user's name, an API key's id, or `anonymous`.
    #[schema(example = "admin")]
    pub actor: String,
    /// What the actor may do.
    #[schema(example = "admin")]
    pub role: Option<String>,
    /// From where.
    #[schema(example = "192.168.1.20")]
    pub address: String,
    /// What: method and route.
    #[schema(example = "DELETE /api/kubeedge/device/{device_id}")]
    pub action: String,
    /// To what: the path.
    #[schema(example = "/api/kubeedge/device/edge-device-001")]
    pub target: String,
    /// How it ended: `done`, `refused` or `failed`.
    #[schema(example = "done")]
    pub outcome: String,
    /// The HTTP status.
    pub status: i64,
    /// The request's id.
    pub request_id: String,
    /// SHA-256 over the entry and the hash of the one before, hex.
    pub hash: String,
}

/// Whether the chain holds.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChainState {
    /// Whether no entry was altered or taken out.
    pub intact: bool,
    /// How many entries were looked at.
    pub entries: i64,
    /// The first entry that does not fit.
    pub first_broken: Option<i64>,
}

/// Which entries a list names.
#[derive(Debug, Default)]
pub struct EntryFilter {
    /// Who.
    pub actor: Option<String>,
    /// How it ended.
    pub outcome: Option<Outcome>,
}

#[derive(FromRow)]
struct Row {
    id: i64,
    at: i64,
    actor: String,
    role: Option<String>,
    address: String,
    action: String,
    target: String,
    outcome: String,
    status: i64,
    request_id: String,
    hash: String,
}

impl Row {
    fn chained(&self, before: &str) -> String {
        let text = json!([
            before,
            self.at,
            self.actor,
            self.role,
            self.address,
            self.action,
            self.target,
            self.outcome,
            self.status,
            self.request_id,
        ]);
        keys::sha256_hex(text.to_string().as_bytes())
    }
}

/// The audit log.
#[derive(Clone)]
pub struct Audit {
    db: Db,
    queue: mpsc::Sender<(Entry, oneshot::Sender<()>)>,
}

/// The one that commits.
pub struct AuditWriter {
    db: Db,
    queue: mpsc::Receiver<(Entry, oneshot::Sender<()>)>,
}

impl Audit {
    /// A log and its writer.
    #[must_use]
    pub fn open(db: &Db) -> (Self, AuditWriter) {
        let (sender, queue) = mpsc::channel(QUEUE);
        (Self { db: db.clone(), queue: sender }, AuditWriter { db: db.clone(), queue })
    }

    /// Records what was done; committed when this returns. What can't be recorded, because the
    /// database is away, goes to the hub's own log.
    pub async fn record(&self, entry: Entry) {
        let (done, committed) = oneshot::channel();
        let recorded = timeout(WAIT, async {
            self.queue.send((entry.clone(), done)).await.ok()?;
            committed.await.ok()
        });
        if !matches!(recorded.await, Ok(Some(()))) {
            tracing::error!(?entry, "not in the audit log in time");
        }
    }

    /// One page of the entries, newest first; how many match; the next page's cursor.
    ///
    /// # Errors
    /// API-001 for a bad page.
    pub async fn list(
        &self,
        page: Page,
        filter: &EntryFilter,
    ) -> Result<(i64, Vec<EntryInfo>, Option<i64>)> {
        const MATCHES: &str = "($1 IS NULL OR actor = $1) AND ($2 IS NULL OR outcome = $2)";
        let limit = page.limit()?;
        let count = db::joined(&["SELECT count(*) FROM audit_log WHERE ", MATCHES])
            .bind(&filter.actor)
            .bind(filter.outcome.map(Outcome::as_str))
            .value(&self.db)
            .await?;
        let rows =
            ["SELECT * FROM audit_log WHERE ", MATCHES, " AND id < $3 ORDER BY id DESC LIMIT $4"];
        let rows: Vec<Row> = db::joined(&rows)
            .bind(&filter.actor)
            .bind(filter.outcome.map(Outcome::as_str))
            .bind(page.cursor.unwrap_or(i64::MAX))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .all(&self.db)
            .await?;
        let next = (rows.len() == limit).then(|| rows.last().map(|row| row.id)).flatten();
        let entries = rows
            .into_iter()
            .map(|row| EntryInfo {
                id: row.id,
                timestamp: Timestamp::from_micros(row.at),
                actor: row.actor,
                role: row.role,
                address: row.address,
                action: row.action,
                target: row.target,
                outcome: row.outcome,
                status: row.status,
                request_id: row.request_id,
                hash: row.hash,
            })
            .collect();
        Ok((count, entries, next))
    }

    /// Goes along the whole chain.
    ///
    /// # Errors
    /// The database's.
    pub async fn verify(&self) -> Result<ChainState> {
        let (mut entries, mut last, mut before) = (0, 0, ORIGIN.to_owned());
        loop {
            let rows: Vec<Row> =
                db::sql("SELECT * FROM audit_log WHERE id > $1 ORDER BY id LIMIT 1000")
                    .bind(last)
                    .all(&self.db)
                    .await?;
            if rows.is_empty() {
                return Ok(ChainState { intact: true, entries, first_broken: None });
            }
            for row in rows {
                entries += 1;
                last = row.id;
                if row.hash != row.chained(&before) {
                    return Ok(ChainState { intact: false, entries, first_broken: Some(row.id) });
                }
                before = row.hash;
            }
        }
    }
}

impl AuditWriter {
    /// Commits until `shutdown`, and what waits then.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                n = self.queue.recv_many(&mut batch, BATCH) => if n == 0 { return },
                () = shutdown.cancelled() => return,
            }
            let committed = async {
                let mut tx = self.db.write().await?;
                let entries = batch.iter().map(|(entry, _)| entry);
                append(&mut tx, entries).await?;
                tx.commit().await
            };
            match committed.await {
                Ok(()) => batch.drain(..).for_each(|(_, done)| {
                    // Who has stopped waiting does not need to know.
                    let _ = done.send(());
                }),
                Err(error) => {
                    let entries: Vec<_> = batch.drain(..).map(|(entry, _)| entry).collect();
                    tracing::error!(?error, ?entries, "not in the audit log");
                }
            }
        }
    }
}

async fn append(tx: &mut Write, entries: impl Iterator<Item = &Entry>) -> Result<()> {
    let before = db::sql("SELECT hash FROM audit_log ORDER BY id DESC LIMIT 1")
        .optional_value::<String>(&mut *tx)
        .await?;
    let mut before = before.unwrap_or_else(|| ORIGIN.to_owned());
    for entry in entries {
        // Widths are the columns'; NUL is no text in PostgreSQL.
        let text = |text: &str, max| clip(text, max).replace('\0', "\u{fffd}");
        let mut row = Row {
            id: 0,
            at: Timestamp::now().micros(),
            actor: text(&entry.actor, 150),
            role: entry.role.map(|role| role.as_str().to_owned()),
            address: text(&entry.address, 64),
            action: text(&entry.action, 200),
            target: text(&entry.target, 1000),
            outcome: entry.outcome.as_str().to_owned(),
            status: entry.status.into(),
            request_id: text(&entry.request_id, 64),
            hash: String::new(),
        };
        row.hash = row.chained(&before);
        db::sql(
            "INSERT INTO audit_log (at, actor, role, address, action, target, outcome, status, \
             request_id, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(row.at)
        .bind(row.actor)
        .bind(row.role)
        .bind(row.address)
        .bind(row.action)
        .bind(row.target)
        .bind(row.outcome)
        .bind(row.status)
        .bind(row.request_id)
        .bind(&row.hash)
        .run(&mut *tx)
        .await?;
        before = row.hash;
    }
    Ok(())
}
