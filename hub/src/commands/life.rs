//! The life of a command, as a pure function.
//!
//! ```text
//! queued ──► sent ──► running ──► completed | failed
//!    │         │         │
//!    ├─► expired └────────┴──────► timed_out
//!    └─────────┴─────────┴───────► cancelled
//! ```

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a command stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CommandState)]
pub enum State {
    /// Accepted, and waiting for its device.
    Queued,
    /// Handed to the device's session.
    Sent,
    /// The device runs it.
    Running,
    /// It ended as asked.
    Completed,
    /// It ended otherwise.
    Failed,
    /// Its time ran out after it had been sent.
    TimedOut,
    /// Somebody cancelled it.
    Cancelled,
    /// Its time ran out before it could be sent.
    Expired,
}

/// What happens to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// It was handed to the device's session.
    Deliver,
    /// The device says that it runs.
    Start,
    /// The device says that it ended as asked.
    Complete,
    /// The device says that it ended otherwise.
    Fail,
    /// Its time is over, by the hub's clock or the device's.
    TimeOut,
    /// It is to end, or the device says that it was cancelled.
    Cancel,
}

/// A command that has ended stays as it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended;

impl State {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Sent,
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::TimedOut,
        Self::Cancelled,
        Self::Expired,
    ];

    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// From what is stored.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether it is over.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Sent | Self::Running)
    }
}

/// What `event` makes of a command in `state`. What a device says may arrive before the hub has
/// noted that it sent the command, and a start may arrive twice.
///
/// # Errors
/// [`Ended`] when it is over already.
pub const fn next(state: State, event: Event) -> Result<State, Ended> {
    if state.is_final() {
        return Err(Ended);
    }
    Ok(match (state, event) {
        (State::Queued, Event::Deliver) => State::Sent,
        (state, Event::Deliver) => state,
        (_, Event::Start) => State::Running,
        (_, Event::Complete) => State::Completed,
        (_, Event::Fail) => State::Failed,
        (State::Queued, Event::TimeOut) => State::Expired,
        (_, Event::TimeOut) => State::TimedOut,
        (_, Event::Cancel) => State::Cancelled,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [Event; 6] =
        [Event::Deliver, Event::Start, Event::Complete, Event::Fail, Event::TimeOut, Event::Cancel];

    fn rank(state: State) -> u8 {
        match state {
            State::Queued => 0,
            State::Sent => 1,
            State::Running => 2,
            _ => 3,
        }
    }

    #[test]
    fn a_life_only_goes_forward_and_ends_once() {
        for state in State::ALL {
            for event in EVENTS {
                match next(state, event) {
                    Ok(after) => {
                        assert!(!state.is_final());
                        assert!(rank(after) >= rank(state), "{state:?} {event:?} {after:?}");
                    }
                    Err(Ended) => assert!(state.is_final()),
                }
            }
        }
    }

    #[test]
    fn time_that_runs_out_before_delivery_is_an_expiry() {
        assert_eq!(next(State::Queued, Event::TimeOut), Ok(State::Expired));
        assert_eq!(next(State::Sent, Event::TimeOut), Ok(State::TimedOut));
        assert_eq!(next(State::Running, Event::TimeOut), Ok(State::TimedOut));
    }

    #[test]
    fn names_are_distinct_and_parse() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
        assert_eq!(State::parse("lost"), None);
    }
}
