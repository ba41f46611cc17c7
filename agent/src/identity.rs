//! Who this node is: its key, its certificate, and the one CA it trusts.
//!
//! Certificate and key stand in one file, so that no crash can leave a pair that does not match.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use cloudcore_protocol::{NodeName, Timestamp};
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use crate::files;

const CA_FILE: &str = "ca.pem";
const NODE_FILE: &str = "node.pem";
/// The key of a join that has not been answered.
const PENDING_KEY_FILE: &str = "node.key";

/// Why there is no identity to use.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The node has not joined.
    #[error("this node is not a member of a hub: join first")]
    NotMember,
    /// A file can't be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {problem}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Keys can't be made or used.
    #[error("keys: {0}")]
    Crypto(String),
}

/// A member's credentials.
#[derive(Debug)]
pub struct Identity {
    ca: CertificateDer<'static>,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    validity: Validity,
}

/// When a certificate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From.
    pub not_before: Timestamp,
    /// To.
    pub not_after: Timestamp,
}

impl Validity {
    fn of(certificate: &[u8]) -> Result<Self, String> {
        let (_, parsed) =
            x509_parser::parse_x509_certificate(certificate).map_err(|e| e.to_string())?;
        let at = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_micros(time.timestamp().saturating_mul(1_000_000))
        };
        let validity = parsed.validity();
        Ok(Self { not_before: at(validity.not_before), not_after: at(validity.not_after) })
    }

    /// When it is time for a new one: two thirds of life leave a third to be offline in.
    #[must_use]
    pub fn renew_at(self) -> Timestamp {
        self.not_before.plus(self.not_after.since(self.not_before) / 3 * 2)
    }

    /// How long until [`Self::renew_at`]; zero once it is past.
    #[must_use]
    pub fn renew_in(self) -> Duration {
        self.renew_at().since(Timestamp::now())
    }
}

/// A fresh key, for a request.
pub struct NodeKey(KeyPair);

impl NodeKey {
    /// ECDSA on P-256.
    ///
    /// # Errors
    /// [`IdentityError::Crypto`].
    pub fn generate() -> Result<Self, IdentityError> {
        KeyPair::generate().map(Self).map_err(|e| IdentityError::Crypto(e.to_string()))
    }

    /// The key of a join that was cut off, or a fresh one; on the disk before it is used, so that
    /// the hub can tell the same node's second try from a thief's.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn pending(data_dir: &Path) -> Result<Self, IdentityError> {
        let path = data_dir.join(PENDING_KEY_FILE);
        match fs::read_to_string(&path) {
            Ok(pem) => KeyPair::from_pem(&pem)
                .map(Self)
                .map_err(|e| IdentityError::Invalid { path, problem: e.to_string() }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let key = Self::generate()?;
                files::write_private(&path, key.0.serialize_pem().as_bytes())
                    .map_err(|source| IdentityError::File { path, source })?;
                Ok(key)
            }
            Err(source) => Err(IdentityError::File { path, source }),
        }
    }

    /// A PKCS #10 request for `node`, DER.
    ///
    /// # Errors
    /// [`IdentityError::Crypto`].
    pub fn request(&self, node: &NodeName) -> Result<Vec<u8>, IdentityError> {
        let make = || {
            let mut params = CertificateParams::new(Vec::new())?;
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, node.as_str());
            params.serialize_request(&self.0).map(|request| request.der().to_vec())
        };
        make().map_err(|e: rcgen::Error| IdentityError::Crypto(e.to_string()))
    }
}

impl Identity {
    /// Whether the node has joined.
    #[must_use]
    pub fn exists(data_dir: &Path) -> bool {
        data_dir.join(NODE_FILE).exists()
    }

    /// From the data directory.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn load(data_dir: &Path) -> Result<Self, IdentityError> {
        let read = |name: &str| {
            let path = data_dir.join(name);
            match fs::read(&path) {
                Ok(bytes) => Ok((path, bytes)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Err(IdentityError::NotMember),
                Err(source) => Err(IdentityError::File { path, source }),
            }
        };
        let (node_path, node) = read(NODE_FILE)?;
        let (ca_path, ca) = read(CA_FILE)?;
        let ca = CertificateDer::from_pem_slice(&ca)
            .map_err(|e| IdentityError::Invalid { path: ca_path, problem: e.to_string() })?;
        let invalid = |problem: String| IdentityError::Invalid { path: node_path.clone(), problem };
        let certificate =
            CertificateDer::from_pem_slice(&node).map_err(|e| invalid(e.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(&node).map_err(|e| invalid(e.to_string()))?;
        let validity = Validity::of(&certificate).map_err(invalid)?;
        Ok(Self { ca, certificate, key, validity })
    }

    /// Keeps the CA that the node has checked.
    pub(crate) fn install_ca(data_dir: &Path, ca: &[u8]) -> Result<(), IdentityError> {
        let path = data_dir.join(CA_FILE);
        files::write_private(&path, pem("CERTIFICATE", ca).as_bytes())
            .map_err(|source| IdentityError::File { path, source })
    }

    /// Makes this certificate and its key the node's own. From here on the node is a member.
    pub(crate) fn install(
        data_dir: &Path,
        key: &NodeKey,
        certificate: &[u8],
    ) -> Result<Validity, IdentityError> {
        let path = data_dir.join(NODE_FILE);
        let invalid = |problem: String| IdentityError::Invalid { path: path.clone(), problem };
        let validity = Validity::of(certificate).map_err(invalid)?;
        // A hub that answers with another key's certificate would lock the node out for good.
        let (_, parsed) =
            x509_parser::parse_x509_certificate(certificate).map_err(|e| invalid(e.to_string()))?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.0.public_key_raw() {
            return Err(invalid("the hub's certificate is not for this node's key".into()));
        }
        let text = format!("{}{}", pem("CERTIFICATE", certificate), key.0.serialize_pem());
        files::write_private(&path, text.as_bytes())
            .map_err(|source| IdentityError::File { path, source })?;
        let pending = data_dir.join(PENDING_KEY_FILE);
        files::remove_if_present(&pending)
            .map_err(|source| IdentityError::File { path: pending, source })?;
        Ok(validity)
    }

    /// Forgets the membership; whether there was any.
    pub(crate) fn remove(data_dir: &Path) -> Result<bool, IdentityError> {
        let mut any = false;
        for name in [NODE_FILE, PENDING_KEY_FILE, CA_FILE] {
            let path = data_dir.join(name);
            any |= files::remove_if_present(&path)
                .map_err(|source| IdentityError::File { path, source })?;
        }
        Ok(any)
    }

    /// When the certificate counts.
    #[must_use]
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// Mutual TLS 1.3 with a hub of this node's CA and nobody else.
    ///
    /// # Errors
    /// [`IdentityError::Crypto`].
    pub fn tls(&self, alpn: &[u8]) -> Result<ClientConfig, IdentityError> {
        let crypto = |e: rustls::Error| IdentityError::Crypto(e.to_string());
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.clone()).map_err(crypto)?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(crypto)?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![self.certificate.clone()], self.key.clone_key())
            .map_err(crypto)?;
        config.alpn_protocols = vec![alpn.to_vec()];
        // A resumed session would skip the hub's look at the certificate.
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

/// The one TLS provider of this program.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn pem(label: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {label}-----\n");
    // 48 bytes make the 64 characters of a line.
    for line in der.chunks(48) {
        for group in line.chunks(3) {
            let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
                << (8 * (3 - group.len()));
            for digit in 0..4 {
                let index = (bits >> (18 - 6 * digit)) & 63;
                text.push(if digit <= group.len() {
                    char::from(DIGITS[index as usize])
                } else {
                    '='
                });
            }
        }
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    #[test]
    fn pem_is_read_back() {
        for len in 0..200_u8 {
            let der: Vec<u8> = (0..len).collect();
            let text = pem("CERTIFICATE", &der);
            if len > 0 {
                assert_eq!(CertificateDer::from_pem_slice(text.as_bytes()).unwrap().as_ref(), der);
            }
        }
    }

    #[test]
    fn a_cut_join_keeps_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let first = NodeKey::pending(dir.path()).unwrap();
        let second = NodeKey::pending(dir.path()).unwrap();
        assert_eq!(first.0.public_key_raw(), second.0.public_key_raw());
    }

    #[test]
    fn only_the_own_keys_certificate_is_installed() {
        let dir = tempfile::tempdir().unwrap();
        let (own, other) = (NodeKey::generate().unwrap(), NodeKey::generate().unwrap());
        let params = CertificateParams::new(vec!["edge-1".to_owned()]).unwrap();
        let certificate = params.self_signed(&other.0).unwrap();
        Identity::install(dir.path(), &own, certificate.der()).unwrap_err();
        assert!(!Identity::exists(dir.path()));

        Identity::install_ca(dir.path(), certificate.der()).unwrap();
        Identity::install(dir.path(), &other, certificate.der()).unwrap();
        let identity = Identity::load(dir.path()).unwrap();
        identity.tls(b"test").unwrap();
        assert!(identity.validity().renew_at() < identity.validity().not_after);
    }
}
