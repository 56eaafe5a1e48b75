//! What an Azure machine must be (spec/attest.md §13.4). Every field is decided on by one rule.

use super::runtime::VmId;
use crate::eventlog::LogPolicy;
use crate::policy::{Danger, Expected, PlatformPolicy};
use crate::snp::SnpPolicy;
use crate::tdx::TdxPolicy;
use crate::tpm::PcrTerms;

/// Terms for Azure evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AzurePolicy {
    /// Terms for a SEV-SNP report underneath (SNP-12 to SNP-30). Its measurement is that of Microsoft's paravisor; the
    /// guest's own code is in the PCRs.
    pub snp: PlatformPolicy<SnpPolicy>,
    /// Terms for a TD quote underneath (TDX-10 to TDX-27). Its MRTD is that of Microsoft's paravisor; its terms for an
    /// event log must be [`LogPolicy::NotAsked`], since the log of such a machine is its TPM's.
    pub tdx: PlatformPolicy<TdxPolicy>,
    /// A machine that was started without secure boot (AZ-06).
    pub secure_boot_off: Danger,
    /// A console that the host offers to the guest (AZ-07).
    pub console: Danger,
    /// Virtual machines (AZ-08).
    pub vm_id: Expected<VmId>,
    /// The PCRs that the quote must be over, these and no other, each with its values (AZ-09).
    pub pcrs: PcrTerms,
    /// What the guest had bound into the hardware report (AZ-10). Evidence of a form without it is refused, unless anything goes.
    pub user_data: UserDataTerms,
    /// An attestation key without its certificate (AZ-11). The hardware report names the key; the certificate is Microsoft's
    /// further word that it is one of Azure's.
    pub ak_uncertified: Danger,
    /// The event log behind the PCRs (LOG-01 to LOG-06).
    pub event_log: LogPolicy,
}

/// Terms for what the guest had bound into the hardware report (AZ-10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserDataTerms {
    /// The expected qualifying data of the quote, then zeros: the hardware made the report for this exchange.
    Exchange,
    /// One of these values, or anything for a written reason: the report may be as old as the boot.
    Value(Expected<[u8; 64]>),
}

impl UserDataTerms {
    /// Anything, or nothing at all, for this reason.
    pub fn any(reason: impl Into<String>) -> Self {
        Self::Value(Expected::any(reason))
    }

    /// One of these values.
    pub fn one_of(values: Vec<[u8; 64]>) -> Self {
        Self::Value(Expected::OneOf(values))
    }
}

impl AzurePolicy {
    /// Strict terms with these, on SEV-SNP: secure boot, no console; on any virtual machine, with any
    /// user-data and without a certificate of the attestation key, which is listed as waivers. Change single fields to deviate.
    pub fn strict(snp: SnpPolicy, pcrs: PcrTerms) -> Self {
        Self {
            snp: PlatformPolicy::Accepted(snp),
            tdx: PlatformPolicy::NotAccepted,
            secure_boot_off: Danger::Refuse,
            console: Danger::Refuse,
            vm_id: Expected::any("no virtual machine is named: PCRs alone were asked for"),
            pcrs,
            user_data: UserDataTerms::any(
                "the quote binds the exchange; the hardware report may be as old as the boot",
            ),
            ak_uncertified: Danger::Allow { reason: "the hardware report names the key".to_owned() },
            event_log: LogPolicy::NotAsked,
        }
    }

    /// As [`AzurePolicy::strict`], on TDX.
    pub fn strict_tdx(tdx: TdxPolicy, pcrs: PcrTerms) -> Self {
        let snp = SnpPolicy::strict(Expected::OneOf(Vec::new()));
        Self {
            snp: PlatformPolicy::NotAccepted,
            tdx: PlatformPolicy::Accepted(tdx),
            ..Self::strict(snp, pcrs)
        }
    }
}
