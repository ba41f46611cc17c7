//! A cluster that stumbles: what the hub does about it, for each verb, and that nothing else of the
//! hub suffers.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{Cluster, server::How, stands};
use crate::world::{World, eventually};

const DEPLOY: &str = "/api/kubeedge/cloudcore/deploy";

async fn deploy(world: &World) -> (StatusCode, serde_json::Value) {
    world.call(Method::POST, DEPLOY, Some(json!({ "version": "1.18.0" }))).await
}

/// Makes a node at the edge, and waits until the hub knows it.
async fn is_seen(cluster: &Cluster, world: &World, name: &str) {
    let labels = json!({ "node-role.kubernetes.io/edge": "" });
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": labels },
    });
    cluster.create("/api/v1/nodes", node).await;
    eventually("the node to be seen", async || {
        let path = format!("/api/kubeedge/device/{name}");
        (world.call(Method::GET, &path, None).await.0 == StatusCode::OK).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_on_the_way_is_done_again() {
    let cluster = Cluster::scripted().await;
    let world = cluster.connected_hub(&[]).await;
    let server = cluster.server();
    for (method, path) in [
        (Method::GET, "/deployments/cloudcore"),
        (Method::GET, "/secrets/cloudcore"),
        (Method::PATCH, "/configmaps/cloudcore"),
        (Method::PATCH, "/deployments/cloudcore"),
    ] {
        for how in [
            How::Drop,
            How::Status(500, "InternalError"),
            How::Status(503, "ServiceUnavailable"),
            How::Busy { retry_after: 0 },
        ] {
            server.fails(method.clone(), path, 1, how);
        }
        let (status, answer) = deploy(&world).await;
        assert_eq!(status, StatusCode::OK, "{method} {path}: {answer}");
        assert!(server.has_failed(), "{method} {path}");
        server.works_again();
    }
    assert_eq!(world.get("/api/health").await["components"]["kubernetes"], "connected");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_cluster_is_given_its_time() {
    let cluster = Cluster::scripted().await;
    let world = cluster.connected_hub(&[]).await;
    cluster.server().fails(Method::PATCH, "/services/cloudcore", 1, How::Busy { retry_after: 2 });
    let begun = Instant::now();
    let (status, answer) = deploy(&world).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert!(begun.elapsed() >= Duration::from_secs(2), "it came back too soon");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_has_its_code() {
    let cluster = Cluster::scripted().await;
    let world = cluster.connected_hub(&[]).await;
    deploy(&world).await;
    for (status, reason, expected) in [
        (400, "BadRequest", "API-001"),
        (422, "Invalid", "API-001"),
        (403, "Forbidden", "API-009"),
        (404, "NotFound", "API-004"),
        (409, "Conflict", "API-005"),
        (410, "Expired", "API-009"),
    ] {
        let server = cluster.server();
        server.fails(Method::PATCH, "/services/cloudcore", 1, How::Status(status, reason));
        let (_, error) = deploy(&world).await;
        assert_eq!(error["code"], expected, "{status}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_end_in_the_middle_are_read_again() {
    let cluster = Cluster::scripted().await;
    let world = cluster.connected_hub(&[]).await;
    let server = cluster.server();
    server.knows("hub-2", "system:serviceaccount:cloudcore:hub", &[]);
    cluster.hub_token("hub-2");
    server.forgets(super::HUB_TOKEN);
    let (status, answer) = deploy(&world).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    server.ends_watches();
    is_seen(&cluster, &world, "edge-1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_from_its_last_bookmark() {
    let cluster = Cluster::scripted().await;
    let world = cluster.connected_hub(&[]).await;
    is_seen(&cluster, &world, "edge-1").await;
    // What no watch of nodes hears of moves the cluster on.
    let unheard = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x", "namespace": "default" },
    });
    let path = "/api/v1/namespaces/default/configmaps";
    let made = cluster.create(path, unheard).await;
    let version = made["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let server = cluster.server();
    server.forget_seen();
    server.bookmarks();
    is_seen(&cluster, &world, "edge-2").await;
    server.bookmarks();
    server.ends_watches();
    let from = eventually("the watch to come back", async || {
        let nodes = server.seen(|seen| seen.path == "/api/v1/nodes");
        let watch = nodes.iter().find(|seen| seen.query.contains_key("watch"))?;
        assert_eq!(watch.query["allowWatchBookmarks"], "true");
        assert!(nodes.iter().all(|s| s.query.contains_key("watch")), "nothing is listed again");
        watch.query["resourceVersion"].parse::<u64>().ok()
    })
    .await;
    assert!(from > version.parse().unwrap(), "{from} is before {version}");
    is_seen(&cluster, &world, "edge-3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_is_too_old_begins_anew() {
    let cluster = Cluster::scripted().await;
    let world = cluster.connected_hub(&[]).await;
    is_seen(&cluster, &world, "edge-1").await;
    // Gone while nobody could tell the hub.
    let server = cluster.server();
    for _ in 0..2 {
        server.fails(Method::GET, "/api/v1/nodes", 1, How::Status(410, "Expired"));
    }
    cluster.delete("/api/v1/nodes/edge-1").await;
    server.compacts();
    eventually("the node to be gone", async || {
        let (status, _) = world.call(Method::GET, "/api/kubeedge/device/edge-1", None).await;
        (status == StatusCode::NOT_FOUND).then_some(())
    })
    .await;
    is_seen(&cluster, &world, "edge-2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_survive_all_that_a_server_does_to_them() {
    let cluster = Cluster::scripted().await;
    let world = cluster.connected_hub(&[]).await;
    let server = cluster.server();
    for (n, how) in [
        How::Drop,
        How::Busy { retry_after: 1 },
        How::Status(500, "InternalError"),
        How::Status(503, "ServiceUnavailable"),
        How::Status(403, "Forbidden"),
    ]
    .into_iter()
    .enumerate()
    {
        server.fails(Method::GET, "/api/v1/nodes", 1, how);
        server.ends_watches();
        is_seen(&cluster, &world, &format!("edge-{n}")).await;
        server.works_again();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_whose_cluster_hangs_works_on() {
    let mut cluster = Cluster::scripted().await;
    let world = cluster.connected_hub(&[]).await;
    deploy(&world).await;
    cluster.server().fails(Method::GET, "/deployments/cloudcore", 1, How::Hang);
    let hanging = async {
        let (status, error) = deploy(&world).await;
        let expected = (StatusCode::SERVICE_UNAVAILABLE, &json!("API-009"));
        assert_eq!((status, &error["code"]), expected, "{error}");
        assert!(error["message"].as_str().unwrap().contains("in time"), "{error}");
    };
    let beside = async {
        for n in 0..20 {
            let begun = Instant::now();
            let token = json!({ "node_name": format!("n{n}") });
            world.post("/api/kubeedge/token/generate", token).await;
            world.get("/api/kubeedge/devices").await;
            assert!(begun.elapsed() < Duration::from_secs(5), "it waits for the cluster");
        }
    };
    tokio::join!(hanging, beside);

    // Away, it is said what was last known of it.
    cluster.server_mut().go_away().await;
    stands(&world, "disconnected").await;
    let shown = world.get("/api/kubeedge/cloudcore/status").await;
    assert_eq!((&shown["status"], &shown["version"]), (&json!("unknown"), &json!("1.18.0")));
    assert_eq!(world.get("/api/health").await["status"], "healthy");
    cluster.server_mut().come_back().await;
    stands(&world, "connected").await;
    assert_eq!(world.get("/api/kubeedge/cloudcore/status").await["status"], "progressing");
}
