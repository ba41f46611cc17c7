//! JSON Web Tokens ([RFC 7519](https://www.rfc-editor.org/rfc/rfc7519)), HS256 only, on ring.

use std::sync::Once;

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{Error as LibError, ErrorKind},
    signature::{self, Signer, Verifier},
};
use ring::hmac;
use serde::{Serialize, de::DeserializeOwned};

/// Why a JWT is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JwtError {
    /// Its time is over.
    Expired,
    /// It is not ours, or not a JWT.
    Invalid,
}

/// Signs and verifies for one purpose.
pub struct Jwt {
    sign: EncodingKey,
    verify: DecodingKey,
}

struct Hs256(hmac::Key);

impl Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(hmac::sign(&self.0, message).as_ref().to_vec())
    }
}

impl Verifier<Vec<u8>> for Hs256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        hmac::verify(&self.0, message, signature).map_err(|_| signature::Error::new())
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

fn hs256(algorithm: Algorithm, secret: &[u8]) -> Result<Box<Hs256>, LibError> {
    if algorithm != Algorithm::HS256 {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    Ok(Box::new(Hs256(hmac::Key::new(hmac::HMAC_SHA256, secret))))
}

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| Ok(hs256(*algorithm, key.as_bytes())?),
    verifier_factory: |algorithm, key| Ok(hs256(*algorithm, key.try_get_as_bytes()?)?),
    key_utils: KeyUtils::new_unimplemented(),
};

impl Jwt {
    pub(super) fn new(secret: &[u8]) -> Self {
        static INSTALL: Once = Once::new();
        INSTALL.call_once(|| {
            // Refused only when one is there already, which is then this one.
            let _ = PROVIDER.install_default();
        });
        Self { sign: EncodingKey::from_secret(secret), verify: DecodingKey::from_secret(secret) }
    }

    /// A signed token with these claims.
    ///
    /// # Errors
    /// API-007 when the claims are not JSON.
    pub fn sign(&self, claims: &impl Serialize) -> crate::error::Result<String> {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.sign)
            .map_err(crate::error::Error::internal)
    }

    /// The claims of a token that is ours and whose `exp` is to come.
    ///
    /// # Errors
    /// [`JwtError`].
    pub fn verify<T: DeserializeOwned>(&self, token: &str) -> Result<T, JwtError> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        // "On or after" exp it is over (RFC 7519, 4.1.4); the library alone takes "after".
        validation.reject_tokens_expiring_in_less_than = 1;
        validation.validate_aud = false;
        match jsonwebtoken::decode(token, &self.verify, &validation) {
            Ok(data) => Ok(data.claims),
            Err(e) if *e.kind() == ErrorKind::ExpiredSignature => Err(JwtError::Expired),
            Err(_) => Err(JwtError::Invalid),
        }
    }
}
