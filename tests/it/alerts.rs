//! Alerts begin once and end once, whatever restarts in between.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{World, eventually};

const ALERTS: &str = "/api/kubeedge/alerts";

async fn alerts(world: &World, query: &str) -> Vec<Value> {
    // The count is read before the page: an alert may begin in between.
    eventually("a list that has its count", async || {
        let listed = world.get(&format!("{ALERTS}?{query}")).await;
        let all = listed["alerts"].as_array().unwrap().clone();
        (listed["count"] == all.len()).then_some(all)
    })
    .await
}

/// Waits until there is an alert of this type, active or not; it.
async fn alert(world: &World, kind: &str, active: bool) -> Value {
    eventually(&format!("{kind} to be active={active}"), async || {
        alerts(world, &format!("type={kind}&active={active}")).await.pop()
    })
    .await
}

async fn limits(world: &World, change: Value) {
    let change = json!({ "alerts": change });
    let (status, answer) = world.call(Method::PUT, "/api/kubeedge/config", Some(change)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_above_a_limit_begins_one_alert_and_one_below_ends_it() {
    let mut world = World::start().await;
    limits(&world, json!({ "memory_percent": 100, "disk_percent": 100 })).await;
    let agent = world.agent("cam-1", &[]).await;
    let mut watch = world.watch("?events=heartbeat,alert").await;
    watch.next("heartbeat").await;
    assert_eq!(alerts(&world, "type=high_memory").await, Vec::<Value>::new());

    limits(&world, json!({ "memory_percent": 1 })).await;
    let told = watch.next("alert").await;
    assert_eq!((&told["device_id"], &told["level"]), (&json!("cam-1"), &json!("warning")));
    let begun = alert(&world, "high_memory", true).await;
    assert_eq!(
        (&begun["message"], &begun["level"]),
        (&json!("Memory usage > 1%"), &json!("warning"))
    );
    assert_eq!((&begun["ended_at"], &begun["timestamp"]), (&Value::Null, &begun["started_at"]));
    let metrics = world.get("/api/kubeedge/metrics").await;
    assert_eq!(metrics["alerts"][0]["type"], "high_memory");

    // Still true after a restart: no second alert.
    world.kill_hub().await;
    world.start_hub().await;
    world.online("cam-1").await;
    let mut watch = world.watch("?events=heartbeat,alert").await;
    watch.next("heartbeat").await;
    watch.next("heartbeat").await;
    assert_eq!(alerts(&world, "type=high_memory").await, std::slice::from_ref(&begun));

    // No longer true after a restart: it ends.
    world.kill_hub().await;
    world.start_hub().await;
    limits(&world, json!({ "memory_percent": 100 })).await;
    let ended = alert(&world, "high_memory", false).await;
    assert_eq!((&ended["started_at"], &ended["level"]), (&begun["started_at"], &json!("info")));
    assert!(ended["ended_at"].as_str() >= ended["started_at"].as_str(), "{ended}");
    assert_eq!(alerts(&world, "type=high_memory").await, [ended]);

    // Pages, newest first.
    limits(&world, json!({ "memory_percent": 1 })).await;
    let second = alert(&world, "high_memory", true).await;
    let page = world.get(&format!("{ALERTS}?type=high_memory&limit=1")).await;
    assert_eq!((&page["count"], &page["alerts"][0]), (&json!(2), &second));
    let next = format!("{ALERTS}?type=high_memory&limit=1&cursor={}", page["next_cursor"]);
    assert_eq!(world.get(&next).await["alerts"][0]["started_at"], begun["started_at"]);
    assert_eq!(alerts(&world, "device_id=cam-2").await, Vec::<Value>::new());
    for bad in ["limit=0", "active=maybe", "type=A%20B", "type=%00", "device_id=%00"] {
        let (status, answer) = world.call(Method::GET, &format!("{ALERTS}?{bad}"), None).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}: {answer}");
    }
    world.become_user("eve", "viewer").await;
    alerts(&world, "active=true&type=high_memory").await;
    agent.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_alerts_of_a_device_that_is_removed_end() {
    let world = World::start().await;
    limits(&world, json!({ "memory_percent": 1, "disk_percent": 100 })).await;
    let mut watch = world.watch("?events=alert,node_left").await;
    let agent = world.agent("cam-1", &[]).await;
    assert_eq!(watch.next("alert").await["active"], true);
    let (status, answer) = world.call(Method::DELETE, "/api/kubeedge/device/cam-1", None).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let ended = watch.next("alert").await;
    let told = (&ended["type"], &ended["active"], &ended["level"]);
    assert_eq!(told, (&json!("high_memory"), &json!(false), &json!("info")));
    assert_eq!(watch.next("node_left").await["reason"], "removed");
    assert_eq!(alerts(&world, "active=true").await, Vec::<Value>::new());
    agent.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_stays_away_is_an_alert_until_it_is_back() {
    let mut world = World::start().await;
    let agent = world.agent("cam-1", &[]).await;
    world.post("/api/kubeedge/device/join", json!({ "node_name": "n", "device_id": "new" })).await;
    // Gone while the hub is down: nobody saw it go.
    world.kill_hub().await;
    agent.kill().await;
    world.start_hub().await;
    let begun = alert(&world, "offline", true).await;
    assert_eq!(begun["device_id"], "cam-1");
    world.kill_hub().await;
    world.start_hub().await;
    let agent = world.run_agent("cam-1").await;
    let ended = alert(&world, "offline", false).await;
    assert_eq!(ended["started_at"], begun["started_at"]);
    // What never was here is not missed.
    assert_eq!(alerts(&world, "type=offline").await, [ended]);

    let mut watch = world.watch("?events=node_left,alert").await;
    agent.kill().await;
    let told = watch.next("alert").await;
    assert_eq!((&told["type"], &told["level"]), (&json!("offline"), &json!("critical")));
    let begun = alert(&world, "offline", true).await;
    assert_eq!(begun["message"], "No connection for 15 seconds");
    // Nobody waits for what is no member any more.
    let (status, _) = world.call(Method::DELETE, "/api/kubeedge/token/cam-1", None).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(alerts(&world, "active=true").await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_was_not_renewed_is_an_alert_until_it_is() {
    let world = World::start_with(&["--node-certificate-life", "40"]).await;
    let join = async || {
        let _ = std::fs::remove_dir_all(world.node_dir("cam-1"));
        let token = world.join_token("cam-1").await;
        world.join("cam-1", &token, &[]).await.expect("the node joins");
    };
    join().await;
    // Three quarters of its life are over, and the agent does not run.
    let begun = alert(&world, "certificate_expiring", true).await;
    assert_eq!(begun["device_id"], "cam-1");
    join().await;
    let ended = alert(&world, "certificate_expiring", false).await;
    assert_eq!(ended["started_at"], begun["started_at"]);
}
