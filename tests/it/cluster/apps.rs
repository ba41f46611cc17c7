//! Apps on nodes of the cluster: pinned to their node, changed, watched, brought back, removed.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Cluster, stands, told};
use crate::world::{World, eventually};

const DEPLOY: &str = "/api/kubeedge/apps/deploy";
const COUNTER: &str = "/api/kubeedge/apps/counter";

/// Makes a node at the edge, and waits until the hub knows it.
async fn node(cluster: &Cluster, world: &World, name: &str) {
    let labels = json!({
        "node-role.kubernetes.io/edge": "", "kubernetes.io/hostname": format!("{name}-host"),
    });
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": labels },
    });
    cluster.create("/api/v1/nodes", node).await;
    eventually("the node to be seen", async || {
        let list = world.get(&format!("/api/kubeedge/devices?node_name={name}")).await;
        // A device is listed without its node, too.
        (!list["devices"][0]["roles"].as_array()?.is_empty()
            && list["devices"][0]["pods_count"].is_number())
        .then_some(())
    })
    .await;
}

/// An app for this device, with more of it.
#[allow(clippy::needless_pass_by_value, reason = "made where it is given")]
fn app(device: &str, more: Value) -> Value {
    let mut app = json!({ "name": "counter", "image": "counter:1", "device_ids": [device] });
    for (name, value) in more.as_object().expect("an object") {
        app[name] = value.clone();
    }
    app
}

/// The one object of this kind of the app on a node.
async fn object(cluster: &Cluster, plural: &str, node: &str) -> Option<Value> {
    let api = if plural == "deployments" { "/apis/apps/v1" } else { "/api/v1" };
    let namespace = &cluster.namespace;
    let path =
        format!("{api}/namespaces/{namespace}/{plural}?labelSelector=cloudcore.io/node={node}");
    let list = cluster.object(&path).await.expect("a list");
    let items = list["items"].as_array().expect("items");
    assert!(items.len() < 2, "{list}");
    items.first().cloned()
}

fn path(cluster: &Cluster, plural: &str, object: &Value) -> String {
    let api = if plural == "deployments" { "/apis/apps/v1" } else { "/api/v1" };
    let name = object["metadata"]["name"].as_str().expect("a name");
    format!("{api}/namespaces/{}/{plural}/{name}", cluster.namespace)
}

/// How the app stands on its first device, once that is so.
async fn is(world: &World, expected: &str) -> Value {
    eventually(&format!("the app to be {expected}"), async || {
        let shown = world.get(COUNTER).await;
        (shown["devices"][0]["status"] == expected).then(|| shown["devices"][0].clone())
    })
    .await
}

async fn refused(world: &World, app: Value) -> (StatusCode, Value) {
    world.call(Method::POST, DEPLOY, Some(app)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_pinned_to_its_node_changed_and_removed() {
    told(async |cluster: &Cluster| {
        let world = cluster.connected_hub(&[]).await;
        let on = format!("{}-one", cluster.namespace);
        let join = json!({ "node_name": on, "device_id": "cam-1", "device_type": "camera" });
        world.post("/api/kubeedge/device/join", join).await;
        node(cluster, &world, &on).await;
        let whole = json!({
            "config": { "MODEL": "yolov5", "DB_PASSWORD": "s3cret", "interval": 5 },
            "resources": { "cpu": "500m", "memory": "512Mi" },
            "ports": [{ "host": 5001, "container": 8080 }],
            "image_pull_secrets": ["registry-credentials"],
        });
        let done = world.post(DEPLOY, app("cam-1", whole.clone())).await;
        assert_eq!(done["deployment_name"], "counter");
        let service = json!({
            "device_id": "cam-1", "port": 5001, "url": "http://cam-1:5001",
        });
        assert_eq!(done["services_created"], json!([service]), "{done}");
        let result = &done["results"][0];
        let made =
            json!(["ConfigMap created", "Secret created", "Service created", "Deployment created"]);
        assert_eq!((&result["status"], &result["actions_taken"]), (&json!("pending"), &made));
        assert_eq!(result["command_id"], Value::Null, "no agent is told");

        let deployment = object(cluster, "deployments", &on).await.expect("a Deployment");
        let spec = &deployment["spec"];
        assert_eq!((&spec["replicas"], &spec["strategy"]["type"]), (&json!(1), &json!("Recreate")));
        let pod = &spec["template"]["spec"];
        assert_eq!(pod["nodeSelector"]["kubernetes.io/hostname"], format!("{on}-host"));
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(pod["imagePullSecrets"], json!([{ "name": "registry-credentials" }]));
        let container = &pod["containers"][0];
        let all = json!({ "cpu": "500m", "memory": "512Mi" });
        assert_eq!(container["resources"], json!({ "limits": all, "requests": all }));
        let port = &container["ports"][0];
        assert_eq!((&port["hostPort"], &port["containerPort"]), (&json!(5001), &json!(8080)));
        let labels = &deployment["metadata"]["labels"];
        assert_eq!(labels["app.kubernetes.io/name"], "counter");
        assert_eq!(labels["app.kubernetes.io/version"], "1");
        let settings = object(cluster, "configmaps", &on).await.expect("a ConfigMap");
        let told = json!({ "MODEL": "yolov5", "interval": "5", "CLOUDCORE_DEVICE_ID": "cam-1" });
        assert_eq!(settings["data"], told);
        let secret = object(cluster, "secrets", &on).await.expect("a Secret");
        assert_eq!(secret["data"]["DB_PASSWORD"], "czNjcmV0");
        assert!(secret["data"]["CLOUDCORE_APP_CONFIG"].is_string());
        let service = object(cluster, "services", &on).await.expect("a Service");
        assert_eq!(service["spec"]["type"], "ClusterIP");
        assert_eq!(service["spec"]["ports"][0]["port"], 5001);
        assert!(service["spec"]["ports"][0]["nodePort"].is_null(), "{service}");

        // What is stored and shown tells nothing of it.
        assert!(!world.sql("SELECT * FROM cluster_apps").contains("s3cret"));
        let shown = world.get(COUNTER).await;
        assert_eq!(shown["config"]["DB_PASSWORD"], "***");
        assert_eq!(shown["devices"][0]["node"], on.as_str());
        assert_eq!(shown["ports"], whole["ports"]);

        // The same again is the same.
        let again = world.post(DEPLOY, app("cam-1", whole.clone())).await;
        for action in again["results"][0]["actions_taken"].as_array().unwrap() {
            assert!(action.as_str().unwrap().ends_with(" unchanged"), "{again}");
        }
        let then = object(cluster, "deployments", &on).await.unwrap();
        assert_eq!(then["metadata"]["generation"], deployment["metadata"]["generation"]);

        // Another secret makes other pods, though the Deployment names no other.
        let mut other = whole.clone();
        other["config"]["DB_PASSWORD"] = "other".into();
        let changed = world.post(DEPLOY, app("cam-1", other)).await;
        let actions = json!([
            "ConfigMap unchanged",
            "Secret updated",
            "Service unchanged",
            "Deployment updated"
        ]);
        assert_eq!(changed["results"][0]["actions_taken"], actions);

        // What it wants no more goes.
        let less = world.post(DEPLOY, app("cam-1", json!({ "image": "counter:2" }))).await;
        let actions =
            json!(["ConfigMap updated", "Deployment updated", "Secret deleted", "Service deleted"]);
        assert_eq!(less["results"][0]["actions_taken"], actions);
        assert_eq!(less["services_created"], json!([]));
        let then = object(cluster, "deployments", &on).await.unwrap();
        let container = &then["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["image"], "counter:2");
        assert_eq!(container["ports"], Value::Null);
        assert!(container["resources"].as_object().is_none_or(serde_json::Map::is_empty));
        assert_eq!(object(cluster, "secrets", &on).await, None);
        assert_eq!(object(cluster, "services", &on).await, None);

        let (_, gone) = world.call(Method::DELETE, COUNTER, None).await;
        assert_eq!(gone["status"], "success", "{gone}");
        let actions = json!(["Deployment deleted", "ConfigMap deleted"]);
        assert_eq!(gone["results"][0]["actions_taken"], actions);
        for plural in ["deployments", "configmaps", "secrets", "services"] {
            assert_eq!(object(cluster, plural, &on).await, None, "{plural}");
        }
        assert_eq!(world.call(Method::GET, COUNTER, None).await.0, StatusCode::NOT_FOUND);
        assert_eq!(world.sql("SELECT count(*) FROM cluster_apps").trim(), "0");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_follows_deployment_and_pods() {
    told(async |cluster: &Cluster| {
        let world = cluster.connected_hub(&[]).await;
        // A node that is no device of the hub's is called by its own name.
        let on = format!("{}-one", cluster.namespace);
        node(cluster, &world, &on).await;
        world.post(DEPLOY, app(&on, json!({}))).await;
        assert_eq!(is(&world, "Pending").await["restarts"], Value::Null);

        // What the cluster's controllers and kubelets say; no test cluster has them all.
        let deployment = object(cluster, "deployments", &on).await.unwrap();
        let pods = format!("/api/v1/namespaces/{}/pods", cluster.namespace);
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "counter-x", "namespace": cluster.namespace,
                "labels": deployment["spec"]["template"]["metadata"]["labels"],
            },
            "spec": {
                "automountServiceAccountToken": false, "serviceAccountName": "default",
                "containers": [{ "name": "app", "image": "counter:1" }],
            },
        });
        if !cluster.is_scripted() {
            let account = json!({
                "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "default" },
            });
            let accounts = format!("/api/v1/namespaces/{}/serviceaccounts", cluster.namespace);
            let _ = cluster.ask(Method::POST, &accounts, Some(&account)).await;
        }
        cluster.create(&pods, pod).await;
        let at = path(cluster, "deployments", &deployment);
        let observed = json!({ "status": {
            "observedGeneration": deployment["metadata"]["generation"], "replicas": 1,
            "updatedReplicas": 1, "readyReplicas": 0, "availableReplicas": 0,
        } });
        cluster.merge(&format!("{at}/status"), observed).await;
        let state = |ready: bool, restarts: u32, state: Value| {
            json!({ "status": { "phase": "Running", "containerStatuses": [{
                "name": "app", "ready": ready, "restartCount": restarts, "image": "i",
                "imageID": "i", "state": state,
            }] } })
        };
        let says = async |reason: &str, message: &str| {
            json!({ "waiting": { "reason": reason, "message": message } })
        };
        let one = format!("{pods}/counter-x/status");
        for (said, message, expected) in [
            ("ImagePullBackOff", "Back-off pulling image", "image_unavailable"),
            ("CrashLoopBackOff", "back-off 10s restarting", "crashing"),
        ] {
            cluster.merge(&one, state(false, 3, says(said, message).await)).await;
            let shown = eventually("the pod's trouble to be seen", async || {
                let shown = is(&world, "Failed").await;
                (shown["reason"] == expected).then_some(shown)
            })
            .await;
            assert_eq!(shown["message"], format!("{said}: {message}"));
            assert_eq!(shown["restarts"], 3);
        }
        let running = json!({ "running": { "startedAt": "2024-01-15T10:30:00Z" } });
        cluster.merge(&one, state(true, 4, running)).await;
        let works = json!({ "status": { "readyReplicas": 1, "availableReplicas": 1 } });
        cluster.merge(&format!("{at}/status"), works).await;
        let shown = is(&world, "Running").await;
        assert_eq!((&shown["restarts"], &shown["reason"]), (&json!(4), &Value::Null));
        let details = world.get(&format!("/api/kubeedge/device/{on}")).await;
        assert_eq!(details["applications"][0]["status"], "Running", "{details}");

        // A version that the cluster has not looked at is not what runs.
        cluster.delete(&format!("{pods}/counter-x?gracePeriodSeconds=0")).await;
        let done = world.post(DEPLOY, app(&on, json!({ "image": "counter:2" }))).await;
        assert_eq!(done["results"][0]["status"], "pending", "{done}");
        assert_eq!(is(&world, "Pending").await["image"], "counter:2");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_or_changed_comes_back_and_what_others_hold_is_shown() {
    told(async |cluster: &Cluster| {
        let mut world = cluster.connected_hub(&[]).await;
        let on = format!("{}-one", cluster.namespace);
        node(cluster, &world, &on).await;
        let ports = json!({ "ports": [{ "host": 5001, "container": 8080 }] });
        world.post(DEPLOY, app(&on, ports)).await;
        let back = async |plural: &str, old: &Value| {
            eventually(&format!("{plural} to be back"), async || {
                let now = object(cluster, plural, &on).await?;
                (now["metadata"]["uid"] != old["metadata"]["uid"]).then_some(())
            })
            .await;
        };
        for plural in ["deployments", "services", "configmaps"] {
            let old = object(cluster, plural, &on).await.unwrap();
            cluster.delete(&path(cluster, plural, &old)).await;
            back(plural, &old).await;
        }
        // A field that somebody has taken away is held by nobody.
        let now = object(cluster, "deployments", &on).await.unwrap();
        let at = path(cluster, "deployments", &now);
        let without = json!({ "metadata": { "labels": { "app.kubernetes.io/version": null } } });
        cluster.merge(&at, without).await;
        eventually("the label to be back", async || {
            let now = object(cluster, "deployments", &on).await?;
            (now["metadata"]["labels"]["app.kubernetes.io/version"] == "1").then_some(())
        })
        .await;

        // One that somebody has changed is theirs.
        cluster.merge(&at, json!({ "spec": { "replicas": 3 } })).await;
        let shown = is(&world, "Failed").await;
        assert_eq!(shown["reason"], "conflict", "{shown}");
        assert!(shown["message"].as_str().unwrap().contains(".spec.replicas by "), "{shown}");
        let now = object(cluster, "deployments", &on).await.unwrap();
        assert_eq!(now["spec"]["replicas"], 3, "it is not fought over");
        let (status, error) = refused(&world, app(&on, json!({ "image": "counter:2" }))).await;
        assert_eq!((status, &error["code"]), (StatusCode::CONFLICT, &json!("API-005")), "{error}");
        assert_eq!(error["details"]["device_ids"], json!([on]), "{error}");
        assert_eq!(world.get(COUNTER).await["image"], "counter:1", "nothing is stored of it");
        let lines = |log: String| log.matches("the cluster does not take an app").count();
        assert_eq!(lines(world.hub_log()), 1, "it is logged once");
        // Who wants the same is in nobody's way.
        cluster.merge(&at, json!({ "spec": { "replicas": 1 } })).await;
        is(&world, "Pending").await;

        // A hub that dies has it in its database.
        world.kill_hub().await;
        let old = object(cluster, "deployments", &on).await.unwrap();
        cluster.delete(&at).await;
        world.start_hub().await;
        back("deployments", &old).await;

        let (_, gone) = world.call(Method::DELETE, COUNTER, None).await;
        assert_eq!(gone["status"], "success", "{gone}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_a_deletion_up_is_told() {
    told(async |cluster: &Cluster| {
        let world = cluster.connected_hub(&[]).await;
        let on = format!("{}-one", cluster.namespace);
        node(cluster, &world, &on).await;
        world.post(DEPLOY, app(&on, json!({}))).await;
        let deployment = object(cluster, "deployments", &on).await.unwrap();
        let at = path(cluster, "deployments", &deployment);
        let held = json!({ "metadata": { "finalizers": ["cloudcore.io/test"] } });
        cluster.merge(&at, held).await;
        let deletion = world.call(Method::DELETE, COUNTER, None);
        let (_, answer) = deletion.await;
        assert_eq!(answer["results"][0]["status"], "pending", "{answer}");
        let shown = is(&world, "Removing").await;
        assert_eq!(shown["reason"], "deleting", "{shown}");
        let message = shown["message"].as_str().unwrap();
        assert!(message.contains("Deployment by cloudcore.io/test"), "{message}");
        cluster.merge(&at, json!({ "metadata": { "finalizers": null } })).await;
        eventually("the app to be gone", async || {
            (world.call(Method::GET, COUNTER, None).await.0 == StatusCode::NOT_FOUND).then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_going_takes_no_app() {
    told(async |cluster: &Cluster| {
        let world = cluster.connected_hub(&[]).await;
        let on = format!("{}-one", cluster.namespace);
        node(cluster, &world, &on).await;
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": cluster.namespace, "finalizers": ["cloudcore.io/test"] },
        });
        cluster.create("/api/v1/namespaces", namespace).await;
        let at = format!("/api/v1/namespaces/{}", cluster.namespace);
        cluster.delete(&at).await;
        let (status, error) = refused(&world, app(&on, json!({}))).await;
        let expected = (StatusCode::SERVICE_UNAVAILABLE, &json!("API-009"));
        assert_eq!((status, &error["code"]), expected, "{error}");
        assert!(error["message"].as_str().unwrap().contains("being deleted"), "{error}");
        assert_eq!(error["details"]["reason"], "namespace_terminating", "{error}");
        assert_eq!(world.call(Method::GET, COUNTER, None).await.0, StatusCode::NOT_FOUND);
        cluster.merge(&at, json!({ "metadata": { "finalizers": null } })).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_with_an_agent_goes_on_with_its_own_engine_until_it_is_a_node() {
    told(async |cluster: &Cluster| {
        let world = cluster.connected_hub(&[]).await;
        let on = format!("{}-both", cluster.namespace);
        let other = format!("{}-node", cluster.namespace);
        let token = world.join_token(&on).await;
        world.join(&on, &token, &[]).await.expect("it joins");
        let agent = world.run_agent(&on).await;
        world.online(&on).await;
        node(cluster, &world, &other).await;
        let mut both = app(&on, json!({}));
        both["device_ids"] = json!([on, other]);
        let done = world.post(DEPLOY, both.clone()).await;
        assert_eq!(done["status"], "partial", "{done}");
        assert!(done["results"][0]["command_id"].is_string(), "its agent is told: {done}");
        assert_eq!(done["results"][0]["actions_taken"], json!([]));
        assert_eq!(done["results"][1]["actions_taken"][1], "Deployment created", "{done}");
        assert_eq!(object(cluster, "deployments", &on).await, None);

        node(cluster, &world, &on).await;
        let done = world.post(DEPLOY, both).await;
        assert_eq!(done["results"][0]["command_id"], Value::Null, "{done}");
        assert_eq!(done["results"][0]["actions_taken"][1], "Deployment created", "{done}");
        assert_eq!(done["results"][1]["actions_taken"][1], "Deployment unchanged", "{done}");
        assert!(object(cluster, "deployments", &on).await.is_some());

        // A device that is removed takes its apps along.
        world.call(Method::DELETE, &format!("/api/kubeedge/device/{on}"), None).await;
        eventually("its app to be gone", async || {
            object(cluster, "deployments", &on).await.is_none().then_some(())
        })
        .await;
        assert!(object(cluster, "deployments", &other).await.is_some());
        let (_, gone) = world.call(Method::DELETE, COUNTER, None).await;
        assert_eq!(gone["status"], "success", "{gone}");
        agent.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_brings_the_cluster_to_what_the_backup_says() {
    told(async |cluster: &Cluster| {
        let world = cluster.connected_hub(&[]).await;
        let (one, two) =
            (format!("{}-one", cluster.namespace), format!("{}-two", cluster.namespace));
        node(cluster, &world, &one).await;
        node(cluster, &world, &two).await;
        let config = json!({ "config": { "DB_PASSWORD": "s3cret" } });
        world.post(DEPLOY, app(&one, config)).await;
        let before = object(cluster, "deployments", &one).await.unwrap();
        let order = json!({ "name": "apps", "include": ["apps"] });
        let backup = world.post("/api/kubeedge/backup", order).await;
        let (_, gone) = world.call(Method::DELETE, COUNTER, None).await;
        assert_eq!(gone["status"], "success", "{gone}");
        world.post(DEPLOY, app(&two, json!({ "name": "later" }))).await;
        assert!(object(cluster, "deployments", &two).await.is_some());

        let order = json!({ "backup_id": backup["backup_id"] });
        world.post("/api/kubeedge/restore", order).await;
        let after = eventually("the app of the backup to be back", async || {
            object(cluster, "deployments", &one).await
        })
        .await;
        assert_eq!(after["spec"], before["spec"], "its secrets, too");
        assert_eq!(
            object(cluster, "secrets", &one).await.unwrap()["data"]["DB_PASSWORD"],
            "czNjcmV0"
        );
        eventually("the later app to be gone", async || {
            object(cluster, "deployments", &two).await.is_none().then_some(())
        })
        .await;
        assert_eq!(world.get("/api/kubeedge/apps").await["count"], 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_cluster_is_away_what_is_known_is_shown_and_what_is_wanted_is_kept() {
    let mut cluster = Cluster::scripted().await;
    let world = cluster.connected_hub(&[]).await;
    node(&cluster, &world, "edge-1").await;
    world.post(DEPLOY, app("edge-1", json!({}))).await;
    cluster.server_mut().go_away().await;
    stands(&world, "disconnected").await;
    let (status, error) = refused(&world, app("edge-1", json!({ "image": "counter:2" }))).await;
    let expected = (StatusCode::SERVICE_UNAVAILABLE, &json!("API-009"));
    assert_eq!((status, &error["code"]), expected, "{error}");
    assert_eq!(error["details"]["reason"], "cluster_away", "{error}");
    let shown = is(&world, "Unknown").await;
    assert_eq!((&shown["image"], &shown["reason"]), (&json!("counter:1"), &json!("cluster_away")));

    // A removal is kept until then.
    let (_, answer) = world.call(Method::DELETE, COUNTER, None).await;
    assert_eq!(answer["results"][0]["status"], "pending", "{answer}");
    cluster.server_mut().come_back().await;
    eventually("the app to be gone", async || {
        (world.call(Method::GET, COUNTER, None).await.0 == StatusCode::NOT_FOUND).then_some(())
    })
    .await;
    assert_eq!(object(&cluster, "deployments", "edge-1").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cluster_refuses_has_its_code_and_changes_nothing() {
    let cluster = Cluster::scripted().await;
    let world = cluster.connected_hub(&[]).await;
    node(&cluster, &world, "edge-1").await;
    let server = cluster.server();
    for (status, reason, code, term) in
        [(403, "Forbidden", "API-009", "not_allowed"), (422, "Invalid", "API-001", "refused")]
    {
        server.fails(
            Method::PATCH,
            "/deployments/app-",
            1,
            super::server::How::Status(status, reason),
        );
        let (_, error) = refused(&world, app("edge-1", json!({}))).await;
        assert_eq!((&error["code"], &error["details"]["reason"]), (&json!(code), &json!(term)));
        assert!(error["message"].as_str().unwrap().starts_with("Deployment: "), "{error}");
        assert_eq!(world.call(Method::GET, COUNTER, None).await.0, StatusCode::NOT_FOUND);
        assert_eq!(object(&cluster, "configmaps", "edge-1").await, None);
    }
    // After the trial: what is stored is told as it is, and tried again.
    server.fails(Method::GET, "/deployments/app-", 1, super::server::How::Status(403, "Forbidden"));
    let done = world.post(DEPLOY, app("edge-1", json!({}))).await;
    let result = &done["results"][0];
    assert_eq!((&done["status"], &result["reason"]), (&json!("failed"), &json!("not_allowed")));
    let message = result["message"].as_str().unwrap();
    assert!(message.contains("done before that: ConfigMap created"), "{message}");
    is(&world, "Pending").await;
    assert!(object(&cluster, "deployments", "edge-1").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_app_never_reaches_the_cluster() {
    let cluster = Cluster::scripted().await;
    let world = cluster.connected_hub(&[]).await;
    node(&cluster, &world, "edge-1").await;
    cluster.server().forget_seen();
    for bad in [
        json!({ "name": "Counter" }),
        json!({ "name": "counter.1" }),
        json!({ "name": "-counter" }),
        json!({ "name": "c".repeat(64) }),
        json!({ "image": "counter:1 --privileged" }),
        json!({ "image": "--privileged" }),
        json!({ "image": "counter:1\nhostNetwork: true" }),
        json!({ "image": "" }),
        json!({ "resources": { "cpu": "lots" } }),
        json!({ "resources": { "cpu": "-1" } }),
        json!({ "resources": { "memory": "512MB" } }),
        json!({ "resources": { "memory": "0" } }),
        json!({ "config": { "LD PRELOAD": "x" } }),
        json!({ "ports": [{ "host": 0, "container": 80 }] }),
        json!({ "ports": [{ "host": 1, "container": 80 }, { "host": 2, "container": 80 }] }),
        json!({ "image_pull_secrets": ["Reg_Cred"] }),
        json!({ "image_pull_secrets": ["../../default"] }),
    ] {
        let (status, error) = refused(&world, app("edge-1", bad.clone())).await;
        let expected = (StatusCode::BAD_REQUEST, &json!("API-001"));
        assert_eq!((status, &error["code"]), expected, "{bad}: {error}");
    }
    let (status, _) = refused(&world, app("nowhere", json!({}))).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(cluster.server().changes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_objects_are_these_and_tried_out_before() {
    let cluster = Cluster::scripted().await;
    let world = cluster.connected_hub(&[]).await;
    node(&cluster, &world, "edge-1").await;
    let namespace =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "kubeedge" } });
    cluster.create("/api/v1/namespaces", namespace).await;
    cluster.server().forget_seen();
    let more = json!({
        "config": { "MODEL": "a $(HOME)", "TOKEN": "t" },
        "resources": { "memory": "1Gi" },
        "ports": [{ "host": 5001, "container": 8080 }],
    });
    world.post(DEPLOY, app("edge-1", more)).await;
    let changes = cluster.server().changes();
    for change in &changes {
        assert_eq!(change.method, Method::PATCH, "{change:?}");
        assert_eq!(change.query["fieldManager"], "cloudcore-hub");
        assert_eq!(change.query["fieldValidation"], "Strict");
        assert!(!change.query.contains_key("force"), "nothing is taken from others: {change:?}");
    }
    let (tried, real) = changes.split_at(4);
    assert!(tried.iter().all(|change| change.query.get("dryRun").is_some_and(|d| d == "All")));
    assert!(real.iter().all(|change| !change.query.contains_key("dryRun")));
    let sent = |all: &[super::server::Seen]| -> Vec<_> {
        all.iter().map(|change| (change.path.clone(), change.body.clone())).collect()
    };
    assert_eq!(sent(tried), sent(real));
    let [config_map, secret, service, deployment] =
        <[_; 4]>::try_from(sent(tried)).expect("four objects");
    let name = config_map.1["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("app-counter-edge-1-") && name.len() == 39, "{name}");
    let labels = json!({
        "app.kubernetes.io/component": "app",
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/managed-by": "cloudcore-hub",
        "app.kubernetes.io/name": "counter",
        "app.kubernetes.io/version": "1",
        "cloudcore.io/node": "edge-1",
    });
    let metadata = json!({ "name": name, "namespace": "kubeedge", "labels": labels });
    let pods = json!({
        "app.kubernetes.io/instance": name, "app.kubernetes.io/managed-by": "cloudcore-hub",
    });
    assert_eq!(
        config_map.1,
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
            "data": { "CLOUDCORE_DEVICE_ID": "edge-1", "MODEL": "a $(HOME)" },
        })
    );
    assert_eq!(
        secret.1,
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque",
            "data": {
                "CLOUDCORE_APP_CONFIG": "eyJNT0RFTCI6ImEgJChIT01FKSIsIlRPS0VOIjoidCJ9",
                "TOKEN": "dA==",
            },
        })
    );
    assert_eq!(
        service.1,
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {
                "type": "ClusterIP", "selector": pods,
                "ports": [
                    { "name": "port-5001", "port": 5001, "targetPort": 8080, "protocol": "TCP" }
                ],
            },
        })
    );
    let hash = &deployment.1["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(hash["cloudcore.io/config-hash"].as_str().unwrap().len(), 64);
    let tolerates = |key: &str| json!({ "key": key, "operator": "Exists" });
    let for_ever = |key: &str| json!({ "key": key, "operator": "Exists", "effect": "NoExecute" });
    assert_eq!(
        deployment.1,
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
            "spec": {
                "replicas": 1, "strategy": { "type": "Recreate" },
                "selector": { "matchLabels": pods },
                "template": {
                    "metadata": { "labels": labels, "annotations": hash },
                    "spec": {
                        "automountServiceAccountToken": false, "enableServiceLinks": false,
                        "nodeSelector": { "kubernetes.io/hostname": "edge-1-host" },
                        "tolerations": [
                            tolerates("node-role.kubernetes.io/edge"),
                            for_ever("node.kubernetes.io/not-ready"),
                            for_ever("node.kubernetes.io/unreachable"),
                        ],
                        "securityContext": { "seccompProfile": { "type": "RuntimeDefault" } },
                        "containers": [{
                            "name": "app", "image": "counter:1",
                            "envFrom": [
                                { "configMapRef": { "name": name } },
                                { "secretRef": { "name": name } },
                            ],
                            "ports": [
                                { "containerPort": 8080, "hostPort": 5001, "protocol": "TCP" }
                            ],
                            "resources": {
                                "limits": { "memory": "1Gi" }, "requests": { "memory": "1Gi" },
                            },
                            "securityContext": {
                                "allowPrivilegeEscalation": false, "privileged": false,
                            },
                        }],
                    },
                },
            },
        })
    );
}
