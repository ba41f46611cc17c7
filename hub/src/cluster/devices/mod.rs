//! What the cluster has of the hub's devices: for each a `Device` of `KubeEdge`, one `DeviceModel` for
//! all of its type, and for its node the settings of its `EdgeCore` (a `ConfigMap`) with an account
//! that may read them.
//!
//! Which devices there are is not this room's to say: [who knows](crate::devices) hands them in. An
//! object is the hub's by its labels, and this hub's by an annotation, which only this hub writes:
//! what others made under the same labels is taken over where a device wants it, and otherwise left
//! alone. What others hold of an object stays theirs.

mod discovery;
mod edgecore;
mod kinds;
mod make;
mod names;
mod objects;
mod remove;
mod seen;
mod watches;

use std::collections::{BTreeMap, HashSet};

use cloudcore_protocol::NodeName;

use self::seen::Look;
pub(super) use self::{
    kinds::{device_schema, model_schema},
    seen::Seen,
};
pub use self::{
    make::Made,
    objects::{EdgeDevice, Owner, Place},
    remove::{Removed, Turn},
};
use super::{Cluster, Standing};
use crate::error::Result;

impl Cluster {
    /// Whether the cluster is there, and all was listed that it has of devices.
    #[must_use]
    pub fn knows_device_objects(&self) -> bool {
        self.standing() == Standing::Connected && self.devices.is_known()
    }

    /// Whether something of a device's objects is other than wanted, and may be set right.
    ///
    /// # Errors
    /// API-007.
    pub fn device_differs(&self, device: &EdgeDevice, owner: &Owner) -> Result<bool> {
        let kinds = self.devices.kinds();
        let objects = self.device_plan(device, owner, kinds.as_ref()).objects()?;
        // Each is looked at: what has come right by itself is no longer counted as refused.
        let looks = objects.iter().map(|wanted| self.devices.look_at(wanted, owner).0);
        Ok(looks.filter(|look| *look == Look::Differs).count() > 0)
    }

    /// Sets right what differs of a device's objects.
    ///
    /// # Errors
    /// API-009 when the cluster is away. What it refuses is logged and counted.
    pub async fn restore_device(
        &self,
        _: &Turn<'_>,
        device: &EdgeDevice,
        owner: &Owner,
    ) -> Result<()> {
        self.restore(device, owner).await
    }

    /// Forgets what the cluster refused of objects that are wanted no more.
    pub fn forget_refused(&self, wanted: &HashSet<Place>) {
        self.devices.forget_refused(wanted);
    }

    /// What `KubeEdge`'s own `keadm` needs to bring a node to CloudCore at its node ports; `None`
    /// where there is no cluster, or these are not known. The token is CloudCore's, which the hub
    /// does not know: the line leaves it to a variable.
    #[must_use]
    pub fn keadm_command(&self, node: &NodeName, host: &str) -> Option<String> {
        if self.standing() == Standing::NotConfigured {
            return None;
        }
        let hub = edgecore::address(host, self.node_port(edgecore::WEBSOCKET)?);
        let certificates = self.node_port(edgecore::CERTIFICATES)?;
        let version = self.cloudcore().and_then(|seen| seen.version);
        let version = version.map(|version| format!(" --kubeedge-version={version}"));
        Some(format!(
            "keadm join --cloudcore-ipport={hub} --certport={certificates} \
             --edgenode-name={node}{} --token=$KUBEEDGE_TOKEN",
            version.unwrap_or_default(),
        ))
    }

    /// CloudCore's node ports, by the names of its ports, as far as they are known; `None` without
    /// a cluster.
    #[must_use]
    pub fn node_ports(&self) -> Option<BTreeMap<String, u16>> {
        if self.standing() == Standing::NotConfigured {
            return None;
        }
        let names = self.settings.ports.iter().map(|port| &port.name);
        let port = |name: &String| Some((name.clone(), self.service_port(name)?.1?));
        Some(names.filter_map(port).collect())
    }
}
