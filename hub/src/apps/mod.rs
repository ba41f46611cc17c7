//! Apps on devices: what is to run where. The desired state stands in the database; commands make
//! it so, and what becomes of them is how an app stands on a device.
//!
//! A device runs an app with its own container engine; one without is told so, and shows the app
//! as failed with the reason.

mod routes;
mod store;

use std::{sync::Arc, time::Duration};

use cloudcore_protocol::{
    AppState, CommandId, DeviceId,
    command::{AppName, DeployApp, RemoveApp},
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

pub use routes::{Application, routes};

use crate::{
    commands::{Accepted, Cancelled, Commands, NewCommand, Row, State},
    db::{Db, Write},
    devices::Devices,
    error::{Code, Error, Result},
    keys::{Keys, app_context as context},
    settings::Settings,
};
use store::Placed;

/// How long a request waits for its devices; the API's answers have 30 seconds.
const ANSWER: Duration = Duration::from_secs(20);
/// A command's time on a device that is there: an image is fetched within it.
const PRESENT: Duration = Duration::from_secs(600);
/// A command's time for a device that is away.
const AWAY: Duration = Duration::from_secs(86_400);
/// Most apps.
const MAX_APPS: i64 = 1000;
/// Reasons of devices that can't run an app at all, so that there is none to remove either.
const NEVER_RAN: [&str; 2] = ["no_container_engine", "unknown_command"];

/// How an app stands on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = AppStanding)]
pub enum Standing {
    /// The device has not answered yet, or is away.
    Pending,
    /// The device runs it.
    Running,
    /// The device does not; a reason says why.
    Failed,
    /// It is to run there no more, and the device has not answered yet.
    Removing,
}

impl Standing {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Failed => "Failed",
            Self::Removing => "Removing",
        }
    }

    fn parse(text: &str) -> Result<Self> {
        [Self::Pending, Self::Running, Self::Failed, Self::Removing]
            .into_iter()
            .find(|standing| standing.as_str() == text)
            .ok_or_else(|| Error::internal(format!("unknown standing of an app: {text}")))
    }
}

/// What came of a removal.
#[derive(Debug)]
pub struct Removal {
    /// The devices that run it no more.
    pub removed: Vec<String>,
    /// Those that are asked to and did not do it yet.
    pub left: Vec<Placed>,
}

/// The apps.
pub struct Apps {
    db: Db,
    keys: Arc<Keys>,
    devices: Arc<Devices>,
    commands: Arc<Commands>,
    settings: Arc<Settings>,
}

/// The commands of one change, until it is committed.
#[derive(Default)]
struct Orders {
    accepted: Vec<Accepted>,
    cancelled: Vec<Cancelled>,
}

impl Apps {
    /// Over this database; devices are told by `commands`.
    #[must_use]
    pub const fn new(
        db: Db,
        keys: Arc<Keys>,
        devices: Arc<Devices>,
        commands: Arc<Commands>,
        settings: Arc<Settings>,
    ) -> Self {
        Self { db, keys, devices, commands, settings }
    }

    /// Has an app run on these devices, or this version of it; on others it stays as it is. Waits
    /// a little for the devices, and says how the app stands on each, in this order.
    ///
    /// # Errors
    /// API-004 for unknown devices, API-003 when there are too many apps, API-009 during
    /// maintenance.
    pub async fn deploy(&self, app: &DeployApp, devices: &[DeviceId]) -> Result<Vec<Placed>> {
        self.settings.check_open()?;
        let nodes = self.nodes(devices).await?;
        let parameters = serde_json::to_value(app).map_err(Error::internal)?;
        let mut orders = Orders::default();
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
        for (device, node) in devices.iter().zip(nodes) {
            let former = before.iter().find(|placed| placed.device_id == device.as_str());
            let order = Order { device, node, name: "deploy_app", parameters: parameters.clone() };
            let place = self.order(&mut tx, &mut orders, former, order, Standing::Pending).await?;
            let port = former.and_then(|former| former.port);
            let placed = Placed { port, ..place.of(&app.name, app.image.as_str()) };
            store::place(&mut tx, &placed).await?;
        }
        tx.commit().await?;
        self.carry_out(orders).await?;
        let now = store::placed(&self.db, &app.name).await?;
        let find = |id: &DeviceId| now.iter().find(|placed| placed.device_id == id.as_str());
        Ok(devices.iter().filter_map(find).cloned().collect())
    }

    /// Has an app run nowhere any more. It is known until each of its devices has removed it.
    ///
    /// # Errors
    /// API-004, or API-009 during maintenance.
    pub async fn remove(&self, name: &AppName) -> Result<Removal> {
        self.settings.check_open()?;
        let parameters = serde_json::to_value(RemoveApp { name: name.clone() });
        let parameters = parameters.map_err(Error::internal)?;
        let mut orders = Orders::default();
        let mut tx = self.db.write().await?;
        if store::app(&mut tx, name).await?.is_none() {
            return Err(Error::not_found("app", name));
        }
        let before = store::placed(&mut tx, name).await?;
        for former in &before {
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
        tx.commit().await?;
        self.carry_out(orders).await?;
        let left = store::placed(&self.db, name).await?;
        let gone = |placed: &Placed| left.iter().all(|other| other.device_id != placed.device_id);
        let removed = before.into_iter().filter(gone).map(|placed| placed.device_id).collect();
        Ok(Removal { removed, left })
    }

    /// The nodes of devices.
    async fn nodes(&self, devices: &[DeviceId]) -> Result<Vec<String>> {
        let (mut nodes, mut unknown) = (Vec::new(), Vec::new());
        for id in devices {
            match self.devices.get(id).await {
                Ok(device) => nodes.push(device.node_name),
                Err(error) if error.code == Code::NotFound => unknown.push(id.as_str()),
                Err(error) => return Err(error),
            }
        }
        if unknown.is_empty() {
            return Ok(nodes);
        }
        Err(Error::new(Code::NotFound, format!("devices not found: {}", unknown.join(", ")))
            .with_details(json!({ "device_ids": unknown })))
    }

    /// Orders one thing of one device, in place of what was ordered before and has not ended.
    async fn order(
        &self,
        tx: &mut Write,
        orders: &mut Orders,
        former: Option<&Placed>,
        order: Order<'_>,
        standing: Standing,
    ) -> Result<Place> {
        if let Some(former) = former
            && let Some(id) = &former.command_id
        {
            let id: CommandId = id.parse().map_err(Error::internal)?;
            orders.cancelled.extend(self.commands.cancel_in(tx, &id).await?);
        }
        let new = NewCommand {
            device_id: order.device.clone(),
            name: order.name.to_owned(),
            parameters: order.parameters,
            timeout: if self.devices.is_online(order.device) { PRESENT } else { AWAY },
            queue: true,
        };
        let (device_id, reason) = (order.device.to_string(), None);
        match self.commands.accept(tx, &new, order.node).await {
            Ok(accepted) => {
                let command_id = Some(accepted.id.to_string());
                orders.accepted.push(accepted);
                Ok(Place { device_id, standing, reason, message: None, command_id })
            }
            // One device that is full does not spoil the others.
            Err(error) if error.code == Code::Unavailable => Ok(Place {
                device_id,
                standing: Standing::Failed,
                reason: Some("busy".to_owned()),
                message: Some(error.message.into_owned()),
                command_id: None,
            }),
            Err(error) => Err(error),
        }
    }

    /// Hands committed orders over and waits a little for what becomes of them.
    async fn carry_out(&self, orders: Orders) -> Result<()> {
        self.commands.tell_cancelled(orders.cancelled);
        if orders.accepted.is_empty() {
            return Ok(());
        }
        // Who is away gets them later.
        let _ = self.commands.hand_over(&orders.accepted).await;
        let ids: Vec<_> = orders.accepted.iter().map(|accepted| accepted.id.clone()).collect();
        self.commands.settled(&ids, ANSWER).await?;
        self.settle().await
    }

    /// Takes over what devices have made of their orders; to be called before ended commands are
    /// forgotten.
    ///
    /// # Errors
    /// The database's.
    pub async fn settle(&self) -> Result<()> {
        let open = store::settling(&self.db).await?;
        if open.is_empty() {
            return Ok(());
        }
        let ids: Vec<CommandId> =
            open.iter().filter_map(|placed| placed.command_id.as_ref()?.parse().ok()).collect();
        let ended = self.commands.get_all(&ids).await?;
        let mut tx = self.db.write().await?;
        for placed in open {
            let by = |row: &&Row| placed.command_id.as_deref() == Some(row.id.as_str());
            match settled(&placed, ended.iter().find(by))? {
                Some(placed) => store::settle(&mut tx, &placed).await?,
                None => {
                    store::unplace(&mut tx, &placed).await?;
                    store::drop_if_nowhere(&mut tx, &placed.app).await?;
                }
            }
        }
        tx.commit().await
    }

    /// The same, where only somebody reads: what can't be stored now is taken over later.
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
        for (app, _) in &mut apps {
            let config = self.keys.seal.open(&context(&app.name), &app.config)?;
            app.config = String::from_utf8(config).map_err(Error::internal)?;
        }
        Ok((count, apps, next))
    }

    /// The apps of a device.
    ///
    /// # Errors
    /// The database's.
    pub async fn of_device(&self, device: &DeviceId) -> Result<Vec<Application>> {
        self.settle_for_reading().await;
        store::of_device(&self.db, device).await?.into_iter().map(Application::of).collect()
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

/// What is ordered of a device.
struct Order<'a> {
    device: &'a DeviceId,
    node: String,
    name: &'static str,
    parameters: Value,
}

/// How an app stands on a device after an order.
struct Place {
    device_id: String,
    standing: Standing,
    reason: Option<String>,
    message: Option<String>,
    command_id: Option<String>,
}

impl Place {
    fn of(self, app: &AppName, image: &str) -> Placed {
        Placed {
            app: app.to_string(),
            device_id: self.device_id,
            image: image.to_owned(),
            status: self.standing.as_str().to_owned(),
            reason: self.reason,
            message: self.message,
            port: None,
            command_id: self.command_id,
            updated_at: 0,
        }
    }
}

/// How an app stands after its device's command has ended; `None` where it is gone. A restore may
/// have brought the app without the command.
fn settled(placed: &Placed, row: Option<&Row>) -> Result<Option<Placed>> {
    let removing = placed.standing()? == Standing::Removing;
    let completed = row.is_some_and(|row| row.state == State::Completed);
    let result = row.and_then(|row| row.result.clone()).unwrap_or(Value::Null);
    let ended = row.map_or("forgotten", |row| row.state.as_str());
    let reason = result["error"].as_str().unwrap_or(ended);
    if removing && (completed || NEVER_RAN.contains(&reason)) {
        return Ok(None);
    }
    let mut after = placed.clone();
    if completed {
        after.status = Standing::Running.as_str().to_owned();
        // Where the device's engine publishes one.
        after.port = result["port"].as_i64().filter(|port| (1..=65_535).contains(port));
        (after.reason, after.message) = (None, None);
    } else {
        let message = result["message"].as_str().unwrap_or("what became of it is not known");
        after.status = Standing::Failed.as_str().to_owned();
        after.reason = Some(reason.to_owned());
        after.message = Some(match removing {
            true => format!("not removed: {message}"),
            false => message.to_owned(),
        });
    }
    Ok(Some(after))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that is surprised has failed")]

    use cloudcore_protocol::Timestamp;

    use super::*;

    fn placed(standing: Standing) -> Placed {
        let place = Place {
            device_id: "cam-1".into(),
            standing,
            reason: None,
            message: None,
            command_id: Some("cmd".into()),
        };
        place.of(&"counter".parse().unwrap(), "counter:1")
    }

    fn row(state: State, result: Value) -> Row {
        let now = Timestamp::now();
        Row {
            id: CommandId::generate(),
            device_id: "cam-1".into(),
            node_name: None,
            name: "deploy_app".into(),
            parameters: "{}".into(),
            hidden: false,
            sealed: None,
            state,
            result: Some(result),
            sent_at: now,
            deadline: now,
            completed_at: Some(now),
            execution_us: None,
        }
    }

    #[test]
    fn an_engine_that_runs_the_app_names_its_port() {
        let done = row(State::Completed, json!({ "success": true, "port": 5001 }));
        let after = settled(&placed(Standing::Pending), Some(&done)).unwrap().unwrap();
        assert_eq!((after.status.as_str(), after.port), ("Running", Some(5001)));
        let odd = row(State::Completed, json!({ "port": 70_000 }));
        let after = settled(&placed(Standing::Pending), Some(&odd)).unwrap().unwrap();
        assert_eq!((after.status.as_str(), after.port), ("Running", None));
    }

    #[test]
    fn an_app_is_gone_once_its_device_says_so_or_never_ran_it() {
        let removing = placed(Standing::Removing);
        let done = row(State::Completed, json!({ "success": true }));
        assert!(settled(&removing, Some(&done)).unwrap().is_none());
        let never = row(State::Failed, json!({ "error": "no_container_engine", "message": "no" }));
        assert!(settled(&removing, Some(&never)).unwrap().is_none());
        let kept = settled(&placed(Standing::Pending), Some(&never)).unwrap().unwrap();
        assert_eq!((kept.status.as_str(), kept.reason.as_deref()), ("Failed", Some(NEVER_RAN[0])));
        // What did not get there in time may still run.
        let late = row(State::Expired, Value::Null);
        let kept = settled(&removing, Some(&late)).unwrap().unwrap();
        assert_eq!((kept.status.as_str(), kept.reason.as_deref()), ("Failed", Some("expired")));
        assert!(kept.message.unwrap().starts_with("not removed: "));
        let lost = settled(&placed(Standing::Pending), None).unwrap().unwrap();
        assert_eq!(lost.reason.as_deref(), Some("forgotten"));
    }
}
