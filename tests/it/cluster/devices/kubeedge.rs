//! The hub's objects under KubeEdge's own definitions, which know no other fields than their own.

use serde_json::{Value, json};

use super::{JOIN, define, path};
use crate::cluster::Cluster;

fn text() -> Value {
    json!({ "type": "string" })
}

/// The fields of a Device's `spec` that KubeEdge 1.17 knows, and all later releases.
fn device() -> Value {
    let any = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    let protocol = json!({
        "type": "object", "properties": { "protocolName": text(), "configData": any },
    });
    json!({
        "type": "object",
        "properties": {
            "deviceModelRef": { "type": "object", "properties": { "name": text() } },
            "nodeName": text(),
            "properties": { "type": "array", "items": any },
            "protocol": protocol,
        },
    })
}

/// The same of a DeviceModel's.
fn model() -> Value {
    let kinds = ["INT", "FLOAT", "DOUBLE", "STRING", "BOOLEAN", "BYTES", "STREAM"];
    json!({
        "type": "object",
        "properties": { "properties": { "type": "array", "items": {
            "type": "object",
            "properties": {
                "name": text(), "description": text(), "unit": text(),
                "minimum": text(), "maximum": text(),
                "type": { "type": "string", "enum": kinds },
                "accessMode": { "type": "string", "enum": ["ReadWrite", "ReadOnly"] },
            },
        } } },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn its_definitions_take_what_the_hub_makes() {
    let cluster = Cluster::scripted().await;
    define(&cluster, "v1beta1", device(), model()).await;
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": cluster.namespace },
    });
    cluster.create("/api/v1/namespaces", namespace).await;
    let world = cluster.connected_hub(&[]).await;
    let one = json!({
        "node_name": "edge-1", "device_id": "camera-1", "device_type": "camera",
        "location": "Factory Floor 1",
    });
    let joined = world.post(JOIN, one).await;
    assert_eq!(joined["device_crd_created"], "camera-1", "{joined}");
    assert!(cluster.object(&path(&cluster, "devicemodels", "cloudcore-camera")).await.is_some());
}
