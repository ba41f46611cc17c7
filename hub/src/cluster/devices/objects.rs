//! The objects of one device, each with the fields that are the hub's.

use std::collections::BTreeMap;

use cloudcore_protocol::{DeviceId, NodeName};
use k8s_openapi::{
    api::{
        core::v1::{ConfigMap, ServiceAccount},
        rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{api::DynamicObject, core::ApiResource};
use serde::Serialize;
use serde_json::json;

use super::{
    discovery::Served,
    kinds::{DeviceModelSpec, DeviceSpec, ModelRef, PROTOCOL, Protocol},
    names,
};
use crate::{
    cluster::{
        apply::{MANAGER, Object},
        labels::{self, MANAGED_BY},
    },
    error::{Error, Result},
};

/// The label of a device's objects: its id, as a label takes it.
pub(super) const DEVICE: &str = "cloudcore.io/device";
/// The label of a `DeviceModel`: the type of its devices, as a label takes it; as an annotation, as
/// it is.
pub(super) const DEVICE_TYPE: &str = "cloudcore.io/device-type";
/// The annotations: the device's id and node as they are, and which hub made the object.
pub(super) const DEVICE_ID: &str = "cloudcore.io/device-id";
pub(super) const NODE: &str = "cloudcore.io/node";
pub(super) const HUB: &str = "cloudcore.io/hub";

/// A hub, as the cluster and its edge see it.
#[derive(Debug, Clone)]
pub struct Owner {
    /// What tells it from other hubs: it stays the same as long as its CA does.
    pub hub: String,
    /// The host that nodes reach it and the cluster by.
    pub host: String,
}

/// A device, as far as its objects say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeDevice {
    /// Its id.
    pub device_id: DeviceId,
    /// Its node.
    pub node_name: NodeName,
    /// What it is.
    pub device_type: Option<String>,
    /// Where it is.
    pub location: Option<String>,
}

/// Kinds of objects that a device has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    ConfigMap,
    Account,
    Role,
    Binding,
    Model,
    Device,
}

/// Which of a device's objects.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub(super) kind: Kind,
    pub(super) name: String,
}

/// An object, and which it is.
pub(super) type Wanted = (Place, Object);

impl Kind {
    pub(super) const CORE: [Self; 4] = [Self::ConfigMap, Self::Account, Self::Role, Self::Binding];
    pub(super) const ALL: [Self; 6] =
        [Self::ConfigMap, Self::Account, Self::Role, Self::Binding, Self::Model, Self::Device];

    /// As steps and messages call it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Account => "ServiceAccount",
            Self::Role => "Role",
            Self::Binding => "RoleBinding",
            Self::Model => "DeviceModel",
            Self::Device => "Device",
        }
    }

    /// Whether a definition of `KubeEdge`'s makes it known.
    pub(super) const fn is_defined(self) -> bool {
        matches!(self, Self::Model | Self::Device)
    }

    /// How the API is asked for it; `None` where the cluster does not know it.
    pub(super) fn resource(self, served: Option<&Served>) -> Option<ApiResource> {
        Some(match self {
            Self::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Self::Account => ApiResource::erase::<ServiceAccount>(&()),
            Self::Role => ApiResource::erase::<Role>(&()),
            Self::Binding => ApiResource::erase::<RoleBinding>(&()),
            Self::Model => served?.models(),
            Self::Device => served?.devices(),
        })
    }
}

impl EdgeDevice {
    /// Its type, also where none was said.
    #[must_use]
    pub fn type_name(&self) -> &str {
        names::type_of(self.device_type.as_deref())
    }

    fn name(&self, kind: Kind) -> String {
        match kind {
            Kind::ConfigMap => names::config_map(&self.node_name),
            Kind::Account | Kind::Role | Kind::Binding => names::rights(&self.node_name),
            Kind::Model => names::model(self.type_name()),
            Kind::Device => names::device(&self.device_id),
        }
    }

    pub(super) fn place(&self, kind: Kind) -> Place {
        Place { kind, name: self.name(kind) }
    }

    /// All its objects, also those that the cluster has no kind for.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        Kind::ALL.into_iter().map(|kind| self.place(kind))
    }
}

/// What the objects of a device are made from.
pub(super) struct Plan<'a> {
    pub(super) device: &'a EdgeDevice,
    pub(super) owner: &'a Owner,
    pub(super) namespace: &'a str,
    /// The settings of the node's `EdgeCore`.
    pub(super) settings: String,
    /// The kinds of devices, where the cluster has them.
    pub(super) served: Option<&'a Served>,
}

fn map<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl<'a> Plan<'a> {
    /// All of them, in the order in which they are made: each after what it speaks of.
    pub(super) fn objects(&self) -> Result<Vec<Wanted>> {
        let mut all = vec![
            (self.device.place(Kind::ConfigMap), Object::of(&self.config_map())?),
            (self.device.place(Kind::Account), Object::of(&self.account())?),
            (self.device.place(Kind::Role), Object::of(&self.role())?),
            (self.device.place(Kind::Binding), Object::of(&self.binding())?),
        ];
        if let Some(served) = self.served {
            all.push((self.device.place(Kind::Model), self.model(served)?));
            all.push((self.device.place(Kind::Device), self.device_object(served)?));
        }
        Ok(all)
    }

    fn meta(&self, kind: Kind) -> ObjectMeta {
        let device = self.device;
        let mut labels = map([("app.kubernetes.io/part-of", "kubeedge"), (MANAGED_BY, MANAGER)]);
        let mut annotations = map([(HUB, &self.owner.hub)]);
        if kind == Kind::Model {
            labels.extend(map([(DEVICE_TYPE, &labels::value(device.type_name()))]));
            annotations.extend(map([(DEVICE_TYPE, device.type_name())]));
        } else {
            labels.extend(map([(DEVICE, &labels::value(device.device_id.as_str()))]));
            annotations.extend(map([
                (DEVICE_ID, device.device_id.as_str()),
                (NODE, device.node_name.as_str()),
            ]));
        }
        ObjectMeta {
            name: Some(device.name(kind)),
            namespace: Some(self.namespace.to_owned()),
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }
    }

    fn config_map(&self) -> ConfigMap {
        ConfigMap {
            metadata: self.meta(Kind::ConfigMap),
            data: Some(map([("edgecore.yaml", &self.settings)])),
            ..ConfigMap::default()
        }
    }

    fn account(&self) -> ServiceAccount {
        ServiceAccount {
            metadata: self.meta(Kind::Account),
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        }
    }

    /// Who has the node's account reads the node's settings, and nothing else.
    fn role(&self) -> Role {
        Role {
            metadata: self.meta(Kind::Role),
            rules: Some(vec![PolicyRule {
                api_groups: Some(vec![String::new()]),
                resources: Some(vec!["configmaps".into()]),
                resource_names: Some(vec![self.device.name(Kind::ConfigMap)]),
                verbs: vec!["get".into(), "watch".into()],
                ..PolicyRule::default()
            }]),
        }
    }

    fn binding(&self) -> RoleBinding {
        RoleBinding {
            metadata: self.meta(Kind::Binding),
            role_ref: RoleRef {
                api_group: "rbac.authorization.k8s.io".into(),
                kind: "Role".into(),
                name: self.device.name(Kind::Role),
            },
            subjects: Some(vec![Subject {
                kind: "ServiceAccount".into(),
                name: self.device.name(Kind::Account),
                namespace: Some(self.namespace.to_owned()),
                ..Subject::default()
            }]),
        }
    }

    fn model(&self, served: &Served) -> Result<Object> {
        self.defined(Kind::Model, served.models(), &DeviceModelSpec::of_all())
    }

    fn device_object(&self, served: &Served) -> Result<Object> {
        let device = self.device;
        let mut about = json!({
            "deviceId": device.device_id.as_str(),
            "deviceType": device.type_name(),
        });
        if let Some(location) = &device.location {
            about["location"] = location.as_str().into();
        }
        let spec = DeviceSpec {
            device_model_ref: ModelRef { name: device.name(Kind::Model) },
            node_name: device.node_name.to_string(),
            protocol: Protocol {
                protocol_name: PROTOCOL.to_owned(),
                config_data: about.as_object().cloned().unwrap_or_default(),
            },
        };
        self.defined(Kind::Device, served.devices(), &spec)
    }

    fn defined(&self, kind: Kind, resource: ApiResource, spec: &impl Serialize) -> Result<Object> {
        let spec = serde_json::to_value(spec).map_err(Error::internal)?;
        let name = self.device.name(kind);
        let mut object = DynamicObject::new(&name, &resource).data(json!({ "spec": spec }));
        object.metadata = self.meta(kind);
        Object::dynamic(resource, object)
    }
}
