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
/// Echoes, one after another.
const ECHOES: usize = 3000;

fn main() {
    detection();
    tokio::runtime::Runtime::new().expect("a runtime").block_on(commands());
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
