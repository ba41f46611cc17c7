//! The agent's settings: `agent.toml` in its data directory.
//!
//! `join` writes the file, people may edit it, and `set_config`, `start_detection` and
//! `stop_detection` rewrite it. It is read and checked whole before anything starts.

mod address;
mod apps;
mod detection;
mod models;
mod program;
mod settings;

use std::{
    collections::BTreeMap,
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use cloudcore_protocol::{
    DeviceId, ModelId, NodeName,
    command::{CaptureInterval, ProgramName, Seconds},
};
use serde::{Deserialize, Serialize};

pub use address::HubAddress;
pub use apps::{APPS_FILE, AppsConfig, Password, Registry};
pub use detection::{DetectionConfig, MemoryMb};
pub use models::{
    LAST_GOOD, MODEL_DESCRIPTION, ModelSource, ModelsConfig, last_good, model_dir, models_dir,
};
pub use program::Program;
pub use settings::Settings;

use detection::seconds;

use crate::{camera::CameraSource, files, outbox::Limits, update::UpdateKey};

/// Where the agent keeps its files unless told otherwise.
pub const DEFAULT_DATA_DIR: &str = "/var/lib/cloudcore-agent";
/// The settings' file, inside the data directory.
pub const CONFIG_FILE: &str = "agent.toml";
const HEADER: &str = "# The CloudCore agent's settings. The agent rewrites this file when a command changes one.\n\n";

/// Why settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("{path}: {problem}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the key.
        problem: String,
    },
}

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Hubs to try in turn, `HOST:PORT`.
    pub hub: Vec<HubAddress>,
    /// This node's name; the certificate's.
    pub node_name: NodeName,
    /// This device's id, as the hub knows it.
    pub device_id: DeviceId,
    /// The camera (`v4l2:///dev/video0`, `rtsp://host/stream`); none where absent.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "CameraSource::with_secrets"
    )]
    pub camera: Option<CameraSource>,
    /// The detection model, an ONNX file with its description beside it, or `NAME@VERSION` of the
    /// hub's catalog; none where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelSource>,
    /// Where the model to be used now is: that of `model`, or the last good one of the catalog
    /// while that is not fetched. Not in the file.
    #[serde(skip)]
    pub model_path: Option<PathBuf>,
    /// The cache of the catalog's models.
    #[serde(default)]
    pub models: ModelsConfig,
    /// Seconds from heartbeat to heartbeat.
    #[serde(default = "default_heartbeat_interval")]
    pub heartbeat_interval: Seconds,
    /// Seconds from scheduled picture to picture; 0 for none.
    #[serde(default)]
    pub capture_interval: CaptureInterval,
    /// Whether the hub may restart this machine.
    #[serde(default)]
    pub allow_reboot: bool,
    /// The program that restarts it, and its arguments.
    #[serde(default = "default_reboot_command")]
    pub reboot_command: Vec<String>,
    /// Files and folders that the hub may have, absolute; `*` and `?` stand for parts of one name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upload_paths: Vec<String>,
    /// Who runs the programs of `exec`, where the agent is root.
    #[serde(default = "default_exec_user")]
    pub exec_user: String,
    /// The minisign public key of releases that the hub may have this agent run; none where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_key: Option<UpdateKey>,
    /// Machines beside this one whose TCP ports the hub may have checked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub port_check_hosts: Vec<IpAddr>,
    /// The operator's labels, told to the hub.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The Unix socket of the container engine that runs apps; Docker's or podman's, where one is
    /// there, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_engine: Option<PathBuf>,
    /// What apps may do.
    #[serde(default)]
    pub apps: AppsConfig,
    /// Private registries of images, by `HOST` or `HOST:PORT`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub registry: BTreeMap<String, Registry>,
    /// Watching the camera.
    #[serde(default)]
    pub detection: DetectionConfig,
    /// What is kept for a hub that is away.
    #[serde(default)]
    pub outbox: OutboxConfig,
    /// The programs that the hub may have run, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exec: BTreeMap<String, Program>,
}

/// What is kept for a hub that is away. Read at the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutboxConfig {
    /// Most of it on the disk, MiB; 1 to 65536.
    pub max_mb: u32,
    /// Days that pictures, detections and heartbeats are kept while the agent runs; 1 to 3650.
    pub max_days: u32,
}

impl Default for OutboxConfig {
    fn default() -> Self {
        Self { max_mb: 256, max_days: 30 }
    }
}

impl OutboxConfig {
    /// For the outbox.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            bytes: u64::from(self.max_mb) << 20,
            age: Duration::from_secs(u64::from(self.max_days) * 86_400),
        }
    }

    fn check(&self) -> Result<(), String> {
        if !(1..=65_536).contains(&self.max_mb) {
            return Err("outbox.max_mb: 1 to 65536".into());
        }
        if !(1..=3650).contains(&self.max_days) {
            return Err("outbox.max_days: 1 to 3650".into());
        }
        Ok(())
    }
}

fn default_heartbeat_interval() -> Seconds {
    seconds(10.0)
}

fn default_exec_user() -> String {
    "nobody".into()
}

fn default_reboot_command() -> Vec<String> {
    vec!["systemctl".into(), "reboot".into()]
}

impl Config {
    /// A new member's settings.
    #[must_use]
    pub fn new(hub: HubAddress, node_name: NodeName, device_id: DeviceId) -> Self {
        Self {
            hub: vec![hub],
            node_name,
            device_id,
            camera: None,
            model: None,
            model_path: None,
            models: ModelsConfig::default(),
            heartbeat_interval: default_heartbeat_interval(),
            capture_interval: CaptureInterval::default(),
            allow_reboot: false,
            reboot_command: default_reboot_command(),
            upload_paths: Vec::new(),
            exec_user: default_exec_user(),
            update_key: None,
            port_check_hosts: Vec::new(),
            labels: BTreeMap::new(),
            container_engine: None,
            apps: AppsConfig::default(),
            registry: BTreeMap::new(),
            detection: DetectionConfig::default(),
            outbox: OutboxConfig::default(),
            exec: BTreeMap::new(),
        }
    }

    /// From the data directory.
    ///
    /// # Errors
    /// [`ConfigError`], naming file and key.
    pub fn load(data_dir: &Path) -> Result<Self, ConfigError> {
        let path = data_dir.join(CONFIG_FILE);
        let text = fs::read_to_string(&path)
            .map_err(|source| ConfigError::File { path: path.clone(), source })?;
        let mut config =
            Self::parse(&text).map_err(|problem| ConfigError::Invalid { path, problem })?;
        config.find_model(data_dir);
        Ok(config)
    }

    /// From the text of a file.
    ///
    /// # Errors
    /// What is wrong, with the key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|e| {
            // Its own words would quote the line, which may hold a camera's password.
            let at = e.span().map_or(0, |span| span.start).min(text.len());
            let before = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
            let key = text.lines().nth(before).and_then(|line| line.split_once('='));
            let key = key
                .map(|(key, _)| key.trim())
                .filter(|key| key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
            let key = key.map_or_else(String::new, |key| format!(", {key}"));
            format!("line {}{key}: {}", before + 1, e.message().trim())
        })?;
        if config.hub.is_empty() {
            return Err("hub: at least one HOST:PORT".into());
        }
        if config.allow_reboot && config.reboot_command.is_empty() {
            return Err(
                "reboot_command: a program is missing, although allow_reboot is true".into()
            );
        }
        config.outbox.check()?;
        if let Some(path) = config.upload_paths.iter().find(|path| !path.starts_with('/')) {
            return Err(format!("upload_paths: '{path}' is not absolute"));
        }
        for (name, program) in &config.exec {
            ProgramName::try_from(name.clone()).map_err(|e| format!("exec.{name}: {e}"))?;
            program.check().map_err(|e| format!("exec.{name}: {e}"))?;
        }
        Ok(config)
    }

    /// Says where the model is.
    fn find_model(&mut self, data_dir: &Path) {
        self.model_path = self.model.as_ref().map(|model| match model {
            ModelSource::File(path) => path.clone(),
            ModelSource::Catalog(wanted) => {
                let there = |id: &ModelId| model_dir(data_dir, id).is_dir();
                let instead = || last_good(data_dir).filter(there);
                let used = (!there(wanted)).then(instead).flatten();
                model_dir(data_dir, used.as_ref().unwrap_or(wanted)).join(MODEL_DESCRIPTION)
            }
        });
    }

    /// Replaces the file in the data directory.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn save(&self, data_dir: &Path) -> Result<(), ConfigError> {
        let path = data_dir.join(CONFIG_FILE);
        let text = toml::to_string_pretty(self)
            .map_err(|e| ConfigError::Invalid { path: path.clone(), problem: e.to_string() })?;
        files::write_private(&path, format!("{HEADER}{text}").as_bytes())
            .map_err(|source| ConfigError::File { path, source })
    }
}

/// The longest that a graceful stop may take.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    fn sample() -> Config {
        let mut config = Config::new(
            "hub.example:10000".parse().unwrap(),
            "edge-1".parse().unwrap(),
            "cam-1".parse().unwrap(),
        );
        config.labels.insert("site".into(), "berlin".into());
        config.camera = Some("file:///tmp/pictures".parse().unwrap());
        config.detection.confidence = 0.4_f32.try_into().unwrap();
        config
    }

    #[test]
    fn round_trip_through_the_file() {
        let dir = tempfile::tempdir().unwrap();
        sample().save(dir.path()).unwrap();
        assert_eq!(Config::load(dir.path()).unwrap(), sample());
        let text = fs::read_to_string(dir.path().join(CONFIG_FILE)).unwrap();
        assert!(text.contains("confidence = 0.4\n"), "{text}");
    }

    #[test]
    fn an_error_names_the_key() {
        let text = toml::to_string(&sample()).unwrap();
        let bad = text.replace("heartbeat_interval = 10.0", "heartbeat_interval = 0.001");
        assert!(Config::parse(&bad).unwrap_err().contains("heartbeat_interval"));
        assert!(Config::parse(&format!("colour = 1\n{text}")).unwrap_err().contains("colour"));
    }

    #[tokio::test]
    async fn a_change_is_on_the_disk_before_it_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings::new(dir.path(), sample());
        settings.change(|config| config.allow_reboot = true).await.unwrap();
        assert!(settings.get().allow_reboot && Config::load(dir.path()).unwrap().allow_reboot);

        let lost = Settings::new(&dir.path().join("gone"), sample());
        lost.change(|config| config.allow_reboot = true).await.unwrap_err();
        assert!(!lost.get().allow_reboot);
    }
}
