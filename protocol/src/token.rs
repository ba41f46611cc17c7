//! Join tokens: the form that KubeEdge and the contract use.

use std::{fmt, str::FromStr};

use ring::digest;

/// Why a text is not a join token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is no dot after the CA hash.
    #[error("a join token is the CA's hash, a dot, and a JWT")]
    Form,
    /// The first part is not 64 lower-case hex digits.
    #[error("a join token begins with 64 hex digits, the SHA-256 of the hub's CA")]
    CaHash,
    /// The rest is not three base64url parts.
    #[error("a join token ends in a JWT of three base64url parts")]
    Jwt,
}

/// `hex(SHA-256(CA certificate DER))` + `.` + JWT. A secret: it has no `Display` and its `Debug`
/// shows only the CA's hash.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    ca_hash: [u8; 32],
    jwt: String,
}

/// A JWT of ours has under 400 characters; this bounds what a stranger makes us parse.
const MAX_JWT: usize = 2048;

impl JoinToken {
    /// A token for the hub with this CA.
    ///
    /// # Errors
    /// [`TokenError::Jwt`] if `jwt` has not the form of a JWT.
    pub fn new(ca_der: &[u8], jwt: String) -> Result<Self, TokenError> {
        check_jwt(&jwt)?;
        Ok(Self { ca_hash: Self::hash_ca(ca_der), jwt })
    }

    /// SHA-256 of a CA certificate's DER.
    #[must_use]
    pub fn hash_ca(ca_der: &[u8]) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, ca_der).as_ref());
        hash
    }

    /// SHA-256 of the hub's CA certificate, DER.
    #[must_use]
    pub const fn ca_hash(&self) -> &[u8; 32] {
        &self.ca_hash
    }

    /// The JWT, to be shown to nobody but the hub whose CA has this hash.
    #[must_use]
    pub fn expose_jwt(&self) -> &str {
        &self.jwt
    }

    /// The whole token, as an operator gets it once.
    #[must_use]
    pub fn expose(&self) -> String {
        format!("{}.{}", hex(&self.ca_hash), self.jwt)
    }
}

/// Lower-case hex digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
        }
        text
    })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn check_jwt(jwt: &str) -> Result<(), TokenError> {
    let part_ok = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if jwt.len() <= MAX_JWT && jwt.split('.').count() == 3 && jwt.split('.').all(part_ok) {
        Ok(())
    } else {
        Err(TokenError::Jwt)
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let (hash, jwt) = text.trim().split_once('.').ok_or(TokenError::Form)?;
        let ca_hash = unhex(hash).ok_or(TokenError::CaHash)?;
        check_jwt(jwt)?;
        Ok(Self { ca_hash, jwt: jwt.to_owned() })
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({}.…)", hex(&self.ca_hash))
    }
}
