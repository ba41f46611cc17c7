//! What a command takes: from the call of the API to its result on the event stream.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tokio::{sync::Notify, task::JoinSet};

use crate::world::World;

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Commands on their way.
pub(crate) struct Trips {
    known: Arc<Known>,
    _watching: JoinSet<()>,
}

#[derive(Default)]
struct Known {
    trips: Mutex<HashMap<String, Trip>>,
    ended: Notify,
}

/// A command's times: its end may be heard of before its call returns.
#[derive(Default)]
struct Trip {
    begun: Option<Instant>,
    ended: Option<Instant>,
}

/// How long they took.
pub(crate) struct Taken {
    /// Milliseconds, the shortest first.
    sorted: Vec<f64>,
    /// Those that have not ended.
    pub(crate) lost: usize,
}

impl Taken {
    /// The time within which this part of them ended, milliseconds.
    pub(crate) fn at(&self, part: f64) -> f64 {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index of a list"
        )]
        let index = (self.sorted.len() as f64 * part) as usize;
        self.sorted.get(index.min(self.sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
    }
}

impl Known {
    fn trips(&self) -> MutexGuard<'_, HashMap<String, Trip>> {
        self.trips.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> usize {
        self.trips().values().filter(|trip| trip.ended.is_none()).count()
    }

    async fn all_ended(&self) {
        let waiting = async {
            loop {
                let ended = self.ended.notified();
                if self.open() == 0 {
                    return;
                }
                ended.await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.ok();
    }
}

impl Trips {
    /// Watches for results from now on.
    pub(crate) async fn watch(world: &World) -> Self {
        let mut watch = world.watch("?events=command_result").await;
        let known = Arc::new(Known::default());
        let mut watching = JoinSet::new();
        let notes = Arc::clone(&known);
        watching.spawn(async move {
            loop {
                let result = watch.next("command_result").await;
                let now = Instant::now();
                let id = result["command_id"].as_str().expect("an id").to_owned();
                notes.trips().entry(id).or_default().ended = Some(now);
                notes.ended.notify_waiters();
            }
        });
        Self { known, _watching: watching }
    }

    async fn send(&self, world: &World, device: &str) {
        let begun = Instant::now();
        let id = world.send(device, json!({ "command": "get_status" })).await;
        self.known.trips().entry(id).or_default().begun = Some(begun);
    }

    /// Sends one after another, each after the end of the one before.
    pub(crate) async fn one_by_one(&self, world: &World, device: &str, count: usize) {
        for _ in 0..count {
            self.send(world, device).await;
            self.known.all_ended().await;
        }
    }

    /// Sends so many a second until `end`, whatever becomes of those before.
    pub(crate) async fn steadily(
        &self,
        world: &World,
        devices: &[&str],
        a_second: u64,
        end: Instant,
    ) {
        if a_second == 0 {
            return;
        }
        let gap = Duration::from_secs(1) / u32::try_from(a_second).expect("few");
        let ticks =
            stream::unfold((tokio::time::interval(gap), 0_usize), |(mut tick, at)| async move {
                tick.tick().await;
                (Instant::now() < end).then_some((at, (tick, (at + 6011) % devices.len())))
            });
        ticks.for_each_concurrent(256, |at| self.send(world, devices[at])).await;
        self.known.all_ended().await;
    }

    /// Sends one to each, so many at once.
    pub(crate) async fn burst<'a>(
        &self,
        world: &World,
        devices: impl Iterator<Item = &'a str>,
        at_once: usize,
    ) {
        stream::iter(devices).for_each_concurrent(at_once, |device| self.send(world, device)).await;
        self.known.all_ended().await;
    }

    /// How long all took that were sent since this was last asked.
    pub(crate) fn taken(&self) -> Taken {
        let (mut sorted, mut lost) = (Vec::new(), 0);
        for trip in std::mem::take(&mut *self.known.trips()).into_values() {
            match (trip.begun, trip.ended) {
                (Some(begun), Some(ended)) => sorted.push((ended - begun).as_secs_f64() * 1e3),
                (Some(_), None) => lost += 1,
                (None, _) => {}
            }
        }
        sorted.sort_by(f64::total_cmp);
        Taken { sorted, lost }
    }
}
