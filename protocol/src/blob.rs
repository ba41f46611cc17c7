//! Pictures and files, on streams of their own.

use std::fmt;

use minicbor::{Decode, Encode};
use ring::digest;

use crate::{CommandId, PictureOf, Timestamp};

/// SHA-256 of a blob's bytes; its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct BlobHash(#[cbor(n(0), with = "minicbor::bytes")] [u8; 32]);

impl BlobHash {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
        Self(hash)
    }

    /// With these bytes.
    #[must_use]
    pub const fn from_bytes(hash: [u8; 32]) -> Self {
        Self(hash)
    }
}

impl fmt::Display for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Agent to hub, first on a blob's stream; the bytes follow, unframed.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct BlobHeader {
    /// SHA-256 of the bytes that follow.
    #[n(0)]
    pub hash: BlobHash,
    /// How many bytes follow.
    #[n(1)]
    pub size: u64,
    /// Media type (`image/jpeg`).
    #[n(2)]
    pub content_type: String,
    /// The command that made it, if one did.
    #[n(3)]
    pub command_id: Option<CommandId>,
    /// When a picture was taken, by the agent's clock.
    #[n(4)]
    pub captured_at: Option<Timestamp>,
    /// The object that a picture was taken of.
    #[n(5)]
    pub detection: Option<PictureOf>,
}

/// Hub to agent, last on a blob's stream.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum BlobReply {
    /// It is stored, durably.
    #[n(0)]
    Stored,
    /// It is not, and sending it again won't help.
    #[n(1)]
    Refused(#[n(0)] String),
}
