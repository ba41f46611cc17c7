//! Pictures in a bucket: there, back, and while it is away.

use std::process::Stdio;

use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::{process::Command, time::timeout};

use crate::{
    s3::{BUCKET, S3},
    world::{PATIENCE, World, cached, eventually, program},
};

async fn world_on(s3: &S3) -> World {
    let url = format!("s3://{BUCKET}/hub-1");
    let env = s3.env();
    let env: Vec<_> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    World::start_in(&["--object-store", &url], &env).await
}

async fn fetch(world: &World, url: &str) -> (StatusCode, Vec<u8>) {
    let answer = world.client().get(url).timeout(PATIENCE).send().await.unwrap();
    (answer.status(), answer.bytes().await.unwrap().into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_is_kept_in_a_bucket() {
    let mut s3 = S3::new();
    s3.start().await;
    let world = world_on(&s3).await;
    let camera = format!("file://{}", cached("photos/astronaut.png").display());
    let agent = world.agent("cam-1", &["--camera", &camera]).await;
    let taken = world.run("cam-1", "capture_image", json!({})).await;
    assert_eq!(taken["status"], "completed", "{taken}");
    let keys = s3.keys().await;
    assert_eq!(keys.len(), 1, "{keys:?}");
    assert!(keys[0].starts_with("hub-1/blobs/cam-1/"), "{keys:?}");
    let stored = s3.object(&keys[0]).await;
    assert!(stored.starts_with(b"\xff\xd8\xff"), "it is a JPEG");
    let url = taken["result"]["image_url"].as_str().unwrap();
    assert_eq!(fetch(&world, url).await, (StatusCode::OK, stored));
    assert!(!world.dir.path().join("hub/objects").exists(), "nothing is kept beside the bucket");
    assert_eq!(agent.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_away_loses_no_picture() {
    let mut s3 = S3::new();
    // A hub starts without its bucket.
    let world = world_on(&s3).await;
    let camera = format!("file://{}", cached("photos/astronaut.png").display());
    let agent = world.agent("cam-1", &["--camera", &camera]).await;
    let capture = json!({ "command": "capture_image", "parameters": {}, "timeout": 50 });
    let first = world.send("cam-1", capture.clone()).await;
    eventually("the first try", async || {
        world.hub_log().contains("a blob can't be stored").then_some(())
    })
    .await;
    // The link is not held up by what waits.
    assert_eq!(world.run("cam-1", "get_status", json!({})).await["status"], "completed");
    s3.start().await;
    let taken = world.ended(&first).await;
    assert_eq!(taken["status"], "completed", "{taken}");
    let url = taken["result"]["image_url"].as_str().unwrap().to_owned();
    assert_eq!(fetch(&world, &url).await.0, StatusCode::OK);

    s3.stop().await;
    let (status, body) = fetch(&world, &url).await;
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("API-009")));
    let second = world.send("cam-1", capture).await;
    eventually("the second picture's first try", async || {
        (world.hub_log().matches("a blob can't be stored").count() > 1).then_some(())
    })
    .await;
    s3.start().await;
    let taken = world.ended(&second).await;
    assert_eq!(taken["status"], "completed", "{taken}");
    assert_eq!(s3.keys().await.len(), 1);
    let (status, _) = world.call(Method::GET, "/api/health", None).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(agent.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_this_build_lacks_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(program("cloudcore-hub"))
        .args(["serve", "--http", "127.0.0.1:0", "--quic", "127.0.0.1:0"])
        .args(["--mqtt", "127.0.0.1:0", "--data-dir"])
        .arg(dir.path())
        .args(["--object-store", "gs://bucket"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, output).await.expect("it ends in time").unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("this build has S3 and local folders"), "{said}");
}
