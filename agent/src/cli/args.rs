//! The flags.

use std::{collections::BTreeMap, path::PathBuf};

use clap::Args;
#[cfg(feature = "detection")]
use cloudcore_protocol::command::Confidence;
use cloudcore_protocol::{
    DeviceId, NodeName,
    command::{Resolution, Seconds},
};

use crate::{
    config::{DEFAULT_DATA_DIR, HubAddress},
    update::UpdateKey,
};

/// Where the agent keeps its files.
#[derive(Debug, Clone, Args)]
pub struct DataDir {
    /// Where the agent keeps its files.
    #[arg(long, env = "CLOUDCORE_DATA_DIR", default_value = DEFAULT_DATA_DIR)]
    pub data_dir: PathBuf,
}

/// Flags of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub data_dir: DataDir,
    /// Another hub than that of agent.toml, for this run.
    #[arg(short = 'e', long, env = "CLOUDCORE_HUB", value_name = "HOST:PORT")]
    pub cloudcore_ipport: Option<HubAddress>,
}

/// Flags of `join`; those of KubeEdge's keadm are understood.
#[derive(Debug, Args)]
pub struct JoinArgs {
    /// Where the node's files go.
    #[command(flatten)]
    pub data_dir: DataDir,
    /// The hub.
    #[arg(short = 'e', long, env = "CLOUDCORE_HUB", value_name = "HOST:PORT")]
    pub cloudcore_ipport: HubAddress,
    /// This node's name, the token's; this machine's host name where absent.
    #[arg(short = 'i', long, value_name = "NAME")]
    pub edgenode_name: Option<NodeName>,
    /// The join token. Better in CLOUDCORE_TOKEN: arguments are seen by every user of a machine.
    // Parsed later: the parser's own errors would show the secret.
    #[arg(short = 't', long, env = "CLOUDCORE_TOKEN", hide_env_values = true)]
    pub token: String,
    /// The device's id; the token's, or the node's name, where absent.
    #[arg(long, value_name = "ID")]
    pub device_id: Option<DeviceId>,
    /// The camera: v4l2:///dev/video0, rtsp://host/stream, http://host/video, file:///folder. One
    /// with a password is better in CLOUDCORE_CAMERA.
    // Parsed later: the parser's own errors would show the password.
    #[arg(long, env = "CLOUDCORE_CAMERA", hide_env_values = true, value_name = "URL")]
    pub camera: Option<String>,
    /// Labels for the hub.
    #[arg(short = 'l', long, value_name = "KEY=VALUE,…", value_delimiter = ',', value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// The detection model: an ONNX file with its description beside it.
    #[arg(long, env = "CLOUDCORE_MODEL", value_name = "PATH")]
    pub model: Option<PathBuf>,
    /// Seconds from heartbeat to heartbeat.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub heartbeat_interval: Option<Seconds>,
    /// The minisign public key of releases that the hub may have this agent run.
    #[arg(long, env = "CLOUDCORE_UPDATE_KEY", value_name = "KEY")]
    pub update_key: Option<UpdateKey>,
    /// Let the hub restart this machine.
    #[arg(long)]
    pub allow_reboot: bool,
    /// Don't have systemd run the agent.
    #[arg(long)]
    pub no_service: bool,
    /// What only means something to KubeEdge.
    #[command(flatten)]
    pub kubeedge: KubeEdgeArgs,
}

impl JoinArgs {
    /// The labels, the last of those with the same key.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        self.labels.iter().cloned().collect()
    }
}

/// Flags that only mean something to KubeEdge.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Accepted for KubeEdge's scripts, and unused")]
pub struct KubeEdgeArgs {
    /// The port for certificates: there is one port for all.
    #[arg(short = 's', long, value_name = "PORT")]
    certport: Option<String>,
    /// The container runtime's socket.
    #[arg(short = 'p', long, visible_alias = "runtime-endpoint", value_name = "URL")]
    remote_runtime_endpoint: Option<String>,
    /// The container runtime.
    #[arg(short = 'r', long, value_name = "NAME")]
    runtimetype: Option<String>,
    /// KubeEdge's release.
    #[arg(long, value_name = "VERSION")]
    kubeedge_version: Option<String>,
    /// How the runtime groups processes.
    #[arg(long, visible_alias = "cgroup-driver", value_name = "NAME")]
    cgroupdriver: Option<String>,
    /// Where KubeEdge keeps certificates.
    #[arg(long = "certPath", visible_alias = "cert-path", value_name = "PATH")]
    cert_path: Option<String>,
    /// Where KubeEdge's archive is.
    #[arg(long, value_name = "PATH")]
    tarballpath: Option<String>,
    /// Where images come from.
    #[arg(long, value_name = "NAME")]
    image_repository: Option<String>,
    /// The hub's protocol: it is QUIC.
    #[arg(long, value_name = "NAME")]
    hub_protocol: Option<String>,
    /// The port of KubeEdge's quic.
    #[arg(long, value_name = "PORT")]
    quicport: Option<String>,
    /// The port of KubeEdge's tunnel.
    #[arg(long, value_name = "PORT")]
    tunnelport: Option<String>,
    /// Edgecore's settings.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// A script of before.
    #[arg(long, value_name = "PATH")]
    pre_run: Option<String>,
    /// A script of after.
    #[arg(long, value_name = "PATH")]
    post_run: Option<String>,
    /// A broker beside edgecore.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    with_mqtt: Option<String>,
    /// The broker's image.
    #[arg(long, value_name = "PATH")]
    mqtt_image: Option<String>,
}

impl KubeEdgeArgs {
    /// Those that were given.
    pub(super) fn given(&self) -> Vec<&'static str> {
        let options = [
            ("--certport", self.certport.is_some()),
            ("--remote-runtime-endpoint", self.remote_runtime_endpoint.is_some()),
            ("--runtimetype", self.runtimetype.is_some()),
            ("--kubeedge-version", self.kubeedge_version.is_some()),
            ("--cgroupdriver", self.cgroupdriver.is_some()),
            ("--certPath", self.cert_path.is_some()),
            ("--tarballpath", self.tarballpath.is_some()),
            ("--image-repository", self.image_repository.is_some()),
            ("--hub-protocol", self.hub_protocol.is_some()),
            ("--quicport", self.quicport.is_some()),
            ("--tunnelport", self.tunnelport.is_some()),
            ("--set", !self.set.is_empty()),
            ("--pre-run", self.pre_run.is_some()),
            ("--post-run", self.post_run.is_some()),
            ("--with-mqtt", self.with_mqtt.is_some()),
            ("--mqtt-image", self.mqtt_image.is_some()),
        ];
        options.into_iter().filter_map(|(name, given)| given.then_some(name)).collect()
    }
}

/// Flags of `reset`.
#[derive(Debug, Args)]
pub struct ResetArgs {
    #[command(flatten)]
    pub(super) data_dir: DataDir,
    /// Don't ask.
    #[arg(long, short = 'f', visible_short_alias = 'y', visible_alias = "yes")]
    pub(super) force: bool,
    /// Remove the program itself as well.
    #[arg(long)]
    pub(super) programs: bool,
}

/// Flags of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub(super) data_dir: DataDir,
    /// The hub, on a machine that has not joined.
    #[arg(short = 'e', long, env = "CLOUDCORE_HUB", value_name = "HOST:PORT")]
    pub(super) cloudcore_ipport: Option<HubAddress>,
}

/// Flags of `capture`.
#[derive(Debug, Args)]
pub struct CaptureArgs {
    /// The camera.
    // Parsed later: as with `join`.
    #[arg(long, env = "CLOUDCORE_CAMERA", hide_env_values = true, value_name = "URL")]
    pub camera: String,
    /// The file; its ending, .jpg or .png, says the format.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// The picture's size; the camera's own where absent.
    #[arg(long, value_name = "WIDTHxHEIGHT")]
    pub resolution: Option<Resolution>,
    /// Quality of a JPEG, 1 to 100.
    #[arg(long, default_value = "90")]
    pub quality: u8,
}

/// Flags of `detect`.
#[cfg(feature = "detection")]
#[derive(Debug, Args)]
pub struct DetectArgs {
    /// The model: an ONNX file with its description beside it.
    #[arg(long, env = "CLOUDCORE_MODEL", value_name = "PATH")]
    pub model: PathBuf,
    /// Least score, 0 to 1; the model's own where absent.
    #[arg(long, value_parser = confidence)]
    pub confidence: Option<Confidence>,
    /// Measure instead: so many times each picture, milliseconds.
    #[arg(long, value_name = "TIMES", num_args = 0..=1, default_missing_value = "20")]
    pub bench: Option<u32>,
    /// Pictures.
    #[arg(required = true, value_name = "PICTURE")]
    pub pictures: Vec<PathBuf>,
}

/// Flags of `infer`.
#[derive(Debug, Args)]
pub struct InferArgs {
    /// The model.
    #[arg(long)]
    pub(super) model: PathBuf,
    /// The most that may be allocated, MiB.
    #[arg(long)]
    pub(super) memory_mb: u32,
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && text.len() <= 256 => {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => Err("a label is KEY=VALUE of at most 256 bytes".into()),
    }
}

fn seconds(text: &str) -> Result<Seconds, String> {
    let value: f64 = text.parse().map_err(|_| "not a number")?;
    value.try_into().map_err(str::to_owned)
}

#[cfg(feature = "detection")]
fn confidence(text: &str) -> Result<Confidence, String> {
    let value: f32 = text.parse().map_err(|_| "not a number")?;
    value.try_into().map_err(str::to_owned)
}
