//! "Is it ours?": rules SNP-12 to SNP-30, in this order (spec/attest.md §6).

use super::bits::{GuestPermission, GuestProtection, PlatformProtection, PlatformWeakness};
use super::deny::{Field, Moment, SnpDenial, WhichTcb};
use super::genuine::Genuine;
use super::policy::{Abi, Floor, HostTrustPolicy, SnpPolicy};
use super::product::HostTrust;
use super::report::{Report, Version};
use super::vek::Subject;
use crate::checks::{Finding, Ledger};
use crate::policy::{Danger, Expected};
use crate::rules::sev_snp as rules;
use crate::verdict::{Denial, waived};

/// Applies the rules. The ledger holds what was found, also where this fails.
pub(crate) fn appraise(
    report: &Report,
    genuine: &Genuine,
    policy: &SnpPolicy,
    ledger: &mut Ledger,
) -> Result<(), Denial> {
    ledger.record(&rules::VERSION, version(report, policy))?;
    ledger.record(&rules::HOST_TRUST, host_trust(genuine, policy))?;
    ledger.record(&rules::DEBUG, debug(report, policy))?;
    ledger.record(&rules::MIGRATION, migration(report, policy))?;
    ledger.record(&rules::GUEST_POLICY, guest_policy(report, policy))?;
    ledger.record(&rules::VMPL, vmpl(report, policy))?;
    ledger.record(&rules::MINIMUM_TCB, minimum_tcb(genuine, policy))?;
    ledger.record(&rules::CURRENT_TCB, current_tcb(genuine))?;
    ledger.record(&rules::PROVISIONAL, provisional(report, genuine, policy))?;
    ledger.record(&rules::MITIGATIONS, mitigations(report, policy))?;
    ledger.record(&rules::PLATFORM_INFO, platform_info(report, policy))?;
    ledger.record(
        &rules::MEASUREMENT,
        listed(Field::Measurement, &report.measurement(), &policy.measurement),
    )?;
    ledger.record(&rules::HOST_DATA, listed(Field::HostData, &report.host_data(), &policy.host_data))?;
    ledger
        .record(&rules::ID_KEY, listed(Field::IdKeyDigest, &report.id_key_digest(), &policy.id_key_digest))?;
    ledger.record(&rules::AUTHOR_KEY, author_key(report, policy))?;
    ledger.record(&rules::FAMILY_ID, listed(Field::FamilyId, &report.family_id(), &policy.family_id))?;
    ledger.record(&rules::IMAGE_ID, listed(Field::ImageId, &report.image_id(), &policy.image_id))?;
    ledger.record(&rules::GUEST_SVN, guest_svn(report, policy))?;
    ledger.record(&rules::CHIP, chip(genuine, policy))
}

type Step = Result<((), Finding), Denial>;

/// SNP-12.
fn version(report: &Report, policy: &SnpPolicy) -> Step {
    let (found, minimum) = (report.version(), policy.minimum_report_version);
    if found < minimum {
        return deny(SnpDenial::VersionBelowMinimum { found, minimum });
    }
    pass(format!("version {} >= {}", found.number(), minimum.number()))
}

/// SNP-13.
fn host_trust(genuine: &Genuine, policy: &SnpPolicy) -> Step {
    let line = genuine.line;
    match (line.host_trust(), &policy.host_trust) {
        (HostTrust::HostUntrusted, _) => pass(format!("{line}: {}", line.host_trust())),
        (HostTrust::ProviderTrusted, HostTrustPolicy::HostUntrusted) => {
            deny(SnpDenial::ProviderTrusted { line })
        }
        (HostTrust::ProviderTrusted, HostTrustPolicy::ProviderTrusted { reason }) => {
            waive("host-trust", format!("{line} is only provider-trusted"), reason)
        }
    }
}

/// SNP-14.
fn debug(report: &Report, policy: &SnpPolicy) -> Step {
    danger(report.guest_policy().debug(), "debug", &policy.debug, SnpDenial::Debug)
}

/// SNP-15.
fn migration(report: &Report, policy: &SnpPolicy) -> Step {
    let permitted = report.guest_policy().migration_agent();
    danger(permitted, "migration-agent", &policy.migration_agent, SnpDenial::MigrationAgent)
}

/// SNP-16.
fn guest_policy(report: &Report, policy: &SnpPolicy) -> Step {
    let guest = report.guest_policy();
    let (major, minor) = guest.abi();
    let (found, minimum) = (Abi { major, minor }, policy.minimum_abi);
    if found < minimum {
        return deny(SnpDenial::AbiBelowMinimum { found, minimum });
    }
    for permission in GuestPermission::ALL {
        if guest.permits(permission) && !policy.guest_may.contains(&permission) {
            return deny(SnpDenial::GuestPermits { permission });
        }
    }
    for &protection in &policy.guest_must {
        if !guest.demands(protection) {
            return deny(SnpDenial::GuestDoesNotDemand { protection });
        }
    }
    pass(format!(
        "{:#x}: ABI {found} >= {minimum}; may {:?}; must {:?}",
        guest.raw(),
        names(&policy.guest_may, GuestPermission::as_str),
        names(&policy.guest_must, GuestProtection::as_str),
    ))
}

/// SNP-17. A report that the host asked for is nobody's word but the host's: no policy accepts it.
fn vmpl(report: &Report, policy: &SnpPolicy) -> Step {
    if report.is_host_requested() {
        return deny(SnpDenial::HostRequested);
    }
    let found = report.vmpl();
    match &policy.vmpl {
        Expected::Any { reason } => waive("vmpl", format!("VMPL {found}"), reason),
        Expected::OneOf(levels) if levels.iter().any(|&level| u32::from(level) == found) => {
            pass(format!("VMPL {found} is one of {levels:?}"))
        }
        Expected::OneOf(_) => deny(SnpDenial::VmplNotAccepted { found }),
    }
}

/// SNP-18.
fn minimum_tcb(genuine: &Genuine, policy: &SnpPolicy) -> Step {
    let line = genuine.line;
    let Floor::AtLeast(floor) = policy.minimum_tcb.of(line) else {
        return deny(SnpDenial::LineNotAccepted { line });
    };
    for (which, tcb) in [
        (WhichTcb::Reported, genuine.tcbs.reported),
        (WhichTcb::Committed, genuine.tcbs.committed),
        (WhichTcb::Launch, genuine.tcbs.launch),
    ] {
        if let Some((component, found, minimum)) = tcb.below(floor) {
            return deny(SnpDenial::TcbBelowMinimum { which, component, found, minimum });
        }
    }
    pass(format!("reported [{}], committed and launch >= [{floor}]", genuine.tcbs.reported))
}

/// SNP-19.
fn current_tcb(genuine: &Genuine) -> Step {
    let tcbs = &genuine.tcbs;
    if let Some((component, current, reported)) = tcbs.current.below(tcbs.reported) {
        return deny(SnpDenial::CurrentBelowReported { component, current, reported });
    }
    pass(format!("current [{}] >= reported", tcbs.current))
}

/// SNP-20.
fn provisional(report: &Report, genuine: &Genuine, policy: &SnpPolicy) -> Step {
    let (current, committed) = (genuine.tcbs.current, genuine.tcbs.committed);
    if current != committed {
        let denial = SnpDenial::ProvisionalTcb { current, committed };
        return danger(true, "provisional-firmware", &policy.provisional_firmware, denial);
    }
    let (current, committed) = (report.current_version(), report.committed_version());
    let denial = SnpDenial::ProvisionalFirmware { current, committed };
    danger(current != committed, "provisional-firmware", &policy.provisional_firmware, denial)
}

/// SNP-21.
fn mitigations(report: &Report, policy: &SnpPolicy) -> Step {
    let (launch, current) = match (report.launch_mitigations(), report.current_mitigations()) {
        (Some(launch), Some(current)) => (launch, current),
        _ if policy.launch_mitigations == 0 && policy.current_mitigations == 0 => {
            return pass("none required".to_owned());
        }
        _ => return deny(SnpDenial::MitigationsNotReported { version: report.version() }),
    };
    for (when, found, required) in [
        (Moment::AtLaunch, launch, policy.launch_mitigations),
        (Moment::Now, current, policy.current_mitigations),
    ] {
        let missing = required & !found;
        if missing != 0 {
            return deny(SnpDenial::MitigationsMissing { when, missing });
        }
    }
    pass(format!(
        "launch {launch:#x} has {:#x}, current {current:#x} has {:#x}",
        policy.launch_mitigations, policy.current_mitigations
    ))
}

/// SNP-22. Version 2 reports do not define the alias check bit.
fn platform_info(report: &Report, policy: &SnpPolicy) -> Step {
    let info = report.platform_info();
    for weakness in PlatformWeakness::ALL {
        if info.shows(weakness) && !policy.platform_may.contains(&weakness) {
            return deny(SnpDenial::PlatformShows { weakness });
        }
    }
    for &protection in &policy.platform_must {
        let defined = protection != PlatformProtection::AliasCheckComplete || report.version() >= Version::V3;
        if !defined || !info.has(protection) {
            return deny(SnpDenial::PlatformLacks { protection });
        }
    }
    let mut compared = format!(
        "{:#x}: may {:?}; must {:?}",
        info.raw(),
        names(&policy.platform_may, PlatformWeakness::as_str),
        names(&policy.platform_must, PlatformProtection::as_str),
    );
    for fact in info.informational() {
        compared.push_str(&format!("; note: bit {} ({})", fact.bit, fact.note));
    }
    if info.unknown() != 0 {
        compared.push_str(&format!("; note: unknown bits {:#x}", info.unknown()));
    }
    pass(compared)
}

/// SNP-26. The digest counts only where KEY_INFO says that the author key is in use.
fn author_key(report: &Report, policy: &SnpPolicy) -> Step {
    let found = report.author_key_digest();
    let checked = listed(Field::AuthorKeyDigest, &found, &policy.author_key_digest)?;
    let by_list = matches!(policy.author_key_digest, Expected::OneOf(_));
    if by_list && found != [0; 48] && !report.key_info().author_key_enabled() {
        return deny(SnpDenial::AuthorKeyNotInUse);
    }
    Ok(checked)
}

/// SNP-29.
fn guest_svn(report: &Report, policy: &SnpPolicy) -> Step {
    let (found, minimum) = (report.guest_svn(), policy.minimum_guest_svn);
    if found < minimum {
        return deny(SnpDenial::GuestSvnBelowMinimum { found, minimum });
    }
    pass(format!("{found} >= {minimum}"))
}

/// SNP-30. A VLEK stands for a provider and needs that provider's name in the policy.
fn chip(genuine: &Genuine, policy: &SnpPolicy) -> Step {
    match (&genuine.subject, &policy.chip_id) {
        (Subject::Chip(chip_id), expected) => listed(Field::ChipId, chip_id, expected),
        (Subject::Provider(_), Expected::OneOf(_)) => deny(SnpDenial::ChipNotNamed),
        (Subject::Provider(provider), Expected::Any { reason }) => {
            if !policy.vlek_providers.contains(provider) {
                return deny(SnpDenial::ProviderNotAccepted { found: provider.clone() });
            }
            waive("chip-id", format!("no chip; provider {provider:?} is accepted"), reason)
        }
    }
}

fn listed<const N: usize>(field: Field, found: &[u8; N], expected: &Expected<[u8; N]>) -> Step {
    match expected {
        Expected::Any { reason } => waive("an expected value", hex::encode(found), reason),
        Expected::OneOf(values) if values.contains(found) => {
            pass(format!("{} is one of {} accepted", hex::encode(found), values.len()))
        }
        Expected::OneOf(values) => {
            deny(SnpDenial::NotAccepted { field, found: found.to_vec(), accepted: values.len() })
        }
    }
}

/// A property that is refused, unless it is allowed for a reason, unless it is not there at all.
fn danger(is_there: bool, what: &'static str, danger: &Danger, denial: SnpDenial) -> Step {
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

fn deny(denial: SnpDenial) -> Step {
    Err(Denial::SevSnp(denial))
}

fn names<T: Copy>(values: &[T], name: fn(T) -> &'static str) -> Vec<&'static str> {
    values.iter().map(|&value| name(value)).collect()
}

#[cfg(test)]
pub(crate) mod tests;
