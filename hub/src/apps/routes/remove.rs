//! `DELETE /api/kubeedge/apps/{name}`.

use std::sync::Arc;

use axum::{Json, extract::State};
use cloudcore_protocol::command::AppName;
use serde::Serialize;
use utoipa::ToSchema;

use super::results::{OnDevice, Whole};
use crate::{
    api::{self, Path, Refusal},
    apps::{Apps, Outcome},
    auth::Operator,
    error::Result,
};

/// How a removal went.
#[derive(Serialize, ToSchema)]
#[schema(as = AppRemoved)]
pub(super) struct Removed {
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
/// Waits up to 20 seconds for the devices. The app is listed until each of them has removed it; for
/// nodes of the cluster the hub does, as soon as the cluster is there.
#[utoipa::path(delete, path = "/api/kubeedge/apps/{name}", operation_id = "delete_app",
    tag = "Applications",
    security(("bearer" = ["operator"]), ("api_key" = ["operator"])),
    params(("name" = String, Path, description = "Name of the app", max_length = 63,
        example = "object-detection")),
    responses((status = 200, description = "How it went on each device", body = Removed)))]
pub(super) async fn remove_app(
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
    let left = removal.left.into_iter().map(|placed| Outcome { placed, actions: Vec::new() });
    let left = left.map(OnDevice::of).collect::<Result<Vec<_>>>()?;
    let removed = removal.removed.into_iter().map(|(id, actions)| OnDevice::removed(id, actions));
    let results: Vec<_> = removed.chain(left).collect();
    Ok(Json(Removed { status: Whole::of(&results), message, results }))
}
