//! Pictures of what is detected: the best look at each object, what was there before it came, and
//! how long they are kept.

use std::{fs, path::Path};

use cloudcore_agent::outbox::{Limits, ObjectPicture, Outbox};
use cloudcore_protocol::{
    BoundingBox, Detection, DetectionId, DetectionPhase, PictureKind, PictureOf, Timestamp,
};
use image::RgbImage;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    offline::faketime,
    scene::Scene,
    world::{PASSWORD, World, eventually},
};

const DETECTIONS: &str = "/api/kubeedge/detections";
const PICTURES: &str = "/api/kubeedge/device/cam-1/pictures";

async fn pictures(world: &World, query: &str) -> Vec<Value> {
    let list = world.get(&format!("{PICTURES}?{query}")).await;
    list["pictures"].as_array().unwrap().clone()
}

/// The one snapshot of an object, once it is there.
async fn snapshot(world: &World, detection: &Value) -> Value {
    let id = detection["detection_id"].as_str().unwrap();
    eventually("a snapshot", async || {
        let mut all = pictures(world, &format!("detection_id={id}&kind=snapshot")).await;
        assert!(all.len() <= 1, "{all:?}");
        all.pop()
    })
    .await
}

/// What a link shows.
async fn open(world: &World, url: &str) -> Option<RgbImage> {
    let response = world.client().get(url).send().await.unwrap();
    if response.status() == StatusCode::NOT_FOUND {
        return None;
    }
    assert_eq!(response.status(), StatusCode::OK, "{url}");
    assert_eq!(response.headers()["content-type"], "image/jpeg");
    let file = response.bytes().await.unwrap();
    Some(image::load_from_memory(&file).unwrap().into_rgb8())
}

/// Pixels of the colour of the boxes.
fn yellow(image: &RgbImage) -> usize {
    let is_yellow = |pixel: &&image::Rgb<u8>| pixel[0] > 200 && pixel[1] > 160 && pixel[2] < 80;
    image.pixels().filter(is_yellow).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_has_one_clean_picture_the_best_and_boxes_on_request() {
    // Looked at again and again: how well it is seen does not hang on which part moved.
    let mut scene = Scene::begin(json!({ "stationary_interval": 1 })).await;
    // The cat comes in from the right.
    scene.show(&[("chelsea", 900, 300)]);
    let cat = scene.next("cat", "started").await;
    let link = cat["image_url"].as_str().unwrap().to_owned();
    let first = snapshot(&scene.world, &cat).await;
    assert_eq!((&first["object"], &first["command_id"]), (&json!("cat"), &Value::Null));
    // The link of the event has no host: nobody asked for it by one.
    let link = format!("{}{link}", scene.world.url(""));
    let clean = open(&scene.world, &link).await.expect("it is there");
    assert_eq!(clean.dimensions(), (1280, 720));
    let boxed = open(&scene.world, &format!("{link}&boxes=true")).await.unwrap();
    assert!(yellow(&boxed) > yellow(&clean) + 1000, "{} {}", yellow(&boxed), yellow(&clean));
    let (x, y) = (first["bounding_box"]["x"].as_f64(), first["bounding_box"]["y"].as_f64());
    let corner = boxed.get_pixel(x.unwrap() as u32 + 1, y.unwrap() as u32 + 60);
    assert!(corner[0] > 180 && corner[2] < 130, "{corner:?}");

    let listed = scene.world.get(&format!("{DETECTIONS}?device_id=cam-1&object=cat")).await;
    assert_eq!(listed["count"], 1, "{listed}");
    let one = &listed["detections"][0];
    assert_eq!((&one["detection_id"], &one["ended_at"]), (&cat["detection_id"], &Value::Null));
    assert!(open(&scene.world, one["image_url"].as_str().unwrap()).await.is_some());

    // All of it is in sight: a better look takes the place of the first.
    scene.show(&[("chelsea", 780, 300)]);
    let right = |picture: &Value| {
        let place = &picture["bounding_box"];
        place["x"].as_f64().unwrap() + place["width"].as_f64().unwrap()
    };
    assert!(right(&first) > 1270.0, "{first}");
    // The first place may have been seen better before.
    eventually("a better look", async || {
        let now = snapshot(&scene.world, &cat).await;
        (right(&now) < 1270.0).then_some(())
    })
    .await;
    eventually("the first is gone", async || {
        let first = open(&scene.world, first["image_url"].as_str().unwrap()).await;
        first.is_none().then_some(())
    })
    .await;
    assert!(open(&scene.world, &link).await.is_some(), "the object's link shows the better one");
    scene.show(&[]);
    scene.next("cat", "ended").await;
    let listed = scene.world.get(&format!("{DETECTIONS}?device_id=cam-1")).await;
    assert_eq!(listed["count"], 1);
    assert!(listed["detections"][0]["ended_at"].is_string(), "{listed}");

    // No picture is taken where none is wanted, from now on.
    let set = json!({ "snapshots": false, "snapshot_quality": 50 });
    let set = scene.world.run("cam-1", "set_config", set).await;
    assert_eq!(set["result"]["config"]["snapshots"], false, "{set}");
    scene.show(&[("astronaut", 100, 100)]);
    let person = scene.next("person", "started").await;
    assert_eq!(person["image_url"], Value::Null, "{person}");
    assert!(person["detection_id"].is_string());
    let listed = scene.world.get(&format!("{DETECTIONS}?object=person&limit=1")).await;
    assert_eq!(listed["detections"][0]["image_url"], Value::Null);

    for bad in ["limit=0", "kind=x", "detection_id=x", "cursor=x"] {
        let path = format!("{PICTURES}?{bad}");
        let (status, _) = scene.world.call(Method::GET, &path, None).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
    }
    for (query, status) in [("&boxes=perhaps", 400), ("0", 403), ("&boxes=true", 200)] {
        let answer = scene.world.client().get(format!("{link}{query}")).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{query}");
    }
    assert_eq!(scene.agent.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_before_is_kept_with_the_object() {
    let settings = json!({ "pre_roll": 9, "pre_roll_pictures": 2, "heartbeat_interval": 1 });
    let mut scene = Scene::begin(settings).await;
    let mut beats = scene.world.watch("?events=heartbeat").await;
    for _ in 0..9 {
        beats.next("heartbeat").await;
    }
    scene.show(&[("chelsea", 400, 300)]);
    let cat = scene.next("cat", "started").await;
    let id = cat["detection_id"].as_str().unwrap();
    let before = eventually("pictures of what was before", async || {
        let all = pictures(&scene.world, &format!("detection_id={id}&kind=pre_roll")).await;
        (all.len() == 2).then_some(all)
    })
    .await;
    for picture in &before {
        assert_eq!((&picture["bounding_box"], &picture["object"]), (&Value::Null, &json!("cat")));
        assert!(picture["timestamp"].as_str() <= cat["captured_at"].as_str());
        let url = picture["image_url"].as_str().unwrap();
        let image = open(&scene.world, url).await.unwrap();
        let middle = image.get_pixel(600, 450);
        assert!(middle.0.iter().all(|value| value.abs_diff(120) < 8), "the empty room: {middle:?}");
        // Nothing is known of what is in it.
        assert_eq!(open(&scene.world, &format!("{url}&boxes=true")).await.unwrap(), image);
    }
    let off = json!({ "pre_roll": 0 });
    let off = scene.world.run("cam-1", "set_config", off).await;
    assert_eq!(off["result"]["config"]["pre_roll"], 0.0, "{off}");
    scene.show(&[]);
    scene.next("cat", "ended").await;
    scene.show(&[("chelsea", 400, 300)]);
    let cat = scene.next("cat", "started").await;
    snapshot(&scene.world, &cat).await;
    let id = cat["detection_id"].as_str().unwrap();
    assert!(pictures(&scene.world, &format!("detection_id={id}&kind=pre_roll")).await.is_empty());
    for bad in [
        json!({ "pre_roll": 31 }),
        json!({ "pre_roll": "2" }),
        json!({ "pre_roll_pictures": 0 }),
        json!({ "snapshots": "yes" }),
        json!({ "snapshot_quality": 0 }),
    ] {
        let body = json!({ "command": "set_config", "parameters": bad });
        let path = "/api/kubeedge/device/cam-1/command";
        let (status, answer) = scene.world.call(Method::POST, path, Some(body)).await;
        assert_eq!((status.as_u16(), &answer["code"]), (400, &json!("API-001")), "{answer}");
    }
    assert_eq!(scene.agent.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_of_what_ended_while_cut_off_arrives_once() {
    let mut scene = Scene::begin(json!({ "stationary_interval": 1 })).await;
    scene.show(&[("chelsea", 900, 300)]);
    let cat = scene.next("cat", "started").await;
    let first = snapshot(&scene.world, &cat).await;
    scene.world.kill_hub().await;
    let summary =
        |scene: &Scene| cloudcore_agent::outbox::summary(&scene.world.node_dir("cam-1")).unwrap();
    scene.show(&[("chelsea", 780, 300)]);
    eventually("a better look", async || (summary(&scene).pictures == 1).then_some(())).await;
    scene.show(&[]);
    eventually("its end", async || (summary(&scene).waiting["detections"] >= 1).then_some(()))
        .await;
    assert_eq!(summary(&scene).pictures, 1, "the best one alone");
    let Scene { mut world, agent, .. } = scene;
    agent.kill().await;
    let agent = world.run_agent("cam-1").await;
    world.start_hub().await;
    world.online("cam-1").await;
    eventually("its end", async || {
        let listed = world.get(&format!("{DETECTIONS}?device_id=cam-1&object=cat")).await;
        listed["detections"][0]["ended_at"].is_string().then_some(())
    })
    .await;
    let best = eventually("the better picture", async || {
        let now = snapshot(&world, &cat).await;
        (now["sha256"] != first["sha256"]).then_some(now)
    })
    .await;
    assert_eq!(best["detection_id"], cat["detection_id"]);
    let all = pictures(&world, "limit=500").await;
    assert_eq!(all.len(), 1, "{all:?}");
    let waiting = eventually("nothing to wait", async || {
        let status = world.run("cam-1", "get_status", json!({})).await;
        (status["result"]["outbox"]["pictures"] == 0).then_some(status)
    })
    .await;
    assert_eq!(waiting["result"]["outbox"]["dropped"], 0);
    assert_eq!(agent.stop().await, Some(0));
}

/// Something that was seen, and ended at once.
fn seen(track_id: u64, object: &str) -> (DetectionId, Vec<Detection>) {
    let id = DetectionId::generate();
    let detection = |phase| Detection {
        track_id,
        phase,
        object: object.into(),
        confidence: 0.9,
        bounding_box: place(),
        frame_width: 640,
        frame_height: 480,
        model: "nanodet".into(),
        captured_at: Timestamp::now(),
        latency_micros: 1,
        zones: None,
        id: Some(id.clone()),
        snapshot: Some(true),
    };
    let both = vec![detection(DetectionPhase::Started), detection(DetectionPhase::Ended)];
    (id, both)
}

const fn place() -> BoundingBox {
    BoundingBox { x: 1.0, y: 2.0, width: 30.0, height: 40.0 }
}

fn picture(id: &DetectionId, kind: PictureKind, object: &str, bytes: Vec<u8>) -> ObjectPicture {
    ObjectPicture {
        captured_at: Timestamp::now(),
        bytes: bytes.into(),
        of: PictureOf {
            id: id.clone(),
            kind,
            object: object.into(),
            confidence: Some(0.9),
            bounding_box: Some(place()),
        },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_no_room_pictures_go_and_every_detection_arrives() {
    let world = World::start().await;
    let agent = world.agent("cam-1", &[]).await;
    assert_eq!(agent.stop().await, Some(0));
    let path = world.node_dir("cam-1").join("agent.toml");
    let settings = fs::read_to_string(&path).unwrap();
    fs::write(&path, settings.replace("max_mb = 256", "max_mb = 1")).unwrap();
    let limits = Limits { bytes: 1 << 20, ..Limits::default() };
    let outbox = Outbox::open_within(&world.node_dir("cam-1"), limits).unwrap();
    let (mut first, mut last) = (None, None);
    for n in 0..100_u8 {
        let (id, detections) = seen(u64::from(n) + 1, "cat");
        // The second takes the place of the first, which never left.
        for version in [0, 1] {
            let mut bytes = vec![n; 30_000];
            bytes[0] = version;
            let picture = picture(&id, PictureKind::Snapshot, "cat", bytes);
            let detections = if version == 0 { detections.clone() } else { Vec::new() };
            outbox.detections_with(detections, vec![picture]).await.unwrap();
        }
        first.get_or_insert(id.clone());
        last = Some(id);
    }
    let counts = outbox.counts();
    assert!(counts.pictures > 5 && counts.dropped == 100 - counts.pictures, "{counts:?}");
    outbox.close().await;

    let agent = world.run_agent("cam-1").await;
    let listed = eventually("all detections to arrive", async || {
        let listed = world.get(&format!("{DETECTIONS}?device_id=cam-1&limit=500")).await;
        let all = listed["detections"].as_array()?;
        (all.len() == 100 && all.iter().all(|one| one["ended_at"].is_string())).then_some(())
    });
    listed.await;
    let arrived = eventually("all pictures to arrive", async || {
        let all = pictures(&world, "limit=500").await;
        (all.len() as u64 == counts.pictures).then_some(all)
    })
    .await;
    let has = |id: &Option<DetectionId>| {
        arrived.iter().any(|one| one["detection_id"] == id.as_ref().unwrap().as_str())
    };
    assert!(has(&last) && !has(&first), "the oldest went");
    // A page ends where the limit says, and the next goes on there.
    let page = world.get(&format!("{PICTURES}?limit=3")).await;
    let next = page["next_cursor"].as_str().unwrap();
    let rest = pictures(&world, &format!("limit=500&cursor={next}")).await;
    assert_eq!(rest.len() as u64, counts.pictures - 3);
    assert_eq!(agent.stop().await, Some(0));
}

/// Files below a folder.
fn files(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let count = |entry: fs::DirEntry| {
        if entry.path().is_dir() { files(&entry.path()) } else { 1 }
    };
    entries.flatten().map(count).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_detected_is_kept_as_long_as_its_object_says() {
    let clock = tempfile::tempdir().unwrap();
    let file = clock.path().join("clock");
    let set = |offset: &str| {
        let new = file.with_extension("new");
        fs::write(&new, offset).unwrap();
        fs::rename(&new, &file).unwrap();
    };
    set("+0");
    let (library, path) = (faketime(), file.display().to_string());
    let env = [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME_TIMESTAMP_FILE", &path),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let mut world = World::start_in(&[], &env).await;
    let agent = world.agent("cam-1", &[]).await;
    assert_eq!(agent.stop().await, Some(0));
    let outbox = Outbox::open(&world.node_dir("cam-1")).unwrap();
    for (n, object) in ["person", "cat", "dog"].into_iter().enumerate() {
        // More than one batch of each.
        for track in 0..400 {
            let (id, detections) = seen(n as u64 * 1000 + track + 1, object);
            let bytes = format!("{object} {track}").into_bytes();
            let wanted = track < 3;
            let picture = wanted.then(|| picture(&id, PictureKind::Snapshot, object, bytes));
            outbox.detections_with(detections, picture.into_iter().collect()).await.unwrap();
        }
    }
    outbox.close().await;
    let agent = world.run_agent("cam-1").await;
    eventually("all pictures to arrive", async || {
        (pictures(&world, "").await.len() == 9).then_some(())
    })
    .await;
    let count = async |world: &World, object: &str| {
        world.get(&format!("{DETECTIONS}?object={object}&limit=1")).await["count"].clone()
    };
    eventually("all detections to arrive", async || {
        (count(&world, "dog").await == 400).then_some(())
    })
    .await;
    assert_eq!(agent.stop().await, Some(0));
    let blobs = world.data_dir().join("objects/blobs/cam-1");
    assert_eq!(files(&blobs), 9, "{}", blobs.display());

    set("+8d");
    world.log_in("admin", PASSWORD).await;
    let rules = json!({ "person": 30, "*": 7, "dog": 9 });
    let change = json!({ "retention": { "objects": rules } });
    let (status, changed) = world.call(Method::PUT, "/api/kubeedge/config", Some(change)).await;
    assert_eq!(status, StatusCode::OK, "{changed}");
    assert_eq!(changed["config"]["retention"]["objects"], rules);
    eventually("cats to be forgotten", async || (count(&world, "cat").await == 0).then_some(()))
        .await;
    eventually("their pictures to be removed", async || (files(&blobs) == 6).then_some(())).await;
    for (object, left, shown) in [("person", 400, 3), ("dog", 400, 3), ("cat", 0, 0)] {
        assert_eq!(count(&world, object).await, left, "{object}");
        let all = pictures(&world, "limit=500").await;
        assert_eq!(all.iter().filter(|one| one["object"] == object).count(), shown, "{object}");
    }
    // What no rule speaks of is kept as long as everything else.
    set("+31d");
    world.log_in("admin", PASSWORD).await;
    let change = json!({ "retention": { "objects": { "person": 60 } } });
    world.call(Method::PUT, "/api/kubeedge/config", Some(change)).await;
    eventually("dogs to be forgotten", async || (count(&world, "dog").await == 0).then_some(()))
        .await;
    eventually("their pictures to be removed", async || (files(&blobs) == 3).then_some(())).await;
    assert_eq!(count(&world, "person").await, 400);
    for bad in [
        json!({ "objects": { "cat": 0 } }),
        json!({ "objects": { "cat": 3651 } }),
        json!({ "objects": { "": 5 } }),
        json!({ "objects": { "cat": "7" } }),
        json!({ "object": {} }),
    ] {
        let change = json!({ "retention": bad });
        let (status, answer) = world.call(Method::PUT, "/api/kubeedge/config", Some(change)).await;
        assert_eq!((status.as_u16(), &answer["code"]), (400, &json!("API-001")), "{answer}");
    }
}
