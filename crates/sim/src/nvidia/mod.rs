//! A simulated NVIDIA: the identity authorities of devices and the authorities of reference manifests under two roots,
//! GPUs that sign attestation reports, the manifests that their firmware meets, and answers about revocation.
//!
//! Source: spec/attest.md §14 and the recorded evidence that it names. As there, five certificates stand in a device's chain
//! (firmware, device, provisioner, identity, root), and four in a manifest's.

mod answer;
mod party;
mod report;
mod rim;

use std::fmt;
use std::path::Path;

use casemate_attest::UnixTime;
use rcgen::CustomExtension;

use crate::asn1::{OCTET_STRING, SEQUENCE, oid, sequence, tlv};
use crate::certifier::KeyKind;
use crate::error::SimError;
use crate::files::{PUBLIC_MODE, ROOTS_FILE, replace};
use crate::folder::{self, Kept};
use crate::platform::Platform;
use crate::vendor::{AUTHORITY_SECONDS, DAY, window};
use party::subject;

pub use answer::{Answer, GOOD, Hash, UNKNOWN, generalized_time, revoked};
pub use party::Party;
pub use report::{DRIVER, FIRMWARE_ID, MEASUREMENTS, Report, SWITCH_VBIOS, VBIOS};
pub use rim::Rim;

/// How long the signer of manifests lives.
const SIGNER_SECONDS: u64 = 366 * DAY;
/// How long answers about revocation hold.
const ANSWER_SECONDS: u64 = 31 * DAY;

/// Where the digest of a device's firmware stands in its leaf certificate (TCG DICE, as Hopper writes it).
const TCB_INFO: [u64; 6] = [2, 23, 133, 5, 4, 1];
/// id-sha384.
const SHA384: [u32; 9] = [2, 16, 840, 1, 101, 3, 4, 2, 2];

static KEPT_ROOT: Kept = Kept {
    subject: subject("SIMULATED Device Identity CA"),
    key: KeyKind::P384,
    certificate: "device-root.pem",
    private: "device-root.key.pem",
};
/// A verifier knows the root of manifests by the end of its name.
static KEPT_RIM_ROOT: Kept = Kept {
    subject: subject("SIMULATED CoRIM signing Root CA"),
    key: KeyKind::P384,
    certificate: "rim-root.pem",
    private: "rim-root.key.pem",
};

/// A simulated vendor of GPUs.
pub struct NvidiaVendor {
    issued: UnixTime,
    root: Party,
    identity: Party,
    provisioner: Party,
    switch_provisioner: Party,
    rim_root: Party,
    rim_outer: Party,
    rim_inner: Party,
    rim_signer: Party,
}

/// A GPU or a switch with a certified identity and a certified firmware key.
pub struct Gpu {
    device: Party,
    leaf: Party,
    chain_pem: String,
    /// What it reports, but for the nonce.
    says: Report,
    is_switch: bool,
}

impl NvidiaVendor {
    /// Makes a vendor. Everything is valid from one day before `now`: authorities and devices for 25 years, the signer of
    /// manifests for one, answers about revocation for a month.
    ///
    /// # Errors
    /// [`SimError::KeyGeneration`], [`SimError::Issue`] or [`SimError::TimeOutOfRange`].
    pub fn create(now: UnixTime) -> Result<Self, SimError> {
        let valid = window(now, AUTHORITY_SECONDS)?;
        Self::under(Party::root(KEPT_ROOT.subject, valid)?, Party::root(KEPT_RIM_ROOT.subject, valid)?, now)
    }

    /// The authorities below the roots are made anew each time: evidence brings their certificates along.
    fn under(root: Party, rim_root: Party, now: UnixTime) -> Result<Self, SimError> {
        let identity = root.authority("SIMULATED GH100 Identity")?;
        let provisioner = identity.authority("NVIDIA GH100 Provisioner ICA 1")?;
        let switch_provisioner = identity.authority("NVIDIA LS_10 Provisioner ICA 1")?;
        let rim_outer = rim_root.authority("SIMULATED Reference Value CA")?;
        let rim_inner = rim_outer.authority("SIMULATED Reference Value L3")?;
        let until = window(now, SIGNER_SECONDS)?.not_after;
        let rim_signer = rim_inner.signer_until("SIMULATED RIM Signer", until)?;
        Ok(Self {
            issued: now,
            root,
            identity,
            provisioner,
            switch_provisioner,
            rim_root,
            rim_outer,
            rim_inner,
            rim_signer,
        })
    }

    /// When the vendor last issued: answers about revocation count from here.
    pub fn issued(&self) -> UnixTime {
        self.issued
    }

    /// The roots of devices and of manifests in PEM. A verifier that should accept this vendor's devices must be given this
    /// text.
    pub fn root_pem(&self) -> String {
        format!("{}{}", self.root.pem(), self.rim_root.pem())
    }

    /// Counts answers about revocation from `now`. Everything else stays.
    ///
    /// # Errors
    /// [`SimError::RenewalInThePast`].
    pub fn renew(&mut self, now: UnixTime) -> Result<(), SimError> {
        if now < self.issued {
            return Err(SimError::RenewalInThePast { now, issued: self.issued });
        }
        self.issued = now;
        Ok(())
    }

    /// Makes a GPU: a device key and a firmware key, both new and certified.
    ///
    /// # Errors
    /// [`SimError::KeyGeneration`] or [`SimError::Issue`].
    pub fn gpu(&self) -> Result<Gpu, SimError> {
        self.gpu_with_firmware(&FIRMWARE_ID)
    }

    /// Makes a GPU whose certificate names this firmware.
    ///
    /// # Errors
    /// As [`NvidiaVendor::gpu`].
    pub fn gpu_with_firmware(&self, firmware_id: &[u8; 48]) -> Result<Gpu, SimError> {
        let names = ("GH100 A01 GSP BROM", "GH100 A01 GSP FMC LF");
        self.device(&self.provisioner, names, firmware_id, Report::new([0; 32]))
    }

    /// Makes a GPU that protects PCIe and is linked with these switches.
    ///
    /// # Errors
    /// As [`NvidiaVendor::gpu`].
    pub fn linked_gpu(&self, switches: &[[u8; 8]]) -> Result<Gpu, SimError> {
        Ok(Gpu { says: Report::linked(switches), ..self.gpu()? })
    }

    /// Makes a switch with this public device identity.
    ///
    /// # Errors
    /// As [`NvidiaVendor::gpu`].
    pub fn switch(&self, pdi: [u8; 8]) -> Result<Gpu, SimError> {
        let names = ("LS_10 A01 SOE BROM", "LS_10 A01 SOE FMC LF");
        let made = self.device(&self.switch_provisioner, names, &FIRMWARE_ID, Report::of_switch(pdi))?;
        Ok(Gpu { is_switch: true, ..made })
    }

    fn device(
        &self,
        provisioner: &Party,
        (device, leaf): (&'static str, &'static str),
        firmware_id: &[u8; 48],
        says: Report,
    ) -> Result<Gpu, SimError> {
        let device = provisioner.authority(device)?;
        let leaf = device.signer(leaf, |params| {
            let fwid = sequence(&[oid(&SHA384), tlv(OCTET_STRING, firmware_id)]);
            // TCG DICE CompositeDeviceID: version 1, and the public key, which is not looked at.
            let composite = sequence(&[vec![2, 1, 1], tlv(SEQUENCE, &[]), fwid]);
            params.custom_extensions.push(CustomExtension::from_oid_content(&TCB_INFO, composite));
        })?;
        let chain = [&leaf, &device, provisioner, &self.identity, &self.root];
        let chain_pem = chain.map(Party::pem).concat();
        Ok(Gpu { device, leaf, chain_pem, says, is_switch: false })
    }

    /// Signs a manifest (XML).
    ///
    /// # Errors
    /// [`SimError::Signing`].
    pub fn manifest(&self, rim: &Rim) -> Result<String, SimError> {
        rim.signed(&self.rim_signer, [&self.rim_inner, &self.rim_outer, &self.rim_root])
    }

    /// The two manifests that every GPU of this vendor meets: of its driver, and of its VBIOS.
    ///
    /// # Errors
    /// [`SimError::Signing`].
    pub fn manifests(&self) -> Result<[String; 2], SimError> {
        Ok([self.manifest(&Rim::driver())?, self.manifest(&Rim::vbios())?])
    }

    /// The manifest that every switch of this vendor meets, of its VBIOS.
    ///
    /// # Errors
    /// [`SimError::Signing`].
    pub fn switch_manifest(&self) -> Result<String, SimError> {
        self.manifest(&Rim { edition: "SWITCH", product: "LS10", version: SWITCH_VBIOS, ..Rim::vbios() })
    }

    /// Answers about all certificates of these GPUs and switches, and of the manifests' signer: good (OCSP responses, DER).
    ///
    /// # Errors
    /// [`SimError::Signing`] or [`SimError::TimeOutOfRange`].
    pub fn answers<'a>(&'a self, gpus: impl IntoIterator<Item = &'a Gpu>) -> Result<Vec<Vec<u8>>, SimError> {
        let valid = window(self.issued, ANSWER_SECONDS)?;
        let (from, until) = (generalized_time(valid.not_before)?, generalized_time(valid.not_after)?);
        let shared = [
            (&self.identity, &self.root),
            (&self.provisioner, &self.identity),
            (&self.rim_outer, &self.rim_root),
            (&self.rim_inner, &self.rim_outer),
            (&self.rim_signer, &self.rim_inner),
        ];
        let gpus: Vec<_> = gpus.into_iter().collect();
        let any_switch = gpus.iter().any(|gpu| gpu.is_switch);
        let of_switches = any_switch.then_some((&self.switch_provisioner, &self.identity));
        let devices = gpus.into_iter().map(|gpu| {
            let provisioner = if gpu.is_switch { &self.switch_provisioner } else { &self.provisioner };
            (gpu.device(), provisioner)
        });
        shared
            .into_iter()
            .chain(of_switches)
            .chain(devices)
            .map(|(subject, issuer)| Answer::new(subject, issuer, &from, Some(&until)).der())
            .collect()
    }

    /// The root of devices.
    pub fn root(&self) -> &Party {
        &self.root
    }

    /// The authority below it.
    pub fn identity(&self) -> &Party {
        &self.identity
    }

    /// The authority that certifies devices.
    pub fn provisioner(&self) -> &Party {
        &self.provisioner
    }

    /// The root of manifests.
    pub fn rim_root(&self) -> &Party {
        &self.rim_root
    }

    /// The authority below it.
    pub fn rim_outer(&self) -> &Party {
        &self.rim_outer
    }

    /// The authority that certifies the signer of manifests.
    pub fn rim_inner(&self) -> &Party {
        &self.rim_inner
    }

    /// The signer of manifests.
    pub fn rim_signer(&self) -> &Party {
        &self.rim_signer
    }

    /// Writes the vendor into `directory`, which is made if it is missing. Each file is replaced as a whole.
    ///
    /// # Errors
    /// [`SimError::File`].
    pub fn save(&self, directory: &Path) -> Result<(), SimError> {
        let kept = [(&KEPT_ROOT, self.root.certifier()), (&KEPT_RIM_ROOT, self.rim_root.certifier())];
        folder::save(directory, Platform::Nvidia, &kept)?;
        replace(&directory.join(ROOTS_FILE), self.root_pem().as_bytes(), PUBLIC_MODE)
    }

    /// Reads a vendor that [`NvidiaVendor::save`] wrote, and checks that it is one. It issues from `now`.
    ///
    /// # Errors
    /// Any of the `sim.load.*` errors, or [`SimError::File`].
    pub fn load(directory: &Path, now: UnixTime) -> Result<Self, SimError> {
        folder::expect(directory, Platform::Nvidia)?;
        let valid = window(now, AUTHORITY_SECONDS)?;
        let root = Party::new(KEPT_ROOT.load(directory, now, None)?, valid);
        let rim_root = Party::new(KEPT_RIM_ROOT.load(directory, now, None)?, valid);
        Self::under(root, rim_root, now)
    }
}

impl Gpu {
    /// A signed report that answers this nonce: request and response, as the driver delivers them.
    ///
    /// # Errors
    /// [`SimError::Signing`].
    pub fn report(&self, nonce: &[u8; 32]) -> Result<Vec<u8>, SimError> {
        self.sign(&Report { nonce: *nonce, ..self.says.clone() })
    }

    /// Signs what a report says, right or wrong.
    ///
    /// # Errors
    /// [`SimError::Signing`].
    pub fn sign(&self, report: &Report) -> Result<Vec<u8>, SimError> {
        let message = report.message();
        let signature = self.leaf.sign(&message)?;
        Ok([message, signature].concat())
    }

    /// The five certificates as a device delivers them.
    pub fn chain_pem(&self) -> &str {
        &self.chain_pem
    }

    /// The device itself: its identity is this certificate.
    pub fn device(&self) -> &Party {
        &self.device
    }
}

impl fmt::Debug for NvidiaVendor {
    /// Says which vendor this is; never shows a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NvidiaVendor").field("issued", &self.issued).finish_non_exhaustive()
    }
}
