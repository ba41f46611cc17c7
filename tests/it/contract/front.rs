//! Contract, "Rate Limiting": the documented limits and headers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::{Value, json};

use super::facts;
use crate::world::World;

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970")
}

fn number(headers: &HeaderMap, name: &str) -> u64 {
    let value = headers.get(name).unwrap_or_else(|| panic!("no {name}"));
    value.to_str().expect("text").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hundredth_request_of_a_minute_is_the_last() {
    // The documented limit is the default; the stories' own setting is overruled.
    let world = World::start_with(&["--rate-limit", "100"]).await;
    let names: Vec<_> = facts::of("front.rs::the_hundredth_request_of_a_minute_is_the_last")
        .into_iter()
        .filter_map(|fact| fact.text.split_once(": ").map(|(name, _)| name.to_owned()))
        .filter(|name| name.starts_with("X-"))
        .collect();
    assert_eq!(names.len(), 3);
    let key = world.post("/api/kubeedge/apikeys", json!({ "name": "a", "role": "viewer" })).await;
    let other = world.post("/api/kubeedge/apikeys", json!({ "name": "b", "role": "viewer" })).await;
    let ask = async |key: &Value, path: &str| {
        let request = world.client().get(world.url(path));
        let request = request.header("x-api-key", key["api_key"].as_str().unwrap());
        let response = request.send().await.expect("the hub answers");
        (response.status().as_u16(), response.headers().clone())
    };
    // All within one minute of the hub's.
    let left = 60 - now().as_secs() % 60;
    if left < 5 {
        tokio::time::sleep(Duration::from_secs(left)).await;
    }
    for n in 1..=100 {
        // Also what fails is counted, and says so.
        let path = if n % 2 == 0 { "/api/kubeedge/devices" } else { "/api/kubeedge/device/none" };
        let (status, headers) = ask(&key, path).await;
        assert_eq!(status, if n % 2 == 0 { 200 } else { 404 }, "request {n}");
        assert_eq!(number(&headers, &names[0]), 100);
        assert_eq!(number(&headers, &names[1]), 100 - n);
        let reset = number(&headers, &names[2]);
        assert!((now().as_secs()..=now().as_secs() + 60).contains(&reset), "{reset}");
    }
    let (status, headers) = ask(&key, "/api/kubeedge/devices").await;
    assert_eq!((status, number(&headers, &names[1])), (429, 0));
    assert!((1..=60).contains(&number(&headers, "retry-after")));
    // Another key has a hundred of its own.
    assert_eq!(ask(&other, "/api/kubeedge/devices").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_has_ten_devices_and_no_more() {
    let world = World::start().await;
    let batch = |n: usize| {
        let device = |n| json!({ "node_name": format!("n{n}"), "device_id": format!("d{n}") });
        json!({ "devices": (0..n).map(device).collect::<Vec<_>>() })
    };
    let path = "/api/kubeedge/batch-join";
    let (status, answer) = world.call(Method::POST, path, Some(batch(11))).await;
    assert_eq!((status, &answer["code"]), (StatusCode::BAD_REQUEST, &json!("API-001")));
    assert_eq!(world.get("/api/kubeedge/devices").await["count"], 0);
    let answer = world.post(path, batch(10)).await;
    assert_eq!((&answer["total"], &answer["success"]), (&json!(10), &json!(10)), "{answer}");
    // Each stands for itself.
    let answer = world
        .post(
            path,
            json!({ "devices": [
        { "node_name": "n0", "device_id": "d0" },
        { "node_name": "has blanks", "device_id": "x" },
        { "node_name": "n10", "device_id": "d10" },
    ] }),
        )
        .await;
    assert_eq!((&answer["success"], &answer["failed"]), (&json!(1), &json!(2)), "{answer}");
    assert_eq!(answer["results"][2]["status"], "success");
    assert_eq!(world.get("/api/kubeedge/devices").await["count"], 11);
}
