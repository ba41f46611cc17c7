//! What goes wrong with the objects behind the hub's back, and what the hub does about it.

use reqwest::Method;
use serde_json::{Value, json};

use super::{JOIN, PORTS, becomes, deploy, goes, number, parts, path};
use crate::{
    cluster::{Cluster, told},
    world::{World, eventually},
};

async fn joined(world: &World, id: &str, node: &str) {
    let one = json!({ "node_name": node, "device_id": id, "device_type": "camera" });
    let joined = world.post(JOIN, one).await;
    assert_eq!(joined["device_crd_created"], id, "{joined}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_or_stripped_comes_back() {
    told(async |cluster: &Cluster| {
        let world = cluster.connected_hub(&PORTS).await;
        deploy(cluster, &world).await;
        joined(&world, "camera-1", "edge-1").await;
        for (plural, name) in parts("camera-1", "edge-1", "camera") {
            let path = path(cluster, plural, &name);
            let before = cluster.object(&path).await.expect("it is there");
            cluster.delete(&path).await;
            let uid = before["metadata"]["uid"].clone();
            becomes(cluster, plural, &name, |now| now["metadata"]["uid"] != uid).await;
        }
        let gone = json!({ "metadata": { "annotations": { "cloudcore.io/node": null } } });
        let path = path(cluster, "serviceaccounts", "edgecore-edge-1");
        cluster.merge(&path, gone).await;
        becomes(cluster, "serviceaccounts", "edgecore-edge-1", |account| {
            account["metadata"]["annotations"]["cloudcore.io/node"] == "edge-1"
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_by_hand_under_the_hubs_labels_is_adopted_or_left_alone() {
    told(async |cluster: &Cluster| {
        let world = cluster.connected_hub(&PORTS).await;
        deploy(cluster, &world).await;
        joined(&world, "camera-1", "edge-1").await;
        let by_hand = |name: &str, device: &str| {
            json!({
                "apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": { "name": name, "namespace": cluster.namespace, "labels": {
                    "app.kubernetes.io/managed-by": "cloudcore-hub",
                    "cloudcore.io/device": device,
                } },
            })
        };
        let accounts = path(cluster, "serviceaccounts", "");
        let accounts = accounts.trim_end_matches('/');
        // Of no device: somebody knows why.
        cluster.create(accounts, by_hand("edgecore-edge-9", "camera-9")).await;
        // Before the device is joined that wants it.
        cluster.create(accounts, by_hand("edgecore-edge-2", "camera-2")).await;
        let made = json!({
            "node_name": "edge-2", "device_id": "camera-2", "device_type": "camera",
        });
        world.post(JOIN, made).await;
        becomes(cluster, "serviceaccounts", "edgecore-edge-2", |account| {
            account["metadata"]["annotations"]["cloudcore.io/device-id"] == "camera-2"
                && account["automountServiceAccountToken"] == false
        })
        .await;
        super::delete(&world, "camera-2").await;
        goes(cluster, "serviceaccounts", "edgecore-edge-2").await;
        let theirs = cluster.object(&path(cluster, "serviceaccounts", "edgecore-edge-9")).await;
        assert!(theirs.is_some(), "nobody but its maker deletes it");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_hold_is_shown_and_not_fought_over() {
    let cluster = Cluster::scripted().await;
    let world = cluster.connected_hub(&[]).await;
    deploy(&cluster, &world).await;
    joined(&world, "camera-1", "edge-1").await;
    let path = path(&cluster, "configmaps", "edgecore-config-edge-1");
    let before = cluster.object(&path).await.unwrap()["data"]["edgecore.yaml"].clone();
    let conflicts = async |wanted: i64| {
        eventually(&format!("{wanted} conflicts"), async || {
            let name = "cloudcore_cluster_device_objects{state=\"conflict\"}";
            (number(&world, name).await? == wanted).then_some(())
        })
        .await;
    };
    conflicts(0).await;
    cluster.merge(&path, json!({ "data": { "edgecore.yaml": "theirs" } })).await;
    conflicts(1).await;
    cluster.server().forget_seen();

    // Whatever else happens, and however often the hub looks.
    for n in 2..5 {
        joined(&world, &format!("camera-{n}"), &format!("edge-{n}")).await;
        let other = super::path(&cluster, "roles", &format!("edgecore-edge-{n}"));
        let uid = cluster.object(&other).await.unwrap()["metadata"]["uid"].clone();
        cluster.delete(&other).await;
        becomes(&cluster, "roles", &format!("edgecore-edge-{n}"), |role| {
            role["metadata"]["uid"] != uid
        })
        .await;
    }
    let tries = cluster.server().seen(|seen| seen.method == Method::PATCH && seen.path == path);
    assert!(tries.is_empty(), "it is tried again: {tries:?}");
    assert_eq!(cluster.object(&path).await.unwrap()["data"]["edgecore.yaml"], "theirs");
    let told = world.hub_log().matches("others hold fields of this object").count();
    assert_eq!(told, 1, "it is said once");

    // They give it up.
    cluster.merge(&path, json!({ "data": { "edgecore.yaml": null } })).await;
    becomes(&cluster, "configmaps", "edgecore-config-edge-1", |map| {
        map["data"]["edgecore.yaml"] == before
    })
    .await;
    conflicts(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_no_device_go_and_those_of_another_hub_stay() {
    told(async |cluster: &Cluster| {
        let world = cluster.connected_hub(&PORTS).await;
        deploy(cluster, &world).await;
        let node = format!("{}-1", cluster.namespace);
        super::node(cluster, &node, true).await;
        joined(&world, "camera-1", &node).await;
        let other = cluster.connected_hub(&PORTS).await;
        joined(&other, "camera-2", "edge-2").await;
        // As after a restore of an older backup.
        world.sql("DELETE FROM devices WHERE device_id = 'camera-1'");
        // The look-over is woken by whatever changes.
        let map = path(cluster, "configmaps", &format!("edgecore-config-{node}"));
        cluster.merge(&map, json!({ "metadata": { "labels": { "x": "y" } } })).await;
        for (plural, name) in parts("camera-1", &node, "camera") {
            if plural != "devicemodels" {
                goes(cluster, plural, &name).await;
            }
        }
        for (plural, name) in parts("camera-2", "edge-2", "camera") {
            assert!(cluster.object(&path(cluster, plural, &name)).await.is_some(), "{plural}");
        }
        // A node goes only when somebody has its device removed.
        assert!(cluster.object(&format!("/api/v1/nodes/{node}")).await.is_some());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_of_two_hubs_is_the_last_ones_that_joined_it() {
    let cluster = Cluster::scripted().await;
    let (one, other) = (cluster.connected_hub(&[]).await, cluster.connected_hub(&[]).await);
    deploy(&cluster, &one).await;
    joined(&one, "camera-1", "edge-1").await;
    joined(&other, "camera-1", "edge-1").await;
    eventually("the first hub to leave it", async || {
        let name = "cloudcore_cluster_device_objects{state=\"conflict\"}";
        (number(&one, name).await? == 6).then_some(())
    })
    .await;
    let hub = |object: &Value| object["metadata"]["annotations"]["cloudcore.io/hub"].clone();
    let path = path(&cluster, "devices", "camera-1");
    let before = hub(&cluster.object(&path).await.unwrap());
    let removed = super::delete(&one, "camera-1").await;
    assert!(removed["warnings"].to_string().contains("another hub's"), "{removed}");
    assert_eq!(hub(&cluster.object(&path).await.unwrap()), before);
}
