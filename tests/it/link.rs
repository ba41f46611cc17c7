//! Events on their way: each is stored once, whatever is cut or killed.

use std::time::Duration;

use cloudcore_agent::outbox::Outbox;
use cloudcore_protocol::{Alert, BoundingBox, Detection, DetectionPhase, EventBody, Timestamp};
use serde_json::json;

use crate::{
    relay::Relay,
    world::{World, cached, eventually},
};

pub fn detection(track_id: u64) -> EventBody {
    EventBody::Detection(Detection {
        track_id,
        phase: DetectionPhase::Started,
        object: "person".into(),
        confidence: 0.9,
        bounding_box: BoundingBox { x: 1.0, y: 2.0, width: 30.0, height: 40.0 },
        frame_width: 640,
        frame_height: 480,
        model: "nanodet".into(),
        captured_at: Timestamp::now(),
        latency_micros: 45_000,
        zones: None,
        id: None,
        snapshot: None,
    })
}

pub async fn total(world: &World, device: &str) -> u64 {
    let shown = world.get(&format!("/api/kubeedge/device/{device}")).await;
    shown["metrics"]["total_detections"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_detections_made_offline_arrive_once() {
    let mut world = World::start().await;
    let agent = world.agent("edge-1", &[]).await;
    agent.kill().await;
    world.kill_hub().await;

    let outbox = Outbox::open(&world.node_dir("edge-1")).unwrap();
    for id in 1..=1000 {
        outbox.append(detection(id)).await.unwrap();
    }
    outbox.close().await;

    // Hub and agent are killed again and again while the backlog is on its way.
    for _ in 0..3 {
        world.start_hub().await;
        let agent = world.run_agent("edge-1").await;
        eventually("some to arrive", async || (total(&world, "edge-1").await > 0).then_some(()))
            .await;
        agent.kill().await;
        world.kill_hub().await;
    }
    world.start_hub().await;
    let agent = world.run_agent("edge-1").await;
    eventually("all to arrive", async || (total(&world, "edge-1").await >= 1000).then_some(()))
        .await;
    // All are acknowledged, so nothing is on its way any more.
    eventually("the outbox to be empty", async || {
        let status = world.run("edge-1", "get_status", json!({})).await;
        (status["result"]["outbox"]["waiting"].as_u64()? <= 4).then_some(())
    })
    .await;
    assert_eq!(total(&world, "edge-1").await, 1000);
    assert_eq!(world.get("/api/kubeedge/metrics").await["summary"]["total_detections_today"], 1000);
    assert_eq!(agent.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_reports_nonsense_holds_up_nobody() {
    let world = World::start().await;
    let other = world.agent("edge-2", &[]).await;
    let agent = world.agent("edge-1", &[]).await;
    agent.kill().await;
    let outbox = Outbox::open(&world.node_dir("edge-1")).unwrap();
    for id in [1, u64::MAX] {
        let EventBody::Detection(mut seen) = detection(id) else { unreachable!() };
        seen.confidence = f32::NAN;
        seen.latency_micros = u64::MAX;
        seen.captured_at = Timestamp::from_micros(i64::MIN);
        seen.bounding_box.x = f32::INFINITY;
        seen.object = "\0".repeat(1000);
        outbox.append(EventBody::Detection(seen)).await.unwrap();
    }
    outbox.close().await;
    let agent = world.run_agent("edge-1").await;
    eventually("both to arrive", async || (total(&world, "edge-1").await == 2).then_some(())).await;
    for device in ["edge-1", "edge-2"] {
        let status = world.run(device, "get_status", json!({})).await;
        assert_eq!(status["status"], "completed");
    }
    assert_eq!(world.get("/api/kubeedge/metrics").await["summary"]["total_detections_today"], 2);
    drop((agent, other));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_alerts_are_bounded() {
    let world = World::start().await;
    let agent = world.agent("edge-1", &[]).await;
    agent.kill().await;
    let outbox = Outbox::open(&world.node_dir("edge-1")).unwrap();
    for n in 0..60 {
        let message = "é".repeat(10_000);
        let alert = Alert { kind: format!("trouble_{n}"), message, active: true };
        outbox.append(EventBody::Alert(alert)).await.unwrap();
    }
    outbox.append(detection(1)).await.unwrap();
    outbox.close().await;
    let agent = world.run_agent("edge-1").await;
    eventually("the outbox to be empty", async || {
        let status = world.run("edge-1", "get_status", json!({})).await;
        (status["result"]["outbox"]["waiting"].as_u64()? <= 4).then_some(())
    })
    .await;
    let listed = world.get("/api/kubeedge/alerts?active=true").await;
    let alerts = listed["alerts"].as_array().unwrap();
    let own = alerts.iter().filter(|a| a["type"].as_str().unwrap().starts_with("trouble_"));
    assert!(own.clone().count() <= 50 && own.clone().count() > 40, "{listed}");
    assert!(own.clone().all(|a| a["message"].as_str().unwrap().chars().count() == 500));
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_all_devices_saw_never_falls() {
    let world = World::start().await;
    let agent = world.agent("edge-1", &[]).await;
    agent.kill().await;
    let outbox = Outbox::open(&world.node_dir("edge-1")).unwrap();
    outbox.append(detection(1)).await.unwrap();
    outbox.close().await;
    let agent = world.run_agent("edge-1").await;
    eventually("it to arrive", async || (total(&world, "edge-1").await == 1).then_some(())).await;
    agent.kill().await;
    world.call(reqwest::Method::DELETE, "/api/kubeedge/device/edge-1", None).await;
    let url = world.url("/api/kubeedge/metrics/prometheus");
    let answer = world.client().get(url).bearer_auth(world.token()).send().await.unwrap();
    let text = answer.text().await.unwrap();
    assert!(text.contains("\ncloudcore_detections_total 1\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_camera_sees_reaches_the_watchers() {
    let world = World::start().await;
    let camera = format!("file://{}?fps=2", cached("photos").display());
    let model = cached("models/nanodet.json").display().to_string();
    let agent = world.agent("cam-1", &["--camera", &camera, "--model", &model]).await;
    let mut watch = world.watch("?events=detection&device_id=cam-1").await;
    let parameters = json!({ "confidence": 0.25, "interval": 0.2 });
    let started = world.run("cam-1", "start_detection", parameters).await;
    assert_eq!(started["status"], "completed", "{started}");

    let mut missing = vec!["person", "cat", "cup"];
    while !missing.is_empty() {
        let seen = watch.next("detection").await;
        assert_eq!((&seen["node_name"], &seen["device_id"]), (&json!("cam-1"), &json!("cam-1")));
        assert!(seen["confidence"].as_str().unwrap().parse::<f32>().unwrap() >= 0.25);
        missing.retain(|object| seen["object"] != *object);
    }
    let stopped = world.run("cam-1", "stop_detection", json!({})).await;
    assert_eq!(stopped["status"], "completed");

    let shown = world.get("/api/kubeedge/device/cam-1").await;
    assert!(shown["metrics"]["total_detections"].as_u64().unwrap() >= 3);
    assert!(shown["metrics"]["average_latency_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(shown["configuration"]["camera_enabled"], true);
    assert_eq!(agent.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_vanishes_is_an_alert_with_an_end() {
    let world = World::start().await;
    let picture = world.dir.path().join("camera.png");
    std::fs::copy(cached("photos/coffee.png"), &picture).unwrap();
    let camera = format!("file://{}", picture.display());
    let model = cached("models/nanodet.json").display().to_string();
    let agent = world.agent("cam-1", &["--camera", &camera, "--model", &model]).await;
    world.run("cam-1", "start_detection", json!({ "interval": 0.2 })).await;
    let mut watch = world.watch("?events=alert").await;

    std::fs::rename(&picture, world.dir.path().join("gone.png")).unwrap();
    // The machine that runs this may have alerts of its own, such as a full disk.
    let mut next = async || loop {
        let alert = watch.next("alert").await;
        if alert["type"] == "camera_lost" {
            return alert;
        }
    };
    let lost = async || {
        let metrics = world.get("/api/kubeedge/metrics").await;
        metrics["alerts"].as_array().unwrap().iter().any(|alert| alert["type"] == "camera_lost")
    };
    assert_eq!(next().await["active"], true);
    assert!(lost().await);
    // The heartbeat says so at once, not after its interval.
    eventually("the heartbeat", async || {
        let shown = world.get("/api/kubeedge/device/cam-1").await;
        (shown["device_status"]["camera"] == "lost").then_some(())
    })
    .await;

    std::fs::rename(world.dir.path().join("gone.png"), &picture).unwrap();
    assert_eq!(next().await["active"], false);
    assert!(!lost().await);
    assert_eq!(agent.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_session_never_ends_the_new_one() {
    let world = World::start().await;
    let first = world.agent("edge-1", &[]).await;
    // The same node again, as after a restore to another machine.
    let copy = world.node_dir("edge-1-copy");
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(world.node_dir("edge-1")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    let second = world.run_agent("edge-1-copy").await;
    let log = world.dir.path().join("edge-1.log");
    eventually("the first to be superseded", async || {
        let text = std::fs::read_to_string(&log).unwrap();
        (text.contains("superseded") || text.contains("Superseded") || text.contains("took over"))
            .then_some(())
    })
    .await;
    first.kill().await;
    // The one that is left answers, and goes on answering after the first one's time is over.
    for _ in 0..5 {
        let status = world.run("edge-1", "get_status", json!({})).await;
        assert_eq!(status["status"], "completed");
    }
    world.online("edge-1").await;
    assert_eq!(second.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_survives_a_change_of_address() {
    let world = World::start().await;
    let relay = Relay::start(world.quic.parse().unwrap()).await;
    let token = world.join_token("edge-1").await;
    world.join_at(&relay.address.to_string(), "edge-1", &token, &[]).await.unwrap();
    let agent = world.run_agent("edge-1").await;
    world.online("edge-1").await;
    for _ in 0..3 {
        relay.change_address().await;
        let status = world.run("edge-1", "get_status", json!({})).await;
        assert_eq!(status["status"], "completed");
    }
    let log = std::fs::read_to_string(world.dir.path().join("hub.log")).unwrap();
    assert_eq!(log.matches("session began").count(), 1, "{log}");
    assert_eq!(agent.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_device_is_news_after_its_grace() {
    let world = World::start().await;
    let mut watch = world.watch("?events=node_joined,node_left").await;
    let agent = world.agent("edge-1", &[]).await;
    let joined = watch.next("node_joined").await;
    assert_eq!((&joined["node_name"], &joined["status"]), (&json!("edge-1"), &json!("Ready")));
    let stopped = std::time::Instant::now();
    assert_eq!(agent.stop().await, Some(0));
    world.offline("edge-1").await;
    assert_eq!(world.get("/api/kubeedge/devices").await["devices"][0]["status"], "Ready");
    let left = watch.next("node_left").await;
    assert_eq!((&left["node_name"], &left["status"]), (&json!("edge-1"), &json!("NotReady")));
    assert!(stopped.elapsed() >= Duration::from_secs(14), "{:?}", stopped.elapsed());
    assert_eq!(world.get("/api/kubeedge/devices").await["devices"][0]["status"], "NotReady");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_comes_back_misses_nothing() {
    let world = World::start().await;
    let mut watch = world.watch("?events=command_sent").await;
    world
        .post("/api/kubeedge/device/join", json!({ "node_name": "edge-1", "device_id": "cam-1" }))
        .await;
    let command = json!({ "command": "get_status" });
    let first = world.send("cam-1", command.clone()).await;
    assert_eq!(watch.next("command_sent").await["command_id"], first);
    let last = watch.last_id.clone().unwrap();
    drop(watch);
    let second = world.send("cam-1", command).await;
    let mut watch = world.watch_from("?events=command_sent", Some(&last)).await;
    assert_eq!(watch.next("command_sent").await["command_id"], second);
}
