//! `capture_image`: a picture, encoded and brought to the hub.

use std::time::Duration;

use bytes::Bytes;
use cloudcore_protocol::{
    BlobHash, BlobHeader, CommandId, CommandOutcome,
    command::{CaptureImage, PictureFormat},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Rooms, failed};
use crate::{camera::encode, link::UploadError};

/// A camera that takes longer than this hangs.
const PICTURE: Duration = Duration::from_secs(10);

impl Rooms {
    pub(super) async fn capture(
        &self,
        id: &CommandId,
        how: CaptureImage,
        deadline: Instant,
    ) -> Result<Value, CommandOutcome> {
        let left = deadline.saturating_duration_since(Instant::now());
        let frame = self
            .eye
            .look(left.min(PICTURE))
            .await
            .map_err(|e| failed("camera_unavailable", &e.to_string()))?;
        let timestamp = frame.captured_at;
        let (size, format) = (how.resolution, how.format);
        let encoded = tokio::task::spawn_blocking(move || {
            let own = frame.image.dimensions();
            let file = encode(&frame.image, format, how.quality, size)?;
            Ok::<_, crate::camera::PictureError>((file, own))
        });
        let (file, own) = encoded
            .await
            .map_err(|e| failed("internal", &e.to_string()))?
            .map_err(|e| failed("picture_not_encoded", &e.to_string()))?;
        let (width, height) = size.map_or(own, |size| (size.width, size.height));
        let bytes = Bytes::from(file);
        let header = BlobHeader {
            hash: BlobHash::of(&bytes),
            size: bytes.len() as u64,
            content_type: format.content_type().into(),
            command_id: Some(id.clone()),
            captured_at: Some(timestamp),
            detection: None,
        };
        let image = json!({
            "sha256": header.hash.to_string(),
            "content_type": header.content_type,
            "format": PictureFormat::extension(format),
            "width": width,
            "height": height,
            "size_bytes": header.size,
        });
        self.link.upload(header, bytes, deadline).await.map_err(|error| match error {
            // The command's time is over with the upload's.
            UploadError::Late(_) => CommandOutcome::TimedOut,
            UploadError::Refused(_) => failed("upload_refused", &error.to_string()),
        })?;
        Ok(json!({ "success": true, "image": image, "timestamp": timestamp }))
    }
}
