//! What every machine must be before any key's own policy is asked (spec/release.md section 2.4).

use casemate_attest::azure::{AzurePolicy, UserDataTerms};
use casemate_attest::eventlog::LogPolicy;
use casemate_attest::gce::GcePolicy;
use casemate_attest::nitro::NitroPolicy;
use casemate_attest::nvidia::{Architecture, NvidiaPolicy};
use casemate_attest::snp::SnpPolicy;
use casemate_attest::tdx::TdxPolicy;
use casemate_attest::tpm::PcrTerms;
use casemate_attest::{Danger, Expected, PlatformPolicy, Policy, PolicyError};
use casemate_protocol::additional::{DeviceTerms, PartTerms, VtpmTerms};
use casemate_protocol::devices::{DeviceRule, DeviceRuleError, DevicesTable};
use casemate_protocol::vtpm::{VtpmRule, VtpmRuleError, VtpmTable};

/// The PCRs that a virtual TPM must quote: those that the attester of this product asks for, each of them, and no other.
pub const PCRS: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

const REASON: &str = "the key's release policy decides";

/// What every machine must be, and what stands beside its processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    /// The machine itself.
    pub machine: Policy,
    /// Its GPUs and its virtual TPM.
    pub parts: PartTerms,
}

/// Why a file is no baseline.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BaselineError {
    /// Not TOML, or a table with keys that are unknown or missing. The text is the parser's and names line and column.
    #[error("the policy is malformed: {0}")]
    Malformed(String),
    /// The platform rules.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// `[devices]` and `[nvidia]` do not go together.
    #[error(transparent)]
    Devices(#[from] DeviceRuleError),
    /// `[vtpm]` and `[gce-vtpm]` do not go together.
    #[error(transparent)]
    Vtpm(#[from] VtpmRuleError),
}

impl BaselineError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "policy.malformed",
            Self::Policy(error) => error.code(),
            Self::Devices(error) => error.code(),
            Self::Vtpm(error) => error.code(),
        }
    }
}

/// The strict terms of `casemate_attest` for production guests, with every claim left open that a key's release policy
/// can require (spec/release.md section 3). A virtual TPM that proves no memory encryption is accepted only beside hardware that
/// does. GPUs and such a virtual TPM must be as they should where a machine shows them; whether it must, the key's policy says.
/// `unlisted` decides about certificates of a virtual TPM's key that name no revocation list.
pub fn baseline(unlisted: Danger) -> Baseline {
    let mut machine = Policy::for_snp(snp());
    machine.tdx = PlatformPolicy::Accepted(tdx());
    machine.nitro = PlatformPolicy::Accepted(nitro());
    machine.azure = PlatformPolicy::Accepted(azure());
    let parts = PartTerms {
        devices: DeviceTerms::WhereShown(Box::new(Policy::for_nvidia(nvidia()))),
        vtpm: VtpmTerms::WhereShown { policy: Box::new(Policy::for_gce(gce())), unlisted },
    };
    Baseline { machine, parts }
}

impl Baseline {
    /// Of an operator's file: the tables of a client's policy that speak of machines. Its `[devices]` and `[vtpm]` are demands on
    /// every machine; without them a machine that shows such a part is refused, as a client refuses it.
    ///
    /// # Errors
    /// [`BaselineError`].
    pub fn from_toml(text: &str) -> Result<Self, BaselineError> {
        let malformed = |error: toml::de::Error| BaselineError::Malformed(error.to_string());
        let mut table: toml::Table = toml::from_str(text).map_err(malformed)?;
        let devices = table.remove("devices").map(toml::Value::try_into::<DevicesTable>);
        let devices = devices.transpose().map_err(malformed)?;
        let vtpm = table.remove("vtpm").map(toml::Value::try_into::<VtpmTable>);
        let vtpm = vtpm.transpose().map_err(malformed)?;
        // The file's own lines are named where nothing was taken out of it.
        let rest = if devices.is_none() && vtpm.is_none() { text.to_owned() } else { table.to_string() };
        let mut machine = Policy::from_toml(&rest)?;
        let devices = DeviceTerms::Rule(DeviceRule::new(devices.as_ref(), &machine)?);
        let vtpm = VtpmTerms::Rule(VtpmRule::take(vtpm, &mut machine)?);
        Ok(Self { machine, parts: PartTerms { devices, vtpm } })
    }
}

fn snp() -> SnpPolicy {
    SnpPolicy {
        host_data: Expected::any(REASON),
        id_key_digest: Expected::any(REASON),
        author_key_digest: Expected::any(REASON),
        family_id: Expected::any(REASON),
        image_id: Expected::any(REASON),
        chip_id: Expected::any(REASON),
        ..SnpPolicy::strict(Expected::any(REASON))
    }
}

fn tdx() -> TdxPolicy {
    TdxPolicy {
        rtmr0: Expected::any(REASON),
        rtmr1: Expected::any(REASON),
        rtmr2: Expected::any(REASON),
        rtmr3: Expected::any(REASON),
        mr_config_id: Expected::any(REASON),
        mr_owner: Expected::any(REASON),
        mr_owner_config: Expected::any(REASON),
        ..TdxPolicy::strict(Expected::any(REASON))
    }
}

fn nitro() -> NitroPolicy {
    NitroPolicy {
        pcr1: Expected::any(REASON),
        pcr2: Expected::any(REASON),
        pcr3: Expected::any(REASON),
        pcr4: Expected::any(REASON),
        pcr8: Expected::any(REASON),
        ..NitroPolicy::strict(Expected::any(REASON))
    }
}

/// Of any instance: the processor's evidence binds this one, and proves what a virtual TPM's cannot.
fn gce() -> GcePolicy {
    GcePolicy {
        memory_encryption_unproven: Danger::Allow {
            reason: "the processor's evidence binds this one".into(),
        },
        project_id: Expected::any(REASON),
        zone: Expected::any(REASON),
        instance_id: Expected::any(REASON),
        pcrs: PCRS.into_iter().map(|index| (index, Expected::any(REASON))).collect(),
        event_log: LogPolicy::NotAsked,
    }
}

/// Any GPU or switch whose firmware and driver are as NVIDIA's signed manifests say.
fn nvidia() -> NvidiaPolicy {
    NvidiaPolicy {
        architectures: vec![Architecture::Hopper, Architecture::Blackwell, Architecture::Ls10],
        firmware_id_missing: Danger::Refuse,
        certificate_hold: Danger::Refuse,
        driver_manifest_missing: Danger::Refuse,
        vbios_manifest_missing: Danger::Refuse,
        device: Expected::any(REASON),
        driver_version: Expected::any(REASON),
        vbios_version: Expected::any(REASON),
        measurements: Expected::any("NVIDIA's signed manifests decide"),
    }
}

/// Every recorded machine of Azure offers a console (attest.md AZ-07), so that refusing it would refuse them all.
fn azure() -> AzurePolicy {
    let pcrs: PcrTerms = PCRS.into_iter().map(|index| (index, Expected::any(REASON))).collect();
    AzurePolicy {
        tdx: PlatformPolicy::Accepted(tdx()),
        console: Danger::Allow { reason: REASON.into() },
        vm_id: Expected::any(REASON),
        user_data: UserDataTerms::any(REASON),
        ..AzurePolicy::strict(snp(), pcrs)
    }
}
