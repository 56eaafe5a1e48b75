//! Why a quote proves nothing.

use thiserror::Error;

/// Why a quote, or the PCR values beside it, are not believed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum QuoteRejection {
    /// Not signed by the attestation key, or not these bytes.
    #[error("the quote is not signed by the attestation key")]
    Signature,
    /// None, or several.
    #[error("the quote selects from {found} banks instead of one")]
    Banks {
        /// Selections in the quote.
        found: usize,
    },
    /// PCR values of another hash.
    #[error("the quote is over the bank {found:#06x} instead of SHA-256")]
    Bank {
        /// TPM_ALG_ID.
        found: u16,
    },
    /// Values of other PCRs than those quoted: fewer, more, or others.
    #[error("the quote is over the PCRs {quoted:?}, and values of {given:?} came with it")]
    Selection {
        /// In the quote.
        quoted: Vec<u8>,
        /// Beside the quote.
        given: Vec<u8>,
    },
    /// The values are not those that were quoted.
    #[error("the PCR values do not have the digest that was quoted")]
    Digest,
}

impl QuoteRejection {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Signature => "tpm.quote.signature",
            Self::Banks { .. } => "tpm.quote.banks",
            Self::Bank { .. } => "tpm.quote.bank",
            Self::Selection { .. } => "tpm.quote.selection",
            Self::Digest => "tpm.quote.digest",
        }
    }
}
