//! Why an Azure confidential VM makes no evidence.

use casemate_attest::azure::{HclError, RuntimeError};
use casemate_attest::tpm::{QuoteError, QuoteRejection};

use crate::attester::AttesterError;

/// Why an Azure confidential VM makes no evidence.
#[derive(Debug, thiserror::Error)]
pub enum AzureError {
    /// No HCL report: an Azure VM, but not a confidential one (ATT-41).
    #[error("the virtual TPM has no hardware report at NV index 0x01400001: this is no confidential VM")]
    NoReport,
    /// The HCL report is not one.
    #[error("the hardware report in the virtual TPM: {0}")]
    Hcl(#[source] HclError),
    /// The runtime data of the HCL report.
    #[error("the runtime data of the hardware report: {0}")]
    Runtime(#[source] RuntimeError),
    /// No attestation key (ATT-42).
    #[error("the virtual TPM has no key at 0x81000003")]
    NoKey,
    /// The TPM's key is not the one that the hardware report binds (ATT-42).
    #[error("the virtual TPM's attestation key is not the one that the hardware report names")]
    KeyDiffers,
    /// The attestation key's certificate (ATT-43).
    #[error("NV index 0x01c101d0 holds no certificate")]
    Certificate,
    /// The TPM's quote is not one (ATT-44).
    #[error("the virtual TPM's quote: {0}")]
    Quote(#[source] QuoteError),
    /// The quote is not over the PCRs and values that were read (ATT-44).
    #[error("the virtual TPM quoted something else than it was asked for: {0}")]
    Selection(#[source] QuoteRejection),
    /// Registers changed between reading and quoting, again and again (ATT-44).
    #[error("PCRs changed {attempts} times between their quote and their values")]
    Unsteady {
        /// How often we tried.
        attempts: u32,
    },
    /// The index for user data has another size than the paravisor reads (ATT-46).
    #[error("NV index 0x01400002 has {found} bytes, not 64")]
    UserDataSize {
        /// Its size.
        found: u16,
    },
    /// The index for user data cannot be made or written (ATT-46).
    #[error("the exchange cannot be written into NV index 0x01400002: {0}")]
    UserData(#[source] Box<AttesterError>),
    /// The hardware report was not made anew for what was written (ATT-47).
    #[error(
        "the virtual TPM's hardware report does not show what was written for it, after {attempts} attempts: it shows {}",
        found.as_ref().map_or_else(|| "no user-data".to_owned(), hex::encode)
    )]
    Stale {
        /// How often we tried.
        attempts: u32,
        /// What it shows instead.
        found: Option<Vec<u8>>,
    },
    /// The metadata service (ATT-45).
    #[error("Azure's metadata service ({what}): {reason}")]
    Metadata {
        /// What was asked for.
        what: &'static str,
        /// What is wrong.
        reason: MetadataReason,
    },
}

/// What is wrong with the metadata service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MetadataReason {
    /// No connection, or it broke, or it took too long.
    #[error("it cannot be reached, or does not answer in time")]
    Unreachable,
    /// Another status than 200.
    #[error("it answers with status {0}")]
    Status(u16),
    /// More than it can need.
    #[error("its answer is too long")]
    TooLong,
    /// Not the JSON that it is documented to give.
    #[error("its answer is not understood")]
    Form,
}

impl AzureError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoReport => "attester.azure.no-report",
            Self::Hcl(_) => "attester.azure.report",
            Self::Runtime(_) => "attester.azure.runtime",
            Self::NoKey => "attester.azure.no-key",
            Self::KeyDiffers => "attester.azure.key-differs",
            Self::Certificate => "attester.azure.certificate",
            Self::Quote(_) => "attester.azure.quote",
            Self::Selection(_) => "attester.azure.selection",
            Self::Unsteady { .. } => "attester.azure.unsteady",
            Self::UserDataSize { .. } => "attester.azure.user-data-size",
            Self::UserData(_) => "attester.azure.user-data",
            Self::Stale { .. } => "attester.azure.stale",
            Self::Metadata { reason, .. } => match reason {
                MetadataReason::Unreachable => "attester.metadata.unreachable",
                MetadataReason::Status(_) => "attester.metadata.status",
                MetadataReason::TooLong => "attester.metadata.too-long",
                MetadataReason::Form => "attester.metadata.form",
            },
        }
    }

    /// What the person can do about it, where we know.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoReport => {
                Some("choose a confidential VM size (DCas, ECas, DCes, ECes) and security type")
            }
            Self::Metadata { .. } => {
                Some("169.254.169.254 must be reachable from this VM: look for firewall rules and proxies")
            }
            Self::UserDataSize { .. } | Self::UserData(_) => Some(
                "another program made the index, or the TPM's owner has a password: `tpm2_nvundefine -C o 0x01400002` frees it",
            ),
            Self::Stale { .. } => Some(
                "a VM whose firmware makes no report anew can only show the boot's: --danger-azure-boot-report, and clients decide",
            ),
            Self::Hcl(_)
            | Self::Runtime(_)
            | Self::NoKey
            | Self::KeyDiffers
            | Self::Certificate
            | Self::Quote(_)
            | Self::Selection(_)
            | Self::Unsteady { .. } => None,
        }
    }
}
