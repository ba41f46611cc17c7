//! The list of certificates, and their renewal while everything goes on.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{World, eventually};

const LIST: &str = "/api/kubeedge/security/certificates";
const RENEW: &str = "/api/kubeedge/security/certificates/renew";

async fn listed(world: &World, query: &str) -> Vec<Value> {
    let list = world.get(&format!("{LIST}{query}")).await;
    list["certificates"].as_array().unwrap().clone()
}

async fn fingerprint(world: &World, kind: &str) -> String {
    let all = listed(world, &format!("?kind={kind}")).await;
    assert_eq!(all.len(), 1, "{all:?}");
    all[0]["fingerprint"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_has_the_hubs_own_and_the_nodes_certificates() {
    let world = World::start_with(&["--https", "127.0.0.1:0"]).await;
    let agent = world.agent("edge-1", &[]).await;
    let list = world.get(LIST).await;
    assert_eq!((&list["count"], &list["next_cursor"]), (&json!(4), &Value::Null));
    let all = list["certificates"].as_array().unwrap();
    let kinds: Vec<_> = all.iter().map(|c| c["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ca", "link", "https", "node"]);
    let ca = &all[0];
    let pem = std::fs::read_to_string(world.dir.path().join("hub/ca.pem")).unwrap();
    assert_eq!(ca["pem"], pem);
    for certificate in all {
        assert_eq!(
            (&certificate["issuer"], &certificate["status"]),
            (&ca["subject"], &json!("valid"))
        );
        assert_eq!(certificate["in_use"], true);
        assert_eq!(certificate["fingerprint"].as_str().unwrap().len(), 64);
        let (from, to) = (&certificate["not_before"], &certificate["not_after"]);
        assert!(from.as_str().unwrap() < to.as_str().unwrap());
    }
    // The day that has just begun is not whole any more.
    assert!((89..=90).contains(&all[1]["days_left"].as_i64().unwrap()));
    let node = &all[3];
    assert_eq!((&node["node_name"], &node["device_id"]), (&json!("edge-1"), &json!("edge-1")));
    assert_eq!(node["subject"], "CN=edge-1");
    assert!((29..=30).contains(&node["days_left"].as_i64().unwrap()));

    // Page by page it is the same list.
    let (mut paged, mut cursor) = (Vec::new(), None);
    loop {
        let query = cursor.map_or("?limit=1".into(), |c: i64| format!("?limit=1&cursor={c}"));
        let page = world.get(&format!("{LIST}{query}")).await;
        assert_eq!(page["count"], 4);
        paged.extend(
            page["certificates"].as_array().unwrap().iter().map(|c| c["fingerprint"].clone()),
        );
        match page["next_cursor"].as_i64() {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    assert_eq!(paged, all.iter().map(|c| c["fingerprint"].clone()).collect::<Vec<_>>());

    world.call(Method::DELETE, "/api/kubeedge/token/edge-1", None).await;
    world.offline("edge-1").await;
    let revoked = listed(&world, "?status=revoked").await;
    assert_eq!(revoked.len(), 1);
    assert_eq!(
        (&revoked[0]["node_name"], &revoked[0]["in_use"]),
        (&json!("edge-1"), &json!(false))
    );
    assert!(revoked[0]["revoked_at"].is_string());
    assert_eq!(listed(&world, "?kind=node&status=valid").await, Vec::<Value>::new());
    assert_eq!(listed(&world, "?node_name=edge-1").await.len(), 1);
    for bad in ["?status=good", "?kind=root", "?limit=0", "?limit=501", "?node_name=%20"] {
        let (status, body) = world.call(Method::GET, &format!("{LIST}{bad}"), None).await;
        assert_eq!((status, &body["code"]), (StatusCode::BAD_REQUEST, &json!("API-001")), "{bad}");
    }
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hubs_certificates_are_renewed_and_no_session_is_cut() {
    let world = World::start_with(&["--https", "127.0.0.1:0"]).await;
    let agent = world.agent("edge-1", &[]).await;
    let before = [fingerprint(&world, "link").await, fingerprint(&world, "https").await];
    // As the contract has it: no body.
    let (status, renewed) = world.call(Method::POST, RENEW, None).await;
    assert_eq!((status, &renewed["status"]), (StatusCode::OK, &json!("success")), "{renewed}");
    let kinds: Vec<_> = renewed["renewed"].as_array().unwrap().iter().map(|c| &c["kind"]).collect();
    assert_eq!(kinds, ["link", "https"]);
    let after = [fingerprint(&world, "link").await, fingerprint(&world, "https").await];
    assert!(before[0] != after[0] && before[1] != after[1]);

    world.post(RENEW, json!({ "target": "https" })).await;
    assert_eq!(fingerprint(&world, "link").await, after[0]);
    assert_ne!(fingerprint(&world, "https").await, after[1]);

    assert_eq!(world.run("edge-1", "get_status", json!({})).await["status"], "completed");
    assert_eq!(world.hub_log().matches("session began").count(), 1);
    assert_eq!(agent.stop().await, Some(0));
    // What is shown now is good for who comes next.
    let agent = world.run_agent("edge-1").await;
    world.online("edge-1").await;
    assert_eq!(agent.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_renews_when_it_is_told() {
    let world = World::start().await;
    let agent = world.agent("edge-1", &[]).await;
    let first = fingerprint(&world, "node").await;
    let renewed = world.post(RENEW, json!({ "node_name": "edge-1" })).await;
    let second = renewed["renewed"][0]["fingerprint"].as_str().unwrap();
    assert_ne!(first, second);
    // The session goes on with the one it came with; the next one comes with the new one.
    let used = |all: Vec<Value>| {
        let mut used = all.into_iter().filter(|c| c["in_use"] == true);
        used.next().map(|c| c["fingerprint"].as_str().unwrap().to_owned())
    };
    assert_eq!(used(listed(&world, "?kind=node").await).unwrap(), first);
    assert_eq!(world.hub_log().matches("session began").count(), 1);
    eventually("the agent to have installed it", async || {
        let log = std::fs::read_to_string(world.dir.path().join("edge-1.log")).unwrap();
        log.contains("the certificate was renewed").then_some(())
    })
    .await;
    assert_eq!(agent.stop().await, Some(0));
    let agent = world.run_agent("edge-1").await;
    world.online("edge-1").await;
    assert_eq!(used(listed(&world, "?kind=node").await).unwrap(), second);
    assert_eq!(agent.stop().await, Some(0));
    world.offline("edge-1").await;

    for (body, status, code) in [
        (json!({ "node_name": "edge-1" }), StatusCode::BAD_GATEWAY, "API-008"),
        (json!({ "target": "node", "node_name": "edge-2" }), StatusCode::NOT_FOUND, "API-004"),
        (json!({ "target": "node" }), StatusCode::BAD_REQUEST, "API-001"),
        (json!({ "target": "link", "node_name": "edge-1" }), StatusCode::BAD_REQUEST, "API-001"),
        (json!({ "target": "https" }), StatusCode::BAD_REQUEST, "API-001"),
        (json!({ "target": "everything" }), StatusCode::BAD_REQUEST, "API-001"),
    ] {
        let (answered, answer) = world.call(Method::POST, RENEW, Some(body.clone())).await;
        assert_eq!((answered, &answer["code"]), (status, &json!(code)), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_may_not_renew() {
    let mut world = World::start().await;
    world.become_user("eve", "operator").await;
    world.get(LIST).await;
    let (status, body) = world.call(Method::POST, RENEW, None).await;
    assert_eq!((status, &body["code"]), (StatusCode::FORBIDDEN, &json!("API-003")));
}
