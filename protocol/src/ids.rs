//! Identifiers, validated once where they enter.

use std::{fmt, str::FromStr};

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};
use serde::{Deserialize, Serialize};

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {problem}")]
pub struct IdError {
    what: &'static str,
    problem: &'static str,
}

impl IdError {
    pub(crate) const fn new(what: &'static str, problem: &'static str) -> Self {
        Self { what, problem }
    }
}

/// The contract's `VARCHAR(100)` for node names and device ids.
const MAX_LEN: usize = 100;

fn check_len(what: &'static str, text: &str) -> Result<(), IdError> {
    match text.len() {
        0 => Err(IdError { what, problem: "must not be empty" }),
        n if n > MAX_LEN => Err(IdError { what, problem: "must have at most 100 characters" }),
        _ => Ok(()),
    }
}

fn check_node_name(text: &str) -> Result<(), IdError> {
    let what = "node_name";
    check_len(what, text)?;
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.split('.').all(label_ok) {
        Ok(())
    } else {
        Err(IdError {
            what,
            problem: "must be lower-case letters, digits, '-' and '.', and begin and end with a letter or digit",
        })
    }
}

fn check_device_id(text: &str) -> Result<(), IdError> {
    let what = "device_id";
    check_len(what, text)?;
    let ok = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric());
    if ok {
        Ok(())
    } else {
        Err(IdError {
            what,
            problem: "must be letters, digits, '-', '_' and '.', and begin and end with a letter or digit",
        })
    }
}

/// Longest part of a model's id, which is a folder's name too.
const MAX_MODEL_PART: usize = 64;

/// A name of a folder that is no way out of the one above it.
fn check_model_part(what: &'static str, text: &str) -> Result<(), IdError> {
    let ok = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric());
    if ok && text.len() <= MAX_MODEL_PART {
        return Ok(());
    }
    Err(IdError {
        what,
        problem: "must be 1 to 64 letters, digits, '-', '_' and '.', and begin and end with a letter or digit",
    })
}

fn check_model_name(text: &str) -> Result<(), IdError> {
    check_model_part("model name", text)
}

fn check_model_version(text: &str) -> Result<(), IdError> {
    check_model_part("model version", text)
}

fn check_command_id(text: &str) -> Result<(), IdError> {
    let what = "command_id";
    let rest =
        text.strip_prefix("cmd_").ok_or(IdError { what, problem: "must begin with cmd_" })?;
    check_ulid(what, rest, "must be cmd_ and a ULID")
}

fn check_detection_id(text: &str) -> Result<(), IdError> {
    let what = "detection_id";
    let rest =
        text.strip_prefix("det_").ok_or(IdError { what, problem: "must begin with det_" })?;
    check_ulid(what, rest, "must be det_ and a ULID")
}

fn check_ulid(what: &'static str, text: &str, problem: &'static str) -> Result<(), IdError> {
    match ulid::Ulid::from_string(text) {
        // Only the canonical spelling, so that an id has one form in every table and topic.
        Ok(parsed) if parsed.to_string() == text => Ok(()),
        _ => Err(IdError { what, problem }),
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                $check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                $check(&text)?;
                Ok(Self(text.into_boxed_str()))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.into_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<C> Encode<C> for $name {
            fn encode<W: encode::Write>(
                &self,
                e: &mut Encoder<W>,
                _: &mut C,
            ) -> Result<(), encode::Error<W::Error>> {
                e.str(&self.0)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
                d.str()?.parse().map_err(decode::Error::custom)
            }
        }
    };
}

id!(
    /// A node's name: a DNS subdomain as Kubernetes wants it
    /// ([RFC 1123](https://www.rfc-editor.org/rfc/rfc1123)), at most 100 characters.
    NodeName,
    check_node_name
);
id!(
    /// A device's id: 1 to 100 letters, digits, `-`, `_` and `.`.
    DeviceId,
    check_device_id
);
id!(
    /// A model's name: 1 to 64 letters, digits, `-`, `_` and `.`; safe as a folder's name.
    ModelName,
    check_model_name
);
id!(
    /// The version of a model's weights, in the letters of a [`ModelName`].
    ModelVersion,
    check_model_version
);
id!(
    /// A command's id: `cmd_` and a [ULID](https://github.com/ulid/spec).
    CommandId,
    check_command_id
);

id!(
    /// The id of a detected object, from its start to its end: `det_` and a
    /// [ULID](https://github.com/ulid/spec).
    DetectionId,
    check_detection_id
);

impl CommandId {
    /// A new id: its first half is the time, so that ids sort by age.
    #[must_use]
    pub fn generate() -> Self {
        Self(format!("cmd_{}", ulid::Ulid::generate()).into_boxed_str())
    }
}

impl DetectionId {
    /// A new id: its first half is the time, so that ids sort by age.
    #[must_use]
    pub fn generate() -> Self {
        Self(format!("det_{}", ulid::Ulid::generate()).into_boxed_str())
    }
}

impl From<NodeName> for DeviceId {
    /// A node that names no device is its own: every node name is a valid device id.
    fn from(name: NodeName) -> Self {
        Self(name.0)
    }
}
