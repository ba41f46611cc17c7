//! `check`: what a machine needs to be a member, tried one by one.

use std::{path::Path, sync::Arc, time::Duration};

use cloudcore_protocol::{ALPN_JOIN, ALPN_LINK, Timestamp};
use tokio::time::timeout;

use super::pin::{self, PinnedCa, Verdict};
use crate::{
    camera::{self, CameraSource},
    config::{Config, HubAddress},
    identity::Identity,
    link::{self, LinkError},
    machine, watch,
};

const PICTURE: Duration = Duration::from_secs(10);
const LEAST_FREE: u64 = 200 << 20;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was checked.
    pub what: &'static str,
    /// What was found, or what is wrong.
    pub result: Result<String, String>,
}

/// Tries everything that can be tried. `hub` is for a machine that has not joined.
pub async fn check(data_dir: &Path, hub: Option<HubAddress>) -> Vec<Finding> {
    let mut findings = vec![disk(data_dir)];
    let config = Config::load(data_dir);
    let identity = Identity::load(data_dir);
    let member = identity.is_ok();
    findings.push(Finding {
        what: "membership",
        result: match (&config, &identity) {
            (Ok(config), Ok(identity)) => membership(config, identity),
            (_, Err(error)) if hub.is_some() && !Identity::exists(data_dir) => {
                Ok(format!("none yet ({error})"))
            }
            (Err(error), Ok(_)) => Err(error.to_string()),
            (_, Err(error)) => Err(error.to_string()),
        },
    });
    let hubs = match (&config, hub) {
        (_, Some(hub)) => vec![hub],
        (Ok(config), None) => config.hub.clone(),
        (Err(_), None) => Vec::new(),
    };
    for hub in hubs {
        let result = match &identity {
            Ok(identity) => as_member(&hub, identity).await,
            Err(_) => as_stranger(&hub).await,
        };
        findings.push(Finding { what: "hub", result });
    }
    if let (true, Ok(config)) = (member, config) {
        if let Some(source) = config.camera.clone() {
            findings.push(Finding { what: "camera", result: picture(source).await });
        }
        if config.model.is_some() {
            let loaded = watch::load_model(config.model_path.as_deref()).await;
            let result = loaded
                .map(|model| format!("{} loads", model.description().name))
                .map_err(|e| e.to_string());
            findings.push(Finding { what: "model", result });
        }
    }
    findings
}

fn disk(data_dir: &Path) -> Finding {
    // What will be made stands on the disk of what there is.
    let exists = data_dir.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    let result = match machine::disk(exists) {
        Err(error) => Err(format!("{}: {}", exists.display(), error.desc())),
        Ok(disk) => {
            let free = disk.available;
            let detail = format!("{} MiB free at {}", free >> 20, data_dir.display());
            if free < LEAST_FREE { Err(detail) } else { Ok(detail) }
        }
    };
    Finding { what: "disk", result }
}

fn membership(config: &Config, identity: &Identity) -> Result<String, String> {
    let (validity, now) = (identity.validity(), Timestamp::now());
    if now > validity.not_after {
        return Err(format!(
            "the certificate of {} ended at {}: join again with a new token",
            config.node_name, validity.not_after
        ));
    }
    if now < validity.not_before {
        return Err(format!(
            "this machine's clock says {now}, before the certificate began ({}): set the clock",
            validity.not_before
        ));
    }
    Ok(format!(
        "node {} as device {}, certificate until {}",
        config.node_name, config.device_id, validity.not_after
    ))
}

async fn as_member(hub: &HubAddress, identity: &Identity) -> Result<String, String> {
    let tls = identity.tls(ALPN_LINK).map_err(|e| e.to_string())?;
    let dialled = link::dial(hub, tls).await.map_err(|e| e.to_string())?;
    // The hub looks at the certificate after the handshake: a refusal comes a round trip later.
    let refused = timeout(Duration::from_millis(500), dialled.connection.closed()).await;
    let rtt = dialled.connection.rtt();
    dialled.close("check").await;
    match refused {
        Ok(error) => Err(LinkError::from(error).to_string()),
        Err(_) => Ok(format!("{hub} answers and accepts the certificate (round trip {rtt:?})")),
    }
}

/// Without a token there is nothing to trust, only whether somebody answers.
async fn as_stranger(hub: &HubAddress) -> Result<String, String> {
    let pin = Arc::new(PinnedCa::new([0; 32]));
    let tls = pin::tls(Arc::clone(&pin), ALPN_JOIN)?;
    match link::dial(hub, tls).await {
        Ok(dialled) => {
            dialled.close("check").await;
            Ok(format!("{hub} answers"))
        }
        // It showed a certificate, so it is there; which one is the join's business.
        Err(_) if matches!(pin.verdict(), Some(Verdict::WrongHub)) => {
            Ok(format!("{hub} answers (its identity is checked when joining)"))
        }
        Err(error) => Err(error.to_string()),
    }
}

async fn picture(source: CameraSource) -> Result<String, String> {
    let take = tokio::task::spawn_blocking(move || {
        let frame = camera::open(&source)?.capture()?;
        Ok::<_, camera::CameraError>(frame.image.dimensions())
    });
    match timeout(PICTURE, take).await {
        Err(_) => Err(format!("no picture within {PICTURE:?}")),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(Err(error))) => Err(error.to_string()),
        Ok(Ok(Ok((width, height)))) => Ok(format!("gives pictures of {width}x{height}")),
    }
}
