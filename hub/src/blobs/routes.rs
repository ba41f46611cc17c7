//! What `image_url` names.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use cloudcore_protocol::DeviceId;
use serde::Deserialize;

use super::Blobs;
use crate::{
    api::{Path, Query, Refusal},
    error::{Code, Error},
};

/// This room's routes.
pub fn routes(blobs: Arc<Blobs>) -> Router {
    Router::new().route("/api/kubeedge/images/{device_id}/{hash}", get(image)).with_state(blobs)
}

#[derive(Deserialize)]
struct Link {
    expires: i64,
    signature: String,
}

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
