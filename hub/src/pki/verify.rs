//! Which client certificates end a handshake.

use std::{
    collections::HashSet,
    sync::{Arc, RwLock},
};

use rustls::{
    DigitallySignedStruct, DistinguishedName, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::Fingerprint;
use crate::{
    error::{Error, Result},
    keys,
};

/// A certificate of our CA that is not revoked, or none at all.
#[derive(Debug)]
pub(super) struct MemberVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    revoked: Arc<RwLock<HashSet<Fingerprint>>>,
}

impl MemberVerifier {
    pub(super) fn new(
        ca: &CertificateDer<'static>,
        revoked: Arc<RwLock<HashSet<Fingerprint>>>,
    ) -> Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca.clone()).map_err(Error::internal)?;
        let chain = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), super::provider())
            .allow_unauthenticated()
            .build()
            .map_err(Error::internal)?;
        Ok(Self { chain, revoked })
    }
}

impl ClientCertVerifier for MemberVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        let revoked = match self.revoked.read() {
            Ok(revoked) => revoked.contains(&keys::sha256_hex(end_entity)),
            Err(poisoned) => poisoned.into_inner().contains(&keys::sha256_hex(end_entity)),
        };
        if revoked {
            return Err(rustls::Error::InvalidCertificate(rustls::CertificateError::Revoked));
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
