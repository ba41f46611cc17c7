//! Contract, `GET` and `PUT /api/kubeedge/config`.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Change, Configuration, Configurations};
use crate::{
    api::{Body, Refusal, to_the_end},
    auth::{Admin, Viewer},
};

/// This room's routes.
pub fn routes(configurations: Arc<Configurations>) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(show, change)).with_state(configurations)
}

/// Get the current configuration
#[utoipa::path(get, path = "/api/kubeedge/config", operation_id = "get_config",
    tag = "Configuration",
    security(("bearer" = ["viewer"]), ("api_key" = ["viewer"])),
    responses((status = 200, description = "What holds now", body = Configuration,
        example = json!({
            "cloudcore": {
                "version": "0.1.0", "advertise_address": "3.70.53.21", "advertise_port": 10000,
                "ports": { "cloudhub": 10000, "cloudstream": null, "websocket": null,
                           "http": 5000, "https": 5443 },
                "nodeports": { "cloudhub": null, "cloudstream": null, "websocket": null }
            },
            "kubernetes": { "version": null, "nodes": null, "pods": null },
            "security": { "tls_enabled": true, "token_expiry": 72, "rate_limiting": true,
                          "require_tls": false, "rate_limit": 100 },
            "limits": { "max_devices": 10000 },
            "retention_days": 30,
            "retention": { "objects": { "person": 30, "*": 7 } },
            "alerts": { "cpu_percent": 90, "cpu_seconds": 300, "memory_percent": 90,
                        "temperature_celsius": 80, "disk_percent": 90, "certificate_days": 7 }
        })))
)]
async fn show(State(configurations): State<Arc<Configurations>>, _: Viewer) -> Json<Configuration> {
    Json(configurations.show())
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ConfigurationChanged)]
struct Changed {
    /// Always `success`.
    #[schema(example = "success")]
    status: &'static str,
    message: &'static str,
    config: Configuration,
}

/// Update the configuration: what is left out stays, and it holds at once and over restarts
#[utoipa::path(put, path = "/api/kubeedge/config", operation_id = "update_config",
    tag = "Configuration",
    security(("bearer" = ["admin"]), ("api_key" = ["admin"])),
    request_body(content = Change, example = json!({
        "token_expiry": 96, "max_devices": 100,
        "security": { "require_tls": true, "rate_limit": 100 }
    })),
    responses((status = 200, description = "It holds", body = Changed))
)]
async fn change(
    State(configurations): State<Arc<Configurations>>,
    Admin(caller): Admin,
    Body(change): Body<Change>,
) -> Result<Json<Changed>, Refusal> {
    let by = caller.name().to_owned();
    let changed = async move { configurations.change(&change, &by).await };
    let config = to_the_end(changed).await?;
    Ok(Json(Changed { status: "success", message: "Configuration updated", config }))
}
