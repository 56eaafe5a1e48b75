//! Why Azure evidence is not genuine.

use thiserror::Error;

use super::runtime::RuntimeError;
use crate::snp::{RejectionKind, SnpRejection};
use crate::tdx::TdxRejection;
use crate::tpm::{AkCertificateError, QuoteRejection};

/// Why Azure evidence is not proven to be genuine: rules AZ-01 to AZ-05, and those of SEV-SNP or TDX between them.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AzureRejection {
    /// The TD quote is not over the TDREPORT of the HCL report.
    #[error("the TD quote binds something else than the TDREPORT of the HCL report")]
    HardwareTdQuote,
    /// Software that is not the paravisor asked for the hardware report, and could bind a key of its own.
    #[error("the hardware report was asked for at VMPL {found:#x} instead of 0")]
    HardwareVmpl {
        /// VMPL.
        found: u32,
    },
    /// The hardware report.
    #[error(transparent)]
    Hardware(#[from] SnpRejection),
    /// The TD quote.
    #[error(transparent)]
    Td(#[from] TdxRejection),
    /// The runtime data is not what the hardware bound.
    #[error("REPORT_DATA is not the hash of the runtime data followed by zeros")]
    Binding,
    /// The runtime data is bound and cannot be read.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The certificate of the attestation key.
    #[error(transparent)]
    AkCertificate(#[from] AkCertificateError),
    /// The quote.
    #[error(transparent)]
    Quote(#[from] QuoteRejection),
}

impl AzureRejection {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::HardwareTdQuote => "azure.hardware.td-quote",
            Self::HardwareVmpl { .. } => "azure.hardware.vmpl",
            Self::Hardware(reason) => reason.code(),
            Self::Td(reason) => reason.code(),
            Self::Binding => "azure.binding",
            Self::Runtime(error) => error.code(),
            Self::AkCertificate(error) => error.code(),
            Self::Quote(reason) => reason.code(),
        }
    }

    /// What kind of answer this is.
    pub fn kind(&self) -> RejectionKind {
        match self {
            Self::Hardware(reason) => reason.kind(),
            Self::Td(reason) => reason.kind(),
            Self::AkCertificate(error) => error.kind(),
            _ => RejectionKind::NotGenuine,
        }
    }
}
