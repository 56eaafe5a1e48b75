//! Why a genuine document is not ours.

use thiserror::Error;

/// Why a genuine Nitro Enclaves document is denied by a policy: rules NIT-08 to NIT-15.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NitroDenial {
    /// The parent instance can read the enclave's console, and nothing is measured.
    #[error("the enclave is in debug mode: PCR0, PCR1 or PCR2 is zero or absent")]
    Debug,
    /// Too old.
    #[error("the Nitro document is {age} seconds old, more than {maximum}")]
    TooOld {
        /// Seconds since it was made.
        age: u64,
        /// By policy.
        maximum: u64,
    },
    /// A PCR that is not in the document is not equal to anything.
    #[error("the Nitro document has no PCR{index}")]
    PcrAbsent {
        /// Which.
        index: u8,
    },
    /// A value is not among the expected ones.
    #[error("PCR{index} {} is not among the {accepted} accepted", hex::encode(found.as_slice()))]
    PcrNotAccepted {
        /// Which.
        index: u8,
        /// In the document.
        found: Box<[u8; 48]>,
        /// How many values the policy accepts.
        accepted: usize,
    },
}

impl NitroDenial {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Debug => "nitro.debug",
            Self::TooOld { .. } => "nitro.time.too-old",
            Self::PcrAbsent { .. } => "nitro.pcr.absent",
            Self::PcrNotAccepted { .. } => "nitro.pcr.not-accepted",
        }
    }
}
