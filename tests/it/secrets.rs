//! What commands and apps are told may hold secrets: they live as long as they are needed, and are
//! to be found nowhere afterwards.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicUsize},
};

use reqwest::header::HeaderName;
use serde_json::{Value, json};

use crate::{
    cameras::{Fake, SECRET, assert_no_secret, jpeg, mjpeg, picture, seen, use_camera},
    mqtt::Paho,
    world::{PASSWORD, Store, World, cached, eventually},
};

const BACKUP: &str = "/api/kubeedge/backup";
const APPS: &str = "/api/kubeedge/apps";

/// A camera that wants the secret.
async fn camera() -> (Fake, String) {
    let (sent, pictures) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(vec![jpeg(320, 240, [0, 200, 0])]));
    let camera =
        Fake::start(move |socket| mjpeg(socket, Arc::clone(&pictures), Arc::clone(&sent))).await;
    let url = camera.url("http", &format!("user:{SECRET}@"), "/?action=stream");
    (camera, url)
}

/// No file of the folder holds the secret, not inside of an archive either.
fn assert_none_on_disk(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_none_on_disk(&path);
        } else if path.is_file() {
            let mut bytes = std::fs::read(&path).unwrap();
            if path.extension().is_some_and(|ending| ending == "zst") {
                let mut unpacked = Vec::new();
                let mut archive = zstd::Decoder::new(bytes.as_slice()).unwrap();
                archive.read_to_end(&mut unpacked).unwrap();
                bytes = unpacked;
            }
            assert_no_secret(&format!("{}: {}", path.display(), String::from_utf8_lossy(&bytes)));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cameras_password_is_nowhere_once_its_command_has_ended() {
    let mut world = World::start().await;
    let (_camera, url) = camera().await;
    let agent = world.agent("cam-1", &[]).await;
    assert_eq!(agent.stop().await, Some(0));
    world.offline("cam-1").await;

    // The device is away, and the hub dies meanwhile.
    let mut watch = world.watch("").await;
    let body = json!({ "command": "set_config", "parameters": { "camera": url }, "timeout": 300 });
    let path = "/api/kubeedge/device/cam-1/command";
    let mut sends = Vec::new();
    for _ in 0..2 {
        let request = world.client().post(world.url(path)).bearer_auth(world.token()).json(&body);
        let key = HeaderName::from_static("idempotency-key");
        let answer = request.header(key, "once").send().await.unwrap();
        sends.push(answer.json::<Value>().await.unwrap());
    }
    assert_eq!(sends[0], sends[1]);
    let set = sends[0]["command_id"].as_str().unwrap().to_owned();
    let told = watch.next("command_sent").await;
    drop(watch);
    world.kill_hub().await;
    assert_none_on_disk(&world.data_dir());
    assert_no_secret(&world.sql("SELECT * FROM commands"));
    assert!(world.sql("SELECT parameters FROM commands").contains("http://***@127.0.0.1"));

    world.start_hub().await;
    let agent = world.run_agent("cam-1").await;
    let mut said = vec![told, world.ended(&set).await];
    assert_eq!(said[1]["status"], "completed", "{}", said[1]);
    assert!(picture(&world, "cam-1").await.is_ok(), "the device got the whole of it");
    assert_no_secret(&world.sql("SELECT * FROM commands"));
    assert_eq!(world.sql("SELECT sealed FROM commands WHERE sealed IS NOT NULL"), "");

    // Others that hold secrets: of a program, of a command that nobody knows, to all devices at once,
    // and a wrong one.
    let unknown = json!({ "api_key": SECRET, "at": format!("https://eve:{SECRET}@there/") });
    said.push(world.run("cam-1", "of_tomorrow", unknown.clone()).await);
    let program = json!({ "name": "none", "parameters": { "password": SECRET } });
    said.push(world.run("cam-1", "exec", program).await);
    let mut operator = Paho::operator(&world).await;
    let mut watch = world.watch("").await;
    let order = json!({ "command": "of_tomorrow", "parameters": unknown });
    assert_eq!(operator.publish("cloudcore/broadcast/command", &order).await, 0);
    let ended = watch.next("command_result").await;
    assert_eq!(ended["result"]["error"], "unknown_command", "{ended}");
    said.push(ended);
    drop(watch);
    let wrong = json!({ "command": "set_config", "parameters": { "confidence": url } });
    let (status, refused) = world.call(reqwest::Method::POST, path, Some(wrong)).await;
    assert_eq!(status, 400);
    said.push(refused);
    let app = json!({ "name": "reader", "image": "reader:1", "device_ids": ["cam-1"],
        "config": { "DB_PASSWORD": SECRET, "feed": format!("rtsp://eve:{SECRET}@there/a"), "n": 5 } });
    said.push(world.post("/api/kubeedge/apps/deploy", app).await);
    let apps = world.get(APPS).await;
    let shown = json!({ "DB_PASSWORD": "***", "feed": "rtsp://***@there/a", "n": 5 });
    assert_eq!(apps["apps"][0]["config"], shown);
    said.push(apps);

    // The settings' file has it as long as it is the camera, and not longer.
    let other = format!("file://{}", cached("photos/chelsea.png").display());
    said.push(use_camera(&world, "cam-1", &other).await);
    said.push(world.post(BACKUP, json!({ "name": "after" })).await);
    assert_no_secret(&seen(&world, "cam-1", &said).await);
    assert_none_on_disk(&world.node_dir("cam-1"));
    assert_eq!(agent.stop().await, Some(0));
    assert_eq!(world.stop_hub().await, Some(0));
    assert_no_secret(&world.sql("SELECT * FROM commands"));
    assert_none_on_disk(world.dir.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_hub_stored_in_the_clear_is_hidden_and_still_sent() {
    let mut world = World::start().await;
    let (_camera, url) = camera().await;
    let agent = world.agent("cam-1", &[]).await;
    let done = world.run("cam-1", "of_tomorrow", json!({ "key": "***" })).await;
    let done = done["command_id"].as_str().unwrap();
    let app = json!({ "name": "reader", "image": "reader:1", "device_ids": ["cam-1"] });
    world.post("/api/kubeedge/apps/deploy", app).await;
    assert_eq!(agent.stop().await, Some(0));
    world.offline("cam-1").await;
    let body =
        json!({ "command": "set_config", "parameters": { "camera": "file:///" }, "timeout": 300 });
    let open = world.send("cam-1", body).await;
    assert_eq!(world.stop_hub().await, Some(0));

    let camera = json!({ "camera": url });
    let key = json!({ "key": SECRET });
    let config = json!({ "TOKEN": SECRET, "model": "yolov5" });
    world.sql(&format!(
        "UPDATE commands SET secrets = NULL, sealed = NULL; \
         UPDATE commands SET parameters = '{camera}' WHERE command_id = '{open}'; \
         UPDATE commands SET parameters = '{key}' WHERE command_id = '{done}'; \
         UPDATE apps SET config = '{config}'"
    ));
    world.start_hub().await;
    let shown = &world.get(APPS).await["apps"][0]["config"];
    assert_eq!(*shown, json!({ "TOKEN": "***", "model": "yolov5" }));
    world.kill_hub().await;
    assert_none_on_disk(&world.data_dir());
    assert_no_secret(&world.sql("SELECT * FROM commands"));
    assert_no_secret(&world.sql("SELECT * FROM apps"));

    world.start_hub().await;
    let _agent = world.run_agent("cam-1").await;
    let ended = world.ended(&open).await;
    assert_eq!(ended["status"], "completed", "{ended}");
    assert!(picture(&world, "cam-1").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_comes_back_without_its_secrets_ends_and_is_not_sent_without_them() {
    let world = World::start().await;
    let agent = world.agent("cam-1", &[]).await;
    assert_eq!(agent.stop().await, Some(0));
    world.offline("cam-1").await;
    let parameters = json!({ "camera": format!("rtsp://user:{SECRET}@127.0.0.1:1/") });
    let body = json!({ "command": "set_config", "parameters": parameters, "timeout": 300 });
    let set = world.send("cam-1", body).await;
    let harmless =
        json!({ "command": "set_config", "parameters": { "confidence": 0.4 }, "timeout": 300 });
    let harmless = world.send("cam-1", harmless).await;
    let all =
        ["config", "tokens", "devices", "users", "commands", "detections", "webhooks", "apps"];
    world.post(BACKUP, json!({ "name": "open", "include": all })).await;
    let (status, said) = world
        .call(reqwest::Method::POST, "/api/kubeedge/restore", Some(json!({ "backup_id": "open" })))
        .await;
    assert_eq!(status, 200, "{said}");
    let mut world = world;
    world.log_in("admin", PASSWORD).await;
    let _agent = world.run_agent("cam-1").await;
    assert_eq!(world.ended(&harmless).await["status"], "completed");
    let ended = world.ended(&set).await;
    assert_eq!(ended["result"]["error"], "secrets_lost", "{ended}");
    let settings = std::fs::read_to_string(world.node_dir("cam-1").join("agent.toml")).unwrap();
    assert!(!settings.contains("rtsp://"), "{settings}");
}

/// An archive that a hub made before secrets were sealed in it.
fn older_archive() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("reference/backup-0.1-with-secrets.tar.zst")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_backup_is_restored_and_its_secrets_sealed() {
    let mut world = World::start().await;
    world.kill_hub().await;
    if let Store::Postgres(_) = world.store {
        world.store = Store::of_this_run();
    }
    std::fs::remove_dir_all(world.data_dir()).unwrap();
    let passphrase = world.dir.path().join("passphrase");
    std::fs::write(&passphrase, "battery staple\n").unwrap();
    let mut restore = world.hub_command();
    restore.arg("restore").arg("--data-dir").arg(world.data_dir());
    restore.arg("--input").arg(older_archive()).arg("--passphrase-file").arg(&passphrase);
    let output = restore.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    world.start_hub().await;
    world.log_in("admin", PASSWORD).await;
    let apps = world.get(APPS).await;
    let shown = json!({ "DB_PASSWORD": "***", "model": "yolov5" });
    assert_eq!(apps["apps"][0]["config"], shown);
    eventually("the command", async || {
        let commands = world.get("/api/kubeedge/commands?command=set_config").await;
        (commands["count"] == 1).then_some(())
    })
    .await;
    assert_eq!(world.stop_hub().await, Some(0));
    assert_none_on_disk(&world.data_dir());
    assert_no_secret(&world.sql("SELECT * FROM commands"));
    assert_no_secret(&world.sql("SELECT * FROM apps"));
}
