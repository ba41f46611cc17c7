//! The hub's pods on a real container engine, from the image that `deploy/container/image.sh`
//! makes, as the manifests say.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{
    container_file, folder, hub,
    pod::{Named, Prepared, command},
    render::{all, overlay},
    restore_pod,
};
use crate::{
    apps::Engine,
    mqtt::external::Mosquitto,
    postgres,
    s3::S3,
    world::{self, PASSWORD, PATIENCE, World, eventually, program},
};

/// On ports that are free. What is written in a manifest goes before it.
const FREE: [(&str, &str); 3] = [
    ("CLOUDCORE_HTTP", "127.0.0.1:0"),
    ("CLOUDCORE_QUIC", "127.0.0.1:0"),
    ("CLOUDCORE_MQTT", "127.0.0.1:0"),
];

const PASSPHRASE: &[u8] = b"nobody guesses this\n";

/// An engine that has the hub's image.
async fn engine() -> Engine {
    let engine = Engine::start().await;
    let dir = TempDir::new().expect("a folder");
    let archive = dir.path().join("hub.tar");
    let made = Command::new(folder("../container/image.sh"))
        .args(["hub", env!("CARGO_PKG_VERSION")])
        .arg(program("cloudcore-hub"))
        .arg(&archive)
        .output()
        .await
        .expect("the script runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    engine.docker(&["load", "--input", &archive.display().to_string()]).await;
    engine
}

/// A pod's one container that runs.
struct Running<'a> {
    engine: &'a Engine,
    id: String,
    ready: Value,
}

impl<'a> Running<'a> {
    async fn start(engine: &'a Engine, pod: &Prepared) -> Self {
        assert!(pod.path().exists());
        let mut create = vec!["create"];
        create.extend(pod.arguments.iter().map(String::as_str));
        let id = engine.docker(&create).await;
        engine.docker(&["start", &id]).await;
        let ready = Self::ready(engine, &id).await;
        Self { engine, id, ready }
    }

    /// What it says on standard output once it is.
    async fn ready(engine: &Engine, id: &str) -> Value {
        eventually("the hub to be ready", async || {
            let state = engine.docker(&["inspect", "-f", "{{.State.Status}}", id]).await;
            let said = engine.both(&["logs", id]).await;
            assert!(state != "exited", "{said}");
            let mut lines =
                said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.rfind(|line| line["event"] == "ready")
        })
        .await
    }

    fn http(&self) -> &str {
        self.ready["http"].as_str().expect("an address")
    }

    /// A probe's answer.
    async fn probe(&self, command: &[&str]) -> Result<String, String> {
        let listens = format!("CLOUDCORE_HTTP={}", self.http());
        let mut args = vec!["exec", "--env", &listens, &self.id];
        args.extend(command);
        self.engine.try_docker(&args).await
    }

    /// SIGTERM; its exit code, which is its own only if that came in time.
    async fn stop(&self, grace: i64) -> String {
        self.engine.docker(&["stop", "--time", &grace.to_string(), &self.id]).await;
        self.engine.docker(&["inspect", "-f", "{{.State.ExitCode}}", &self.id]).await
    }
}

/// An operator, and nodes, of whichever hub is there.
struct Outside {
    dir: TempDir,
    client: reqwest::Client,
    http: String,
    token: String,
}

impl Outside {
    fn new(http: &str) -> Self {
        Self {
            dir: TempDir::with_prefix("cloudcore-outside-").expect("a folder"),
            client: world::client().build().expect("a client"),
            http: http.to_owned(),
            token: String::new(),
        }
    }

    async fn call(&self, method: reqwest::Method, path: &str, body: Value) -> (StatusCode, Value) {
        let mut request =
            self.client.request(method, format!("http://{}{path}", self.http)).timeout(PATIENCE);
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("the hub answers");
        (answer.status(), answer.json().await.expect("JSON"))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.call(reqwest::Method::GET, path, Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        answer
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(reqwest::Method::POST, path, body).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        answer
    }

    async fn log_in(&mut self) {
        let login = json!({ "username": "admin", "password": PASSWORD });
        let session = self.post("/api/auth/login", login).await;
        self.token = session["token"].as_str().expect("a token").to_owned();
    }

    fn agent(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program("cloudcore-agent"));
        let mut log = std::fs::File::options();
        let log = log.create(true).append(true).open(self.dir.path().join("agent.log"));
        let log = log.expect("a log");
        command.args(args).arg("--data-dir").arg(self.dir.path().join("node"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        command
    }

    /// A node that joins there and runs.
    async fn join(&self, quic: &str) -> Child {
        let issued =
            self.post("/api/kubeedge/token/generate", json!({ "node_name": "cam-1" })).await;
        let token = issued["token"].as_str().expect("a token");
        let node = ["--cloudcore-ipport", quic, "--edgenode-name", "cam-1", "--token", token];
        let joined = self.agent(&["join", "--no-service"]).args(node).status().await;
        assert!(joined.expect("it starts").success());
        let agent = self.agent(&["run"]).spawn().expect("it starts");
        self.online().await;
        agent
    }

    async fn online(&self) {
        eventually("the device to be online", async || {
            let shown = self.get("/api/kubeedge/device/cam-1").await;
            (shown["device_status"]["online"] == true).then_some(())
        })
        .await;
    }
}

fn config_maps(objects: &[Value], settings: &str) -> BTreeMap<String, BTreeMap<String, Vec<u8>>> {
    let maps = all::<ConfigMap>(objects, "ConfigMap").into_iter();
    maps.map(|map| {
        let data = map.data.unwrap_or_default().into_iter();
        // An advertised address is somebody else's; the rest stands as it is written.
        let kept = data.map(|(name, text)| {
            let lines = text.lines().filter(|line| !line.starts_with("advertise_address"));
            let text = lines.chain([settings]).collect::<Vec<_>>().join("\n");
            (name, text.into_bytes())
        });
        (map.metadata.name.unwrap_or_default(), kept.collect())
    })
    .collect()
}

fn named<T: Clone>(all: &BTreeMap<String, T>) -> BTreeMap<&str, T> {
    all.iter().map(|(name, value)| (name.as_str(), value.clone())).collect()
}

fn secret<'a>(name: &'a str, values: &[(&str, &[u8])]) -> (&'a str, BTreeMap<String, Vec<u8>>) {
    (name, values.iter().map(|(key, value)| ((*key).to_owned(), value.to_vec())).collect())
}

/// The script's image is the one that the container file describes.
async fn as_the_container_file_says(engine: &Engine) {
    let image = format!("ghcr.io/cloudcore-edge/cloudcore-hub:{}", env!("CARGO_PKG_VERSION"));
    let made = engine.docker(&["inspect", "-f", "{{json .Config}}", &image]).await;
    let made: Value = serde_json::from_str(&made).expect("JSON");
    let file = container_file("hub");
    let said = |name: &str| {
        let line = file.lines().rev().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("the container file has no {name}")).trim().to_owned()
    };
    let list = |text: &str| serde_json::from_str::<Value>(text).expect("a list");
    assert_eq!(made["User"], said("USER"));
    assert_eq!(made["WorkingDir"], said("WORKDIR"));
    assert_eq!(made["StopSignal"], said("STOPSIGNAL"));
    assert_eq!(made["Entrypoint"], list(&said("ENTRYPOINT")));
    assert_eq!(made["Cmd"], list(&said("CMD")));
    assert!(made["Env"].as_array().expect("variables").contains(&json!(said("ENV"))));
    let test = said("HEALTHCHECK");
    let (_, test) = test.split_once("CMD ").expect("a program");
    let program = made["Healthcheck"]["Test"].as_array().expect("a program").iter().skip(1);
    assert!(list(test).as_array().expect("a list").iter().eq(program));
    let exposed = said("EXPOSE");
    let ports = made["ExposedPorts"].as_object().expect("ports");
    let mut exposed: Vec<_> = exposed.split(' ').collect();
    let mut ports: Vec<_> = ports.keys().map(String::as_str).collect();
    exposed.sort_unstable();
    ports.sort_unstable();
    assert_eq!(ports, exposed);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_single_hubs_pod_runs_as_it_is_written() {
    let engine = engine().await;
    as_the_container_file_says(&engine).await;
    let objects = overlay("single");
    let (_, spec, container) = hub(&objects);
    let secrets: Named = [secret("cloudcore-admin", &[("password", PASSWORD.as_bytes())])].into();
    let maps = config_maps(&objects, "");
    let data = TempDir::with_prefix("cloudcore-claim-").expect("a folder");
    let pod = Prepared::new(&spec, &secrets, &named(&maps), data.path()).with(&FREE);
    let running = Running::start(&engine, &pod).await;

    // It is nobody, and its probes say what they should.
    let processes = engine.docker(&["top", &running.id, "-o", "pid,uid,gid"]).await;
    let processes: Vec<_> = processes.lines().skip(1).collect();
    assert!(!processes.is_empty());
    for process in processes {
        assert!(process.split_whitespace().skip(1).eq(["65532", "65532"]), "{process}");
    }
    for probe in [&container.startup_probe, &container.readiness_probe, &container.liveness_probe] {
        running.probe(&command(probe.as_ref())).await.expect("it is well");
    }
    let gone = ["/usr/local/bin/cloudcore-hub", "health", "--http", "127.0.0.1:9", "--alive"];
    let said = running.probe(&gone).await.expect_err("nobody is there");
    assert!(said.contains("no hub answers at 127.0.0.1:9"), "{said}");
    running.probe(&["sh", "-c", "true"]).await.expect_err("there is no shell");

    let mut outside = Outside::new(running.http());
    assert_eq!(outside.get("/api/health").await["status"], "healthy");
    outside.log_in().await;
    let mut agent = outside.join(running.ready["quic"].as_str().expect("an address")).await;

    // The keys are the hub's alone, though the volume is open to its group.
    for key in ["hub.key", "ca.key", "hub.db"] {
        use std::os::unix::fs::MetadataExt as _;
        let file = std::fs::metadata(data.path().join(key)).expect("it is on the volume");
        assert_eq!((file.mode() & 0o777, file.uid()), (0o600, 65532), "{key}");
    }

    // A backup comes out through a pipe.
    let line = ["backup", "--output", "-", "--passphrase-file", "/dev/stdin"];
    let mut backup = vec!["exec", "-i", &running.id, "/usr/local/bin/cloudcore-hub"];
    backup.extend(line);
    let backup = engine.pipe(&backup, PASSPHRASE).await;

    let grace = spec.termination_grace_period_seconds.expect("a grace");
    let begun = std::time::Instant::now();
    assert_eq!(running.stop(grace).await, "0");
    assert!(begun.elapsed() < Duration::from_secs(grace.unsigned_abs()), "it ended by itself");

    // The pod after it has its volume, and so its members.
    let quic = running.ready["quic"].as_str().expect("an address");
    let on = |data: &TempDir| {
        let pod = Prepared::new(&spec, &secrets, &named(&maps), data.path());
        pod.with(&FREE).with(&[("CLOUDCORE_QUIC", quic)])
    };
    let again = on(&data);
    let next = Running::start(&engine, &again).await;
    outside.http = next.http().to_owned();
    outside.online().await;
    assert_eq!(next.stop(grace).await, "0");

    // An empty volume and the backup are the same hub too.
    let empty = TempDir::with_prefix("cloudcore-claim-").expect("a folder");
    let restore: Pod = serde_json::from_value(restore_pod()).expect("a pod");
    let secrets_then: Named = [secret("cloudcore-restore", &[("passphrase", PASSPHRASE)])].into();
    let spec_then = restore.spec.expect("a spec");
    let pod = Prepared::new(&spec_then, &secrets_then, &BTreeMap::new(), empty.path());
    let mut run = vec!["run", "-i"];
    run.extend(pod.arguments.iter().map(String::as_str));
    let said = engine.pipe(&run, &backup).await;
    let said: Value = serde_json::from_slice(&said).expect("JSON");
    assert_eq!(said["event"], "restored");
    let restored = on(&empty);
    let last = Running::start(&engine, &restored).await;
    outside.http = last.http().to_owned();
    outside.log_in().await;
    outside.online().await;
    assert_eq!(last.stop(grace).await, "0");
    agent.kill().await.expect("it was ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scaled_hubs_pod_goes_on_where_another_was() {
    let (engine, broker) = tokio::join!(engine(), Mosquitto::start(""));
    let database = postgres::shared().database();
    let mut bucket = S3::new();
    bucket.start().await;
    let objects = overlay("scaled");
    let (_, spec, container) = hub(&objects);

    // The administrator makes an identity as the page says: a hub makes one when it starts.
    let mut world = World::start().await;
    let made: PathBuf = world.data_dir();
    assert_eq!(world.stop_hub().await, Some(0));
    let read = |name: &str| std::fs::read(Path::new(&made).join(name)).expect("a key");
    let (master, key, certificate) = (read("hub.key"), read("ca.key"), read("ca.pem"));
    let url = broker.url();
    let store = bucket.env();
    let store: Vec<_> =
        store.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let secrets: Named = [
        secret("cloudcore-admin", &[("password", PASSWORD.as_bytes())]),
        secret("cloudcore-database", &[("url", database.url().as_bytes())]),
        secret("cloudcore-mqtt", &[("url", url.as_bytes())]),
        secret("cloudcore-object-store", &store),
        secret(
            "cloudcore-identity",
            &[("hub.key", &master), ("ca.key", &key), ("ca.pem", &certificate)],
        ),
    ]
    .into();
    let bucket_url = format!("object_store = \"s3://{}/hub\"", crate::s3::BUCKET);
    let maps = config_maps(&objects, "");
    let maps: BTreeMap<_, _> = maps
        .into_iter()
        .map(|(name, files)| {
            let ours = files.into_iter().map(|(file, text)| {
                let text = String::from_utf8(text).expect("text");
                let text = text.replace("object_store = \"s3://cloudcore/hub\"", &bucket_url);
                (file, text.into_bytes())
            });
            (name, ours.collect())
        })
        .collect();
    let volumes = [(); 2].map(|()| TempDir::with_prefix("cloudcore-claim-").expect("a folder"));
    // The broker is not the hub's: it has no port for it.
    let free = &FREE[..2];
    let first = Prepared::new(&spec, &secrets, &named(&maps), volumes[0].path()).with(free);
    let running = Running::start(&engine, &first).await;
    running.probe(&command(container.readiness_probe.as_ref())).await.expect("it is well");
    let mut outside = Outside::new(running.http());
    outside.log_in().await;
    let quic = running.ready["quic"].as_str().expect("an address").to_owned();
    let mut agent = outside.join(&quic).await;
    eventually("the broker", async || {
        let shown = outside.get("/api/kubeedge/mqtt").await;
        (shown["connected"] == true).then_some(())
    })
    .await;
    let grace = spec.termination_grace_period_seconds.expect("a grace");
    assert_eq!(running.stop(grace).await, "0");

    // Another node, an empty volume: the same hub to users and to devices.
    let second = Prepared::new(&spec, &secrets, &named(&maps), volumes[1].path());
    let second = second.with(free).with(&[("CLOUDCORE_QUIC", &quic)]);
    let next = Running::start(&engine, &second).await;
    outside.http = next.http().to_owned();
    outside.online().await;
    assert_eq!(next.stop(grace).await, "0");
    agent.kill().await.expect("it was ours");
}
