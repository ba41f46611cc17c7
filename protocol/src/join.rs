//! Becoming a member, and staying one.

use std::{collections::BTreeMap, fmt};

use minicbor::{Decode, Encode, bytes::ByteVec};

use crate::{DeviceId, NodeName, Platform, Timestamp};

/// A text that no log may show.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Secret(#[n(0)] pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Agent to hub, the only frame of a join.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct JoinRequest {
    /// Oldest protocol version the agent speaks.
    #[n(0)]
    pub min_version: u16,
    /// Newest protocol version the agent speaks.
    #[n(1)]
    pub max_version: u16,
    /// The JWT of the join token.
    #[n(2)]
    pub jwt: Secret,
    /// The node that wants in; must be the token's.
    #[n(3)]
    pub node_name: NodeName,
    /// The device it will be; the token's, or the node name, where it says nothing.
    #[n(4)]
    pub device_id: Option<DeviceId>,
    /// PKCS #10 request ([RFC 2986](https://www.rfc-editor.org/rfc/rfc2986)), DER, for a key that
    /// never leaves the node.
    #[n(5)]
    pub csr: ByteVec,
    /// The agent's release.
    #[n(6)]
    pub agent_version: String,
    /// What the machine is.
    #[n(7)]
    pub platform: Platform,
    /// The operator's labels.
    #[n(8)]
    pub labels: BTreeMap<String, String>,
}

/// The hub's answer to [`JoinRequest`].
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum JoinReply {
    /// Welcome.
    #[n(0)]
    Accepted(#[n(0)] JoinAccepted),
    /// Not with this token.
    #[n(1)]
    Refused(#[n(0)] JoinRefused),
}

/// What a new member gets.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct JoinAccepted {
    /// The client certificate, DER.
    #[n(0)]
    pub certificate: ByteVec,
    /// Who the node is from now on.
    #[n(1)]
    pub device_id: DeviceId,
    /// When the certificate ends.
    #[n(2)]
    pub not_after: Timestamp,
}

/// Why a node was not let in.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct JoinRefused {
    /// For the program.
    #[n(0)]
    pub reason: JoinRefusal,
    /// For the person at the keyboard.
    #[n(1)]
    pub message: String,
}

/// Kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum JoinRefusal {
    /// No such token, or not signed by this hub.
    #[n(0)]
    InvalidToken,
    /// The token's time is over.
    #[n(1)]
    Expired,
    /// An operator withdrew the token.
    #[n(2)]
    Revoked,
    /// A node has already joined with it.
    #[n(3)]
    Used,
    /// The token belongs to another node or device.
    #[n(4)]
    WrongNode,
    /// The CSR can't be accepted.
    #[n(5)]
    BadRequest,
    /// The hub can't take a new member now; try again.
    #[n(6)]
    Unavailable,
    /// No protocol version in common.
    #[n(7)]
    Version,
}

/// Agent to hub on a live link: a new certificate for the same node.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct RenewRequest {
    /// PKCS #10 request, DER.
    #[n(0)]
    pub csr: ByteVec,
}

/// The hub's answer to [`RenewRequest`].
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum RenewReply {
    /// The new client certificate, DER.
    #[n(0)]
    Renewed(#[n(0)] ByteVec),
    /// Not now, with the reason for the log.
    #[n(1)]
    Refused(#[n(0)] String),
}

/// Hub to agent on a live link: ask for a new certificate now, and not only when it is due.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RenewNow {}
