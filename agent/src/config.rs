//! The agent's settings: `agent.toml` in its data directory.
//!
//! `join` writes the file, people may edit it, and `set_config`, `start_detection` and
//! `stop_detection` rewrite it. It is read and checked whole before anything starts.

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
    DeviceId, NodeName,
    command::{Confidence, Seconds},
};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};

use crate::{camera::CameraSource, files};

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
    /// The camera (`v4l2:///dev/video0`, `file:///pictures`); none where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera: Option<CameraSource>,
    /// The detection model, an ONNX file or the folder that holds it; none where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<PathBuf>,
    /// Seconds from heartbeat to heartbeat.
    #[serde(default = "default_heartbeat_interval")]
    pub heartbeat_interval: Seconds,
    /// Whether the hub may restart this machine.
    #[serde(default)]
    pub allow_reboot: bool,
    /// The program that restarts it, and its arguments.
    #[serde(default = "default_reboot_command")]
    pub reboot_command: Vec<String>,
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
    #[serde(serialize_with = "short_decimal")]
    pub confidence: Confidence,
}

impl Default for DetectionConfig {
    fn default() -> Self {
        Self { enabled: false, interval: seconds(0.5), confidence: confidence(0.5) }
    }
}

fn default_heartbeat_interval() -> Seconds {
    seconds(10.0)
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

/// 0.4 stays 0.4 in the file, and does not become 0.4000000059604645.
fn short_decimal<S: serde::Serializer>(value: &Confidence, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_f64((f64::from(value.get()) * 10_000.0).round() / 10_000.0)
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
            heartbeat_interval: default_heartbeat_interval(),
            allow_reboot: false,
            reboot_command: default_reboot_command(),
            port_check_hosts: Vec::new(),
            labels: BTreeMap::new(),
            container_engine: None,
            apps: AppsConfig::default(),
            registry: BTreeMap::new(),
            detection: DetectionConfig::default(),
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
        Self::parse(&text).map_err(|problem| ConfigError::Invalid { path, problem })
    }

    /// From the text of a file.
    ///
    /// # Errors
    /// What is wrong, with the key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|e| e.to_string().trim().to_owned())?;
        if config.hub.is_empty() {
            return Err("hub: at least one HOST:PORT".into());
        }
        if config.allow_reboot && config.reboot_command.is_empty() {
            return Err(
                "reboot_command: a program is missing, although allow_reboot is true".into()
            );
        }
        Ok(config)
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
