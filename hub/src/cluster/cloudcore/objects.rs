//! CloudCore's objects, each with the fields that are the hub's.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::{
        apps::v1::{Deployment, DeploymentSpec},
        core::v1::{
            Capabilities, ConfigMap, ConfigMapVolumeSource, Container, ContainerPort,
            EmptyDirVolumeSource, KeyToPath, Namespace, PodSecurityContext, PodSpec,
            PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile, Secret,
            SecretVolumeSource, SecurityContext, Service, ServiceAccount, ServicePort, ServiceSpec,
            TCPSocketAction, Volume, VolumeMount,
        },
        rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, RoleRef, Subject},
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use serde_json::json;

use super::certificates::{AUTHORITY, CERTIFICATE, KEY};
use crate::{
    cluster::{apply::MANAGER, labels::MANAGED_BY},
    config::Kubernetes,
    keys,
};

/// The name of all of them.
pub(in crate::cluster) const NAME: &str = "cloudcore";
/// The labels by which `KubeEdge`'s own installer, too, knows CloudCore's pods.
pub(in crate::cluster) const SELECTOR: [(&str, &str); 2] =
    [("k8s-app", "kubeedge"), ("kubeedge", "cloudcore")];

/// What differs from one CloudCore to another.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) settings: &'a Kubernetes,
    pub(super) tag: String,
    pub(super) replicas: i32,
    /// `cpu` and `memory`.
    pub(super) resources: BTreeMap<String, Quantity>,
    /// Where edge nodes reach it.
    pub(super) host: &'a str,
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The labels of all that is the hub's.
pub(super) fn labels() -> BTreeMap<String, String> {
    let mut labels = map(&SELECTOR);
    labels.extend(map(&[
        ("app.kubernetes.io/name", NAME),
        ("app.kubernetes.io/part-of", "kubeedge"),
        (MANAGED_BY, MANAGER),
    ]));
    labels
}

/// The namespace of all that the hub makes, for a cluster that lacks it.
pub(in crate::cluster) fn namespace(name: &str) -> Namespace {
    Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    }
}

impl Plan<'_> {
    fn meta(&self, name: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(self.settings.namespace.clone()),
            labels: Some(labels()),
            ..ObjectMeta::default()
        }
    }

    /// What belongs to no namespace is told from that of another CloudCore by its name.
    fn cluster_meta(&self) -> ObjectMeta {
        ObjectMeta { namespace: None, ..self.meta(&self.cluster_name()) }
    }

    fn cluster_name(&self) -> String {
        format!("{NAME}-{}", self.settings.namespace)
    }

    pub(super) fn namespace(&self) -> Namespace {
        namespace(&self.settings.namespace)
    }

    pub(super) fn account(&self) -> ServiceAccount {
        ServiceAccount { metadata: self.meta(NAME), ..ServiceAccount::default() }
    }

    pub(super) fn role(&self) -> ClusterRole {
        let rule = |groups: &[&str], resources: &[&str], verbs: &[&str]| {
            let owned = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
            PolicyRule {
                api_groups: Some(owned(groups)),
                resources: Some(owned(resources)),
                verbs: owned(verbs),
                ..PolicyRule::default()
            }
        };
        const READ: [&str; 3] = ["get", "list", "watch"];
        const WRITE: [&str; 5] = ["get", "list", "watch", "create", "update"];
        const ALL: [&str; 7] = ["get", "list", "watch", "create", "update", "patch", "delete"];
        ClusterRole {
            metadata: self.cluster_meta(),
            rules: Some(vec![
                rule(
                    &[""],
                    &[
                        "nodes",
                        "nodes/status",
                        "configmaps",
                        "pods",
                        "pods/status",
                        "secrets",
                        "endpoints",
                        "services",
                        "persistentvolumes",
                        "persistentvolumeclaims",
                        "serviceaccounts/token",
                    ],
                    &WRITE,
                ),
                rule(&[""], &["nodes", "nodes/status", "pods/status"], &["patch"]),
                rule(&[""], &["pods", "configmaps"], &["delete"]),
                rule(&[""], &["namespaces"], &["get", "list", "watch", "create"]),
                rule(&[""], &["serviceaccounts"], &READ),
                rule(&[""], &["events"], &["create", "update", "patch"]),
                rule(&["coordination.k8s.io"], &["leases"], &WRITE),
                rule(&["certificates.k8s.io"], &["certificatesigningrequests"], &READ),
                rule(
                    &["devices.kubeedge.io"],
                    &["devices", "devicemodels", "devices/status", "devicemodels/status"],
                    &ALL,
                ),
                rule(
                    &["reliablesyncs.kubeedge.io"],
                    &[
                        "objectsyncs",
                        "clusterobjectsyncs",
                        "objectsyncs/status",
                        "clusterobjectsyncs/status",
                    ],
                    &ALL,
                ),
                rule(
                    &["rules.kubeedge.io"],
                    &["rules", "ruleendpoints", "rules/status", "ruleendpoints/status"],
                    &ALL,
                ),
                rule(&["apiextensions.k8s.io"], &["customresourcedefinitions"], &READ),
            ]),
            ..ClusterRole::default()
        }
    }

    pub(super) fn binding(&self) -> ClusterRoleBinding {
        ClusterRoleBinding {
            metadata: self.cluster_meta(),
            role_ref: RoleRef {
                api_group: "rbac.authorization.k8s.io".into(),
                kind: "ClusterRole".into(),
                name: self.cluster_name(),
            },
            subjects: Some(vec![Subject {
                kind: "ServiceAccount".into(),
                name: NAME.into(),
                namespace: Some(self.settings.namespace.clone()),
                ..Subject::default()
            }]),
        }
    }

    /// CloudCore's settings; JSON is YAML.
    fn configuration(&self) -> String {
        let is_address = self.host.parse::<std::net::IpAddr>().is_ok();
        let host = [self.host];
        let (addresses, names): (&[&str], &[&str]) =
            if is_address { (&host, &[]) } else { (&[], &host) };
        let quic = self.settings.ports.iter().any(crate::config::ServicePort::is_quic);
        let settings = json!({
            "apiVersion": "cloudcore.config.kubeedge.io/v1alpha2",
            "kind": "CloudCore",
            "kubeAPIConfig": { "kubeConfig": "", "master": "", "qps": 100, "burst": 200 },
            "modules": {
                "cloudHub": {
                    "enable": true,
                    "advertiseAddress": addresses,
                    "dnsNames": names,
                    "nodeLimit": 1000,
                    "edgeCertSigningDuration": 365,
                    "tokenRefreshDuration": 12,
                    "websocket": { "enable": true, "address": "0.0.0.0", "port": 10000 },
                    "quic": { "enable": quic, "address": "0.0.0.0", "port": 10001 },
                    "https": { "enable": true, "address": "0.0.0.0", "port": 10002 },
                    "unixsocket": { "enable": false },
                },
                "cloudStream": {
                    "enable": true,
                    "streamPort": 10003,
                    "tunnelPort": 10004,
                    "tlsStreamCAFile": format!("/etc/kubeedge/ca/{AUTHORITY}"),
                    "tlsStreamCertFile": format!("/etc/kubeedge/certs/{CERTIFICATE}"),
                    "tlsStreamPrivateKeyFile": format!("/etc/kubeedge/certs/{KEY}"),
                },
                "edgeController": { "enable": true },
                "deviceController": { "enable": true },
                "syncController": { "enable": true },
                "dynamicController": { "enable": true },
                "router": { "enable": false },
                "iptablesManager": { "enable": false },
                "taskManager": { "enable": false },
            },
        });
        format!("{settings:#}")
    }

    pub(super) fn config_map(&self) -> ConfigMap {
        ConfigMap {
            metadata: self.meta(NAME),
            data: Some([("cloudcore.yaml".to_owned(), self.configuration())].into()),
            ..ConfigMap::default()
        }
    }

    pub(super) fn secret(&self, data: BTreeMap<String, ByteString>) -> Secret {
        Secret {
            metadata: self.meta(NAME),
            type_: Some("Opaque".into()),
            data: Some(data),
            ..Secret::default()
        }
    }

    /// By which names and addresses the stream port is known.
    pub(super) fn names(&self) -> Vec<String> {
        let namespace = &self.settings.namespace;
        vec![
            self.host.to_owned(),
            format!("{NAME}.{namespace}.svc"),
            format!("{NAME}.{namespace}.svc.cluster.local"),
        ]
    }

    pub(super) fn deployment(&self) -> Deployment {
        let mount = |name: &str, path: &str| VolumeMount {
            name: name.into(),
            mount_path: path.into(),
            ..VolumeMount::default()
        };
        let file = |key: &str, folder: &str| KeyToPath {
            key: key.into(),
            path: format!("{folder}/{key}"),
            mode: None,
        };
        let container = Container {
            name: NAME.into(),
            image: Some(format!("{}:{}", self.settings.image, self.tag)),
            ports: Some(
                [10000, 10001, 10002, 10003, 10004]
                    .map(|port| ContainerPort {
                        container_port: port,
                        protocol: Some(if port == 10001 { "UDP" } else { "TCP" }.into()),
                        ..ContainerPort::default()
                    })
                    .to_vec(),
            ),
            resources: Some(ResourceRequirements {
                requests: Some(self.resources.clone()),
                limits: Some(self.resources.clone()),
                ..ResourceRequirements::default()
            })
            .filter(|_| !self.resources.is_empty()),
            readiness_probe: Some(Probe {
                tcp_socket: Some(TCPSocketAction {
                    port: IntOrString::Int(10002),
                    ..TCPSocketAction::default()
                }),
                period_seconds: Some(10),
                ..Probe::default()
            }),
            security_context: Some(SecurityContext {
                allow_privilege_escalation: Some(false),
                capabilities: Some(Capabilities {
                    drop: Some(vec!["ALL".into()]),
                    ..Capabilities::default()
                }),
                ..SecurityContext::default()
            }),
            volume_mounts: Some(vec![
                mount("certs", "/etc/kubeedge"),
                mount("conf", "/etc/kubeedge/config"),
                mount("state", "/var/lib/kubeedge"),
            ]),
            ..Container::default()
        };
        let volumes = vec![
            Volume {
                name: "conf".into(),
                config_map: Some(ConfigMapVolumeSource {
                    name: NAME.into(),
                    ..ConfigMapVolumeSource::default()
                }),
                ..Volume::default()
            },
            Volume {
                name: "certs".into(),
                secret: Some(SecretVolumeSource {
                    secret_name: Some(NAME.into()),
                    items: Some(vec![
                        file(CERTIFICATE, "certs"),
                        file(KEY, "certs"),
                        file(AUTHORITY, "ca"),
                    ]),
                    ..SecretVolumeSource::default()
                }),
                ..Volume::default()
            },
            Volume {
                name: "state".into(),
                empty_dir: Some(EmptyDirVolumeSource::default()),
                ..Volume::default()
            },
        ];
        // Pods read their settings once: new settings are new pods.
        let hash = keys::sha256_hex(self.configuration().as_bytes());
        Deployment {
            metadata: self.meta(NAME),
            spec: Some(DeploymentSpec {
                replicas: Some(self.replicas),
                selector: LabelSelector {
                    match_labels: Some(map(&SELECTOR)),
                    ..LabelSelector::default()
                },
                template: PodTemplateSpec {
                    metadata: Some(ObjectMeta {
                        labels: Some(labels()),
                        annotations: Some(map(&[("cloudcore.io/config-hash", &hash)])),
                        ..ObjectMeta::default()
                    }),
                    spec: Some(PodSpec {
                        service_account_name: Some(NAME.into()),
                        security_context: Some(PodSecurityContext {
                            seccomp_profile: Some(SeccompProfile {
                                type_: "RuntimeDefault".into(),
                                ..SeccompProfile::default()
                            }),
                            ..PodSecurityContext::default()
                        }),
                        containers: vec![container],
                        volumes: Some(volumes),
                        ..PodSpec::default()
                    }),
                },
                ..DeploymentSpec::default()
            }),
            ..Deployment::default()
        }
    }

    pub(super) fn service(&self) -> Service {
        let ports = self.settings.ports.iter().map(|port| ServicePort {
            name: Some(port.name.clone()),
            port: port.port.into(),
            protocol: Some(if port.is_quic() { "UDP" } else { "TCP" }.into()),
            target_port: Some(IntOrString::Int(port.port.into())),
            node_port: port.node_port.map(i32::from),
            ..ServicePort::default()
        });
        Service {
            metadata: self.meta(NAME),
            spec: Some(ServiceSpec {
                type_: Some("NodePort".into()),
                selector: Some(map(&SELECTOR)),
                ports: Some(ports.collect()),
                ..ServiceSpec::default()
            }),
            ..Service::default()
        }
    }
}
