//! Why genuine evidence of a GCE virtual TPM is not ours.

use thiserror::Error;

/// Why genuine evidence is denied by a policy: rules GV-10 to GV-14.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GceDenial {
    /// Nothing in this evidence says that the host cannot read the memory.
    #[error(
        "no memory encryption is proven: a Shielded VM without confidential hardware has the same evidence"
    )]
    MemoryEncryptionUnproven,
    /// Another instance.
    #[error("{what} {found:?} is not one of {accepted} accepted")]
    InstanceNotAccepted {
        /// "project", "zone" or "instance".
        what: &'static str,
        /// In the certificate.
        found: Box<str>,
        /// How many the policy names.
        accepted: usize,
    },
    /// The quote is over other PCRs than the policy decides on: fewer, more, or others.
    #[error("the quote is over the PCRs {found:?}, and the policy is over {expected:?}")]
    PcrSelection {
        /// In the quote.
        found: Box<[u8]>,
        /// By policy.
        expected: Box<[u8]>,
    },
    /// Something else was booted.
    #[error("PCR {index} is {}, not one of {accepted} accepted", hex::encode(found.as_slice()))]
    PcrNotAccepted {
        /// Which PCR.
        index: u8,
        /// Its value.
        found: Box<[u8; 32]>,
        /// How many values the policy names.
        accepted: usize,
    },
}

impl GceDenial {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::MemoryEncryptionUnproven => "gce.memory-encryption.unproven",
            Self::InstanceNotAccepted { .. } => "gce.instance.not-accepted",
            Self::PcrSelection { .. } => "gce.pcr.selection",
            Self::PcrNotAccepted { .. } => "gce.pcr.not-accepted",
        }
    }
}
