//! Secrets at rest that have to be shown or used again: ChaCha20-Poly1305 (RFC 8439) under a key
//! of the purpose.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::{hex, random};
use crate::error::{Error, Result};

/// What the seal of an app's config is for: its room writes it, and backups carry it over.
#[must_use]
pub fn app_context(name: &str) -> String {
    format!("app {name}")
}

/// What the seal of an app on nodes of the cluster is for.
#[must_use]
pub fn node_app_context(name: &str) -> String {
    format!("app {name} on a node")
}

/// Seals and opens.
pub struct Seal(LessSafeKey);

impl Seal {
    /// Under this key.
    ///
    /// # Errors
    /// API-007 when the key does not fit, which one of 32 bytes does.
    pub fn new(key: &[u8; 32]) -> Result<Self> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key)
            .map_err(|_| Error::internal("a sealing key does not fit"))?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// The sealed form of `secret`, hex. It opens only with the same `context`, the name of the
    /// row that it stands in.
    ///
    /// # Errors
    /// API-007 when the operating system gives no random bytes.
    pub fn seal(&self, context: &str, secret: &[u8]) -> Result<String> {
        Ok(hex(&self.seal_bytes(context, secret.to_vec())?))
    }

    /// What was sealed.
    ///
    /// # Errors
    /// API-007 when it was not sealed by this key for this context.
    pub fn open(&self, context: &str, sealed: &str) -> Result<Vec<u8>> {
        super::unhex(sealed)
            .and_then(|sealed| self.open_bytes(context, sealed))
            .ok_or_else(|| Error::internal("a sealed secret can't be opened: is it another hub's?"))
    }

    /// As [`Self::seal`], without the hex digits.
    ///
    /// # Errors
    /// API-007 when the operating system gives no random bytes.
    pub fn seal_bytes(&self, context: &str, mut secret: Vec<u8>) -> Result<Vec<u8>> {
        // 96 random bits: no key comes near the 2^32 messages at which that would matter.
        let nonce = random::<NONCE_LEN>()?;
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context.as_bytes()),
                &mut secret,
            )
            .map_err(|_| Error::internal("a secret can't be sealed"))?;
        secret.splice(..0, nonce);
        Ok(secret)
    }

    /// What [`Self::seal_bytes`] has sealed; `None` for anything else.
    #[must_use]
    pub fn open_bytes(&self, context: &str, mut sealed: Vec<u8>) -> Option<Vec<u8>> {
        let nonce = *sealed.first_chunk::<NONCE_LEN>()?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let context = Aad::from(context.as_bytes());
        let length = self.0.open_within(nonce, context, &mut sealed, NONCE_LEN..).ok()?.len();
        sealed.truncate(length);
        Some(sealed)
    }
}
