//! Apps on devices: what is to run where. The desired state stands in the database; commands make
//! it so, and what becomes of them is how an app stands on a device.
//!
//! A device runs an app with its own container engine; one without is told so, and shows the app
//! as failed with the reason. A device that is a node of the cluster leaves that to the
//! [cluster](nodes), where a [keeper](keeper) keeps it as it is wanted.

mod agents;
mod keeper;
mod nodes;
mod routes;
mod store;

use std::{sync::Arc, time::Duration};

use cloudcore_protocol::{
    AppState, DeviceId,
    command::{AppName, DeployApp, RemoveApp},
};
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

pub use routes::{Application, routes};

use crate::{
    cluster::{Cluster, SecretName},
    commands::Commands,
    db::{Db, Write},
    devices::Devices,
    error::{Code, Error, Result},
    keys::{Keys, app_context as context},
    settings::Settings,
};
use agents::{NEVER_RAN, Order, Orders};
use keeper::{Goal, Keeper};
use nodes::Way;
use store::{AppRow, Placed};

/// How long a request waits for its devices; the API's answers have 30 seconds.
const ANSWER: Duration = Duration::from_secs(20);
/// Most apps.
const MAX_APPS: i64 = 1000;

/// How an app stands on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = AppStanding)]
pub enum Standing {
    /// The device has not answered yet, or is away; the cluster has not brought it up yet.
    Pending,
    /// The device runs it.
    Running,
    /// The device does not; a reason says why.
    Failed,
    /// It is to run there no more, and the device has not answered yet.
    Removing,
    /// The cluster that runs it is away.
    Unknown,
}

impl Standing {
    const ALL: [Self; 5] =
        [Self::Pending, Self::Running, Self::Failed, Self::Removing, Self::Unknown];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Failed => "Failed",
            Self::Removing => "Removing",
            Self::Unknown => "Unknown",
        }
    }

    fn parse(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|standing| standing.as_str() == text)
            .ok_or_else(|| Error::internal(format!("unknown standing of an app: {text}")))
    }
}

/// What came of an order on one device.
#[derive(Debug)]
pub struct Outcome {
    /// How the app stands there.
    placed: Placed,
    /// What was done in the cluster, as `Deployment created`.
    actions: Vec<String>,
}

/// What came of a removal.
#[derive(Debug)]
pub struct Removal {
    /// The devices that run it no more, and what was done in the cluster for that.
    removed: Vec<(String, Vec<String>)>,
    /// Those that are asked to and did not do it yet.
    left: Vec<Placed>,
}

/// The apps.
pub struct Apps {
    db: Db,
    keys: Arc<Keys>,
    devices: Arc<Devices>,
    commands: Arc<Commands>,
    settings: Arc<Settings>,
    cluster: Arc<Cluster>,
    keeper: Keeper,
}

impl Apps {
    /// Over this database; devices are told by `commands`, and those that are nodes of the cluster
    /// by [`Self::keep`].
    #[must_use]
    pub fn new(
        db: Db,
        keys: Arc<Keys>,
        devices: Arc<Devices>,
        commands: Arc<Commands>,
        settings: Arc<Settings>,
        cluster: Arc<Cluster>,
    ) -> Self {
        Self { db, keys, devices, commands, settings, cluster, keeper: Keeper::default() }
    }

    /// Has an app run on these devices, or this version of it; on others it stays as it is. Waits
    /// a little for the devices, and says how the app stands on each, in this order. The cluster
    /// gives an image's registry `pull_secrets`.
    ///
    /// # Errors
    /// API-004 for unknown devices, API-003 when there are too many apps, API-009 during
    /// maintenance; where all of them are nodes of the cluster, and it takes the app for none, what
    /// it says of that, and API-009 while it is away.
    pub async fn deploy(
        &self,
        app: &DeployApp,
        pull_secrets: &[SecretName],
        devices: &[DeviceId],
    ) -> Result<Vec<Outcome>> {
        self.settings.check_open()?;
        let end = Instant::now() + ANSWER;
        let places = self.places(&app.name, devices).await?;
        let places = self.try_out(app, pull_secrets, places).await?;
        let parameters = serde_json::to_value(app).map_err(Error::internal)?;
        let (mut orders, mut goals) = (Orders::default(), Vec::new());
        let mut tx = self.db.write().await?;
        let known = store::app(&mut tx, &app.name).await?.is_some();
        if !known && store::count(&mut tx).await? >= MAX_APPS {
            return Err(Error::new(
                Code::Forbidden,
                format!("there are {MAX_APPS} apps: delete one first"),
            ));
        }
        let config = serde_json::to_vec(&app.config).map_err(Error::internal)?;
        let config = self.keys.seal.seal(&context(app.name.as_str()), &config)?;
        store::put(&mut tx, app, config).await?;
        let before = store::placed(&mut tx, &app.name).await?;
        for place in &places {
            let device = &place.device;
            let former = before.iter().find(|placed| placed.device_id == device.as_str());
            match &place.way {
                Way::Agent(node) => {
                    let (node, parameters) = (node.clone(), parameters.clone());
                    let order = Order { device, node, name: "deploy_app", parameters };
                    let standing = Standing::Pending;
                    let place = self.order(&mut tx, &mut orders, former, order, standing).await?;
                    let port = former.and_then(|former| former.port);
                    let placed = Placed { port, ..place.of(&app.name, app.image.as_str()) };
                    store::place(&mut tx, &placed).await?;
                }
                Way::Node(told) => {
                    if let Some(former) = former.filter(|former| former.node.is_none()) {
                        self.leave_agent(&mut tx, &mut orders, former, place).await?;
                    }
                    goals.push(self.put_on_node(&mut tx, device, told).await?);
                }
                Way::Refused(_) => {}
            }
        }
        let waiting = self.keeper.expect(goals);
        tx.commit().await?;
        self.keeper.wake();
        let (carried, reached) =
            tokio::join!(self.carry_out(orders), self.see_up(&app.name, waiting, end));
        carried?;
        let now = self.placed(&app.name).await?;
        Ok(places.iter().filter_map(|place| place.outcome(app, &now, &reached)).collect())
    }

    /// Has an app run nowhere any more. It is known until each of its devices has removed it.
    ///
    /// # Errors
    /// API-004, or API-009 during maintenance.
    pub async fn remove(&self, name: &AppName) -> Result<Removal> {
        self.settings.check_open()?;
        let end = Instant::now() + ANSWER;
        let parameters = serde_json::to_value(RemoveApp { name: name.clone() });
        let parameters = parameters.map_err(Error::internal)?;
        let (mut orders, mut goals) = (Orders::default(), Vec::new());
        let mut tx = self.db.write().await?;
        if store::app(&mut tx, name).await?.is_none() {
            return Err(Error::not_found("app", name));
        }
        let before = store::placed(&mut tx, name).await?;
        for former in &before {
            if let Some(node) = &former.node {
                store::nodes::let_go(&mut tx, former).await?;
                goals.push(Goal::gone(name, node));
                continue;
            }
            if former.reason.as_deref().is_some_and(|reason| NEVER_RAN.contains(&reason)) {
                store::unplace(&mut tx, former).await?;
                continue;
            }
            let device: DeviceId = former.device_id.parse().map_err(Error::internal)?;
            let node = self.devices.get(&device).await?.node_name;
            let parameters = parameters.clone();
            let order = Order { device: &device, node, name: "remove_app", parameters };
            let standing = Standing::Removing;
            let place = self.order(&mut tx, &mut orders, Some(former), order, standing).await?;
            let placed = Placed { port: former.port, ..place.of(name, &former.image) };
            store::place(&mut tx, &placed).await?;
        }
        store::drop_if_nowhere(&mut tx, name.as_str()).await?;
        let waiting = self.keeper.expect(goals);
        tx.commit().await?;
        self.keeper.wake();
        let (carried, reached) =
            tokio::join!(self.carry_out(orders), self.see_through(waiting, end));
        carried?;
        let left = self.placed(name).await?;
        let gone = |placed: &Placed| left.iter().all(|other| other.device_id != placed.device_id);
        let done = |placed: Placed| {
            let done = placed.node.and_then(|node| reached.get(&node).cloned());
            (placed.device_id, done.map(|done| done.actions).unwrap_or_default())
        };
        let removed = before.into_iter().filter(gone).map(done).collect();
        Ok(Removal { removed, left })
    }

    /// Where an app is, and how it stands there now.
    async fn placed(&self, name: &AppName) -> Result<Vec<Placed>> {
        let mut placed = store::placed(&self.db, name).await?;
        self.look(&mut placed);
        Ok(placed)
    }

    /// The same as [`Self::settle`], where only somebody reads: what can't be stored now is taken
    /// over later.
    async fn settle_for_reading(&self) {
        if let Err(error) = self.settle().await {
            tracing::warn!(?error, "what became of apps can't be stored");
        }
    }

    /// One page of the apps that match, each with where it is, how many match, and the next page's
    /// cursor.
    async fn list(&self, filter: &store::Filter) -> Result<store::Listed> {
        self.settle_for_reading().await;
        let (count, mut apps, next) = store::list(&self.db, filter).await?;
        for (app, placed) in &mut apps {
            self.open_config(app)?;
            self.look(placed);
        }
        Ok((count, apps, next))
    }

    /// An app, and where it is.
    async fn get(&self, name: &AppName) -> Result<(AppRow, Vec<Placed>)> {
        self.settle_for_reading().await;
        let app = store::app(&self.db, name).await?;
        let mut app = app.ok_or_else(|| Error::not_found("app", name))?;
        self.open_config(&mut app)?;
        Ok((app, self.placed(name).await?))
    }

    fn open_config(&self, app: &mut AppRow) -> Result<()> {
        let config = self.keys.seal.open(&context(&app.name), &app.config)?;
        app.config = String::from_utf8(config).map_err(Error::internal)?;
        Ok(())
    }

    /// The apps of a device.
    ///
    /// # Errors
    /// The database's.
    pub async fn of_device(&self, device: &DeviceId) -> Result<Vec<Application>> {
        self.settle_for_reading().await;
        let mut placed = store::of_device(&self.db, device).await?;
        self.look(&mut placed);
        placed.into_iter().map(Application::of).collect()
    }
}

/// Seals what apps are told where an older hub has stored it as it was: in an older database,
/// or an older backup.
///
/// # Errors
/// The database's.
pub async fn seal_configs(db: &Db, keys: &Keys) -> Result<()> {
    let mut tx = db.write().await?;
    let unsealed = store::unsealed(&mut tx).await?;
    for (name, config) in &unsealed {
        let sealed = keys.seal.seal(&context(name), config.as_bytes())?;
        store::set_config(&mut tx, name, sealed).await?;
    }
    tx.commit().await?;
    if !unsealed.is_empty() {
        tracing::info!(apps = unsealed.len(), "what older apps are told is sealed");
        db.scrub("apps").await;
    }
    Ok(())
}

/// Most apps of a device that are heard of in one heartbeat.
const MAX_HEARD: usize = 64;

/// Takes over how a device's apps are, in the transaction that stores its heartbeat: an app that
/// dies later, or works again, is shown so.
///
/// # Errors
/// The database's.
pub async fn hear(tx: &mut Write, device: &DeviceId, apps: &[AppState]) -> Result<()> {
    store::hear(tx, device, &apps[..apps.len().min(MAX_HEARD)]).await
}
