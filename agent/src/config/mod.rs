//! The agent's settings: `agent.toml` in its data directory.
//!
//! `join` writes the file, people may edit it, and `set_config`, `start_detection` and
//! `stop_detection` rewrite it. It is read and checked whole before anything starts.

mod program;

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    net::{IpAddr, Ipv6Addr},
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use cloudcore_protocol::{
    DeviceId, ModelId, NodeName,
    command::{
        CaptureInterval, Confidence, Few, Filters, Labels, Masks, ProgramName, Seconds, Zones,
    },
};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};

pub use program::Program;

use crate::{camera::CameraSource, detect::Scene, files, outbox::Limits, update::UpdateKey};

/// Where the agent keeps its files unless told otherwise.
pub const DEFAULT_DATA_DIR: &str = "/var/lib/cloudcore-agent";
/// The settings' file, inside the data directory.
pub const CONFIG_FILE: &str = "agent.toml";
const DEFAULT_HUB_PORT: u16 = 10_000;
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

/// Host and port of a hub.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HubAddress {
    host: String,
    port: u16,
}

impl HubAddress {
    /// Name or IP address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// UDP port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for HubAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("'{text}' is not HOST:PORT");
        let port = |text: &str| text.parse().ok().filter(|port| *port != 0).ok_or_else(bad);
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or_else(bad)?;
            host.parse::<Ipv6Addr>().map_err(|_| bad())?;
            match rest.strip_prefix(':') {
                Some(digits) => (host, port(digits)?),
                None if rest.is_empty() => (host, DEFAULT_HUB_PORT),
                None => return Err(bad()),
            }
        } else {
            match text.split_once(':') {
                Some((host, digits)) => (host, port(digits)?),
                None => (text, DEFAULT_HUB_PORT),
            }
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || host.len() > 253 || !host.chars().all(plain) {
            return Err(bad());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl TryFrom<String> for HubAddress {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<HubAddress> for String {
    fn from(address: HubAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for HubAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for HubAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
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

/// What apps may do on this node, whatever the hub asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AppsConfig {
    /// The engine's network that they are in: `bridge`, `host`, `none`, or one of the owner's.
    pub network: String,
    /// Linux capabilities that they keep (`NET_BIND_SERVICE`).
    pub capabilities: Vec<String>,
}

impl Default for AppsConfig {
    fn default() -> Self {
        Self { network: "bridge".into(), capabilities: Vec::new() }
    }
}

/// Who this node is to a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// The user.
    pub username: String,
    /// Its password or token.
    pub password: Password,
}

/// Never shown; written to the agent's own file only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Password(String);

impl Password {
    /// For who is to be told.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Settings of detection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DetectionConfig {
    /// Whether it is on; `start_detection` and `stop_detection` set it.
    pub enabled: bool,
    /// Seconds from frame to frame.
    pub interval: Seconds,
    /// Least score of a detection, 0 to 1.
    pub confidence: Confidence,
    /// The most that the model's process may allocate, MiB.
    pub memory_mb: MemoryMb,
    /// The labels that count; all where it is empty.
    #[serde(skip_serializing_if = "is_empty")]
    pub objects: Labels,
    /// Where motion does not count: corners as shares of the frame.
    #[serde(skip_serializing_if = "is_empty")]
    pub masks: Masks,
    /// Areas whose names events show.
    #[serde(skip_serializing_if = "is_empty")]
    pub zones: Zones,
    /// Whether an object is an event in a zone only.
    pub only_in_zones: bool,
    /// Which objects count, by label.
    #[serde(skip_serializing_if = "is_empty")]
    pub filters: Filters,
    /// Seconds from look to look at what does not move.
    pub stationary_interval: Seconds,
}

fn is_empty<T, const N: usize>(few: &Few<T, N>) -> bool {
    few.is_empty()
}

impl DetectionConfig {
    /// What counts of what a model sees.
    #[must_use]
    pub fn scene(&self) -> Scene {
        Scene {
            objects: self.objects.clone(),
            masks: self.masks.clone(),
            zones: self.zones.clone(),
            only_in_zones: self.only_in_zones,
            filters: self.filters.clone(),
            confidence: self.confidence.get(),
        }
    }
}

/// 64 MiB to 64 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct MemoryMb(u32);

impl MemoryMb {
    /// MiB.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for MemoryMb {
    type Error = &'static str;
    fn try_from(value: u32) -> Result<Self, Self::Error> {
        match value {
            64..=65_536 => Ok(Self(value)),
            _ => Err("memory_mb must be 64 to 65536"),
        }
    }
}

impl From<MemoryMb> for u32 {
    fn from(memory: MemoryMb) -> Self {
        memory.0
    }
}

impl Default for DetectionConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            interval: seconds(0.5),
            confidence: confidence(0.5),
            memory_mb: MemoryMb(768),
            objects: Labels::default(),
            masks: Masks::default(),
            zones: Zones::default(),
            only_in_zones: false,
            filters: Filters::default(),
            stationary_interval: seconds(30.0),
        }
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

#[allow(clippy::expect_used, reason = "called with constants only")]
fn seconds(value: f64) -> Seconds {
    value.try_into().expect("an interval in range")
}

#[allow(clippy::expect_used, reason = "called with constants only")]
fn confidence(value: f32) -> Confidence {
    value.try_into().expect("a score in range")
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

    #[test]
    fn addresses() {
        for (text, shown) in [
            ("10.0.0.1:30374", "10.0.0.1:30374"),
            ("hub", "hub:10000"),
            ("[::1]:5", "[::1]:5"),
            ("[::1]", "[::1]:10000"),
        ] {
            assert_eq!(text.parse::<HubAddress>().unwrap().to_string(), shown);
        }
        for text in ["", ":1", "hub:", "hub:0", "hub:70000", "::1", "[::1", "a b:1", "hub:1:2"] {
            assert!(text.parse::<HubAddress>().is_err(), "{text}");
        }
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
