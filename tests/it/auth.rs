//! Who may call: users, API keys, tickets, limits, the audit log, keys of repeated requests.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::world::{PASSWORD, World, eventually};

const USERS: &str = "/api/kubeedge/users";
const KEYS: &str = "/api/kubeedge/apikeys";
const LOGS: &str = "/api/kubeedge/security/logs";

/// Asks with these headers; the status, the headers and the body.
async fn ask(
    world: &World,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> (u16, reqwest::header::HeaderMap, Value) {
    let mut request = world.client().request(method, world.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await.expect("the hub answers");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    (status, headers, response.json().await.expect("a JSON body"))
}

async fn login(world: &World, username: &str, password: &str) -> Option<String> {
    let body = json!({ "username": username, "password": password });
    let (status, _, session) = ask(world, Method::POST, "/api/auth/login", &[], Some(body)).await;
    (status == 200).then(|| format!("Bearer {}", session["token"].as_str().unwrap()))
}

async fn lists_devices(world: &World, authorization: &str) -> u16 {
    let headers = [("authorization", authorization)];
    ask(world, Method::GET, "/api/kubeedge/devices", &headers, None).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_makes_changes_and_removes_users() {
    let world = World::start().await;
    let new = json!({ "username": "eve", "password": PASSWORD, "role": "operator" });
    let made = world.post(USERS, new.clone()).await;
    assert_eq!(
        (&made["user"]["username"], &made["user"]["role"]),
        (&json!("eve"), &json!("operator"))
    );
    let (status, again) = world.call(Method::POST, USERS, Some(new)).await;
    assert_eq!((status, &again["code"]), (StatusCode::CONFLICT, &json!("API-005")));
    let listed = world.get(USERS).await;
    assert_eq!(listed["count"], 2);
    assert!(!listed.to_string().contains("argon2"), "{listed}");

    // A session ends when its user's role, password or standing changes.
    let eve = login(&world, "eve", PASSWORD).await.unwrap();
    assert_eq!(lists_devices(&world, &eve).await, 200);
    let path = format!("{USERS}/eve");
    let change = async |change: Value| world.call(Method::PUT, &path, Some(change)).await;
    assert_eq!(change(json!({ "role": "viewer" })).await.0, StatusCode::OK);
    assert_eq!(lists_devices(&world, &eve).await, 401);
    let eve = login(&world, "eve", PASSWORD).await.unwrap();
    let headers = [("authorization", eve.as_str())];
    let own = json!({ "old_password": "wrong", "new_password": "another horse" });
    let path_own = "/api/auth/password";
    assert_eq!(ask(&world, Method::POST, path_own, &headers, Some(own)).await.0, 403);
    let own = json!({ "old_password": PASSWORD, "new_password": "another horse" });
    assert_eq!(ask(&world, Method::POST, path_own, &headers, Some(own)).await.0, 200);
    assert_eq!(lists_devices(&world, &eve).await, 401);
    assert!(login(&world, "eve", PASSWORD).await.is_none());
    let eve = login(&world, "eve", "another horse").await.unwrap();
    assert_eq!(change(json!({ "disabled": true })).await.1["user"]["disabled"], true);
    assert_eq!(lists_devices(&world, &eve).await, 401);
    assert!(login(&world, "eve", "another horse").await.is_none());

    // Somebody has to be left who can undo all this.
    for (method, body) in [
        (Method::PUT, Some(json!({ "role": "viewer" }))),
        (Method::PUT, Some(json!({ "disabled": true }))),
        (Method::DELETE, None),
    ] {
        let (status, answer) = world.call(method, &format!("{USERS}/admin"), body).await;
        assert_eq!((status, &answer["code"]), (StatusCode::CONFLICT, &json!("API-005")));
    }
    assert_eq!(world.call(Method::DELETE, &path, None).await.0, StatusCode::OK);
    assert_eq!(world.call(Method::DELETE, &path, None).await.0, StatusCode::NOT_FOUND);
    for bad in [
        json!({ "username": "", "password": PASSWORD }),
        json!({ "username": "a b", "password": PASSWORD }),
        json!({ "username": "x".repeat(65), "password": PASSWORD }),
        json!({ "username": "mallory", "password": "short" }),
        json!({ "username": "mallory", "password": "x".repeat(257) }),
        json!({ "username": "mallory", "password": PASSWORD, "role": "god" }),
    ] {
        let (status, answer) = world.call(Method::POST, USERS, Some(bad.clone())).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}: {answer}");
    }
    for good in [
        json!({ "username": "x".repeat(64), "password": PASSWORD }),
        json!({ "username": "long", "password": "x".repeat(256) }),
    ] {
        world.post(USERS, good).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_has_its_role_until_it_is_deleted() {
    let mut world = World::start().await;
    let made = world.post(KEYS, json!({ "name": "grafana", "role": "viewer" })).await;
    let key = made["api_key"].as_str().unwrap().to_owned();
    assert!(key.starts_with("ck_"));
    for headers in
        [vec![("x-api-key", key.as_str())], vec![("authorization", &format!("Bearer {key}"))]]
    {
        let (status, ..) = ask(&world, Method::GET, "/api/kubeedge/devices", &headers, None).await;
        assert_eq!(status, 200);
        let (status, _, answer) = ask(&world, Method::POST, KEYS, &headers, Some(json!({}))).await;
        assert_eq!((status, &answer["code"]), (403, &json!("API-003")));
    }
    let listed = world.get(KEYS).await;
    assert_eq!((&listed["count"], &listed["api_keys"][0]["name"]), (&json!(1), &json!("grafana")));
    assert!(!listed["api_keys"][0]["last_used_at"].is_null());
    assert!(!listed.to_string().contains(&key), "a key is shown once");
    for bad in [json!({}), json!({ "name": "" }), json!({ "name": "a", "expiry_days": 0 })] {
        assert_eq!(world.call(Method::POST, KEYS, Some(bad)).await.0, StatusCode::BAD_REQUEST);
    }

    // It outlives a restart, and not its deletion.
    world.kill_hub().await;
    world.start_hub().await;
    let headers = [("x-api-key", key.as_str())];
    assert_eq!(ask(&world, Method::GET, "/api/kubeedge/devices", &headers, None).await.0, 200);
    let id = made["key_id"].as_str().unwrap();
    assert_eq!(world.call(Method::DELETE, &format!("{KEYS}/{id}"), None).await.0, StatusCode::OK);
    let (status, _, answer) =
        ask(&world, Method::GET, "/api/kubeedge/devices", &headers, None).await;
    assert_eq!((status, &answer["code"]), (401, &json!("API-002")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_one_stream() {
    let world = World::start().await;
    let stream = async |ticket: &str| {
        let url = world.url(&format!("/api/kubeedge/monitor/stream?ticket={ticket}"));
        world.client().get(url).send().await.unwrap().status().as_u16()
    };
    let ticket = world.post("/api/auth/ticket", json!({})).await;
    let ticket = ticket["ticket"].as_str().unwrap();
    // It is for streams alone.
    let path = format!("/api/kubeedge/devices?ticket={ticket}");
    assert_eq!(ask(&world, Method::GET, &path, &[], None).await.0, 401);
    assert_eq!(stream(ticket).await, 200);
    assert_eq!(stream(ticket).await, 401);
    assert_eq!(stream("nonsense").await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_limited_by_the_minute() {
    let world = World::start_with(&["--rate-limit", "100"]).await;
    let made = world.post(KEYS, json!({ "name": "busy" })).await;
    let key = made["api_key"].as_str().unwrap().to_owned();
    let headers = [("x-api-key", key.as_str())];
    let number = |headers: &reqwest::header::HeaderMap, name: &str| -> i64 {
        headers[name].to_str().unwrap().parse().unwrap()
    };
    // All of a window: 100 are answered, the next is refused, until the window's end.
    let mut window = (0, 0);
    loop {
        let (status, headers, answer) =
            ask(&world, Method::GET, "/api/kubeedge/devices", &headers, None).await;
        let reset = number(&headers, "x-ratelimit-reset");
        if window.0 != reset {
            window = (reset, 0);
        }
        window.1 += 1;
        assert_eq!(number(&headers, "x-ratelimit-limit"), 100);
        assert_eq!(number(&headers, "x-ratelimit-remaining"), (100 - window.1).max(0));
        if status == 429 {
            assert_eq!(answer["code"], "API-006");
            assert!((1..=60).contains(&number(&headers, "retry-after")));
            break;
        }
        assert_eq!(status, 200);
    }
    assert_eq!(window.1, 101);
    // Another caller has a count of its own, errors have the headers too.
    let (status, _) = world.call(Method::GET, "/api/kubeedge/devices", None).await;
    assert_eq!(status, StatusCode::OK);
    let (status, headers, _) = ask(&world, Method::GET, "/nothing", &[], None).await;
    assert_eq!((status, number(&headers, "x-ratelimit-limit")), (404, 100));
    // A page shows dozens of pictures: they count for themselves. Its own files count for nobody.
    let picture = "/api/kubeedge/images/cam-1/00?expires=1&signature=00";
    let (status, headers, _) = ask(&world, Method::GET, picture, &[], None).await;
    assert_eq!((status, number(&headers, "x-ratelimit-limit")), (403, 1000));
    assert_eq!(number(&headers, "x-ratelimit-remaining"), 999);
    let page = world.client().get(world.url("/")).send().await.unwrap();
    assert_eq!(page.status(), StatusCode::OK);
    assert!(!page.headers().contains_key("x-ratelimit-limit"), "{:?}", page.headers());
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_and_refusals_are_in_the_audit_log() {
    let mut world = World::start().await;
    world.join_token("edge-1").await;
    assert!(login(&world, "mallory", "guessed wrong").await.is_none());
    let admin = world.token().to_owned();
    world.become_user("eve", "viewer").await;
    let (_, refused) = world.call(Method::DELETE, "/api/kubeedge/device/edge-1", None).await;
    let headers = [("authorization", format!("Bearer {admin}"))];
    let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let (_, _, log) = ask(&world, Method::GET, &format!("{LOGS}?limit=4"), &headers, None).await;
    let entries = log["logs"].as_array().unwrap();
    let short: Vec<_> = entries
        .iter()
        .map(|e| {
            let text = |key: &str| e[key].as_str().unwrap();
            (text("actor"), text("action"), text("outcome"), e["status"].as_i64().unwrap())
        })
        .collect();
    let expected = [
        ("eve", "DELETE /api/kubeedge/device/{device_id}", "refused", 403),
        ("eve", "POST /api/auth/login", "done", 200),
        ("mallory", "POST /api/auth/login", "refused", 401),
        ("admin", "POST /api/kubeedge/token/generate", "done", 200),
    ];
    assert_eq!(short, expected);
    assert_eq!(entries[0]["request_id"], refused["request_id"]);
    assert_eq!(entries[0]["target"], "/api/kubeedge/device/edge-1");
    assert_eq!(entries[0]["address"], "127.0.0.1");
    let path = format!("{LOGS}?actor=mallory&outcome=refused");
    assert_eq!(ask(&world, Method::GET, &path, &headers, None).await.2["count"], 1);
    let verified = ask(&world, Method::GET, &format!("{LOGS}/verify"), &headers, None).await.2;
    assert_eq!((&verified["intact"], &verified["first_broken"]), (&json!(true), &Value::Null));
    // A viewer does not read it.
    assert_eq!(world.call(Method::GET, LOGS, None).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_with_its_key_is_done_once() {
    let mut world = World::start().await;
    let generate = "/api/kubeedge/token/generate";
    let once = async |world: &World, key: &str, node: &str| {
        let authorization = format!("Bearer {}", world.token());
        let headers = [("authorization", authorization.as_str()), ("idempotency-key", key)];
        let body = json!({ "node_name": node });
        ask(world, Method::POST, generate, &headers, Some(body)).await
    };
    let (status, headers, first) = once(&world, "a", "edge-1").await;
    assert_eq!((status, headers.contains_key("idempotent-replayed")), (200, false));
    world.kill_hub().await;
    world.start_hub().await;
    let (status, headers, again) = once(&world, "a", "edge-1").await;
    assert_eq!((status, &again), (200, &first));
    assert_eq!(headers["idempotent-replayed"], "true");
    assert_eq!(world.get("/api/kubeedge/tokens").await["count"], 1);
    let (status, _, other) = once(&world, "a", "edge-2").await;
    assert_eq!((status, &other["code"]), (409, &json!("API-005")));
    // What was refused was not done, and may be corrected.
    assert_eq!(once(&world, "b", "").await.0, 400);
    assert_eq!(once(&world, "b", "edge-2").await.0, 200);
    assert_eq!(once(&world, &"k".repeat(255), "edge-3").await.0, 200);
    assert_eq!(once(&world, &"k".repeat(256), "edge-3").await.0, 400);
    // What is kept of the answer shows no token to who reads the database.
    let token = first["token"].as_str().unwrap().to_owned();
    world.stop_hub().await;
    let stored = std::fs::read(world.dir.path().join("hub/hub.db")).unwrap_or_default();
    let found = stored.windows(token.len()).any(|window| window == token.as_bytes());
    assert!(!found);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_describes_itself() {
    let world = World::start().await;
    let (status, _, document) =
        ask(&world, Method::GET, "/api/kubeedge/openapi.json", &[], None).await;
    assert_eq!((status, &document["openapi"]), (200, &json!("3.1.0")));
    let (_, _, postman) = ask(&world, Method::GET, "/api/kubeedge/postman.json", &[], None).await;
    let schema = postman["info"]["schema"].as_str().unwrap();
    assert!(schema.ends_with("/v2.1.0/collection.json"), "{schema}");
    let operations: usize =
        document["paths"].as_object().unwrap().values().map(|p| p.as_object().unwrap().len()).sum();
    let requests: usize = postman["item"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["item"].as_array().unwrap().len())
        .sum();
    assert_eq!(operations, requests);
    // The page loads nothing from elsewhere.
    let page = world.client().get(world.url("/api/kubeedge/swagger-ui/")).send().await.unwrap();
    assert_eq!(page.status(), StatusCode::OK);
    let page = page.text().await.unwrap();
    assert!(page.contains("swagger-ui"), "{page}");
    assert!(!page.contains("http://") && !page.contains("https://"), "{page}");
}

/// A request, and nobody who waits for its answer.
async fn hang_up_after(world: &World, request: &str) {
    let mut stream = TcpStream::connect(world.http()).await.expect("the hub listens");
    stream.write_all(request.as_bytes()).await.expect("it is sent");
    stream.shutdown().await.expect("it is the last of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_is_in_the_audit_log() {
    let world = World::start().await;
    for n in 0..10 {
        let body = json!({ "node_name": format!("cam-{n}"), "device_id": format!("cam-{n}") });
        world.post("/api/kubeedge/device/join", body).await;
    }
    for n in 0..10 {
        let request = format!(
            "DELETE /api/kubeedge/device/cam-{n} HTTP/1.1\r\nhost: hub\r\n\
             authorization: Bearer {}\r\n\r\n",
            world.token()
        );
        hang_up_after(&world, &request).await;
    }
    // A request whose connection is gone before it is looked at is none.
    eventually("what is removed to be recorded", async || {
        let left = world.get("/api/kubeedge/devices").await["count"].as_u64().unwrap();
        let log = world.get(&format!("{LOGS}?outcome=done&limit=500")).await;
        let action = json!("DELETE /api/kubeedge/device/{device_id}");
        let entries = log["logs"].as_array().unwrap();
        let recorded = entries.iter().filter(|entry| entry["action"] == action).count();
        (left < 10 && recorded as u64 == 10 - left).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_at_once_are_limited_as_those_one_after_another() {
    let world = World::start().await;
    let tries = (0..40).map(|_| async {
        let body = json!({ "username": "mallory", "password": "guessed wrong" });
        ask(&world, Method::POST, "/api/auth/login", &[], Some(body)).await.0
    });
    let answers = futures_util::future::join_all(tries).await;
    let checked = answers.iter().filter(|status| **status == 401).count();
    assert_eq!((checked, answers.len() - checked), (10, 30), "{answers:?}");
    assert!(answers.iter().all(|status| [401, 429].contains(status)), "{answers:?}");
}
