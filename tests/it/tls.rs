//! The API over TLS: whose certificate, how it is exchanged, and clients that dawdle.

use std::{net::SocketAddr, path::Path, time::Instant};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use reqwest::{Certificate, ClientBuilder, Method, StatusCode, Version, header, tls::TlsInfo};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::world::{self, PATIENCE, World, cached, eventually};

/// A client that trusts this CA and nothing else.
fn trusting(ca_pem: &[u8]) -> ClientBuilder {
    let ca = Certificate::from_pem(ca_pem).unwrap();
    world::client().tls_certs_only([ca]).tls_info(true).timeout(PATIENCE)
}

fn hub_ca(world: &World) -> Vec<u8> {
    std::fs::read(world.dir.path().join("hub/ca.pem")).unwrap()
}

fn port(world: &World) -> u16 {
    world.https.as_ref().unwrap().parse::<SocketAddr>().unwrap().port()
}

/// The certificate of a new connection, DER.
async fn served(ca_pem: &[u8], url: &str) -> Result<Vec<u8>, reqwest::Error> {
    let answer = trusting(ca_pem).build()?.get(url).send().await?;
    assert_eq!(answer.status(), StatusCode::OK);
    Ok(answer.extensions().get::<TlsInfo>().unwrap().peer_certificate().unwrap().to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_speaks_tls_by_the_hubs_own_ca() {
    let names = ["--https", "127.0.0.1:0", "--https-name", "hub.example.org"];
    let world = World::start_with(&names).await;
    let (ca, port) = (hub_ca(&world), port(&world));
    let client = trusting(&ca)
        .resolve("hub.example.org", ([127, 0, 0, 1], port).into())
        .resolve("other.example.org", ([127, 0, 0, 1], port).into())
        .build()
        .unwrap();
    for host in ["localhost", "127.0.0.1", "hub.example.org"] {
        let health = format!("https://{host}:{port}/api/health");
        let answer = client.get(&health).send().await.unwrap();
        assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_2));
        assert!(answer.headers().contains_key("x-request-id"));
        let old = trusting(&ca)
            .http1_only()
            .resolve("hub.example.org", ([127, 0, 0, 1], port).into())
            .build()
            .unwrap();
        let answer = old.get(&health).send().await.unwrap();
        assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_11));
    }
    let other = format!("https://other.example.org:{port}/api/health");
    client.get(&other).send().await.expect_err("the certificate is not for this name");
    let health = format!("https://localhost:{port}/api/health");
    let stranger = world::client().build().unwrap();
    stranger.get(&health).send().await.expect_err("nobody else trusts this CA");

    // Errors and identities are the same as without TLS.
    let devices = format!("https://localhost:{port}/api/kubeedge/devices");
    let answer = client.get(&devices).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let answer = client.get(&devices).bearer_auth(world.token()).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_leads_back_the_way_the_request_came() {
    let world = World::start_with(&["--https", "127.0.0.1:0"]).await;
    let camera = format!("file://{}", cached("photos/astronaut.png").display());
    let agent = world.agent("cam-1", &["--camera", &camera]).await;
    let taken = world.run("cam-1", "capture_image", json!({})).await;
    let plain = taken["result"]["image_url"].as_str().unwrap();
    assert!(plain.starts_with(&world.url("/")), "{plain}");

    let base = format!("https://localhost:{}", port(&world));
    let client = trusting(&hub_ca(&world)).build().unwrap();
    let id = taken["command_id"].as_str().unwrap();
    let status = client
        .get(format!("{base}/api/kubeedge/command/{id}/status"))
        .bearer_auth(world.token())
        .send()
        .await
        .unwrap();
    let status: serde_json::Value = status.json().await.unwrap();
    let link = status["result"]["image_url"].as_str().unwrap();
    assert!(link.starts_with(&format!("{base}/")), "{link}");
    let picture = client.get(link).send().await.unwrap();
    assert_eq!(picture.status(), StatusCode::OK);
    assert_eq!(picture.headers()[header::CONTENT_TYPE], "image/jpeg");
    assert_eq!(agent.stop().await, Some(0));
}

/// This machine's address as others see it. Nothing is sent: connecting a UDP socket only asks the
/// routing table.
fn own_address() -> std::net::IpAddr {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").expect("this test wants a network card beside loopback");
    socket.local_addr().unwrap().ip()
}

#[tokio::test(flavor = "multi_thread")]
async fn other_machines_are_sent_to_tls_where_it_is_required() {
    let address = own_address();
    assert!(!address.is_loopback());
    let mut world =
        World::start_with(&["--https", "0.0.0.0:0", "--https-name", &address.to_string()]).await;
    world.open_to_others().await;
    let (http, https) = (world.http().rsplit_once(':').unwrap().1.to_owned(), port(&world));
    let plain = async |path: &str| {
        let asked = world.client().get(format!("http://{address}:{http}{path}"));
        let answer = asked.bearer_auth(world.token()).send().await.unwrap();
        (answer.status(), answer.json::<serde_json::Value>().await.unwrap())
    };
    assert_eq!(plain("/api/health").await.0, StatusCode::OK);
    let require = json!({ "security": { "require_tls": true } });
    let (status, answer) = world.call(Method::PUT, "/api/kubeedge/config", Some(require)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    for path in ["/api/health", "/api/kubeedge/devices", "/api/kubeedge/openapi.json", "/nothing"] {
        let (status, answer) = plain(path).await;
        assert_eq!((status, &answer["code"]), (StatusCode::FORBIDDEN, &json!("API-003")), "{path}");
        let said = answer["message"].as_str().unwrap();
        assert!(said.ends_with(&format!("use https://{address}:{https}")), "{said}");
    }
    // Over TLS, and from this machine, all is as it was, also after a restart.
    world.kill_hub().await;
    world.start_hub().await;
    let client = trusting(&hub_ca(&world)).build().unwrap();
    let url = format!("https://{address}:{}/api/health", port(&world));
    assert_eq!(client.get(url).send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(world.get("/api/health").await["status"], "healthy");
}

/// A CA of somebody else, its certificate in PEM, and what it issues.
struct OtherCa {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl OtherCa {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "somebody else's CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for localhost and its key, in PEM.
    fn issue(&self, more: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
        more(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_from_files_is_exchanged_while_the_hub_runs() {
    let ca = OtherCa::new();
    let files = tempfile::tempdir().unwrap();
    let (certificate, key) = (files.path().join("chain.pem"), files.path().join("key.pem"));
    let write = |(chain, secret): &(String, String)| {
        std::fs::write(&certificate, chain).unwrap();
        std::fs::write(&key, secret).unwrap();
    };
    write(&ca.issue(|_| {}));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (chain_file, key_file) = (text(&certificate), text(&key));
    let world = World::start_with(&[
        "--https",
        "127.0.0.1:0",
        "--https-cert",
        &chain_file,
        "--https-key",
        &key_file,
    ])
    .await;
    let base = format!("https://localhost:{}", port(&world));
    let health = format!("{base}/api/health");
    let first = served(ca.pem.as_bytes(), &health).await.unwrap();
    served(&hub_ca(&world), &health).await.expect_err("the hub's own CA has not signed it");
    // A connection that goes on over all that follows.
    let watcher = trusting(ca.pem.as_bytes()).build().unwrap();
    let stream = format!("{base}/api/kubeedge/monitor/stream?events=command_sent");
    let mut stream = watcher.get(stream).bearer_auth(world.token()).send().await.unwrap();
    assert_eq!((stream.status(), stream.version()), (StatusCode::OK, Version::HTTP_2));
    stream.chunk().await.unwrap();

    write(&ca.issue(|_| {}));
    world.hang_up_hub();
    let second = eventually("the new certificate", async || {
        served(ca.pem.as_bytes(), &health).await.ok().filter(|now| *now != first)
    })
    .await;

    let good = ca.issue(|_| {});
    let ended = ca.issue(|params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 2, 1);
    });
    for (bad, why) in [
        (("not PEM".to_owned(), good.1.clone()), "no PEM certificate in it"),
        ((good.0.clone(), "not PEM".to_owned()), "not a PEM key"),
        ((good.0.clone(), ca.issue(|_| {}).1), "key.pem: "),
        (ended, "the certificate ended at 2020-02-01"),
    ] {
        let before = world.hub_log().matches("certificate is bad").count();
        write(&bad);
        world.hang_up_hub();
        eventually("the log to say so", async || {
            let log = world.hub_log();
            (log.matches("certificate is bad").count() > before && log.contains(why)).then_some(())
        })
        .await;
        assert_eq!(served(ca.pem.as_bytes(), &health).await.unwrap(), second, "{why}");
    }
    std::fs::remove_file(&certificate).unwrap();
    world.hang_up_hub();
    eventually("the log to say so", async || {
        world.hub_log().contains("No such file").then_some(())
    })
    .await;
    write(&good);
    world.hang_up_hub();
    eventually("the good certificate", async || {
        served(ca.pem.as_bytes(), &health).await.ok().filter(|now| *now != second)
    })
    .await;

    let device = json!({ "node_name": "edge-1", "device_id": "cam-1" });
    world.post("/api/kubeedge/device/join", device).await;
    world.send("cam-1", json!({ "command": "get_status" })).await;
    let event = timeout(PATIENCE, stream.chunk()).await.expect("an event in time").unwrap();
    assert!(String::from_utf8_lossy(&event.unwrap()).contains("command_sent"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_does_not_start_with_a_bad_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let bad = dir.path().join("bad.pem");
    std::fs::write(&bad, "not PEM").unwrap();
    let output = tokio::process::Command::new(crate::world::program("cloudcore-hub"))
        .args(["serve", "--http", "127.0.0.1:0", "--quic", "127.0.0.1:0"])
        .args(["--mqtt", "127.0.0.1:0", "--https", "127.0.0.1:0", "--data-dir"])
        .arg(dir.path().join("hub"))
        .arg("--https-cert")
        .arg(&bad)
        .arg("--https-key")
        .arg(&bad)
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, output).await.expect("it ends in time").unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("bad.pem: no PEM certificate in it"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_dawdles_is_cut_off_and_the_hub_stops_in_time() {
    let mut world = World::start_with(&["--https", "127.0.0.1:0"]).await;
    let https = world.https.clone().unwrap();
    let begun = Instant::now();
    let mut slow = Vec::new();
    for (address, bytes) in [
        (world.http(), ""),
        (world.http(), "GET /api/health HTTP/1.1\r\nHost: a\r\nX-Slow: "),
        // What could yet become HTTP/2.
        (world.http(), "PRI * HTTP/2.0\r\n"),
        (world.http(), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (https.as_str(), ""),
        (https.as_str(), "\x16\x03\x01\x02\x00\x01\x00"),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        slow.push((stream, bytes));
    }
    assert_eq!(world.get("/api/health").await["status"], "healthy");
    for (mut stream, bytes) in slow {
        let mut said = Vec::new();
        // A reset is an end as well.
        let read = timeout(PATIENCE, stream.read_to_end(&mut said)).await;
        assert!(read.is_ok(), "{bytes:?} is held for longer than {PATIENCE:?}");
        assert!(begun.elapsed().as_secs() >= 5, "{bytes:?} was cut off at once");
    }

    // One that says nothing, one that keeps its connection, and one that watches.
    let _silent = TcpStream::connect(&https).await.unwrap();
    let client = trusting(&hub_ca(&world)).build().unwrap();
    let base = format!("https://localhost:{}", port(&world));
    client.get(format!("{base}/api/health")).send().await.unwrap();
    let stream = client.get(format!("{base}/api/kubeedge/monitor/stream"));
    let stream = stream.bearer_auth(world.token()).send().await.unwrap();
    assert_eq!(stream.status(), StatusCode::OK);
    let stopping = Instant::now();
    assert_eq!(world.stop_hub().await, Some(0));
    assert!(stopping.elapsed().as_secs() < 15, "{:?}", stopping.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_over_http2_gets_its_answer() {
    let world = World::start_with(&["--https", "127.0.0.1:0"]).await;
    let client = trusting(&hub_ca(&world)).build().unwrap();
    let url = format!("https://localhost:{}/api/kubeedge/token/generate", port(&world));
    let answer = client
        .request(Method::POST, url)
        .bearer_auth(world.token())
        .header(header::CONTENT_TYPE, "application/json")
        .body(vec![b' '; 3 * 1024 * 1024])
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.json::<serde_json::Value>().await.unwrap()["code"], "API-001");
}
