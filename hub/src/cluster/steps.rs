//! What one order does in the cluster, object by object, so that it can be taken back.

use std::time::Duration;

use kube::api::DynamicObject;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::{
    apply::{Change, Object},
    connection::Connection,
    error::Failure,
};
use crate::error::Error;

/// Longest that taking back may take.
const TAKE_BACK: Duration = Duration::from_secs(10);

/// What was done so far, the first first.
#[derive(Default)]
pub(super) struct Steps {
    done: Vec<Step>,
}

/// An object that was applied.
pub(super) struct Step {
    /// What the order calls it.
    pub(super) what: String,
    pub(super) object: Object,
    pub(super) change: Change,
    /// Whether it stays, also if it was made: others may have put something in it.
    stays: bool,
}

impl Steps {
    pub(super) const fn done(&self) -> &[Step] {
        self.done.as_slice()
    }

    /// Applies an object; its step.
    pub(super) async fn apply(
        &mut self,
        connection: &Connection,
        what: &str,
        object: &Object,
    ) -> Result<DynamicObject, Failure> {
        let (after, change) = connection.apply(object).await?;
        let (what, object) = (what.to_owned(), object.clone());
        self.done.push(Step { what, object, change, stays: false });
        Ok(after)
    }

    /// The same, of what is not taken back.
    pub(super) async fn apply_for_good(
        &mut self,
        connection: &Connection,
        what: &str,
        object: &Object,
    ) -> Result<(), Failure> {
        self.apply(connection, what, object).await?;
        if let Some(step) = self.done.last_mut() {
            step.stays = true;
        }
        Ok(())
    }

    /// Deletes what was made before `error`, and has the error say what that left.
    pub(super) async fn take_back(self, connection: &Connection, error: Error) -> Error {
        let (mut undone, mut left) = (Vec::new(), Vec::new());
        let by = Instant::now() + TAKE_BACK;
        for Step { what, object, change, stays } in self.done.into_iter().rev() {
            match change {
                Change::Unchanged => {}
                Change::Created if !stays => {
                    let Object { resource, namespace, name, .. } = &object;
                    let gone = connection.delete(resource, namespace.as_deref(), name);
                    match timeout_at(by, gone).await {
                        Ok(Ok(_)) => undone.push(what),
                        failed => {
                            tracing::error!(?failed, what, name, "an object can't be taken back");
                            left.push(what);
                        }
                    }
                }
                // What it was before is not known any more.
                Change::Created | Change::Updated => left.push(what),
            }
        }
        let message = match (undone.as_slice(), left.as_slice()) {
            ([], []) => return error,
            (_, []) => format!("{}; what was made before is taken back", error.message),
            (_, left) => format!("{}; left in the cluster: {}", error.message, left.join(", ")),
        };
        let mut details = json!({ "undone": undone, "left": left });
        if let (Value::Object(all), Value::Object(more)) = (&mut details, error.details.clone()) {
            all.extend(more);
        }
        Error { message: message.into(), ..error }.with_details(details)
    }
}
