//! The comparison of a device's measurements with the signed reference manifests of its driver and VBIOS: rules NV-16 to
//! NV-19 (spec/attest.md §14).
//!
//! A manifest is found by what is signed in it: edition, product and version. The identifiers under which NVIDIA's
//! service files manifests (`NV_GPU_VBIOS_<project>_<project SKU>_<chip SKU>_<version>`) are not in the signed document.

use super::claims::NvidiaClaims;
use super::deny::GpuDenial;
use super::evidence::Architecture;
use super::manifest::Manifest;
use super::policy::NvidiaPolicy;
use super::revocation::Held;
use super::spdm::MEASUREMENT_LEN;
use crate::checks::{Finding, Ledger};
use crate::policy::Danger;
use crate::rules::nvidia as rules;
use crate::time::UnixTime;

/// The measurement that says nothing where the first video decoder is off: index from 0.
///
/// NVIDIA's verifiers leave out index 35 where opaque field 11 is 0x55, and only there: attestation-sdk
/// `nv-attestation-sdk-cpp/src/gpu/verify.cpp` (NVDEC_STATUS_DISABLED); nvtrust `verifier/verifier.py` and `config.py`.
const NVDEC0_INDEX: usize = 35;

/// What the appraisal needs of a genuine device beside its claims.
#[derive(Debug)]
pub(crate) struct Device {
    /// The one with SPDM index 1 comes first.
    pub(crate) measurements: Vec<[u8; MEASUREMENT_LEN]>,
    pub(crate) held: Vec<Held>,
    pub(crate) simulated: bool,
}

/// The manifests of one device's firmware, as they were found among those given.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    driver: Result<Option<&'a Manifest>, GpuDenial>,
    vbios: Result<Option<&'a Manifest>, GpuDenial>,
}

/// Those that NV-16 and NV-17 let pass.
#[derive(Debug, Clone, Copy)]
struct Own<'a> {
    driver: Option<&'a Manifest>,
    vbios: Option<&'a Manifest>,
}

type Step<T> = Result<(T, Finding), GpuDenial>;

impl<'a> Found<'a> {
    /// The device's manifests among those given. Two for one firmware are refused, whatever is in them.
    pub(crate) fn among(manifests: &'a [Manifest], claims: &NvidiaClaims) -> Self {
        let find = |version: Option<&String>| {
            let Some(version) = version else { return Ok(None) };
            let is_for = |manifest: &&Manifest| {
                manifest.edition() == edition(claims.architecture)
                    && manifest.product() == product(claims.architecture)
                    && manifest.version() == version
            };
            let mut found = manifests.iter().filter(is_for);
            match (found.next(), found.next()) {
                (Some(manifest), Some(_)) => {
                    Err(GpuDenial::ManifestDuplicate { manifest: manifest.to_string() })
                }
                (first, _) => Ok(first),
            }
        };
        let driver = claims.driver_version.as_ref().filter(|_| !claims.architecture.is_switch());
        Self { driver: find(driver), vbios: find(claims.vbios_version.as_ref()) }
    }

    pub(crate) fn manifests(&self) -> impl Iterator<Item = &'a Manifest> {
        [&self.driver, &self.vbios].into_iter().filter_map(|found| found.as_ref().ok().copied().flatten())
    }
}

impl<'a> Own<'a> {
    fn manifests(self) -> impl Iterator<Item = &'a Manifest> {
        self.driver.into_iter().chain(self.vbios)
    }
}

/// NV-16 to NV-19. Returns the last second at which every manifest that was compared is valid.
pub(crate) fn compare(
    claims: &NvidiaClaims,
    device: &Device,
    found: Found<'_>,
    policy: &NvidiaPolicy,
    ledger: &mut Ledger,
) -> Result<UnixTime, GpuDenial> {
    let own = Own {
        driver: ledger.record(&rules::DRIVER_MANIFEST, driver(claims, device, found.driver, policy))?,
        vbios: ledger.record(&rules::VBIOS_MANIFEST, vbios(claims, device, found.vbios, policy))?,
    };
    ledger.record(&rules::MANIFEST_INDICES, disjoint(own))?;
    ledger.record(&rules::GOLDEN, equal(claims, device, own))?;
    Ok(own.manifests().map(Manifest::valid_until).fold(UnixTime(u64::MAX), UnixTime::min))
}

/// NV-16.
fn driver<'a>(
    claims: &NvidiaClaims,
    device: &Device,
    found: Result<Option<&'a Manifest>, GpuDenial>,
    policy: &NvidiaPolicy,
) -> Step<Option<&'a Manifest>> {
    if claims.architecture.is_switch() {
        return Ok((None, Finding::Pass("a switch has no driver".to_owned())));
    }
    let wanted = wanted(claims, claims.driver_version.as_ref());
    present(found?, device, &policy.driver_manifest_missing, "the driver's manifest", wanted)
}

/// NV-17.
fn vbios<'a>(
    claims: &NvidiaClaims,
    device: &Device,
    found: Result<Option<&'a Manifest>, GpuDenial>,
    policy: &NvidiaPolicy,
) -> Step<Option<&'a Manifest>> {
    let wanted = wanted(claims, claims.vbios_version.as_ref());
    present(found?, device, &policy.vbios_manifest_missing, "the VBIOS's manifest", wanted)
}

fn present<'a>(
    manifest: Option<&'a Manifest>,
    device: &Device,
    missing: &Danger,
    what: &'static str,
    wanted: String,
) -> Step<Option<&'a Manifest>> {
    let finding = match (manifest, missing) {
        (Some(manifest), _) if manifest.simulated() != device.simulated => {
            return Err(GpuDenial::ManifestMixed { manifest: manifest.to_string() });
        }
        (Some(manifest), _) => Finding::Pass(format!("{manifest}, valid until {}", manifest.valid_until())),
        (None, Danger::Refuse) => return Err(GpuDenial::ManifestMissing { wanted }),
        (None, Danger::Allow { reason }) if reason.trim().is_empty() => {
            return Err(GpuDenial::WaiverWithoutReason { what });
        }
        (None, Danger::Allow { reason }) => {
            Finding::Waived(format!("no manifest of {wanted}; not required: {reason}"))
        }
    };
    Ok((manifest, finding))
}

/// NV-18.
fn disjoint(own: Own<'_>) -> Step<()> {
    let (Some(driver), Some(vbios)) = (own.driver, own.vbios) else {
        return Ok(((), Finding::Pass("fewer than two manifests".to_owned())));
    };
    let in_vbios = |index: usize| vbios.golden().iter().any(|(other, _)| *other == index);
    match driver.golden().iter().find(|(index, _)| in_vbios(*index)) {
        Some((index, _)) => Err(GpuDenial::ManifestConflict { index: *index }),
        None => {
            let compared =
                format!("{} of the driver, {} of the VBIOS", driver.golden().len(), vbios.golden().len());
            Ok(((), Finding::Pass(compared)))
        }
    }
}

/// NV-19.
fn equal(claims: &NvidiaClaims, device: &Device, own: Own<'_>) -> Step<()> {
    let mut compared = 0_usize;
    let mut left_out = "";
    for manifest in own.manifests() {
        for (index, values) in manifest.golden() {
            if *index == NVDEC0_INDEX && claims.nvdec0 == Some(false) {
                left_out = ", index 35 left out: NVDEC0 is off";
                continue;
            }
            let found = device.measurements.get(*index);
            let found = found
                .ok_or_else(|| GpuDenial::GoldenAbsent { manifest: manifest.to_string(), index: *index })?;
            if !values.contains(found) {
                return Err(GpuDenial::Golden {
                    manifest: manifest.to_string(),
                    index: *index,
                    found: Box::new(*found),
                    alternatives: values.len(),
                });
            }
            compared = compared.saturating_add(1);
        }
    }
    if own.manifests().next().is_none() {
        return Ok(((), Finding::Waived("nothing to compare with: NV-16 and NV-17".to_owned())));
    }
    Ok(((), Finding::Pass(format!("{compared} of {} measurements{left_out}", device.measurements.len()))))
}

fn wanted(claims: &NvidiaClaims, version: Option<&String>) -> String {
    let version = version.map_or("of no version", String::as_str);
    format!("{} {} {version}", edition(claims.architecture), product(claims.architecture))
}

/// `edition` of a device's manifests.
pub(crate) fn edition(architecture: Architecture) -> &'static str {
    if architecture.is_switch() { "SWITCH" } else { "GPU" }
}

/// `product` of a device's manifests. None of GB100 was recorded: another name than the chip's would be refused.
pub(crate) fn product(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Hopper => "GH100",
        Architecture::Blackwell => "GB100",
        Architecture::Ls10 => "LS10",
    }
}
