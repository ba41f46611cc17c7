//! The agent for a 64-bit Raspberry Pi: `make test-arm`. It runs here by qemu-user, and the hub
//! is a native one. Told a path, this runs that program, say a release, instead of the one that
//! `deploy/cross.sh` has built without optimising it for size.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that is surprised has failed"
)]

#[path = "../it/postgres.rs"]
#[allow(dead_code, reason = "the stories use more of it")]
mod postgres;
#[path = "../it/volume.rs"]
#[allow(dead_code, reason = "the stories use more of it")]
mod volume;
#[path = "../it/world.rs"]
#[allow(dead_code, reason = "the stories use more of it")]
mod world;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use world::{Watch, World, cached};

const NODE: &str = "pi-1";
const EMULATOR: &str = "/usr/bin/qemu-aarch64-static";
/// Where Debian's cross compilers keep the target's C library.
const SYSROOT: &str = "/usr/aarch64-linux-gnu";
/// How long an object may take to be seen: an emulated model needs seconds for a frame.
const SEEN: Duration = Duration::from_secs(300);

/// A program that the node's owner lists.
const PROGRAMS: &str = r#"
[exec.greet]
argv = ["printf", "%s", "{whom}"]
parameters.whom = "[a-z]+"
"#;

#[tokio::main]
async fn main() {
    let begun = Instant::now();
    let agent = std::env::args_os().nth(1).map_or_else(
        || {
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../target/aarch64-unknown-linux-gnu/debug/cloudcore-agent")
        },
        PathBuf::from,
    );
    assert_arm64(&agent);
    let mut world = World::start().await;
    world.agents_by = emulated(&agent, world.dir.path());

    let model = cached("models/nanodet.json").display().to_string();
    let token = world.join_token(NODE).await;
    let join = ["--camera", &photograph("astronaut"), "--model", &model];
    world.join(NODE, &token, &join).await.expect("the node joins");
    let settings = world.node_dir(NODE).join("agent.toml");
    let text = std::fs::read_to_string(&settings).expect("a member has settings");
    std::fs::write(&settings, text + PROGRAMS).expect("settings");
    let agent = world.run_agent(NODE).await;
    world.online(NODE).await;
    println!("joined after {:.1?}", begun.elapsed());

    commands(&world).await;
    println!("answered commands after {:.1?}", begun.elapsed());
    let mut watch = world.watch("").await;
    detects(&world, &mut watch).await;
    println!("saw a person, a cat and a cup after {:.1?}", begun.elapsed());

    // What is asked while it is dead is answered when it is back, and it looks on by itself.
    agent.kill().await;
    world.offline(NODE).await;
    let body = json!({ "command": "get_status", "timeout": 120 });
    let waiting = world.send(NODE, body).await;
    let mut watch = world.watch("").await;
    let agent = world.run_agent(NODE).await;
    let ended = world.ended(&waiting).await;
    assert_eq!(ended["status"], "completed", "{ended}");
    sees(&mut watch, "cup").await;
    assert_eq!(agent.stop().await, Some(0));
    world.offline(NODE).await;
    println!("all done after {:.1?}", begun.elapsed());
}

fn photograph(name: &str) -> String {
    format!("file://{}", cached(&format!("photos/{name}.png")).display())
}

fn assert_arm64(program: &Path) {
    let bytes = std::fs::read(program).unwrap_or_else(|error| {
        panic!("{}: {error}: run `deploy/cross.sh`", program.display());
    });
    // The ELF header's e_machine is EM_AARCH64.
    assert_eq!(bytes[18..20], [183, 0], "{} is for another machine", program.display());
    println!("{} bytes: {}", bytes.len(), program.display());
}

/// The line that runs an arm64 program here, and has it start others of its kind.
fn emulated(program: &Path, dir: &Path) -> Vec<String> {
    let preload = dir.join("spawn.so").display().to_string();
    let compiled = Command::new("aarch64-linux-gnu-gcc")
        .args(["-shared", "-fPIC", "-O1", "-o", &preload])
        .arg(format!("-DQEMU=\"{EMULATOR}\""))
        .arg(format!("-DSYSROOT=\"{SYSROOT}\""))
        .arg(format!("-DPRELOAD=\"{preload}\""))
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/arm/spawn.c"))
        .status()
        .expect("a compiler for arm64: run `deploy/setup.sh edge`");
    assert!(compiled.success());
    let program = program.display().to_string();
    let preload = format!("LD_PRELOAD={preload}");
    [EMULATOR, "-L", SYSROOT, "-E", &preload, &program].map(str::to_owned).to_vec()
}

async fn completed(world: &World, command: &str, parameters: Value) -> Value {
    let mut ended = world.run(NODE, command, parameters).await;
    assert_eq!(ended["status"], "completed", "{ended}");
    ended["result"].take()
}

async fn commands(world: &World) {
    let status = completed(world, "get_status", json!({})).await;
    assert!(status["memory_used_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{status}");
    completed(world, "ping", json!({})).await;
    let said = completed(world, "exec", json!({ "name": "greet", "parameters": { "whom": "pi" } }));
    let said = said.await;
    assert_eq!((&said["exit_code"], &said["stdout"]), (&json!(0), &json!("pi")), "{said}");
    let taken = completed(world, "capture_image", json!({ "format": "png" })).await;
    let url = taken["image_url"].as_str().expect("a URL");
    let file = world.client().get(url).send().await.expect("the hub answers");
    let file = file.bytes().await.expect("a picture");
    let taken = image::load_from_memory(&file).expect("a picture").into_rgb8();
    let known = image::open(cached("photos/astronaut.png")).expect("a photograph").into_rgb8();
    assert!(taken == known, "a PNG of a photograph is the photograph");
    let refused = world.run(NODE, "exec", json!({ "name": "rm", "parameters": {} })).await;
    assert_eq!(refused["result"]["error"], "not_allowed", "{refused}");
}

async fn detects(world: &World, watch: &mut Watch) {
    let how = json!({ "confidence": 0.25, "interval": 0.5 });
    let body = json!({ "command": "start_detection", "parameters": how, "timeout": 300 });
    let id = world.send(NODE, body).await;
    sees(watch, "person").await;
    let started = world.ended(&id).await;
    assert_eq!(started["status"], "completed", "{started}");
    for (name, object) in [("chelsea", "cat"), ("coffee", "cup")] {
        completed(world, "set_config", json!({ "camera": photograph(name) })).await;
        sees(watch, object).await;
    }
}

/// Waits until an object comes into view.
async fn sees(watch: &mut Watch, object: &str) {
    let come = async {
        loop {
            let told = watch.any().await;
            if told["event"] == "detection"
                && told["object"] == object
                && told["phase"] == "started"
            {
                break;
            }
            assert_ne!(told["type"], "detection_failed", "{told}");
            assert!(told["event"] != "command_result" || told["status"] == "completed", "{told}");
        }
    };
    timeout(SEEN, come).await.unwrap_or_else(|_| panic!("no {object} was seen"));
}
