//! The hub's own secret and what is derived from it. The master key never leaves this room: each
//! purpose gets a key of its own, so that a signature made for one is worthless for another.

mod jwt;
mod seal;

use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use ring::{
    hkdf, hmac,
    rand::{SecureRandom, SystemRandom},
};

pub use jwt::{Jwt, JwtError};
pub use seal::{Seal, app_context, node_app_context};

use crate::error::{Error, Result};

/// The file of the master key, in the data directory.
pub const MASTER: &str = "hub.key";

/// Signing keys, one per purpose.
pub struct Keys {
    /// Signs users' sessions.
    pub sessions: Jwt,
    /// Signs join tokens.
    pub join_tokens: Jwt,
    /// Signs expiring links to stored pictures.
    pub links: hmac::Key,
    /// Tells one request from another, without saying what was in it.
    pub requests: hmac::Key,
    /// Seals what is stored and has to be read again.
    pub seal: Seal,
    /// Seals backups that are made without a passphrase.
    pub backups: Seal,
    /// Names the master key, and says nothing of it.
    pub id: String,
}

struct Len32;

impl hkdf::KeyType for Len32 {
    fn len(&self) -> usize {
        32
    }
}

impl Keys {
    /// Reads the master key of this data directory, or makes it.
    ///
    /// # Errors
    /// API-007 when the file can't be read or written, or is not a key.
    pub fn load(data_dir: &Path) -> Result<Self> {
        let master = read_or_create(&data_dir.join(MASTER), || random::<32>().map(|k| k.to_vec()))?;
        Self::of(&master)
    }

    /// What is derived from this master key.
    ///
    /// # Errors
    /// API-007 when it is none.
    pub fn of(master: &[u8]) -> Result<Self> {
        if master.len() != 32 {
            return Err(Error::internal("hub.key is not a key of 32 bytes"));
        }
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, b"cloudcore-hub").extract(master);
        let derive = |purpose: &[u8]| -> Result<[u8; 32]> {
            let mut key = [0; 32];
            prk.expand(&[purpose], Len32)
                .and_then(|okm| okm.fill(&mut key))
                .map_err(|_| Error::internal("a key can't be derived"))?;
            Ok(key)
        };
        Ok(Self {
            sessions: Jwt::new(&derive(b"sessions")?),
            join_tokens: Jwt::new(&derive(b"join-tokens")?),
            seal: Seal::new(&derive(b"seal")?)?,
            links: hmac::Key::new(hmac::HMAC_SHA256, &derive(b"links")?),
            requests: hmac::Key::new(hmac::HMAC_SHA256, &derive(b"requests")?),
            backups: Seal::new(&derive(b"backups")?)?,
            id: hex(&derive(b"id")?[..8]),
        })
    }
}

/// Random bytes from the operating system.
///
/// # Errors
/// API-007 when it has none.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::internal("the operating system gives no random bytes"))?;
    Ok(bytes)
}

/// Lower-case hex digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of hex digits; `None` for anything else.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok()).collect()
}

/// Hex SHA-256.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

/// The file's content; where there is none, what `make` gives, written durably with mode 0600.
///
/// # Errors
/// API-007 with the file's name.
pub fn read_or_create(path: &Path, make: impl FnOnce() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
    let failed = |e: std::io::Error| Error::internal(format!("{}: {e}", path.display()));
    match std::fs::read(path) {
        Ok(bytes) => return Ok(bytes),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(failed(e)),
    }
    let bytes = make()?;
    let part = path.with_extension("part");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)
        .map_err(failed)?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&part, path).map_err(failed)?;
    if let Some(dir) = path.parent() {
        std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
    }
    Ok(bytes)
}
