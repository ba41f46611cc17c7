//! How a device is.

use minicbor::{Decode, Encode};

use crate::CommandId;

/// The state of a device's camera.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum CameraState {
    /// None is configured.
    #[n(0)]
    None,
    /// One is configured and was not needed yet, or gave its last picture.
    #[n(1)]
    Ready,
    /// It gave no picture, with the reason.
    #[n(2)]
    Lost(#[n(0)] String),
}

/// Periodic report of a device, also sent at once when something changes.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Heartbeat {
    /// Mean load of all cores since the last one, 0 to 100.
    #[n(0)]
    pub cpu_percent: Option<f32>,
    /// Memory in use, bytes.
    #[n(1)]
    pub memory_used_bytes: u64,
    /// Memory in all, bytes.
    #[n(2)]
    pub memory_total_bytes: u64,
    /// The hottest sensor, °C; `None` where the machine has none.
    #[n(3)]
    pub temperature_celsius: Option<f32>,
    /// Since the machine booted, seconds.
    #[n(4)]
    pub uptime_seconds: u64,
    /// Used of the file system that holds the agent's data, bytes.
    #[n(5)]
    pub disk_used_bytes: u64,
    /// Size of that file system, bytes.
    #[n(6)]
    pub disk_total_bytes: u64,
    /// The agent's release.
    #[n(7)]
    pub agent_version: String,
    /// The camera.
    #[n(8)]
    pub camera: CameraState,
    /// Whether detection is on.
    #[n(9)]
    pub detecting: bool,
    /// Events waiting in the outbox.
    #[n(10)]
    pub outbox_events: u64,
    /// The apps that are to run, where the agent knows how they are: `None` from an agent that runs
    /// none, has no container engine or has not looked yet.
    #[n(11)]
    pub apps: Option<Vec<AppState>>,
}

/// How an app is on a device.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AppState {
    /// Which.
    #[n(0)]
    pub name: String,
    /// The command that brought this version of it.
    #[n(1)]
    pub order: CommandId,
    /// Its image, as it was ordered.
    #[n(2)]
    pub image: String,
    /// `false` once it has failed for good, though the agent goes on trying.
    #[n(3)]
    pub running: bool,
    /// Why it has failed: a term (`exited`, `unhealthy`, …).
    #[n(4)]
    pub reason: Option<String>,
    /// The same for people.
    #[n(5)]
    pub message: Option<String>,
    /// How often the engine has restarted it.
    #[n(6)]
    pub restarts: u64,
    /// What its health check says (`healthy`, `unhealthy`, `starting`), where it has one.
    #[n(7)]
    pub health: Option<String>,
}

/// Something an operator should know, with a start and an end.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Alert {
    /// A term such as `camera_lost`.
    #[n(0)]
    pub kind: String,
    /// For people.
    #[n(1)]
    pub message: String,
    /// `true` when it begins, `false` when it ends.
    #[n(2)]
    pub active: bool,
}
