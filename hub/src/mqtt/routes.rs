//! Letting a device without an agent in over MQTT.

use std::sync::Arc;

use axum::{Json, extract::State};
use cloudcore_protocol::{DeviceId, Timestamp};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Mqtt, Standing, topics::Topic};
use crate::{
    api::{Done, Path, Refusal, to_the_end},
    auth::{Operator, Viewer},
};

/// This room's routes.
pub fn routes(mqtt: Arc<Mqtt>) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(admit, dismiss)).routes(routes!(standing)).with_state(mqtt)
}

/// How MQTT is
#[utoipa::path(get, path = "/api/kubeedge/mqtt", operation_id = "get_mqtt_status", tag = "MQTT",
    security(("bearer" = ["viewer"]), ("api_key" = ["viewer"])),
    responses((status = 200, description = "The broker and its clients", body = Standing)))]
async fn standing(State(mqtt): State<Arc<Mqtt>>, _: Viewer) -> Json<Standing> {
    Json(mqtt.standing())
}

/// Where a device connects to, and with what.
#[derive(Serialize, ToSchema)]
struct Admission {
    /// `success`.
    #[schema(example = "success")]
    status: &'static str,
    /// The device.
    #[schema(value_type = String, example = "sensor-001")]
    device_id: DeviceId,
    /// The MQTT user name, which is the client id too; null where the broker is not the hub's.
    #[schema(example = "sensor-001")]
    username: Option<String>,
    /// The MQTT password; it is not shown again. Null where the broker is not the hub's.
    #[schema(example = "5f0c…")]
    password: Option<String>,
    /// The broker.
    #[schema(example = "mqtt://3.70.53.21:1883")]
    broker: String,
    /// The broker by TLS, where it listens for it.
    #[schema(example = "mqtts://3.70.53.21:8883")]
    broker_tls: Option<String>,
    /// What to say and hear there.
    topics: Topics,
    /// From when on.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// A device's topics.
#[derive(Serialize, ToSchema)]
struct Topics {
    /// Subscribe: its commands.
    #[schema(example = "cloudcore/device/sensor-001/command")]
    command: String,
    /// Publish: how a command ended.
    #[schema(example = "cloudcore/device/sensor-001/command/{command_id}/result")]
    result: String,
    /// Publish, retained, also as last will: how it is.
    #[schema(example = "cloudcore/device/sensor-001/status")]
    status: String,
    /// Publish: what it saw.
    #[schema(example = "cloudcore/device/sensor-001/detection")]
    detection: String,
}

/// Let a device in over MQTT
///
/// For a device without an agent. It gets a password, which is shown once; the one that it had
/// before is good no more.
#[utoipa::path(post, path = "/api/kubeedge/device/{device_id}/mqtt", operation_id = "grant_mqtt_access",
    tag = "MQTT",
    security(("bearer" = ["operator"]), ("api_key" = ["operator"])),
    params(("device_id" = String, Path, description = "The device", example = "sensor-001")),
    responses((status = 200, description = "How it gets in", body = Admission)))]
async fn admit(
    State(mqtt): State<Arc<Mqtt>>,
    Operator(caller): Operator,
    Path(device_id): Path<DeviceId>,
) -> Result<Json<Admission>, Refusal> {
    let (device, state) = (device_id.clone(), Arc::clone(&mqtt));
    let admitted = to_the_end(async move { state.admit(&device, caller.name()).await }).await?;
    let (secret, created_at) = admitted;
    let topic = Topic::Command(device_id.clone()).to_string();
    Ok(Json(Admission {
        status: "success",
        username: secret.is_some().then(|| device_id.to_string()),
        password: secret.map(|secret| secret.expose_secret().to_owned()),
        broker: mqtt.broker.clone(),
        broker_tls: mqtt.broker_tls.clone(),
        topics: Topics {
            result: format!("{topic}/{{command_id}}/result"),
            command: topic,
            status: Topic::Status(device_id.clone()).to_string(),
            detection: Topic::Detection(device_id.clone()).to_string(),
        },
        device_id,
        created_at,
    }))
}

/// End a device's way in over MQTT
///
/// Its password is good no more, and its session is cut off. The device stays known.
#[utoipa::path(delete, path = "/api/kubeedge/device/{device_id}/mqtt", operation_id = "revoke_mqtt_access",
    tag = "MQTT",
    security(("bearer" = ["operator"]), ("api_key" = ["operator"])),
    params(("device_id" = String, Path, description = "The device", example = "sensor-001")),
    responses((status = 200, description = "It is ended", body = Done)))]
async fn dismiss(
    State(mqtt): State<Arc<Mqtt>>,
    _: Operator,
    Path(device_id): Path<DeviceId>,
) -> Result<Json<Done>, Refusal> {
    let device = device_id.clone();
    to_the_end(async move { mqtt.dismiss(&device).await }).await?;
    Ok(Json(Done::new(format!("MQTT access of device {device_id} ended"))))
}
