//! From an address to a QUIC connection, or to a reason that says what to do.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use cloudcore_protocol::{CodecError, GoodbyeReason, HUB_SERVER_NAME};
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, TransportConfig,
    crypto::rustls::QuicClientConfig,
};
use tokio::time::timeout;

use crate::{config::HubAddress, identity::IdentityError, outbox::OutboxError};

const RESOLVE: Duration = Duration::from_secs(5);
/// QUIC asks again ever more slowly: beginning anew finds a hub sooner that has just started.
const HANDSHAKE: Duration = Duration::from_secs(5);
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(15);
/// Bytes that may be under way: bounds memory, and how long an urgent frame waits behind others.
const SEND_WINDOW: u64 = 1 << 20;

/// Why there is no link, or no more.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The name of the hub has no address.
    #[error("can't resolve {hub}: {reason}")]
    Resolve {
        /// The hub.
        hub: HubAddress,
        /// Why.
        reason: String,
    },
    /// Nobody answers.
    #[error("can't reach {hub}: {reason}")]
    Unreachable {
        /// The hub.
        hub: HubAddress,
        /// Why.
        reason: String,
    },
    /// Who answers is not the hub of this node's CA.
    #[error("the hub's certificate is not accepted: {0}")]
    HubCertificate(String),
    /// The hub does not accept this node's certificate.
    #[error("the hub refuses this node's certificate: {0}")]
    Refused(String),
    /// The hub said goodbye.
    #[error("the hub said goodbye ({0:?}): {1}")]
    Goodbye(GoodbyeReason, String),
    /// The connection broke.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// The hub took too long.
    #[error("the hub did not answer within {0:?}")]
    Slow(Duration),
    /// The hub breaks the protocol.
    #[error("the hub breaks the protocol: {0}")]
    Protocol(String),
    /// This node's credentials.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// This node's disk.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// This machine's network.
    #[error("the network: {0}")]
    Network(String),
}

impl LinkError {
    /// Whether coming back will fail until somebody does something.
    #[must_use]
    pub const fn needs_a_person(&self) -> bool {
        matches!(
            self,
            Self::Refused(_) | Self::Goodbye(GoodbyeReason::Revoked, _) | Self::Identity(_)
        )
    }

    /// Whether it is what happens to a healthy link when a network or a hub goes away.
    pub(super) const fn is_ordinary(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::Goodbye(GoodbyeReason::Shutdown, _))
    }
}

impl From<ConnectionError> for LinkError {
    fn from(error: ConnectionError) -> Self {
        /// TLS alerts travel as QUIC errors from here on (RFC 9001, 4.8).
        const CRYPTO: u64 = 0x100;
        /// The hub closes with this and the reason's number.
        const GOODBYE: u64 = 2;
        match &error {
            ConnectionError::ConnectionClosed(close) => {
                let code = u64::from(close.error_code);
                match code.checked_sub(CRYPTO).filter(|alert| *alert < 0x100) {
                    // bad_certificate to certificate_unknown, unknown_ca, access_denied,
                    // certificate_required (RFC 8446, 6)
                    Some(42 | 43 | 46 | 48 | 49 | 116) => Self::Refused(error.to_string()),
                    Some(44) => Self::Refused("it is revoked".into()),
                    Some(45) => Self::Refused("it has expired".into()),
                    _ => Self::Lost(error.to_string()),
                }
            }
            ConnectionError::ApplicationClosed(close) => {
                let said = String::from_utf8_lossy(&close.reason).into_owned();
                let reason = match u64::from(close.error_code).checked_sub(GOODBYE) {
                    Some(0) => GoodbyeReason::Version,
                    Some(1) => GoodbyeReason::Revoked,
                    Some(2) => GoodbyeReason::Shutdown,
                    Some(3) => GoodbyeReason::Superseded,
                    Some(4) => GoodbyeReason::Protocol,
                    Some(5) => GoodbyeReason::Busy,
                    _ => return Self::Lost(format!("closed by the hub: {said}")),
                };
                Self::Goodbye(reason, said)
            }
            ConnectionError::TransportError(transport) => {
                let alert = u64::from(transport.code).checked_sub(CRYPTO);
                match alert.filter(|alert| *alert < 0x100) {
                    // Our own verdict on the hub's certificate.
                    Some(42..=48) => Self::HubCertificate(transport.reason.clone()),
                    _ => Self::Lost(error.to_string()),
                }
            }
            _ => Self::Lost(error.to_string()),
        }
    }
}

impl From<CodecError> for LinkError {
    fn from(error: CodecError) -> Self {
        match error {
            // quinn wraps a connection's end in an I/O error.
            CodecError::Io(io) => match io
                .get_ref()
                .and_then(|inner| inner.downcast_ref::<quinn::ReadError>())
            {
                Some(quinn::ReadError::ConnectionLost(lost)) => lost.clone().into(),
                _ => match io.get_ref().and_then(|inner| inner.downcast_ref::<quinn::WriteError>())
                {
                    Some(quinn::WriteError::ConnectionLost(lost)) => lost.clone().into(),
                    _ => Self::Lost(io.to_string()),
                },
            },
            other => Self::Protocol(other.to_string()),
        }
    }
}

impl From<std::io::Error> for LinkError {
    fn from(error: std::io::Error) -> Self {
        CodecError::Io(error).into()
    }
}

/// A connection, and the socket under it.
#[derive(Debug)]
pub struct Dialled {
    /// The connection.
    pub connection: Connection,
    /// Its socket; closing it ends the connection.
    pub endpoint: Endpoint,
}

/// Connects to the first address of the hub that answers.
///
/// # Errors
/// [`LinkError`], the last address's.
pub async fn dial(hub: &HubAddress, tls: rustls::ClientConfig) -> Result<Dialled, LinkError> {
    let crypto = QuicClientConfig::try_from(tls).map_err(|e| LinkError::Network(e.to_string()))?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    let mut transport = TransportConfig::default();
    transport
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IDLE.try_into().map_err(|_| LinkError::Slow(IDLE))?))
        .send_window(SEND_WINDOW)
        // The hub opens one for each who follows the log.
        .max_concurrent_bidi_streams(super::logs::FOLLOWERS.into())
        .max_concurrent_uni_streams(0_u32.into())
        .datagram_receive_buffer_size(None);
    config.transport_config(Arc::new(transport));

    let resolved = timeout(RESOLVE, tokio::net::lookup_host((hub.host(), hub.port()))).await;
    let resolve = |reason: String| LinkError::Resolve { hub: hub.clone(), reason };
    let addresses: Vec<SocketAddr> = match resolved {
        Ok(Ok(addresses)) => addresses.take(8).collect(),
        Ok(Err(e)) => return Err(resolve(e.to_string())),
        Err(_) => return Err(resolve(format!("no answer within {RESOLVE:?}"))),
    };
    let mut problem = resolve("it has no address".into());
    for address in addresses {
        match dial_one(hub, address, &config).await {
            Ok(dialled) => return Ok(dialled),
            Err(error) => problem = error,
        }
    }
    Err(problem)
}

async fn dial_one(
    hub: &HubAddress,
    address: SocketAddr,
    config: &ClientConfig,
) -> Result<Dialled, LinkError> {
    let unreachable = |reason: String| LinkError::Unreachable { hub: hub.clone(), reason };
    // No address of its own: the connection outlives a change of networks.
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let any_v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let endpoint = Endpoint::client(if address.is_ipv6() { any } else { any_v4 })
        .map_err(|e| LinkError::Network(e.to_string()))?;
    let connecting = endpoint
        .connect_with(config.clone(), address, HUB_SERVER_NAME)
        .map_err(|e| unreachable(e.to_string()))?;
    match timeout(HANDSHAKE, connecting).await {
        Ok(Ok(connection)) => Ok(Dialled { connection, endpoint }),
        Ok(Err(ConnectionError::TimedOut)) | Err(_) => {
            Err(unreachable(format!("no answer from {address} over UDP")))
        }
        Ok(Err(error)) => Err(match LinkError::from(error) {
            LinkError::Lost(reason) => unreachable(reason),
            other => other,
        }),
    }
}

impl Dialled {
    /// Ends the connection and lets the hub know, without waiting long.
    pub async fn close(self, reason: &str) {
        if self.connection.close_reason().is_some() {
            return;
        }
        self.connection.close(0_u32.into(), reason.as_bytes());
        // Long enough for the packet that says so to leave.
        timeout(Duration::from_millis(500), self.endpoint.wait_idle()).await.ok();
    }
}
