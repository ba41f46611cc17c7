//! Who may do what, by the OpenAPI document: each of its operations is asked by a stranger, a
//! viewer and an operator.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{PATIENCE, World};

/// Whom an operation wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wants {
    Nobody,
    Viewer,
    Operator,
    Admin,
}

struct Operation {
    method: Method,
    path: String,
    wants: Wants,
}

async fn operations(world: &World) -> Vec<Operation> {
    let document = world.get("/api/kubeedge/openapi.json").await;
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            found.push(Operation {
                method: method.to_uppercase().parse().expect("a method"),
                path: path.clone(),
                wants: wants(operation)
                    .unwrap_or_else(|| panic!("{method} {path} does not say whom it wants")),
            });
        }
    }
    found
}

/// What its security requirements say. All of them must name one role.
fn wants(operation: &Value) -> Option<Wants> {
    let alternatives = operation["security"].as_array()?;
    let mut roles = alternatives.iter().flat_map(|one| one.as_object().into_iter().flatten());
    let Some((_, first)) = roles.next() else { return Some(Wants::Nobody) };
    if roles.any(|(scheme, scopes)| scheme != "ticket" && scopes != first) {
        return None;
    }
    match first.as_array()?.as_slice() {
        [role] => match role.as_str()? {
            "viewer" => Some(Wants::Viewer),
            "operator" => Some(Wants::Operator),
            "admin" => Some(Wants::Admin),
            _ => None,
        },
        _ => None,
    }
}

impl Operation {
    /// Status and error code for whoever sends this header.
    async fn ask(&self, world: &World, authorization: Option<&str>) -> (StatusCode, Value) {
        // What is in braces names nothing, so that nothing is changed by those who may.
        let path: String = self
            .path
            .split('/')
            .map(|part| if part.starts_with('{') { "cmd_01ARZ3NDEKTSV4RRFFQ69G5FAV" } else { part })
            .collect::<Vec<_>>()
            .join("/");
        let mut request = world.client().request(self.method.clone(), world.url(&path));
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        if !self.method.is_safe() {
            request = request.json(&json!({}));
        }
        let response = request.timeout(PATIENCE).send().await.expect("the hub answers");
        let status = response.status();
        assert!(response.headers().contains_key("x-request-id"), "{self}");
        if status.is_success() {
            return (status, Value::Null);
        }
        let problem: Value = response.json().await.expect("a JSON body");
        (status, problem["code"].clone())
    }
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} ({:?})", self.method, self.path, self.wants)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_wants_whom_the_document_names() {
    let mut world = World::start().await;
    let operations = operations(&world).await;
    for role in [Wants::Viewer, Wants::Operator, Wants::Admin] {
        assert!(operations.iter().any(|operation| operation.wants == role), "{role:?}");
    }
    for operation in &operations {
        let public = operation.wants == Wants::Nobody;
        let (status, code) = operation.ask(&world, None).await;
        // A login with an empty body is no login, and says so.
        assert_eq!(status == StatusCode::UNAUTHORIZED, !public, "{operation}: {code}");
        for authorization in ["Bearer nonsense", "Bearer ck_nonsense", "Basic YWRtaW46YWRtaW4="] {
            let (status, code) = operation.ask(&world, Some(authorization)).await;
            if !public {
                let refused = (StatusCode::UNAUTHORIZED, json!("API-002"));
                assert_eq!((status, code), refused, "{operation}, {authorization}");
            }
        }
    }
    for (user, role, may) in
        [("eve", "viewer", Wants::Viewer), ("oscar", "operator", Wants::Operator)]
    {
        let admin = world.token().to_owned();
        world.become_user(user, role).await;
        let session = format!("Bearer {}", world.token());
        world.use_token(&admin);
        for operation in &operations {
            let (status, code) = operation.ask(&world, Some(&session)).await;
            assert_ne!(status, StatusCode::UNAUTHORIZED, "{operation}, {role}");
            let refused = (StatusCode::FORBIDDEN, json!("API-003"));
            assert_eq!((status, code) == refused, operation.wants > may, "{operation}, {role}");
        }
    }
}

#[test]
fn the_document_names_roles_as_it_should() {
    let public = json!({ "security": [{}] });
    assert_eq!(wants(&public), Some(Wants::Nobody));
    let both = json!({ "security": [{ "bearer": ["admin"] }, { "api_key": ["admin"] }] });
    assert_eq!(wants(&both), Some(Wants::Admin));
    let differs = json!({ "security": [{ "bearer": ["admin"] }, { "api_key": ["viewer"] }] });
    assert_eq!(wants(&differs), None);
    assert_eq!(wants(&json!({})), None);
}
