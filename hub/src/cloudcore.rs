//! Contract, "2. CloudCore Management", without a cluster: the hub itself is CloudCore.

use std::sync::Arc;

use axum::{Json, extract::State};
use cloudcore_protocol::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    api::{self, Body, Refusal},
    auth::{Operator, Viewer},
    error::{Code, Error, Result},
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
}

/// A port of this hub.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[schema(as = CloudCorePort)]
pub struct Port {
    /// `cloudhub` (QUIC, agents), `http` or `https` (the API), `mqtt` or `mqtts`.
    #[schema(example = "cloudhub")]
    pub name: &'static str,
    /// Its number.
    #[schema(example = 10000)]
    pub port: u16,
    /// `UDP` or `TCP`.
    #[schema(example = "UDP")]
    pub protocol: &'static str,
    /// A cluster's; null without one.
    #[serde(rename = "nodePort")]
    #[schema(rename = "nodePort")]
    pub node_port: Option<u16>,
}

impl Port {
    /// A port of this machine.
    #[must_use]
    pub const fn new(name: &'static str, port: u16, protocol: &'static str) -> Self {
        Self { name, port, protocol, node_port: None }
    }
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = CloudCoreRun)]
enum Run {
    Running,
    Maintenance,
}

/// A pod of a cluster.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CloudCorePod)]
struct Pod {
    name: String,
    status: String,
    ready: String,
    restarts: u32,
    age: String,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CloudCoreService)]
struct Service {
    name: &'static str,
    /// `Host`: the ports are this machine's.
    #[serde(rename = "type")]
    #[schema(rename = "type")]
    kind: &'static str,
    ports: Vec<Port>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CloudCoreStanding)]
struct Standing {
    /// `running`, or `maintenance`.
    status: Run,
    /// The hub's release.
    version: &'static str,
    /// A cluster's; empty without one.
    pods: Vec<Pod>,
    services: Vec<Service>,
    /// Since it started, for people.
    #[schema(example = "2 days")]
    uptime: String,
    uptime_seconds: u64,
    /// When it started.
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
        "status": "running", "version": "0.1.0", "pods": [],
        "services": [{ "name": "cloudcore", "type": "Host", "ports": [
            { "name": "cloudhub", "port": 10000, "protocol": "UDP", "nodePort": null },
            { "name": "http", "port": 5000, "protocol": "TCP", "nodePort": null }
        ] }],
        "uptime": "2 days", "uptime_seconds": 172_800, "started_at": "2024-01-15T10:30:00Z"
    })))
)]
async fn status(State(cloudcore): State<Arc<CloudCore>>, _: Viewer) -> Json<Standing> {
    let uptime_seconds = api::seconds_since(cloudcore.started_at);
    Json(Standing {
        status: match cloudcore.settings.maintenance() {
            Some(_) => Run::Maintenance,
            None => Run::Running,
        },
        version: env!("CARGO_PKG_VERSION"),
        pods: Vec::new(),
        services: vec![Service { name: "cloudcore", kind: "Host", ports: cloudcore.ports.clone() }],
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
    #[schema(pattern = r"^[0-9]+\.[0-9]+\.[0-9]+$", max_length = 32, example = "1.18.0")]
    version: String,
    #[schema(minimum = 1, maximum = 10, example = 1)]
    replicas: Option<u32>,
    resources: Option<Resources>,
}

/// Quantities of Kubernetes.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = CloudCoreResources)]
struct Resources {
    #[schema(pattern = r"^[0-9]+(\.[0-9]+)?m?$", max_length = 16, example = "500m")]
    cpu: Option<String>,
    #[schema(pattern = r"^[0-9]+([KMGT]i?)?$", max_length = 16, example = "512Mi")]
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
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl Deploy {
    fn check(&self) -> Result<()> {
        let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if self.version.len() > 32
            || self.version.split('.').count() != 3
            || !self.version.split('.').all(number)
        {
            return Err(Error::invalid("version must be like 1.18.0"));
        }
        if self.replicas.is_some_and(|n| !(1..=10).contains(&n)) {
            return Err(Error::invalid("replicas must be 1 to 10"));
        }
        let Some(resources) = &self.resources else { return Ok(()) };
        let cpu = |text: &str| {
            let text = text.strip_suffix('m').unwrap_or(text);
            match text.split_once('.') {
                Some((whole, part)) => number(whole) && number(part),
                None => number(text),
            }
        };
        if resources.cpu.as_deref().is_some_and(|text| text.len() > 16 || !cpu(text)) {
            return Err(Error::invalid("resources.cpu must be like 500m or 0.5"));
        }
        let memory = |text: &str| {
            let text = text.strip_suffix('i').map_or(text, |text| {
                // Only after a unit.
                if text.ends_with(['K', 'M', 'G', 'T']) { text } else { "" }
            });
            number(text.strip_suffix(['K', 'M', 'G', 'T']).unwrap_or(text))
        };
        if resources.memory.as_deref().is_some_and(|text| text.len() > 16 || !memory(text)) {
            return Err(Error::invalid("resources.memory must be like 512Mi"));
        }
        Ok(())
    }
}

/// Deploy or update CloudCore in a cluster: needs one
#[utoipa::path(post, path = "/api/kubeedge/cloudcore/deploy", operation_id = "deploy_cloudcore",
    tag = "CloudCore",
    security(("bearer" = ["operator"]), ("api_key" = ["operator"])),
    request_body(content = Deploy),
    responses((status = 200, description = "Deployed", body = Deployed, example = json!({
        "status": "success", "message": "CloudCore deployed", "deployment_name": "cloudcore",
        "namespace": "kubeedge", "created_at": "2024-01-15T10:30:00Z"
    })))
)]
async fn deploy(
    State(cloudcore): State<Arc<CloudCore>>,
    _: Operator,
    Body(body): Body<Deploy>,
) -> Result<Json<Deployed>, Refusal> {
    body.check()?;
    cloudcore.settings.check_open()?;
    Err(Error::new(
        Code::Unavailable,
        "this hub has no Kubernetes cluster to deploy to, and runs as CloudCore itself: it has to \
         be set up with a cluster first, and GET cloudcore/status says how it is",
    )
    .into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_those_of_kubernetes() {
        let check = |version: &str, cpu: &str, memory: &str| {
            let resources = Resources { cpu: Some(cpu.into()), memory: Some(memory.into()) };
            Deploy { version: version.into(), replicas: Some(1), resources: Some(resources) }
                .check()
                .is_ok()
        };
        for (cpu, memory) in [("500m", "512Mi"), ("0.5", "1G"), ("2", "1048576")] {
            assert!(check("1.18.0", cpu, memory), "{cpu} {memory}");
        }
        for (cpu, memory) in [("m", "1G"), ("1.", "1G"), ("-1", "1G"), ("1", "1i"), ("1", "Mi")] {
            assert!(!check("1.18.0", cpu, memory), "{cpu} {memory}");
        }
        assert!(!check("1.18", "1", "1G"));
        assert!(!check("latest", "1", "1G"));
    }
}
