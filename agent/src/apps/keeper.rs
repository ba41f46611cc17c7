//! The one that changes containers: carries orders out, and has what is to run run, whoever or
//! whatever stopped it.

use std::{collections::BTreeMap, time::Duration};

use cloudcore_protocol::{
    Alert, AppState, CommandId,
    command::{AppName, DeployApp},
};
use time::OffsetDateTime;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    AppError, MAX_APPS, Order,
    container::{self, Look, Standing},
    desired::{Desired, Entry},
    engine::{Engine, Image, Ours},
    update,
};
use crate::{config::Settings, outbox::Outbox};

/// From look to look while apps are to run.
const LOOK: Duration = Duration::from_secs(5);
/// The same where none is.
const IDLE: Duration = Duration::from_secs(300);
/// Looks in a row at which an app does not work until it has failed for good.
const PATIENCE: u32 = 3;
/// Longest sentence about an app in a heartbeat, characters.
const MAX_MESSAGE: usize = 300;
const ALERT: &str = "app_failed";

/// See the [room](super).
#[derive(Debug)]
pub struct Keeper {
    settings: Settings,
    outbox: Outbox,
    desired: Desired,
    orders: mpsc::Receiver<Order>,
    states: watch::Sender<Option<Vec<AppState>>>,
    /// How each app was at the last looks.
    records: BTreeMap<String, Record>,
    /// Whether the alert goes on; `None` until it was asked.
    alerted: Option<bool>,
}

#[derive(Debug, Clone, Default)]
struct Record {
    /// Looks in a row at which it did not work.
    bad: u32,
    failed: Option<(&'static str, String)>,
    restarts: u64,
    health: Option<&'static str>,
}

impl Keeper {
    pub(super) fn new(
        settings: Settings,
        outbox: Outbox,
        desired: Desired,
        orders: mpsc::Receiver<Order>,
        states: watch::Sender<Option<Vec<AppState>>>,
    ) -> Self {
        let (records, alerted) = (BTreeMap::new(), None);
        Self { settings, outbox, desired, orders, states, records, alerted }
    }

    /// Keeps apps until cancelled; they run on without the agent.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut next = Instant::now();
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep_until(next) => {
                    tokio::select! {
                        () = cancel.cancelled() => return,
                        done = self.look() => {
                            let rest = match done {
                                Ok(()) | Err(AppError::NoEngine) if self.idle() => IDLE,
                                _ => LOOK,
                            };
                            next = Instant::now() + rest;
                        }
                    }
                }
                order = self.orders.recv() => match order {
                    None => return,
                    Some(order) => {
                        self.obey(order).await;
                        next = Instant::now() + LOOK;
                    }
                },
            }
            self.tell().await;
        }
    }

    fn idle(&self) -> bool {
        self.desired.apps().is_empty()
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Deploy { id, app, image, mut answer } => {
                let done = self.deploy(&id, *app, &image, &mut answer).await;
                if done.is_err() {
                    self.forget_image(&image.id, image.fetched).await;
                }
                let _ = answer.send(done);
            }
            Order::Remove { name, answer } => {
                let done = self.remove(&name).await;
                let _ = answer.send(done);
            }
        }
    }

    async fn deploy(
        &mut self,
        id: &CommandId,
        app: DeployApp,
        image: &Image,
        answer: &mut oneshot::Sender<Result<(), AppError>>,
    ) -> Result<(), AppError> {
        if answer.is_closed() {
            return Err(AppError::Withdrawn);
        }
        let config = self.settings.get();
        let (device, name) = (config.device_id.as_str(), app.name.to_string());
        let former = self.desired.apps().get(&name).cloned();
        if former.is_none() && self.desired.apps().len() >= MAX_APPS {
            return Err(AppError::TooMany(MAX_APPS));
        }
        let same_image = former.as_ref().filter(|former| former.image_id == image.id);
        let entry = Entry {
            app,
            order: id.clone(),
            image_id: image.id.clone(),
            fetched: image.fetched || same_image.is_some_and(|former| former.fetched),
        };
        let engine = Engine::connect(&self.settings)?;
        let mut before = engine.ours(device).await?;
        before.retain(|one| one.app == name);
        if self.runs_already(&engine, &entry, &before).await? {
            return self.keep(&name, entry).await;
        }
        let withdrawn = answer.closed();
        let tried =
            update::attempt(&engine, device, &config.apps, id, &entry, before, withdrawn).await?;
        if let Err(error) = self.keep(&name, entry).await {
            return Err(tried.undo(error).await);
        }
        tried.settle().await;
        if let Some(former) = former.filter(|former| former.image_id != image.id) {
            self.forget_image(&former.image_id, former.fetched).await;
        }
        Ok(())
    }

    /// Whether exactly this runs and works.
    async fn runs_already(
        &self,
        engine: &Engine,
        entry: &Entry,
        before: &[Ours],
    ) -> Result<bool, AppError> {
        let spec = container::spec(entry, &self.settings.get().apps);
        let [one] = before else { return Ok(false) };
        if one.spec != spec {
            return Ok(false);
        }
        let found = engine.inspect(&one.id).await?;
        let look = found.map(|found| container::look(&found, OffsetDateTime::now_utc()));
        Ok(look.is_some_and(|look| look.standing == Standing::Works))
    }

    async fn keep(&mut self, name: &str, entry: Entry) -> Result<(), AppError> {
        self.desired.change(|apps| drop(apps.insert(name.to_owned(), entry))).await?;
        self.records.insert(name.to_owned(), Record::default());
        Ok(())
    }

    /// Whether it was there. What can't be removed now is removed by a later look.
    async fn remove(&mut self, name: &AppName) -> Result<bool, AppError> {
        let former = self.desired.apps().get(name.as_str()).cloned();
        if former.is_some() {
            self.desired.change(|apps| drop(apps.remove(name.as_str()))).await?;
            self.records.remove(name.as_str());
        }
        let engine = Engine::connect(&self.settings)?;
        let ours = engine.ours(self.settings.get().device_id.as_str()).await?;
        let mut found = false;
        for one in ours.iter().filter(|one| one.app == name.as_str()) {
            found = true;
            engine.stop(&one.id).await?;
            engine.remove(&one.id).await?;
        }
        if let Some(former) = &former {
            self.forget_image(&former.image_id, former.fetched).await;
        }
        Ok(found || former.is_some())
    }

    /// Removes an image that the agent fetched and no app needs any more.
    async fn forget_image(&self, id: &str, fetched: bool) {
        if !fetched || self.desired.apps().values().any(|entry| entry.image_id == id) {
            return;
        }
        let removed = match Engine::connect(&self.settings) {
            Ok(engine) => engine.remove_image(id).await,
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            tracing::warn!(%error, image = id, "an image that no app needs is still there");
        }
    }

    /// Looks at all containers of ours, and makes of them what is to be.
    async fn look(&mut self) -> Result<(), AppError> {
        let looked = self.look_at_all().await;
        if let Err(error) = &looked {
            let names: Vec<_> = self.desired.apps().keys().cloned().collect();
            for name in names {
                self.note(&name, Err(error));
            }
            if !self.idle() {
                tracing::warn!(%error, "apps can't be looked at");
            }
        }
        looked
    }

    async fn look_at_all(&mut self) -> Result<(), AppError> {
        let engine = Engine::connect(&self.settings)?;
        let device = self.settings.get().device_id.clone();
        let mut ours = engine.ours(device.as_str()).await?;
        for (name, entry) in self.desired.apps().clone() {
            let (of_app, others) = ours.into_iter().partition(|one| one.app == name);
            ours = others;
            let looked = self.look_at(&engine, &entry, of_app).await;
            if let Err(error) = &looked {
                tracing::warn!(app = name, %error, "an app is not as it is to be");
            }
            self.note(&name, looked.as_ref());
        }
        for stray in ours {
            tracing::info!(container = stray.name, "removed: no app that is to run");
            engine.remove(&stray.id).await?;
        }
        Ok(())
    }

    /// Brings one app back if it is not there; how it is.
    async fn look_at(
        &self,
        engine: &Engine,
        entry: &Entry,
        of_app: Vec<Ours>,
    ) -> Result<Look, AppError> {
        let config = self.settings.get();
        let spec = container::spec(entry, &config.apps);
        let (mut right, wrong): (Vec<_>, Vec<_>) =
            of_app.into_iter().partition(|one| one.spec == spec);
        right.sort_by_key(|one| (one.running, one.created));
        let kept = right.pop();
        // An update that was cut short, settings that changed, or a copy.
        for one in right.into_iter().chain(wrong) {
            tracing::info!(container = one.name, "removed: not the version that is to run");
            engine.remove(&one.id).await?;
        }
        let Some(one) = kept else {
            let name = entry.app.name.as_str();
            tracing::info!(app = name, "brought back");
            let name = container::name(name, config.device_id.as_str(), &entry.order);
            let body = container::body(entry, config.device_id.as_str(), &config.apps);
            let id = match engine.create(&name, body.clone()).await {
                // Somebody may have removed the image too.
                Err(AppError::Refused(_)) => {
                    let image = engine.fetch(&entry.app.image, &config.registry).await?;
                    if image.id != entry.image_id {
                        let why = "it means another image now: deploy the app anew".into();
                        let image = entry.app.image.to_string();
                        return Err(AppError::Image { image, why });
                    }
                    engine.create(&name, body).await?
                }
                made => made?,
            };
            engine.start(&id).await?;
            return self.inspect(engine, &id).await;
        };
        let look = self.inspect(engine, &one.id).await?;
        if let Standing::Broken(term, why) = &look.standing {
            let bad = self.records.get(entry.app.name.as_str()).map_or(0, |record| record.bad);
            // Ever more rarely: at the 1st, 2nd, 4th, 8th, … look.
            let turn = (bad + 1).is_power_of_two();
            match *term {
                // The engine starts it again by itself.
                "crashing" => {}
                "unhealthy" | "paused" if turn => {
                    tracing::warn!(app = %entry.app.name, why, "started anew");
                    engine.stop(&one.id).await?;
                    engine.start(&one.id).await?;
                }
                "exited" | "not_started" if turn => {
                    tracing::warn!(app = %entry.app.name, why, "started again");
                    engine.start(&one.id).await?;
                }
                _ => {}
            }
        }
        Ok(look)
    }

    async fn inspect(&self, engine: &Engine, id: &str) -> Result<Look, AppError> {
        let gone = || AppError::Engine("a container vanished while it was looked at".into());
        let found = engine.inspect(id).await?.ok_or_else(gone)?;
        Ok(container::look(&found, OffsetDateTime::now_utc()))
    }

    /// Counts what a look found.
    fn note(&mut self, name: &str, look: Result<&Look, &AppError>) {
        let record = self.records.entry(name.to_owned()).or_default();
        let broken = match look {
            Ok(look) => {
                (record.restarts, record.health) = (look.restarts, look.health);
                match &look.standing {
                    Standing::Works => None,
                    // Neither good nor bad: what was said of it stays.
                    Standing::Unsure => return,
                    Standing::Broken(term, why) => Some((*term, why.clone())),
                }
            }
            Err(error) => Some((error.term(), error.to_string())),
        };
        match broken {
            None => (record.bad, record.failed) = (0, None),
            Some(why) => {
                record.bad = record.bad.saturating_add(1);
                if record.bad >= PATIENCE {
                    record.failed = Some(why);
                }
            }
        }
    }

    /// Says how apps are, where that is news.
    async fn tell(&mut self) {
        let state = |(name, entry): (&String, &Entry)| {
            let record = self.records.get(name)?;
            let (reason, message) = record.failed.clone().unzip();
            Some(AppState {
                name: name.clone(),
                order: entry.order.clone(),
                image: entry.app.image.to_string(),
                running: record.failed.is_none(),
                reason: reason.map(str::to_owned),
                message: message.map(|text| text.chars().take(MAX_MESSAGE).collect()),
                restarts: record.restarts,
                health: record.health.map(str::to_owned),
            })
        };
        let states: Vec<_> = self.desired.apps().iter().filter_map(state).collect();
        let failed: Vec<_> = states
            .iter()
            .filter_map(|app| Some(format!("{}: {}", app.name, app.message.as_ref()?)))
            .collect();
        let states = (!states.is_empty()).then_some(states);
        self.states.send_if_modified(|known| {
            let news = *known != states;
            *known = states;
            news
        });
        let active = !failed.is_empty();
        if self.alerted == Some(active) {
            return;
        }
        let message = if active { failed.join("; ") } else { "all apps work".into() };
        let alert = Alert { kind: ALERT.into(), message, active };
        match self.outbox.alert(alert).await {
            Ok(_) => self.alerted = Some(active),
            Err(error) => tracing::warn!(%error, "an alert is not kept"),
        }
    }
}
