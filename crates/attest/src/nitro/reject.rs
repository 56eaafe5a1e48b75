//! Why a document is not genuine.

use thiserror::Error;

use crate::chain::{ChainError, CrlError};
use crate::snp::RejectionKind;
use crate::time::UnixTime;
use crate::x509::CertificateError;

/// Why a document is not proven to be genuine: rules NIT-02 to NIT-06.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NitroRejection {
    /// The verifier holds no root of Nitro Enclaves.
    #[error("no root of Nitro Enclaves is pinned")]
    RootMissing,
    /// A certificate in the document cannot be judged.
    #[error("a certificate of the Nitro document: {0}")]
    Certificate(CertificateError),
    /// The certificate path is not valid.
    #[error("{0}")]
    Chain(ChainError),
    /// Revocation is unknown.
    #[error("{0}")]
    Revocation(CrlError),
    /// R or S is not in 1..n-1.
    #[error("the signature's {which} is not between 1 and the group order")]
    SignatureScalar {
        /// "R" or "S".
        which: &'static str,
    },
    /// The signature is not by the endorsed key over these bytes.
    #[error("the Nitro document is not signed by the endorsed key")]
    SignatureInvalid,
    /// A timestamp ahead of the verifier's clock by more than five minutes.
    #[error("the Nitro document was made at {made}, and the time is {now}")]
    FromTheFuture {
        /// By the document.
        made: UnixTime,
        /// The time that was given.
        now: UnixTime,
    },
    /// A timestamp outside the validity of the certificate that signed.
    #[error(
        "the Nitro document was made at {made}, and its certificate is valid from {not_before} to {not_after}"
    )]
    OutsideCertificate {
        /// By the document.
        made: UnixTime,
        /// Of the leaf.
        not_before: UnixTime,
        /// Of the leaf.
        not_after: UnixTime,
    },
}

impl NitroRejection {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::RootMissing => "nitro.root.missing",
            Self::Certificate(error) => error.code(),
            Self::Chain(error) => error.code(),
            Self::Revocation(error) => error.code(),
            Self::SignatureScalar { .. } => "nitro.signature.scalar",
            Self::SignatureInvalid => "nitro.signature.invalid",
            Self::FromTheFuture { .. } => "nitro.time.future",
            Self::OutsideCertificate { .. } => "nitro.time.outside-certificate",
        }
    }

    /// What kind of answer this is.
    pub fn kind(&self) -> RejectionKind {
        match self {
            Self::Chain(error) => error.kind(),
            Self::FromTheFuture { .. } => RejectionKind::Stale,
            Self::Revocation(error) => error.kind(),
            Self::RootMissing
            | Self::Certificate(_)
            | Self::SignatureScalar { .. }
            | Self::SignatureInvalid
            | Self::OutsideCertificate { .. } => RejectionKind::NotGenuine,
        }
    }
}
