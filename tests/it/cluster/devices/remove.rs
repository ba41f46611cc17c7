//! A device goes, and what the cluster has of it with it.

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{JOIN, PORTS, delete, deploy, goes, node, number, parts, path};
use crate::{
    cluster::{Cluster, server::How, stands, told},
    world::{World, eventually},
};

async fn joined(world: &World, id: &str, node: &str) {
    let one = json!({ "node_name": node, "device_id": id, "device_type": "camera" });
    world.post(JOIN, one).await;
}

async fn open(world: &World, wanted: i64) {
    eventually(&format!("{wanted} open removals"), async || {
        (number(world, "cloudcore_cluster_removals_open").await? == wanted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_it_goes_and_what_was_done_is_said() {
    told(async |cluster: &Cluster| {
        let world = cluster.connected_hub(&PORTS).await;
        deploy(cluster, &world).await;
        let name = format!("{}-1", cluster.namespace);
        node(cluster, &name, true).await;
        joined(&world, "camera-1", &name).await;
        joined(&world, "camera-2", "edge-2").await;
        let removed = delete(&world, "camera-1").await;
        let done = json!([
            "Device CRD deleted",
            "ConfigMap deleted",
            "RBAC deleted",
            "Node cordoned",
            "Node removed from cluster",
            "Token revoked",
            "Device removed",
        ]);
        assert_eq!(removed["actions_taken"], done, "{removed}");
        assert_eq!(removed["warnings"], json!([]));
        for (plural, name) in parts("camera-1", &name, "camera") {
            // Another device is of the same type.
            let is_there = cluster.object(&path(cluster, plural, &name)).await.is_some();
            assert_eq!(is_there, plural == "devicemodels", "{plural}");
        }
        assert!(cluster.object(&format!("/api/v1/nodes/{name}")).await.is_none());
        let removed = delete(&world, "camera-2").await;
        let done = json!([
            "Device CRD deleted",
            "DeviceModel deleted",
            "ConfigMap deleted",
            "RBAC deleted",
            "Token revoked",
            "Device removed",
        ]);
        assert_eq!(removed["actions_taken"], done, "{removed}");
        open(&world, 0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_finalizer_holds_is_asked_to_go() {
    told(async |cluster: &Cluster| {
        let world = cluster.connected_hub(&PORTS).await;
        deploy(cluster, &world).await;
        joined(&world, "camera-1", "edge-1").await;
        let path = path(cluster, "devices", "camera-1");
        let held = json!({ "metadata": { "finalizers": ["cloudcore.io/test"] } });
        cluster.merge(&path, held).await;
        let removed = delete(&world, "camera-1").await;
        let done = removed["actions_taken"].as_array().unwrap();
        assert!(done.contains(&json!("Device CRD deletion requested")), "{removed}");
        assert_eq!(removed["warnings"], json!([]), "{removed}");
        open(&world, 0).await;
        cluster.merge(&path, json!({ "metadata": { "finalizers": null } })).await;
        goes(cluster, "devices", "camera-1").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_hubs_stays_and_is_named() {
    told(async |cluster: &Cluster| {
        let world = cluster.connected_hub(&PORTS).await;
        deploy(cluster, &world).await;
        let name = format!("{}-1", cluster.namespace);
        node(cluster, &name, false).await;
        joined(&world, "camera-1", &name).await;
        // Somebody's own device of the hub's type.
        let theirs = json!({
            "apiVersion": "devices.kubeedge.io/v1beta1", "kind": "Device",
            "metadata": { "name": "theirs", "namespace": cluster.namespace },
            "spec": { "deviceModelRef": { "name": "cloudcore-camera" } },
        });
        let devices = path(cluster, "devices", "");
        cluster.create(devices.trim_end_matches('/'), theirs).await;
        let removed = delete(&world, "camera-1").await;
        let warnings = removed["warnings"].to_string();
        assert!(warnings.contains("not at the edge"), "{removed}");
        assert!(warnings.contains("used by other Device objects"), "{removed}");
        assert!(!removed["actions_taken"].to_string().contains("Node"), "{removed}");
        assert!(cluster.object(&format!("/api/v1/nodes/{name}")).await.is_some());
        open(&world, 0).await;
        assert!(cluster.object(&path(cluster, "devicemodels", "cloudcore-camera")).await.is_some());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_the_cluster_misses_is_finished_also_by_the_next_hub() {
    let mut cluster = Cluster::scripted().await;
    let mut world = cluster.connected_hub(&[]).await;
    deploy(&cluster, &world).await;
    node(&cluster, "edge-1", true).await;
    joined(&world, "camera-1", "edge-1").await;
    cluster.server_mut().go_away().await;
    stands(&world, "disconnected").await;
    let removed = delete(&world, "camera-1").await;
    assert_eq!(removed["actions_taken"], json!(["Token revoked", "Device removed"]), "{removed}");
    assert!(removed["warnings"][0].as_str().unwrap().contains("away"), "{removed}");
    let (status, _) = world.call(Method::GET, "/api/kubeedge/device/camera-1", None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    world.kill_hub().await;
    cluster.server_mut().come_back().await;
    world.start_hub().await;
    for (plural, name) in parts("camera-1", "edge-1", "camera") {
        goes(&cluster, plural, &name).await;
    }
    eventually("the node to be gone", async || {
        cluster.object("/api/v1/nodes/edge-1").await.is_none().then_some(())
    })
    .await;
    open(&world, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cluster_does_not_let_go_is_named_and_tried_again() {
    let cluster = Cluster::scripted().await;
    let world = cluster.connected_hub(&[]).await;
    deploy(&cluster, &world).await;
    node(&cluster, "edge-1", true).await;
    joined(&world, "camera-1", "edge-1").await;
    let server = cluster.server();
    server.fails(Method::DELETE, "/configmaps/", 1, How::Status(403, "Forbidden"));
    server.fails(Method::PATCH, "/nodes/", 1, How::Status(409, "Conflict"));
    let removed = delete(&world, "camera-1").await;
    let done = json!([
        "Device CRD deleted",
        "DeviceModel deleted",
        "RBAC deleted",
        "Token revoked",
        "Device removed",
    ]);
    assert_eq!(removed["actions_taken"], done, "{removed}");
    assert_eq!(removed["warnings"].as_array().unwrap().len(), 2, "{removed}");
    assert!(removed["warnings"][0].as_str().unwrap().starts_with("ConfigMap: "), "{removed}");
    assert!(removed["warnings"][1].as_str().unwrap().starts_with("Node: "), "{removed}");
    goes(&cluster, "configmaps", "edgecore-config-edge-1").await;
    open(&world, 0).await;
    let nodes = server.seen(|seen| seen.path == "/api/v1/nodes/edge-1");
    let cordon = nodes.iter().rfind(|seen| seen.method == Method::PATCH).expect("a cordon");
    assert_eq!(cordon.content_type, "application/merge-patch+json");
    assert_eq!(cordon.body, json!({ "spec": { "unschedulable": true } }));
    assert!(cluster.object("/api/v1/nodes/edge-1").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_joins_again_is_not_removed() {
    let mut cluster = Cluster::scripted().await;
    let world = cluster.connected_hub(&[]).await;
    deploy(&cluster, &world).await;
    node(&cluster, "edge-1", true).await;
    joined(&world, "camera-1", "edge-1").await;
    cluster.server_mut().go_away().await;
    stands(&world, "disconnected").await;
    delete(&world, "camera-1").await;
    joined(&world, "camera-2", "edge-1").await;
    cluster.server_mut().come_back().await;
    super::becomes(&cluster, "devices", "camera-2", |_| true).await;
    goes(&cluster, "devices", "camera-1").await;
    open(&world, 0).await;
    assert!(cluster.object("/api/v1/nodes/edge-1").await.is_some());
    super::becomes(&cluster, "configmaps", "edgecore-config-edge-1", |map| {
        map["metadata"]["labels"]["cloudcore.io/device"] == "camera-2"
    })
    .await;
}
