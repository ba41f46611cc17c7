//! Contract, "MQTT API": the three topics with their payloads, by Mosquitto's programs. The page's
//! Python client runs in `mqtt::topics`; that it is the page's is held here.

use serde_json::{Value, json};

use super::{facts, page::Page, shape};
use crate::{
    mqtt::client::mosquitto,
    world::{World, cached, eventually},
};

#[test]
fn the_python_client_is_the_pages() {
    let page = Page::read();
    let begins = page.lines.iter().position(|line| line == "import paho.mqtt.client as mqtt");
    let ends = page.lines.iter().position(|line| line == "client.loop_forever()");
    let lines = &page.lines[begins.expect("it begins")..=ends.expect("it ends")];
    assert_eq!(include_str!("../mqtt/contract_client.py").trim(), lines.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topics_work_as_documented() {
    let facts = facts::of("mqtt.rs::the_topics_work_as_documented");
    let topics: Vec<(String, Value)> = facts
        .chunks(2)
        .map(|pair| {
            let topic = pair[0].text.strip_prefix("Topic: ").expect("a topic");
            let payload = pair[1].text.strip_prefix("Payload: ").expect("its payload");
            let payload = serde_json::from_str(&payload.replace("{...}", "{}")).expect("JSON");
            (topic.replace("{device_id}", "edge-device-001"), payload)
        })
        .collect();
    let [command, status, broadcast] = topics.as_slice() else { panic!("{topics:?}") };

    let world = World::start().await;
    let device = json!({
        "node_name": "edge-node-001", "device_id": "edge-device-001", "device_type": "camera",
    });
    let joined = world.post("/api/kubeedge/device/join", device).await;
    let line = joined["join_command"].as_str().expect("a line");
    let token = line.split("--token=").nth(1).expect("a token");
    let camera = format!("file://{}", cached("photos/astronaut.png").display());
    let more = ["--camera", &camera, "--heartbeat-interval", "1"];
    world.join("edge-node-001", token, &more).await.expect("the node joins");
    let agent = world.run_agent("edge-node-001").await;
    let mut watch = world.watch("?events=command_result").await;
    let login = ["-u", "admin", "-P", world.token()];
    let publish = async |topic: &str, payload: &Value| {
        let payload = payload.to_string();
        let arguments = [&login[..], &["-q", "1", "-t", topic, "-m", &payload]].concat();
        let (code, printed) = mosquitto("mosquitto_pub", &world.mqtt, &arguments).await;
        assert_eq!(code, 0, "{printed}");
    };

    let told = eventually("a status with its load", async || {
        let arguments = [&login[..], &["-t", &status.0, "-C", "1", "-W", "20"]].concat();
        let (code, printed) = mosquitto("mosquitto_sub", &world.mqtt, &arguments).await;
        assert_eq!(code, 0, "{printed}");
        let told: Value = serde_json::from_str(&printed).expect("JSON");
        told["cpu"].is_string().then_some(told)
    })
    .await;
    let differences = shape::differences(&status.1, &told, &shape::Allowed::default());
    assert!(differences.is_empty(), "{} in {told}", differences.join("; "));
    assert_eq!(told["online"], true);

    publish(&command.0, &command.1).await;
    let ended = watch.next("command_result").await;
    assert_eq!(
        (&ended["command"], &ended["device_id"], &ended["status"]),
        (&command.1["command"], &json!("edge-device-001"), &json!("completed")),
        "{ended}"
    );

    // The agent's owner has not allowed that, and it says so.
    publish(&broadcast.0, &broadcast.1).await;
    let ended = watch.next("command_result").await;
    assert_eq!(
        (&ended["command"], &ended["device_id"], &ended["status"]),
        (&broadcast.1["command"], &json!("edge-device-001"), &json!("failed")),
        "{ended}"
    );
    assert_eq!(agent.stop().await, Some(0));
}
