//! What an operator should know: each alert has a start and an end.

use cloudcore_protocol::{Alert, DeviceId, NodeName, Timestamp};
use serde::Serialize;
use sqlx::FromRow;

use crate::{
    api::clip,
    db::{self, Db, Write},
    error::Result,
    live::{Event, News, What},
};

/// Longest kind, characters: the column's width.
const MAX_KIND: usize = 50;

/// An alert that has begun and not ended.
#[derive(Debug, Serialize)]
pub struct ActiveAlert {
    /// Whose.
    pub device_id: String,
    /// A term such as `camera_lost`.
    #[serde(rename = "type")]
    pub kind: String,
    /// For people.
    pub message: String,
    /// When it began.
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
            "INSERT INTO alerts (device_id, kind, message, started_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT DO NOTHING",
        )
        .bind(device.as_str())
        .bind(clip(&alert.kind, MAX_KIND))
        .bind(&alert.message)
        .bind(at.micros())
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

/// What watchers are told of it.
#[must_use]
pub fn news(device: &DeviceId, node: &NodeName, alert: &Alert) -> News {
    let what = What::Alert {
        term: &alert.kind,
        level: if alert.active { "warning" } else { "info" },
        message: &alert.message,
        active: alert.active,
    };
    Event { device_id: Some(device.as_str()), node_name: Some(node.as_str()), what }.news()
}
