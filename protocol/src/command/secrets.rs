//! Which of a command's parameters are secrets: said in one place, for hub and agent.
//!
//! A camera's URL holds a password, an app's environment and a program's arguments may hold
//! anything, and a command that this build does not know may hold what its names say.

use serde_json::{Map, Value};

/// What stands in the place of a secret.
pub const HIDDEN: &str = "***";

/// A command's parameters as they may be kept and shown; `None` where there is no secret in them.
#[must_use]
pub fn without_secrets(command: &str, parameters: &Value) -> Option<Value> {
    let mut shown = hide_secrets(parameters);
    match command {
        "set_config" => {
            if let Some(Value::String(camera)) = shown.get_mut("camera") {
                *camera = shown_url(camera);
            }
        }
        "deploy_app" => hide_values(shown.get_mut("config")),
        "exec" => hide_values(shown.get_mut("parameters")),
        _ => {}
    }
    (shown != *parameters).then_some(shown)
}

/// A value without what its names say is secret, and without the secrets of URLs in its texts.
#[must_use]
pub fn hide_secrets(value: &Value) -> Value {
    match value {
        Value::Object(object) => Value::Object(
            object.iter().map(|(key, value)| (key.clone(), named(key, value))).collect(),
        ),
        Value::Array(all) => Value::Array(all.iter().map(hide_secrets).collect()),
        Value::String(text) => Value::String(hide_urls(text)),
        other => other.clone(),
    }
}

fn named(key: &str, value: &Value) -> Value {
    if is_secret_name(key) && holds_something(value) { HIDDEN.into() } else { hide_secrets(value) }
}

fn hide_values(object: Option<&mut Value>) {
    let Some(object) = object.and_then(Value::as_object_mut) else { return };
    object
        .values_mut()
        .filter(|value| holds_something(value))
        .for_each(|value| *value = HIDDEN.into());
}

fn holds_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(object) => *object != Map::new(),
        Value::Array(all) => !all.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

/// Whether a name says that its value is a secret: `DB_PASSWORD`, `apiKey`, `token`.
fn is_secret_name(name: &str) -> bool {
    const PARTS: [&str; 9] = [
        "password",
        "passwd",
        "passphrase",
        "pwd",
        "secret",
        "token",
        "credential",
        "authorization",
        "cookie",
    ];
    const ENDS: [&str; 4] = ["key", "pass", "auth", "login"];
    let name = name.to_ascii_lowercase();
    PARTS.iter().any(|part| name.contains(part)) || ENDS.iter().any(|end| name.ends_with(end))
}

/// A text with the secrets of the URLs in it hidden.
#[must_use]
pub fn hide_urls(text: &str) -> String {
    if !text.contains("://") {
        return text.to_owned();
    }
    let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>');
    let word = |word: &str| {
        let end = word.trim_end_matches(ends).len();
        let (word, after) = word.split_at(end);
        match word.contains("://") {
            true => format!("{}{after}", without_login(word)),
            false => format!("{word}{after}"),
        }
    };
    text.split_inclusive(ends).map(word).collect()
}

/// What may be shown of a text that is meant as a URL, and may be none: no user, no password, no
/// query, nothing after a `=`; 100 characters at most.
#[must_use]
pub fn shown_url(text: &str) -> String {
    let hidden = without_login(text);
    if hidden.chars().count() <= 100 {
        return hidden;
    }
    let short: String = hidden.chars().take(100).collect();
    short + HIDDEN
}

fn without_login(url: &str) -> String {
    let hidden = match url.rsplit_once('@') {
        Some((secret, rest)) => {
            let scheme = secret.split_once("://").map_or("", |(scheme, _)| scheme);
            format!("{scheme}://{HIDDEN}@{rest}")
        }
        None => url.to_owned(),
    };
    match hidden.find(['?', '=']) {
        Some(end) => format!("{}{HIDDEN}", &hidden[..end]),
        None => hidden,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_holds_no_secret_stays_as_it_is() {
        for (command, parameters) in [
            ("ping", json!(null)),
            ("capture_image", json!({ "resolution": "1920x1080", "quality": 90 })),
            ("set_config", json!({ "camera": "v4l2:///dev/video0", "confidence": 0.4 })),
            ("set_config", json!({ "camera": "rtsp://cam:8554/a/b" })),
            ("port_check", json!({ "host": "localhost", "ports": [22] })),
            ("deploy_app", json!({ "name": "a", "image": "r:5000/a:1", "config": {} })),
            ("exec", json!({ "name": "restart", "parameters": {} })),
            ("self_destruct", json!({ "after": 5, "token": null, "password": "" })),
        ] {
            assert_eq!(without_secrets(command, &parameters), None, "{command} {parameters}");
        }
    }

    #[test]
    fn secrets_are_hidden() {
        for (command, parameters, shown) in [
            (
                "set_config",
                json!({ "camera": "rtsp://eve:s3/cret@cam/x?s3cret", "confidence": 0.4 }),
                json!({ "camera": "rtsp://***@cam/x***", "confidence": 0.4 }),
            ),
            (
                "set_config",
                json!({ "camera": "rtsp://cam/user=eve_password=s3cret" }),
                json!({ "camera": "rtsp://cam/user***" }),
            ),
            (
                "set_config",
                json!({ "camera": "eve:s3cret@cam" }),
                json!({ "camera": "://***@cam" }),
            ),
            (
                "deploy_app",
                json!({ "name": "a", "config": { "DSN": "s3cret", "n": 5, "none": null } }),
                json!({ "name": "a", "config": { "DSN": "***", "n": "***", "none": null } }),
            ),
            (
                "exec",
                json!({ "name": "login", "parameters": { "with": "s3cret" } }),
                json!({ "name": "login", "parameters": { "with": "***" } }),
            ),
            (
                "of_tomorrow",
                json!({ "apiKey": "s3cret", "x": [{ "db_password": { "is": "s3cret" } }],
                    "say": "see \"https://eve:s3cret@cam/\" and http://cam/" }),
                json!({ "apiKey": "***", "x": [{ "db_password": "***" }],
                    "say": "see \"https://***@cam/\" and http://cam/" }),
            ),
        ] {
            let hidden = without_secrets(command, &parameters).unwrap();
            assert_eq!(hidden, shown);
            // What is hidden holds nothing more.
            assert_eq!(without_secrets(command, &hidden).unwrap_or(hidden), shown);
        }
    }

    #[test]
    fn a_text_that_is_no_url_shows_no_secret_either() {
        for (text, shows) in [
            ("rtsp://eve:s3/cret@cam:x/y", "rtsp://***@cam:x/y"),
            ("eve:s3cret@cam", "://***@cam"),
            ("cam?password=s3cret", "cam***"),
            ("/dev/video0", "/dev/video0"),
        ] {
            assert_eq!(shown_url(text), shows);
        }
        assert_eq!(shown_url(&"é".repeat(200)).chars().count(), 103);
    }
}
