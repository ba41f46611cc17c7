//! An agent that was built without apps: there is no engine, as far as it knows.

use cloudcore_protocol::{
    AppState, CommandId,
    command::{AppName, DeployApp, GetAppLogs},
};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

#[path = "error.rs"]
mod error;

pub use error::AppError;

use crate::{config::Settings, outbox::Outbox};

/// The label of containers, if there were any.
pub const LABEL_DEVICE: &str = "io.cloudcore.device";

/// Keeps nothing.
#[derive(Debug)]
pub struct Keeper(watch::Sender<Option<Vec<AppState>>>);

/// Refuses all.
#[derive(Debug, Clone)]
pub struct AppsHandle(watch::Receiver<Option<Vec<AppState>>>);

/// A keeper of nothing, and who refuses all.
///
/// # Errors
/// None.
pub fn open(_: &Settings, _: &Outbox) -> Result<(Keeper, AppsHandle), AppError> {
    let (sender, states) = watch::channel(None);
    Ok((Keeper(sender), AppsHandle(states)))
}

/// There are none.
///
/// # Errors
/// None.
#[allow(clippy::unused_async, reason = "as with apps")]
pub async fn remove_all(_: &Settings) -> Result<usize, AppError> {
    Ok(0)
}

impl Keeper {
    /// Waits.
    pub async fn run(self, cancel: CancellationToken) {
        cancel.cancelled().await;
        drop(self.0);
    }
}

impl AppsHandle {
    /// Refused.
    ///
    /// # Errors
    /// [`AppError::NoEngine`].
    pub async fn deploy(&self, _: &CommandId, _: DeployApp) -> Result<Value, AppError> {
        Err(AppError::NoEngine)
    }

    /// Refused.
    ///
    /// # Errors
    /// [`AppError::NoEngine`].
    pub async fn remove(&self, _: AppName) -> Result<Value, AppError> {
        Err(AppError::NoEngine)
    }

    /// Refused.
    ///
    /// # Errors
    /// [`AppError::NoEngine`].
    pub async fn logs(&self, _: GetAppLogs) -> Result<Value, AppError> {
        Err(AppError::NoEngine)
    }

    /// Never any.
    #[must_use]
    pub fn states(&self) -> watch::Receiver<Option<Vec<AppState>>> {
        self.0.clone()
    }
}
