//! Backups and their restoration: into an empty hub, into a running one, and not at all.

use std::{
    collections::BTreeMap,
    io::Read as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use cloudcore_protocol::BlobHash;
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::{
    postgres,
    s3::{BUCKET, S3},
    webhooks::{Receiver, signature},
    world::{PASSWORD, PATIENCE, Store, World, cached, eventually},
};

const BACKUP: &str = "/api/kubeedge/backup";
const BACKUPS: &str = "/api/kubeedge/backups";
const RESTORE: &str = "/api/kubeedge/restore";
const PASSPHRASE: &str = "battery staple";
/// What [`signature`] signs by.
const WEBHOOK_SECRET: &str = "your-webhook-secret";

/// An archive's manifest, and the bytes of its plain parts.
fn opened(archive: &Path) -> (Value, BTreeMap<String, Vec<u8>>) {
    let file = std::fs::File::open(archive).unwrap();
    let mut tar = tar::Archive::new(zstd::Decoder::new(file).unwrap());
    let mut parts = BTreeMap::new();
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        parts.insert(name, bytes);
    }
    let manifest = serde_json::from_slice(&parts.remove("manifest.json").unwrap()).unwrap();
    parts.remove("sealed.bin").unwrap();
    (manifest, parts)
}

/// The same archive with other content: `change` sees each entry by name.
fn repacked(archive: &Path, mut change: impl FnMut(&str, &mut Vec<u8>)) -> Vec<u8> {
    let file = std::fs::File::open(archive).unwrap();
    let mut tar = tar::Archive::new(zstd::Decoder::new(file).unwrap());
    let mut out = tar::Builder::new(zstd::Encoder::new(Vec::new(), 3).unwrap());
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        change(&name, &mut bytes);
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        out.append_data(&mut header, &name, bytes.as_slice()).unwrap();
    }
    out.into_inner().unwrap().finish().unwrap()
}

impl World {
    fn archive(&self, id: &str) -> PathBuf {
        self.dir.path().join(format!("hub/objects/backups/{id}.tar.zst"))
    }

    /// `cloudcore-hub COMMAND --data-dir DIR …`: whether it exited 0, and what it said.
    async fn hub_cli(
        &self,
        command: &str,
        data_dir: &str,
        more: &[&str],
    ) -> Result<String, String> {
        let mut cli = self.hub_command();
        cli.arg(command).arg("--data-dir").arg(self.dir.path().join(data_dir)).args(more);
        let output = tokio::time::timeout(PATIENCE, cli.kill_on_drop(true).output());
        let output = output.await.expect("it ends in time").unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(String::from_utf8(output.stderr).unwrap())
        }
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// All of the hub's tables that a backup holds: the plain ones byte by byte, the others as the
    /// API shows them.
    async fn tables(&self) -> Value {
        let file = self.file("dump");
        self.hub_cli("backup", "hub", &["--output", &file]).await.unwrap();
        let (_, mut parts) = opened(Path::new(&file));
        std::fs::remove_file(&file).unwrap();
        // What changes by itself while an agent is linked.
        let devices = parts.remove("devices.jsonl").unwrap();
        let devices = String::from_utf8(devices).unwrap();
        let devices: Vec<Value> = devices
            .lines()
            .map(|line| {
                let mut device: Value = serde_json::from_str(line).unwrap();
                for live in ["last_seen", "heartbeat", "heartbeat_at", "status"] {
                    device[live].take();
                }
                device
            })
            .collect();
        parts.remove("outboxes.jsonl").unwrap();
        let plain: BTreeMap<_, _> = parts
            .into_iter()
            .map(|(name, bytes)| (name, String::from_utf8(bytes).unwrap()))
            .collect();
        json!({
            "plain": plain,
            "devices": devices,
            "tokens": self.get("/api/kubeedge/tokens").await,
            "users": self.get("/api/kubeedge/users").await,
            "api_keys": self.get("/api/kubeedge/apikeys").await,
        })
    }

    async fn devices(&self) -> Vec<String> {
        let listed = self.get("/api/kubeedge/devices?limit=500").await;
        let mut ids: Vec<_> = listed["devices"]
            .as_array()
            .unwrap()
            .iter()
            .map(|device| device["device_id"].as_str().unwrap().to_owned())
            .collect();
        ids.sort();
        ids
    }

    async fn announce(&self, device: &str) {
        let body = json!({ "node_name": device, "device_id": device });
        self.post("/api/kubeedge/device/join", body).await;
    }

    /// Restores; the answer's status and body.
    async fn restore(&self, body: Value) -> (StatusCode, Value) {
        self.call(Method::POST, RESTORE, Some(body)).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_made_listed_and_removed() {
    let mut world = World::start().await;
    world.announce("cam-1").await;
    // As the contract has it: a body without a content type, which curl calls a form.
    let body = json!({
        "name": "backup-20240115",
        "include": ["config", "tokens", "devices"],
        "description": "Daily backup",
    });
    let answer = world
        .client()
        .post(world.url(BACKUP))
        .bearer_auth(world.token())
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let made: Value = answer.json().await.unwrap();
    assert_eq!(
        (&made["status"], &made["backup_id"]),
        (&json!("success"), &json!("backup_20240115"))
    );
    assert!(made["created_at"].as_str().unwrap().ends_with('Z'));
    let archive = world.archive("backup_20240115");
    let size = std::fs::metadata(&archive).unwrap().len();
    assert_eq!(made["size_bytes"], size);
    assert!(made["size"].as_str().unwrap().ends_with('B'));
    let location = made["location"].as_str().unwrap();
    assert_eq!(location, format!("file://{}", archive.canonicalize().unwrap().display()));

    // What it says of itself is true, and nothing in it is a secret.
    let (manifest, parts) = opened(&archive);
    assert_eq!(manifest["include"], json!(["config", "tokens", "devices"]));
    assert_eq!(
        (&manifest["format"], &manifest["description"]),
        (&json!(1), &json!("Daily backup"))
    );
    let names: Vec<_> = parts.keys().map(String::as_str).collect();
    let expected = ["certificates", "devices", "outboxes", "settings"];
    assert_eq!(names, expected.map(|table| format!("{table}.jsonl")));
    assert!(String::from_utf8_lossy(&parts["devices.jsonl"]).contains("cam-1"));
    assert!(!std::fs::read(&archive).unwrap().windows(5).any(|w| w == b"admin"));

    let (status, again) = world.call(Method::POST, BACKUP, Some(body)).await;
    assert_eq!((status, &again["code"]), (StatusCode::CONFLICT, &json!("API-005")));
    // Without a body there is a name by the time.
    let (status, second) = world.call(Method::POST, BACKUP, None).await;
    assert_eq!(status, StatusCode::OK, "{second}");
    assert!(second["backup_id"].as_str().unwrap().starts_with("backup_20"));
    let sealed = json!({ "name": "sealed", "passphrase": PASSPHRASE });
    assert_eq!(world.post(BACKUP, sealed).await["sealed_by"], "passphrase");

    let list = world.get(BACKUPS).await;
    assert_eq!((&list["count"], &list["next_cursor"]), (&json!(3), &Value::Null));
    let mut first = list["backups"][0].clone();
    first["status"] = "success".into();
    assert_eq!(first, made);
    let page = world.get(&format!("{BACKUPS}?limit=2")).await;
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = world.get(&format!("{BACKUPS}?limit=2&cursor={cursor}")).await;
    assert_eq!((&rest["count"], &rest["backups"][0]["backup_id"]), (&json!(3), &json!("sealed")));

    for bad in [
        json!({ "name": "" }),
        json!({ "name": "a/b" }),
        json!({ "name": "x".repeat(65) }),
        json!({ "include": [] }),
        json!({ "include": ["everything"] }),
        json!({ "description": "x".repeat(501) }),
        json!({ "passphrase": "short" }),
    ] {
        let (status, answer) = world.call(Method::POST, BACKUP, Some(bad.clone())).await;
        assert_eq!(
            (status, &answer["code"]),
            (StatusCode::BAD_REQUEST, &json!("API-001")),
            "{bad}"
        );
    }
    let path = "/api/kubeedge/backup/sealed";
    assert_eq!(world.call(Method::DELETE, path, None).await.0, StatusCode::OK);
    assert!(!world.archive("sealed").exists());
    for id in ["sealed", "backup-20240115", "..%2Fblobs"] {
        let path = format!("{BACKUP}/{id}");
        let (status, answer) = world.call(Method::DELETE, &path, None).await;
        assert_eq!((status, &answer["code"]), (StatusCode::NOT_FOUND, &json!("API-004")), "{id}");
        assert_eq!(world.restore(json!({ "backup_id": id })).await.0, StatusCode::NOT_FOUND);
    }

    world.become_user("eve", "operator").await;
    for (method, path) in [
        (Method::POST, BACKUP),
        (Method::GET, BACKUPS),
        (Method::DELETE, "/api/kubeedge/backup/backup_20240115"),
        (Method::POST, RESTORE),
    ] {
        let (status, answer) = world.call(method, path, None).await;
        assert_eq!((status, &answer["code"]), (StatusCode::FORBIDDEN, &json!("API-003")), "{path}");
    }
    assert!(archive.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_hub_takes_over_and_agents_come_without_joining_again() {
    let mut world = World::start().await;
    let camera = format!("file://{}?fps=2", cached("photos").display());
    let model = cached("models/nanodet.json").display().to_string();
    let agent = world.agent("cam-1", &["--camera", &camera, "--model", &model]).await;
    world.announce("cam-2").await;
    let key = json!({ "name": "grafana", "role": "viewer" });
    let key =
        world.post("/api/kubeedge/apikeys", key).await["api_key"].as_str().unwrap().to_owned();
    let token = world.join_token("edge-3").await;
    let started =
        world.run("cam-1", "start_detection", json!({ "confidence": 0.25, "interval": 0.2 })).await;
    eventually("a detection", async || {
        let shown = world.get("/api/kubeedge/device/cam-1").await;
        (shown["metrics"]["total_detections"].as_u64()? > 0).then_some(())
    })
    .await;
    world.run("cam-1", "stop_detection", json!({})).await;

    let passphrase = world.file("passphrase");
    std::fs::write(&passphrase, format!("{PASSPHRASE}\n")).unwrap();
    let output = world.file("backup.tar.zst");
    let args = ["--output", output.as_str(), "--passphrase-file", passphrase.as_str()];
    world.hub_cli("backup", "hub", &args).await.unwrap();
    let before = world.tables().await;

    // The machine is lost; another one has the archive and the passphrase.
    world.kill_hub().await;
    world.store = Store::of_this_run();
    std::fs::rename(world.dir.path().join("hub"), world.dir.path().join("lost")).unwrap();
    let args = ["--input", output.as_str()];
    let refused = world.hub_cli("restore", "hub", &args).await.unwrap_err();
    assert!(refused.contains("sealed by a passphrase"), "{refused}");
    assert!(!world.dir.path().join("hub/ca.key").exists(), "nothing is made by a refusal");
    let args = ["--input", output.as_str(), "--passphrase-file", passphrase.as_str()];
    let said = world.hub_cli("restore", "hub", &args).await.unwrap();
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["event"], "restored");
    world.start_hub().await;
    let mode = |name: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        world.dir.path().join("hub").join(name).metadata().unwrap().permissions().mode() & 0o777
    };
    assert_eq!(["hub.key", "ca.key", "ca.pem"].map(mode), [0o600; 3]);

    // Sessions of users have ended, passwords and API keys are the same.
    assert_eq!(
        world.call(Method::GET, "/api/kubeedge/users", None).await.0,
        StatusCode::UNAUTHORIZED
    );
    world.log_in("admin", PASSWORD).await;
    world.online("cam-1").await;
    let taken = world.run("cam-1", "get_status", json!({})).await;
    assert_eq!(taken["status"], "completed");
    let id = started["command_id"].as_str().unwrap();
    assert_eq!(world.status(id).await, started);
    let mut after = world.tables().await;
    // What was done since.
    let commands = after["plain"]["commands.jsonl"].as_str().unwrap();
    let last = commands.trim_end().rfind('\n').unwrap();
    after["plain"]["commands.jsonl"] = commands[..=last].into();
    assert_eq!(after, before);
    let asked = world.client().get(world.url("/api/kubeedge/devices")).header("x-api-key", &key);
    assert_eq!(asked.send().await.unwrap().status(), StatusCode::OK);
    // A token that was given away before still lets its node in.
    world.join("edge-3", &token, &[]).await.unwrap();
    assert_eq!(agent.stop().await, Some(0));
    let log = std::fs::read_to_string(world.dir.path().join("cam-1.log")).unwrap();
    assert!(!log.contains("needs a new join token"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_hub_goes_back_and_cuts_off_who_is_no_member_any_more() {
    let world = World::start().await;
    let stays = world.agent("edge-1", &[]).await;
    let used = world.join_token("edge-2").await;
    let revoked = world.agent("edge-3", &[]).await;
    world.announce("cam-9").await;
    let body = json!({ "name": "before", "include": ["config", "tokens", "devices", "commands"] });
    world.post(BACKUP, body).await;
    let before = world.devices().await;
    let id = world.run("edge-1", "get_status", json!({})).await["command_id"].clone();

    world.join("edge-2", &used, &[]).await.unwrap();
    let newer = world.run_agent("edge-2").await;
    world.online("edge-2").await;
    world.call(Method::DELETE, "/api/kubeedge/token/edge-3", None).await;
    world.offline("edge-3").await;
    world.call(Method::DELETE, "/api/kubeedge/device/cam-9", None).await;
    let mut watch = world.watch("?events=node_left&device_id=edge-2").await;

    let (status, answer) = world.restore(json!({ "backup_id": "before" })).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!((&answer["status"], &answer["backup_id"]), (&json!("success"), &json!("before")));
    assert_eq!(answer["restored"], json!(["config", "tokens", "devices", "commands"]));
    assert_eq!((&answer["skipped"], &answer["sessions_closed"]), (&json!([]), &json!(1)));
    assert_eq!(world.devices().await, before);
    // The one that joined since is out, at once; the one that was there stays as it is.
    assert_eq!(watch.next("node_left").await["reason"], "removed");
    let log = world.dir.path().join("edge-2.log");
    eventually("the agent to hear of it", async || {
        std::fs::read_to_string(&log).unwrap().contains("needs a new join token").then_some(())
    })
    .await;
    let shown = world.get("/api/kubeedge/devices?status=Ready").await;
    assert_eq!((&shown["count"], &shown["devices"][0]["device_id"]), (&json!(1), &json!("edge-1")));
    assert_eq!(world.run("edge-1", "get_status", json!({})).await["status"], "completed");
    assert_eq!(world.hub_log().matches("session began").count(), 3);
    let path = format!("/api/kubeedge/command/{}/status", id.as_str().unwrap());
    assert_eq!(world.call(Method::GET, &path, None).await.0, StatusCode::NOT_FOUND);

    // What was closed since is not opened: neither the token that was used nor the certificate
    // that was revoked.
    world.join("edge-4", &used, &[]).await.unwrap_err();
    let log = world.dir.path().join("edge-3.log");
    let refused = std::fs::read_to_string(&log).unwrap().matches("needs a new join token").count();
    revoked.kill().await;
    let again = world.run_agent("edge-3").await;
    eventually("the revoked agent to be refused again", async || {
        let log = std::fs::read_to_string(&log).unwrap();
        (log.matches("needs a new join token").count() > refused).then_some(())
    })
    .await;
    drop((stays, newer, again));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_not_whole_or_not_ours_changes_nothing() {
    let world = World::start().await;
    let agent = world.agent("edge-1", &[]).await;
    world.run("edge-1", "get_status", json!({})).await;
    let all = json!({
        "name": "good", "passphrase": PASSPHRASE,
        "include": ["config", "tokens", "devices", "users", "commands", "detections", "certificates"],
    });
    world.post(BACKUP, all).await;
    world.announce("since").await;
    let archive = world.archive("good");
    let good = std::fs::read(&archive).unwrap();
    let before = world.tables().await;

    let cut = |n: usize| good[..good.len() - n].to_vec();
    let altered = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x20;
        bytes
    };
    let manifest = |change: &dyn Fn(&mut Value)| {
        repacked(&archive, |name, bytes| {
            if name == "manifest.json" {
                let mut manifest: Value = serde_json::from_slice(bytes).unwrap();
                change(&mut manifest);
                *bytes = serde_json::to_vec(&manifest).unwrap();
            }
        })
    };
    // A row of a plain part and its hash, altered by somebody who has no key.
    let forged = || {
        let mut row = Vec::new();
        repacked(&archive, |name, bytes| {
            if name == "devices.jsonl" {
                let text = String::from_utf8(bytes.clone()).unwrap();
                *bytes = text.replace("edge-1", "edge-6").into_bytes();
                row.clone_from(bytes);
            }
        });
        let hash = BlobHash::of(&row).to_string();
        repacked(&archive, |name, bytes| match name {
            "devices.jsonl" => bytes.clone_from(&row),
            "manifest.json" => {
                let mut manifest: Value = serde_json::from_slice(bytes).unwrap();
                for part in manifest["parts"].as_array_mut().unwrap() {
                    if part["name"] == "devices.jsonl" {
                        part["sha256"] = hash.clone().into();
                    }
                }
                *bytes = serde_json::to_vec(&manifest).unwrap();
            }
            _ => {}
        })
    };
    let right = Some(PASSPHRASE);
    let bad = (StatusCode::BAD_REQUEST, "API-001");
    let forbidden = (StatusCode::FORBIDDEN, "API-003");
    let middle = good.len() / 2;
    let too_new = "newer hub";
    for (what, bytes, passphrase, said) in [
        ("empty", Vec::new(), right, "damaged"),
        ("no archive", b"PK\x03\x04 this is something else".to_vec(), right, "damaged"),
        ("cut in the middle", good[..middle].to_vec(), right, "damaged"),
        ("cut at the end", cut(1), right, "damaged"),
        ("cut by a block", cut(200), right, "damaged"),
        ("an altered byte in the middle", altered(middle), right, "damaged"),
        ("an altered byte near the begin", altered(60), right, "damaged"),
        ("an altered byte at the end", altered(good.len() - 1), right, "damaged"),
        ("a newer format", manifest(&|m| m["format"] = 2.into()), right, too_new),
        ("a newer schema", manifest(&|m| m["schema"] = 9999.into()), right, too_new),
        ("less than it says", manifest(&|m| m["include"] = json!(["devices"])), right, "altered"),
        ("another time", manifest(&|m| m["created_at"] = "x".into()), right, "altered"),
        (
            "parts without end",
            manifest(&|m| m["parts"][0]["size"] = (1_u64 << 62).into()),
            right,
            "unpacks",
        ),
        ("a forged row", forged(), right, "altered"),
        (
            "a part that is not listed",
            repacked(&archive, |name, bytes| {
                if name == "devices.jsonl" {
                    bytes.push(b'\n');
                }
            }),
            right,
            "not listed",
        ),
        ("the wrong passphrase", good.clone(), Some("battery stable"), "passphrase is wrong"),
        ("no passphrase", good.clone(), None, "sealed by a passphrase"),
    ] {
        std::fs::write(&archive, bytes).unwrap();
        let mut body = json!({ "backup_id": "good" });
        if let Some(passphrase) = passphrase {
            body["passphrase"] = passphrase.into();
        }
        let (status, answer) = world.restore(body).await;
        let (is, code) = if said.contains("passphrase") { forbidden } else { bad };
        assert_eq!((status, &answer["code"]), (is, &json!(code)), "{what}: {answer}");
        assert!(answer["message"].as_str().unwrap().contains(said), "{what}: {answer}");
        assert_eq!(world.tables().await, before, "{what}");
    }
    assert_eq!(world.hub_log().matches("session began").count(), 1);

    // The right one is taken: all of what is above was refused for what it says.
    std::fs::write(&archive, &good).unwrap();
    let (status, answer) =
        world.restore(json!({ "backup_id": "good", "passphrase": PASSPHRASE })).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["skipped"], json!([]), "the keys are the same");
    assert_eq!(agent.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_hubs_backup_wants_its_passphrase_and_not_its_keys() {
    let other = World::start_with(&["--webhook-allow-private"]).await;
    other.announce("cam-1").await;
    let receiver = Receiver::start().await;
    let hook = json!({ "url": receiver.url(), "events": ["alert"], "secret": WEBHOOK_SECRET });
    let hook = other.post("/api/kubeedge/webhooks", hook).await["webhook_id"].clone();
    let include = json!(["devices", "webhooks", "certificates"]);
    other.post(BACKUP, json!({ "name": "own", "include": include })).await;
    let sealed = json!({ "name": "sealed", "include": include, "passphrase": PASSPHRASE });
    other.post(BACKUP, sealed).await;
    assert!(
        !String::from_utf8_lossy(&std::fs::read(other.archive("sealed")).unwrap())
            .contains(WEBHOOK_SECRET)
    );
    let world = World::start_with(&["--webhook-allow-private"]).await;
    let (from, to) = (other.dir.path().join("hub/objects"), world.dir.path().join("hub/objects"));
    std::fs::create_dir_all(to.join("backups")).unwrap();
    for entry in std::fs::read_dir(from.join("backups")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join("backups").join(path.file_name().unwrap())).unwrap();
    }
    assert_eq!(world.get(BACKUPS).await["count"], 2);
    let (status, answer) = world.restore(json!({ "backup_id": "own" })).await;
    assert_eq!((status, &answer["code"]), (StatusCode::FORBIDDEN, &json!("API-003")));
    assert!(answer["message"].as_str().unwrap().contains("another hub's key"), "{answer}");
    assert_eq!(world.devices().await, Vec::<String>::new());
    let (status, answer) =
        world.restore(json!({ "backup_id": "sealed", "passphrase": PASSPHRASE })).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(
        (&answer["restored"], &answer["skipped"]),
        (&json!(["devices", "webhooks"]), &json!(["certificates"]))
    );
    assert!(answer["message"].as_str().unwrap().contains("cloudcore-hub restore"), "{answer}");
    assert_eq!(world.devices().await, ["cam-1"]);
    // The webhook's secret is sealed by this hub's key now, and is the same.
    let path = format!("/api/kubeedge/webhooks/{}/test", hook.as_str().unwrap());
    let (told, request) = tokio::join!(world.post(&path, json!({})), receiver.next());
    assert_eq!(told["status"], "success");
    assert_eq!(request.header("x-cloudcore-signature"), signature(&request.body));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_during_writes_is_before_or_after_each_of_them() {
    let world = World::start().await;
    let agent = world.agent("edge-1", &[]).await;
    world.post(BACKUP, json!({ "name": "before" })).await;
    let (stop, made) = (AtomicBool::new(false), AtomicUsize::new(0));
    let writing = async {
        while !stop.load(Ordering::Relaxed) {
            world.announce(&format!("new-{:04}", made.load(Ordering::Relaxed))).await;
            made.fetch_add(1, Ordering::Relaxed);
            assert_eq!(world.run("edge-1", "get_status", json!({})).await["status"], "completed");
        }
    };
    let restoring = async {
        let mut last = 0;
        for _ in 0..3 {
            eventually("some writes", async || {
                (made.load(Ordering::Relaxed) > last + 2).then_some(())
            })
            .await;
            last = made.load(Ordering::Relaxed);
            let (status, answer) = world.restore(json!({ "backup_id": "before" })).await;
            assert_eq!(status, StatusCode::OK, "{answer}");
        }
        stop.store(true, Ordering::Relaxed);
        last
    };
    let ((), last) = tokio::join!(writing, restoring);
    let made = made.load(Ordering::Relaxed);
    let left: Vec<_> = world.devices().await.into_iter().filter(|id| id != "edge-1").collect();
    // Whatever came after the last restore is there, and nothing of before.
    let expected: Vec<_> = (0..made).map(|n| format!("new-{n:04}")).collect();
    assert!(expected.ends_with(&left), "{left:?} of {made}");
    assert!(left.len() <= made - last, "{left:?}: {last} were there before the last restore");
    assert_eq!(world.hub_log().matches("session began").count(), 1);
    assert_eq!(agent.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_runs_is_not_restored_beside_it() {
    let mut world = World::start().await;
    let output = world.file("backup.tar.zst");
    world.hub_cli("backup", "hub", &["--output", &output]).await.unwrap();
    let refused = world.hub_cli("restore", "hub", &["--input", &output]).await.unwrap_err();
    assert!(refused.contains("stop it first"), "{refused}");
    let refused = world.hub_cli("backup", "nowhere", &["--output", &output]).await.unwrap_err();
    assert!(refused.contains("there is no hub"), "{refused}");
    assert_eq!(world.stop_hub().await, Some(0));
    world.hub_cli("restore", "hub", &["--input", &output]).await.unwrap();
    // Its own key opens it on another machine as well, where it is put there.
    let other = world.dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let refused = world.hub_cli("restore", "other", &["--input", &output]).await.unwrap_err();
    assert!(refused.contains("another hub's key"), "{refused}");
    std::fs::copy(world.dir.path().join("hub/hub.key"), other.join("hub.key")).unwrap();
    world.hub_cli("restore", "other", &["--input", &output]).await.unwrap();
    let same = |name: &str| std::fs::read(world.dir.path().join(name)).unwrap();
    assert_eq!(same("hub/ca.key"), same("other/ca.key"));
    world.start_hub().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_moves_to_postgresql_and_back() {
    let mut world = World::start_on(Store::Sqlite, &[]).await;
    let agent = world.agent("edge-1", &[]).await;
    world.join_token("edge-2").await;
    world.run("edge-1", "get_status", json!({})).await;
    assert_eq!(agent.stop().await, Some(0));
    let passphrase = world.file("passphrase");
    std::fs::write(&passphrase, PASSPHRASE).unwrap();
    assert_eq!(world.stop_hub().await, Some(0));

    let mut dumps = Vec::new();
    let stores = [Store::Sqlite, Store::Postgres(postgres::shared().database()), Store::Sqlite];
    for (at, store) in stores.into_iter().enumerate() {
        world.store = store;
        let (input, output) = (world.file(&format!("{at}")), world.file(&format!("{}", at + 1)));
        if at > 0 {
            std::fs::remove_dir_all(world.data_dir()).unwrap();
            let args = ["--input", &input, "--passphrase-file", &passphrase];
            world.hub_cli("restore", "hub", &args).await.unwrap();
        }
        let args = ["--output", &output, "--passphrase-file", &passphrase];
        world.hub_cli("backup", "hub", &args).await.unwrap();
        dumps.push(opened(Path::new(&output)).1);
        // What is sealed is there as well, and numbers go on.
        world.start_hub().await;
        world.log_in("admin", PASSWORD).await;
        assert_eq!(world.get("/api/kubeedge/tokens").await["count"], 2);
        world.announce("new").await;
        assert_eq!(world.devices().await, ["edge-1", "new"]);
        assert_eq!(world.stop_hub().await, Some(0));
    }
    assert!(!dumps[0]["commands.jsonl"].is_empty());
    // But for what a restore sets right: nobody is linked by it.
    for dump in &mut dumps {
        let devices = String::from_utf8(dump["devices.jsonl"].clone()).unwrap();
        let devices = devices.replace("\"Ready\"", "\"NotReady\"");
        dump.insert("devices.jsonl".into(), devices.into_bytes());
    }
    assert!(dumps[0] == dumps[1] && dumps[1] == dumps[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_keeps_backups() {
    let mut s3 = S3::new();
    s3.start().await;
    let url = format!("s3://{BUCKET}/hub-1");
    let env = s3.env();
    let env: Vec<_> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let world = World::start_in(&["--object-store", &url], &env).await;
    world.announce("cam-1").await;
    let made = world.post(BACKUP, json!({ "name": "backup-1" })).await;
    assert_eq!(made["location"], format!("s3://{BUCKET}/hub-1/backups/backup_1.tar.zst"));
    assert_eq!(s3.keys().await, ["hub-1/backups/backup_1.json", "hub-1/backups/backup_1.tar.zst"]);
    assert_eq!(world.get(BACKUPS).await["backups"][0]["backup_id"], "backup_1");
    world.announce("cam-2").await;
    assert_eq!(world.restore(json!({ "backup_id": "backup_1" })).await.0, StatusCode::OK);
    assert_eq!(world.devices().await, ["cam-1"]);

    s3.stop().await;
    for (method, path, body) in [
        (Method::POST, BACKUP, json!({ "name": "backup-2" })),
        (Method::GET, BACKUPS, Value::Null),
        (Method::POST, RESTORE, json!({ "backup_id": "backup_1" })),
    ] {
        let (status, answer) = world.call(method, path, Some(body)).await;
        assert_eq!(
            (status, &answer["code"]),
            (StatusCode::SERVICE_UNAVAILABLE, &json!("API-009")),
            "{path}: {answer}"
        );
    }
    s3.start().await;
    assert_eq!(world.get(BACKUPS).await["count"], 0);
    world.post(BACKUP, json!({ "name": "backup-2" })).await;
    let path = "/api/kubeedge/backup/backup_2";
    assert_eq!(world.call(Method::DELETE, path, None).await.0, StatusCode::OK);
    assert_eq!(s3.keys().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_restored_is_as_it_was_however_often() {
    let mut world = World::start().await;
    let config = "/api/kubeedge/config";
    let before = world.get(config).await;
    world.post(BACKUP, json!({ "name": "first", "include": ["config", "devices"] })).await;

    // Settings that nobody had changed, and an app of a device that nobody knew.
    let change = json!({ "max_devices": 5 });
    let (status, changed) = world.call(Method::PUT, config, Some(change)).await;
    assert_eq!(status, StatusCode::OK, "{changed}");
    world.announce("cam-1").await;
    let app = json!({ "name": "viewer", "image": "nginx:1", "device_ids": ["cam-1"] });
    world.post("/api/kubeedge/apps/deploy", app).await;
    let (status, answer) = world.restore(json!({ "backup_id": "first" })).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(world.get(config).await["limits"], before["limits"]);
    assert_eq!(world.devices().await, Vec::<String>::new());
    let (_, answer) = world.call(Method::DELETE, "/api/kubeedge/apps/viewer", None).await;
    let apps = world.get("/api/kubeedge/apps").await;
    assert_eq!(apps["count"], 0, "{answer}, and then {apps}");

    // Each time all have to log in again, and can.
    for n in 0..15 {
        let name = format!("users-{n}");
        let made = world.post(BACKUP, json!({ "name": name, "include": ["users"] })).await;
        let (status, answer) = world.restore(json!({ "backup_id": made["backup_id"] })).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(world.call(Method::GET, config, None).await.0, StatusCode::UNAUTHORIZED);
        world.log_in("admin", PASSWORD).await;
    }
}
