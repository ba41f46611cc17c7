//! The fleet and the hub in numbers: for people (`metrics`), for Prometheus, and for whoever
//! watches the hub itself (`metrics/health`).

mod health;
mod prometheus;
mod routes;

use std::{collections::BTreeMap, sync::Arc};

use cloudcore_protocol::Timestamp;
use serde::Serialize;

pub use routes::routes;

use crate::{
    alerts::{self, ActiveAlert},
    api,
    blobs::Blobs,
    cluster::Cluster,
    db::Db,
    detections::Detections,
    devices::Devices,
    error::Result,
    link::Registry,
    live::Watching,
    objects::Objects,
    settings::Settings,
    traffic::Traffic,
};

/// What the numbers are taken from.
pub struct Metrics {
    /// The database.
    pub db: Db,
    /// The devices.
    pub devices: Arc<Devices>,
    /// Their sessions.
    pub registry: Arc<Registry>,
    /// The detections.
    pub detections: Arc<Detections>,
    /// The pictures.
    pub blobs: Arc<Blobs>,
    /// Where the pictures are.
    pub objects: Arc<Objects>,
    /// The requests.
    pub traffic: Traffic,
    /// Who watches.
    pub watching: Arc<Watching>,
    /// Whether there is maintenance.
    pub settings: Arc<Settings>,
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// When the hub started.
    pub started_at: Timestamp,
}

/// The fleet in numbers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Fleet {
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    summary: Summary,
    /// How many devices there are of each type; `unknown` where none was given.
    devices_by_type: BTreeMap<String, i64>,
    /// The alerts that are active, newest first, 100 at most.
    alerts: Vec<ActiveAlert>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = FleetSummary)]
struct Summary {
    #[schema(minimum = 0)]
    total_devices: i64,
    #[schema(minimum = 0)]
    online_devices: i64,
    #[schema(minimum = 0)]
    offline_devices: i64,
    /// Since midnight UTC.
    #[schema(minimum = 0)]
    total_detections_today: i64,
    /// From picture to detection, today; null where there was none.
    #[schema(example = "45ms")]
    average_latency: Option<String>,
    average_latency_ms: Option<f64>,
    /// Database and pictures.
    #[schema(example = "45GB")]
    storage_used: String,
    storage_used_bytes: u64,
}

const DAY_MICROS: i64 = 86_400_000_000;

impl Metrics {
    async fn fleet(&self) -> Result<Fleet> {
        let now = Timestamp::now();
        let midnight = Timestamp::from_micros(now.micros().div_euclid(DAY_MICROS) * DAY_MICROS);
        let by_type = self.devices.count_by_type().await?;
        let total: i64 = by_type.iter().map(|(_, n)| n).sum();
        let online = i64::try_from(self.devices.ready()).unwrap_or(total).min(total);
        let today = self.detections.totals_since(midnight).await?;
        let average = today.average_latency_us();
        let stored = self.blobs.bytes_stored().await? + self.db.bytes().await?;
        #[allow(clippy::cast_precision_loss, reason = "a latency is far below 2^52 microseconds")]
        let average_ms = average.map(|us| us as f64 / 1e3);
        Ok(Fleet {
            timestamp: now,
            summary: Summary {
                total_devices: total,
                online_devices: online,
                offline_devices: total - online,
                total_detections_today: today.detections,
                average_latency: average.map(api::span),
                average_latency_ms: average_ms,
                storage_used: api::size(stored),
                storage_used_bytes: stored,
            },
            devices_by_type: by_type.into_iter().collect(),
            alerts: alerts::active(&self.db).await?,
        })
    }
}

/// Resident memory of this process, bytes.
async fn resident_memory() -> Option<u64> {
    let status = tokio::fs::read_to_string("/proc/self/status").await.ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
