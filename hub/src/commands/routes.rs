//! Contract, "9. Command Execution".

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::State,
    routing::{get, post},
};
use cloudcore_protocol::{CommandId, DeviceId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Commands, NewCommand};
use crate::{
    api::{self, BaseUrl, Body, Path, Query, Refusal},
    auth::{Operator, Watcher},
};

/// This room's routes.
pub fn routes(commands: Arc<Commands>) -> Router {
    Router::new()
        .route("/api/kubeedge/device/{device_id}/command", post(send))
        .route("/api/kubeedge/command/{command_id}/status", get(status))
        .with_state(commands)
}

#[derive(Deserialize)]
struct Send {
    command: String,
    #[serde(default)]
    parameters: Value,
    timeout: Option<u32>,
}

#[derive(Deserialize)]
struct SendQuery {
    queue: Option<bool>,
}

async fn send(
    State(commands): State<Arc<Commands>>,
    _: Operator,
    Path(device_id): Path<DeviceId>,
    Query(query): Query<SendQuery>,
    Body(body): Body<Send>,
) -> Result<Json<Value>, Refusal> {
    let timeout = super::check(&body.command, &body.parameters, body.timeout)?;
    let new = NewCommand {
        device_id,
        name: body.command,
        parameters: body.parameters,
        timeout,
        queue: query.queue.unwrap_or(true),
    };
    let (new, accepted) = api::to_the_end(async move {
        let accepted = commands.send(&new).await?;
        Ok((new, accepted))
    })
    .await?;
    Ok(Json(json!({
        "status": "success",
        "command_id": accepted.id,
        "device_id": new.device_id,
        "command": new.name,
        "sent_at": accepted.sent_at,
        "expected_response_timeout": timeout.as_secs(),
    })))
}

async fn status(
    State(commands): State<Arc<Commands>>,
    _: Watcher,
    Extension(BaseUrl(base)): Extension<BaseUrl>,
    Path(id): Path<CommandId>,
) -> Result<Json<Value>, Refusal> {
    let row = commands.get(&id).await?;
    let mut result = row.result;
    if let Some(result) = &mut result {
        commands.add_link(&row.device_id, result, &base);
    }
    Ok(Json(json!({
        "command_id": row.id,
        "device_id": row.device_id,
        "command": row.name,
        "status": row.state.as_str(),
        "result": result,
        "execution_time": row.execution_us.map(api::span),
        "execution_time_us": row.execution_us,
        "sent_at": row.sent_at,
        "completed_at": row.completed_at,
        "deadline": row.deadline,
    })))
}
