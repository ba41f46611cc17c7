//! Contract, "4. Device Management", "5. Batch Operations", and the revocation of "3. Token
//! Management", which concerns the node as a member.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use cloudcore_protocol::{DeviceId, NodeName, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Devices, Filter, Gone, NewDevice, batch, in_cluster::PATIENCE, nodes, shown::Summary};
use crate::{
    api::{self, Body, Path, Query, Refusal},
    auth::{Operator, Viewer},
    error::{Error, Result},
    tokens::join_command,
};

/// This room's routes, but the details of one device, which other rooms know more of.
pub fn routes(devices: Arc<Devices>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(join))
        .routes(routes!(batch::batch_join))
        .routes(routes!(list))
        .routes(routes!(remove))
        .routes(routes!(revoke))
        .with_state(devices)
}

/// A device that is to join.
#[derive(Deserialize, ToSchema)]
#[schema(as = JoinDevice)]
pub(super) struct Join {
    /// Its node, as Kubernetes names one.
    #[schema(value_type = String, example = "edge-node-001", min_length = 1, max_length = 100,
        pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$")]
    pub(super) node_name: NodeName,
    /// Its id.
    #[schema(value_type = String, example = "edge-device-001", min_length = 1, max_length = 100,
        pattern = "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")]
    pub(super) device_id: DeviceId,
    /// The host that the join command names; the hub's advertised one where absent.
    #[schema(example = "3.70.53.21", min_length = 1, max_length = 253)]
    cloud_ip: Option<String>,
    /// What it is.
    #[schema(example = "camera", min_length = 1, max_length = 50)]
    device_type: Option<String>,
    /// Where it is.
    #[schema(example = "Factory Floor 1", min_length = 1, max_length = 200)]
    location: Option<String>,
    /// Anything else; at most 16 KiB.
    #[schema(value_type = Option<Object>, example = json!({
        "cni_type": "containerd", "runtime": "containerd", "camera_resolution": "1920x1080"
    }))]
    configuration: Option<Map<String, Value>>,
}

/// Largest `configuration`, bytes of JSON.
const MAX_CONFIGURATION: usize = 16 * 1024;

/// What was really done.
#[derive(Serialize, ToSchema)]
#[schema(as = JoinSteps)]
struct Steps {
    /// The node has a token.
    token_generated: bool,
    /// The cluster has the node's settings.
    configmap_created: bool,
    /// The cluster has the device's object.
    device_crd_created: bool,
    /// The node's account may read its settings in the cluster.
    rbac_configured: bool,
}

/// A device that may join.
#[derive(Serialize, ToSchema)]
#[schema(as = DeviceJoined)]
pub(super) struct Joined {
    /// `success`.
    #[schema(example = "success")]
    status: &'static str,
    /// Its node.
    #[schema(value_type = String, example = "edge-node-001")]
    pub(super) node_name: NodeName,
    /// Its id.
    #[schema(value_type = String, example = "edge-device-001")]
    pub(super) device_id: DeviceId,
    /// The ConfigMap with the node's settings in a cluster; null where it was not made.
    #[schema(example = "edgecore-config-edge-node-001")]
    configmap_created: Option<String>,
    /// The Device in a cluster; null where it was not made.
    #[schema(example = "edge-device-001")]
    device_crd_created: Option<String>,
    /// The line to run on the node; its token is not shown again.
    #[schema(
        example = "keadm join --cloudcore-ipport=3.70.53.21:30374 --edgenode-name=edge-node-001 --token=..."
    )]
    pub(super) join_command: String,
    /// When the token ends.
    #[schema(value_type = String, format = DateTime)]
    pub(super) expires_at: Timestamp,
    /// What was really done.
    steps: Steps,
    /// What was not done in the cluster, and why: it is done later, without another request.
    #[schema(example = json!([]))]
    pub(super) warnings: Vec<String>,
    /// The node ports of CloudCore in the cluster; null without one.
    #[schema(value_type = Option<Object>,
        example = json!({ "cloudhub": 30374, "cloudstream": 31305, "websocket": 32203 }))]
    node_ports: Option<BTreeMap<String, u16>>,
    /// The line by which KubeEdge's own keadm makes the node one of the cluster; null without a
    /// cluster. `KUBEEDGE_TOKEN` is what `keadm gettoken` prints at the cluster: it is CloudCore's
    /// and not this hub's.
    #[schema(
        example = "keadm join --cloudcore-ipport=3.70.53.21:30374 --certport=31305 --edgenode-name=edge-node-001 --kubeedge-version=1.18.0 --token=$KUBEEDGE_TOKEN"
    )]
    keadm_join_command: Option<String>,
}

impl Join {
    /// Makes the device known, and a token for its node; waits for the cluster until `by`.
    pub(super) async fn announce(self, devices: &Devices, by: Instant) -> Result<Joined> {
        let bounded = |what: &str, text: &Option<String>, max: usize| match text {
            Some(text) if text.is_empty() || text.chars().count() > max => {
                Err(Error::invalid(format!("{what} must have 1 to {max} characters")))
            }
            _ => Ok(()),
        };
        bounded("device_type", &self.device_type, 50)?;
        bounded("location", &self.location, 200)?;
        bounded("cloud_ip", &self.cloud_ip, 253)?;
        let configuration = Value::Object(self.configuration.unwrap_or_default());
        if configuration.to_string().len() > MAX_CONFIGURATION {
            return Err(Error::invalid("configuration must have at most 16384 bytes"));
        }
        let new = NewDevice {
            node_name: self.node_name,
            device_id: self.device_id,
            device_type: self.device_type,
            location: self.location,
            configuration,
        };
        let (issued, made) = devices.announce_in_cluster(&new, by).await?;
        let advertised = devices.tokens.advertised();
        // The address that the operator knows the hub by, where the request names one.
        let address = match (&self.cloud_ip, advertised.rsplit_once(':')) {
            (Some(host), Some((_, port))) => format!("{host}:{port}"),
            _ => advertised.to_owned(),
        };
        Ok(Joined {
            status: "success",
            join_command: join_command(&address, &new.node_name, &issued.token),
            expires_at: issued.expires_at,
            steps: Steps {
                token_generated: true,
                configmap_created: made.config_map.is_some(),
                device_crd_created: made.device.is_some(),
                rbac_configured: made.rbac,
            },
            configmap_created: made.config_map,
            device_crd_created: made.device,
            warnings: made.warnings,
            node_ports: devices.cluster.node_ports(),
            keadm_join_command: devices.cluster.keadm_command(&new.node_name, host_of(&address)),
            node_name: new.node_name,
            device_id: new.device_id,
        })
    }
}

/// The host of `HOST:PORT`.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_matches(['[', ']'])
}

/// Join a device
///
/// Makes it known, and gives the line that its node joins with. In a cluster it is a Device of
/// KubeEdge, and its node has its settings and an account: all of them, or the device is not joined.
/// While the cluster is away they wait for it, and `warnings` says so.
#[utoipa::path(post, path = "/api/kubeedge/device/join", operation_id = "join_device",
    tag = "Devices",
    security(("bearer" = ["operator"]), ("api_key" = ["operator"])),
    request_body(content = Join, example = json!({
        "node_name": "edge-node-001", "device_id": "edge-device-001", "cloud_ip": "3.70.53.21",
        "device_type": "camera", "location": "Factory Floor 1",
        "configuration": {
            "cni_type": "containerd", "runtime": "containerd", "camera_resolution": "1920x1080"
        }
    })),
    responses((status = 200, description = "It may join", body = Joined)))]
async fn join(
    State(devices): State<Arc<Devices>>,
    _: Operator,
    Body(body): Body<Join>,
) -> Result<Json<Joined>, Refusal> {
    // To its end, also when its client hangs up: it takes back what it can't finish.
    let joined = async move { body.announce(&devices, Instant::now() + PATIENCE).await };
    Ok(Json(api::to_the_end(joined).await?))
}

/// Devices.
#[derive(Serialize, ToSchema)]
struct DeviceList {
    /// How many match.
    #[schema(example = 2)]
    count: i64,
    /// This page of them.
    devices: Vec<Summary>,
    /// For the next page; null on the last.
    next_cursor: Option<i64>,
}

/// List devices, and the cluster's nodes at the edge
#[utoipa::path(get, path = "/api/kubeedge/devices", operation_id = "list_devices",
    tag = "Devices", params(Filter),
    security(("bearer" = ["viewer"]), ("api_key" = ["viewer"])),
    responses((status = 200, description = "One page of them", body = DeviceList)))]
async fn list(
    State(devices): State<Arc<Devices>>,
    _: Viewer,
    Query(filter): Query<Filter>,
) -> Result<Json<DeviceList>, Refusal> {
    let (count, devices, next_cursor) = nodes::list(&devices, &filter).await?;
    Ok(Json(DeviceList { count, devices, next_cursor }))
}

/// A device that was removed.
#[derive(Serialize, ToSchema)]
struct RemovedDevice {
    /// `success`.
    #[schema(example = "success")]
    status: &'static str,
    /// For people.
    #[schema(example = "Device edge-device-001 removed")]
    message: String,
    /// What was really done.
    #[schema(example = json!([
        "Device CRD deleted", "ConfigMap deleted", "RBAC deleted", "Node cordoned",
        "Node removed from cluster", "Certificate revoked", "Token revoked", "Device removed"
    ]))]
    actions_taken: Vec<String>,
    /// What the cluster still has of it, and why; what can be removed is removed later, without
    /// another request.
    #[schema(example = json!([]))]
    warnings: Vec<String>,
}

/// Remove a device
///
/// Its certificates and tokens end, and its session is cut. What a cluster has of it is deleted, and
/// its node cordoned and deleted if that is at the edge.
#[utoipa::path(delete, path = "/api/kubeedge/device/{device_id}", operation_id = "delete_device",
    tag = "Devices",
    security(("bearer" = ["operator"]), ("api_key" = ["operator"])),
    params(("device_id" = String, Path, description = "Id of the device", max_length = 100,
        example = "edge-device-001")),
    responses((status = 200, description = "It is removed", body = RemovedDevice)))]
async fn remove(
    State(devices): State<Arc<Devices>>,
    _: Operator,
    Path(id): Path<DeviceId>,
) -> Result<Json<RemovedDevice>, Refusal> {
    let device = id.clone();
    let Gone { done, warnings } =
        api::to_the_end(async move { devices.remove(&device).await }).await?;
    let message = format!("Device {id} removed");
    Ok(Json(RemovedDevice { status: "success", message, actions_taken: done, warnings }))
}

/// A node whose tokens were withdrawn.
#[derive(Serialize, ToSchema)]
#[schema(as = TokenRevoked)]
struct Revoked {
    /// `success`.
    #[schema(example = "success")]
    status: &'static str,
    /// For people.
    #[schema(example = "Token revoked for edge-node-001")]
    message: String,
    /// How many tokens were withdrawn.
    tokens_revoked: u64,
    /// Whether a member was cut off.
    certificates_revoked: bool,
}

/// Revoke a node's tokens
///
/// And the certificates that it got by them: the node is out until it joins with a new token.
#[utoipa::path(delete, path = "/api/kubeedge/token/{node_name}", operation_id = "revoke_token",
    tag = "Tokens",
    security(("bearer" = ["operator"]), ("api_key" = ["operator"])),
    params(("node_name" = String, Path, description = "Name of the node", max_length = 100,
        example = "edge-node-001")),
    responses((status = 200, description = "They are revoked", body = Revoked)))]
async fn revoke(
    State(devices): State<Arc<Devices>>,
    _: Operator,
    Path(node): Path<NodeName>,
) -> Result<Json<Revoked>, Refusal> {
    let name = node.clone();
    let revoked = api::to_the_end(async move { devices.revoke_node(&name).await });
    let (tokens_revoked, certificates_revoked) = revoked.await?;
    let message = format!("Token revoked for {node}");
    Ok(Json(Revoked { status: "success", message, tokens_revoked, certificates_revoked }))
}
