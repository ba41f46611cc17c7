//! Secrets at rest that have to be shown or used again: ChaCha20-Poly1305 (RFC 8439) under a key
//! of the purpose.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::{hex, random};
use crate::error::{Error, Result};

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
        // 96 random bits: no key comes near the 2^32 messages at which that would matter.
        let nonce = random::<NONCE_LEN>()?;
        let mut text = secret.to_vec();
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context.as_bytes()),
                &mut text,
            )
            .map_err(|_| Error::internal("a secret can't be sealed"))?;
        Ok(hex(&[nonce.as_slice(), &text].concat()))
    }

    /// What was sealed.
    ///
    /// # Errors
    /// API-007 when it was not sealed by this key for this context.
    pub fn open(&self, context: &str, sealed: &str) -> Result<Vec<u8>> {
        let bad = || Error::internal("a sealed secret can't be opened: is it another hub's?");
        let bytes = super::unhex(sealed).ok_or_else(bad)?;
        let (nonce, text) = bytes.split_at_checked(NONCE_LEN).ok_or_else(bad)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| bad())?;
        let mut text = text.to_vec();
        let length = self
            .0
            .open_in_place(nonce, Aad::from(context.as_bytes()), &mut text)
            .map_err(|_| bad())?
            .len();
        text.truncate(length);
        Ok(text)
    }
}
