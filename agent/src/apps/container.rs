//! An app as a container: what it may do, and how it is.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum, HealthStatusEnum,
    HostConfig, HostConfigLogConfig, PortBinding, RestartPolicy, RestartPolicyNameEnum,
};
use cloudcore_protocol::CommandId;
use ring::digest;
use time::OffsetDateTime;

use super::desired::Entry;
use crate::config::AppsConfig;

/// The app's name.
pub(super) const LABEL_APP: &str = "io.cloudcore.app";
/// The device whose app it is: two agents may share an engine.
pub const LABEL_DEVICE: &str = "io.cloudcore.device";
/// [`spec`].
pub(super) const LABEL_SPEC: &str = "io.cloudcore.spec";

/// Most processes and threads of an app.
const MAX_PIDS: i64 = 1024;
/// An app that came up less than this ago has not shown yet that it stays, seconds.
pub(super) const SETTLED: i64 = 10;

/// A hash of all that makes the container what it is, 32 hex digits: another one means that it has
/// to be made anew.
pub(super) fn spec(entry: &Entry, config: &AppsConfig) -> String {
    // JSON separates what it joins, and keeps the order of `config`.
    let text = serde_json::json!([1, entry.app, entry.image_id, config]).to_string();
    hex(&text)[..32].to_owned()
}

/// The container's name: no two orders have the same, so that old and new can be there together.
pub(super) fn name(app: &str, device: &str, order: &CommandId) -> String {
    format!("cloudcore-{app}-{}", &hex(&format!("{device} {order}"))[..12])
}

fn hex(text: &str) -> String {
    use std::fmt::Write as _;
    digest::digest(&digest::SHA256, text.as_bytes()).as_ref().iter().fold(
        String::with_capacity(64),
        |mut all, byte| {
            let _ = write!(all, "{byte:02x}");
            all
        },
    )
}

/// As the engine is told: limits, no privileges, capabilities only as the node's owner allows.
pub(super) fn body(entry: &Entry, device: &str, config: &AppsConfig) -> ContainerCreateBody {
    let app = &entry.app;
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let memory = app.resources.memory.as_ref().map(|memory| number(memory.bytes()));
    let tcp = |port: std::num::NonZeroU16| format!("{port}/tcp");
    // With the host's own network there is nothing to lead anywhere.
    let published = config.network != "host";
    let bindings = app.ports.iter().map(|port| {
        let binding = PortBinding { host_ip: None, host_port: Some(port.host.to_string()) };
        (tcp(port.container), Some(vec![binding]))
    });
    let mut by_container: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for (port, binding) in bindings.filter(|_| published) {
        let all = by_container.entry(port).or_insert_with(|| Some(Vec::new()));
        all.get_or_insert_default().extend(binding.unwrap_or_default());
    }
    let environment = app.config.environment();
    let mut environment: Vec<_> =
        environment.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    environment.push(format!("CLOUDCORE_DEVICE_ID={device}"));
    let log = [("max-size", "10m"), ("max-file", "3")];
    ContainerCreateBody {
        image: Some(entry.image_id.clone()),
        env: Some(environment),
        labels: Some(HashMap::from([
            (LABEL_APP.to_owned(), app.name.to_string()),
            (LABEL_DEVICE.to_owned(), device.to_owned()),
            (LABEL_SPEC.to_owned(), spec(entry, config)),
        ])),
        exposed_ports: Some(by_container.keys().cloned().collect()),
        host_config: Some(HostConfig {
            memory,
            // The same as `memory`: no swap beside it.
            memory_swap: memory,
            nano_cpus: app.resources.cpu.as_ref().map(|cpu| number(cpu.millicores()) * 1_000_000),
            pids_limit: Some(MAX_PIDS),
            init: Some(true),
            privileged: Some(false),
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: Some(config.capabilities.clone()),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            network_mode: Some(config.network.clone()),
            port_bindings: Some(by_container),
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
                maximum_retry_count: None,
            }),
            log_config: Some(HostConfigLogConfig {
                typ: Some("json-file".to_owned()),
                config: Some(log.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
            }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// How a container is, at a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    pub standing: Standing,
    /// Restarts by the engine.
    pub restarts: u64,
    /// What its health check says, where it has one.
    pub health: Option<&'static str>,
}

/// Whether it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It runs, and is healthy or has no health check.
    Works,
    /// It runs; it came up a moment ago after a crash, or its health is not known yet.
    Unsure,
    /// It does not: a term, then a sentence.
    Broken(&'static str, String),
}

/// Reads what the engine says of a container.
pub(super) fn look(found: &ContainerInspectResponse, now: OffsetDateTime) -> Look {
    use ContainerStateStatusEnum as Status;
    let restarts = u64::try_from(found.restart_count.unwrap_or(0)).unwrap_or(0);
    let state = found.state.clone().unwrap_or_default();
    let health = state.health.as_ref().and_then(|health| match health.status? {
        HealthStatusEnum::HEALTHY => Some("healthy"),
        HealthStatusEnum::UNHEALTHY => Some("unhealthy"),
        HealthStatusEnum::STARTING => Some("starting"),
        HealthStatusEnum::EMPTY | HealthStatusEnum::NONE => None,
    });
    let exit = || {
        let code = state.exit_code.unwrap_or(0);
        let memory = if state.oom_killed == Some(true) { ", out of memory" } else { "" };
        let error = state.error.as_deref().filter(|error| !error.is_empty());
        let error = error.map(|error| format!(": {error}")).unwrap_or_default();
        format!("it ended with exit code {code}{memory}{error}")
    };
    let since = state.started_at.as_deref().and_then(|at| {
        let format = &time::format_description::well_known::Rfc3339;
        OffsetDateTime::parse(at, format).ok()
    });
    let young = since.is_some_and(|since| (now - since).whole_seconds() < SETTLED);
    let standing = match (state.status, health) {
        (Some(Status::RUNNING), Some("unhealthy")) => {
            let said = state.health.and_then(|health| health.log?.pop()?.output);
            let said: String = said.unwrap_or_default().trim().chars().take(200).collect();
            Standing::Broken("unhealthy", format!("its health check fails: {said}"))
        }
        (Some(Status::RUNNING), Some("starting")) => Standing::Unsure,
        (Some(Status::RUNNING), _) if young && restarts > 0 => Standing::Unsure,
        (Some(Status::RUNNING), _) => Standing::Works,
        (Some(Status::PAUSED), _) => Standing::Broken("paused", "somebody paused it".into()),
        (Some(Status::CREATED), _) => Standing::Broken("not_started", "it was not started".into()),
        (Some(Status::RESTARTING), _) => Standing::Broken("crashing", exit()),
        _ => Standing::Broken("exited", exit()),
    };
    Look { standing, restarts, health }
}
