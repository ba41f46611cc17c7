//! `GET /api/kubeedge/detections`.

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use cloudcore_protocol::{BoundingBox, DeviceId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Detections, MAX_OBJECT, list::Filter};
use crate::{
    api::{BaseUrl, Page, Query, Refusal},
    auth::Viewer,
    error::Error,
};

/// This room's routes.
pub fn routes(detections: Arc<Detections>) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(list)).with_state(detections)
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// Rows at most.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<i64>,
    /// Of this device.
    #[param(value_type = Option<String>, min_length = 1, max_length = 100,
        pattern = "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")]
    device_id: Option<DeviceId>,
    /// Of this object, by its label.
    #[param(max_length = 100, example = "person")]
    object: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
struct DetectionList {
    /// How many match.
    #[schema(minimum = 0)]
    count: i64,
    /// Newest first.
    detections: Vec<ListedDetection>,
    /// `cursor` of the next page, if there may be one.
    next_cursor: Option<i64>,
}

/// An object that was detected, from its start to its end.
#[derive(Serialize, utoipa::ToSchema)]
struct ListedDetection {
    /// Its id; null for one of a device that gives none.
    #[schema(example = "det_01ARZ3NDEKTSV4RRFFQ69G5FAV")]
    detection_id: Option<String>,
    #[schema(example = "edge-device-001")]
    device_id: String,
    /// The device's own number of it.
    track_id: u64,
    #[schema(example = "person")]
    object: String,
    /// The best score, 0 to 1.
    #[schema(example = 0.95)]
    confidence: f64,
    /// Where it was then, in pixels of the frame.
    #[schema(value_type = Option<Object>,
        example = json!({ "x": 10.0, "y": 20.0, "width": 100.0, "height": 200.0 }))]
    bounding_box: Option<BoundingBox>,
    frame_width: i64,
    frame_height: i64,
    #[schema(example = "nanodet")]
    model: String,
    /// The zones that it was in.
    zones: Vec<String>,
    /// When it came, by the device's clock.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// When it went; null while it is there.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// The best picture of it, which anybody may open for an hour; `&boxes=true` draws the object's
    /// box into it. Null where there is none. `device/{device_id}/pictures?detection_id=` has this
    /// one with the object's box in it, and those from before it came.
    image_url: Option<String>,
}

/// List what was detected, newest first
#[utoipa::path(get, path = "/api/kubeedge/detections", operation_id = "list_detections",
    tag = "Devices",
    security(("bearer" = ["viewer"]), ("api_key" = ["viewer"])),
    params(Wanted),
    responses((status = 200, description = "One page of it", body = DetectionList)))]
async fn list(
    State(detections): State<Arc<Detections>>,
    _: Viewer,
    Extension(BaseUrl(base)): Extension<BaseUrl>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<DetectionList>, Refusal> {
    if wanted.object.as_ref().is_some_and(|object| object.chars().count() > MAX_OBJECT) {
        let message = format!("object must have at most {MAX_OBJECT} characters");
        return Err(Error::invalid(message).into());
    }
    let filter = Filter {
        page: Page { limit: wanted.limit, cursor: wanted.cursor },
        device_id: wanted.device_id.map(String::from),
        object: wanted.object,
    };
    let (count, found, next_cursor) = detections.list(&filter).await?;
    let detections = found.into_iter().map(|one| ListedDetection {
        detection_id: one.detection_id,
        device_id: one.device_id,
        track_id: one.track_id,
        object: one.object,
        confidence: rounded(one.confidence),
        bounding_box: one.bounding_box,
        frame_width: one.frame_width,
        frame_height: one.frame_height,
        model: one.model,
        zones: one.zones,
        started_at: one.started_at,
        ended_at: one.ended_at,
        image_url: one.image.map(|path| format!("{base}{path}")),
    });
    Ok(Json(DetectionList { count, detections: detections.collect(), next_cursor }))
}

/// Without the digits that are an artefact of 32 bits.
fn rounded(score: f64) -> f64 {
    (score * 1e4).round() / 1e4
}
