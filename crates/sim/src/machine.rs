//! A simulated machine: a configuration, an endorsed key, and the reports that it signs.

use std::fmt;

use aws_lc_rs::digest::{SHA512, digest};
use casemate_attest::snp::ProductLine;

use crate::error::SimError;
use crate::keys::VekKey;
use crate::line;
use crate::mistakes::{CertificateMistake, PssParameters};
use crate::report::{self, Cpuid, FirmwareVersion, SIGNED_BYTES, Tcb};

/// POLICY bit 16 (SMT allowed) and bit 17 (always one), as on most recorded machines.
const POLICY_SMT: u64 = 0x3_0000;
/// PLATFORM_INFO: SMT enabled, ECC memory.
const PLATFORM_SMT_ECC: u64 = 0x05;
/// PLATFORM_INFO: no memory aliases were found at boot (reports of version 3 on).
const PLATFORM_ALIAS_CHECK: u64 = 0x20;
/// Mitigations that recorded version 5 reports state.
const MITIGATIONS: u64 = 0x0b;

/// The key that signs a machine's reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signer {
    /// Versioned chip endorsement key, bound to one chip.
    Vcek,
    /// Versioned loaded endorsement key, bound to one cloud provider.
    Vlek,
}

/// Everything that a machine's reports and certificate say. Every field may be changed after
/// [`MachineConfig::new`]; the certificate follows `tcb`, `chip_id` and `signer` unless `certificate` says
/// otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineConfig {
    /// The line that decides the layout of the report's TCB fields.
    pub line: ProductLine,
    /// VERSION: 2, 3, 4 or 5. Versions below 3 state no CPUID, versions below 5 no mitigations.
    pub report_version: u32,
    /// GUEST_SVN.
    pub guest_svn: u32,
    /// POLICY, the guest's: bit 19 is DEBUG, bit 18 MIGRATE_MA.
    pub policy: u64,
    /// FAMILY_ID.
    pub family_id: [u8; 16],
    /// IMAGE_ID.
    pub image_id: [u8; 16],
    /// The privilege level that asked for the report, 0 to 3.
    pub vmpl: u32,
    /// PLATFORM_INFO.
    pub platform_info: u64,
    /// Which key signs, and which issuer certifies it.
    pub signer: Signer,
    /// KEY_INFO bit 1: the host hides the chip; CHIP_ID is then zero.
    pub chip_key_masked: bool,
    /// KEY_INFO bit 0.
    pub author_key_enabled: bool,
    /// MEASUREMENT.
    pub launch_digest: [u8; 48],
    /// HOST_DATA.
    pub host_data: [u8; 32],
    /// ID_KEY_DIGEST.
    pub id_key_digest: [u8; 48],
    /// AUTHOR_KEY_DIGEST.
    pub author_key_digest: [u8; 48],
    /// REPORT_ID_MA: all ones without a migration agent.
    pub report_id_ma: [u8; 32],
    /// CHIP_ID; on Turin eight bytes and zeros.
    pub chip_id: [u8; 64],
    /// The processor (reports of version 3 on).
    pub cpuid: Cpuid,
    /// REPORTED_TCB, for which the key is certified.
    pub tcb: Tcb,
    /// CURRENT_TCB.
    pub current_tcb: Tcb,
    /// COMMITTED_TCB.
    pub committed_tcb: Tcb,
    /// LAUNCH_TCB.
    pub launch_tcb: Tcb,
    /// The firmware that runs.
    pub current_version: FirmwareVersion,
    /// The oldest firmware that the machine will still run.
    pub committed_version: FirmwareVersion,
    /// LAUNCH_MIT_VECTOR (version 5).
    pub launch_mitigations: u64,
    /// CURRENT_MIT_VECTOR (version 5).
    pub current_mitigations: u64,
    /// How the VEK certificate writes its signature parameters.
    pub pss_parameters: PssParameters,
    /// What is wrong with the VEK certificate.
    pub certificate: CertificateMistake,
}

impl MachineConfig {
    /// A healthy Genoa machine with reports of version 5, signed by a VCEK, that launched `launch_digest`.
    pub fn new(launch_digest: [u8; 48]) -> Self {
        Self::for_line(ProductLine::Genoa, 5, launch_digest)
    }

    /// A healthy machine of the line with reports of this version, signed by a VCEK.
    ///
    /// The chip identifier follows from the line and the digest, so that equal configurations are equal.
    pub fn for_line(line: ProductLine, report_version: u32, launch_digest: [u8; 48]) -> Self {
        let facts = line::line(line);
        let tcb = facts.healthy_tcb;
        let version = FirmwareVersion { major: 1, minor: 55, build: 49 };
        let alias_check = if report_version >= 3 { PLATFORM_ALIAS_CHECK } else { 0 };
        let mitigations = if report_version >= 5 && !facts.has_fmc { MITIGATIONS } else { 0 };
        Self {
            line,
            report_version,
            guest_svn: 0,
            policy: POLICY_SMT,
            family_id: [0; 16],
            image_id: [0; 16],
            vmpl: 0,
            platform_info: PLATFORM_SMT_ECC | alias_check,
            signer: Signer::Vcek,
            chip_key_masked: false,
            author_key_enabled: false,
            launch_digest,
            host_data: [0; 32],
            id_key_digest: [0; 48],
            author_key_digest: [0; 48],
            report_id_ma: [0xff; 32],
            chip_id: made_up_chip_id(facts, &launch_digest),
            cpuid: facts.cpuid,
            tcb,
            current_tcb: tcb,
            committed_tcb: tcb,
            launch_tcb: tcb,
            current_version: version,
            committed_version: version,
            launch_mitigations: mitigations,
            current_mitigations: mitigations,
            pss_parameters: PssParameters::Implicit,
            certificate: CertificateMistake::None,
        }
    }

    /// Sets the reported, current, committed and launch TCB at once.
    #[must_use]
    pub fn with_all_tcbs(mut self, tcb: Tcb) -> Self {
        self.tcb = tcb;
        self.current_tcb = tcb;
        self.committed_tcb = tcb;
        self.launch_tcb = tcb;
        self
    }
}

/// A machine that a [`crate::Vendor`] endorsed.
pub struct Machine {
    config: MachineConfig,
    key: VekKey,
    report_id: [u8; 32],
    vek: Vec<u8>,
    crl: Vec<u8>,
}

impl Machine {
    pub(crate) fn new(
        config: MachineConfig,
        key: VekKey,
        vek: Vec<u8>,
        crl: Vec<u8>,
    ) -> Result<Self, SimError> {
        let mut report_id = [0; 32];
        aws_lc_rs::rand::fill(&mut report_id).map_err(|_| SimError::Randomness)?;
        Ok(Self { config, key, report_id, vek, crl })
    }

    /// A signed report of 1184 bytes that carries `report_data`.
    ///
    /// # Errors
    /// [`SimError::Signing`].
    pub fn report(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, SimError> {
        self.sign(self.body(report_data))
    }

    /// The signed part of such a report, before it is signed: change it and give it to [`Machine::sign`].
    pub fn body(&self, report_data: &[u8; 64]) -> [u8; SIGNED_BYTES] {
        report::body(&self.config, &self.report_id, report_data)
    }

    /// Test material: signs any body as if the firmware had made it.
    ///
    /// # Errors
    /// [`SimError::Signing`].
    pub fn sign(&self, body: [u8; SIGNED_BYTES]) -> Result<Vec<u8>, SimError> {
        let (r, s) = self.key.sign(&body)?;
        Ok(report::assemble(&body, &r, &s))
    }

    /// The certificate of the key that signs, in DER.
    pub fn vek_der(&self) -> &[u8] {
        &self.vek
    }

    /// The vendor's revocation list when the machine was made, in DER.
    pub fn crl_der(&self) -> &[u8] {
        &self.crl
    }

    /// What the machine says about itself.
    pub fn config(&self) -> &MachineConfig {
        &self.config
    }
}

impl fmt::Debug for Machine {
    /// Says which machine this is; never shows the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A chip identifier of the line's length, zeros after it.
fn made_up_chip_id(line: &line::Line, launch_digest: &[u8; 48]) -> [u8; 64] {
    let seed = [b"casemate simulated chip ".as_slice(), line.name.as_bytes(), launch_digest].concat();
    let mut chip_id = [0; 64];
    for (to, from) in chip_id.iter_mut().zip(digest(&SHA512, &seed).as_ref()).take(line.hwid_bytes) {
        *to = *from;
    }
    chip_id
}
