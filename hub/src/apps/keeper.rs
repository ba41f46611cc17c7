//! Keeps apps on nodes of the cluster as they are wanted. It alone changes what is in the cluster of
//! them: an order is stored, and this brings it there; what somebody deletes or changes is brought
//! back the same way. What others hold is not fought over: that is logged once, and shown.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cloudcore_protocol::command::AppName;
use futures_util::{StreamExt as _, stream};
use tokio::{
    sync::{Notify, broadcast::error::RecvError, oneshot},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Apps,
    store::{self, nodes::NodeRow},
};
use crate::{
    cluster::{AppsSeen, Print, Refusal, Standing},
    error::{Code, Error, Result},
};

/// How often all of it is applied though nothing seems to differ: what is secret is not watched.
const RESYNC: Duration = Duration::from_secs(300);
/// Apps that are changed at once.
const AT_ONCE: usize = 8;
/// Longest work on one of them.
const WORK: Duration = Duration::from_secs(25);
/// Shortest wait before the same app is changed again, whatever happens to it.
const LEAST: Duration = Duration::from_secs(1);
/// How late a watch may be.
const LATE: Duration = Duration::from_secs(10);
/// What happens within this is looked at together.
const TOGETHER: Duration = Duration::from_millis(50);

/// App and node.
type Key = (String, String);

/// What somebody waits for.
pub(super) struct Goal {
    key: Key,
    /// The revision that is to be there; `None` where nothing is.
    revision: Option<i64>,
}

impl Goal {
    pub(super) fn there(app: &AppName, node: &str, revision: i64) -> Self {
        Self { key: (app.to_string(), node.to_owned()), revision: Some(revision) }
    }

    pub(super) fn gone(app: &AppName, node: &str) -> Self {
        Self { key: (app.to_string(), node.to_owned()), revision: None }
    }
}

/// Who waits for a goal.
pub(super) struct Waiting {
    pub(super) node: String,
    /// Comes when it was reached, and never where the cluster has refused.
    pub(super) done: oneshot::Receiver<Done>,
}

/// What was done about an app on a node.
#[derive(Clone)]
pub(super) struct Done {
    /// As `Deployment created`.
    pub(super) actions: Vec<String>,
    /// What its objects then were; nothing where there are none.
    pub(super) print: Option<Print>,
}

/// What the rooms say to the keeper.
#[derive(Default)]
pub(super) struct Keeper {
    wake: Notify,
    waiting: Mutex<Goals>,
}

/// The revisions that are waited for, and by whom.
type Goals = HashMap<Key, Vec<(Option<i64>, oneshot::Sender<Done>)>>;

impl Keeper {
    fn waiting(&self) -> MutexGuard<'_, Goals> {
        // Nothing panics while it holds the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is something new in the database.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits for these goals: to be called before what makes them so is committed.
    pub(super) fn expect(&self, goals: Vec<Goal>) -> Vec<Waiting> {
        let mut waiting = self.waiting();
        // Who has given up waits no more.
        waiting.retain(|_, all| {
            all.retain(|(_, sender)| !sender.is_closed());
            !all.is_empty()
        });
        goals
            .into_iter()
            .map(|Goal { key, revision }| {
                let (sender, done) = oneshot::channel();
                let node = key.1.clone();
                waiting.entry(key).or_default().push((revision, sender));
                Waiting { node, done }
            })
            .collect()
    }

    /// Tells those who wait for this: what was done, or nothing where it was refused.
    fn tell(&self, key: &Key, reached: Option<i64>, done: Option<&Done>) {
        let mut waiting = self.waiting();
        let Some(all) = waiting.get_mut(key) else { return };
        let is_reached = |goal: Option<i64>| match (goal, reached) {
            // A newer order is more than was waited for.
            (Some(goal), Some(reached)) => goal <= reached,
            (None, None) => true,
            _ => false,
        };
        for (_, sender) in all.extract_if(.., |(goal, _)| is_reached(*goal)) {
            if let Some(done) = done {
                // Nobody may be waiting any more.
                let _ = sender.send(done.clone());
            }
        }
        if all.is_empty() {
            waiting.remove(key);
        }
    }
}

/// What was last done about an app on a node.
struct Known {
    revision: i64,
    wanted: bool,
    /// What its objects were when it was applied; nothing where that failed.
    print: Option<Print>,
    /// What the watches said of them before that, and may go on to say for a while.
    stale: Option<Print>,
    /// For how long, where it was applied.
    late: Instant,
    /// When it is looked at again at the latest, and at the soonest.
    again: Instant,
    soonest: Instant,
    failures: u32,
    /// Why it failed, as it was logged.
    said: Option<String>,
}

impl Known {
    fn differs(&self, seen: &Print, now: Instant) -> bool {
        let is_late = self.print.is_none() || now < self.late;
        self.print.as_ref() != Some(seen) && !(is_late && self.stale.as_ref() == Some(seen))
    }

    /// When to look again if nothing happens.
    fn next(&self, seen: &Print, now: Instant) -> Instant {
        if self.differs(seen, now) {
            return self.soonest;
        }
        match self.stale {
            Some(_) if self.print.is_some() && now < self.late => self.late.min(self.again),
            _ => self.again,
        }
    }
}

impl Apps {
    /// Keeps apps on nodes of the cluster as they are wanted, until `shutdown`.
    pub async fn keep(&self, shutdown: CancellationToken) {
        let mut changes = self.cluster.app_changes(false);
        let mut removals = self.devices.removals();
        let mut known = HashMap::new();
        let mut was_there = false;
        loop {
            let is_there = self.cluster.standing() == Standing::Connected;
            if is_there && !was_there {
                // What failed for want of a cluster need not wait.
                known.values_mut().for_each(|known: &mut Known| known.again = known.soonest);
            }
            was_there = is_there;
            let round = async {
                if !is_there {
                    return RESYNC;
                }
                self.round(&mut known).await.unwrap_or_else(|error| {
                    tracing::error!(?error, "apps on the cluster's nodes can't be kept");
                    Duration::from_secs(5)
                })
            };
            let wait = tokio::select! {
                () = shutdown.cancelled() => return,
                wait = round => wait,
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                () = self.keeper.wake.notified() => {}
                () = changes.next() => tokio::time::sleep(TOGETHER).await,
                removed = removals.recv() => if removed == Err(RecvError::Closed) { return },
            }
        }
    }

    /// Has the keeper look at what is wanted: a backup has put other apps in place.
    pub fn restored(&self) {
        self.keeper.wake();
    }

    /// Does what is due, and says when to look again if nothing happens.
    async fn round(&self, known: &mut HashMap<Key, Known>) -> Result<Duration> {
        let rows = store::nodes::all(&self.db).await?;
        let keys: HashSet<Key> = rows.iter().map(key).collect();
        known.retain(|key, _| keys.contains(key));
        let seen = self.cluster.apps_seen();
        let now = Instant::now();
        for row in &rows {
            if let Some(known) = known.get_mut(&key(row))
                && known.print.as_ref() == Some(&seen.print(&row.app, &row.node))
            {
                known.stale = None;
            }
        }
        let due = rows.into_iter().filter(|row| is_due(known.get(&key(row)), row, &seen, now));
        let due: Vec<_> = due.collect();
        let done: Vec<_> = stream::iter(due)
            .map(|row| async move {
                let done = self.work(&row).await;
                (row, done)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        self.note(&done).await?;
        for (row, done) in done {
            let key = key(&row);
            let before = known.remove(&key);
            // Of before: what changed meanwhile is not what was applied.
            let stale = Some(seen.print(&row.app, &row.node));
            let after = after(&row, before, stale, &done);
            known.insert(key.clone(), after);
            let reached = row.is_wanted().then_some(row.revision);
            match &done {
                Ok(done) => self.keeper.tell(&key, reached, Some(done)),
                Err(refusal) if refusal.is_away => {}
                Err(_) => self.keeper.tell(&key, reached, None),
            }
        }
        let (now, seen) = (Instant::now(), self.cluster.apps_seen());
        let next = known.iter().map(|((app, node), known)| match seen.is_now {
            true => known.next(&seen.print(app, node), now),
            false => known.again,
        });
        let next = next.min().map_or(RESYNC, |next| next.saturating_duration_since(now));
        Ok(next.max(TOGETHER))
    }

    /// Brings one app on one node to what is wanted.
    async fn work(&self, row: &NodeRow) -> Result<Done, Refusal> {
        let work = async {
            if !row.is_wanted() {
                let app: AppName = row.app.parse().map_err(Error::internal)?;
                let actions = self.cluster.remove_app(&app, &row.node).await?;
                return Ok(Done { actions, print: None });
            }
            let told = self.told(&row.app, &row.node).await?;
            let told = told.ok_or_else(|| Error::not_found("app", &row.app))?;
            let applied = self.cluster.apply_app(&told).await?;
            Ok(Done { actions: applied.actions, print: Some(applied.print) })
        };
        timeout(WORK, work).await.unwrap_or_else(|_| {
            let error = Box::new(Error::new(Code::Unavailable, "the cluster took too long"));
            Err(Refusal { reason: "cluster_away", is_away: true, error })
        })
    }

    /// Stores what became of apps, where that is something new.
    async fn note(&self, done: &[(NodeRow, Result<Done, Refusal>)]) -> Result<()> {
        let is_new = |(row, done): &&(NodeRow, Result<Done, Refusal>)| match done {
            Ok(_) => !row.is_taken(),
            Err(refusal) => !refusal.is_away && !row.says(refusal.reason, &refusal.error.message),
        };
        if !done.iter().any(|one| is_new(&one)) {
            return Ok(());
        }
        let mut tx = self.db.write().await?;
        for (row, done) in done.iter().filter(is_new) {
            match done {
                Ok(_) if row.is_wanted() => store::nodes::applied(&mut tx, row).await?,
                Ok(_) => store::nodes::removed(&mut tx, row).await?,
                Err(refusal) => {
                    let message = &refusal.error.message;
                    store::nodes::refused(&mut tx, row, refusal.reason, message).await?;
                }
            }
        }
        tx.commit().await
    }
}

fn key(row: &NodeRow) -> Key {
    (row.app.clone(), row.node.clone())
}

fn is_due(known: Option<&Known>, row: &NodeRow, seen: &AppsSeen, now: Instant) -> bool {
    let Some(known) = known else { return true };
    if known.revision != row.revision || known.wanted != row.is_wanted() {
        return true;
    }
    if now < known.soonest {
        return false;
    }
    now >= known.again || (seen.is_now && known.differs(&seen.print(&row.app, &row.node), now))
}

/// What is known after work was done.
fn after(
    row: &NodeRow,
    before: Option<Known>,
    stale: Option<Print>,
    done: &Result<Done, Refusal>,
) -> Known {
    let now = Instant::now();
    let failures = before.as_ref().map_or(0, |before| before.failures).saturating_add(1);
    let said = before.and_then(|before| before.said);
    let known = Known {
        revision: row.revision,
        wanted: row.is_wanted(),
        print: None,
        stale,
        again: now + RESYNC,
        soonest: now + LEAST,
        late: now + LATE,
        failures: 0,
        said: None,
    };
    match done {
        Ok(done) => {
            if said.is_some() {
                tracing::info!(app = row.app, node = row.node, "the cluster takes the app again");
            }
            Known { print: done.print.clone(), ..known }
        }
        Err(refusal) => {
            let Refusal { reason, error, is_away } = refusal;
            let says = format!("{reason}: {}", error.message);
            if *is_away {
                tracing::debug!(?error, app = row.app, node = row.node, "the cluster is away");
            } else if said.as_ref() != Some(&says) {
                let (app, node) = (&row.app, &row.node);
                tracing::warn!(?error, app, node, reason, "the cluster does not take an app");
            }
            // Doubled with each failure.
            let wait = LEAST.saturating_mul(1 << failures.min(9)).min(RESYNC);
            Known { again: now + wait, failures, said: Some(says), ..known }
        }
    }
}
