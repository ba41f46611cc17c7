//! ServiceAccounts of the cluster as callers of the hub.

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{Cluster, server::How, told};

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_has_the_role_that_the_cluster_gives_it() {
    told(async |cluster: &Cluster| {
        let mut world = cluster.connected_hub(&[]).await;
        let viewer = cluster.account("viewer", Some("viewer")).await;
        let operator = cluster.account("operator", Some("operator")).await;
        let admin = cluster.account("admin", Some("admin")).await;
        let nobody = cluster.account("nobody", None).await;
        let token = json!({ "node_name": "n" });
        let generate = "/api/kubeedge/token/generate";
        let logs = "/api/kubeedge/security/logs";

        world.use_token(&viewer);
        world.get("/api/kubeedge/devices").await;
        let (status, _) = world.call(Method::POST, generate, Some(token.clone())).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        world.use_token(&operator);
        world.post(generate, token).await;
        assert_eq!(world.call(Method::GET, logs, None).await.0, StatusCode::FORBIDDEN);
        world.use_token(&admin);
        let entries = world.get(logs).await.to_string();
        let name = format!("system:serviceaccount:{}:operator", cluster.namespace);
        assert!(entries.contains(&name), "{entries}");

        world.use_token(&nobody);
        let (status, error) = world.call(Method::GET, "/api/kubeedge/devices", None).await;
        assert_eq!((status, &error["code"]), (StatusCode::UNAUTHORIZED, &json!("API-002")));
        assert!(error["message"].as_str().unwrap().contains("cloudcore.io"), "{error}");

        // A token that nobody gave.
        let (head, rest) = viewer.split_once('.').unwrap();
        world.use_token(&format!("{head}.{rest}x"));
        let (status, _) = world.call(Method::GET, "/api/kubeedge/devices", None).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_is_asked_once_a_minute_and_never_for_what_it_can_not_know() {
    let mut cluster = Cluster::scripted().await;
    let mut world = cluster.connected_hub(&[]).await;
    let session = world.token().to_owned();
    let viewer = cluster.account("viewer", Some("viewer")).await;
    let reviews = |cluster: &Cluster| {
        cluster.server().seen(|seen| seen.path.ends_with("/tokenreviews")).len()
    };
    world.use_token(&viewer);
    for _ in 0..5 {
        world.get("/api/kubeedge/devices").await;
    }
    assert_eq!(reviews(&cluster), 1);
    for garbage in ["x", "a.b.c", "ck_0000", &format!("{session}x")] {
        world.use_token(garbage);
        let (status, _) = world.call(Method::GET, "/api/kubeedge/devices", None).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{garbage}");
    }
    assert_eq!(reviews(&cluster), 1);

    // While the cluster is away its accounts can't be known, and everybody else is.
    let other = cluster.account("other", Some("viewer")).await;
    cluster.server_mut().go_away().await;
    world.use_token(&other);
    let (status, error) = world.call(Method::GET, "/api/kubeedge/devices", None).await;
    let expected = (StatusCode::SERVICE_UNAVAILABLE, &json!("API-009"));
    assert_eq!((status, &error["code"]), expected, "{error}");
    world.use_token(&session);
    world.get("/api/kubeedge/devices").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_review_that_breaks_is_asked_for_again_and_one_that_is_refused_lets_nobody_in() {
    let cluster = Cluster::scripted().await;
    let mut world = cluster.connected_hub(&[]).await;
    let server = cluster.server();
    let first = cluster.account("first", Some("viewer")).await;
    server.fails(Method::POST, "/tokenreviews", 1, How::Drop);
    server.fails(Method::POST, "/tokenreviews", 1, How::Busy { retry_after: 1 });
    server.fails(Method::POST, "/subjectaccessreviews", 1, How::Status(500, "InternalError"));
    world.use_token(&first);
    world.get("/api/kubeedge/devices").await;
    assert!(server.has_failed());

    let second = cluster.account("second", Some("viewer")).await;
    server.fails(Method::POST, "/subjectaccessreviews", 1, How::Status(403, "Forbidden"));
    world.use_token(&second);
    let (status, error) = world.call(Method::GET, "/api/kubeedge/devices", None).await;
    let expected = (StatusCode::SERVICE_UNAVAILABLE, &json!("API-009"));
    assert_eq!((status, &error["code"]), expected, "{error}");
    // What could not be found out is not remembered.
    world.get("/api/kubeedge/devices").await;
    assert!(!world.hub_log().contains(&second), "no token is in the log");
}
