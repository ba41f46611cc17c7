//! How a node becomes a member, and how it is kept out.

use std::os::unix::fs::PermissionsExt as _;

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::world::{World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_with_the_printed_line_and_reports() {
    let world = World::start().await;
    let announced = world
        .post(
            "/api/kubeedge/device/join",
            json!({ "node_name": "edge-node-001", "device_id": "camera-001",
                    "device_type": "camera", "location": "Entrance" }),
        )
        .await;
    let line = announced["join_command"].as_str().unwrap();
    let flag = |name: &str| {
        let start = line.find(name).unwrap() + name.len();
        line[start..].split(' ').next().unwrap().to_owned()
    };
    assert!(line.starts_with("keadm join --cloudcore-ipport="), "{line}");
    assert_eq!(flag("--edgenode-name="), "edge-node-001");
    assert_eq!(flag("--cloudcore-ipport="), world.quic);

    world.join("edge-node-001", &flag("--token="), &[]).await.unwrap();
    let agent = world.run_agent("edge-node-001").await;
    assert_eq!(agent.ready["device_id"], "camera-001");

    let shown = eventually("the first heartbeat", async || {
        let shown = world.get("/api/kubeedge/device/camera-001").await;
        shown["device_status"]["cpu_usage"].is_string().then_some(shown)
    })
    .await;
    let status = &shown["device_status"];
    assert_eq!(status["online"], true);
    assert!(status["last_heartbeat"].as_str().unwrap().ends_with('Z'));
    assert!(status["memory_usage"].as_str().unwrap().contains('/'));
    assert!(status["memory_total_bytes"].as_u64().unwrap() > 1 << 20);
    assert!(status["disk_total_bytes"].as_u64().unwrap() > 1 << 20);
    assert!(shown["metrics"]["uptime"].is_string());

    let list = world.get("/api/kubeedge/devices?status=Ready").await;
    assert_eq!(list["count"], 1);
    assert_eq!(list["devices"][0]["device_id"], "camera-001");
    assert_eq!(list["devices"][0]["roles"], json!(["agent", "edge"]));
    assert!(!list["devices"][0]["addresses"].as_array().unwrap().is_empty());
    let tokens = world.get("/api/kubeedge/tokens").await;
    assert_eq!(tokens["tokens"][0]["status"], "used");
    assert!(tokens.to_string().find(&flag("--token=")[65..]).is_none(), "shown only once");

    // Keys, settings and databases are for their owner alone.
    let files = |dir: &str| std::fs::read_dir(world.dir.path().join(dir)).unwrap();
    for entry in files("edge-node-001").chain(files("hub")) {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() || entry.file_name() == "ca.pem" {
            continue;
        }
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?} is open to others: {mode:o}", entry.path());
    }
    assert_eq!(agent.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lets_its_own_node_in_once() {
    let world = World::start().await;
    let token = world.join_token("mine").await;

    let other = world.join("other", &token, &[]).await.unwrap_err();
    assert!(other.contains("another node"), "{other}");
    world.join("mine", &token, &[]).await.unwrap();

    // The same token from elsewhere, with another key.
    std::fs::rename(world.node_dir("mine"), world.dir.path().join("moved")).unwrap();
    let again = world.join("mine", &token, &[]).await.unwrap_err();
    assert!(again.contains("used"), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_lets_nobody_in() {
    let world = World::start().await;
    let token = world.join_token("edge-1").await;
    let (status, body) = world.call(Method::DELETE, "/api/kubeedge/token/edge-1", None).await;
    assert_eq!((status, &body["message"]), (StatusCode::OK, &json!("Token revoked for edge-1")));
    let refused = world.join("edge-1", &token, &[]).await.unwrap_err();
    assert!(refused.contains("revoked"), "{refused}");
    assert_eq!(world.get("/api/kubeedge/tokens").await["tokens"][0]["status"], "revoked");
    let (status, body) = world.call(Method::DELETE, "/api/kubeedge/token/nobody", None).await;
    assert_eq!((status, &body["code"]), (StatusCode::NOT_FOUND, &json!("API-004")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_hub_never_sees_the_token() {
    let (world, other) = (World::start().await, World::start().await);
    let token = world.join_token("edge-1").await;
    let refused = world.join_at(&other.quic, "edge-1", &token, &[]).await.unwrap_err();
    assert!(refused.contains("The token was not sent"), "{refused}");

    // A token whose hash is of no CA at all.
    let forged = format!("{}{}", "0".repeat(64), &token[64..]);
    let refused = world.join("edge-1", &forged, &[]).await.unwrap_err();
    assert!(refused.contains("The token was not sent"), "{refused}");

    // It was not used up.
    world.join("edge-1", &token, &[]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_this_hub_did_not_sign_is_refused() {
    let (world, other) = (World::start().await, World::start().await);
    let (ours, theirs) = (world.join_token("edge-1").await, other.join_token("edge-1").await);
    let mixed = format!("{}{}", &ours[..64], &theirs[64..]);
    let refused = world.join("edge-1", &mixed, &[]).await.unwrap_err();
    assert!(refused.contains("not one of this hub"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_a_device_cuts_its_session_and_keeps_it_out() {
    let world = World::start().await;
    let agent = world.agent("edge-1", &[]).await;
    let mut watch = world.watch("?events=node_left").await;
    let (status, body) = world.call(Method::DELETE, "/api/kubeedge/device/edge-1", None).await;
    assert_eq!(status, StatusCode::OK);
    let done = body["actions_taken"].to_string();
    assert!(done.contains("Session closed") && done.contains("Certificate revoked"), "{done}");
    assert_eq!(watch.next("node_left").await["reason"], "removed");

    let log = world.dir.path().join("edge-1.log");
    eventually("the agent to know that it is out", async || {
        std::fs::read_to_string(&log).unwrap().contains("new join token").then_some(())
    })
    .await;
    assert_eq!(agent.stop().await, Some(0));

    // Its certificate is refused even after the hub has forgotten all but its database.
    let mut world = world;
    assert_eq!(world.stop_hub().await, Some(0));
    world.start_hub().await;
    let lines = |text: &str| text.matches("new join token").count();
    let before = lines(&std::fs::read_to_string(&log).unwrap());
    let agent = world.run_agent("edge-1").await;
    eventually("the agent to be refused again", async || {
        (lines(&std::fs::read_to_string(&log).unwrap()) > before).then_some(())
    })
    .await;
    assert_eq!(world.get("/api/kubeedge/devices").await["count"], 0);
    drop(agent);

    // With a new token the node is welcome again.
    std::fs::remove_dir_all(world.node_dir("edge-1")).unwrap();
    let agent = world.agent("edge-1", &[]).await;
    assert_eq!(agent.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_over_the_live_session() {
    let mut world = World::start_with(&["--node-certificate-life", "20"]).await;
    let agent = world.agent("edge-1", &[]).await;
    let log = world.dir.path().join("edge-1.log");
    eventually("a new certificate", async || {
        std::fs::read_to_string(&log).unwrap().contains("the certificate was renewed").then_some(())
    })
    .await;
    // The next connection uses it, and a revocation ends all that the node has.
    assert_eq!(world.stop_hub().await, Some(0));
    world.start_hub().await;
    world.online("edge-1").await;
    let (status, _) = world.call(Method::DELETE, "/api/kubeedge/device/edge-1", None).await;
    assert_eq!(status, StatusCode::OK);
    eventually("the agent to know that it is out", async || {
        std::fs::read_to_string(&log).unwrap().contains("new join token").then_some(())
    })
    .await;
    assert_eq!(agent.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_the_token_of_a_member_cuts_it_off() {
    let world = World::start().await;
    let agent = world.agent("edge-1", &[]).await;
    let (status, body) = world.call(Method::DELETE, "/api/kubeedge/token/edge-1", None).await;
    assert_eq!((status, &body["certificates_revoked"]), (StatusCode::OK, &json!(true)));
    world.offline("edge-1").await;
    let shown = world.get("/api/kubeedge/device/edge-1").await;
    assert_eq!(shown["joined"], false);
    drop(agent);

    // It stays known, and joins again with a new token.
    std::fs::remove_dir_all(world.node_dir("edge-1")).unwrap();
    let agent = world.agent("edge-1", &[]).await;
    assert_eq!(world.get("/api/kubeedge/device/edge-1").await["joined"], true);
    assert_eq!(agent.stop().await, Some(0));
}
