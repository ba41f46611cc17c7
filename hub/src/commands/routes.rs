//! Contract, "9. Command Execution".

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use cloudcore_protocol::{CommandId, DeviceId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Commands, Filter, NewCommand, Row, State as CommandState};
use crate::{
    api::{self, BaseUrl, Body, Done, Path, Query, Refusal},
    auth::{Operator, Viewer, Watcher},
};

/// This room's routes.
pub fn routes(commands: Arc<Commands>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(send))
        .routes(routes!(status))
        .routes(routes!(list))
        .routes(routes!(cancel))
        .with_state(commands)
}

/// A command.
#[derive(Deserialize, ToSchema)]
struct SendCommand {
    /// What to do: `capture_image`, `get_status`, `start_detection`, `stop_detection`,
    /// `set_config`, `run_diagnostics`, `reboot`, `ping`, `port_check`, `camera_test`,
    /// `get_logs`, `exec`, `upload_file`, `deploy_app`, `remove_app`, `get_app_logs`,
    /// `restart_agent`, `update_agent`, or one that only the device's agent knows.
    #[schema(example = "capture_image", min_length = 1, max_length = 50, pattern = "^[a-z0-9_]+$")]
    command: String,
    /// What the command is told; at most 64 KiB.
    #[serde(default)]
    #[schema(value_type = Option<Object>,
        example = json!({ "resolution": "1920x1080", "format": "jpg", "quality": 90 }))]
    parameters: Value,
    /// Seconds from `sent_at`; 30 where absent.
    #[schema(minimum = 1, maximum = 86400, example = 30)]
    timeout: Option<u32>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct SendQuery {
    /// Whether the command waits for a device that is away, within its time; true where absent.
    /// Else such a device is API-008 at once.
    queue: Option<bool>,
}

/// A command that was accepted.
#[derive(Serialize, ToSchema)]
#[schema(as = CommandSent)]
struct Sent {
    /// `success`: it is stored, and reaches the device or ends as `expired`.
    #[schema(example = "success")]
    status: &'static str,
    /// Its id.
    #[schema(value_type = String, example = "cmd_01ARZ3NDEKTSV4RRFFQ69G5FAV")]
    command_id: CommandId,
    /// To whom it goes.
    #[schema(value_type = String, example = "edge-device-001")]
    device_id: DeviceId,
    /// What to do.
    #[schema(example = "capture_image")]
    command: String,
    /// From when its time counts.
    #[schema(value_type = String, format = DateTime)]
    sent_at: Timestamp,
    /// Its time, seconds.
    #[schema(example = 30)]
    expected_response_timeout: u64,
}

/// Send a command to a device
///
/// Accepted is stored: the answer has an id, and the command's status tells what came of it.
#[utoipa::path(post, path = "/api/kubeedge/device/{device_id}/command", operation_id = "send_command",
    tag = "Commands",
    security(("bearer" = ["operator"]), ("api_key" = ["operator"])),
    params(("device_id" = String, Path, description = "Id of the device", max_length = 100,
        example = "edge-device-001"), SendQuery),
    request_body(content = SendCommand, example = json!({
        "command": "capture_image",
        "parameters": { "resolution": "1920x1080", "format": "jpg", "quality": 90 },
        "timeout": 30
    })),
    responses((status = 200, description = "It is accepted", body = Sent)))]
async fn send(
    State(commands): State<Arc<Commands>>,
    _: Operator,
    Path(device_id): Path<DeviceId>,
    Query(query): Query<SendQuery>,
    Body(body): Body<SendCommand>,
) -> Result<Json<Sent>, Refusal> {
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
    Ok(Json(Sent {
        status: "success",
        command_id: accepted.id,
        device_id: new.device_id,
        command: new.name,
        sent_at: accepted.sent_at,
        expected_response_timeout: timeout.as_secs(),
    }))
}

/// How a command stands.
#[derive(Serialize, ToSchema)]
struct CommandStatus {
    /// Its id.
    #[schema(value_type = String, example = "cmd_01ARZ3NDEKTSV4RRFFQ69G5FAV")]
    command_id: CommandId,
    /// To whom it went.
    #[schema(example = "edge-device-001")]
    device_id: String,
    /// What to do.
    #[schema(example = "capture_image")]
    command: String,
    /// Where it stands.
    #[schema(example = "completed")]
    status: CommandState,
    /// What came of it: `success`, and what the command gives, or `error` and `message`. Null
    /// until it has ended.
    #[schema(value_type = Option<Object>, example = json!({
        "success": true, "image_url": "http://s3.amazonaws.com/bucket/image_12345.jpg",
        "size": "1.2MB", "timestamp": "2024-01-15T10:30:15Z"
    }))]
    result: Option<Value>,
    /// How long it ran.
    #[schema(example = "15s")]
    execution_time: Option<String>,
    /// The same, microseconds.
    #[schema(example = 15000000)]
    execution_time_us: Option<u64>,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    sent_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    completed_at: Option<Timestamp>,
    /// When its time is over.
    #[schema(value_type = String, format = DateTime)]
    deadline: Timestamp,
}

impl CommandStatus {
    fn of(commands: &Commands, row: Row, base: &str) -> Self {
        let mut result = row.result;
        if let Some(result) = &mut result {
            commands.add_link(&row.device_id, result, base);
        }
        Self {
            command_id: row.id,
            device_id: row.device_id,
            command: row.name,
            status: row.state,
            result,
            execution_time: row.execution_us.map(api::span),
            execution_time_us: row.execution_us,
            sent_at: row.sent_at,
            completed_at: row.completed_at,
            deadline: row.deadline,
        }
    }
}

/// Check how a command stands
#[utoipa::path(get, path = "/api/kubeedge/command/{command_id}/status", operation_id = "get_command_status",
    tag = "Commands",
    security(("bearer" = ["viewer"]), ("api_key" = ["viewer"])),
    params(("command_id" = String, Path, description = "Id of the command", max_length = 100,
        example = "cmd_01ARZ3NDEKTSV4RRFFQ69G5FAV")),
    responses((status = 200, description = "How it stands", body = CommandStatus,
        example = json!({
            "command_id": "cmd_01ARZ3NDEKTSV4RRFFQ69G5FAV", "device_id": "edge-device-001",
            "command": "capture_image", "status": "completed",
            "result": {
                "success": true, "image_url": "http://s3.amazonaws.com/bucket/image_12345.jpg",
                "size": "1.2MB", "timestamp": "2024-01-15T10:30:15Z"
            },
            "execution_time": "15s", "execution_time_us": 15000000,
            "sent_at": "2024-01-15T10:30:00Z", "completed_at": "2024-01-15T10:30:15Z",
            "deadline": "2024-01-15T10:30:30Z"
        }))))]
async fn status(
    State(commands): State<Arc<Commands>>,
    _: Watcher,
    Extension(BaseUrl(base)): Extension<BaseUrl>,
    Path(id): Path<CommandId>,
) -> Result<Json<CommandStatus>, Refusal> {
    let row = commands.get(&id).await?;
    Ok(Json(CommandStatus::of(&commands, row, &base)))
}

/// Commands.
#[derive(Serialize, ToSchema)]
struct CommandList {
    /// How many match.
    count: i64,
    /// This page of them, newest first.
    commands: Vec<CommandStatus>,
    /// For the next page; null on the last.
    next_cursor: Option<i64>,
}

/// List commands, newest first
///
/// A result of more than 4 KiB is left to the command's own status, and null here.
#[utoipa::path(get, path = "/api/kubeedge/commands", operation_id = "list_commands",
    tag = "Commands", params(Filter),
    security(("bearer" = ["viewer"]), ("api_key" = ["viewer"])),
    responses((status = 200, description = "One page of them", body = CommandList)))]
async fn list(
    State(commands): State<Arc<Commands>>,
    _: Viewer,
    Extension(BaseUrl(base)): Extension<BaseUrl>,
    Query(filter): Query<Filter>,
) -> Result<Json<CommandList>, Refusal> {
    let (count, rows, next_cursor) = commands.list(&filter).await?;
    let shown = |row: Row| CommandStatus::of(&commands, row, &base);
    Ok(Json(CommandList { count, commands: rows.into_iter().map(shown).collect(), next_cursor }))
}

/// Cancel a command
///
/// One that waits is never delivered; a device that has it is told to stop. One that has ended is
/// API-005.
#[utoipa::path(delete, path = "/api/kubeedge/command/{command_id}", operation_id = "cancel_command",
    tag = "Commands",
    security(("bearer" = ["operator"]), ("api_key" = ["operator"])),
    params(("command_id" = String, Path, description = "Id of the command", max_length = 100,
        example = "cmd_01ARZ3NDEKTSV4RRFFQ69G5FAV")),
    responses((status = 200, description = "It is cancelled", body = Done)))]
async fn cancel(
    State(commands): State<Arc<Commands>>,
    _: Operator,
    Path(id): Path<CommandId>,
) -> Result<Json<Done>, Refusal> {
    let cancelled = id.clone();
    api::to_the_end(async move { commands.cancel(&cancelled).await }).await?;
    Ok(Json(Done::new(format!("Command {id} cancelled"))))
}
