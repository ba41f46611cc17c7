//! KubeEdge's CloudCore in the cluster: made, changed, and watched.

mod certificates;
mod definitions;
mod objects;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cloudcore_protocol::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{Secret, Service},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::api::resource::Quantity as Amount,
};
use kube::{Api, api::DynamicObject};
use tokio::time::timeout;

use self::objects::Plan;
pub(super) use self::objects::{NAME, SELECTOR, namespace};
use super::{
    Cluster, Standing,
    apply::{Change, Object},
    labels::is_ours,
    pods::Pod,
    quantity::Quantity,
    release::Release,
    steps::Steps,
    timestamp,
};
use crate::error::{Code, Error, Result};

/// Longest deployment; its request has thirty seconds.
const DEPLOYMENT: Duration = Duration::from_secs(25);

/// What is to run.
#[derive(Debug, Clone)]
pub struct Order {
    /// Which release.
    pub release: Release,
    /// How many pods; as many as now where absent.
    pub replicas: Option<u32>,
    /// Cores of each; as now where absent.
    pub cpu: Option<Quantity>,
    /// Memory of each; as now where absent.
    pub memory: Option<Quantity>,
}

/// What became of an order.
#[derive(Debug)]
pub struct Deployed {
    /// The Deployment's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether that was now.
    pub is_new: bool,
    /// What was done to each object: `created`, `updated` or `unchanged`.
    pub steps: BTreeMap<String, &'static str>,
}

/// How CloudCore is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// All its pods are ready, in the release that is wanted.
    Running,
    /// They are on their way there.
    Progressing,
    /// The cluster has given up on some.
    Degraded,
    /// It is wanted in no pod.
    Stopped,
    /// The cluster has none.
    NotDeployed,
    /// The cluster is away, and what is said is what was last known.
    Unknown,
}

/// CloudCore as the cluster has it.
#[derive(Debug)]
pub struct Seen {
    /// How it is.
    pub run: Run,
    /// The wanted release, without its `v`.
    pub version: Option<String>,
    /// Its pods.
    pub pods: Vec<Arc<Pod>>,
    /// Its services.
    pub services: Vec<Arc<ServiceSeen>>,
}

/// A service, as the cluster has it.
#[derive(Debug)]
pub struct ServiceSeen {
    /// Its name.
    pub name: String,
    /// `NodePort`, `ClusterIP`, `LoadBalancer`.
    pub kind: String,
    /// Its ports.
    pub ports: Vec<PortSeen>,
}

/// A port of a service.
#[derive(Debug)]
pub struct PortSeen {
    /// Its name; empty where it has none.
    pub name: String,
    /// Its number.
    pub port: u16,
    /// `TCP` or `UDP`.
    pub protocol: String,
    /// The nodes' port.
    pub node_port: Option<u16>,
}

/// The Deployment, as far as it says how CloudCore is.
#[derive(Debug)]
pub(super) struct DeploymentSeen {
    version: Option<String>,
    wanted: i32,
    ready: i32,
    updated: i32,
    is_observed: bool,
    has_failed: bool,
}

impl DeploymentSeen {
    #[allow(clippy::needless_pass_by_value, reason = "what a watch gives is taken whole")]
    pub(super) fn of(deployment: Deployment) -> Option<Self> {
        let spec = deployment.spec?;
        let status = deployment.status.unwrap_or_default();
        let containers = spec.template.spec.map(|spec| spec.containers).unwrap_or_default();
        let image = containers.into_iter().next().and_then(|container| container.image);
        let conditions = status.conditions.unwrap_or_default();
        Some(Self {
            version: image.as_deref().and_then(version_of),
            wanted: spec.replicas.unwrap_or(1),
            ready: status.ready_replicas.unwrap_or(0),
            updated: status.updated_replicas.unwrap_or(0),
            is_observed: status.observed_generation >= deployment.metadata.generation,
            has_failed: conditions.iter().any(|condition| {
                (condition.type_ == "Progressing" && condition.status == "False")
                    || (condition.type_ == "ReplicaFailure" && condition.status == "True")
            }),
        })
    }

    const fn run(&self) -> Run {
        if self.wanted == 0 {
            Run::Stopped
        } else if self.is_observed && self.ready >= self.wanted && self.updated >= self.wanted {
            Run::Running
        } else if self.has_failed {
            Run::Degraded
        } else {
            Run::Progressing
        }
    }
}

/// `1.18.0` of `kubeedge/cloudcore:v1.18.0`.
fn version_of(image: &str) -> Option<String> {
    let name = image.rsplit_once('/').map_or(image, |(_, name)| name);
    let (_, tag) = name.split('@').next()?.split_once(':')?;
    Some(tag.strip_prefix('v').unwrap_or(tag).to_owned())
}

impl ServiceSeen {
    pub(super) fn of(service: Service) -> Option<Self> {
        let spec = service.spec?;
        let number = |n: i32| u16::try_from(n).ok();
        let ports = spec.ports.unwrap_or_default().into_iter().filter_map(|port| {
            Some(PortSeen {
                name: port.name.unwrap_or_default(),
                port: number(port.port)?,
                protocol: port.protocol.unwrap_or_else(|| "TCP".into()),
                node_port: port.node_port.and_then(number),
            })
        });
        Some(Self {
            name: service.metadata.name?,
            kind: spec.type_.unwrap_or_else(|| "ClusterIP".into()),
            ports: ports.collect(),
        })
    }
}

impl Cluster {
    /// How CloudCore is; `None` where there is no cluster.
    #[must_use]
    pub fn cloudcore(&self) -> Option<Seen> {
        if self.standing() == Standing::NotConfigured {
            return None;
        }
        let listed = self.deployments.all();
        let deployment = listed.as_ref().and_then(|all| all.first());
        let run = match (self.standing(), &listed, deployment) {
            (Standing::Connected, Some(_), None) => Run::NotDeployed,
            (Standing::Connected, Some(_), Some(deployment)) => deployment.run(),
            _ => Run::Unknown,
        };
        Some(Seen {
            run,
            version: deployment.and_then(|deployment| deployment.version.clone()),
            pods: self.cloudcore_pods.all().unwrap_or_default(),
            services: self.services.all().unwrap_or_default(),
        })
    }

    /// Makes CloudCore in the cluster, or changes it to what the order says; `host` is where edge
    /// nodes reach the cluster. The server checks every object before the first one is applied; if
    /// one then fails all the same, what was made for it is taken back.
    ///
    /// # Errors
    /// API-005 when others hold fields of its objects, API-001 for what the cluster refuses, API-009
    /// when there is no cluster, it is away, or does not let the hub. `details` says what is left.
    pub async fn deploy_cloudcore(&self, order: &Order, host: &str) -> Result<Deployed> {
        let _one = self.deploying.lock().await;
        let mut steps = Steps::default();
        match timeout(DEPLOYMENT, self.deploy(order, host, &mut steps)).await {
            Ok(Ok(deployment)) => {
                // With CloudCore come the kinds of devices.
                self.devices.look();
                let created_at = timestamp(deployment.metadata.creation_timestamp.as_ref());
                let deployment = steps.done().iter().find(|step| step.what == "deployment");
                Ok(Deployed {
                    name: NAME.to_owned(),
                    namespace: self.settings.namespace.clone(),
                    created_at: created_at.unwrap_or_else(Timestamp::now),
                    is_new: deployment.is_some_and(|step| step.change == Change::Created),
                    steps: steps
                        .done()
                        .iter()
                        .map(|step| (step.what.clone(), step.change.as_str()))
                        .collect(),
                })
            }
            Ok(Err(error)) => Err(steps.take_back(&self.connection, error).await),
            Err(_) => {
                let late = Error::new(Code::Unavailable, "the cluster took too long; try again");
                Err(steps.take_back(&self.connection, late).await)
            }
        }
    }

    async fn deploy(&self, order: &Order, host: &str, steps: &mut Steps) -> Result<DynamicObject> {
        let namespace = &self.settings.namespace;
        let in_namespace = |client| Api::<Deployment>::namespaced(client, namespace);
        let before = self.connection.get(in_namespace, NAME).await?;
        let plan = self.plan(order, host, before.as_ref());
        let named = |name: &str, object| (name.to_owned(), object);
        let first = named("namespace", Object::of(&plan.namespace())?);
        let mut rest = self.missing_definitions().await?;
        rest.push(named("service_account", Object::of(&plan.account())?));
        rest.push(named("cluster_role", Object::of(&plan.role())?));
        rest.push(named("cluster_role_binding", Object::of(&plan.binding())?));
        rest.push(named("config_map", Object::of(&plan.config_map())?));
        rest.push(named("service", Object::of(&plan.service())?));
        if let Some(secret) = self.certificates(&plan).await? {
            rest.push(named("certificates", Object::of(&secret)?));
        }
        let last = named("deployment", Object::of(&plan.deployment())?);
        rest.push(last);

        let there = self.connection.get_object(&first.1).await?.is_some();
        self.connection.try_out(&first.1).await?;
        for (_, object) in &rest {
            // Nothing can be tried out in a namespace that is not there.
            if there || object.namespace.is_none() {
                self.connection.try_out(object).await?;
            }
        }
        apply(self, steps, &first.0, &first.1).await?;
        let mut applied = None;
        for (name, object) in rest {
            applied = Some(apply(self, steps, &name, &object).await?);
        }
        applied.ok_or_else(|| Error::internal("a deployment of nothing"))
    }

    /// The order, with what it leaves out as it is now.
    fn plan<'a>(&'a self, order: &Order, host: &'a str, now: Option<&Deployment>) -> Plan<'a> {
        let spec = now.and_then(|deployment| deployment.spec.as_ref());
        let mut resources: BTreeMap<String, Amount> = spec
            .and_then(|spec| spec.template.spec.as_ref()?.containers.first()?.resources.as_ref())
            .and_then(|resources| resources.limits.clone())
            .unwrap_or_default();
        for (name, wanted) in [("cpu", &order.cpu), ("memory", &order.memory)] {
            if let Some(wanted) = wanted {
                resources.insert(name.to_owned(), Amount(wanted.as_str().to_owned()));
            }
        }
        let replicas = order.replicas.and_then(|n| i32::try_from(n).ok());
        Plan {
            settings: &self.settings,
            tag: order.release.tag(),
            replicas: replicas.or_else(|| spec?.replicas).unwrap_or(1),
            resources,
            host,
        }
    }

    /// `KubeEdge`'s kinds that the cluster lacks. Those that are there are somebody's, and newer
    /// perhaps: they are used as they are.
    async fn missing_definitions(&self) -> Result<Vec<(String, Object)>> {
        let mut missing = Vec::new();
        for definition in definitions::all()? {
            let name = definition.metadata.name.clone().unwrap_or_default();
            let there = self
                .connection
                .get(Api::<CustomResourceDefinition>::all, &name)
                .await?
                .is_some_and(|there| !is_ours(&there.metadata));
            if !there {
                missing.push((format!("definition {name}"), Object::of(&definition)?));
            }
        }
        Ok(missing)
    }

    /// The secret to apply; `None` where there is one that holds.
    async fn certificates(&self, plan: &Plan<'_>) -> Result<Option<Secret>> {
        let namespace = &self.settings.namespace;
        let there = self
            .connection
            .get(|client| Api::<Secret>::namespaced(client, namespace), NAME)
            .await?;
        if there.is_some_and(|there| !is_ours(&there.metadata) || certificates::holds(&there)) {
            return Ok(None);
        }
        Ok(Some(plan.secret(certificates::make(plan.names())?)))
    }
}

/// Applies an object; an error says which it was.
async fn apply(
    cluster: &Cluster,
    steps: &mut Steps,
    name: &str,
    object: &Object,
) -> Result<DynamicObject> {
    steps.apply(&cluster.connection, name, object).await.map_err(|failure| {
        let error = Error::from(failure);
        let message = format!("{name}: {}", error.message);
        Error { message: message.into(), ..error }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_what_the_image_is_tagged_with() {
        for (image, version) in [
            ("kubeedge/cloudcore:v1.18.0", Some("1.18.0")),
            ("registry:5000/kubeedge/cloudcore:v1.17.0@sha256:0", Some("1.17.0")),
            ("registry:5000/kubeedge/cloudcore", None),
        ] {
            assert_eq!(version_of(image).as_deref(), version, "{image}");
        }
    }
}
