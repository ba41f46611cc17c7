//! Contract, "1. Health Check".

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use cloudcore_protocol::Timestamp;
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{cluster::Cluster, db::Db, settings::Settings};

type Parts = (Db, Arc<Settings>, Arc<Cluster>);

/// This room's routes.
pub fn routes(db: Db, settings: Arc<Settings>, cluster: Arc<Cluster>) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(health)).with_state((db, settings, cluster))
}

/// How the hub is, for anybody.
#[derive(Serialize, utoipa::ToSchema)]
struct Health {
    /// `healthy`, or `unhealthy` where the database is away.
    #[schema(example = "healthy")]
    status: &'static str,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// The hub's release.
    version: &'static str,
    components: Components,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = HealthComponents)]
struct Components {
    /// `connected` or `disconnected`; `not_configured` where this hub has no cluster.
    #[schema(example = "not_configured")]
    kubernetes: &'static str,
    /// `running`, or `maintenance` while the hub takes no joins, commands and deploys.
    #[schema(example = "running")]
    cloudcore: &'static str,
    /// `connected` or `disconnected`.
    #[schema(example = "connected")]
    database: &'static str,
}

/// How the hub is
#[utoipa::path(get, path = "/api/health", operation_id = "get_health", tag = "Health", security(()),
    responses(
        (status = 200, description = "It works", body = Health, example = json!({
            "status": "healthy", "timestamp": "2024-01-15T10:30:00Z", "version": "0.1.0",
            "components": {
                "kubernetes": "not_configured", "cloudcore": "running", "database": "connected"
            }
        })),
        (status = 503, description = "The database is away", body = Health)
    )
)]
async fn health(State((db, settings, cluster)): State<Parts>) -> (StatusCode, Json<Health>) {
    let up = db.is_up().await;
    let status = if up { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = Health {
        status: if up { "healthy" } else { "unhealthy" },
        timestamp: Timestamp::now(),
        version: env!("CARGO_PKG_VERSION"),
        components: Components {
            kubernetes: cluster.standing().as_str(),
            cloudcore: settings.standing(),
            database: if up { "connected" } else { "disconnected" },
        },
    };
    (status, Json(body))
}
