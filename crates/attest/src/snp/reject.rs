//! Why a report is not genuine.

use thiserror::Error;

use super::bits::Signer;
use super::product::{Cpuid, ProductLine};
use super::tcb::Tcb;
use crate::chain::{ChainError, CrlError};
use crate::x509::CertificateError;

/// Why a report is not proven to be genuine: rules SNP-02 to SNP-10.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SnpRejection {
    /// KEY_INFO names no key, or a key without certificates.
    #[error("signing key {found} is neither VCEK (0) nor VLEK (1)")]
    SignerUnsupported {
        /// KEY_INFO bits 4:2.
        found: u32,
    },
    /// The host masked the chip key; such a report is not signed.
    #[error("the chip key is masked, so the report is not signed")]
    ChipKeyMasked,
    /// A VCEK signs for one chip, and the report names none.
    #[error("the signer is a VCEK and CHIP_ID is zero")]
    ChipIdZero,
    /// A VLEK does not tell chips apart, so a chip identity in the report is unfounded.
    #[error("the signer is a VLEK and CHIP_ID is not zero")]
    ChipIdNotZero,
    /// The endorsement certificate cannot be judged.
    #[error("the endorsement certificate: {0}")]
    Certificate(CertificateError),
    /// The endorsement certificate is of another kind of key than the report's.
    #[error("the endorsement certificate is of {found:?}, and the report is signed by {expected}")]
    CertificateSubject {
        /// Common name of the key in the report.
        expected: &'static str,
        /// Common name in the certificate.
        found: String,
    },
    /// The endorsement certificate is issued by another authority than this key's and line's.
    #[error("the endorsement certificate is issued by {found:?} instead of {expected:?}")]
    CertificateIssuer {
        /// Common name of the ASK or ASVK of the line.
        expected: String,
        /// Common name in the certificate.
        found: String,
    },
    /// Nothing can be compared with it.
    #[error("the endorsement certificate lacks the extension {oid}")]
    ExtensionMissing {
        /// Dotted decimal.
        oid: &'static str,
    },
    /// It contradicts the kind of key or the product line.
    #[error("the endorsement certificate has the extension {oid}, which this key does not have")]
    ExtensionUnexpected {
        /// Dotted decimal.
        oid: &'static str,
    },
    /// Its value is not what AMD specifies.
    #[error("the endorsement certificate's extension {oid} has a malformed value")]
    ExtensionMalformed {
        /// Dotted decimal.
        oid: &'static str,
    },
    /// A certificate for a line that is not known here.
    #[error("the endorsement certificate is for the unknown product {name:?}")]
    ProductUnknown {
        /// productName.
        name: String,
    },
    /// A processor that is not known here.
    #[error("CPUID {cpuid} is of no known product line")]
    CpuUnknown {
        /// Family, model, stepping.
        cpuid: Cpuid,
    },
    /// Report and certificate are of different lines.
    #[error("the report is of {report}, and the endorsement certificate of {certificate}")]
    ProductMismatch {
        /// By the report's CPUID.
        report: ProductLine,
        /// By the certificate's productName.
        certificate: ProductLine,
    },
    /// A TCB field has octets set that its product line reserves.
    #[error("the {which} TCB has reserved bytes set")]
    TcbReserved {
        /// Which of the report's TCB fields.
        which: &'static str,
    },
    /// The verifier holds no root for the line.
    #[error("no root of {line} is pinned")]
    RootMissing {
        /// Product line.
        line: ProductLine,
    },
    /// The pinned root itself is not usable.
    #[error("{0}")]
    Root(ChainError),
    /// The certificate path is not valid.
    #[error("{0}")]
    Chain(ChainError),
    /// Revocation is unknown, or a certificate is revoked.
    #[error("{0}")]
    Revocation(CrlError),
    /// R or S is not in 1..n-1.
    #[error("the signature's {which} is not between 1 and the group order")]
    SignatureScalar {
        /// "R" or "S".
        which: &'static str,
    },
    /// The signature is not by the endorsed key over these bytes.
    #[error("the report is not signed by the endorsed key")]
    SignatureInvalid,
    /// The key is of another TCB than the report claims.
    #[error("the certificate is for TCB [{certificate}], and the report claims [{report}]")]
    TcbMismatch {
        /// In the certificate.
        certificate: Tcb,
        /// REPORTED_TCB.
        report: Tcb,
    },
    /// The key is of another chip than the report claims.
    #[error("the certificate is for chip {}, and the report is of {}", hex::encode(certificate.as_slice()), hex::encode(report.as_slice()))]
    ChipMismatch {
        /// CHIP_ID by the certificate.
        certificate: Box<[u8; 64]>,
        /// CHIP_ID.
        report: Box<[u8; 64]>,
    },
}

/// Three ways not to be proven genuine, which call for different actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectionKind {
    /// It is wrong, and will be tomorrow.
    NotGenuine,
    /// A certificate or list is out of date, or the clock is wrong: fetch again.
    Stale,
    /// Something is not there: supply it.
    Missing,
}

impl SnpRejection {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::SignerUnsupported { .. } => "snp.signer.unsupported",
            Self::ChipKeyMasked => "snp.signer.chip-key-masked",
            Self::ChipIdZero => "snp.chip-id.zero",
            Self::ChipIdNotZero => "snp.chip-id.not-zero",
            Self::Certificate(error) => error.code(),
            Self::CertificateSubject { .. } => "snp.vek.subject",
            Self::CertificateIssuer { .. } => "snp.vek.issuer",
            Self::ExtensionMissing { .. } => "snp.vek.extension-missing",
            Self::ExtensionUnexpected { .. } => "snp.vek.extension-unexpected",
            Self::ExtensionMalformed { .. } => "snp.vek.extension-malformed",
            Self::ProductUnknown { .. } => "snp.product.unknown",
            Self::CpuUnknown { .. } => "snp.product.unknown-cpu",
            Self::ProductMismatch { .. } => "snp.product.mismatch",
            Self::TcbReserved { .. } => "snp.tcb.reserved",
            Self::RootMissing { .. } => "snp.root.missing",
            Self::Root(error) | Self::Chain(error) => error.code(),
            Self::Revocation(error) => error.code(),
            Self::SignatureScalar { .. } => "snp.signature.scalar",
            Self::SignatureInvalid => "snp.signature.invalid",
            Self::TcbMismatch { .. } => "snp.tcb.certificate-mismatch",
            Self::ChipMismatch { .. } => "snp.chip-id.certificate-mismatch",
        }
    }

    /// What kind of answer this is.
    pub fn kind(&self) -> RejectionKind {
        match self {
            Self::Root(error) | Self::Chain(error) => error.kind(),
            Self::Revocation(error) => error.kind(),
            Self::Certificate(CertificateError::Missing) => RejectionKind::Missing,
            Self::Certificate(_)
            | Self::SignerUnsupported { .. }
            | Self::ChipKeyMasked
            | Self::ChipIdZero
            | Self::ChipIdNotZero
            | Self::CertificateSubject { .. }
            | Self::CertificateIssuer { .. }
            | Self::ExtensionMissing { .. }
            | Self::ExtensionUnexpected { .. }
            | Self::ExtensionMalformed { .. }
            | Self::ProductUnknown { .. }
            | Self::CpuUnknown { .. }
            | Self::ProductMismatch { .. }
            | Self::TcbReserved { .. }
            | Self::RootMissing { .. }
            | Self::SignatureScalar { .. }
            | Self::SignatureInvalid
            | Self::TcbMismatch { .. }
            | Self::ChipMismatch { .. } => RejectionKind::NotGenuine,
        }
    }
}

/// Common name of the authority that issues this kind of key for this line.
pub(crate) fn issuer_name(signer: Signer, line: ProductLine) -> String {
    match signer {
        Signer::Vcek => format!("SEV-{line}"),
        Signer::Vlek => format!("SEV-VLEK-{line}"),
    }
}
