//! Contract, "4. Device Management", and the revocation of "3. Token Management", which concerns
//! the node as a member.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    routing::{delete, get, post},
};
use cloudcore_protocol::{CameraState, DeviceId, Heartbeat, NodeName, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Device, Devices, Filter, NewDevice, parse};
use crate::{
    api::{self, Body, Path, Query, Refusal},
    auth::{Operator, Viewer},
    error::Error,
    tokens::join_command,
};

/// This room's routes, but the details of one device, which detections are a part of.
pub fn routes(devices: Arc<Devices>) -> Router {
    Router::new()
        .route("/api/kubeedge/device/join", post(join))
        .route("/api/kubeedge/devices", get(list))
        .route("/api/kubeedge/device/{device_id}", delete(remove))
        .route("/api/kubeedge/token/{node_name}", delete(revoke))
        .with_state(devices)
}

#[derive(Deserialize)]
struct Join {
    node_name: NodeName,
    device_id: DeviceId,
    cloud_ip: Option<String>,
    device_type: Option<String>,
    location: Option<String>,
    configuration: Option<serde_json::Map<String, Value>>,
}

/// Largest `configuration`, bytes of JSON.
const MAX_CONFIGURATION: usize = 16 * 1024;

async fn join(
    State(devices): State<Arc<Devices>>,
    _: Operator,
    Body(body): Body<Join>,
) -> Result<Json<Value>, Refusal> {
    let bounded = |what: &str, text: &Option<String>, max: usize| match text {
        Some(text) if text.is_empty() || text.chars().count() > max => {
            Err(Error::invalid(format!("{what} must have 1 to {max} characters")))
        }
        _ => Ok(()),
    };
    bounded("device_type", &body.device_type, 50)?;
    bounded("location", &body.location, 200)?;
    bounded("cloud_ip", &body.cloud_ip, 253)?;
    let configuration = Value::Object(body.configuration.unwrap_or_default());
    if configuration.to_string().len() > MAX_CONFIGURATION {
        return Err(Error::invalid("configuration must have at most 16384 bytes").into());
    }
    let new = NewDevice {
        node_name: body.node_name,
        device_id: body.device_id,
        device_type: body.device_type,
        location: body.location,
        configuration,
    };
    let issued = devices.announce(&new).await?;
    let advertised = devices.tokens.advertised();
    // The address that the operator knows the hub by, where the request names one.
    let address = match (&body.cloud_ip, advertised.rsplit_once(':')) {
        (Some(host), Some((_, port))) => format!("{host}:{port}"),
        _ => advertised.to_owned(),
    };
    Ok(Json(json!({
        "status": "success",
        "node_name": new.node_name,
        "device_id": new.device_id,
        // Objects of a cluster; there is none.
        "configmap_created": null,
        "device_crd_created": null,
        "join_command": join_command(&address, &new.node_name, &issued.token),
        "expires_at": issued.expires_at,
        "steps": {
            "token_generated": true,
            "configmap_created": false,
            "device_crd_created": false,
            "rbac_configured": false,
        },
    })))
}

async fn list(
    State(devices): State<Arc<Devices>>,
    _: Viewer,
    Query(filter): Query<Filter>,
) -> Result<Json<Value>, Refusal> {
    let (count, rows, next) = devices.list(&filter).await?;
    let rows: Vec<Value> = rows.iter().map(summary).collect();
    Ok(Json(json!({ "count": count, "devices": rows, "next_cursor": next })))
}

async fn remove(
    State(devices): State<Arc<Devices>>,
    _: Operator,
    Path(id): Path<DeviceId>,
) -> Result<Json<Value>, Refusal> {
    let device = id.clone();
    let done = api::to_the_end(async move { devices.remove(&device).await }).await?;
    Ok(Json(json!({
        "status": "success",
        "message": format!("Device {id} removed"),
        "actions_taken": done,
    })))
}

async fn revoke(
    State(devices): State<Arc<Devices>>,
    _: Operator,
    Path(node): Path<NodeName>,
) -> Result<Json<Value>, Refusal> {
    let name = node.clone();
    let revoked = api::to_the_end(async move { devices.revoke_node(&name).await });
    let (tokens, member) = revoked.await?;
    Ok(Json(json!({
        "status": "success",
        "message": format!("Token revoked for {node}"),
        "tokens_revoked": tokens,
        "certificates_revoked": member,
    })))
}

fn summary(device: &Device) -> Value {
    let hello = parse(device.hello.as_deref());
    let addresses: Vec<Value> = hello["addresses"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|address| json!({ "type": "InternalIP", "address": address }))
        .collect();
    let seconds = api::seconds_since(Timestamp::from_micros(device.created_at));
    json!({
        "node_name": device.node_name,
        "device_id": device.device_id,
        "status": device.status,
        "roles": ["agent", "edge"],
        "age": api::age(seconds),
        "age_seconds": seconds,
        "version": device.agent_version,
        // Pods are a cluster's.
        "pods_count": null,
        "addresses": addresses,
        "device_type": device.device_type,
        "location": device.location,
        "joined": device.joined_at.is_some(),
        "last_seen": device.last_seen.map(Timestamp::from_micros),
    })
}

/// A heartbeat as the API shows it: the documented human forms, and numbers beside them.
#[must_use]
pub(super) fn vitals(heartbeat: &Heartbeat) -> Value {
    let (camera, camera_error) = match &heartbeat.camera {
        CameraState::None => ("none", None),
        CameraState::Ready => ("ready", None),
        CameraState::Lost(reason) => ("lost", Some(reason)),
    };
    json!({
        "cpu_usage": heartbeat.cpu_percent.map(|p| api::percent(p.into())),
        "cpu_percent": heartbeat.cpu_percent,
        "memory_usage": format!(
            "{}/{}",
            api::size(heartbeat.memory_used_bytes),
            api::size(heartbeat.memory_total_bytes)
        ),
        "memory_used_bytes": heartbeat.memory_used_bytes,
        "memory_total_bytes": heartbeat.memory_total_bytes,
        "temperature": heartbeat.temperature_celsius.map(|t| format!("{t:.0}°C")),
        "temperature_celsius": heartbeat.temperature_celsius,
        "disk_usage": format!(
            "{}/{}",
            api::size(heartbeat.disk_used_bytes),
            api::size(heartbeat.disk_total_bytes)
        ),
        "disk_used_bytes": heartbeat.disk_used_bytes,
        "disk_total_bytes": heartbeat.disk_total_bytes,
        "uptime_seconds": heartbeat.uptime_seconds,
        "agent_version": heartbeat.agent_version,
        "camera": camera,
        "camera_error": camera_error,
        "detecting": heartbeat.detecting,
        "outbox_events": heartbeat.outbox_events,
    })
}

/// A device's details, without what its detections add.
#[must_use]
pub fn details(device: &Device, online: bool) -> Value {
    let heartbeat = parse(device.heartbeat.as_deref());
    let hello = parse(device.hello.as_deref());
    let given = parse(Some(&device.configuration));
    // Documented keys first; what no heartbeat said yet is null.
    let mut status = json!({
        "online": online,
        "last_heartbeat": device.heartbeat_at.map(Timestamp::from_micros),
        "last_seen": device.last_seen.map(Timestamp::from_micros),
        "cpu_usage": null,
        "memory_usage": null,
        "temperature": null,
    });
    if let (Value::Object(status), Value::Object(vitals)) = (&mut status, heartbeat.clone()) {
        status.extend(vitals);
    }
    let mut configuration = json!({
        "runtime": null,
        "cni_version": null,
        "kubeedge_version": null,
    });
    if let (Value::Object(configuration), Value::Object(given)) = (&mut configuration, given) {
        configuration.extend(given);
    }
    configuration["camera_enabled"] =
        json!(matches!(heartbeat["camera"].as_str(), Some("ready" | "lost")));
    let uptime = heartbeat["uptime_seconds"].as_u64();
    json!({
        "device_id": device.device_id,
        "node_name": device.node_name,
        "device_type": device.device_type,
        "location": device.location,
        "status": device.status,
        "joined": device.joined_at.is_some(),
        "agent_version": device.agent_version,
        "platform": { "os": hello["os"], "arch": hello["arch"], "hostname": hello["hostname"] },
        "labels": hello["labels"],
        "device_status": status,
        "configuration": configuration,
        "applications": [],
        "metrics": {
            "uptime": uptime.map(api::uptime),
            "uptime_seconds": uptime,
        },
    })
}
