//! The WebSocket: subscriptions, the seven events, and how little a bad client can do.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use cloudcore_agent::outbox::Outbox;
use cloudcore_protocol::{Alert, BoundingBox, Detection, DetectionPhase, EventBody, Timestamp};
use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error, Message, client::IntoClientRequest as _, http::Request, protocol::CloseFrame,
    },
};

use crate::world::{PATIENCE, World};

const TOPICS: [&str; 4] = ["device_status", "detections", "commands", "alerts"];

/// A client of `/ws`.
struct Socket(WebSocketStream<TcpStream>);

fn handshake(world: &World, token: Option<&str>) -> Request<()> {
    let mut request =
        world.url("/ws").replace("http://", "ws://").into_client_request().expect("a URL");
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().expect("a header");
        request.headers_mut().insert("authorization", value);
    }
    request
}

fn address(world: &World) -> std::net::SocketAddr {
    world.url("").trim_start_matches("http://").parse().expect("an address")
}

/// A handshake; its status and error code where it is refused.
async fn try_connect(world: &World, token: Option<&str>) -> Result<Socket, (u16, Value)> {
    let stream = TcpStream::connect(address(world)).await.expect("the hub listens");
    match client_async(handshake(world, token), stream).await {
        Ok((socket, _)) => Ok(Socket(socket)),
        Err(Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            let body: Value = serde_json::from_slice(body).expect("a JSON body");
            Err((response.status().as_u16(), body["code"].clone()))
        }
        Err(error) => panic!("{error}"),
    }
}

impl Socket {
    async fn connect(world: &World) -> Self {
        try_connect(world, Some(world.token())).await.expect("a place")
    }

    /// Subscribed to these topics.
    async fn watch(world: &World, topics: &[&str]) -> Self {
        let mut socket = Self::connect(world).await;
        let answer = socket.act(json!({ "action": "subscribe", "topics": topics })).await;
        assert_eq!(answer, json!({ "type": "subscribed", "topics": topics }));
        socket
    }

    async fn say(&mut self, message: Message) {
        self.0.send(message).await.expect("the connection holds");
    }

    /// Says something, and gives what comes next.
    async fn act(&mut self, action: Value) -> Value {
        self.say(Message::text(action.to_string())).await;
        self.next().await.expect("an answer")
    }

    /// The next message, or the code that the hub closes with.
    async fn next(&mut self) -> Result<Value, u16> {
        loop {
            let message = timeout(PATIENCE, self.0.next()).await.expect("a message in time");
            match message.expect("an end with a goodbye").expect("the connection holds") {
                Message::Text(text) => return Ok(serde_json::from_str(&text).expect("JSON")),
                Message::Close(Some(CloseFrame { code, .. })) => return Err(code.into()),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("the hub sends no {other:?}"),
            }
        }
    }

    /// The next event of this type.
    async fn event(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next().await.expect("an event");
            if event["type"] == kind {
                return event;
            }
        }
    }
}

/// A detection whose event has about `size` bytes.
pub fn detection(track_id: u64, size: usize) -> EventBody {
    EventBody::Detection(Detection {
        track_id,
        phase: DetectionPhase::Started,
        object: "person".into(),
        confidence: 0.95,
        bounding_box: BoundingBox { x: 1.0, y: 2.0, width: 30.0, height: 40.0 },
        frame_width: 640,
        frame_height: 480,
        model: "m".repeat(size),
        captured_at: Timestamp::now(),
        latency_micros: 45_000,
        zones: None,
        id: None,
        snapshot: None,
    })
}

/// Puts events into the outbox of a node whose agent does not run.
pub async fn put(world: &World, node: &str, events: impl IntoIterator<Item = EventBody>) {
    let outbox = Outbox::open(&world.node_dir(node)).unwrap();
    for event in events {
        outbox.append(event).await.unwrap();
    }
    outbox.close().await;
}

/// Whether an event has the documented keys with the documented types, `type` first.
fn documented(event: &Value, form: Value) {
    let Value::Object(form) = form else { unreachable!() };
    let object = event.as_object().unwrap();
    assert_eq!(object.keys().next().unwrap(), "type", "{event}");
    for (key, like) in form {
        let value = object.get(&key).unwrap_or_else(|| panic!("{key} is missing: {event}"));
        assert_eq!(
            std::mem::discriminant(value),
            std::mem::discriminant(&like),
            "{key} is no {like}: {event}"
        );
    }
    let at = event["timestamp"].as_str().unwrap();
    assert!(at.len() == 20 && at.ends_with('Z'), "{at}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seven_events_come_in_the_documented_form() {
    let mut world = World::start().await;
    let admin = world.token().to_owned();
    let token = world.join_token("edge-node-001").await;
    let device = &["--device-id", "edge-device-001"];
    world.join("edge-node-001", &token, device).await.unwrap();
    let alert =
        Alert { kind: "camera_lost".into(), message: "the camera is gone".into(), active: true };
    put(&world, "edge-node-001", [detection(1, 9), EventBody::Alert(alert)]).await;

    // A viewer may watch.
    world.become_user("eve", "viewer").await;
    let mut status = Socket::watch(&world, &["device_status"]).await;
    let mut detections = Socket::watch(&world, &["detections"]).await;
    let mut commands = Socket::watch(&world, &["commands"]).await;
    let mut alerts = Socket::watch(&world, &["alerts"]).await;
    let agent = world.run_agent("edge-node-001").await;

    let joined = status.event("device_joined").await;
    documented(&joined, json!({ "type": "", "node_name": "", "device_id": "", "timestamp": "" }));
    assert_eq!(joined["node_name"], "edge-node-001");
    assert_eq!(joined["device_id"], "edge-device-001");
    let beat = status.event("heartbeat").await;
    documented(&beat, json!({ "node_name": "", "memory": "", "timestamp": "" }));
    // The first beat has no load to compare with.
    assert!(beat["cpu"].is_string() || beat["cpu"].is_null(), "{beat}");

    let seen = detections.next().await.unwrap();
    documented(
        &seen,
        json!({ "type": "", "device_id": "", "object": "", "confidence": 0.95, "timestamp": "" }),
    );
    assert_eq!((&seen["object"], &seen["confidence"]), (&json!("person"), &json!(0.95)));

    let alert = alerts.next().await.unwrap();
    documented(&alert, json!({ "type": "", "level": "", "message": "", "timestamp": "" }));
    assert_eq!((&alert["type"], &alert["level"]), (&json!("alert"), &json!("warning")));
    assert_eq!(alert["message"], "the camera is gone");
    assert_eq!(alert["alert_type"], "camera_lost");

    world.use_token(&admin);
    let id = world.send("edge-device-001", json!({ "command": "get_status" })).await;
    let sent = commands.next().await.unwrap();
    documented(
        &sent,
        json!({ "type": "", "command_id": "", "device_id": "", "command": "", "timestamp": "" }),
    );
    assert_eq!((&sent["type"], &sent["command_id"]), (&json!("command_sent"), &json!(id)));
    let ended = commands.next().await.unwrap();
    documented(
        &ended,
        json!({ "type": "", "command_id": "", "device_id": "", "result": "", "timestamp": "" }),
    );
    assert_eq!((&ended["type"], &ended["command_id"]), (&json!("command_result"), &json!(id)));
    assert_eq!((&ended["result"], &ended["status"]), (&json!("success"), &json!("completed")));
    assert_eq!(ended["output"]["success"], true);
    let id = world.send("edge-device-001", json!({ "command": "make_coffee" })).await;
    commands.event("command_sent").await;
    let ended = commands.next().await.unwrap();
    assert_eq!((&ended["command_id"], &ended["status"]), (&json!(id), &json!("failed")));
    assert_eq!(ended["result"], ended["output"]["message"]);

    world.call(Method::DELETE, "/api/kubeedge/device/edge-device-001", None).await;
    let left = status.event("device_left").await;
    documented(&left, json!({ "type": "", "node_name": "", "reason": "", "timestamp": "" }));
    assert_eq!(
        (&left["device_id"], &left["reason"]),
        (&json!("edge-device-001"), &json!("removed"))
    );
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_hears_what_it_subscribed_to_and_no_more() {
    let world = World::start().await;
    for n in 1..=2 {
        let body = json!({ "node_name": format!("n{n}"), "device_id": format!("d{n}") });
        world.post("/api/kubeedge/device/join", body).await;
    }
    // What this one is told, in the order of what happens.
    let mut witness = Socket::watch(&world, &["commands"]).await;
    let mut one = Socket::connect(&world).await;
    let command = async |device: &str| {
        world.send(device, json!({ "command": "get_status", "timeout": 600 })).await
    };

    // Nothing before the first subscription, and nothing of other topics.
    command("d1").await;
    witness.event("command_sent").await;
    let answer = one.act(json!({ "action": "subscribe", "topics": ["alerts"] })).await;
    assert_eq!(answer, json!({ "type": "subscribed", "topics": ["alerts"] }));
    command("d1").await;
    witness.event("command_sent").await;
    let answer =
        one.act(json!({ "action": "subscribe", "topics": ["commands"], "device_id": "d2" })).await;
    let subscribed = json!({ "type": "subscribed", "topics": ["commands"], "device_id": "d2" });
    assert_eq!(answer, subscribed);
    command("d1").await;
    let of_d2 = command("d2").await;
    assert_eq!(one.next().await.unwrap()["command_id"], of_d2);

    // Without a device, of all.
    let answer = one.act(json!({ "action": "subscribe", "topics": ["commands", "alerts"] })).await;
    assert_eq!(answer["topics"], json!(["commands", "alerts"]));
    let of_d1 = command("d1").await;
    assert_eq!(one.next().await.unwrap()["command_id"], of_d1);

    let answer = one.act(json!({ "action": "unsubscribe", "topics": ["commands"] })).await;
    assert_eq!(answer, json!({ "type": "unsubscribed", "topics": ["commands"] }));
    command("d1").await;
    // Still there, and told nothing in between.
    let answer = one.act(json!({ "action": "subscribe", "topics": TOPICS })).await;
    assert_eq!(answer, json!({ "type": "subscribed", "topics": TOPICS }));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_answered_and_forgiven() {
    let world = World::start().await;
    let mut socket = Socket::connect(&world).await;
    let cases = [
        Message::text("not JSON"),
        Message::text(""),
        Message::text("null"),
        Message::text("[".repeat(10_000)),
        Message::text(json!({ "topics": ["alerts"] }).to_string()),
        Message::text(json!({ "action": "dance", "topics": ["alerts"] }).to_string()),
        Message::text(json!({ "action": "subscribe" }).to_string()),
        Message::text(json!({ "action": "subscribe", "topics": [] }).to_string()),
        Message::text(json!({ "action": "subscribe", "topics": "alerts" }).to_string()),
        Message::text(json!({ "action": "subscribe", "topics": ["weather"] }).to_string()),
        Message::text(
            json!({ "action": "subscribe", "topics": ["alerts"], "device_id": "a b" }).to_string(),
        ),
        Message::binary(json!({ "action": "subscribe", "topics": ["alerts"] }).to_string()),
    ];
    for message in cases {
        socket.say(message.clone()).await;
        let answer = socket.next().await.unwrap();
        assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!("API-001")));
        assert!(!answer["message"].as_str().unwrap().is_empty(), "{message}");
    }
    let answer = socket.act(json!({ "action": "subscribe", "topics": TOPICS })).await;
    assert_eq!(answer["type"], "subscribed");

    // What is too large ends the session.
    socket.say(Message::text(" ".repeat(17 << 10))).await;
    assert_eq!(socket.next().await, Err(1009));
    // So does what is no WebSocket frame.
    let mut socket = Socket::connect(&world).await;
    socket.0.get_mut().write_all(b"\xff\xff\xff\xff\xff\xff\xff\xff").await.unwrap();
    assert_eq!(socket.next().await, Err(1002));

    // A request that is no handshake is a bad request.
    let (status, body) = world.call(Method::GET, "/ws", None).await;
    assert_eq!((status, &body["code"]), (StatusCode::BAD_REQUEST, &json!("API-001")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_not_let_in() {
    let world = World::start().await;
    for token in [None, Some("nonsense")] {
        let refused = try_connect(&world, token).await.err();
        assert_eq!(refused, Some((401, json!("API-002"))));
    }
    let public = World::start_with(&["--public-monitoring"]).await;
    let mut socket = try_connect(&public, None).await.expect("anybody may watch");
    let answer = socket.act(json!({ "action": "subscribe", "topics": TOPICS })).await;
    assert_eq!(answer["type"], "subscribed");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_watch_any_more_is_told_to_leave() {
    let mut world = World::start().await;
    let admin = world.token().to_owned();
    world.become_user("eve", "viewer").await;
    let by_session = Socket::watch(&world, &["alerts"]).await;
    let ticket = world.post("/api/auth/ticket", json!({})).await;
    let mut request = handshake(&world, None);
    let uri = format!("{}?ticket={}", request.uri(), ticket["ticket"].as_str().unwrap());
    *request.uri_mut() = uri.parse().unwrap();
    let stream = TcpStream::connect(address(&world)).await.unwrap();
    let by_ticket = Socket(client_async(request, stream).await.unwrap().0);
    world.use_token(&admin);
    let mut stays = Socket::watch(&world, &["commands"]).await;
    let key = json!({ "name": "wall", "role": "viewer" });
    let key = world.post("/api/kubeedge/apikeys", key).await;
    world.use_token(key["api_key"].as_str().unwrap());
    let by_key = Socket::watch(&world, &["alerts"]).await;
    let stream = world.watch("").await;

    world.use_token(&admin);
    let disabled = Some(json!({ "disabled": true }));
    let (status, _) = world.call(Method::PUT, "/api/kubeedge/users/eve", disabled).await;
    assert_eq!(status, StatusCode::OK);
    let path = format!("/api/kubeedge/apikeys/{}", key["key_id"].as_str().unwrap());
    assert_eq!(world.call(Method::DELETE, &path, None).await.0, StatusCode::OK);
    for mut socket in [by_session, by_ticket, by_key] {
        assert_eq!(socket.next().await, Err(4401));
    }
    stream.end().await;

    // Others are not concerned.
    world.post("/api/kubeedge/device/join", json!({ "node_name": "n", "device_id": "d" })).await;
    let id = world.send("d", json!({ "command": "get_status", "timeout": 600 })).await;
    assert_eq!(stays.next().await.unwrap()["command_id"], id);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_may_watch_and_one_more_is_told_to_wait() {
    let world = World::start().await;
    let mut sockets = Vec::new();
    for _ in 0..50 {
        sockets.push(Socket::watch(&world, &["commands"]).await);
    }
    let refused = try_connect(&world, Some(world.token())).await.err();
    assert_eq!(refused, Some((503, json!("API-009"))));
    // All fifty are served.
    world.post("/api/kubeedge/device/join", json!({ "node_name": "n", "device_id": "d" })).await;
    let id = world.send("d", json!({ "command": "get_status", "timeout": 600 })).await;
    for socket in &mut sockets {
        assert_eq!(socket.next().await.unwrap()["command_id"], id);
    }
    // One goes, one comes.
    let mut leaving = sockets.pop().unwrap().0;
    leaving.close(None).await.unwrap();
    let answer = leaving.next().await;
    assert!(matches!(answer, Some(Ok(Message::Close(_)))), "{answer:?}");
    crate::world::eventually("a place", async || {
        try_connect(&world, Some(world.token())).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_told_that_it_lagged_and_holds_up_nobody() {
    const EVENTS: u64 = 2500;
    let world = World::start().await;
    let token = world.join_token("edge-1").await;
    world.join("edge-1", &token, &[]).await.unwrap();
    put(&world, "edge-1", (1..=EVENTS).map(|id| detection(id, 4000))).await;

    // It reads nothing, and little waits for it outside the hub.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(address(&world)).await.unwrap();
    let request = handshake(&world, Some(world.token()));
    let mut slow = Socket(client_async(request, stream).await.unwrap().0);
    let answer = slow.act(json!({ "action": "subscribe", "topics": ["detections"] })).await;
    assert_eq!(answer["type"], "subscribed");
    let mut quick = Socket::watch(&world, &["detections"]).await;
    let mut stream = world.watch("").await;

    let agent = world.run_agent("edge-1").await;
    let begun = Instant::now();
    let mut others = 0;
    for id in 1..=EVENTS {
        assert_eq!(quick.event("detection").await["track_id"], id);
        let seen = loop {
            let event = stream.any().await;
            if event["event"] == "detection" {
                break event;
            }
            others += 1;
        };
        assert_eq!(seen["track_id"], id);
    }
    assert!(begun.elapsed() < Duration::from_secs(25), "the slow reader is cut off by now");

    // It reads at last: the oldest, how many it missed, and the newest.
    let (mut got, mut missed, mut notices, mut last) = (0, 0, 0, 0);
    while last < EVENTS {
        let event = slow.next().await.unwrap();
        match event["type"].as_str().unwrap() {
            "detection" => {
                got += 1;
                let id = event["track_id"].as_u64().unwrap();
                // Other events, such as heartbeats, count among the missed, and nothing else does.
                assert!(last < id && id <= got + missed, "{id} after {last}");
                assert!(got + missed - id <= others, "{id}: {got}, {missed}, {others} others");
                last = id;
            }
            "lagged" => {
                notices += 1;
                missed += event["missed"].as_u64().unwrap();
            }
            other => panic!("{other}"),
        }
    }
    assert!(notices >= 1 && missed > 100, "{got} got, {missed} missed by {notices} notices");
    // And it goes on.
    let answer = slow.act(json!({ "action": "unsubscribe", "topics": ["detections"] })).await;
    assert_eq!(answer["type"], "unsubscribed");
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_answers_no_ping_is_cut_off() {
    let world = World::start().await;
    let mut stream = TcpStream::connect(address(&world)).await.unwrap();
    let mut request = format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n",
        address(&world),
        world.token()
    );
    request
        .write_str(
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    let read = timeout(2 * PATIENCE, stream.read_to_end(&mut said)).await;
    read.expect("the hub hangs up").expect("in order");
    let head = said.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    assert!(said.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&said));
    // One ping, and a close with 1008.
    let frames = &said[head + 4..];
    assert_eq!((frames[0], frames[1]), (0x89, 0), "{frames:?}");
    assert_eq!((frames[2], &frames[4..6]), (0x88, &1008_u16.to_be_bytes()[..]), "{frames:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_stops_says_goodbye() {
    let mut world = World::start().await;
    let mut socket = Socket::watch(&world, &TOPICS).await;
    let mut idle = Socket::connect(&world).await;
    let (code, heard, heard_too) = tokio::join!(world.stop_hub(), socket.next(), idle.next());
    assert_eq!((code, heard, heard_too), (Some(0), Err(1001), Err(1001)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_where_it_was_left() {
    let world = World::start().await;
    world.post("/api/kubeedge/device/join", json!({ "node_name": "n", "device_id": "d" })).await;
    let command =
        async || world.send("d", json!({ "command": "get_status", "timeout": 600 })).await;
    let mut watch = world.watch("?events=command_sent&device_id=d").await;
    let first = command().await;
    assert_eq!(watch.next("command_sent").await["command_id"], first);
    let last = watch.last_id.clone().unwrap();
    drop(watch);
    let second = command().await;
    // By the header, as a browser that comes back; by the query, as one that begins; the header
    // counts more.
    for (query, header) in [
        ("?device_id=d".to_owned(), Some(last.as_str())),
        (format!("?last_event_id={last}"), None),
        ("?last_event_id=0".to_owned(), Some(last.as_str())),
    ] {
        let mut watch = world.watch_from(&query, header).await;
        let told = watch.next("command_sent").await;
        assert_eq!((&told["command_id"], &told["node_name"]), (&json!(second), &json!("n")));
    }
    // What came after an id of another time is not known, and said so.
    for last in ["1", "18446744073709551615", "yesterday"] {
        let mut watch = world.watch_from("", Some(last)).await;
        assert_eq!(watch.next("lagged").await["missed"], Value::Null);
    }
    for query in
        ["?events=weather", "?events=", "?events=alert,", "?device_id=a%20b", "?last_event_id=x"]
    {
        let path = format!("/api/kubeedge/monitor/stream{query}");
        let (status, body) = world.call(Method::GET, &path, None).await;
        assert_eq!(
            (status, &body["code"]),
            (StatusCode::BAD_REQUEST, &json!("API-001")),
            "{query}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_streams_and_no_more() {
    let world = World::start().await;
    let mut streams = Vec::new();
    for _ in 0..200 {
        streams.push(world.watch("").await);
    }
    let (status, body) = world.call(Method::GET, "/api/kubeedge/monitor/stream", None).await;
    assert_eq!((status, &body["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("API-009")));
    drop(streams);
    crate::world::eventually("a place", async || {
        let path = world.url("/api/kubeedge/monitor/stream");
        let request = world.client().get(path).bearer_auth(world.token());
        (request.send().await.unwrap().status() == StatusCode::OK).then_some(())
    })
    .await;
}
