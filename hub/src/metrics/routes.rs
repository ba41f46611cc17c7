//! Contract, `GET /api/kubeedge/metrics`, and "Performance Metrics".

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Fleet, Metrics,
    health::{Health, Standing},
    prometheus::CONTENT_TYPE,
};
use crate::{api::Refusal, auth::Viewer};

/// This room's routes.
pub fn routes(metrics: Arc<Metrics>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(fleet))
        .routes(routes!(prometheus))
        .routes(routes!(health))
        .with_state(metrics)
}

/// The fleet in numbers
#[utoipa::path(get, path = "/api/kubeedge/metrics", operation_id = "get_metrics",
    tag = "Monitoring",
    security(("bearer" = ["viewer"]), ("api_key" = ["viewer"])),
    responses((status = 200, description = "As of now", body = Fleet, example = json!({
        "timestamp": "2024-01-15T10:30:00Z",
        "summary": {
            "total_devices": 15, "online_devices": 12, "offline_devices": 3,
            "total_detections_today": 1250,
            "average_latency": "45ms", "average_latency_ms": 45.1,
            "storage_used": "45GB", "storage_used_bytes": 45_000_000_000_u64
        },
        "devices_by_type": { "camera": 8, "sensor": 5, "gateway": 2 },
        "alerts": [{
            "device_id": "camera-001", "type": "high_cpu",
            "message": "CPU usage > 90% for 5 minutes", "timestamp": "2024-01-15T10:25:00Z"
        }]
    })))
)]
async fn fleet(State(metrics): State<Arc<Metrics>>, _: Viewer) -> Result<Json<Fleet>, Refusal> {
    Ok(Json(metrics.fleet().await?))
}

/// The hub and the fleet in numbers, for Prometheus
#[utoipa::path(get, path = "/api/kubeedge/metrics/prometheus", operation_id = "get_prometheus_metrics",
    tag = "Monitoring",
    security(("bearer" = ["viewer"]), ("api_key" = ["viewer"])),
    responses((status = 200, description = "Prometheus' text form, version 0.0.4", body = String,
        content_type = "text/plain"))
)]
async fn prometheus(State(metrics): State<Arc<Metrics>>, _: Viewer) -> Result<Response, Refusal> {
    let text = metrics.text().await?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

/// How the hub's parts are
#[utoipa::path(get, path = "/api/kubeedge/metrics/health", operation_id = "get_metrics_health",
    tag = "Monitoring",
    security(("bearer" = ["viewer"]), ("api_key" = ["viewer"])),
    responses(
        (status = 200, description = "It works, or all but the pictures do", body = Health,
            example = json!({
                "status": "healthy", "timestamp": "2024-01-15T10:30:00Z", "version": "0.1.0",
                "components": {
                    "database": { "status": "connected", "latency_ms": 0.4 },
                    "object_store": { "status": "connected", "latency_ms": 0.2 },
                    "link": { "status": "running", "latency_ms": null, "sessions": 12 },
                    "cloudcore": { "status": "running", "latency_ms": null },
                    "kubernetes": { "status": "not_configured", "latency_ms": null }
                },
                "uptime": "2 days", "uptime_seconds": 172_800,
                "memory_usage": "45.2MB", "memory_bytes": 45_200_000
            })),
        (status = 503, description = "The database is away", body = Health)
    )
)]
async fn health(State(metrics): State<Arc<Metrics>>, _: Viewer) -> (StatusCode, Json<Health>) {
    let health = metrics.health().await;
    let status = match health.status {
        Standing::Healthy | Standing::Degraded => StatusCode::OK,
        Standing::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(health))
}
