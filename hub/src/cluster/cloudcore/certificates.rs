//! The certificate by which the cluster's API server reaches CloudCore's stream port, in the secret
//! that CloudCore mounts. All others CloudCore makes itself.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::OffsetDateTime;
use x509_parser::pem::parse_x509_pem;

use crate::error::{Error, Result};

/// The certificate's key in the secret, and its file in the pod.
pub(super) const CERTIFICATE: &str = "stream.crt";
/// Its private key's.
pub(super) const KEY: &str = "stream.key";
/// Its authority's.
pub(super) const AUTHORITY: &str = "streamCA.crt";

const LIFE: Duration = Duration::from_secs(3650 * 86_400);
/// One that ends within this is made anew.
const LEFT: Duration = Duration::from_secs(90 * 86_400);
/// Clocks of nodes run late.
const BACKDATE: Duration = Duration::from_secs(86_400);

/// Whether a secret has all three, and they hold for a while.
pub(super) fn holds(secret: &Secret) -> bool {
    let Some(data) = &secret.data else { return false };
    if ![CERTIFICATE, KEY, AUTHORITY].iter().all(|name| data.contains_key(*name)) {
        return false;
    }
    let ends = data
        .get(CERTIFICATE)
        .and_then(|pem| parse_x509_pem(&pem.0).ok())
        .and_then(|(_, pem)| Some(pem.parse_x509().ok()?.validity().not_after.timestamp()));
    ends.is_some_and(|ends| ends > (OffsetDateTime::now_utc() + LEFT).unix_timestamp())
}

/// New ones for these names and addresses.
///
/// # Errors
/// API-007 when keys can't be made.
pub(super) fn make(names: Vec<String>) -> Result<BTreeMap<String, ByteString>> {
    let now = OffsetDateTime::now_utc();
    let params = |name: &str, alternatives: Vec<String>| {
        let mut params = CertificateParams::new(alternatives).map_err(Error::internal)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = now - BACKDATE;
        params.not_after = now + LIFE;
        Ok::<_, Error>(params)
    };
    let mut authority = params("cloudcore-stream-ca", Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_key = KeyPair::generate().map_err(Error::internal)?;
    let authority_pem = authority.self_signed(&authority_key).map_err(Error::internal)?.pem();
    let issuer = Issuer::new(authority, authority_key);

    let mut server = params("cloudcore", names)?;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    server.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().map_err(Error::internal)?;
    let certificate = server.signed_by(&key, &issuer).map_err(Error::internal)?.pem();
    // Go's libraries read EC keys in PKCS #8 as well.
    let entry = |name: &str, text: String| (name.to_owned(), ByteString(text.into_bytes()));
    Ok([
        entry(CERTIFICATE, certificate),
        entry(KEY, key.serialize_pem()),
        entry(AUTHORITY, authority_pem),
    ]
    .into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_holds_and_half_of_it_does_not() {
        let data = make(vec!["203.0.113.7".into(), "cloudcore.kubeedge.svc".into()]).unwrap();
        let secret = |data| Secret { data: Some(data), ..Secret::default() };
        assert!(holds(&secret(data.clone())));
        let mut half = data.clone();
        half.remove(KEY);
        assert!(!holds(&secret(half)));
        let mut bad = data;
        bad.insert(CERTIFICATE.into(), ByteString(b"no certificate".to_vec()));
        assert!(!holds(&secret(bad)));
        assert!(!holds(&Secret::default()));
    }
}
