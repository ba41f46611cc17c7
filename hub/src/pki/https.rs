//! The certificate of the API's TLS listener: of the hub's own CA, or from files that somebody
//! else renews. A file that is bad never takes a good certificate's place.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use cloudcore_protocol::Timestamp;
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};

use super::{Facts, Pki, Served, provider};
use crate::{
    error::{Code, Error, Result},
    keys,
};

/// Largest file, bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// Where the certificate comes from.
#[derive(Debug, Clone)]
pub enum HttpsSource {
    /// The hub's own CA, for these names and addresses.
    Own(Vec<String>),
    /// PEM files: the chain, leaf first, and its key.
    Files {
        /// The chain.
        certificate: PathBuf,
        /// The key: PKCS #8, SEC 1 or PKCS #1.
        key: PathBuf,
    },
}

/// The API's certificate.
pub struct Https {
    pki: Arc<Pki>,
    source: HttpsSource,
    served: Arc<Served>,
    /// SHA-256 of the files that were looked at last, good or bad.
    seen: Mutex<String>,
}

impl Https {
    /// Issues or reads the certificate.
    ///
    /// # Errors
    /// API-009 when a file can't be read, or certificate and key are none or don't belong
    /// together.
    pub fn open(pki: Arc<Pki>, source: HttpsSource) -> Result<Self> {
        let (key, seen) = match &source {
            HttpsSource::Own(names) => (pki.https_key(names)?, String::new()),
            HttpsSource::Files { certificate, key } => {
                let files = Files::read(certificate, key)?;
                (files.certified()?, files.hash())
            }
        };
        if let Some(ended) = ended(&key)? {
            // Without it the agents' port would not come up either.
            tracing::warn!(%ended, "the API's certificate has ended");
        }
        Ok(Self { pki, source, served: Arc::new(Served::new(key)), seen: Mutex::new(seen) })
    }

    /// Serves a fresh certificate of the own CA, or what the files hold now.
    ///
    /// # Errors
    /// API-009 when the files hold nothing better; what was served before goes on.
    pub fn renew(&self) -> Result<()> {
        match &self.source {
            HttpsSource::Own(names) => self.served.exchange(self.pki.https_key(names)?),
            HttpsSource::Files { certificate, key } => {
                let files = Files::read(certificate, key)?;
                self.note(files.hash());
                let fresh = files.certified()?;
                if let Some(ended) = ended(&fresh)? {
                    return Err(bad(certificate, format!("the certificate ended at {ended}")));
                }
                self.served.exchange(fresh);
            }
        }
        Ok(())
    }

    /// Takes files over that have changed since the last look; whether they had.
    ///
    /// # Errors
    /// As [`Self::renew`], once for each change.
    pub fn look(&self) -> Result<bool> {
        let HttpsSource::Files { certificate, key } = &self.source else { return Ok(false) };
        let hash = match Files::read(certificate, key) {
            Ok(files) => files.hash(),
            // Said once as well, and not each time until it is back.
            Err(error) => {
                return if self.note(format!("unreadable: {error}")) {
                    Err(error)
                } else {
                    Ok(false)
                };
            }
        };
        if !self.note(hash) {
            return Ok(false);
        }
        self.renew().map(|()| true)
    }

    /// Whether this differs from what was seen before.
    fn note(&self, hash: String) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = *seen != hash;
        *seen = hash;
        fresh
    }

    /// What is served now.
    ///
    /// # Errors
    /// API-007 when it is no certificate.
    pub fn facts(&self) -> Result<Facts> {
        Facts::of(&self.served.leaf().ok_or_else(|| Error::internal("no certificate is served"))?)
    }

    /// Whether the certificate is of the hub's own CA.
    #[must_use]
    pub const fn is_own(&self) -> bool {
        matches!(self.source, HttpsSource::Own(_))
    }

    /// TLS 1.2 and 1.3, HTTP/2 before HTTP/1.1.
    ///
    /// # Errors
    /// API-007 when TLS can't be set up.
    pub fn tls(&self) -> Result<rustls::ServerConfig> {
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(Error::internal)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.served) as _);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// When the certificate ended, if it has.
fn ended(key: &CertifiedKey) -> Result<Option<Timestamp>> {
    let leaf = key.end_entity_cert().map_err(Error::internal)?;
    let ends = Facts::of(leaf)?.not_after;
    Ok((ends <= Timestamp::now()).then_some(ends))
}

fn bad(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::new(Code::Unavailable, format!("{}: {why}", path.display()))
}

/// The two files' content.
struct Files<'a> {
    certificate: (&'a Path, Vec<u8>),
    key: (&'a Path, Vec<u8>),
}

impl<'a> Files<'a> {
    fn read(certificate: &'a Path, key: &'a Path) -> Result<Self> {
        Ok(Self { certificate: (certificate, read(certificate)?), key: (key, read(key)?) })
    }

    fn hash(&self) -> String {
        keys::sha256_hex(&self.certificate.1) + &keys::sha256_hex(&self.key.1)
    }

    fn certified(&self) -> Result<CertifiedKey> {
        let (path, pem) = &self.certificate;
        let chain = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| bad(path, format!("not a PEM certificate: {e}")))?;
        if chain.is_empty() {
            return Err(bad(path, "no PEM certificate in it"));
        }
        let (path, pem) = &self.key;
        // The library's reason may quote the key.
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| bad(path, "not a PEM key"))?;
        CertifiedKey::from_der(chain, key, &provider()).map_err(|e| bad(path, e))
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes))
        .map_err(|e| bad(path, e))?;
    Ok(bytes)
}
