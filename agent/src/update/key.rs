//! Who may say what the agent is: the holder of one minisign key.

use std::{
    io::{self, Read},
    str::FromStr,
};

use minisign_verify::{PublicKey, Signature};
use semver::Version;
use serde::{Deserialize, Serialize};

/// A minisign public key, base64 as `minisign -G` prints it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UpdateKey(String);

/// What a signature says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Its version.
    pub version: Version,
    /// What it runs on, by Debian's name.
    pub architecture: String,
}

/// Why a file is not run.
#[derive(Debug, thiserror::Error)]
pub enum BadSignature {
    /// It is not this key's, or not of this file.
    #[error("the signature is not the update key's for this file: {0}")]
    Signature(#[from] minisign_verify::Error),
    /// It is good and does not say of what.
    #[error(
        "the signature's comment is '{0}' and not 'cloudcore-agent VERSION linux-ARCHITECTURE'"
    )]
    Comment(String),
    /// The file can't be read.
    #[error("the release can't be read: {0}")]
    File(#[from] io::Error),
}

impl UpdateKey {
    /// Reads the file to its end; what it is, if this key signed it.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn verify(&self, mut file: impl Read, signature: &str) -> Result<Signed, BadSignature> {
        let key = PublicKey::from_base64(&self.0)?;
        let signature = Signature::decode(signature)?;
        let mut verifier = key.verify_stream(&signature)?;
        let mut chunk = vec![0; 64 * 1024];
        loop {
            match file.read(&mut chunk)? {
                0 => break,
                read => verifier.update(&chunk[..read]),
            }
        }
        verifier.finalize()?;
        parse(signature.trusted_comment())
            .ok_or_else(|| BadSignature::Comment(signature.trusted_comment().to_owned()))
    }
}

fn parse(comment: &str) -> Option<Signed> {
    let mut words = comment.split(' ');
    let (program, version, platform) = (words.next()?, words.next()?, words.next()?);
    if program != "cloudcore-agent" || words.next().is_some() {
        return None;
    }
    let architecture = platform.strip_prefix("linux-")?.to_owned();
    Some(Signed { version: Version::parse(version).ok()?, architecture })
}

impl FromStr for UpdateKey {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        PublicKey::from_base64(text)
            .map(|_| Self(text.to_owned()))
            .map_err(|e| format!("no minisign public key: {e}"))
    }
}

impl TryFrom<String> for UpdateKey {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<UpdateKey> for String {
    fn from(key: UpdateKey) -> Self {
        key.0
    }
}

impl std::fmt::Debug for UpdateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    #[test]
    fn a_comment_says_version_and_architecture_and_nothing_else() {
        let signed = parse("cloudcore-agent 1.2.3 linux-arm64").unwrap();
        assert_eq!(signed.version, Version::new(1, 2, 3));
        assert_eq!(signed.architecture, "arm64");
        for other in [
            "",
            "timestamp:1 file:x",
            "cloudcore-agent 1.2 linux-arm64",
            "cloudcore-agent 1.2.3 arm64",
            "cloudcore-hub 1.2.3 linux-arm64",
            "cloudcore-agent 1.2.3 linux-arm64 more",
        ] {
            assert!(parse(other).is_none(), "{other}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for bad in ["", "abc", "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO"] {
            bad.parse::<UpdateKey>().unwrap_err();
        }
    }
}
