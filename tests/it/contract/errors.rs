//! Contract, "Error Codes": each provoked once.

use tokio::process::Command;

use super::{facts, story::Story};
use crate::world::{Store, World, cached};

#[tokio::test(flavor = "multi_thread")]
async fn every_error_has_its_code_and_status() {
    for fact in facts::of("errors.rs::every_error_has_its_code_and_status") {
        let columns = fact.columns();
        let (code, status) = (columns[0], columns[1]);
        let limit: &[&str] =
            if fact.fault.as_deref() == Some("limit") { &["--rate-limit", "4"] } else { &[] };
        let mut story = Story::begin(limit).await;
        let admin = story.world.token().to_owned();
        story.announce("edge-node-001", "edge-device-001").await;
        story.world.become_user("eve", "viewer").await;
        story.means("<viewer>", story.world.token().to_owned().as_str());
        story.means("<token>", &admin);
        if fact.fault.as_deref() == Some("table") {
            lose_table(&story.world, "tokens").await;
        }
        let curl = fact.curl.as_ref().expect("a command");
        let mut answer = story.curl(curl).await;
        if !limit.is_empty() {
            // A minute may end in between.
            for _ in 0..8 {
                if answer.status == 429 {
                    assert!(answer.header("retry-after").is_some(), "{}", answer.head);
                    break;
                }
                answer = story.curl(curl).await;
            }
        }
        assert_eq!(answer.status.to_string(), status, "{}: {}", fact.text, answer.text);
        let problem = answer.json();
        assert_eq!(problem["code"], code, "{}: {problem}", fact.text);
        assert_eq!(problem["status"], "error", "{}: {problem}", fact.text);
        for key in ["message", "details", "request_id"] {
            assert!(problem.get(key).is_some(), "{}: {problem}", fact.text);
        }
        assert_eq!(answer.header("x-request-id"), problem["request_id"].as_str());
    }
}

/// What no hub expects: somebody else changed its tables.
async fn lose_table(world: &World, table: &str) {
    let statement = format!("ALTER TABLE {table} RENAME TO lost");
    match &world.store {
        Store::Postgres(database) => {
            database.sql(&statement).expect("it is there");
        }
        _ => {
            let script = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute(sys.argv[2])";
            let status = Command::new(cached("venv/bin/python"))
                .args(["-c", script])
                .arg(world.data_dir().join("hub.db"))
                .arg(&statement)
                .status()
                .await;
            assert!(status.expect("python starts").success());
        }
    }
}
