//! Models of the hub's catalog, fetched by agents on streams of their own.

use std::{fmt, str::FromStr};

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::{IdError, ModelName, ModelVersion};

/// A capability: the hub has a catalog of models.
pub const CAPABILITY_MODELS: &str = "models";

/// A model of the catalog; written `name@version`.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct ModelId {
    /// Its name.
    #[n(0)]
    pub name: ModelName,
    /// The version of its weights.
    #[n(1)]
    pub version: ModelVersion,
}

impl FromStr for ModelId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let (name, version) =
            text.split_once('@').ok_or(IdError::new("model", "must be NAME@VERSION"))?;
        Ok(Self { name: name.parse()?, version: version.parse()? })
    }
}

impl TryFrom<String> for ModelId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<ModelId> for String {
    fn from(id: ModelId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// Agent to hub, first on a model's stream.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ModelRequest {
    /// Which.
    #[n(0)]
    pub id: ModelId,
    /// From which byte of the ONNX file on; what is before is at the agent already.
    #[n(1)]
    pub offset: u64,
}

/// Hub to agent, in answer to it. After [`ModelReply::Found`] the bytes from the offset to the end
/// follow, unframed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ModelReply {
    /// It is there.
    #[n(0)]
    Found(#[n(0)] ModelFound),
    /// It is not, or not now.
    #[n(1)]
    Refused(#[n(0)] ModelRefused),
}

/// A model that the hub has.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ModelFound {
    /// SHA-256 of the whole ONNX file, 64 lower-case hex digits.
    #[n(0)]
    pub sha256: String,
    /// Size of the whole ONNX file, bytes.
    #[n(1)]
    pub size: u64,
    /// How to feed and read it: a JSON object as text.
    #[n(2)]
    pub description: String,
}

/// Why there are no bytes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ModelRefused {
    /// For people.
    #[n(0)]
    pub message: String,
    /// Whether asking again may help.
    #[n(1)]
    pub passing: bool,
}
