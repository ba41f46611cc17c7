//! `GET /api/kubeedge/apps` and `…/apps/{name}`, and the apps of a device.

use std::sync::Arc;

use axum::{Json, extract::State};
use cloudcore_protocol::{
    Timestamp,
    command::{AppName, AppPorts, hide_secrets},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    api::{Path, Query, Refusal},
    apps::{
        Apps, Standing,
        store::{AppRow, Filter, Placed},
    },
    auth::Viewer,
    error::{Error, Result},
};

/// An app on a device, as the device's details show it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Application {
    /// The app.
    #[schema(example = "edge-app")]
    name: String,
    /// How it stands there.
    #[schema(example = "Running")]
    status: Standing,
    /// The image that it is to run there.
    #[schema(example = "ahmedxeno/edge-app:latest")]
    image: String,
    /// TCP port that it is reached at, where it has one.
    #[schema(example = 5001)]
    port: Option<i64>,
    /// Why it failed, as a term.
    reason: Option<String>,
    /// The same for people.
    message: Option<String>,
    /// How often its container was restarted; null where nobody has said.
    restarts: Option<i64>,
    /// What its health check says, where it has one.
    #[schema(example = "healthy")]
    health: Option<String>,
}

impl Application {
    pub(in crate::apps) fn of(placed: Placed) -> Result<Self> {
        let status = placed.standing()?;
        let Placed { app: name, image, port, reason, message, restarts, health, .. } = placed;
        Ok(Self { name, status, image, port, reason, message, restarts, health })
    }
}

/// A device of an app.
#[derive(Serialize, ToSchema)]
struct AppDevice {
    /// Which device.
    #[schema(example = "edge-device-001")]
    device_id: String,
    /// How the app stands there.
    #[schema(example = "Running")]
    status: Standing,
    /// The image that it is to run there.
    #[schema(example = "ahmedxeno/edge-app:latest")]
    image: String,
    /// TCP port that it is reached at, where it has one.
    #[schema(example = 5001)]
    port: Option<i64>,
    /// Why it failed, as a term.
    reason: Option<String>,
    /// The same for people.
    message: Option<String>,
    /// How often its container was restarted; null where nobody has said.
    restarts: Option<i64>,
    /// What its health check says, where it has one.
    #[schema(example = "healthy")]
    health: Option<String>,
    /// The cluster's node that it is pinned to; null where the device's own engine runs it.
    #[schema(example = "edge-node-001")]
    node: Option<String>,
    /// Since when it stands so.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl AppDevice {
    fn of(placed: Placed) -> Result<Self> {
        let status = placed.standing()?;
        let updated_at = Timestamp::from_micros(placed.updated_at);
        let Placed { device_id, image, port, reason, message, restarts, health, node, .. } = placed;
        Ok(Self {
            device_id,
            status,
            image,
            port,
            reason,
            message,
            restarts,
            health,
            node,
            updated_at,
        })
    }
}

/// What an app may use at most.
#[derive(Serialize, ToSchema)]
#[schema(as = AppAllowed)]
struct Allowed {
    /// Cores.
    #[schema(example = "500m")]
    cpu: Option<String>,
    /// Bytes.
    #[schema(example = "512Mi")]
    memory: Option<String>,
}

/// An app.
#[derive(Serialize, ToSchema)]
pub(super) struct App {
    /// Its name.
    #[schema(example = "object-detection")]
    name: String,
    /// The image that was deployed last.
    #[schema(example = "ahmedxeno/edge-app:latest")]
    image: String,
    /// What it is told. What its names say is secret (`DB_PASSWORD`, `API_KEY`), and a URL's user and
    /// password, is shown as `***`.
    #[schema(value_type = Object)]
    config: Value,
    /// What it may use at most.
    resources: Allowed,
    /// TCP ports of a device that lead into it; null where an older hub has deployed it.
    #[schema(schema_with = super::schemas::ports_schema)]
    ports: Option<AppPorts>,
    /// Where it is.
    devices: Vec<AppDevice>,
    /// On how many devices it runs.
    devices_running: usize,
    /// When it was deployed first.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was deployed last.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl App {
    fn of((app, placed): (AppRow, Vec<Placed>)) -> Result<Self> {
        let ports = app.ports.as_deref().map(serde_json::from_str).transpose();
        let devices: Vec<_> = placed.into_iter().map(AppDevice::of).collect::<Result<_>>()?;
        Ok(Self {
            name: app.name,
            image: app.image,
            config: hide_secrets(&serde_json::from_str(&app.config).map_err(Error::internal)?),
            ports: ports.map_err(Error::internal)?,
            resources: Allowed { cpu: app.cpu, memory: app.memory },
            devices_running: devices.iter().filter(|d| d.status == Standing::Running).count(),
            devices,
            created_at: Timestamp::from_micros(app.created_at),
            updated_at: Timestamp::from_micros(app.updated_at),
        })
    }
}

/// Apps.
#[derive(Serialize, ToSchema)]
pub(super) struct AppList {
    /// How many match.
    count: i64,
    /// This page of them.
    apps: Vec<App>,
    /// For the next page; null on the last.
    next_cursor: Option<i64>,
}

/// List deployed apps
#[utoipa::path(get, path = "/api/kubeedge/apps", tag = "Applications", params(Filter),
    security(("bearer" = ["viewer"]), ("api_key" = ["viewer"])),
    responses((status = 200, description = "One page of them", body = AppList)))]
pub(super) async fn list_apps(
    State(apps): State<Arc<Apps>>,
    _: Viewer,
    Query(filter): Query<Filter>,
) -> Result<Json<AppList>, Refusal> {
    let (count, apps, next_cursor) = apps.list(&filter).await?;
    let apps = apps.into_iter().map(App::of).collect::<Result<_>>()?;
    Ok(Json(AppList { count, apps, next_cursor }))
}

/// Get an app
#[utoipa::path(get, path = "/api/kubeedge/apps/{name}", operation_id = "get_app",
    tag = "Applications",
    security(("bearer" = ["viewer"]), ("api_key" = ["viewer"])),
    params(("name" = String, Path, description = "Name of the app", max_length = 63,
        example = "object-detection")),
    responses((status = 200, description = "The app, and how it is on each device", body = App)))]
pub(super) async fn show_app(
    State(apps): State<Arc<Apps>>,
    _: Viewer,
    Path(name): Path<AppName>,
) -> Result<Json<App>, Refusal> {
    Ok(Json(App::of(apps.get(&name).await?)?))
}
