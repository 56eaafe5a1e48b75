//! Answers about revocation (OCSP, RFC 6960), as bytes that somebody fetched.

use thiserror::Error;

use crate::snp::RejectionKind;

/// Why nothing clears a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OcspError {
    /// There is no answer about it.
    #[error("no answer about revocation")]
    Missing,
}

impl OcspError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "ocsp.missing",
        }
    }

    /// What kind of answer this is.
    pub fn kind(&self) -> RejectionKind {
        match self {
            Self::Missing => RejectionKind::Missing,
        }
    }
}
