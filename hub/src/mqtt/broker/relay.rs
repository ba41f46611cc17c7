//! From the client's socket to the engine's: what the engine does not limit is limited here.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket},
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::connections::{Connection, Connections, Pending};

/// Where relays and engine meet: an address of loopback whose ports no listener of anybody's
/// needs, each connection takes one.
pub(super) const LOOPBACK: Ipv4Addr = Ipv4Addr::new(127, 77, 81, 84);
/// How long a client may take to say who it is, TLS and all.
pub(super) const AUTHENTICATE: Duration = Duration::from_secs(10);
/// How long a client has to take what was written to it.
const WRITE: Duration = Duration::from_secs(20);
/// How long the other direction may go on when one has ended.
const LINGER: Duration = Duration::from_secs(5);
/// Bytes of a client that has not authenticated.
const MAX_FIRST: usize = 64 * 1024;
/// Bytes a second of one client, over time and at once.
const RATE: (f64, f64) = (1024.0 * 1024.0, 2.0 * 1024.0 * 1024.0);
/// The same for all of them.
const RATE_OF_ALL: (f64, f64) = (8.0 * 1024.0 * 1024.0, 16.0 * 1024.0 * 1024.0);
/// Bytes moved at once.
const CHUNK: usize = 16 * 1024;

/// A token bucket.
struct Pace {
    rate: f64,
    most: f64,
    left: f64,
    at: Instant,
}

impl Pace {
    fn new((rate, most): (f64, f64)) -> Self {
        Self { rate, most, left: most, at: Instant::now() }
    }

    /// Spends `n` bytes now; how long to wait before the next ones.
    fn spend(&mut self, n: usize, now: Instant) -> Duration {
        let refilled = self.left + self.rate * (now - self.at).as_secs_f64();
        self.at = now;
        #[allow(clippy::cast_precision_loss, reason = "a chunk is small")]
        let spent = n as f64;
        self.left = refilled.min(self.most) - spent;
        Duration::from_secs_f64((-self.left / self.rate).max(0.0))
    }
}

/// Takes clients in until `shutdown`, and then ends them all.
pub(super) async fn accept<I: Send + Sync + 'static>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    engine: SocketAddr,
    connections: Arc<Connections<I>>,
    shutdown: CancellationToken,
) {
    let mut clients = JoinSet::new();
    let all = Arc::new(Mutex::new(Pace::new(RATE_OF_ALL)));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = clients.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: others may give some back.
                tracing::warn!(%error, "an MQTT connection can't be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(pending) = connections.arrive(peer) else {
            tracing::debug!(%peer, "too many MQTT clients that have not authenticated");
            continue;
        };
        let (connections, tls) = (Arc::clone(&connections), tls.clone());
        let (all, shutdown) = (Arc::clone(&all), shutdown.clone());
        clients.spawn(async move {
            let ended = async {
                stream.set_nodelay(true)?;
                match tls {
                    None => relay(stream, peer, engine, &connections, pending, &all).await,
                    Some(tls) => {
                        let stream = timeout(AUTHENTICATE, tls.accept(stream)).await??;
                        relay(stream, peer, engine, &connections, pending, &all).await
                    }
                }
            };
            tokio::select! {
                ended = ended => if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "an MQTT connection broke off");
                },
                () = shutdown.cancelled() => {}
            }
        });
    }
    // Their sockets close as they see `shutdown`.
    while clients.join_next().await.is_some() {}
}

async fn relay<S: AsyncRead + AsyncWrite + Unpin, I>(
    stream: S,
    peer: SocketAddr,
    engine: SocketAddr,
    connections: &Arc<Connections<I>>,
    pending: Pending<I>,
    all: &Mutex<Pace>,
) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((LOOPBACK, 0).into())?;
    // Known before the engine sees it.
    let registered = connections.register(socket.local_addr()?, peer);
    let connection = &registered.connection;
    let mut inner = socket.connect(engine).await?;
    inner.set_nodelay(true)?;
    let (from_engine, to_engine) = inner.split();
    let (from_client, to_client) = tokio::io::split(stream);

    let waiting = async {
        if timeout(AUTHENTICATE, connection.admitted()).await.is_err() {
            tracing::info!(%peer, "an MQTT client did not authenticate in time");
            return;
        }
        drop(pending);
        std::future::pending::<()>().await;
    };
    let up = up(from_client, to_engine, connection, all);
    let down = down(from_engine, to_client, connection);
    tokio::pin!(up, down);
    tokio::select! {
        ended = &mut down => ended,
        // What the engine still has to say reaches a client that only closed its sending half.
        ended = &mut up => {
            let _ = timeout(LINGER, down).await;
            ended
        }
        () = waiting => Ok(()),
        () = connection.cutting() => Ok(()),
    }
}

/// What the client says.
async fn up<I>(
    mut client: impl AsyncRead + Unpin,
    mut engine: impl AsyncWrite + Unpin,
    connection: &Connection<I>,
    all: &Mutex<Pace>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let (mut own, mut first) = (Pace::new(RATE), 0);
    loop {
        let n = client.read(&mut chunk).await?;
        if n == 0 {
            return engine.shutdown().await;
        }
        if !connection.is_admitted() {
            first += n;
            if first > MAX_FIRST {
                return Err(io::Error::other("too much before authentication"));
            }
        }
        let wait = {
            // Nothing panics while it holds the lock.
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            own.spend(n, now).max(all.spend(n, now))
        };
        engine.write_all(&chunk[..n]).await?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

/// What the engine answers.
async fn down<I>(
    mut engine: impl AsyncRead + Unpin,
    mut client: impl AsyncWrite + Unpin,
    connection: &Connection<I>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let n = engine.read(&mut chunk).await?;
        if n == 0 {
            return timeout(WRITE, client.shutdown()).await?;
        }
        let refusal = connection.refusal.get();
        let bytes = refusal.map_or(&chunk[..n], Vec::as_slice);
        timeout(WRITE, async {
            client.write_all(bytes).await?;
            client.flush().await
        })
        .await??;
        if refusal.is_some() {
            return timeout(WRITE, client.shutdown()).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_too_fast_is_waited_for() {
        let mut pace = Pace::new((100.0, 200.0));
        let start = pace.at;
        let mut spend = |n, after| {
            let wait = pace.spend(n, start + Duration::from_secs(after));
            wait.as_secs_f64() * 1000.0
        };
        assert!((spend(200, 0) - 0.0).abs() < 1e-6);
        assert!((spend(100, 0) - 1000.0).abs() < 1e-6);
        assert!((spend(50, 1) - 500.0).abs() < 1e-6);
        assert!((spend(201, 1000) - 10.0).abs() < 1e-6);
    }
}
