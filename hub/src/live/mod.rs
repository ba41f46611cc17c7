//! The event bus: what happens, told to whoever watches. It carries copies of what the database
//! already holds; a slow watcher loses events here (and is told how many), never in the store.
//!
//! A room makes an [`Event`], renders it once ([`Event::news`]) and, when what it tells of is
//! committed, publishes it. All watchers share that rendering.

mod event;
mod outbox;
mod routes;
mod socket;
mod stream;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
};

use cloudcore_protocol::Timestamp;
use tokio::sync::broadcast;

use crate::{db::Write, error::Result};

pub use event::{Event, Kind, News, Topic, What};
pub use outbox::{Outbox, Subscriber, delivery_id};
pub use routes::{Watching, routes};

/// News with a number.
#[derive(Debug)]
pub struct LiveEvent {
    /// Grows by one with each event; that of a former run of the hub is lower than all.
    pub id: u64,
    /// What happened.
    pub news: News,
}

/// How many past events a watcher that comes back can still get, and how many wait for one that
/// is slow.
const HISTORY: usize = 1024;

/// The bus.
pub struct Bus {
    outbox: Outbox,
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
            outbox: Outbox::default(),
            sender: broadcast::channel(HISTORY).0,
            past: Mutex::new(Past { next, events: VecDeque::with_capacity(HISTORY) }),
        }
    }
}

impl Bus {
    fn past(&self) -> MutexGuard<'_, Past> {
        // Nothing panics while it holds the lock.
        self.past.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What webhooks are owed.
    #[must_use]
    pub const fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Puts news into the outbox, in the transaction that stores what they tell of; who wants none
    /// costs nothing.
    ///
    /// # Errors
    /// The database's.
    pub async fn keep(&self, tx: &mut Write, news: impl IntoIterator<Item = &News>) -> Result<()> {
        if !self.outbox.is_wanted() {
            return Ok(());
        }
        let news: Vec<_> = news.into_iter().collect();
        self.outbox.keep(tx, &news).await
    }

    /// Tells everybody.
    pub fn publish(&self, news: News) {
        if self.outbox.is_wanted() {
            self.outbox.wake();
        }
        let mut past = self.past();
        let event = Arc::new(LiveEvent { id: past.next, news });
        past.next += 1;
        if past.events.len() == HISTORY {
            past.events.pop_front();
        }
        past.events.push_back(Arc::clone(&event));
        // Under the lock, so that ids are sent in order; nobody listening is no error.
        let _ = self.sender.send(event);
    }

    /// Watches from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<LiveEvent>> {
        self.sender.subscribe()
    }

    /// Watches from after the event `last`.
    #[must_use]
    pub fn resume(&self, last: u64) -> Subscription {
        let past = self.past();
        let receiver = self.sender.subscribe();
        let missed: Vec<_> = past.events.iter().filter(|e| e.id > last).cloned().collect();
        let oldest = past.events.front().map_or(past.next, |e| e.id);
        // An id that is to come is of a former run whose clock was ahead.
        let gap = last.saturating_add(1) < oldest || last >= past.next;
        Subscription { missed, gap, receiver }
    }
}
