//! What of a camera's picture matters: zones, masks, filters, set while it watches.

use std::path::{Path, PathBuf};

use image::{RgbImage, imageops};
use serde_json::{Value, json};

use crate::world::{Process, Watch, World, cached};

const SIZE: (u32, u32) = (1280, 720);

/// A picture of an empty room with these photographs in it, each at its place.
fn room(things: &[(&str, i64, i64)]) -> RgbImage {
    let mut room = RgbImage::from_pixel(SIZE.0, SIZE.1, image::Rgb([120, 120, 120]));
    for (photograph, x, y) in things {
        let thing = image::open(cached(&format!("photos/{photograph}.png"))).unwrap().into_rgb8();
        imageops::replace(&mut room, &thing, *x, *y);
    }
    room
}

pub struct Scene {
    pub world: World,
    picture: PathBuf,
    pub agent: Process,
    pub watch: Watch,
}

impl Scene {
    /// A camera that shows an empty room, and watches with these settings.
    pub async fn begin(settings: Value) -> Self {
        let world = World::start().await;
        let picture = world.dir.path().join("room.png");
        show(&picture, &[]);
        let camera = format!("file://{}", picture.display());
        let model = cached("models/nanodet.json").display().to_string();
        let agent = world.agent("cam-1", &["--camera", &camera, "--model", &model]).await;
        let set = world.run("cam-1", "set_config", settings).await;
        assert_eq!(set["status"], "completed", "{set}");
        let how = json!({ "confidence": 0.4, "interval": 0.1 });
        let started = world.run("cam-1", "start_detection", how).await;
        assert_eq!(started["status"], "completed", "{started}");
        let watch = world.watch("?events=detection&device_id=cam-1").await;
        Self { world, picture, agent, watch }
    }

    pub fn show(&self, things: &[(&str, i64, i64)]) {
        show(&self.picture, things);
    }

    pub async fn next(&mut self, object: &str, phase: &str) -> Value {
        let seen = self.watch.next("detection").await;
        assert_eq!((&seen["object"], &seen["phase"]), (&json!(object), &json!(phase)), "{seen}");
        seen
    }
}

/// Replaces the picture at once: a camera shows no half of one.
fn show(picture: &Path, things: &[(&str, i64, i64)]) {
    let next = picture.with_extension("next.png");
    room(things).save(&next).unwrap();
    std::fs::rename(next, picture).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_told_with_its_zones_and_outside_of_them_not_at_all() {
    let zones = json!([
        { "name": "left", "points": [[0, 0], [0.45, 0], [0.45, 1], [0, 1]], "objects": ["cat"] },
        { "name": "nowhere", "points": [[0, 0], [0.1, 0], [0.1, 0.1]] },
    ]);
    let mut scene = Scene::begin(json!({ "zones": zones, "only_in_zones": true })).await;
    // Both are there; the person stands in no zone of hers.
    scene.show(&[("chelsea", 40, 300), ("astronaut", 720, 150)]);
    let cat = scene.next("cat", "started").await;
    assert_eq!(cat["zones"], json!(["left"]));
    let place = &cat["bounding_box"];
    assert!(place["x"].as_f64().unwrap() < 500.0 && place["y"].as_f64().unwrap() >= 250.0, "{cat}");
    scene.show(&[]);
    let gone = scene.next("cat", "ended").await;
    assert_eq!((&gone["track_id"], &gone["zones"]), (&cat["track_id"], &json!(["left"])));

    // Without zones she counts, from now on, and the cat with her.
    let set = json!({ "zones": [], "only_in_zones": false, "objects": ["person"] });
    let set = scene.world.run("cam-1", "set_config", set).await;
    assert_eq!(set["result"]["config"]["objects"], json!(["person"]), "{set}");
    scene.show(&[("chelsea", 40, 300), ("astronaut", 720, 150)]);
    let person = scene.next("person", "started").await;
    assert_eq!(person["zones"], json!([]));
    assert_eq!(scene.agent.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_moves_behind_a_mask_is_not_looked_at() {
    // What happens on the right is somebody else's.
    let masks = json!([[[0.5, 0], [1, 0], [1, 1], [0.5, 1]]]);
    let mut scene = Scene::begin(json!({ "masks": masks, "stationary_interval": 86_400 })).await;
    scene.show(&[("astronaut", 720, 150)]);
    // A few heartbeats later nobody has been seen; then the cat is, on the left.
    scene.world.run("cam-1", "set_config", json!({ "heartbeat_interval": 0.5 })).await;
    let mut beats = scene.world.watch("?events=heartbeat").await;
    for _ in 0..4 {
        beats.next("heartbeat").await;
    }
    scene.show(&[("chelsea", 40, 300), ("astronaut", 720, 150)]);
    scene.next("cat", "started").await;
    assert_eq!(scene.agent.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stands_in_an_object_mask_is_not_told_of() {
    let right = json!([[0.5, 0], [1, 0], [1, 1], [0.5, 1]]);
    let masks = json!([{ "points": right, "objects": ["person"] }]);
    let settings = json!({ "object_masks": masks, "stationary_interval": 0.2 });
    let mut scene = Scene::begin(settings).await;
    scene.show(&[("astronaut", 720, 150)]);
    // A few heartbeats later she has not been seen, though something moved.
    scene.world.run("cam-1", "set_config", json!({ "heartbeat_interval": 0.5 })).await;
    let mut beats = scene.world.watch("?events=heartbeat").await;
    for _ in 0..4 {
        beats.next("heartbeat").await;
    }
    scene.show(&[("chelsea", 720, 300)]);
    scene.next("cat", "started").await;
    scene.show(&[("astronaut", 720, 150)]);
    scene.next("cat", "ended").await;

    // From now on she counts, and does not have to move for that. A mask of motion, on the other
    // hand, hides nobody from a look at all of the frame.
    let all = json!([[0, 0], [1, 0], [1, 1], [0, 1]]);
    let set = json!({ "object_masks": [], "masks": [all] });
    let set = scene.world.run("cam-1", "set_config", set).await;
    assert_eq!(set["result"]["config"]["object_masks"], json!([]), "{set}");
    scene.next("person", "started").await;
    assert_eq!(scene.agent.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_scenes_are_refused_whole() {
    let world = World::start().await;
    let agent = world.agent("cam-1", &[]).await;
    for bad in [
        json!({ "zones": [{ "name": "a", "points": [[0, 0], [1, 1]] }] }),
        json!({ "zones": [{ "name": "a", "points": [[0, 0], [1, 1], [0, 2]] }] }),
        json!({ "zones": [{ "name": "", "points": [[0, 0], [1, 1], [0, 1]] }] }),
        json!({ "masks": vec![json!([[0, 0], [1, 1], [0, 1]]); 33] }),
        json!({ "object_masks": vec![json!({ "points": [[0, 0], [1, 1], [0, 1]] }); 33] }),
        json!({ "object_masks": [[[0, 0], [1, 1], [0, 1]]] }),
        json!({ "filters": [{ "object": "cat", "confidence": 2 }] }),
        json!({ "objects": "cat" }),
        json!({ "stationary_interval": 0 }),
        json!({ "objects": ["dog"], "zones": [{}] }),
    ] {
        let body = json!({ "command": "set_config", "parameters": bad });
        let path = "/api/kubeedge/device/cam-1/command";
        let (status, answer) = world.call(reqwest::Method::POST, path, Some(body)).await;
        assert_eq!((status.as_u16(), &answer["code"]), (400, &json!("API-001")), "{bad}: {answer}");
    }
    let status = world.run("cam-1", "get_status", json!({})).await;
    assert_eq!(status["result"]["config"]["objects"], json!([]));
    drop(agent);
}
