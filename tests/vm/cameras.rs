//! V4L2 cameras: `make test-edge`. A guest with two of the kernel's own test cameras (vivid) runs
//! the agent; the hub is on this machine.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that is surprised has failed"
)]

mod guest;
#[path = "../it/postgres.rs"]
#[allow(dead_code, reason = "the stories use more of it")]
mod postgres;
#[path = "../it/volume.rs"]
#[allow(dead_code, reason = "the stories use more of it")]
mod volume;
#[path = "../it/world.rs"]
#[allow(dead_code, reason = "the stories use more of it")]
mod world;

use guest::Guest;
use image::{RgbImage, load_from_memory};
use serde_json::{Value, json};
use tokio::time::Instant;
use world::{World, cached, eventually, program};

const NODE: &str = "vm-1";
/// vivid's bars at 75 %, left to right.
const BARS: [[u8; 3]; 8] = [
    [191, 191, 191],
    [191, 191, 0],
    [0, 191, 191],
    [0, 191, 0],
    [191, 0, 191],
    [191, 0, 0],
    [0, 0, 191],
    [0, 0, 0],
];

#[tokio::main]
async fn main() {
    let begun = Instant::now();
    let world = World::start().await;
    let agent = [program("cloudcore-agent")];
    // Webcams, and nothing of the radio and television that vivid plays as well.
    let vivid = "n_devs=2 node_types=0x1,0x1 num_inputs=1,1 input_types=0x0,0x0 vid_cap_nr=0,1";
    let modules = [("e1000", ""), ("vivid", vivid)];
    let mut guest = Guest::boot(&cached("vm/kernel"), &modules, &agent).await;
    println!("booted after {:.1?}", begun.elapsed());
    let token = world.join_token(NODE).await;
    let port = world.quic.rsplit_once(':').expect("a port").1;
    let join = format!(
        "CLOUDCORE_TOKEN={token} cloudcore-agent join --data-dir /data \
         --cloudcore-ipport 10.0.2.2:{port} --edgenode-name {NODE} --no-service"
    );
    guest.must(&join).await;
    guest.must("cloudcore-agent run --data-dir /data > /agent.log 2>&1 &").await;
    world.online(NODE).await;
    println!("joined after {:.1?}", begun.elapsed());

    the_command_line(&mut guest).await;
    every_format(&world).await;
    sizes(&world).await;
    println!("captured after {:.1?}", begun.elapsed());
    unplugged(&world, &mut guest).await;
    println!("all done after {:.1?}", begun.elapsed());
}

fn url(device: usize, query: &str) -> String {
    format!("v4l2:///dev/video{device}{query}")
}

async fn use_camera(world: &World, url: &str) {
    let set = world.run(NODE, "set_config", json!({ "camera": url })).await;
    assert_eq!(set["status"], "completed", "{set}");
}

async fn picture(world: &World) -> Result<RgbImage, Value> {
    let ended = world.run(NODE, "capture_image", json!({ "format": "png" })).await;
    if ended["status"] != "completed" {
        return Err(ended);
    }
    let url = ended["result"]["image_url"].as_str().expect("a URL");
    let file = world.client().get(url).send().await.expect("the hub answers");
    Ok(load_from_memory(&file.bytes().await.expect("a picture")).expect("a picture").into_rgb8())
}

/// The bars in their order, below the text that vivid writes over them.
fn assert_bars(picture: &RgbImage, what: &str) {
    let (width, height) = picture.dimensions();
    let y = height - 4;
    for (bar, colour) in BARS.iter().enumerate() {
        let x = (width * u32::try_from(2 * bar + 1).expect("few")) / 16;
        let pixel = picture.get_pixel(x, y).0;
        let close = pixel.iter().zip(colour).all(|(is, wanted)| is.abs_diff(*wanted) < 40);
        assert!(close, "{what}: bar {bar} is {pixel:?}, not {colour:?}");
    }
}

async fn the_command_line(guest: &mut Guest) {
    for device in 0..2 {
        let url = url(device, "?width=640&height=360");
        let said =
            guest.must(&format!("cloudcore-agent capture --camera '{url}' --out /tmp/x.jpg")).await;
        let line = said.lines().find(|line| line.starts_with('{')).expect("a line of JSON");
        let said: Value = serde_json::from_str(line).expect("JSON");
        let size = (&said["camera_width"], &said["camera_height"]);
        assert_eq!(size, (&json!(640), &json!(360)), "camera {device}");
    }
}

async fn every_format(world: &World) {
    for format in ["yuyv", "nv12", "rgb", "bgr"] {
        for device in 0..2 {
            use_camera(world, &url(device, &format!("?width=640&height=360&format={format}")))
                .await;
            let taken = picture(world).await.expect(format);
            assert_eq!(taken.dimensions(), (640, 360), "{format}");
            assert_bars(&taken, format);
        }
    }
    // What the device has not is an error, and no hang.
    for format in ["mjpeg", "gray"] {
        use_camera(world, &url(0, &format!("?format={format}"))).await;
        let failed = picture(world).await.expect_err(format);
        assert_eq!(failed["result"]["error"], "camera_unavailable", "{failed}");
    }
}

async fn sizes(world: &World) {
    for (query, size) in [
        ("?width=320&height=180", (320, 180)),
        ("?width=640&height=480", (640, 480)),
        // Not one of the device's: the closest.
        ("?width=650&height=370", (640, 360)),
    ] {
        use_camera(world, &url(1, query)).await;
        let taken = picture(world).await.expect(query);
        assert_eq!(taken.dimensions(), size, "{query}");
        assert_bars(&taken, query);
    }
}

/// The camera goes while it is in use, and comes back.
async fn unplugged(world: &World, guest: &mut Guest) {
    use_camera(world, &url(0, "?width=640&height=360")).await;
    picture(world).await.expect("a camera");
    guest.must("echo vivid.0 > /sys/bus/platform/drivers/vivid/unbind").await;
    let failed = picture(world).await.expect_err("no camera");
    assert_eq!(failed["result"]["error"], "camera_unavailable", "{failed}");
    let alert = async || {
        let alerts = world.get("/api/kubeedge/alerts?active=true&type=camera_lost").await;
        alerts["count"] == 1
    };
    eventually("the alert", async || alert().await.then_some(())).await;
    guest.must("test ! -e /dev/video0").await;
    guest.must("echo vivid.0 > /sys/bus/platform/drivers/vivid/bind").await;
    guest.must("test -e /dev/video0").await;
    eventually("the alert to end", async || (!alert().await).then_some(())).await;
    let taken = picture(world).await.expect("the camera is back");
    assert_bars(&taken, "after it came back");
}
