//! Each request of the contract, by the shell and by curl, as a reader of the page would do it.

mod document;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{
    page::{self, Page},
    shape::{self, Allowed},
    story::{Step, Story},
};
use crate::world::eventually;

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
    /// Where it may differ.
    #[serde(default)]
    allowed: Allowed,
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

/// The page's requests name no token where they watch, turn `require_tls` on, and set a webhook.
const ARGUMENTS: [&str; 4] =
    ["--public-monitoring", "--webhook-allow-private", "--https", "127.0.0.1:0"];

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
    let mut story = Story::begin(&ARGUMENTS).await;
    // Nobody is there; deliveries have a story of their own.
    story.means("https://your-server.com/webhook", "http://127.0.0.1:9/webhook");
    story.take_documented_password().await;
    let mut wrong = Vec::new();
    for request in data() {
        for step in &request.before {
            story.step(step).await;
        }
        for difference in differences(&mut story, &request).await {
            wrong.push(format!("line {}: {difference}", request.line));
        }
        for step in &request.after {
            story.step(step).await;
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

/// Does it, and says what was not as expected.
async fn differences(story: &mut Story, request: &Request) -> Vec<String> {
    let answer = match &request.until {
        _ if request.endless => story.curl_until(&request.curl, &request.contains).await,
        None => story.curl(&request.curl).await,
        Some((pointer, value)) => {
            eventually(&format!("{pointer} of line {}", request.line), async || {
                let answer = story.curl(&request.curl).await;
                let reached = || answer.json().pointer(pointer) == Some(value);
                (answer.status != 200 || reached()).then_some(answer)
            })
            .await
        }
    };
    if answer.status != request.status {
        return vec![format!("{} instead of {}: {}", answer.status, request.status, answer.text)];
    }
    let mut wrong = Vec::new();
    let media_type = request.media_type.as_deref().unwrap_or("application/json");
    if !answer.header("content-type").is_some_and(|real| real.starts_with(media_type)) {
        wrong.push(format!("no {media_type}: {}", answer.head));
    }
    for text in &request.contains {
        if !answer.text.contains(text) {
            wrong.push(format!("no {text:?} in {}", answer.text));
        }
    }
    if media_type != "application/json" {
        return wrong;
    }
    let real = answer.json();
    if let Some(Instead { code, .. }) = &request.instead {
        if real["code"] != **code {
            wrong.push(format!("not {code}: {real}"));
        }
        return wrong;
    }
    let documented = request.answer.as_ref().or(request.stated.as_ref());
    let documented: Value = serde_json::from_str(documented.map_or("{}", |text| text))
        .expect("the data's JSON is JSON");
    let differences = shape::differences(&documented, &real, &request.allowed);
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
            Some(value) => story.means(text, value),
            None => wrong.push(format!("{pointer} is no text")),
        }
    }
    wrong
}
