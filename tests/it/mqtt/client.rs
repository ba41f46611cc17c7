//! Foreign MQTT clients: paho-mqtt, Mosquitto's, and bare packets.

use std::{net::SocketAddr, path::PathBuf, process::Stdio};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::world::{PATIENCE, World, cached};

/// A paho-mqtt client in a process of its own.
pub struct Paho {
    child: Child,
    orders: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    /// What it said and nobody has asked for yet.
    said: Vec<Value>,
}

pub fn python() -> PathBuf {
    // Not canonical: the link is what makes it this environment's.
    cached("venv/bin").join("python")
}

fn script() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("it/mqtt/client.py")
}

impl Paho {
    /// Connects with these options; what came of it is its first word.
    pub async fn start(address: &str, mut options: Value) -> Self {
        let address: SocketAddr = address.parse().expect("an address");
        for (key, value) in [("host", json!("127.0.0.1")), ("port", json!(address.port()))] {
            if options[key].is_null() {
                options[key] = value;
            }
        }
        let mut child = Command::new(python())
            .arg(script())
            .arg(options.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("Python starts");
        let orders = child.stdin.take().expect("it is piped");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self { child, orders, lines, said: Vec::new() }
    }

    /// One that is let in.
    pub async fn connect(address: &str, options: Value) -> Self {
        let mut client = Self::start(address, options).await;
        let connected = client.next("connected").await;
        assert_eq!(connected["code"], 0, "{connected}");
        client
    }

    /// An operator of this world.
    pub async fn operator(world: &World) -> Self {
        let login = json!({ "username": "admin", "password": world.token() });
        Self::connect(&world.mqtt, login).await
    }

    /// The code with which it is not let in.
    pub async fn refused(address: &str, options: Value) -> i64 {
        let mut client = Self::start(address, options).await;
        let connected = client.next("connected").await;
        connected["code"].as_i64().expect("a code")
    }

    pub async fn order(&mut self, order: Value) {
        let line = format!("{order}\n");
        self.orders.write_all(line.as_bytes()).await.expect("it reads");
    }

    /// The next event of this name; others are kept.
    pub async fn next(&mut self, event: &str) -> Value {
        self.find(event, |_| true).await
    }

    /// The next event of this name that fits; others are kept.
    pub async fn find(&mut self, event: &str, mut fits: impl FnMut(&Value) -> bool) -> Value {
        let mut wanted = |said: &Value| said["event"] == event && fits(said);
        if let Some(at) = self.said.iter().position(&mut wanted) {
            return self.said.remove(at);
        }
        loop {
            let line = timeout(PATIENCE, self.lines.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("waited for {event}; had {:?}", self.said));
            let line = line.expect("text").unwrap_or_else(|| panic!("it ended before {event}"));
            let said: Value = serde_json::from_str(&line).expect("JSON");
            if wanted(&said) {
                return said;
            }
            self.said.push(said);
        }
    }

    /// The payload of the next message on this topic.
    pub async fn message(&mut self, topic: &str) -> Value {
        let message = self.find("message", |m| m["topic"] == topic).await;
        let payload = message["payload"].as_str().expect("text");
        serde_json::from_str(payload).unwrap_or_else(|_| json!(payload))
    }

    /// Subscribes; the code of the answer.
    pub async fn try_subscribe(&mut self, topic: &str, qos: u8) -> i64 {
        self.order(json!({ "do": "subscribe", "topic": topic, "qos": qos })).await;
        let subscribed = self.next("subscribed").await;
        subscribed["codes"][0].as_i64().expect("a code")
    }

    pub async fn subscribe(&mut self, topic: &str) {
        assert_eq!(self.try_subscribe(topic, 1).await, 1, "{topic}");
    }

    /// Publishes with QoS 1, and waits for the acknowledgement; its code.
    pub async fn publish(&mut self, topic: &str, payload: &Value) -> i64 {
        self.publish_text(topic, &payload.to_string(), 1, false).await
    }

    pub async fn publish_text(&mut self, topic: &str, payload: &str, qos: u8, retain: bool) -> i64 {
        let order = json!({
            "do": "publish", "topic": topic, "payload": payload, "qos": qos, "retain": retain,
        });
        self.order(order).await;
        self.next("published").await["code"].as_i64().expect("a code")
    }

    /// Says goodbye.
    pub async fn disconnect(mut self) {
        self.order(json!({ "do": "disconnect" })).await;
        self.next("disconnected").await;
        drop(self.orders);
        timeout(PATIENCE, self.child.wait()).await.expect("it ends").expect("ours");
    }

    /// Is gone without a word.
    pub async fn die(mut self) {
        self.order(json!({ "do": "die" })).await;
        timeout(PATIENCE, self.child.wait()).await.expect("it ends").expect("ours");
    }
}

/// Runs one of Mosquitto's programs to its end: its exit code and what it printed.
pub async fn mosquitto(program: &str, address: &str, arguments: &[&str]) -> (i32, String) {
    let (host, port) = address.rsplit_once(':').expect("an address");
    let output = Command::new(program)
        .args(["-h", host, "-p", port])
        .args(arguments)
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, output).await.expect("it ends").expect("it starts");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().expect("an exit code"), printed)
}

/// A CONNECT packet of MQTT 3.1.1.
pub fn connect_packet(client_id: &str, username: &str, password: &str) -> Vec<u8> {
    let mut body = b"\0\x04MQTT\x04\xc2\0\x3c".to_vec();
    for text in [client_id, username, password] {
        let length = u16::try_from(text.len()).expect("a short text");
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(text.as_bytes());
    }
    packet(0x10, &body)
}

/// A CONNECT packet of MQTT 3.1.1, of a client that does not say who it is.
pub fn anonymous_packet(client_id: &str) -> Vec<u8> {
    let mut body = b"\0\x04MQTT\x04\x02\0\x3c".to_vec();
    let length = u16::try_from(client_id.len()).expect("a short text");
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(client_id.as_bytes());
    packet(0x10, &body)
}

/// A packet with this first byte.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut left = body.len();
    loop {
        let byte = u8::try_from(left % 128).expect("seven bits");
        left /= 128;
        packet.push(if left > 0 { byte | 0x80 } else { byte });
        if left == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

/// Connects with bare packets; the socket, and the code of the answer.
pub async fn bare(world: &World, client_id: &str) -> (TcpStream, u8) {
    bare_with(world, &connect_packet(client_id, "admin", world.token())).await
}

/// The same, for a session that is kept while its client is away.
pub async fn bare_kept(world: &World, client_id: &str, username: &str) -> (TcpStream, u8) {
    let mut packet = connect_packet(client_id, username, world.token());
    let flags = packet.windows(2).position(|pair| pair == [4, 0xc2]).expect("the level, the flags");
    packet[flags + 1] = 0xc0;
    bare_with(world, &packet).await
}

async fn bare_with(world: &World, packet: &[u8]) -> (TcpStream, u8) {
    let mut socket = TcpStream::connect(&world.mqtt).await.expect("it listens");
    socket.write_all(packet).await.expect("sent");
    let mut answer = [0; 4];
    timeout(PATIENCE, socket.read_exact(&mut answer)).await.expect("in time").expect("an answer");
    // Its first bit says whether a session was kept.
    assert_eq!((answer[0], answer[1], answer[2] & !1), (0x20, 2, 0));
    (socket, answer[3])
}
