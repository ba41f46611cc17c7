//! Contract, "8. Application Deployment".

use std::sync::Arc;

use axum::{Json, extract::State};
use cloudcore_protocol::{
    DeviceId, Timestamp,
    command::{
        AppConfig, AppName, AppPorts, Cpu, DeployApp, ImageReference, Memory, Resources,
        hide_secrets,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{
    ToSchema,
    openapi::schema::{Array, ArrayBuilder, Object, ObjectBuilder, SchemaType, Type},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Apps, Standing,
    store::{AppRow, Filter, Placed},
};
use crate::{
    api::{self, Body, Path, Query, Refusal},
    auth::{Operator, Viewer},
    error::{Error, Result},
};

/// This room's routes.
pub fn routes(apps: Arc<Apps>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(deploy_app))
        .routes(routes!(list_apps))
        .routes(routes!(remove_app))
        .with_state(apps)
}

/// Most devices of one request.
const MAX_DEVICES: usize = 100;

/// An app, and where it is to run.
#[derive(Deserialize, ToSchema)]
#[schema(as = DeployApp)]
struct Deploy {
    /// A DNS label.
    #[schema(value_type = String, example = "object-detection", min_length = 1, max_length = 63,
        pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    name: AppName,
    /// A container image: `[registry[:port]/]path[:tag][@digest]`.
    #[schema(value_type = String, example = "ahmedxeno/edge-app:latest", min_length = 1,
        max_length = 500,
        pattern = r"^(([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)+(:([1-9][0-9]{0,3}|[1-5][0-9]{4}))?|[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?:([1-9][0-9]{0,3}|[1-5][0-9]{4}))/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*|[a-z0-9]+((_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)+|[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$")]
    image: ImageReference,
    /// On which devices, none twice.
    #[schema(schema_with = devices_schema)]
    device_ids: Vec<DeviceId>,
    /// What the app is told, as environment variables: each key one, and all of it as JSON in
    /// `CLOUDCORE_APP_CONFIG`. Keys are letters, digits and `_`; at most 16 KiB.
    #[schema(schema_with = config_schema)]
    config: Option<AppConfig>,
    /// What it may use at most.
    resources: Option<Limits>,
    /// Ports of the device that lead into it.
    #[schema(schema_with = ports_schema)]
    ports: Option<AppPorts>,
}

/// What an app may use at most, as Kubernetes quantities; as much as there is where absent.
#[derive(Deserialize, ToSchema)]
#[schema(as = AppLimits)]
struct Limits {
    /// Cores.
    #[schema(schema_with = cpu_schema)]
    cpu: Option<Cpu>,
    /// Bytes.
    #[schema(schema_with = memory_schema)]
    memory: Option<Memory>,
}

fn devices_schema() -> Array {
    let id = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(100))
        .pattern(Some("^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"))
        .build();
    ArrayBuilder::new()
        .items(id)
        .min_items(Some(1))
        .max_items(Some(MAX_DEVICES))
        .unique_items(true)
        .description(Some("On which devices."))
        .build()
}

fn config_schema() -> Object {
    let name = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^([ABD-Zabd-z_][A-Za-z0-9_]{0,63}|c[A-Za-z0-9_]{0,63})$"))
        .build();
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
        .property_names(Some(name))
        .description(Some(
            "What the app is told, as environment variables: each key one, and all of it as JSON \
             in `CLOUDCORE_APP_CONFIG`. Keys are letters, digits and `_`; at most 16 KiB.",
        ))
        .examples([serde_json::json!({ "model": "yolov5", "confidence": 0.7, "interval": 5 })])
        .build()
}

fn ports_schema() -> Array {
    let port = || {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(65_535))
            .build()
    };
    let pair = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("host", port())
        .property("container", port())
        .required("host")
        .required("container")
        .build();
    ArrayBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Array, Type::Null]))
        .items(pair)
        .max_items(Some(AppPorts::MAX))
        .description(Some("TCP ports of the device that lead into it; none of them twice."))
        .examples([serde_json::json!([{ "host": 5001, "container": 8080 }])])
        .build()
}

/// A quantity is a text, or a number of the plain unit.
fn quantity(about: &str, pattern: &str, (least, most): (f64, f64), example: &str) -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Number, Type::Null]))
        .pattern(Some(pattern))
        .minimum(Some(least))
        .maximum(Some(most))
        .description(Some(about))
        .examples([Value::from(example)])
        .build()
}

fn cpu_schema() -> Object {
    let pattern = r"^([1-9][0-9]{0,2}(\.[0-9]{1,3})?|0\.[0-9]{0,2}[1-9]|[1-9][0-9]{0,5}m|1e[0-3])$";
    quantity("Cores, 1m to 1024.", pattern, (0.001, 1024.0), "500m")
}

fn memory_schema() -> Object {
    let pattern = "^[1-9][0-9]{0,3}(Mi|Gi|G)$";
    let (least, most) = (1_048_576.0, 1_125_899_906_842_624.0);
    quantity("Bytes, 1Mi to 1Pi.", pattern, (least, most), "512Mi")
}

/// How a request went on its devices as a whole.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = DeploymentStatus)]
enum Whole {
    /// All have done it.
    Success,
    /// Some have not, or not yet.
    Partial,
    /// None has, and none will.
    Failed,
}

impl Whole {
    fn of(results: &[OnDevice]) -> Self {
        let all = |status| results.iter().all(|result| result.status == status);
        match (all(Outcome::Success), !results.is_empty() && all(Outcome::Failed)) {
            (true, _) => Self::Success,
            (false, true) => Self::Failed,
            (false, false) => Self::Partial,
        }
    }
}

/// How a request went on a device.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = AppOutcome)]
enum Outcome {
    /// It is done.
    Success,
    /// The device has not answered yet; one that is away is told when it comes back, within a day.
    Pending,
    /// It is not done.
    Failed,
}

/// One device of a request.
#[derive(Serialize, ToSchema)]
#[schema(as = AppResult)]
struct OnDevice {
    /// Which device.
    #[schema(example = "edge-device-001")]
    device_id: String,
    /// How it went there.
    status: Outcome,
    /// Why it failed, as a term.
    #[schema(example = "no_container_engine")]
    reason: Option<String>,
    /// The same for people.
    message: Option<String>,
    /// The command, for its status.
    command_id: Option<String>,
}

impl OnDevice {
    fn of(placed: Placed) -> Result<Self> {
        let status = match placed.standing()? {
            Standing::Running => Outcome::Success,
            Standing::Pending | Standing::Removing => Outcome::Pending,
            Standing::Failed => Outcome::Failed,
        };
        let Placed { device_id, reason, message, command_id, .. } = placed;
        Ok(Self { device_id, status, reason, message, command_id })
    }

    const fn removed(device_id: String) -> Self {
        let (reason, message, command_id) = (None, None, None);
        Self { device_id, status: Outcome::Success, reason, message, command_id }
    }
}

/// Where an app is reached.
#[derive(Serialize, ToSchema)]
#[schema(as = AppService)]
struct Service {
    /// On which device.
    #[schema(example = "edge-device-001")]
    device_id: String,
    /// TCP port there.
    #[schema(example = 5001, minimum = 1, maximum = 65535)]
    port: i64,
    /// The same as a link, for who knows the device by its id.
    #[schema(example = "http://edge-device-001:5001")]
    url: String,
}

/// How a deployment went.
#[derive(Serialize, ToSchema)]
#[schema(as = AppDeployed)]
struct Deployed {
    /// As a whole; 200 in each case, for the app is known from now on.
    status: Whole,
    /// The app.
    #[schema(value_type = String, example = "object-detection")]
    deployment_name: AppName,
    /// How many devices run it now.
    #[schema(example = 2)]
    devices_deployed: usize,
    /// Where it is reached.
    services_created: Vec<Service>,
    /// Each device, in the order asked for.
    results: Vec<OnDevice>,
}

/// Deploy an app to devices
///
/// Waits up to 20 seconds for the devices. On devices that are not named the app stays as it is.
/// A device without a container engine is `failed` with the reason `no_container_engine`.
#[utoipa::path(post, path = "/api/kubeedge/apps/deploy", tag = "Applications",
    security(("bearer" = ["operator"]), ("api_key" = ["operator"])),
    request_body(content = Deploy, example = json!({
        "name": "object-detection", "image": "ahmedxeno/edge-app:latest",
        "device_ids": ["edge-device-001", "edge-device-002"],
        "config": { "model": "yolov5", "confidence": 0.7, "interval": 5 },
        "resources": { "cpu": "500m", "memory": "512Mi" }
    })),
    responses((status = 200, description = "How it went on each device", body = Deployed,
        example = json!({
            "status": "partial", "deployment_name": "object-detection", "devices_deployed": 1,
            "services_created": [{
                "device_id": "edge-device-001", "port": 5001, "url": "http://edge-device-001:5001"
            }],
            "results": [
                { "device_id": "edge-device-001", "status": "success", "reason": null,
                  "message": null, "command_id": "cmd_01ARZ3NDEKTSV4RRFFQ69G5FAV" },
                { "device_id": "edge-device-002", "status": "failed",
                  "reason": "no_container_engine",
                  "message": "this agent has no container engine, so no app runs on this device",
                  "command_id": "cmd_01ARZ3NDEKTSV4RRFFQ69G5FAW" }
            ]
        }))))]
async fn deploy_app(
    State(apps): State<Arc<Apps>>,
    _: Operator,
    Body(body): Body<Deploy>,
) -> Result<Json<Deployed>, Refusal> {
    let devices = body.device_ids;
    if !(1..=MAX_DEVICES).contains(&devices.len()) {
        return Err(Error::invalid(format!("device_ids must be 1 to {MAX_DEVICES}")).into());
    }
    if let Some((_, twice)) =
        devices.iter().enumerate().find(|(at, id)| devices[..*at].contains(id))
    {
        return Err(Error::invalid(format!("device_ids has '{twice}' twice")).into());
    }
    let limits = body.resources.unwrap_or(Limits { cpu: None, memory: None });
    let app = DeployApp {
        ports: body.ports.unwrap_or_default(),
        name: body.name.clone(),
        image: body.image,
        config: body.config.unwrap_or_default(),
        resources: Resources { cpu: limits.cpu, memory: limits.memory },
    };
    let placed = api::to_the_end(async move { apps.deploy(&app, &devices).await }).await?;
    let services_created = placed.iter().filter_map(service).collect();
    let results: Vec<OnDevice> = placed.into_iter().map(OnDevice::of).collect::<Result<_>>()?;
    Ok(Json(Deployed {
        status: Whole::of(&results),
        deployment_name: body.name,
        devices_deployed: results.iter().filter(|result| result.status == Outcome::Success).count(),
        services_created,
        results,
    }))
}

fn service(placed: &Placed) -> Option<Service> {
    let port = placed.port.filter(|_| placed.status == Standing::Running.as_str())?;
    let device_id = placed.device_id.clone();
    Some(Service { url: format!("http://{device_id}:{port}"), device_id, port })
}

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
}

impl Application {
    pub(super) fn of(placed: Placed) -> Result<Self> {
        let status = placed.standing()?;
        let Placed { app: name, image, port, reason, message, .. } = placed;
        Ok(Self { name, status, image, port, reason, message })
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
    /// Since when it stands so.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl AppDevice {
    fn of(placed: Placed) -> Result<Self> {
        let status = placed.standing()?;
        let Placed { device_id, image, port, reason, message, updated_at, .. } = placed;
        let updated_at = Timestamp::from_micros(updated_at);
        Ok(Self { device_id, status, image, port, reason, message, updated_at })
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
struct App {
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
        let devices: Vec<_> = placed.into_iter().map(AppDevice::of).collect::<Result<_>>()?;
        Ok(Self {
            name: app.name,
            image: app.image,
            config: hide_secrets(&serde_json::from_str(&app.config).map_err(Error::internal)?),
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
struct AppList {
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
async fn list_apps(
    State(apps): State<Arc<Apps>>,
    _: Viewer,
    Query(filter): Query<Filter>,
) -> Result<Json<AppList>, Refusal> {
    let (count, apps, next_cursor) = apps.list(&filter).await?;
    let apps = apps.into_iter().map(App::of).collect::<Result<_>>()?;
    Ok(Json(AppList { count, apps, next_cursor }))
}

/// How a removal went.
#[derive(Serialize, ToSchema)]
#[schema(as = AppRemoved)]
struct Removed {
    /// As a whole.
    status: Whole,
    /// For people.
    #[schema(example = "App object-detection removed")]
    message: String,
    /// Each device that had it.
    results: Vec<OnDevice>,
}

/// Remove an app from all its devices
///
/// Waits up to 20 seconds for the devices. The app is listed until each of them has removed it.
#[utoipa::path(delete, path = "/api/kubeedge/apps/{name}", operation_id = "delete_app",
    tag = "Applications",
    security(("bearer" = ["operator"]), ("api_key" = ["operator"])),
    params(("name" = String, Path, description = "Name of the app", max_length = 63,
        example = "object-detection")),
    responses((status = 200, description = "How it went on each device", body = Removed)))]
async fn remove_app(
    State(apps): State<Arc<Apps>>,
    _: Operator,
    Path(name): Path<AppName>,
) -> Result<Json<Removed>, Refusal> {
    let app = name.clone();
    let removal = api::to_the_end(async move { apps.remove(&app).await }).await?;
    let message = match removal.left.len() {
        0 => format!("App {name} removed"),
        left => format!("App {name} is still on {left} of its devices"),
    };
    let left = removal.left.into_iter().map(OnDevice::of).collect::<Result<Vec<_>>>()?;
    let results: Vec<_> = removal.removed.into_iter().map(OnDevice::removed).chain(left).collect();
    Ok(Json(Removed { status: Whole::of(&results), message, results }))
}
