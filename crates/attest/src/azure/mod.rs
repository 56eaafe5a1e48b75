//! Azure confidential VMs with a virtual TPM (spec/attest.md §13).
//!
//! Three things hold together. A hardware report that the paravisor asked for (AMD's at VMPL 0, or Intel's with a quote
//! over it) binds the hash of a JSON text;
//! the text names the virtual TPM's attestation key; the key signs a quote, which binds what the relying party asked for.
//! Each link is a rule; a missing link is refused.

mod appraise;
mod claims;
mod deny;
mod document;
mod genuine;
mod hcl;
mod policy;
pub(crate) mod policy_file;
mod reject;
mod runtime;

pub use crate::tpm::PcrTerms;
pub use claims::{AzureClaims, HardwareClaims};
pub use deny::AzureDenial;
pub use document::{AzureEvidence, DocumentError, FORMAT};
pub use hcl::{HardwareReport, HashType, HclError, HclReport};
pub use policy::{AzurePolicy, UserDataTerms};
pub use reject::AzureRejection;
pub use runtime::{RuntimeData, RuntimeError, VmId};

pub(crate) use appraise::appraise;
pub(crate) use document::looks_like;
pub(crate) use genuine::{Genuine, Hardware, HardwareEndorsements, verify};

#[cfg(test)]
mod policy_tests;
