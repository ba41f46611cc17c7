//! Pods, as far as the hub wants to know them.

use cloudcore_protocol::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod as Whole};

use super::timestamp;

/// A pod.
#[derive(Debug)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// As `kubectl` shows it: its phase, or why it is not in one.
    pub status: String,
    /// Containers that are ready.
    pub ready: usize,
    /// Containers.
    pub containers: usize,
    /// Restarts of its containers.
    pub restarts: u32,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// Its node, once it has one.
    pub(super) node: Option<String>,
    /// Whether it has not ended.
    pub(super) is_live: bool,
}

impl Pod {
    pub(super) fn of(pod: Whole) -> Option<Self> {
        let status = pod.status.unwrap_or_default();
        let all = status.container_statuses.unwrap_or_default();
        let phase = status.phase.unwrap_or_else(|| "Pending".into());
        let is_live = phase != "Succeeded" && phase != "Failed";
        let shown = if pod.metadata.deletion_timestamp.is_some() {
            "Terminating".to_owned()
        } else {
            all.iter().find_map(reason).or(status.reason).unwrap_or(phase)
        };
        let spec = pod.spec.unwrap_or_default();
        Some(Self {
            name: pod.metadata.name?,
            status: shown,
            ready: all.iter().filter(|container| container.ready).count(),
            containers: spec.containers.len(),
            restarts: all
                .iter()
                .map(|container| u32::try_from(container.restart_count).unwrap_or(0))
                .sum(),
            created_at: timestamp(pod.metadata.creation_timestamp.as_ref()),
            node: spec.node_name,
            is_live,
        })
    }
}

/// Why a container does not run.
fn reason(container: &ContainerStatus) -> Option<String> {
    let state = container.state.as_ref()?;
    let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.clone());
    waiting.or_else(|| state.terminated.as_ref()?.reason.clone())
}
