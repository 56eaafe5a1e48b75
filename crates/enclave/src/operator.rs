//! The operator's key, which signs each runtime statement (spec/channel.md §9): a client that wants to know whose machine it is looks at that.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use casemate_protocol::document::DocumentOperator;
use casemate_protocol::operator::signed_bytes;
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};

/// An operator's key, with the certificates that say whose it is.
pub struct Operator {
    key: Arc<dyn SigningKey>,
    spki: Vec<u8>,
    certificates: Vec<CertificateDer<'static>>,
}

/// Why a machine cannot say whose it is.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// A file that the operator named is not usable.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// The certificate chain is empty.
    #[error("{} holds no certificate", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The certificate is of another key, or cannot be read.
    #[error("the first certificate of {} is not of the operator's key", path.display())]
    OtherKey {
        /// The file.
        path: PathBuf,
    },
    /// The key cannot sign with any algorithm that clients accept.
    #[error("the operator's key cannot be used: {0}")]
    Unusable(#[source] rustls::Error),
    /// The key has no public part that could be shown, or signs with none of the algorithms that clients accept.
    #[error("the operator's key is of no kind that clients accept")]
    Kind,
}

impl OperatorError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "operator.file",
            Self::NoCertificate { .. } => "operator.no-certificate",
            Self::OtherKey { .. } => "operator.other-key",
            Self::Unusable(_) => "operator.unusable",
            Self::Kind => "operator.kind",
        }
    }
}

impl Operator {
    /// The operator's private key, and the certificate chain where there is one (PEM).
    ///
    /// # Errors
    /// [`OperatorError`].
    pub fn from_files(key: &Path, certificates: Option<&Path>) -> Result<Self, OperatorError> {
        let file = |path: &Path| {
            let path = path.to_owned();
            |source| OperatorError::File { path, source }
        };
        let private = PrivateKeyDer::from_pem_file(key).map_err(file(key))?;
        let key = provider::sign::any_supported_type(&private).map_err(OperatorError::Unusable)?;
        let spki = key.public_key().ok_or(OperatorError::Kind)?.to_vec();
        key.choose_scheme(&SCHEMES.map(|(scheme, _)| scheme)).ok_or(OperatorError::Kind)?;
        let certificates = match certificates {
            None => Vec::new(),
            Some(path) => {
                let chain: Vec<_> =
                    CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(file(path))?;
                if chain.is_empty() {
                    return Err(OperatorError::NoCertificate { path: path.to_owned() });
                }
                let fits = CertifiedKey::new(chain.clone(), key.clone());
                fits.keys_match().map_err(|_| OperatorError::OtherKey { path: path.to_owned() })?;
                chain
            }
        };
        Ok(Self { key, spki, certificates })
    }

    /// Signs a statement.
    ///
    /// # Errors
    /// [`OperatorError::Unusable`] where the library refuses.
    pub fn sign(&self, statement: &str) -> Result<DocumentOperator, OperatorError> {
        let signer = self.key.choose_scheme(&SCHEMES.map(|(scheme, _)| scheme)).ok_or(OperatorError::Kind)?;
        let chosen = SCHEMES.iter().find(|(scheme, _)| *scheme == signer.scheme());
        let (_, name) = chosen.ok_or(OperatorError::Kind)?;
        let signature = signer.sign(&signed_bytes(statement)).map_err(OperatorError::Unusable)?;
        let certificates: Vec<_> = self.certificates.iter().map(AsRef::as_ref).collect();
        Ok(DocumentOperator::new(&self.spki, &certificates, name, &signature))
    }
}

/// What clients accept (`casemate_protocol::operator::SCHEMES`).
const SCHEMES: [(SignatureScheme, &str); 6] = [
    (SignatureScheme::ED25519, "ed25519"),
    (SignatureScheme::ECDSA_NISTP256_SHA256, "ecdsa_secp256r1_sha256"),
    (SignatureScheme::ECDSA_NISTP384_SHA384, "ecdsa_secp384r1_sha384"),
    (SignatureScheme::RSA_PSS_SHA256, "rsa_pss_rsae_sha256"),
    (SignatureScheme::RSA_PSS_SHA384, "rsa_pss_rsae_sha384"),
    (SignatureScheme::RSA_PSS_SHA512, "rsa_pss_rsae_sha512"),
];
