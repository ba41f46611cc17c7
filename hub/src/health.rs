//! Contract, "1. Health Check".

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use cloudcore_protocol::Timestamp;
use serde_json::{Value, json};

use crate::db::Db;

/// This room's routes.
pub fn routes(db: Db) -> Router {
    Router::new().route("/api/health", get(health)).with_state(db)
}

async fn health(State(db): State<Db>) -> (StatusCode, Json<Value>) {
    let up = db.is_up().await;
    let status = if up { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "status": if up { "healthy" } else { "unhealthy" },
        "timestamp": Timestamp::now(),
        "version": env!("CARGO_PKG_VERSION"),
        "components": {
            "kubernetes": "not_configured",
            "cloudcore": "running",
            "database": if up { "connected" } else { "disconnected" },
        },
    });
    (status, Json(body))
}
