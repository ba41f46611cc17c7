//! Models of the hub's catalog: fetched, verified, kept.
//!
//! A fetch that is cut off goes on where it stopped, over sessions and restarts. Nothing is used
//! before all of its bytes have the hash that the hub's catalog and its description name. While
//! the model of the settings is not there, the last good one is used in its place; that is an
//! alert, and the wanted one is tried again.

mod cache;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use cloudcore_protocol::{Alert, ModelId};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, sync::Mutex, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Backoff,
    config::{MODEL_DESCRIPTION, ModelSource, Settings, last_good, model_dir},
    detect::ModelDescription,
    files,
    link::{LinkHandle, ModelStream, NoModel},
    outbox::Outbox,
};

const UNAVAILABLE: &str = "model_unavailable";
/// Tries at a hub that has the model but can't give it now.
const PASSING_TRIES: u32 = 3;
/// Between tries at the model of the settings.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Why a model is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The hub has none, or can't give it.
    #[error("model {0}: {1}")]
    Refused(ModelId, String),
    /// What came is not what was announced.
    #[error("model {0} is damaged: {1}")]
    Damaged(ModelId, String),
    /// It is larger than the cache.
    #[error("model {id} has {size} bytes, and the cache at most {most} (`[models] max_mb`)")]
    TooLarge {
        /// Which.
        id: ModelId,
        /// Its size, bytes.
        size: u64,
        /// What would fit, bytes.
        most: u64,
    },
    /// This node's disk.
    #[error("the cache of models: {0}")]
    Disk(#[from] io::Error),
}

/// How one try ended that did not bring the whole.
enum Cut {
    /// The session was lost: go on with the next.
    Link(String),
    /// The hub can't give it now.
    Passing(String),
    /// Trying again won't help.
    Failed(ModelError),
}

impl From<io::Error> for Cut {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// The models of this node; clones are the same ones.
#[derive(Debug, Clone)]
pub struct Models {
    settings: Settings,
    link: LinkHandle,
    outbox: Outbox,
    /// One is fetched at a time.
    turn: Arc<Mutex<()>>,
}

impl Models {
    /// Of the agent with these settings.
    #[must_use]
    pub fn new(settings: Settings, link: LinkHandle, outbox: Outbox) -> Self {
        Self { settings, link, outbox, turn: Arc::default() }
    }

    /// A model of the cache, fetched where it is not there: the path of its description. Waits for
    /// the hub as long as it takes; dropped in the middle it goes on there the next time.
    ///
    /// # Errors
    /// [`ModelError`].
    pub async fn fetch(&self, id: &ModelId) -> Result<PathBuf, ModelError> {
        let _turn = self.turn.lock().await;
        let path = model_dir(self.settings.data_dir(), id).join(MODEL_DESCRIPTION);
        if tokio::fs::try_exists(&path).await? {
            return Ok(path);
        }
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
        let mut passing = 0;
        loop {
            let problem = match self.attempt(id).await {
                Ok(()) => return Ok(path),
                Err(Cut::Failed(error)) => return Err(error),
                Err(Cut::Link(problem)) => problem,
                Err(Cut::Passing(problem)) => {
                    passing += 1;
                    if passing >= PASSING_TRIES {
                        return Err(ModelError::Refused(id.clone(), problem));
                    }
                    problem
                }
            };
            tracing::info!(model = %id, problem, "the model has not come, trying again");
            sleep(backoff.next()).await;
        }
    }

    /// One stream's worth of a model; its end where that completes it.
    async fn attempt(&self, id: &ModelId) -> Result<(), Cut> {
        let (data_dir, of) = (self.settings.data_dir().to_owned(), id.clone());
        let part = blocking(move || cache::find_part(&data_dir, &of)).await?;
        let had = part.as_ref().map_or(0, |part| part.size);
        let mut stream = self.ask(id, had).await?;
        let description = self.check(id, &stream)?;
        let (sha256, size) = (stream.found.sha256.clone(), stream.found.size);
        let part_path = cache::part_path(self.settings.data_dir(), id, &sha256);
        if part.is_some_and(|part| part.sha256 != sha256 || part.size > size) {
            // The hub has other bytes by now: from the beginning.
            let (data_dir, of) = (self.settings.data_dir().to_owned(), id.clone());
            blocking(move || {
                while let Some(old) = cache::find_part(&data_dir, &of)? {
                    files::remove_if_present(&cache::part_path(&data_dir, &of, &old.sha256))?;
                }
                Ok(())
            })
            .await?;
            return Err(Cut::Link("it has changed at the hub".into()));
        }
        tracing::info!(model = %id, had, size, "a model is fetched");
        self.receive(&mut stream, &part_path, had, size).await?;
        let (data_dir, of) = (self.settings.data_dir().to_owned(), id.clone());
        let damaged = blocking(move || {
            let found = cache::sha256_of(&part_path)?;
            if found != sha256 {
                files::remove_if_present(&part_path)?;
                return Ok(Some(format!("the bytes have the SHA-256 {found} and not {sha256}")));
            }
            cache::install(&data_dir, &of, &part_path, &description)?;
            Ok(None)
        });
        if let Some(why) = damaged.await? {
            return Err(Cut::Failed(ModelError::Damaged(id.clone(), why)));
        }
        tracing::info!(model = %id, size, "a model was fetched");
        self.prune(id).await?;
        Ok(())
    }

    async fn ask(&self, id: &ModelId, offset: u64) -> Result<ModelStream, Cut> {
        match self.link.model(id, offset).await {
            Ok(stream) => Ok(stream),
            Err(NoModel::Link(error)) => Err(Cut::Link(error.to_string())),
            Err(NoModel::Refused(refused)) if refused.passing => Err(Cut::Passing(refused.message)),
            Err(NoModel::Refused(refused)) => {
                if offset > 0 {
                    // What is here may be of a model that was longer: the next try begins anew.
                    let (data_dir, of) = (self.settings.data_dir().to_owned(), id.clone());
                    blocking(move || {
                        if let Some(part) = cache::find_part(&data_dir, &of)? {
                            let path = cache::part_path(&data_dir, &of, &part.sha256);
                            files::remove_if_present(&path)?;
                        }
                        Ok(())
                    })
                    .await?;
                }
                Err(Cut::Failed(ModelError::Refused(id.clone(), refused.message)))
            }
            Err(old @ NoModel::OldHub) => {
                Err(Cut::Failed(ModelError::Refused(id.clone(), old.to_string())))
            }
        }
    }

    /// Whether what the hub announces can be used at all: before its bytes are read.
    fn check(&self, id: &ModelId, stream: &ModelStream) -> Result<ModelDescription, Cut> {
        let bad = |why: String| Cut::Failed(ModelError::Damaged(id.clone(), why));
        let found = &stream.found;
        let description = ModelDescription::parse(found.description.as_bytes())
            .map_err(|e| bad(e.to_string()))?;
        if description.name != id.name.as_str() || description.version != id.version.as_str() {
            let (name, version) = (&description.name, &description.version);
            return Err(bad(format!("its description is of {name}@{version}")));
        }
        if description.sha256 != found.sha256 {
            return Err(bad("its description has another SHA-256".into()));
        }
        let most = u64::from(self.settings.get().models.max_mb) << 20;
        if found.size > most {
            let (id, size) = (id.clone(), found.size);
            return Err(Cut::Failed(ModelError::TooLarge { id, size, most }));
        }
        Ok(description)
    }

    /// Appends what comes to the part, up to the announced size.
    async fn receive(
        &self,
        stream: &mut ModelStream,
        path: &std::path::Path,
        had: u64,
        size: u64,
    ) -> Result<(), Cut> {
        let mut file =
            tokio::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path).await?;
        let mut here = had;
        let came = loop {
            match stream.next().await {
                Ok(Some(bytes)) => {
                    here += bytes.len() as u64;
                    if here > size {
                        break Err(Cut::Link("more bytes came than were announced".into()));
                    }
                    file.write_all(&bytes).await?;
                }
                Ok(None) if here < size => break Err(Cut::Link("the stream ended early".into())),
                Ok(None) => break Ok(()),
                Err(error) => break Err(Cut::Link(error.to_string())),
            }
        };
        // What has come stays, whatever cut it.
        file.flush().await?;
        file.sync_all().await?;
        came
    }

    async fn prune(&self, fetched: &ModelId) -> io::Result<()> {
        let config = self.settings.get();
        let mut kept = vec![fetched.clone()];
        if let Some(ModelSource::Catalog(wanted)) = &config.model {
            kept.push(wanted.clone());
        }
        let most = u64::from(config.models.max_mb) << 20;
        let data_dir = self.settings.data_dir().to_owned();
        blocking(move || {
            kept.extend(last_good(&data_dir));
            cache::prune(&data_dir, &kept, most)
        })
        .await
    }

    /// Notes that a model was loaded: it is what is used while a later one is not to be had.
    ///
    /// # Errors
    /// The disk's.
    pub async fn loaded(&self, id: &ModelId) -> Result<(), ModelError> {
        let (data_dir, id) = (self.settings.data_dir().to_owned(), id.clone());
        Ok(blocking(move || cache::note_good(&data_dir, &id)).await?)
    }

    /// The model in use, for people and programs; null where there is none.
    pub async fn shown(&self) -> Value {
        let config = self.settings.get();
        let (Some(wanted), Some(path)) = (&config.model, &config.model_path) else {
            return Value::Null;
        };
        let described = tokio::fs::read(path.with_extension("json")).await.ok();
        let described = described.and_then(|text| ModelDescription::parse(&text).ok());
        json!({
            "wanted": wanted,
            "name": described.as_ref().map(|known| &known.name),
            "version": described.as_ref().map(|known| &known.version),
            "sha256": described.as_ref().map(|known| &known.sha256),
        })
    }

    /// Sees to it that the model of the settings is there, until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        let mut changes = self.settings.subscribe();
        let mut seen: Option<ModelId> = None;
        loop {
            let wanted = match &changes.borrow_and_update().model {
                Some(ModelSource::Catalog(id)) => Some(id.clone()),
                _ => None,
            };
            let work = async {
                if wanted == seen {
                    return;
                }
                match &wanted {
                    Some(id) => self.provide(id).await,
                    None => self.tell(None).await,
                }
            };
            tokio::select! {
                () = cancel.cancelled() => return,
                // Another model may be wanted meanwhile.
                changed = other_wanted(&mut changes, wanted.clone()) => if !changed { return },
                () = work => {
                    seen.clone_from(&wanted);
                    tokio::select! {
                        () = cancel.cancelled() => return,
                        changed = other_wanted(&mut changes, wanted) => if !changed { return },
                    }
                }
            }
        }
    }

    /// Tries until the model is in the cache.
    async fn provide(&self, id: &ModelId) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let (data_dir, of) = (self.settings.data_dir().to_owned(), id.clone());
        match blocking(move || cache::verify(&data_dir, &of)).await {
            Ok(true) => return self.tell(None).await,
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, model = %id, "the cached model can't be read"),
        }
        // Finds the last good one in its place.
        self.find_again().await;
        if !self.link_is_up() {
            self.tell(Some(format!("model {id} is not here and there is no link to the hub")))
                .await;
        }
        loop {
            match self.fetch(id).await {
                Ok(_) => {
                    self.find_again().await;
                    return self.tell(None).await;
                }
                Err(error) => self.tell(Some(error.to_string())).await,
            }
            sleep(backoff.next()).await;
        }
    }

    fn link_is_up(&self) -> bool {
        self.link.state().live.is_some()
    }

    async fn find_again(&self) {
        if let Err(error) = self.settings.change(|_| {}).await {
            tracing::warn!(%error, "the settings are not kept");
        }
    }

    async fn tell(&self, problem: Option<String>) {
        let active = problem.is_some();
        let mut message = problem.unwrap_or_else(|| "the model is there".into());
        if active && let Some(used) = last_good(self.settings.data_dir()) {
            message = format!("{message}; {used} goes on in its place");
        }
        let alert = Alert { kind: UNAVAILABLE.into(), message, active };
        match self.outbox.alert(alert.clone()).await {
            Ok(true) if active => tracing::warn!(message = alert.message, "alert: no model"),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "an alert is not kept"),
        }
    }
}

/// Returns when another model is wanted than this; `false` where there are no settings any more.
async fn other_wanted(
    changes: &mut tokio::sync::watch::Receiver<Arc<crate::config::Config>>,
    wanted: Option<ModelId>,
) -> bool {
    let other = |config: &Arc<crate::config::Config>| match &config.model {
        Some(ModelSource::Catalog(id)) => Some(id) != wanted.as_ref(),
        _ => wanted.is_some(),
    };
    changes.wait_for(other).await.is_ok()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
