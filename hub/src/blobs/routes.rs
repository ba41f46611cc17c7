//! What `image_url` names.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use cloudcore_protocol::{DeviceId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::Blobs;
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
}

/// Get a picture
///
/// By the `image_url` of a command's result, which anybody may open until it ends.
#[utoipa::path(get, path = "/api/kubeedge/images/{device_id}/{hash}", operation_id = "get_image",
    tag = "Commands",
    security(()),
    params(("device_id" = String, Path, description = "Whose picture", max_length = 100),
        ("hash" = String, Path, description = "Its SHA-256, hex"), Link),
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
    let blob = blobs.get(&device, &hash).await?;
    Ok((
        [
            (header::CONTENT_TYPE, blob.content_type),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff".into()),
            (header::CACHE_CONTROL, "private, max-age=3600, immutable".into()),
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
    cursor: Option<i64>,
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
    /// The command that asked for it; null for one of the device's schedule (`capture_interval`).
    #[schema(example = "cmd_01ARZ3NDEKTSV4RRFFQ69G5FAV")]
    command_id: Option<String>,
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
    next_cursor: Option<i64>,
}

/// List a device's pictures, newest first
///
/// Those of commands and those of its schedule, which it keeps while it is cut off.
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
    let before = page.cursor.map(Timestamp::from_micros);
    let found = blobs.pictures(&device_id, before, limit).await?;
    let full = i64::try_from(found.len()).is_ok_and(|count| count == limit);
    let next_cursor = found.last().filter(|_| full).map(|last| last.captured_at.micros());
    let pictures: Vec<_> = found
        .into_iter()
        .map(|picture| DevicePicture {
            timestamp: picture.captured_at,
            image_url: format!("{base}{}", blobs.link(device_id.as_str(), &picture.hash)),
            content_type: picture.content_type,
            size_bytes: picture.bytes,
            sha256: picture.hash,
            command_id: picture.command_id,
        })
        .collect();
    Ok(Json(PictureList { device_id, count: pictures.len(), pictures, next_cursor }))
}
