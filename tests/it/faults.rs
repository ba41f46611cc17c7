//! What is killed, lost or full while the hub writes: what it acknowledged is there afterwards,
//! what it can't do it says, and it comes back by itself.

use std::{
    collections::BTreeSet,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use cloudcore_agent::outbox::Outbox;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::{process::Command, sync::Notify, task::JoinSet, time::timeout};

use crate::{
    link::{detection, total},
    postgres::Server,
    volume::Volume,
    world::{PATIENCE, Store, World, eventually, program},
};

/// Clients that write at the same time.
const CLIENTS: usize = 8;
/// Answers of each kind that a storm waits for.
const ENOUGH: usize = 60;

/// What the hub acknowledged.
#[derive(Default)]
struct Acknowledged {
    nodes: BTreeSet<String>,
    devices: BTreeSet<String>,
    commands: BTreeSet<String>,
}

/// Clients that write as fast as they are answered, each until it is stopped.
struct Storm {
    clients: JoinSet<()>,
    acknowledged: Arc<Mutex<Acknowledged>>,
    /// Answers other than 200.
    refused: Arc<Mutex<Vec<(u16, String)>>>,
    progress: Arc<Notify>,
}

impl Storm {
    /// Commands go to a device that is away: they are kept for it.
    fn begin(world: &World, device: &str) -> Self {
        let mut storm = Self {
            clients: JoinSet::new(),
            acknowledged: Arc::default(),
            refused: Arc::default(),
            progress: Arc::default(),
        };
        static NAMES: AtomicU32 = AtomicU32::new(0);
        for _ in 0..CLIENTS {
            let client = Client::clone(world.client());
            let (base, token) = (world.url("/api/kubeedge"), world.token().to_owned());
            let (acknowledged, refused, progress) = (
                Arc::clone(&storm.acknowledged),
                Arc::clone(&storm.refused),
                Arc::clone(&storm.progress),
            );
            let device = device.to_owned();
            storm.clients.spawn(async move {
                let post = async |path: &str, body: Value| -> Option<Value> {
                    let request = client.post(format!("{base}/{path}")).bearer_auth(&token);
                    // A hub that was killed in the middle has acknowledged nothing.
                    let answer = request.json(&body).timeout(PATIENCE).send().await.ok()?;
                    let status = answer.status();
                    let answer: Value = answer.json().await.ok()?;
                    if status != StatusCode::OK {
                        let code = answer["code"].as_str().unwrap_or_default().to_owned();
                        refused.lock().unwrap().push((status.as_u16(), code));
                        return None;
                    }
                    Some(answer)
                };
                loop {
                    let n = NAMES.fetch_add(1, Ordering::Relaxed);
                    let (node, id) = (format!("node-{n}"), format!("device-{n}"));
                    let command = json!({ "command": "get_status", "timeout": 3600 });
                    let path = format!("device/{device}/command");
                    if let Some(sent) = post(&path, command).await {
                        let id = sent["command_id"].as_str().unwrap().to_owned();
                        acknowledged.lock().unwrap().commands.insert(id);
                    }
                    let body = json!({ "node_name": format!("of-{node}") });
                    if post("token/generate", body).await.is_some() {
                        acknowledged.lock().unwrap().nodes.insert(format!("of-{node}"));
                    }
                    let body = json!({ "node_name": node, "device_id": id });
                    if post("device/join", body).await.is_some() {
                        acknowledged.lock().unwrap().devices.insert(id);
                    }
                    progress.notify_waiters();
                    // Whoever is refused at once must not keep the others from their turn.
                    tokio::task::yield_now().await;
                }
            });
        }
        storm
    }

    /// Waits until more of each kind have been acknowledged.
    async fn rages(&self) {
        let count = || {
            let a = self.acknowledged.lock().unwrap();
            [a.commands.len(), a.nodes.len(), a.devices.len()]
        };
        let wanted = count().map(|n| n + ENOUGH);
        let raged = async {
            loop {
                let progress = self.progress.notified();
                if count().into_iter().zip(wanted).all(|(n, wanted)| n >= wanted) {
                    return;
                }
                progress.await;
            }
        };
        if tokio::time::timeout(PATIENCE, raged).await.is_err() {
            let refused = self.refused.lock().unwrap();
            panic!("the hub takes no writes: {:?}", refused.last());
        }
    }

    /// Waits until this many were refused.
    async fn is_refused(&self, times: usize) {
        eventually("the hub to refuse", async || {
            (self.refused.lock().unwrap().len() >= times).then_some(())
        })
        .await;
    }

    async fn end(mut self) -> Acknowledged {
        self.clients.shutdown().await;
        for refused in self.refused.lock().unwrap().iter() {
            assert_eq!(refused, &(503, "API-009".to_owned()));
        }
        std::mem::take(&mut self.acknowledged.lock().unwrap())
    }
}

impl Acknowledged {
    /// All of it is there, and each command as it was accepted.
    async fn is_kept(&self, world: &World) {
        let nodes = listed(world, "tokens", "node_name").await;
        let devices = listed(world, "devices", "device_id").await;
        let lost: Vec<_> = self.nodes.difference(&nodes).collect();
        assert!(lost.is_empty(), "lost tokens of {} acknowledged: {lost:?}", self.nodes.len());
        let lost: Vec<_> = self.devices.difference(&devices).collect();
        assert!(lost.is_empty(), "lost devices of {} acknowledged: {lost:?}", self.devices.len());
        for id in &self.commands {
            assert_eq!(world.status(id).await["status"], "queued", "{id}");
        }
    }
}

/// A field of all rows of a list.
async fn listed(world: &World, list: &str, field: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let page = world.get(&format!("/api/kubeedge/{list}?limit=500{cursor}")).await;
        for row in page[list].as_array().unwrap() {
            found.insert(row[field].as_str().unwrap().to_owned());
        }
        match page["next_cursor"].as_i64() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

async fn away(world: &World) -> &'static str {
    world.post("/api/kubeedge/device/join", json!({ "node_name": "n", "device_id": "away" })).await;
    "away"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_killed_in_a_storm_of_writes_keeps_what_it_acknowledged() {
    let mut world = World::start_with(&[]).await;
    let device = away(&world).await;
    let storm = Storm::begin(&world, device);
    for _ in 0..3 {
        storm.rages().await;
        world.kill_hub().await;
        world.start_hub().await;
    }
    storm.rages().await;
    let acknowledged = storm.end().await;
    acknowledged.is_kept(&world).await;
    assert_eq!(world.stop_hub().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_server_that_dies_is_api_009_until_it_is_back() {
    let server = Server::durable();
    let mut world = World::start_on(Store::Postgres(server.database()), &[]).await;
    let device = away(&world).await;
    let storm = Storm::begin(&world, device);
    storm.rages().await;
    server.kill();
    // Each waits some seconds for the server before it is told.
    let ((), (status, answer), (_, health)) = tokio::join!(
        storm.is_refused(1),
        world.call(Method::GET, "/api/kubeedge/devices", None),
        world.call(Method::GET, "/api/health", None),
    );
    assert_eq!((status.as_u16(), &answer["code"]), (503, &json!("API-009")), "{answer}");
    assert_ne!(health["components"]["database"], "connected", "{health}");

    server.restart();
    storm.rages().await;
    let health = world.get("/api/health").await;
    assert_eq!(health["components"]["database"], "connected", "{health}");
    let acknowledged = storm.end().await;
    acknowledged.is_kept(&world).await;
    world.kill_hub().await;
    world.start_hub().await;
    acknowledged.is_kept(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_api_009_until_there_is_room() {
    const EVENTS: u64 = 300;
    let mut world = World::start_on(Store::Volume(Volume::new("32m")), &[]).await;
    let agent = world.agent("edge-1", &[]).await;
    assert_eq!(agent.stop().await, Some(0));
    let outbox = Outbox::open(&world.node_dir("edge-1")).unwrap();
    for id in 1..=EVENTS {
        outbox.append(detection(id)).await.unwrap();
    }
    outbox.close().await;

    let device = away(&world).await;
    let storm = Storm::begin(&world, device);
    storm.rages().await;
    world.volume().fill();
    storm.is_refused(CLIENTS).await;
    // What is there can be read, and an agent comes and keeps what nobody takes from it.
    let devices = world.get("/api/kubeedge/devices?limit=1").await;
    assert!(devices["count"].as_u64() > Some(1), "{devices}");
    let agent = world.run_agent("edge-1").await;
    world.online("edge-1").await;

    world.volume().free();
    storm.rages().await;
    eventually("the events to arrive", async || {
        (total(&world, "edge-1").await >= EVENTS).then_some(())
    })
    .await;
    let acknowledged = storm.end().await;
    acknowledged.is_kept(&world).await;
    world.kill_hub().await;
    world.start_hub().await;
    acknowledged.is_kept(&world).await;
    assert_eq!(total(&world, "edge-1").await, EVENTS);
    drop(agent);
}

/// A server that takes the connection and never says anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_server_that_says_nothing_is_given_up() {
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let dir = tempfile::tempdir().expect("a folder");
    let url = format!("postgres://nobody@{}/cloudcore", deaf.local_addr().expect("it is bound"));
    let output = Command::new(program("cloudcore-hub"))
        .args(["serve", "--http", "127.0.0.1:0", "--quic", "127.0.0.1:0"])
        .args(["--mqtt", "127.0.0.1:0", "--data-dir"])
        .arg(dir.path())
        .args(["--database-url", &url])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, output).await.expect("it ends in time").expect("it starts");
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.contains("can't open the database 127.0.0.1:"), "{said}");
}
