//! Contract, "Maintenance Endpoints": a time in which the hub takes no joins, commands and
//! deploys. Agents stay connected, and what they say is stored.

use std::sync::Arc;

use axum::{Json, extract::State};
use cloudcore_protocol::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    api::{OptionalBody, Refusal, to_the_end},
    auth::{Admin, Viewer},
    error::{Error, Result},
    settings::{self, Settings},
};

/// Longest reason, characters.
const MAX_REASON: usize = 500;

/// The maintenance of this hub.
pub struct Maintenance {
    settings: Arc<Settings>,
    /// Starts and stops come one after another.
    changing: Mutex<()>,
}

/// Whether there is maintenance, and since when.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = MaintenanceStanding)]
struct Standing {
    /// Whether joins, commands and deploys are refused now.
    active: bool,
    /// Since when.
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Who began it.
    by: Option<String>,
    /// Why, as given.
    reason: Option<String>,
}

impl Maintenance {
    /// Over these settings.
    #[must_use]
    pub fn new(settings: Arc<Settings>) -> Self {
        Self { settings, changing: Mutex::default() }
    }

    fn standing(&self) -> Standing {
        let now = self.settings.maintenance();
        Standing {
            active: now.is_some(),
            since: now.as_ref().map(|now| Timestamp::from_micros(now.since)),
            by: now.as_ref().map(|now| now.by.clone()),
            reason: now.and_then(|now| now.reason),
        }
    }

    /// Begins it; one that goes on keeps its beginning. Whether it was news.
    async fn start(&self, by: &str, reason: Option<String>) -> Result<bool> {
        if reason.as_ref().is_some_and(|reason| reason.chars().count() > MAX_REASON) {
            return Err(Error::invalid(format!(
                "reason must have at most {MAX_REASON} characters"
            )));
        }
        let _one = self.changing.lock().await;
        if self.settings.maintenance().is_some() {
            return Ok(false);
        }
        let since = Timestamp::now().micros();
        let maintenance = settings::Maintenance { since, by: by.to_owned(), reason };
        self.settings.set_maintenance(Some(maintenance), by).await?;
        tracing::info!(by, "maintenance began");
        Ok(true)
    }

    /// Ends it. Whether it was news.
    async fn stop(&self, by: &str) -> Result<bool> {
        let _one = self.changing.lock().await;
        if self.settings.maintenance().is_none() {
            return Ok(false);
        }
        self.settings.set_maintenance(None, by).await?;
        tracing::info!(by, "maintenance ended");
        Ok(true)
    }
}

/// This room's routes.
pub fn routes(maintenance: Arc<Maintenance>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(start))
        .routes(routes!(stop))
        .routes(routes!(status))
        .with_state(maintenance)
}

#[derive(Default, Deserialize, utoipa::ToSchema)]
#[schema(as = MaintenanceStart)]
struct Start {
    /// Why, for people.
    #[schema(max_length = 500, example = "new disks")]
    reason: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = MaintenanceChanged)]
struct Changed {
    /// Always `success`.
    #[schema(example = "success")]
    status: &'static str,
    message: &'static str,
    maintenance: Standing,
}

fn changed(maintenance: &Maintenance, message: &'static str) -> Json<Changed> {
    Json(Changed { status: "success", message, maintenance: maintenance.standing() })
}

/// Start maintenance: joins, commands, deploys and new tokens are refused until it stops
#[utoipa::path(post, path = "/api/kubeedge/maintenance/start", operation_id = "start_maintenance",
    tag = "Maintenance",
    security(("bearer" = ["admin"]), ("api_key" = ["admin"])),
    request_body(content = Option<Start>, description = "Why; may be left out"),
    responses((status = 200, description = "There is maintenance now", body = Changed))
)]
async fn start(
    State(maintenance): State<Arc<Maintenance>>,
    Admin(caller): Admin,
    OptionalBody(body): OptionalBody<Start>,
) -> Result<Json<Changed>, Refusal> {
    let (room, by) = (Arc::clone(&maintenance), caller.name().to_owned());
    let news = to_the_end(async move { room.start(&by, body.reason).await }).await?;
    let message = if news { "Maintenance started" } else { "Maintenance goes on already" };
    Ok(changed(&maintenance, message))
}

/// Stop maintenance
#[utoipa::path(post, path = "/api/kubeedge/maintenance/stop", operation_id = "stop_maintenance",
    tag = "Maintenance",
    security(("bearer" = ["admin"]), ("api_key" = ["admin"])),
    responses((status = 200, description = "There is none now", body = Changed))
)]
async fn stop(
    State(maintenance): State<Arc<Maintenance>>,
    Admin(caller): Admin,
) -> Result<Json<Changed>, Refusal> {
    let (room, by) = (Arc::clone(&maintenance), caller.name().to_owned());
    let news = to_the_end(async move { room.stop(&by).await }).await?;
    let message = if news { "Maintenance stopped" } else { "There was no maintenance" };
    Ok(changed(&maintenance, message))
}

/// Whether there is maintenance
#[utoipa::path(get, path = "/api/kubeedge/maintenance/status", operation_id = "get_maintenance_status",
    tag = "Maintenance",
    security(("bearer" = ["viewer"]), ("api_key" = ["viewer"])),
    responses((status = 200, description = "How it stands", body = Standing, example = json!({
        "active": true, "since": "2024-01-15T10:30:00Z", "by": "admin", "reason": "new disks"
    })))
)]
async fn status(State(maintenance): State<Arc<Maintenance>>, _: Viewer) -> Json<Standing> {
    Json(maintenance.standing())
}
