//! Apps on this device's own container engine: brought, watched, kept, removed.
//!
//! What is to run stands in [`desired`], on the disk before anybody hears that it runs. One task
//! ([`keeper`]) alone changes containers, so that an order and the regular look never meet; what it
//! finds out is seen by all in [`AppsHandle::states`]. Containers without this device's labels are
//! never touched.

mod container;
mod desired;
mod engine;
mod error;
mod keeper;
mod update;

use cloudcore_protocol::{
    AppState, CommandId, Timestamp,
    command::{AppName, DeployApp, GetAppLogs},
};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};

pub use container::LABEL_DEVICE;
pub use error::AppError;
pub use keeper::Keeper;

use crate::{config::Settings, outbox::Outbox};
use desired::Desired;
use engine::Engine;

/// Most apps of a device.
const MAX_APPS: usize = 32;
/// Orders that wait for the keeper.
const ORDERS: usize = 16;

type Answer<T> = oneshot::Sender<Result<T, AppError>>;

/// What the keeper is asked; who asks and goes away takes the order back.
enum Order {
    Deploy { id: CommandId, app: Box<DeployApp>, image: engine::Image, answer: Answer<()> },
    Remove { name: AppName, answer: Answer<bool> },
}

/// Asks for apps; clones ask the same keeper.
#[derive(Clone)]
pub struct AppsHandle {
    settings: Settings,
    orders: mpsc::Sender<Order>,
    states: watch::Receiver<Option<Vec<AppState>>>,
}

/// The keeper of this data directory's apps, to be run, and who asks it.
///
/// # Errors
/// [`AppError::State`] when what is to run can't be read.
pub fn open(settings: &Settings, outbox: &Outbox) -> Result<(Keeper, AppsHandle), AppError> {
    let desired = Desired::load(settings.data_dir())?;
    let (orders_in, orders) = mpsc::channel(ORDERS);
    let (states_in, states) = watch::channel(None);
    let handle = AppsHandle { settings: settings.clone(), orders: orders_in, states };
    Ok((Keeper::new(settings.clone(), outbox.clone(), desired, orders, states_in), handle))
}

/// Removes this device's containers, and the images that the agent fetched for them: how many
/// apps that were. For when no agent runs, and none is to run again.
///
/// # Errors
/// [`AppError`]: where there were apps and no engine that answers, among others.
pub async fn remove_all(settings: &Settings) -> Result<usize, AppError> {
    let desired = Desired::load(settings.data_dir())?;
    let engine = match Engine::connect(settings) {
        Err(AppError::NoEngine) if desired.apps().is_empty() => return Ok(0),
        engine => engine?,
    };
    let found = match engine.ours(settings.get().device_id.as_str()).await {
        // Nothing was ever ordered, and whose engine it is does not matter.
        Err(_) if desired.apps().is_empty() => return Ok(0),
        found => found?,
    };
    for container in &found {
        engine.stop(&container.id).await?;
        engine.remove(&container.id).await?;
    }
    for entry in desired.apps().values().filter(|entry| entry.fetched) {
        engine.remove_image(&entry.image_id).await?;
    }
    let names: std::collections::HashSet<_> = found.iter().map(|one| &one.app).collect();
    Ok(names.len())
}

impl AppsHandle {
    /// Has this version of an app run. It is fetched here, and then takes the place of the one that
    /// runs. Returns once it works; on an error everything is as it was.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn deploy(&self, id: &CommandId, app: DeployApp) -> Result<Value, AppError> {
        let engine = Engine::connect(&self.settings)?;
        let image = engine.fetch(&app.image, &self.settings.get().registry).await?;
        let port = app.ports.iter().next().map(|port| port.host);
        let (name, image_id) = (app.name.clone(), image.id.clone());
        let app = Box::new(app);
        self.ask(|answer| Order::Deploy { id: id.clone(), app, image, answer }).await?;
        Ok(json!({ "success": true, "name": name, "image_id": image_id, "port": port }))
    }

    /// Has it run no more. Whether it was there is in the answer; it is no error if it was not.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn remove(&self, name: AppName) -> Result<Value, AppError> {
        let app = name.clone();
        let was_there = self.ask(|answer| Order::Remove { name, answer }).await?;
        Ok(json!({ "success": true, "name": app, "was_there": was_there }))
    }

    /// What an app has said last.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn logs(&self, how: GetAppLogs) -> Result<Value, AppError> {
        let engine = Engine::connect(&self.settings)?;
        let device = self.settings.get().device_id.clone();
        let found = engine.ours(device.as_str()).await?;
        let mut of_app: Vec<_> =
            found.into_iter().filter(|one| one.app == how.name.as_str()).collect();
        // The newest that runs; while an app is replaced there are two.
        of_app.sort_by_key(|one| (one.running, one.created));
        let container = of_app.pop().ok_or_else(|| AppError::Unknown(how.name.to_string()))?;
        let logs = engine.logs(&container.id, how.lines.get(), how.since).await?;
        Ok(json!({
            "success": true,
            "name": how.name,
            "lines": logs.lines,
            "truncated": logs.truncated,
            "timestamp": Timestamp::now(),
        }))
    }

    /// How each app is; `None` before the first look, and where there is no engine and no app.
    #[must_use]
    pub fn states(&self) -> watch::Receiver<Option<Vec<AppState>>> {
        self.states.clone()
    }

    async fn ask<T>(&self, order: impl FnOnce(Answer<T>) -> Order) -> Result<T, AppError> {
        let (answer, heard) = oneshot::channel();
        self.orders.send(order(answer)).await.map_err(|_| AppError::Stopping)?;
        heard.await.map_err(|_| AppError::Stopping)?
    }
}

impl std::fmt::Debug for AppsHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AppsHandle")
    }
}
