//! From the hub to a node: the installer, the releases that it fetches, and updates by command.
//! How they do under systemd is `tests/edge/systemd.sh`.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use reqwest::StatusCode;
use ring::digest;
use serde_json::{Value, json};

use crate::world::{Process, World, eventually, program};

const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

/// The hub's folder of releases, and the key that signs them.
struct Downloads {
    dir: PathBuf,
    /// Where the keys are.
    keys: PathBuf,
}

impl Downloads {
    /// Of this hub, which looks there by itself.
    fn of(world: &World) -> Self {
        let (dir, keys) = (world.data_dir().join("downloads"), world.dir.path().join("keys"));
        for folder in [&dir, &keys] {
            fs::create_dir_all(folder).expect("a folder");
        }
        let downloads = Self { dir, keys };
        downloads.make_key("good");
        downloads
    }

    fn make_key(&self, name: &str) {
        let made = Command::new("minisign")
            .args(["-G", "-W", "-p"])
            .arg(self.keys.join(format!("{name}.pub")))
            .arg("-s")
            .arg(self.keys.join(format!("{name}.key")))
            .output()
            .expect("minisign is there: run `deploy/setup.sh test`");
        succeeded(&made);
    }

    /// What stands in `agent.toml`.
    fn update_key(&self) -> String {
        let text = fs::read_to_string(self.keys.join("good.pub")).expect("a key");
        text.lines().last().expect("its second line").to_owned()
    }

    fn path(&self, version: &str) -> PathBuf {
        self.dir.join(format!("cloudcore-agent-{version}-linux-{ARCHITECTURE}"))
    }

    fn signature(&self, version: &str) -> PathBuf {
        format!("{}.minisig", self.path(version).display()).into()
    }

    /// Puts a release there, signed as the operator's handbook says. It is moved into place, so
    /// that the hub never sees half of one.
    fn release(&self, version: &str, program: &[u8], key: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/sign-release.sh");
        let new = self.dir.join(".new");
        fs::write(&new, program).expect("a release");
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let signed = Command::new(script)
            .args([version, ARCHITECTURE])
            .arg(&new)
            .arg(self.keys.join(format!("{key}.key")))
            .output()
            .expect("the script");
        succeeded(&signed);
        fs::rename(self.dir.join(".new.minisig"), self.signature(version)).expect("a signature");
        fs::rename(new, self.path(version)).expect("the release");
    }
}

fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn sha256(bytes: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, bytes);
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hub_serves_an_installer_and_releases_to_anybody_and_nothing_else() {
    let world = World::start().await;
    let downloads = Downloads::of(&world);
    let anybody = async |path: &str| {
        let answer = world.client().get(world.url(path)).send().await.expect("an answer");
        let status = answer.status();
        (status, answer.bytes().await.expect("a body"))
    };
    let listed = async || {
        let (status, body) = anybody("/downloads").await;
        assert_eq!(status, StatusCode::OK);
        serde_json::from_slice::<Value>(&body).expect("JSON")
    };

    // With an empty folder there is an installer that says so.
    assert_eq!(listed().await, json!({ "total_count": 0, "releases": [] }));
    let installer = async || {
        let (status, script) = anybody("/install.sh").await;
        assert_eq!(status, StatusCode::OK);
        let path = world.dir.path().join("install.sh");
        fs::write(&path, &script).expect("a file");
        succeeded(&Command::new("sh").arg("-n").arg(&path).output().expect("a shell"));
        (path, String::from_utf8(script.to_vec()).expect("text"))
    };
    let (path, script) = installer().await;
    assert!(script.contains(&format!("hub='{}'", world.quic)), "the agents' port");
    assert!(script.contains(&format!("base='http://{}'", world.http())), "where it came from");
    // A process of somebody else than root is told what to do, and installs nothing.
    let said = Command::new("setpriv")
        .args(["--reuid=65534", "--clear-groups", "sh"])
        .arg("-s")
        .args(["--", "--token", "x"])
        .stdin(fs::File::open(&path).expect("the script"))
        .output()
        .expect("setpriv");
    assert!(!said.status.success());
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("sudo"), "no remedy: {said}");

    // The newest release of an architecture is the installer's, with its hash.
    downloads.release("0.9.0", b"older", "good");
    downloads.release("0.10.0", b"newer", "good");
    fs::write(downloads.dir.join("notes.txt"), "an operator's own").unwrap();
    fs::write(downloads.path("0.11.0-"), "no version").unwrap();
    let releases = listed().await;
    assert_eq!(releases["total_count"], 2, "{releases}");
    let newest = &releases["releases"][0];
    assert_eq!(newest["version"], "0.10.0", "{releases}");
    assert_eq!((&newest["size_bytes"], &newest["signed"]), (&json!(5), &json!(true)));
    assert_eq!(newest["sha256"], sha256(b"newer"));
    let (_, script) = installer().await;
    let line =
        format!("{ARCHITECTURE} cloudcore-agent-0.10.0-linux-{ARCHITECTURE} {}", sha256(b"newer"));
    assert!(script.contains(&line), "{line}");
    assert!(!script.contains("0.9.0"), "an old release is offered");

    // What is replaced is hashed anew, and what lost its signature says so.
    downloads.release("0.10.0", b"newer still", "good");
    fs::remove_file(downloads.signature("0.9.0")).unwrap();
    let releases = listed().await["releases"].clone();
    assert_eq!(releases[0]["sha256"], sha256(b"newer still"), "{releases}");
    assert_eq!(releases[1]["signed"], false, "{releases}");
    let file = format!("/downloads/cloudcore-agent-0.10.0-linux-{ARCHITECTURE}");
    let (status, body) = anybody(&file).await;
    assert_eq!((status, &body[..]), (StatusCode::OK, &b"newer still"[..]));
    let (status, signature) = anybody(&format!("{file}.minisig")).await;
    assert_eq!(status, StatusCode::OK);
    assert!(signature.starts_with(b"untrusted comment:"));

    // No way to any other file, also not by a link in the folder to a folder.
    symlink("/etc", downloads.path("0.12.0")).unwrap();
    symlink("nowhere", downloads.path("0.13.0")).unwrap();
    assert_eq!(listed().await["total_count"], 2);
    for path in [
        "/downloads/notes.txt",
        "/downloads/..%2F..%2Fhub.db",
        "/downloads/%2Fetc%2Fpasswd",
        "/downloads/.new",
        &format!("/downloads/cloudcore-agent-..%2F..-linux-{ARCHITECTURE}"),
        &format!("/downloads/cloudcore-agent-0.12.0-linux-{ARCHITECTURE}"),
        &format!("/downloads/cloudcore-agent-0.8.0-linux-{ARCHITECTURE}"),
        &format!("/downloads/cloudcore-agent-0.10.0-linux-{ARCHITECTURE}.minisig.minisig"),
    ] {
        let (status, body) = anybody(path).await;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        assert_eq!((status, &body["code"]), (StatusCode::NOT_FOUND, &json!("API-004")), "{path}");
    }
}

/// A member that runs what this key has signed.
async fn member(world: &World, key: Option<&str>) -> Process {
    let token = world.join_token("edge-1").await;
    let more = key.map_or_else(Vec::new, |key| vec!["--update-key", key]);
    world.join("edge-1", &token, &more).await.expect("the node joins");
    let agent = world.run_agent("edge-1").await;
    world.online("edge-1").await;
    agent
}

async fn update(world: &World, version: Option<&str>) -> Value {
    let mut body = json!({
        "command": "update_agent", "parameters": { "confirm_within": 15 }, "timeout": 120,
    });
    if let Some(version) = version {
        body["parameters"]["version"] = version.into();
    }
    let id = world.send("edge-1", body).await;
    world.ended(&id).await
}

async fn refused(world: &World, version: Option<&str>, term: &str) {
    let end = update(world, version).await;
    assert_eq!(end["status"], "failed", "{end}");
    assert!(end.to_string().contains(term), "not {term}: {end}");
    world.online("edge-1").await;
}

/// The agent itself, a small program of the same build.
fn this_agent(world: &World) -> Vec<u8> {
    let small = world.dir.path().join("agent");
    let stripped =
        Command::new("strip").arg("-o").arg(&small).arg(program("cloudcore-agent")).output();
    succeeded(&stripped.expect("binutils"));
    fs::read(small).expect("a program")
}

/// Programs of the releases that run for this world.
fn running(world: &World) -> Vec<PathBuf> {
    let releases = world.node_dir("edge-1").join("releases");
    let processes = fs::read_dir("/proc").expect("Linux").flatten();
    processes
        .filter_map(|entry| fs::read_link(entry.path().join("exe")).ok())
        .filter(|program| program.starts_with(&releases))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_runs_only_if_it_is_signed_and_newer_and_whole() {
    let world = World::start().await;
    let downloads = Downloads::of(&world);
    downloads.make_key("other");
    let agent = member(&world, Some(&downloads.update_key())).await;

    refused(&world, None, "release_unavailable").await;
    downloads.release("0.2.0", b"#!/bin/sh\n", "other");
    refused(&world, Some("0.2.0"), "bad_signature").await;
    // Half of it.
    downloads.release("0.2.0", b"#!/bin/sh\nexit 0\n", "good");
    fs::write(downloads.path("0.2.0"), b"#!/bin/sh\nex").unwrap();
    refused(&world, Some("0.2.0"), "bad_signature").await;
    // The name says more than the signature.
    downloads.release("0.0.9", b"#!/bin/sh\n", "good");
    fs::copy(downloads.path("0.0.9"), downloads.path("0.3.0")).unwrap();
    fs::copy(downloads.signature("0.0.9"), downloads.signature("0.3.0")).unwrap();
    refused(&world, Some("0.3.0"), "bad_signature").await;
    refused(&world, Some("0.0.9"), "not_newer").await;
    assert!(running(&world).is_empty());
    assert!(!world.node_dir("edge-1").join("releases/incoming").exists(), "what was refused stays");
    assert_eq!(agent.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_update_key_nothing_is_updated() {
    let world = World::start().await;
    let downloads = Downloads::of(&world);
    downloads.release("0.2.0", b"#!/bin/sh\n", "good");
    let agent = member(&world, None).await;
    refused(&world, None, "not_allowed").await;
    assert_eq!(agent.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_fails_is_rolled_back_and_a_good_one_stays() {
    let world = World::start().await;
    let downloads = Downloads::of(&world);
    let agent = member(&world, Some(&downloads.update_key())).await;
    let pid = agent.pid();

    downloads.release("0.2.0", b"#!/bin/sh\nexit 1\n", "good");
    refused(&world, None, "rolled_back").await;
    downloads.release("0.2.1", b"#!/bin/sh\nsleep 1000\n", "good");
    refused(&world, None, "rolled_back").await;
    downloads.release("0.2.2", b"this is no program", "good");
    refused(&world, None, "rolled_back").await;
    assert!(running(&world).is_empty());

    downloads.release("0.3.0", &this_agent(&world), "good");
    let end = update(&world, None).await;
    assert_eq!(
        (&end["status"], &end["result"]["version"]),
        (&json!("completed"), &json!("0.3.0")),
        "{end}"
    );
    world.online("edge-1").await;
    assert_eq!(agent.pid(), pid, "the service manager sees one process all the time");
    assert!(!running(&world).is_empty(), "the release runs");
    let end = world.run("edge-1", "restart_agent", json!({})).await;
    assert_eq!(end["status"], "completed", "{end}");
    world.online("edge-1").await;
    let end = world.run("edge-1", "get_status", json!({})).await;
    assert_eq!(end["status"], "completed", "{end}");
    assert!(!running(&world).is_empty(), "it still runs");
    // What failed is older now, and what is not newer is not tried again.
    refused(&world, Some("0.2.1"), "not_newer").await;

    // A release that was changed on the node's disk is not run.
    agent.kill().await;
    eventually("the release to end", async || running(&world).is_empty().then_some(())).await;
    let path = world.node_dir("edge-1").join("releases/0.3.0/cloudcore-agent");
    let mut bytes = fs::read(&path).unwrap();
    bytes.push(0);
    fs::write(&path, bytes).unwrap();
    let agent = world.run_agent("edge-1").await;
    world.online("edge-1").await;
    assert!(running(&world).is_empty());
    assert_eq!(agent.stop().await, Some(0));
}
