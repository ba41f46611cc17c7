//! Apps on a real container engine: a dockerd of the test's own, images made here.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::world::{PATIENCE, World, eventually, program};

/// A dockerd with a state, a socket and no network of its own; ended with its owner.
pub struct Engine {
    dir: TempDir,
    daemon: Option<Child>,
}

impl Engine {
    pub async fn start() -> Self {
        let mut engine =
            Self { dir: TempDir::with_prefix("ccd-").expect("a folder"), daemon: None };
        engine.resume().await;
        engine
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    async fn resume(&mut self) {
        let at = |name: &str| self.dir.path().join(name);
        let log = std::fs::File::options().create(true).append(true).open(at("log")).expect("log");
        let daemon = Command::new("dockerd")
            .arg("--data-root")
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("exec"))
            .arg("--pidfile")
            .arg(at("pid"))
            .arg("-H")
            .arg(format!("unix://{}", self.socket().display()))
            .args(["--bridge=none", "--iptables=false", "--ip-masq=false"])
            .args(["--storage-driver=vfs"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("dockerd: run `deploy/setup.sh test`");
        self.daemon = Some(daemon);
        eventually("the engine to answer", async || self.try_docker(&["version"]).await.ok()).await;
    }

    /// SIGTERM: its containers end with it.
    async fn pause(&mut self) {
        let mut daemon = self.daemon.take().expect("a daemon");
        let pid = daemon.id().expect("it runs").cast_signed();
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it is ours");
        daemon.wait().await.expect("it was ours");
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("/usr/bin/docker");
        command.arg("-H").arg(format!("unix://{}", self.socket().display())).args(args);
        command
    }

    async fn run(&self, args: &[&str]) -> std::process::Output {
        self.command(args).output().await.expect("docker: run `deploy/setup.sh test`")
    }

    pub async fn try_docker(&self, args: &[&str]) -> Result<String, String> {
        let output = self.run(args).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    pub async fn docker(&self, args: &[&str]) -> String {
        self.try_docker(args).await.unwrap_or_else(|said| panic!("docker {args:?}: {said}"))
    }

    /// What it wrote, on standard error too.
    pub async fn both(&self, args: &[&str]) -> String {
        let output = self.run(args).await;
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// What it wrote, as it is, to this input.
    pub async fn pipe(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker: run `deploy/setup.sh test`");
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(input).await.expect("it reads");
        drop(stdin);
        let output = child.wait_with_output().await.expect("it ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// An image of busybox alone; its id.
    async fn image(&self, name: &str, changes: &[&str]) -> String {
        let root = self.dir.path().join("root");
        if !root.exists() {
            for dir in ["bin", "tmp"] {
                std::fs::create_dir_all(root.join(dir)).expect("a folder");
            }
            std::fs::copy("/usr/bin/busybox", root.join("bin/busybox")).expect("busybox-static");
            for applet in ["sh", "sleep", "echo", "test", "env"] {
                std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("link");
            }
        }
        let tar = self.dir.path().join("root.tar");
        let packed =
            Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".").status();
        assert!(packed.await.expect("tar").success());
        let mut args = vec!["import"];
        for change in changes {
            args.extend(["-c", change]);
        }
        let path = tar.display().to_string();
        args.extend([path.as_str(), name]);
        self.docker(&args).await
    }

    /// The one container of an app.
    async fn container(&self, app: &str) -> Option<Value> {
        let filter = format!("label=io.cloudcore.app={app}");
        let ids = self.docker(&["ps", "-aq", "--filter", &filter]).await;
        let [id] = ids.lines().collect::<Vec<_>>()[..] else { return None };
        let shown = self.try_docker(&["inspect", id]).await.ok()?;
        serde_json::from_str::<Vec<Value>>(&shown).expect("JSON").pop()
    }

    async fn count(&self, app: &str) -> usize {
        let filter = format!("label=io.cloudcore.app={app}");
        self.docker(&["ps", "-aq", "--filter", &filter]).await.lines().count()
    }
}

impl Drop for Engine {
    /// Ends the containers too, and waits: their mounts are in the folder.
    fn drop(&mut self) {
        let socket = format!("unix://{}", self.socket().display());
        let docker = |args: &[&str]| {
            std::process::Command::new("/usr/bin/docker").arg("-H").arg(&socket).args(args).output()
        };
        let Some(mut daemon) = self.daemon.take() else { return };
        if let Ok(all) = docker(&["ps", "-aq"]) {
            let ids = String::from_utf8_lossy(&all.stdout).into_owned();
            let args: Vec<_> = ["rm", "-f"].into_iter().chain(ids.lines()).collect();
            docker(&args).ok();
        }
        if let Some(pid) = daemon.id() {
            kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM).ok();
        }
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while matches!(daemon.try_wait(), Ok(None)) && std::time::Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
        }
        // The daemon leaves its own network namespace mounted there.
        let left = self.dir.path().join("exec/netns/default");
        let _ = std::process::Command::new("umount").arg(left).output();
    }
}

const LOOP: &str = r#"CMD ["sh","-c","echo hello $GREETING; while true; do sleep 1; done"]"#;

/// A node whose agent, once started, uses this engine, with the host's network.
async fn node(world: &World, engine: &Engine) {
    let token = world.join_token("cam-1").await;
    world.join("cam-1", &token, &[]).await.expect("it joins");
    world.use_engine("cam-1", &engine.socket(), "host");
}

#[allow(clippy::needless_pass_by_value, reason = "made where it is given")]
fn app(image: &str, config: Value) -> Value {
    json!({
        "name": "counter", "image": image, "device_ids": ["cam-1"], "config": config,
        "resources": { "cpu": "500m", "memory": "64Mi" },
    })
}

async fn deploy(world: &World, app: Value) -> Value {
    world.post("/api/kubeedge/apps/deploy", app).await;
    // The request waits for less than a device may take.
    eventually("the device's answer", async || {
        let shown = shown(world).await;
        (shown["status"] != "Pending").then_some(shown)
    })
    .await
}

/// How the app stands on the device, as the hub shows it.
async fn shown(world: &World) -> Value {
    world.get("/api/kubeedge/apps").await["apps"][0]["devices"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_deployed_replaced_watched_and_removed() {
    let (world, engine) = tokio::join!(World::start(), Engine::start());
    node(&world, &engine).await;
    let agent = world.run_agent("cam-1").await;
    world.online("cam-1").await;
    let first = engine.image("counter:1", &[LOOP]).await;
    let fails = r#"HEALTHCHECK --interval=1s --retries=1 CMD ["sh","-c","echo sick; test -e /no"]"#;
    engine.image("counter:sick", &[LOOP, fails]).await;
    engine.image("counter:dies", &[r#"CMD ["sh","-c","echo last words; test -e /no"]"#]).await;
    // Somebody else's, under a name that could be one of ours.
    engine.docker(&["run", "-d", "--net=host", "--name=cloudcore-counter", "counter:1"]).await;

    // It runs as it was asked to, and with no more rights than it needs.
    let done = deploy(&world, app("counter:1", json!({ "GREETING": "world" }))).await;
    assert_eq!(done["status"], "Running", "{done}");
    let container = engine.container("counter").await.expect("one container");
    assert_eq!(container["Image"], first);
    let host = &container["HostConfig"];
    assert_eq!(host["Memory"], 64 << 20);
    assert_eq!(host["NanoCpus"], 500_000_000);
    assert_eq!(host["CapDrop"], json!(["ALL"]));
    assert_eq!(host["SecurityOpt"], json!(["no-new-privileges"]));
    assert_eq!(host["RestartPolicy"]["Name"], "unless-stopped");
    let env = container["Config"]["Env"].as_array().expect("variables");
    assert!(env.contains(&json!("GREETING=world")), "{env:?}");

    let logs = world.run("cam-1", "get_app_logs", json!({ "name": "counter", "lines": 5 })).await;
    let line = logs["result"]["lines"][0].as_str().expect("a line");
    assert!(line.ends_with("hello world"), "{logs}");
    let status = world.run("cam-1", "get_status", json!({})).await;
    assert_eq!(status["result"]["apps"][0]["state"], "Running", "{status}");
    eventually("a heartbeat to tell of restarts", async || {
        let shown = world.get("/api/kubeedge/apps/counter").await;
        assert_eq!(shown["ports"], json!([]));
        (shown["devices"][0]["restarts"] == 0).then_some(())
    })
    .await;

    // What can't be had, does not stay up or is not healthy changes nothing.
    for (image, reason, words) in [
        ("127.0.0.1:9/none:1", "image_unavailable", "none"),
        ("counter:dies", "crashing", "last words"),
        ("counter:sick", "unhealthy", "runs again"),
    ] {
        let done = deploy(&world, app(image, json!({}))).await;
        assert_eq!(done["status"], "Failed", "{image}: {done}");
        let message = done["message"].as_str().expect("a sentence");
        let crashed = reason == "crashing" && done["reason"] == "exited";
        assert!(done["reason"] == reason || crashed, "{image}: {done}");
        assert!(message.contains(words), "{image}: {done}");
        let now = engine.container("counter").await.expect("one container");
        assert_eq!(now["Id"], container["Id"], "{image}");
        assert_eq!(now["State"]["Running"], true, "{image}");
    }

    // A digest names one image.
    let wrong = format!("counter@sha256:{}", "0".repeat(64));
    assert_eq!(deploy(&world, app(&wrong, json!({}))).await["reason"], "image_unavailable");
    let done = deploy(&world, app(&format!("counter@{first}"), json!({ "GREETING": "2" }))).await;
    assert_eq!(done["status"], "Running", "{done}");
    let second = engine.container("counter").await.expect("the first is gone");
    assert_ne!(second["Id"], container["Id"]);

    let gone = world.call(reqwest::Method::DELETE, "/api/kubeedge/apps/counter", None).await;
    assert_eq!(gone.1["status"], "success", "{}", gone.1);
    assert_eq!(engine.count("counter").await, 0);
    let other = engine.docker(&["inspect", "-f", "{{.State.Running}}", "cloudcore-counter"]).await;
    assert_eq!(other, "true", "it was not ours");
    let logs = world.run("cam-1", "get_app_logs", json!({ "name": "counter" })).await;
    assert_eq!(logs["result"]["error"], "unknown_app");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_run_runs_whatever_happens() {
    let (mut world, mut engine) = tokio::join!(World::start(), Engine::start());
    node(&world, &engine).await;
    let agent = world.run_agent("cam-1").await;
    world.online("cam-1").await;
    engine.image("counter:1", &[LOOP]).await;
    let done = deploy(&world, app("counter:1", json!({}))).await;
    assert_eq!(done["status"], "Running", "{done}");

    // The agent is killed, and the container removed: the next one brings it back, without a hub.
    agent.kill().await;
    let old = engine.container("counter").await.expect("it runs on")["Id"].clone();
    engine.docker(&["rm", "-f", old.as_str().expect("an id")]).await;
    world.kill_hub().await;
    let agent = world.run_agent("cam-1").await;
    let runs = async |engine: &Engine| {
        eventually("the app to run", async || {
            let container = engine.container("counter").await?;
            (container["State"]["Running"] == true).then_some(container)
        })
        .await
    };
    let back = runs(&engine).await;
    assert_ne!(back["Id"], old);

    // Somebody stops it; then the engine goes, and comes again.
    engine.docker(&["stop", "-t", "0", back["Id"].as_str().expect("an id")]).await;
    runs(&engine).await;
    world.start_hub().await;
    world.online("cam-1").await;
    engine.pause().await;
    let dead = eventually("the hub to hear that it died", async || {
        let shown = shown(&world).await;
        (shown["status"] == "Failed").then_some(shown)
    })
    .await;
    assert!(dead["message"].is_string(), "{dead}");
    let alerts = world.get("/api/kubeedge/alerts").await;
    assert!(alerts.to_string().contains("app_failed"), "{alerts}");
    engine.resume().await;
    eventually("the hub to hear that it runs", async || {
        (shown(&world).await["status"] == "Running").then_some(())
    })
    .await;
    eventually("the alert to end", async || {
        let alerts = world.get("/api/kubeedge/alerts?active=true").await;
        (!alerts.to_string().contains("app_failed")).then_some(())
    })
    .await;
    agent.stop().await;
}

/// A registry of images that wants a password.
struct Registry {
    /// `HOST:PORT`.
    address: String,
    _daemon: Child,
}

/// What `htpasswd -B` writes for "let me in".
const HTPASSWD: &str = "edge:$2b$04$6Sc6fB7smZte8gxApksReun5CMQX01QrCtLrAKnHDfsbofnv.qsv.";

impl Registry {
    async fn start(dir: &Path) -> Self {
        let at = |name: &str| dir.join(name).display().to_string();
        std::fs::write(at("htpasswd"), HTPASSWD).expect("a file");
        let config = json!({
            "version": "0.1",
            "log": { "formatter": "json" },
            "storage": { "filesystem": { "rootdirectory": at("images") } },
            "http": { "addr": "127.0.0.1:0" },
            "auth": { "htpasswd": { "realm": "edge", "path": at("htpasswd") } },
        });
        // JSON is YAML.
        std::fs::write(at("config.yml"), config.to_string()).expect("a file");
        let mut daemon = Command::new("docker-registry")
            .args(["serve", &at("config.yml")])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("docker-registry: run `deploy/setup.sh test`");
        let mut lines = BufReader::new(daemon.stderr.take().expect("piped")).lines();
        let address = loop {
            let line = timeout(PATIENCE, lines.next_line()).await.expect("in time").expect("text");
            let line: Value = serde_json::from_str(&line.expect("it listens")).expect("JSON");
            if let Some(address) =
                line["msg"].as_str().and_then(|m| m.strip_prefix("listening on "))
            {
                break address.to_owned();
            }
        };
        // It goes on to log, and must not wait for a reader.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { address, _daemon: daemon }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_registry_is_asked_as_the_node_and_a_reset_leaves_nothing() {
    let (world, engine) = tokio::join!(World::start(), Engine::start());
    let registry = Registry::start(engine.dir.path()).await;
    node(&world, &engine).await;
    let image = format!("{}/counter:1", registry.address);
    engine.image(&image, &[LOOP]).await;
    let config = engine.dir.path().join("client").display().to_string();
    let client = ["--config", config.as_str()];
    let login = ["login", "-u", "edge", "-p", "let me in", registry.address.as_str()];
    engine.docker(&[&client[..], &login].concat()).await;
    engine.docker(&[&client[..], &["push", &image]].concat()).await;
    engine.docker(&["rmi", &image]).await;
    let images = async || engine.docker(&["images", "-q"]).await.lines().count();
    assert_eq!(images().await, 0);

    // Without credentials it is not to be had, and the hub is told why.
    let agent = world.run_agent("cam-1").await;
    world.online("cam-1").await;
    let done = deploy(&world, app(&image, json!({}))).await;
    assert_eq!((&done["status"], &done["reason"]), (&json!("Failed"), &json!("image_unavailable")));
    assert_eq!(agent.stop().await, Some(0));

    // The node's owner writes them down, and nobody hears them.
    let path = world.node_dir("cam-1").join("agent.toml");
    let mut settings: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    let credentials =
        json!({ (registry.address.as_str()): { "username": "edge", "password": "let me in" } });
    settings.insert("registry".into(), toml::Value::try_from(credentials).unwrap());
    std::fs::write(&path, settings.to_string()).unwrap();
    let agent = world.run_agent("cam-1").await;
    world.online("cam-1").await;
    let done = deploy(&world, app(&image, json!({}))).await;
    assert_eq!(done["status"], "Running", "{done}");
    let log = std::fs::read_to_string(world.dir.path().join("cam-1.log")).unwrap();
    for told in [&log, &world.hub_log(), &done.to_string()] {
        assert!(!told.contains("let me in"), "{told}");
    }

    // What the agent fetched goes when nothing needs it any more; what was there before stays.
    let gone = world.call(reqwest::Method::DELETE, "/api/kubeedge/apps/counter", None).await;
    assert_eq!(gone.1["status"], "success", "{}", gone.1);
    eventually("the image to go", async || (images().await == 0).then_some(())).await;
    engine.image("other:1", &[LOOP]).await;
    engine.docker(&["run", "-d", "--net=host", "--name=other", "other:1"]).await;

    // A machine that leaves the fleet keeps nothing of it.
    let done = deploy(&world, app(&image, json!({}))).await;
    assert_eq!(done["status"], "Running", "{done}");
    let reset = async || {
        let mut reset = Command::new(program("cloudcore-agent"));
        reset.args(["reset", "--force", "--data-dir"]).arg(world.node_dir("cam-1"));
        let output = reset.output().await.expect("it starts");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).expect("text"))
    };
    let (done, said) = reset().await;
    assert!(!done && said.contains("stop the agent"), "{said}");
    assert_eq!(engine.count("counter").await, 1);
    assert_eq!(agent.stop().await, Some(0));
    let (done, said) = reset().await;
    assert!(done && said.contains("one app is removed"), "{said}");
    assert_eq!(engine.count("counter").await, 0);
    assert_eq!(images().await, 1, "the other's");
    assert!(!world.node_dir("cam-1").exists(), "{said}");
    assert_eq!(engine.docker(&["inspect", "-f", "{{.State.Running}}", "other"]).await, "true");
}
