//! The kinds that the scripted API server knows, and what it thinks of their objects: each is read
//! into Kubernetes' own types, and must come back whole.

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        authentication::v1::TokenReview,
        authorization::v1::SubjectAccessReview,
        core::v1::{ConfigMap, Namespace, Node, Pod, Secret, Service, ServiceAccount},
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// A kind of object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub plural: String,
    pub namespaced: bool,
}

impl Kind {
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

const BUILT_IN: [(&str, &str, &str, &str, bool); 15] = [
    ("", "v1", "Namespace", "namespaces", false),
    ("", "v1", "Node", "nodes", false),
    ("", "v1", "Pod", "pods", true),
    ("", "v1", "Service", "services", true),
    ("", "v1", "ConfigMap", "configmaps", true),
    ("", "v1", "Secret", "secrets", true),
    ("", "v1", "ServiceAccount", "serviceaccounts", true),
    ("apps", "v1", "Deployment", "deployments", true),
    ("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", false),
    ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", false),
    ("rbac.authorization.k8s.io", "v1", "Role", "roles", true),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", true),
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", false),
    ("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", false),
    ("authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", false),
];

/// Those that every cluster has.
pub fn built_in() -> Vec<Kind> {
    BUILT_IN
        .iter()
        .map(|(group, version, kind, plural, namespaced)| Kind {
            group: (*group).into(),
            version: (*version).into(),
            kind: (*kind).into(),
            plural: (*plural).into(),
            namespaced: *namespaced,
        })
        .collect()
}

/// Those that a definition adds.
pub fn defined(definition: &Value) -> Vec<Kind> {
    let spec = &definition["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let versions = spec["versions"].as_array().cloned().unwrap_or_default();
    versions
        .iter()
        .filter(|version| version["served"] == true)
        .map(|version| Kind {
            group: text(&spec["group"]),
            version: text(&version["name"]),
            kind: text(&spec["names"]["kind"]),
            plural: text(&spec["names"]["plural"]),
            namespaced: spec["scope"] == "Namespaced",
        })
        .collect()
}

/// Whether the object is one of its kind, with no field that the kind does not have.
pub fn check(kind: &Kind, object: &Value) -> Result<(), String> {
    match kind.kind.as_str() {
        "Namespace" => whole::<Namespace>(object),
        "Node" => whole::<Node>(object),
        "Pod" => whole::<Pod>(object),
        "Service" => whole::<Service>(object),
        "ConfigMap" => whole::<ConfigMap>(object),
        "Secret" => whole::<Secret>(object),
        "ServiceAccount" => whole::<ServiceAccount>(object),
        "Deployment" => whole::<Deployment>(object),
        "ClusterRole" => whole::<ClusterRole>(object),
        "ClusterRoleBinding" => whole::<ClusterRoleBinding>(object),
        "Role" => whole::<Role>(object),
        "RoleBinding" => whole::<RoleBinding>(object),
        "CustomResourceDefinition" => whole::<CustomResourceDefinition>(object),
        "TokenReview" => whole::<TokenReview>(object),
        "SubjectAccessReview" => whole::<SubjectAccessReview>(object),
        _ => Ok(()),
    }
}

fn whole<K: Serialize + DeserializeOwned>(object: &Value) -> Result<(), String> {
    let read: K = serde_json::from_value(object.clone()).map_err(|e| e.to_string())?;
    let back = serde_json::to_value(read).map_err(|e| e.to_string())?;
    lost(object, &back, "").map_or(Ok(()), |field| Err(format!("unknown field \"{field}\"")))
}

/// The first field that did not come back.
fn lost(sent: &Value, back: &Value, at: &str) -> Option<String> {
    match (sent, back) {
        (Value::Object(sent), Value::Object(back)) => sent.iter().find_map(|(name, value)| {
            let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
            match back.get(name) {
                _ if value.is_null() => None,
                Some(back) => lost(value, back, &at),
                None => Some(at),
            }
        }),
        (Value::Array(sent), Value::Array(back)) if sent.len() == back.len() => sent
            .iter()
            .zip(back)
            .enumerate()
            .find_map(|(n, (sent, back))| lost(sent, back, &format!("{at}[{n}]"))),
        // Times come back in another spelling.
        (Value::String(_), Value::String(_)) if at.ends_with("imestamp") => None,
        _ if sent == back => None,
        _ => Some(at.to_owned()),
    }
}

/// What the API server fills in.
pub fn fill_in(kind: &Kind, object: &mut Value) {
    match kind.kind.as_str() {
        "Namespace" => default(object, "/status", json!({ "phase": "Active" })),
        "Service" => {
            default(object, "/spec/type", json!("ClusterIP"));
            default(object, "/spec/clusterIP", json!("10.96.0.17"));
            default(object, "/spec/sessionAffinity", json!("None"));
            let is_outside = object["spec"]["type"] != "ClusterIP";
            let ports = object.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
            for (n, port) in ports.into_iter().flatten().enumerate() {
                let target = port["port"].clone();
                default(port, "/protocol", json!("TCP"));
                default(port, "/targetPort", target);
                if is_outside {
                    default(port, "/nodePort", json!(31_000 + n));
                }
            }
        }
        "Deployment" => {
            default(object, "/spec/replicas", json!(1));
            default(object, "/spec/revisionHistoryLimit", json!(10));
            default(object, "/spec/progressDeadlineSeconds", json!(600));
            default(object, "/spec/strategy/type", json!("RollingUpdate"));
            default(object, "/spec/template/spec/restartPolicy", json!("Always"));
            default(object, "/spec/template/spec/dnsPolicy", json!("ClusterFirst"));
            let containers =
                object.pointer_mut("/spec/template/spec/containers").and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten() {
                default(container, "/imagePullPolicy", json!("IfNotPresent"));
                default(container, "/terminationMessagePath", json!("/dev/termination-log"));
                let ports = container.pointer_mut("/ports").and_then(Value::as_array_mut);
                for port in ports.into_iter().flatten() {
                    default(port, "/protocol", json!("TCP"));
                }
            }
        }
        "Secret" => default(object, "/type", json!("Opaque")),
        _ => {}
    }
}

fn default(object: &mut Value, pointer: &str, value: Value) {
    let mut at = object;
    for name in pointer.split('/').skip(1) {
        if at.is_null() {
            *at = json!({});
        }
        at = &mut at[name];
    }
    if at.is_null() {
        *at = value;
    }
}
