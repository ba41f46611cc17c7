//! Commands: accepted durably, brokered to their device, ended exactly once.
//!
//! The way out is [`Commands::send`]: the row is committed before the caller hears "success". The
//! way back is [`apply`], in the inbox's transaction. After a reconnect [`Commands::resume`] sends
//! everything that is still open again; the agent runs an id once.

mod broadcast;
mod dispatch;
mod life;
mod progress;
mod routes;
mod secrets;
mod store;

use std::{sync::Arc, time::Duration};

use cloudcore_protocol::{CommandId, DeviceId, Timestamp};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

pub use life::{Event, State};
pub use progress::{Change, Ending, apply, ending};
pub use routes::routes;
pub use secrets::hide_secrets;
pub use store::{Filter, Row, count_by_status};

use secrets::Parameters;

use crate::{
    blobs::Blobs,
    db::{Db, Write},
    devices::Devices,
    error::{Code, Error, Result},
    keys::Keys,
    link::Registry,
    live::{self, Bus, News, What},
    settings::Settings,
};

/// How long after a sent command's end the hub still waits for the device's own word on it.
const VERDICT: Duration = Duration::from_secs(2);
/// Largest `parameters`, bytes of JSON; a frame holds more.
const MAX_PARAMETERS: usize = 64 * 1024;
/// A command's time where nothing is said, seconds.
const DEFAULT_TIMEOUT: u32 = 30;
/// Most commands of one device that are open at once.
const MAX_OPEN: i64 = 1000;
/// Between two looks at commands that are waited for, at least and at most.
const LEAST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The commands.
pub struct Commands {
    db: Db,
    keys: Arc<Keys>,
    devices: Arc<Devices>,
    registry: Arc<Registry>,
    blobs: Arc<Blobs>,
    bus: Arc<Bus>,
    settings: Arc<Settings>,
    /// A command with a deadline was accepted.
    accepted: Notify,
    /// Wakes when commands have ended.
    ended: watch::Sender<()>,
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

/// A command that was accepted, and goes out once that is committed.
#[derive(Debug)]
#[must_use]
pub struct Accepted {
    /// Its id.
    pub id: CommandId,
    /// From when its time counts.
    pub sent_at: Timestamp,
    /// To whom.
    pub device_id: DeviceId,
    news: News,
    name: String,
    parameters: Parameters,
    timeout: Duration,
}

/// A command that was cancelled; told to its device and to watchers once that is committed.
#[derive(Debug)]
#[must_use]
pub struct Cancelled {
    change: Change,
    news: Vec<News>,
}

impl Commands {
    /// Over this database.
    #[must_use]
    pub fn new(
        db: Db,
        keys: Arc<Keys>,
        devices: Arc<Devices>,
        registry: Arc<Registry>,
        blobs: Arc<Blobs>,
        bus: Arc<Bus>,
        settings: Arc<Settings>,
    ) -> Self {
        Self {
            db,
            keys,
            devices,
            registry,
            blobs,
            bus,
            settings,
            accepted: Notify::new(),
            ended: watch::Sender::new(()),
        }
    }

    /// Accepts a command and hands it to its device if that has a session.
    ///
    /// # Errors
    /// As [`Self::accept`], and API-008 for a device that is away when the command may not wait.
    pub async fn send(&self, new: &NewCommand) -> Result<Accepted> {
        let away = || Error::new(Code::Unreachable, format!("device '{}' is away", new.device_id));
        let node_name = self.devices.get(&new.device_id).await?.node_name;
        let mut tx = self.db.write().await?;
        let accepted = self.accept(&mut tx, new, node_name).await?;
        if !new.queue && !self.registry.is_online(&new.device_id) {
            return Err(away());
        }
        tx.commit().await?;
        let undelivered = self.hand_over(std::slice::from_ref(&accepted)).await;
        if !new.queue && !undelivered.is_empty() {
            let mut tx = self.db.write().await?;
            let cancelled = self.cancel_in(&mut tx, &accepted.id).await?;
            tx.commit().await?;
            self.tell_cancelled(cancelled);
            return Err(away());
        }
        Ok(accepted)
    }

    /// Accepts a command as part of a larger change; [`Self::hand_over`] it when that is
    /// committed. The device, with this node, is known to the caller.
    ///
    /// # Errors
    /// API-001 for bad parameters, API-009 when too many of the device are open already, or during
    /// maintenance.
    pub async fn accept(
        &self,
        tx: &mut Write,
        new: &NewCommand,
        node_name: String,
    ) -> Result<Accepted> {
        self.settings.check_open()?;
        let parameters = Parameters::of(&new.name, &new.parameters)?;
        let (id, sent_at) = (CommandId::generate(), Timestamp::now());
        let deadline = sent_at.plus(new.timeout);
        if store::count_open(tx, &new.device_id).await? >= MAX_OPEN {
            return Err(Error::new(
                Code::Unavailable,
                format!("device '{}' has {MAX_OPEN} open commands", new.device_id),
            ));
        }
        let sealed = parameters.seal(&self.keys, &id)?;
        let kept = (parameters.shown(), sealed);
        store::insert(tx, &id, new, kept, sent_at, deadline).await?;
        let sent = live::Event {
            device_id: Some(new.device_id.as_str()),
            node_name: Some(&node_name),
            what: What::CommandSent { id: id.as_str(), command: &new.name },
        };
        let news = sent.news();
        self.bus.keep(tx, [&news]).await?;
        Ok(Accepted {
            id,
            sent_at,
            device_id: new.device_id.clone(),
            news,
            name: new.name.clone(),
            parameters,
            timeout: new.timeout,
        })
    }

    /// Cancels a command that has not ended: one that its device does not have yet never gets
    /// there, another is stopped there. Says how it stood.
    ///
    /// # Errors
    /// API-004 for an unknown one, API-005 for one that has ended.
    pub async fn cancel(&self, id: &CommandId) -> Result<Row> {
        let mut tx = self.db.write().await?;
        let before =
            store::get(&mut tx, id).await?.ok_or_else(|| Error::not_found("command", id))?;
        let Some(cancelled) = self.cancel_in(&mut tx, id).await? else {
            let ended = before.state.as_str();
            return Err(Error::new(Code::Exists, format!("command '{id}' has ended: {ended}"))
                .with_details(json!({ "command_id": id, "status": ended })));
        };
        tx.commit().await?;
        self.tell_cancelled([cancelled]);
        Ok(before)
    }

    /// Cancels a command as part of a larger change, to be told by [`Self::tell_cancelled`] when
    /// that is committed; `None` for one that has ended.
    ///
    /// # Errors
    /// The database's.
    pub async fn cancel_in(&self, tx: &mut Write, id: &CommandId) -> Result<Option<Cancelled>> {
        let change = apply(tx, id, None, Event::Cancel, &Ending::default()).await?;
        let Some(change) = change else { return Ok(None) };
        let news = self.news(std::slice::from_ref(&change));
        self.bus.keep(tx, &news).await?;
        Ok(Some(Cancelled { change, news }))
    }

    /// Tells devices and watchers of commands that were cancelled.
    pub fn tell_cancelled(&self, cancelled: impl IntoIterator<Item = Cancelled>) {
        for Cancelled { change, news } in cancelled {
            if let Ok(device) = change.device_id.parse() {
                // Also when it was only queued: it may be on its way this moment.
                self.recall(&device, &change.id);
            }
            news.into_iter().for_each(|news| self.bus.publish(news));
            self.wake(&[change]);
        }
    }

    /// A command as it stands.
    ///
    /// # Errors
    /// API-004.
    pub async fn get(&self, id: &CommandId) -> Result<store::Row> {
        store::get(&self.db, id).await?.ok_or_else(|| Error::not_found("command", id))
    }

    /// One page of the commands that match, newest first, how many match in all, and the next
    /// page's cursor.
    ///
    /// # Errors
    /// API-001 for a bad page.
    pub async fn list(&self, filter: &Filter) -> Result<(i64, Vec<Row>, Option<i64>)> {
        store::list(&self.db, filter).await
    }

    /// These commands as they stand, without those that are forgotten.
    ///
    /// # Errors
    /// The database's.
    pub async fn get_all(&self, ids: &[CommandId]) -> Result<Vec<Row>> {
        store::get_all(&self.db, ids).await
    }

    /// Waits until these commands have ended, those that are left are of devices that are away, or
    /// `within` is over.
    ///
    /// # Errors
    /// The database's.
    pub async fn settled(&self, ids: &[CommandId], within: Duration) -> Result<()> {
        let end = tokio::time::Instant::now() + within;
        let mut ended = self.ended.subscribe();
        loop {
            let rows = self.get_all(ids).await?;
            let awaited = rows.iter().any(|row| {
                let online = || row.device_id.parse().is_ok_and(|id| self.registry.is_online(&id));
                !row.state.is_final() && online()
            });
            if !awaited || tokio::time::Instant::now() >= end {
                return Ok(());
            }
            // Others' results must not make this ask the database all the time; a device that goes
            // away says nothing.
            tokio::time::sleep(LEAST_WAIT).await;
            tokio::select! {
                // The sender lives as long as `self`.
                _ = ended.changed() => {}
                () = tokio::time::sleep(LONGEST_WAIT) => {}
                () = tokio::time::sleep_until(end) => {}
            }
        }
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
        let overdue = store::overdue(&mut tx, now, VERDICT).await?;
        let more = overdue.len() >= store::MAX_OVERDUE;
        for id in overdue {
            changes.extend(apply(&mut tx, &id, None, Event::TimeOut, &Ending::default()).await?);
        }
        let next = store::next_deadline(&mut tx, now, VERDICT).await?;
        self.commit(tx, &changes).await?;
        if more {
            return Ok(Duration::from_millis(10));
        }
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
        self.wake(changes);
        Ok(())
    }

    /// Wakes those who wait for ends, once these changes are committed.
    pub fn wake(&self, changes: &[Change]) {
        if changes.iter().any(|change| change.state.is_final()) {
            self.ended.send_replace(());
        }
    }

    /// What watchers are told of changes: the ends among them.
    #[must_use]
    pub fn news(&self, changes: &[Change]) -> Vec<News> {
        let ends = changes.iter().filter(|change| change.state.is_final());
        ends.map(|change| {
            let mut result = change.result.clone().unwrap_or_default();
            self.add_link(&change.device_id, &mut result, self.blobs.base());
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

    /// Turns the picture or file that a result names into a link that a browser opens.
    fn add_link(&self, device_id: &str, result: &mut Value, base: &str) {
        if let Some(hash) = result["file"]["sha256"].as_str() {
            let link = self.blobs.link(device_id, hash);
            result["file_url"] = json!(format!("{base}{link}"));
        }
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

/// Checks what somebody asks for, before it is known of whom: name, parameters, and seconds of
/// time; the time that the command gets.
///
/// # Errors
/// API-001.
pub fn check(name: &str, parameters: &Value, timeout: Option<u32>) -> Result<Duration> {
    let name_ok = (1..=50).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !name_ok {
        return Err(Error::invalid("command must be 1 to 50 lower-case letters, digits and '_'"));
    }
    if !(parameters.is_object() || parameters.is_null()) {
        return Err(Error::invalid("parameters must be an object"));
    }
    let timeout = timeout.unwrap_or(DEFAULT_TIMEOUT);
    if !(1..=86_400).contains(&timeout) {
        return Err(Error::invalid("timeout must be 1 to 86400 seconds"));
    }
    Ok(Duration::from_secs(timeout.into()))
}
