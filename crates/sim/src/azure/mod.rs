//! A simulated Azure: a silicon vendor for the hardware (SEV-SNP or TDX), and a Microsoft that certifies the attestation keys of
//! virtual TPMs.

mod hcl;
mod machine;
mod mistakes;
mod tpm;

use std::fmt;
use std::path::Path;

use casemate_attest::UnixTime;
use casemate_attest::snp::ProductLine;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};

use crate::certificate::Window;
use crate::certifier::{Certifier, KeyKind, Subject, authority, leaf};
use crate::error::SimError;
use crate::files::{PUBLIC_MODE, ROOTS_FILE, replace};
use crate::folder::{self, Kept};
use crate::platform::Platform;
use crate::tdx::TdxVendor;
use crate::vendor::{AUTHORITY_SECONDS, DAY, Vendor, window};

use machine::HardwareMachine;
pub use machine::{AzureConfig, AzureMachine, HardwareConfig};
pub use mistakes::{AkMistake, AzureMistake};

/// The silicon vendor's directory within this one's.
const HARDWARE_DIRECTORY: &str = "hardware";
/// tcg-kp-AIKCertificate.
const AIK_CERTIFICATE: [u64; 5] = [2, 23, 133, 8, 3];
/// An attestation key's certificate lives for a year.
const AK_SECONDS: u64 = 365 * DAY;

const ROOT: Subject = subject("Azure Virtual TPM Root Certificate Authority 2023");
const INTERMEDIATE: Subject = subject("Global Virtual TPM CA - 01");
const LEAF: Subject = subject("simulated.Azure.VM");

static KEPT_ROOT: Kept =
    Kept { subject: ROOT, key: KeyKind::Rsa4096, certificate: "vtpm-root.pem", private: "vtpm-root.key.pem" };
static KEPT_INTERMEDIATE: Kept = Kept {
    subject: INTERMEDIATE,
    key: KeyKind::Rsa2048,
    certificate: "vtpm-ca.pem",
    private: "vtpm-ca.key.pem",
};

const fn subject(common_name: &'static str) -> Subject {
    Subject { common_name, organization: "SIMULATED - not Microsoft" }
}

/// Who made the hardware underneath.
#[derive(Debug)]
pub enum Hardware {
    /// AMD's place.
    Snp(Box<Vendor>),
    /// Intel's place.
    Tdx(Box<TdxVendor>),
}

/// A simulated vendor of confidential virtual machines.
pub struct AzureVendor {
    issued: UnixTime,
    hardware: Hardware,
    root: Certifier,
    intermediate: Certifier,
}

impl Hardware {
    fn platform(&self) -> Platform {
        match self {
            Self::Snp(_) => Platform::AzureSnp,
            Self::Tdx(_) => Platform::AzureTdx,
        }
    }

    fn root_pem(&self) -> String {
        match self {
            Self::Snp(vendor) => vendor.root_pem(),
            Self::Tdx(vendor) => vendor.root_pem(),
        }
    }
}

impl AzureVendor {
    /// Makes a vendor of machines on SEV-SNP, with a silicon vendor of its own. Takes seconds: five RSA keys.
    ///
    /// # Errors
    /// As [`Vendor::create`], and [`SimError::Issue`].
    pub fn on_snp(line: ProductLine, now: UnixTime) -> Result<Self, SimError> {
        Self::on(Hardware::Snp(Box::new(Vendor::create(line, now)?)), now)
    }

    /// Makes a vendor of machines on TDX, with a silicon vendor of its own.
    ///
    /// # Errors
    /// As [`TdxVendor::create`].
    pub fn on_tdx(now: UnixTime) -> Result<Self, SimError> {
        Self::on(Hardware::Tdx(Box::new(TdxVendor::create(now)?)), now)
    }

    /// Makes a vendor of machines on this hardware. Everything of its own is valid from one day before `now`: authorities
    /// for 25 years, certificates of attestation keys for one.
    ///
    /// # Errors
    /// [`SimError::KeyGeneration`], [`SimError::Issue`] or [`SimError::TimeOutOfRange`].
    pub fn on(hardware: Hardware, now: UnixTime) -> Result<Self, SimError> {
        let window = window(now, AUTHORITY_SECONDS)?;
        let root = Certifier::root(ROOT, window, KeyKind::Rsa4096.generate()?)?;
        let intermediate =
            root.subordinate(for_tpms(authority(INTERMEDIATE, window)?), KeyKind::Rsa2048.generate()?)?;
        Ok(Self { issued: now, hardware, root, intermediate })
    }

    /// When the vendor last issued: certificates of attestation keys count from here.
    pub fn issued(&self) -> UnixTime {
        self.issued
    }

    /// The hardware's vendor.
    pub fn hardware(&self) -> &Hardware {
        &self.hardware
    }

    /// [`Platform::AzureSnp`] or [`Platform::AzureTdx`].
    pub fn platform(&self) -> Platform {
        self.hardware.platform()
    }

    /// The root bundle in PEM: the silicon vendor's, then Microsoft's place. A verifier that should accept this vendor's
    /// machines must be given this text.
    pub fn root_pem(&self) -> String {
        format!("{}{}", self.hardware.root_pem(), self.root.pem())
    }

    /// Makes a virtual machine: the hardware, and a virtual TPM with a new, certified attestation key.
    ///
    /// # Errors
    /// [`SimError::OtherPlatform`] where configuration and vendor are of different hardware; otherwise what the hardware's
    /// vendor says, or [`SimError::KeyGeneration`], [`SimError::Issue`] or [`SimError::TimeOutOfRange`].
    pub fn machine(&self, config: &AzureConfig) -> Result<AzureMachine, SimError> {
        let hardware = match (&self.hardware, &config.hardware) {
            (Hardware::Snp(vendor), HardwareConfig::Snp(config)) => {
                HardwareMachine::Snp(vendor.machine(config)?)
            }
            (Hardware::Tdx(vendor), HardwareConfig::Tdx(config)) => {
                HardwareMachine::Tdx(vendor.machine(config)?)
            }
            (hardware, HardwareConfig::Snp(_)) => {
                return Err(SimError::OtherPlatform {
                    found: hardware.platform(),
                    expected: Platform::AzureSnp,
                });
            }
            (hardware, HardwareConfig::Tdx(_)) => {
                return Err(SimError::OtherPlatform {
                    found: hardware.platform(),
                    expected: Platform::AzureTdx,
                });
            }
        };
        let ak = KeyKind::Rsa2048.generate()?;
        let (certificate, issuers) = self.certified(&ak, &config.ak)?;
        AzureMachine::new(config.clone(), hardware, ak, certificate, issuers)
    }

    /// The certificate of an attestation key, and those above it.
    fn certified(&self, ak: &KeyPair, mistake: &AkMistake) -> Result<(Vec<u8>, Vec<Vec<u8>>), SimError> {
        let params = self.ak_params(mistake)?;
        match mistake {
            AkMistake::OtherKey => {
                let other = KeyKind::Rsa2048.generate()?;
                let certificate = self.intermediate.certify(&params, &other)?.der().to_vec();
                Ok((certificate, vec![self.intermediate.der.clone()]))
            }
            AkMistake::OtherRoot => {
                let window = window(self.issued, AUTHORITY_SECONDS)?;
                let root = Certifier::root(ROOT, window, KeyKind::Rsa2048.generate()?)?;
                let params_between = for_tpms(authority(INTERMEDIATE, window)?);
                let between = root.subordinate(params_between, KeyKind::Rsa2048.generate()?)?;
                Ok((between.certify(&params, ak)?.der().to_vec(), vec![between.der]))
            }
            _ => {
                let certificate = self.intermediate.certify(&params, ak)?.der().to_vec();
                Ok((certificate, vec![self.intermediate.der.clone()]))
            }
        }
    }

    fn ak_params(&self, mistake: &AkMistake) -> Result<CertificateParams, SimError> {
        let window = match mistake {
            AkMistake::Validity { not_before, not_after } => {
                Window { not_before: *not_before, not_after: *not_after }
            }
            _ => window(self.issued, AK_SECONDS)?,
        };
        let mut params = leaf(LEAF, window)?;
        if *mistake != AkMistake::NotForTpms {
            params = for_tpms(params);
        }
        if *mistake == AkMistake::IsAuthority {
            params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params.key_usages.push(KeyUsagePurpose::KeyCertSign);
        }
        Ok(params)
    }

    /// Writes the vendor into `directory`, which is made if it is missing. Each file is replaced as a whole; the silicon
    /// vendor is in `hardware`.
    ///
    /// # Errors
    /// [`SimError::File`], or [`SimError::Signing`] where a key cannot be exported.
    pub fn save(&self, directory: &Path) -> Result<(), SimError> {
        let kept = [(&KEPT_ROOT, &self.root), (&KEPT_INTERMEDIATE, &self.intermediate)];
        folder::save(directory, self.platform(), &kept)?;
        let below = directory.join(HARDWARE_DIRECTORY);
        match &self.hardware {
            Hardware::Snp(vendor) => vendor.save(&below)?,
            Hardware::Tdx(vendor) => vendor.save(&below)?,
        }
        replace(&directory.join(ROOTS_FILE), self.root_pem().as_bytes(), PUBLIC_MODE)
    }

    /// Reads a vendor that [`AzureVendor::save`] wrote, and checks that it is one. It issues from `now`.
    ///
    /// # Errors
    /// Any of the `sim.load.*` errors, or [`SimError::File`].
    pub fn load(directory: &Path, now: UnixTime) -> Result<Self, SimError> {
        let below = directory.join(HARDWARE_DIRECTORY);
        let hardware = match Platform::of(directory)? {
            Platform::AzureSnp => Hardware::Snp(Box::new(Vendor::load(&below)?)),
            Platform::AzureTdx => Hardware::Tdx(Box::new(TdxVendor::load(&below, now)?)),
            found => return Err(SimError::OtherPlatform { found, expected: Platform::AzureSnp }),
        };
        let root = KEPT_ROOT.load(directory, now, None)?;
        Ok(Self {
            issued: now,
            hardware,
            intermediate: KEPT_INTERMEDIATE.load(directory, now, Some(&root))?,
            root,
        })
    }
}

impl fmt::Debug for AzureVendor {
    /// Says which vendor this is; never shows a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureVendor")
            .field("issued", &self.issued)
            .field("hardware", &self.hardware)
            .finish_non_exhaustive()
    }
}

/// For attestation keys of TPMs.
fn for_tpms(mut params: CertificateParams) -> CertificateParams {
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(AIK_CERTIFICATE.to_vec())];
    params
}
