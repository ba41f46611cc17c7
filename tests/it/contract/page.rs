//! The contract's own page, read as far as a program can: its requests, its answers, its tables.

use std::path::PathBuf;

use serde_json::Value;

/// The address that the page's author used.
pub const HOST: &str = "http://3.70.53.21:5000";

/// A file beside the page.
pub fn file(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("contract").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A command of the page, as its author wrote it.
pub struct Curl {
    /// Where it begins, from 1.
    pub line: usize,
    pub text: String,
    /// The answer that is shown for it.
    pub answer: Option<Value>,
}

/// `METHOD /path` on a line of its own.
pub struct Heading {
    pub line: usize,
    pub text: String,
}

pub struct Page {
    pub curls: Vec<Curl>,
    pub headings: Vec<Heading>,
    pub lines: Vec<String>,
}

impl Page {
    pub fn read() -> Self {
        let lines: Vec<_> = file("cloudcore-api.md").lines().map(str::to_owned).collect();
        let mut page = Self { curls: Vec::new(), headings: Vec::new(), lines };
        let mut lines = page.lines.iter().enumerate();
        // Whether the next object is the answer to the last command.
        let mut answers = false;
        while let Some((n, line)) = lines.next() {
            let mut text = line.clone();
            if text.starts_with("curl ") {
                while text.ends_with('\\') || text.matches('\'').count() % 2 == 1 {
                    let (_, more) = lines.next().expect("the command has an end");
                    text = text + "\n" + more;
                }
                page.curls.push(Curl { line: n + 1, text, answer: None });
                answers = false;
            } else if is_heading(line) {
                page.headings.push(Heading { line: n + 1, text });
                answers = false;
            } else if line == "Response:" || line == "# Response" {
                answers = true;
            } else if line == "{" && answers {
                while text.matches('{').count() > text.matches('}').count() {
                    let (_, more) = lines.next().expect("the object has an end");
                    text = text + "\n" + more;
                }
                let answer = serde_json::from_str(&text).expect("the page shows JSON");
                page.curls.last_mut().expect("there was a command").answer = Some(answer);
                answers = false;
            }
        }
        page
    }

    /// What the page says beside its requests, a line each: events, topics, limits, headers, tables,
    /// errors, the webhook's payload.
    pub fn facts(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines.iter().enumerate().map(|(n, line)| (n + 1, line.trim())).filter(|(_, line)| {
            let begins = [
                "data: ",
                "Topic: ",
                "Payload: ",
                "X-RateLimit-",
                "Accept: ",
                "Deprecation: ",
                "Sunset: ",
                "Alternate: ",
                "CREATE TABLE ",
                "action: '",
                "topics: [",
                "Webhook Payload",
            ];
            let limit = ["requests/minute", "concurrent connections", "devices per batch"];
            begins.iter().any(|begin| line.starts_with(begin))
                || limit.iter().any(|words| line.contains(words))
                || (line.matches('\t').count() == 2
                    && !line.starts_with("Event\t")
                    && !line.starts_with("Code\t"))
        })
    }

    /// The first object after a line.
    pub fn object_after(&self, n: usize) -> Value {
        let begin = self.lines[n..].iter().position(|line| line == "{").expect("an object") + n;
        let end = self.lines[begin..].iter().position(|line| line == "}").expect("its end") + begin;
        serde_json::from_str(&self.lines[begin..=end].join("\n")).expect("the page shows JSON")
    }

    /// The line with this number, from 1.
    pub fn line(&self, n: usize) -> &str {
        &self.lines[n - 1]
    }
}

fn is_heading(line: &str) -> bool {
    let mut words = line.split(' ');
    matches!(words.next(), Some("GET" | "POST" | "PUT" | "DELETE"))
        && words.next().is_some_and(|path| path.starts_with('/'))
        && words.next().is_none()
}

/// Method and path of a command.
pub fn target(curl: &str) -> (&str, &str) {
    let mut words = curl.split_whitespace();
    let method = words.find(|word| *word == "-X").and_then(|_| words.next()).unwrap_or("GET");
    let path = curl
        .split_whitespace()
        .find_map(|word| word.strip_prefix(HOST))
        .unwrap_or_else(|| panic!("no address in {curl}"));
    (method, path)
}

/// Whether `GET /a/{id}` stands for `GET /a/7`.
pub fn stands_for(heading: &str, method: &str, path: &str) -> bool {
    let (heading_method, pattern) = heading.split_once(' ').expect("METHOD /path");
    let mut wanted = pattern.split('/');
    heading_method == method
        && path
            .split('/')
            .all(|part| wanted.next().is_some_and(|want| want == part || want.starts_with('{')))
        && wanted.next().is_none()
}
