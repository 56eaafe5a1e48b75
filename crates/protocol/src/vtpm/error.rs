//! Why a machine's virtual TPM is refused.

use casemate_attest::{Check, Denied, ParseError, Platform, Rejected};

use crate::document::DocumentError;

/// Why a virtual TPM is not the one that is demanded, is not genuine, or does not belong to an attested machine.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum VtpmError {
    /// The machine states no virtual TPM, or its document has no evidence of one.
    #[error("a virtual TPM is demanded beside the hardware, and the machine shows none")]
    Missing,
    /// The machine shows one, and nobody said what it must be.
    #[error("the machine shows a virtual TPM, and the policy accepts none beside the hardware")]
    NotExpected,
    /// Its evidence is of something else.
    #[error("in the place of a virtual TPM's evidence is evidence of {found}")]
    Platform {
        /// As parsed.
        found: Platform,
    },
    /// The document's members are not base64, or its endorsements not those of a virtual TPM.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Evidence that is not evidence.
    #[error(transparent)]
    Malformed(#[from] ParseError),
    /// It is not genuine.
    #[error(transparent)]
    Rejected(Box<Rejected>),
    /// It is genuine, but not what the policy asks for, or its quote is for another statement.
    #[error(transparent)]
    Denied(Box<Denied>),
    /// The machine states another key.
    #[error("the machine states the attestation key {stated}, and the virtual TPM's is {found}")]
    NotStated {
        /// By the runtime statement.
        stated: String,
        /// Of the evidence.
        found: String,
    },
}

impl VtpmError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "vtpm.missing",
            Self::NotExpected => "vtpm.not-expected",
            Self::Platform { .. } => "vtpm.platform",
            Self::Document(error) => error.code(),
            Self::Malformed(error) => error.code(),
            Self::Rejected(rejected) => rejected.code(),
            Self::Denied(denied) => denied.code(),
            Self::NotStated { .. } => "vtpm.not-stated",
        }
    }
}

/// A refused virtual TPM with the checks that ran.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct VtpmRefused {
    /// Why.
    pub reason: VtpmError,
    /// Every rule that was looked at; those of this module after the failure are not reached.
    pub checks: Vec<Check>,
}
