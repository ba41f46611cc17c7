//! The documented topics, as people and programs see them.

use std::process::Stdio;

use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
    time::timeout,
};

use super::{
    client::{Paho, mosquitto, python},
    command, detection, device, result, status,
};
use crate::world::{PATIENCE, World, cached, eventually};

/// The contract's own client, word for word; the host is replaced, and `login` stands where a
/// program says who it is.
fn contract_client(world: &World, login: &str) -> Command {
    let (host, port) = world.mqtt.rsplit_once(':').unwrap();
    let script = include_str!("contract_client.py");
    let connect = format!("{login}\nclient.connect(\"{host}\", {port}, 60)");
    let script = script.replace("client.connect(\"3.70.53.21\", 1883, 60)", &connect);
    assert!(script.contains(host));
    let mut command = Command::new(python());
    command.args(["-u", "-W", "ignore", "-c", &script]);
    command.stdout(Stdio::piped()).kill_on_drop(true);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contracts_client_works_with_credentials_and_not_without() {
    let world = World::start().await;
    let agent = world.agent("edge-1", &[]).await;

    let mut anonymous = contract_client(&world, "").spawn().unwrap();
    let mut lines = BufReader::new(anonymous.stdout.take().unwrap()).lines();
    let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
    assert_eq!(line, "Connected with result code 4");

    let login = format!("client.username_pw_set(\"admin\", \"{}\")", world.token());
    let mut client = contract_client(&world, &login).spawn().unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    let mut next = async || timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
    assert_eq!(next().await, "Connected with result code 0");
    let line = next().await;
    let told = line.strip_prefix("Topic: cloudcore/device/edge-1/status, Message: ").unwrap();
    let told: serde_json::Value = serde_json::from_str(told).unwrap();
    assert_eq!(told["online"], true, "{told}");
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contracts_client_works_as_written_where_monitoring_is_public() {
    let world = World::start_with(&["--public-monitoring"]).await;
    let agent = world.agent("edge-1", &[]).await;
    let mut client = contract_client(&world, "").spawn().unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    let mut next = async || timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
    assert_eq!(next().await, "Connected with result code 0");
    assert!(next().await.starts_with("Topic: cloudcore/device/edge-1/status, Message: {"));
    // Watching is all that it may.
    let mut anybody = Paho::connect(&world.mqtt, json!({ "protocol": 5 })).await;
    assert_eq!(anybody.try_subscribe("cloudcore/#", 0).await, 135);
    assert_eq!(anybody.try_subscribe(&command("edge-1"), 0).await, 135);
    assert_eq!(anybody.publish(&command("edge-1"), &json!({ "command": "reboot" })).await, 135);
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_status_is_retained() {
    let world = World::start().await;
    let agent = world.agent("edge-1", &[]).await;
    let token = world.token();
    let read = async || {
        let arguments =
            ["-u", "admin", "-P", token, "-t", &status("edge-1"), "-C", "1", "-W", "20"];
        let (code, printed) = mosquitto("mosquitto_sub", &world.mqtt, &arguments).await;
        assert_eq!(code, 0, "{printed}");
        serde_json::from_str::<serde_json::Value>(&printed).unwrap()
    };
    let told = eventually("a status with the documented keys", async || {
        let told = read().await;
        told["memory"].is_string().then_some(told)
    })
    .await;
    assert_eq!(told["online"], true, "{told}");
    assert!(told["memory"].as_str().unwrap().ends_with('B'), "{told}");
    assert!(told["memory_total_bytes"].as_u64().unwrap() > 0, "{told}");
    assert_eq!(told["node_name"], "edge-1");
    eventually("the load", async || {
        read().await["cpu"].as_str().is_some_and(|cpu| cpu.ends_with('%')).then_some(())
    })
    .await;

    assert_eq!(agent.stop().await, Some(0));
    eventually("the status to say offline", async || {
        (read().await["online"] == false).then_some(())
    })
    .await;

    // A device that is removed leaves nothing behind, not even one that is away.
    let (code, _) = world.call(reqwest::Method::DELETE, "/api/kubeedge/device/edge-1", None).await;
    assert_eq!(code, 200);
    eventually("its status to be gone", async || {
        let arguments = ["-u", "admin", "-P", token, "-t", &status("edge-1"), "-C", "1", "-W", "1"];
        let (code, printed) = mosquitto("mosquitto_sub", &world.mqtt, &arguments).await;
        // It waited in vain.
        (code == 27 && printed.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_by_mqtt_reaches_an_agent_and_its_result_comes_back() {
    let world = World::start().await;
    let agent = world.agent("edge-1", &[]).await;
    let mut operator = Paho::operator(&world).await;
    operator.subscribe("cloudcore/#").await;
    assert_eq!(operator.publish(&command("edge-1"), &json!({ "command": "get_status" })).await, 0);
    let told =
        operator.find("message", |m| m["topic"].as_str().unwrap().ends_with("/result")).await;
    let payload: serde_json::Value =
        serde_json::from_str(told["payload"].as_str().unwrap()).unwrap();
    assert_eq!(payload["status"], "completed", "{payload}");
    assert_eq!(payload["command"], "get_status");
    let id = payload["command_id"].as_str().unwrap();
    assert_eq!(told["topic"], result("edge-1", id).as_str());
    assert_eq!(world.status(id).await["status"], "completed");

    // It is in the audit log like one by HTTP.
    let log = world.get("/api/kubeedge/security/logs?actor=admin").await;
    let entry = log["logs"].as_array().or(log["entries"].as_array()).unwrap();
    let entry = entry.iter().find(|e| e["request_id"] == id);
    let entry = entry.unwrap_or_else(|| panic!("{log}"));
    assert_eq!((&entry["outcome"], &entry["target"]), (&json!("done"), &json!(command("edge-1"))));
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_sees_is_published() {
    let world = World::start().await;
    let camera = format!("file://{}?fps=2", cached("photos").display());
    let model = cached("models/nanodet.json").display().to_string();
    let agent = world.agent("cam-1", &["--camera", &camera, "--model", &model]).await;
    let mut watcher = Paho::operator(&world).await;
    watcher.subscribe(&detection("cam-1")).await;
    world.run("cam-1", "start_detection", json!({ "confidence": 0.25, "interval": 0.2 })).await;
    let seen = watcher.message(&detection("cam-1")).await;
    assert_eq!((&seen["device_id"], &seen["phase"]), (&json!("cam-1"), &json!("started")));
    assert!(seen["object"].is_string(), "{seen}");
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_reaches_a_type_or_all() {
    let world = World::start().await;
    let agent = world.agent("edge-1", &[]).await;
    let mut camera = device(&world, "cam-1", "camera").await;
    let mut sensor = device(&world, "sensor-1", "sensor").await;
    let mut operator = Paho::operator(&world).await;
    let broadcast = "cloudcore/broadcast/command";

    // The documented payload.
    let order = json!({ "command": "reboot", "device_type": "camera" });
    assert_eq!(operator.publish(broadcast, &order).await, 0);
    let got = camera.message(&command("cam-1")).await;
    assert_eq!(got["command"], "reboot", "{got}");
    let reboot = got["command_id"].as_str().unwrap().to_owned();

    let order = json!({ "command": "get_status", "timeout": 50 });
    assert_eq!(operator.publish(broadcast, &order).await, 0);
    let of_camera = camera.message(&command("cam-1")).await;
    // The sensor's first: it never got the other.
    let of_sensor = sensor.message(&command("sensor-1")).await;
    assert_eq!(of_sensor["command"], "get_status", "{of_sensor}");
    assert_eq!(of_camera["command"], "get_status", "{of_camera}");
    assert_ne!(of_camera["command_id"], of_sensor["command_id"]);
    // Each has a life of its own.
    let id = of_sensor["command_id"].as_str().unwrap();
    sensor.publish(&result("sensor-1", id), &json!({ "status": "completed" })).await;
    assert_eq!(world.ended(id).await["status"], "completed");
    assert_eq!(world.status(&reboot).await["status"], "sent");
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_published() {
    let world = World::start().await;
    let mut watcher = Paho::operator(&world).await;
    watcher.subscribe("cloudcore/alerts").await;
    // A camera that gives no picture.
    let agent = world.agent("cam-1", &["--camera", "file:///nowhere.png"]).await;
    world.run("cam-1", "capture_image", json!({})).await;
    let alert = watcher.message("cloudcore/alerts").await;
    assert_eq!((&alert["device_id"], &alert["type"]), (&json!("cam-1"), &json!("camera_lost")));
    drop(agent);
}
