//! What an operator should know: each alert has a start and an end.
//!
//! Some are told by agents (`camera_lost`), some are judged here on what agents say
//! ([`rules`]), and some by the room that knows (`offline` by `devices`, `certificate_expiring` by
//! `certificates`). The table says what is active, so that a restart starts nothing twice.

mod routes;
mod rules;

use cloudcore_protocol::{Alert, DeviceId, NodeName, Timestamp};
use serde::Serialize;
use sqlx::FromRow;

pub use routes::routes;
pub use rules::Judge;

use crate::{
    api::{Page, clip},
    db::{self, Db, Write},
    error::Result,
    live::{Event, News, What},
};

/// A device that was a member's has no session.
pub const OFFLINE: &str = "offline";
/// A device's disk is full.
const DISK_FULL: &str = "disk_full";
/// A node's certificate ends soon, and there is no newer one.
pub const CERTIFICATE_EXPIRING: &str = "certificate_expiring";

/// Longest kind, characters: the column's width.
const MAX_KIND: usize = 50;
/// Longest message, characters.
const MAX_MESSAGE: usize = 500;
/// Alerts of one device that are active at once; more are not begun.
const MAX_ACTIVE: i64 = 50;

/// An alert that has begun and not ended.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ActiveAlert {
    /// Whose.
    pub device_id: String,
    /// A term such as `camera_lost`.
    #[serde(rename = "type")]
    pub kind: String,
    /// For people.
    pub message: String,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub timestamp: Timestamp,
}

#[derive(FromRow)]
struct Row {
    device_id: String,
    kind: String,
    message: String,
    started_at: i64,
}

/// The alerts that are active, newest first, 100 at most.
///
/// # Errors
/// The database's.
pub async fn active(db: &Db) -> Result<Vec<ActiveAlert>> {
    let rows: Vec<Row> = db::sql(
        "SELECT device_id, kind, message, started_at FROM alerts WHERE ended_at IS NULL \
         ORDER BY started_at DESC LIMIT 100",
    )
    .all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| ActiveAlert {
            device_id: row.device_id,
            kind: row.kind,
            message: row.message,
            timestamp: Timestamp::from_micros(row.started_at),
        })
        .collect())
}

/// How many alerts of each kind are active.
///
/// # Errors
/// The database's.
pub async fn count_active(db: &Db) -> Result<Vec<(String, i64)>> {
    let count = "SELECT kind, count(*) FROM alerts WHERE ended_at IS NULL GROUP BY kind";
    Ok(db::sql(count).all(db).await?)
}

/// Stores a start or an end; whether it was news.
///
/// # Errors
/// The database's.
pub async fn record(
    tx: &mut Write,
    device: &DeviceId,
    at: Timestamp,
    alert: &Alert,
) -> Result<bool> {
    let done = if alert.active {
        db::sql(
            // What a removed device had said meanwhile begins nothing.
            "INSERT INTO alerts (device_id, kind, message, started_at) \
             SELECT $1, $2, $3, $4 FROM devices WHERE device_id = $1 \
             AND (SELECT count(*) FROM alerts WHERE device_id = $1 AND ended_at IS NULL) < $5 \
             ON CONFLICT DO NOTHING",
        )
        .bind(device.as_str())
        .bind(clip(&alert.kind, MAX_KIND))
        .bind(clip(&alert.message, MAX_MESSAGE))
        .bind(at.micros())
        .bind(MAX_ACTIVE)
        .run(&mut *tx)
        .await?
    } else {
        db::sql(
            "UPDATE alerts SET ended_at = $3 \
             WHERE device_id = $1 AND kind = $2 AND ended_at IS NULL",
        )
        .bind(device.as_str())
        .bind(clip(&alert.kind, MAX_KIND))
        .bind(at.micros())
        .run(&mut *tx)
        .await?
    };
    Ok(done > 0)
}

/// Ends all of a device's alerts: nobody will. What watchers are told of it.
///
/// # Errors
/// The database's.
pub async fn end_all(
    tx: &mut Write,
    device: &DeviceId,
    node: &NodeName,
    why: &str,
) -> Result<Vec<News>> {
    let kinds: Vec<String> = db::sql(
        "UPDATE alerts SET ended_at = $2 WHERE device_id = $1 AND ended_at IS NULL RETURNING kind",
    )
    .bind(device.as_str())
    .bind(Timestamp::now().micros())
    .values(tx)
    .await?;
    let end = |kind| news(device, node, &Alert { kind, message: why.into(), active: false });
    Ok(kinds.into_iter().map(end).collect())
}

/// Removes alerts that ended before `before`.
///
/// # Errors
/// The database's.
pub async fn forget(db: &Db, before: Timestamp) -> Result<()> {
    let mut tx = db.write().await?;
    db::sql("DELETE FROM alerts WHERE ended_at < $1").bind(before.micros()).run(&mut tx).await?;
    tx.commit().await
}

/// Which alerts a list names.
#[derive(Debug, Default)]
pub struct Filter {
    page: Page,
    active: Option<bool>,
    device_id: Option<String>,
    kind: Option<String>,
}

#[derive(FromRow)]
struct Listed {
    id: i64,
    device_id: String,
    kind: String,
    message: String,
    started_at: i64,
    ended_at: Option<i64>,
}

const MATCHES: &str = "($1 IS NULL OR CASE WHEN ended_at IS NULL THEN 1 ELSE 0 END = $1) \
                       AND ($2 IS NULL OR device_id = $2) AND ($3 IS NULL OR kind = $3)";

/// How many alerts match, and one page of them, newest first.
async fn list(db: &Db, filter: &Filter) -> Result<(i64, Vec<Listed>)> {
    let limit = filter.page.limit()?;
    let count: i64 = db::joined(&["SELECT count(*) FROM alerts WHERE ", MATCHES])
        .bind(filter.active.map(i64::from))
        .bind(&filter.device_id)
        .bind(&filter.kind)
        .value(db)
        .await?;
    let page = [
        "SELECT id, device_id, kind, message, started_at, ended_at FROM alerts WHERE ",
        MATCHES,
        " AND id < $4 ORDER BY id DESC LIMIT $5",
    ];
    let rows = db::joined(&page)
        .bind(filter.active.map(i64::from))
        .bind(&filter.device_id)
        .bind(&filter.kind)
        .bind(filter.page.cursor.unwrap_or(i64::MAX))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .all(db)
        .await?;
    Ok((count, rows))
}

/// How much it matters: while these last, a device does nothing that it is asked, or keeps nothing.
fn level(kind: &str, active: bool) -> &'static str {
    match (active, kind) {
        (false, _) => "info",
        (true, OFFLINE | DISK_FULL) => "critical",
        (true, _) => "warning",
    }
}

/// What watchers are told of it.
#[must_use]
pub fn news(device: &DeviceId, node: &NodeName, alert: &Alert) -> News {
    let what = What::Alert {
        term: clip(&alert.kind, MAX_KIND),
        level: level(&alert.kind, alert.active),
        message: clip(&alert.message, MAX_MESSAGE),
        active: alert.active,
    };
    Event { device_id: Some(device.as_str()), node_name: Some(node.as_str()), what }.news()
}
