//! Cut off for long: the device goes on, keeps what it may, and the hub gets it once.

use std::{collections::BTreeSet, fs, time::Duration};

use cloudcore_agent::outbox::{Limits, Outbox};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    link::{detection, total},
    volume::Volume,
    world::{PATIENCE, World, eventually, program},
};

const PICTURES: &str = "/api/kubeedge/device/cam-1/pictures";

/// Three photographs that differ, as a camera.
fn photographs(world: &World) -> String {
    let dir = world.dir.path().join("photographs");
    fs::create_dir(&dir).unwrap();
    for n in 0..3_u8 {
        let picture = image::RgbImage::from_pixel(320, 240, image::Rgb([n * 80, 100, 100]));
        picture.save(dir.join(format!("{n}.png"))).unwrap();
    }
    format!("file://{}", dir.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn scheduled_pictures_are_taken_while_cut_off_and_arrive_once_oldest_first() {
    let mut world = World::start().await;
    let camera = photographs(&world);
    let agent = world.agent("cam-1", &["--camera", &camera]).await;
    let set = world.run("cam-1", "set_config", json!({ "capture_interval": 1 })).await;
    assert_eq!(set["result"]["config"]["capture_interval"], 1.0, "{set}");
    let listed = async |world: &World| {
        let list = world.get(&format!("{PICTURES}?limit=500")).await;
        list["pictures"].as_array().unwrap().clone()
    };
    eventually("a scheduled picture", async || (!listed(&world).await.is_empty()).then_some(()))
        .await;

    world.kill_hub().await;
    let waiting = async |least: u64| {
        eventually("pictures to wait", async || {
            let summary = cloudcore_agent::outbox::summary(&world.node_dir("cam-1")).ok()?;
            (summary.pictures >= least).then_some(())
        })
        .await;
    };
    waiting(4).await;
    // A restart of the agent loses none.
    agent.kill().await;
    let agent = world.run_agent("cam-1").await;
    waiting(5).await;
    world.start_hub().await;
    world.online("cam-1").await;
    let status = eventually("no picture to wait", async || {
        let status = world.run("cam-1", "get_status", json!({})).await;
        (status["result"]["outbox"]["pictures"].as_u64()? <= 1).then_some(status)
    })
    .await;
    assert_eq!(status["result"]["outbox"]["dropped"], 0);
    let off = world.run("cam-1", "set_config", json!({ "capture_interval": 0 })).await;
    assert_eq!(off["result"]["config"]["capture_interval"], 0.0);
    let pictures = listed(&world).await;
    assert!(pictures.len() >= 6, "{}", pictures.len());
    let times: Vec<&str> = pictures.iter().map(|p| p["timestamp"].as_str().unwrap()).collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "newest first: {times:?}");
    let first = &pictures[0];
    assert_eq!(
        (&first["command_id"], &first["content_type"]),
        (&Value::Null, &json!("image/jpeg"))
    );
    let file = world.client().get(first["image_url"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(file.status(), StatusCode::OK);
    assert!(file.bytes().await.unwrap().starts_with(&[0xff, 0xd8]));

    // Those of commands are there too; pages follow each other.
    let taken = world.run("cam-1", "capture_image", json!({})).await;
    assert_eq!(taken["status"], "completed");
    let page = world.get(&format!("{PICTURES}?limit=1")).await;
    assert_eq!(page["pictures"][0]["command_id"], taken["command_id"]);
    let next = page["next_cursor"].as_str().unwrap();
    let page = world.get(&format!("{PICTURES}?limit=1&cursor={next}")).await;
    assert_eq!(page["pictures"][0]["command_id"], Value::Null);
    for bad in ["?limit=0", "?limit=501", "?cursor=x"] {
        let (status, _) = world.call(Method::GET, &format!("{PICTURES}{bad}"), None).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
    }
    let bad = json!({ "command": "set_config", "parameters": { "capture_interval": 0.5 } });
    let (status, _) =
        world.call(Method::POST, "/api/kubeedge/device/cam-1/command", Some(bad)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(agent.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_dropped_for_want_of_room_is_told_and_the_rest_arrives_once() {
    let world = World::start().await;
    let agent = world.agent("edge-1", &[]).await;
    assert_eq!(agent.stop().await, Some(0));
    world.offline("edge-1").await;
    let path = world.node_dir("edge-1").join("agent.toml");
    let settings = fs::read_to_string(&path).unwrap();
    fs::write(&path, settings.replace("max_mb = 256", "max_mb = 1")).unwrap();
    // Days of detections, written as the agent would.
    let limits = Limits { bytes: 1 << 20, ..Limits::default() };
    let outbox = Outbox::open_within(&world.node_dir("edge-1"), limits).unwrap();
    let all = 12_000_u64;
    for chunk in (0..all).collect::<Vec<_>>().chunks(500) {
        let appends = chunk.iter().map(|n| outbox.append(detection(*n)));
        for appended in futures_util::future::join_all(appends).await {
            appended.unwrap();
        }
    }
    let dropped = outbox.counts().dropped;
    assert!((1..all).contains(&dropped), "{dropped}");
    outbox.close().await;

    let mut watch = world.watch("?events=alert").await;
    let agent = world.run_agent("edge-1").await;
    // The machine that runs this may have alerts of its own.
    while watch.next("alert").await["type"] != "outbox_full" {}
    eventually("the alert to end, as there is room again", async || {
        let path = "/api/kubeedge/alerts?device_id=edge-1&type=outbox_full&active=false";
        (world.get(path).await["count"] == 1).then_some(())
    })
    .await;
    let kept = all - dropped;
    eventually("all that was kept to arrive", async || {
        (total(&world, "edge-1").await == kept).then_some(())
    })
    .await;
    let status = world.run("edge-1", "get_status", json!({})).await;
    assert_eq!(status["result"]["outbox"]["dropped"], json!(dropped));
    assert_eq!(total(&world, "edge-1").await, kept, "and once");
    assert_eq!(agent.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_data_dir_is_named_and_ends_the_agent() {
    let world = World::start().await;
    let volume = Volume::new("16m");
    let token = world.join_token("edge-1").await;
    let agent = program("cloudcore-agent");
    let joined = volume
        .command(&agent)
        .args(["join", "--cloudcore-ipport", &world.quic, "--edgenode-name", "edge-1"])
        .args(["--token", &token, "--no-service", "--data-dir"])
        .arg(volume.mounted_at())
        .output()
        .await
        .unwrap();
    assert!(joined.status.success(), "{joined:?}");
    let remounted = volume
        .command("mount".as_ref())
        .args(["-o", "remount,ro"])
        .arg(volume.mounted_at())
        .status()
        .await
        .unwrap();
    assert!(remounted.success());
    let mut run: Command = volume.command(&agent);
    run.arg("run").arg("--data-dir").arg(volume.mounted_at()).kill_on_drop(true);
    let ended = tokio::time::timeout(PATIENCE, run.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("Read-only file system"), "{said}");
    assert!(said.contains(volume.mounted_at().to_str().unwrap()), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_at_any_write_loses_nothing_and_doubles_nothing() {
    let world = World::start().await;
    let token = world.join_token("edge-1").await;
    world.join("edge-1", &token, &[]).await.expect("the node joins");
    let mut sent = BTreeSet::new();
    for round in 0..12_u64 {
        let agent = world.run_agent("edge-1").await;
        world.online("edge-1").await;
        for _ in 0..4 {
            let body = json!({ "command": "set_config", "timeout": 600,
                "parameters": { "heartbeat_interval": 0.05 } });
            sent.insert(world.send("edge-1", body).await);
        }
        // Somewhere in the middle, another place each time.
        tokio::time::sleep(Duration::from_millis(7 * round)).await;
        agent.kill().await;
        let outbox = Outbox::open(&world.node_dir("edge-1")).expect("it opens");
        outbox.close().await;
        assert!(
            !fs::read_dir(world.node_dir("edge-1"))
                .unwrap()
                .flatten()
                .any(|entry| entry.file_name().to_string_lossy().contains("damaged")),
            "nothing was put aside"
        );
    }
    let agent = world.run_agent("edge-1").await;
    for id in &sent {
        assert_eq!(world.ended(id).await["status"], "completed");
    }
    let list = world.get("/api/kubeedge/commands?device_id=edge-1&limit=500").await;
    assert_eq!(list["count"], json!(sent.len()));
    assert_eq!(agent.stop().await, Some(0));
}

/// Where Debian has the library that lies about the clock.
pub fn faketime() -> String {
    let found = fs::read_dir("/usr/lib").unwrap().flatten().find_map(|dir| {
        let path = dir.path().join("faketime/libfaketime.so.1");
        path.exists().then_some(path)
    });
    found.expect("libfaketime is there: run `deploy/setup.sh test`").display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_by_years_and_back_stops_nothing() {
    let mut world = World::start().await;
    let token = world.join_token("edge-1").await;
    world.join("edge-1", &token, &[]).await.expect("the node joins");
    let clock = world.dir.path().join("clock");
    let set = |offset: &str| {
        let new = clock.with_extension("new");
        fs::write(&new, offset).unwrap();
        fs::rename(&new, &clock).unwrap();
    };
    set("+0");
    let library = faketime();
    let path = clock.display().to_string();
    let env = [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME_TIMESTAMP_FILE", &path),
        ("FAKETIME_NO_CACHE", "1"),
        // No clock that a machine has jumps there.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let agent = world.run_agent_in("edge-1", &env).await;
    world.online("edge-1").await;
    world.run("edge-1", "set_config", json!({ "heartbeat_interval": 0.1 })).await;
    let year = |status: &Value| {
        let at = status["result"]["timestamp"].as_str().unwrap();
        at[..4].parse::<i32>().unwrap()
    };
    let beats = async || {
        let shown = world.get("/api/kubeedge/device/edge-1").await;
        shown["device_status"]["last_heartbeat"].clone()
    };
    let now = year(&world.run("edge-1", "get_status", json!({})).await);
    for (offset, years) in [("+3650d", 10), ("-3650d", -10), ("+0", 0)] {
        set(offset);
        let status = world.run("edge-1", "get_status", json!({})).await;
        assert_eq!(status["status"], "completed", "{status}");
        assert!((year(&status) - now - years).abs() <= 1, "it has that clock: {status}");
        assert_eq!(status["result"]["outbox"]["dropped"], 0);
        // A command's time counts by the agent's timers and not by its clock.
        let late = json!({ "command": "capture_image", "timeout": 20 });
        let id = world.send("edge-1", late).await;
        assert_eq!(world.ended(&id).await["result"]["error"], "camera_unavailable");
        let before = beats().await;
        if years == 0 {
            eventually("a heartbeat", async || (beats().await != before).then_some(())).await;
        }
    }
    // Hours of renewals, one a second, did not happen: at most one for each jump.
    let log = fs::read_to_string(world.dir.path().join("edge-1.log")).unwrap();
    assert!(log.matches("the certificate was renewed").count() <= 3, "{log}");

    // With a clock outside of the certificates there is no new link; with a right one there is.
    set("+3650d");
    world.kill_hub().await;
    world.start_hub().await;
    eventually("the agent to say why", async || {
        let log = fs::read_to_string(world.dir.path().join("edge-1.log")).ok()?;
        log.to_lowercase().contains("expired").then_some(())
    })
    .await;
    set("+0");
    world.online("edge-1").await;
    assert_eq!(world.run("edge-1", "get_status", json!({})).await["status"], "completed");
    assert_eq!(agent.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_disk_is_full_goes_on_and_recovers() {
    let world = World::start().await;
    let volume = Volume::new("16m");
    let token = world.join_token("edge-1").await;
    let agent = program("cloudcore-agent");
    let mut join: Command = volume.command(&agent);
    join.args(["join", "--cloudcore-ipport", &world.quic, "--edgenode-name", "edge-1"])
        .args(["--token", &token, "--no-service", "--data-dir"])
        .arg(volume.mounted_at());
    assert!(join.output().await.unwrap().status.success());
    let log = world.dir.path().join("full.log");
    let mut run: Command = volume.command(&agent);
    let mut running = run
        .arg("run")
        .arg("--data-dir")
        .arg(volume.mounted_at())
        .stdout(std::process::Stdio::null())
        .stderr(fs::File::create(&log).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    world.online("edge-1").await;
    let set = json!({ "heartbeat_interval": 0.1 });
    assert_eq!(world.run("edge-1", "set_config", set).await["status"], "completed");

    volume.fill();
    let lost = json!({ "command": "get_status", "timeout": 4 });
    let id = world.send("edge-1", lost).await;
    eventually("the agent to say so", async || {
        fs::read_to_string(&log).ok()?.contains("full").then_some(())
    })
    .await;
    let end = world.ended(&id).await;
    assert!(running.try_wait().unwrap().is_none(), "it goes on: {end}");

    volume.free();
    let done = eventually("it to work again", async || {
        let done = world.run("edge-1", "get_status", json!({})).await;
        (done["status"] == "completed").then_some(done)
    })
    .await;
    assert_eq!(done["result"]["success"], true);
    running.start_kill().unwrap();
    running.wait().await.unwrap();
}
