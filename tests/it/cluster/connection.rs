//! Finding the cluster, losing it and finding it again.

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{Cluster, stands};
use crate::world::World;

const DEPLOY: &str = "/api/kubeedge/cloudcore/deploy";

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_finds_its_cluster() {
    let cluster = Cluster::any().await;
    let world = cluster.connected_hub(&[]).await;
    let health = world.get("/api/kubeedge/metrics/health").await;
    assert_eq!(health["components"]["kubernetes"]["status"], "connected", "{health}");
    assert_eq!(health["status"], "healthy", "{health}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_without_a_cluster_says_what_to_set() {
    let world = World::start().await;
    assert_eq!(world.get("/api/health").await["components"]["kubernetes"], "not_configured");
    let order = json!({ "version": "1.18.0" });
    let (status, refused) = world.call(Method::POST, DEPLOY, Some(order)).await;
    assert_eq!((status, &refused["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("API-009")));
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("--kubeconfig"), "{message}");
    // To wait helps nobody, and a program can tell.
    assert_eq!(refused["details"]["reason"], "not_configured");
    let answer = world
        .client()
        .post(world.url(DEPLOY))
        .bearer_auth(world.token())
        .json(&json!({ "version": "1.18.0" }))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers().get("retry-after"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_starts_and_works_while_its_cluster_is_away() {
    let mut cluster = Cluster::scripted().await;
    cluster.server_mut().go_away().await;
    let world = cluster.hub(&[]).await;
    stands(&world, "disconnected").await;
    let health = world.get("/api/health").await;
    assert_eq!(health["status"], "healthy", "the hub itself is well: {health}");
    world.post("/api/kubeedge/token/generate", json!({ "node_name": "n" })).await;
    let order = json!({ "version": "1.18.0" });
    let (status, refused) = world.call(Method::POST, DEPLOY, Some(order)).await;
    assert_eq!((status, &refused["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("API-009")));

    cluster.server_mut().come_back().await;
    stands(&world, "connected").await;
    cluster.server_mut().go_away().await;
    stands(&world, "disconnected").await;
    cluster.server_mut().come_back().await;
    stands(&world, "connected").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_whose_token_ended_reads_the_next_one() {
    let cluster = Cluster::scripted().await;
    let world = cluster.connected_hub(&[]).await;
    let server = cluster.server();
    server.forgets(super::HUB_TOKEN);
    server.ends_watches();
    stands(&world, "disconnected").await;
    server.knows("hub-2", "system:serviceaccount:cloudcore:hub", &[]);
    cluster.hub_token("hub-2");
    stands(&world, "connected").await;
    assert!(!world.hub_log().contains("hub-1"), "no token is in the log");
}
