//! The way to the cluster's API: the client, its credentials, and whether the cluster is there.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use kube::{
    Client,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::{
    sync::{Mutex, Notify, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{backoff::Backoff, error::Failure};
use crate::config::Kubernetes;

/// Longest call, its repetitions among it.
const CALL: Duration = Duration::from_secs(10);
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest wait for the answer to whether the cluster is there.
const PULSE: Duration = Duration::from_secs(5);
/// How often that is asked.
const EVERY: Duration = Duration::from_secs(10);
/// How often a call is made that the way to the cluster broke.
const TRIES: u32 = 3;

/// Whether there is a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The settings name none.
    NotConfigured,
    /// It answers.
    Connected,
    /// It does not.
    Disconnected,
}

impl Standing {
    /// As health shows it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotConfigured => "not_configured",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
        }
    }
}

/// Where the cluster's address and the hub's credentials come from.
#[derive(Debug, Clone)]
enum Source {
    Kubeconfig(std::path::PathBuf, Option<String>),
    /// The pod's `ServiceAccount`.
    Pod,
}

impl Source {
    async fn read(&self) -> Result<kube::Config, Failure> {
        // Its first line says what and where; those after it repeat the file, with its secrets.
        let settings = |why: &dyn std::fmt::Display| {
            Failure::Settings(why.to_string().lines().next().unwrap_or_default().to_owned())
        };
        let mut config = match self {
            Self::Kubeconfig(path, context) => {
                let file = Kubeconfig::read_from(path).map_err(|e| settings(&e))?;
                let options = KubeConfigOptions { context: context.clone(), ..Default::default() };
                kube::Config::from_custom_kubeconfig(file, &options)
                    .await
                    .map_err(|e| settings(&e))?
            }
            Self::Pod => kube::Config::incluster().map_err(|e| settings(&e))?,
        };
        config.connect_timeout = Some(CONNECT);
        Ok(config)
    }
}

/// The way to the cluster.
pub(super) struct Connection {
    source: Option<Source>,
    client: ArcSwapOption<Client>,
    /// Clients are made one at a time.
    making: Mutex<()>,
    standing: watch::Sender<Standing>,
    version: ArcSwapOption<String>,
    /// Somebody's call did not get through.
    trouble: Notify,
}

impl Connection {
    /// To the cluster that the settings name. Reads them and connects to nothing.
    ///
    /// # Errors
    /// [`Failure::Settings`] for a kubeconfig that can't be read or has no such context.
    pub(super) async fn open(settings: &Kubernetes) -> Result<Self, Failure> {
        let source = match &settings.kubeconfig {
            Some(path) => Some(Source::Kubeconfig(path.clone(), settings.context.clone())),
            None => std::env::var_os("KUBERNETES_SERVICE_HOST")
                .filter(|_| std::path::Path::new(POD_TOKEN).exists())
                .map(|_| Source::Pod),
        };
        if let Some(source) = &source {
            source.read().await?;
        }
        let standing = match source {
            None => Standing::NotConfigured,
            Some(_) => Standing::Disconnected,
        };
        Ok(Self {
            source,
            client: ArcSwapOption::empty(),
            making: Mutex::default(),
            standing: watch::Sender::new(standing),
            version: ArcSwapOption::empty(),
            trouble: Notify::new(),
        })
    }

    pub(super) fn standing(&self) -> Standing {
        *self.standing.borrow()
    }

    /// Wakes when the cluster comes or goes.
    pub(super) fn subscribe(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// The cluster's release, since it was last there.
    pub(super) fn version(&self) -> Option<String> {
        self.version.load().as_deref().cloned()
    }

    /// The client of now.
    pub(super) async fn client(&self) -> Result<Client, Failure> {
        if let Some(client) = self.client.load_full() {
            return Ok(Client::clone(&client));
        }
        let source = self.source.as_ref().ok_or(Failure::NotConfigured)?;
        let _one = self.making.lock().await;
        if let Some(client) = self.client.load_full() {
            return Ok(Client::clone(&client));
        }
        let config = source.read().await?;
        // A kubeconfig may name a program that gives a token, and is waited for.
        let made = tokio::task::spawn_blocking(move || Client::try_from(config)).await;
        let client = made
            .map_err(|e| Failure::Settings(e.to_string()))?
            .map_err(|e| Failure::Settings(e.to_string()))?;
        self.client.store(Some(Arc::new(client.clone())));
        Ok(client)
    }

    /// Reads address and credentials again with the next call: the files may have changed.
    pub(super) fn renew(&self) {
        self.client.store(None);
    }

    /// Notes how a call or a watch ended.
    pub(super) fn noticed(&self, failure: &Failure) {
        if failure.is_unauthorized() {
            self.renew();
        }
        if failure.is_away() {
            self.trouble.notify_one();
        }
    }

    /// Calls the API. Requests may be sent more than once: they must come to the same.
    ///
    /// # Errors
    /// All of [`Failure`].
    pub(super) async fn call<T, F>(&self, work: impl Fn(Client) -> F) -> Result<T, Failure>
    where
        F: Future<Output = kube::Result<T>>,
    {
        if self.source.is_none() {
            return Err(Failure::NotConfigured);
        }
        let tries = async {
            let mut backoff = Backoff::default();
            let mut tries = 0;
            loop {
                let failure = match work(self.client().await?).await {
                    Ok(done) => return Ok(done),
                    Err(error) => Failure::from(error),
                };
                tries += 1;
                let again = failure.is_passing() || failure.is_unauthorized();
                if tries == TRIES || !again {
                    return Err(failure);
                }
                // Credentials that have ended are read again from where they are.
                self.noticed(&failure);
                tokio::time::sleep(backoff.next()).await;
            }
        };
        let done = timeout(CALL, tries).await.unwrap_or(Err(Failure::TimedOut));
        if let Err(failure) = &done {
            self.noticed(failure);
        }
        done
    }

    /// Asks now and then whether the cluster is there, until `shutdown`; at once when a call did not
    /// get through.
    pub(super) async fn run(&self, shutdown: CancellationToken) {
        if self.source.is_none() {
            return;
        }
        let mut backoff = Backoff::default();
        loop {
            let asked = Instant::now();
            let there = tokio::select! {
                () = shutdown.cancelled() => return,
                there = self.pulse() => there,
            };
            let wait = if there {
                backoff.reset();
                EVERY
            } else {
                backoff.next()
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                () = self.trouble.notified(), if there => {}
            }
            // However much trouble there is.
            let soon = Duration::from_millis(500).saturating_sub(asked.elapsed());
            tokio::time::sleep(soon).await;
        }
    }

    async fn pulse(&self) -> bool {
        let ask = async { Ok(self.client().await?.apiserver_version().await?) };
        let asked = timeout(PULSE, ask).await.unwrap_or(Err(Failure::TimedOut));
        let now = match &asked {
            Ok(version) => {
                self.version.store(Some(Arc::new(version.git_version.clone())));
                Standing::Connected
            }
            Err(_) => {
                // Address, authority or credentials may have changed with the files.
                self.renew();
                Standing::Disconnected
            }
        };
        let changed = self.standing.send_if_modified(|standing| {
            let changed = *standing != now;
            *standing = now;
            changed
        });
        match asked {
            Ok(version) if changed => {
                tracing::info!(version = version.git_version, "the cluster is there");
            }
            Err(error) if changed => tracing::warn!(%error, "the cluster is away"),
            Err(error) => tracing::debug!(%error, "the cluster is still away"),
            Ok(_) => {}
        }
        now == Standing::Connected
    }
}

/// Where a pod has the token of its `ServiceAccount`.
const POD_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
