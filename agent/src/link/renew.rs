//! A new certificate before the old one ends, over the live session.

use std::time::Duration;

use cloudcore_protocol::{Frame, RenewReply, RenewRequest};
use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};

use super::Link;
use crate::identity::{Identity, IdentityError, NodeKey};

const CHECK: Duration = Duration::from_secs(3600);
/// A hub that issues very short lives is not asked more often than this.
const LEAST: Duration = Duration::from_secs(1);
const ANSWER: Duration = Duration::from_secs(30);

impl Link {
    /// Renews while the session lives, when it is due and whenever the hub says `now`. Never ends
    /// by itself.
    pub(super) async fn renewing(
        &self,
        frames: &mpsc::Sender<Frame>,
        replies: &mut mpsc::Receiver<RenewReply>,
        now: &Notify,
    ) -> super::LinkError {
        let mut told = false;
        loop {
            let wait = match self.renew_if_due(told, frames, replies).await {
                Ok(wait) => wait.clamp(LEAST, CHECK),
                Err(error) => {
                    tracing::warn!(%error, "the certificate was not renewed, trying again later");
                    CHECK
                }
            };
            // However often a hub says so.
            tokio::time::sleep(LEAST).await;
            told = timeout(wait.saturating_sub(LEAST), now.notified()).await.is_ok();
        }
    }

    /// How long until the next look.
    async fn renew_if_due(
        &self,
        told: bool,
        frames: &mpsc::Sender<Frame>,
        replies: &mut mpsc::Receiver<RenewReply>,
    ) -> Result<Duration, RenewError> {
        let data_dir = self.settings.data_dir().to_owned();
        let identity = blocking(move || Identity::load(&data_dir)).await?;
        let left = identity.validity().renew_in();
        if !left.is_zero() && !told {
            return Ok(left);
        }
        let node = self.settings.get().node_name.clone();
        let (key, csr) = blocking(move || {
            let key = NodeKey::generate()?;
            let csr = key.request(&node)?;
            Ok((key, csr))
        })
        .await?;
        // The answer to a request of before may have come late.
        while replies.try_recv().is_ok() {}
        frames
            .send(Frame::RenewRequest(RenewRequest { csr: csr.into() }))
            .await
            .map_err(|_| RenewError::Silent)?;
        match timeout(ANSWER, replies.recv()).await {
            Ok(Some(RenewReply::Renewed(certificate))) => {
                let data_dir = self.settings.data_dir().to_owned();
                let validity =
                    blocking(move || Identity::install(&data_dir, &key, &certificate)).await?;
                tracing::info!(not_after = %validity.not_after, "the certificate was renewed; the next connection uses it");
                // Due again already: this machine's clock has jumped, and to ask on would not help.
                Ok(Some(validity.renew_in()).filter(|left| !left.is_zero()).unwrap_or(CHECK))
            }
            Ok(Some(RenewReply::Refused(why))) => Err(RenewError::Refused(why)),
            Ok(None) | Err(_) => Err(RenewError::Silent),
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum RenewError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("the hub refused: {0}")]
    Refused(String),
    #[error("the hub did not answer")]
    Silent,
}

/// Keys and files, off the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, IdentityError> + Send + 'static,
) -> Result<T, IdentityError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|e| Err(IdentityError::Crypto(e.to_string())))
}
