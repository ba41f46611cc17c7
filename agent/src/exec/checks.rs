//! `ping`, `port_check`, `camera_test`: one thing each, tried now, with the time it took.
//!
//! A device is no port scanner: it looks at its own ports only, and at those of the machines that
//! its owner lists (`port_check_hosts` in agent.toml).

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use cloudcore_protocol::{CommandOutcome, Timestamp, command::PortCheck};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

use super::{Rooms, failed};
use crate::machine;

/// A camera that takes longer than this hangs.
const PICTURE: Duration = Duration::from_secs(10);
/// A port that does not answer within this is taken for filtered.
const CONNECT: Duration = Duration::from_secs(2);

impl Rooms {
    /// The answer itself is the echo; beside it the time to the hub and back as QUIC measures it,
    /// without the disks on both sides that a command passes.
    pub(super) fn ping(&self) -> Value {
        let now = Timestamp::now();
        let live = self.link.state().live;
        json!({
            "success": true,
            "round_trip_ms": live.as_ref().map(|live| milliseconds(live.round_trip())),
            "clock_offset_ms": live.map(|live| live.clock_offset_ms),
            "timestamp": now,
            "timestamp_us": now.micros(),
        })
    }

    pub(super) async fn port_check(&self, check: PortCheck) -> Result<Value, CommandOutcome> {
        let host = check.host;
        if !self.may_check(host).await {
            return Err(failed(
                "not_allowed",
                &format!(
                    "{host} is none of this device's own addresses, and not listed in \
                     `port_check_hosts` of its agent.toml"
                ),
            ));
        }
        let begun = Instant::now();
        let ports = join_all(check.ports.iter().map(|port| port_state(host, port))).await;
        let open = ports.iter().filter(|port| port["state"] == "open").count();
        Ok(json!({
            "success": true,
            "host": host,
            "ports": ports,
            "open": open,
            "milliseconds": milliseconds(begun.elapsed()),
            "timestamp": Timestamp::now(),
        }))
    }

    async fn may_check(&self, host: IpAddr) -> bool {
        host.is_loopback()
            || self.settings.get().port_check_hosts.contains(&host)
            || tokio::task::spawn_blocking(move || machine::owns(host)).await.unwrap_or(false)
    }

    pub(super) async fn camera_test(&self) -> Result<Value, CommandOutcome> {
        let begun = Instant::now();
        let frame = self
            .eye
            .look(PICTURE)
            .await
            .map_err(|e| failed("camera_unavailable", &e.to_string()))?;
        let (width, height) = frame.image.dimensions();
        Ok(json!({
            "success": true,
            "source": super::reports::camera_url(&self.settings.get()),
            "resolution": format!("{width}x{height}"),
            "width": width,
            "height": height,
            "milliseconds": milliseconds(begun.elapsed()),
            "timestamp": frame.captured_at,
        }))
    }
}

/// `open`, `closed` (somebody says that nobody listens) or `filtered` (nobody says anything, or the
/// way there is barred).
async fn port_state(host: IpAddr, port: u16) -> Value {
    let begun = Instant::now();
    let (state, reason) =
        match timeout(CONNECT, TcpStream::connect(SocketAddr::new(host, port))).await {
            Ok(Ok(_)) => ("open", None),
            Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => ("closed", None),
            Ok(Err(error)) => ("filtered", Some(error.to_string())),
            Err(_) => ("filtered", Some(format!("no answer within {CONNECT:?}"))),
        };
    let milliseconds = milliseconds(begun.elapsed());
    json!({ "port": port, "state": state, "milliseconds": milliseconds, "reason": reason })
}

/// With three decimals.
fn milliseconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}
