//! The cluster's nodes among the hub's devices.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Cluster, told};
use crate::world::eventually;

/// A node at the edge.
fn node(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": name, "labels": {
            "node-role.kubernetes.io/agent": "", "node-role.kubernetes.io/edge": "",
        } },
    })
}

fn status(ready: bool) -> Value {
    json!({ "status": {
        "conditions": [{
            "type": "Ready", "status": if ready { "True" } else { "False" }, "reason": "r",
            "message": "m", "lastHeartbeatTime": "2024-01-15T10:30:00Z",
            "lastTransitionTime": "2024-01-15T10:30:00Z",
        }],
        "addresses": [{ "type": "InternalIP", "address": "192.168.1.100" }],
        "nodeInfo": {
            "kubeletVersion": "v1.29.5-kubeedge-v1.18.0", "architecture": "arm64", "bootID": "b",
            "containerRuntimeVersion": "containerd://1.7", "kernelVersion": "6", "machineID": "m",
            "kubeProxyVersion": "", "operatingSystem": "linux", "osImage": "o", "systemUUID": "s",
        },
    } })
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_at_the_edge_are_listed_among_devices_as_the_cluster_has_them() {
    told(async |cluster: &Cluster| {
        let world = cluster.connected_hub(&[]).await;
        // A real cluster has others' nodes, too.
        let (known, bare) =
            (format!("{}-known", cluster.namespace), format!("{}-bare", cluster.namespace));
        let join = json!({ "node_name": known, "device_id": "camera-1", "device_type": "camera" });
        world.post("/api/kubeedge/device/join", join).await;
        for name in [&known, &bare] {
            cluster.create("/api/v1/nodes", node(name)).await;
            cluster.merge(&format!("/api/v1/nodes/{name}/status"), status(name == &known)).await;
        }
        let line = async |id: &str, wanted: &str| {
            eventually(&format!("{id} to be {wanted}"), async || {
                let list = world.get("/api/kubeedge/devices?limit=500").await;
                let lines = list["devices"].as_array()?;
                assert_eq!(list["count"], lines.len(), "{list}");
                let line = lines.iter().find(|line| line["device_id"] == id)?;
                (line["status"] == wanted && !line["pods_count"].is_null()).then(|| line.clone())
            })
            .await
        };
        let shown = line("camera-1", "Ready").await;
        assert_eq!(shown["node_name"], known.as_str());
        assert_eq!(shown["roles"], json!(["agent", "edge"]));
        assert_eq!(shown["version"], "v1.29.5-kubeedge-v1.18.0");
        assert_eq!(shown["pods_count"], 0);
        assert_eq!(
            shown["addresses"],
            json!([{ "type": "InternalIP", "address": "192.168.1.100" }])
        );
        assert_eq!(shown["joined"], false);
        assert_eq!(line(&bare, "NotReady").await["device_type"], Value::Null);

        let details = world.get("/api/kubeedge/device/camera-1").await;
        assert_eq!(details["node"]["status"], "Ready", "{details}");
        assert_eq!(details["configuration"]["kubeedge_version"], "1.18.0");
        let details = world.get(&format!("/api/kubeedge/device/{bare}")).await;
        assert_eq!((&details["status"], &details["joined"]), (&json!("NotReady"), &json!(false)));

        // Filters and pages take both for what they are.
        let ids = async |query: &str| -> Vec<String> {
            let list = world.get(&format!("/api/kubeedge/devices?{query}")).await;
            let lines = list["devices"].as_array().unwrap();
            lines.iter().map(|line| line["device_id"].as_str().unwrap().to_owned()).collect()
        };
        assert!(ids("status=Ready").await.contains(&"camera-1".to_owned()));
        assert!(!ids("status=Ready").await.contains(&bare));
        assert!(ids("status=NotReady").await.contains(&bare));
        assert_eq!(ids(&format!("node_name={bare}")).await, std::slice::from_ref(&bare));
        assert_eq!(ids("device_type=camera").await, ["camera-1"]);
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = world.get(&format!("/api/kubeedge/devices?limit=1{cursor}")).await;
            for line in page["devices"].as_array().unwrap() {
                all.push(line["device_id"].as_str().unwrap().to_owned());
            }
            if page["next_cursor"].is_null() {
                break;
            }
            cursor = format!("&cursor={}", page["next_cursor"]);
        }
        assert_eq!(all.iter().filter(|id| **id == bare).count(), 1, "{all:?}");
        assert_eq!(all[0], "camera-1");

        for name in [&known, &bare] {
            cluster.delete(&format!("/api/v1/nodes/{name}")).await;
        }
        let gone = format!("/api/kubeedge/device/{bare}");
        eventually("the node to be gone", async || {
            (world.call(Method::GET, &gone, None).await.0 == StatusCode::NOT_FOUND).then_some(())
        })
        .await;
        assert_eq!(world.get("/api/kubeedge/device/camera-1").await["node"], Value::Null);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_counted_on_their_node() {
    let cluster = Cluster::scripted().await;
    cluster.create("/api/v1/nodes", node("edge-1")).await;
    for (name, phase) in [("a", "Running"), ("b", "Pending"), ("c", "Succeeded")] {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": "default" },
            "spec": { "nodeName": "edge-1", "containers": [{ "name": "c", "image": "i" }] },
            "status": { "phase": phase },
        });
        cluster.create("/api/v1/namespaces/default/pods", pod).await;
    }
    let world = cluster.connected_hub(&[]).await;
    eventually("two pods to be counted", async || {
        let list = world.get("/api/kubeedge/devices").await;
        (list["devices"][0]["pods_count"] == 2).then_some(())
    })
    .await;
    let config = world.get("/api/kubeedge/config").await;
    assert_eq!(config["kubernetes"]["nodes"], 1, "{config}");
    assert_eq!(config["kubernetes"]["pods"], 2, "{config}");
}
