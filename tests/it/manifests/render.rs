//! The manifests as they reach a cluster: rendered by kustomize, and each object understood by the
//! type that Kubernetes has for it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Namespace, Pod, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// A folder of `deploy/k8s`.
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/k8s").join(name)
}

/// What `kubectl apply -k` would send.
pub fn render(kustomization: &Path) -> Vec<Value> {
    let pinned = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/bin/kubectl");
    let kubectl = if pinned.exists() { pinned } else { "kubectl".into() };
    let output = Command::new(kubectl)
        .arg("kustomize")
        .arg(kustomization)
        .output()
        .expect("kubectl: run `deploy/setup.sh test`");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", kustomization.display());
    // It warns of what is deprecated.
    assert_eq!(said, "", "{}", kustomization.display());
    serde_saphyr::from_multiple(&String::from_utf8_lossy(&output.stdout)).expect("YAML")
}

/// An overlay of `deploy/k8s`.
pub fn overlay(name: &str) -> Vec<Value> {
    render(&folder("overlays").join(name))
}

/// An overlay of an administrator's own, over one of ours and with these components.
pub fn own_overlay(name: &str, components: &[&str]) -> Vec<Value> {
    let dir = tempfile::tempdir().expect("a folder");
    let here = dir.path().canonicalize().expect("it is there");
    // kustomize takes no absolute paths.
    let up = "../".repeat(here.components().count() - 1);
    let at = |path: PathBuf| {
        let path = path.canonicalize().expect("it is in deploy/k8s");
        format!("{up}{}", path.strip_prefix("/").expect("absolute").display())
    };
    let components = components.iter().map(|name| at(folder("components").join(name)));
    let kustomization = serde_json::json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [at(folder("overlays").join(name))],
        "components": components.collect::<Vec<_>>(),
    });
    std::fs::write(here.join("kustomization.yaml"), kustomization.to_string()).expect("written");
    render(&here)
}

pub fn kind(object: &Value) -> &str {
    object["kind"].as_str().expect("a kind")
}

pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().expect("a name")
}

/// All objects of a kind, as their type.
pub fn all<T: DeserializeOwned>(objects: &[Value], wanted: &str) -> Vec<T> {
    let found = objects.iter().filter(|object| kind(object) == wanted);
    found.map(|object| serde_json::from_value(object.clone()).expect("it is one")).collect()
}

/// The object, as its type gives it back: what that does not know is not there any more.
pub fn through_its_type(object: &Value) -> Result<Value, String> {
    fn again<T: DeserializeOwned + Serialize>(object: &Value) -> Result<Value, String> {
        let typed: T = serde_json::from_value(object.clone()).map_err(|e| e.to_string())?;
        serde_json::to_value(typed).map_err(|e| e.to_string())
    }
    match (object["apiVersion"].as_str().unwrap_or_default(), kind(object)) {
        ("v1", "Namespace") => again::<Namespace>(object),
        ("v1", "ServiceAccount") => again::<ServiceAccount>(object),
        ("v1", "ConfigMap") => again::<ConfigMap>(object),
        ("v1", "Service") => again::<Service>(object),
        ("v1", "Pod") => again::<Pod>(object),
        ("apps/v1", "StatefulSet") => again::<StatefulSet>(object),
        ("networking.k8s.io/v1", "NetworkPolicy") => again::<NetworkPolicy>(object),
        ("policy/v1", "PodDisruptionBudget") => again::<PodDisruptionBudget>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => again::<ClusterRole>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => {
            again::<ClusterRoleBinding>(object)
        }
        ("rbac.authorization.k8s.io/v1", "Role") => again::<Role>(object),
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => again::<RoleBinding>(object),
        ("monitoring.coreos.com/v1", "ServiceMonitor") => again::<ServiceMonitor>(object),
        (version, kind) => Err(format!("no type is known for {version} {kind}")),
    }
}

/// The paths of what is in `written` and not, or otherwise, in `known`.
pub fn lost(written: &Value, known: &Value) -> Vec<String> {
    fn walk(written: &Value, known: Option<&Value>, path: &str, lost: &mut Vec<String>) {
        match (written, known) {
            (Value::Object(fields), Some(Value::Object(known))) => {
                for (name, value) in fields {
                    walk(value, known.get(name), &format!("{path}.{name}"), lost);
                }
            }
            (Value::Array(items), Some(Value::Array(known))) if items.len() == known.len() => {
                for (at, (item, known)) in items.iter().zip(known).enumerate() {
                    walk(item, Some(known), &format!("{path}[{at}]"), lost);
                }
            }
            (written, Some(known)) if written == known => {}
            _ => lost.push(path.to_owned()),
        }
    }
    let mut paths = Vec::new();
    walk(written, Some(known), "", &mut paths);
    paths
}

/// The part of the Prometheus operator's ServiceMonitor, monitoring.coreos.com/v1, that is used.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceMonitor {
    api_version: String,
    kind: String,
    metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    pub spec: MonitorSpec,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MonitorSpec {
    pub selector: k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector,
    pub endpoints: Vec<Endpoint>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    pub port: String,
    pub path: String,
    interval: String,
    scrape_timeout: String,
    pub authorization: Authorization,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Authorization {
    #[serde(rename = "type")]
    kind: String,
    pub credentials: k8s_openapi::api::core::v1::SecretKeySelector,
}
