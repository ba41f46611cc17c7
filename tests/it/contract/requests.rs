//! Each request of the contract, by the shell and by curl, as a reader of the page would do it.

use std::{collections::BTreeMap, process::Stdio};

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::Command,
    time::timeout,
};

use super::{
    page::{self, HOST, Page},
    shape::{self, Allowed},
};
use crate::world::{PATIENCE, Process, World, cached, eventually};

/// `requests.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    request: Vec<Request>,
}

/// One request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    /// Line of the page where it stands.
    line: usize,
    /// Section of the page; for the reader only.
    #[serde(rename = "section")]
    _section: String,
    /// The page has this line and no command: then the command is ours.
    heading: Option<String>,
    /// The command.
    curl: String,
    /// The answer that the page shows.
    answer: Option<String>,
    /// The answer as it should be, where the page shows none.
    stated: Option<String>,
    /// HTTP status.
    #[serde(default = "ok")]
    status: u16,
    /// Why the documented answer does not come, and the error's code that comes instead.
    instead: Option<Instead>,
    /// Where the answer must have the very value of the page.
    #[serde(default)]
    same: Vec<String>,
    #[serde(default)]
    null: BTreeMap<String, String>,
    #[serde(default)]
    maybe_null: BTreeMap<String, String>,
    #[serde(default)]
    empty: BTreeMap<String, String>,
    /// Of an answer that is no JSON object.
    media_type: Option<String>,
    /// What the answer's text has in it.
    #[serde(default)]
    contains: Vec<String>,
    /// The answer does not end by itself.
    #[serde(default)]
    endless: bool,
    /// What has to be there first.
    #[serde(default)]
    before: Vec<Step>,
    /// What is done after it.
    #[serde(default)]
    after: Vec<Step>,
    /// Text in later commands, and where its real value is in this answer.
    #[serde(default)]
    keep: BTreeMap<String, String>,
    /// Asked again until this is so: a pointer and its value.
    until: Option<(String, Value)>,
}

const fn ok() -> u16 {
    200
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Instead {
    code: String,
    #[serde(rename = "why")]
    _why: String,
}

/// What the story around the requests needs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, untagged)]
enum Step {
    /// A real agent with a camera joins, and is online.
    Agent { agent: String, device: String },
    /// A request that is not the contract's.
    Request { request: String, body: Option<Value> },
}

fn data() -> Vec<Request> {
    let data: Data =
        toml::from_str(&page::file("requests.toml")).expect("the data is as described");
    data.request
}

#[test]
fn every_request_of_the_page_is_in_the_data() {
    let (page, data) = (Page::read(), data());
    assert!(page.curls.len() == 29 && page.headings.len() == 34, "the page was not understood");
    let mut wrong = Vec::new();
    for curl in &page.curls {
        let Some(entry) = data.iter().find(|entry| entry.line == curl.line) else {
            wrong.push(format!("line {}: not in the data: {}", curl.line, curl.text));
            continue;
        };
        if entry.curl.trim() != curl.text {
            wrong.push(format!("line {}: the data has another command", curl.line));
        }
        let answer = entry.answer.as_ref().map(|text| serde_json::from_str(text).expect("JSON"));
        if answer != curl.answer {
            wrong.push(format!("line {}: the data has another answer", curl.line));
        }
    }
    for heading in &page.headings {
        let named = data.iter().any(|entry| {
            let (method, path) = page::target(&entry.curl);
            entry.line >= heading.line && page::stands_for(&heading.text, method, path)
        });
        if !named {
            wrong.push(format!("line {}: not in the data: {}", heading.line, heading.text));
        }
    }
    for entry in &data {
        match &entry.heading {
            Some(heading) => {
                let (method, path) = page::target(&entry.curl);
                if page.line(entry.line) != heading || !page::stands_for(heading, method, path) {
                    wrong.push(format!("line {}: it is not {heading}", entry.line));
                }
            }
            None if page.curls.iter().all(|curl| curl.line != entry.line) => {
                wrong.push(format!("line {}: there is no command", entry.line));
            }
            None => {}
        }
    }
    assert!(data.is_sorted_by_key(|entry| entry.line), "the data is not in the page's order");
    assert_eq!(wrong, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_does_what_the_page_shows() {
    let world = World::start_with(&["--public-monitoring"]).await;
    let mut story = Story { agents: Vec::new(), texts: Vec::new(), world };
    story.texts.push((HOST.to_owned(), story.world.url("")));
    story.take_documented_password().await;
    let mut wrong = Vec::new();
    for request in data() {
        for step in &request.before {
            story.step(step).await;
        }
        for difference in story.request(&request).await {
            wrong.push(format!("line {}: {difference}", request.line));
        }
        for step in &request.after {
            story.step(step).await;
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

struct Story {
    /// Dropped before the hub.
    agents: Vec<Process>,
    /// What stands in the page, and what is meant here.
    texts: Vec<(String, String)>,
    world: World,
}

struct Answer {
    status: u16,
    media_type: String,
    text: String,
}

impl Story {
    /// The page logs in as `admin` with `admin123`.
    async fn take_documented_password(&self) {
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
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Agent { agent, device } => {
                let camera = format!("file://{}", cached("photos/astronaut.png").display());
                let token = self.world.join_token(agent).await;
                let more =
                    ["--device-id", device, "--camera", &camera, "--heartbeat-interval", "1"];
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
        }
    }

    /// Does it, and says what was not as expected.
    async fn request(&mut self, request: &Request) -> Vec<String> {
        let answer = match &request.until {
            None => self.curl(request).await,
            Some((pointer, value)) => {
                eventually(&format!("{pointer} of line {}", request.line), async || {
                    let answer = self.curl(request).await;
                    let json: Value = serde_json::from_str(&answer.text).ok()?;
                    (answer.status != 200 || json.pointer(pointer) == Some(value)).then_some(answer)
                })
                .await
            }
        };
        let mut wrong = Vec::new();
        if answer.status != request.status {
            return vec![format!(
                "{} instead of {}: {}",
                answer.status, request.status, answer.text
            )];
        }
        let media_type = request.media_type.as_deref().unwrap_or("application/json");
        if !answer.media_type.starts_with(media_type) {
            wrong.push(format!("{} instead of {media_type}", answer.media_type));
        }
        for text in &request.contains {
            if !answer.text.contains(text) {
                wrong.push(format!("no {text:?} in {}", answer.text));
            }
        }
        if media_type != "application/json" {
            return wrong;
        }
        let real: Value = match serde_json::from_str(&answer.text) {
            Ok(real) => real,
            Err(e) => return vec![format!("no JSON, {e}: {}", answer.text)],
        };
        if let Some(Instead { code, .. }) = &request.instead {
            if real["code"] != **code {
                wrong.push(format!("not {code}: {real}"));
            }
            return wrong;
        }
        let documented = request.answer.as_ref().or(request.stated.as_ref());
        let documented: Value = serde_json::from_str(documented.map_or("{}", |text| text))
            .expect("the data's JSON is JSON");
        let allowed = Allowed {
            null: request.null.clone(),
            maybe_null: request.maybe_null.clone(),
            empty: request.empty.clone(),
        };
        let differences = shape::differences(&documented, &real, &allowed);
        if !differences.is_empty() {
            wrong.push(format!("{} in {real}", differences.join("; ")));
        }
        for pointer in &request.same {
            if documented.pointer(pointer) != real.pointer(pointer) {
                wrong.push(format!("{pointer} is {:?}", real.pointer(pointer)));
            }
        }
        for (text, pointer) in &request.keep {
            match real.pointer(pointer).and_then(Value::as_str) {
                Some(value) => self.texts.push((text.clone(), value.to_owned())),
                None => wrong.push(format!("{pointer} is no text")),
            }
        }
        wrong
    }

    /// Runs the command in a shell.
    async fn curl(&self, request: &Request) -> Answer {
        let mut command = request.curl.trim().to_owned();
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
            if request.endless {
                while !request.contains.iter().all(|wanted| text.contains(wanted)) {
                    if output.read_line(&mut text).await.expect("it is text") == 0 {
                        break;
                    }
                }
            } else {
                output.read_to_string(&mut text).await.expect("it is text");
            }
        };
        timeout(PATIENCE, read).await.expect("the answer comes in time");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let media_type = head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
            .map(|(_, value)| value.to_owned());
        Answer {
            status: status.unwrap_or_default(),
            media_type: media_type.unwrap_or_default(),
            text: body.to_owned(),
        }
    }
}
