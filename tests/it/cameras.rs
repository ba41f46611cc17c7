//! Cameras in the network: pictures over HTTP, as a stream and one by one, and what a camera that
//! is no friend can do.

use std::{
    io::Cursor,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use image::{ImageFormat, Rgb, RgbImage, load_from_memory};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

use crate::world::{PATIENCE, Process, World, cached, eventually, program};

/// What must be seen nowhere.
pub const SECRET: &str = "hunter2%2Fé";
/// The same as the camera gets it, and as nobody else may.
const DECODED: &str = "hunter2/é";

/// A picture of one colour as a file.
pub fn jpeg(width: u32, height: u32, colour: [u8; 3]) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let picture = RgbImage::from_pixel(width, height, Rgb(colour));
    picture.write_to(&mut file, ImageFormat::Jpeg).expect("a JPEG");
    file.into_inner()
}

/// Reads a request's head.
async fn request(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 16_384 {
        match socket.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// A camera of the story's own: each connection is handed to `serve`. Ends with its owner.
pub struct Fake {
    address: std::net::SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Fake {
    pub async fn start<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(serve(socket));
            }
        });
        Self { address, task }
    }

    pub fn url(&self, scheme: &str, login: &str, path: &str) -> String {
        format!("{scheme}://{login}{}{path}", self.address)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An answer that is whole at once.
async fn say(socket: &mut TcpStream, status: &str, fields: &str, body: &[u8]) {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{fields}\r\n", body.len());
    let whole = [head.as_bytes(), body].concat();
    // A client may have heard enough.
    let _ = socket.write_all(&whole).await;
    let _ = socket.shutdown().await;
}

/// Changes the camera of a running agent.
pub async fn use_camera(world: &World, device: &str, url: &str) -> Value {
    let set = world.run(device, "set_config", json!({ "camera": url })).await;
    assert_eq!(set["status"], "completed", "{set}");
    set
}

/// Takes a picture through the hub, and looks at it.
pub async fn picture(world: &World, device: &str) -> Result<RgbImage, Value> {
    let ended = world.run(device, "capture_image", json!({ "quality": 95 })).await;
    if ended["status"] != "completed" {
        return Err(ended);
    }
    let url = ended["result"]["image_url"].as_str().expect("a URL");
    let file = world.client().get(url).send().await.expect("the hub answers");
    assert_eq!(file.status(), StatusCode::OK);
    let file = file.bytes().await.expect("a picture");
    Ok(load_from_memory(&file).expect("a picture").into_rgb8())
}

/// Whether a pixel is of about this colour.
pub fn is_colour(picture: &RgbImage, at: (u32, u32), colour: [u8; 3]) -> bool {
    let pixel = picture.get_pixel(at.0, at.1).0;
    pixel.iter().zip(colour).all(|(is, wanted)| is.abs_diff(wanted) < 24)
}

/// All that anybody got to see, but for the agent's own files.
pub async fn seen(world: &World, node: &str, more: &[Value]) -> String {
    let log = std::fs::read_to_string(world.dir.path().join(format!("{node}.log")));
    let mut seen = format!("{}\n{}", world.hub_log(), log.expect("a log"));
    for path in [
        &format!("/api/kubeedge/device/{node}"),
        "/api/kubeedge/commands",
        "/api/kubeedge/devices",
        "/api/kubeedge/alerts",
        "/api/kubeedge/security/logs",
        "/api/kubeedge/cluster/overview",
    ] {
        let (_, answer) = world.call(Method::GET, path, None).await;
        seen.push_str(&answer.to_string());
    }
    for command in world.get("/api/kubeedge/commands?limit=100").await["commands"]
        .as_array()
        .expect("commands")
    {
        let id = command["command_id"].as_str().expect("an id");
        seen.push_str(&world.status(id).await.to_string());
    }
    more.iter().for_each(|value| seen.push_str(&value.to_string()));
    seen
}

/// Nothing that was seen holds a password, however written.
pub fn assert_no_secret(seen: &str) {
    use std::fmt::Write as _;
    let mut hex = String::new();
    DECODED.bytes().for_each(|byte| write!(hex, "{byte:02x}").expect("text"));
    for secret in ["hunter2", "aHVudGVy", "h1bnRlcj", "odW50ZXIy", hex.as_str()] {
        if let Some(at) = seen.find(secret) {
            let from = seen.floor_char_boundary(at.saturating_sub(200));
            let to = seen.ceil_char_boundary((at + 100).min(seen.len()));
            panic!("a secret was seen: …{}…", &seen[from..to]);
        }
    }
}

/// A stream of these pictures by turns, as mjpg-streamer sends it, for whom the login is right.
pub async fn mjpeg(mut socket: TcpStream, pictures: Arc<Vec<Vec<u8>>>, sent: Arc<AtomicUsize>) {
    let head = request(&mut socket).await;
    if !head.contains(&format!("Authorization: {BASIC}\r\n")) {
        let realm = "WWW-Authenticate: Basic realm=\"camera\"\r\n";
        say(&mut socket, "401 Unauthorized", realm, b"").await;
        return;
    }
    stream(socket, pictures, sent).await;
}

/// The stream itself.
async fn stream(mut socket: TcpStream, pictures: Arc<Vec<Vec<u8>>>, sent: Arc<AtomicUsize>) {
    let head = "HTTP/1.0 200 OK\r\nServer: MJPG-Streamer/0.2\r\n\
        Content-Type: multipart/x-mixed-replace;boundary=boundarydonotcross\r\n\r\n\
        --boundarydonotcross\r\n";
    if socket.write_all(head.as_bytes()).await.is_err() {
        return;
    }
    for file in pictures.iter().cycle() {
        let part = format!("Content-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", file.len());
        let part = [part.as_bytes(), file, b"\r\n--boundarydonotcross\r\n"].concat();
        if socket.write_all(&part).await.is_err() {
            return;
        }
        sent.fetch_add(1, Ordering::Relaxed);
        // A camera's own pace.
        sleep(Duration::from_millis(2)).await;
    }
}

/// `user:hunter2/é`.
const BASIC: &str = "Basic dXNlcjpodW50ZXIyL8Op";

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_jpegs_is_a_camera_and_its_password_a_secret() {
    let world = World::start().await;
    let sent = Arc::new(AtomicUsize::new(0));
    let pictures = Arc::new(vec![jpeg(320, 240, [0, 200, 0])]);
    let camera =
        Fake::start(move |socket| mjpeg(socket, Arc::clone(&pictures), Arc::clone(&sent))).await;
    let agent = world.agent("cam-1", &[]).await;
    let url = camera.url("http", &format!("user:{SECRET}@"), "/?action=stream");

    let set = use_camera(&world, "cam-1", &url).await;
    let shown = format!("http://user:***@{}/?***", camera.address);
    assert_eq!(set["result"]["config"]["camera"], json!(shown));
    let taken = picture(&world, "cam-1").await.unwrap();
    assert_eq!(taken.dimensions(), (320, 240));
    assert!(is_colour(&taken, (100, 100), [0, 200, 0]));
    let mut told = vec![set];
    for command in ["get_status", "camera_test", "run_diagnostics"] {
        let ended = world.run("cam-1", command, json!({})).await;
        assert_eq!(ended["status"], "completed", "{ended}");
        told.push(ended);
    }
    assert_eq!(told[1]["result"]["camera"]["source"], json!(shown));
    assert_eq!(told[2]["result"]["source"], json!(shown));

    // The file has it, so that a restart knows it; and nobody else may read the file.
    let file = world.node_dir("cam-1").join("agent.toml");
    assert!(std::fs::read_to_string(&file).unwrap().contains("hunter2"));
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
    assert_eq!(mode & 0o077, 0);
    assert_eq!(agent.stop().await, Some(0));
    let agent = world.run_agent("cam-1").await;
    world.online("cam-1").await;
    assert!(picture(&world, "cam-1").await.is_ok());

    // Wrong, missing, misspelt: each says so, and none says what.
    for (login, problem) in
        [("user:hunter2x@", "refuses user or password"), ("", "wants a user and a password")]
    {
        told.push(use_camera(&world, "cam-1", &camera.url("http", login, "/")).await);
        let failed = picture(&world, "cam-1").await.unwrap_err();
        assert_eq!(failed["result"]["error"], "camera_unavailable", "{failed}");
        assert!(failed["result"]["message"].as_str().unwrap().contains(problem), "{failed}");
        told.push(failed);
    }
    for url in ["http://user:hunter2@cam:port/", "ftp://user:hunter2@cam/", "user:hunter2@cam"] {
        let refused = world.run("cam-1", "set_config", json!({ "camera": url })).await;
        assert_eq!(refused["result"]["error"], "invalid_parameters", "{refused}");
        told.push(refused);
    }
    // The camera that is lost with a password in its URL: an alert, a heartbeat, a log line.
    let gone = camera.url("http", &format!("user:{SECRET}@"), "/user=x_password=hunter2");
    drop(camera);
    use_camera(&world, "cam-1", &gone).await;
    let failed = picture(&world, "cam-1").await.unwrap_err();
    assert!(failed.to_string().contains("can't be reached"), "{failed}");
    let alert = eventually("the alert", async || {
        let alerts = world.get("/api/kubeedge/alerts?active=true&type=camera_lost").await;
        alerts["alerts"].as_array()?.first().cloned()
    })
    .await;
    told.push(alert);
    for (command, way) in [("join", "--camera"), ("capture", "--camera")] {
        let said = std::process::Command::new(program("cloudcore-agent"))
            .args([command, way, "ftp://user:hunter2@cam/", "--out", "/tmp/x.png"])
            .args(["--cloudcore-ipport", "127.0.0.1:1", "--token", "x", "--edgenode-name", "n"])
            .output()
            .expect("it starts");
        assert!(!said.status.success());
        told.push(json!(String::from_utf8_lossy(&said.stderr)));
    }
    let status = std::process::Command::new(program("cloudcore-agent"))
        .arg("status")
        .arg("--data-dir")
        .arg(world.node_dir("cam-1"))
        .output()
        .expect("it starts");
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("user:***@"), "{status}");
    told.push(json!(status));
    assert_no_secret(&seen(&world, "cam-1", &told).await);

    // A settings file that is spoilt beside it.
    assert_eq!(agent.stop().await, Some(0));
    let text = std::fs::read_to_string(&file).unwrap().replace("/user=x", "/\\q");
    std::fs::write(&file, text).unwrap();
    let said = std::process::Command::new(program("cloudcore-agent"))
        .arg("run")
        .arg("--data-dir")
        .arg(world.node_dir("cam-1"))
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("agent.toml") && said.contains("line "), "{said}");
    assert_no_secret(&said);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_gives_one_picture_an_answer_is_asked_for_each() {
    let world = World::start().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    // Digest, and the picture as a chunked answer: what real ones do.
    let camera = Fake::start(move |mut socket| {
        let counter = Arc::clone(&counter);
        async move {
            let head = request(&mut socket).await;
            if !head.contains("Authorization: Digest username=\"user\"") {
                let realm =
                    "WWW-Authenticate: Digest realm=\"cam\", nonce=\"n1\", qop=\"auth\"\r\n";
                say(&mut socket, "401 Unauthorized", realm, b"no").await;
                return;
            }
            let turn = counter.fetch_add(1, Ordering::Relaxed);
            let colour = if turn == 0 { [200, 0, 0] } else { [0, 0, 200] };
            let file = jpeg(64, 48, colour);
            let (one, two) = file.split_at(100);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
            let mut body = head.as_bytes().to_vec();
            for part in [one, two, &[]] {
                body.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                body.extend_from_slice(part);
                body.extend_from_slice(b"\r\n");
            }
            let _ = socket.write_all(&body).await;
            // It leaves the connection open: the last chunk ends the answer.
            sleep(PATIENCE).await;
        }
    })
    .await;
    let url = camera.url("http", &format!("user:{SECRET}@"), "/snapshot.jpg");
    let _agent = world.agent("cam-1", &["--camera", &url]).await;
    for colour in [[200, 0, 0], [0, 0, 200]] {
        let taken = picture(&world, "cam-1").await.unwrap();
        assert_eq!(taken.dimensions(), (64, 48));
        assert!(is_colour(&taken, (10, 10), colour));
    }
    assert!(asked.load(Ordering::Relaxed) >= 2);
    assert_no_secret(&seen(&world, "cam-1", &[]).await);
}

/// Hexadecimal MD5 or SHA-256, as RFC 7616 has them.
fn digest(algorithm: &str, text: &str) -> String {
    let program = if algorithm == "MD5" { "md5sum" } else { "sha256sum" };
    let mut child = std::process::Command::new(program)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("coreutils");
    let mut stdin = child.stdin.take().expect("it is piped");
    std::io::Write::write_all(&mut stdin, text.as_bytes()).expect("it reads");
    drop(stdin);
    let said = child.wait_with_output().expect("it ends").stdout;
    String::from_utf8_lossy(&said).split(' ').next().expect("a hash").to_owned()
}

/// A camera that checks a login as RFC 7616 has it.
struct Doorkeeper {
    algorithm: &'static str,
    /// How many requests a nonce is good for.
    uses: usize,
    /// Its nonces so far, and the requests of the last one.
    nonces: Mutex<(usize, usize)>,
    /// What came: let in, refused, asked again because of an old nonce.
    counts: [AtomicUsize; 3],
}

impl Doorkeeper {
    fn new(algorithm: &'static str, uses: usize) -> Arc<Self> {
        Arc::new(Self { algorithm, uses, nonces: Mutex::default(), counts: Default::default() })
    }

    fn counts(&self) -> [usize; 3] {
        self.counts.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Nothing for one who is let in; else the challenge.
    fn check(&self, head: &str) -> Option<String> {
        let mut nonces = self.nonces.lock().unwrap();
        let challenge = |nonces: &mut (usize, usize), stale: &str| {
            *nonces = (nonces.0 + 1, 0);
            Some(format!(
                "WWW-Authenticate: Digest realm=\"a \\\"cam\\\"\", nonce=\"n{}\", opaque=\"o\", \
                 qop=\"auth\", algorithm={}{stale}\r\n",
                nonces.0, self.algorithm
            ))
        };
        let Some(login) = head.lines().find_map(|line| line.strip_prefix("Authorization: Digest "))
        else {
            return challenge(&mut nonces, "");
        };
        let field = |name: &str| {
            let at = login.find(&format!("{name}=")).unwrap_or_else(|| panic!("{name}: {login}"));
            let value = &login[at + name.len() + 1..];
            match value.strip_prefix('"') {
                // The realm alone has quotes in it, and is looked at as a whole.
                Some(quoted) => quoted.split('"').next().unwrap().to_owned(),
                None => value.split(',').next().unwrap().trim().to_owned(),
            }
        };
        assert!(login.contains(r#"realm="a \"cam\"""#), "{login}");
        assert_eq!(field("opaque"), "o");
        let path = head.split(' ').nth(1).expect("a request");
        assert_eq!(field(", uri"), path);
        let hash = |text: String| digest(self.algorithm, &text);
        let who = hash(format!("user:a \"cam\":{DECODED}"));
        let what = hash(format!("GET:{path}"));
        let (nonce, nc, cnonce) = (field(", nonce"), field("nc"), field("cnonce"));
        let response = hash(format!("{who}:{nonce}:{nc}:{cnonce}:auth:{what}"));
        if response != field("response") {
            self.counts[1].fetch_add(1, Ordering::Relaxed);
            return challenge(&mut nonces, "");
        }
        // A count that does not grow is somebody who says again what he heard.
        let fresh = nonce == format!("n{}", nonces.0)
            && usize::from_str_radix(&nc, 16).unwrap() == nonces.1 + 1
            && nonces.1 < self.uses;
        if !fresh {
            self.counts[2].fetch_add(1, Ordering::Relaxed);
            return challenge(&mut nonces, ", stale=true");
        }
        nonces.1 += 1;
        self.counts[0].fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_checks_a_digest_lets_in_who_knows_the_password() {
    let world = World::start().await;
    let _agent = world.agent("cam-1", &[]).await;
    for algorithm in ["MD5", "SHA-256"] {
        // Each nonce is good for two requests.
        let door = Doorkeeper::new(algorithm, 2);
        let asked = Arc::clone(&door);
        let camera = Fake::start(move |mut socket| {
            let door = Arc::clone(&asked);
            async move {
                let head = request(&mut socket).await;
                match door.check(&head) {
                    Some(challenge) => {
                        say(&mut socket, "401 Unauthorized", &challenge, b"").await;
                    }
                    None => {
                        let file = jpeg(64, 48, [200, 0, 0]);
                        say(&mut socket, "200 OK", "Content-Type: image/jpeg\r\n", &file).await;
                    }
                }
            }
        })
        .await;
        let path = "/cgi-bin/snapshot.cgi?channel=1&x=a,b";
        let url = camera.url("http", &format!("user:{SECRET}@"), path);
        use_camera(&world, "cam-1", &url).await;
        for _ in 0..6 {
            let taken = picture(&world, "cam-1").await.unwrap();
            assert!(is_colour(&taken, (10, 10), [200, 0, 0]));
        }
        let [let_in, refused, stale] = door.counts();
        assert!(let_in >= 6 && stale >= 2, "{let_in} let in, {stale} by an old nonce");
        assert_eq!(refused, 0, "an old nonce is no wrong password");

        use_camera(&world, "cam-1", &camera.url("http", "user:hunter2x@", path)).await;
        let failed = picture(&world, "cam-1").await.unwrap_err();
        let message = failed["result"]["message"].as_str().unwrap();
        assert!(message.contains("refuses user or password of its URL"), "{message}");
        // A camera locks out who guesses: one try a look.
        assert!(door.counts()[1] <= 3, "{:?}", door.counts());
        assert_no_secret(&seen(&world, "cam-1", &[failed]).await);
    }
}

/// A stream behind the same door.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_behind_a_digest_is_read_again_after_it_broke() {
    let world = World::start().await;
    let door = Doorkeeper::new("MD5", 1);
    let asked = Arc::clone(&door);
    let sent = Arc::new(AtomicUsize::new(0));
    let pictures = Arc::new(vec![jpeg(320, 240, [0, 200, 0])]);
    let camera = Fake::start(move |mut socket| {
        let (door, pictures, sent) = (Arc::clone(&asked), Arc::clone(&pictures), Arc::clone(&sent));
        async move {
            let head = request(&mut socket).await;
            match door.check(&head) {
                Some(challenge) => say(&mut socket, "401 Unauthorized", &challenge, b"").await,
                // It breaks off after a while.
                None => {
                    let stream = stream(socket, pictures, sent);
                    let _ = tokio::time::timeout(Duration::from_secs(2), stream).await;
                }
            }
        }
    })
    .await;
    let url = camera.url("http", &format!("user:{SECRET}@"), "/mjpg/video.mjpg");
    let _agent = world.agent("cam-1", &["--camera", &url]).await;
    eventually("a second stream", async || {
        let taken = picture(&world, "cam-1").await.ok()?;
        assert!(is_colour(&taken, (100, 100), [0, 200, 0]));
        (door.counts()[0] >= 2).then_some(())
    })
    .await;
    assert_eq!(door.counts()[1], 0);
    assert_no_secret(&seen(&world, "cam-1", &[]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_with_tls_must_be_one_that_the_machine_trusts() {
    let dir = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let trusted = dir.path().join("camera.pem");
    std::fs::write(&trusted, certificate.pem()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(
        vec![certificate.der().clone()],
        rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
    )
    .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let config = Arc::new(config);
    // Ends with the test's process: it waits for connections, and keeps none.
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for socket in listener.incoming().flatten() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, socket);
            let mut head = [0; 2048];
            if stream.read(&mut head).is_ok() {
                let file = jpeg(64, 48, [200, 0, 0]);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", file.len());
                let _ = stream.write_all(&[head.as_bytes(), &file].concat());
                let _ = stream.flush();
            }
        }
    });
    let out = dir.path().join("x.png");
    let capture = |trusted: &std::path::Path| {
        std::process::Command::new(program("cloudcore-agent"))
            .args(["capture", "--camera", &url, "--out"])
            .arg(&out)
            .env("SSL_CERT_FILE", trusted)
            .output()
            .expect("it starts")
    };
    let refused = capture(std::path::Path::new("/dev/null"));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("certificate"), "{said}");
    let taken = capture(&trusted);
    assert!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stderr));
    assert_eq!(image::open(&out).unwrap().into_rgb8().dimensions(), (64, 48));
}

/// Memory of a process that is its own, bytes.
pub fn memory(agent: &Process) -> u64 {
    of_status(agent, "RssAnon:")
}

/// The most memory that a process had, bytes; its program's pages are counted as well.
pub fn peak(agent: &Process) -> u64 {
    of_status(agent, "VmHWM:")
}

fn of_status(agent: &Process, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with(key)).expect("a line");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).expect("kB") * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_detector_drops_frames_and_memory_does_not_grow() {
    let world = World::start().await;
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    // Something moves in each, so that the model has to look at it.
    let photographs = ["astronaut", "chelsea", "coffee"].map(|name| {
        let mut file = Cursor::new(Vec::new());
        let photograph = image::open(cached(&format!("photos/{name}.png"))).expect("a picture");
        photograph.to_rgb8().write_to(&mut file, ImageFormat::Jpeg).expect("a JPEG");
        file.into_inner()
    });
    let pictures = Arc::new(photographs.to_vec());
    let camera =
        Fake::start(move |socket| mjpeg(socket, Arc::clone(&pictures), Arc::clone(&counter))).await;
    let model = cached("models/nanodet.json");
    let url = camera.url("http", &format!("user:{SECRET}@"), "/");
    let model = model.to_str().unwrap();
    let agent = world.agent("cam-1", &["--camera", &url, "--model", model]).await;
    let how = json!({ "confidence": 0.3, "interval": 0.1 });
    assert_eq!(world.run("cam-1", "start_detection", how).await["status"], "completed");
    let more = async |frames: usize| {
        let from = sent.load(Ordering::Relaxed);
        eventually("the camera to send", async || {
            (sent.load(Ordering::Relaxed) > from + frames).then_some(())
        })
        .await;
    };
    // Until the model and its allocator have all that they will ever need.
    more(3000).await;
    let (before, begun) = (memory(&agent), Instant::now());
    // Far more than the detector can look at, and than would fit: each is 400 kB or more decoded.
    more(5000).await;
    let (after, took) = (memory(&agent), begun.elapsed());
    let looks = took.as_secs_f64() / 0.1;
    assert!(looks < 2500.0, "the camera was no faster than the detector may be: {took:?}");
    assert!(after < before + 24_000_000, "from {before} to {after} bytes");
    eprintln!("5000 frames in {took:?}, memory from {before} to {after} bytes");
    let status = world.run("cam-1", "get_status", json!({})).await;
    assert_eq!(status["result"]["detecting"], true, "{status}");
    assert_eq!(status["result"]["camera"]["state"], "ready", "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_looked_at_is_new_however_slowly_one_looks() {
    let world = World::start().await;
    let blue = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&blue);
    let camera = Fake::start(move |mut socket| {
        let now = Arc::clone(&now);
        async move {
            request(&mut socket).await;
            let head = "HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; \
                boundary=\"--x\"\r\n\r\n";
            let _ = socket.write_all(head.as_bytes()).await;
            let files = [jpeg(64, 48, [200, 0, 0]), jpeg(64, 48, [0, 0, 200])];
            loop {
                let file = &files[usize::from(now.load(Ordering::Relaxed))];
                // No length: the next boundary is the end.
                let part = [b"--x\r\nContent-Type: image/jpeg\r\n\r\n", file.as_slice(), b"\r\n"];
                if socket.write_all(&part.concat()).await.is_err() {
                    break;
                }
                sleep(Duration::from_millis(5)).await;
            }
        }
    })
    .await;
    let _agent = world.agent("cam-1", &["--camera", &camera.url("http", "", "/")]).await;
    let first = picture(&world, "cam-1").await.unwrap();
    assert!(is_colour(&first, (10, 10), [200, 0, 0]));
    blue.store(true, Ordering::Relaxed);
    // More than a buffer full of red ones has been sent by now, had they been kept.
    let mut looked = 0;
    eventually("a blue picture", async || {
        looked += 1;
        is_colour(&picture(&world, "cam-1").await.ok()?, (10, 10), [0, 0, 200]).then_some(())
    })
    .await;
    assert!(looked <= 2, "{looked} pictures from before");
}

/// What a camera that is no friend does with a connection.
#[derive(Clone, Copy, Debug)]
enum Foul {
    Nothing,
    Rubbish,
    EndlessHeader,
    EndlessLine,
    NoBoundary,
    HugeLength,
    EndlessPart,
    EndlessChunks,
    SlowBytes,
    ManyPixels,
    Malformed,
    Truncated,
    Page,
    Elsewhere,
}

/// The head of a PNG that says it has 144 megapixels.
fn many_pixels() -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    RgbImage::new(8, 8).write_to(&mut file, ImageFormat::Jpeg).expect("a JPEG");
    let mut file = file.into_inner();
    let frame = file.windows(2).position(|w| w == [0xff, 0xc0]).expect("its size");
    file[frame + 5..frame + 9].copy_from_slice(&[0x2e, 0xe0, 0x2e, 0xe0]);
    file
}

async fn be_foul(mut socket: TcpStream, foul: Foul, mut seed: u32) {
    let mut random = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed.to_be_bytes()[0]
    };
    if !matches!(foul, Foul::Rubbish) {
        request(&mut socket).await;
    }
    let multipart = "Content-Type: multipart/x-mixed-replace;boundary=x\r\n";
    let stream = format!("HTTP/1.1 200 OK\r\n{multipart}\r\n--x\r\n");
    let forever = |begin: String, again: Vec<u8>| (begin.into_bytes(), again);
    let (begin, again) = match foul {
        Foul::Nothing => forever(String::new(), Vec::new()),
        Foul::Rubbish => (Vec::new(), (0..4096).map(|_| random()).collect()),
        Foul::EndlessHeader => forever("HTTP/1.1 200 OK\r\n".into(), b"X: y\r\n".repeat(500)),
        Foul::EndlessLine => forever("HTTP/1.1 200 OK\r\nX: ".into(), vec![b'y'; 60_000]),
        Foul::NoBoundary => forever(stream, vec![b'-'; 60_000]),
        Foul::HugeLength => {
            forever(format!("{stream}Content-Length: 99999999999\r\n\r\n"), vec![7; 60_000])
        }
        Foul::EndlessPart => forever(format!("{stream}X: y\r\n\r\n"), vec![7; 60_000]),
        Foul::EndlessChunks => {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            forever(head.into(), [b"4000\r\n".to_vec(), vec![7; 0x4000], b"\r\n".to_vec()].concat())
        }
        Foul::SlowBytes => {
            let _ =
                socket.write_all(format!("{stream}Content-Length: 9999\r\n\r\n").as_bytes()).await;
            while socket.write_all(&[7]).await.is_ok() {
                sleep(Duration::from_millis(200)).await;
            }
            return;
        }
        Foul::ManyPixels => {
            return say(&mut socket, "200 OK", "Content-Type: image/jpeg\r\n", &many_pixels())
                .await;
        }
        Foul::Malformed => {
            let mut file = jpeg(640, 480, [1, 2, 3]);
            file.iter_mut().skip(2).step_by(3).for_each(|byte| *byte = random());
            return say(&mut socket, "200 OK", "Content-Type: image/jpeg\r\n", &file).await;
        }
        Foul::Truncated => {
            let file = &jpeg(640, 480, [1, 2, 3])[..80];
            return say(&mut socket, "200 OK", "Content-Type: image/jpeg\r\n", file).await;
        }
        Foul::Page => {
            return say(&mut socket, "200 OK", "Content-Type: text/html\r\n", b"<html>").await;
        }
        Foul::Elsewhere => {
            let to = "Location: file:///etc/shadow\r\n";
            return say(&mut socket, "302 Found", to, b"").await;
        }
    };
    let _ = socket.write_all(&begin).await;
    if again.is_empty() {
        return sleep(PATIENCE).await;
    }
    while socket.write_all(&again).await.is_ok() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_is_no_friend_costs_neither_memory_nor_time() {
    let world = World::start().await;
    let agent = world.agent("cam-1", &[]).await;
    let good = format!("file://{}", cached("photos/chelsea.png").display());
    use_camera(&world, "cam-1", &good).await;
    picture(&world, "cam-1").await.unwrap();
    let before = memory(&agent);
    for (foul, problem) in [
        (Foul::Nothing, ""),
        (Foul::Rubbish, ""),
        (Foul::EndlessHeader, "sends too much: a header"),
        (Foul::EndlessLine, "sends too much: a line of a header"),
        (Foul::NoBoundary, "sends too much"),
        (Foul::HugeLength, "sends too much: a picture"),
        (Foul::EndlessPart, "sends too much: a picture"),
        (Foul::EndlessChunks, "sends too much: a picture"),
        (Foul::SlowBytes, ""),
        (Foul::ManyPixels, "no good picture"),
        (Foul::Malformed, "no good picture"),
        (Foul::Truncated, "no good picture"),
        (Foul::Page, "answers with a page"),
        (Foul::Elsewhere, "sends on to another address"),
    ] {
        let camera = Fake::start(move |socket| be_foul(socket, foul, 7)).await;
        use_camera(&world, "cam-1", &camera.url("http", "", "/")).await;
        let begun = Instant::now();
        let failed = picture(&world, "cam-1").await.unwrap_err();
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
    // The largest file that is looked at, and what an allocator keeps of it.
    assert!(after < before + 64_000_000, "from {before} to {after} bytes");
    let most = peak(&agent);
    assert!(most < before + 150_000_000, "from {before} to {most} bytes at most");
    eprintln!("memory from {before} to {after} bytes, {most} at most");
}
