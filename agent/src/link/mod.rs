//! The one connection to the hub.
//!
//! The agent dials, over QUIC with mutual TLS 1.3, keeps the connection alive, and comes back with
//! jittered, growing pauses when it is lost. The socket is bound to no address, so that QUIC
//! survives a change of networks. Everything said goes through the outbox: this room only moves
//! it, and loses nothing when it is cut. Nothing here waits for a command to be executed.

mod blobs;
mod connect;
mod logs;
mod models;
mod releases;
mod renew;
mod session;

use std::{sync::Arc, time::Duration};

use cloudcore_protocol::{CommandId, GoodbyeReason, Timestamp};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

pub use blobs::UploadError;
pub use connect::{Dialled, LinkError, dial};
pub use models::{ModelStream, NoModel};
pub use releases::FetchError;

use crate::{
    backoff::{Backoff, random_share},
    config::{HubAddress, Settings},
    heartbeat::Pulse,
    logs::LogRing,
    outbox::Outbox,
};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Whatever happens, nothing spins.
const LEAST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A session that lived this long was no failed try.
const SETTLED: Duration = Duration::from_secs(10);

/// What the hub asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Run this.
    Run(cloudcore_protocol::Command),
    /// Stop that.
    Cancel(CommandId),
}

/// A session that lives.
#[derive(Debug, Clone)]
pub struct Live {
    connection: quinn::Connection,
    /// The session's generation, the hub's count.
    pub generation: u64,
    /// The hub's release.
    pub hub_version: String,
    /// The hub's address.
    pub hub: std::net::SocketAddr,
    /// Since when.
    pub since: Timestamp,
    /// The hub's clock less this machine's, when the session began; half a round trip too little
    /// at most.
    pub clock_offset_ms: i64,
    /// Whether the hub has a catalog of models.
    pub has_models: bool,
}

impl Live {
    /// The time to the hub and back, as QUIC measures it.
    #[must_use]
    pub fn round_trip(&self) -> Duration {
        self.connection.rtt()
    }
}

/// How the link is.
#[derive(Debug, Clone, Default)]
pub struct LinkState {
    /// The session, while there is one.
    pub live: Option<Arc<Live>>,
    /// Why there is none.
    pub problem: Option<String>,
}

/// What other rooms may know and do; clones are the same link.
#[derive(Debug, Clone)]
pub struct LinkHandle {
    state: watch::Receiver<LinkState>,
}

impl LinkHandle {
    /// How the link is now.
    #[must_use]
    pub fn state(&self) -> LinkState {
        self.state.borrow().clone()
    }

    /// Waits until there is a session.
    pub async fn online(&self) {
        let mut state = self.state.clone();
        if state.wait_for(|state| state.live.is_some()).await.is_err() {
            // The link has stopped for good.
            std::future::pending::<()>().await;
        }
    }
}

/// The link, to be run.
#[derive(Debug)]
pub struct Link {
    settings: Settings,
    /// Instead of the settings', for this run.
    hub: Option<HubAddress>,
    outbox: Outbox,
    pulse: Pulse,
    logs: LogRing,
    orders: mpsc::Sender<Order>,
    state: watch::Sender<LinkState>,
}

/// How an attempt ended.
enum End {
    /// The agent stops.
    Stopped,
    /// The outbox got a new identity: say hello again.
    Rotated,
    /// The session was cut.
    Cut(LinkError),
}

impl Link {
    /// A link to `hub`, or else to the settings' hubs in turn, that hands what is asked for to
    /// `orders`, and shows the log to those who follow it.
    #[must_use]
    pub fn new(
        settings: Settings,
        hub: Option<HubAddress>,
        outbox: Outbox,
        pulse: Pulse,
        logs: LogRing,
        orders: mpsc::Sender<Order>,
    ) -> (Self, LinkHandle) {
        let (state, seen) = watch::channel(LinkState::default());
        (Self { settings, hub, outbox, pulse, logs, orders, state }, LinkHandle { state: seen })
    }

    /// Stays connected until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut hub = 0_usize;
        while !cancel.is_cancelled() {
            let begun = Instant::now();
            let pause = match self.attempt(hub, &cancel).await {
                End::Stopped => break,
                End::Rotated => FIRST_PAUSE,
                End::Cut(error) => {
                    let problem = Some(error.to_string());
                    let before = self.state.send_replace(LinkState { live: None, problem });
                    if before.live.is_none() {
                        hub = hub.wrapping_add(1);
                    } else if error.is_ordinary() || begun.elapsed() > SETTLED {
                        backoff.reset();
                    }
                    // A try that found nobody has waited already.
                    let waited = before.live.is_none().then(|| begun.elapsed());
                    self.pause(&error, &mut backoff, waited.unwrap_or_default())
                }
            };
            tokio::select! {
                () = cancel.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.state.send_replace(LinkState { live: None, problem: Some("the agent stops".into()) });
    }

    /// How long to wait after this error; says so in the log.
    fn pause(&self, error: &LinkError, backoff: &mut Backoff, waited: Duration) -> Duration {
        let node = self.settings.get().node_name.clone();
        if error.needs_a_person() {
            // Coming back every second helps nobody, but the operator may undo what he did.
            let pause = LONGEST_PAUSE.mul_f64(1.0 + random_share());
            tracing::error!(
                %error, %node, retry_in = ?pause,
                "the hub does not accept this node any more: it needs a new join token \
                 (`cloudcore-agent reset`, then `cloudcore-agent join`)"
            );
            return pause;
        }
        let pause = backoff.next().saturating_sub(waited).max(LEAST_PAUSE);
        match error {
            LinkError::Goodbye(GoodbyeReason::Superseded, _) => tracing::warn!(
                %error, %node, retry_in = ?pause,
                "another agent with this node's certificate is connected: is the data directory copied?"
            ),
            _ => tracing::warn!(%error, %node, retry_in = ?pause, "no link to the hub"),
        }
        pause
    }
}
