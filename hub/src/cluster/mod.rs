//! The Kubernetes cluster, where there is one: what the hub makes in it, and what it knows of it.
//!
//! It is the one room that knows kube's types. The hub works without a cluster, and never waits for
//! one: what is asked of it while it is away is answered API-009, and all else goes on. Objects are
//! [applied](apply) under one field manager; what changes by itself is [watched](watched).

mod access;
mod apply;
mod apps;
mod backoff;
mod cloudcore;
mod connection;
mod devices;
mod error;
mod labels;
mod nodes;
mod pods;
mod quantity;
mod release;
mod steps;
mod watched;

use std::sync::Arc;

use cloudcore_protocol::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, runtime::watcher};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use self::{
    apply::Object, cloudcore::DeploymentSeen, connection::Connection, error::Failure,
    watched::Watched,
};
pub use self::{
    apps::{AppNode, AppRun, AppsSeen, NodeApp, Print, Refusal, SecretName},
    cloudcore::{Order, Run, ServiceSeen},
    connection::Standing,
    devices::{EdgeDevice, Made, Owner, Place, Removed, Turn},
    nodes::{Edge, Node, Numbers},
    pods::Pod,
    quantity::{Quantity, Resource},
    release::Release,
};
use crate::{
    config::Kubernetes,
    error::{Code, Error, Result},
};

/// The cluster.
pub struct Cluster {
    connection: Connection,
    settings: Kubernetes,
    /// CloudCore is changed by one request at a time.
    deploying: Mutex<()>,
    /// CloudCore's, one or none.
    deployments: Watched<DeploymentSeen>,
    cloudcore_pods: Watched<Pod>,
    services: Watched<ServiceSeen>,
    nodes: Watched<Node>,
    /// Of the whole cluster.
    pods: Watched<Pod>,
    apps: apps::Watches,
    devices: devices::Seen,
}

impl Cluster {
    /// The cluster that the settings name. Connects to nothing yet.
    ///
    /// # Errors
    /// API-009 for a kubeconfig that can't be used.
    pub async fn open(settings: Kubernetes) -> Result<Self> {
        let connection = Connection::open(&settings)
            .await
            .map_err(|failure| Error::new(Code::Unavailable, failure.to_string()))?;
        Ok(Self {
            connection,
            settings,
            deploying: Mutex::default(),
            deployments: Watched::default(),
            cloudcore_pods: Watched::default(),
            services: Watched::default(),
            nodes: Watched::default(),
            pods: Watched::default(),
            apps: apps::Watches::default(),
            devices: devices::Seen::default(),
        })
    }

    /// Whether there is one, and whether it answers.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.connection.standing()
    }

    /// A port of CloudCore's service and its node port: as the cluster has them, or will have;
    /// `None` without a cluster, and for a name that no port has.
    #[must_use]
    pub fn service_port(&self, name: &str) -> Option<(u16, Option<u16>)> {
        if self.standing() == Standing::NotConfigured {
            return None;
        }
        let services = self.services.all().unwrap_or_default();
        let seen = services.iter().flat_map(|service| &service.ports);
        let seen = seen.filter(|port| port.name == name).map(|port| (port.port, port.node_port));
        let set = self.settings.ports.iter().filter(|port| port.name == name);
        seen.chain(set.map(|port| (port.port, port.node_port))).next()
    }

    /// The namespace of all that the hub makes, as it is to be made, where it is not there.
    async fn missing_namespace(&self) -> Result<Option<Object>, Failure> {
        let namespace = cloudcore::namespace(&self.settings.namespace);
        let Ok(object) = Object::of(&namespace) else { return Ok(None) };
        Ok(self.connection.get_object(&object).await?.is_none().then_some(object))
    }

    /// Keeps up with the cluster until `shutdown`.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let connection = &self.connection;
        let namespace = self.settings.namespace.as_str();
        let named =
            watcher::Config::default().fields(&format!("metadata.name={}", cloudcore::NAME));
        let [(one, a), (other, b)] = cloudcore::SELECTOR;
        let labelled = watcher::Config::default().labels(&format!("{one}={a},{other}={b}"));
        let all = watcher::Config::default();
        let deployments = self.deployments.keep(
            connection,
            |client| Api::namespaced(client, namespace),
            named.clone(),
            DeploymentSeen::of,
            &shutdown,
        );
        let services = self.services.keep(
            connection,
            |client| Api::namespaced(client, namespace),
            named,
            ServiceSeen::of,
            &shutdown,
        );
        let cloudcore_pods = self.cloudcore_pods.keep(
            connection,
            |client| Api::namespaced(client, namespace),
            labelled,
            Pod::of,
            &shutdown,
        );
        let nodes = self.nodes.keep(connection, Api::all, all.clone(), Node::of, &shutdown);
        let pods = self.pods.keep(connection, Api::all, all, Pod::of, &shutdown);
        tokio::join!(
            connection.run(shutdown.clone()),
            Box::pin(deployments),
            Box::pin(services),
            Box::pin(cloudcore_pods),
            Box::pin(nodes),
            Box::pin(pods),
            Box::pin(self.watch_apps(&shutdown)),
            Box::pin(self.keep_device_objects(&shutdown)),
        );
    }
}

/// A time of the cluster's.
fn timestamp(time: Option<&Time>) -> Option<Timestamp> {
    time.map(|time| Timestamp::from_micros(time.0.as_microsecond()))
}
