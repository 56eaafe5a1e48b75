//! Why the virtual TPM of a Google Compute Engine instance makes no evidence.

use std::path::PathBuf;

use casemate_attest::Platform;
use casemate_attest::gce::GceFormatError;
use casemate_attest::tpm::{QuoteError, QuoteRejection};

/// Why the virtual TPM of a Google Compute Engine instance makes no evidence.
#[derive(Debug, thiserror::Error)]
pub enum GceError {
    /// No TPM (ATT-81).
    #[error("there is no virtual TPM at {}", path.display())]
    NoDevice {
        /// Where it should be.
        path: PathBuf,
    },
    /// The hardware is none beside which it could stand (ATT-80).
    #[error("a virtual TPM of Google's stands beside SEV-SNP or TDX, and this machine is {found}")]
    Beside {
        /// As detected.
        found: Platform,
    },
    /// No template of the attestation key (ATT-82).
    #[error("the TPM has no template of an attestation key at NV index 0x01c10001: it is none of Google's")]
    NoTemplate,
    /// No certificate of the attestation key (ATT-82).
    #[error("the TPM has no certificate of its attestation key at NV index 0x01c10000")]
    NoCertificate,
    /// The certificate's index holds something else (ATT-82).
    #[error("NV index 0x01c10000 holds no certificate")]
    Certificate,
    /// The key that the TPM makes is not the certified one (ATT-83).
    #[error("the TPM makes another attestation key than the one that its certificate is of")]
    KeyDiffers,
    /// Another key than before (ATT-83).
    #[error("the TPM's attestation key is another than at the start")]
    KeyChanged,
    /// What was put together is not evidence: the key is no attestation key (ATT-83).
    #[error("what the TPM gave is not evidence: {0}")]
    Form(#[source] GceFormatError),
    /// The TPM's quote is not one (ATT-84).
    #[error("the virtual TPM's quote: {0}")]
    Quote(#[source] QuoteError),
    /// The quote is not over the PCRs and values that were read (ATT-84).
    #[error("the virtual TPM quoted something else than it was asked for: {0}")]
    Selection(#[source] QuoteRejection),
    /// Registers changed between reading and quoting, again and again (ATT-84).
    #[error("PCRs changed {attempts} times between their quote and their values")]
    Unsteady {
        /// How often we tried.
        attempts: u32,
    },
    /// The event log is longer than a document carries (ATT-85).
    #[error("the event log has more than {limit} bytes")]
    LogTooLong {
        /// The most that is carried.
        limit: u64,
    },
}

impl GceError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoDevice { .. } => "attester.gce.no-device",
            Self::Beside { .. } => "attester.gce.beside",
            Self::NoTemplate => "attester.gce.no-template",
            Self::NoCertificate => "attester.gce.no-certificate",
            Self::Certificate => "attester.gce.certificate",
            Self::KeyDiffers => "attester.gce.key-differs",
            Self::KeyChanged => "attester.gce.key-changed",
            Self::Form(_) => "attester.gce.form",
            Self::Quote(_) => "attester.gce.quote",
            Self::Selection(_) => "attester.gce.selection",
            Self::Unsteady { .. } => "attester.gce.unsteady",
            Self::LogTooLong { .. } => "attester.gce.log",
        }
    }

    /// What the person can do about it, where we know.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoDevice { .. } => Some(
                "the instance needs a virtual TPM (Shielded VM), and its kernel the module tpm_tis or tpm_crb",
            ),
            Self::Beside { .. } => Some("leave --gce-vtpm out on this machine"),
            Self::NoTemplate | Self::NoCertificate => {
                Some("only instances of Google Compute Engine with a virtual TPM have them")
            }
            Self::Certificate
            | Self::KeyDiffers
            | Self::KeyChanged
            | Self::Form(_)
            | Self::Quote(_)
            | Self::Selection(_)
            | Self::Unsteady { .. }
            | Self::LogTooLong { .. } => None,
        }
    }
}
