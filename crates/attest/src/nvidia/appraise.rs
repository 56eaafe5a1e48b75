//! "Is it ours?": rules NV-08 to NV-19, in this order (spec/attest.md §14).

use super::claims::NvidiaClaims;
use super::deny::GpuDenial;
use super::golden::{self, Device, Found};
use super::manifest::Manifest;
use super::policy::NvidiaPolicy;
use super::spdm::NONCE_LEN;
use crate::checks::{Finding, Ledger};
use crate::crypto;
use crate::policy::{Danger, Expected, PlatformPolicy, Policy};
use crate::rules::nvidia as rules;
use crate::time::UnixTime;

type Step = Result<((), Finding), GpuDenial>;

/// Applies the rules. The ledger holds what was found, also where this fails.
pub(crate) fn appraise(
    claims: &NvidiaClaims,
    found: &Device,
    policy: &Policy,
    manifests: &[Manifest],
    nonce: &[u8; NONCE_LEN],
    ledger: &mut Ledger,
) -> Result<UnixTime, GpuDenial> {
    let policy = ledger.record(&rules::ARCHITECTURE, architecture(claims, &policy.nvidia))?;
    ledger.record(&rules::FIRMWARE_ID_REPORTED, firmware_id(claims, &policy.firmware_id_missing))?;
    ledger.record(&rules::DEVICE, device(claims, &policy.device))?;
    ledger.record(&rules::DRIVER, driver(claims, &policy.driver_version))?;
    ledger.record(&rules::VBIOS, vbios(claims, &policy.vbios_version))?;
    ledger.record(&rules::MEASUREMENTS, measurements(claims, &policy.measurements))?;
    ledger.record(&rules::NONCE, fresh(claims, nonce))?;
    let own = Found::among(manifests, claims);
    ledger.record(&rules::CERTIFICATE_HOLD, hold(found, &own, &policy.certificate_hold))?;
    let until = golden::compare(claims, found, own, policy, ledger)?;
    if ledger.is_complete() { Ok(until) } else { Err(GpuDenial::Incomplete) }
}

/// NV-08.
fn architecture<'a>(
    claims: &NvidiaClaims,
    policy: &'a PlatformPolicy<NvidiaPolicy>,
) -> Result<(&'a NvidiaPolicy, Finding), GpuDenial> {
    let found = claims.architecture;
    match policy {
        PlatformPolicy::Accepted(terms) if terms.architectures.contains(&found) => {
            Ok((terms, Finding::Pass(found.to_string())))
        }
        PlatformPolicy::Accepted(_) => Err(GpuDenial::Architecture { found }),
        PlatformPolicy::NotAccepted => Err(GpuDenial::NotAccepted),
    }
}

/// NV-09.
fn firmware_id(claims: &NvidiaClaims, missing: &Danger) -> Step {
    match missing {
        _ if claims.firmware_id_reported => pass("reported".to_owned()),
        Danger::Refuse => Err(GpuDenial::FirmwareIdMissing),
        Danger::Allow { reason } => waive("the firmware identity", "not reported", reason),
    }
}

/// NV-10.
fn device(claims: &NvidiaClaims, expected: &Expected<String>) -> Step {
    one_of("the device", &claims.device, expected, |found, accepted| GpuDenial::Device { found, accepted })
}

/// NV-11. A switch has no driver; a GPU has.
fn driver(claims: &NvidiaClaims, expected: &Expected<String>) -> Step {
    match &claims.driver_version {
        None if claims.architecture.is_switch() => pass("a switch has no driver".to_owned()),
        None => Err(GpuDenial::DriverMissing),
        Some(found) => one_of("the driver version", found, expected, |found, accepted| GpuDenial::Driver {
            found,
            accepted,
        }),
    }
}

/// NV-12.
fn vbios(claims: &NvidiaClaims, expected: &Expected<String>) -> Step {
    let found = claims.vbios_version.as_ref().ok_or(GpuDenial::VbiosMissing)?;
    one_of("the VBIOS version", found, expected, |found, accepted| GpuDenial::Vbios { found, accepted })
}

/// NV-13.
fn measurements(claims: &NvidiaClaims, expected: &Expected<[u8; 48]>) -> Step {
    let found = &claims.measurements_digest;
    match expected {
        Expected::Any { reason } => waive("measurements", found, reason),
        Expected::OneOf(values) if values.iter().any(|value| hex::encode(value) == *found) => {
            pass(found.clone())
        }
        Expected::OneOf(values) => {
            Err(GpuDenial::Measurements { found: found.clone(), accepted: values.len() })
        }
    }
}

/// NV-14. In constant time.
fn fresh(claims: &NvidiaClaims, nonce: &[u8; NONCE_LEN]) -> Step {
    if !crypto::equal(&claims.nonce, nonce) {
        return Err(GpuDenial::Nonce { expected: *nonce, found: claims.nonce });
    }
    pass("all 32 bytes equal".to_owned())
}

/// NV-15. The manifests of this device's firmware count too.
fn hold(device: &Device, own: &Found<'_>, allowed: &Danger) -> Step {
    let of_manifests = own.manifests().flat_map(Manifest::held);
    let names: Vec<_> =
        device.held.iter().chain(of_manifests).map(|held| held.certificate.as_str()).collect();
    match allowed {
        _ if names.is_empty() => pass("none".to_owned()),
        Danger::Refuse => Err(GpuDenial::CertificateHold { certificates: names.join(", ") }),
        Danger::Allow { reason } => waive("a certificate on hold", &names.join(", "), reason),
    }
}

fn one_of(
    what: &'static str,
    found: &str,
    expected: &Expected<String>,
    denial: impl FnOnce(String, usize) -> GpuDenial,
) -> Step {
    match expected {
        Expected::Any { reason } => waive(what, found, reason),
        Expected::OneOf(values) if values.iter().any(|value| value == found) => pass(found.to_owned()),
        Expected::OneOf(values) => Err(denial(found.to_owned(), values.len())),
    }
}

fn pass(compared: String) -> Step {
    Ok(((), Finding::Pass(compared)))
}

/// Something that somebody decided not to ask for. The decision must say why.
fn waive(what: &'static str, compared: &str, reason: &str) -> Step {
    if reason.trim().is_empty() {
        return Err(GpuDenial::WaiverWithoutReason { what });
    }
    Ok(((), Finding::Waived(format!("{compared}; not required: {reason}"))))
}
