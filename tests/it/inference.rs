//! Models run in a process of their own: what one breaks is that process.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::json;
use tokio::time::Instant;

use crate::world::{World, cached, eventually};

fn hostile(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("reference/hostile").join(name)
}

fn camera() -> String {
    format!("file://{}?fps=5", cached("photos/astronaut.png").display())
}

async fn set_model(world: &World, node: &str, model: &Path) {
    let path = world.node_dir(node).join("agent.toml");
    let text = tokio::fs::read_to_string(&path).await.unwrap();
    let mut settings: toml::Table = text.parse().unwrap();
    settings.insert("model".into(), model.display().to_string().into());
    tokio::fs::write(path, settings.to_string()).await.unwrap();
}

/// The model's process of this agent.
fn child_of(agent: u32) -> Option<nix::unistd::Pid> {
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // pid (name) state parent …; a name may hold anything.
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        if rest.split(' ').nth(1) == Some(agent.to_string().as_str()) {
            return entry.file_name().to_str()?.parse().ok().map(nix::unistd::Pid::from_raw);
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_model_is_refused_in_time() {
    let world = World::start().await;
    let token = world.join_token("cam-1").await;
    world.join("cam-1", &token, &["--camera", &camera()]).await.unwrap();
    let whole = std::fs::read(cached("models/nanodet.onnx")).unwrap();
    let cut = world.dir.path().join("cut");
    std::fs::create_dir(&cut).unwrap();
    let bytes = &whole[..whole.len() / 2];
    let hash = ring::digest::digest(&ring::digest::SHA256, bytes);
    let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let description = std::fs::read_to_string(cached("models/nanodet.json")).unwrap();
    let mut description: serde_json::Value = serde_json::from_str(&description).unwrap();
    description["sha256"] = hash.into();
    std::fs::write(cut.join("nanodet.json"), description.to_string()).unwrap();
    std::fs::write(cut.join("nanodet.onnx"), bytes).unwrap();

    let models = ["huge", "cyclic", "long", "deep", "nested"];
    let models = models.iter().map(|name| hostile(&format!("{name}.json")));
    for model in models.chain([cut.join("nanodet.json")]) {
        set_model(&world, "cam-1", &model).await;
        let agent = world.run_agent("cam-1").await;
        let begun = Instant::now();
        let body = json!({ "command": "start_detection", "timeout": 90 });
        let id = world.send("cam-1", body).await;
        let ended = world.ended(&id).await;
        assert_eq!(ended["status"], "failed", "{}: {ended}", model.display());
        assert_eq!(ended["result"]["error"], "model_unavailable", "{ended}");
        assert!(begun.elapsed() < Duration::from_secs(75), "{}", model.display());
        // The agent lives on, and holds nothing of it.
        let status = world.run("cam-1", "get_status", json!({})).await;
        assert_eq!(status["status"], "completed");
        let used = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
        let peak = used.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(peak < 200_000, "{}: {peak} kB", model.display());
        eventually("its process to be gone", async || {
            child_of(agent.pid()).is_none().then_some(())
        })
        .await;
        assert_eq!(agent.stop().await, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_models_process_that_dies_is_started_again() {
    let world = World::start().await;
    let camera = format!("file://{}?fps=5", cached("photos").display());
    let model = cached("models/nanodet.json").display().to_string();
    let agent = world.agent("cam-1", &["--camera", &camera, "--model", &model]).await;
    let started =
        world.run("cam-1", "start_detection", json!({ "confidence": 0.25, "interval": 0.2 })).await;
    assert_eq!(started["status"], "completed", "{started}");
    let mut watch = world.watch("?events=detection,alert&device_id=cam-1").await;
    watch.next("detection").await;
    for _ in 0..2 {
        let child = child_of(agent.pid()).expect("the model's process");
        nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL).unwrap();
        let told = watch.next("alert").await;
        assert_eq!((&told["type"], &told["active"]), (&json!("detection_failed"), &json!(true)));
        assert!(told["message"].as_str().unwrap().contains("signal: 9"), "{told}");
        let told = watch.next("alert").await;
        assert_eq!((&told["type"], &told["active"]), (&json!("detection_failed"), &json!(false)));
        watch.next("detection").await;
    }
    // It goes with the agent, however that ends.
    let child = child_of(agent.pid()).expect("the model's process");
    agent.kill().await;
    eventually("the model's process to be gone", async || {
        nix::sys::signal::kill(child, None).is_err().then_some(())
    })
    .await;
}
