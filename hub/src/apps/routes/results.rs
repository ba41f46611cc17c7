//! How a request went, on each device and as a whole.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    apps::{self, Standing, store::Placed},
    error::Result,
};

/// How a request went on its devices as a whole.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = DeploymentStatus)]
pub(super) enum Whole {
    /// All have done it.
    Success,
    /// Some have not, or not yet.
    Partial,
    /// None has, and none will.
    Failed,
}

impl Whole {
    pub(super) fn of(results: &[OnDevice]) -> Self {
        let all = |status| results.iter().all(|result| result.status == status);
        match (all(Outcome::Success), !results.is_empty() && all(Outcome::Failed)) {
            (true, _) => Self::Success,
            (false, true) => Self::Failed,
            (false, false) => Self::Partial,
        }
    }
}

/// How a request went on a device.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = AppOutcome)]
pub(super) enum Outcome {
    /// It is done.
    Success,
    /// The device has not answered yet; one that is away is told when it comes back, within a day.
    Pending,
    /// It is not done.
    Failed,
}

/// One device of a request.
#[derive(Serialize, ToSchema)]
#[schema(as = AppResult)]
pub(super) struct OnDevice {
    /// Which device.
    #[schema(example = "edge-device-001")]
    device_id: String,
    /// How it went there.
    pub(super) status: Outcome,
    /// Why it failed, as a term.
    #[schema(example = "no_container_engine")]
    reason: Option<String>,
    /// The same for people.
    message: Option<String>,
    /// The command, for its status; null where the cluster runs the app.
    command_id: Option<String>,
    /// What was done in the cluster, where that runs the app.
    #[schema(example = json!(["ConfigMap created", "Deployment created"]))]
    actions_taken: Vec<String>,
}

impl OnDevice {
    pub(super) fn of(outcome: apps::Outcome) -> Result<Self> {
        let apps::Outcome { placed, actions } = outcome;
        let status = match placed.standing()? {
            Standing::Running => Outcome::Success,
            Standing::Pending | Standing::Removing | Standing::Unknown => Outcome::Pending,
            Standing::Failed => Outcome::Failed,
        };
        let Placed { device_id, reason, message, command_id, .. } = placed;
        Ok(Self { device_id, status, reason, message, command_id, actions_taken: actions })
    }

    pub(super) const fn removed(device_id: String, actions_taken: Vec<String>) -> Self {
        let (reason, message, command_id) = (None, None, None);
        Self { device_id, status: Outcome::Success, reason, message, command_id, actions_taken }
    }
}
