//! The hub's own broker: who may do what, its limits, and what it bears.

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{
    client::{Paho, anonymous_packet, bare, bare_kept, connect_packet, mosquitto, packet},
    command, device, member, status,
};
use crate::world::{PATIENCE, World, eventually};

/// paho's numbers for refusals, which are MQTT 5's.
const BAD_LOGIN: i64 = 134;
const NOT_AUTHORIZED: i64 = 135;
/// Of a subscription that is refused, in MQTT 3.1.1.
const FAILURE: i64 = 128;

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_hears_and_does_not_command() {
    let mut world = World::start().await;
    let mut sensor = device(&world, "sensor-1", "sensor").await;
    world.become_user("eve", "viewer").await;
    for protocol in [4, 5] {
        let login = json!({ "username": "eve", "password": world.token(), "protocol": protocol });
        let mut eve = Paho::connect(&world.mqtt, login).await;
        eve.subscribe("cloudcore/#").await;
        let code = eve.publish(&command("sensor-1"), &json!({ "command": "blink" })).await;
        // MQTT 3.1.1 can't say it.
        assert_eq!(code, if protocol == 5 { NOT_AUTHORIZED } else { 0 });
        eve.publish("cloudcore/broadcast/command", &json!({ "command": "blink" })).await;
        eve.publish(&status("sensor-1"), &json!({ "online": false })).await;
        sensor.publish(&status("sensor-1"), &json!({ "online": true, "step": protocol })).await;
        let heard = eve
            .find("message", |m| {
                assert!(!m["payload"].as_str().unwrap().contains("blink"), "{m}");
                m["payload"].as_str().unwrap().contains("step")
            })
            .await;
        assert_eq!(heard["topic"], status("sensor-1").as_str());
        // Nobody subscribes to more than that, or takes messages away from others.
        for filter in ["#", "+/#", "$SYS/#", "other/topic", "$share/g/cloudcore/#", "cloudcore2/#"]
        {
            let code = eve.try_subscribe(filter, 0).await;
            assert_eq!(code, if protocol == 5 { NOT_AUTHORIZED } else { FAILURE }, "{filter}");
        }
    }
    // Refusals are audited.
    world.become_user("root", "admin").await;
    let log = world.get("/api/kubeedge/security/logs?actor=eve&outcome=refused").await;
    assert!(log.to_string().contains("MQTT PUBLISH"), "{log}");
    assert!(log.to_string().contains("MQTT SUBSCRIBE"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_touches_only_its_own_topics() {
    let world = World::start().await;
    let mut one = device(&world, "sensor-1", "sensor").await;
    let mut two = device(&world, "sensor-2", "sensor").await;
    for filter in [
        "cloudcore/#",
        "cloudcore/device/+/command",
        "cloudcore/device/sensor-2/#",
        "cloudcore/alerts",
        "cloudcore/broadcast/command",
        "#",
        "$share/g/cloudcore/device/sensor-1/command",
    ] {
        assert_eq!(one.try_subscribe(filter, 0).await, FAILURE, "{filter}");
    }
    one.publish(&command("sensor-2"), &json!({ "command": "blink" })).await;
    one.publish(&command("sensor-1"), &json!({ "command": "blink" })).await;
    one.publish(&status("sensor-2"), &json!({ "online": false })).await;
    one.publish("cloudcore/alerts", &json!({ "message": "fire" })).await;
    let id = world.send("sensor-2", json!({ "command": "real", "timeout": 50 })).await;
    let got = two.message(&command("sensor-2")).await;
    assert_eq!(got["command_id"], id, "{got}");
    // A will is a publication too.
    let mut login = member(&world, "sensor-3", "sensor").await;
    login["will"] = json!({ "topic": status("sensor-2"), "payload": "{\"online\":false}" });
    assert_eq!(Paho::refused(&world.mqtt, login.clone()).await, NOT_AUTHORIZED);
    login["will"] = json!({ "topic": status("sensor-3"), "payload": "{\"online\":false}" });
    Paho::connect(&world.mqtt, login).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_anothers_place() {
    let mut world = World::start().await;
    let mut sensor = device(&world, "sensor-1", "sensor").await;
    let login = member(&world, "sensor-2", "sensor").await;
    // Another device's id, a user with a device's id, a device under an id that is not its own.
    let mut other = login.clone();
    other["client_id"] = json!("sensor-1");
    assert_eq!(Paho::refused(&world.mqtt, other).await, NOT_AUTHORIZED);
    let user = json!({ "client_id": "sensor-1", "username": "admin", "password": world.token() });
    assert_eq!(Paho::refused(&world.mqtt, user).await, NOT_AUTHORIZED);
    let mut other = login;
    other["client_id"] = json!("anything");
    assert_eq!(Paho::refused(&world.mqtt, other).await, NOT_AUTHORIZED);
    // A user does not get another user's either.
    let mine = json!({ "client_id": "console", "username": "admin", "password": world.token() });
    let mut admin = Paho::connect(&world.mqtt, mine.clone()).await;
    let old = world.token().to_owned();
    world.become_user("eve", "viewer").await;
    let login = json!({ "client_id": "console", "username": "eve", "password": world.token() });
    assert_eq!(Paho::refused(&world.mqtt, login).await, NOT_AUTHORIZED);
    // A password is its user's.
    let login = json!({ "username": "admin", "password": world.token() });
    assert_eq!(Paho::refused(&world.mqtt, login).await, BAD_LOGIN);
    let login = json!({ "username": "eve", "password": "guess" });
    assert_eq!(Paho::refused(&world.mqtt, login).await, BAD_LOGIN);
    // Both that were there are there still, and their owners may take over.
    sensor.publish(&status("sensor-1"), &json!({ "online": true })).await;
    admin.subscribe("cloudcore/alerts").await;
    assert_eq!(mine["password"], old.as_str());
    Paho::connect(&world.mqtt, mine).await;
    admin.next("disconnected").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_lets_in_until_it_is_revoked() {
    let world = World::start().await;
    let key = json!({ "name": "console", "role": "operator" });
    let made = world.post("/api/kubeedge/apikeys", key).await;
    let body = json!({ "node_name": "sensor-1", "device_id": "sensor-1" });
    world.post("/api/kubeedge/device/join", body).await;
    let login = json!({
        "username": "console", "password": made["api_key"],
        "will": { "topic": "cloudcore/broadcast/command", "payload": "{\"command\":\"blink\"}",
                  "qos": 1 },
    });
    let mut console = Paho::connect(&world.mqtt, login.clone()).await;
    console.subscribe("cloudcore/#").await;
    let path = format!("/api/kubeedge/apikeys/{}", made["key_id"].as_str().unwrap());
    let (code, answer) = world.call(reqwest::Method::DELETE, &path, None).await;
    assert_eq!(code, 200, "{answer}");
    console.next("disconnected").await;
    assert_eq!(Paho::refused(&world.mqtt, login).await, BAD_LOGIN);
    // Its last will is refused: it is no order any more.
    eventually("the last will to be refused", async || {
        let log = world.get("/api/kubeedge/security/logs?outcome=refused").await;
        let entries = log["logs"].as_array().unwrap();
        entries.iter().any(|e| e["target"] == "cloudcore/broadcast/command").then_some(())
    })
    .await;
    assert_eq!(world.get("/api/kubeedge/commands").await["count"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_connections_and_not_one_more() {
    let world = World::start().await;
    let mut clients = Vec::new();
    for n in 0..100 {
        let (socket, code) = bare(&world, &format!("client-{n}")).await;
        assert_eq!(code, 0, "client {n}");
        clients.push(socket);
    }
    assert_eq!(world.get("/api/kubeedge/mqtt").await["connections"], 100);
    assert_eq!(bare(&world, "one-more").await.1, 3);
    let login = json!({ "username": "admin", "password": world.token(), "protocol": 5 });
    assert_eq!(Paho::refused(&world.mqtt, login.clone()).await, 151);
    // One that comes back takes its own place.
    let (again, code) = bare(&world, "client-0").await;
    assert_eq!(code, 0);
    assert_eq!(bare(&world, "one-more").await.1, 3);
    // One that goes leaves a place.
    clients.truncate(99);
    eventually("a place to be free", async || {
        (world.get("/api/kubeedge/mqtt").await["connections"] == 99).then_some(())
    })
    .await;
    Paho::connect(&world.mqtt, login).await;
    drop(again);
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_leave_places_for_those_with_a_name() {
    let world = World::start_with(&["--public-monitoring"]).await;
    let mut burst = tokio::task::JoinSet::new();
    for n in 0..80 {
        let address = world.mqtt.clone();
        burst.spawn(async move {
            let mut socket = TcpStream::connect(address).await.unwrap();
            socket.write_all(&anonymous_packet(&format!("watcher-{n}"))).await.unwrap();
            let mut answer = [0; 4];
            let read = timeout(PATIENCE, socket.read_exact(&mut answer)).await;
            read.expect("in time").expect("an answer");
            (socket, answer[3])
        });
    }
    let answers = burst.join_all().await;
    let count = |code| answers.iter().filter(|(_, answer)| *answer == code).count();
    assert_eq!((count(0), count(3)), (50, 30));
    assert_eq!(bare(&world, "me").await.1, 0);
}

/// MQTT 5, section 3.14.2.2.2.
#[tokio::test(flavor = "multi_thread")]
async fn a_goodbye_keeps_no_session_that_the_greeting_did_not_ask_for() {
    let world = World::start().await;
    let text = |text: &str| {
        let length = u16::try_from(text.len()).unwrap();
        [&length.to_be_bytes()[..], text.as_bytes()].concat()
    };
    let greeting = |clean: u8, expiry: u32| {
        let properties = [&[5, 0x11][..], &expiry.to_be_bytes()].concat();
        let head = [0, 4, b'M', b'Q', b'T', b'T', 5, 0xc0 | clean, 0, 60];
        let login = [text("guest"), text("admin"), text(world.token())].concat();
        packet(0x10, &[&head[..], &properties, &login].concat())
    };
    let greet = async |clean, expiry| {
        let mut socket = TcpStream::connect(&world.mqtt).await.unwrap();
        socket.write_all(&greeting(clean, expiry)).await.unwrap();
        let mut answer = [0; 4];
        socket.read_exact(&mut answer).await.unwrap();
        assert_eq!((answer[0], answer[3]), (0x20, 0), "{answer:?}");
        (socket, answer[2] == 1)
    };
    let expiry = [0, 5, 0x11, 0, 0, 14, 16];
    let away = async || {
        eventually("it to be gone", async || {
            (world.get("/api/kubeedge/mqtt").await["connections"] == 0).then_some(())
        })
        .await;
    };
    for (asked, is_kept) in [(0, false), (60, true)] {
        let (mut socket, _) = greet(2, asked).await;
        socket.write_all(&packet(0xe0, &expiry)).await.unwrap();
        drop(socket);
        away().await;
        let (socket, present) = greet(0, 0).await;
        assert_eq!(present, is_kept, "asked for {asked} s");
        drop(socket);
        away().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_say_who_it_is_takes_no_place() {
    let world = World::start().await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(&world.mqtt).await.unwrap());
    }
    // Those from one address are few, and none of them counts; when they are cut, or have gone,
    // there is room again.
    silent.truncate(10);
    eventually("a client to get in", async || {
        let mut socket = TcpStream::connect(&world.mqtt).await.unwrap();
        socket.write_all(&connect_packet("me", "admin", world.token())).await.ok()?;
        let mut answer = [0; 4];
        socket.read_exact(&mut answer).await.ok()?;
        (answer[3] == 0).then_some(())
    })
    .await;
    // The silent ones are cut.
    let mut rest = Vec::new();
    let cut = timeout(PATIENCE, silent[0].read_to_end(&mut rest)).await.expect("in time");
    assert!(cut.is_err() || rest.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_bytes_end_their_own_connection_only() {
    let world = World::start().await;
    let mut watcher = Paho::operator(&world).await;
    watcher.subscribe("cloudcore/#").await;
    let connect = connect_packet("bad", "admin", world.token());
    let after = |bytes: &[u8]| [&connect[..], bytes].concat();
    let oversized = [&[0x30, 0xff, 0xff, 0xff, 0x7f][..], &[0; 100]].concat();
    for bytes in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0; 1000],
        vec![0xff; 1000],
        packet(0x10, b"\0\x04MQTT\x09\x02\0\x3c\0\0"),
        packet(0x10, b"\0\x04MQTT\x04\xc2\0\x3c\xff\xff"),
        packet(0x10, &[0xff; 300]),
        packet(0x30, b"\0\x01a"),
        packet(0x10, b"\0\x04MQTT\x05\xc2\0\x3c\xff\xff\xff\xff\xff"),
        oversized.clone(),
        after(&oversized),
        after(&packet(0x32, b"\xff\xff")),
        after(&packet(0x32, b"\0\x01a\0\0")),
        after(&packet(0x36, b"\0\x01a\0\x01")),
        after(&packet(0x82, b"\0\x01\0\x00\0")),
        after(&packet(0x82, b"\0\x01")),
        after(&packet(0x30, b"\0\x03\xff\xfe\xfd{}")),
        after(&packet(0xf0, b"")),
        after(&connect),
        after(&[0x20, 2, 0, 0]),
    ] {
        let mut socket = TcpStream::connect(&world.mqtt).await.unwrap();
        // It may be closed before all is sent.
        let _ = socket.write_all(&bytes).await;
        let _ = socket.shutdown().await;
        let mut rest = Vec::new();
        let ended = timeout(PATIENCE, socket.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "{bytes:02x?}");
    }
    // The others do not notice.
    let mut sensor = device(&world, "sensor-1", "sensor").await;
    sensor.publish(&status("sensor-1"), &json!({ "online": true, "step": 1 })).await;
    watcher.find("message", |m| m["payload"].as_str().unwrap().contains("step")).await;
    eventually("the bad ones to be gone", async || {
        (world.get("/api/kubeedge/mqtt").await["connections"] == 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_quality_of_service_delivers() {
    let world = World::start().await;
    for protocol in [4, 5] {
        let id = format!("sensor-{protocol}");
        let mut login = member(&world, &id, "sensor").await;
        login["protocol"] = json!(protocol);
        let mut sensor = Paho::connect(&world.mqtt, login).await;
        let login = json!({ "username": "admin", "password": world.token(), "protocol": protocol });
        let mut watcher = Paho::connect(&world.mqtt, login).await;
        assert_eq!(watcher.try_subscribe("cloudcore/#", 2).await, 2);
        for n in 0..60 {
            let qos = n % 3;
            let payload = json!({ "object": "car", "track_id": n }).to_string();
            let topic = super::detection(&id);
            assert_eq!(sensor.publish_text(&topic, &payload, qos, false).await, 0);
            let got = watcher.find("message", |m| m["topic"] == topic.as_str()).await;
            assert_eq!((&got["payload"], &got["qos"]), (&json!(payload), &json!(qos)));
        }
        let shown = world.get(&format!("/api/kubeedge/device/{id}")).await;
        assert_eq!(shown["metrics"]["total_detections"], 60);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_kept_for_a_client_that_wants_it() {
    let world = World::start().await;
    let mut sensor = device(&world, "sensor-1", "sensor").await;
    let login = json!({
        "client_id": "console", "username": "admin", "password": world.token(), "clean": false,
    });
    let mut console = Paho::start(&world.mqtt, login.clone()).await;
    assert_eq!(console.next("connected").await["present"], false);
    console.subscribe(&super::detection("sensor-1")).await;
    console.disconnect().await;
    for n in 0..5 {
        let seen = json!({ "object": "car", "track_id": n });
        sensor.publish(&super::detection("sensor-1"), &seen).await;
    }
    let mut console = Paho::start(&world.mqtt, login).await;
    assert_eq!(console.next("connected").await["present"], true);
    for n in 0..5 {
        assert_eq!(console.message(&super::detection("sensor-1")).await["track_id"], n);
    }

    // A device with such a session gets its commands when it is back, without asking again.
    let mut login = member(&world, "sensor-2", "sensor").await;
    login["clean"] = json!(false);
    let mut sensor = Paho::connect(&world.mqtt, login.clone()).await;
    sensor.subscribe(&command("sensor-2")).await;
    sensor.disconnect().await;
    world.offline("sensor-2").await;
    let id = world.send("sensor-2", json!({ "command": "blink", "timeout": 50 })).await;
    assert_eq!(world.status(&id).await["status"], "queued");
    let mut sensor = Paho::connect(&world.mqtt, login).await;
    assert_eq!(sensor.message(&command("sensor-2")).await["command_id"], id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_with_clients_stops_cleanly() {
    let mut world = World::start().await;
    let mut login = member(&world, "sensor-1", "sensor").await;
    login["will"] = json!({ "topic": status("sensor-1"), "payload": "{\"online\":false}" });
    let mut sensor = Paho::connect(&world.mqtt, login).await;
    let away = json!({
        "client_id": "away", "username": "admin", "password": world.token(), "clean": false,
    });
    let mut console = Paho::connect(&world.mqtt, away).await;
    console.subscribe("cloudcore/#").await;
    console.disconnect().await;
    let idle = TcpStream::connect(&world.mqtt).await.unwrap();
    assert_eq!(world.stop_hub().await, Some(0));
    sensor.next("disconnected").await;
    drop(idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquittos_programs_work() {
    let world = World::start().await;
    let login = member(&world, "sensor-1", "sensor").await;
    let password = login["password"].as_str().unwrap();
    let topic = status("sensor-1");
    for version in ["mqttv311", "mqttv5"] {
        let message = format!("{{\"online\":true,\"version\":\"{version}\"}}");
        let arguments = [
            "-V", version, "-u", "sensor-1", "-P", password, "-i", "sensor-1", "-q", "2", "-t",
            &topic, "-m", &message,
        ];
        assert_eq!(mosquitto("mosquitto_pub", &world.mqtt, &arguments).await.0, 0);
        let arguments = ["-u", "admin", "-P", "wrong", "-t", "cloudcore/#", "-W", "20"];
        assert_ne!(mosquitto("mosquitto_sub", &world.mqtt, &arguments).await.0, 0);
        let shown = world.get("/api/kubeedge/device/sensor-1").await;
        assert_eq!(shown["device_status"]["agent_version"], version, "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_tls_with_a_certificate_of_the_hubs_ca() {
    let world = World::start_with(&["--mqtts", "127.0.0.1:0"]).await;
    let address = world.ready()["mqtts"].as_str().expect("an address").to_owned();
    let port: u16 = address.rsplit_once(':').unwrap().1.parse().unwrap();
    let login = member(&world, "sensor-1", "sensor").await;
    let path = "/api/kubeedge/device/sensor-1/mqtt";
    let admitted = world.post(path, json!({})).await;
    assert_eq!(admitted["broker_tls"], format!("mqtts://{address}"));
    let ca = world.data_dir().join("ca.pem").display().to_string();
    for (protocol, host) in [(4, "localhost"), (5, "127.0.0.1")] {
        let login = json!({
            "host": host, "port": port, "ca": ca, "protocol": protocol,
            "username": "admin", "password": world.token(),
        });
        let mut people = Paho::connect(&address, login).await;
        people.subscribe("cloudcore/#").await;
        let mut sensor = Paho::connect(
            &world.mqtt,
            json!({
                "client_id": "sensor-1", "username": "sensor-1", "password": admitted["password"],
            }),
        )
        .await;
        sensor.publish(&status("sensor-1"), &json!({ "online": true, "step": protocol })).await;
        people.find("message", |m| m["payload"].as_str().unwrap().contains("step")).await;
        sensor.disconnect().await;
    }
    // Mosquitto's client, which checks as well; and one that trusts others.
    let token = world.token();
    let arguments = |ca: &'static str| {
        ["-u", "admin", "-P", token, "-t", "cloudcore/x", "-W", "1", "--cafile", ca]
    };
    let ca: &'static str = ca.leak();
    let (code, _) = mosquitto("mosquitto_sub", &format!("localhost:{port}"), &arguments(ca)).await;
    assert_eq!(code, 27, "it listened until its time was over");
    let others = "/etc/ssl/certs/ca-certificates.crt";
    if std::path::Path::new(others).exists() {
        let place = format!("localhost:{port}");
        let (code, _) = mosquitto("mosquitto_sub", &place, &arguments(others)).await;
        assert_ne!(code, 27);
    }
    // Plain bytes at the TLS port end there.
    let mut socket = TcpStream::connect(&address).await.unwrap();
    socket.write_all(&connect_packet("x", "admin", token)).await.unwrap();
    let mut rest = Vec::new();
    let ended = timeout(PATIENCE, socket.read_to_end(&mut rest)).await.expect("in time");
    assert!(ended.is_err() || rest.first() != Some(&0x20));
    drop(login);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_says_that_it_lives() {
    let world = World::start().await;
    // Without a keep-alive it would be present for ever.
    let login = json!({ "username": "admin", "password": world.token(), "keepalive": 0 });
    assert_ne!(Paho::refused(&world.mqtt, login).await, 0);
    // One that falls silent is cut off: keep-alive 1, and three seconds of grace.
    let mut packet = connect_packet("silent", "admin", world.token());
    let at = packet.iter().position(|b| *b == 0x3c).expect("the keep-alive");
    packet[at] = 1;
    let mut socket = TcpStream::connect(&world.mqtt).await.unwrap();
    socket.write_all(&packet).await.unwrap();
    let mut rest = Vec::new();
    timeout(PATIENCE, socket.read_to_end(&mut rest)).await.expect("in time").unwrap();
    assert_eq!(rest, [0x20, 2, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_subscriber_gets_every_status() {
    const DEVICES: usize = 1200;
    let mut world = World::start().await;
    for ten in 0..DEVICES / 10 {
        let device = |n: usize| {
            let name = format!("s-{}", ten * 10 + n);
            json!({ "node_name": name, "device_id": name, "device_type": "sensor" })
        };
        let devices: Vec<_> = (0..10).map(device).collect();
        let joined = world.post("/api/kubeedge/batch-join", json!({ "devices": devices })).await;
        assert_eq!(joined["success"], 10, "{joined}");
        for n in 0..10 {
            super::credentials(&world, &format!("s-{}", ten * 10 + n)).await;
        }
    }
    // After a restart the hub says how all are, and nobody subscribes before.
    assert_eq!(world.stop_hub().await, Some(0));
    world.start_hub().await;
    let last = status(&format!("s-{}", DEVICES - 1));
    eventually("the last status to be there", async || {
        let arguments = ["-u", "admin", "-P", world.token(), "-t", &last, "-C", "1", "-W", "1"];
        (mosquitto("mosquitto_sub", &world.mqtt, &arguments).await.0 == 0).then_some(())
    })
    .await;
    let mut watcher = Paho::operator(&world).await;
    watcher.subscribe("cloudcore/device/+/status").await;
    let mut heard = std::collections::HashSet::new();
    while heard.len() < DEVICES {
        let message = watcher.next("message").await;
        assert_eq!(message["retain"], true, "{message}");
        heard.insert(message["topic"].as_str().unwrap().to_owned());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_more_sessions_kept_than_his_share() {
    const SHARE: usize = 50;
    const FULL: u8 = 3;
    let mut world = World::start().await;
    for n in 0..SHARE {
        // It goes away at once, and its session stays.
        let (_, code) = bare_kept(&world, &format!("kept-{n}"), "admin").await;
        assert_eq!(code, 0, "client {n}");
    }
    assert_eq!(bare_kept(&world, "one-more", "admin").await.1, FULL);
    // One that is known comes back, and one that wants nothing kept comes in.
    assert_eq!(bare_kept(&world, "kept-7", "admin").await.1, 0);
    assert_eq!(bare(&world, "one-more").await.1, 0);
    // Another has a share of his own.
    world.become_user("eve", "operator").await;
    assert_eq!(bare_kept(&world, "hers", "eve").await.1, 0);
}
