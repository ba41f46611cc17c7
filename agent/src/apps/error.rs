//! Why an app is not as asked.

/// Each with its term for the hub, see [`AppError::term`].
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// This machine has none, or this agent was built without.
    #[error("this device has no container engine, so no app runs on it")]
    NoEngine,
    /// It does not answer as it should.
    #[error("the container engine: {0}")]
    Engine(String),
    /// The image can't be had.
    #[error("image {image}: {why}")]
    Image {
        /// As ordered.
        image: String,
        /// What the engine says.
        why: String,
    },
    /// The engine does not take the container.
    #[error("the container can't be made: {0}")]
    Refused(String),
    /// It was started and does not work.
    #[error("{why}{after}")]
    Broken {
        /// `exited`, `unhealthy` or `health_unknown`.
        term: &'static str,
        /// For people.
        why: String,
        /// What runs now instead.
        after: String,
    },
    /// More than fit.
    #[error("this device runs {0} apps already, as many as it may")]
    TooMany(usize),
    /// No such app here.
    #[error("no app '{0}' runs on this device")]
    Unknown(String),
    /// The command was taken back or its time is over.
    #[error("the order was taken back")]
    Withdrawn,
    /// What is to run can't be read or written.
    #[error("what is to run can't be kept: {0}")]
    State(String),
    /// The agent stops.
    #[error("the agent stops")]
    Stopping,
}

impl AppError {
    /// For programs.
    #[must_use]
    pub const fn term(&self) -> &'static str {
        match self {
            Self::NoEngine => "no_container_engine",
            Self::Engine(_) => "container_engine_failed",
            Self::Image { .. } => "image_unavailable",
            Self::Refused(_) => "container_refused",
            Self::Broken { term, .. } => term,
            Self::TooMany(_) => "too_many_apps",
            Self::Unknown(_) => "unknown_app",
            Self::Withdrawn => "cancelled",
            Self::State(_) => "state_not_kept",
            Self::Stopping => "interrupted",
        }
    }
}
