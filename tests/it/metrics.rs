//! The hub in numbers, for people, for Prometheus and for whoever watches the hub.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{World, eventually};

async fn text(world: &World) -> String {
    let url = world.url("/api/kubeedge/metrics/prometheus");
    let answer = world.client().get(url).bearer_auth(world.token()).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    answer.text().await.unwrap()
}

/// The value of a series.
fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_reads_what_happened() {
    let mut world = World::start().await;
    world.post("/api/kubeedge/device/join", json!({ "node_name": "n", "device_id": "d" })).await;
    let agent = world.agent("cam-1", &[]).await;
    let done = world.run("cam-1", "get_status", json!({})).await;
    assert_eq!(done["status"], "completed");

    let watch = world.watch("").await;
    let numbers = text(&world).await;
    drop(watch);
    for (series, expected) in [
        ("cloudcore_devices{status=\"Ready\"}", 1.0),
        ("cloudcore_devices{status=\"NotReady\"}", 1.0),
        ("cloudcore_link_sessions", 1.0),
        ("cloudcore_commands{status=\"completed\"}", 1.0),
        ("cloudcore_detections_total", 0.0),
        ("cloudcore_watchers{kind=\"stream\"}", 1.0),
        ("cloudcore_watchers{kind=\"websocket\"}", 0.0),
    ] {
        assert_eq!(value(&numbers, series), Some(expected), "{series} in\n{numbers}");
    }
    assert!(value(&numbers, "cloudcore_database_bytes").unwrap() > 0.0);
    assert!(value(&numbers, "cloudcore_resident_memory_bytes").unwrap() > 1e6);
    assert!(numbers.contains("cloudcore_build_info{version=\""), "{numbers}");
    // Routes are named by their pattern: nobody makes series by asking for odd paths.
    let sent = "cloudcore_http_requests_total{method=\"POST\",\
                route=\"/api/kubeedge/device/{device_id}/command\",status=\"200\"}";
    assert_eq!(value(&numbers, sent), Some(1.0), "{numbers}");
    for n in 0..3 {
        world.call(Method::GET, &format!("/nothing/{n}"), None).await;
    }
    let numbers = text(&world).await;
    let none = "cloudcore_http_requests_total{method=\"GET\",route=\"none\",status=\"404\"}";
    assert_eq!(value(&numbers, none), Some(3.0), "{numbers}");

    agent.kill().await;
    eventually("the session to end", async || {
        (value(&text(&world).await, "cloudcore_link_sessions") == Some(0.0)).then_some(())
    })
    .await;
    world.become_user("eve", "viewer").await;
    text(&world).await;
    world.use_token("");
    for path in ["", "/prometheus", "/health"] {
        let path = format!("/api/kubeedge/metrics{path}");
        assert_eq!(world.call(Method::GET, &path, None).await.0, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hub_says_how_its_parts_are() {
    let mut world = World::start().await;
    let health = world.get("/api/kubeedge/metrics/health").await;
    assert_eq!(health["status"], "healthy", "{health}");
    for (part, expected) in [
        ("database", "connected"),
        ("object_store", "connected"),
        ("link", "running"),
        ("cloudcore", "running"),
        ("kubernetes", "not_configured"),
    ] {
        assert_eq!(health["components"][part]["status"], expected, "{health}");
        assert!(health["components"][part].get("latency_ms").is_some(), "{health}");
    }
    assert!(health["components"]["database"]["latency_ms"].as_f64().unwrap() > 0.0);
    assert!(health["memory_bytes"].as_u64().unwrap() > 1_000_000);
    assert!(health["uptime_seconds"].is_u64());

    let status = world.get("/api/kubeedge/cloudcore/status").await;
    let ports = status["services"][0]["ports"].as_array().expect("ports");
    let names: Vec<_> = ports.iter().map(|port| port["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["cloudhub", "http", "mqtt"]);
    assert!(world.mqtt.ends_with(&format!(":{}", ports[2]["port"])), "{status}");
    let running = (&status["status"], &status["version"], &status["pods"]);
    assert_eq!(running, (&json!("running"), &health["version"], &json!([])));
    let port: u16 = world.quic.rsplit_once(':').unwrap().1.parse().unwrap();
    let cloudhub = &status["services"][0]["ports"][0];
    assert_eq!((&cloudhub["name"], &cloudhub["port"]), (&json!("cloudhub"), &json!(port)));
    world.call(Method::POST, "/api/kubeedge/maintenance/start", None).await;
    assert_eq!(world.get("/api/kubeedge/cloudcore/status").await["status"], "maintenance");
    world.call(Method::POST, "/api/kubeedge/maintenance/stop", None).await;

    let deploy = async |world: &World, body: Value| {
        let (status, answer) =
            world.call(Method::POST, "/api/kubeedge/cloudcore/deploy", Some(body)).await;
        (status.as_u16(), answer["code"].as_str().unwrap().to_owned())
    };
    let good = json!({ "version": "1.18.0", "replicas": 1,
                       "resources": { "cpu": "500m", "memory": "512Mi" } });
    assert_eq!(deploy(&world, good.clone()).await, (503, "API-009".into()));
    for bad in [
        json!({}),
        json!({ "version": "new" }),
        json!({ "version": "1.18.0", "replicas": 0 }),
        json!({ "version": "1.18.0", "resources": { "memory": "lots" } }),
    ] {
        assert_eq!(deploy(&world, bad).await, (400, "API-001".into()));
    }
    world.become_user("eve", "viewer").await;
    assert_eq!(deploy(&world, good).await, (403, "API-003".into()));
}
