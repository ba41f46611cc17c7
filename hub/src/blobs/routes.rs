//! What `image_url` names.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use cloudcore_protocol::{BoundingBox, DetectionId, DeviceId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Blobs,
    pictures::{Filter, Kind},
};
use crate::{
    api::{BaseUrl, Path, Query, Refusal},
    auth::Viewer,
    error::{Code, Error},
};

/// This room's routes.
pub fn routes(blobs: Arc<Blobs>) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(image)).routes(routes!(pictures)).with_state(blobs)
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Link {
    /// When the link ends, seconds since the epoch.
    expires: i64,
    /// That this hub made it.
    signature: String,
    /// Whether boxes and labels of what was detected are drawn into it; it is a JPEG then.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    boxes: bool,
}

/// Get a picture
///
/// By the `image_url` of a command's result, a detection or a list, which anybody may open until it
/// ends. That of a detection shows the best picture of the object that there is so far. `boxes=true`
/// may be added to each.
#[utoipa::path(get, path = "/api/kubeedge/images/{device_id}/{hash}", operation_id = "get_image",
    tag = "Commands",
    security(()),
    params(("device_id" = String, Path, description = "Whose picture", max_length = 100),
        ("hash" = String, Path, description = "Its SHA-256, hex, or the id of a detection"), Link),
    responses((status = 200, description = "The picture", content(
        (String = "image/jpeg"), (String = "image/png"),
        (String = "application/octet-stream")))))]
async fn image(
    State(blobs): State<Arc<Blobs>>,
    Path((device, hash)): Path<(DeviceId, String)>,
    Query(link): Query<Link>,
) -> Result<Response, Refusal> {
    if !blobs.link_holds(&device, &hash, link.expires, &link.signature) {
        return Err(Error::new(
            Code::Forbidden,
            "the link has expired or is not one of this hub: ask for the command's status again",
        )
        .into());
    }
    let blob = match link.boxes {
        true => blobs.get_with_boxes(&device, &hash).await?,
        false => blobs.get(&device, &hash).await?,
    };
    // A better picture of a detection may come; what a hash names stays the same.
    let caching = match hash.parse::<DetectionId>() {
        Ok(_) => "private, max-age=5",
        Err(_) => "private, max-age=3600, immutable",
    };
    Ok((
        [
            (header::CONTENT_TYPE, blob.content_type),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff".into()),
            (header::CACHE_CONTROL, caching.into()),
        ],
        blob.bytes,
    )
        .into_response())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Page {
    /// Most pictures; 100 where absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<i64>,
    /// The `next_cursor` of the page before.
    #[param(pattern = r"^[0-9]{1,18}\.[0-9]{1,18}$", example = "1705314600000000.17")]
    cursor: Option<String>,
    /// Only of this kind.
    kind: Option<Kind>,
    /// Only of this detected object.
    #[param(value_type = Option<String>, pattern = "^det_[0-7][0-9A-HJKMNP-TV-Z]{25}$",
        example = "det_01ARZ3NDEKTSV4RRFFQ69G5FAV")]
    detection_id: Option<DetectionId>,
}

/// A picture that a device took.
#[derive(Serialize, ToSchema)]
struct DevicePicture {
    /// When, by the device's clock.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// Where anybody may open it, for an hour.
    image_url: String,
    /// Media type.
    #[schema(example = "image/jpeg")]
    content_type: String,
    /// The file's size.
    size_bytes: i64,
    /// SHA-256 of the file, hex.
    sha256: String,
    /// Why it was taken: a `command`, the device's schedule (`scheduled`, see `capture_interval`),
    /// the best look at a detected object (`snapshot`), or what was there before one came
    /// (`pre_roll`).
    kind: Kind,
    /// The command that asked for it, if one did.
    #[schema(example = "cmd_01ARZ3NDEKTSV4RRFFQ69G5FAV")]
    command_id: Option<String>,
    /// The detected object that it was taken of, if it was.
    #[schema(example = "det_01ARZ3NDEKTSV4RRFFQ69G5FAV")]
    detection_id: Option<String>,
    /// That object's label.
    #[schema(example = "person")]
    object: Option<String>,
    /// Its score in this picture, 0 to 1.
    #[schema(example = 0.95)]
    confidence: Option<f64>,
    /// Where it is, in pixels of this picture.
    #[schema(value_type = Option<Object>,
        example = json!({ "x": 10.0, "y": 20.0, "width": 100.0, "height": 200.0 }))]
    bounding_box: Option<BoundingBox>,
}

/// Pictures.
#[derive(Serialize, ToSchema)]
struct PictureList {
    /// Whose.
    #[schema(value_type = String, example = "edge-device-001")]
    device_id: DeviceId,
    /// How many are on this page.
    count: usize,
    /// Newest first.
    pictures: Vec<DevicePicture>,
    /// For the next page; null on the last.
    #[schema(example = "1705314600000000.17")]
    next_cursor: Option<String>,
}

/// List a device's pictures, newest first
///
/// Those of commands, of its schedule and of what it detected; it keeps them while it is cut off.
#[utoipa::path(get, path = "/api/kubeedge/device/{device_id}/pictures",
    operation_id = "list_pictures", tag = "Commands",
    security(("bearer" = ["viewer"]), ("api_key" = ["viewer"])),
    params(("device_id" = String, Path, description = "Id of the device", max_length = 100,
        example = "edge-device-001"), Page),
    responses((status = 200, description = "One page of them", body = PictureList)))]
async fn pictures(
    State(blobs): State<Arc<Blobs>>,
    _: Viewer,
    Extension(BaseUrl(base)): Extension<BaseUrl>,
    Path(device_id): Path<DeviceId>,
    Query(page): Query<Page>,
) -> Result<Json<PictureList>, Refusal> {
    let limit = page.limit.unwrap_or(100);
    if !(1..=500).contains(&limit) {
        return Err(Error::invalid("limit must be 1 to 500").into());
    }
    let after = page.cursor.as_deref().map(str::parse).transpose()?;
    let filter = Filter { after, kind: page.kind, detection_id: page.detection_id, limit };
    let found = blobs.pictures(&device_id, &filter).await?;
    let full = i64::try_from(found.len()).is_ok_and(|count| count == limit);
    let next_cursor = found.last().filter(|_| full).map(|last| last.cursor().to_string());
    let pictures: Vec<_> = found
        .into_iter()
        .map(|picture| DevicePicture {
            timestamp: picture.captured_at(),
            image_url: format!("{base}{}", blobs.link(device_id.as_str(), &picture.hash)),
            kind: picture.kind(),
            detection_id: picture.detection_id().map(str::to_owned),
            bounding_box: picture.bounding_box(),
            content_type: picture.content_type,
            size_bytes: picture.size,
            sha256: picture.hash,
            command_id: picture.command_id,
            object: picture.object,
            confidence: picture.confidence,
        })
        .collect();
    Ok(Json(PictureList { device_id, count: pictures.len(), pictures, next_cursor }))
}
