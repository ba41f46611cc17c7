//! Apps on devices that are nodes of the cluster: which those are, what is stored of them, and how
//! they are as the cluster has them.

use std::collections::HashMap;

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
    keeper::{Goal, Waiting},
    store::{self, Placed},
};
use crate::{
    cluster::{self, AppNode, AppRun, NodeApp, Refusal, SecretName},
    db::Write,
    error::{Code, Error, Result},
    keys::node_app_context as context,
};

/// How long the cluster may take to check one request's apps.
const TRIAL: std::time::Duration = std::time::Duration::from_secs(8);
/// Apps that it checks at once.
const AT_ONCE: usize = 8;
/// How long the cluster may take to begin with a pod; one that takes longer is not waited for.
const BEGIN: std::time::Duration = std::time::Duration::from_secs(2);

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
        actions: &HashMap<String, Vec<String>>,
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
        let placed = now.iter().find(|placed| placed.device_id == self.device.as_str())?.clone();
        let actions = placed.node.as_ref().and_then(|node| actions.get(node)).cloned();
        Some(Outcome { placed, actions: actions.unwrap_or_default() })
    }
}

impl Apps {
    /// Which of the devices are nodes of the cluster. While it is away, those are that were when it
    /// was last there; those of an app that the cluster ran stay so even if nothing else is known.
    pub(super) async fn places(&self, app: &AppName, devices: &[DeviceId]) -> Result<Vec<Target>> {
        let before = store::placed(&self.db, app).await?;
        let (mut targets, mut unknown) = (Vec::new(), Vec::new());
        for device in devices {
            let node = match self.devices.get(device).await {
                Ok(device) => Some(device.node_name),
                Err(error) if error.code == Code::NotFound => None,
                Err(error) => return Err(error),
            };
            // A node that is no device is called by its own name.
            let name = node.as_deref().unwrap_or(device.as_str());
            let former = before.iter().find(|placed| placed.device_id == device.as_str());
            let was_there = former.is_some_and(|former| former.node.as_deref() == Some(name));
            let on = self.cluster.app_node(name).or_else(|| {
                (was_there && !self.cluster.knows_nodes())
                    .then(|| AppNode { name: name.to_owned(), hostname: name.to_owned() })
            });
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
        Err(error)
    }

    async fn try_one(&self, told: &NodeApp, end: Instant) -> Result<(), Refusal> {
        let away = |message: &'static str| Refusal {
            reason: "cluster_away",
            is_away: true,
            error: Error::new(Code::Unavailable, message),
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
        let (app, node) = (told.app(), told.node());
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
    /// each node.
    pub(super) async fn see_up(
        &self,
        app: &AppName,
        waiting: Vec<Waiting>,
        end: Instant,
    ) -> HashMap<String, Vec<String>> {
        let mut changes = self.cluster.app_changes(true);
        let done = self.see_gone(waiting, end).await;
        let begun = Instant::now();
        loop {
            let seen = self.cluster.apps_seen();
            let awaited = done.keys().any(|node| {
                let app = seen.app(app.as_str(), node);
                app.run == AppRun::Pending && (app.has_pod || begun.elapsed() < BEGIN)
            });
            if !awaited || Instant::now() >= end {
                return done;
            }
            tokio::select! {
                () = changes.next() => {}
                () = tokio::time::sleep_until(begun + BEGIN), if begun.elapsed() < BEGIN => {}
                () = tokio::time::sleep_until(end) => {}
            }
        }
    }

    /// Waits until the keeper has reached its goals: what it did on each node, without those that it
    /// did not reach.
    pub(super) async fn see_gone(
        &self,
        waiting: Vec<Waiting>,
        end: Instant,
    ) -> HashMap<String, Vec<String>> {
        let reached = waiting.into_iter().map(|waiting| async move {
            let actions = timeout_at(end, waiting.done).await;
            Some((waiting.node, actions.ok()?.ok()?))
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
                placed.reason = Some("cluster_away".to_owned());
                placed.message = Some(format!("the cluster is away; when last heard of, {last}"));
                if placed.status != Standing::Removing.as_str() {
                    Standing::Unknown.as_str().clone_into(&mut placed.status);
                }
                continue;
            }
            // What was refused, and what is to go, is no news of the cluster's.
            if placed.status != Standing::Pending.as_str() {
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
