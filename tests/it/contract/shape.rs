//! Whether an answer is of the documented shape: its keys, their types, the forms of its texts.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

/// What may differ from the documented answer, by JSON pointer (`*` is any element of a list),
/// each with the reason.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Allowed {
    /// Null, always.
    pub null: BTreeMap<String, String>,
    /// Null, on some machines or at some times.
    pub maybe_null: BTreeMap<String, String>,
    /// A list without elements.
    pub empty: BTreeMap<String, String>,
}

/// What is wrong with `real`; nothing, if nothing is listed.
pub fn differences(documented: &Value, real: &Value, allowed: &Allowed) -> Vec<String> {
    let mut comparison = Comparison { allowed, used: BTreeSet::new(), wrong: Vec::new() };
    comparison.value("", documented, real);
    for pointer in allowed.null.keys().chain(allowed.empty.keys()) {
        if !comparison.used.contains(pointer) {
            comparison.wrong.push(format!("{pointer} was to be null or empty, and is not"));
        }
    }
    comparison.wrong
}

struct Comparison<'a> {
    allowed: &'a Allowed,
    used: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Comparison<'_> {
    fn value(&mut self, at: &str, documented: &Value, real: &Value) {
        if real.is_null() && !documented.is_null() {
            self.used.insert(at.to_owned());
            if !self.allowed.null.contains_key(at) && !self.allowed.maybe_null.contains_key(at) {
                self.wrong.push(format!("{at} is null"));
            }
            return;
        }
        match (documented, real) {
            (Value::Object(documented), Value::Object(real)) => {
                for (key, value) in documented {
                    let at = format!("{at}/{key}");
                    match real.get(key) {
                        Some(real) => self.value(&at, value, real),
                        None => self.wrong.push(format!("{at} is missing")),
                    }
                }
            }
            (Value::Array(documented), Value::Array(real)) => self.list(at, documented, real),
            (Value::String(documented), Value::String(real)) => {
                if form(documented) != "text" && form(documented) != form(real) {
                    let form = form(documented);
                    self.wrong.push(format!("{at}: {real:?} is no {form} like {documented:?}"));
                }
            }
            (Value::Number(documented), Value::Number(real)) => {
                if !documented.is_f64() && real.is_f64() {
                    self.wrong.push(format!("{at}: {real} is no whole number"));
                }
            }
            (Value::Bool(_), Value::Bool(_)) | (Value::Null, _) => {}
            _ => self.wrong.push(format!("{at}: {real} is of another type than {documented}")),
        }
    }

    /// Each element is like one of the documented ones.
    fn list(&mut self, at: &str, documented: &[Value], real: &[Value]) {
        let inside = format!("{at}/*");
        if real.is_empty() && !documented.is_empty() {
            self.used.insert(at.to_owned());
            if !self.allowed.empty.contains_key(at) {
                self.wrong.push(format!("{at} is empty"));
            }
        }
        for element in real {
            let mut best: Option<Comparison<'_>> = None;
            for like in documented {
                let mut one =
                    Comparison { allowed: self.allowed, used: BTreeSet::new(), wrong: Vec::new() };
                one.value(&inside, like, element);
                if best.as_ref().is_none_or(|best| one.wrong.len() < best.wrong.len()) {
                    best = Some(one);
                }
            }
            if let Some(best) = best {
                self.used.extend(best.used);
                self.wrong.extend(best.wrong);
            }
        }
    }
}

/// What kind of text this is. Texts of kind "text" say nothing about others.
pub fn form(text: &str) -> &'static str {
    if is_time(text) {
        "time"
    } else if number_then(text, &["%"]) {
        "percentage"
    } else if number_then(text, &["°C"]) {
        "temperature"
    } else if is_size(text) {
        "size"
    } else if text.split_once('/').is_some_and(|(a, b)| is_size(a) && is_size(b)) {
        "share of a size"
    } else if number_then(text, &["ms", "s", "m", "h", "d"]) {
        "span"
    } else if text.split_once(' ').is_some_and(|(n, unit)| {
        is_number(n) && ["second", "minute", "hour", "day"].contains(&unit.trim_end_matches('s'))
    }) {
        "long span"
    } else if text.split_once('/').is_some_and(|(a, b)| is_number(a) && is_number(b)) {
        "ratio"
    } else if is_number(text) {
        "number"
    } else if text.strip_prefix("sha256=").is_some() {
        "signature"
    } else if text.starts_with("keadm join --cloudcore-ipport=") {
        "join command"
    } else if text.split_once("://").is_some_and(|(scheme, rest)| {
        !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric()) && !rest.is_empty()
    }) {
        "address"
    } else {
        "text"
    }
}

fn is_number(text: &str) -> bool {
    let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    digits(whole) && digits(rest)
}

fn number_then(text: &str, units: &[&str]) -> bool {
    units.iter().any(|unit| text.strip_suffix(unit).is_some_and(is_number))
}

fn is_size(text: &str) -> bool {
    number_then(text, &["KB", "MB", "GB", "TB"]) || number_then(text, &["B"])
}

/// `2024-01-15T10:30:00Z`, and nothing else that RFC 3339 would allow.
fn is_time(text: &str) -> bool {
    let like = "0000-00-00T00:00:00Z";
    text.len() == like.len()
        && text.bytes().zip(like.bytes()).all(|(b, like)| match like {
            b'0' => b.is_ascii_digit(),
            like => b == like,
        })
}

#[test]
fn a_difference_is_found() {
    use serde_json::json;
    let documented = json!({
        "at": "2024-01-15T10:30:00Z", "used": "2.3GB/8GB", "n": 3, "share": 0.5,
        "list": [{ "name": "a", "map": null }, { "other": true }],
    });
    let allowed =
        Allowed { null: [("/used".into(), "no memory".into())].into(), ..Allowed::default() };
    let good = json!({
        "at": "2026-01-01T00:00:00Z", "used": null, "n": 7, "share": 1, "more": {},
        "list": [{ "other": false }, { "name": "", "map": 3 }],
    });
    assert_eq!(differences(&documented, &good, &allowed), Vec::<String>::new());
    for (key, value, words) in [
        ("at", json!("2026-01-01T00:00:00.5Z"), "is no time"),
        ("at", json!(null), "/at is null"),
        ("used", json!("1GB/2GB"), "was to be null"),
        ("n", json!(0.5), "no whole number"),
        ("n", json!("3"), "another type"),
        ("list", json!([]), "/list is empty"),
        ("list", json!([{ "name": 7, "map": 0 }]), "another type"),
        ("list", json!([{}]), "is missing"),
    ] {
        let mut bad = good.clone();
        bad[key] = value;
        let found = differences(&documented, &bad, &allowed).join("; ");
        assert!(found.contains(words), "{key}: {found}");
    }
}
