//! The page's requests and answers, as the OpenAPI document describes them.

use serde_json::Value;

use super::{data, page};
use crate::openapi;

/// Who reads the document alone finds what the page shows: its requests, and all it shows of answers.
#[test]
fn every_request_of_the_page_is_in_the_document() {
    let document: Value = serde_json::from_str(&openapi::printed()).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let mut wrong = Vec::new();
    for entry in data() {
        let (method, path) = page::target(&entry.curl);
        let path = path.split('?').next().unwrap_or_default();
        let pattern = paths.keys().find(|pattern| {
            // What is named stands before what is a parameter: /webhooks/test is no id.
            page::stands_for(&format!("{method} {pattern}"), method, path)
                && paths[*pattern].get(method.to_lowercase()).is_some()
        });
        let Some(pattern) = pattern else {
            wrong.push(format!("line {}: {method} {path} is not there", entry.line));
            continue;
        };
        if entry.instead.is_some() || entry.endless {
            continue;
        }
        let operation = &paths[pattern][method.to_lowercase()];
        let content = &operation["responses"][entry.status.to_string()]["content"];
        let Some(answer) = entry.answer.or(entry.stated).filter(|_| entry.media_type.is_none())
        else {
            continue;
        };
        let answer: Value = serde_json::from_str(&answer).expect("the data's JSON is JSON");
        let schema = &content["application/json"]["schema"];
        for missing in undescribed(&document, schema, &answer, "") {
            wrong.push(format!("line {}: {missing} is not described", entry.line));
        }
    }
    assert!(wrong.is_empty(), "{} are missing:\n{}", wrong.len(), wrong.join("\n"));
}

/// Pointers to what an answer has and a schema of the document does not name.
fn undescribed(document: &Value, schema: &Value, answer: &Value, at: &str) -> Vec<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = document.pointer(&reference[1..]).expect("references lead somewhere");
        return undescribed(document, schema, answer, at);
    }
    let choices = ["oneOf", "anyOf"].iter().find_map(|key| schema[*key].as_array());
    if let Some(choices) = choices {
        let each = choices.iter().map(|choice| undescribed(document, choice, answer, at));
        return each.min_by_key(Vec::len).unwrap_or_default();
    }
    match answer {
        // An object of whatever keys is described as just that.
        Value::Object(_) if may_be_any_object(schema) => Vec::new(),
        Value::Object(answer) => answer
            .iter()
            .flat_map(|(key, value)| match named(document, schema, key) {
                Some(schema) => undescribed(document, schema, value, &format!("{at}/{key}")),
                None => vec![format!("{at}/{key}")],
            })
            .collect(),
        Value::Array(items) => items
            .iter()
            .flat_map(|item| undescribed(document, &schema["items"], item, &format!("{at}/0")))
            .collect(),
        _ => Vec::new(),
    }
}

fn may_be_any_object(schema: &Value) -> bool {
    let kind = &schema["type"];
    let object =
        kind == "object" || kind.as_array().is_some_and(|kinds| kinds.contains(&"object".into()));
    object
        && ["properties", "allOf", "additionalProperties"]
            .iter()
            .all(|key| schema.get(*key).is_none())
}

/// The schema of a key, in `schema` or in one that it is made of.
fn named<'a>(document: &'a Value, schema: &'a Value, key: &str) -> Option<&'a Value> {
    if let Some(reference) = schema["$ref"].as_str() {
        return named(document, document.pointer(&reference[1..])?, key);
    }
    let own = schema["properties"].get(key).or_else(|| schema.get("additionalProperties"));
    let parts = schema["allOf"].as_array().into_iter().flatten();
    own.filter(|schema| *schema != &Value::Bool(false))
        .or_else(|| parts.filter_map(|part| named(document, part, key)).next())
}
