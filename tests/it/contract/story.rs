//! What the page's requests happen in: a hub, agents, and a shell that runs the commands with the
//! page's texts replaced by what they mean here.

use std::process::Stdio;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::Command,
    time::timeout,
};

use super::page::HOST;
use crate::world::{PATIENCE, Process, World, cached, eventually};

/// What has to be there before a request, or is done after it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, untagged)]
pub enum Step {
    /// A real agent with a camera joins, and is online.
    Agent { agent: String, device: String },
    /// A request that is not the contract's.
    Request { request: String, body: Option<Value> },
    /// Asked until there is something at the pointer.
    Wait { wait: String, pointer: String },
}

pub struct Story {
    /// Dropped before the hub.
    agents: Vec<Process>,
    /// What stands in the page, and what is meant here.
    texts: Vec<(String, String)>,
    pub world: World,
}

pub struct Answer {
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    pub text: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The body, where it is JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|e| panic!("no JSON, {e}: {}\n{}", self.head, self.text))
    }
}

impl Story {
    pub async fn begin(more: &[&str]) -> Self {
        let world = World::start_with(more).await;
        let mut story = Self { agents: Vec::new(), texts: Vec::new(), world };
        story.means(HOST, &story.world.url(""));
        story
    }

    /// From now on this text of the page stands for that.
    pub fn means(&mut self, text: &str, real: &str) {
        self.texts.push((text.to_owned(), real.to_owned()));
    }

    /// The page logs in as `admin` with `admin123`.
    pub async fn take_documented_password(&mut self) {
        let mut child = self
            .world
            .hub_command()
            .args(["admin", "set-password", "--username", "admin", "--data-dir"])
            .arg(self.world.data_dir())
            .stdin(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(b"admin123").await.expect("it reads");
        drop(stdin);
        assert!(child.wait().await.expect("it ends").success());
        // A new password ends the sessions of the old one.
        let login = json!({ "username": "admin", "password": "admin123" });
        let session = self.world.post("/api/auth/login", login).await;
        self.world.use_token(session["token"].as_str().expect("a token"));
    }

    pub async fn step(&mut self, step: &Step) {
        match step {
            Step::Agent { agent, device } => {
                let camera = format!("file://{}", cached("photos/astronaut.png").display());
                let token = self.world.join_token(agent).await;
                let model = cached("models/nanodet.json").display().to_string();
                let more = [
                    ["--device-id", device],
                    ["--camera", &camera],
                    ["--model", &model],
                    ["--heartbeat-interval", "1"],
                ]
                .concat();
                self.world.join(agent, &token, &more).await.expect("the node joins");
                self.agents.push(self.world.run_agent(agent).await);
                let path = format!("/api/kubeedge/device/{device}");
                // It has told of itself, not only come.
                eventually("the device's first words", async || {
                    let (_, shown) = self.world.call(Method::GET, &path, None).await;
                    (shown["device_status"]["cpu_usage"].is_string()).then_some(())
                })
                .await;
            }
            Step::Request { request, body } => {
                let (method, path) = request.split_once(' ').expect("METHOD /path");
                let method = method.parse().expect("a method");
                let (status, answer) = self.world.call(method, path, body.clone()).await;
                assert_eq!(status.as_u16(), 200, "{request}: {answer}");
            }
            Step::Wait { wait, pointer } => {
                eventually(&format!("{pointer} of {wait}"), async || {
                    let answer = self.world.get(wait).await;
                    answer.pointer(pointer).is_some_and(|value| !value.is_null()).then_some(())
                })
                .await;
            }
        }
    }

    /// Joins the page's device by the API; it never comes.
    pub async fn announce(&self, node: &str, device: &str) {
        let body = json!({ "node_name": node, "device_id": device, "device_type": "camera" });
        self.world.post("/api/kubeedge/device/join", body).await;
    }

    /// Runs a command of the page in a shell; its whole answer.
    pub async fn curl(&self, command: &str) -> Answer {
        self.run(command, None).await
    }

    /// The same, where the answer does not end by itself: until all these texts have come.
    pub async fn curl_until(&self, command: &str, texts: &[String]) -> Answer {
        self.run(command, Some(texts)).await
    }

    async fn run(&self, command: &str, until: Option<&[String]>) -> Answer {
        let mut command = command.trim().to_owned();
        for (text, real) in &self.texts {
            command = command.replace(text, real);
        }
        let options = "--silent --show-error --no-buffer --include --noproxy '*' --max-time 60";
        let mut child = Command::new("sh")
            .args(["-c", &format!("exec {command} {options}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("sh starts");
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut text = String::new();
        let read = async {
            match until {
                None => {
                    output.read_to_string(&mut text).await.expect("it is text");
                }
                Some(wanted) => {
                    while !wanted.iter().all(|wanted| text.contains(wanted)) {
                        if output.read_line(&mut text).await.expect("it is text") == 0 {
                            break;
                        }
                    }
                }
            }
        };
        timeout(PATIENCE, read).await.expect("the answer comes in time");
        let mut parts = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        // With --location each answer on the way has its head.
        while parts.1.starts_with("HTTP/") {
            parts = parts.1.split_once("\r\n\r\n").unwrap_or((parts.1, ""));
        }
        let (head, body) = parts;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Answer { status: status.unwrap_or_default(), head: head.to_owned(), text: body.to_owned() }
    }
}
