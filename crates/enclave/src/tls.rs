//! The server's TLS identity: a key made inside the enclave, or one that the operator brings.
//!
//! Either way the SHA-256 of its SubjectPublicKeyInfo goes into the runtime statement (CH-5), so that a client knows
//! that its connection ends here and nowhere else. The certificate itself proves nothing to a verifying client.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use casemate_protocol::statement::KeyOrigin;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// A TLS identity, ready to serve.
pub struct TlsIdentity {
    config: Arc<ServerConfig>,
    spki_sha256: [u8; 32],
    origin: KeyOrigin,
}

/// Why there is no TLS identity.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The key could not be made.
    #[error("cannot make a TLS key: {0}")]
    Generate(#[source] rcgen::Error),
    /// A file that the operator named is not usable.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not fit or are not supported.
    #[error("the TLS certificate and key cannot be used: {0}")]
    Unusable(#[source] rustls::Error),
    /// The certificate chain is empty.
    #[error("{} holds no certificate", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The key has no public part that could be attested.
    #[error("the TLS key does not tell its public key")]
    NoPublicKey,
}

impl TlsError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Generate(_) => "tls.generate",
            Self::File { .. } => "tls.file",
            Self::Unusable(_) => "tls.unusable",
            Self::NoCertificate { .. } => "tls.no-certificate",
            Self::NoPublicKey => "tls.no-public-key",
        }
    }
}

impl TlsIdentity {
    /// A fresh P-256 key that never leaves this process, with a self-signed certificate for `names`.
    pub fn generate(names: Vec<String>) -> Result<Self, TlsError> {
        let key = rcgen::KeyPair::generate().map_err(TlsError::Generate)?;
        let mut params = rcgen::CertificateParams::new(names).map_err(TlsError::Generate)?;
        params.distinguished_name.push(rcgen::DnType::CommonName, "casemate enclave");
        let certificate = params.self_signed(&key).map_err(TlsError::Generate)?;
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Self::new(vec![certificate.der().clone()], private, KeyOrigin::Enclave)
    }

    /// The operator's certificate chain and private key (PEM).
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let file = |path: &Path| {
            let path = path.to_owned();
            |source| TlsError::File { path, source }
        };
        let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect)
            .map_err(file(certificate))?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate { path: certificate.to_owned() });
        }
        let private = PrivateKeyDer::from_pem_file(key).map_err(file(key))?;
        Self::new(chain, private, KeyOrigin::Operator)
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        origin: KeyOrigin,
    ) -> Result<Self, TlsError> {
        let signing = provider::sign::any_supported_type(&key).map_err(TlsError::Unusable)?;
        let spki = signing.public_key().ok_or(TlsError::NoPublicKey)?;
        let spki_sha256 = sha256(&spki);
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Unusable)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(TlsError::Unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), spki_sha256, origin })
    }

    /// The configuration for the listener. TLS 1.3 only.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// Where the private key was made: the statement says it, and clients judge by it (CH-5).
    pub fn origin(&self) -> KeyOrigin {
        self.origin
    }

    /// SHA-256 of the key's SubjectPublicKeyInfo (DER).
    pub fn spki_sha256(&self) -> [u8; 32] {
        self.spki_sha256
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0u8; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}
