//! The listeners, plain and TLS, by one loop. A client gets so much time for each thing it does,
//! and all clients together so many connections; what it leaves open and does not use is closed.

mod patient;

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
    response::Response,
};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use self::patient::Patient;
use crate::api::Transport;

/// For a TLS handshake, and again from there to the end of the first request's head.
const OPENING: Duration = Duration::from_secs(10);
/// For the head of a later HTTP/1 request, from the end of the answer before it.
const HEAD: Duration = Duration::from_secs(30);
/// A connection without a new request for this long takes no more; what runs on it goes on.
const IDLE: Duration = Duration::from_secs(75);
/// How long a client may take nothing of what it is sent.
const STALLED: Duration = Duration::from_secs(60);
/// How often an HTTP/2 client is asked whether it is still there, and how long it has to answer.
const PING: Duration = Duration::from_secs(20);
/// Requests that run at once on one HTTP/2 connection.
const STREAMS: u32 = 64;
/// Largest head of a request, bytes.
const MAX_HEAD: usize = 64 * 1024;
/// How long requests may still run when the hub stops.
const DRAIN: Duration = Duration::from_secs(5);

/// What all listeners share.
#[derive(Clone)]
pub struct Server {
    router: Router,
    connections: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl Server {
    /// For these routes, until `shutdown`.
    #[must_use]
    pub fn new(router: Router, shutdown: CancellationToken) -> Self {
        Self { router, connections: Arc::new(Semaphore::new(most_connections())), shutdown }
    }

    /// Serves a listener until the shutdown, then lets what has begun end. Where all connections
    /// are taken, new ones wait in the system's queue.
    pub async fn listen(self, listener: TcpListener, tls: Option<TlsAcceptor>) {
        let mut tasks = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = self.shutdown.cancelled() => break,
                Some(_) = tasks.join_next() => continue,
                accepted = self.accept(&listener) => accepted,
            };
            match accepted {
                Ok((stream, from, permit)) => {
                    let (server, tls) = (self.clone(), tls.clone());
                    tasks.spawn(async move {
                        server.connection(stream, from, tls).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    // Mostly that this process has no more file descriptors: others will close.
                    tracing::warn!(%error, "a connection can't be accepted");
                    sleep(Duration::from_millis(200)).await;
                }
            }
        }
        drop(listener);
        // What is left after the grace is cut off by dropping it.
        let _ = timeout(DRAIN, async { while tasks.join_next().await.is_some() {} }).await;
    }

    async fn accept(
        &self,
        listener: &TcpListener,
    ) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let permit =
            Arc::clone(&self.connections).acquire_owned().await.map_err(std::io::Error::other)?;
        let (stream, from) = listener.accept().await?;
        Ok((stream, from, permit))
    }

    async fn connection(&self, stream: TcpStream, from: SocketAddr, tls: Option<TlsAcceptor>) {
        // Small answers and events go out at once; where that can't be set they still go out.
        let _ = stream.set_nodelay(true);
        let stream = Patient::new(stream, STALLED);
        let Some(tls) = tls else {
            return self.requests(stream, from, Transport::Plain).await;
        };
        match timeout(OPENING, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.requests(stream, from, Transport::Tls).await,
            Ok(Err(error)) => tracing::debug!(%from, %error, "no TLS"),
            Err(_) => tracing::debug!(%from, "no TLS: too slow"),
        }
    }

    /// Serves the requests of one connection, HTTP/1 or HTTP/2 as its first bytes say.
    async fn requests(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        from: SocketAddr,
        transport: Transport,
    ) {
        let router = TowerToHyperService::new(self.router.clone());
        let count = AtomicU64::new(0);
        let service = service_fn(|request: Request<Incoming>| {
            count.fetch_add(1, Ordering::Relaxed);
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(from));
            request.extensions_mut().insert(transport);
            let answer = hyper::service::Service::call(&router, request);
            async move { Ok::<Response, Infallible>(answer.await.unwrap_or_else(|e| match e {})) }
        });
        let builder = builder();
        let mut serving =
            pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
        let mut look = pin!(sleep(OPENING));
        let (mut known, mut closing) = (0, false);
        loop {
            tokio::select! {
                served = serving.as_mut() => {
                    if let Err(error) = served {
                        tracing::debug!(%from, error, "a connection broke");
                    }
                    return;
                }
                () = self.shutdown.cancelled(), if !closing => closing = true,
                () = look.as_mut(), if !closing => match count.load(Ordering::Relaxed) {
                    0 => return,
                    n if n == known => closing = true,
                    n => {
                        known = n;
                        look.as_mut().reset(Instant::now() + IDLE);
                    }
                },
            }
            if closing {
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(MAX_HEAD);
    // WebSocket over HTTP/2 is not offered: browsers then open an HTTP/1.1 connection for it.
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(MAX_HEAD as u32);
    builder
}

/// Half of the files that this process may open: the rest is the database's and the store's.
fn most_connections() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok())
        .unwrap_or(1024);
    (files / 2).clamp(64, 4096)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn whoever_comes_when_all_connections_are_taken_waits() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let server = Server {
            router: Router::new().fallback(|| async { "here" }),
            connections: Arc::new(Semaphore::new(2)),
            shutdown: shutdown.clone(),
        };
        let serving = tokio::spawn(server.listen(listener, None));
        let ask = async || {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            stream
        };
        let answered = async |stream: &mut TcpStream| {
            let mut buffer = [0; 1024];
            let read = stream.read(&mut buffer).await.unwrap();
            assert!(buffer[..read].ends_with(b"here"));
        };
        let (mut first, mut second) = (ask().await, ask().await);
        answered(&mut first).await;
        answered(&mut second).await;
        let mut third = ask().await;
        timeout(Duration::from_millis(200), answered(&mut third)).await.unwrap_err();
        drop(first);
        answered(&mut third).await;

        // Idle connections do not hold up the end.
        shutdown.cancel();
        timeout(DRAIN, serving).await.unwrap().unwrap();
    }
}
