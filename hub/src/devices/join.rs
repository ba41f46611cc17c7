//! How a device becomes known (by an operator) and a member (by its node's join token).

use cloudcore_protocol::{
    DeviceId, GoodbyeReason, JoinAccepted, JoinRefusal, JoinRefused, JoinReply, JoinRequest,
    NodeName, RenewReply, negotiate,
};
use serde_json::{Value, json};

use super::{Devices, store};
use crate::{
    db::is_conflict,
    error::{Code, Error, Result},
    link::Session,
    pki::NodeRequest,
    tokens::{Issued, NewToken, NotRedeemed},
};

/// A device that an operator makes known.
#[derive(Debug)]
pub struct NewDevice {
    /// Its node.
    pub node_name: NodeName,
    /// Its id.
    pub device_id: DeviceId,
    /// What it is (`camera`).
    pub device_type: Option<String>,
    /// Where it is.
    pub location: Option<String>,
    /// Anything else, a JSON object.
    pub configuration: Value,
}

fn exists(new: &NewDevice) -> Error {
    Error::new(
        Code::Exists,
        format!("device '{}' or node '{}' exists", new.device_id, new.node_name),
    )
}

impl Devices {
    /// Makes a device known, and a token for its node.
    ///
    /// # Errors
    /// API-005 when the device or its node is known, API-003 when there is no room for more,
    /// API-009 during maintenance.
    pub async fn announce(&self, new: &NewDevice) -> Result<Issued> {
        self.settings.check_open()?;
        let mut tx = self.db.write().await?;
        self.check_room(&mut tx).await?;
        let row = store::NewRow {
            device_id: &new.device_id,
            node_name: &new.node_name,
            device_type: new.device_type.as_deref(),
            location: new.location.as_deref(),
            configuration: &new.configuration,
        };
        store::insert(&mut tx, &row).await.map_err(|e| match is_conflict(&e) {
            true => exists(new),
            false => e.into(),
        })?;
        let token = NewToken {
            node_name: new.node_name.clone(),
            device_id: Some(new.device_id.clone()),
            life: self.tokens.default_life(),
            description: None,
            reusable: false,
        };
        let issued = self.tokens.issue_in(&mut tx, &token).await?;
        tx.commit().await?;
        Ok(issued)
    }

    /// Whether a device may be made known, before anybody else is asked.
    pub(super) async fn check_new(&self, new: &NewDevice) -> Result<()> {
        self.settings.check_open()?;
        let by_id = store::get(&self.db, &new.device_id).await?.is_some();
        if by_id || store::by_node(&self.db, &new.node_name).await?.is_some() {
            return Err(exists(new));
        }
        let mut tx = self.db.write().await?;
        self.check_room(&mut tx).await
    }

    async fn check_room(&self, tx: &mut crate::db::Write) -> Result<()> {
        let max = self.settings.live().max_devices;
        if store::count(tx).await? >= i64::from(max) {
            return Err(Error::new(
                Code::Forbidden,
                format!("the hub has its {max} devices: raise max_devices"),
            ));
        }
        Ok(())
    }

    /// Lets a node in, or says why not. All of it is durable when this returns.
    pub async fn join(&self, request: &JoinRequest) -> JoinReply {
        let refused = |reason, message: &str| {
            JoinReply::Refused(JoinRefused { reason, message: message.to_owned() })
        };
        if negotiate(request.min_version, request.max_version).is_none() {
            return refused(JoinRefusal::Version, "hub and agent have no protocol in common");
        }
        match self.try_join(request).await {
            Ok(Ok(accepted)) => JoinReply::Accepted(accepted),
            Ok(Err(NotRedeemed(reason, words))) => refused(reason, words),
            Err(error) if error.code == Code::Invalid => {
                refused(JoinRefusal::BadRequest, &error.message)
            }
            Err(error) if matches!(error.code, Code::Forbidden | Code::Exists) => {
                refused(JoinRefusal::WrongNode, &error.message)
            }
            Err(error) if error.code == Code::Unavailable => {
                tracing::warn!(node_name = %request.node_name, ?error, "a join has to wait");
                refused(JoinRefusal::Unavailable, &error.message)
            }
            Err(error) => {
                tracing::error!(node_name = %request.node_name, ?error, "a join failed");
                refused(JoinRefusal::Unavailable, "the hub can't take a new member now; try again")
            }
        }
    }

    async fn try_join(&self, request: &JoinRequest) -> Result<Result<JoinAccepted, NotRedeemed>> {
        self.settings.check_open()?;
        let node = &request.node_name;
        let csr = NodeRequest::parse(&request.csr, node)?;
        let mut tx = self.db.write().await?;
        let redeemed = self.tokens.redeem(&mut tx, &request.jwt.0, node, &csr.key_hash()).await?;
        let promised = match redeemed {
            Ok(promised) => promised,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let known = store::by_node(&mut tx, node).await?;
        let named = promised.or_else(|| known.clone());
        if let (Some(named), Some(asked)) = (&named, &request.device_id)
            && named != asked
        {
            return Ok(Err(NotRedeemed(
                JoinRefusal::WrongNode,
                "the token is for another device id",
            )));
        }
        let device_id = named
            .or_else(|| request.device_id.clone())
            .unwrap_or_else(|| DeviceId::from(node.clone()));
        if known.is_none() {
            self.check_room(&mut tx).await?;
            let row = store::NewRow {
                device_id: &device_id,
                node_name: node,
                device_type: None,
                location: None,
                configuration: &json!({}),
            };
            store::insert(&mut tx, &row).await.map_err(|e| match is_conflict(&e) {
                true => Error::new(Code::Exists, "the device id is another node's"),
                false => e.into(),
            })?;
        }
        let certificate = self.pki.issue(node, &csr)?;
        // Whoever holds the node's former key is out: there is one member a node.
        let former = store::revoke_certificates(&mut tx, node.as_str()).await?;
        store::insert_certificate(&mut tx, &device_id, node, &certificate).await?;
        let former_mqtt = store::end_mqtt(&mut tx, &device_id).await?;
        store::set_joined(&mut tx, &device_id, &request.agent_version).await?;
        tx.commit().await?;
        if former_mqtt || !former.is_empty() {
            self.pki.revoke(former);
            self.registry.close(&device_id, GoodbyeReason::Revoked);
        }
        if known.is_none() {
            self.settle.notify_one();
        }
        tracing::info!(node_name = %node, %device_id, "a node joined");
        Ok(Ok(JoinAccepted {
            certificate: certificate.der.into(),
            device_id,
            not_after: certificate.facts.not_after,
        }))
    }

    /// A new certificate for a member that asks over its session. The old one stays good until
    /// it ends: the answer may be lost.
    pub async fn renew(&self, session: &Session, csr: &[u8]) -> RenewReply {
        match self.try_renew(session, csr).await {
            Ok(der) => RenewReply::Renewed(der.into()),
            Err(error) => {
                tracing::warn!(device_id = %session.device_id, ?error, "a certificate was not renewed");
                RenewReply::Refused(error.message.into_owned())
            }
        }
    }

    async fn try_renew(&self, session: &Session, csr: &[u8]) -> Result<Vec<u8>> {
        let node = &session.node_name;
        let certificate = self.pki.issue(node, &NodeRequest::parse(csr, node)?)?;
        let mut tx = self.db.write().await?;
        if store::member(&mut tx, &session.fingerprint).await?.is_none() {
            return Err(Error::new(Code::Forbidden, "the device is no member"));
        }
        store::insert_certificate(&mut tx, &session.device_id, node, &certificate).await?;
        tx.commit().await?;
        // Nobody may be waiting for it.
        let _ = self.renewals.send((session.device_id.clone(), certificate.facts.fingerprint));
        Ok(certificate.der)
    }
}
