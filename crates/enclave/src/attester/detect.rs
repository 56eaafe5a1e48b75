//! Which platform this machine is (spec/attesters.md §2): by what it offers, in one order, and never by what fails.
//!
//! The first platform of the order that shows itself is the machine's. If it then cannot make evidence, that is an error
//! (ATT-03): nothing weaker and nothing simulated is tried instead.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use casemate_attest::Platform;
use casemate_protocol::statement;

use super::azure::{AzureReport, AzureVm};
use super::hardware::{Device, Hardware, within};
use super::nsm::Nsm;
use super::sev_guest::SevGuest;
use super::tdx_guest::{QuoteService, TdxGuest};
use super::tsm::Tsm;
use super::{Attester, AttesterError, confidential_space, echo};

/// Where the system shows its devices. Data, so that the same code runs over a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// The Nitro Security Module.
    pub nsm: PathBuf,
    /// What the firmware says of the chassis, where Azure writes a number of its own.
    pub chassis_asset_tag: PathBuf,
    /// The TPM's device, through the kernel's resource manager.
    pub tpm: PathBuf,
    /// The log of the boot behind the TPM's registers, as the kernel has it.
    pub tpm_event_log: PathBuf,
    /// The address of Azure's metadata service.
    pub azure_metadata: String,
    /// How old the hardware report of an Azure VM may be.
    pub azure_report: AzureReport,
    /// The socket of Confidential Space's launcher, which is no device.
    pub confidential_space: PathBuf,
    /// configfs-tsm's directory of reports.
    pub tsm: PathBuf,
    /// The device of a SEV-SNP guest.
    pub sev_guest: PathBuf,
    /// The device of a TD.
    pub tdx_guest: PathBuf,
    /// Who makes a TD's quotes where configfs-tsm is not there to ask for them.
    pub quote_service: QuoteService,
}

impl Roots {
    /// Where Linux has them.
    pub fn system() -> Self {
        Self {
            nsm: "/dev/nsm".into(),
            chassis_asset_tag: "/sys/class/dmi/id/chassis_asset_tag".into(),
            tpm: "/dev/tpmrm0".into(),
            tpm_event_log: "/sys/kernel/security/tpm0/binary_bios_measurements".into(),
            azure_metadata: "http://169.254.169.254".into(),
            azure_report: AzureReport::Exchange,
            confidential_space: confidential_space::LAUNCHER.into(),
            tsm: "/sys/kernel/config/tsm/report".into(),
            sev_guest: "/dev/sev-guest".into(),
            tdx_guest: "/dev/tdx_guest".into(),
            quote_service: QuoteService::USUAL,
        }
    }
}

/// The attester of this machine.
///
/// # Errors
/// [`AttesterError::NoDevice`] where no platform shows itself, and what is wrong with the first that does.
pub fn detect(roots: &Roots) -> Result<Arc<dyn Attester>, AttesterError> {
    let roots = roots.clone();
    // Devices are opened and asked here already.
    let device = within(DEADLINE, move || shown(&roots)?.open(&roots))?;
    Ok(Arc::new(Hardware::start(device)))
}

/// The platform of the order that shows itself first: the one that is asked, whatever it then answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// `/dev/nsm`.
    Nitro,
    /// Azure's chassis, with a virtual TPM.
    Azure,
    /// configfs-tsm; its provider says whose.
    Tsm,
    /// `/dev/sev-guest`, without configfs-tsm.
    SevGuest,
    /// `/dev/tdx_guest`, without configfs-tsm.
    TdxGuest,
}

impl Shown {
    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nitro => "a Nitro enclave (Nitro Security Module)",
            Self::Azure => "an Azure confidential VM (virtual TPM)",
            Self::Tsm => "a SEV-SNP guest or a TD (configfs-tsm)",
            Self::SevGuest => "a SEV-SNP guest (/dev/sev-guest, without configfs-tsm)",
            Self::TdxGuest => "a TD (/dev/tdx_guest and the host's quote service, without configfs-tsm)",
        }
    }

    /// Opens its device, and asks Azure's metadata service where it is Azure's.
    pub(crate) fn open(self, roots: &Roots) -> Result<Box<dyn Device>, AttesterError> {
        Ok(match self {
            Self::Nitro => Box::new(Nsm::open(&roots.nsm)?),
            Self::Azure => Box::new(AzureVm::open(&roots.tpm, &roots.azure_metadata, roots.azure_report)?),
            Self::Tsm => Box::new(Tsm::open(&roots.tsm)?),
            Self::SevGuest => Box::new(SevGuest::open(&roots.sev_guest)?),
            Self::TdxGuest => Box::new(TdxGuest::open(&roots.tdx_guest, roots.quote_service.clone())?),
        })
    }

    /// Makes evidence once and reads it back, in a device that is closed again. It binds nothing that anybody asks for, and
    /// goes nowhere. Azure's metadata service is asked only where `metadata` says so.
    pub(crate) fn attempt(self, roots: &Roots, metadata: bool) -> Result<Tried, AttesterError> {
        if self == Self::Azure && !metadata {
            let bound = statement::bound(Platform::AzureVtpm, &TRIAL);
            let data: [u8; 32] = bound.try_into().map_err(|_| AttesterError::Echo)?;
            let platform = AzureVm::local(&roots.tpm, roots.azure_report)?.attempt(&data)?;
            return Ok(Tried { platform, bytes: None });
        }
        let mut device = self.open(roots)?;
        let raw = device.evidence(&TRIAL)?;
        echo::check(&raw, &TRIAL)?;
        Ok(Tried { platform: raw.platform, bytes: Some(raw.evidence.len()) })
    }
}

/// What a trial made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tried {
    /// Whose evidence.
    pub(crate) platform: Platform,
    /// Its length; none where only the machine's own part of it was made.
    pub(crate) bytes: Option<usize>,
}

/// Which platform this machine is, by what is there: nothing is opened but the firmware's text.
pub(crate) fn shown(roots: &Roots) -> Result<Shown, AttesterError> {
    if roots.nsm.exists() {
        return Ok(Shown::Nitro);
    }
    if is_azure(roots) {
        if !roots.tpm.exists() {
            let missing = "it has no virtual TPM (load the module tpm_crb)";
            return Err(AttesterError::HalfPresent { found: "the chassis of an Azure VM", missing });
        }
        return Ok(Shown::Azure);
    }
    if roots.tsm.is_dir() {
        return Ok(Shown::Tsm);
    }
    // Kernels that are older than configfs-tsm.
    if roots.sev_guest.exists() {
        return Ok(Shown::SevGuest);
    }
    if roots.tdx_guest.exists() {
        return Ok(Shown::TdxGuest);
    }
    // ATT-90: a token is no evidence.
    if roots.confidential_space.exists() {
        return Err(AttesterError::ConfidentialSpace);
    }
    Err(AttesterError::NoDevice)
}

/// A hint and no proof: whoever hides it gets no evidence, and whoever makes it up has no HCL report.
fn is_azure(roots: &Roots) -> bool {
    std::fs::read(&roots.chassis_asset_tag).is_ok_and(|tag| tag.trim_ascii() == AZURE_CHASSIS)
}

/// No hash of anything that is said on a channel.
const TRIAL: [u8; 64] = *b"casemate doctor: a trial, which binds nothing and proves nothing";
/// The asset tag of every Azure VM.
const AZURE_CHASSIS: &[u8] = b"7783-7084-3265-9085-8269-3286-77";
/// A TPM answers in milliseconds and the metadata service in a second; both have shorter limits of their own.
const DEADLINE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn code(roots: &Roots) -> &'static str {
        detect(roots).err().map_or("none", |e| e.code())
    }

    #[test]
    fn nothing_and_half_of_something_have_names() {
        let dir = std::env::temp_dir().join(format!("casemate-detect-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let none = Roots {
            nsm: dir.join("nsm"),
            chassis_asset_tag: dir.join("tag"),
            tpm: dir.join("tpm"),
            confidential_space: dir.join("launcher"),
            tsm: dir.join("tsm"),
            sev_guest: dir.join("sev-guest"),
            tdx_guest: dir.join("tdx_guest"),
            ..Roots::system()
        };
        assert_eq!(code(&none), "attester.no-device");
        // A container with a launcher that gives tokens has no device either.
        std::fs::write(dir.join("launcher"), "").unwrap();
        assert_eq!(code(&none), "attester.confidential-space");
        // A device whose kernel has no configfs-tsm is asked itself; with it, it is not.
        let asked = [
            ("sev-guest", Shown::SevGuest, Platform::SevSnp, "attester.sev-guest.no-key"),
            ("tdx_guest", Shown::TdxGuest, Platform::Tdx, "attester.tdx-guest.kernel"),
        ];
        for (device, expected, platform, refusal) in asked {
            std::fs::write(dir.join(device), "").unwrap();
            assert_eq!(shown(&none).ok(), Some(expected));
            let found = detect(&none).unwrap();
            assert_eq!(found.platform(), platform);
            // It is a file and no device.
            assert_eq!(found.evidence(&[0; 64]).err().unwrap().code(), refusal);
            std::fs::create_dir(dir.join("tsm")).unwrap();
            assert_eq!(shown(&none).ok(), Some(Shown::Tsm));
            std::fs::remove_dir(dir.join("tsm")).unwrap();
            std::fs::remove_file(dir.join(device)).unwrap();
        }
        std::fs::remove_file(dir.join("launcher")).unwrap();
        std::fs::write(dir.join("tag"), "7783-7084-3265-9085-8269-3286-77\n").unwrap();
        assert_eq!(code(&none), "attester.half-present");
        // A TPM that is none.
        std::fs::write(dir.join("tpm"), "").unwrap();
        assert_eq!(code(&none), "attester.tpm.answer");
        std::fs::write(dir.join("tag"), "Default string\n").unwrap();
        assert_eq!(code(&none), "attester.no-device");
        // The first of the order is the machine's, although another is there too.
        std::fs::write(dir.join("nsm"), "").unwrap();
        std::fs::create_dir(dir.join("tsm")).unwrap();
        let first = detect(&none).unwrap();
        assert_eq!(first.platform(), Platform::Nitro);
        assert_eq!(first.evidence(&[0; 64]).err().unwrap().code(), "attester.nsm.kernel");
        std::fs::remove_file(dir.join("nsm")).unwrap();
        std::fs::remove_dir(dir.join("tsm")).unwrap();
        // A file in the place of configfs is not configfs.
        std::fs::write(dir.join("tsm"), "").unwrap();
        assert_eq!(code(&none), "attester.no-device");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
