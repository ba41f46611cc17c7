//! Apps on devices that are nodes of the cluster: which those are, what is stored of them, and how
//! they are as the cluster has them.

use std::{collections::HashMap, time::Duration};

use cloudcore_protocol::{
    DeviceId,
    command::{AppName, DeployApp, RemoveApp},
};
use futures_util::{StreamExt as _, future, stream};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::{
    Apps, Outcome, Standing,
    agents::{NEVER_RAN, Order, Orders},
    keeper::{Done, Goal, Waiting},
    store::{self, Placed},
};
use crate::{
    cluster::{self, AppNode, AppRun, NodeApp, Refusal, SecretName},
    db::Write,
    error::{Code, Error, Result},
    keys::node_app_context as context,
};

/// How long the cluster may take to check one request's apps.
const TRIAL: Duration = Duration::from_secs(6);
/// Apps that it checks at once.
const AT_ONCE: usize = 8;
/// How long a hub that has just started waits to hear which nodes there are.
const NODES: Duration = Duration::from_secs(3);
/// How long the cluster may take to begin with a pod; one that takes longer is not waited for.
const BEGIN: Duration = Duration::from_secs(2);

/// A device of a request.
pub(super) struct Place {
    pub(super) device: DeviceId,
    /// Its node's name, where the device is the hub's own.
    node: Option<String>,
    pub(super) way: Way,
}

/// By what a device runs an app.
pub(super) enum Way {
    /// By its agent, on the node of this name.
    Agent(String),
    /// By the cluster, which has checked it.
    Node(Box<NodeApp>),
    /// By nothing: the cluster refuses.
    Refused(Refusal),
}

/// A device of a request, before the cluster was asked.
pub(super) struct Target {
    device: DeviceId,
    node: Option<String>,
    on: Option<AppNode>,
}

impl Place {
    /// What came of the order here.
    pub(super) fn outcome(
        &self,
        app: &DeployApp,
        now: &[Placed],
        reached: &HashMap<String, Done>,
    ) -> Option<Outcome> {
        if let Way::Refused(refusal) = &self.way {
            let placed = Placed {
                app: app.name.to_string(),
                device_id: self.device.to_string(),
                image: app.image.as_str().to_owned(),
                status: Standing::Failed.as_str().to_owned(),
                reason: Some(refusal.reason.to_owned()),
                message: Some(refusal.error.message.to_string()),
                port: None,
                command_id: None,
                updated_at: 0,
                node: None,
                restarts: None,
                health: None,
            };
            return Some(Outcome { placed, actions: Vec::new() });
        }
        let mut placed =
            now.iter().find(|placed| placed.device_id == self.device.as_str())?.clone();
        let Some(node) = &placed.node else {
            return Some(Outcome { placed, actions: Vec::new() });
        };
        let done = reached.get(node);
        if done.is_none_or(|done| done.print.is_none())
            && placed.status == Standing::Running.as_str()
        {
            // What runs is the version before.
            Standing::Pending.as_str().clone_into(&mut placed.status);
        }
        Some(Outcome { actions: done.map(|done| done.actions.clone()).unwrap_or_default(), placed })
    }
}

impl Apps {
    /// Which of the devices are nodes of the cluster. While it is away, those are that were when it
    /// was last there. If nothing was heard of it since the hub has started, those are on which it
    /// ran this app before, and those may be that never had an agent.
    pub(super) async fn places(&self, app: &AppName, devices: &[DeviceId]) -> Result<Vec<Target>> {
        let is_known = self.cluster.knows_nodes(NODES).await;
        let is_away = self.cluster.standing() == cluster::Standing::Disconnected;
        let before = store::placed(&self.db, app).await?;
        let (mut targets, mut unknown) = (Vec::new(), Vec::new());
        for device in devices {
            let (node, has_joined) = match self.devices.get(device).await {
                Ok(device) => (Some(device.node_name), device.joined_at.is_some()),
                Err(error) if error.code == Code::NotFound => (None, false),
                Err(error) => return Err(error),
            };
            // A node that is no device is called by its own name.
            let name = node.as_deref().unwrap_or(device.as_str());
            let mut on = self.cluster.app_node(name);
            if on.is_none() && !is_known {
                let former = before.iter().find(|placed| placed.device_id == device.as_str());
                if former.is_some_and(|former| former.node.as_deref() == Some(name)) {
                    let told = self.told(app.as_str(), name).await?;
                    on = told.map(|told| told.node().clone());
                } else if is_away && node.is_some() && !has_joined {
                    on = Some(AppNode { name: name.to_owned(), hostname: name.to_owned() });
                }
            }
            if node.is_none() && on.is_none() {
                unknown.push(device.as_str());
            }
            targets.push(Target { device: device.clone(), node, on });
        }
        if unknown.is_empty() {
            return Ok(targets);
        }
        Err(Error::new(Code::NotFound, format!("devices not found: {}", unknown.join(", ")))
            .with_details(json!({ "device_ids": unknown })))
    }

    /// Has the cluster check the app for each of its nodes before anything is stored.
    ///
    /// # Errors
    /// The first refusal, where there is nothing but refusals.
    pub(super) async fn try_out(
        &self,
        app: &DeployApp,
        pull_secrets: &[SecretName],
        targets: Vec<Target>,
    ) -> Result<Vec<Place>> {
        let end = Instant::now() + TRIAL;
        let tried = stream::iter(targets).map(|Target { device, node, on }| async move {
            let way = match (on, &node) {
                (None, Some(node)) => Way::Agent(node.clone()),
                (None, None) => return Err(Error::not_found("device", device)),
                (Some(on), _) => {
                    let former = self.told(app.name.as_str(), &on.name).await?;
                    let (id, secrets) = (device.as_str(), pull_secrets.to_vec());
                    let told = NodeApp::new(app.clone(), id, on, secrets, former.as_ref())?;
                    match self.try_one(&told, end).await {
                        Ok(()) => Way::Node(Box::new(told)),
                        Err(refusal) => Way::Refused(refusal),
                    }
                }
            };
            Ok(Place { device, node, way })
        });
        let tried: Vec<Result<Place>> = tried.buffered(AT_ONCE).collect().await;
        let mut places = tried.into_iter().collect::<Result<Vec<_>>>()?;
        if places.iter().any(|place| !matches!(place.way, Way::Refused(_))) {
            return Ok(places);
        }
        let all: Vec<_> = places.iter().map(|place| place.device.as_str()).collect();
        let mut details = json!({ "device_ids": all });
        let first = places.drain(..).find_map(|place| match place.way {
            Way::Refused(refusal) => Some(refusal),
            _ => None,
        });
        let Some(Refusal { reason, mut error, .. }) = first else { return Ok(places) };
        details["reason"] = reason.into();
        if let (Some(all), Some(more)) = (details.as_object_mut(), error.details.as_object()) {
            all.extend(more.clone());
        }
        error.details = details;
        Err(*error)
    }

    async fn try_one(&self, told: &NodeApp, end: Instant) -> Result<(), Refusal> {
        let away = |message: &'static str| Refusal {
            reason: "cluster_away",
            is_away: true,
            error: Box::new(Error::new(Code::Unavailable, message)),
        };
        if self.cluster.standing() != cluster::Standing::Connected {
            return Err(away(
                "the cluster that runs this device's apps can't be reached; try again when it is \
                 back",
            ));
        }
        timeout_at(end, self.cluster.try_app(told))
            .await
            .unwrap_or_else(|_| Err(away("the cluster takes too long; try again")))
    }

    /// What an app is told on a node, where it is there.
    pub(super) async fn told(&self, app: &str, node: &str) -> Result<Option<NodeApp>> {
        let Some(sealed) = store::nodes::told(&self.db, app, node).await? else {
            return Ok(None);
        };
        let told = self.keys.seal.open(&context(app), &sealed)?;
        serde_json::from_slice(&told).map(Some).map_err(Error::internal)
    }

    /// Stores that an app is to be on a node.
    pub(super) async fn put_on_node(
        &self,
        tx: &mut Write,
        device: &DeviceId,
        told: &NodeApp,
    ) -> Result<Goal> {
        let (app, node) = (told.app(), told.node().name.as_str());
        let sealed = serde_json::to_vec(told).map_err(Error::internal)?;
        let sealed = self.keys.seal.seal(&context(app.name.as_str()), &sealed)?;
        let revision = store::nodes::put(tx, &app.name, node, device.as_str(), sealed).await?;
        let placed = Placed {
            app: app.name.to_string(),
            device_id: device.to_string(),
            image: app.image.as_str().to_owned(),
            status: Standing::Pending.as_str().to_owned(),
            reason: None,
            message: None,
            port: told.port(),
            command_id: None,
            updated_at: 0,
            node: Some(node.to_owned()),
            restarts: None,
            health: None,
        };
        store::place(tx, &placed).await?;
        Ok(Goal::there(&app.name, node, revision))
    }

    /// Has a device's own engine run an app no more that the cluster is to run.
    pub(super) async fn leave_agent(
        &self,
        tx: &mut Write,
        orders: &mut Orders,
        former: &Placed,
        place: &Place,
    ) -> Result<()> {
        let Some(node) = place.node.clone() else { return Ok(()) };
        if former.reason.as_deref().is_some_and(|reason| NEVER_RAN.contains(&reason)) {
            return Ok(());
        }
        let name: AppName = former.app.parse().map_err(Error::internal)?;
        let parameters = serde_json::to_value(RemoveApp { name }).map_err(Error::internal)?;
        let order = Order { device: &place.device, node, name: "remove_app", parameters };
        self.order(tx, orders, Some(former), order, Standing::Removing).await.map(drop)
    }

    /// Waits until the cluster has taken an app, and then a little for its pods: what was done on
    /// each node, without what its objects are where the watches have not heard of that.
    pub(super) async fn see_up(
        &self,
        app: &AppName,
        waiting: Vec<Waiting>,
        end: Instant,
    ) -> HashMap<String, Done> {
        let mut changes = self.cluster.app_changes(true);
        let mut reached = self.see_through(waiting, end).await;
        let begun = Instant::now();
        loop {
            let seen = self.cluster.apps_seen();
            let is_late = |node: &String, done: &Done| {
                done.print.as_ref() != Some(&seen.print(app.as_str(), node))
            };
            let awaited = reached.iter().any(|(node, done)| {
                let app = seen.app(app.as_str(), node);
                let is_open = app.run == AppRun::Pending && app.has_pod;
                is_open
                    || (begun.elapsed() < BEGIN && app.run == AppRun::Pending)
                    || (begun.elapsed() < BEGIN && is_late(node, done))
            });
            if !awaited || Instant::now() >= end {
                for (node, done) in &mut reached {
                    if is_late(node, done) {
                        done.print = None;
                    }
                }
                return reached;
            }
            tokio::select! {
                () = changes.next() => {}
                () = tokio::time::sleep_until(begun + BEGIN), if begun.elapsed() < BEGIN => {}
                () = tokio::time::sleep_until(end) => {}
            }
        }
    }

    /// Waits until the keeper has reached its goals: what it did on each node, without those that it
    /// did not reach. While the cluster is away there is nothing to wait for.
    pub(super) async fn see_through(
        &self,
        waiting: Vec<Waiting>,
        end: Instant,
    ) -> HashMap<String, Done> {
        if self.cluster.standing() != cluster::Standing::Connected {
            return HashMap::new();
        }
        let reached = waiting.into_iter().map(|waiting| async move {
            let done = timeout_at(end, waiting.done).await;
            Some((waiting.node, done.ok()?.ok()?))
        });
        future::join_all(reached).await.into_iter().flatten().collect()
    }

    /// Says of those on nodes of the cluster how they are.
    pub(super) fn look(&self, all: &mut [Placed]) {
        if all.iter().all(|placed| placed.node.is_none()) {
            return;
        }
        let seen = self.cluster.apps_seen();
        for placed in all {
            let Some(node) = &placed.node else { continue };
            let app = seen.app(&placed.app, node);
            placed.restarts = app.restarts.map(i64::from);
            if !seen.is_now {
                let last = match app.run {
                    AppRun::Running => "it was running",
                    AppRun::Pending => "it was not running yet",
                    AppRun::Failed => "it was not working",
                };
                let last = if app.is_known { last } else { "nothing is known of it" };
                let (reason, why) = match seen.is_there {
                    false => ("cluster_away", "the cluster is away"),
                    // It may not let the hub list them.
                    true => ("cluster_silent", "the cluster has not told of all apps yet"),
                };
                placed.reason = Some(reason.to_owned());
                placed.message = Some(format!("{why}; when last heard of, {last}"));
                if placed.status != Standing::Removing.as_str() {
                    Standing::Unknown.as_str().clone_into(&mut placed.status);
                }
                continue;
            }
            // What was refused, or not taken yet, and what is to go, is no news of the cluster's.
            if placed.status != Standing::Running.as_str() {
                continue;
            }
            let standing = match app.run {
                AppRun::Running => Standing::Running,
                AppRun::Pending => Standing::Pending,
                AppRun::Failed => Standing::Failed,
            };
            standing.as_str().clone_into(&mut placed.status);
            placed.reason = app.reason.map(str::to_owned);
            placed.message = app.message;
            if let Some(since) = app.since {
                placed.updated_at = placed.updated_at.max(since.micros());
            }
        }
    }
}
