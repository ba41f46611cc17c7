//! The catalog of models and what agents do with it: a real model, real photographs, a line that is
//! cut.

use std::{fs, path::PathBuf};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    relay::Relay,
    world::{World, cached, eventually},
};

const MODELS: &str = "/api/kubeedge/models";
const BOUNDARY: &str = "cloudcore-boundary";

/// The parts of a form, as curl -F sends them.
fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, bytes) in parts {
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; \
             filename=\"{name}\"\r\nContent-Type: application/octet-stream\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

async fn post_form(world: &World, body: Vec<u8>) -> (StatusCode, Value) {
    let request = world
        .client()
        .post(world.url(MODELS))
        .bearer_auth(world.token())
        .header("content-type", format!("multipart/form-data; boundary={BOUNDARY}"))
        .body(body);
    let response = request.send().await.expect("the hub answers");
    (response.status(), response.json().await.expect("a JSON body"))
}

fn nanodet() -> (Value, Vec<u8>) {
    let description = fs::read(cached("models/nanodet.json")).unwrap();
    let model = fs::read(cached("models/nanodet.onnx")).unwrap();
    (serde_json::from_slice(&description).unwrap(), model)
}

async fn upload(world: &World, description: &Value, model: &[u8]) -> (StatusCode, Value) {
    let description = description.to_string();
    let parts = [("description", description.as_bytes()), ("model", model)];
    post_form(world, form(&parts)).await
}

/// The description of these bytes, under another name.
fn described(name: &str, version: &str, model: &[u8]) -> Value {
    let (mut description, _) = nanodet();
    description["name"] = name.into();
    description["version"] = version.into();
    let hash = ring::digest::digest(&ring::digest::SHA256, model);
    description["sha256"] =
        hash.as_ref().iter().map(|b| format!("{b:02x}")).collect::<String>().into();
    description
}

/// The object store's files of models.
fn objects(world: &World) -> Vec<PathBuf> {
    let folder = world.data_dir().join("objects/models");
    let Ok(files) = fs::read_dir(folder) else { return Vec::new() };
    files.map(|file| file.unwrap().path()).collect()
}

fn photograph(name: &str) -> String {
    format!("file://{}", cached(&format!("photos/{name}")).display())
}

async fn model_in_use(world: &World, device: &str) -> Value {
    let status = world.run(device, "get_status", json!({})).await;
    status["result"]["model"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_kept_listed_and_removed() {
    let world = World::start().await;
    let (description, model) = nanodet();
    let (status, added) = upload(&world, &description, &model).await;
    assert_eq!(status, StatusCode::OK, "{added}");
    assert_eq!(added["model"], "nanodet@3.0.4");
    assert_eq!(added["sha256"], description["sha256"]);
    assert_eq!(added["size_bytes"], model.len());
    assert_eq!(added["family"], "nanodet");
    assert_eq!(added["labels"], description["labels"]);
    assert_eq!(added["licence"], description["licence"]);
    assert_eq!(added["uploaded_by"], "admin");
    // The same again is the same answer, its time too; and its order of parts is no matter.
    let text = description.to_string();
    let turned = form(&[("model", &model), ("description", text.as_bytes())]);
    assert_eq!(post_form(&world, turned).await, (StatusCode::OK, added.clone()));

    let tiny = described("tiny", "1", b"not much");
    assert_eq!(upload(&world, &tiny, b"not much").await.0, StatusCode::OK);
    let twin = described("twin", "1", b"not much");
    assert_eq!(upload(&world, &twin, b"not much").await.0, StatusCode::OK);
    assert_eq!(objects(&world).len(), 2, "the same bytes are kept once");
    let (status, problem) = upload(&world, &described("tiny", "1", b"other"), b"other").await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("API-005")));

    let first = world.get(&format!("{MODELS}?limit=2")).await;
    assert_eq!((first["count"].as_i64(), first["models"].as_array().unwrap().len()), (Some(3), 2));
    let second = world.get(&format!("{MODELS}?limit=2&cursor={}", first["next_cursor"])).await;
    assert_eq!(second["models"][0]["model"], "twin@1");
    assert_eq!(world.get(&format!("{MODELS}?name=nanodet")).await["count"], 1);
    let shown = world.get(&format!("{MODELS}/nanodet/3.0.4")).await;
    assert_eq!(shown["sha256"], added["sha256"]);

    for (name, left) in [("tiny", 2), ("twin", 1)] {
        let path = format!("{MODELS}/{name}/1");
        assert_eq!(world.call(Method::DELETE, &path, None).await.0, StatusCode::OK);
        assert_eq!(world.call(Method::DELETE, &path, None).await.0, StatusCode::NOT_FOUND);
        assert_eq!(objects(&world).len(), left, "bytes go with the last that names them");
    }
    let log = world.get("/api/kubeedge/security/logs?limit=5").await;
    assert!(log.to_string().contains("DELETE /api/kubeedge/models/{name}/{version}"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_model_is_refused() {
    let mut world = World::start_with(&["--max-model-mb", "1"]).await;
    let bytes = b"some bytes";
    let good = described("good", "1", bytes);
    let with = |pointer: &str, value: Value| {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        bad
    };
    for (bad, why) in [
        (with("/name", json!("../..")), "model name"),
        (with("/name", json!("")), "model name"),
        (with("/version", json!("1/2")), "model version"),
        (with("/version", json!("x".repeat(65))), "model version"),
        (with("/sha256", json!("0".repeat(64))), "sha256"),
        (with("/sha256", json!("zz")), "sha256"),
        (with("/head", json!({})), "family"),
        (with("/labels", json!([])), "labels"),
        (with("/labels", json!(["a", "a"])), "twice"),
        (with("/licence", json!("x".repeat(501))), "licence"),
        (with("/source", json!("a\u{0}b")), "NUL"),
        (json!([1]), "description"),
    ] {
        let (status, problem) = upload(&world, &bad, bytes).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{why}: {problem}");
        assert!(problem["message"].as_str().unwrap().contains(why), "{why}: {problem}");
    }
    let text = good.to_string();
    let whole = form(&[("description", text.as_bytes()), ("model", bytes)]);
    let long = format!("{{\"name\":\"{}\"}}", "x".repeat(70_000));
    for bad in [
        form(&[("description", text.as_bytes())]),
        form(&[("model", bytes)]),
        form(&[("description", text.as_bytes()), ("model", b"")]),
        form(&[("description", text.as_bytes()), ("description", text.as_bytes())]),
        form(&[("description", text.as_bytes()), ("weights", bytes)]),
        form(&[("description", long.as_bytes()), ("model", bytes)]),
        whole[..whole.len() - 10].to_vec(),
        whole[..text.len()].to_vec(),
        Vec::new(),
    ] {
        let (status, problem) = post_form(&world, bad).await;
        assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &json!("API-001")));
    }
    let large = vec![7; (1 << 20) + 1];
    let (status, problem) = upload(&world, &described("large", "1", &large), &large).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{problem}");
    let (status, _) = world.call(Method::POST, MODELS, Some(json!({}))).await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    for path in ["/..%2f../1", "/a%2fb/1", "/good/1"] {
        let (status, _) = world.call(Method::GET, &format!("{MODELS}{path}"), None).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(world.get(MODELS).await["count"], 0);
    assert!(objects(&world).is_empty());
    assert_eq!(fs::read_dir(world.data_dir().join("uploads")).unwrap().count(), 0);
    world.become_user("eve", "viewer").await;
    let (status, _) = upload(&world, &good, bytes).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_fetches_a_model_and_finds_what_it_shows() {
    let world = World::start().await;
    let (description, model) = nanodet();
    assert_eq!(upload(&world, &description, &model).await.0, StatusCode::OK);
    let photographs = format!("file://{}", cached("photos").display());
    let agent = world.agent("cam-1", &["--camera", &photographs]).await;
    let mut watch = world.watch("?events=detection").await;
    let how = json!({ "model": "nanodet@3.0.4", "confidence": 0.25, "interval": 1 });
    let started = world.run("cam-1", "start_detection", how).await;
    assert_eq!(started["status"], "completed", "{started}");
    let mut missing = vec!["person", "cat", "cup"];
    while !missing.is_empty() {
        let seen = watch.any().await;
        missing.retain(|object| seen["object"] != *object);
    }
    let used = model_in_use(&world, "cam-1").await;
    assert_eq!(used["wanted"], "nanodet@3.0.4");
    assert_eq!(used["sha256"], description["sha256"]);

    // Removed from the catalog it goes on at the device, over a restart too.
    let removed = world.call(Method::DELETE, &format!("{MODELS}/nanodet/3.0.4"), None).await;
    assert_eq!(removed.0, StatusCode::OK);
    agent.kill().await;
    let agent = world.run_agent("cam-1").await;
    world.online("cam-1").await;
    eventually("detection to go on", async || {
        let status = world.run("cam-1", "get_status", json!({})).await;
        (status["result"]["detecting"] == true).then_some(())
    })
    .await;

    // What can't be had changes nothing.
    for (model, term) in [("nanodet@9", "model_unavailable"), ("other@1", "model_unavailable")] {
        let failed = world.run("cam-1", "set_config", json!({ "model": model })).await;
        assert_eq!(failed["status"], "failed", "{failed}");
        assert!(failed.to_string().contains(term), "{failed}");
    }
    let path = "/api/kubeedge/device/cam-1/command";
    for model in ["../..", "/etc/passwd", "a@../..", "nanodet"] {
        let body = json!({ "command": "set_config", "parameters": { "model": model } });
        let (status, _) = world.call(Method::POST, path, Some(body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{model}");
    }
    assert_eq!(model_in_use(&world, "cam-1").await["wanted"], "nanodet@3.0.4");
    assert_eq!(agent.stop().await, Some(0));
}

/// A device that reaches its hub through a relay.
async fn behind_a_relay(world: &World, device: &str) -> Relay {
    let relay = Relay::start(world.quic.parse().unwrap()).await;
    let token = world.join_token(device).await;
    let address = relay.address.to_string();
    world.join_at(&address, device, &token, &[]).await.expect("the node joins");
    relay
}

async fn shut(relay: &Relay) {
    eventually("the line to be cut", async || relay.is_shut().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_goes_on_where_it_was_cut() {
    let mut world = World::start().await;
    let (description, model) = nanodet();
    assert_eq!(upload(&world, &description, &model).await.0, StatusCode::OK);
    let relay = behind_a_relay(&world, "cam-1").await;
    let agent = world.run_agent("cam-1").await;
    world.online("cam-1").await;
    let begun = relay.passed();
    relay.let_through(5_000_000);
    let parameters = json!({ "model": "nanodet@3.0.4" });
    let order = json!({ "command": "set_config", "parameters": parameters, "timeout": 280 });
    let id = world.send("cam-1", order).await;
    // The line is cut, the hub dies, and comes back.
    shut(&relay).await;
    world.kill_hub().await;
    world.start_hub().await;
    relay.let_through(5_000_000);
    // It is cut again, and the agent dies.
    shut(&relay).await;
    agent.kill().await;
    let folder = world.node_dir("cam-1").join("models");
    let part = fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap())
        .find(|file| file.file_name().to_str().unwrap().ends_with(".part"));
    assert!(part.expect("what has come is kept").metadata().unwrap().len() > 5_000_000);
    relay.let_through(u64::MAX);
    let agent = world.run_agent("cam-1").await;
    let ended = world.ended(&id).await;
    assert_eq!(ended["status"], "completed", "{ended}");
    let passed = relay.passed() - begun;
    // Three beginnings of 5 MB each would be half as much again.
    assert!(passed < model.len() as u64 * 5 / 4, "{passed} bytes came");
    let fetched = fs::read(folder.join("nanodet/3.0.4/model.onnx")).unwrap();
    assert!(fetched == model, "byte for byte");
    assert_eq!(model_in_use(&world, "cam-1").await["version"], "3.0.4");
    assert_eq!(agent.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_model_changes_nothing_and_the_last_good_one_goes_on() {
    let world = World::start().await;
    let (description, model) = nanodet();
    assert_eq!(upload(&world, &description, &model).await.0, StatusCode::OK);
    let agent = world.agent("cam-1", &["--camera", &photograph("coffee.png")]).await;
    let how = json!({ "model": "nanodet@3.0.4" });
    assert_eq!(world.run("cam-1", "start_detection", how).await["status"], "completed");

    // Bytes that are no ONNX file, though their hash is as described.
    let noise: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let broken = described("nanodet", "4", &noise);
    assert_eq!(upload(&world, &broken, &noise).await.0, StatusCode::OK);
    // Bytes that were altered in the object store.
    let mut altered = model.clone();
    altered.extend_from_slice(b"one more version");
    let other = described("nanodet", "5", &altered);
    assert_eq!(upload(&world, &other, &altered).await.0, StatusCode::OK);
    let object = world.data_dir().join("objects/models").join(other["sha256"].as_str().unwrap());
    let at = altered.len() / 2;
    altered[at] ^= 1;
    fs::write(&object, &altered).unwrap();
    // Bytes that the object store has lost.
    let lost = described("nanodet", "6", b"lost");
    assert_eq!(upload(&world, &lost, b"lost").await.0, StatusCode::OK);
    let gone = world.data_dir().join("objects/models").join(lost["sha256"].as_str().unwrap());
    fs::remove_file(gone).unwrap();

    for (version, why) in [("4", "nanodet"), ("5", "damaged"), ("6", "lost")] {
        let model = json!({ "model": format!("nanodet@{version}") });
        let failed = world.run("cam-1", "set_config", model).await;
        assert_eq!(failed["status"], "failed", "{failed}");
        assert_eq!(failed["result"]["error"], "model_unavailable", "{failed}");
        assert!(failed["result"].to_string().contains(why), "{failed}");
    }
    let status = world.run("cam-1", "get_status", json!({})).await;
    assert_eq!(status["result"]["model"]["wanted"], "nanodet@3.0.4");
    assert_eq!(status["result"]["detecting"], true);

    // An operator of the node names a model that is not there: an alert, and the last good one.
    assert_eq!(agent.stop().await, Some(0));
    let path = world.node_dir("cam-1").join("agent.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("nanodet@3.0.4", "nanodet@7")).unwrap();
    let agent = world.run_agent("cam-1").await;
    world.online("cam-1").await;
    eventually("an alert", async || {
        let alerts = world.get("/api/kubeedge/alerts?active=true").await;
        alerts.to_string().contains("model_unavailable").then_some(())
    })
    .await;
    let used = eventually("detection by the last good model", async || {
        let status = world.run("cam-1", "get_status", json!({})).await;
        let result = &status["result"];
        (result["detecting"] == true).then(|| result["model"].clone())
    })
    .await;
    assert_eq!((&used["wanted"], &used["version"]), (&json!("nanodet@7"), &json!("3.0.4")));
    // Once the hub has it, the agent comes for it by itself.
    let seventh = described("nanodet", "7", &model);
    assert_eq!(upload(&world, &seventh, &model).await.0, StatusCode::OK);
    eventually("the wanted model", async || {
        (model_in_use(&world, "cam-1").await["version"] == "7").then_some(())
    })
    .await;
    eventually("the alert's end", async || {
        let alerts = world.get("/api/kubeedge/alerts?active=true").await;
        (!alerts.to_string().contains("model_unavailable")).then_some(())
    })
    .await;
    assert_eq!(agent.stop().await, Some(0));
}
