//! An app's objects on a node, each with the fields that are the hub's.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy},
        core::v1::{
            ConfigMap, ConfigMapEnvSource, Container, ContainerPort, EnvFromSource,
            LocalObjectReference, PodSecurityContext, PodSpec, PodTemplateSpec,
            ResourceRequirements, SeccompProfile, Secret, SecretEnvSource, SecurityContext,
            Service, ServicePort, ServiceSpec, Toleration,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use kube::core::ApiResource;

use super::{
    super::apply::Object,
    names,
    order::{NodeApp, Settings},
};
use crate::error::Result;

/// What a pod at the edge puts up with: that the node is one at the edge, which `KubeEdge`'s guides
/// have tainted, and that it is cut off from the cluster for however long. The cluster would
/// otherwise take its apps away after five minutes, which they could not even hear.
const TOLERATED: [(&str, Option<&str>); 3] = [
    ("node-role.kubernetes.io/edge", None),
    ("node.kubernetes.io/not-ready", Some("NoExecute")),
    ("node.kubernetes.io/unreachable", Some("NoExecute")),
];

/// The kinds of an app's objects, in the order in which they are made.
pub(super) fn kinds() -> [(&'static str, ApiResource); 4] {
    [
        ("ConfigMap", ApiResource::erase::<ConfigMap>(&())),
        ("Secret", ApiResource::erase::<Secret>(&())),
        ("Service", ApiResource::erase::<Service>(&())),
        ("Deployment", ApiResource::erase::<Deployment>(&())),
    ]
}

/// What is to be in the cluster for an app on a node.
pub(super) struct Plan<'a> {
    app: &'a NodeApp,
    namespace: &'a str,
    /// Of all its objects.
    pub(super) name: String,
    settings: Settings,
}

impl<'a> Plan<'a> {
    pub(super) fn new(app: &'a NodeApp, namespace: &'a str) -> Self {
        let name = names::instance(app.app.name.as_str(), &app.node.name);
        Self { app, namespace, name, settings: app.settings() }
    }

    /// The objects, in the order in which they are made.
    pub(super) fn wanted(&self) -> Result<Vec<(&'static str, Object)>> {
        let mut wanted = vec![("ConfigMap", Object::of(&self.config_map())?)];
        if !self.settings.secret.is_empty() {
            wanted.push(("Secret", Object::of(&self.secret())?));
        }
        if !self.app.app.ports.is_empty() {
            wanted.push(("Service", Object::of(&self.service())?));
        }
        wanted.push(("Deployment", Object::of(&self.deployment())?));
        Ok(wanted)
    }

    /// The kinds of which it has none.
    pub(super) fn unwanted(&self) -> Vec<(&'static str, ApiResource)> {
        let is_unwanted = |kind: &str| match kind {
            "Secret" => self.settings.secret.is_empty(),
            "Service" => self.app.app.ports.is_empty(),
            _ => false,
        };
        kinds().into_iter().filter(|(kind, _)| is_unwanted(kind)).collect()
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let app = &self.app.app;
        names::labels(app.name.as_str(), &app.image, &self.app.node.name)
    }

    fn meta(&self) -> ObjectMeta {
        ObjectMeta {
            name: Some(self.name.clone()),
            namespace: Some(self.namespace.to_owned()),
            labels: Some(self.labels()),
            ..ObjectMeta::default()
        }
    }

    fn config_map(&self) -> ConfigMap {
        ConfigMap {
            metadata: self.meta(),
            data: Some(self.settings.plain.iter().cloned().collect()),
            ..ConfigMap::default()
        }
    }

    fn secret(&self) -> Secret {
        let bytes = |(name, value): &(String, String)| {
            (name.clone(), ByteString(value.clone().into_bytes()))
        };
        Secret {
            metadata: self.meta(),
            data: Some(self.settings.secret.iter().map(bytes).collect()),
            type_: Some("Opaque".into()),
            ..Secret::default()
        }
    }

    /// The device's ports lead into the pod by themselves; the service has the same ports inside the
    /// cluster.
    fn service(&self) -> Service {
        let ports = self.app.app.ports.iter().map(|port| ServicePort {
            name: Some(format!("port-{}", port.host)),
            port: port.host.get().into(),
            target_port: Some(IntOrString::Int(port.container.get().into())),
            protocol: Some("TCP".into()),
            ..ServicePort::default()
        });
        Service {
            metadata: self.meta(),
            spec: Some(ServiceSpec {
                type_: Some("ClusterIP".into()),
                selector: Some(names::pods(&self.name)),
                ports: Some(ports.collect()),
                ..ServiceSpec::default()
            }),
            ..Service::default()
        }
    }

    fn deployment(&self) -> Deployment {
        let annotations = ("cloudcore.io/config-hash".to_owned(), self.app.config_hash());
        Deployment {
            metadata: self.meta(),
            spec: Some(DeploymentSpec {
                replicas: Some(1),
                // Two pods can't share a camera or a port of the node.
                strategy: Some(DeploymentStrategy {
                    type_: Some("Recreate".into()),
                    ..DeploymentStrategy::default()
                }),
                selector: LabelSelector {
                    match_labels: Some(names::pods(&self.name)),
                    ..LabelSelector::default()
                },
                template: PodTemplateSpec {
                    metadata: Some(ObjectMeta {
                        labels: Some(self.labels()),
                        annotations: Some([annotations].into()),
                        ..ObjectMeta::default()
                    }),
                    spec: Some(self.pod()),
                },
                ..DeploymentSpec::default()
            }),
            ..Deployment::default()
        }
    }

    fn pod(&self) -> PodSpec {
        let secrets = self.app.pull_secrets.iter();
        let secrets: Vec<_> =
            secrets.map(|name| LocalObjectReference { name: name.as_str().to_owned() }).collect();
        PodSpec {
            node_selector: Some(
                [("kubernetes.io/hostname".to_owned(), self.app.node.hostname.clone())].into(),
            ),
            tolerations: Some(
                TOLERATED
                    .map(|(key, effect)| Toleration {
                        key: Some(key.to_owned()),
                        operator: Some("Exists".into()),
                        effect: effect.map(str::to_owned),
                        ..Toleration::default()
                    })
                    .to_vec(),
            ),
            image_pull_secrets: Some(secrets).filter(|secrets| !secrets.is_empty()),
            // An app at the edge has no business with the API server.
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            security_context: Some(PodSecurityContext {
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".into(),
                    ..SeccompProfile::default()
                }),
                ..PodSecurityContext::default()
            }),
            containers: vec![self.container()],
            ..PodSpec::default()
        }
    }

    fn container(&self) -> Container {
        let app = &self.app.app;
        let ports: Vec<_> = app
            .ports
            .iter()
            .map(|port| ContainerPort {
                container_port: port.container.get().into(),
                host_port: Some(port.host.get().into()),
                protocol: Some("TCP".into()),
                ..ContainerPort::default()
            })
            .collect();
        let resources: BTreeMap<_, _> = [
            ("cpu", app.resources.cpu.as_ref().map(ToString::to_string)),
            ("memory", app.resources.memory.as_ref().map(ToString::to_string)),
        ]
        .into_iter()
        .filter_map(|(name, amount)| Some((name.to_owned(), Quantity(amount?))))
        .collect();
        let mut env_from = vec![EnvFromSource {
            config_map_ref: Some(ConfigMapEnvSource {
                name: self.name.clone(),
                ..ConfigMapEnvSource::default()
            }),
            ..EnvFromSource::default()
        }];
        if !self.settings.secret.is_empty() {
            env_from.push(EnvFromSource {
                secret_ref: Some(SecretEnvSource {
                    name: self.name.clone(),
                    ..SecretEnvSource::default()
                }),
                ..EnvFromSource::default()
            });
        }
        Container {
            name: "app".into(),
            image: Some(app.image.as_str().to_owned()),
            // What `env` says is expanded where it has `$(…)`; what comes from here is not.
            env_from: Some(env_from),
            ports: Some(ports).filter(|ports| !ports.is_empty()),
            resources: Some(ResourceRequirements {
                requests: Some(resources.clone()),
                limits: Some(resources.clone()),
                ..ResourceRequirements::default()
            })
            .filter(|_| !resources.is_empty()),
            security_context: Some(SecurityContext {
                allow_privilege_escalation: Some(false),
                privileged: Some(false),
                ..SecurityContext::default()
            }),
            ..Container::default()
        }
    }
}
