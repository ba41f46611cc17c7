//! The API, fuzzed from its own OpenAPI document by a foreign program: no 5xx, no undocumented
//! status, no answer that the document does not describe. What it leaves out stands, with the
//! reasons, in `tests/schemathesis.toml`.

use std::{path::Path, process::Stdio};

use serde_json::json;
use tokio::{process::Command, time::timeout};

use crate::world::{PASSWORD, PATIENCE, World, cached};

/// Whoever asks; it may meet no operation that could take its own rights away by chance.
const TESTER: &str = "tester-that-nobody-guesses";

/// What stands on the page's examples, so that valid requests find something.
async fn furnish(world: &World) {
    let device = json!({
        "node_name": "edge-node-001", "device_id": "edge-device-001", "device_type": "camera",
    });
    world.post("/api/kubeedge/device/join", device).await;
}

/// Each of these would refuse the tester all that comes after it: new work, or more than a request
/// a minute. So they come last, by themselves.
const HINDERS: [&str; 2] = ["POST /api/kubeedge/maintenance/start", "PUT /api/kubeedge/config"];

/// Runs it; `role` is none for somebody whom the hub does not know.
async fn fuzz(role: Option<&str>) {
    run(role, "--exclude-name").await;
}

async fn run(role: Option<&str>, hinders: &str) {
    // A setting may ask for TLS, which has to be there for that.
    let mut world = World::start_with(&["--https", "127.0.0.1:0"]).await;
    furnish(&world).await;
    if let Some(role) = role {
        world.become_user(TESTER, role).await;
    }
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemathesis.toml");
    let mut command = Command::new(cached("venv/bin/schemathesis"));
    command.arg("--config-file").arg(config).args(["run", "--no-color", "--workers", "1"]);
    command.args(HINDERS.iter().flat_map(|name| [hinders, *name]));
    if role != Some("admin") {
        // Who may do less is told so before his request is looked at closely.
        command.args(["--phases", "examples,fuzzing"]);
    }
    if role.is_some() {
        command.args(["--header", &format!("Authorization: Bearer {}", world.token())]);
    }
    let output = command
        .arg(world.url("/api/kubeedge/openapi.json"))
        .current_dir(world.dir.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(3 * PATIENCE, output).await.expect("it ends").expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    // A line of its errors can be a whole source file.
    let readable = said.lines().map(|line| line.chars().take(400).collect::<String>());
    let readable = readable.collect::<Vec<_>>().join("\n");
    assert!(output.status.success(), "{readable}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("generated"), "it tested nothing: {said}");
    // The fuzz itself must not have cost the tester its rights: then it would have tested little.
    if role.is_some() && hinders == "--exclude-name" {
        let me = json!({ "username": TESTER, "password": PASSWORD });
        world.post("/api/auth/login", me).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_finds_only_what_the_document_says() {
    fuzz(Some("admin")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_finds_only_what_the_document_says() {
    fuzz(Some("viewer")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_finds_only_what_the_document_says() {
    fuzz(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_finds_no_more_in_what_hinders_him() {
    run(Some("admin"), "--include-name").await;
}
