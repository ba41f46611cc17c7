//! The sealed part: the rows that hold secrets, the hub's own keys, and once more the manifest, so
//! that nobody alters an archive without its key. ChaCha20-Poly1305, under a passphrase by
//! Argon2id or under the hub's own key.

use std::collections::BTreeMap;

use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::manifest::{Manifest, SealedBy};
use crate::{
    error::{Code, Error, Result},
    keys::{self, Keys, Seal},
};

/// Most that is sealed at once, bytes: it is held in memory.
pub(super) const MAX_SECRETS: usize = 64 * 1024 * 1024;
/// Separates this use of a key from all others.
const CONTEXT: &str = "cloudcore backup 1";
/// Argon2id of our own archives: about a third of a second.
const MEMORY_KIB: u32 = 64 * 1024;
const ITERATIONS: u32 = 3;
/// What an archive may ask of us.
const MAX_MEMORY_KIB: u32 = 256 * 1024;
const MAX_ITERATIONS: u32 = 16;

/// Rows by table.
pub(super) type Rows = BTreeMap<String, Vec<Map<String, Value>>>;

/// What is sealed.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Secrets {
    pub manifest: Option<Manifest>,
    pub rows: Rows,
    /// The hub's key files, by name, hex.
    pub files: BTreeMap<String, String>,
}

/// What opens, or will open, the sealed part.
pub(super) struct Key {
    seal: Option<Seal>,
    /// How it is named in the manifest.
    pub by: SealedBy,
}

impl Key {
    /// For a new archive. Takes a while where there is a passphrase.
    pub fn make(keys: &Keys, passphrase: Option<&SecretString>) -> Result<Self> {
        let Some(passphrase) = passphrase else {
            return Ok(Self { seal: None, by: SealedBy::Hub { id: keys.id.clone() } });
        };
        let salt = keys::random::<16>()?;
        let seal = derive(passphrase, &salt, MEMORY_KIB, ITERATIONS)?;
        let by = SealedBy::Passphrase {
            salt: keys::hex(&salt),
            memory_kib: MEMORY_KIB,
            iterations: ITERATIONS,
        };
        Ok(Self { seal: Some(seal), by })
    }

    /// For an archive that is there.
    ///
    /// # Errors
    /// API-003 when what was given is not what it wants.
    pub fn of(
        by: &SealedBy,
        keys: Option<&Keys>,
        passphrase: Option<&SecretString>,
    ) -> Result<Self> {
        let seal = match (by, passphrase) {
            (SealedBy::Hub { id }, _) if keys.is_some_and(|keys| keys.id == *id) => None,
            (SealedBy::Hub { .. }, _) => {
                return Err(Error::new(
                    Code::Forbidden,
                    "the archive is sealed by another hub's key: put that hub's hub.key into the \
                     data directory, or make a backup with a passphrase",
                ));
            }
            (SealedBy::Passphrase { .. }, None) => {
                return Err(Error::new(
                    Code::Forbidden,
                    "the archive is sealed by a passphrase: give it",
                ));
            }
            (SealedBy::Passphrase { salt, memory_kib, iterations }, Some(passphrase)) => {
                if *memory_kib > MAX_MEMORY_KIB || *iterations > MAX_ITERATIONS {
                    return Err(Error::invalid("the archive asks for too much work"));
                }
                let salt = keys::unhex(salt)
                    .ok_or_else(|| Error::invalid("the archive's salt is no hex"))?;
                Some(derive(passphrase, &salt, *memory_kib, *iterations)?)
            }
        };
        Ok(Self { seal, by: by.clone() })
    }

    fn seal<'a>(&'a self, keys: Option<&'a Keys>) -> Result<&'a Seal> {
        let own = keys.map(|keys| &keys.backups);
        self.seal.as_ref().or(own).ok_or_else(|| Error::internal("there is no key to seal by"))
    }

    /// The sealed part of an archive.
    ///
    /// # Errors
    /// API-001 when there is too much of it.
    pub fn close(&self, keys: &Keys, secrets: &Secrets) -> Result<Vec<u8>> {
        let text = serde_json::to_vec(secrets).map_err(Error::internal)?;
        if text.len() > MAX_SECRETS {
            return Err(Error::invalid(format!(
                "tokens and users have more than {MAX_SECRETS} bytes: leave them out of the backup"
            )));
        }
        self.seal(Some(keys))?.seal_bytes(CONTEXT, text)
    }

    /// What [`Self::close`] has sealed.
    ///
    /// # Errors
    /// API-003 for a wrong passphrase or an altered archive, which look alike.
    pub fn open(&self, keys: Option<&Keys>, sealed: Vec<u8>) -> Result<Secrets> {
        let text = self.seal(keys)?.open_bytes(CONTEXT, sealed).ok_or_else(|| match self.by {
            SealedBy::Passphrase { .. } => {
                Error::new(Code::Forbidden, "the passphrase is wrong, or the archive was altered")
            }
            SealedBy::Hub { .. } => super::archive::damaged("its secrets don't open"),
        })?;
        serde_json::from_slice(&text).map_err(super::archive::damaged)
    }
}

fn derive(
    passphrase: &SecretString,
    salt: &[u8],
    memory_kib: u32,
    iterations: u32,
) -> Result<Seal> {
    let bad = |_| Error::invalid("the archive's key can't be derived");
    let params = Params::new(memory_kib, iterations, 1, Some(32)).map_err(bad)?;
    let mut key = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.expose_secret().as_bytes(), salt, &mut key)
        .map_err(bad)?;
    Seal::new(&key)
}
