//! How a link begins and ends.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use crate::{DeviceId, EventAck, PROTOCOL_MAX, PROTOCOL_MIN, Timestamp};

/// Of an agent that runs apps: there is a container engine.
pub const CAPABILITY_APPS: &str = "apps";

/// What an edge machine is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct Platform {
    /// Operating system and its version, for people.
    #[n(0)]
    pub os: String,
    /// Processor architecture, as Rust names it (`aarch64`).
    #[n(1)]
    pub arch: String,
    /// The machine's own host name.
    #[n(2)]
    pub hostname: String,
}

/// Agent to hub, first on a link.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Hello {
    /// Oldest protocol version the agent speaks.
    #[n(0)]
    pub min_version: u16,
    /// Newest protocol version the agent speaks.
    #[n(1)]
    pub max_version: u16,
    /// The agent's release.
    #[n(2)]
    pub agent_version: String,
    /// What the agent can do beyond its protocol version, by name.
    #[n(3)]
    pub capabilities: Vec<String>,
    /// Identity of the agent's outbox. Sequence numbers mean something only inside one: a node
    /// whose disk was replaced begins a new one.
    #[n(4)]
    pub outbox_id: u64,
    /// What the machine is.
    #[n(5)]
    pub platform: Platform,
    /// The operator's labels, from `join --labels`.
    #[n(6)]
    pub labels: BTreeMap<String, String>,
    /// The machine's own network addresses.
    #[n(7)]
    pub addresses: Vec<String>,
}

/// Hub to agent: you are in.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Welcome {
    /// The version that both speak from here on.
    #[n(0)]
    pub version: u16,
    /// The hub's release.
    #[n(1)]
    pub hub_version: String,
    /// What the hub can do beyond its protocol version, by name.
    #[n(2)]
    pub capabilities: Vec<String>,
    /// Grows with each session of this device; an older session never ends a newer one.
    #[n(3)]
    pub generation: u64,
    /// What the hub has committed of this outbox, one entry for each lane it knows.
    #[n(4)]
    pub acked: Vec<EventAck>,
    /// The hub's clock.
    #[n(5)]
    pub now: Timestamp,
    /// Who the hub takes the agent for.
    #[n(6)]
    pub device_id: DeviceId,
}

/// Why a side ends the link on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum GoodbyeReason {
    /// No protocol version in common.
    #[n(0)]
    Version,
    /// The device was revoked or removed: coming back needs a new join token.
    #[n(1)]
    Revoked,
    /// The program stops; come back later.
    #[n(2)]
    Shutdown,
    /// A newer session of the same device took over.
    #[n(3)]
    Superseded,
    /// The peer broke the protocol.
    #[n(4)]
    Protocol,
    /// The hub has no room; come back later.
    #[n(5)]
    Busy,
}

/// Last frame of a link.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Goodbye {
    /// For the program.
    #[n(0)]
    pub reason: GoodbyeReason,
    /// For the log.
    #[n(1)]
    pub message: String,
}

/// The answer to a frame whose kind this side does not know.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Unsupported {
    /// The kind that was not understood.
    #[n(0)]
    pub kind: u32,
}

/// The newest version that this build and a peer with `min..=max` both speak.
#[must_use]
pub fn negotiate(min: u16, max: u16) -> Option<u16> {
    let version = max.min(PROTOCOL_MAX);
    (version >= min.max(PROTOCOL_MIN)).then_some(version)
}
