//! Where models come from, and where they are kept.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use cloudcore_protocol::ModelId;
use serde::{Deserialize, Serialize};

/// Where the detection model comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum ModelSource {
    /// A file of this node, by its own settings; the hub can't name one.
    File(PathBuf),
    /// The hub's catalog.
    Catalog(ModelId),
}

impl From<String> for ModelSource {
    /// What has the form `NAME@VERSION` is of the catalog; a file of such a name is `./NAME@VERSION`.
    fn from(text: String) -> Self {
        text.parse().map_or_else(|_| Self::File(text.into()), Self::Catalog)
    }
}

impl From<ModelSource> for String {
    fn from(source: ModelSource) -> Self {
        source.to_string()
    }
}

impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Catalog(id) => write!(f, "{id}"),
        }
    }
}

/// Settings of the cache of models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelsConfig {
    /// Most that the cache may hold, MiB, and with it the largest model; what is in use stays.
    pub max_mb: u32,
}

impl Default for ModelsConfig {
    fn default() -> Self {
        Self { max_mb: 512 }
    }
}

/// The cache of models, inside the data directory.
#[must_use]
pub fn models_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("models")
}

/// The folder of a cached model; it is there only when it is whole.
#[must_use]
pub fn model_dir(data_dir: &Path, id: &ModelId) -> PathBuf {
    models_dir(data_dir).join(id.name.as_str()).join(id.version.as_str())
}

/// The description of a cached model.
pub const MODEL_DESCRIPTION: &str = "model.json";
/// Which model of the catalog was the last that was fetched and loaded.
pub const LAST_GOOD: &str = "last-good";

/// The last good model of the catalog.
#[must_use]
pub fn last_good(data_dir: &Path) -> Option<ModelId> {
    fs::read_to_string(models_dir(data_dir).join(LAST_GOOD)).ok()?.trim().parse().ok()
}
