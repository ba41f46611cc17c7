//! Contract, `GET /api/kubeedge/device/{device_id}`: how a device is and what it saw.

use std::sync::Arc;

use axum::{Json, Router, extract::State, routing::get};
use cloudcore_protocol::DeviceId;
use serde_json::{Value, json};

use super::Detections;
use crate::{
    api::{self, Path, Refusal},
    auth::Viewer,
    devices::{self, Devices},
};

/// This room's routes.
pub fn routes(detections: Arc<Detections>, devices: Arc<Devices>) -> Router {
    Router::new()
        .route("/api/kubeedge/device/{device_id}", get(show))
        .with_state((detections, devices))
}

async fn show(
    State((detections, devices)): State<(Arc<Detections>, Arc<Devices>)>,
    _: Viewer,
    Path(id): Path<DeviceId>,
) -> Result<Json<Value>, Refusal> {
    let device = devices.get(&id).await?;
    let totals = detections.totals(&id).await?;
    let mut shown = devices::details(&device, devices.is_online(&id));
    let average = totals.average_latency_us();
    shown["metrics"]["total_detections"] = json!(totals.detections);
    shown["metrics"]["average_latency"] = json!(average.map(api::span));
    #[allow(clippy::cast_precision_loss, reason = "a latency is far below 2^52 microseconds")]
    let average_ms = average.map(|us| us as f64 / 1e3);
    shown["metrics"]["average_latency_ms"] = json!(average_ms);
    Ok(Json(shown))
}
