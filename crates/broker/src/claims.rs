//! The claims that release policies speak of, in the names that Microsoft Azure Attestation gave them.
//!
//! spec/release.md section 3 has the table. `x-ms-compliance-status` is never among them: it is another party's
//! judgement about a fleet, and this broker does not make it.

use std::collections::BTreeSet;

use casemate_attest::Claims;
use casemate_attest::azure::{AzureClaims, HardwareClaims};
use casemate_attest::gce::GceClaims;
use casemate_attest::nitro::NitroClaims;
use casemate_attest::nvidia::{NvidiaClaims, VerifiedGpu, VerifiedSet};
use casemate_attest::snp::{GuestPermission, SnpClaims};
use casemate_attest::tdx::TdxClaims;
use casemate_attest::tpm::SelectedPcrs;
use casemate_protocol::additional::AttestedComposite;
use serde_json::{Map, Value, json};

/// The claim of the program that will answer with the model, where it is not the embedded engine.
const UPSTREAM: &str = "upstream";

/// Claims as a tree of JSON objects. Made from verified evidence only.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ClaimSet(Value);

impl ClaimSet {
    /// The claims of a machine and of what stands beside its processor.
    pub(crate) fn of(composite: &AttestedComposite) -> Self {
        let claims = composite.machine().claims();
        let mut casemate =
            json!({ "platform": claims.platform().as_str(), "simulated": composite.simulated() });
        // What a machine did not show has no claims, so that no condition on it is met.
        if let Some(gce) = composite.vtpm().and_then(|vtpm| vtpm.claims().gce()) {
            extend(&mut casemate, json!({ "gce": gce_claims(gce) }));
        }
        if let Some(devices) = composite.devices() {
            extend(&mut casemate, json!({ "devices": device_claims(devices) }));
        }
        if let Some(digest) = composite.upstream() {
            extend(&mut casemate, json!({ UPSTREAM: hex::encode(digest) }));
        }
        let mut isolation = json!({});
        // A platform that has none of these claims meets no condition on them.
        if let Some(snp) = claims.snp() {
            extend(&mut isolation, launch_claims(claims));
            extend(&mut isolation, snp_claims(snp));
            extend(&mut casemate, own_claims(snp));
        }
        if let Some(tdx) = claims.tdx() {
            extend(&mut isolation, tdx_claims(claims, tdx));
            extend(&mut casemate, own_tdx_claims(tdx));
        }
        if let Some(nitro) = claims.nitro() {
            extend(&mut casemate, json!({ "nitro": nitro_claims(nitro) }));
        }
        if let Some(azure) = claims.azure() {
            extend(&mut casemate, json!({ "azure": azure_claims(claims, azure) }));
            match &azure.hardware {
                HardwareClaims::SevSnp(snp) => extend(&mut casemate, own_claims(snp)),
                HardwareClaims::Tdx(tdx) => extend(&mut casemate, own_tdx_claims(tdx)),
            }
        }
        Self(json!({ "x-ms-isolation-tee": isolation, "casemate": casemate }))
    }

    /// The value at a dotted name. Objects only: lists have no names inside.
    pub(crate) fn lookup(&self, name: &str) -> Option<&Value> {
        name.split('.').try_fold(&self.0, |value, part| value.as_object()?.get(part))
    }

    /// The same of a machine on which the embedded engine answers; `None` where it does.
    pub(crate) fn without_upstream(&self) -> Option<(Self, String)> {
        let mut tree = self.0.clone();
        let digest = tree.get_mut("casemate")?.as_object_mut()?.remove(UPSTREAM)?;
        Some((Self(tree), digest.as_str().unwrap_or_default().to_owned()))
    }

    /// The whole tree.
    pub(crate) fn into_json(self) -> Value {
        self.0
    }

    #[cfg(test)]
    pub(crate) fn made_up(tree: Value) -> Self {
        Self(tree)
    }
}

/// What a guest of SEV-SNP was launched with. Not of Azure: there it is the paravisor, which every customer has.
fn launch_claims(claims: &Claims) -> Value {
    json!({
        "x-ms-sevsnpvm-launchmeasurement": hex::encode(claims.measurement()),
        "x-ms-sevsnpvm-hostdata": claims.host_data().map(hex::encode),
        "x-ms-sevsnpvm-reportdata": hex::encode(claims.report_data()),
        "x-ms-sevsnpvm-is-debuggable": claims.debug(),
    })
}

/// Security versions are those of the reported TCB: the one that the signing key is for.
fn snp_claims(snp: &SnpClaims) -> Value {
    json!({
        "x-ms-attestation-type": "sevsnpvm",
        "x-ms-sevsnpvm-authorkeydigest": hex::encode(snp.author_key_digest),
        "x-ms-sevsnpvm-bootloader-svn": snp.reported_tcb.bootloader,
        "x-ms-sevsnpvm-familyId": hex::encode(snp.family_id),
        "x-ms-sevsnpvm-guestsvn": snp.guest_svn,
        "x-ms-sevsnpvm-idkeydigest": hex::encode(snp.id_key_digest),
        "x-ms-sevsnpvm-imageId": hex::encode(snp.image_id),
        "x-ms-sevsnpvm-microcode-svn": snp.reported_tcb.microcode,
        "x-ms-sevsnpvm-migration-allowed": snp.migration_agent,
        "x-ms-sevsnpvm-reportid": hex::encode(snp.report_id),
        "x-ms-sevsnpvm-smt-allowed": snp.guest_permissions.contains(&GuestPermission::Smt),
        "x-ms-sevsnpvm-snpfw-svn": snp.reported_tcb.snp,
        "x-ms-sevsnpvm-tee-svn": snp.reported_tcb.tee,
        "x-ms-sevsnpvm-vmpl": snp.vmpl,
    })
}

fn own_claims(snp: &SnpClaims) -> Value {
    let mut claims = json!({
        "product-line": snp.product_line.name(),
        "host-trust": snp.host_trust.as_str(),
    });
    // Evidence that a VLEK signed names a provider and no chip: the claim is then not there, and no condition on it met.
    if let (Some(chip_id), Some(members)) = (snp.chip_id(), claims.as_object_mut()) {
        members.insert("chip-id".into(), hex::encode(chip_id).into());
    }
    claims
}

fn tdx_claims(claims: &Claims, tdx: &TdxClaims) -> Value {
    let [rtmr0, rtmr1, rtmr2, rtmr3] = tdx.rtmrs.map(hex::encode);
    json!({
        "x-ms-attestation-type": "tdxvm",
        "tdx_mrtd": hex::encode(claims.measurement()),
        "tdx_rtmr0": rtmr0,
        "tdx_rtmr1": rtmr1,
        "tdx_rtmr2": rtmr2,
        "tdx_rtmr3": rtmr3,
        "tdx_mrconfigid": hex::encode(tdx.mr_config_id),
        "tdx_mrowner": hex::encode(tdx.mr_owner),
        "tdx_mrownerconfig": hex::encode(tdx.mr_owner_config),
        "tdx_mrseam": hex::encode(tdx.mr_seam),
        "tdx_report_data": hex::encode(claims.report_data()),
        "tdx_td_attributes_debug": claims.debug(),
    })
}

fn own_tdx_claims(tdx: &TdxClaims) -> Value {
    json!({
        "fmspc": hex::encode(tdx.fmspc),
        "tcb-evaluation": tdx.evaluation,
        "tcb-status": tdx.tcb_status,
    })
}

fn nitro_claims(nitro: &NitroClaims) -> Value {
    let mut claims: Map<_, _> =
        nitro.pcrs.iter().map(|(index, value)| (format!("pcr{index}"), value.as_str().into())).collect();
    claims.insert("module-id".into(), nitro.module_id.as_str().into());
    claims.into()
}

/// The measurement of the paravisor stands under a name of its own, so that no condition on a guest's can be met by it.
fn azure_claims(claims: &Claims, azure: &AzureClaims) -> Value {
    let hardware = match &azure.hardware {
        HardwareClaims::SevSnp(_) => "sev-snp",
        HardwareClaims::Tdx(_) => "tdx",
    };
    let mut all = pcr_claims(&azure.pcrs);
    all.insert("console-enabled".into(), azure.console_enabled.into());
    all.insert("hardware".into(), hardware.into());
    all.insert("paravisor-measurement".into(), hex::encode(claims.measurement()).into());
    all.insert("secure-boot".into(), azure.secure_boot.into());
    all.insert("user-data".into(), azure.user_data.clone().into());
    all.insert("vm-id".into(), azure.vm_id.to_string().into());
    all.into()
}

/// Of the virtual TPM beside the hardware: what was booted, and on which instance by Google's word.
fn gce_claims(gce: &GceClaims) -> Value {
    let mut all = pcr_claims(&gce.pcrs);
    all.insert("instance-id".into(), gce.instance.instance_id.to_string().into());
    all.insert("project-id".into(), gce.instance.project_id.as_str().into());
    all.insert("zone".into(), gce.instance.zone.as_str().into());
    all.into()
}

fn pcr_claims(pcrs: &SelectedPcrs) -> Map<String, Value> {
    let pcrs = pcrs.indices().into_iter().filter_map(|index| Some((index, pcrs.get(index)?)));
    pcrs.map(|(index, value)| (format!("pcr{index}"), hex::encode(value).into())).collect()
}

/// How many of each kind; and the versions that all GPUs have in common, where they do. (A switch has no driver.)
fn device_claims(devices: &VerifiedSet) -> Value {
    let devices: Vec<_> = devices.devices().iter().map(VerifiedGpu::claims).collect();
    let mut all = Map::new();
    all.insert("count".into(), devices.len().into());
    for kind in devices.iter().map(|it| it.architecture).collect::<BTreeSet<_>>() {
        let count = devices.iter().filter(|it| it.architecture == kind).count();
        all.insert(kind.as_str().into(), count.into());
    }
    let common = |of: fn(&NvidiaClaims) -> Option<&String>| {
        let gpus = devices.iter().filter(|it| !it.architecture.is_switch());
        let mut values: BTreeSet<_> = gpus.map(|it| of(it)).collect();
        values.pop_first().flatten().filter(|_| values.is_empty()).cloned()
    };
    all.insert("driver-version".into(), common(|it| it.driver_version.as_ref()).into());
    all.insert("vbios-version".into(), common(|it| it.vbios_version.as_ref()).into());
    all.into()
}

fn extend(object: &mut Value, more: Value) {
    if let (Some(members), Value::Object(more)) = (object.as_object_mut(), more) {
        members.extend(more);
    }
}
