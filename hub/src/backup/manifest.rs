//! What an archive says of itself, before anything in it is believed.

use cloudcore_protocol::Timestamp;
use serde::{Deserialize, Serialize};

/// The archives that this hub writes, and the newest that it reads.
pub(super) const FORMAT: u32 = 1;

/// What a backup holds.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
#[schema(as = BackupInclude)]
pub enum Include {
    /// The settings that are changed live.
    Config,
    /// Join tokens.
    Tokens,
    /// Devices, their certificates, and how far their events have come.
    Devices,
    /// Users and API keys.
    Users,
    /// Commands and their results.
    Commands,
    /// Detections.
    Detections,
    /// Webhooks.
    Webhooks,
    /// Which app is to run on which devices.
    Apps,
    /// The catalog of models, without their bytes.
    Models,
    /// The hub's own CA and keys.
    Certificates,
}

impl Include {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Config,
        Self::Tokens,
        Self::Devices,
        Self::Users,
        Self::Commands,
        Self::Detections,
        Self::Webhooks,
        Self::Apps,
        Self::Models,
        Self::Certificates,
    ];

    /// What a backup holds where nothing is said, as in the contract's example.
    pub const DEFAULT: [Self; 3] = [Self::Config, Self::Tokens, Self::Devices];
}

impl std::str::FromStr for Include {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        serde_json::from_value(text.into()).map_err(|e| e.to_string())
    }
}

/// The file `manifest.json`, first in every archive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub format: u32,
    pub hub_version: String,
    /// The database's last migration.
    pub schema: i64,
    /// RFC 3339.
    pub created_at: String,
    pub name: String,
    pub description: Option<String>,
    pub include: Vec<Include>,
    pub sealed_by: SealedBy,
    pub parts: Vec<Part>,
}

impl Manifest {
    /// What the sealed part repeats, so that whoever alters the manifest has to have the key.
    pub fn without_sealed(&self) -> Self {
        let parts = self.parts.iter().filter(|part| part.name != SEALED).cloned().collect();
        Self { parts, ..self.clone() }
    }
}

/// The name of the part that wants a key.
pub(super) const SEALED: &str = "sealed.bin";

/// A file of the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    pub name: String,
    /// The table whose rows it holds, one a line; none for the sealed part.
    pub table: Option<String>,
    pub rows: u64,
    /// Bytes.
    pub size: u64,
    /// Hex.
    pub sha256: String,
}

/// What opens the sealed part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "key", rename_all = "lowercase")]
pub(super) enum SealedBy {
    /// The key of the hub that made it.
    Hub {
        /// Names the key.
        id: String,
    },
    /// A passphrase, by Argon2id.
    Passphrase {
        /// Hex.
        salt: String,
        memory_kib: u32,
        iterations: u32,
    },
}

/// What is known of a backup without opening it; stands beside it in the store.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Backup)]
pub struct BackupInfo {
    /// Its id.
    #[schema(example = "backup_20240115")]
    pub backup_id: String,
    /// As it was asked for.
    #[schema(example = "backup-20240115")]
    pub name: String,
    /// Why, for people.
    #[schema(example = "Daily backup")]
    pub description: Option<String>,
    /// What it holds.
    pub include: Vec<Include>,
    /// For people.
    #[schema(example = "45MB")]
    pub size: String,
    /// Bytes.
    pub size_bytes: u64,
    /// Where it is.
    #[schema(example = "s3://kubeedge-backups/backups/backup_20240115.tar.zst")]
    pub location: String,
    /// What opens it: `hub` (this hub's own key) or `passphrase`.
    #[schema(example = "hub")]
    pub sealed_by: String,
    /// When it was made.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// [`Timestamp`] writes itself so; this reads it back.
mod rfc3339 {
    use cloudcore_protocol::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use time::{OffsetDateTime, format_description::well_known::Rfc3339};

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        at.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(from)?;
        let at = OffsetDateTime::parse(&text, &Rfc3339).map_err(serde::de::Error::custom)?;
        Ok(Timestamp::from_micros(at.unix_timestamp() * 1_000_000))
    }
}
