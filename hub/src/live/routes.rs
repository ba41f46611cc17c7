//! The two ways to watch, and how many may.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Bus, socket, stream};
use crate::{
    auth::{Auth, Grant},
    error::{Code, Error, Result},
};

/// WebSockets at once: the contract's "50 concurrent connections".
const MAX_SOCKETS: usize = 50;
/// Event streams at once.
const MAX_STREAMS: usize = 200;

/// How often it is looked whether a watcher may still watch.
const RECHECK: Duration = Duration::from_secs(10);

/// Those who watch.
pub struct Watching {
    pub(super) bus: Arc<Bus>,
    auth: Arc<Auth>,
    pub(super) shutdown: CancellationToken,
    pub(super) open: TaskTracker,
    sockets: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

impl Watching {
    /// Of this bus, until `shutdown`.
    #[must_use]
    pub fn new(bus: Arc<Bus>, auth: Arc<Auth>, shutdown: CancellationToken) -> Self {
        Self {
            bus,
            auth,
            shutdown,
            open: TaskTracker::new(),
            sockets: Arc::new(Semaphore::new(MAX_SOCKETS)),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
        }
    }

    /// Returns when, after `shutdown`, every WebSocket was told goodbye.
    pub async fn ended(&self) {
        self.shutdown.cancelled().await;
        self.open.close();
        self.open.wait().await;
    }

    /// How many event streams and how many WebSockets are open.
    #[must_use]
    pub fn counts(&self) -> (i64, i64) {
        let taken = |max: usize, places: &Semaphore| {
            i64::try_from(max.saturating_sub(places.available_permits())).unwrap_or(i64::MAX)
        };
        (taken(MAX_STREAMS, &self.streams), taken(MAX_SOCKETS, &self.sockets))
    }

    /// Returns when a stream of this watcher has to end: when it is dismissed or the hub stops.
    pub async fn over(&self, grant: Option<Grant>) {
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = self.dismissed(grant) => {}
        }
    }

    /// Returns when a watcher may not watch any more: when what let it in is over or withdrawn.
    pub(super) async fn dismissed(&self, grant: Option<Grant>) {
        let Some(grant) = grant else { return std::future::pending().await };
        loop {
            tokio::time::sleep(RECHECK).await;
            match self.auth.holds(&grant).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => tracing::warn!(?error, "a watcher can't be looked up now"),
            }
        }
    }

    pub(super) fn socket_place(&self) -> Result<OwnedSemaphorePermit> {
        place(&self.sockets, MAX_SOCKETS, "WebSocket connections")
    }

    pub(super) fn stream_place(&self) -> Result<OwnedSemaphorePermit> {
        place(&self.streams, MAX_STREAMS, "event streams")
    }
}

fn place(places: &Arc<Semaphore>, max: usize, what: &str) -> Result<OwnedSemaphorePermit> {
    Arc::clone(places).try_acquire_owned().map_err(|_| {
        Error::new(Code::Unavailable, format!("all {max} {what} are in use: try again later"))
    })
}

/// This room's routes.
pub fn routes(watching: Arc<Watching>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(stream::watch))
        .routes(routes!(socket::connect))
        .with_state(watching)
}
