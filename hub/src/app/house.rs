//! What is looked at and tidied up now and then.

use std::{sync::Arc, time::Duration};

use cloudcore_protocol::Timestamp;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    alerts,
    apps::Apps,
    blobs::Blobs,
    certificates::Certificates,
    commands::Commands,
    db::Db,
    detections::Detections,
    devices::Devices,
    diagnostics::Diagnostics,
    error::Error,
    http,
    models::Models,
    pki::{Https, Pki},
    settings::Settings,
    webhooks::Webhooks,
};

/// How often old rows and files are removed, and the hub's certificate is looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(3600);
/// How often the hub's own certificates are made anew.
const RENEWAL: Duration = Duration::from_secs(24 * 3600);
/// How often the certificate's files are looked at.
const LOOK: Duration = Duration::from_secs(60);

pub(super) async fn watch_certificate(
    certificate: Arc<Https>,
    reload: Arc<Notify>,
    shutdown: CancellationToken,
) {
    let mut tick = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = tick.tick() => {}
            () = reload.notified() => {}
        }
        let certificate = Arc::clone(&certificate);
        let looked = tokio::task::spawn_blocking(move || certificate.look()).await;
        match looked.map_err(Error::internal).flatten() {
            Ok(true) => tracing::info!("the API's new certificate is served"),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(?error, "the API's new certificate is bad; the old one goes on");
            }
        }
    }
}

/// What has to be tidied up.
pub(super) struct Kept {
    pub(super) db: Db,
    pub(super) devices: Arc<Devices>,
    pub(super) detections: Arc<Detections>,
    pub(super) apps: Arc<Apps>,
    pub(super) diagnostics: Arc<Diagnostics>,
    pub(super) commands: Arc<Commands>,
    pub(super) blobs: Arc<Blobs>,
    pub(super) models: Arc<Models>,
    pub(super) certificates: Arc<Certificates>,
    pub(super) answers: Arc<http::Answers>,
    pub(super) webhooks: Arc<Webhooks>,
    pub(super) pki: Arc<Pki>,
    pub(super) certificate: Option<Arc<Https>>,
    pub(super) settings: Arc<Settings>,
}

pub(super) async fn keep_house(retention: Duration, kept: Kept, shutdown: CancellationToken) {
    let mut tick = tokio::time::interval(HOUSEKEEPING);
    let mut changed = kept.settings.subscribe();
    let mut renewed_at = Instant::now();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = tick.tick() => {}
            // What is kept for a shorter time from now on goes now. The sender lives as long as
            // the settings.
            _ = changed.changed() => {}
        }
        let now = Timestamp::now();
        let before = i64::try_from(retention.as_micros())
            .map_or(0, |kept| now.micros().saturating_sub(kept));
        let before = Timestamp::from_micros(before);
        let rules = kept.settings.live().retention.clone();
        let limit = |object: &str| rules.before(object, now, before);
        let done = async {
            kept.devices.forget_heartbeats(before).await?;
            kept.detections.forget(&limit, &shutdown).await?;
            kept.apps.settle().await?;
            kept.diagnostics.forget(before).await?;
            kept.commands.forget(before).await?;
            kept.certificates.forget(before).await?;
            alerts::forget(&kept.db, before).await?;
            kept.answers.forget().await?;
            kept.webhooks.forget(before).await?;
            kept.models.tidy().await?;
            kept.blobs.forget_pictures(before, &limit, &shutdown).await?;
            kept.blobs.remove_unnamed(now, &shutdown).await?;
            Ok::<_, Error>(())
        };
        if let Err(error) = done.await {
            tracing::error!(?error, "old data can't be removed");
        }
        // The hub's certificates live 90 days; new ones each day cost nothing. Files are somebody
        // else's to renew.
        if renewed_at.elapsed() >= RENEWAL {
            renewed_at = Instant::now();
            let own = kept.certificate.as_ref().filter(|certificate| certificate.is_own());
            let renewed = kept.pki.renew_link_certificate();
            if let Err(error) = renewed.and_then(|()| own.map_or(Ok(()), |own| own.renew())) {
                tracing::error!(?error, "the hub's certificates can't be renewed");
            }
        }
    }
}
