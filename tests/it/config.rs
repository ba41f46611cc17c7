//! The configuration changes while the hub runs, binds at once, and holds over restarts.

use std::time::Duration;

use cloudcore_protocol::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::World;

const CONFIG: &str = "/api/kubeedge/config";

async fn put(world: &World, change: Value) -> (StatusCode, Value) {
    world.call(Method::PUT, CONFIG, Some(change)).await
}

async fn token(world: &World, node: &str, more: Value) -> (StatusCode, Value) {
    let mut body = json!({ "node_name": node });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world.call(Method::POST, "/api/kubeedge/token/generate", Some(body)).await
}

/// Whether a token that was just issued lives so many hours.
fn lives(issued: &Value, hours: u64) -> bool {
    let end = issued["expires_at"].as_str().unwrap();
    let in_seconds = |s| Timestamp::now().plus(Duration::from_secs(s)).to_string();
    // Times of one form sort as text.
    (in_seconds(hours * 3600 - 120).as_str()..=&in_seconds(hours * 3600)).contains(&end)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_binds_at_once_and_over_a_restart() {
    let mut world = World::start().await;
    let shown = world.get(CONFIG).await;
    let port = |address: &str| address.rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    assert_eq!(shown["cloudcore"]["ports"]["cloudhub"], port(&world.quic));
    assert_eq!(shown["cloudcore"]["ports"]["http"], port(world.http()));
    assert_eq!(shown["cloudcore"]["advertise_address"], "127.0.0.1");
    assert_eq!(shown["kubernetes"], json!({ "version": null, "nodes": null, "pods": null }));
    assert_eq!(
        shown["cloudcore"]["nodeports"],
        json!({ "cloudhub": null, "cloudstream": null, "websocket": null })
    );
    assert_eq!(shown["security"]["tls_enabled"], false);
    assert_eq!(shown["security"]["token_expiry"], 72);
    // This world's hubs limit nobody.
    assert_eq!(shown["security"]["rate_limiting"], false);
    assert_eq!(shown["retention_days"], 30);
    assert!(lives(&token(&world, "before", json!({})).await.1, 72));

    let (status, changed) = put(
        &world,
        json!({ "token_expiry": 96, "max_devices": 2, "alerts": { "memory_percent": 50 },
                "security": { "require_tls": false, "rate_limit": 5000 } }),
    )
    .await;
    assert_eq!((status, &changed["status"]), (StatusCode::OK, &json!("success")), "{changed}");
    let expected = |config: &Value| {
        assert_eq!(config["security"]["token_expiry"], 96);
        assert_eq!(config["security"]["rate_limiting"], true);
        assert_eq!(config["security"]["rate_limit"], 5000);
        assert_eq!(config["limits"]["max_devices"], 2);
        assert_eq!(config["alerts"]["memory_percent"], 50);
        assert_eq!(config["alerts"]["cpu_percent"], 90);
    };
    expected(&changed["config"]);
    world.kill_hub().await;
    world.start_hub().await;
    expected(&world.get(CONFIG).await);
    assert!(lives(&token(&world, "after", json!({})).await.1, 96));
    assert!(lives(&token(&world, "own", json!({ "expiry_hours": 1 })).await.1, 1));
    // What a change leaves out stays.
    let (_, changed) = put(&world, json!({ "token_expiry": 1 })).await;
    assert_eq!(changed["config"]["limits"]["max_devices"], 2);
    assert!(lives(&token(&world, "short", json!({})).await.1, 1));

    // As many devices as may be, and not one more.
    let join = async |n: u8| {
        let body = json!({ "node_name": format!("node-{n}"), "device_id": format!("device-{n}") });
        world.call(Method::POST, "/api/kubeedge/device/join", Some(body)).await
    };
    assert_eq!(join(1).await.0, StatusCode::OK);
    assert_eq!(join(2).await.0, StatusCode::OK);
    let (status, refused) = join(3).await;
    assert_eq!((status, &refused["code"]), (StatusCode::FORBIDDEN, &json!("API-003")));
    put(&world, json!({ "max_devices": 3 })).await;
    assert_eq!(join(3).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_change_changes_nothing() {
    let mut world = World::start().await;
    let before = world.get(CONFIG).await;
    for bad in [
        json!({ "token_expiry": 0 }),
        json!({ "token_expiry": 8761 }),
        json!({ "token_expiry": "72" }),
        json!({ "max_devices": 0 }),
        json!({ "max_devices": 1_000_001 }),
        json!({ "security": { "rate_limit": 0 } }),
        json!({ "security": { "rate_limit": 1_000_001 } }),
        json!({ "security": { "rate_limits": 1 } }),
        json!({ "token_expiry": 5, "alerts": { "memory_percent": 101 } }),
        json!({ "alerts": { "cpu_seconds": 86_401 } }),
        json!({ "colour": "blue" }),
        // This hub has no TLS listener.
        json!({ "token_expiry": 5, "security": { "require_tls": true } }),
    ] {
        let (status, answer) = put(&world, bad.clone()).await;
        let got = (status, &answer["code"]);
        assert_eq!(got, (StatusCode::BAD_REQUEST, &json!("API-001")), "{bad}: {answer}");
    }
    assert_eq!(world.get(CONFIG).await, before);
    for good in [
        json!({ "token_expiry": 8760, "max_devices": 1_000_000 }),
        json!({ "security": { "rate_limit": 1_000_000 } }),
        json!({}),
    ] {
        assert_eq!(put(&world, good).await.0, StatusCode::OK);
    }
    let before = world.get(CONFIG).await;
    world.become_user("eve", "operator").await;
    assert_eq!(put(&world, json!({ "token_expiry": 5 })).await.0, StatusCode::FORBIDDEN);
    world.use_token("");
    let (status, _) = world.call(Method::GET, CONFIG, None).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(before["security"]["token_expiry"], 8760);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_required_where_it_is_spoken() {
    let world = World::start_with(&["--https", "127.0.0.1:0"]).await;
    let (status, changed) = put(&world, json!({ "security": { "require_tls": true } })).await;
    assert_eq!(status, StatusCode::OK, "{changed}");
    assert_eq!(changed["config"]["security"]["require_tls"], true);
    assert_eq!(changed["config"]["security"]["tls_enabled"], true);
    // This machine is not locked out.
    assert_eq!(world.get(CONFIG).await, changed["config"]);
}
