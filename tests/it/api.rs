//! The documented API: keys and errors. Who may do what is in `authorization`.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{PASSWORD, World};

#[tokio::test(flavor = "multi_thread")]
async fn health_answers_as_documented() {
    let world = World::start().await;
    let health = world.get("/api/health").await;
    assert_eq!(health["status"], "healthy");
    assert!(health["timestamp"].as_str().unwrap().ends_with('Z'));
    assert!(health["version"].is_string());
    assert_eq!(
        health["components"],
        json!({ "kubernetes": "not_configured", "cloudcore": "running", "database": "connected" })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_gives_a_session() {
    let world = World::start().await;
    let login = json!({ "username": "admin", "password": PASSWORD });
    let session = world.post("/api/auth/login", login).await;
    assert_eq!(session["token"].as_str().unwrap().split('.').count(), 3);
    assert_eq!(session["user"]["username"], "admin");
    assert_eq!(session["user"]["role"], "admin");
    assert!(session["user"]["id"].is_i64());

    for (username, password) in [("admin", "admin123"), ("nobody", PASSWORD), ("admin", "")] {
        let login = json!({ "username": username, "password": password });
        let (status, body) = world.call(Method::POST, "/api/auth/login", Some(login)).await;
        assert_eq!((status, &body["code"]), (StatusCode::UNAUTHORIZED, &json!("API-002")));
        assert_eq!(body["message"], "wrong username or password");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_not_guessed_for_long() {
    let world = World::start().await;
    let guess = async |username: &str, password: &str| {
        let login = json!({ "username": username, "password": password });
        let (status, body) = world.call(Method::POST, "/api/auth/login", Some(login)).await;
        (status.as_u16(), body["code"].as_str().map(str::to_owned))
    };
    for n in 0..10 {
        assert_eq!(guess("admin", &format!("guess {n}")).await.0, 401);
    }
    // Not even the right one is tried any more; other names still may.
    assert_eq!(guess("admin", PASSWORD).await, (429, Some("API-006".into())));
    assert_eq!(guess("somebody", "else").await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_answered_in_the_contracts_form() {
    let world = World::start().await;
    let join = "/api/kubeedge/device/join";
    let long = "x".repeat(101);
    let cases = [
        (Method::GET, "/nothing", None, 404, "API-004"),
        (Method::PUT, "/api/health", None, 405, "API-001"),
        (Method::GET, "/api/kubeedge/device/nobody", None, 404, "API-004"),
        (Method::GET, "/api/kubeedge/device/%ff%fe", None, 400, "API-001"),
        (Method::GET, "/api/kubeedge/device/a%20b", None, 404, "API-004"),
        (Method::GET, "/api/kubeedge/command/cmd_12345/status", None, 404, "API-004"),
        (Method::GET, "/api/kubeedge/devices?limit=0", None, 400, "API-001"),
        (Method::GET, "/api/kubeedge/devices?limit=many", None, 400, "API-001"),
        (Method::GET, "/api/kubeedge/devices?status=Happy", None, 400, "API-001"),
        (Method::POST, join, Some(json!({})), 400, "API-001"),
        (Method::POST, join, Some(json!({"node_name": 1, "device_id": "a"})), 400, "API-001"),
        (Method::POST, join, Some(json!({"node_name": "Ä", "device_id": "a"})), 400, "API-001"),
        (Method::POST, join, Some(json!({"node_name": long, "device_id": "a"})), 400, "API-001"),
        (
            Method::POST,
            join,
            Some(json!({"node_name": "a", "device_id": "a", "configuration": []})),
            400,
            "API-001",
        ),
        (
            Method::POST,
            "/api/kubeedge/token/generate",
            Some(json!({"node_name": "a", "expiry_hours": 0})),
            400,
            "API-001",
        ),
    ];
    for (method, path, body, status, code) in cases {
        let (got, answer) = world.call(method.clone(), path, body.clone()).await;
        assert_eq!(got.as_u16(), status, "{method} {path} {body:?}: {answer}");
        assert_eq!(answer["code"], code, "{method} {path} {body:?}: {answer}");
        assert_eq!(answer["status"], "error");
        assert!(!answer["message"].as_str().unwrap().is_empty());
    }

    let raw = async |body: Vec<u8>, content_type: &str| {
        let response = world
            .client()
            .post(world.url(join))
            .bearer_auth(world.token())
            .header("content-type", content_type)
            .body(body)
            .send()
            .await
            .unwrap();
        let status = response.status().as_u16();
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["code"], "API-001", "{answer}");
        status
    };
    assert_eq!(raw(b"{\"node_name\": ".to_vec(), "application/json").await, 400);
    assert_eq!(raw(b"{\"node_name\": \"\xff\"}".to_vec(), "application/json").await, 400);
    assert_eq!(raw(b"[\"node\", \"device\"]".to_vec(), "application/json").await, 400);
    assert_eq!(raw(b"<a/>".to_vec(), "application/xml").await, 415);
    assert_eq!(raw(vec![b' '; 3 << 20], "application/json").await, 413);
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    assert_eq!(raw(deep, "application/json").await, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_join_list_and_leave_as_documented() {
    let world = World::start().await;
    let body = json!({
        "node_name": "edge-node-001", "device_id": "edge-device-001", "cloud_ip": "3.70.53.21",
        "device_type": "camera", "location": "Factory Floor 1",
        "configuration": { "cni_type": "containerd", "camera_resolution": "1920x1080" },
    });
    let joined = world.post("/api/kubeedge/device/join", body.clone()).await;
    for key in [
        "status",
        "node_name",
        "device_id",
        "configmap_created",
        "device_crd_created",
        "join_command",
        "steps",
    ] {
        assert!(joined.get(key).is_some(), "{key} is missing: {joined}");
    }
    assert_eq!(joined["steps"]["token_generated"], true);
    let line = joined["join_command"].as_str().unwrap();
    assert!(line.starts_with("keadm join --cloudcore-ipport=3.70.53.21:"), "{line}");

    let (status, again) = world.call(Method::POST, "/api/kubeedge/device/join", Some(body)).await;
    assert_eq!((status, &again["code"]), (StatusCode::CONFLICT, &json!("API-005")));

    for n in 2..=5 {
        let body = json!({ "node_name": format!("n{n}"), "device_id": format!("d{n}") });
        world.post("/api/kubeedge/device/join", body).await;
    }
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = world.get(&format!("/api/kubeedge/devices?limit=2{cursor}")).await;
        assert_eq!(page["count"], 5);
        for device in page["devices"].as_array().unwrap() {
            for key in [
                "node_name",
                "device_id",
                "status",
                "roles",
                "age",
                "version",
                "pods_count",
                "addresses",
            ] {
                assert!(device.get(key).is_some(), "{key} is missing: {device}");
            }
            seen.push(device["device_id"].as_str().unwrap().to_owned());
        }
        match page["next_cursor"].as_i64() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["edge-device-001", "d2", "d3", "d4", "d5"]);

    let shown = world.get("/api/kubeedge/device/edge-device-001").await;
    for (group, keys) in [
        (
            "device_status",
            &["online", "last_heartbeat", "cpu_usage", "memory_usage", "temperature"][..],
        ),
        ("configuration", &["runtime", "cni_version", "kubeedge_version", "camera_enabled"]),
        ("metrics", &["uptime", "total_detections", "average_latency"]),
    ] {
        for key in keys {
            assert!(shown[group].get(key).is_some(), "{group}.{key} is missing: {shown}");
        }
    }
    assert!(shown["applications"].is_array());
    let metrics = world.get("/api/kubeedge/metrics").await;
    assert_eq!(metrics["summary"]["total_devices"], 5);
    assert_eq!(metrics["devices_by_type"], json!({ "camera": 1, "unknown": 4 }));

    let path = "/api/kubeedge/device/edge-device-001";
    let (status, gone) = world.call(Method::DELETE, path, None).await;
    assert_eq!((status, &gone["status"]), (StatusCode::OK, &json!("success")));
    assert!(gone["actions_taken"].to_string().contains("Token revoked"));
    let (status, _) = world.call(Method::DELETE, path, None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_of_the_api_are_negotiated() {
    let world = World::start().await;
    let ask = async |accept: &str| {
        let url = world.url("/api/health");
        let response = world.client().get(url).header("accept", accept).send().await.unwrap();
        response.status().as_u16()
    };
    assert_eq!(ask("application/vnd.kubeedge.v1+json").await, 200);
    assert_eq!(ask("application/json").await, 200);
    assert_eq!(ask("application/vnd.kubeedge.v9+json").await, 406);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_survives_a_kill() {
    let mut world = World::start().await;
    let token = world.join_token("edge-1").await;
    world
        .post("/api/kubeedge/device/join", json!({ "node_name": "edge-2", "device_id": "cam-2" }))
        .await;
    let command = world.send("cam-2", json!({ "command": "get_status", "timeout": 600 })).await;
    world.kill_hub().await;
    world.start_hub().await;
    assert_eq!(world.get("/api/kubeedge/tokens").await["count"], 2);
    assert_eq!(world.get("/api/kubeedge/devices").await["count"], 1);
    assert_eq!(world.status(&command).await["status"], "queued");
    // The token still fits the CA, and the operator's session still holds.
    world.join("edge-1", &token, &[]).await.unwrap();
    assert_eq!(world.stop_hub().await, Some(0));
}
