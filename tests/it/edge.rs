//! What an operator does with devices beyond commands: tests of their connection, apps, batches,
//! and taking a command back.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{World, cached, eventually, stuck_camera};

const TEST: &str = "/api/kubeedge/test/connection";
const DEPLOY: &str = "/api/kubeedge/apps/deploy";
const BATCH: &str = "/api/kubeedge/batch-join";

/// Status and code of a request that is refused.
async fn refused(world: &World, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let (status, answer) = world.call(method, path, body).await;
    assert_eq!(answer["status"], "error", "{path}: {answer}");
    (status.as_u16(), answer["code"].clone())
}

/// A device that is known and away.
async fn known(world: &World, device: &str) {
    let body = json!({ "node_name": device, "device_id": device });
    world.post("/api/kubeedge/device/join", body).await;
}

/// Runs tests on a device to their end.
async fn tested(world: &World, body: Value) -> Value {
    let begun = world.post(TEST, body.clone()).await;
    assert_eq!((&begun["status"], &begun["tests"]), (&json!("success"), &body["tests"]));
    assert_eq!(begun["device_id"], body["device_id"]);
    assert!(begun["started_at"].as_str().unwrap().ends_with('Z'));
    let path = format!("/api/kubeedge/test/results/{}", begun["test_id"].as_str().unwrap());
    eventually("the tests to end", async || {
        let report = world.get(&path).await;
        let running = report["results"].as_array()?.iter().any(|r| r["status"] == "running");
        assert_eq!(report["status"] == "running", running, "{report}");
        assert_eq!(report["completed_at"].is_null(), running, "{report}");
        (!running).then_some(report)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_devices_connection_is_tested_on_the_device() {
    let world = World::start().await;
    let camera = format!("file://{}", cached("photos/astronaut.png").display());
    let agent = world.agent("cam-1", &["--camera", &camera]).await;

    let all = json!({ "device_id": "cam-1", "tests": ["ping", "port_check", "camera_test"] });
    let report = tested(&world, all).await;
    assert_eq!(report["status"], "completed", "{report}");
    for (result, test) in
        report["results"].as_array().unwrap().iter().zip(["ping", "port_check", "camera_test"])
    {
        assert_eq!((&result["test"], &result["status"]), (&json!(test), &json!("passed")));
        assert!(result["latency"].as_str().unwrap().ends_with("ms"), "{result}");
        assert!(result["latency_ms"].as_f64().unwrap() > 0.0, "{result}");
        assert!(result["error"].is_null());
    }
    assert_eq!(report["results"][2]["details"]["resolution"], "512x512", "a frame was taken");

    // The hub's own port, on the same machine, is open; one that nobody has is not.
    let open: u16 = world.http().rsplit_once(':').unwrap().1.parse().unwrap();
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = bound.local_addr().unwrap().port();
    for (ports, status) in [(vec![open], "completed"), (vec![open, closed], "failed")] {
        let body = json!({ "device_id": "cam-1", "tests": ["port_check"], "ports": ports });
        let report = tested(&world, body).await;
        assert_eq!(report["status"], status, "{report}");
    }
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_that_fails_says_why() {
    let world = World::start().await;
    let agent = world.agent("cam-1", &[]).await;
    let report =
        tested(&world, json!({ "device_id": "cam-1", "tests": ["camera_test", "ping"] })).await;
    assert_eq!(report["status"], "failed");
    let [camera, ping] = report["results"].as_array().unwrap().as_slice() else { panic!() };
    assert_eq!((&camera["status"], &ping["status"]), (&json!("failed"), &json!("passed")));
    assert!(!camera["error"].as_str().unwrap().is_empty(), "{camera}");
    assert_eq!(camera["details"]["error"], "camera_unavailable");
    assert_eq!(agent.stop().await, Some(0));
    world.offline("cam-1").await;

    let ask = async |body: Value| refused(&world, Method::POST, TEST, Some(body)).await;
    let away = json!({ "device_id": "cam-1", "tests": ["ping"] });
    assert_eq!(ask(away).await, (502, json!("API-008")));
    let nobody = json!({ "device_id": "nobody", "tests": ["ping"] });
    assert_eq!(ask(nobody).await, (404, json!("API-004")));
    let ports = |count: u16| (1..=count).collect::<Vec<_>>();
    for body in [
        json!({}),
        json!({ "device_id": "cam-1" }),
        json!({ "device_id": "cam-1", "tests": [] }),
        json!({ "device_id": "cam-1", "tests": ["ping", "ping"] }),
        json!({ "device_id": "cam-1", "tests": ["ping", "reboot"] }),
        json!({ "device_id": "cam-1", "tests": ["port_check"], "ports": [] }),
        json!({ "device_id": "cam-1", "tests": ["port_check"], "ports": [0] }),
        json!({ "device_id": "cam-1", "tests": ["port_check"], "ports": [22, 22] }),
        json!({ "device_id": "cam-1", "tests": ["port_check"], "ports": ports(17) }),
    ] {
        assert_eq!(ask(body.clone()).await, (400, json!("API-001")), "{body}");
    }
    let most = json!({ "device_id": "cam-1", "tests": ["port_check"], "ports": ports(16) });
    assert_eq!(ask(most).await, (502, json!("API-008")), "sixteen are not too many");
    let unknown = "/api/kubeedge/test/results/test_0000000000000000";
    assert_eq!(refused(&world, Method::GET, unknown, None).await, (404, json!("API-004")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_without_an_engine_says_so_and_keeps_no_app() {
    let mut world = World::start().await;
    let agent = world.agent("cam-1", &[]).await;
    known(&world, "cam-2").await;
    let app = |image: &str| {
        json!({
            "name": "object-detection", "image": image, "device_ids": ["cam-1"],
            "config": { "model": "yolov5", "confidence": 0.7, "interval": 5 },
            "resources": { "cpu": "500m", "memory": "512Mi" },
        })
    };
    let deployed = world.post(DEPLOY, app("ahmedxeno/edge-app:latest")).await;
    assert_eq!(deployed["status"], "failed", "{deployed}");
    assert_eq!(deployed["deployment_name"], "object-detection");
    assert_eq!(
        (&deployed["devices_deployed"], &deployed["services_created"]),
        (&json!(0), &json!([]))
    );
    let result = &deployed["results"][0];
    assert_eq!((&result["device_id"], &result["status"]), (&json!("cam-1"), &json!("failed")));
    assert_eq!(result["reason"], "no_container_engine");
    assert!(!result["message"].as_str().unwrap().is_empty());

    // The device's details and the list of apps say the same, also after a restart.
    world.kill_hub().await;
    world.start_hub().await;
    let shown = world.get("/api/kubeedge/device/cam-1").await;
    let [application] = shown["applications"].as_array().unwrap().as_slice() else {
        panic!("{shown}")
    };
    assert_eq!(application["name"], "object-detection");
    assert_eq!(application["image"], "ahmedxeno/edge-app:latest");
    assert_eq!((&application["status"], &application["port"]), (&json!("Failed"), &Value::Null));
    assert_eq!(application["reason"], "no_container_engine");
    let listed = world.get("/api/kubeedge/apps?device_id=cam-1").await;
    assert_eq!(listed["count"], 1);
    let listed = &listed["apps"][0];
    assert_eq!(listed["config"]["model"], "yolov5");
    assert_eq!(listed["resources"], json!({ "cpu": "500m", "memory": "512Mi" }));
    assert_eq!(listed["devices"][0]["status"], "Failed");
    assert_eq!(world.get("/api/kubeedge/apps?device_id=cam-2").await["count"], 0);

    // Deployed again it is the same app with another image.
    world.online("cam-1").await;
    world.post(DEPLOY, app("ahmedxeno/edge-app:2")).await;
    let listed = world.get("/api/kubeedge/apps").await;
    assert_eq!(
        (&listed["count"], &listed["apps"][0]["image"]),
        (&json!(1), &json!("ahmedxeno/edge-app:2"))
    );

    // What never ran is removed without asking the device.
    let path = "/api/kubeedge/apps/object-detection";
    let (status, removed) = world.call(Method::DELETE, path, None).await;
    assert_eq!((status, &removed["status"]), (StatusCode::OK, &json!("success")), "{removed}");
    assert_eq!(world.get("/api/kubeedge/apps").await["count"], 0);
    assert_eq!(world.get("/api/kubeedge/device/cam-1").await["applications"], json!([]));
    assert_eq!(refused(&world, Method::DELETE, path, None).await, (404, json!("API-004")));
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_for_a_device_that_is_away_waits_for_it() {
    let world = World::start().await;
    let agent = world.agent("cam-1", &[]).await;
    assert_eq!(agent.stop().await, Some(0));
    world.offline("cam-1").await;
    let app = json!({ "name": "counter", "image": "counter", "device_ids": ["cam-1"] });
    let deployed = world.post(DEPLOY, app.clone()).await;
    assert_eq!(
        (&deployed["status"], &deployed["devices_deployed"]),
        (&json!("partial"), &json!(0))
    );
    assert_eq!(deployed["results"][0]["status"], "pending", "{deployed}");
    // A newer order takes the place of one that waits.
    let again = world.post(DEPLOY, app).await;
    let first = deployed["results"][0]["command_id"].as_str().unwrap();
    let second = again["results"][0]["command_id"].as_str().unwrap();
    assert_eq!(world.status(first).await["status"], "cancelled");
    assert_eq!(world.status(second).await["status"], "queued");

    let agent = world.run_agent("cam-1").await;
    assert_eq!(world.ended(second).await["result"]["error"], "no_container_engine");
    eventually("the app to fail", async || {
        let shown = world.get("/api/kubeedge/device/cam-1").await;
        (shown["applications"][0]["status"] == "Failed").then_some(())
    })
    .await;
    // With its device goes what was to run on it.
    let (status, _) = world.call(Method::DELETE, "/api/kubeedge/device/cam-1", None).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(world.get("/api/kubeedge/apps").await["apps"][0]["devices"], json!([]));
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_apps_are_refused_whole() {
    let world = World::start().await;
    known(&world, "cam-1").await;
    let ask = async |change: Value| {
        let mut body = json!({ "name": "a", "image": "a", "device_ids": ["cam-1"] });
        for (key, value) in change.as_object().unwrap() {
            body[key] = value.clone();
        }
        let (status, answer) = world.call(Method::POST, DEPLOY, Some(body)).await;
        (status.as_u16(), answer)
    };
    let config =
        |bytes: usize| json!({ "config": { "k": "x".repeat(bytes - r#"{"k":""}"#.len()) } });
    let ids = |count: usize| (0..count).map(|n| format!("d{n}")).collect::<Vec<_>>();
    for bad in [
        json!({ "name": "x".repeat(64) }),
        json!({ "name": "Object" }),
        json!({ "name": "-a" }),
        json!({ "image": "" }),
        json!({ "image": "A b" }),
        json!({ "image": "a:" }),
        json!({ "device_ids": [] }),
        json!({ "device_ids": ["cam-1", "cam-1"] }),
        json!({ "device_ids": ids(101) }),
        json!({ "resources": { "cpu": "lots" } }),
        json!({ "resources": { "memory": "1" } }),
        json!({ "config": [] }),
        config(16 * 1024 + 1),
    ] {
        let (status, answer) = ask(bad.clone()).await;
        assert_eq!((status, &answer["code"]), (400, &json!("API-001")), "{bad}: {answer}");
    }
    // A hundred are not too many; none of them is known, and all are named.
    let (status, answer) = ask(json!({ "device_ids": ids(100) })).await;
    assert_eq!((status, &answer["code"]), (404, &json!("API-004")), "{answer}");
    assert_eq!(answer["details"]["device_ids"].as_array().unwrap().len(), 100);
    let (status, answer) = ask(json!({ "device_ids": ["cam-1", "nobody"] })).await;
    assert_eq!((status, &answer["details"]), (404, &json!({ "device_ids": ["nobody"] })));
    assert_eq!(world.get("/api/kubeedge/apps").await["count"], 0, "nothing of it is kept");
    let (status, answer) = ask(config(16 * 1024)).await;
    assert_eq!((status, &answer["status"]), (200, &json!("partial")), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_entry_spoils_no_batch() {
    let world = World::start().await;
    known(&world, "taken").await;
    let batch = json!({ "devices": [
        { "node_name": "edge-node-001", "device_id": "camera-001", "device_type": "camera",
          "location": "Entrance" },
        { "node_name": "Bad Name", "device_id": "camera-002" },
        { "node_name": "n3", "device_id": "taken" },
        { "device_id": "camera-004" },
        7,
        { "node_name": "edge-node-001", "device_id": "camera-006" },
        { "node_name": "edge-node-003", "device_id": "sensor-001", "device_type": "sensor" },
    ] });
    let joined = world.post(BATCH, batch).await;
    let counts = (&joined["total"], &joined["success"], &joined["failed"]);
    assert_eq!(counts, (&json!(7), &json!(2), &json!(5)), "{joined}");
    let results: Vec<_> = joined["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (r["device"].as_str().unwrap(), r["status"].as_str().unwrap(), r["code"].as_str()))
        .collect();
    assert_eq!(
        results,
        [
            ("camera-001", "success", None),
            ("camera-002", "failed", Some("API-001")),
            ("taken", "failed", Some("API-005")),
            ("camera-004", "failed", Some("API-001")),
            ("#5", "failed", Some("API-001")),
            ("camera-006", "failed", Some("API-005")),
            ("sensor-001", "success", None),
        ]
    );
    let first = &joined["results"][0]["details"];
    assert_eq!(
        (&first["node_name"], &first["device_id"]),
        (&json!("edge-node-001"), &json!("camera-001"))
    );
    let line = first["join_command"].as_str().unwrap();
    let token = line.rsplit_once("--token=").unwrap().1;
    world.join("edge-node-001", token, &[]).await.unwrap();
    assert!(!joined["results"][1]["error"].as_str().unwrap().is_empty());
    assert_eq!(world.get("/api/kubeedge/devices").await["count"], 3);

    let device = |n: usize| json!({ "node_name": format!("b{n}"), "device_id": format!("b{n}") });
    let batch = |n: usize| json!({ "devices": (0..n).map(device).collect::<Vec<_>>() });
    for body in [json!({}), batch(0), batch(11)] {
        assert_eq!(refused(&world, Method::POST, BATCH, Some(body)).await, (400, json!("API-001")));
    }
    let ten = world.post(BATCH, batch(10)).await;
    assert_eq!((&ten["success"], &ten["failed"]), (&json!(10), &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_taken_back() {
    let world = World::start().await;
    let agent = world.agent("cam-1", &["--camera", &stuck_camera(&world)]).await;
    let cancel = async |id: &str| {
        let path = format!("/api/kubeedge/command/{id}");
        world.call(Method::DELETE, &path, None).await
    };
    // One that runs: the device lets go of it, and takes others.
    let runs = world.send("cam-1", json!({ "command": "capture_image", "timeout": 55 })).await;
    eventually("the capture to run", async || {
        (world.status(&runs).await["status"] == "running").then_some(())
    })
    .await;
    let mut watch = world.watch("?events=command_result").await;
    let (status, answer) = cancel(&runs).await;
    assert_eq!((status, &answer["status"]), (StatusCode::OK, &json!("success")));
    assert_eq!(world.status(&runs).await["status"], "cancelled");
    let told = watch.next("command_result").await;
    assert_eq!((&told["command_id"], &told["status"]), (&json!(runs), &json!("cancelled")));
    let (status, answer) = cancel(&runs).await;
    assert_eq!((status, &answer["code"]), (StatusCode::CONFLICT, &json!("API-005")));
    assert_eq!(answer["details"]["status"], "cancelled");
    let after = world.run("cam-1", "get_status", json!({})).await;
    assert_eq!(after["status"], "completed");
    assert_eq!(agent.stop().await, Some(0));
    world.offline("cam-1").await;

    // One that waits is never delivered.
    let waits = world.send("cam-1", json!({ "command": "get_status", "timeout": 600 })).await;
    let kept = world.send("cam-1", json!({ "command": "get_status", "timeout": 600 })).await;
    assert_eq!(cancel(&waits).await.0, StatusCode::OK);
    let agent = world.run_agent("cam-1").await;
    assert_eq!(world.ended(&kept).await["status"], "completed");
    let never = world.status(&waits).await;
    assert_eq!(
        (&never["status"], &never["execution_time_us"]),
        (&json!("cancelled"), &Value::Null)
    );
    assert_eq!(cancel("cmd_01ARZ3NDEKTSV4RRFFQ69G5FAV").await.0, StatusCode::NOT_FOUND);

    // The list has them, newest first.
    let list = async |query: &str| world.get(&format!("/api/kubeedge/commands{query}")).await;
    let all = list("?device_id=cam-1").await;
    assert_eq!(all["count"], 4);
    assert_eq!(
        (&all["commands"][0]["command_id"], &all["commands"][3]["command_id"]),
        (&json!(kept), &json!(runs))
    );
    let cancelled = list("?status=cancelled&limit=1").await;
    assert_eq!(
        (&cancelled["count"], &cancelled["commands"][0]["command_id"]),
        (&json!(2), &json!(waits))
    );
    let next = cancelled["next_cursor"].as_i64().unwrap();
    let rest = list(&format!("?status=cancelled&limit=1&cursor={next}")).await;
    assert_eq!(rest["commands"][0]["command_id"], json!(runs));
    assert_eq!(list("?command=capture_image").await["count"], 1);
    assert_eq!(list("?device_id=nobody").await["count"], 0);
    for query in ["?status=lost", "?limit=0", "?limit=501", "?cursor=x"] {
        let path = format!("/api/kubeedge/commands{query}");
        assert_eq!(
            refused(&world, Method::GET, &path, None).await,
            (400, json!("API-001")),
            "{query}"
        );
    }
    drop(agent);
}
