//! In which version the cluster serves `KubeEdge`'s kinds of devices.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource;
use kube::core::{ApiResource, GroupVersionKind};

use crate::cluster::{connection::Connection, error::Failure};

const GROUP: &str = "devices.kubeedge.io";
/// The version that the hub's types are of.
const USUAL: &str = "v1beta1";

/// A version that is served, with both kinds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Served {
    version: String,
}

/// What a cluster has of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kinds {
    /// All that is needed.
    Served(Served),
    /// Nothing.
    None,
    /// Only versions that are too old.
    TooOld(String),
}

impl Served {
    fn resource(&self, kind: &str, plural: &str) -> ApiResource {
        ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk(GROUP, &self.version, kind),
            plural,
        )
    }

    pub(super) fn devices(&self) -> ApiResource {
        self.resource("Device", "devices")
    }

    pub(super) fn models(&self) -> ApiResource {
        self.resource("DeviceModel", "devicemodels")
    }
}

impl Kinds {
    pub(super) const fn served(&self) -> Option<&Served> {
        match self {
            Self::Served(served) => Some(served),
            Self::None | Self::TooOld(_) => None,
        }
    }

    /// Why there are no objects of devices.
    pub(super) fn missing(&self) -> Option<String> {
        match self {
            Self::Served(_) => None,
            Self::None => Some(format!(
                "the cluster does not know {GROUP}: deploy CloudCore first; the device's object is \
                 made then"
            )),
            Self::TooOld(version) => Some(format!(
                "the cluster knows {GROUP} only as {version}, which is too old: deploy a newer \
                 CloudCore; the device's object is made then"
            )),
        }
    }
}

impl Connection {
    /// Asks which version is served: the one that the hub knows where that is among them, otherwise
    /// the one that the cluster prefers.
    pub(super) async fn device_kinds(&self) -> Result<Kinds, Failure> {
        let groups = self.call(|client| async move { client.list_api_groups().await }).await?;
        let Some(group) = groups.groups.into_iter().find(|group| group.name == GROUP) else {
            return Ok(Kinds::None);
        };
        let usual = group.versions.iter().any(|version| version.version == USUAL);
        let preferred = group.preferred_version.or_else(|| group.versions.first().cloned());
        let version = match (usual, preferred) {
            (true, _) => USUAL.to_owned(),
            (false, Some(preferred)) => preferred.version,
            (false, None) => return Ok(Kinds::None),
        };
        if version.contains("alpha") {
            return Ok(Kinds::TooOld(version));
        }
        let path = &format!("{GROUP}/{version}");
        let listed =
            self.call(|client| async move { client.list_api_group_resources(path).await }).await;
        let resources: Vec<APIResource> = match listed {
            Ok(listed) => listed.resources,
            // Gone in between.
            Err(failure) if failure.is_not_found() => Vec::new(),
            Err(failure) => return Err(failure),
        };
        let has = |plural: &str| resources.iter().any(|resource| resource.name == plural);
        Ok(match has("devices") && has("devicemodels") {
            true => Kinds::Served(Served { version }),
            false => Kinds::None,
        })
    }
}
