//! Webhooks: signed, at least once, and never where they should not go.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode};
use ring::hmac;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Mutex,
    time::timeout,
};

use crate::{
    world::{PATIENCE, World, eventually},
    ws::{detection, put},
};

const HOOKS: &str = "/api/kubeedge/webhooks";
const SECRET: &str = "your-webhook-secret";

/// A request that came, as it came.
pub struct Request {
    head: String,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        let named = |line: &str| line.split_once(": ").is_some_and(|(n, _)| n == name);
        let line = self.head.lines().find(|line| named(line)).expect("the header is there");
        &line[name.len() + 2..]
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// A server that others run: it answers with the statuses it is told, 200 when it is told none.
pub struct Receiver {
    listener: TcpListener,
    statuses: Arc<Mutex<VecDeque<&'static str>>>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self { listener, statuses: Arc::default() }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.listener.local_addr().expect("it is bound"))
    }

    async fn answer_with(&self, status: &'static str) {
        self.statuses.lock().await.push_back(status);
    }

    /// The next request, answered.
    pub async fn next(&self) -> Request {
        loop {
            let accepted = timeout(PATIENCE, self.listener.accept()).await;
            let (mut stream, _) = accepted.expect("a request in time").expect("a connection");
            if let Some(request) = read(&mut stream).await {
                let status = self.statuses.lock().await.pop_front().unwrap_or("200 OK");
                let answer =
                    format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.expect("it is read");
                return request;
            }
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    loop {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length: usize = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |n| n.parse().expect("a number"));
            if bytes.len() >= end + 4 + length {
                return Some(Request { head, body: bytes[end + 4..].to_vec() });
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

pub fn signature(bytes: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = hmac::sign(&key, bytes);
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

async fn hook(world: &World, url: &str, events: Value) -> String {
    let body = json!({ "url": url, "events": events, "secret": SECRET });
    let made = world.post(HOOKS, body).await;
    assert_eq!((&made["status"], &made["secret"]), (&json!("success"), &Value::Null));
    made["webhook_id"].as_str().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_hears_what_it_asked_for_signed() {
    let world = World::start_with(&["--webhook-allow-private"]).await;
    let receiver = Receiver::start().await;
    let id = hook(&world, &receiver.url(), json!(["device_joined", "command_result"])).await;
    let agent = world.agent("edge-1", &[]).await;
    let joined = receiver.next().await;
    assert_eq!(joined.header("x-cloudcore-event"), "device_joined");
    assert_eq!(joined.header("content-type"), "application/json");
    // Over the exact body; and inside it, over the exact data.
    assert_eq!(joined.header("x-cloudcore-signature"), signature(&joined.body));
    let body = joined.json();
    assert_eq!(body["event"], "device_joined");
    let text = std::str::from_utf8(&joined.body).unwrap();
    let data = text.find("\"data\":").unwrap() + 7..text.rfind(",\"signature\":").unwrap();
    assert_eq!(body["signature"], signature(text[data].as_bytes()));
    let data = &body["data"];
    assert_eq!(data["delivery_id"], joined.header("x-cloudcore-delivery"));
    assert_eq!((&data["node_name"], &data["device_id"]), (&json!("edge-1"), &json!("edge-1")));
    assert!(data["timestamp"].as_str().unwrap().ends_with('Z'));

    // Not what it did not ask for: no heartbeat, no command_sent.
    let command = world.run("edge-1", "get_status", json!({})).await;
    let ended = receiver.next().await.json();
    assert_eq!(ended["event"], "command_result");
    assert_eq!(ended["data"]["command_id"], command["command_id"]);

    let tested = async || world.post(&format!("{HOOKS}/{id}/test"), json!({})).await;
    let (told, request) = tokio::join!(tested(), receiver.next());
    assert_eq!((&told["status"], &told["response_code"]), (&json!("success"), &json!(200)));
    assert_eq!(request.json()["event"], "test");
    receiver.answer_with("410 Gone").await;
    let (told, _) = tokio::join!(tested(), receiver.next());
    assert_eq!((&told["status"], &told["response_code"]), (&json!("failed"), &json!(410)));

    let listed = world.get(HOOKS).await;
    assert_eq!(listed["webhooks"][0]["events"], json!(["device_joined", "command_result"]));
    assert!(!listed.to_string().contains(SECRET), "{listed}");
    // The log has all four, the tests too.
    let log = async |query: &str| world.get(&format!("{HOOKS}/{id}/deliveries{query}")).await;
    let all = eventually("the end of all", async || {
        let all = log("").await;
        (!all.to_string().contains("pending")).then_some(all)
    })
    .await;
    let (newest, before) = (&all["deliveries"][0], &all["deliveries"][1]);
    assert_eq!((&all["count"], &newest["delivery_id"]), (&json!(4), &told["delivery_id"]));
    assert_eq!((&newest["event"], &newest["status"]), (&json!("test"), &json!("failed")));
    assert_eq!((&newest["attempts"], &newest["response_code"]), (&json!(1), &json!(410)));
    assert_eq!((&before["event"], &before["status"]), (&json!("test"), &json!("delivered")));
    assert_eq!(log("?status=delivered").await["count"], 3);
    let page = log("?limit=1&status=failed").await;
    assert_eq!((&page["count"], &page["deliveries"][0]), (&json!(1), newest));
    let path = format!("{HOOKS}/{id}/deliveries?status=lost");
    assert_eq!(world.call(Method::GET, &path, None).await.0, StatusCode::BAD_REQUEST);

    // The secret is not to be read in the data directory.
    for file in ["hub.db", "hub.db-wal"] {
        let bytes = std::fs::read(world.data_dir().join(file)).unwrap_or_default();
        assert!(!bytes.windows(SECRET.len()).any(|w| w == SECRET.as_bytes()), "{file}");
    }
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_refuses_comes_again_even_after_a_kill() {
    let mut world = World::start_with(&["--webhook-allow-private"]).await;
    let receiver = Receiver::start().await;
    let id = hook(&world, &receiver.url(), json!(["command_sent"])).await;
    world.post("/api/kubeedge/device/join", json!({ "node_name": "n", "device_id": "d" })).await;
    receiver.answer_with("500 Internal Server Error").await;
    // A redirect is no answer, and is not followed.
    receiver.answer_with("307 Temporary Redirect\r\nlocation: /elsewhere").await;
    world.send("d", json!({ "command": "get_status", "timeout": 600 })).await;
    let first = receiver.next().await;
    eventually("the refusal to be noted", async || {
        let log = world.get(&format!("{HOOKS}/{id}/deliveries")).await;
        (log["deliveries"][0]["response_code"] == 500).then_some(())
    })
    .await;
    world.kill_hub().await;
    world.start_hub().await;
    let (second, third) = (receiver.next().await, receiver.next().await);
    for again in [&second, &third] {
        assert!(again.head.starts_with("POST /hook "), "{}", again.head);
        assert_eq!(again.header("x-cloudcore-delivery"), first.header("x-cloudcore-delivery"));
        assert_eq!(again.body, first.body);
    }
    let log = eventually("the delivery to be noted", async || {
        let log = world.get(&format!("{HOOKS}/{id}/deliveries")).await;
        (log["deliveries"][0]["status"] == "delivered").then_some(log)
    })
    .await;
    assert_eq!((&log["count"], &log["deliveries"][0]["attempts"]), (&json!(1), &json!(3)));

    // What a deleted webhook was owed is gone.
    receiver.answer_with("503 Service Unavailable").await;
    world.send("d", json!({ "command": "get_status", "timeout": 600 })).await;
    receiver.next().await;
    let path = format!("{HOOKS}/{id}");
    assert_eq!(world.call(Method::DELETE, &path, None).await.0, StatusCode::OK);
    assert_eq!(world.call(Method::DELETE, &path, None).await.0, StatusCode::NOT_FOUND);
    let other = hook(&world, &receiver.url(), json!(["command_sent"])).await;
    let sent = world.send("d", json!({ "command": "get_status", "timeout": 600 })).await;
    assert_eq!(receiver.next().await.json()["data"]["command_id"], sent);
    assert_eq!(world.get(&format!("{HOOKS}/{other}/deliveries")).await["count"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_do_not_reach_into_the_hubs_network() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    let port = receiver.listener.local_addr().unwrap().port();
    let events = json!(["alert"]);
    for url in [
        receiver.url(),
        format!("http://[::1]:{port}/"),
        format!("http://2130706433:{port}/"),
        "http://169.254.169.254/latest/meta-data/".into(),
        "ftp://example.org/".into(),
        "http://user:secret@example.org/".into(),
        "nonsense".into(),
    ] {
        let body = json!({ "url": url, "events": events });
        let (status, answer) = world.call(Method::POST, HOOKS, Some(body)).await;
        assert_eq!(
            (status, &answer["code"]),
            (StatusCode::BAD_REQUEST, &json!("API-001")),
            "{url}"
        );
    }
    // A name is resolved when something is posted, and what it leads to is looked at then.
    let url = format!("http://localhost:{port}/");
    let made = world.post(HOOKS, json!({ "url": url, "events": events })).await;
    assert_eq!(made["secret"].as_str().unwrap().len(), 64);
    let path = format!("{HOOKS}/{}/test", made["webhook_id"].as_str().unwrap());
    let told = world.post(&path, json!({})).await;
    assert_eq!((&told["status"], &told["response_code"]), (&json!("failed"), &Value::Null));
    assert!(told["error"].as_str().unwrap().contains("private"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_a_hundred_webhooks_at_most() {
    let mut world = World::start().await;
    let new = json!({ "url": "https://example.org/hook", "events": ["alert"] });
    for _ in 0..100 {
        world.post(HOOKS, new.clone()).await;
    }
    let (status, answer) = world.call(Method::POST, HOOKS, Some(new.clone())).await;
    assert_eq!((status, &answer["code"]), (StatusCode::FORBIDDEN, &json!("API-003")));
    for bad in [
        json!({ "url": "https://example.org/", "events": [] }),
        json!({ "url": "https://example.org/", "events": ["everything"] }),
        json!({ "url": "https://example.org/", "events": ["alert"], "secret": "1234567" }),
        json!({ "url": "https://example.org/", "events": ["alert"], "secret": "x".repeat(257) }),
        json!({ "url": format!("https://example.org/{}", "x".repeat(2000)), "events": ["alert"] }),
    ] {
        let (status, answer) = world.call(Method::POST, HOOKS, Some(bad.clone())).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}: {answer}");
    }
    world.become_user("oscar", "operator").await;
    assert_eq!(world.call(Method::GET, HOOKS, None).await.0, StatusCode::FORBIDDEN);
}

async fn known_device(world: &World) {
    world.post("/api/kubeedge/device/join", json!({ "node_name": "n", "device_id": "d" })).await;
}

async fn command(world: &World) -> String {
    world.send("d", json!({ "command": "get_status", "timeout": 600 })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_is_told_though_the_hub_dies_at_once() {
    let mut world = World::start_with(&["--webhook-allow-private"]).await;
    known_device(&world).await;
    // Nobody listens there for now.
    let receiver = Receiver::start().await;
    let (url, address) = (receiver.url(), receiver.listener.local_addr().unwrap());
    drop(receiver);
    hook(&world, &url, json!(["command_sent"])).await;
    let mut owed = HashSet::new();
    for _ in 0..3 {
        for _ in 0..5 {
            owed.insert(command(&world).await);
        }
        world.kill_hub().await;
        world.start_hub().await;
    }
    let listener = TcpListener::bind(address).await.expect("the port is still free");
    let receiver = Receiver { listener, statuses: Arc::default() };
    while !owed.is_empty() {
        let told = receiver.next().await.json();
        owed.remove(told["data"]["command_id"].as_str().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_left_while_the_hub_was_down_is_told_of_and_nobody_else() {
    let mut world = World::start_with(&["--webhook-allow-private"]).await;
    let receiver = Receiver::start().await;
    let id = hook(&world, &receiver.url(), json!(["device_joined", "device_left"])).await;
    let stays = world.agent("edge-1", &[]).await;
    receiver.next().await;
    let leaves = world.agent("edge-2", &[]).await;
    receiver.next().await;
    // What is not noted as delivered would come again.
    eventually("both to be noted", async || {
        let log = world.get(&format!("{HOOKS}/{id}/deliveries?status=delivered")).await;
        (log["count"] == 2).then_some(())
    })
    .await;
    world.kill_hub().await;
    leaves.kill().await;
    world.start_hub().await;
    world.online("edge-1").await;
    let left = receiver.next().await.json();
    assert_eq!(
        (&left["event"], &left["data"]["node_name"]),
        (&json!("device_left"), &json!("edge-2"))
    );
    assert_eq!(world.get(&format!("{HOOKS}/{id}/deliveries")).await["count"], 3);
    drop(stays);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_holds_up_no_other() {
    let world = World::start_with(&["--webhook-allow-private"]).await;
    known_device(&world).await;
    // The system takes connections for it, and that is all.
    let (deaf, receiver) = (Receiver::start().await, Receiver::start().await);
    let stuck = hook(&world, &deaf.url(), json!(["command_sent"])).await;
    hook(&world, &receiver.url(), json!(["command_sent"])).await;
    receiver.answer_with("500 Internal Server Error").await;
    let begun = Instant::now();
    let mut owed = HashSet::new();
    for _ in 0..6 {
        owed.insert(command(&world).await);
    }
    // The seventh is the one that was refused, which comes again though the other's places are
    // all taken.
    let mut told = Vec::new();
    for _ in 0..7 {
        told.push(receiver.next().await.json()["data"]["command_id"].clone());
    }
    let waited = begun.elapsed();
    assert!(waited < Duration::from_secs(9), "{waited:?}: as long as the other took");
    assert_eq!(told[0], told[6]);
    assert_eq!(owed, told.iter().map(|id| id.as_str().unwrap().to_owned()).collect());
    let log = world.get(&format!("{HOOKS}/{stuck}/deliveries?status=pending")).await;
    assert_eq!(log["count"], 6);
    let under_way = log["deliveries"].as_array().unwrap().iter().filter(|d| d["attempts"] == 1);
    assert_eq!(under_way.count(), 4, "{log}");
    let told = eventually("the timeout to be noted", async || {
        let log = world.get(&format!("{HOOKS}/{stuck}/deliveries?status=pending")).await;
        log["deliveries"].as_array()?.iter().find_map(|d| d["error"].as_str().map(str::to_owned))
    })
    .await;
    assert!(told.contains("10 s"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_deliveries_wait_and_no_more() {
    const BEYOND: u64 = 25;
    let world = World::start_with(&["--webhook-allow-private"]).await;
    let deaf = Receiver::start().await;
    hook(&world, &deaf.url(), json!(["detection"])).await;
    let token = world.join_token("edge-1").await;
    world.join("edge-1", &token, &[]).await.unwrap();
    put(&world, "edge-1", (1..=10_000 + BEYOND).map(|id| detection(id, 9))).await;
    let agent = world.run_agent("edge-1").await;
    let path = "/api/kubeedge/device/edge-1";
    eventually("all to arrive", async || {
        let shown = world.get(path).await;
        (shown["metrics"]["total_detections"] == 10_000 + BEYOND).then_some(())
    })
    .await;
    let listed = world.get(HOOKS).await["webhooks"][0].clone();
    assert_eq!((&listed["waiting"], &listed["dropped"]), (&json!(10_000), &json!(BEYOND)));
    drop(agent);
}
