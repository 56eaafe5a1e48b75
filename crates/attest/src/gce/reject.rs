//! Why evidence of a GCE virtual TPM is not genuine.

use thiserror::Error;

use super::certificate::InstanceInfoError;
use crate::chain::CrlError;
use crate::snp::RejectionKind;
use crate::tpm::{AkCertificateError, QuoteRejection};

/// Why evidence is not proven to be genuine: rules GV-02 to GV-08.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GceRejection {
    /// The certificate of the attestation key, and its path.
    #[error(transparent)]
    Certificate(#[from] AkCertificateError),
    /// What the certificate says of its instance.
    #[error(transparent)]
    Instance(#[from] InstanceInfoError),
    /// The virtual TPM is not one of Google's production.
    #[error("Google says that the virtual TPM is not one of its production")]
    NotProduction,
    /// Nothing is known of revoked certificates.
    #[error(transparent)]
    Revocation(CrlError),
    /// Another key than the attestation key made the quote.
    #[error("the quote says that another key signed it than the attestation key")]
    Signer,
    /// The quote.
    #[error(transparent)]
    Quote(#[from] QuoteRejection),
}

impl GceRejection {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Certificate(error) => error.code(),
            Self::Instance(error) => error.code(),
            Self::NotProduction => "gce.instance.not-production",
            Self::Revocation(error) => error.code(),
            Self::Signer => "gce.quote.signer",
            Self::Quote(error) => error.code(),
        }
    }

    /// What kind of answer this is.
    pub fn kind(&self) -> RejectionKind {
        match self {
            Self::Certificate(error) => error.kind(),
            Self::Revocation(error) => error.kind(),
            Self::Instance(_) | Self::NotProduction | Self::Signer | Self::Quote(_) => {
                RejectionKind::NotGenuine
            }
        }
    }
}
