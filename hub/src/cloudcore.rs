//! Contract, "2. CloudCore Management". Where there is a cluster, `KubeEdge`'s CloudCore in it;
//! without one the hub itself is CloudCore.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use cloudcore_protocol::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    api::{self, Body, Refusal, to_the_end},
    auth::{Operator, Viewer},
    cluster::{
        Cluster, Order, Pod as PodSeen, Quantity, Release, Resource, Run as Seen, ServiceSeen,
    },
    error::{Error, Result},
    settings::Settings,
};

/// The standing of this hub.
pub struct CloudCore {
    /// Whether there is maintenance.
    pub settings: Arc<Settings>,
    /// When it started.
    pub started_at: Timestamp,
    /// What listens.
    pub ports: Vec<Port>,
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// The host that nodes are told.
    pub host: String,
}

/// A port of this hub.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[schema(as = CloudCorePort)]
pub struct Port {
    /// `cloudhub` (QUIC, agents), `http` or `https` (the API), `mqtt` or `mqtts`.
    #[schema(example = "cloudhub")]
    pub name: String,
    /// Its number.
    #[schema(example = 10000)]
    pub port: u16,
    /// `UDP` or `TCP`.
    #[schema(example = "UDP")]
    pub protocol: String,
    /// A cluster's; null without one.
    #[serde(rename = "nodePort")]
    #[schema(rename = "nodePort")]
    pub node_port: Option<u16>,
}

impl Port {
    /// A port of this machine.
    #[must_use]
    pub fn new(name: &str, port: u16, protocol: &str) -> Self {
        Self { name: name.to_owned(), port, protocol: protocol.to_owned(), node_port: None }
    }
}

/// How CloudCore is.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CloudCoreRun)]
enum Run {
    /// All its pods are ready; without a cluster, the hub works.
    Running,
    /// The hub takes no new work.
    Maintenance,
    /// Its pods are on their way to what was ordered.
    Progressing,
    /// The cluster has given up on some.
    Degraded,
    /// It is wanted in no pod.
    Stopped,
    /// The cluster has none.
    NotDeployed,
    /// The cluster is away: what is said is what was last known.
    Unknown,
}

/// A pod of the cluster's.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CloudCorePod)]
struct Pod {
    #[schema(example = "cloudcore-6fd9f5779-kcjq8")]
    name: String,
    /// Its phase, or why it is in none, as `CrashLoopBackOff`.
    #[schema(example = "Running")]
    status: String,
    /// Containers that are ready, of all.
    #[schema(example = "1/1")]
    ready: String,
    /// Of its containers.
    restarts: u32,
    /// Since it was made, for people.
    #[schema(example = "2d")]
    age: Option<String>,
    age_seconds: Option<u64>,
}

impl Pod {
    fn of(pod: &PodSeen) -> Self {
        let age_seconds = pod.created_at.map(api::seconds_since);
        Self {
            name: pod.name.clone(),
            status: pod.status.clone(),
            ready: format!("{}/{}", pod.ready, pod.containers),
            restarts: pod.restarts,
            age: age_seconds.map(api::age),
            age_seconds,
        }
    }
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CloudCoreService)]
struct Service {
    #[schema(example = "cloudcore")]
    name: String,
    /// As the cluster has it; without one `Host`: the ports are this machine's.
    #[serde(rename = "type")]
    #[schema(rename = "type", example = "NodePort")]
    kind: String,
    ports: Vec<Port>,
}

impl Service {
    fn of(service: &ServiceSeen) -> Self {
        let ports = service.ports.iter().map(|port| Port {
            node_port: port.node_port,
            ..Port::new(&port.name, port.port, &port.protocol)
        });
        Self { name: service.name.clone(), kind: service.kind.clone(), ports: ports.collect() }
    }
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CloudCoreStanding)]
struct Standing {
    status: Run,
    /// The release of CloudCore that is wanted; without a cluster the hub's.
    #[schema(example = "1.18.0")]
    version: Option<String>,
    /// Empty without a cluster.
    pods: Vec<Pod>,
    services: Vec<Service>,
    /// Since the hub started, for people.
    #[schema(example = "2 days")]
    uptime: String,
    uptime_seconds: u64,
    /// When the hub started.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
}

/// This room's routes.
pub fn routes(cloudcore: Arc<CloudCore>) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(status)).routes(routes!(deploy)).with_state(cloudcore)
}

/// How CloudCore is
#[utoipa::path(get, path = "/api/kubeedge/cloudcore/status", operation_id = "get_cloudcore_status",
    tag = "CloudCore",
    security(("bearer" = ["viewer"]), ("api_key" = ["viewer"])),
    responses((status = 200, description = "How it is", body = Standing, example = json!({
        "status": "running", "version": "1.18.0",
        "pods": [{ "name": "cloudcore-6fd9f5779-kcjq8", "status": "Running", "ready": "1/1",
                   "restarts": 0, "age": "2d", "age_seconds": 172_800 }],
        "services": [{ "name": "cloudcore", "type": "NodePort", "ports": [
            { "name": "cloudhub", "port": 10000, "protocol": "TCP", "nodePort": 30374 },
            { "name": "cloudstream", "port": 10002, "protocol": "TCP", "nodePort": 31305 },
            { "name": "websocket", "port": 10004, "protocol": "TCP", "nodePort": 32203 }
        ] }],
        "uptime": "2 days", "uptime_seconds": 172_800, "started_at": "2024-01-15T10:30:00Z"
    })))
)]
async fn status(State(cloudcore): State<Arc<CloudCore>>, _: Viewer) -> Json<Standing> {
    let uptime_seconds = api::seconds_since(cloudcore.started_at);
    let (run, version, pods, services) = match cloudcore.cluster.cloudcore() {
        Some(seen) => {
            let run = match seen.run {
                Seen::Running => Run::Running,
                Seen::Progressing => Run::Progressing,
                Seen::Degraded => Run::Degraded,
                Seen::Stopped => Run::Stopped,
                Seen::NotDeployed => Run::NotDeployed,
                Seen::Unknown => Run::Unknown,
            };
            let pods = seen.pods.iter().map(|pod| Pod::of(pod)).collect();
            let services = seen.services.iter().map(|service| Service::of(service)).collect();
            (run, seen.version, pods, services)
        }
        None => {
            let ports = cloudcore.ports.clone();
            let host = Service { name: "cloudcore".into(), kind: "Host".into(), ports };
            (Run::Running, Some(env!("CARGO_PKG_VERSION").to_owned()), Vec::new(), vec![host])
        }
    };
    Json(Standing {
        status: if cloudcore.settings.maintenance().is_some() { Run::Maintenance } else { run },
        version,
        pods,
        services,
        uptime: api::uptime(uptime_seconds),
        uptime_seconds,
        started_at: cloudcore.started_at,
    })
}

/// What is to run in the cluster.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = CloudCoreDeploy)]
struct Deploy {
    /// A release of KubeEdge.
    #[schema(
        pattern = r"^v?(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})(-(alpha|beta|rc)\.(0|[1-9][0-9]{0,3}))?$",
        max_length = 32,
        example = "1.18.0"
    )]
    version: String,
    /// Pods; as many as now where absent.
    #[schema(minimum = 1, maximum = 10, example = 1)]
    replicas: Option<u32>,
    /// Of each pod; as now where absent.
    resources: Option<Resources>,
}

/// Quantities of Kubernetes.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = CloudCoreResources)]
struct Resources {
    #[schema(pattern = r"^[1-9][0-9]{0,6}m?$", max_length = 32, example = "500m")]
    cpu: Option<String>,
    #[schema(pattern = r"^[1-9][0-9]{0,6}([KMG]i|[kMG])?$", max_length = 32, example = "512Mi")]
    memory: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CloudCoreDeployed)]
struct Deployed {
    /// Always `success`.
    #[schema(example = "success")]
    status: &'static str,
    message: String,
    deployment_name: String,
    namespace: String,
    /// When its Deployment was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// What was really done to each object: `created`, `updated` or `unchanged`.
    #[schema(example = json!({ "namespace": "created", "deployment": "created" }))]
    steps: BTreeMap<String, &'static str>,
}

impl Deploy {
    fn order(&self) -> Result<Order> {
        if self.replicas.is_some_and(|n| !(1..=10).contains(&n)) {
            return Err(Error::invalid("replicas must be 1 to 10"));
        }
        let resources = self.resources.as_ref();
        let quantity = |what, of, text: Option<&String>| {
            text.map(|text| Quantity::parse(what, of, text)).transpose()
        };
        Ok(Order {
            release: Release::parse(&self.version)?,
            replicas: self.replicas,
            cpu: quantity(
                "resources.cpu",
                Resource::Cpu,
                resources.and_then(|resources| resources.cpu.as_ref()),
            )?,
            memory: quantity(
                "resources.memory",
                Resource::Memory,
                resources.and_then(|resources| resources.memory.as_ref()),
            )?,
        })
    }
}

/// Deploy or update CloudCore in a cluster: needs one
#[utoipa::path(post, path = "/api/kubeedge/cloudcore/deploy", operation_id = "deploy_cloudcore",
    tag = "CloudCore",
    security(("bearer" = ["operator"]), ("api_key" = ["operator"])),
    request_body(content = Deploy),
    responses((status = 200, description = "Deployed", body = Deployed, example = json!({
        "status": "success", "message": "CloudCore deployed", "deployment_name": "cloudcore",
        "namespace": "kubeedge", "created_at": "2024-01-15T10:30:00Z",
        "steps": { "namespace": "created", "config_map": "created", "deployment": "created" }
    })))
)]
async fn deploy(
    State(cloudcore): State<Arc<CloudCore>>,
    _: Operator,
    Body(body): Body<Deploy>,
) -> Result<Json<Deployed>, Refusal> {
    let order = body.order()?;
    cloudcore.settings.check_open()?;
    // To its end, also when its client hangs up: it takes back what it can't finish.
    let deployed =
        to_the_end(
            async move { cloudcore.cluster.deploy_cloudcore(&order, &cloudcore.host).await },
        );
    let deployed = deployed.await?;
    let done = if deployed.is_new { "deployed" } else { "updated" };
    Ok(Json(Deployed {
        status: "success",
        message: format!("CloudCore {done}"),
        deployment_name: deployed.name,
        namespace: deployed.namespace,
        created_at: deployed.created_at,
        steps: deployed.steps,
    }))
}
