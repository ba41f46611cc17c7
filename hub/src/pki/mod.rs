//! The hub's certificate authority: its own certificate, the agents' certificates, and the TLS
//! settings that trust nothing else.
//!
//! A client certificate proves a node name and nothing more; whether that node is still a member
//! is asked of the database at admission, and of the in-memory set of revoked certificates in
//! every handshake.

mod facts;
mod https;
mod served;
mod verify;

use std::{
    collections::HashSet,
    path::Path,
    sync::{Arc, RwLock},
    time::Duration,
};

use cloudcore_protocol::{HUB_SERVER_NAME, JoinToken, NodeName};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _,
};
use rustls::{
    pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer},
    server::ResolvesServerCert,
    sign::CertifiedKey,
};
use time::OffsetDateTime;

pub use facts::Facts;
pub use https::{Https, HttpsSource};

use self::served::Served;

use crate::{
    error::{Error, Result},
    keys,
};

/// The file of the CA's key, in the data directory.
pub const CA_KEY: &str = "ca.key";
/// The file of its certificate.
pub const CA_CERTIFICATE: &str = "ca.pem";

const SERVER_CERTIFICATE_LIFE: Duration = Duration::from_secs(90 * 86_400);
/// Edge clocks run late: what is issued now was valid yesterday, or as long ago as it lives.
const BACKDATE: Duration = Duration::from_secs(86_400);

/// SHA-256 of a certificate's DER, hex.
pub type Fingerprint = String;

/// The certificate authority.
pub struct Pki {
    issuer: Issuer<'static, KeyPair>,
    node_life: Duration,
    ca_der: CertificateDer<'static>,
    ca_pem: String,
    ca_subject: String,
    served: Arc<Served>,
    revoked: Arc<RwLock<HashSet<Fingerprint>>>,
}

/// A certificate for a node.
#[derive(Debug)]
pub struct NodeCertificate {
    /// DER.
    pub der: Vec<u8>,
    /// What it says.
    pub facts: Facts,
}

/// A certificate request whose self-signature holds.
#[derive(Debug)]
pub struct NodeRequest {
    csr: CertificateSigningRequestParams,
}

impl NodeRequest {
    /// Parses a PKCS #10 request for `node`.
    ///
    /// # Errors
    /// API-001: it is no such request, or its common name is another node's.
    pub fn parse(der: &[u8], node: &NodeName) -> Result<Self> {
        let csr =
            CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der))
                .map_err(|e| Error::invalid(format!("the certificate request is bad: {e}")))?;
        let named = csr.params.distinguished_name.get(&DnType::CommonName).is_some_and(|name| {
            matches!(name, rcgen::DnValue::Utf8String(text) if text == node.as_str())
                || matches!(name, rcgen::DnValue::PrintableString(text) if text.as_str() == node.as_str())
        });
        if !named {
            return Err(Error::invalid("the certificate request's common name is not the node's"));
        }
        Ok(Self { csr })
    }

    /// SHA-256 of the public key, hex: the same for a request that is repeated.
    #[must_use]
    pub fn key_hash(&self) -> String {
        keys::sha256_hex(self.csr.public_key.der_bytes())
    }
}

impl Pki {
    /// Opens the CA of this data directory, or makes it; nodes' certificates live for `node_life`.
    ///
    /// # Errors
    /// API-007 when its files can't be read or written, or are not a CA.
    pub fn load(data_dir: &Path, node_life: Duration) -> Result<Self> {
        let key = keys::read_or_create(&data_dir.join(CA_KEY), || {
            Ok(KeyPair::generate().map_err(Error::internal)?.serialize_pem().into_bytes())
        })?;
        let key = String::from_utf8(key).map_err(Error::internal)?;
        let key = KeyPair::from_pem(&key).map_err(Error::internal)?;
        let params = ca_params()?;
        let pem = keys::read_or_create(&data_dir.join(CA_CERTIFICATE), || {
            Ok(params.self_signed(&key).map_err(Error::internal)?.pem().into_bytes())
        })?;
        use rustls::pki_types::pem::PemObject as _;
        let ca_der = CertificateDer::from_pem_slice(&pem)
            .map_err(|_| Error::internal("ca.pem is not a certificate"))?
            .into_owned();
        let issuer = Issuer::new(params, key);
        let link = server_key(&issuer, &ca_der, &[HUB_SERVER_NAME.to_owned()])?;
        let served = Arc::new(Served::new(link));
        let ca_pem = String::from_utf8(pem).map_err(Error::internal)?;
        let ca_subject = Facts::of(&ca_der)?.subject;
        let revoked = Arc::default();
        Ok(Self { issuer, node_life, ca_der, ca_pem, ca_subject, served, revoked })
    }

    /// A join token around this JWT, for this CA.
    ///
    /// # Errors
    /// API-007 when `jwt` is none.
    pub fn join_token(&self, jwt: String) -> Result<JoinToken> {
        JoinToken::new(&self.ca_der, jwt).map_err(Error::internal)
    }

    /// Issues the node its certificate.
    ///
    /// # Errors
    /// API-007 when it can't be signed.
    pub fn issue(&self, node: &NodeName, request: &NodeRequest) -> Result<NodeCertificate> {
        let mut params = leaf_params(&[node.to_string()], self.node_life)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate =
            params.signed_by(&request.csr.public_key, &self.issuer).map_err(Error::internal)?;
        let der = certificate.der().to_vec();
        Ok(NodeCertificate { facts: Facts::of(&der)?, der })
    }

    /// From now on these certificates end every handshake.
    pub fn revoke(&self, fingerprints: impl IntoIterator<Item = Fingerprint>) {
        match self.revoked.write() {
            Ok(mut revoked) => revoked.extend(fingerprints),
            // Nothing panics while it holds the lock.
            Err(poisoned) => poisoned.into_inner().extend(fingerprints),
        }
    }

    /// Shows agents a certificate with its whole life ahead from now on. Sessions go on.
    ///
    /// # Errors
    /// API-007 when it can't be signed.
    pub fn renew_link_certificate(&self) -> Result<()> {
        let names = [HUB_SERVER_NAME.to_owned()];
        self.served.exchange(server_key(&self.issuer, &self.ca_der, &names)?);
        Ok(())
    }

    /// A fresh certificate of this CA for the API.
    fn https_key(&self, names: &[String]) -> Result<CertifiedKey> {
        server_key(&self.issuer, &self.ca_der, names)
    }

    /// The CA's own certificate, DER.
    #[must_use]
    pub const fn ca(&self) -> &CertificateDer<'static> {
        &self.ca_der
    }

    /// The same in PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The CA's distinguished name, which is every node certificate's issuer.
    #[must_use]
    pub fn ca_subject(&self) -> &str {
        &self.ca_subject
    }

    /// What agents are shown.
    ///
    /// # Errors
    /// API-007 when it is no certificate.
    pub fn link_facts(&self) -> Result<Facts> {
        Facts::of(&self.served.leaf().ok_or_else(|| Error::internal("no certificate is served"))?)
    }

    /// TLS 1.3 for the agents' port: a client certificate of this CA or none. What may be done
    /// without one is `link`'s business.
    ///
    /// # Errors
    /// API-007 when TLS can't be set up.
    pub fn tls(&self, alpn: &[&[u8]]) -> Result<rustls::ServerConfig> {
        let verifier = verify::MemberVerifier::new(&self.ca_der, Arc::clone(&self.revoked))?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(Error::internal)?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::clone(&self.served) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        // Resumption would skip the check for revocation.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn ca_params() -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new()).map_err(Error::internal)?;
    params.distinguished_name.push(DnType::CommonName, "CloudCore hub CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = OffsetDateTime::now_utc() - BACKDATE;
    params.not_after = OffsetDateTime::now_utc() + time::Duration::days(3650);
    Ok(params)
}

fn leaf_params(names: &[String], life: Duration) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(names.to_vec()).map_err(Error::internal)?;
    // A common name has at most 64 characters (RFC 5280, ub-common-name); the subject
    // alternative names are what is checked.
    if let Some(name) = names.first() {
        params.distinguished_name.push(DnType::CommonName, name.as_str());
    }
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.not_before = OffsetDateTime::now_utc() - BACKDATE.min(life);
    params.not_after = OffsetDateTime::now_utc() + life;
    Ok(params)
}

fn server_key(
    issuer: &Issuer<'_, KeyPair>,
    ca_der: &CertificateDer<'static>,
    names: &[String],
) -> Result<CertifiedKey> {
    let key = KeyPair::generate().map_err(Error::internal)?;
    let mut params = leaf_params(names, SERVER_CERTIFICATE_LIFE)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let leaf = params.signed_by(&key, issuer).map_err(Error::internal)?;
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let key = rustls::crypto::ring::sign::any_supported_type(&key).map_err(Error::internal)?;
    // The CA goes along: a node that joins has only its hash.
    Ok(CertifiedKey::new(vec![leaf.der().clone(), ca_der.clone()], key))
}
