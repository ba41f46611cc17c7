//! A device that lives on MQTT alone.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{client::Paho, command, credentials, detection, device, member, result, status};
use crate::world::{World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_life() {
    let mut world = World::start().await;
    let mut watch = world.watch("").await;
    let mut people = Paho::operator(&world).await;
    people.subscribe("cloudcore/#").await;
    let login = member(&world, "sensor-1", "sensor").await;
    let shown = world.get("/api/kubeedge/device/sensor-1").await;
    assert_eq!((&shown["joined"], &shown["status"]), (&json!(true), &json!("NotReady")));

    // A command waits for it.
    let waiting = world.send("sensor-1", json!({ "command": "open_valve", "timeout": 50 })).await;
    assert_eq!(world.status(&waiting).await["status"], "queued");

    // It comes, and is there, before it listens.
    let mut sensor = Paho::connect(&world.mqtt, login.clone()).await;
    world.online("sensor-1").await;
    let joined = watch.next("node_joined").await;
    assert_eq!(joined["device_id"], "sensor-1");
    assert_eq!(people.message(&status("sensor-1")).await["online"], true);
    eventually("the device to be Ready", async || {
        let listed = world.get("/api/kubeedge/devices?status=Ready").await;
        (listed["devices"][0]["device_id"] == "sensor-1").then_some(())
    })
    .await;
    assert_eq!(world.status(&waiting).await["status"], "queued");

    // It listens, and gets the command.
    sensor.subscribe(&command("sensor-1")).await;
    let got = sensor.message(&command("sensor-1")).await;
    assert_eq!((&got["command_id"], &got["command"]), (&json!(waiting), &json!("open_valve")));
    assert!(got["timeout"].as_u64().unwrap() <= 50, "{got}");
    eventually("the command to be sent", async || {
        (world.status(&waiting).await["status"] == "sent").then_some(())
    })
    .await;
    sensor.publish(&result("sensor-1", &waiting), &json!({ "status": "running" })).await;
    assert_eq!(world.status(&waiting).await["status"], "running");
    let done =
        json!({ "status": "completed", "result": { "open": true }, "execution_time_ms": 15 });
    sensor.publish(&result("sensor-1", &waiting), &done).await;
    let ended = world.status(&waiting).await;
    assert_eq!(ended["status"], "completed", "{ended}");
    assert_eq!(ended["result"], json!({ "open": true, "success": true }));
    assert_eq!(ended["execution_time"], "15ms");
    assert_eq!(watch.next("command_result").await["command_id"], waiting);

    // One that is sent while it is there, by an operator on MQTT; what the operator publishes
    // does not reach the device itself, the accepted command does.
    let order = json!({ "command": "blink", "parameters": { "times": 3 } });
    people.publish(&command("sensor-1"), &order).await;
    let got = sensor.message(&command("sensor-1")).await;
    assert_eq!((&got["command"], &got["parameters"]), (&json!("blink"), &json!({ "times": 3 })));
    let id = got["command_id"].as_str().unwrap().to_owned();
    let failed = json!({ "status": "failed", "error": "lamp_broken", "message": "no light" });
    sensor.publish(&result("sensor-1", &id), &failed).await;
    let ended = world.ended(&id).await;
    assert_eq!(
        (&ended["status"], &ended["result"]["error"]),
        (&json!("failed"), &json!("lamp_broken"))
    );

    // How it is, with a reading of its own.
    let how = json!({ "online": true, "cpu": "45%", "memory": "2.3GB", "humidity": 40.5 });
    sensor.publish(&status("sensor-1"), &how).await;
    let shown = world.get("/api/kubeedge/device/sensor-1").await["device_status"].clone();
    assert_eq!(shown["cpu_usage"], "45%", "{shown}");
    assert_eq!(shown["memory_used_bytes"], 2_300_000_000_u64);
    assert_eq!(shown["reported"], json!({ "humidity": 40.5 }));
    assert!(shown["last_heartbeat"].is_string());
    let heartbeat = watch.next("heartbeat").await;
    assert_eq!((&heartbeat["cpu"], &heartbeat["memory"]), (&json!("45%"), &json!("2.3GB")));
    let told = people
        .find("message", |m| {
            m["topic"] == status("sensor-1").as_str()
                && m["payload"].as_str().unwrap().contains("humidity")
        })
        .await;
    assert_eq!(told["payload"], how.to_string());

    // What it sees.
    sensor
        .publish(&detection("sensor-1"), &json!({ "object": "person", "confidence": 0.95 }))
        .await;
    let seen = watch.next("detection").await;
    assert_eq!((&seen["object"], &seen["confidence"]), (&json!("person"), &json!("0.95")));
    let shown = world.get("/api/kubeedge/device/sensor-1").await;
    assert_eq!(shown["metrics"]["total_detections"], 1);
    assert_eq!(people.message(&detection("sensor-1")).await["object"], "person");

    // It is gone without a word.
    sensor.die().await;
    world.offline("sensor-1").await;
    people
        .find("message", |m| {
            m["topic"] == status("sensor-1").as_str()
                && m["payload"].as_str().unwrap().starts_with("{\"online\":false")
        })
        .await;
    assert_eq!(watch.next("node_left").await["device_id"], "sensor-1");

    // A command that it does not get in time expires, and the watchers on MQTT hear of it.
    let late = world.send("sensor-1", json!({ "command": "blink", "timeout": 1 })).await;
    assert_eq!(world.ended(&late).await["status"], "expired");
    assert_eq!(people.message(&result("sensor-1", &late)).await["status"], "expired");

    // All that is still so after a restart.
    world.kill_hub().await;
    world.start_hub().await;
    let sensor = Paho::connect(&world.mqtt, login).await;
    world.online("sensor-1").await;
    sensor.disconnect().await;
    world.offline("sensor-1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_removed_is_cut_off() {
    let world = World::start().await;
    let login = member(&world, "sensor-1", "sensor").await;
    let mut sensor = Paho::connect(&world.mqtt, login.clone()).await;
    world.online("sensor-1").await;

    // A new password ends the old one, and its session.
    let fresh = credentials(&world, "sensor-1").await;
    sensor.next("disconnected").await;
    assert_eq!(Paho::refused(&world.mqtt, login).await, REFUSED);
    let mut sensor = Paho::connect(&world.mqtt, fresh.clone()).await;
    world.online("sensor-1").await;

    // Its access ends; the device stays.
    let path = "/api/kubeedge/device/sensor-1/mqtt";
    let (code, answer) = world.call(Method::DELETE, path, None).await;
    assert_eq!(code, StatusCode::OK, "{answer}");
    sensor.next("disconnected").await;
    assert_eq!(Paho::refused(&world.mqtt, fresh).await, REFUSED);
    let (code, answer) = world.call(Method::DELETE, path, None).await;
    assert_eq!((code, &answer["code"]), (StatusCode::NOT_FOUND, &json!("API-004")));
    assert_eq!(world.get("/api/kubeedge/device/sensor-1").await["joined"], false);

    // The device goes, and takes its access with it.
    let login = credentials(&world, "sensor-1").await;
    let mut sensor = Paho::connect(&world.mqtt, login.clone()).await;
    world.online("sensor-1").await;
    world.call(Method::DELETE, "/api/kubeedge/device/sensor-1", None).await;
    sensor.next("disconnected").await;
    assert_eq!(Paho::refused(&world.mqtt, login).await, REFUSED);
    let (code, answer) = world.call(Method::POST, path, Some(json!({}))).await;
    assert_eq!((code, &answer["code"]), (StatusCode::NOT_FOUND, &json!("API-004")));
}

/// "Bad user name or password", as paho has it for MQTT 3.1.1 too.
const REFUSED: i64 = 134;

#[tokio::test(flavor = "multi_thread")]
async fn a_device_has_an_agent_or_lives_on_mqtt() {
    let world = World::start().await;
    let agent = world.agent("edge-1", &[]).await;
    let path = "/api/kubeedge/device/edge-1/mqtt";
    let (code, answer) = world.call(Method::POST, path, Some(json!({}))).await;
    assert_eq!((code, &answer["code"]), (StatusCode::CONFLICT, &json!("API-005")));
    assert_eq!(agent.stop().await, Some(0));

    // An agent that joins takes over from MQTT.
    let login = member(&world, "dev-2", "camera").await;
    let mut old = Paho::connect(&world.mqtt, login.clone()).await;
    world.online("dev-2").await;
    let token = world.join_token("node-of-dev-2").await;
    world.join("node-of-dev-2", &token, &[]).await.unwrap();
    let agent = world.run_agent("node-of-dev-2").await;
    old.next("disconnected").await;
    assert_eq!(Paho::refused(&world.mqtt, login).await, REFUSED);
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_will_of_a_device_says_that_it_is_gone() {
    let world = World::start().await;
    let mut login = member(&world, "sensor-1", "sensor").await;
    login["will"] = json!({
        "topic": status("sensor-1"), "payload": "{\"online\":false,\"why\":\"power\"}",
        "qos": 1, "retain": true,
    });
    let mut people = Paho::operator(&world).await;
    people.subscribe(&status("sensor-1")).await;
    let sensor = Paho::connect(&world.mqtt, login.clone()).await;
    world.online("sensor-1").await;
    sensor.die().await;
    people.find("message", |m| m["payload"].as_str().unwrap().contains("power")).await;
    world.offline("sensor-1").await;

    // The will of an older connection says nothing of a newer one.
    let mut old = Paho::connect(&world.mqtt, login.clone()).await;
    world.online("sensor-1").await;
    let mut new = Paho::connect(&world.mqtt, login).await;
    old.next("disconnected").await;
    new.publish(&status("sensor-1"), &json!({ "online": true, "step": 2 })).await;
    people
        .find("message", |m| {
            let payload = m["payload"].as_str().unwrap();
            assert!(!payload.contains("power"), "{payload}");
            payload.contains("step")
        })
        .await;
    let shown = world.get("/api/kubeedge/device/sensor-1").await;
    assert_eq!(shown["device_status"]["online"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_refused_and_counted() {
    let world = World::start().await;
    let mut sensor = device(&world, "sensor-1", "sensor").await;
    let mut people = Paho::operator(&world).await;
    people.subscribe("cloudcore/#").await;
    let refused =
        async || world.get("/api/kubeedge/mqtt").await["messages_refused"].as_u64().unwrap();
    assert_eq!(refused().await, 0);
    let id = "cmd_01ARZ3NDEKTSV4RRFFQ69G5FAV";
    let mut n = 0;
    for topic in [status("sensor-1"), detection("sensor-1"), result("sensor-1", id)] {
        for payload in ["", "nonsense", "[]", "{}", "{\"online\":7}", &"[".repeat(50_000)] {
            sensor.publish_text(&topic, payload, 1, true).await;
            n += 1;
            assert_eq!(refused().await, n, "{topic} {payload:.20}");
        }
    }
    sensor.publish_text("cloudcore/device/sensor-1/command/cmd_x/result", "{}", 1, false).await;
    for payload in [
        "{\"command\":\"Reboot\"}",
        "{\"command\":\"capture_image\",\"parameters\":{\"quality\":101}}",
        "{\"command_id\":\"cmd_01ARZ3NDEKTSV4RRFFQ69G5FAV\",\"command\":\"reboot\"}",
        "reboot",
    ] {
        people.publish_text(&command("sensor-1"), payload, 1, false).await;
    }
    people.publish_text(&command("nobody"), "{\"command\":\"reboot\"}", 1, false).await;
    assert_eq!(refused().await, n + 6);
    // Nothing of it reached anybody; what comes next does.
    sensor.publish(&status("sensor-1"), &json!({ "online": true, "step": 1 })).await;
    let first = people
        .find("message", |m| {
            !m["payload"].as_str().unwrap().starts_with("{\"online\":true,\"cpu\"")
        })
        .await;
    assert_eq!(first["payload"], "{\"online\":true,\"step\":1}");
    // A result for a command that is another's, or that is none, changes nothing.
    let own = world.send("sensor-1", json!({ "command": "blink", "timeout": 50 })).await;
    let other = member(&world, "sensor-2", "sensor").await;
    let mut other = Paho::connect(&world.mqtt, other).await;
    other.publish(&result("sensor-2", &own), &json!({ "status": "completed" })).await;
    assert_eq!(world.status(&own).await["status"], "sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_was_acknowledged_survives_a_kill() {
    let mut world = World::start().await;
    let login = member(&world, "sensor-1", "sensor").await;
    let mut sensor = Paho::connect(&world.mqtt, login).await;
    let mut seen = 0;
    for n in 0..50 {
        sensor.publish(&detection("sensor-1"), &json!({ "object": "car", "track_id": n })).await;
        seen += 1;
    }
    world.kill_hub().await;
    world.start_hub().await;
    let shown: Value = world.get("/api/kubeedge/device/sensor-1").await;
    assert_eq!(shown["metrics"]["total_detections"], seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_leaves_who_is_in_it_and_cuts_off_who_came_since() {
    let world = World::start().await;
    let mut stays = device(&world, "sensor-1", "sensor").await;
    world.post("/api/kubeedge/backup", json!({ "name": "before" })).await;
    let login = member(&world, "sensor-2", "sensor").await;
    let mut newer = Paho::connect(&world.mqtt, login.clone()).await;
    world.online("sensor-2").await;

    let restored = world.post("/api/kubeedge/restore", json!({ "backup_id": "before" })).await;
    assert_eq!(restored["sessions_closed"], 1, "{restored}");
    newer.next("disconnected").await;
    assert_eq!(Paho::refused(&world.mqtt, login).await, REFUSED);
    let shown = world.get("/api/kubeedge/device/sensor-1").await;
    assert_eq!((&shown["joined"], &shown["status"]), (&json!(true), &json!("Ready")));
    let sent = world.send("sensor-1", json!({ "command": "blink" })).await;
    assert_eq!(stays.message(&command("sensor-1")).await["command_id"], sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_without_an_agent_has_alerts() {
    let world = World::start().await;
    let login = member(&world, "sensor-1", "sensor").await;
    let mut sensor = Paho::connect(&world.mqtt, login).await;
    let mut people = Paho::operator(&world).await;
    people.subscribe("cloudcore/alerts").await;
    for (celsius, active) in [(95.0, true), (40.0, false)] {
        let how = json!({ "online": true, "temperature_celsius": celsius });
        sensor.publish(&status("sensor-1"), &how).await;
        let alert = people.message("cloudcore/alerts").await;
        assert_eq!(alert["type"], "high_temperature", "{alert}");
        assert_eq!((&alert["device_id"], &alert["active"]), (&json!("sensor-1"), &json!(active)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_holds_the_devices_on_mqtt_and_opens_nothing_that_was_closed() {
    let world = World::start().await;
    let kept = member(&world, "sensor-1", "sensor").await;
    let withdrawn = member(&world, "sensor-2", "sensor").await;
    let changed = member(&world, "sensor-3", "sensor").await;
    let backup = world.post("/api/kubeedge/backup", json!({ "name": "b" })).await;
    let (code, _) = world.call(Method::DELETE, "/api/kubeedge/device/sensor-2/mqtt", None).await;
    assert_eq!(code, StatusCode::OK);
    let fresh = credentials(&world, "sensor-3").await;
    world.post("/api/kubeedge/restore", json!({ "backup_id": backup["backup_id"] })).await;
    Paho::connect(&world.mqtt, kept).await;
    Paho::connect(&world.mqtt, fresh).await;
    for login in [withdrawn, changed] {
        assert_eq!(Paho::refused(&world.mqtt, login).await, REFUSED);
    }
    let joined = async |device: &str| {
        world.get(&format!("/api/kubeedge/device/{device}")).await["joined"].clone()
    };
    assert_eq!((joined("sensor-1").await, joined("sensor-2").await), (json!(true), json!(false)));
}
