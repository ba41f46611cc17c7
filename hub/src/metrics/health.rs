//! How the hub's parts are, and how fast they answer.

use std::time::Duration;

use cloudcore_protocol::Timestamp;
use serde::Serialize;
use tokio::time::{Instant, timeout};

use super::{Metrics, resident_memory};
use crate::api;

/// Longest wait for a part.
const PART: Duration = Duration::from_secs(5);

/// How the hub is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = HubStanding)]
pub(super) enum Standing {
    /// All parts work.
    Healthy,
    /// Pictures can't be stored or shown; all else works.
    Degraded,
    /// The database is away.
    Unhealthy,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = HubHealth)]
pub(super) struct Health {
    pub(super) status: Standing,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// The hub's release.
    version: &'static str,
    components: Components,
    /// Since the hub started, for people.
    #[schema(example = "2 days")]
    uptime: String,
    uptime_seconds: u64,
    /// Resident memory of the hub, for people.
    #[schema(example = "45.2MB")]
    memory_usage: Option<String>,
    memory_bytes: Option<u64>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = HubComponents)]
struct Components {
    /// `connected` or `disconnected`.
    database: Component,
    /// Where pictures and backups are: `connected` or `disconnected`.
    object_store: Component,
    /// The agents' port: `running`.
    link: Link,
    /// `running` or `maintenance`.
    cloudcore: Component,
    /// `connected` or `disconnected`; `not_configured` where this hub has no cluster.
    kubernetes: Component,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = HubComponent)]
struct Component {
    #[schema(example = "connected")]
    status: &'static str,
    /// How long a small request took; null for what was asked for none.
    latency_ms: Option<f64>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = HubLink)]
struct Link {
    #[schema(example = "running")]
    status: &'static str,
    /// As of the other parts; nothing is asked of agents here.
    latency_ms: Option<f64>,
    /// Agents that are connected.
    sessions: u64,
}

const fn unasked(status: &'static str) -> Component {
    Component { status, latency_ms: None }
}

/// Asks a part.
async fn ask(part: impl Future<Output = bool>) -> Component {
    let start = Instant::now();
    let up = timeout(PART, part).await.unwrap_or(false);
    let status = if up { "connected" } else { "disconnected" };
    Component { status, latency_ms: Some(start.elapsed().as_secs_f64() * 1e3) }
}

impl Metrics {
    pub(super) async fn health(&self) -> Health {
        let store = async { self.objects.get("health").await.is_ok() };
        let (database, object_store) = tokio::join!(ask(self.db.is_up()), ask(store));
        let status = match (database.status, object_store.status) {
            ("connected", "connected") => Standing::Healthy,
            ("connected", _) => Standing::Degraded,
            _ => Standing::Unhealthy,
        };
        let uptime_seconds = api::seconds_since(self.started_at);
        let memory_bytes = resident_memory().await;
        Health {
            status,
            timestamp: Timestamp::now(),
            version: env!("CARGO_PKG_VERSION"),
            components: Components {
                database,
                object_store,
                link: Link {
                    status: "running",
                    latency_ms: None,
                    sessions: self.registry.all().len() as u64,
                },
                cloudcore: unasked(self.settings.standing()),
                kubernetes: unasked(self.cluster.standing().as_str()),
            },
            uptime: api::uptime(uptime_seconds),
            uptime_seconds,
            memory_usage: memory_bytes.map(api::size),
            memory_bytes,
        }
    }
}
