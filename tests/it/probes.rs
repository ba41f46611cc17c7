//! `cloudcore-hub health`: the hub asked by its own machine, as probes do.

use std::path::Path;

use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::process::Command;

use crate::{
    postgres::Server,
    world::{Store, World, program},
};

/// Whether it exits 0, and else what it says.
async fn health(args: &[&str]) -> Result<(), String> {
    let asked = Command::new(program("cloudcore-hub")).arg("health").args(args).output().await;
    let asked = asked.expect("the program starts");
    if asked.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&asked.stderr).trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_required_tls_nor_the_rate_limit_is_in_a_probes_way() {
    let mut world = World::start_with(&["--https", "127.0.0.1:0"]).await;
    let http = world.http().to_owned();
    let changed = json!({ "security": { "require_tls": true, "rate_limit": 1 } });
    let (status, answer) = world.call(Method::PUT, "/api/kubeedge/config", Some(changed)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    world.use_token("");
    // Whatever the clock says, one of three is over the limit of a minute.
    let mut refused = false;
    for _ in 0..3 {
        let (status, _) = world.call(Method::GET, "/api/health", None).await;
        refused |= status == StatusCode::TOO_MANY_REQUESTS;
    }
    assert!(refused);
    for more in [&["--http", &http][..], &["--http", &http, "--alive"]] {
        assert_eq!(health(more).await, Ok(()), "{more:?}");
    }
    // It knows from the settings where the hub listens.
    let settings = world.dir.path().join("hub.toml");
    std::fs::write(&settings, format!("http = \"{http}\"\n")).expect("written");
    let named = |path: &Path| path.to_str().expect("text").to_owned();
    assert_eq!(health(&["--config", &named(&settings)]).await, Ok(()));

    assert_eq!(world.stop_hub().await, Some(0));
    for more in [&["--http", &http][..], &["--http", &http, "--alive"]] {
        let said = health(more).await.expect_err("nobody is there");
        assert!(said.contains(&format!("no hub answers at {http}")), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_without_its_database_lives_and_takes_nothing() {
    let server = Server::durable();
    let world = World::start_on(Store::Postgres(server.database()), &[]).await;
    assert_eq!(health(&["--http", world.http()]).await, Ok(()));
    server.kill();
    health(&["--http", world.http()]).await.expect_err("it takes nothing");
    assert_eq!(health(&["--http", world.http(), "--alive"]).await, Ok(()));
    server.restart();
    assert_eq!(health(&["--http", world.http()]).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_goes_through_pipes() {
    let mut world = World::start().await;
    world.join_token("kept-1").await;
    let passphrase = world.dir.path().join("secret");
    std::fs::write(&passphrase, "nobody guesses this\n").expect("written");
    let line = |name: &str, pipe: &str| {
        let mut command = world.hub_command();
        command.args([name, pipe, "-"]).arg("--data-dir");
        command
    };
    let made = line("backup", "--output")
        .arg(world.data_dir())
        .arg("--passphrase-file")
        .arg(&passphrase)
        .output()
        .await
        .expect("it ends");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let left = std::fs::read_dir(world.data_dir()).expect("a folder").flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|n| n.to_string_lossy().starts_with("backup-")), "{left:?}");

    let file = world.dir.path().join("backup");
    std::fs::write(&file, &made.stdout).expect("written");
    let mut restore = line("restore", "--input");
    restore.arg(world.data_dir()).arg("--passphrase-file").arg(&passphrase);
    restore.stdin(std::fs::File::open(&file).expect("it is there"));
    world.join_token("gone-1").await;
    assert_eq!(world.stop_hub().await, Some(0));
    let restored = restore.output().await.expect("it ends");
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    world.start_hub().await;
    world.log_in("admin", crate::world::PASSWORD).await;
    let tokens = world.get("/api/kubeedge/tokens").await.to_string();
    assert!(tokens.contains("kept-1") && !tokens.contains("gone-1"), "{tokens}");
}
