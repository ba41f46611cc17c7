//! Pods, as far as the hub wants to know them.

use cloudcore_protocol::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod as Whole};

use super::{apps::instance_of, timestamp};

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
    /// Whether it is being deleted.
    pub(super) is_going: bool,
    /// Which app it is of: namespace and instance.
    pub(super) app: Option<(String, String)>,
    /// Why it does not run: the cluster's term and its words.
    pub(super) trouble: Option<(String, String)>,
}

impl Pod {
    pub(super) fn of(pod: Whole) -> Option<Self> {
        let status = pod.status.unwrap_or_default();
        let all = status.container_statuses.unwrap_or_default();
        let phase = status.phase.unwrap_or_else(|| "Pending".into());
        let is_live = phase != "Succeeded" && phase != "Failed";
        let is_going = pod.metadata.deletion_timestamp.is_some();
        let unscheduled = status.conditions.unwrap_or_default().into_iter().find(|condition| {
            condition.type_ == "PodScheduled"
                && condition.reason.as_deref() == Some("Unschedulable")
        });
        let trouble = all.iter().find_map(trouble).or_else(|| {
            Some(("Unschedulable".to_owned(), unscheduled?.message.unwrap_or_default()))
        });
        let shown = if is_going {
            "Terminating".to_owned()
        } else {
            all.iter().find_map(reason).or(status.reason).unwrap_or(phase)
        };
        let spec = pod.spec.unwrap_or_default();
        let labels = pod.metadata.labels.unwrap_or_default();
        let app = instance_of(&labels).cloned();
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
            is_going,
            app: pod.metadata.namespace.zip(app),
            trouble,
        })
    }
}

/// Why a container does not run, and what the cluster says of that: also what it ended with the last
/// time.
fn trouble(container: &ContainerStatus) -> Option<(String, String)> {
    let state = container.state.as_ref()?;
    let ended = |ended: &ContainerStateTerminated| {
        let message = ended.message.as_ref().map(|text| format!(", {text}")).unwrap_or_default();
        format!("exit code {}{message}", ended.exit_code)
    };
    if let Some(now) = &state.terminated {
        return Some((now.reason.clone().unwrap_or_else(|| "Ended".into()), ended(now)));
    }
    let waiting = state.waiting.as_ref()?;
    let before = container.last_state.as_ref().and_then(|last| last.terminated.as_ref());
    let words = [waiting.message.clone(), before.map(ended)];
    let words: Vec<_> = words.into_iter().flatten().collect();
    Some((waiting.reason.clone()?, words.join("; ")))
}

/// Why a container does not run.
fn reason(container: &ContainerStatus) -> Option<String> {
    let state = container.state.as_ref()?;
    let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.clone());
    waiting.or_else(|| state.terminated.as_ref()?.reason.clone())
}
