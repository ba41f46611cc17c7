//! Looking into a device: its own log, programs and files that its owner lists, and nothing else.

use std::{fs, os::unix::fs::symlink, time::Duration};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::world::{PATIENCE, World, eventually};

/// A member whose owner has written more into its settings.
async fn member(world: &World, node: &str, more: &str) -> crate::world::Process {
    let token = world.join_token(node).await;
    world.join(node, &token, &[]).await.expect("the node joins");
    let path = world.node_dir(node).join("agent.toml");
    let settings = fs::read_to_string(&path).unwrap();
    let (keys, tables) = more
        .split_once("\n[")
        .map_or((more, String::new()), |(keys, tables)| (keys, format!("\n[{tables}")));
    fs::write(&path, format!("{keys}\n{settings}{tables}")).unwrap();
    let agent = world.run_agent(node).await;
    world.online(node).await;
    agent
}

async fn refused(world: &World, command: &str, parameters: Value) -> Value {
    let body = json!({ "command": command, "parameters": parameters });
    let path = "/api/kubeedge/device/edge-1/command";
    let (status, answer) = world.call(Method::POST, path, Some(body)).await;
    assert_eq!((status, &answer["code"]), (StatusCode::BAD_REQUEST, &json!("API-001")), "{answer}");
    answer
}

const PROGRAMS: &str = r#"
[exec.show]
argv = ["printf", "%s", "{what}"]
parameters.what = "[a-z ;$()/é]*"

[exec.who]
argv = ["sh", "-c", "id -u; id -G; env; ulimit -n; exit 3"]

[exec.slow]
argv = ["sh", "-c", "sleep 0.1; exec sleep 1234.5"]
timeout = 2

[exec.loud]
argv = ["sh", "-c", "yes >&2; yes"]
timeout = 3
max_output = 1000

[exec.binary]
argv = ["head", "-c", "300000", "/dev/zero"]
max_output = 1000000

[exec.missing]
argv = ["no-such-program"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_program_of_the_owners_list_runs_confined_and_no_other() {
    let world = World::start().await;
    let agent = member(&world, "edge-1", PROGRAMS).await;
    let exec = async |name: &str, parameters: Value| {
        world.run("edge-1", "exec", json!({ "name": name, "parameters": parameters })).await
    };
    // What would be much to a shell is a word to a program.
    let said = exec("show", json!({ "what": "$(id); é /x" })).await;
    assert_eq!(said["status"], "completed", "{said}");
    let result = &said["result"];
    assert_eq!(
        (&result["success"], &result["exit_code"], &result["stdout"], &result["stderr"]),
        (&json!(true), &json!(0), &json!("$(id); é /x"), &json!("")),
    );
    // As nobody, where the agent is root; with nothing of the agent's environment.
    let said = exec("who", json!({})).await;
    let result = &said["result"];
    assert_eq!((&result["success"], &result["exit_code"]), (&json!(false), &json!(3)), "{said}");
    let lines: Vec<&str> = result["stdout"].as_str().unwrap().lines().collect();
    if nix::unistd::geteuid().is_root() {
        let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
        assert_eq!(lines[0], nobody.uid.to_string());
        assert_eq!(lines[1], nobody.gid.to_string(), "and in no other group");
    }
    assert_eq!(*lines.last().unwrap(), "256", "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("CLOUDCORE") || line.starts_with("HOME=")));

    // Its time is over, and so is everything that it began.
    let began = Instant::now();
    let late = exec("slow", json!({})).await;
    assert_eq!(late["status"], "timed_out", "{late}");
    assert!(began.elapsed() < Duration::from_secs(30));
    let left = || {
        fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == b"sleep\x001234.5\0")
        })
    };
    eventually("nothing to be left of it", async || (!left()).then_some(())).await;
    assert_eq!(exec("loud", json!({})).await["status"], "timed_out");
    // What is too much for a result is cut.
    let much = exec("binary", json!({})).await;
    assert_eq!(much["status"], "completed", "{much}");
    assert_eq!(much["result"]["stdout_clipped"], true);

    for (name, parameters, error) in [
        ("show", json!({ "what": "UPPER" }), "invalid_parameters"),
        ("show", json!({}), "invalid_parameters"),
        ("show", json!({ "what": "a", "more": "b" }), "invalid_parameters"),
        ("rm", json!({}), "not_allowed"),
        ("missing", json!({}), "exec_failed"),
    ] {
        let failed = exec(name, parameters).await;
        assert_eq!(
            (&failed["status"], &failed["result"]["error"]),
            (&json!("failed"), &json!(error)),
            "{failed}"
        );
    }
    let unknown = exec("rm", json!({})).await;
    let why = unknown["result"]["message"].as_str().unwrap();
    assert!(why.contains("binary, loud, missing, show, slow, who"), "{why}");
    refused(&world, "exec", json!({ "name": "a b" })).await;
    refused(&world, "exec", json!({ "name": "who", "argv": ["id"] })).await;
    assert_eq!(agent.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_run_or_given_away_unless_the_owner_says_so() {
    let world = World::start().await;
    let agent = world.agent("edge-1", &[]).await;
    for (command, parameters) in [
        ("exec", json!({ "name": "disk" })),
        ("upload_file", json!({ "path": "/etc/hostname" })),
        ("upload_file", json!({ "path": "/no/such/file" })),
    ] {
        let failed = world.run("edge-1", command, parameters).await;
        assert_eq!(failed["result"]["error"], "not_allowed", "{failed}");
    }
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_the_owner_gives_away_is_uploaded_and_no_other() {
    let world = World::start().await;
    let shared = world.dir.path().join("shared");
    fs::create_dir_all(shared.join("deep")).unwrap();
    fs::write(shared.join("deep/report.txt"), "all is well").unwrap();
    let outside = world.dir.path().join("outside.txt");
    fs::write(&outside, "not yours").unwrap();
    symlink(&outside, shared.join("escape")).unwrap();
    symlink(shared.join("deep/report.txt"), world.dir.path().join("way-in")).unwrap();
    symlink(world.node_dir("edge-1"), shared.join("own")).unwrap();
    nix::unistd::mkfifo(&shared.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let huge = fs::File::create(shared.join("huge")).unwrap();
    huge.set_len((64 << 20) + 1).unwrap();
    let base = world.dir.path().display();
    // The agent's own folder is in the list, and stays closed.
    let paths =
        format!("upload_paths = [\"{base}/shared\", \"{base}/*.log\", \"{base}/edge-1\"]\n");
    fs::write(world.dir.path().join("a.log"), vec![0xff; 100_000]).unwrap();
    let agent = member(&world, "edge-1", &paths).await;
    let upload = async |name: &str| {
        let path = world.dir.path().join(name);
        world.run("edge-1", "upload_file", json!({ "path": path })).await
    };
    for (name, content) in [
        ("shared/deep/report.txt", b"all is well".to_vec()),
        ("way-in", b"all is well".to_vec()),
        ("a.log", vec![0xff; 100_000]),
    ] {
        let done = upload(name).await;
        assert_eq!(done["status"], "completed", "{done}");
        assert_eq!(done["result"]["file"]["size_bytes"], content.len());
        let url = done["result"]["file_url"].as_str().unwrap();
        let got = world.client().get(url).send().await.unwrap();
        assert_eq!(got.headers()["content-type"], "application/octet-stream");
        assert_eq!(got.bytes().await.unwrap(), content);
    }
    for (name, error) in [
        ("shared/escape", "not_allowed"),
        ("shared/../outside.txt", "not_allowed"),
        ("outside.txt", "not_allowed"),
        ("shared/own/agent.toml", "not_allowed"),
        ("edge-1/node.key", "not_allowed"),
        ("shared/missing", "file_unavailable"),
        ("shared/deep", "file_unavailable"),
        ("shared/pipe", "file_unavailable"),
        ("shared/huge", "file_too_large"),
    ] {
        let failed = upload(name).await;
        assert_eq!(failed["result"]["error"], error, "{name}: {failed}");
    }
    refused(&world, "upload_file", json!({ "path": "etc/passwd" })).await;
    refused(&world, "upload_file", json!({})).await;
    assert_eq!(agent.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agents_own_log_is_read_through_the_hub_and_holds_no_secret() {
    let world = World::start().await;
    let token = world.join_token("edge-1").await;
    world.join("edge-1", &token, &[]).await.expect("the node joins");
    let agent = world.run_agent("edge-1").await;
    world.online("edge-1").await;
    let logs = async |parameters: Value| {
        let done = world.run("edge-1", "get_logs", parameters).await;
        assert_eq!(done["status"], "completed", "{done}");
        done["result"].clone()
    };
    world.run("edge-1", "reboot", json!({})).await;
    let all = logs(json!({})).await;
    let lines = all["lines"].as_array().unwrap();
    let said = |text: &str| lines.iter().any(|l| l["message"].as_str().unwrap().contains(text));
    assert!(said("linked") && said("not_allowed"), "{all}");
    assert_eq!((&all["count"], &all["clipped"]), (&json!(lines.len()), &json!(false)));
    let jwt = token.split_once('.').unwrap().1;
    assert!(!all.to_string().contains(&jwt[..40]) && !all.to_string().contains("PRIVATE KEY"));

    let warned = logs(json!({ "level": "warn" })).await;
    let warned = warned["lines"].as_array().unwrap();
    assert!(!warned.is_empty());
    assert!(warned.iter().all(|line| ["warn", "error"].contains(&line["level"].as_str().unwrap())));
    let one = logs(json!({ "lines": 1 })).await;
    assert_eq!(one["count"], 1);
    assert_eq!(logs(json!({ "since": "2999-01-01T00:00:00Z" })).await["count"], 0);
    assert_eq!(logs(json!({ "since": 0, "level": "error" })).await["count"], 0);
    assert!(logs(json!({ "since": 3600 })).await["count"].as_u64().unwrap() > 2);
    for bad in [
        json!({ "lines": 0 }),
        json!({ "lines": 5001 }),
        json!({ "since": "x" }),
        json!({ "level": 1 }),
    ] {
        refused(&world, "get_logs", bad).await;
    }
    // The most that there may be fits a result.
    for _ in 0..100 {
        let body = json!({ "command": "x".repeat(50), "parameters": { "a": "b" } });
        world.send("edge-1", body).await;
    }
    assert!(logs(json!({ "lines": 5000 })).await["count"].as_u64().unwrap() > 100);
    timeout(PATIENCE, agent.stop()).await.unwrap();
}
