//! Becoming a member, and ceasing to be one.
//!
//! The token names the hub's CA by its hash. Not a byte of the token's secret is sent before the
//! peer has proved to be the hub of that CA. The key is on the disk before it is used, and the
//! membership begins with one rename: a join that is cut off anywhere can be repeated.

mod check;
mod pin;
mod service;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use cloudcore_protocol::{
    ALPN_JOIN, DeviceId, Frame, FrameCodec, JoinAccepted, JoinRefusal, JoinReply, JoinRequest,
    JoinToken, NodeName, PROTOCOL_MAX, PROTOCOL_MIN, Secret, Timestamp, command::Seconds,
};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::timeout;
use tokio_util::codec::{FramedRead, FramedWrite};

use self::pin::{PinnedCa, Verdict};
pub use self::{
    check::{Finding, check},
    service::{REBOOT_WANTED, ServiceError, ServiceManager, Systemd},
};
use crate::{
    camera::CameraSource,
    config::{APPS_FILE, CONFIG_FILE, Config, ConfigError, HubAddress, ModelSource, models_dir},
    files,
    identity::{Identity, IdentityError, NodeKey},
    link::{Dialled, LinkError, dial},
    lock::{DataDirLock, LockError},
    machine, outbox,
    update::{self, UpdateKey},
};

const REPLY: Duration = Duration::from_secs(10);

/// Why a node did not become a member.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// It is one.
    #[error("this machine has already joined as {0}: run `cloudcore-agent reset` first")]
    AlreadyMember(String),
    /// Nobody answers.
    #[error(transparent)]
    Link(LinkError),
    /// The peer's certificates do not hold the token's CA.
    #[error(
        "{0} is another hub than the token's, or a man in the middle: its certificate is not \
         of the token's CA. The token was not sent"
    )]
    WrongHub(HubAddress),
    /// The peer's chain holds the token's CA and is not in order.
    #[error("the hub's certificate is not valid: {0}. The token was not sent")]
    HubCertificate(String),
    /// The hub says no.
    #[error("the hub refused: {message}{hint}")]
    Refused {
        /// Why, for programs.
        reason: JoinRefusal,
        /// Why, for people.
        message: String,
        /// What to do.
        hint: &'static str,
    },
    /// The hub took too long.
    #[error("the hub did not answer within {0:?}")]
    Slow(Duration),
    /// The answer is no answer.
    #[error("the hub breaks the protocol: {0}")]
    Protocol(String),
    /// The settings can't be kept.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The credentials can't be kept.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The data directory is in use, or can't be used.
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// What a node joins with.
#[derive(Debug, Clone)]
pub struct Join {
    /// Where the node's files go.
    pub data_dir: PathBuf,
    /// The hub.
    pub hub: HubAddress,
    /// The secret.
    pub token: JoinToken,
    /// Who the node is.
    pub node_name: NodeName,
    /// Which device it is; the token's, or the node name, where absent.
    pub device_id: Option<DeviceId>,
    /// The operator's labels.
    pub labels: BTreeMap<String, String>,
    /// The camera.
    pub camera: Option<CameraSource>,
    /// The detection model.
    pub model: Option<PathBuf>,
    /// From heartbeat to heartbeat.
    pub heartbeat_interval: Option<Seconds>,
    /// Whose releases the hub may have this agent run.
    pub update_key: Option<UpdateKey>,
    /// Whether the hub may restart the machine.
    pub allow_reboot: bool,
}

/// A new membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The node.
    pub node_name: NodeName,
    /// The device.
    pub device_id: DeviceId,
    /// When its certificate ends; it is renewed long before.
    pub not_after: Timestamp,
}

/// Makes this machine a member of the token's hub.
///
/// # Errors
/// [`JoinError`]. The same token may be used again by this machine, unless the hub refused it.
pub async fn join(join: Join) -> Result<Member, JoinError> {
    let _lock = DataDirLock::create(&join.data_dir)?;
    if Identity::exists(&join.data_dir) {
        let known = Config::load(&join.data_dir).map(|config| config.node_name.to_string());
        return Err(JoinError::AlreadyMember(known.unwrap_or_else(|_| "a member".into())));
    }
    let pin = Arc::new(PinnedCa::new(*join.token.ca_hash()));
    let tls = pin::tls(Arc::clone(&pin), ALPN_JOIN).map_err(JoinError::Protocol)?;
    let dialled = dial(&join.hub, tls).await.map_err(|error| match pin.verdict() {
        Some(Verdict::WrongHub) => JoinError::WrongHub(join.hub.clone()),
        Some(Verdict::BadChain(why)) => JoinError::HubCertificate(why),
        _ => JoinError::Link(error),
    })?;
    // Only a handshake with a peer that has the CA's certificate ends well.
    let Some(Verdict::Trusted(ca)) = pin.verdict() else {
        return Err(JoinError::WrongHub(join.hub));
    };
    let key = NodeKey::pending(&join.data_dir)?;
    let asked = timeout(REPLY, ask(&dialled, &join, &key)).await;
    dialled.close("joined").await;
    let accepted = match asked.map_err(|_| JoinError::Slow(REPLY))?? {
        JoinReply::Accepted(accepted) => accepted,
        JoinReply::Refused(refused) => {
            return Err(JoinError::Refused {
                reason: refused.reason,
                message: refused.message,
                hint: hint(refused.reason),
            });
        }
    };
    keep(&join, &key, &ca, accepted)
}

async fn ask(dialled: &Dialled, join: &Join, key: &NodeKey) -> Result<JoinReply, JoinError> {
    let lost = |error: quinn::ConnectionError| JoinError::Link(error.into());
    let (send, recv) = dialled.connection.open_bi().await.map_err(lost)?;
    let request = JoinRequest {
        min_version: PROTOCOL_MIN,
        max_version: PROTOCOL_MAX,
        jwt: Secret(join.token.expose_jwt().to_owned()),
        node_name: join.node_name.clone(),
        device_id: join.device_id.clone(),
        csr: key.request(&join.node_name)?.into(),
        agent_version: env!("CARGO_PKG_VERSION").into(),
        platform: machine::platform(),
        labels: join.labels.clone(),
    };
    let codec = |error: cloudcore_protocol::CodecError| JoinError::Link(error.into());
    FramedWrite::new(send, FrameCodec).send(&Frame::JoinRequest(request)).await.map_err(codec)?;
    match FramedRead::new(recv, FrameCodec).next().await {
        Some(Ok(Frame::JoinReply(reply))) => Ok(reply),
        Some(Ok(_)) => Err(JoinError::Protocol("a join was answered with another frame".into())),
        Some(Err(error)) => Err(codec(error)),
        None => Err(JoinError::Protocol("the hub ended the stream without an answer".into())),
    }
}

/// Writes all, the certificate last: it is what makes the node a member.
fn keep(
    join: &Join,
    key: &NodeKey,
    ca: &[u8],
    accepted: JoinAccepted,
) -> Result<Member, JoinError> {
    let mut config =
        Config::new(join.hub.clone(), join.node_name.clone(), accepted.device_id.clone());
    config.camera.clone_from(&join.camera);
    config.model = join.model.clone().map(ModelSource::File);
    config.labels.clone_from(&join.labels);
    config.update_key.clone_from(&join.update_key);
    config.allow_reboot = join.allow_reboot;
    config.heartbeat_interval = join.heartbeat_interval.unwrap_or(config.heartbeat_interval);
    config.save(&join.data_dir)?;
    Identity::install_ca(&join.data_dir, ca)?;
    Identity::install(&join.data_dir, key, &accepted.certificate)?;
    Ok(Member {
        node_name: join.node_name.clone(),
        device_id: accepted.device_id,
        not_after: accepted.not_after,
    })
}

const fn hint(reason: JoinRefusal) -> &'static str {
    match reason {
        JoinRefusal::InvalidToken
        | JoinRefusal::Expired
        | JoinRefusal::Revoked
        | JoinRefusal::Used => ". Ask for a new join token",
        JoinRefusal::WrongNode => ". Join under the name that the token was made for",
        JoinRefusal::Unavailable => ". Try again later",
        JoinRefusal::Version => ". Install a release of the agent that fits the hub's",
        JoinRefusal::BadRequest => "",
    }
}

/// Ends the membership on this machine: credentials, settings, and with `everything` also what
/// was not delivered. The hub is told nothing: there a device is removed by its API. Whether
/// there was anything.
///
/// # Errors
/// [`JoinError`], also while the agent runs.
pub fn reset(data_dir: &Path) -> Result<bool, JoinError> {
    if !data_dir.exists() {
        return Ok(false);
    }
    let lock = DataDirLock::create(data_dir)?;
    let mut any = Identity::remove(data_dir)?;
    let database = outbox::DATABASE_FILE;
    let names = [
        CONFIG_FILE.to_owned(),
        database.to_owned(),
        format!("{database}-wal"),
        format!("{database}-shm"),
        APPS_FILE.to_owned(),
    ];
    for name in names {
        let path = data_dir.join(name);
        any |=
            files::remove_if_present(&path).map_err(|source| ConfigError::File { path, source })?;
    }
    for folder in [data_dir.join(update::FOLDER), models_dir(data_dir)] {
        if folder.is_dir() {
            fs::remove_dir_all(&folder)
                .map_err(|source| ConfigError::File { path: folder, source })?;
        }
    }
    lock.remove();
    // Somebody else's files in it stay, and so does it then.
    fs::remove_dir(data_dir).ok();
    Ok(any)
}
