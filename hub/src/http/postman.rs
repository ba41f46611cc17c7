//! The OpenAPI document as a Postman collection
//! ([v2.1](https://schema.getpostman.com/json/collection/v2.1.0/collection.json)): one folder a
//! tag, `{{baseUrl}}` and `{{token}}` to fill in.

use serde_json::{Map, Value, json};

/// The collection.
pub(super) fn collection(document: &Value) -> Value {
    let mut folders: Map<String, Value> = Map::new();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let tag = operation["tags"][0].as_str().unwrap_or("API");
            let folder = folders.entry(tag).or_insert_with(|| json!({ "name": tag, "item": [] }));
            if let Some(items) = folder["item"].as_array_mut() {
                items.push(item(document, path, method, operation));
            }
        }
    }
    json!({
        "info": {
            "name": document["info"]["title"],
            "description": document["info"]["description"],
            "schema": "https://schema.getpostman.com/json/collection/v2.1.0/collection.json",
        },
        "auth": {
            "type": "bearer",
            "bearer": [{ "key": "token", "value": "{{token}}", "type": "string" }],
        },
        "variable": [
            { "key": "baseUrl", "value": "http://127.0.0.1:5000", "type": "string" },
            { "key": "token", "value": "", "type": "string" },
        ],
        "item": folders.into_iter().map(|(_, folder)| folder).collect::<Vec<_>>(),
    })
}

fn item(document: &Value, path: &str, method: &str, operation: &Value) -> Value {
    let parameters = operation["parameters"].as_array();
    let of = |place: &str| -> Vec<Value> {
        parameters
            .into_iter()
            .flatten()
            .filter(|parameter| parameter["in"] == place)
            .map(|parameter| {
                json!({
                    "key": parameter["name"],
                    "value": "",
                    "description": parameter["description"],
                })
            })
            .collect()
    };
    // Postman writes `:name` where OpenAPI writes `{name}`.
    let segments: Vec<String> = path
        .trim_start_matches('/')
        .split('/')
        .map(|part| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) => format!(":{name}"),
            None => part.to_owned(),
        })
        .collect();
    let query: Vec<Value> = of("query")
        .into_iter()
        .map(|mut parameter| {
            parameter["disabled"] = json!(true);
            parameter
        })
        .collect();
    let mut request = json!({
        "method": method.to_uppercase(),
        "header": [],
        "url": {
            "raw": format!("{{{{baseUrl}}}}/{}", segments.join("/")),
            "host": ["{{baseUrl}}"],
            "path": segments,
            "query": query,
            "variable": of("path"),
        },
        "description": operation["description"],
    });
    if let Some(media) = operation["requestBody"]["content"].get("application/json") {
        let example =
            media.get("example").cloned().unwrap_or_else(|| sample(document, &media["schema"], 0));
        request["header"] = json!([{ "key": "Content-Type", "value": "application/json" }]);
        request["body"] = json!({
            "mode": "raw",
            "raw": serde_json::to_string_pretty(&example).unwrap_or_default(),
            "options": { "raw": { "language": "json" } },
        });
    }
    if operation["security"] == json!([{}]) {
        request["auth"] = json!({ "type": "noauth" });
    }
    let name = operation["summary"].as_str().unwrap_or(path);
    json!({ "name": name, "request": request, "response": [] })
}

/// How deep a sample of a schema goes.
const DEPTH: u32 = 6;

/// A value that a schema's examples make up.
fn sample(document: &Value, schema: &Value, depth: u32) -> Value {
    if depth > DEPTH {
        return Value::Null;
    }
    if let Some(example) = schema.get("example") {
        return example.clone();
    }
    if let Some(path) = schema["$ref"].as_str().and_then(|path| path.strip_prefix('#')) {
        let named = document.pointer(path).unwrap_or(&Value::Null);
        return sample(document, named, depth + 1);
    }
    if let Some(one) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
        let real = one.iter().find(|schema| schema["type"] != "null");
        return real.map_or(Value::Null, |schema| sample(document, schema, depth + 1));
    }
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds[0].as_str(),
        kind => kind.as_str(),
    };
    match kind {
        Some("object") => schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, schema)| (name.clone(), sample(document, schema, depth + 1)))
            .collect::<Map<_, _>>()
            .into(),
        Some("array") => json!([sample(document, &schema["items"], depth + 1)]),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(0)),
        Some("boolean") => json!(false),
        Some("string") => json!(""),
        _ => Value::Null,
    }
}
