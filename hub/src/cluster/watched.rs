//! What is known of the cluster's objects of one kind: listed once, and watched from there.

use std::{
    collections::HashMap,
    fmt::Debug,
    pin::pin,
    sync::{Arc, RwLock, atomic::AtomicBool, atomic::Ordering},
};

use futures_util::StreamExt as _;
use kube::{
    Api, Client, Resource, ResourceExt as _,
    runtime::watcher::{self, Event, watcher},
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{backoff::Backoff, connection::Connection, error::Failure};

/// Namespace, which is empty for what has none, and name.
type Key = (String, String);

/// The objects of one kind, each as far as this hub wants to know it.
pub(super) struct Watched<V> {
    items: RwLock<Arc<HashMap<Key, Arc<V>>>>,
    /// Whether they were all listed once.
    listed: AtomicBool,
    /// A change, for who waits for one.
    changed: watch::Sender<()>,
}

impl<V> Default for Watched<V> {
    fn default() -> Self {
        let changed = watch::Sender::new(());
        Self { items: RwLock::default(), listed: AtomicBool::new(false), changed }
    }
}

impl<V> Watched<V> {
    /// All of them as they are at this moment, in no order.
    pub(super) fn items(&self) -> Arc<HashMap<Key, Arc<V>>> {
        Arc::clone(&self.items.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// All of them, as they were listed.
    fn set(&self, items: HashMap<Key, Arc<V>>) {
        *self.items.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(items);
        self.listed.store(true, Ordering::Release);
        self.changed.send_replace(());
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<Key, Arc<V>>)) {
        let mut items = self.items.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Copied only while somebody reads the ones before.
        change(Arc::make_mut(&mut items));
        drop(items);
        self.changed.send_replace(());
    }

    /// Whether they were all listed once.
    pub(super) fn is_listed(&self) -> bool {
        self.listed.load(Ordering::Acquire)
    }

    /// The one of this name; the namespace is empty for what has none.
    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<Arc<V>> {
        self.items().get(&(namespace.to_owned(), name.to_owned())).map(Arc::clone)
    }

    /// What changes from now on.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Knows nothing of them any more.
    pub(super) fn forget(&self) {
        self.listed.store(false, Ordering::Release);
        self.change(HashMap::clear);
    }

    /// All of them, by namespace and name; `None` before they were listed once.
    pub(super) fn all(&self) -> Option<Vec<Arc<V>>> {
        if !self.is_listed() {
            return None;
        }
        let items = self.items();
        let mut all: Vec<_> = items.iter().collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        Some(all.into_iter().map(|(_, value)| Arc::clone(value)).collect())
    }

    /// Keeps them true until `shutdown`: `api` is where they are, `read` what is kept of each.
    pub(super) async fn keep<K>(
        &self,
        connection: &Connection,
        api: impl Fn(Client) -> Api<K>,
        config: watcher::Config,
        read: impl Fn(K) -> Option<V>,
        shutdown: &CancellationToken,
    ) where
        K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let mut backoff = Backoff::default();
        while !shutdown.is_cancelled() {
            let failure = tokio::select! {
                () = shutdown.cancelled() => return,
                failure = self.follow(connection, &api, &config, &read, &mut backoff) => failure,
            };
            connection.noticed(&failure);
            tracing::debug!(%failure, "a watch of the cluster broke");
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(backoff.next()) => {}
            }
        }
    }

    /// Lists and watches until that can't go on with this client.
    async fn follow<K>(
        &self,
        connection: &Connection,
        api: &impl Fn(Client) -> Api<K>,
        config: &watcher::Config,
        read: &impl Fn(K) -> Option<V>,
        backoff: &mut Backoff,
    ) -> Failure
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let client = match connection.client().await {
            Ok(client) => client,
            Err(failure) => return failure,
        };
        let key = |object: &K| (object.namespace().unwrap_or_default(), object.name_any());
        let mut listing = HashMap::new();
        let mut events = pin!(watcher(api(client), config.clone()));
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listing.clear(),
                Ok(Event::InitApply(object)) => {
                    let key = key(&object);
                    if let Some(value) = read(object) {
                        listing.insert(key, Arc::new(value));
                    }
                }
                Ok(Event::InitDone) => {
                    backoff.reset();
                    self.set(std::mem::take(&mut listing));
                }
                Ok(Event::Apply(object)) => {
                    backoff.reset();
                    let key = key(&object);
                    let value = read(object).map(Arc::new);
                    self.change(|items| match value {
                        Some(value) => drop(items.insert(key, value)),
                        None => drop(items.remove(&key)),
                    });
                }
                Ok(Event::Delete(object)) => {
                    backoff.reset();
                    let key = key(&object);
                    self.change(|items| drop(items.remove(&key)));
                }
                Err(error) => {
                    let failure = of_watch(error);
                    // With other credentials, or from a place that is lost, all begins anew; over a
                    // line that broke the watcher itself goes on.
                    if failure.is_unauthorized() || failure.is_gone() {
                        return failure;
                    }
                    connection.noticed(&failure);
                    tracing::debug!(%failure, "a watch of the cluster stumbled");
                    tokio::time::sleep(backoff.next()).await;
                }
            }
        }
        Failure::TimedOut
    }
}

fn of_watch(error: watcher::Error) -> Failure {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => error.into(),
        watcher::Error::WatchError(status) => kube::Error::Api(status).into(),
        watcher::Error::NoResourceVersion => {
            Failure::Settings("the cluster's objects have no resourceVersion".into())
        }
    }
}
