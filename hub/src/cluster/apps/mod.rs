//! Apps on nodes of the cluster: for each a Deployment that is pinned to its node, its settings, and
//! a service where it has ports.
//!
//! Others know an app on a node by the two names; what its objects are called is this room's alone.

mod names;
mod objects;
mod order;
mod seen;

use std::time::Duration;

use cloudcore_protocol::command::AppName;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Service},
};
use kube::{Api, api::DynamicObject, core::ApiResource, runtime::watcher};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(super) use self::names::instance_of;
use self::{
    objects::Plan,
    seen::{AppDeployment, Printed, print_of},
};
pub use self::{
    order::{AppNode, NodeApp, SecretName},
    seen::{AppRun, AppsSeen, Print},
};
use super::{Cluster, Standing, error::Failure, labels::is_ours, watched::Watched};
use crate::error::{Code, Error, Result};

/// What the hub watches of its apps; their pods are among all pods.
#[derive(Default)]
pub(super) struct Watches {
    deployments: Watched<AppDeployment>,
    services: Watched<Printed>,
    config_maps: Watched<Printed>,
}

/// An app that was applied.
#[derive(Debug)]
pub struct Applied {
    /// What was done, as `Deployment created`.
    pub actions: Vec<String>,
    /// Its objects as they then were.
    pub print: Print,
}

/// Why an app is not as it is wanted.
#[derive(Debug)]
pub struct Refusal {
    /// A term: `cluster_away`, `namespace_terminating`, `not_allowed`, `conflict`, `refused` or
    /// `deleting`.
    pub reason: &'static str,
    /// Whether nothing but the cluster's absence is to blame.
    pub is_away: bool,
    /// In the contract's terms.
    pub error: Box<Error>,
}

impl Refusal {
    fn of(failure: Failure) -> Self {
        let is_away = failure.is_away() || matches!(failure, Failure::NotConfigured);
        let reason = match failure.status() {
            _ if is_away => "cluster_away",
            Some(status) => {
                let causes = status.details.as_ref().map(|d| d.causes.as_slice()).unwrap_or(&[]);
                let has = |reason: &str| causes.iter().any(|cause| cause.reason == reason);
                match status.code {
                    _ if has("NamespaceTerminating") => "namespace_terminating",
                    403 => "not_allowed",
                    409 if has("FieldManagerConflict") => "conflict",
                    _ => "refused",
                }
            }
            None => "refused",
        };
        Self { reason, is_away, error: Box::new(failure.into()) }
    }

    fn within(mut self, kind: &str, before: &[String]) -> Self {
        let mut message = format!("{kind}: {}", self.error.message);
        if !before.is_empty() {
            message.push_str("; done before that: ");
            message.push_str(&before.join(", "));
        }
        self.error.message = message.into();
        self
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { reason: "refused", is_away: false, error: Box::new(error) }
    }
}

/// What wakes whoever follows the apps.
pub struct Changes {
    objects: [watch::Receiver<()>; 3],
    pods: Option<watch::Receiver<()>>,
    standing: watch::Receiver<Standing>,
}

impl Changes {
    /// Returns when something has changed since the last call.
    pub async fn next(&mut self) {
        let [a, b, c] = &mut self.objects;
        let pods = async {
            match &mut self.pods {
                Some(pods) => pods.changed().await,
                None => std::future::pending().await,
            }
        };
        // The senders live as long as the cluster.
        tokio::select! {
            _ = a.changed() => {}
            _ = b.changed() => {}
            _ = c.changed() => {}
            _ = pods => {}
            _ = self.standing.changed() => {}
        }
    }
}

impl Cluster {
    /// A node at the edge, as it was last known; `None` also where nothing was ever heard of it.
    #[must_use]
    pub fn app_node(&self, name: &str) -> Option<AppNode> {
        let node = self.nodes.get("", name).filter(|node| node.is_edge())?;
        Some(AppNode { name: node.name.clone(), hostname: node.hostname.clone() })
    }

    /// Whether its nodes were heard of since the hub has started; waits for that as long as this.
    /// Without a cluster there is nothing to hear.
    pub async fn knows_nodes(&self, within: Duration) -> bool {
        if self.standing() == Standing::NotConfigured {
            return true;
        }
        let mut changed = self.nodes.changes();
        let listed = async {
            while !self.nodes.is_listed() {
                // The sender lives as long as the cluster.
                let _ = changed.changed().await;
            }
        };
        tokio::time::timeout(within, listed).await.is_ok()
    }

    /// What happens to apps from now on: to their objects, and `with_pods` to those.
    #[must_use]
    pub fn app_changes(&self, with_pods: bool) -> Changes {
        let Watches { deployments, services, config_maps } = &self.apps;
        Changes {
            objects: [deployments.changes(), services.changes(), config_maps.changes()],
            pods: with_pods.then(|| self.pods.changes()),
            standing: self.connection.changes(),
        }
    }

    /// All apps as the cluster has them at this moment, or last had.
    #[must_use]
    pub fn apps_seen(&self) -> AppsSeen {
        AppsSeen::of(self)
    }

    /// Has the server check an app and do nothing, but make the hub's namespace where it is not
    /// there.
    ///
    /// # Errors
    /// What the server would refuse, and why.
    pub async fn try_app(&self, app: &NodeApp) -> Result<(), Refusal> {
        let plan = Plan::new(app, &self.settings.namespace);
        for (kind, object) in plan.wanted()? {
            let tried = match self.connection.try_out(&object).await {
                Err(failure) if has_no_namespace(&failure) => {
                    self.make_namespace().await?;
                    self.connection.try_out(&object).await
                }
                tried => tried,
            };
            tried.map_err(|failure| Refusal::of(failure).within(kind, &[]))?;
        }
        Ok(())
    }

    /// Makes an app's objects what they are to be, and takes those away that it wants no more.
    ///
    /// # Errors
    /// What could not be done, and in its message what was.
    pub async fn apply_app(&self, app: &NodeApp) -> Result<Applied, Refusal> {
        let plan = Plan::new(app, &self.settings.namespace);
        let (mut actions, mut prints) = (Vec::new(), Vec::new());
        for (kind, object) in plan.wanted()? {
            let applied = match self.connection.apply(&object).await {
                Err(failure) if has_no_namespace(&failure) => {
                    self.make_namespace().await?;
                    self.connection.apply(&object).await
                }
                applied => applied,
            };
            let (after, change) =
                applied.map_err(|failure| Refusal::of(failure).within(kind, &actions))?;
            actions.push(format!("{kind} {}", change.as_str()));
            prints.extend(print_of(kind, after).map(|print| (kind, print)));
        }
        for (kind, resource) in plan.unwanted() {
            let gone = self.take_away(&resource, &plan.name).await;
            if gone.map_err(|failure| Refusal::of(failure).within(kind, &actions))?.is_some() {
                actions.push(format!("{kind} deleted"));
            }
        }
        Ok(Applied { actions, print: Print::of(prints) })
    }

    /// Takes an app's objects away: what was done, as `Deployment deleted`.
    ///
    /// # Errors
    /// What could not be done, or is not gone yet, and in the message what was done.
    pub async fn remove_app(&self, app: &AppName, node: &str) -> Result<Vec<String>, Refusal> {
        let name = names::instance(app.as_str(), node);
        let mut actions = Vec::new();
        // The pods first: none loses its settings while it runs.
        for (kind, resource) in objects::kinds().into_iter().rev() {
            let gone = self.take_away(&resource, &name).await;
            match gone.map_err(|failure| Refusal::of(failure).within(kind, &actions))? {
                None => {}
                Some(held) if held.is_empty() => actions.push(format!("{kind} deleted")),
                Some(held) => {
                    let held = held.join(", ");
                    let message =
                        format!("the cluster still holds what is deleted: {kind} by {held}");
                    let error = Box::new(Error::new(Code::Unavailable, message));
                    return Err(Refusal { reason: "deleting", is_away: false, error });
                }
            }
        }
        Ok(actions)
    }

    /// Deletes one of the hub's own objects: `None` where it has none of that name, else who still
    /// holds it.
    async fn take_away(
        &self,
        resource: &ApiResource,
        name: &str,
    ) -> Result<Option<Vec<String>>, Failure> {
        let namespace = Some(self.settings.namespace.as_str());
        let find = || async {
            let api = |client| super::apply::api(client, resource, namespace);
            let found: Option<DynamicObject> = self.connection.get(api, name).await?;
            Ok::<_, Failure>(found.filter(|object| is_ours(&object.metadata)))
        };
        if find().await?.is_none() || !self.connection.delete(resource, namespace, name).await? {
            return Ok(None);
        }
        let left = find().await?.and_then(|object| object.metadata.finalizers);
        Ok(Some(left.unwrap_or_default()))
    }

    async fn make_namespace(&self) -> Result<(), Refusal> {
        if let Some(namespace) = self.missing_namespace().await.map_err(Refusal::of)? {
            self.connection.apply(&namespace).await.map_err(Refusal::of)?;
            tracing::info!(namespace = namespace.name, "the namespace of apps is made");
        }
        Ok(())
    }

    /// Keeps up with the apps until `shutdown`.
    pub(super) async fn watch_apps(&self, shutdown: &CancellationToken) {
        let Watches { deployments, services, config_maps } = &self.apps;
        let namespace = self.settings.namespace.as_str();
        let ours = watcher::Config::default().labels(&names::selector());
        let connection = &self.connection;
        let deployments = deployments.keep(
            connection,
            |client| Api::<Deployment>::namespaced(client, namespace),
            ours.clone(),
            AppDeployment::of,
            shutdown,
        );
        let services = services.keep(
            connection,
            |client| Api::<Service>::namespaced(client, namespace),
            ours.clone(),
            Printed::of,
            shutdown,
        );
        let config_maps = config_maps.keep(
            connection,
            |client| Api::<ConfigMap>::namespaced(client, namespace),
            ours,
            Printed::of,
            shutdown,
        );
        tokio::join!(Box::pin(deployments), Box::pin(services), Box::pin(config_maps));
    }
}

/// Whether the namespace is missing, and not the object.
fn has_no_namespace(failure: &Failure) -> bool {
    failure.status().is_some_and(|s| s.code == 404 && s.message.contains("namespaces \""))
}
