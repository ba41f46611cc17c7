//! Contract, "6. Real-time Monitoring" and "WebSocket API": each documented event, in both
//! spellings, as something real happens.

use std::collections::BTreeMap;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::mpsc, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};

use super::{
    facts::{self, Fact},
    shape,
};
use crate::world::{PATIENCE, World, cached};

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_as_documented() {
    let facts = facts::of("events.rs::every_event_is_as_documented");
    let documented = |key: &str| -> BTreeMap<String, &Fact> {
        let named = facts.iter().filter(|fact| fact.text.contains('{'));
        let named = named.filter(|fact| fact.json().get(key).is_some());
        named.map(|fact| (fact.json()[key].as_str().expect("a name").to_owned(), fact)).collect()
    };
    let (stream, messages) = (documented("event"), documented("type"));
    assert_eq!((stream.len(), messages.len()), (3, 7), "the page was not understood");

    // As on the page: nobody says who he is.
    let world = World::start_with(&["--public-monitoring"]).await;
    let mut socket = connect(&world).await;
    subscribe(&mut socket, subscription(&facts)).await;
    // The page's example asks for three topics; alerts are a fourth.
    subscribe(&mut socket, json!({ "action": "subscribe", "topics": ["alerts"] })).await;
    let mut watch = world.watch("").await;
    let (send, mut heard) = mpsc::unbounded_channel();
    let from_stream = send.clone();
    let watching = tokio::spawn(async move {
        loop {
            let event = watch.any().await;
            if from_stream.send(("event", event)).is_err() {
                return;
            }
        }
    });
    let reading = tokio::spawn(async move {
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Text(text) = message {
                let event = serde_json::from_str(&text).expect("JSON");
                if send.send(("type", event)).is_err() {
                    return;
                }
            }
        }
    });

    // A node joins, beats, sees a person, obeys, loses its camera, and leaves.
    let picture = world.dir.path().join("camera.png");
    std::fs::copy(cached("photos/astronaut.png"), &picture).unwrap();
    let camera = format!("file://{}", picture.display());
    let model = cached("models/nanodet.json").display().to_string();
    let more = ["--camera", &camera, "--model", &model, "--heartbeat-interval", "1"];
    let agent = world.agent("edge-node-001", &more).await;
    let detect = json!({ "interval": 0.2, "confidence": 0.25 });
    let ended = world.run("edge-node-001", "start_detection", detect).await;
    assert_eq!(ended["status"], "completed", "{ended}");

    let mut events: BTreeMap<(&str, String), Value> = BTreeMap::new();
    let missing = |events: &BTreeMap<(&str, String), Value>| {
        let wanted = stream.keys().map(|name| ("event", name.clone()));
        let wanted = wanted.chain(messages.keys().map(|name| ("type", name.clone())));
        wanted.filter(|name| !events.contains_key(name)).collect::<Vec<_>>()
    };
    let mut agent = Some(agent);
    let mut seen = true;
    while !missing(&events).is_empty() {
        let wait = timeout(PATIENCE, heard.recv()).await;
        let (key, event) = wait
            .unwrap_or_else(|_| panic!("not heard of: {:?}", missing(&events)))
            .expect("both go on");
        let name = event[key].as_str().expect("an event has a name").to_owned();
        events.entry((key, name.clone())).or_insert(event);
        // What follows waits for what it would hide.
        if name == "detection" && std::mem::take(&mut seen) {
            std::fs::remove_file(&picture).unwrap();
        }
        if name == "alert"
            && let Some(agent) = agent.take()
        {
            assert_eq!(agent.stop().await, Some(0));
        }
    }
    watching.abort();
    reading.abort();

    let mut wrong = Vec::new();
    for (key, all) in [("event", stream), ("type", messages)] {
        for (name, fact) in all {
            let real = &events[&(key, name)];
            let mut differences = shape::differences(&fact.json(), real, &fact.allowed);
            if real["timestamp"].as_str().map(shape::form) != Some("time") {
                differences.push("timestamp is no time".into());
            }
            if !differences.is_empty() {
                wrong.push(format!("line {}: {} in {real}", fact.line, differences.join("; ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

type Socket = WebSocketStream<TcpStream>;

async fn connect(world: &World) -> Socket {
    let stream = TcpStream::connect(world.http()).await.expect("the hub listens");
    let request = format!("ws://{}/ws", world.http()).into_client_request().expect("a URL");
    client_async(request, stream).await.expect("a place").0
}

async fn subscribe(socket: &mut Socket, message: Value) {
    socket.send(Message::text(message.to_string())).await.expect("the connection holds");
    let answer = timeout(PATIENCE, socket.next()).await.expect("an answer").expect("an answer");
    let answer: Value = serde_json::from_str(answer.expect("text").to_text().unwrap()).unwrap();
    assert_eq!(answer["type"], "subscribed", "{answer}");
    assert_eq!(answer["topics"], message["topics"], "{answer}");
}

/// What the page's JavaScript sends.
fn subscription(facts: &[Fact]) -> Value {
    let value = |name: &str| {
        let line = facts.iter().find_map(|fact| fact.text.strip_prefix(name)).expect("it is there");
        let json = line.trim_end_matches(',').replace('\'', "\"");
        serde_json::from_str::<Value>(&json).expect("it is nearly JSON")
    };
    json!({ "action": value("action: "), "topics": value("topics: ") })
}
