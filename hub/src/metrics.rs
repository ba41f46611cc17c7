//! Contract, `GET /api/kubeedge/metrics`: the fleet in numbers.

use std::sync::Arc;

use axum::{Json, Router, extract::State, routing::get};
use cloudcore_protocol::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    alerts,
    api::{self, Refusal},
    auth::Viewer,
    blobs::Blobs,
    db::Db,
    detections::Detections,
    devices::Devices,
    error::Result,
};

/// What the numbers are taken from.
pub struct Metrics {
    /// The database.
    pub db: Db,
    /// The devices.
    pub devices: Arc<Devices>,
    /// The detections.
    pub detections: Arc<Detections>,
    /// The pictures.
    pub blobs: Arc<Blobs>,
}

/// This room's routes.
pub fn routes(metrics: Arc<Metrics>) -> Router {
    Router::new().route("/api/kubeedge/metrics", get(summary)).with_state(metrics)
}

const DAY_MICROS: i64 = 86_400_000_000;

impl Metrics {
    async fn summary(&self) -> Result<Value> {
        let now = Timestamp::now();
        let midnight = Timestamp::from_micros(now.micros().div_euclid(DAY_MICROS) * DAY_MICROS);
        let by_type = self.devices.count_by_type().await?;
        let total: i64 = by_type.iter().map(|(_, n)| n).sum();
        let online = i64::try_from(self.devices.ready()).unwrap_or(total).min(total);
        let today = self.detections.totals_since(midnight).await?;
        let average = today.average_latency_us();
        let stored = self.blobs.bytes_stored().await? + self.db.bytes().await?;
        let by_type: Map<String, Value> = by_type.into_iter().map(|(k, n)| (k, json!(n))).collect();
        #[allow(clippy::cast_precision_loss, reason = "a latency is far below 2^52 microseconds")]
        let average_ms = average.map(|us| us as f64 / 1e3);
        Ok(json!({
            "timestamp": now,
            "summary": {
                "total_devices": total,
                "online_devices": online,
                "offline_devices": total - online,
                "total_detections_today": today.detections,
                "average_latency": average.map(api::span),
                "average_latency_ms": average_ms,
                "storage_used": api::size(stored),
                "storage_used_bytes": stored,
            },
            "devices_by_type": by_type,
            "alerts": alerts::active(&self.db).await?,
        }))
    }
}

async fn summary(State(metrics): State<Arc<Metrics>>, _: Viewer) -> Result<Json<Value>, Refusal> {
    Ok(Json(metrics.summary().await?))
}
