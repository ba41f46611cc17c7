//! The watches that keep what is known of the objects of devices true.

use std::time::Duration;

use futures_util::future::{join_all, select_all};
use kube::{Api, api::DynamicObject, core::ApiResource, runtime::watcher};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    discovery::{Kinds, Served},
    objects::{DEVICE, DEVICE_TYPE, Kind},
    seen::Found,
};
use crate::cluster::{
    Cluster, Standing, apply::MANAGER, backoff::Backoff, error::Failure, labels::MANAGED_BY,
    watched::Watched,
};

/// How often it is asked whether the kinds of devices are still served.
const LOOK: Duration = Duration::from_secs(30);
/// What wakes whoever keeps the objects as they are wanted.
pub struct Changes {
    watches: Vec<watch::Receiver<()>>,
    standing: watch::Receiver<Standing>,
    kinds: watch::Receiver<Option<Kinds>>,
}

impl Changes {
    /// Returns when something has changed since it last did.
    pub async fn next(&mut self) {
        let watches = self.watches.iter_mut().map(|watch| Box::pin(watch.changed()));
        tokio::select! {
            _ = select_all(watches) => {}
            _ = self.standing.changed() => {}
            _ = self.kinds.changed() => {}
        }
        self.watches.iter_mut().for_each(|watch| drop(watch.borrow_and_update()));
        drop(self.standing.borrow_and_update());
        drop(self.kinds.borrow_and_update());
    }
}

impl Cluster {
    /// What changes from now on of what devices have in the cluster.
    #[must_use]
    pub fn device_changes(&self) -> Changes {
        let found = self.devices.found.iter().map(Watched::changes);
        Changes {
            // Their settings name its ports.
            watches: found.chain([self.services.changes()]).collect(),
            standing: self.connection.changes(),
            kinds: self.devices.kinds.subscribe(),
        }
    }

    /// Keeps up with the objects of devices until `shutdown`.
    pub(in crate::cluster) async fn keep_device_objects(&self, shutdown: &CancellationToken) {
        let core = Kind::CORE.into_iter().filter_map(|kind| Some((kind, kind.resource(None)?)));
        let core = core.map(|(kind, resource)| Box::pin(self.keep(kind, resource, shutdown)));
        tokio::join!(join_all(core), Box::pin(self.keep_device_kinds(shutdown)));
    }

    async fn keep(&self, kind: Kind, resource: ApiResource, shutdown: &CancellationToken) {
        let namespace = self.settings.namespace.as_str();
        let label = if kind == Kind::Model { DEVICE_TYPE } else { DEVICE };
        let ours = format!("{MANAGED_BY}={MANAGER},{label}");
        let api = |client| Api::<DynamicObject>::namespaced_with(client, namespace, &resource);
        let config = watcher::Config::default().labels(&ours);
        self.devices.of(kind).keep(&self.connection, api, config, Found::of, shutdown).await;
    }

    /// The kinds of devices are not there before somebody defines them.
    async fn keep_device_kinds(&self, shutdown: &CancellationToken) {
        let mut backoff = Backoff::default();
        loop {
            let asked: Result<Kinds, Failure> = tokio::select! {
                () = shutdown.cancelled() => return,
                asked = self.connection.device_kinds() => asked,
            };
            let served = match asked {
                Ok(kinds) => {
                    let served = kinds.served().cloned();
                    self.devices.kinds.send_if_modified(|now| {
                        let is_news = now.as_ref() != Some(&kinds);
                        *now = Some(kinds);
                        is_news
                    });
                    served
                }
                Err(failure) => {
                    tracing::debug!(%failure, "the cluster does not say what it serves");
                    None
                }
            };
            let Some(served) = served else {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = self.devices.look.notified() => backoff.reset(),
                    () = tokio::time::sleep(backoff.next()) => {}
                }
                continue;
            };
            backoff.reset();
            tokio::select! {
                () = shutdown.cancelled() => return,
                ((), ()) = async { tokio::join!(
                    self.keep(Kind::Model, served.models(), shutdown),
                    self.keep(Kind::Device, served.devices(), shutdown),
                ) } => return,
                () = self.until_other(&served) => {
                    self.devices.of(Kind::Model).forget();
                    self.devices.of(Kind::Device).forget();
                }
            }
        }
    }

    /// Returns when the kinds are no longer served as they were.
    async fn until_other(&self, served: &Served) {
        loop {
            tokio::time::sleep(LOOK).await;
            match self.connection.device_kinds().await {
                Ok(kinds) if kinds.served() != Some(served) => return,
                Ok(_) | Err(_) => {}
            }
        }
    }
}
