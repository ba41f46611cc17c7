//! Commands, from the API to the device and back, whatever is killed in between.

use std::path::PathBuf;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{World, cached, eventually, stuck_camera};

/// An agent whose reboot writes a line into a file, so that it can be counted, and never repeats
/// by itself: a reboot is not safe to run twice.
struct Counter(PathBuf);

impl Counter {
    fn new(world: &World) -> Self {
        Self(world.dir.path().join("reboots"))
    }

    /// Makes the node's reboot count, `before` it a shell command.
    fn install(&self, world: &World, node: &str, before: &str) {
        let path = world.node_dir(node).join("agent.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let mut settings: toml::Table = text.parse().unwrap();
        let script = format!("{before} echo rebooted >> {}", self.0.display());
        settings.insert("allow_reboot".into(), true.into());
        settings.insert(
            "reboot_command".into(),
            toml::Value::from(vec!["/bin/sh".to_owned(), "-c".into(), script]),
        );
        std::fs::write(&path, settings.to_string()).unwrap();
    }

    fn count(&self) -> usize {
        std::fs::read_to_string(&self.0).map_or(0, |text| text.lines().count())
    }
}

fn camera() -> String {
    format!("file://{}", cached("photos/astronaut.png").display())
}

#[tokio::test(flavor = "multi_thread")]
async fn capture_image_gives_a_picture_as_asked() {
    let world = World::start().await;
    let agent = world.agent("cam-1", &["--camera", &camera()]).await;
    let mut watch = world.watch("?events=command_result").await;

    for (format, magic) in [("jpg", &b"\xff\xd8"[..]), ("png", &b"\x89PNG"[..])] {
        let parameters = json!({ "resolution": "640x480", "format": format, "quality": 80 });
        let ended = world.run("cam-1", "capture_image", parameters).await;
        assert_eq!(ended["status"], "completed", "{ended}");
        assert_eq!(ended["result"]["success"], true);
        assert!(ended["result"]["size"].as_str().unwrap().ends_with('B'));
        assert!(ended["execution_time"].as_str().unwrap().ends_with('s'));
        let told = watch.next("command_result").await;
        assert_eq!(
            (&told["command_id"], &told["status"]),
            (&ended["command_id"], &json!("completed"))
        );

        // Anybody with the link sees the picture.
        let url = ended["result"]["image_url"].as_str().unwrap();
        let response = world.client().get(url).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let expected = if format == "jpg" { "image/jpeg" } else { "image/png" };
        assert_eq!(response.headers()["content-type"], expected);
        let bytes = response.bytes().await.unwrap();
        assert!(bytes.starts_with(magic));
        let picture = image::load_from_memory(&bytes).unwrap();
        assert_eq!((picture.width(), picture.height()), (640, 480));

        // Nobody with another one.
        let forged = url.replace("expires=", "expires=9");
        let refused = world.client().get(forged).send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    }

    // A worse picture is a smaller one.
    let size = async |quality: u8| {
        let ended = world.run("cam-1", "capture_image", json!({ "quality": quality })).await;
        ended["result"]["size_bytes"].as_u64().unwrap()
    };
    assert!(size(10).await < size(95).await);
    assert_eq!(agent.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_answers() {
    let world = World::start().await;
    let agent = world.agent("edge-1", &[]).await;

    let status = world.run("edge-1", "get_status", json!({})).await;
    assert_eq!(status["status"], "completed", "{status}");
    assert!(status["result"]["memory_total_bytes"].as_u64().unwrap() > 0, "{status}");

    let diagnostics = world.run("edge-1", "run_diagnostics", json!({})).await;
    assert_eq!(diagnostics["status"], "completed", "{diagnostics}");

    let blind = world.run("edge-1", "capture_image", json!({})).await;
    assert_eq!(
        (&blind["status"], &blind["result"]["error"]),
        (&json!("failed"), &json!("camera_unavailable"))
    );

    let unknown = world.run("edge-1", "make_coffee", json!({})).await;
    assert_eq!(
        (&unknown["status"], &unknown["result"]["error"]),
        (&json!("failed"), &json!("unknown_command"))
    );

    let forbidden = world.run("edge-1", "reboot", json!({})).await;
    assert_eq!(
        (&forbidden["status"], &forbidden["result"]["error"]),
        (&json!("failed"), &json!("not_allowed"))
    );

    // A camera by command, at once and for good.
    let set = world
        .run("edge-1", "set_config", json!({ "camera": camera(), "heartbeat_interval": 3 }))
        .await;
    assert_eq!(set["status"], "completed", "{set}");
    let capture = world.run("edge-1", "capture_image", json!({})).await;
    assert_eq!(capture["status"], "completed", "{capture}");
    let stored = std::fs::read_to_string(world.node_dir("edge-1").join("agent.toml")).unwrap();
    assert!(stored.contains("astronaut.png"), "{stored}");
    assert_eq!(agent.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_commands_are_refused_before_they_are_accepted() {
    let world = World::start().await;
    world
        .post("/api/kubeedge/device/join", json!({ "node_name": "edge-1", "device_id": "cam-1" }))
        .await;
    let refused = async |path: &str, body: Value, code: &str| {
        let (status, answer) = world.call(Method::POST, path, Some(body.clone())).await;
        assert!(status.is_client_error() || status.is_server_error(), "{body}");
        assert_eq!(answer["code"], code, "{body}: {answer}");
        assert_eq!(answer["status"], "error");
        assert!(!answer["request_id"].as_str().unwrap().is_empty());
    };
    let path = "/api/kubeedge/device/cam-1/command";
    for body in [
        json!({}),
        json!([]),
        json!({ "command": 7 }),
        json!({ "command": "" }),
        json!({ "command": "Capture Image" }),
        json!({ "command": "capture_image", "parameters": [] }),
        json!({ "command": "capture_image", "parameters": { "resolution": "big" } }),
        json!({ "command": "capture_image", "parameters": { "quality": 101 } }),
        json!({ "command": "capture_image", "parameters": { "colour": "blue" } }),
        json!({ "command": "set_config", "parameters": { "heartbeat_interval": 0 } }),
        json!({ "command": "get_status", "timeout": 0 }),
        json!({ "command": "get_status", "timeout": -1 }),
    ] {
        refused(path, body, "API-001").await;
    }
    let command = json!({ "command": "get_status" });
    refused("/api/kubeedge/device/nobody/command", command.clone(), "API-004").await;
    refused(&format!("{path}?queue=false"), command, "API-008").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_waits_for_a_device_that_is_away() {
    let world = World::start().await;
    let agent = world.agent("edge-1", &[]).await;
    assert_eq!(agent.stop().await, Some(0));
    world.offline("edge-1").await;

    let waits = world.send("edge-1", json!({ "command": "get_status", "timeout": 50 })).await;
    let expires = world.send("edge-1", json!({ "command": "get_status", "timeout": 1 })).await;
    let expired = world.ended(&expires).await;
    assert_eq!(expired["status"], "expired", "{expired}");
    assert_eq!(world.status(&waits).await["status"], "queued");

    let agent = world.run_agent("edge-1").await;
    assert_eq!(world.ended(&waits).await["status"], "completed");
    assert_eq!(world.status(&expires).await["status"], "expired");
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_waits_for_another() {
    let world = World::start().await;
    let agent = world.agent("edge-1", &["--camera", &stuck_camera(&world)]).await;

    let stuck = world.send("edge-1", json!({ "command": "capture_image", "timeout": 55 })).await;
    eventually("the capture to run", async || {
        (world.status(&stuck).await["status"] == "running").then_some(())
    })
    .await;
    let mut ids = Vec::new();
    for _ in 0..50 {
        ids.push(world.send("edge-1", json!({ "command": "get_status", "timeout": 50 })).await);
    }
    for id in ids {
        assert_eq!(world.ended(&id).await["status"], "completed");
    }
    assert_eq!(world.status(&stuck).await["status"], "running");
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_takes_too_long_times_out() {
    let world = World::start().await;
    let agent = world.agent("edge-1", &["--camera", &stuck_camera(&world)]).await;
    let id = world.send("edge-1", json!({ "command": "capture_image", "timeout": 2 })).await;
    let ended = world.ended(&id).await;
    assert_eq!(ended["status"], "timed_out", "{ended}");
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_killed_after_accepting_delivers_once() {
    let mut world = World::start().await;
    let agent = world.agent("edge-1", &["--allow-reboot"]).await;
    assert_eq!(agent.stop().await, Some(0));
    let counter = Counter::new(&world);
    counter.install(&world, "edge-1", "");

    let id = world.send("edge-1", json!({ "command": "reboot", "timeout": 50 })).await;
    world.kill_hub().await;
    world.start_hub().await;
    assert_eq!(world.status(&id).await["status"], "queued", "accepted is accepted");
    let agent = world.run_agent("edge-1").await;
    assert_eq!(world.ended(&id).await["status"], "completed");
    eventually("the reboot", async || (counter.count() == 1).then_some(())).await;
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_killed_before_the_result_gets_it_once() {
    let mut world = World::start().await;
    let token = world.join_token("edge-1").await;
    world.join("edge-1", &token, &["--camera", &camera()]).await.unwrap();
    let counter = Counter::new(&world);
    counter.install(&world, "edge-1", "");
    let agent = world.run_agent("edge-1").await;
    world.online("edge-1").await;

    // Killed as soon as the commands are out: some results are lost on their way, each must be
    // there in the end.
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(world.send("edge-1", json!({ "command": "capture_image", "timeout": 50 })).await);
    }
    ids.push(world.send("edge-1", json!({ "command": "reboot", "timeout": 50 })).await);
    world.kill_hub().await;
    world.start_hub().await;
    for id in &ids {
        let ended = world.ended(id).await;
        assert_eq!(ended["status"], "completed", "{ended}");
    }
    eventually("the reboot", async || (counter.count() == 1).then_some(())).await;
    // Whatever the hub says again, it stays at one.
    world.kill_hub().await;
    world.start_hub().await;
    let after = world.run("edge-1", "get_status", json!({})).await;
    assert_eq!((&after["status"], counter.count()), (&json!("completed"), 1));
    assert_eq!(agent.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_while_it_runs_a_command_never_runs_it_twice() {
    let world = World::start().await;
    let token = world.join_token("edge-1").await;
    world.join("edge-1", &token, &[]).await.unwrap();
    let counter = Counter::new(&world);
    counter.install(&world, "edge-1", "");
    let agent = world.run_agent("edge-1").await;
    world.online("edge-1").await;

    let id = world.send("edge-1", json!({ "command": "reboot", "timeout": 50 })).await;
    eventually("the reboot", async || (counter.count() == 1).then_some(())).await;
    agent.kill().await;
    let agent = world.run_agent("edge-1").await;
    let ended = world.ended(&id).await;
    // Either its end was durable before the machine went down, or it counts as interrupted.
    match ended["status"].as_str().unwrap() {
        "completed" => {}
        "failed" => assert_eq!(ended["result"]["error"], "interrupted", "{ended}"),
        other => panic!("{other}: {ended}"),
    }
    let after = world.run("edge-1", "get_status", json!({})).await;
    assert_eq!(after["status"], "completed");
    assert_eq!(counter.count(), 1);
    drop(agent);
}

/// A session has room for 1024 frames, and a device may have missed more.
#[tokio::test(flavor = "multi_thread")]
async fn all_that_a_device_missed_reaches_it() {
    let world = World::start().await;
    let agent = world.agent("edge-1", &[]).await;
    assert_eq!(agent.stop().await, Some(0));
    world.offline("edge-1").await;

    let order = || world.send("edge-1", json!({ "command": "get_status", "timeout": 3600 }));
    for _ in 0..40 {
        let cancelled = order().await;
        let path = format!("/api/kubeedge/command/{cancelled}");
        assert_eq!(world.call(Method::DELETE, &path, None).await.0, StatusCode::OK);
    }
    for _ in 0..50 {
        futures_util::future::join_all((0..20).map(|_| order())).await;
    }
    let agent = world.run_agent("edge-1").await;
    eventually("all of them to be done", async || {
        let done = world.get("/api/kubeedge/commands?status=completed&limit=1").await;
        (done["count"] == 1000).then_some(())
    })
    .await;
    assert_eq!(world.hub_log().matches("session began").count(), 2, "it was cut off");
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_are_overdue_all_are_ended_at_once() {
    let mut world = World::start().await;
    world
        .post("/api/kubeedge/device/join", json!({ "node_name": "away", "device_id": "away" }))
        .await;
    assert_eq!(world.stop_hub().await, Some(0));
    // More than one transaction ends, and nothing that would wake the hub afterwards.
    let overdue = 1700;
    world.sql(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {overdue}) \
         INSERT INTO commands (command_id, device_id, command_type, parameters, status, timeout_s, \
         sent_at, deadline, secrets) SELECT 'cmd_01ARZ3NDEKTSV4RRFF' || (10000000 + i), 'away', \
         'ping', 'null', 'queued', 1, 1000000, 2000000, 'none' FROM n"
    ));
    world.start_hub().await;
    // Without more to do the hub looks every 30 seconds: were each look the end of 500 at most, the
    // last would end after 90, which is more than we wait.
    eventually("all to expire", async || {
        let expired = world.get("/api/kubeedge/commands?status=expired&limit=1").await;
        (expired["count"] == overdue).then_some(())
    })
    .await;
}
