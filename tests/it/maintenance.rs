//! During maintenance nothing new is taken, and nothing that runs is lost.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::world::World;

const STATUS: &str = "/api/kubeedge/maintenance/status";
const START: &str = "/api/kubeedge/maintenance/start";
const STOP: &str = "/api/kubeedge/maintenance/stop";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_new_is_taken_until_it_stops() {
    let mut world = World::start().await;
    let waiting = world.join_token("cam-2").await;
    let agent = world.agent("cam-1", &[]).await;
    let none = json!({ "active": false, "since": null, "by": null, "reason": null });
    assert_eq!(world.get(STATUS).await, none);

    let started = world.post(START, json!({ "reason": "new disks" })).await;
    assert_eq!(started["maintenance"]["active"], true);
    let standing = world.get(STATUS).await;
    assert_eq!(standing, started["maintenance"]);
    assert_eq!((&standing["by"], &standing["reason"]), (&json!("admin"), &json!("new disks")));
    // A second start changes nothing.
    world.post(START, json!({ "reason": "other" })).await;
    assert_eq!(world.get(STATUS).await, standing);

    let refused = async |world: &World| {
        for (path, body) in [
            ("/api/kubeedge/token/generate", json!({ "node_name": "cam-3" })),
            ("/api/kubeedge/device/join", json!({ "node_name": "cam-3", "device_id": "cam-3" })),
            ("/api/kubeedge/device/cam-1/command", json!({ "command": "get_status" })),
        ] {
            let request = world.client().post(world.url(path)).bearer_auth(world.token());
            let answer = request.json(&body).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
            assert!(answer.headers().contains_key("retry-after"), "{path}");
            let answer: serde_json::Value = answer.json().await.unwrap();
            assert_eq!(answer["code"], "API-009", "{path}");
        }
    };
    refused(&world).await;
    let said = world.join("cam-2", &waiting, &[]).await.unwrap_err();
    assert!(said.contains("maintenance"), "{said}");
    // Agents stay, and what they say is stored.
    let mut watch = world.watch("?events=heartbeat").await;
    watch.next("heartbeat").await;

    world.kill_hub().await;
    world.start_hub().await;
    assert_eq!(world.get(STATUS).await, standing);
    refused(&world).await;
    world.online("cam-1").await;

    // With no body at all.
    let (status, stopped) = world.call(Method::POST, STOP, None).await;
    assert_eq!(status, StatusCode::OK, "{stopped}");
    assert_eq!(world.get(STATUS).await, none);
    let done = world.run("cam-1", "get_status", json!({})).await;
    assert_eq!(done["status"], "completed", "{done}");
    world.join("cam-2", &waiting, &[]).await.expect("the token is good still");

    let (status, started) = world.call(Method::POST, START, None).await;
    assert_eq!((status, &started["maintenance"]["reason"]), (StatusCode::OK, &json!(null)));
    let long = json!({ "reason": "x".repeat(501) });
    assert_eq!(world.call(Method::POST, START, Some(long)).await.0, StatusCode::BAD_REQUEST);
    world.become_user("eve", "operator").await;
    for path in [START, STOP] {
        assert_eq!(world.call(Method::POST, path, None).await.0, StatusCode::FORBIDDEN);
    }
    assert_eq!(world.get(STATUS).await["active"], true);
    agent.kill().await;
}
