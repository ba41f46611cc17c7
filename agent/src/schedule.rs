//! Pictures by the clock: one every `capture_interval`, kept in the outbox until the hub has it,
//! so that the schedule goes on while the hub is away.

use std::time::Duration;

use cloudcore_protocol::command::{PictureFormat, Quality};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{
    camera::encode,
    config::Settings,
    eye::Eye,
    link::{LinkHandle, UploadError},
    outbox::{Outbox, OutboxError, Picture},
};

/// A camera that takes longer than this hangs.
const PICTURE: Duration = Duration::from_secs(10);
/// How long one picture may take to the hub before it is looked at again, which may be gone.
const UPLOAD: Duration = Duration::from_secs(120);
/// After an error of the disk.
const RETRY: Duration = Duration::from_secs(5);

/// Takes pictures until cancelled. The interval counts from the first picture by a clock that does
/// not jump; a change of it begins anew.
pub async fn take(settings: Settings, eye: Eye, outbox: Outbox, cancel: CancellationToken) {
    let mut changes = settings.subscribe();
    loop {
        let interval = changes.borrow_and_update().capture_interval;
        let Some(every) = interval.duration() else {
            tokio::select! {
                () = cancel.cancelled() => return,
                Ok(()) = changes.changed() => continue,
            }
        };
        let mut next = Instant::now();
        while changes.borrow().capture_interval == interval {
            tokio::select! {
                () = cancel.cancelled() => return,
                Ok(()) = changes.changed() => {}
                () = sleep_until(next) => {
                    if let Err(why) = take_one(&eye, &outbox).await {
                        tracing::warn!(why, "a scheduled picture is missing");
                    }
                    // What a slow camera missed is not made up for.
                    next = (next + every).max(Instant::now());
                }
            }
        }
    }
}

async fn take_one(eye: &Eye, outbox: &Outbox) -> Result<(), String> {
    let frame = eye.look(PICTURE).await.map_err(|e| e.to_string())?;
    let captured_at = frame.captured_at;
    let format = PictureFormat::Jpg;
    let file = tokio::task::spawn_blocking(move || {
        encode(&frame.image, format, Quality::default(), None).map_err(|e| e.to_string())
    });
    let file = file.await.map_err(|e| e.to_string())??;
    outbox
        .keep_picture(captured_at, format.content_type(), file.into())
        .await
        .map_err(|e| e.to_string())
}

/// Brings the pictures that wait to the hub, one after another, until cancelled.
pub async fn deliver(outbox: Outbox, link: LinkHandle, cancel: CancellationToken) {
    let mut counts = outbox.subscribe();
    loop {
        counts.mark_unchanged();
        let sent = tokio::select! {
            () = cancel.cancelled() => return,
            sent = deliver_one(&outbox, &link) => sent,
        };
        match sent {
            Ok(true) => {}
            Ok(false) => tokio::select! {
                () = cancel.cancelled() => return,
                changed = counts.changed() => if changed.is_err() { return },
            },
            Err(OutboxError::Closed) => return,
            Err(error) => {
                tracing::warn!(%error, "a picture can't be delivered, trying again");
                tokio::select! {
                    () = cancel.cancelled() => return,
                    () = tokio::time::sleep(RETRY) => {}
                }
            }
        }
    }
}

/// Whether there was one.
async fn deliver_one(outbox: &Outbox, link: &LinkHandle) -> Result<bool, OutboxError> {
    link.online().await;
    let Some(Picture { id, header, bytes }) = outbox.next_picture().await? else {
        return Ok(false);
    };
    let captured_at = header.captured_at;
    match link.upload(header, bytes, Instant::now() + UPLOAD).await {
        Ok(()) => {}
        // The same again would be refused again, and hold up the others for ever.
        Err(UploadError::Refused(why)) => {
            tracing::warn!(why, ?captured_at, "the hub refused a picture");
        }
        // It may have been dropped meanwhile: look again which is the oldest.
        Err(UploadError::Late(_)) => return Ok(true),
    }
    outbox.delivered_picture(id).await?;
    Ok(true)
}
