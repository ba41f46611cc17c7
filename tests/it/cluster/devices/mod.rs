//! Devices as objects of the cluster.

mod drift;
mod join;
mod kubeedge;
mod remove;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::Cluster;
use crate::world::{World, eventually};

const JOIN: &str = "/api/kubeedge/device/join";
const DEPLOY: &str = "/api/kubeedge/cloudcore/deploy";

/// Node ports that the cluster chooses: a real one may have given the usual ones away.
const PORTS: [&str; 2] = ["--cloudcore-ports", "cloudhub=10000,cloudstream=10002,websocket=10004"];

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// Has the hub deploy CloudCore, and with it the kinds of devices.
async fn deploy(cluster: &Cluster, world: &World) {
    world.post(DEPLOY, json!({ "version": "1.18.0" })).await;
    // A real one serves them a moment later.
    eventually("the kinds to be served", async || {
        for plural in ["devices", "devicemodels"] {
            cluster.object(path(cluster, plural, "").trim_end_matches('/')).await?;
        }
        Some(())
    })
    .await;
}

/// Whether somebody has defined the kinds before the story.
async fn are_defined(cluster: &Cluster) -> bool {
    cluster.object("/apis/devices.kubeedge.io/v1beta1").await.is_some()
}

/// Defines the kinds of devices in this version, as somebody else does.
async fn define(cluster: &Cluster, version: &str, device: Value, model: Value) {
    for (kind, plural, spec) in
        [("Device", "devices", device), ("DeviceModel", "devicemodels", model)]
    {
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": format!("{plural}.devices.kubeedge.io") },
            "spec": {
                "group": "devices.kubeedge.io", "scope": "Namespaced",
                "names": { "kind": kind, "plural": plural, "singular": kind.to_lowercase(),
                           "listKind": format!("{kind}List") },
                "versions": [{
                    "name": version, "served": true, "storage": true,
                    "schema": { "openAPIV3Schema": {
                        "type": "object", "properties": { "spec": spec },
                    } },
                }],
            },
        });
        cluster.create(DEFINITIONS, definition).await;
    }
}

fn open() -> Value {
    json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// Where an object of the namespace is.
fn path(cluster: &Cluster, plural: &str, name: &str) -> String {
    let api = match plural {
        "devices" | "devicemodels" => "/apis/devices.kubeedge.io/v1beta1",
        "roles" | "rolebindings" => "/apis/rbac.authorization.k8s.io/v1",
        _ => "/api/v1",
    };
    format!("{api}/namespaces/{}/{plural}/{name}", cluster.namespace)
}

/// The objects of a device, by plural and name.
fn parts(device: &str, node: &str, model: &str) -> [(&'static str, String); 6] {
    [
        ("configmaps", format!("edgecore-config-{node}")),
        ("serviceaccounts", format!("edgecore-{node}")),
        ("roles", format!("edgecore-{node}")),
        ("rolebindings", format!("edgecore-{node}")),
        ("devicemodels", format!("cloudcore-{model}")),
        ("devices", device.to_owned()),
    ]
}

/// Waits until an object is there, and as the story wants it.
async fn becomes(
    cluster: &Cluster,
    plural: &str,
    name: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    let path = path(cluster, plural, name);
    eventually(&format!("{path} to be as wanted"), async || {
        cluster.object(&path).await.filter(|object| wanted(object))
    })
    .await
}

/// Waits until an object is gone.
async fn goes(cluster: &Cluster, plural: &str, name: &str) {
    let path = path(cluster, plural, name);
    eventually(&format!("{path} to be gone"), async || {
        cluster.object(&path).await.is_none().then_some(())
    })
    .await;
}

/// A number of the hub's for Prometheus.
async fn number(world: &World, name: &str) -> Option<i64> {
    let text = reqwest_text(world).await;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().parse().ok()
}

async fn reqwest_text(world: &World) -> String {
    let url = world.url("/api/kubeedge/metrics/prometheus");
    let client = crate::world::client().build().expect("a client");
    let asked = client.get(url).bearer_auth(world.token()).send().await.expect("an answer");
    asked.text().await.expect("text")
}

async fn delete(world: &World, device: &str) -> Value {
    let path = format!("/api/kubeedge/device/{device}");
    let (status, answer) = world.call(Method::DELETE, &path, None).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer
}

/// A node as somebody makes one, at the edge or not.
async fn node(cluster: &Cluster, name: &str, edge: bool) {
    let labels = match edge {
        true => json!({ "node-role.kubernetes.io/edge": "" }),
        false => json!({ "node-role.kubernetes.io/control-plane": "" }),
    };
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": labels },
    });
    cluster.create("/api/v1/nodes", node).await;
}
