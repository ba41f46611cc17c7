//! Apps as the cluster has them, read from what is watched.

use std::{collections::HashMap, sync::Arc};

use cloudcore_protocol::Timestamp;
use k8s_openapi::{
    Metadata,
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Service},
    },
};
use kube::{api::DynamicObject, core::ObjectMeta};
use serde::Serialize;
use serde_json::json;

use super::{
    super::{Cluster, Standing, pods::Pod, timestamp},
    names,
};
use crate::keys;

/// What objects of an app were at a moment: a hash that every change of what is wanted changes, and
/// none of their status.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Print(Vec<(&'static str, String)>);

impl Print {
    pub(super) fn of(prints: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let mut all: Vec<_> = prints.into_iter().collect();
        all.sort_unstable();
        Self(all)
    }
}

/// The same of one object.
fn print<K: Serialize + Metadata<Ty = ObjectMeta>>(object: &K) -> Option<String> {
    let fields = serde_json::to_value(object).ok()?;
    let metadata = object.metadata();
    let wanted = json!([
        metadata.uid,
        metadata.labels,
        metadata.deletion_timestamp.is_some(),
        fields["spec"],
        fields["data"],
    ]);
    Some(keys::sha256_hex(wanted.to_string().as_bytes()))
}

/// The same of an object that was applied, read as the watches read it; `None` for what is not
/// watched.
pub(super) fn print_of(kind: &str, object: DynamicObject) -> Option<String> {
    match kind {
        "ConfigMap" => print(&object.try_parse::<ConfigMap>().ok()?),
        "Service" => print(&object.try_parse::<Service>().ok()?),
        "Deployment" => print(&object.try_parse::<Deployment>().ok()?),
        _ => None,
    }
}

/// An object of which only that matters.
pub(super) struct Printed(String);

impl Printed {
    #[allow(clippy::needless_pass_by_value, reason = "what a watch gives is taken whole")]
    pub(super) fn of<K: Serialize + Metadata<Ty = ObjectMeta>>(object: K) -> Option<Self> {
        print(&object).map(Self)
    }
}

/// A Deployment, as far as it says how its app is.
pub(super) struct AppDeployment {
    print: String,
    is_observed: bool,
    is_available: bool,
    available_since: Option<Timestamp>,
    /// A term, and what the cluster says.
    failed: Option<(&'static str, String)>,
}

impl AppDeployment {
    pub(super) fn of(deployment: Deployment) -> Option<Self> {
        let Printed(print) = Printed::of(deployment.clone())?;
        let status = deployment.status.unwrap_or_default();
        let has = |count: Option<i32>| count.unwrap_or(0) > 0;
        let conditions = status.conditions.unwrap_or_default();
        let available = conditions.iter().find(|condition| condition.type_ == "Available");
        let available_since = available.and_then(|c| timestamp(c.last_transition_time.as_ref()));
        let failed = conditions.into_iter().find_map(|condition| {
            let term = match (condition.type_.as_str(), condition.status.as_str()) {
                ("ReplicaFailure", "True") => "refused",
                ("Progressing", "False") => "not_progressing",
                _ => return None,
            };
            Some((term, condition.message.unwrap_or_default()))
        });
        Some(Self {
            print,
            is_observed: status.observed_generation >= deployment.metadata.generation,
            is_available: has(status.updated_replicas) && has(status.available_replicas),
            available_since,
            failed,
        })
    }
}

/// How an app is on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppRun {
    /// It works, in the version that is wanted.
    Running,
    /// It is on its way there.
    Pending,
    /// It does not work.
    Failed,
}

/// An app on a node, as the cluster has it.
#[derive(Debug)]
pub struct AppSeen {
    /// How it is.
    pub run: AppRun,
    /// Why it is not running: a term.
    pub reason: Option<&'static str>,
    /// The same in the cluster's words.
    pub message: Option<String>,
    /// Restarts of its container.
    pub restarts: Option<u32>,
    /// Whether the cluster has begun with a pod of it.
    pub has_pod: bool,
    /// Whether the cluster has it at all.
    pub is_known: bool,
    /// Since when it runs, or cannot.
    pub since: Option<Timestamp>,
}

/// All apps at one moment.
pub struct AppsSeen {
    /// Whether the cluster is there.
    pub is_there: bool,
    /// Whether it is, and has told of all.
    pub is_now: bool,
    deployments: HashMap<String, Arc<AppDeployment>>,
    prints: [HashMap<String, Arc<Printed>>; 2],
    pods: HashMap<String, Vec<Arc<Pod>>>,
}

impl AppsSeen {
    pub(super) fn of(cluster: &Cluster) -> Self {
        let namespace = &cluster.settings.namespace;
        let mut pods: HashMap<String, Vec<_>> = HashMap::new();
        for pod in cluster.pods.items().values() {
            if let Some((_, app)) = pod.app.as_ref().filter(|(within, _)| within == namespace) {
                pods.entry(app.clone()).or_default().push(Arc::clone(pod));
            }
        }
        let watches = &cluster.apps;
        let is_there = cluster.standing() == Standing::Connected;
        Self {
            is_there,
            is_now: is_there
                && watches.deployments.is_listed()
                && watches.services.is_listed()
                && watches.config_maps.is_listed(),
            deployments: by_name(&watches.deployments.items()),
            prints: [by_name(&watches.config_maps.items()), by_name(&watches.services.items())],
            pods,
        }
    }

    /// What an app's objects are now.
    #[must_use]
    pub fn print(&self, app: &str, node: &str) -> Print {
        let name = names::instance(app, node);
        let [config_maps, services] = &self.prints;
        let of = |kind, all: &HashMap<String, Arc<Printed>>| {
            all.get(&name).map(|printed| (kind, printed.0.clone()))
        };
        let deployment = self.deployments.get(&name).map(|d| ("Deployment", d.print.clone()));
        Print::of(
            [of("ConfigMap", config_maps), of("Service", services), deployment]
                .into_iter()
                .flatten(),
        )
    }

    /// How an app is on a node.
    #[must_use]
    pub fn app(&self, app: &str, node: &str) -> AppSeen {
        let name = names::instance(app, node);
        let pods = self.pods.get(&name).map_or(&[][..], Vec::as_slice);
        let live = || pods.iter().filter(|pod| pod.is_live && !pod.is_going);
        let newest = live().max_by_key(|pod| pod.created_at.map(Timestamp::micros));
        let restarts = newest.map(|pod| pod.restarts);
        let deployment = self.deployments.get(&name);
        let seen = |run, reason, message| AppSeen {
            run,
            reason,
            message,
            restarts,
            has_pod: !pods.is_empty(),
            is_known: deployment.is_some(),
            since: match run {
                AppRun::Running => deployment.and_then(|deployment| deployment.available_since),
                AppRun::Failed => newest.and_then(|pod| pod.created_at),
                AppRun::Pending => None,
            },
        };
        let Some(deployment) = deployment else { return seen(AppRun::Pending, None, None) };
        if !deployment.is_observed {
            return seen(AppRun::Pending, None, None);
        }
        let trouble = newest.and_then(|pod| pod.trouble.as_ref());
        if let Some((said, message)) = trouble
            && let Some(term) = term(said)
        {
            let run = if term == "unschedulable" { AppRun::Pending } else { AppRun::Failed };
            let message = match message.as_str() {
                "" => said.clone(),
                message => format!("{said}: {message}"),
            };
            return seen(run, Some(term), Some(message));
        }
        if deployment.is_available {
            return seen(AppRun::Running, None, None);
        }
        match &deployment.failed {
            Some((term, message)) => seen(AppRun::Failed, Some(*term), Some(message.clone())),
            None => seen(AppRun::Pending, None, None),
        }
    }
}

fn by_name<V>(items: &HashMap<(String, String), Arc<V>>) -> HashMap<String, Arc<V>> {
    items.iter().map(|((_, name), value)| (name.clone(), Arc::clone(value))).collect()
}

/// What the cluster says of a container, in the terms of commands that failed; `None` where it is
/// only on its way.
fn term(said: &str) -> Option<&'static str> {
    Some(match said {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "RegistryUnavailable" => "image_unavailable",
        "CrashLoopBackOff" => "crashing",
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            "container_refused"
        }
        "Unschedulable" => "unschedulable",
        "ContainerCreating" | "PodInitializing" => return None,
        // What a container ended with: `Error`, `OOMKilled`, `Completed`.
        _ => "exited",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clusters_words_have_the_terms_of_commands() {
        assert_eq!(term("ImagePullBackOff"), Some("image_unavailable"));
        assert_eq!(term("CrashLoopBackOff"), Some("crashing"));
        assert_eq!(term("OOMKilled"), Some("exited"));
        assert_eq!(term("ContainerCreating"), None);
    }
}
