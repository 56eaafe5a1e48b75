//! "Is it ours?": SNP-12 to SNP-30 or TDX-10 to TDX-27 for the hardware, then AZ-06 to AZ-11 (spec/attest.md §13).

use super::deny::AzureDenial;
use super::genuine::{Genuine, Hardware};
use super::policy::{AzurePolicy, UserDataTerms};
use crate::checks::{Finding, Ledger};
use crate::crypto;
use crate::eventlog::{LogDenial, LogPolicy};
use crate::evidence::Platform;
use crate::policy::{Danger, Expected, PlatformPolicy};
use crate::rules;
use crate::snp;
use crate::tdx;
use crate::tpm::{PcrsDenied, SelectedPcrs, appraise_pcrs};
use crate::verdict::{Binding, Denial, waived};

/// Applies the rules. The ledger holds what was found, also where this fails.
pub(crate) fn appraise(
    genuine: &Genuine,
    policy: &AzurePolicy,
    binding: &Binding,
    ledger: &mut Ledger,
) -> Result<(), Denial> {
    let runtime = &genuine.runtime;
    match (&genuine.hardware, &policy.snp, &policy.tdx) {
        (Hardware::Snp { report, genuine }, PlatformPolicy::Accepted(terms), _) => {
            snp::appraise(report, genuine, terms, ledger)?;
        }
        // The log of such a machine is its TPM's. One of the TD's own registers is not read, so that it cannot be had.
        (Hardware::Tdx { .. }, _, PlatformPolicy::Accepted(terms))
            if terms.event_log != LogPolicy::NotAsked =>
        {
            return Err(Denial::EventLog(LogDenial::Missing));
        }
        (Hardware::Tdx { quote, genuine }, _, PlatformPolicy::Accepted(terms)) => {
            tdx::appraise(quote, genuine, terms, ledger)?;
        }
        (hardware, ..) => return Err(Denial::PlatformNotAccepted { platform: hardware.platform() }),
    }
    ledger.record(
        &rules::azure::SECURE_BOOT,
        danger(!runtime.secure_boot, "secure-boot-off", &policy.secure_boot_off, AzureDenial::SecureBootOff),
    )?;
    ledger.record(
        &rules::azure::CONSOLE,
        danger(runtime.console_enabled, "console", &policy.console, AzureDenial::Console),
    )?;
    ledger.record(&rules::azure::VM, vm(genuine, policy))?;
    ledger.record(&rules::azure::PCRS, pcrs(&genuine.pcrs, policy))?;
    ledger.record(&rules::azure::USER_DATA, user_data(genuine, &policy.user_data, binding))?;
    ledger.record(&rules::azure::CERTIFIED, certified(genuine, &policy.ak_uncertified))
}

impl Hardware {
    /// As which platform the evidence counts.
    pub(crate) fn platform(&self) -> Platform {
        match self {
            Self::Snp { .. } => Platform::AzureVtpm,
            Self::Tdx { .. } => Platform::AzureVtpmTdx,
        }
    }
}

type Step = Result<((), Finding), Denial>;

/// AZ-08.
fn vm(genuine: &Genuine, policy: &AzurePolicy) -> Step {
    let found = genuine.runtime.vm_id;
    match &policy.vm_id {
        Expected::Any { reason } => waive("vm-id", found.to_string(), reason),
        Expected::OneOf(values) if values.contains(&found) => {
            pass(format!("{found} is one of {} accepted", values.len()))
        }
        Expected::OneOf(values) => deny(AzureDenial::VmNotAccepted { found, accepted: values.len() }),
    }
}

/// AZ-09.
fn pcrs(found: &SelectedPcrs, policy: &AzurePolicy) -> Step {
    match appraise_pcrs(found, &policy.pcrs) {
        Ok(finding) => Ok(((), finding)),
        Err(PcrsDenied::Waiver) => Err(Denial::WaiverWithoutReason { what: "a PCR" }),
        Err(PcrsDenied::Selection { found, expected }) => deny(AzureDenial::PcrSelection { found, expected }),
        Err(PcrsDenied::Value { index, found, accepted }) => {
            deny(AzureDenial::PcrNotAccepted { index, found, accepted })
        }
    }
}

/// AZ-10. All 64 bytes.
fn user_data(genuine: &Genuine, terms: &UserDataTerms, binding: &Binding) -> Step {
    use UserDataTerms::{Exchange, Value};
    match (&genuine.runtime.user_data, terms) {
        (None, Value(Expected::Any { reason })) => waive("user-data", "absent".to_owned(), reason),
        (Some(found), Value(Expected::Any { reason })) => {
            waive("user-data", hex::encode(found.as_slice()), reason)
        }
        (None, Exchange | Value(Expected::OneOf(_))) => deny(AzureDenial::UserDataAbsent),
        (Some(found), Exchange) => exchange(found, binding),
        (Some(found), Value(Expected::OneOf(values))) => {
            if !values.iter().any(|accepted| crypto::equal(accepted, found.as_slice())) {
                let accepted = values.len();
                return deny(AzureDenial::UserDataNotAccepted { found: found.clone(), accepted });
            }
            pass(format!("{} is one of {} accepted", hex::encode(found.as_slice()), values.len()))
        }
    }
}

/// AZ-10, of this exchange: what the quote must bind, and zeros after it.
fn exchange(found: &[u8; 64], binding: &Binding) -> Step {
    let Some(expected) = binding.expected() else { return deny(AzureDenial::UserDataNoExchange) };
    let mut padded = expected.to_vec();
    padded.resize(found.len().max(expected.len()), 0);
    if expected.is_empty() || !crypto::equal(found, &padded) {
        let (found, expected) = (Box::new(*found), expected.into());
        return deny(AzureDenial::UserDataOtherExchange { found, expected });
    }
    pass(format!("the {} bytes of this exchange, and zeros after them", expected.len()))
}

/// AZ-11. The certificate itself was looked at with the key; this decides on its absence.
fn certified(genuine: &Genuine, danger: &Danger) -> Step {
    match (&genuine.certified, danger) {
        (Some(found), _) => {
            pass(format!("by {}, until {}; not asked whether revoked", found.issuer, found.valid_until))
        }
        (None, Danger::Refuse) => deny(AzureDenial::Uncertified),
        (None, Danger::Allow { reason }) => {
            waive("the certificate of the attestation key", AzureDenial::Uncertified.to_string(), reason)
        }
    }
}

/// A property that is refused, unless it is allowed for a reason, unless it is not there at all.
fn danger(is_there: bool, what: &'static str, danger: &Danger, denial: AzureDenial) -> Step {
    match danger {
        _ if !is_there => pass(format!("{what}: no")),
        Danger::Refuse => deny(denial),
        Danger::Allow { reason } => waive(what, denial.to_string(), reason),
    }
}

fn pass(compared: String) -> Step {
    Ok(((), Finding::Pass(compared)))
}

fn waive(what: &'static str, compared: String, reason: &str) -> Step {
    waived(what, compared, reason).map(|finding| ((), finding))
}

fn deny(denial: AzureDenial) -> Step {
    Err(Denial::Azure(denial))
}

#[cfg(test)]
mod tests;
