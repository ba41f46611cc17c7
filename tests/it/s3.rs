//! An S3 server of its own for a test: moto, from PyPI, which `deploy/setup.sh test` fetches.

use std::{net::TcpListener, process::Stdio};

use reqwest::{Client, StatusCode};
use tokio::process::{Child, Command};

use crate::world::{self, cached, eventually};

pub const BUCKET: &str = "cloudcore-it";

/// A server that may be up or down, always at the same address.
pub struct S3 {
    address: String,
    client: Client,
    server: Option<Child>,
}

impl S3 {
    /// One that is not up yet.
    pub fn new() -> Self {
        // The port is free again at once: nothing was ever connected to it.
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = taken.local_addr().expect("it is bound").to_string();
        let client = world::client().build().expect("an HTTP client");
        Self { address, client, server: None }
    }

    /// Comes up, with an empty bucket: what it holds is in memory.
    pub async fn start(&mut self) {
        let (host, port) = self.address.rsplit_once(':').expect("a host and a port");
        let server = Command::new(cached("venv/bin/moto_server"))
            .args(["-H", host, "-p", port])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("moto starts");
        self.server = Some(server);
        let bucket = format!("http://{}/{BUCKET}", self.address);
        eventually("the S3 server", async || {
            let made = self.client.put(&bucket).send().await.ok()?;
            (made.status() == StatusCode::OK).then_some(())
        })
        .await;
    }

    /// Goes away with all it holds.
    pub async fn stop(&mut self) {
        self.server.take().expect("it is up").kill().await.expect("it was ours");
    }

    /// What tells a program where it is.
    pub fn env(&self) -> [(String, String); 5] {
        [
            ("AWS_ENDPOINT", format!("http://{}", self.address)),
            ("AWS_ALLOW_HTTP", "true".into()),
            ("AWS_REGION", "us-east-1".into()),
            ("AWS_ACCESS_KEY_ID", "key".into()),
            ("AWS_SECRET_ACCESS_KEY", "secret".into()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
    }

    /// The keys in the bucket.
    pub async fn keys(&self) -> Vec<String> {
        let url = format!("http://{}/{BUCKET}?list-type=2", self.address);
        let answer = self.client.get(url).send().await.expect("the S3 server answers");
        let listing = answer.text().await.expect("XML");
        let keys = listing.split("<Key>").skip(1);
        keys.map(|rest| rest.split("</Key>").next().unwrap_or_default().to_owned()).collect()
    }

    /// An object's bytes.
    pub async fn object(&self, key: &str) -> Vec<u8> {
        let url = format!("http://{}/{BUCKET}/{key}", self.address);
        // Somebody must ask; moto takes everybody's word for who that is.
        let who = "AWS4-HMAC-SHA256 Credential=key/20240101/us-east-1/s3/aws4_request, \
                   SignedHeaders=host, Signature=0";
        let asked = self.client.get(url).header("authorization", who);
        let answer = asked.send().await.expect("the S3 server answers");
        assert_eq!(answer.status(), StatusCode::OK, "{key}");
        answer.bytes().await.expect("its bytes").into()
    }
}
