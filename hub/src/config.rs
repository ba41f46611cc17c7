//! Settings: flags, then `CLOUDCORE_*`, then a TOML file, then defaults. Read and checked whole
//! before anything binds.

mod broker;
mod cluster;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use sqlx::postgres::PgConnectOptions;
use url::Url;

pub use broker::Place;
pub use cluster::{Kubernetes, ServicePort, is_label};

/// What `serve` takes, each also as `CLOUDCORE_<NAME>` and as a key of the TOML file.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Where all embedded state lives [default: ./cloudcore-data]
    #[arg(long, env = "CLOUDCORE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where the API listens; port 0 takes a free one [default: 0.0.0.0:5000]
    #[arg(long, env = "CLOUDCORE_HTTP", value_name = "ADDRESS")]
    pub http: Option<SocketAddr>,
    /// Where the API listens for TLS [default: nowhere]
    #[arg(long, env = "CLOUDCORE_HTTPS", value_name = "ADDRESS")]
    pub https: Option<SocketAddr>,
    /// PEM chain for it, read again when it changes [default: a certificate of the hub's own CA]
    #[arg(long, env = "CLOUDCORE_HTTPS_CERT", value_name = "FILE")]
    pub https_cert: Option<PathBuf>,
    /// PEM key of that chain
    #[arg(long, env = "CLOUDCORE_HTTPS_KEY", value_name = "FILE")]
    pub https_key: Option<PathBuf>,
    /// One more name or address in the own certificate, beside localhost, this machine's and the
    /// advertised one
    #[arg(long, env = "CLOUDCORE_HTTPS_NAME", value_name = "NAME", value_delimiter = ',')]
    pub https_name: Option<Vec<String>>,
    /// Where pictures and backups are: s3://BUCKET/PREFIX (keys, region and endpoint from AWS_*),
    /// or file:///FOLDER [default: DATA_DIR/objects]
    #[arg(long, env = "CLOUDCORE_OBJECT_STORE", value_name = "URL")]
    pub object_store: Option<Url>,
    /// Folder of the agent's releases, for install.sh and `update_agent` [default:
    /// DATA_DIR/downloads]
    #[arg(long, env = "CLOUDCORE_DOWNLOADS", value_name = "DIR")]
    pub downloads: Option<PathBuf>,
    /// Where agents join and link, UDP [default: 0.0.0.0:10000]
    #[arg(long, env = "CLOUDCORE_QUIC", value_name = "ADDRESS")]
    pub quic: Option<SocketAddr>,
    /// Where MQTT clients connect to the broker inside the hub [default: 0.0.0.0:1883]
    #[arg(long, env = "CLOUDCORE_MQTT", value_name = "ADDRESS")]
    pub mqtt: Option<SocketAddr>,
    /// Where they connect by TLS, with a certificate of the hub's CA [default: nowhere]
    #[arg(long, env = "CLOUDCORE_MQTTS", value_name = "ADDRESS")]
    pub mqtts: Option<SocketAddr>,
    /// Somebody else's broker instead: mqtt(s)://user:password@host:port; as a flag it is seen in
    /// the list of processes
    #[arg(long, env = "CLOUDCORE_MQTT_URL", value_name = "URL", hide_env_values = true)]
    pub mqtt_url: Option<SecretString>,
    /// Seconds that the word of a device on that broker stands: one that says no status for longer
    /// is away; 0 is for ever, until its last will [default: 300]
    #[arg(long, env = "CLOUDCORE_MQTT_SILENCE", value_name = "SECONDS")]
    pub mqtt_silence: Option<u32>,
    /// A PostgreSQL database instead of SQLite in the data directory: postgres://user@host/name
    #[arg(long, env = "CLOUDCORE_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<SecretString>,
    /// HOST:PORT that agents use to reach the QUIC port [default: as bound]
    #[arg(long, env = "CLOUDCORE_ADVERTISE_ADDRESS", value_name = "HOST:PORT")]
    pub advertise_address: Option<String>,
    /// Where browsers reach the API, for links to pictures [default: as the request came]
    #[arg(long, env = "CLOUDCORE_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<Url>,
    /// Let anybody watch the event stream, MQTT and the status of a command, as the contract shows
    #[arg(long, env = "CLOUDCORE_PUBLIC_MONITORING", num_args = 0..=1, default_missing_value = "true")]
    pub public_monitoring: Option<bool>,
    /// Requests a minute for each API key, user or address; 0 is no limit [default: 100]
    #[arg(long, env = "CLOUDCORE_RATE_LIMIT", value_name = "N")]
    pub rate_limit: Option<u32>,
    /// Let webhooks reach private addresses: those of this machine and its networks
    #[arg(long, env = "CLOUDCORE_WEBHOOK_ALLOW_PRIVATE", num_args = 0..=1, default_missing_value = "true")]
    pub webhook_allow_private: Option<bool>,
    /// Most devices that may be members [default: 10000]
    #[arg(long, env = "CLOUDCORE_MAX_DEVICES", value_name = "N")]
    pub max_devices: Option<u32>,
    /// Largest ONNX file that the catalog of models takes, MiB [default: 256]
    #[arg(long, env = "CLOUDCORE_MAX_MODEL_MB", value_name = "MIB")]
    pub max_model_mb: Option<u32>,
    /// Days that heartbeats, detections, ended commands and pictures are kept [default: 30]
    #[arg(long, env = "CLOUDCORE_RETENTION_DAYS", value_name = "DAYS")]
    pub retention_days: Option<u32>,
    /// Seconds that a node's certificate lives; nodes renew it at two thirds [default: 2592000]
    #[arg(long, env = "CLOUDCORE_NODE_CERTIFICATE_LIFE", value_name = "SECONDS")]
    pub node_certificate_life: Option<u32>,
    /// A kubeconfig that says where the Kubernetes cluster is [default: that of the pod that the hub
    /// is in, or no cluster]
    #[arg(long, env = "CLOUDCORE_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Which context of it [default: its current one]
    #[arg(long, env = "CLOUDCORE_KUBE_CONTEXT", value_name = "NAME")]
    pub kube_context: Option<String>,
    /// Namespace of what the hub makes in the cluster [default: kubeedge]
    #[arg(long, env = "CLOUDCORE_KUBE_NAMESPACE", value_name = "NAME")]
    pub kube_namespace: Option<String>,
    /// Image of KubeEdge's CloudCore without its tag, which is the version [default:
    /// docker.io/kubeedge/cloudcore]
    #[arg(long, env = "CLOUDCORE_CLOUDCORE_IMAGE", value_name = "IMAGE")]
    pub cloudcore_image: Option<String>,
    /// Ports of CloudCore's service, NAME=PORT:NODEPORT; KubeEdge's are 10000 WebSocket, 10001 QUIC,
    /// 10002 certificates, 10003 stream, 10004 tunnel [default:
    /// cloudhub=10000:30374,cloudstream=10002:31305,websocket=10004:32203]
    #[arg(long, env = "CLOUDCORE_CLOUDCORE_PORTS", value_name = "PORTS", value_delimiter = ',')]
    pub cloudcore_ports: Option<Vec<String>>,
}

/// The API's TLS listener.
#[derive(Debug, Clone)]
pub struct HttpsConfig {
    /// Where it listens.
    pub address: SocketAddr,
    /// A PEM chain and its key, where the certificate is not of the hub's own CA.
    pub files: Option<(PathBuf, PathBuf)>,
    /// More names of the own certificate.
    pub names: Vec<String>,
}

/// Settings, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where all embedded state lives.
    pub data_dir: PathBuf,
    /// The API's listener.
    pub http: SocketAddr,
    /// The API's TLS listener, where there is one.
    pub https: Option<HttpsConfig>,
    /// Where objects are, `s3:` or `file:`, where it is not the data directory.
    pub object_store: Option<Url>,
    /// Where the agent's releases are.
    pub downloads: PathBuf,
    /// The agents' listener.
    pub quic: SocketAddr,
    /// The MQTT broker.
    pub mqtt: Mqtt,
    /// The database; SQLite in the data directory where there is none.
    pub database: Option<PgConnectOptions>,
    /// What `join_command` names, where it is not the bound address.
    pub advertise: Option<String>,
    /// Base of links to the hub.
    pub public_url: Option<Url>,
    /// Whether the event stream and command status want no token.
    pub public_monitoring: bool,
    /// Requests a minute for each caller.
    pub rate_limit: u32,
    /// Whether webhooks may reach private addresses.
    pub webhook_allow_private: bool,
    /// Most members.
    pub max_devices: u32,
    /// Largest ONNX file of the catalog, bytes.
    pub max_model_bytes: u64,
    /// How long heartbeats, detections, ended commands and pictures are kept.
    pub retention: Duration,
    /// How long a node's certificate lives.
    pub node_certificate_life: Duration,
    /// The cluster.
    pub kubernetes: Kubernetes,
    /// The first admin's password, where the environment names one.
    pub admin_password: Option<secrecy::SecretString>,
}

/// Which MQTT broker.
#[derive(Debug, Clone)]
pub enum Mqtt {
    /// The one inside the hub, and where it listens: plain, and by TLS.
    Own(SocketAddr, Option<SocketAddr>),
    /// Somebody else's, and how long a device's word there stands; for ever where `None`.
    External(Place, Option<Duration>),
}

/// Why settings are refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read {0}: {1}")]
    Read(PathBuf, std::io::Error),
    /// The file is not what it should be.
    #[error("{0}: {1}")]
    Parse(PathBuf, Box<toml::de::Error>),
    /// A value can't be.
    #[error("{0}: {1}")]
    Value(&'static str, String),
}

impl Options {
    /// The options of a TOML file.
    ///
    /// # Errors
    /// [`ConfigError::Read`] or [`ConfigError::Parse`], with the file's name and line.
    pub fn from_file(path: &std::path::Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|e| ConfigError::Read(path.to_owned(), e))?;
        toml::from_str(&text).map_err(|e| ConfigError::Parse(path.to_owned(), Box::new(e)))
    }

    /// These where set, `under`'s otherwise.
    #[must_use]
    pub fn over(self, under: Self) -> Self {
        Self {
            data_dir: self.data_dir.or(under.data_dir),
            http: self.http.or(under.http),
            https: self.https.or(under.https),
            https_cert: self.https_cert.or(under.https_cert),
            https_key: self.https_key.or(under.https_key),
            https_name: self.https_name.or(under.https_name),
            object_store: self.object_store.or(under.object_store),
            downloads: self.downloads.or(under.downloads),
            quic: self.quic.or(under.quic),
            mqtt: self.mqtt.or(under.mqtt),
            mqtts: self.mqtts.or(under.mqtts),
            mqtt_url: self.mqtt_url.or(under.mqtt_url),
            mqtt_silence: self.mqtt_silence.or(under.mqtt_silence),
            database_url: self.database_url.or(under.database_url),
            advertise_address: self.advertise_address.or(under.advertise_address),
            public_url: self.public_url.or(under.public_url),
            public_monitoring: self.public_monitoring.or(under.public_monitoring),
            rate_limit: self.rate_limit.or(under.rate_limit),
            webhook_allow_private: self.webhook_allow_private.or(under.webhook_allow_private),
            max_devices: self.max_devices.or(under.max_devices),
            max_model_mb: self.max_model_mb.or(under.max_model_mb),
            retention_days: self.retention_days.or(under.retention_days),
            node_certificate_life: self.node_certificate_life.or(under.node_certificate_life),
            kubeconfig: self.kubeconfig.or(under.kubeconfig),
            kube_context: self.kube_context.or(under.kube_context),
            kube_namespace: self.kube_namespace.or(under.kube_namespace),
            cloudcore_image: self.cloudcore_image.or(under.cloudcore_image),
            cloudcore_ports: self.cloudcore_ports.or(under.cloudcore_ports),
        }
    }

    /// Checks everything and fills in the defaults.
    ///
    /// # Errors
    /// [`ConfigError::Value`] names the first setting that can't be.
    pub fn check(self) -> Result<Config, ConfigError> {
        if let Some(address) = &self.advertise_address {
            let port_ok = address
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
            if !port_ok {
                return Err(ConfigError::Value(
                    "advertise-address",
                    format!("'{address}' is not HOST:PORT"),
                ));
            }
        }
        if let Some(url) = &self.public_url
            && !matches!(url.scheme(), "http" | "https")
        {
            return Err(ConfigError::Value("public-url", "must be http:// or https://".into()));
        }
        let data_dir = self.data_dir.unwrap_or_else(|| "cloudcore-data".into());
        if self.max_devices == Some(0) {
            return Err(ConfigError::Value("max-devices", "must be at least 1".into()));
        }
        let model_mb = self.max_model_mb.unwrap_or(256);
        if !(1..=4096).contains(&model_mb) {
            return Err(ConfigError::Value("max-model-mb", "must be 1 to 4096".into()));
        }
        let days = self.retention_days.unwrap_or(30);
        if !(1..=3650).contains(&days) {
            return Err(ConfigError::Value("retention-days", "must be 1 to 3650".into()));
        }
        let life = self.node_certificate_life.unwrap_or(30 * 86_400);
        if !(20..=366 * 86_400).contains(&life) {
            return Err(ConfigError::Value(
                "node-certificate-life",
                "must be 20 to 31622400 seconds".into(),
            ));
        }
        let mqtt = match self.mqtt_url {
            Some(url) => {
                if self.mqtts.is_some() {
                    return Err(ConfigError::Value(
                        "mqtts",
                        "with mqtt-url the hub has no MQTT listener".into(),
                    ));
                }
                let place =
                    Place::parse(&url).map_err(|why| ConfigError::Value("mqtt-url", why))?;
                let silence = self.mqtt_silence.unwrap_or(300);
                let silence = (silence > 0).then(|| Duration::from_secs(silence.into()));
                Mqtt::External(place, silence)
            }
            None => {
                if self.mqtt_silence.is_some() {
                    return Err(ConfigError::Value(
                        "mqtt-silence",
                        "is for another broker, and mqtt-url is not given".into(),
                    ));
                }
                let plain = self.mqtt.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 1883)));
                Mqtt::Own(plain, self.mqtts)
            }
        };
        let https = https(
            self.https,
            self.https_cert,
            self.https_key,
            self.https_name.unwrap_or_default(),
        )?;
        check_object_store(self.object_store.as_ref())?;
        let kubernetes = cluster::check(
            self.kubeconfig,
            self.kube_context,
            self.kube_namespace,
            self.cloudcore_image,
            self.cloudcore_ports,
        )
        .map_err(|(setting, why)| ConfigError::Value(setting, why))?;
        Ok(Config {
            downloads: self.downloads.unwrap_or_else(|| data_dir.join("downloads")),
            data_dir,
            http: self.http.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 5000))),
            https,
            object_store: self.object_store,
            quic: self.quic.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 10000))),
            mqtt,
            database: self.database_url.as_ref().map(database).transpose()?,
            advertise: self.advertise_address,
            public_url: self.public_url,
            public_monitoring: self.public_monitoring.unwrap_or(false),
            rate_limit: self.rate_limit.unwrap_or(100),
            webhook_allow_private: self.webhook_allow_private.unwrap_or(false),
            max_devices: self.max_devices.unwrap_or(10_000),
            max_model_bytes: u64::from(model_mb) << 20,
            retention: Duration::from_secs(u64::from(days) * 86_400),
            node_certificate_life: Duration::from_secs(life.into()),
            kubernetes,
            admin_password: None,
        })
    }
}

/// A database's URL, parsed. Nothing of it is in an error: it holds a password.
///
/// # Errors
/// [`ConfigError::Value`].
pub fn database(url: &SecretString) -> Result<PgConnectOptions, ConfigError> {
    let bad = |why: &str| ConfigError::Value("database-url", why.into());
    let url = url.expose_secret();
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(bad("must be postgres://USER:PASSWORD@HOST:PORT/DATABASE"));
    }
    url.parse().map_err(|_| bad("is no URL of a PostgreSQL database"))
}

fn https(
    address: Option<SocketAddr>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    names: Vec<String>,
) -> Result<Option<HttpsConfig>, ConfigError> {
    let refuse = |setting, why: &str| Err(ConfigError::Value(setting, why.into()));
    let files = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => return refuse("https-cert", "needs https-key as well"),
        (None, Some(_)) => return refuse("https-key", "needs https-cert as well"),
    };
    if files.is_some() && !names.is_empty() {
        return refuse("https-name", "is for the hub's own certificate, and https-cert is given");
    }
    if let Some(name) = names.iter().find(|name| !is_host_name(name)) {
        return refuse("https-name", &format!("'{name}' is no host name or address"));
    }
    match address {
        Some(address) => Ok(Some(HttpsConfig { address, files, names })),
        None if files.is_some() => refuse("https-cert", "needs https, the address to listen on"),
        None if !names.is_empty() => refuse("https-name", "needs https, the address to listen on"),
        None => Ok(None),
    }
}

/// A name with or without a leading `*.`, or an IP address.
#[must_use]
pub fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let host = name.strip_prefix("*.").unwrap_or(name);
    name.parse::<IpAddr>().is_ok() || (host.len() <= 253 && host.split('.').all(label))
}

fn check_object_store(url: Option<&Url>) -> Result<(), ConfigError> {
    let Some(url) = url else { return Ok(()) };
    let refuse = |why: &str| Err(ConfigError::Value("object-store", why.into()));
    match url.scheme() {
        "s3" if url.host_str().is_none_or(str::is_empty) => refuse("names no bucket: s3://BUCKET"),
        "s3" | "file" if url.query().is_some() || url.fragment().is_some() => {
            refuse("takes no '?' and no '#': keys, region and endpoint are AWS_* variables")
        }
        "s3" if !url.username().is_empty() || url.password().is_some() || url.port().is_some() => {
            refuse("is s3://BUCKET/PREFIX: keys, region and endpoint are AWS_* variables")
        }
        "s3" => Ok(()),
        "file" if url.to_file_path().is_err() => refuse("must be file:///FOLDER"),
        "file" => Ok(()),
        "gs" | "az" | "azure" | "abfs" | "abfss" | "adl" => {
            refuse("this build has S3 and local folders, not Google's and Azure's stores")
        }
        other => {
            refuse(&format!("'{other}:' is unknown; it is s3://BUCKET/PREFIX or file:///FOLDER"))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    fn refused(options: Options) -> String {
        options.check().unwrap_err().to_string()
    }

    #[test]
    fn half_a_tls_listener_is_refused() {
        let all = Options {
            https: Some("127.0.0.1:0".parse().unwrap()),
            https_cert: Some("c.pem".into()),
            https_key: Some("k.pem".into()),
            ..Options::default()
        };
        assert!(all.clone().check().unwrap().https.unwrap().files.is_some());
        let without_key = Options { https_key: None, ..all.clone() };
        assert_eq!(refused(without_key), "https-cert: needs https-key as well");
        let without_address = Options { https: None, ..all.clone() };
        assert_eq!(refused(without_address), "https-cert: needs https, the address to listen on");
        let named = Options { https_name: Some(vec!["hub".into()]), ..all };
        assert!(refused(named).starts_with("https-name: is for the hub's own certificate"));
        let odd = Options {
            https: Some("127.0.0.1:0".parse().unwrap()),
            https_name: Some(vec!["a..b".into()]),
            ..Options::default()
        };
        assert_eq!(refused(odd), "https-name: 'a..b' is no host name or address");
    }

    #[test]
    fn an_object_store_is_s3_or_a_folder() {
        let check = |url: &str| {
            let options =
                Options { object_store: Some(url.parse().unwrap()), ..Options::default() };
            options.check().map(|_| ()).map_err(|e| e.to_string())
        };
        for good in ["s3://bucket", "s3://bucket/some/prefix", "file:///srv/objects"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        assert!(check("gs://bucket").unwrap_err().contains("not Google's and Azure's"));
        for bad in ["az://c", "s3:///prefix", "s3://key:secret@bucket", "s3://b?x=1", "ftp://a/b"] {
            assert!(check(bad).unwrap_err().starts_with("object-store: "), "{bad}");
        }
    }
}
