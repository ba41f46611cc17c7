//! What looks into a device: its log, its owner's programs, its files.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use minicbor::{Decode, Encode};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::parameters::short;
use crate::Timestamp;

/// Parameters of `get_logs`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GetLogs {
    /// Most lines, the newest.
    pub lines: LogLines,
    /// None older than this.
    #[serde(deserialize_with = "since", skip_serializing)]
    pub since: Option<Since>,
    /// None less urgent than this.
    pub level: LogLevel,
}

/// 1 to 5000 lines; 200 where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct LogLines(u16);

impl LogLines {
    /// 1 to 5000.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl Default for LogLines {
    fn default() -> Self {
        Self(200)
    }
}

impl TryFrom<u16> for LogLines {
    type Error = &'static str;
    fn try_from(value: u16) -> Result<Self, Self::Error> {
        if (1..=5000).contains(&value) { Ok(Self(value)) } else { Err("lines must be 1 to 5000") }
    }
}

impl From<LogLines> for u16 {
    fn from(lines: LogLines) -> Self {
        lines.0
    }
}

/// How urgent a line is.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Default,
    Serialize,
    Deserialize,
    Encode,
    Decode,
)]
#[serde(rename_all = "lowercase")]
#[cbor(index_only)]
pub enum LogLevel {
    /// Most urgent.
    #[n(0)]
    Error,
    /// Something is wrong, and goes on.
    #[n(1)]
    Warn,
    /// What an operator wants to know.
    #[n(2)]
    Info,
    /// What a developer wants to know.
    #[n(3)]
    Debug,
    /// Everything.
    #[n(4)]
    #[default]
    Trace,
}

impl LogLevel {
    /// In capitals, as logs have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Warn => "WARN",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
            Self::Trace => "TRACE",
        }
    }
}

/// From when on, by the device's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// This time.
    At(Timestamp),
    /// So long ago, at most a year.
    Ago(Duration),
}

impl Since {
    fn ago(seconds: f64) -> Result<Self, &'static str> {
        if (0.0..=31_536_000.0).contains(&seconds) {
            Ok(Self::Ago(Duration::from_secs_f64(seconds)))
        } else {
            Err("since must be 0 to 31536000 seconds")
        }
    }

    /// As a time.
    #[must_use]
    pub fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => Timestamp::from_micros(
                now.micros().saturating_sub(i64::try_from(ago.as_micros()).unwrap_or(i64::MAX)),
            ),
        }
    }
}

impl FromStr for Since {
    type Err = String;

    /// An RFC 3339 time, or so many seconds ago.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ago) = text.parse::<f64>() {
            return Self::ago(ago).map_err(str::to_owned);
        }
        OffsetDateTime::parse(text, &Rfc3339)
            .ok()
            .and_then(|at| i64::try_from(at.unix_timestamp_nanos() / 1000).ok())
            .map(|micros| Self::At(Timestamp::from_micros(micros)))
            .ok_or_else(|| format!("since '{}' is no RFC 3339 time", short(text)))
    }
}

fn since<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Since>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Said {
        Seconds(f64),
        Text(String),
    }
    let said = Option::<Said>::deserialize(deserializer)
        .map_err(|_| D::Error::custom("since must be an RFC 3339 time or a number of seconds"))?;
    match said {
        None => Ok(None),
        Some(Said::Seconds(ago)) => Since::ago(ago).map(Some).map_err(D::Error::custom),
        Some(Said::Text(text)) => text.parse().map(Some).map_err(D::Error::custom),
    }
}

/// Parameters of `exec`: a program of the list in the node's own settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunProgram {
    /// Its name there.
    pub name: ProgramName,
    /// What stands for its placeholders.
    #[serde(default)]
    pub parameters: Arguments,
}

/// 1 to 50 letters, digits, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProgramName(String);

impl ProgramName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ProgramName {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if (1..=50).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text))
        } else {
            Err("name must be 1 to 50 letters, digits, '-' and '_'")
        }
    }
}

impl From<ProgramName> for String {
    fn from(name: ProgramName) -> Self {
        name.0
    }
}

/// At most 16 values of at most 1024 bytes, none with a NUL.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Arguments(BTreeMap<String, String>);

impl Arguments {
    /// By placeholder.
    #[must_use]
    pub const fn get(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

impl TryFrom<BTreeMap<String, String>> for Arguments {
    type Error = String;
    fn try_from(values: BTreeMap<String, String>) -> Result<Self, String> {
        if values.len() > 16 {
            return Err("parameters must be at most 16".into());
        }
        match values.iter().find(|(_, value)| value.len() > 1024 || value.contains('\0')) {
            Some((name, _)) => {
                Err(format!("parameter '{}' must be at most 1024 bytes without NUL", short(name)))
            }
            None => Ok(Self(values)),
        }
    }
}

impl From<Arguments> for BTreeMap<String, String> {
    fn from(arguments: Arguments) -> Self {
        arguments.0
    }
}

/// Parameters of `upload_file`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UploadFile {
    /// Which file.
    pub path: FilePath,
}

/// An absolute path of at most 4096 bytes, without NUL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FilePath(String);

impl FilePath {
    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for FilePath {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.starts_with('/') && text.len() <= 4096 && !text.contains('\0') {
            Ok(Self(text))
        } else {
            Err("path must be absolute and at most 4096 bytes")
        }
    }
}

impl From<FilePath> for String {
    fn from(path: FilePath) -> Self {
        path.0
    }
}
