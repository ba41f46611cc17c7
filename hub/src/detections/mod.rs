//! What cameras saw: stored once each, counted per device, told to the watchers.

mod list;
mod routes;

use std::sync::Arc;

use cloudcore_protocol::{Detection, DetectionPhase, DeviceId, NodeName, Timestamp};
use serde_json::{Value, json};
use sqlx::FromRow;
use tokio_util::sync::CancellationToken;

pub use routes::routes;

use crate::{
    api,
    blobs::Blobs,
    db::{self, Db, Write},
    error::Result,
    live::{Event, News, What},
};

/// A detection to store.
#[derive(Debug)]
pub struct DetectionRow<'a> {
    /// Whose camera.
    pub device_id: &'a DeviceId,
    /// What it saw.
    pub detection: &'a Detection,
}

/// How much a device saw.
#[derive(Debug, Clone, Copy, Default, FromRow)]
pub struct Totals {
    /// Objects that appeared.
    pub detections: i64,
    /// From frame to stored event, summed, microseconds.
    pub latency_us: i64,
}

impl Totals {
    /// From frame to stored event, in the mean, microseconds.
    #[must_use]
    pub fn average_latency_us(self) -> Option<u64> {
        u64::try_from(self.latency_us.checked_div(self.detections)?).ok()
    }
}

/// The detections.
pub struct Detections {
    db: Db,
    blobs: Arc<Blobs>,
}

const fn phase(phase: DetectionPhase) -> &'static str {
    match phase {
        DetectionPhase::Started => "started",
        DetectionPhase::Ended => "ended",
    }
}

impl Detections {
    /// Over this database, with pictures there.
    #[must_use]
    pub const fn new(db: Db, blobs: Arc<Blobs>) -> Self {
        Self { db, blobs }
    }

    /// How much a device saw since it joined.
    ///
    /// # Errors
    /// The database's.
    pub async fn totals(&self, device: &DeviceId) -> Result<Totals> {
        let found =
            db::sql("SELECT detections, latency_us FROM detection_totals WHERE device_id = $1")
                .bind(device.as_str())
                .optional(&self.db)
                .await?;
        Ok(found.unwrap_or_default())
    }

    /// How many objects the devices that are known saw, also those whose rows are forgotten.
    ///
    /// # Errors
    /// The database's.
    pub async fn total(&self) -> Result<i64> {
        let sum = "SELECT CAST(coalesce(sum(detections), 0) AS BIGINT) FROM detection_totals";
        Ok(db::sql(sum).value(&self.db).await?)
    }

    /// How much all devices saw since `since`.
    ///
    /// # Errors
    /// The database's.
    pub async fn totals_since(&self, since: Timestamp) -> Result<Totals> {
        Ok(db::sql(
            "SELECT count(*) AS detections, CAST(coalesce(sum(latency_us), 0) AS BIGINT) AS latency_us \
             FROM detections WHERE received_at >= $1 AND phase = 'started'",
        )
        .bind(since.micros())
        .one(&self.db)
        .await?)
    }

    /// Forgets detections received before what `limit` says of their object, in small
    /// transactions; until `shutdown`.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget(
        &self,
        limit: &(impl Fn(&str) -> Timestamp + Sync),
        shutdown: &CancellationToken,
    ) -> Result<()> {
        let mut last = String::new();
        while let Some(object) = self.next_object(&last).await? {
            let before = limit(&object);
            loop {
                if shutdown.is_cancelled() {
                    return Ok(());
                }
                let mut tx = self.db.write().await?;
                let gone = db::sql(
                    "DELETE FROM detections WHERE id IN (SELECT id FROM detections \
                     WHERE object = $1 AND received_at < $2 ORDER BY received_at LIMIT $3)",
                )
                .bind(&object)
                .bind(before.micros())
                .bind(BATCH)
                .run(&mut tx)
                .await?;
                tx.commit().await?;
                if gone == 0 {
                    break;
                }
            }
            last = object;
        }
        Ok(())
    }

    async fn next_object(&self, last: &str) -> Result<Option<String>> {
        Ok(db::sql("SELECT min(object) FROM detections WHERE object > $1")
            .bind(last)
            .value(&self.db)
            .await?)
    }
}

/// Rows that are forgotten at once.
const BATCH: i64 = 500;

/// Stores detections by two statements for all of them.
///
/// # Errors
/// The database's.
pub async fn record(tx: &mut Write, rows: &[DetectionRow<'_>]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let now = Timestamp::now();
    let all: Vec<Value> = rows
        .iter()
        .map(|row| {
            let d = row.detection;
            json!([
                row.device_id,
                d.track_id.cast_signed(),
                phase(d.phase),
                api::clip(&d.object, MAX_OBJECT),
                score(d.confidence),
                json!(d.bounding_box).to_string(),
                d.frame_width,
                d.frame_height,
                d.model,
                d.captured_at.micros(),
                latency(d, now),
                json!(zones(d)).to_string(),
                d.id,
            ])
        })
        .collect();
    let all = Value::from(all).to_string();
    db::sql(
        "INSERT INTO detections (device_id, track_id, phase, object, confidence, bounding_box, \
         frame_width, frame_height, model, captured_at, latency_us, received_at, \
         zones, detection_id) \
         SELECT value->>0, CAST(value->>1 AS BIGINT), value->>2, value->>3, \
         CAST(value->>4 AS DOUBLE PRECISION), value->>5, CAST(value->>6 AS BIGINT), \
         CAST(value->>7 AS BIGINT), value->>8, CAST(value->>9 AS BIGINT), \
         CAST(value->>10 AS BIGINT), $2, value->>11, value->>12 FROM {rows}",
    )
    .bind(&all)
    .bind(now.micros())
    .run(&mut *tx)
    .await?;
    db::sql(
        "INSERT INTO detection_totals (device_id, detections, latency_us) \
         SELECT value->>0, count(*), CAST(sum(CAST(value->>10 AS BIGINT)) AS BIGINT) FROM {rows} \
         WHERE value->>2 = 'started' GROUP BY value->>0 \
         ON CONFLICT (device_id) DO UPDATE SET detections = detection_totals.detections + excluded.detections, \
         latency_us = detection_totals.latency_us + excluded.latency_us",
    )
    .bind(&all)
    .run(&mut *tx)
    .await?;
    Ok(())
}

/// Most zones of an object.
const MAX_ZONES: usize = 32;
/// Longest name of an object, characters: the column's width.
const MAX_OBJECT: usize = 100;
/// Longest latency that is believed, microseconds: an hour. What took longer waited in an outbox,
/// or one of the clocks is wrong, and would spoil every average.
const MAX_LATENCY: u128 = 3_600_000_000;

/// From frame to here, microseconds. The clocks of hub and agent differ, so the way to the hub
/// counts only where they agree that it took time; the agent's own part is by its steady clock.
fn latency(detection: &Detection, now: Timestamp) -> u64 {
    let by_clocks = now.since(detection.captured_at).as_micros();
    let by_agent = u128::from(detection.latency_micros).min(MAX_LATENCY);
    let latency = if by_clocks > MAX_LATENCY { by_agent } else { by_clocks.max(by_agent) };
    u64::try_from(latency).unwrap_or(0)
}

/// A score as it may be: not every peer is ours.
fn score(confidence: f32) -> f32 {
    if confidence.is_finite() { confidence.clamp(0.0, 1.0) } else { 0.0 }
}

/// The zones' names as they may be: not every peer is ours.
fn zones(detection: &Detection) -> Vec<&str> {
    let zones = detection.zones.iter().flatten().take(MAX_ZONES);
    zones.map(|zone| api::clip(zone, MAX_OBJECT)).collect()
}

/// Where anybody may see what was detected, for an hour; `None` where its device takes no picture.
#[must_use]
pub fn image_url(blobs: &Blobs, device: &DeviceId, detection: &Detection) -> Option<String> {
    let pictured = detection.id.as_ref().filter(|_| detection.snapshot == Some(true));
    pictured.map(|id| blobs.url(device.as_str(), id.as_str()))
}

/// What watchers are told of it.
#[must_use]
pub fn news(
    device: &DeviceId,
    node: &NodeName,
    detection: &Detection,
    image_url: Option<&str>,
) -> News {
    let what = What::Detection {
        detection,
        image_url,
        phase: phase(detection.phase),
        confidence: score(detection.confidence),
        zones: &zones(detection),
    };
    Event { device_id: Some(device.as_str()), node_name: Some(node.as_str()), what }.news()
}
