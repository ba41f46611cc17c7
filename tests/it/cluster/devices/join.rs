//! A device joins: what is made for it, and what happens where that can't be.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{DEFINITIONS, JOIN, PORTS, are_defined, becomes, define, deploy, open, parts, path};
use crate::{
    cluster::{Cluster, server::How, stands, told},
    world::{World, eventually},
};

fn device(id: &str, node: &str) -> Value {
    json!({
        "node_name": node, "device_id": id, "device_type": "camera",
        "location": "Factory Floor 1",
        "configuration": { "camera": "rtsp://admin:hush@10.0.0.9/1" },
    })
}

async fn refused(world: &World, device: Value) -> (StatusCode, Value) {
    world.call(Method::POST, JOIN, Some(device)).await
}

/// Nothing of a device is left at the hub.
async fn is_unknown(world: &World, id: &str) {
    let (status, answer) =
        world.call(Method::GET, &format!("/api/kubeedge/device/{id}"), None).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_joins_is_an_object_and_its_node_has_its_settings() {
    told(async |cluster: &Cluster| {
        let world = cluster.connected_hub(&PORTS).await;
        deploy(cluster, &world).await;
        let joined = world.post(JOIN, device("camera-1", "edge-1")).await;
        assert_eq!(joined["configmap_created"], "edgecore-config-edge-1", "{joined}");
        assert_eq!(joined["device_crd_created"], "camera-1", "{joined}");
        assert_eq!(joined["warnings"], json!([]));
        for step in
            ["token_generated", "configmap_created", "device_crd_created", "rbac_configured"]
        {
            assert_eq!(joined["steps"][step], true, "{joined}");
        }
        for (plural, name) in parts("camera-1", "edge-1", "camera") {
            let path = path(cluster, plural, &name);
            let object = cluster.object(&path).await.unwrap_or_else(|| panic!("{path}"));
            let labels = &object["metadata"]["labels"];
            assert_eq!(labels["app.kubernetes.io/managed-by"], "cloudcore-hub", "{object}");
            let ours = if plural == "devicemodels" {
                labels["cloudcore.io/device-type"] == "camera"
            } else {
                labels["cloudcore.io/device"] == "camera-1"
            };
            assert!(ours, "{object}");
            assert!(!object.to_string().contains("hush"), "{object}");
        }

        // Where keadm finds CloudCore is where its service is.
        let (node_ports, settings) = eventually("the node ports to be known", async || {
            let other = json!({ "node_name": "edge-2", "device_id": "camera-2" });
            let (status, joined) = world.call(Method::POST, JOIN, Some(other)).await;
            if status != StatusCode::OK || joined["node_ports"]["cloudhub"].is_null() {
                super::delete(&world, "camera-2").await;
                return None;
            }
            let path = path(cluster, "configmaps", "edgecore-config-edge-2");
            let map = cluster.object(&path).await.expect("settings");
            let text = map["data"]["edgecore.yaml"].as_str()?.to_owned();
            let command = joined["keadm_join_command"].as_str()?;
            let certificates = &joined["node_ports"]["cloudstream"];
            let expected = format!("--certport={certificates} --edgenode-name=edge-2");
            assert!(command.contains(&expected), "{command}");
            assert!(joined["join_command"].as_str()?.starts_with("keadm join"), "{joined}");
            Some((joined["node_ports"].clone(), text))
        })
        .await;
        let settings: Value = serde_saphyr::from_str(&settings).expect("YAML");
        assert_eq!(settings["apiVersion"], "edgecore.config.kubeedge.io/v1alpha2");
        let modules = &settings["modules"];
        assert_eq!(modules["edged"]["hostnameOverride"], "edge-2");
        let server = modules["edgeHub"]["websocket"]["server"].as_str().unwrap();
        assert!(server.ends_with(&format!(":{}", node_ports["cloudhub"])), "{server}");
        let server = modules["edgeHub"]["httpServer"].as_str().unwrap();
        assert!(server.ends_with(&format!(":{}", node_ports["cloudstream"])), "{server}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_objects_are_exactly_these() {
    let cluster = Cluster::scripted().await;
    let world = cluster.connected_hub(&["--advertise-address", "3.70.53.21:30374"]).await;
    deploy(&cluster, &world).await;
    cluster.server().forget_seen();
    let joined = world.post(JOIN, device("Camera_1", "edge-1")).await;
    let name = joined["device_crd_created"].as_str().unwrap().to_owned();
    assert!(name.starts_with("camera-1-"), "{name}");
    let changes = cluster.server().changes();
    let mut sent: Vec<Value> = Vec::new();
    for change in &changes {
        assert_eq!(change.method, Method::PATCH, "{change:?}");
        assert_eq!(change.query["fieldManager"], "cloudcore-hub");
        assert_eq!(change.query["fieldValidation"], "Strict");
        assert!(!change.query.contains_key("force"), "nothing is taken from others: {change:?}");
        if !change.query.contains_key("dryRun") && !sent.contains(&change.body) {
            sent.push(change.body.clone());
        }
    }
    let trials = changes.iter().take_while(|change| change.query.contains_key("dryRun"));
    assert_eq!(trials.count(), 6, "all are tried out before the first is made");

    let labels = json!({
        "app.kubernetes.io/managed-by": "cloudcore-hub",
        "app.kubernetes.io/part-of": "kubeedge", "cloudcore.io/device": "Camera_1",
    });
    let hub = sent[0]["metadata"]["annotations"]["cloudcore.io/hub"].clone();
    let annotations = json!({
        "cloudcore.io/device-id": "Camera_1", "cloudcore.io/hub": hub,
        "cloudcore.io/node": "edge-1",
    });
    let meta = |name: &str| {
        json!({
            "annotations": annotations, "labels": labels, "name": name, "namespace": "kubeedge",
        })
    };
    let settings = json!({
        "apiVersion": "edgecore.config.kubeedge.io/v1alpha2", "kind": "EdgeCore",
        "modules": {
            "edged": { "enable": true, "hostnameOverride": "edge-1" },
            "edgeHub": {
                "enable": true, "heartbeat": 15, "httpServer": "https://3.70.53.21:31305",
                "websocket": { "enable": true, "server": "3.70.53.21:30374" },
                "quic": { "enable": false, "server": "3.70.53.21:10001" },
            },
            "metaManager": { "enable": true },
            "deviceTwin": { "enable": true },
            "edgeStream": { "enable": true, "server": "3.70.53.21:32203" },
        },
    });
    let reading = |name: &str, description: &str, kind: &str, unit: Option<&str>| {
        let mut property = json!({
            "name": name, "description": description, "type": kind, "accessMode": "ReadOnly",
        });
        if let Some(unit) = unit {
            property["unit"] = unit.into();
        }
        property
    };
    let rbac = "rbac.authorization.k8s.io";
    let expected = [
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("edgecore-config-edge-1"),
            "data": { "edgecore.yaml": format!("{settings:#}") },
        }),
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta("edgecore-edge-1"),
            "automountServiceAccountToken": false,
        }),
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "Role",
            "metadata": meta("edgecore-edge-1"),
            "rules": [{
                "apiGroups": [""], "resources": ["configmaps"],
                "resourceNames": ["edgecore-config-edge-1"], "verbs": ["get", "watch"],
            }],
        }),
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding",
            "metadata": meta("edgecore-edge-1"),
            "roleRef": { "apiGroup": rbac, "kind": "Role", "name": "edgecore-edge-1" },
            "subjects": [{
                "kind": "ServiceAccount", "name": "edgecore-edge-1", "namespace": "kubeedge",
            }],
        }),
        json!({
            "apiVersion": "devices.kubeedge.io/v1beta1", "kind": "DeviceModel",
            "metadata": {
                "annotations": {
                    "cloudcore.io/device-type": "camera", "cloudcore.io/hub": hub,
                },
                "labels": {
                    "app.kubernetes.io/managed-by": "cloudcore-hub",
                    "app.kubernetes.io/part-of": "kubeedge",
                    "cloudcore.io/device-type": "camera",
                },
                "name": "cloudcore-camera", "namespace": "kubeedge",
            },
            "spec": { "properties": [
                reading("online", "Whether it is connected", "BOOLEAN", None),
                reading("cpu_percent", "Load of all its cores", "DOUBLE", Some("%")),
                reading("memory_used_bytes", "Memory in use", "INT", Some("bytes")),
                reading(
                    "temperature_celsius", "Its hottest sensor", "DOUBLE", Some("degrees Celsius"),
                ),
            ] },
        }),
        json!({
            "apiVersion": "devices.kubeedge.io/v1beta1", "kind": "Device",
            "metadata": meta(&name),
            "spec": {
                "deviceModelRef": { "name": "cloudcore-camera" }, "nodeName": "edge-1",
                "protocol": {
                    "protocolName": "cloudcore",
                    "configData": {
                        "deviceId": "Camera_1", "deviceType": "camera",
                        "location": "Factory Floor 1",
                    },
                },
            },
        }),
    ];
    assert_eq!(sent, expected, "{sent:#?}");
    assert_eq!(
        joined["keadm_join_command"],
        "keadm join --cloudcore-ipport=3.70.53.21:30374 --certport=31305 --edgenode-name=edge-1 \
         --kubeedge-version=1.18.0 --token=$KUBEEDGE_TOKEN"
    );
    let ports = json!({ "cloudhub": 30374, "cloudstream": 31305, "websocket": 32203 });
    assert_eq!(joined["node_ports"], ports);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_waits_for_its_kind() {
    told(async |cluster: &Cluster| {
        if are_defined(cluster).await {
            return;
        }
        let world = cluster.connected_hub(&PORTS).await;
        let joined = world.post(JOIN, device("camera-1", "edge-1")).await;
        assert_eq!(joined["configmap_created"], "edgecore-config-edge-1", "{joined}");
        assert_eq!(joined["device_crd_created"], Value::Null, "{joined}");
        assert_eq!(joined["steps"]["device_crd_created"], false);
        assert_eq!(joined["steps"]["rbac_configured"], true);
        assert!(joined["warnings"][0].as_str().unwrap().contains("deploy CloudCore"), "{joined}");
        deploy(cluster, &world).await;
        let object = becomes(cluster, "devices", "camera-1", |_| true).await;
        assert_eq!(object["spec"]["nodeName"], "edge-1", "{object}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_that_is_served_is_used_if_it_is_not_too_old() {
    for (version, is_made) in [("v1alpha2", false), ("v1beta2", true)] {
        let cluster = Cluster::scripted().await;
        define(&cluster, version, open(), open()).await;
        let world = cluster.connected_hub(&[]).await;
        let joined = world.post(JOIN, device("camera-1", "edge-1")).await;
        assert_eq!(joined["steps"]["device_crd_created"], is_made, "{joined}");
        let path =
            format!("/apis/devices.kubeedge.io/{version}/namespaces/kubeedge/devices/camera-1");
        assert_eq!(cluster.object(&path).await.is_some(), is_made, "{version}");
        if !is_made {
            assert!(joined["warnings"][0].as_str().unwrap().contains("too old"), "{joined}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_away_gets_its_objects_when_it_is_back() {
    let mut cluster = Cluster::scripted().await;
    let world = cluster.connected_hub(&[]).await;
    deploy(&cluster, &world).await;
    cluster.server_mut().go_away().await;
    stands(&world, "disconnected").await;
    let joined = world.post(JOIN, device("camera-1", "edge-1")).await;
    assert_eq!(joined["status"], "success");
    assert!(joined["join_command"].as_str().unwrap().starts_with("keadm join"), "{joined}");
    assert_eq!(
        (&joined["configmap_created"], &joined["device_crd_created"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(joined["steps"]["token_generated"], true);
    assert_eq!(joined["steps"]["rbac_configured"], false);
    assert!(joined["warnings"][0].as_str().unwrap().contains("away"), "{joined}");
    cluster.server_mut().come_back().await;
    for (plural, name) in parts("camera-1", "edge-1", "camera") {
        becomes(&cluster, plural, &name, |_| true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_hangs_keeps_nobody_from_joining() {
    let cluster = Cluster::scripted().await;
    let world = cluster.connected_hub(&[]).await;
    deploy(&cluster, &world).await;
    cluster.server().fails(Method::PATCH, "/configmaps/", 1, How::Hang);
    let joined = world.post(JOIN, device("camera-1", "edge-1")).await;
    assert_eq!(joined["steps"]["configmap_created"], false, "{joined}");
    assert!(!joined["warnings"].as_array().unwrap().is_empty(), "{joined}");
    becomes(&cluster, "devices", "camera-1", |_| true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cluster_refuses_is_not_joined() {
    let cluster = Cluster::scripted().await;
    let world = cluster.connected_hub(&[]).await;
    deploy(&cluster, &world).await;
    for (status, reason, code) in
        [(403, "Forbidden", "API-009"), (422, "Invalid", "API-001"), (409, "Conflict", "API-005")]
    {
        let how = How::Status(status, reason);
        cluster.server().fails(Method::PATCH, "/rolebindings/", 1, how);
        let (_, error) = refused(&world, device("camera-1", "edge-1")).await;
        assert_eq!(error["code"], code, "{error}");
        assert!(error["message"].as_str().unwrap().contains("RoleBinding"), "{error}");
        is_unknown(&world, "camera-1").await;
        for (plural, name) in parts("camera-1", "edge-1", "camera") {
            assert!(cluster.object(&path(&cluster, plural, &name)).await.is_none(), "{plural}");
        }
    }
    world.post(JOIN, device("camera-1", "edge-1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_before_a_refusal_is_taken_back() {
    let cluster = Cluster::scripted().await;
    // In a namespace that is not there nothing can be tried out.
    define(&cluster, "v1beta1", open(), open()).await;
    let world = cluster.connected_hub(&[]).await;
    cluster.server().fails(Method::PATCH, "/devices/", 1, How::Status(422, "Invalid"));
    cluster.server().fails(Method::DELETE, "/roles/", 1, How::Status(403, "Forbidden"));
    let (status, error) = refused(&world, device("camera-1", "edge-1")).await;
    assert_eq!((status, &error["code"]), (StatusCode::BAD_REQUEST, &json!("API-001")), "{error}");
    assert_eq!(error["details"]["left"], json!(["Role", "Namespace"]), "{error}");
    let undone = json!(["DeviceModel", "RoleBinding", "ServiceAccount", "ConfigMap"]);
    assert_eq!(error["details"]["undone"], undone, "{error}");
    is_unknown(&world, "camera-1").await;
    // What is left of no device goes, too, when the hub looks it over.
    super::goes(&cluster, "roles", "edgecore-edge-1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_going_takes_no_device() {
    told(async |cluster: &Cluster| {
        let world = cluster.connected_hub(&PORTS).await;
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": cluster.namespace, "finalizers": ["cloudcore.io/test"] },
        });
        cluster.create("/api/v1/namespaces", namespace).await;
        let path = format!("/api/v1/namespaces/{}", cluster.namespace);
        cluster.delete(&path).await;
        let (status, error) = refused(&world, device("camera-1", "edge-1")).await;
        let expected = (StatusCode::SERVICE_UNAVAILABLE, &json!("API-009"));
        assert_eq!((status, &error["code"]), expected, "{error}");
        assert!(error["message"].as_str().unwrap().contains("being deleted"), "{error}");
        is_unknown(&world, "camera-1").await;
        cluster.merge(&path, json!({ "metadata": { "finalizers": null } })).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_others_hold_are_not_taken_from_them() {
    told(async |cluster: &Cluster| {
        let world = cluster.connected_hub(&PORTS).await;
        deploy(cluster, &world).await;
        let theirs = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "edgecore-config-edge-1", "namespace": cluster.namespace },
            "data": { "edgecore.yaml": "theirs" },
        });
        let path = path(cluster, "configmaps", "edgecore-config-edge-1");
        let apply = format!("{path}?fieldManager=helm&force=true");
        cluster.ask(Method::PATCH, &apply, Some(&theirs)).await.expect("helm applies");
        let (status, error) = refused(&world, device("camera-1", "edge-1")).await;
        assert_eq!((status, &error["code"]), (StatusCode::CONFLICT, &json!("API-005")), "{error}");
        assert!(error["message"].as_str().unwrap().contains("helm"), "{error}");
        is_unknown(&world, "camera-1").await;
        assert_eq!(cluster.object(&path).await.unwrap()["data"]["edgecore.yaml"], "theirs");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_the_cluster_does_not_take_are_changed_and_bad_ones_refused() {
    told(async |cluster: &Cluster| {
        let world = cluster.connected_hub(&PORTS).await;
        deploy(cluster, &world).await;
        let long = "x".repeat(100);
        let ids = ["cam-1", "Cam-1", "cam_1", "a..b", long.as_str()];
        let mut names = std::collections::BTreeSet::new();
        for (n, id) in ids.iter().enumerate() {
            let one = json!({
                "node_name": format!("edge-{n}"), "device_id": id,
                "device_type": "Überwachung (Hof)",
            });
            let joined = world.post(JOIN, one).await;
            let name = joined["device_crd_created"].as_str().expect("an object").to_owned();
            let object =
                cluster.object(&path(cluster, "devices", &name)).await.expect("it is there");
            assert_eq!(object["metadata"]["annotations"]["cloudcore.io/device-id"], *id);
            assert_eq!(object["spec"]["protocol"]["configData"]["deviceId"], *id);
            names.insert(name);
        }
        assert_eq!(names.len(), ids.len(), "{names:?}");
        for (node, id) in [("Edge_1", "a"), ("-e", "a"), ("e.", "a"), ("e", "-a"), ("e", "a b")] {
            let (status, error) =
                refused(&world, json!({ "node_name": node, "device_id": id })).await;
            assert_eq!((status, &error["code"]), (StatusCode::BAD_REQUEST, &json!("API-001")));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_definitions_that_the_hub_makes_are_as_its_types_are() {
    told(async |cluster: &Cluster| {
        if are_defined(cluster).await {
            return;
        }
        let world = cluster.connected_hub(&PORTS).await;
        deploy(cluster, &world).await;
        let definition =
            cluster.object(&format!("{DEFINITIONS}/devices.devices.kubeedge.io")).await.unwrap();
        let version = &definition["spec"]["versions"][0];
        let spec = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
        assert_eq!(spec["properties"]["nodeName"]["type"], "string", "{spec}");
        // What a newer KubeEdge writes is taken; what is no device is not.
        let object = |spec: Value| {
            json!({
                "apiVersion": "devices.kubeedge.io/v1beta1", "kind": "Device",
                "metadata": { "name": "theirs", "namespace": cluster.namespace }, "spec": spec,
            })
        };
        let devices = path(cluster, "devices", "");
        let devices = devices.trim_end_matches('/');
        let bad = object(json!({ "nodeName": 1 }));
        assert_eq!(cluster.ask(Method::POST, devices, Some(&bad)).await, Err(422));
        let good = object(json!({
            "nodeName": "n", "properties": [{ "name": "p", "pushMethod": { "otel": {} } }],
            "protocol": { "protocolName": "modbus", "configData": { "slaveID": 1 }, "more": 1 },
        }));
        let made = cluster.create(devices, good).await;
        assert_eq!(made["spec"]["properties"][0]["pushMethod"], json!({ "otel": {} }), "{made}");
    })
    .await;
}
