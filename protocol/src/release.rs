//! Releases of the agent, on streams of their own.

use minicbor::{Decode, Encode};

use crate::BlobHash;

/// Agent to hub, alone on a release's stream.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ReleaseRequest {
    /// Which version (`1.2.3`); the newest where absent.
    #[n(0)]
    pub version: Option<String>,
    /// For which architecture, by Debian's name (`arm64`).
    #[n(1)]
    pub architecture: String,
}

/// Hub to agent, in answer; the bytes follow, unframed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ReleaseHeader {
    /// Its version, as the hub says; the signature's comment is what counts.
    #[n(0)]
    pub version: String,
    /// How many bytes follow.
    #[n(1)]
    pub size: u64,
    /// SHA-256 of them.
    #[n(2)]
    pub hash: BlobHash,
    /// Their minisign signature, as text.
    #[n(3)]
    pub signature: String,
}
