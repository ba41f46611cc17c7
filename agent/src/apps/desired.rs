//! What is to run: `apps.json` in the data directory, replaced whole and on the disk before an
//! order is answered.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use cloudcore_protocol::{CommandId, command::DeployApp};
use serde::{Deserialize, Serialize};

use super::AppError;
use crate::{config::APPS_FILE, files};

/// An app that is to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// As ordered.
    pub app: DeployApp,
    /// The command that ordered it.
    pub order: CommandId,
    /// The image that worked: a tag may have moved since.
    pub image_id: String,
    /// Whether the agent fetched that image, and so may remove it.
    pub fetched: bool,
}

/// All of them, by name.
#[derive(Debug)]
pub(super) struct Desired {
    path: PathBuf,
    apps: BTreeMap<String, Entry>,
}

impl Desired {
    /// From the data directory; nothing where nothing was ever ordered.
    pub(super) fn load(data_dir: &Path) -> Result<Self, AppError> {
        let path = data_dir.join(APPS_FILE);
        let bad = |why: String| AppError::State(format!("{}: {why}", path.display()));
        let apps = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(e) => return Err(bad(e.to_string())),
        };
        Ok(Self { path, apps })
    }

    pub(super) const fn apps(&self) -> &BTreeMap<String, Entry> {
        &self.apps
    }

    /// Changes it on the disk, then here; or, on an error, nowhere.
    pub(super) async fn change(
        &mut self,
        change: impl FnOnce(&mut BTreeMap<String, Entry>),
    ) -> Result<(), AppError> {
        let mut apps = self.apps.clone();
        change(&mut apps);
        let bytes = serde_json::to_vec(&apps).map_err(|e| AppError::State(e.to_string()))?;
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || files::write_private(&path, &bytes))
            .await
            .map_err(|e| AppError::State(e.to_string()))?
            .map_err(|e| AppError::State(format!("{}: {e}", self.path.display())))?;
        self.apps = apps;
        Ok(())
    }
}
