//! A certificate authority that lives as long as a run, and certificates good and bad.

use std::io;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::TlsAcceptor;

/// Signs what fronts show. Its key never leaves the process.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Authority")
    }
}

/// What a server's certificate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    Good,
    Expired,
    OtherName,
}

impl Authority {
    /// # Errors
    /// When no key can be made.
    pub fn new() -> io::Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(io::Error::other)?;
        Ok(Self { issuer })
    }

    /// What a client has to trust.
    #[must_use]
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Shakes hands as `host`, and offers these protocols by ALPN, the first wanted most.
    ///
    /// # Errors
    /// When the name is none, or no certificate can be made.
    pub fn acceptor(
        &self,
        certificate: Certificate,
        host: &str,
        protocols: &[&str],
    ) -> io::Result<TlsAcceptor> {
        let host = match certificate {
            Certificate::Good | Certificate::Expired => host,
            Certificate::OtherName => "other.example",
        };
        let mut params = CertificateParams::new(vec![host.to_owned()]).map_err(io::Error::other)?;
        if certificate == Certificate::Expired {
            params.not_after = date_time_ymd(2001, 1, 1);
        }
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let signed = params
            .signed_by(&key, &self.issuer)
            .map_err(io::Error::other)?;
        let crypto = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(crypto)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(
                vec![signed.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .map_err(io::Error::other)?;
        let protocols = protocols.iter().map(|name| name.as_bytes().to_vec());
        config.alpn_protocols = protocols.collect();
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
