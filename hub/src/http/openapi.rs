//! Contract, "API Documentation": the OpenAPI document, put together from what the rooms' routes
//! say of themselves, and what is the same for all of them: errors, headers, ways to say who one is.

use std::sync::Arc;

use axum::{
    Extension, Router,
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::postman;

/// Where the document is.
const PATH: &str = "/api/kubeedge/openapi.json";

/// The pages about the API, which say in the document that they are there.
pub(super) fn own_routes() -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(openapi)).routes(routes!(postman_collection))
}

/// The OpenAPI document
#[utoipa::path(get, path = "/api/kubeedge/openapi.json", operation_id = "get_openapi",
    tag = "API documentation", security(()),
    responses((status = 200, description = "This document", body = Object)))]
async fn openapi(Extension(pages): Extension<Pages>) -> Response {
    text(&pages.openapi)
}

/// The same as a Postman collection, v2.1
#[utoipa::path(get, path = "/api/kubeedge/postman.json", operation_id = "get_postman_collection",
    tag = "API documentation", security(()),
    responses((status = 200, description = "For Postman's import", body = Object)))]
async fn postman_collection(Extension(pages): Extension<Pages>) -> Response {
    text(&pages.postman)
}

fn text(json: &Arc<str>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], json.to_string()).into_response()
}

/// The documents, as they are sent.
#[derive(Clone)]
pub(super) struct Pages {
    openapi: Arc<str>,
    postman: Arc<str>,
}

impl Pages {
    pub(super) fn new(document: &Value) -> Self {
        Self {
            openapi: document.to_string().into(),
            postman: postman::collection(document).to_string().into(),
        }
    }
}

/// Swagger UI, from this program: it loads nothing from elsewhere.
pub(super) fn swagger() -> Router {
    SwaggerUi::new("/api/kubeedge/swagger-ui").config(Config::from(PATH)).into()
}

const ABOUT: &str = "Manage edge devices, their join tokens, commands and apps.\n\n\
    Every answer has `X-Request-Id`; where there is a limit, `X-RateLimit-Limit`, \
    `X-RateLimit-Remaining` and `X-RateLimit-Reset` (seconds since the epoch). A POST with an \
    `Idempotency-Key` is done once: a repeat gets the first answer again, for 24 hours. Times are \
    RFC 3339 in UTC; beside each human form stands a field in plain units.";

/// The errors that any request may meet, and those that one with a body or for known senders may.
const COMMON: [(&str, &str, &str); 8] = [
    ("400", "API-001", "The request is not right"),
    ("404", "API-004", "There is no such thing"),
    ("405", "API-001", "The path does not take this method"),
    ("406", "API-001", "The hub does not speak this version"),
    ("429", "API-006", "Too many requests"),
    ("500", "API-007", "The hub's fault; the log has the cause"),
    ("502", "API-008", "The device can't be reached"),
    ("503", "API-009", "Not now, or not here"),
];
const OF_BODIES: [(&str, &str, &str); 3] = [
    ("409", "API-005", "It is there already, or does not fit what is there"),
    ("413", "API-001", "The body is too large"),
    ("415", "API-001", "The body is not JSON"),
];
const OF_SENDERS: [(&str, &str, &str); 2] =
    [("401", "API-002", "Who are you?"), ("403", "API-003", "You may not")];

/// The whole document.
pub(super) fn document(collected: utoipa::openapi::OpenApi) -> Value {
    let mut document = serde_json::to_value(collected).unwrap_or_default();
    document["openapi"] = json!("3.1.0");
    document["info"] = json!({
        "title": "CloudCore API",
        "description": ABOUT,
        "version": env!("CARGO_PKG_VERSION"),
        "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
    });
    document["servers"] = json!([{ "url": "/", "description": "This hub" }]);
    // Swagger UI is a router of its own, without a description of itself.
    document["paths"]["/api/kubeedge/swagger-ui"] = json!({ "get": {
        "tags": ["API documentation"],
        "summary": "This document as a page to try it on",
        "operationId": "swagger_ui",
        "responses": { "303": { "description": "The page is at this address with a slash" } },
        "security": [{}],
    } });
    identifiers(&mut document);
    components(&mut document);
    let mut tags = Vec::new();
    for operation in operations(&mut document) {
        for tag in operation["tags"].as_array().into_iter().flatten() {
            if !tags.contains(tag) {
                tags.push(tag.clone());
            }
        }
        complete(operation);
    }
    document["tags"] = tags.into_iter().map(|name| json!({ "name": name })).collect();
    document
}

/// The forms of the contract's names, as `cloudcore_protocol` checks them; wherever one is a
/// property, or in a path. What only filters a list may be any text.
const IDENTIFIERS: [(&str, &str, u32); 3] = [
    ("node_name", r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$", 100),
    ("device_id", "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", 100),
    ("command_id", "^cmd_[0-7][0-9A-HJKMNP-TV-Z]{25}$", 30),
];

fn identifiers(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(identifiers),
        Value::Object(object) => {
            for (name, pattern, most) in IDENTIFIERS {
                let is_parameter = object.get("name").is_some_and(|given| given == name)
                    && object.get("in").is_some_and(|place| place == "path");
                if is_parameter && let Some(schema) = object.get_mut("schema") {
                    limit(schema, pattern, most);
                }
                if let Some(schema) = object.get_mut("properties").and_then(|all| all.get_mut(name))
                {
                    limit(schema, pattern, most);
                }
            }
            object.values_mut().for_each(identifiers);
        }
        _ => {}
    }
}

fn limit(schema: &mut Value, pattern: &str, most: u32) {
    let is_text = match &schema["type"] {
        Value::String(kind) => kind == "string",
        Value::Array(kinds) => kinds.iter().any(|kind| kind == "string"),
        _ => false,
    };
    if is_text && let Some(schema) = schema.as_object_mut() {
        schema.insert("pattern".into(), pattern.into());
        schema.insert("minLength".into(), 1.into());
        schema.insert("maxLength".into(), most.into());
    }
}

fn operations(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    document["paths"]
        .as_object_mut()
        .into_iter()
        .flat_map(Map::values_mut)
        .filter_map(Value::as_object_mut)
        .flat_map(Map::values_mut)
}

fn components(document: &mut Value) {
    let components = &mut document["components"];
    components["securitySchemes"] = json!({
        "bearer": {
            "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "The token of POST /api/auth/login, or an API key",
        },
        "api_key": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
        "ticket": {
            "type": "apiKey", "in": "query", "name": "ticket",
            "description": "Of POST /api/auth/ticket; good for one use",
        },
    });
    components["schemas"]["Problem"] = json!({
        "type": "object",
        "description": "What went wrong.",
        "required": ["status", "code", "message", "details", "request_id"],
        "properties": {
            "status": { "type": "string", "const": "error" },
            "code": {
                "type": "string",
                "enum": ["API-001", "API-002", "API-003", "API-004", "API-005", "API-006",
                         "API-007", "API-008", "API-009"],
            },
            "message": { "type": "string", "description": "For people" },
            "details": { "type": ["object", "null"], "description": "For programs" },
            "request_id": { "type": "string", "description": "As in X-Request-Id and the log" },
        },
    });
    let whole = |about: &str| json!({ "description": about, "schema": { "type": "integer" } });
    components["headers"] = json!({
        "RequestId": {
            "description": "Names the request in the hub's log", "required": true,
            "schema": { "type": "string" },
        },
        "RateLimitLimit": whole("Requests a minute; absent where there is no limit"),
        "RateLimitRemaining": whole("What is left of them"),
        "RateLimitReset": whole("When the minute ends, seconds since the epoch"),
        "RetryAfter": whole("Seconds until it may be tried again"),
    });
    let mut responses = Map::new();
    for (status, code, about) in COMMON.into_iter().chain(OF_BODIES).chain(OF_SENDERS) {
        let mut response = json!({
            "description": about,
            "headers": headers(),
            "content": { "application/json": {
                "schema": { "$ref": "#/components/schemas/Problem" },
                "example": {
                    "status": "error", "code": code, "message": about, "details": null,
                    "request_id": "5f1c2d3e4a5b6c7d",
                },
            } },
        });
        if matches!(status, "429" | "503") {
            response["headers"]["Retry-After"] =
                json!({ "$ref": "#/components/headers/RetryAfter" });
        }
        responses.insert(format!("Problem{status}"), response);
    }
    components["responses"] = responses.into();
}

fn headers() -> Value {
    let header = |name: &str| json!({ "$ref": format!("#/components/headers/{name}") });
    json!({
        "X-Request-Id": header("RequestId"),
        "X-RateLimit-Limit": header("RateLimitLimit"),
        "X-RateLimit-Remaining": header("RateLimitRemaining"),
        "X-RateLimit-Reset": header("RateLimitReset"),
    })
}

/// Adds what is the same for all to one operation.
fn complete(operation: &mut Value) {
    let has_body = operation.get("requestBody").is_some();
    // `{}` among the requirements: anybody may.
    let public = operation["security"]
        .as_array()
        .is_none_or(|all| all.iter().any(|one| one.as_object().is_some_and(Map::is_empty)));
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    for response in responses.values_mut() {
        response["headers"] = headers();
    }
    let of_bodies = OF_BODIES.into_iter().filter(|_| has_body);
    // Also what is public refuses a token that is none.
    let of_senders = OF_SENDERS.into_iter();
    for (status, ..) in COMMON.into_iter().chain(of_bodies).chain(of_senders) {
        let problem = json!({ "$ref": format!("#/components/responses/Problem{status}") });
        responses.entry(status).or_insert(problem);
    }
    if !has_body {
        let conflict = json!({ "$ref": "#/components/responses/Problem409" });
        responses.entry("409").or_insert(conflict);
    }
    if public {
        operation["security"] = json!([{}]);
    }
}
