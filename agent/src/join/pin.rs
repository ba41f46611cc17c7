//! The check that the peer is the token's hub, before anything is said to it.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use cloudcore_protocol::JoinToken;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::verify_tls13_signature,
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use crate::identity::provider;

/// What was found out about the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its chain ends in the token's CA, whose DER this is.
    Trusted(Vec<u8>),
    /// No certificate of its chain is the token's CA.
    WrongHub,
    /// The chain does not hold.
    BadChain(String),
}

/// Trusts the chain that ends in the CA with this hash.
pub(super) struct PinnedCa {
    hash: [u8; 32],
    verdict: Mutex<Option<Verdict>>,
}

impl fmt::Debug for PinnedCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PinnedCa")
    }
}

impl PinnedCa {
    pub(super) const fn new(hash: [u8; 32]) -> Self {
        Self { hash, verdict: Mutex::new(None) }
    }

    /// The last handshake's.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<Vec<u8>, Verdict> {
        let ca = others
            .iter()
            .chain([leaf])
            .find(|certificate| JoinToken::hash_ca(certificate) == self.hash)
            .ok_or(Verdict::WrongHub)?;
        let bad = |error: &dyn fmt::Display| Verdict::BadChain(error.to_string());
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned()).map_err(|e| bad(&e))?;
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|e| bad(&e))?;
        chain.verify_server_cert(leaf, others, name, ocsp, now).map_err(|e| bad(&e))?;
        Ok(ca.to_vec())
    }
}

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged = self.judge(leaf, others, name, ocsp, now);
        let (verdict, answer) = match judged {
            Ok(ca) => (Verdict::Trusted(ca), Ok(ServerCertVerified::assertion())),
            Err(verdict) => (
                verdict,
                Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
            ),
        };
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
        answer
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// TLS 1.3 without a client certificate, with the hub of that CA.
pub(super) fn tls(pin: Arc<PinnedCa>, alpn: &[u8]) -> Result<ClientConfig, String> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(pin)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    // A resumed session would not be judged.
    config.resumption = Resumption::disabled();
    Ok(config)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use cloudcore_protocol::HUB_SERVER_NAME;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    use super::*;

    struct Hub {
        ca: CertificateDer<'static>,
        issuer: Issuer<'static, KeyPair>,
    }

    impl Hub {
        fn new() -> Self {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            let ca = params.self_signed(&key).unwrap().der().clone();
            Self { ca, issuer: Issuer::new(params, key) }
        }

        fn leaf(&self, name: &str) -> CertificateDer<'static> {
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            let key = KeyPair::generate().unwrap();
            params.signed_by(&key, &self.issuer).unwrap().der().clone()
        }
    }

    fn verdict(
        hash: [u8; 32],
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
    ) -> Verdict {
        let pin = PinnedCa::new(hash);
        let name = ServerName::try_from(HUB_SERVER_NAME).unwrap();
        let verified = pin.verify_server_cert(leaf, others, &name, &[], UnixTime::now());
        let verdict = pin.verdict().unwrap();
        assert_eq!(verified.is_ok(), matches!(verdict, Verdict::Trusted(_)));
        verdict
    }

    #[test]
    fn only_the_pinned_cas_hub_is_trusted() {
        let (hub, other) = (Hub::new(), Hub::new());
        let hash = JoinToken::hash_ca(&hub.ca);
        let leaf = hub.leaf(HUB_SERVER_NAME);
        let trusted = verdict(hash, &leaf, std::slice::from_ref(&hub.ca));
        assert_eq!(trusted, Verdict::Trusted(hub.ca.to_vec()));

        let wrong = verdict(hash, &other.leaf(HUB_SERVER_NAME), std::slice::from_ref(&other.ca));
        assert_eq!(wrong, Verdict::WrongHub);
        // He who only copies the CA's certificate has no leaf of it.
        let copied = verdict(hash, &other.leaf(HUB_SERVER_NAME), std::slice::from_ref(&hub.ca));
        assert!(matches!(copied, Verdict::BadChain(_)), "{copied:?}");
        // Another node of the same CA is not the hub.
        let node = verdict(hash, &hub.leaf("edge-1"), std::slice::from_ref(&hub.ca));
        assert!(matches!(node, Verdict::BadChain(_)), "{node:?}");
        assert_eq!(verdict(hash, &leaf, &[]), Verdict::WrongHub);
    }
}
