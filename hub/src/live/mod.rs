//! The event bus: what happens, told to whoever watches. It carries copies of what the database
//! already holds; a slow watcher loses events here (and is told how many), never in the store.

mod routes;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
};

use cloudcore_protocol::Timestamp;
use serde_json::{Map, Value, json};
use tokio::sync::broadcast;

pub use routes::routes;

/// Something that happened, ready to be sent.
#[derive(Debug)]
pub struct LiveEvent {
    /// Grows by one with each event since the hub started.
    pub id: u64,
    /// Its name (`heartbeat`).
    pub event: &'static str,
    /// The device it concerns, where it concerns one.
    pub device_id: Option<String>,
    /// The JSON object, as text.
    pub json: String,
}

/// How many past events a watcher that comes back can still get.
const HISTORY: usize = 1024;

/// The bus.
pub struct Bus {
    sender: broadcast::Sender<Arc<LiveEvent>>,
    past: Mutex<Past>,
}

struct Past {
    next: u64,
    events: VecDeque<Arc<LiveEvent>>,
}

/// What a watcher gets: what it missed, then what comes.
#[derive(Debug)]
pub struct Subscription {
    /// Past events after the id it named, oldest first.
    pub missed: Vec<Arc<LiveEvent>>,
    /// Whether events between that id and these are gone from the history.
    pub gap: bool,
    /// What comes.
    pub receiver: broadcast::Receiver<Arc<LiveEvent>>,
}

impl Default for Bus {
    fn default() -> Self {
        // Ids begin at the time, so that the id of a former run of the hub is older than all.
        let next = u64::try_from(Timestamp::now().micros()).unwrap_or(1);
        Self {
            sender: broadcast::channel(1024).0,
            past: Mutex::new(Past { next, events: VecDeque::with_capacity(HISTORY) }),
        }
    }
}

impl Bus {
    fn past(&self) -> MutexGuard<'_, Past> {
        // Nothing panics while it holds the lock.
        self.past.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Tells everybody. `fields` follow `timestamp` and `event` in the object.
    pub fn publish(&self, event: &'static str, device_id: Option<&str>, fields: Value) {
        let mut object = Map::new();
        object.insert("timestamp".into(), json!(Timestamp::now()));
        object.insert("event".into(), json!(event));
        if let Value::Object(fields) = fields {
            object.extend(fields);
        }
        let mut past = self.past();
        let event = Arc::new(LiveEvent {
            id: past.next,
            event,
            device_id: device_id.map(str::to_owned),
            json: Value::Object(object).to_string(),
        });
        past.next += 1;
        if past.events.len() == HISTORY {
            past.events.pop_front();
        }
        past.events.push_back(Arc::clone(&event));
        // Under the lock, so that ids are sent in order; nobody listening is no error.
        let _ = self.sender.send(event);
    }

    /// Watches from now on, or from after the event `last`.
    #[must_use]
    pub fn subscribe(&self, last: Option<u64>) -> Subscription {
        let past = self.past();
        let receiver = self.sender.subscribe();
        let Some(last) = last else {
            return Subscription { missed: Vec::new(), gap: false, receiver };
        };
        let missed: Vec<_> = past.events.iter().filter(|e| e.id > last).cloned().collect();
        let oldest = past.events.front().map_or(past.next, |e| e.id);
        Subscription { missed, gap: last.saturating_add(1) < oldest, receiver }
    }
}
