//! RTSP cameras: GStreamer's own server as one, and servers that are no friends.

use std::{process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::{
    cameras::{Fake, SECRET, assert_no_secret, is_colour, memory, peak, picture, seen, use_camera},
    world::{PATIENCE, World, cached, eventually},
};

/// The test picture's bars at 75 %, left to right.
const BARS: [[u8; 3]; 7] = [
    [191, 191, 191],
    [191, 191, 0],
    [0, 191, 191],
    [0, 191, 0],
    [191, 0, 191],
    [191, 0, 0],
    [0, 0, 191],
];

/// A camera that is a process of its own, and is killed with its owner.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    async fn start(port: u16, method: &str, encoding: &str) -> Self {
        Self::start_with(port, &[method, encoding]).await
    }

    async fn start_with(port: u16, more: &[&str]) -> Self {
        // Debian's own Python: the bindings are its packages.
        let mut child = Command::new("/usr/bin/python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/it/rtsp_server.py"))
            .args([&port.to_string(), "user", "hunter2/é"])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("Python starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let line = timeout(PATIENCE, lines.next_line()).await.expect("it is ready in time");
        let line = line.expect("text").expect("it listens: run `deploy/setup.sh test`");
        let port = line.strip_prefix("ready ").and_then(|port| port.parse().ok());
        Self { child, port: port.expect("a port") }
    }

    fn url(&self, login: &str) -> String {
        format!("rtsp://{login}127.0.0.1:{}/cam", self.port)
    }

    async fn kill(mut self) -> u16 {
        self.child.kill().await.expect("it is ours");
        self.port
    }
}

async fn assert_bars(world: &World) {
    let taken = picture(world, "cam-1").await.unwrap();
    assert_eq!(taken.dimensions(), (640, 360));
    for (bar, colour) in (0..).zip(BARS) {
        let at = (640 * (2 * bar + 1) / 14, 100);
        assert!(is_colour(&taken, at, colour), "bar {bar} is {:?}", taken.get_pixel(at.0, at.1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_is_seen_lost_and_seen_again() {
    let world = World::start().await;
    let server = Server::start(0, "digest", "h264").await;
    let url = server.url(&format!("user:{SECRET}@"));
    let _agent = world.agent("cam-1", &["--camera", &url]).await;
    assert_bars(&world).await;
    assert_bars(&world).await;
    let status = world.run("cam-1", "get_status", json!({})).await;
    let shown = json!(format!("rtsp://user:***@127.0.0.1:{}/cam", server.port));
    assert_eq!(status["result"]["camera"]["source"], shown);

    let port = server.kill().await;
    let lost =
        eventually("the camera to be missed", async || picture(&world, "cam-1").await.err()).await;
    assert_eq!(lost["result"]["error"], "camera_unavailable", "{lost}");
    let alerts = async || world.get("/api/kubeedge/alerts?active=true&type=camera_lost").await;
    let alert = eventually("the alert", async || {
        let alerts = alerts().await;
        (alerts["count"] == 1).then_some(alerts)
    })
    .await;
    let server = Server::start(port, "digest", "h264").await;
    eventually("the alert to end", async || (alerts().await["count"] == 0).then_some(())).await;
    assert_bars(&world).await;

    // Another password, another stream, none at all.
    let mut told = vec![status, lost, alert];
    for (url, problem) in [
        (server.url("user:hunter2x@"), "refuses user or password of its URL"),
        (server.url(""), "wants a user and a password"),
        (server.url(&format!("user:{SECRET}@")).replace("/cam", "/other"), "has no such stream"),
    ] {
        told.push(use_camera(&world, "cam-1", &url).await);
        let failed = picture(&world, "cam-1").await.unwrap_err();
        let message = failed["result"]["message"].as_str().unwrap();
        assert!(message.contains(problem), "{message}");
        told.push(failed);
    }
    assert_no_secret(&seen(&world, "cam-1", &told).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_with_basic_authentication_and_one_with_jpeg() {
    let world = World::start().await;
    let _agent = world.agent("cam-1", &[]).await;
    let server = Server::start(0, "basic", "h264").await;
    use_camera(&world, "cam-1", &server.url(&format!("user:{SECRET}@"))).await;
    assert_bars(&world).await;
    for encoding in ["jpeg", "jpeg422"] {
        let other = Server::start(0, "basic", encoding).await;
        use_camera(&world, "cam-1", &other.url(&format!("user:{SECRET}@"))).await;
        assert_bars(&world).await;
        assert_bars(&world).await;
    }
    assert_no_secret(&seen(&world, "cam-1", &[]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_whose_coding_is_not_known_says_which_and_what_to_do() {
    let world = World::start().await;
    let _agent = world.agent("cam-1", &[]).await;
    let camera = Fake::start(|mut socket| async move {
        let body = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\na=control:x\r\n";
        answer(&mut socket, "200 OK", "", body).await;
    })
    .await;
    use_camera(&world, "cam-1", &camera.url("rtsp", "", "/main")).await;
    let failed = picture(&world, "cam-1").await.unwrap_err();
    let message = failed["result"]["message"].as_str().unwrap();
    let says = "sends H265, which is not known here: choose one of its streams in H.264";
    assert!(message.contains(says), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_with_tls_is_trusted_by_its_certificate_only() {
    let dir = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let (trusted, both) = (dir.path().join("camera.pem"), dir.path().join("both.pem"));
    std::fs::write(&trusted, certificate.pem()).unwrap();
    std::fs::write(&both, certificate.pem() + &key.serialize_pem()).unwrap();
    let both = both.to_str().unwrap();
    let server = Server::start_with(0, &["digest", "h264", both]).await;
    let url = server.url(&format!("user:{SECRET}@")).replace("rtsp://", "rtsps://");

    let world = World::start().await;
    let token = world.join_token("cam-1").await;
    world.join("cam-1", &token, &["--camera", &url]).await.expect("it joins");
    let agent = world.run_agent("cam-1").await;
    world.online("cam-1").await;
    let failed = picture(&world, "cam-1").await.unwrap_err();
    let message = failed["result"]["message"].as_str().unwrap();
    assert!(message.contains("certificate"), "{message}");
    assert_eq!(agent.stop().await, Some(0));
    world.offline("cam-1").await;

    let env = [("SSL_CERT_FILE", trusted.to_str().unwrap())];
    let _agent = world.run_agent_in("cam-1", &env).await;
    world.online("cam-1").await;
    assert_bars(&world).await;
    // TLS only: who asks in the clear learns nothing, and sends no password.
    use_camera(&world, "cam-1", &server.url(&format!("user:{SECRET}@"))).await;
    let plain = picture(&world, "cam-1").await.unwrap_err();
    assert_no_secret(&seen(&world, "cam-1", &[failed, plain]).await);
}

/// What a server that is no friend does.
#[derive(Clone, Copy, Debug)]
enum Foul {
    Nothing,
    Rubbish,
    EndlessHeader,
    HugeBody,
    PacketsForAnswers,
    BadDescription,
    AskedAgain,
    RubbishAfterPlay,
    RubbishPackets,
    RubbishPictures,
    EndlessPicture,
    HugePicture,
    Silence,
}

/// H.264 parameter sets, Base64, that promise pictures of 16384x16384.
const HUGE: &str = "Z0LAPtoAEAAAgBk=,aM48gA==";
/// The beginning of such a picture.
const KEY_SLICE: [u8; 4] = [0x65, 0x88, 0x84, 0xff];

/// Reads a request; its `CSeq`. `None` at the end.
async fn request(socket: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 16_384 {
        head.push(socket.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    head.lines().find_map(|line| line.strip_prefix("CSeq: ")).map(str::to_owned)
}

async fn answer(socket: &mut TcpStream, status: &str, fields: &str, body: &str) -> Option<()> {
    let sequence = request(socket).await?;
    let length = body.len();
    let answer = format!(
        "RTSP/1.0 {status}\r\nCSeq: {sequence}\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    );
    socket.write_all(answer.as_bytes()).await.ok()
}

async fn be_foul(mut socket: TcpStream, foul: Foul, mut seed: u32) -> Option<()> {
    let mut random = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed.to_be_bytes()[0]
    };
    let sets = if matches!(foul, Foul::HugePicture) { HUGE } else { "" };
    let video = format!(
        "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
         a=fmtp:96 sprop-parameter-sets={sets}\r\na=control:x\r\n"
    );
    let begin = match foul {
        Foul::Nothing => {
            sleep(PATIENCE).await;
            return None;
        }
        Foul::Rubbish => String::new(),
        Foul::EndlessHeader => "RTSP/1.0 200 OK\r\n".into(),
        Foul::HugeBody => "RTSP/1.0 200 OK\r\nContent-Length: 99999999999\r\n\r\n".into(),
        Foul::PacketsForAnswers => String::new(),
        Foul::BadDescription => {
            let body = "m=\nm=video\na=:\na=rtpmap:\nm=video 0 RTP/AVP 96\na=rtpmap:96\n";
            answer(&mut socket, "200 OK", "", body).await?;
            String::new()
        }
        Foul::AskedAgain => {
            let realm = "WWW-Authenticate: Digest realm=\"\0\", nonce=\r\n";
            while answer(&mut socket, "401 Unauthorized", realm, "").await.is_some() {}
            return None;
        }
        _ => {
            answer(&mut socket, "200 OK", "", &video).await?;
            answer(&mut socket, "200 OK", "Session: a;timeout=x\r\n", "").await?;
            answer(&mut socket, "200 OK", "", "").await?;
            String::new()
        }
    };
    socket.write_all(begin.as_bytes()).await.ok()?;
    let mut sequence = 0_u16;
    loop {
        let mut bytes: Vec<u8> = (0..1200).map(|_| random()).collect();
        match foul {
            Foul::EndlessHeader => bytes = b"X: y\r\n".repeat(200),
            Foul::Silence => {
                sleep(Duration::from_millis(100)).await;
                bytes.clear();
            }
            Foul::PacketsForAnswers
            | Foul::RubbishPackets
            | Foul::RubbishPictures
            | Foul::EndlessPicture
            | Foul::HugePicture => {
                bytes[0] = b'$';
                bytes[1] = 0;
                bytes[2..4].copy_from_slice(&1196_u16.to_be_bytes());
                if !matches!(foul, Foul::RubbishPackets) {
                    // A good packet, with a key picture of rubbish.
                    sequence = sequence.wrapping_add(1);
                    let whole = matches!(foul, Foul::RubbishPictures | Foul::HugePicture);
                    bytes[4..6].copy_from_slice(&[0x80, 96 | u8::from(whole) << 7]);
                    bytes[6..8].copy_from_slice(&sequence.to_be_bytes());
                    let time = if whole { u32::from(sequence) } else { 1 };
                    bytes[8..12].copy_from_slice(&time.to_be_bytes());
                    let kinds: &[u8] = if whole { &[0x65, 0x67, 0x68, 0x41] } else { &[0x7c] };
                    bytes[16] = kinds[usize::from(sequence) % kinds.len()];
                    bytes[17] = if whole || sequence > 1 { 0x05 } else { 0x85 };
                    if matches!(foul, Foul::HugePicture) {
                        bytes[16..20].copy_from_slice(&KEY_SLICE);
                    }
                }
            }
            _ => {}
        }
        socket.write_all(&bytes).await.ok()?;
    }
}

/// Each of these is an error in bounded time and memory, and a good camera works after it.
async fn survives(fouls: &[(Foul, u32, &str)]) {
    let world = World::start().await;
    let agent = world.agent("cam-1", &[]).await;
    let good = format!("file://{}", cached("photos/chelsea.png").display());
    use_camera(&world, "cam-1", &good).await;
    picture(&world, "cam-1").await.unwrap();
    let before = memory(&agent);
    for &(foul, seed, problem) in fouls {
        let camera = Fake::start(move |socket| async move {
            be_foul(socket, foul, seed).await;
        })
        .await;
        use_camera(&world, "cam-1", &camera.url("rtsp", "eve:x@", "/")).await;
        let begun = Instant::now();
        let failed: Value = picture(&world, "cam-1").await.unwrap_err();
        assert_eq!(failed["result"]["error"], "camera_unavailable", "{foul:?}: {failed}");
        let message = failed["result"]["message"].as_str().unwrap();
        assert!(message.contains(problem), "{foul:?}: {message}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{foul:?}: {:?}", begun.elapsed());
        drop(camera);
        use_camera(&world, "cam-1", &good).await;
        let taken = eventually("a good camera", async || picture(&world, "cam-1").await.ok()).await;
        assert_eq!(taken.dimensions(), (451, 300), "{foul:?}");
    }
    let after = memory(&agent);
    // The largest picture that is put together, and what an allocator keeps of it.
    assert!(after < before + 64_000_000, "from {before} to {after} bytes");
    let most = peak(&agent);
    assert!(most < before + 150_000_000, "from {before} to {most} bytes at most");
    eprintln!("memory from {before} to {after} bytes, {most} at most");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_as_it_should_is_survived() {
    survives(&[
        (Foul::Nothing, 7, ""),
        (Foul::Rubbish, 7, ""),
        (Foul::Rubbish, 77, ""),
        (Foul::Rubbish, 777, ""),
        (Foul::EndlessHeader, 7, "sends too much: a header"),
        (Foul::HugeBody, 7, "sends too much: an answer"),
        (Foul::PacketsForAnswers, 7, "it does not answer"),
        (Foul::BadDescription, 7, "offers no video"),
        (Foul::AskedAgain, 7, "its way to log in is not known"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_plays_rubbish_is_survived() {
    survives(&[
        (Foul::RubbishAfterPlay, 7, ""),
        (Foul::RubbishAfterPlay, 77, ""),
        (Foul::RubbishPackets, 7, ""),
        (Foul::RubbishPackets, 77, ""),
        (Foul::RubbishPictures, 7, ""),
        (Foul::EndlessPicture, 7, ""),
        (Foul::HugePicture, 7, ""),
        (Foul::Silence, 7, ""),
    ])
    .await;
}
