//! "Is it ours?": rules GV-10 to GV-14, in this order (spec/attest.md §15).

use core::fmt;

use super::deny::GceDenial;
use super::genuine::Genuine;
use super::policy::GcePolicy;
use crate::checks::{Finding, Ledger};
use crate::policy::{Danger, Expected};
use crate::rules::gce as rules;
use crate::tpm::{PcrsDenied, appraise_pcrs};
use crate::verdict::{Denial, waived};

type Step = Result<((), Finding), Denial>;

/// Applies the rules. The ledger holds what was found, also where this fails.
pub(crate) fn appraise(genuine: &Genuine, policy: &GcePolicy, ledger: &mut Ledger) -> Result<(), Denial> {
    let instance = &genuine.instance;
    ledger.record(&rules::MEMORY, memory(&policy.memory_encryption_unproven))?;
    ledger.record(&rules::PROJECT, listed("project", &instance.project_id, &policy.project_id))?;
    ledger.record(&rules::ZONE, listed("zone", &instance.zone, &policy.zone))?;
    ledger.record(&rules::INSTANCE, listed("instance", &instance.instance_id, &policy.instance_id))?;
    ledger.record(&rules::PCRS, pcrs(genuine, policy))
}

/// GV-10. There is no way to pass it with this evidence alone, only to waive it.
fn memory(danger: &Danger) -> Step {
    let denial = GceDenial::MemoryEncryptionUnproven;
    match danger {
        Danger::Refuse => Err(Denial::Gce(denial)),
        Danger::Allow { reason } => {
            waived("memory encryption", denial.to_string(), reason).map(|found| ((), found))
        }
    }
}

/// GV-14.
fn pcrs(genuine: &Genuine, policy: &GcePolicy) -> Step {
    match appraise_pcrs(&genuine.pcrs, &policy.pcrs) {
        Ok(finding) => Ok(((), finding)),
        Err(PcrsDenied::Waiver) => Err(Denial::WaiverWithoutReason { what: "a PCR" }),
        Err(PcrsDenied::Selection { found, expected }) => {
            Err(Denial::Gce(GceDenial::PcrSelection { found: found.into(), expected: expected.into() }))
        }
        Err(PcrsDenied::Value { index, found, accepted }) => {
            Err(Denial::Gce(GceDenial::PcrNotAccepted { index, found, accepted }))
        }
    }
}

/// GV-11 to GV-13.
fn listed<T: PartialEq + fmt::Display>(what: &'static str, found: &T, expected: &Expected<T>) -> Step {
    match expected {
        Expected::Any { reason } => waived(what, found.to_string(), reason).map(|finding| ((), finding)),
        Expected::OneOf(values) if values.contains(found) => {
            Ok(((), Finding::Pass(format!("{found} is one of {} accepted", values.len()))))
        }
        Expected::OneOf(values) => Err(Denial::Gce(GceDenial::InstanceNotAccepted {
            what,
            found: found.to_string().into(),
            accepted: values.len(),
        })),
    }
}
