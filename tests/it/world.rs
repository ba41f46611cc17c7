//! A hub and its agents as real processes, on free ports of 127.0.0.1 and in a folder of their
//! own, so that they can be killed.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use futures_util::StreamExt as _;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::{Client, ClientBuilder, Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, Command},
    time::{Instant, timeout},
};

use crate::{
    postgres::{self, Database},
    volume::Volume,
};

/// Longest wait for anything; a loaded machine is slow.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const PASSWORD: &str = "correct horse";

/// Where a hub keeps its state.
pub enum Store {
    /// In its data directory.
    Sqlite,
    /// In this database; dropped after the hub.
    Postgres(Database),
    /// In its data directory, which is this small disk.
    Volume(Volume),
}

impl Store {
    /// What `CLOUDCORE_TEST_DB` says: each story that starts a hub runs on SQLite and on
    /// PostgreSQL.
    pub fn of_this_run() -> Self {
        match std::env::var("CLOUDCORE_TEST_DB").as_deref() {
            Err(_) | Ok("sqlite") => Self::Sqlite,
            Ok("postgres") => Self::Postgres(postgres::shared().database()),
            Ok(other) => panic!("CLOUDCORE_TEST_DB is '{other}'; known are sqlite and postgres"),
        }
    }
}

/// A program of this build.
pub fn program(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("a program knows its path");
    // This is target/<profile>/bench, or a test in target/<profile>/deps.
    let dir = this.parent().expect("it is in a folder");
    let dir = if dir.ends_with("deps") { dir.parent().expect("a profile") } else { dir };
    let path = dir.join(name);
    assert!(path.exists(), "{} is not built: run `cargo build --workspace --bins`", path.display());
    path
}

/// A file that `deploy/setup.sh` fetches.
pub fn cached(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache").join(name);
    assert!(path.exists(), "{} is missing: run `deploy/setup.sh test`", path.display());
    path.canonicalize().expect("it exists")
}

/// A camera that gives nothing: nobody ever writes into this pipe.
pub fn stuck_camera(world: &World) -> String {
    let pipe = world.dir.path().join("never.png");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    format!("file://{}", pipe.display())
}

/// An HTTP client that goes straight to where it is told.
pub fn client() -> ClientBuilder {
    // The provider is the whole process's: whichever test comes first installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy()
}

/// Asks until the answer is `Some`.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    loop {
        tick.tick().await;
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} for {what}");
    }
}

/// A child process that is killed with its owner.
pub struct Process {
    child: Child,
    /// What it said when it was ready.
    pub ready: Value,
}

impl Process {
    async fn start(mut command: Command, log: &Path) -> Self {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .expect("a log in the test's folder");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let line = timeout(PATIENCE, lines.next_line())
            .await
            .expect("it is ready in time")
            .expect("its output is text")
            .expect("it says that it is ready before it ends");
        let ready: Value = serde_json::from_str(&line).expect("one line of JSON");
        assert_eq!(ready["event"], "ready");
        Self { child, ready }
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().cast_signed()), signal).expect("it is ours");
    }

    /// `kill -9`.
    pub async fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().await.expect("it was ours");
    }

    /// SIGTERM; its exit code.
    pub async fn stop(mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        timeout(PATIENCE, self.child.wait()).await.expect("it ends in time").expect("ours").code()
    }
}

/// A hub, its data, and an operator's session.
pub struct World {
    pub dir: TempDir,
    hub: Option<Process>,
    http: String,
    /// Where TLS is spoken, once a hub was started with it.
    pub https: Option<String>,
    pub quic: String,
    /// Where the hub's own MQTT broker listens, since it was started last.
    pub mqtt: String,
    client: Client,
    token: String,
    /// More arguments of the hub.
    more: Vec<String>,
    pub store: Store,
    /// More of the hub's environment.
    env: Vec<(String, String)>,
    /// What runs agents: a program and its first arguments. This build's own where empty.
    pub agents_by: Vec<String>,
}

impl World {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With more arguments for the hub.
    pub async fn start_with(more: &[&str]) -> Self {
        Self::build(Store::of_this_run(), more, &[]).await
    }

    /// With more arguments and environment for the hub.
    pub async fn start_in(more: &[&str], env: &[(&str, &str)]) -> Self {
        Self::build(Store::of_this_run(), more, env).await
    }

    /// With its state where the story wants it.
    pub async fn start_on(store: Store, more: &[&str]) -> Self {
        Self::build(store, more, &[]).await
    }

    async fn build(store: Store, more: &[&str], env: &[(&str, &str)]) -> Self {
        // Kept on failure where somebody wants to look.
        let dir = TempDir::with_prefix("cloudcore-it-").expect("a temporary folder");
        let mut world = Self {
            dir,
            hub: None,
            http: "127.0.0.1:0".into(),
            https: None,
            quic: "127.0.0.1:0".into(),
            mqtt: String::new(),
            client: client().build().expect("an HTTP client"),
            token: String::new(),
            more: more.iter().map(ToString::to_string).collect(),
            store,
            env: env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            agents_by: Vec::new(),
        };
        world.start_hub().await;
        world.log_in("admin", PASSWORD).await;
        world
    }

    /// The hub's program, told where its state is.
    pub fn hub_command(&self) -> Command {
        let hub = program("cloudcore-hub");
        match &self.store {
            Store::Sqlite => Command::new(hub),
            Store::Postgres(database) => {
                let mut command = Command::new(hub);
                command.env("CLOUDCORE_DATABASE_URL", database.url());
                command
            }
            Store::Volume(volume) => volume.command(&hub),
        }
    }

    fn agent_command(&self) -> Command {
        let Some((runner, arguments)) = self.agents_by.split_first() else {
            return Command::new(program("cloudcore-agent"));
        };
        let mut command = Command::new(runner);
        command.args(arguments);
        command
    }

    /// The hub's own line about what it serves.
    pub fn ready(&self) -> &Value {
        &self.hub.as_ref().expect("a hub").ready
    }

    /// The hub's process.
    #[allow(dead_code, reason = "what measures the hub uses it")]
    pub fn hub_pid(&self) -> u32 {
        self.hub.as_ref().expect("a hub").pid()
    }

    /// The hub's data directory.
    pub fn data_dir(&self) -> PathBuf {
        match &self.store {
            Store::Volume(volume) => volume.mounted_at().to_owned(),
            _ => self.dir.path().join("hub"),
        }
    }

    /// What statements, with `;` between them, give of the hub's database, a line a row.
    pub fn sql(&self, statements: &str) -> String {
        if let Store::Postgres(database) = &self.store {
            return database.sql(statements).expect("it runs");
        }
        // Python's own SQLite: the hub's driver is the hub's business.
        let program = "import sqlite3, sys\n\
            db = sqlite3.connect(sys.argv[1], timeout=30)\n\
            for statement in sys.argv[2].split(';'):\n    \
                for row in db.execute(statement): print(*row, sep='|')\n\
            db.commit()";
        let output = std::process::Command::new("/usr/bin/python3")
            .args(["-c", program])
            .arg(self.data_dir().join("hub.db"))
            .arg(statements)
            .output()
            .expect("Python starts");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}", said(&output.stderr));
        said(&output.stdout)
    }

    /// The small disk that it was started on.
    pub fn volume(&self) -> &Volume {
        match &self.store {
            Store::Volume(volume) => volume,
            _ => panic!("the hub is on no disk of its own"),
        }
    }

    /// Takes over a user's session.
    pub async fn log_in(&mut self, username: &str, password: &str) -> Value {
        self.token.clear();
        let login = json!({ "username": username, "password": password });
        let session = self.post("/api/auth/login", login).await;
        self.token = session["token"].as_str().expect("a token").to_owned();
        session
    }

    /// Starts the hub, on the ports of its last run where it had one.
    pub async fn start_hub(&mut self) {
        let mut command = self.hub_command();
        command
            .arg("serve")
            .arg("--data-dir")
            .arg(self.data_dir())
            .args(["--http", &self.http, "--quic", &self.quic, "--mqtt", "127.0.0.1:0"])
            // A story asks more often than a person; those of the limit set it.
            .env("CLOUDCORE_RATE_LIMIT", "0")
            .args(&self.more)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .env("CLOUDCORE_ADMIN_PASSWORD", PASSWORD);
        let hub = Process::start(command, &self.dir.path().join("hub.log")).await;
        self.http = hub.ready["http"].as_str().expect("an address").to_owned();
        self.https = hub.ready["https"].as_str().map(str::to_owned);
        self.quic = hub.ready["quic"].as_str().expect("an address").to_owned();
        if let Some(address) = hub.ready["mqtt"].as_str() {
            self.mqtt = address.to_owned();
        }
        self.hub = Some(hub);
    }

    /// Has the hub listen on every address of this machine from now on, and not only on loopback.
    pub async fn open_to_others(&mut self) {
        self.kill_hub().await;
        self.http = "0.0.0.0:0".into();
        self.start_hub().await;
    }

    pub async fn kill_hub(&mut self) {
        self.hub.take().expect("a hub").kill().await;
    }

    pub async fn stop_hub(&mut self) -> Option<i32> {
        self.hub.take().expect("a hub").stop().await
    }

    /// What makes the hub read its certificate's files again.
    pub fn hang_up_hub(&self) {
        self.hub.as_ref().expect("a hub").signal(Signal::SIGHUP);
    }

    /// All that the hub logged.
    pub fn hub_log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("hub.log")).expect("a log")
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// Where the API listens without TLS.
    pub fn http(&self) -> &str {
        &self.http
    }

    /// The operator's session.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Calls with this session from now on.
    pub fn use_token(&mut self, token: &str) {
        token.clone_into(&mut self.token);
    }

    pub const fn client(&self) -> &Client {
        &self.client
    }

    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let mut request = self.client.request(method, self.url(path)).timeout(PATIENCE);
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.expect("the hub answers");
        let status = response.status();
        (status, response.json().await.expect("a JSON body"))
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call(Method::GET, path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(Method::POST, path, Some(body)).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        answer
    }

    /// Makes a user and takes over its session.
    pub async fn become_user(&mut self, username: &str, role: &str) {
        let mut child = self
            .hub_command()
            .args(["admin", "create-user", "--username", username, "--role", role])
            .arg("--data-dir")
            .arg(self.data_dir())
            .stdin(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(PASSWORD.as_bytes()).await.expect("it reads");
        drop(stdin);
        assert!(child.wait().await.expect("it ends").success());
        let login = json!({ "username": username, "password": PASSWORD });
        let session = self.post("/api/auth/login", login).await;
        assert_eq!(session["user"]["role"], role);
        self.token = session["token"].as_str().expect("a token").to_owned();
    }

    /// A join token for a node.
    pub async fn join_token(&self, node: &str) -> String {
        let body = json!({ "node_name": node });
        let issued = self.post("/api/kubeedge/token/generate", body).await;
        issued["token"].as_str().expect("a token").to_owned()
    }

    /// A node's folder.
    pub fn node_dir(&self, node: &str) -> PathBuf {
        self.dir.path().join(node)
    }

    /// `cloudcore-agent join`, with more arguments: whether it exited 0, and what it said.
    pub async fn join(&self, node: &str, token: &str, more: &[&str]) -> Result<(), String> {
        self.join_at(&self.quic, node, token, more).await
    }

    pub async fn join_at(
        &self,
        address: &str,
        node: &str,
        token: &str,
        more: &[&str],
    ) -> Result<(), String> {
        let output = self
            .agent_command()
            .arg("join")
            .arg("--data-dir")
            .arg(self.node_dir(node))
            .args(["--cloudcore-ipport", address, "--edgenode-name", node, "--token", token])
            .arg("--no-service")
            .args(more)
            .kill_on_drop(true)
            .output();
        let output = timeout(PATIENCE, output).await.expect("it ends in time").expect("it starts");
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        // No story meets the container engine of the machine that it runs on.
        self.use_engine(node, &self.dir.path().join("no-engine"), "bridge");
        Ok(())
    }

    /// Has a node's agent, once started, run apps on this engine and in this network of it.
    pub fn use_engine(&self, node: &str, socket: &Path, network: &str) {
        let path = self.node_dir(node).join("agent.toml");
        let text = std::fs::read_to_string(&path).expect("a member has settings");
        let mut settings: toml::Table = text.parse().expect("TOML");
        settings.insert("container_engine".into(), socket.display().to_string().into());
        let apps = toml::Table::from_iter([("network".to_owned(), network.into())]);
        settings.insert("apps".into(), apps.into());
        std::fs::write(&path, settings.to_string()).expect("settings");
    }

    /// `cloudcore-agent run`.
    pub async fn run_agent(&self, node: &str) -> Process {
        self.run_agent_in(node, &[]).await
    }

    /// The same, with more environment.
    pub async fn run_agent_in(&self, node: &str, env: &[(&str, &str)]) -> Process {
        let mut command = self.agent_command();
        command.envs(env.iter().copied());
        command.arg("run").arg("--data-dir").arg(self.node_dir(node));
        Process::start(command, &self.dir.path().join(format!("{node}.log"))).await
    }

    /// An agent that is a member and runs; its device is called like its node.
    pub async fn agent(&self, node: &str, more: &[&str]) -> Process {
        let token = self.join_token(node).await;
        self.join(node, &token, more).await.expect("the node joins");
        let agent = self.run_agent(node).await;
        self.online(node).await;
        agent
    }

    /// Waits until the device has a session.
    pub async fn online(&self, device: &str) {
        eventually("the device to come online", async || {
            self.is_online(device).await.then_some(())
        })
        .await;
    }

    /// Waits until the device has none.
    pub async fn offline(&self, device: &str) {
        eventually("the device to go offline", async || {
            (!self.is_online(device).await).then_some(())
        })
        .await;
    }

    async fn is_online(&self, device: &str) -> bool {
        let (_, shown) =
            self.call(Method::GET, &format!("/api/kubeedge/device/{device}"), None).await;
        shown["device_status"]["online"] == true
    }

    /// Sends a command; its id.
    pub async fn send(&self, device: &str, body: Value) -> String {
        let path = format!("/api/kubeedge/device/{device}/command");
        let accepted = self.post(&path, body).await;
        assert_eq!(accepted["status"], "success");
        accepted["command_id"].as_str().expect("an id").to_owned()
    }

    /// Waits until a command has ended; its status.
    pub async fn ended(&self, command: &str) -> Value {
        eventually("the command to end", async || {
            let status = self.status(command).await;
            let open = ["queued", "sent", "running"].contains(&status["status"].as_str()?);
            (!open).then_some(status)
        })
        .await
    }

    /// How a command stands.
    pub async fn status(&self, command: &str) -> Value {
        self.get(&format!("/api/kubeedge/command/{command}/status")).await
    }

    /// Sends a command and waits for its end.
    pub async fn run(&self, device: &str, command: &str, parameters: Value) -> Value {
        let body = json!({ "command": command, "parameters": parameters, "timeout": 50 });
        let id = self.send(device, body).await;
        self.ended(&id).await
    }

    /// Watches the event stream from now on.
    pub async fn watch(&self, query: &str) -> Watch {
        self.watch_from(query, None).await
    }

    /// Watches the event stream from after an event.
    pub async fn watch_from(&self, query: &str, last: Option<&str>) -> Watch {
        let mut request = self
            .client
            .get(self.url(&format!("/api/kubeedge/monitor/stream{query}")))
            .bearer_auth(&self.token);
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.send().await.expect("the hub answers");
        assert_eq!(response.status(), StatusCode::OK);
        let mut watch =
            Watch { stream: Box::pin(response.bytes_stream()), text: String::new(), last_id: None };
        // The first comment: from here on nothing is missed.
        watch.record().await;
        watch
    }
}

type Bytes = reqwest::Result<bytes::Bytes>;

/// A watcher of the event stream.
pub struct Watch {
    stream: std::pin::Pin<Box<dyn futures_util::Stream<Item = Bytes> + Send>>,
    text: String,
    /// Id of the last event that was read.
    pub last_id: Option<String>,
}

impl Watch {
    async fn record(&mut self) -> String {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let record = self.text[..end].to_owned();
                self.text.drain(..end + 2);
                return record;
            }
            let chunk = timeout(PATIENCE, self.stream.next()).await.expect("an event in time");
            let chunk = chunk.expect("the stream goes on").expect("the connection holds");
            self.text.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
        }
    }

    /// Reads until the hub ends the stream.
    pub async fn end(mut self) {
        while timeout(PATIENCE, self.stream.next()).await.expect("an end in time").is_some() {}
    }

    /// The next event with this name.
    pub async fn next(&mut self, event: &str) -> Value {
        loop {
            let data = self.any().await;
            if data["event"] == event {
                return data;
            }
        }
    }

    /// The next event.
    pub async fn any(&mut self) -> Value {
        loop {
            let record = self.record().await;
            let Some(data) = record.lines().find_map(|line| line.strip_prefix("data: ")) else {
                continue;
            };
            if let Some(id) = record.lines().find_map(|line| line.strip_prefix("id: ")) {
                self.last_id = Some(id.to_owned());
            }
            return serde_json::from_str(data).expect("JSON");
        }
    }
}
