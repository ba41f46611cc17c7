//! Contract, `GET /api/kubeedge/device/{device_id}`: one device as all rooms know it: how it is,
//! what it saw, what it runs.

use std::sync::Arc;

use axum::{Json, extract::State};
use cloudcore_protocol::DeviceId;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    api::{self, Path, Refusal},
    apps::{Application, Apps},
    auth::Viewer,
    detections::Detections,
    devices::{Details, Devices},
};

/// The rooms that know something of a device.
pub struct Overview {
    /// How it is.
    pub devices: Arc<Devices>,
    /// What it saw.
    pub detections: Arc<Detections>,
    /// What it runs.
    pub apps: Arc<Apps>,
}

/// This room's routes.
pub fn routes(overview: Arc<Overview>) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(show_device)).with_state(overview)
}

/// A device.
#[derive(Serialize, ToSchema)]
struct DeviceOverview {
    #[serde(flatten)]
    device: Details,
    /// What is to run on it.
    applications: Vec<Application>,
    /// What it did.
    metrics: DeviceMetrics,
}

/// What a device did.
#[derive(Serialize, ToSchema)]
struct DeviceMetrics {
    /// Since its machine started.
    #[schema(example = "2 days")]
    uptime: Option<String>,
    /// The same, seconds.
    uptime_seconds: Option<u64>,
    /// Objects that it saw.
    #[schema(example = 1250)]
    total_detections: i64,
    /// From frame to stored event, in the mean.
    #[schema(example = "45ms")]
    average_latency: Option<String>,
    /// The same, milliseconds.
    average_latency_ms: Option<f64>,
}

/// Get a device's details
#[utoipa::path(get, path = "/api/kubeedge/device/{device_id}", operation_id = "get_device",
    tag = "Devices",
    security(("bearer" = ["viewer"]), ("api_key" = ["viewer"])),
    params(("device_id" = String, Path, description = "Id of the device", max_length = 100,
        example = "edge-device-laptop-001")),
    responses((status = 200, description = "The device", body = DeviceOverview)))]
async fn show_device(
    State(overview): State<Arc<Overview>>,
    _: Viewer,
    Path(id): Path<DeviceId>,
) -> Result<Json<DeviceOverview>, Refusal> {
    let (device, edge) = overview.devices.find(&id).await?;
    let totals = overview.detections.totals(&id).await?;
    let applications = overview.apps.of_device(&id).await?;
    let device = Details::of(&device, overview.devices.is_online(&id), &edge);
    let average = totals.average_latency_us();
    #[allow(clippy::cast_precision_loss, reason = "a latency is far below 2^52 microseconds")]
    let average_latency_ms = average.map(|us| us as f64 / 1e3);
    let uptime_seconds = device.uptime_seconds();
    Ok(Json(DeviceOverview {
        metrics: DeviceMetrics {
            uptime: uptime_seconds.map(api::uptime),
            uptime_seconds,
            total_detections: totals.detections,
            average_latency: average.map(api::span),
            average_latency_ms,
        },
        device,
        applications,
    }))
}
