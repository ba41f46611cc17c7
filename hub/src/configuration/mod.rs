//! Contract, "7. Configuration Management": what this hub is set to, and the part of it that
//! changes while it runs.

mod routes;

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

pub use routes::routes;

use crate::{
    cluster::{Cluster, Numbers},
    error::{Error, Result},
    settings::{Live, Retention, Settings, Thresholds},
};

/// What flags and file gave, and what was bound: it holds until the hub ends.
#[derive(Debug, Clone)]
pub struct Fixed {
    /// HOST:PORT that agents are told.
    pub advertised: String,
    /// The agents' port, UDP.
    pub quic: u16,
    /// The API's port.
    pub http: u16,
    /// The API's port for TLS, where there is one.
    pub https: Option<u16>,
    /// Days that heartbeats, detections, ended commands and pictures are kept.
    pub retention_days: u64,
}

/// The configuration, as the API shows it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Configuration {
    cloudcore: CloudCore,
    kubernetes: Kubernetes,
    security: Security,
    limits: Limits,
    /// Days that heartbeats, detections, ended commands and pictures are kept.
    #[schema(minimum = 1, maximum = 3650)]
    retention_days: u64,
    retention: Retention,
    alerts: Thresholds,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ConfigurationCloudCore)]
struct CloudCore {
    /// The hub's release.
    version: &'static str,
    /// Host that agents are told.
    advertise_address: String,
    /// Port that agents are told.
    advertise_port: Option<u16>,
    ports: Ports,
    nodeports: NodePorts,
}

/// What listens; null where nothing does.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ConfigurationPorts)]
struct Ports {
    /// Agents join and link here, UDP.
    cloudhub: u16,
    /// Of CloudCore in the cluster.
    cloudstream: Option<u16>,
    /// Of CloudCore in the cluster.
    websocket: Option<u16>,
    /// The API.
    http: u16,
    /// The API over TLS.
    https: Option<u16>,
}

/// A cluster's; null without one.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ConfigurationNodePorts)]
struct NodePorts {
    cloudhub: Option<u16>,
    cloudstream: Option<u16>,
    websocket: Option<u16>,
}

/// The cluster; null without one, and for what it does not let the hub know.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ConfigurationKubernetes)]
struct Kubernetes {
    /// Its release.
    #[schema(example = "v1.33.6+k3s1")]
    version: Option<String>,
    nodes: Option<u64>,
    /// Those that have not ended.
    pods: Option<u64>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ConfigurationSecurity)]
struct Security {
    /// Whether the API listens for TLS.
    tls_enabled: bool,
    /// Life of a join token where a request names none, hours.
    #[schema(minimum = 1)]
    token_expiry: u32,
    /// Whether callers are limited.
    rate_limiting: bool,
    /// Whether plain HTTP is refused from other machines.
    require_tls: bool,
    /// Requests a minute for each caller; 0 is no limit.
    rate_limit: u32,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ConfigurationLimits)]
struct Limits {
    /// Most devices that may be members.
    #[schema(minimum = 1)]
    max_devices: u32,
}

/// What is to change; what is left out stays.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ConfigurationChange)]
pub struct Change {
    /// Life of a join token where a request names none, hours.
    #[schema(minimum = 1, maximum = 8760, example = 96)]
    token_expiry: Option<u32>,
    /// Most devices that may be members.
    #[schema(minimum = 1, maximum = 1_000_000, example = 100)]
    max_devices: Option<u32>,
    security: Option<SecurityChange>,
    alerts: Option<AlertsChange>,
    retention: Option<RetentionChange>,
}

/// How long what was detected is kept.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct RetentionChange {
    /// Days that detections of an object are kept, with their pictures, by its label; `*` is for
    /// all others. It takes the place of what was there; without any, `retention_days` holds.
    #[schema(example = json!({ "person": 30, "*": 7 }))]
    objects: Option<BTreeMap<String, u32>>,
}

/// Most rules of [`RetentionChange::objects`].
const MAX_RULES: usize = 100;
/// Longest label, characters.
const MAX_LABEL: usize = 100;

impl RetentionChange {
    /// # Errors
    /// API-001, naming what can't be.
    fn over(&self, old: &mut Retention) -> Result<()> {
        let Some(objects) = &self.objects else { return Ok(()) };
        if objects.len() > MAX_RULES {
            return Err(Error::invalid(format!(
                "retention.objects must have at most {MAX_RULES} entries"
            )));
        }
        for (label, days) in objects {
            if !(1..=MAX_LABEL).contains(&label.chars().count()) {
                return Err(Error::invalid(format!(
                    "retention.objects: a label has 1 to {MAX_LABEL} characters"
                )));
            }
            if !(1..=3650).contains(days) {
                let label = crate::api::clip(label, 40);
                return Err(Error::invalid(format!(
                    "retention.objects: '{label}' must be 1 to 3650 days"
                )));
            }
        }
        old.objects.clone_from(objects);
        Ok(())
    }
}

#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct SecurityChange {
    /// Whether plain HTTP is refused from other machines; wants a TLS listener.
    #[schema(example = false)]
    require_tls: Option<bool>,
    /// Requests a minute for each caller.
    #[schema(minimum = 1, maximum = 1_000_000, example = 100)]
    rate_limit: Option<u32>,
}

/// When alerts begin.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct AlertsChange {
    /// `high_cpu` above this, per cent.
    #[schema(minimum = 1, maximum = 100, example = 90)]
    cpu_percent: Option<u32>,
    /// ... for so long, seconds.
    #[schema(minimum = 0, maximum = 86400, example = 300)]
    cpu_seconds: Option<u32>,
    /// `high_memory` above this, per cent.
    #[schema(minimum = 1, maximum = 100, example = 90)]
    memory_percent: Option<u32>,
    /// `high_temperature` above this, degrees Celsius.
    #[schema(minimum = 1, maximum = 150, example = 80)]
    temperature_celsius: Option<u32>,
    /// `disk_full` above this, per cent.
    #[schema(minimum = 1, maximum = 100, example = 90)]
    disk_percent: Option<u32>,
    /// `certificate_expiring` below this, days.
    #[schema(minimum = 1, maximum = 365, example = 7)]
    certificate_days: Option<u32>,
}

impl Change {
    /// These settings with the change.
    ///
    /// # Errors
    /// API-001, naming the first value that can't be.
    fn over(&self, mut live: Live) -> Result<Live> {
        set(&mut live.token_expiry, self.token_expiry, "token_expiry", 1, 8760)?;
        set(&mut live.max_devices, self.max_devices, "max_devices", 1, 1_000_000)?;
        if let Some(security) = &self.security {
            let limit = &mut live.rate_limit;
            set(limit, security.rate_limit, "security.rate_limit", 1, 1_000_000)?;
            live.require_tls = security.require_tls.unwrap_or(live.require_tls);
        }
        if let Some(retention) = &self.retention {
            retention.over(&mut live.retention)?;
        }
        if let Some(new) = &self.alerts {
            let old = &mut live.alerts;
            set(&mut old.cpu_percent, new.cpu_percent, "alerts.cpu_percent", 1, 100)?;
            set(&mut old.cpu_seconds, new.cpu_seconds, "alerts.cpu_seconds", 0, 86_400)?;
            set(&mut old.memory_percent, new.memory_percent, "alerts.memory_percent", 1, 100)?;
            let heat = &mut old.temperature_celsius;
            set(heat, new.temperature_celsius, "alerts.temperature_celsius", 1, 150)?;
            set(&mut old.disk_percent, new.disk_percent, "alerts.disk_percent", 1, 100)?;
            let days = &mut old.certificate_days;
            set(days, new.certificate_days, "alerts.certificate_days", 1, 365)?;
        }
        Ok(live)
    }
}

fn set(place: &mut u32, value: Option<u32>, name: &str, least: u32, most: u32) -> Result<()> {
    match value {
        None => {}
        Some(value) if (least..=most).contains(&value) => *place = value,
        Some(_) => return Err(Error::invalid(format!("{name} must be {least} to {most}"))),
    }
    Ok(())
}

/// The configuration of this hub.
pub struct Configurations {
    settings: Arc<Settings>,
    cluster: Arc<Cluster>,
    fixed: Fixed,
    /// Changes come one after another: each is made over the one before.
    changing: Mutex<()>,
}

impl Configurations {
    /// Over these settings.
    #[must_use]
    pub fn new(settings: Arc<Settings>, cluster: Arc<Cluster>, fixed: Fixed) -> Self {
        Self { settings, cluster, fixed, changing: Mutex::default() }
    }

    /// What holds now.
    #[must_use]
    pub fn show(&self) -> Configuration {
        let Fixed { advertised, quic, http, https, retention_days } = &self.fixed;
        let live = self.settings.live();
        let (host, port) = advertised.rsplit_once(':').unwrap_or((advertised, ""));
        let Numbers { version, nodes, pods } = self.cluster.numbers();
        let served = |name: &str| self.cluster.service_port(name);
        let port_of = |name: &str| served(name).map(|(port, _)| port);
        let node_port = |name: &str| served(name).and_then(|(_, node_port)| node_port);
        Configuration {
            cloudcore: CloudCore {
                version: env!("CARGO_PKG_VERSION"),
                advertise_address: host.to_owned(),
                advertise_port: port.parse().ok(),
                ports: Ports {
                    cloudhub: *quic,
                    cloudstream: port_of("cloudstream"),
                    websocket: port_of("websocket"),
                    http: *http,
                    https: *https,
                },
                nodeports: NodePorts {
                    cloudhub: node_port("cloudhub"),
                    cloudstream: node_port("cloudstream"),
                    websocket: node_port("websocket"),
                },
            },
            kubernetes: Kubernetes { version, nodes, pods },
            security: Security {
                tls_enabled: https.is_some(),
                token_expiry: live.token_expiry,
                rate_limiting: live.rate_limit > 0,
                require_tls: live.require_tls,
                rate_limit: live.rate_limit,
            },
            limits: Limits { max_devices: live.max_devices },
            retention_days: *retention_days,
            retention: live.retention.clone(),
            alerts: live.alerts.clone(),
        }
    }

    /// Changes it: all of the change holds when this returns, or nothing of it.
    ///
    /// # Errors
    /// API-001 for a value that can't be, or the database's.
    pub async fn change(&self, change: &Change, by: &str) -> Result<Configuration> {
        let wants_tls = change.security.as_ref().and_then(|security| security.require_tls);
        if wants_tls == Some(true) && self.fixed.https.is_none() {
            return Err(Error::invalid(
                "security.require_tls wants a TLS listener: start the hub with --https",
            ));
        }
        let _one = self.changing.lock().await;
        let live = change.over(Live::clone(&self.settings.live()))?;
        if live != *self.settings.live() {
            self.settings.change(live, by).await?;
        }
        Ok(self.show())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_taken_whole_or_not_at_all() {
        let change: Change = serde_json::from_str(
            r#"{"token_expiry": 96, "security": {"rate_limit": 7}, "alerts": {"cpu_seconds": 0}}"#,
        )
        .unwrap();
        let live = change.over(Live::default()).unwrap();
        assert_eq!((live.token_expiry, live.rate_limit, live.alerts.cpu_seconds), (96, 7, 0));
        assert_eq!(live.max_devices, Live::default().max_devices);
        for (bad, name) in [
            (r#"{"token_expiry": 0}"#, "token_expiry"),
            (r#"{"token_expiry": 8761}"#, "token_expiry"),
            (r#"{"max_devices": 1000001}"#, "max_devices"),
            (r#"{"security": {"rate_limit": 0}}"#, "security.rate_limit"),
            (r#"{"alerts": {"temperature_celsius": 151}}"#, "alerts.temperature_celsius"),
            (r#"{"retention": {"objects": {"cat": 0}}}"#, "retention.objects"),
            (r#"{"retention": {"objects": {"*": 3651}}}"#, "retention.objects"),
            (r#"{"retention": {"objects": {"": 1}}}"#, "retention.objects"),
        ] {
            let change: Change = serde_json::from_str(bad).unwrap();
            let refused = change.over(Live::default()).unwrap_err();
            assert!(refused.message.starts_with(name), "{bad}: {refused}");
        }
        assert!(serde_json::from_str::<Change>(r#"{"tokenexpiry": 1}"#).is_err());
    }
}
