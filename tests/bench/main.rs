//! The benchmark: `make bench`. Each figure is a ratio to a peer that was measured in the same
//! run, on the same machine, so that it means something elsewhere.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a measuring program that is surprised has nothing to report"
)]

mod echo;
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
    process::Command,
    time::{Duration, Instant},
};

use cloudcore_agent::detect::{Detector, bench};
use serde_json::{Value, json};
use world::{World, cached};

/// Frames of a detection round, and rounds; ours and the peer's alternate.
const FRAMES: u32 = 20;
const ROUNDS: usize = 3;
/// Commands, one after another.
const COMMANDS: usize = 300;
/// How long an idle agent is watched.
const IDLE: Duration = Duration::from_secs(60);
/// Echoes, one after another.
const ECHOES: usize = 3000;

fn main() {
    detection();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(commands());
    runtime.block_on(footprint());
}

/// An agent's file, and what it takes of a machine, beside what it may take and what others do.
struct Figures {
    what: &'static str,
    unit: &'static str,
    ours: f64,
    target: f64,
}

/// How large the released agent is, idle and watching: `make bench` has built it with all that it
/// can do, and without the optional parts.
async fn footprint() {
    let mut world = World::start().await;
    let release = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release");
    let whole = format!("{release}/cloudcore-agent");
    let small = format!("{release}/cloudcore-agent-small");
    let picture = format!("file://{}", cached("photos/astronaut.png").display());
    let model = cached("models/nanodet.json").display().to_string();
    world.agents_by = vec![small.clone()];
    let bare = world.agent("bare", &["--heartbeat-interval", "10"]).await;
    world.agents_by = vec![whole.clone()];
    let idle = world.agent("idle", &["--heartbeat-interval", "10"]).await;
    let watching = world.agent("watching", &["--camera", &picture, "--model", &model]).await;
    let started = world.run("watching", "start_detection", json!({})).await;
    assert_eq!(started["status"], "completed", "{started}");
    let before = processor_time(idle.pid());
    tokio::time::sleep(IDLE).await;
    let used = (processor_time(idle.pid()) - before) / IDLE.as_secs_f64() * 100.0;
    let (resident, own) = memory(idle.pid());
    let (bare_resident, bare_own) = memory(bare.pid());
    let model = children(watching.pid());
    assert_eq!(model.len(), 1, "the model's process");
    let with_model = memory(watching.pid()).0 + memory(model[0]).0;
    let size = |path: &str| std::fs::metadata(path).expect("a release build").len() as f64 / 1e6;
    let figure = |what, unit, ours, target| Figures { what, unit, ours, target };
    println!("agent, released; idle is joined, a heartbeat every 10 s, no camera, no model");
    for Figures { what, unit, ours, target } in [
        figure("file", "MB", size(&whole), 20.0),
        figure("file, no features", "MB", size(&small), 8.0),
        figure("idle, resident", "MB", resident, 8.0),
        figure("  of it anonymous", "MB", own, 2.0),
        figure("no features, resident", "MB", bare_resident, 8.0),
        figure("  of it anonymous", "MB", bare_own, 2.0),
        figure("with NanoDet, resident", "MB", with_model, 75.0),
        figure("idle, of a core", "%", used, 0.2),
    ] {
        let verdict = if ours <= target { "" } else { "  MORE" };
        println!("  {what:<22}{ours:8.2} {unit:<2} of at most {target}{verdict}");
    }
    // Measured on Debian 12, amd64: thin-edge.io's tedge-agent, connected to a broker and idle.
    println!("  tedge-agent               20.3 MB resident, 2.9 MB anonymous, 21 MB file");
    // What https://kubeedge.io says of EdgeCore.
    println!("  KubeEdge's EdgeCore       70 MB, as its authors say");
    for agent in [bare, idle, watching] {
        assert_eq!(agent.stop().await, Some(0));
    }
}

/// Resident memory, and what of it is no file's, megabytes.
fn memory(pid: u32) -> (f64, f64) {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("it runs");
    let field = |name: &str| {
        let line = maps.lines().find_map(|line| line.strip_prefix(name)).expect("a field");
        line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") * 1024.0 / 1e6
    };
    (field("Rss:"), field("Anonymous:"))
}

/// Seconds of a processor that a process has used.
fn processor_time(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, rest) = stat.rsplit_once(") ").expect("a name");
    let fields: Vec<&str> = rest.split(' ').collect();
    // utime and stime, in hundredths of a second.
    [11, 12].iter().map(|at| fields[*at].parse::<f64>().expect("a number")).sum::<f64>() / 100.0
}

fn children(parent: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_child = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line == format!("PPid:\t{parent}"))
    };
    pids.filter(is_child).collect()
}

fn detection() {
    let detector = Detector::load(cached("models/nanodet.json")).expect("the model");
    let frame = image::open(cached("photos/astronaut.png")).expect("a picture").to_rgb8();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let (mut ours, mut theirs, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let report = bench(&detector, &frame, FRAMES).expect("detections");
        ours.push(report.infer_min_ms);
        whole.push(report.median_ms);
        let output = Command::new(format!("{root}/.cache/venv/bin/python"))
            .arg(format!("{root}/tests/bench/ort_detect.py"))
            .args(["--frames", &FRAMES.to_string(), "--threads", "1"])
            .output()
            .expect("Python");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
        theirs.push(report["infer_min_ms"].as_f64().expect("a number"));
    }
    let least = |times: &[f64]| times.iter().copied().fold(f64::INFINITY, f64::min);
    let (ours, theirs) = (least(&ours), least(&theirs));
    println!(
        "detection, NanoDet 416x416, one thread, fastest of {} frames",
        FRAMES as usize * ROUNDS
    );
    println!("  model alone           {ours:8.2} ms");
    println!("  ONNX Runtime, same    {theirs:8.2} ms");
    println!("  ratio                 {:8.2} x", ours / theirs);
    println!("  frame to objects      {:8.2} ms", least(&whole));
}

async fn commands() {
    let world = World::start().await;
    let agent = world.agent("edge-1", &[]).await;
    let mut watch = world.watch("?events=command_result").await;
    let (mut trips, mut echoes) = (Vec::new(), Vec::new());
    let mut echo = echo::Echo::start().await;
    for round in 0..=ROUNDS {
        for _ in 0..COMMANDS / ROUNDS {
            let begun = Instant::now();
            let id = world.send("edge-1", json!({ "command": "get_status" })).await;
            while watch.next("command_result").await["command_id"] != id {}
            trips.push(begun.elapsed());
        }
        for _ in 0..ECHOES / ROUNDS {
            echoes.push(echo.round_trip().await);
        }
        if round == 0 {
            // Warm by now.
            trips.clear();
            echoes.clear();
        }
    }
    let (trip, echo) = (median(&mut trips), median(&mut echoes));
    println!("command round trip: API, commit, agent, its commits, commit, event stream");
    println!("  median of {COMMANDS}         {:8.2} ms", trip * 1e3);
    println!("  99 %                  {:8.2} ms", at(&trips, 0.99) * 1e3);
    println!("  bare quinn echo       {:8.2} ms", echo * 1e3);
    println!("  ratio                 {:8.1} x", trip / echo);
    agent.stop().await;
}

fn at(sorted: &[Duration], part: f64) -> f64 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index of a short list"
    )]
    let index = (sorted.len() as f64 * part) as usize;
    sorted[index.min(sorted.len() - 1)].as_secs_f64()
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    at(times, 0.5)
}
