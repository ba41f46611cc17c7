//! Somebody else's broker: a real Mosquitto.

use std::{path::PathBuf, process::Stdio};

use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
};

use super::{client::Paho, command, detection, result, status};
use crate::world::{PATIENCE, World, eventually};

const LOGIN: (&str, &str) = ("hub", "s3cret@broker");

/// A Mosquitto on a free port.
pub struct Mosquitto {
    dir: TempDir,
    port: u16,
    child: Option<Child>,
    more: String,
}

impl Mosquitto {
    pub async fn start(more: &str) -> Self {
        let dir = TempDir::with_prefix("cloudcore-mosquitto-").unwrap();
        let passwords = dir.path().join("passwords");
        let done = Command::new("mosquitto_passwd")
            .args(["-c", "-b", passwords.to_str().unwrap(), LOGIN.0, LOGIN.1])
            .status()
            .await
            .unwrap();
        assert!(done.success());
        let port = free_port();
        let mut broker = Self { dir, port, child: None, more: more.to_owned() };
        broker.run().await;
        broker
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn run(&mut self) {
        let config = format!(
            "listener {} 127.0.0.1\nallow_anonymous false\npassword_file {}\npersistence true\n\
             persistence_location {}/\nlog_dest file {}\nuser root\n{}\n",
            self.port,
            self.path("passwords").display(),
            self.dir.path().display(),
            self.path("log").display(),
            self.more,
        );
        tokio::fs::write(self.path("conf"), config).await.unwrap();
        let child = Command::new("/usr/sbin/mosquitto")
            .arg("-c")
            .arg(self.path("conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("Mosquitto starts");
        self.child = Some(child);
        eventually("Mosquitto to listen", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.ok().map(drop)
        })
        .await;
    }

    async fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        let pid = nix::unistd::Pid::from_raw(child.id().unwrap().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn url(&self) -> String {
        format!("mqtt://{}:s3cret%40broker@127.0.0.1:{}", LOGIN.0, self.port)
    }

    fn login() -> serde_json::Value {
        json!({ "username": LOGIN.0, "password": LOGIN.1 })
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn connected(world: &World) {
    eventually("the hub to reach the broker", async || {
        (world.get("/api/kubeedge/mqtt").await["connected"] == true).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_topics_work_on_another_broker() {
    let mut broker = Mosquitto::start("").await;
    let world = World::start_with(&["--mqtt-url", &broker.url()]).await;
    connected(&world).await;
    let agent = world.agent("edge-1", &[]).await;
    let mut people = Paho::connect(&broker.address(), Mosquitto::login()).await;
    people.subscribe("cloudcore/#").await;

    // An agent's status is retained there.
    let told = people
        .find("message", |m| {
            m["topic"] == status("edge-1").as_str()
                && m["payload"].as_str().unwrap().contains("\"memory\":\"")
        })
        .await;
    assert!(told["payload"].as_str().unwrap().starts_with("{\"online\":true,"), "{told}");

    // A command goes to an agent, and its result comes back; the hub's words are not its orders.
    people.publish(&command("edge-1"), &json!({ "command": "get_status" })).await;
    let told = people.find("message", |m| m["topic"].as_str().unwrap().ends_with("/result")).await;
    assert!(told["payload"].as_str().unwrap().contains("\"completed\""), "{told}");

    // A device that lives there: it says that it is online, and gets what waits.
    let body = json!({ "node_name": "n-1", "device_id": "sensor-1", "device_type": "sensor" });
    world.post("/api/kubeedge/device/join", body).await;
    let admitted = world.post("/api/kubeedge/device/sensor-1/mqtt", json!({})).await;
    assert_eq!((&admitted["username"], &admitted["password"]), (&json!(null), &json!(null)));
    assert_eq!(admitted["broker"], format!("mqtt://127.0.0.1:{}", broker.port));
    let waiting = world.send("sensor-1", json!({ "command": "blink", "timeout": 55 })).await;
    let mut login = Mosquitto::login();
    login["will"] = json!({
        "topic": status("sensor-1"), "payload": "{\"online\":false}", "qos": 1, "retain": true,
    });
    let mut sensor = Paho::connect(&broker.address(), login.clone()).await;
    sensor.subscribe(&command("sensor-1")).await;
    sensor.publish_text(&status("sensor-1"), "{\"online\":true,\"cpu\":\"7%\"}", 1, true).await;
    let got = sensor.message(&command("sensor-1")).await;
    assert_eq!(got["command_id"], waiting, "{got}");
    world.online("sensor-1").await;
    let done = json!({ "status": "completed", "result": { "lit": true } });
    sensor.publish(&result("sensor-1", &waiting), &done).await;
    assert_eq!(world.ended(&waiting).await["result"]["lit"], true);
    sensor.publish(&detection("sensor-1"), &json!({ "object": "person" })).await;
    eventually("the detection", async || {
        let shown = world.get("/api/kubeedge/device/sensor-1").await;
        (shown["metrics"]["total_detections"] == 1).then_some(())
    })
    .await;

    // A command published there for it is one command, whatever the hub publishes itself.
    people.publish(&command("sensor-1"), &json!({ "command": "beep", "timeout": 50 })).await;
    let got = sensor
        .find("message", |m| {
            let payload = m["payload"].as_str().unwrap();
            payload.contains("beep") && payload.contains("command_id")
        })
        .await;
    let got: serde_json::Value = serde_json::from_str(got["payload"].as_str().unwrap()).unwrap();
    let id = got["command_id"].as_str().unwrap().to_owned();
    sensor.publish(&result("sensor-1", &id), &json!({ "status": "completed" })).await;
    world.ended(&id).await;
    let log = world.get("/api/kubeedge/security/logs?actor=mqtt").await;
    assert_eq!((&log["count"], &log["logs"][0]["request_id"]), (&json!(2), &json!(id)), "{log}");

    // The broker goes, and comes back; so does the hub, which tells all again.
    broker.stop().await;
    world.offline("sensor-1").await;
    // The last will, which the broker sends as it stops, may be there before its end is noticed.
    eventually("the hub to notice", async || {
        let standing = world.get("/api/kubeedge/mqtt").await;
        (standing["connected"] == false).then_some(())
    })
    .await;
    broker.run().await;
    connected(&world).await;
    let mut sensor = Paho::connect(&broker.address(), login).await;
    sensor.subscribe(&command("sensor-1")).await;
    sensor.publish_text(&status("sensor-1"), "{\"online\":true}", 1, true).await;
    world.online("sensor-1").await;
    // Its last will is its end.
    sensor.die().await;
    world.offline("sensor-1").await;

    // The password is nowhere.
    let log = tokio::fs::read_to_string(world.dir.path().join("hub.log")).await.unwrap();
    assert!(!log.contains("s3cret"), "{log}");
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_while_the_hub_is_away_is_not_lost() {
    let broker = Mosquitto::start("").await;
    let mut world = World::start_with(&["--mqtt-url", &broker.url()]).await;
    connected(&world).await;
    let body = json!({ "node_name": "n-1", "device_id": "sensor-1" });
    world.post("/api/kubeedge/device/join", body).await;
    world.post("/api/kubeedge/device/sensor-1/mqtt", json!({})).await;
    let mut sensor = Paho::connect(&broker.address(), Mosquitto::login()).await;
    world.kill_hub().await;
    for n in 0..20 {
        sensor.publish(&detection("sensor-1"), &json!({ "object": "car", "track_id": n })).await;
    }
    world.start_hub().await;
    eventually("all of them", async || {
        let shown = world.get("/api/kubeedge/device/sensor-1").await;
        (shown["metrics"]["total_detections"] == 20).then_some(())
    })
    .await;
    assert_eq!(world.stop_hub().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn results_and_alerts_wait_for_a_broker_that_is_away() {
    let mut broker = Mosquitto::start("").await;
    let world = World::start_with(&["--mqtt-url", &broker.url()]).await;
    connected(&world).await;
    let agent = world.agent("edge-1", &[]).await;
    // Kept for it while the broker is away.
    let mut login = Mosquitto::login();
    login["client_id"] = json!("people");
    login["clean"] = json!(false);
    let mut people = Paho::connect(&broker.address(), login.clone()).await;
    people.order(json!({ "do": "subscribe", "topic": "cloudcore/#", "qos": 1 })).await;
    people.next("subscribed").await;
    broker.stop().await;
    eventually("the hub to notice", async || {
        (world.get("/api/kubeedge/mqtt").await["connected"] == false).then_some(())
    })
    .await;
    let done = world.run("edge-1", "get_status", json!({})).await;
    assert_eq!(done["status"], "completed");
    let id = done["command_id"].as_str().unwrap();
    broker.run().await;
    let mut people = Paho::connect(&broker.address(), login).await;
    let topic = result("edge-1", id);
    let told = people
        .find("message", |m| {
            m["topic"] == topic.as_str() && m["payload"].as_str().unwrap().contains("completed")
        })
        .await;
    assert_eq!(told["retain"], false);
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_says_nothing_more_is_away() {
    let broker = Mosquitto::start("").await;
    let mut world = World::start_with(&["--mqtt-url", &broker.url(), "--mqtt-silence", "2"]).await;
    connected(&world).await;
    for id in ["quiet", "dead"] {
        let body = json!({ "node_name": id, "device_id": id });
        world.post("/api/kubeedge/device/join", body).await;
        world.post(&format!("/api/kubeedge/device/{id}/mqtt"), json!({})).await;
    }
    let mut people = Paho::connect(&broker.address(), Mosquitto::login()).await;
    // One has a clock, and said so long ago; the other one says nothing more from now on.
    let old = "{\"online\":true,\"timestamp\":\"2026-01-01T00:00:00Z\"}";
    people.publish_text(&status("quiet"), "{\"online\":true}", 1, true).await;
    world.online("quiet").await;
    world.offline("quiet").await;
    world.kill_hub().await;
    people.publish_text(&status("dead"), old, 1, true).await;
    people.publish_text(&status("quiet"), "{\"online\":true}", 1, true).await;
    world.start_hub().await;
    world.online("quiet").await;
    world.offline("quiet").await;
    assert_eq!(world.stop_hub().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_by_tls_is_checked() {
    let dir = TempDir::with_prefix("cloudcore-tls-").unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    // A CA and a certificate for localhost.
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(params, &ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    for (name, text) in
        [("ca.pem", ca.pem()), ("cert.pem", leaf.pem()), ("key.pem", key.serialize_pem())]
    {
        let mut file = tokio::fs::File::create(dir.path().join(name)).await.unwrap();
        file.write_all(text.as_bytes()).await.unwrap();
        file.flush().await.unwrap();
    }
    let port = free_port();
    let more = format!(
        "listener {port} 127.0.0.1\ncertfile {}\nkeyfile {}\n",
        path("cert.pem"),
        path("key.pem")
    );
    let broker = Mosquitto::start(&more).await;
    let url = format!("mqtts://hub:s3cret%40broker@localhost:{port}");

    let ca = path("ca.pem");
    let world = World::start_in(&["--mqtt-url", &url], &[("SSL_CERT_FILE", &ca)]).await;
    connected(&world).await;
    let agent = world.agent("edge-1", &[]).await;
    let mut people = Paho::connect(&broker.address(), Mosquitto::login()).await;
    people.subscribe(&status("edge-1")).await;
    assert_eq!(people.message(&status("edge-1")).await["online"], true);

    // Another CA's broker is none.
    let other = World::start_with(&["--mqtt-url", &url]).await;
    eventually("the hub to say why", async || {
        let log = tokio::fs::read_to_string(other.dir.path().join("hub.log")).await.ok()?;
        log.contains("UnknownIssuer").then_some(())
    })
    .await;
    assert_eq!(other.get("/api/kubeedge/mqtt").await["connected"], false);
    drop(agent);
}
