//! How a device leaves: removed for good, or put out until it joins again.

use cloudcore_protocol::{DeviceId, GoodbyeReason, NodeName};

use super::{Device, Devices, edge, news, store};
use crate::{
    alerts,
    cluster::EdgeDevice,
    error::{Error, Result},
    live::{News, What},
};

impl Devices {
    /// Removes a device from the hub, and notes where `in_cluster` that the cluster has to let go of
    /// it, too. Returns what was done, in words.
    pub(super) async fn remove_here(
        &self,
        device: &Device,
        in_cluster: bool,
    ) -> Result<Vec<String>> {
        let id = &DeviceId::try_from(device.device_id.clone()).map_err(Error::internal)?;
        let mut tx = self.db.write().await?;
        let certificates = store::revoke_certificates(&mut tx, &device.node_name).await?;
        let tokens = self.tokens.revoke_in(&mut tx, &device.node_name).await?;
        store::end_mqtt(&mut tx, id).await?;
        let node: NodeName = device.node_name.parse().map_err(Error::internal)?;
        let ended = alerts::end_all(&mut tx, id, &node, "The device was removed").await?;
        store::delete(&mut tx, id).await?;
        if in_cluster {
            edge::note_removal(&mut tx, &EdgeDevice::try_from(device)?).await?;
        }
        let present = self.presence().contains_key(id);
        let left = present.then(|| news(id, &node, What::Left { reason: "removed" }));
        let told: Vec<News> = ended.into_iter().chain(left).collect();
        self.bus.keep(&mut tx, &told).await?;
        tx.commit().await?;
        let mut done = Vec::new();
        if !certificates.is_empty() {
            done.push("Certificate revoked".to_owned());
        }
        self.pki.revoke(certificates);
        if self.registry.is_online(id) {
            self.registry.close(id, GoodbyeReason::Revoked);
            done.push("Session closed".to_owned());
        }
        if tokens > 0 {
            done.push("Token revoked".to_owned());
        }
        done.push("Device removed".to_owned());
        self.presence().remove(id);
        // Nobody may be listening.
        let _ = self.removals.send(id.clone());
        told.into_iter().for_each(|news| self.bus.publish(news));
        Ok(done)
    }

    /// Withdraws what lets a node in: its tokens, and the certificates it got by them; its session
    /// is cut. The device stays known, and may join again with a new token. Returns how many
    /// tokens were withdrawn, and whether a member was cut off.
    ///
    /// # Errors
    /// API-004 when the node never had a token.
    pub async fn revoke_node(&self, node: &NodeName) -> Result<(u64, bool)> {
        let mut tx = self.db.write().await?;
        if !self.tokens.has_any(&mut tx, node.as_str()).await? {
            return Err(Error::not_found("token of node", node));
        }
        let tokens = self.tokens.revoke_in(&mut tx, node.as_str()).await?;
        let certificates = store::revoke_certificates(&mut tx, node.as_str()).await?;
        let device = store::by_node(&mut tx, node).await?;
        let on_mqtt = match &device {
            Some(device) => store::end_mqtt(&mut tx, device).await?,
            None => false,
        };
        store::set_not_joined(&mut tx, node).await?;
        let told = match &device {
            Some(id) => {
                alerts::end_all(&mut tx, id, node, "The device is no member any more").await?
            }
            None => Vec::new(),
        };
        self.bus.keep(&mut tx, &told).await?;
        tx.commit().await?;
        told.into_iter().for_each(|news| self.bus.publish(news));
        let member = on_mqtt || !certificates.is_empty();
        self.pki.revoke(certificates);
        if let Some(device) = device {
            self.registry.close(&device, GoodbyeReason::Revoked);
        }
        Ok((tokens, member))
    }
}
