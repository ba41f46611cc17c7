//! Contract, "5. Batch Operations": several devices by one request, each with a result of its own.

use std::sync::Arc;

use axum::{Json, extract::State};
use cloudcore_protocol::{DeviceId, NodeName, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::{
    Devices,
    in_cluster::PATIENCE,
    routes::{Join, Joined},
};
use crate::{
    api::{self, Body, Refusal},
    auth::Operator,
    error::{Code, Error, Result},
};

/// Most devices of one request.
const MAX_BATCH: usize = 10;

/// Devices that are to join.
#[derive(Deserialize, ToSchema)]
pub(super) struct BatchJoin {
    /// Each as for `device/join`. Taken one by one: a bad one does not spoil the others.
    #[schema(min_items = 1, max_items = 10, value_type = Vec<Value>, example = json!([
        { "node_name": "edge-node-001", "device_id": "camera-001", "device_type": "camera",
          "location": "Entrance" },
        { "node_name": "edge-node-002", "device_id": "camera-002", "device_type": "camera",
          "location": "Exit" }
    ]))]
    devices: Vec<Value>,
}

/// How a device of a batch went.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = BatchOutcome)]
enum Outcome {
    /// It may join.
    Success,
    /// It may not; `error` says why.
    Failed,
}

/// A device of a batch.
#[derive(Serialize, ToSchema)]
struct BatchResult {
    /// Its id; where it named none, its number, as `#3`.
    #[schema(example = "camera-001")]
    device: String,
    /// How it went.
    status: Outcome,
    /// How it joins; null where it may not.
    details: Option<BatchDetails>,
    /// Why it may not.
    error: Option<String>,
    /// The same as one of the contract's codes.
    #[schema(example = "API-005")]
    code: Option<&'static str>,
}

/// How a device of a batch joins.
#[derive(Serialize, ToSchema)]
struct BatchDetails {
    /// Its node.
    #[schema(value_type = String, example = "edge-node-001")]
    node_name: NodeName,
    /// Its id.
    #[schema(value_type = String, example = "camera-001")]
    device_id: DeviceId,
    /// The line to run on the node; its token is not shown again.
    join_command: String,
    /// When the token ends.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// What was not done in the cluster, and why: it is done later.
    warnings: Vec<String>,
}

/// A batch.
#[derive(Serialize, ToSchema)]
pub(super) struct BatchJoined {
    /// How many devices there were.
    #[schema(example = 3)]
    total: usize,
    /// How many may join.
    #[schema(example = 2)]
    success: usize,
    /// How many may not.
    #[schema(example = 1)]
    failed: usize,
    /// Each of them, in the order given.
    results: Vec<BatchResult>,
}

/// Join several devices, at most 10
#[utoipa::path(post, path = "/api/kubeedge/batch-join", operation_id = "batch_join_devices",
    tag = "Batch operations",
    security(("bearer" = ["operator"]), ("api_key" = ["operator"])),
    request_body = BatchJoin,
    responses((status = 200, description = "How each of them went", body = BatchJoined,
        example = json!({
            "total": 2, "success": 1, "failed": 1,
            "results": [
                { "device": "camera-001", "status": "success",
                  "details": {
                      "node_name": "edge-node-001", "device_id": "camera-001",
                      "join_command": "keadm join --cloudcore-ipport=3.70.53.21:30374 --edgenode-name=edge-node-001 --token=...",
                      "expires_at": "2024-01-18T10:30:00Z", "warnings": []
                  },
                  "error": null, "code": null },
                { "device": "sensor-001", "status": "failed", "details": null,
                  "error": "device 'sensor-001' or node 'edge-node-003' exists",
                  "code": "API-005" }
            ]
        }))))]
pub(super) async fn batch_join(
    State(devices): State<Arc<Devices>>,
    _: Operator,
    Body(body): Body<BatchJoin>,
) -> Result<Json<BatchJoined>, Refusal> {
    if !(1..=MAX_BATCH).contains(&body.devices.len()) {
        return Err(Error::invalid(format!("devices must be 1 to {MAX_BATCH}")).into());
    }
    devices.settings.check_open()?;
    let results = api::to_the_end(async move {
        // One patience for all of them.
        let by = Instant::now() + PATIENCE;
        let mut results = Vec::new();
        for (at, entry) in body.devices.into_iter().enumerate() {
            let named = entry["device_id"].as_str().map(|id| api::clip(id, 100).to_owned());
            let device = named.unwrap_or_else(|| format!("#{}", at + 1));
            results.push(BatchResult::of(device, announce(&devices, entry, by).await));
        }
        Ok(results)
    })
    .await?;
    let success = results.iter().filter(|result| result.status == Outcome::Success).count();
    let total = results.len();
    Ok(Json(BatchJoined { total, success, failed: total - success, results }))
}

async fn announce(devices: &Devices, entry: Value, by: Instant) -> Result<Joined> {
    let join = Join::deserialize(entry).map_err(|e| Error::invalid(e.to_string()))?;
    join.announce(devices, by).await
}

impl BatchResult {
    fn of(device: String, joined: Result<Joined>) -> Self {
        match joined {
            Ok(joined) => Self {
                device,
                status: Outcome::Success,
                details: Some(BatchDetails {
                    node_name: joined.node_name,
                    device_id: joined.device_id,
                    join_command: joined.join_command,
                    expires_at: joined.expires_at,
                    warnings: joined.warnings,
                }),
                error: None,
                code: None,
            },
            Err(error) => {
                if error.code == Code::Internal {
                    tracing::error!(device, ?error, "a device of a batch can't be joined");
                }
                let (message, code) = (error.message.into_owned(), Some(error.code.as_str()));
                let status = Outcome::Failed;
                Self { device, status, details: None, error: Some(message), code }
            }
        }
    }
}
