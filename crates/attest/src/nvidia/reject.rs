//! Why a device's report is not genuine.

use thiserror::Error;

use crate::chain::ChainError;
use crate::ocsp::OcspError;
use crate::snp::RejectionKind;

/// Why a report is not proven to be genuine: rules NV-02 to NV-07.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GpuRejection {
    /// The certificates are named after no chip that is known here, or after several.
    #[error("leaf {leaf:?}, device {device:?} and provisioner {provisioner:?} are not of one known chip")]
    Architecture {
        /// Common name.
        leaf: String,
        /// Common name.
        device: String,
        /// Common name.
        provisioner: String,
    },
    /// The verifier holds no root.
    #[error("no root of NVIDIA devices is pinned")]
    RootMissing,
    /// The fifth certificate is another one than the verifier's root.
    #[error("the root that was sent, {found:?}, is not the pinned one")]
    RootForeign {
        /// Common name.
        found: String,
    },
    /// The root or the path is not valid.
    #[error("{0}")]
    Chain(ChainError),
    /// Revocation is unknown, or a certificate is revoked.
    #[error("{0}")]
    Revocation(OcspError),
    /// R or S is not in 1..n-1.
    #[error("the signature's {which} is not between 1 and the group order")]
    SignatureScalar {
        /// "R" or "S".
        which: &'static str,
    },
    /// The signature is not by the endorsed key over these bytes.
    #[error("the report is not signed by the endorsed key")]
    SignatureInvalid,
    /// The leaf certificate does not say which firmware holds its key.
    #[error("the leaf certificate has no firmware identity that can be read")]
    FirmwareIdUncertified,
    /// The report claims another firmware than the certificate.
    #[error("the certified firmware is {}, and the report claims {}", hex::encode(certificate.as_slice()), hex::encode(report.as_slice()))]
    FirmwareIdMismatch {
        /// In the leaf certificate.
        certificate: Box<[u8; 48]>,
        /// Opaque field 20.
        report: Box<[u8; 48]>,
    },
}

impl GpuRejection {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Architecture { .. } => "nvidia.chain.architecture",
            Self::RootMissing => "nvidia.root.missing",
            Self::RootForeign { .. } => "nvidia.root.foreign",
            Self::Chain(error) => error.code(),
            Self::Revocation(error) => error.code(),
            Self::SignatureScalar { .. } => "nvidia.signature.scalar",
            Self::SignatureInvalid => "nvidia.signature.invalid",
            Self::FirmwareIdUncertified => "nvidia.firmware-id.uncertified",
            Self::FirmwareIdMismatch { .. } => "nvidia.firmware-id.mismatch",
        }
    }

    /// What kind of answer this is.
    pub fn kind(&self) -> RejectionKind {
        match self {
            Self::RootMissing => RejectionKind::Missing,
            Self::Chain(error) => error.kind(),
            Self::Revocation(error) => error.kind(),
            Self::Architecture { .. }
            | Self::RootForeign { .. }
            | Self::SignatureScalar { .. }
            | Self::SignatureInvalid
            | Self::FirmwareIdUncertified
            | Self::FirmwareIdMismatch { .. } => RejectionKind::NotGenuine,
        }
    }
}
