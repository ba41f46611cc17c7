//! CloudCore in the cluster: made, changed, refused, taken back, watched.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Cluster, server::How, told};
use crate::world::{World, eventually};

const DEPLOY: &str = "/api/kubeedge/cloudcore/deploy";
const STATUS: &str = "/api/kubeedge/cloudcore/status";

/// Node ports that the cluster chooses: a real one may have given the usual ones away.
const PORTS: [&str; 2] = ["--cloudcore-ports", "cloudhub=10000,cloudstream=10002,websocket=10004"];

async fn refused(world: &World, order: Value) -> (StatusCode, Value) {
    world.call(Method::POST, DEPLOY, Some(order)).await
}

fn place(cluster: &Cluster, group: &str, plural: &str) -> String {
    let namespace = &cluster.namespace;
    let api = if group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{group}") };
    format!("{api}/namespaces/{namespace}/{plural}/cloudcore")
}

/// What CloudCore is made of, once it is there.
fn parts(cluster: &Cluster) -> Vec<String> {
    let namespace = &cluster.namespace;
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let mut parts = vec![
        format!("/api/v1/namespaces/{namespace}"),
        format!("{rbac}/clusterroles/cloudcore-{namespace}"),
        format!("{rbac}/clusterrolebindings/cloudcore-{namespace}"),
        place(cluster, "apps/v1", "deployments"),
    ];
    let plurals = ["serviceaccounts", "configmaps", "secrets", "services"];
    parts.extend(plurals.map(|plural| place(cluster, "", plural)));
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    for name in [
        "devices.devices.kubeedge.io",
        "devicemodels.devices.kubeedge.io",
        "objectsyncs.reliablesyncs.kubeedge.io",
        "clusterobjectsyncs.reliablesyncs.kubeedge.io",
        "rules.rules.kubeedge.io",
        "ruleendpoints.rules.kubeedge.io",
    ] {
        parts.push(format!("{definitions}/{name}"));
    }
    parts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_makes_all_of_cloudcore_and_changes_what_is_asked() {
    told(async |cluster: &Cluster| {
        let world = cluster.connected_hub(&PORTS).await;
        let order = json!({
            "version": "1.18.0", "replicas": 1, "resources": { "cpu": "500m", "memory": "512Mi" }
        });
        let made = world.post(DEPLOY, order.clone()).await;
        assert_eq!(made["status"], "success");
        assert_eq!(made["message"], "CloudCore deployed");
        assert_eq!(made["deployment_name"], "cloudcore");
        assert_eq!(made["namespace"], cluster.namespace.as_str());
        assert_eq!(made["steps"]["deployment"], "created", "{made}");
        let mut versions = Vec::new();
        for part in parts(cluster) {
            let object = cluster.object(&part).await.unwrap_or_else(|| panic!("{part} is missing"));
            versions.push(object["metadata"]["resourceVersion"].clone());
        }

        // The same again changes nothing.
        let again = world.post(DEPLOY, order).await;
        assert_eq!(again["message"], "CloudCore updated");
        assert_eq!(again["created_at"], made["created_at"]);
        for (name, step) in again["steps"].as_object().unwrap() {
            assert_eq!(step, "unchanged", "{name}");
        }

        // What is left out stays.
        let more = world.post(DEPLOY, json!({ "version": "v1.19.0", "replicas": 2 })).await;
        assert_eq!(more["steps"]["deployment"], "updated", "{more}");
        assert_eq!(more["steps"]["service"], "unchanged", "{more}");
        let deployment = cluster.object(&place(cluster, "apps/v1", "deployments")).await.unwrap();
        let spec = &deployment["spec"];
        let container = &spec["template"]["spec"]["containers"][0];
        assert_eq!(spec["replicas"], 2);
        assert_eq!(container["image"], "docker.io/kubeedge/cloudcore:v1.19.0");
        assert_eq!(container["resources"]["limits"], json!({ "cpu": "500m", "memory": "512Mi" }));

        // The service is as the contract prints it.
        let shown = eventually("the service to be seen", async || {
            let shown = world.get(STATUS).await;
            (shown["services"][0]["ports"].as_array()?.len() == 3).then_some(shown)
        })
        .await;
        assert_eq!(shown["services"][0]["name"], "cloudcore");
        assert_eq!(shown["services"][0]["type"], "NodePort");
        for (n, (name, port)) in
            [("cloudhub", 10000), ("cloudstream", 10002), ("websocket", 10004)].iter().enumerate()
        {
            let shown = &shown["services"][0]["ports"][n];
            assert_eq!((&shown["name"], &shown["port"]), (&json!(name), &json!(port)));
            assert!(shown["nodePort"].as_u64().unwrap() > 0, "{shown}");
        }
        let config = world.get("/api/kubeedge/config").await;
        assert_eq!(config["cloudcore"]["ports"]["cloudstream"], 10002, "{config}");
        let node_port = &config["cloudcore"]["nodeports"]["cloudhub"];
        assert_eq!(*node_port, shown["services"][0]["ports"][0]["nodePort"]);
        assert!(config["kubernetes"]["version"].as_str().unwrap().starts_with("v1."), "{config}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_follows_the_cluster() {
    told(async |cluster: &Cluster| {
        let world = cluster.connected_hub(&PORTS).await;
        let is = async |expected: &str| {
            eventually(&format!("CloudCore to be {expected}"), async || {
                let shown = world.get(STATUS).await;
                (shown["status"] == expected).then_some(shown)
            })
            .await
        };
        let none = is("not_deployed").await;
        assert_eq!((&none["version"], &none["pods"]), (&Value::Null, &json!([])));
        world.post(DEPLOY, json!({ "version": "1.18.0" })).await;
        assert_eq!(is("progressing").await["version"], "1.18.0");

        // What the cluster's controllers and kubelets say; no test cluster has them all.
        let namespace = &cluster.namespace;
        let pods = format!("/api/v1/namespaces/{namespace}/pods");
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "cloudcore-6fd9f5779-kcjq8", "namespace": namespace,
                "labels": { "k8s-app": "kubeedge", "kubeedge": "cloudcore" },
            },
            "spec": {
                "serviceAccountName": "cloudcore",
                "containers": [{ "name": "cloudcore", "image": "kubeedge/cloudcore:v1.18.0" }],
            },
        });
        cluster.create(&pods, pod).await;
        let one = format!("{pods}/cloudcore-6fd9f5779-kcjq8");
        let state = |ready: bool, state: Value| {
            json!({ "status": { "phase": "Running", "containerStatuses": [{
                "name": "cloudcore", "ready": ready, "restartCount": 3, "image": "i",
                "imageID": "i", "state": state,
            }] } })
        };
        let waiting = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        cluster.merge(&format!("{one}/status"), state(false, waiting)).await;
        eventually("the pod to be seen", async || {
            let shown = world.get(STATUS).await;
            let pod = &shown["pods"][0];
            (pod["status"] == "CrashLoopBackOff" && pod["ready"] == "0/1" && pod["restarts"] == 3)
                .then_some(())
        })
        .await;
        let running = json!({ "running": { "startedAt": "2024-01-15T10:30:00Z" } });
        cluster.merge(&format!("{one}/status"), state(true, running)).await;
        let deployment = place(cluster, "apps/v1", "deployments");
        let generation =
            cluster.object(&deployment).await.unwrap()["metadata"]["generation"].clone();
        let all = json!({ "status": {
            "observedGeneration": generation, "replicas": 1, "updatedReplicas": 1,
            "readyReplicas": 1, "availableReplicas": 1,
        } });
        cluster.merge(&format!("{deployment}/status"), all).await;
        let shown = is("running").await;
        let pod = &shown["pods"][0];
        assert_eq!(pod["name"], "cloudcore-6fd9f5779-kcjq8");
        assert_eq!((&pod["ready"], &pod["status"]), (&json!("1/1"), &json!("Running")));
        assert!(pod["age"].is_string(), "{pod}");

        cluster.delete(&format!("{one}?gracePeriodSeconds=0")).await;
        eventually("the pod to be gone", async || {
            (world.get(STATUS).await["pods"] == json!([])).then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_hold_is_not_taken_from_them() {
    told(async |cluster: &Cluster| {
        let world = cluster.connected_hub(&PORTS).await;
        world.post(DEPLOY, json!({ "version": "1.18.0" })).await;
        let path = place(cluster, "apps/v1", "deployments");
        let theirs = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": "cloudcore", "namespace": cluster.namespace },
            "spec": {
                "replicas": 3,
                "selector": { "matchLabels": { "k8s-app": "kubeedge", "kubeedge": "cloudcore" } },
                "template": {
                    "metadata": { "labels": { "k8s-app": "kubeedge", "kubeedge": "cloudcore" } },
                    "spec": { "containers": [
                        { "name": "cloudcore", "image": "docker.io/kubeedge/cloudcore:v1.18.0" }
                    ] },
                },
            },
        });
        let apply = format!("{path}?fieldManager=helm&force=true");
        cluster.ask(Method::PATCH, &apply, Some(&theirs)).await.expect("helm applies");

        let (status, error) = refused(&world, json!({ "version": "1.18.0", "replicas": 2 })).await;
        assert_eq!((status, &error["code"]), (StatusCode::CONFLICT, &json!("API-005")), "{error}");
        let conflict = json!({ "field": ".spec.replicas", "manager": "helm" });
        assert!(error["details"]["conflicts"].as_array().unwrap().contains(&conflict), "{error}");
        assert!(error["message"].as_str().unwrap().contains("helm"), "{error}");
        assert_eq!(cluster.object(&path).await.unwrap()["spec"]["replicas"], 3);

        // As they have it is no conflict.
        world.post(DEPLOY, json!({ "version": "1.18.0" })).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_going_takes_nothing() {
    told(async |cluster: &Cluster| {
        let world = cluster.connected_hub(&PORTS).await;
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": cluster.namespace, "finalizers": ["cloudcore.io/test"] },
        });
        cluster.create("/api/v1/namespaces", namespace).await;
        let path = format!("/api/v1/namespaces/{}", cluster.namespace);
        cluster.delete(&path).await;
        let (status, error) = refused(&world, json!({ "version": "1.18.0" })).await;
        let expected = (StatusCode::SERVICE_UNAVAILABLE, &json!("API-009"));
        assert_eq!((status, &error["code"]), expected, "{error}");
        assert!(error["message"].as_str().unwrap().contains("being deleted"), "{error}");
        cluster.merge(&path, json!({ "metadata": { "finalizers": null } })).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_release_or_quantity_never_reaches_the_cluster() {
    let cluster = Cluster::scripted().await;
    let world = cluster.connected_hub(&[]).await;
    cluster.server().forget_seen();
    for order in [
        json!({ "version": "latest" }),
        json!({ "version": "1.18" }),
        json!({ "version": "1.18.0 --privileged" }),
        json!({ "version": "1.18.0@sha256:0" }),
        json!({ "version": "1.18.0", "replicas": 0 }),
        json!({ "version": "1.18.0", "replicas": 11 }),
        json!({ "version": "1.18.0", "resources": { "cpu": "-1" } }),
        json!({ "version": "1.18.0", "resources": { "cpu": "lots" } }),
        json!({ "version": "1.18.0", "resources": { "memory": "512MB" } }),
        json!({ "version": "1.18.0", "resources": { "memory": "0" } }),
    ] {
        let (status, error) = refused(&world, order.clone()).await;
        let expected = (StatusCode::BAD_REQUEST, &json!("API-001"));
        assert_eq!((status, &error["code"]), expected, "{order}: {error}");
    }
    assert!(cluster.server().changes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_applied_under_one_name_and_tried_out_before() {
    let cluster = Cluster::scripted().await;
    let world = cluster.connected_hub(&[]).await;
    world.post(DEPLOY, json!({ "version": "1.18.0" })).await;
    cluster.server().forget_seen();
    world.post(DEPLOY, json!({ "version": "1.19.0" })).await;
    let changes = cluster.server().changes();
    for change in &changes {
        assert_eq!(change.method, Method::PATCH, "{change:?}");
        assert_eq!(change.content_type, "application/apply-patch+yaml");
        assert_eq!(change.query["fieldManager"], "cloudcore-hub");
        assert_eq!(change.query["fieldValidation"], "Strict");
        assert!(!change.query.contains_key("force"), "nothing is taken from others: {change:?}");
    }
    let is_trial = |n: &usize| changes[*n].query.get("dryRun").is_some_and(|d| d == "All");
    let (trials, real): (Vec<_>, Vec<_>) = (0..changes.len()).partition(is_trial);
    assert!(trials.iter().max() < real.iter().min(), "all trials come first");
    let sent = |n: &&usize| (changes[**n].path.clone(), changes[**n].body.clone());
    let tried: Vec<_> = trials.iter().map(|n| sent(&n)).collect();
    assert_eq!(tried, real.iter().map(|n| sent(&n)).collect::<Vec<_>>());

    let service = tried.iter().find(|(path, _)| path.ends_with("/services/cloudcore")).unwrap();
    assert_eq!(
        service.1["spec"],
        json!({
            "type": "NodePort",
            "selector": { "k8s-app": "kubeedge", "kubeedge": "cloudcore" },
            "ports": [
                { "name": "cloudhub", "port": 10000, "targetPort": 10000, "nodePort": 30374,
                  "protocol": "TCP" },
                { "name": "cloudstream", "port": 10002, "targetPort": 10002, "nodePort": 31305,
                  "protocol": "TCP" },
                { "name": "websocket", "port": 10004, "targetPort": 10004, "nodePort": 32203,
                  "protocol": "TCP" },
            ],
        })
    );
    assert_eq!(service.1["metadata"]["labels"]["app.kubernetes.io/managed-by"], "cloudcore-hub");
    let configured = tried.iter().find(|(path, _)| path.contains("/configmaps/")).unwrap();
    let text = configured.1["data"]["cloudcore.yaml"].as_str().unwrap();
    let settings: Value = serde_json::from_str(text).expect("JSON is YAML");
    let hub = &settings["modules"]["cloudHub"];
    assert_eq!(hub["advertiseAddress"], json!(["127.0.0.1"]));
    assert_eq!((&hub["websocket"]["port"], &hub["https"]["port"]), (&json!(10000), &json!(10002)));
    let deployment = tried.iter().find(|(path, _)| path.contains("/deployments/")).unwrap();
    let pod = &deployment.1["spec"]["template"]["spec"];
    let security = &pod["containers"][0]["securityContext"];
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(pod["serviceAccountName"], "cloudcore");
    // Keys are made once, and are in no second request.
    assert!(!tried.iter().any(|(path, _)| path.contains("/secrets/")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cluster_has_already_is_used_as_it_is() {
    let cluster = Cluster::scripted().await;
    let world = cluster.connected_hub(&[]).await;
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let theirs = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "devices.devices.kubeedge.io" },
        "spec": {
            "group": "devices.kubeedge.io", "scope": "Namespaced",
            "names": { "kind": "Device", "plural": "devices" },
            "versions": [{
                "name": "v1beta2", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object" } },
            }],
        },
    });
    cluster.create(definitions, theirs).await;
    let made = world.post(DEPLOY, json!({ "version": "1.18.0" })).await;
    assert!(made["steps"].get("definition devices.devices.kubeedge.io").is_none(), "{made}");
    assert_eq!(made["steps"]["definition devicemodels.devices.kubeedge.io"], "created", "{made}");
    let path = format!("{definitions}/devices.devices.kubeedge.io");
    assert_eq!(cluster.object(&path).await.unwrap()["spec"]["versions"][0]["name"], "v1beta2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_can_not_be_finished_leaves_nothing() {
    let cluster = Cluster::scripted().await;
    cluster.server().trusts_the_hub();
    let world = cluster.connected_hub(&[]).await;
    let how = How::Status(500, "InternalError");
    cluster.server().fails(Method::PATCH, "/deployments/", 3, how);
    let (status, error) = refused(&world, json!({ "version": "1.18.0" })).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{error}");
    assert_eq!(error["details"]["left"], json!([]), "{error}");
    assert!(error["details"]["undone"].as_array().unwrap().contains(&json!("namespace")));
    for part in parts(&cluster) {
        assert!(cluster.object(&part).await.is_none(), "{part} is left");
    }

    // The cluster that does not let the hub says so before anything is made.
    let how = How::Status(403, "Forbidden");
    cluster.server().fails(Method::PATCH, "/clusterroles/", 1, how);
    cluster.server().forget_seen();
    let (status, error) = refused(&world, json!({ "version": "1.18.0" })).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{error}");
    assert!(error["message"].as_str().unwrap().contains("has to grant it"), "{error}");
    let trials = cluster.server().changes();
    assert!(trials.iter().all(|change| change.query.contains_key("dryRun")), "{trials:?}");

    world.post(DEPLOY, json!({ "version": "1.18.0" })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_hubs_roles_keep_it_from_deleting_is_named() {
    let cluster = Cluster::scripted().await;
    let world = cluster.connected_hub(&[]).await;
    cluster.server().fails(Method::PATCH, "/deployments/", 3, How::Status(500, "InternalError"));
    let (_, error) = refused(&world, json!({ "version": "1.18.0" })).await;
    let left: Vec<_> = error["details"]["left"].as_array().unwrap().iter().collect();
    assert!(
        left.iter()
            .all(|name| *name == "namespace" || name.as_str().unwrap().starts_with("definition ")),
        "{error}"
    );
    assert_eq!(left.len(), 7, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_taken_back_is_named() {
    let cluster = Cluster::scripted().await;
    cluster.server().trusts_the_hub();
    let world = cluster.connected_hub(&[]).await;
    let server = cluster.server();
    server.fails(Method::PATCH, "/deployments/", 3, How::Status(500, "InternalError"));
    server.fails(Method::DELETE, "/configmaps/", 1, How::Drop);
    server.fails(Method::DELETE, "/services/", 1, How::Busy { retry_after: 1 });
    server.fails(Method::DELETE, "/clusterroles/", 1, How::Status(403, "Forbidden"));
    let (_, error) = refused(&world, json!({ "version": "1.18.0" })).await;
    assert!(server.has_failed(), "{error}");
    assert_eq!(error["details"]["left"], json!(["cluster_role"]), "{error}");
    let undone = error["details"]["undone"].as_array().unwrap();
    assert!(undone.contains(&json!("config_map")) && undone.contains(&json!("service")), "{error}");
    assert!(error["message"].as_str().unwrap().contains("cluster_role"), "{error}");
    // What is left is no hindrance to the next one.
    let made = world.post(DEPLOY, json!({ "version": "1.18.0" })).await;
    assert_eq!(made["steps"]["cluster_role"], "unchanged", "{made}");
}
