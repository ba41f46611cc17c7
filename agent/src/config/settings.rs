//! The settings of an agent that runs.

use std::{io, path::Path, sync::Arc};

use tokio::sync::{Mutex, watch};

use super::{CONFIG_FILE, Config, ConfigError};

/// The settings of a running agent: seen by all rooms, changed one change at a time.
#[derive(Debug, Clone)]
pub struct Settings {
    data_dir: Arc<Path>,
    current: Arc<watch::Sender<Arc<Config>>>,
    changing: Arc<Mutex<()>>,
}

impl Settings {
    /// Of the agent with this data directory.
    #[must_use]
    pub fn new(data_dir: &Path, config: Config) -> Self {
        Self {
            data_dir: data_dir.into(),
            current: Arc::new(watch::Sender::new(Arc::new(config))),
            changing: Arc::default(),
        }
    }

    /// The agent's own directory.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// As they are now.
    #[must_use]
    pub fn get(&self) -> Arc<Config> {
        Arc::clone(&self.current.borrow())
    }

    /// Wakes at every change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Config>> {
        self.current.subscribe()
    }

    /// Changes them on the disk, then for all rooms; or, on an error, nowhere.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub async fn change(
        &self,
        change: impl FnOnce(&mut Config),
    ) -> Result<Arc<Config>, ConfigError> {
        let _one_at_a_time = self.changing.lock().await;
        let mut config = Config::clone(&self.current.borrow());
        change(&mut config);
        config.find_model(&self.data_dir);
        let config = Arc::new(config);
        if config == *self.current.borrow() {
            return Ok(config);
        }
        let (data_dir, saved) = (Arc::clone(&self.data_dir), Arc::clone(&config));
        tokio::task::spawn_blocking(move || saved.save(&data_dir)).await.map_err(|e| {
            ConfigError::File { path: self.data_dir.join(CONFIG_FILE), source: io::Error::other(e) }
        })??;
        self.current.send_replace(Arc::clone(&config));
        Ok(config)
    }
}
