//! A device's log is followed through the hub, while it is written.

use std::{pin::Pin, time::Duration};

use cloudcore_agent::{
    identity::Identity,
    link::{Dialled, dial},
};
use cloudcore_protocol::{
    ALPN_LINK, CAPABILITY_LOGS, Frame, Hello, LogBatch, LogLine, LogRequest, Platform, Timestamp,
    command::LogLevel, decode, encode,
};
use futures_util::{Stream, StreamExt as _};
use quinn::{RecvStream, SendStream};
use reqwest::{Method, Response, StatusCode};
use serde_json::json;
use tokio::time::timeout;

use crate::world::{PATIENCE, World, eventually};

const LOGS: &str = "/api/kubeedge/device/edge-1/logs";

async fn ask(world: &World, query: &str) -> Response {
    let request = world.client().get(world.url(&format!("{LOGS}?{query}")));
    request.bearer_auth(world.token()).send().await.expect("the hub answers")
}

/// What comes, line by line.
struct Lines {
    stream: Pin<Box<dyn Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>,
    text: String,
}

impl Lines {
    async fn follow(world: &World, query: &str) -> Self {
        let response = ask(world, &format!("follow=true&{query}")).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
        Self { stream: Box::pin(response.bytes_stream()), text: String::new() }
    }

    /// The next line; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.text.find('\n') {
                let line = self.text[..end].to_owned();
                self.text.drain(..=end);
                return Some(line);
            }
            let chunk = timeout(PATIENCE, self.stream.next()).await.expect("a line in time")?;
            let chunk = chunk.expect("the connection holds");
            self.text.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
        }
    }

    /// Reads on to a line with this in it.
    async fn until(&mut self, what: &str) -> String {
        loop {
            let line = self.next().await.unwrap_or_else(|| panic!("it ended before '{what}'"));
            if line.contains(what) {
                return line;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_followed_while_things_happen() {
    let mut world = World::start().await;
    let (status, missing) = world.call(Method::GET, LOGS, None).await;
    assert_eq!((status.as_u16(), &missing["code"]), (404, &json!("API-004")));
    let agent = world.agent("edge-1", &[]).await;
    let all = ask(&world, "lines=1000").await;
    assert_eq!(all.status(), StatusCode::OK);
    let all = all.text().await.unwrap();
    assert!(all.contains("INFO") && all.contains("linked"), "{all}");
    assert!(!all.contains("PRIVATE KEY"));
    assert_eq!(ask(&world, "since=2999-01-01T00:00:00Z").await.text().await.unwrap(), "");
    assert_eq!(ask(&world, "level=error&since=3600").await.text().await.unwrap(), "");

    let mut lines = Lines::follow(&world, "level=info").await;
    lines.until("linked").await;
    for _ in 0..3 {
        world.run("edge-1", "reboot", json!({})).await;
        let line = lines.until("not_allowed").await;
        assert!(line.contains(" exec") || line.contains("::exec"), "{line}");
    }

    // Four may follow one device; who leaves makes room.
    let others = [
        Lines::follow(&world, "lines=1").await,
        Lines::follow(&world, "lines=1").await,
        Lines::follow(&world, "lines=1").await,
    ];
    let full = ask(&world, "follow=true").await;
    assert_eq!(full.status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(others);
    let again = eventually("room", async || {
        let response = ask(&world, "follow=true").await;
        (response.status() == StatusCode::OK).then_some(response)
    });
    drop(again.await);

    for bad in ["lines=0", "lines=5001", "since=yesterday", "since=-1", "level=loud", "follow=1"] {
        let refused = ask(&world, bad).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{bad}");
    }
    assert_eq!(agent.stop().await, Some(0));
    lines.until("-- the device has gone").await;
    assert_eq!(lines.next().await, None);
    world.offline("edge-1").await;
    let (status, away) = world.call(Method::GET, LOGS, None).await;
    assert_eq!((status.as_u16(), &away["code"]), (502, &json!("API-008")));
    world.become_user("eve", "viewer").await;
    let (status, _) = world.call(Method::GET, LOGS, None).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
}

/// An agent that says what it is told to.
struct Scripted {
    dialled: Dialled,
    _link: (SendStream, RecvStream),
}

async fn write(stream: &mut SendStream, frame: &Frame) {
    let bytes = encode(frame).unwrap();
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    stream.write_all(&length).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
}

async fn read(stream: &mut RecvStream) -> Frame {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await.unwrap();
    let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut bytes).await.unwrap();
    decode(&bytes).unwrap()
}

impl Scripted {
    async fn link(world: &World, capabilities: &[&str]) -> Self {
        let tls = Identity::load(&world.node_dir("edge-1")).unwrap().tls(ALPN_LINK).unwrap();
        let dialled = dial(&world.quic.parse().unwrap(), tls).await.unwrap();
        let (mut send, mut recv) = dialled.connection.open_bi().await.unwrap();
        let hello = Hello {
            min_version: 1,
            max_version: 1,
            agent_version: "0.0.1".into(),
            capabilities: capabilities.iter().map(ToString::to_string).collect(),
            outbox_id: 1,
            platform: Platform::default(),
            labels: std::collections::BTreeMap::new(),
            addresses: Vec::new(),
        };
        write(&mut send, &Frame::Hello(hello)).await;
        assert!(matches!(read(&mut recv).await, Frame::Welcome(_)));
        let scripted = Self { dialled, _link: (send, recv) };
        world.online("edge-1").await;
        scripted
    }

    /// Takes the next request for the log.
    async fn asked(&self) -> (LogRequest, SendStream) {
        let accepted = timeout(PATIENCE, self.dialled.connection.accept_bi()).await.unwrap();
        let (send, mut recv) = accepted.unwrap();
        match read(&mut recv).await {
            Frame::LogRequest(request) => (request, send),
            other => panic!("{other:?}"),
        }
    }
}

fn batch(text: &str, lost: u64) -> Frame {
    let line = LogLine {
        at: Timestamp::from_micros(0),
        level: LogLevel::Warn,
        target: "t".into(),
        text: text.into(),
    };
    Frame::LogBatch(LogBatch { lines: vec![line], lost })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_holds_up_the_agents_stream_and_nothing_else() {
    let world = World::start().await;
    let token = world.join_token("edge-1").await;
    world.join("edge-1", &token, &[]).await.unwrap();
    let agent = Scripted::link(&world, &[CAPABILITY_LOGS]).await;
    let (mut lines, (request, mut send)) =
        tokio::join!(Lines::follow(&world, "lines=7&level=warn&since=1.5"), async {
            let (request, mut send) = agent.asked().await;
            write(&mut send, &batch("one\nthing \u{1b}[31mred", 3)).await;
            (request, send)
        });
    let wanted = LogRequest {
        lines: 7,
        since: None,
        since_ago_ms: Some(1500),
        level: LogLevel::Warn,
        follow: true,
    };
    assert_eq!(request, wanted);
    assert_eq!(lines.next().await.unwrap(), "-- 3 lines were lost: they are read too slowly");
    assert_eq!(lines.next().await.unwrap(), "1970-01-01T00:00:00Z WARN t: one thing  [31mred");

    // Nobody reads: after what is on the way has room, the agent can write no more.
    let much = batch(&"x".repeat(100_000), 0);
    let mut written = 0_u64;
    while timeout(Duration::from_secs(3), write(&mut send, &much)).await.is_ok() {
        written += 1;
        assert!(written < 1000, "100 MB are on their way to somebody who reads nothing");
    }
    // Others are served meanwhile.
    let (other, ()) = tokio::join!(Lines::follow(&world, ""), async {
        let (_, mut send) = agent.asked().await;
        write(&mut send, &batch("fast", 0)).await;
        send.finish().unwrap();
    });
    let mut other = other;
    assert!(other.next().await.unwrap().ends_with("fast"));
    assert_eq!(other.next().await.unwrap(), "-- the device has gone");
    for _ in 0..written {
        assert!(lines.next().await.unwrap().ends_with("xxx"));
    }
    // The reader leaves, and the agent learns of it.
    drop(lines);
    timeout(PATIENCE, send.stopped()).await.expect("it is told").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_can_not_or_says_nonsense_is_told_apart() {
    let world = World::start().await;
    let token = world.join_token("edge-1").await;
    world.join("edge-1", &token, &[]).await.unwrap();
    let old = Scripted::link(&world, &["blobs"]).await;
    let (status, answer) = world.call(Method::GET, LOGS, None).await;
    assert_eq!((status.as_u16(), &answer["code"]), (503, &json!("API-009")), "{answer}");
    drop(old);

    let agent = Scripted::link(&world, &[CAPABILITY_LOGS]).await;
    let nonsense = tokio::join!(world.call(Method::GET, LOGS, None), async {
        let (_, mut send) = agent.asked().await;
        write(&mut send, &Frame::Unknown(7)).await;
        send
    });
    let ((status, answer), _) = nonsense;
    assert_eq!((status.as_u16(), &answer["code"]), (502, &json!("API-008")), "{answer}");
    // One that says nothing at all is given up.
    let (silent, _held) = tokio::join!(world.call(Method::GET, LOGS, None), agent.asked());
    assert_eq!((silent.0.as_u16(), &silent.1["code"]), (502, &json!("API-008")), "{}", silent.1);
    // Its session is the same as before.
    assert!(agent.dialled.connection.close_reason().is_none());
}
