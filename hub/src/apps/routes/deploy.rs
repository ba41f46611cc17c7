//! `POST /api/kubeedge/apps/deploy`.

use std::sync::Arc;

use axum::{Json, extract::State};
use cloudcore_protocol::{
    DeviceId,
    command::{AppConfig, AppName, AppPorts, Cpu, DeployApp, ImageReference, Memory, Resources},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    results::{OnDevice, Outcome, Whole},
    schemas::{
        config_schema, cpu_schema, devices_schema, memory_schema, ports_schema, pull_secrets_schema,
    },
};
use crate::{
    api::{self, Body, Refusal},
    apps::{self, Apps, Standing},
    auth::Operator,
    cluster::SecretName,
    error::{Error, Result},
};

/// Most devices of one request.
pub(super) const MAX_DEVICES: usize = 100;
/// Most names of secrets for its image's registry.
pub(super) const MAX_PULL_SECRETS: usize = 8;

/// An app, and where it is to run.
#[derive(Deserialize, ToSchema)]
#[schema(as = DeployApp)]
pub(super) struct Deploy {
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
    /// Secrets of the cluster by which its nodes fetch the image.
    #[schema(schema_with = pull_secrets_schema)]
    image_pull_secrets: Option<Vec<SecretName>>,
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
pub(super) struct Deployed {
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
/// A device without a container engine is `failed` with the reason `no_container_engine`. On a device
/// that is a node of the cluster, the cluster runs it: there it is `pending` until a pod of it works.
/// Where the cluster takes the app for none of the devices, the request fails as a whole.
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
                  "message": null, "command_id": "cmd_01ARZ3NDEKTSV4RRFFQ69G5FAV",
                  "actions_taken": [] },
                { "device_id": "edge-device-002", "status": "failed",
                  "reason": "no_container_engine",
                  "message": "this agent has no container engine, so no app runs on this device",
                  "command_id": "cmd_01ARZ3NDEKTSV4RRFFQ69G5FAW", "actions_taken": [] }
            ]
        }))))]
pub(super) async fn deploy_app(
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
    let secrets = body.image_pull_secrets.unwrap_or_default();
    if secrets.len() > MAX_PULL_SECRETS {
        let message = format!("image_pull_secrets must be at most {MAX_PULL_SECRETS}");
        return Err(Error::invalid(message).into());
    }
    let done = api::to_the_end(async move { apps.deploy(&app, &secrets, &devices).await }).await?;
    let services_created = done.iter().filter_map(service).collect();
    let results: Vec<OnDevice> = done.into_iter().map(OnDevice::of).collect::<Result<_>>()?;
    Ok(Json(Deployed {
        status: Whole::of(&results),
        deployment_name: body.name,
        devices_deployed: results.iter().filter(|result| result.status == Outcome::Success).count(),
        services_created,
        results,
    }))
}

/// Where the app is reached on a device: once it runs there, or once the cluster has its service.
fn service(outcome: &apps::Outcome) -> Option<Service> {
    let placed = &outcome.placed;
    let is_there = match placed.node {
        None => placed.status == Standing::Running.as_str(),
        Some(_) => outcome.actions.iter().any(|action| action.starts_with("Service ")),
    };
    let port = placed.port.filter(|_| is_there)?;
    let device_id = placed.device_id.clone();
    Some(Service { url: format!("http://{device_id}:{port}"), device_id, port })
}
