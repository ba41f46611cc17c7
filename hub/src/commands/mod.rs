//! Commands: accepted durably, brokered to their device, ended exactly once.
//!
//! The way out is [`Commands::send`]: the row is committed before the caller hears "success". The
//! way back is [`apply`], in the inbox's transaction. After a reconnect [`Commands::resume`] sends
//! everything that is still open again; the agent runs an id once.

mod life;
mod routes;
mod store;

use std::{sync::Arc, time::Duration};

use cloudcore_protocol::{
    Command, CommandFinished, CommandId, CommandOutcome, DeviceId, Frame, Timestamp,
    command::{CommandError, Task},
};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use url::Url;

use life::next;
pub use life::{Event, State};
pub use routes::routes;

use crate::{
    blobs::Blobs,
    db::{Db, Write},
    devices::Devices,
    error::{Code, Error, Result},
    link::{Registry, Session},
    live::{self, Bus, News, What},
    settings::Settings,
};

/// How long after a sent command's end the hub still waits for the device's own word on it.
const VERDICT: Duration = Duration::from_secs(2);
/// Largest `parameters`, bytes of JSON; a frame holds more.
const MAX_PARAMETERS: usize = 64 * 1024;
/// Most commands of one device that are open at once.
const MAX_OPEN: i64 = 1000;

/// The commands.
pub struct Commands {
    db: Db,
    devices: Arc<Devices>,
    registry: Arc<Registry>,
    blobs: Arc<Blobs>,
    bus: Arc<Bus>,
    settings: Arc<Settings>,
    /// Base of the links that watchers are told; they asked for nothing that could say it.
    base: String,
    /// A command with a deadline was accepted.
    accepted: Notify,
}

/// A command that an operator sends.
#[derive(Debug)]
pub struct NewCommand {
    /// To whom.
    pub device_id: DeviceId,
    /// Its name; may be one that only the agent knows.
    pub name: String,
    /// An object, or null.
    pub parameters: Value,
    /// From now on.
    pub timeout: Duration,
    /// Whether it may wait for a device that is away.
    pub queue: bool,
}

/// A command that was accepted.
#[derive(Debug)]
pub struct Accepted {
    /// Its id.
    pub id: CommandId,
    /// From when its time counts.
    pub sent_at: Timestamp,
}

/// A change of a command, to be told to the watchers once it is committed.
#[derive(Debug)]
pub struct Change {
    id: CommandId,
    device_id: String,
    node_name: Option<String>,
    name: String,
    state: State,
    result: Option<Value>,
}

impl Commands {
    /// Over this database.
    #[must_use]
    pub fn new(
        db: Db,
        devices: Arc<Devices>,
        registry: Arc<Registry>,
        blobs: Arc<Blobs>,
        bus: Arc<Bus>,
        settings: Arc<Settings>,
        public_url: Option<&Url>,
    ) -> Self {
        let base = public_url.map_or("", |url| url.as_str().trim_end_matches('/')).to_owned();
        Self { db, devices, registry, blobs, bus, settings, base, accepted: Notify::new() }
    }

    /// Accepts a command and hands it to its device if that has a session.
    ///
    /// # Errors
    /// API-001 for bad parameters, API-004 for an unknown device, API-008 for one that is away
    /// when the command may not wait, API-009 when too many wait already,
    /// or during maintenance.
    pub async fn send(&self, new: &NewCommand) -> Result<Accepted> {
        self.settings.check_open()?;
        let parameters = match Task::parse(&new.name, &new.parameters) {
            // A newer agent may know it; an older one says that it does not.
            Ok(_) | Err(CommandError::Unknown(_)) => new.parameters.to_string(),
            Err(bad @ CommandError::Parameters { .. }) => {
                return Err(Error::invalid(bad.to_string()));
            }
        };
        if parameters.len() > MAX_PARAMETERS {
            return Err(Error::invalid(format!(
                "parameters must have at most {MAX_PARAMETERS} bytes"
            )));
        }
        let device = self.devices.get(&new.device_id).await?;
        if !new.queue && !self.registry.is_online(&new.device_id) {
            return Err(Error::new(
                Code::Unreachable,
                format!("device '{}' is away", new.device_id),
            ));
        }
        let (id, sent_at) = (CommandId::generate(), Timestamp::now());
        let deadline = sent_at.plus(new.timeout);
        let mut tx = self.db.write().await?;
        if store::count_open(&mut tx, &new.device_id).await? >= MAX_OPEN {
            return Err(Error::new(
                Code::Unavailable,
                format!("device '{}' has {MAX_OPEN} open commands", new.device_id),
            ));
        }
        store::insert(&mut tx, &id, new, &parameters, sent_at, deadline).await?;
        let sent = live::Event {
            device_id: Some(new.device_id.as_str()),
            node_name: Some(&device.node_name),
            what: What::CommandSent { id: id.as_str(), command: &new.name },
        };
        let sent = sent.news();
        self.bus.keep(&mut tx, [&sent]).await?;
        tx.commit().await?;
        self.accepted.notify_one();
        self.bus.publish(sent);
        let frame = Frame::Command(Command {
            id: id.clone(),
            name: new.name.clone(),
            parameters,
            time_left_ms: millis(new.timeout),
        });
        if self.registry.send(&new.device_id, frame).is_ok() {
            self.delivered(std::slice::from_ref(&id)).await;
        } else if !new.queue {
            let mut tx = self.db.write().await?;
            let change = apply(&mut tx, &id, None, Event::Cancel, &Ending::default()).await?;
            self.commit(tx, change.as_slice()).await?;
            return Err(Error::new(
                Code::Unreachable,
                format!("device '{}' is away", new.device_id),
            ));
        }
        Ok(Accepted { id, sent_at })
    }

    /// Notes that commands were handed over. If this fails they only look queued, and are handed
    /// over again after the next reconnect.
    async fn delivered(&self, ids: &[CommandId]) {
        let noted = async {
            let mut tx = self.db.write().await?;
            for id in ids {
                apply(&mut tx, id, None, Event::Deliver, &Ending::default()).await?;
            }
            tx.commit().await
        };
        if let Err(error) = noted.await {
            tracing::warn!(?ids, ?error, "can't note that commands were sent");
        }
    }

    /// Hands everything that is still open to a device that has come back.
    ///
    /// # Errors
    /// The database's.
    pub async fn resume(&self, session: &Session) -> Result<()> {
        let open = store::open_of(&self.db, &session.device_id).await?;
        let now = Timestamp::now();
        let mut delivered = Vec::new();
        for row in open {
            let left = row.deadline.since(now);
            if left.is_zero() {
                continue;
            }
            let frame = Frame::Command(Command {
                id: row.id.clone(),
                name: row.name,
                parameters: row.parameters,
                time_left_ms: millis(left),
            });
            if session.send(frame).is_err() {
                break;
            }
            delivered.push(row.id);
        }
        if !delivered.is_empty() {
            self.delivered(&delivered).await;
        }
        Ok(())
    }

    /// A command as it stands.
    ///
    /// # Errors
    /// API-004.
    pub async fn get(&self, id: &CommandId) -> Result<store::Row> {
        store::get(&self.db, id).await?.ok_or_else(|| Error::not_found("command", id))
    }

    /// Ends commands whose time is over, until `shutdown`.
    pub async fn watch_deadlines(&self, shutdown: CancellationToken) {
        loop {
            let wait = match self.end_overdue().await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::error!(?error, "overdue commands can't be ended");
                    Duration::from_secs(1)
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                () = self.accepted.notified() => {}
            }
        }
    }

    /// Ends what is overdue, and says when to look again.
    async fn end_overdue(&self) -> Result<Duration> {
        let now = Timestamp::now();
        let mut tx = self.db.write().await?;
        let mut changes = Vec::new();
        for id in store::overdue(&mut tx, now, VERDICT).await? {
            changes.extend(apply(&mut tx, &id, None, Event::TimeOut, &Ending::default()).await?);
        }
        let next = store::next_deadline(&mut tx, now, VERDICT).await?;
        self.commit(tx, &changes).await?;
        // A clock that jumps must not make this sleep for long.
        let longest = Duration::from_secs(30);
        Ok(next.map_or(longest, |at| at.since(now)).clamp(Duration::from_millis(10), longest))
    }

    /// Removes commands that ended before `before`.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget(&self, before: Timestamp) -> Result<()> {
        let mut tx = self.db.write().await?;
        store::forget(&mut tx, before).await?;
        tx.commit().await
    }

    /// Commits changes and tells the watchers.
    async fn commit(&self, mut tx: Write, changes: &[Change]) -> Result<()> {
        let news = self.news(changes);
        self.bus.keep(&mut tx, &news).await?;
        tx.commit().await?;
        news.into_iter().for_each(|news| self.bus.publish(news));
        Ok(())
    }

    /// What watchers are told of changes: the ends among them.
    #[must_use]
    pub fn news(&self, changes: &[Change]) -> Vec<News> {
        let ends = changes.iter().filter(|change| change.state.is_final());
        ends.map(|change| {
            let mut result = change.result.clone().unwrap_or_default();
            self.add_link(&change.device_id, &mut result, &self.base);
            live::Event {
                device_id: Some(&change.device_id),
                node_name: change.node_name.as_deref(),
                what: What::CommandResult {
                    id: change.id.as_str(),
                    command: &change.name,
                    status: change.state.as_str(),
                    result: &result,
                },
            }
            .news()
        })
        .collect()
    }

    /// Turns the picture that a result names into a link that a browser opens.
    fn add_link(&self, device_id: &str, result: &mut Value, base: &str) {
        let Some(image) = result.get("image").cloned() else { return };
        if let Some(hash) = image["sha256"].as_str() {
            result["image_url"] = json!(format!("{base}{}", self.blobs.link(device_id, hash)));
        }
        if let Some(bytes) = image["size_bytes"].as_u64() {
            result["size"] = json!(crate::api::size(bytes));
            result["size_bytes"] = json!(bytes);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
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
    let result = ending.result.clone().or_else(|| default_result(after));
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
fn default_result(state: State) -> Option<Value> {
    let message = match state {
        State::Expired => "the device did not come back in time",
        State::TimedOut => "the device did not answer in time",
        State::Cancelled => "it was cancelled",
        _ => return None,
    };
    Some(json!({ "success": false, "error": state.as_str(), "message": message }))
}
