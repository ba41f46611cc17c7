//! What `image_url` names.

use std::sync::Arc;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use cloudcore_protocol::DeviceId;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::Blobs;
use crate::{
    api::{Path, Query, Refusal},
    error::{Code, Error},
};

/// This room's routes.
pub fn routes(blobs: Arc<Blobs>) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(image)).with_state(blobs)
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
