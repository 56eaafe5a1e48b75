//! Appraisal policy: what a machine must be before it is ours. Total: every field has a value that somebody wrote, or a
//! default that refuses.

pub(crate) mod file;

use thiserror::Error;

use crate::azure::AzurePolicy;
use crate::gce::GcePolicy;
use crate::nitro::NitroPolicy;
use crate::nvidia::NvidiaPolicy;
use crate::snp::SnpPolicy;
use crate::tdx::TdxPolicy;
use crate::token::{ConfidentialSpacePolicy, EarPolicy, MaaPolicy, NrasPolicy};
use file::PolicyFile;

/// What each platform's evidence must show. A platform that is not accepted here is denied.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "PolicyFile")]
#[non_exhaustive]
pub struct Policy {
    /// AMD SEV-SNP.
    pub snp: PlatformPolicy<SnpPolicy>,
    /// AWS Nitro Enclaves.
    pub nitro: PlatformPolicy<NitroPolicy>,
    /// Intel TDX.
    pub tdx: PlatformPolicy<TdxPolicy>,
    /// Azure confidential VMs with a virtual TPM.
    pub azure: PlatformPolicy<AzurePolicy>,
    /// Virtual TPMs of Google Compute Engine.
    pub gce: PlatformPolicy<GcePolicy>,
    /// Tokens of Microsoft Azure Attestation.
    pub maa: PlatformPolicy<MaaPolicy>,
    /// Tokens of Google Confidential Space.
    pub confidential_space: PlatformPolicy<ConfidentialSpacePolicy>,
    /// Bundles of NVIDIA's remote attestation service.
    pub nras: PlatformPolicy<NrasPolicy>,
    /// EAT attestation results of other verifiers.
    pub ear: PlatformPolicy<EarPolicy>,
    /// NVIDIA GPUs and switches, whose evidence stands beside a platform's.
    pub nvidia: PlatformPolicy<NvidiaPolicy>,
}

/// Whether a platform is accepted, and on which terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlatformPolicy<P> {
    /// Evidence of this platform is denied.
    NotAccepted,
    /// Evidence of this platform is held against these terms.
    Accepted(P),
}

/// An expected value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected<T> {
    /// One of these; with an empty list, nothing is accepted.
    OneOf(Vec<T>),
    /// Any value, by a written decision. The rule is listed as waived.
    Any {
        /// Why; shown wherever the verdict is shown.
        reason: String,
    },
}

/// A dangerous property, refused unless somebody wrote down why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Danger {
    /// Evidence that shows it is denied.
    Refuse,
    /// Evidence may show it. The rule is listed as waived where it does.
    Allow {
        /// Why; shown wherever the verdict is shown.
        reason: String,
    },
}

/// Why a policy is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// Not TOML, an unknown key, a missing key, or a value of the wrong type.
    #[error("the policy is not understood: {0}")]
    Syntax(Box<toml::de::Error>),
    /// A policy without any platform accepts nothing.
    #[error("the policy accepts no platform")]
    NoPlatform,
    /// A list that accepts nothing.
    #[error("{field} is an empty list, which accepts nothing")]
    EmptyList {
        /// Key in the policy.
        field: &'static str,
    },
    /// A waiver without a reason.
    #[error("{field} is waived without a reason")]
    EmptyReason {
        /// Key in the policy.
        field: &'static str,
    },
    /// Not hexadecimal.
    #[error("{field} has a value that is not hexadecimal")]
    NotHex {
        /// Key in the policy.
        field: &'static str,
    },
    /// Hexadecimal of another length.
    #[error("{field} has a value of {found} bytes instead of {expected}")]
    WrongLength {
        /// Key in the policy.
        field: &'static str,
        /// Bytes that the field has.
        expected: usize,
        /// Bytes that were written.
        found: usize,
    },
    /// A number outside the field's range.
    #[error("{field} is {found}, which is not possible")]
    OutOfRange {
        /// Key in the policy.
        field: &'static str,
        /// What was written.
        found: u64,
    },
    /// Not the text of a UUID.
    #[error("{field} has a value that is not a UUID")]
    NotUuid {
        /// Key in the policy.
        field: &'static str,
    },
    /// Not the decimal number of a PCR.
    #[error("{field} names {found:?}, which is not a PCR: they are 0 to 23")]
    NoSuchPcr {
        /// Key in the policy.
        field: &'static str,
        /// What was written.
        found: String,
    },
    /// Not the decimal number of a register that an event log can account for.
    #[error("{field} names {found:?}, which is not a register that a log can account for")]
    NoSuchRegister {
        /// Key in the policy.
        field: &'static str,
        /// What was written.
        found: String,
    },
    /// A word that has no meaning there.
    #[error("{field} has the value {found:?}, which has no meaning there")]
    UnknownWord {
        /// Key in the policy.
        field: &'static str,
        /// What was written.
        found: String,
    },
    /// The TCB floor of a line lacks a component that the line has, or has one that it lacks.
    #[error("{field} must have fmc for turin, and only there")]
    FmcComponent {
        /// Key in the policy.
        field: &'static str,
    },
}

impl Policy {
    /// Accepts nothing.
    pub fn deny_all() -> Self {
        Self {
            snp: PlatformPolicy::NotAccepted,
            nitro: PlatformPolicy::NotAccepted,
            azure: PlatformPolicy::NotAccepted,
            tdx: PlatformPolicy::NotAccepted,
            gce: PlatformPolicy::NotAccepted,
            maa: PlatformPolicy::NotAccepted,
            confidential_space: PlatformPolicy::NotAccepted,
            nras: PlatformPolicy::NotAccepted,
            ear: PlatformPolicy::NotAccepted,
            nvidia: PlatformPolicy::NotAccepted,
        }
    }

    /// Accepts SEV-SNP on these terms, and no other platform.
    pub fn for_snp(terms: SnpPolicy) -> Self {
        Self { snp: PlatformPolicy::Accepted(terms), ..Self::deny_all() }
    }

    /// Accepts Nitro Enclaves on these terms, and no other platform.
    pub fn for_nitro(terms: NitroPolicy) -> Self {
        Self { nitro: PlatformPolicy::Accepted(terms), ..Self::deny_all() }
    }

    /// Accepts Azure confidential VMs on these terms, and no other platform.
    pub fn for_azure(terms: AzurePolicy) -> Self {
        Self { azure: PlatformPolicy::Accepted(terms), ..Self::deny_all() }
    }

    /// Accepts virtual TPMs of Google Compute Engine on these terms, and no other platform.
    pub fn for_gce(terms: GcePolicy) -> Self {
        Self { gce: PlatformPolicy::Accepted(terms), ..Self::deny_all() }
    }

    /// Accepts TDX on these terms, and no other platform.
    pub fn for_tdx(terms: TdxPolicy) -> Self {
        Self { tdx: PlatformPolicy::Accepted(terms), ..Self::deny_all() }
    }

    /// Accepts NVIDIA devices on these terms, and no platform that they could stand beside.
    pub fn for_nvidia(terms: NvidiaPolicy) -> Self {
        Self { nvidia: PlatformPolicy::Accepted(terms), ..Self::deny_all() }
    }

    /// Accepts one launch measurement, on the strict terms of [`SnpPolicy::strict`], on any genuine chip.
    pub fn strict_for_measurement(measurement: [u8; 48]) -> Self {
        Self::for_snp(SnpPolicy::strict(Expected::OneOf(vec![measurement])))
    }

    /// Reads a policy from TOML (spec/attest.md §7).
    ///
    /// # Errors
    /// Unknown and missing keys, values of another type or length, empty lists, waivers without a reason.
    pub fn from_toml(text: &str) -> Result<Self, PolicyError> {
        let file: PolicyFile = toml::from_str(text).map_err(|error| PolicyError::Syntax(Box::new(error)))?;
        Self::try_from(file)
    }
}

impl<T> Expected<T> {
    /// Any value, for this reason.
    pub fn any(reason: impl Into<String>) -> Self {
        Self::Any { reason: reason.into() }
    }
}

impl PolicyError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Syntax(_) => "policy.syntax",
            Self::NoPlatform => "policy.no-platform",
            Self::EmptyList { .. } => "policy.empty-list",
            Self::EmptyReason { .. } => "policy.empty-reason",
            Self::NotHex { .. } => "policy.not-hex",
            Self::WrongLength { .. } => "policy.wrong-length",
            Self::OutOfRange { .. } => "policy.out-of-range",
            Self::NotUuid { .. } => "policy.not-uuid",
            Self::NoSuchPcr { .. } => "policy.no-such-pcr",
            Self::NoSuchRegister { .. } => "policy.no-such-register",
            Self::UnknownWord { .. } => "policy.unknown-word",
            Self::FmcComponent { .. } => "policy.fmc-component",
        }
    }
}

#[cfg(test)]
mod tests;
