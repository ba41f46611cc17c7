//! How commands move on: what devices and the hub say, in the terms of [`life`](super::life),
//! stored in the transaction of a larger change.

use cloudcore_protocol::{CommandFinished, CommandId, CommandOutcome, DeviceId};
use serde_json::{Value, json};

use super::{Event, State, life::next, store};
use crate::{db::Write, error::Result};

/// A change of a command, to be told to the watchers once it is committed.
#[derive(Debug)]
pub struct Change {
    pub(super) id: CommandId,
    pub(super) device_id: String,
    pub(super) node_name: Option<String>,
    pub(super) name: String,
    pub(super) state: State,
    pub(super) result: Option<Value>,
}

/// What is known of a command's end.
#[derive(Debug, Default)]
pub struct Ending {
    /// The result as the API shows it.
    pub result: Option<Value>,
    /// From start to end by the device's clock, microseconds.
    pub duration_micros: Option<u64>,
}

/// What a device says of a command's end, in the hub's terms.
#[must_use]
pub fn ending(finished: &CommandFinished) -> (Event, Ending) {
    let failed = |reason: &str, message: &str| json!({ "success": false, "error": reason, "message": message });
    let (event, result) = match &finished.outcome {
        CommandOutcome::Completed(text) => match serde_json::from_str::<Value>(text) {
            Ok(result @ Value::Object(_)) => (Event::Complete, result),
            _ => (Event::Fail, failed("bad_result", "the agent's result is not a JSON object")),
        },
        CommandOutcome::Failed(reason, message) => (Event::Fail, failed(reason, message)),
        CommandOutcome::TimedOut => (
            Event::TimeOut,
            failed("timed_out", "the command's time ran out while the device ran it"),
        ),
        CommandOutcome::Cancelled => (Event::Cancel, failed("cancelled", "it was cancelled")),
    };
    (event, Ending { result: Some(result), duration_micros: Some(finished.duration_micros) })
}

/// Moves a command on, in a larger change; `said_by` is the device that says so, or the hub.
/// `None` when there is no such command of that device or it has ended already: what comes late
/// changes nothing.
///
/// # Errors
/// The database's.
pub async fn apply(
    tx: &mut Write,
    id: &CommandId,
    said_by: Option<&DeviceId>,
    event: Event,
    ending: &Ending,
) -> Result<Option<Change>> {
    let Some(row) = store::get(&mut *tx, id).await? else { return Ok(None) };
    if said_by.is_some_and(|device| device.as_str() != row.device_id) {
        tracing::warn!(?said_by, command_id = %id, "a device spoke of another's command");
        return Ok(None);
    }
    // A device that ran it knows better than the note that it was sent, which may have been lost.
    let state = match (row.state, ending.duration_micros) {
        (State::Queued, Some(_)) => State::Sent,
        (state, _) => state,
    };
    let Ok(after) = next(state, event) else { return Ok(None) };
    if after == row.state {
        return Ok(None);
    }
    let result = ending.result.clone().or_else(|| default_result(row.state, after));
    store::set_state(tx, id, after, result.as_ref(), ending.duration_micros).await?;
    Ok(Some(Change {
        id: id.clone(),
        device_id: row.device_id,
        node_name: row.node_name,
        name: row.name,
        state: after,
        result,
    }))
}

/// What the API shows of an end that no device spoke of.
fn default_result(before: State, after: State) -> Option<Value> {
    let message = match (before, after) {
        (_, State::Expired) => "the device did not come back in time",
        (_, State::TimedOut) => "the device did not answer in time",
        (State::Queued, State::Cancelled) => "it was cancelled before the device had it",
        (_, State::Cancelled) => "it was cancelled; what the device had done by then is done",
        _ => return None,
    };
    Some(json!({ "success": false, "error": after.as_str(), "message": message }))
}
