//! What a certificate says of itself.

use cloudcore_protocol::Timestamp;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::Fingerprint;
use crate::{
    error::{Error, Result},
    keys,
};

/// What people want to know of a certificate.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Whose it is, as a distinguished name.
    pub subject: String,
    /// Who signed it, as a distinguished name.
    pub issuer: String,
    /// Its serial number, hex.
    pub serial: String,
    /// SHA-256 of the DER, hex.
    pub fingerprint: Fingerprint,
    /// When it began.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
}

impl Facts {
    /// Of these DER bytes.
    ///
    /// # Errors
    /// API-007 when they are no certificate.
    pub fn of(der: &[u8]) -> Result<Self> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(Error::internal)?;
        let at = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_micros(time.timestamp().saturating_mul(1_000_000))
        };
        Ok(Self {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            serial: keys::hex(certificate.raw_serial()),
            fingerprint: keys::sha256_hex(der),
            not_before: at(certificate.validity().not_before),
            not_after: at(certificate.validity().not_after),
        })
    }
}
