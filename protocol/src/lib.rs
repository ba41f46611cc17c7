//! What the CloudCore hub and its edge agents say to each other.
//!
//! The protocol, in short:
//!
//! 1. One UDP port serves QUIC with two ALPNs. [`ALPN_JOIN`] is for a node that has only a join
//!    token; [`ALPN_LINK`] wants a client certificate that the hub's CA issued.
//! 2. **Join.** The agent checks that the served chain ends in the CA whose hash its
//!    [`JoinToken`] carries, sends one [`Frame::JoinRequest`] on a bidirectional stream, and reads
//!    one [`Frame::JoinReply`].
//! 3. **Link.** The agent opens one long-lived bidirectional stream and sends [`Frame::Hello`];
//!    the hub answers [`Frame::Welcome`] or [`Frame::Goodbye`]. All frames of commands, events
//!    and acknowledgements share this stream.
//! 4. Everything an agent has to say is an [`Event`] in one of three [`Lane`]s, numbered without
//!    gaps inside its lane. The agent keeps it until the hub, having committed it, sends a
//!    cumulative [`EventAck`]. The hub drops what it has already committed, so each event is
//!    stored exactly once.
//! 5. A [`Command`] may be sent more than once (after a reconnect); the agent runs an id once.
//! 6. A blob (a picture, a log) travels on a bidirectional stream of its own: one
//!    [`Frame::BlobHeader`], the bytes, the end of the stream; the hub answers
//!    [`Frame::BlobReply`] once they are stored.
//! 7. A model travels the other way, on a bidirectional stream that the agent opens: one
//!    [`Frame::ModelRequest`] with the number of bytes that the agent has already; the hub answers
//!    [`Frame::ModelReply`] and, where it has the model, the rest of its bytes. A hub that can do
//!    so says [`CAPABILITY_MODELS`].
//! 8. A release of the agent travels the other way: one [`Frame::ReleaseRequest`]; the hub answers
//!    [`Frame::ReleaseHeader`] and the bytes, or [`Frame::BlobReply`] with why not.
//! 9. An agent's log travels on a bidirectional stream that the hub opens: one
//!    [`Frame::LogRequest`]; the agent answers [`Frame::LogBatch`] at once and as more is written,
//!    until the hub stops the stream. An agent that can do so says [`CAPABILITY_LOGS`].
//! 10. Frames are [CBOR](https://www.rfc-editor.org/rfc/rfc8949) with numbered fields behind a
//!     4-byte big-endian length of at most [`MAX_FRAME_BYTES`]. Unknown fields are skipped and an
//!     unknown kind is answered [`Frame::Unsupported`], so that versions may differ.
//!
//! Nothing in this crate does I/O or keeps state.

mod blob;
mod codec;
pub mod command;
mod detection;
mod envelope;
mod heartbeat;
mod hello;
mod ids;
mod join;
mod log;
mod model;
mod release;
mod time;
mod token;

pub use blob::{BlobHash, BlobHeader, BlobReply};
pub use codec::{CodecError, FrameCodec, MAX_FRAME_BYTES, decode, encode};
pub use command::{CancelCommand, Command, CommandFinished, CommandOutcome, CommandStarted};
pub use detection::{BoundingBox, Detection, DetectionPhase, PictureKind, PictureOf};
pub use envelope::{Event, EventAck, EventBody, Frame, Lane};
pub use heartbeat::{Alert, AppState, CameraState, Heartbeat};
pub use hello::{
    CAPABILITY_APPS, Goodbye, GoodbyeReason, Hello, Platform, Unsupported, Welcome, negotiate,
};
pub use ids::{CommandId, DetectionId, DeviceId, IdError, ModelName, ModelVersion, NodeName};
pub use join::{
    JoinAccepted, JoinRefusal, JoinRefused, JoinReply, JoinRequest, RenewNow, RenewReply,
    RenewRequest, Secret,
};
pub use log::{CAPABILITY_LOGS, LogBatch, LogLine, LogRequest};
pub use model::{CAPABILITY_MODELS, ModelFound, ModelId, ModelRefused, ModelReply, ModelRequest};
pub use release::{ReleaseHeader, ReleaseRequest};
pub use time::Timestamp;
pub use token::{JoinToken, TokenError};

/// ALPN of a connection that wants to become a member.
pub const ALPN_JOIN: &[u8] = b"cloudcore-join/1";
/// ALPN of a member's connection.
pub const ALPN_LINK: &[u8] = b"cloudcore-link/1";
/// The name in the hub's certificate. Agents check this name and not the address, which may be a
/// node port or a NAT.
pub const HUB_SERVER_NAME: &str = "cloudcore-hub";
/// Oldest protocol version that this build speaks.
pub const PROTOCOL_MIN: u16 = 1;
/// Newest protocol version that this build speaks.
pub const PROTOCOL_MAX: u16 = 1;
