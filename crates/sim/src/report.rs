//! The attestation report as the firmware writes it (AMD 56860, ATTESTATION_REPORT), versions 2 to 5.
//!
//! Little endian throughout; bytes not listed are zero.
//!
//! ```text
//! offset  size  field                     offset  size  field
//!  0x000     4  VERSION                    0x160    32  REPORT_ID_MA
//!  0x004     4  GUEST_SVN                  0x180     8  REPORTED_TCB
//!  0x008     8  POLICY                     0x188     3  CPUID family, model, stepping   (version 3 on)
//!  0x010    16  FAMILY_ID                  0x1a0    64  CHIP_ID
//!  0x020    16  IMAGE_ID                   0x1e0     8  COMMITTED_TCB
//!  0x030     4  VMPL                       0x1e8     3  CURRENT build, minor, major
//!  0x034     4  SIGNATURE_ALGO = 1         0x1ec     3  COMMITTED build, minor, major
//!  0x038     8  CURRENT_TCB                0x1f0     8  LAUNCH_TCB
//!  0x040     8  PLATFORM_INFO              0x1f8     8  LAUNCH_MIT_VECTOR               (version 5)
//!  0x048     4  KEY_INFO                   0x200     8  CURRENT_MIT_VECTOR              (version 5)
//!  0x050    64  REPORT_DATA                0x2a0    72  R, 48 significant bytes
//!  0x090    48  MEASUREMENT                0x2e8    72  S, 48 significant bytes
//!  0x0c0    32  HOST_DATA                  0x330   368  zero, unsigned
//!  0x0e0    48  ID_KEY_DIGEST              0x4a0        end
//!  0x110    48  AUTHOR_KEY_DIGEST
//!  0x140    32  REPORT_ID
//! ```

use casemate_attest::snp::ProductLine;

use crate::line::line;
use crate::machine::{MachineConfig, Signer};

/// Length of a report.
pub const REPORT_BYTES: usize = 0x4a0;
/// Length of the signed part, which comes first.
pub const SIGNED_BYTES: usize = 0x2a0;

const R_AT: usize = 0x2a0;
const S_AT: usize = 0x2e8;

/// SIGNATURE_ALGO: ECDSA P-384 with SHA-384.
const ALGORITHM_ECDSA_P384: u32 = 1;
/// KEY_INFO: an author key signed the ID block's key.
const AUTHOR_KEY_ENABLED: u32 = 1;
/// KEY_INFO: the host hides the chip's identity.
const CHIP_KEY_MASKED: u32 = 1 << 1;
/// KEY_INFO: where SIGNING_KEY starts; 0 is the VCEK, 1 the VLEK.
const SIGNING_KEY_SHIFT: u32 = 2;

/// A trusted computing base: one security version number for each firmware component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcb {
    /// FMC; Turin only, ignored on earlier lines.
    pub fmc: u8,
    /// The secure processor's boot loader.
    pub bootloader: u8,
    /// The secure processor's operating system.
    pub tee: u8,
    /// The SNP firmware.
    pub snp: u8,
    /// The CPU microcode.
    pub microcode: u8,
}

impl Tcb {
    /// The eight bytes of a TCB_VERSION in the product line's layout.
    pub fn to_bytes(self, of: ProductLine) -> [u8; 8] {
        if line(of).has_fmc {
            [self.fmc, self.bootloader, self.tee, self.snp, 0, 0, 0, self.microcode]
        } else {
            [self.bootloader, self.tee, 0, 0, 0, 0, self.snp, self.microcode]
        }
    }
}

/// The processor's CPUID signature, from which a verifier of version 3 reports takes the product line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpuid {
    /// Combined extended and base family (0x19, 0x1a).
    pub family: u8,
    /// Combined extended and base model.
    pub model: u8,
    /// Stepping.
    pub stepping: u8,
}

/// A firmware version as the report states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirmwareVersion {
    /// ABI major version.
    pub major: u8,
    /// ABI minor version.
    pub minor: u8,
    /// Build.
    pub build: u8,
}

/// The signed part of a report.
pub(crate) fn body(
    config: &MachineConfig,
    report_id: &[u8; 32],
    report_data: &[u8; 64],
) -> [u8; SIGNED_BYTES] {
    let mut out = [0; SIGNED_BYTES];
    put(&mut out, 0x000, &config.report_version.to_le_bytes());
    put(&mut out, 0x004, &config.guest_svn.to_le_bytes());
    put(&mut out, 0x008, &config.policy.to_le_bytes());
    put(&mut out, 0x010, &config.family_id);
    put(&mut out, 0x020, &config.image_id);
    put(&mut out, 0x030, &config.vmpl.to_le_bytes());
    put(&mut out, 0x034, &ALGORITHM_ECDSA_P384.to_le_bytes());
    put(&mut out, 0x038, &config.current_tcb.to_bytes(config.line));
    put(&mut out, 0x040, &config.platform_info.to_le_bytes());
    put(&mut out, 0x048, &key_info(config).to_le_bytes());
    put(&mut out, 0x050, report_data);
    put(&mut out, 0x090, &config.launch_digest);
    put(&mut out, 0x0c0, &config.host_data);
    put(&mut out, 0x0e0, &config.id_key_digest);
    put(&mut out, 0x110, &config.author_key_digest);
    put(&mut out, 0x140, report_id);
    put(&mut out, 0x160, &config.report_id_ma);
    put(&mut out, 0x180, &config.tcb.to_bytes(config.line));
    if config.report_version >= 3 {
        put(&mut out, 0x188, &[config.cpuid.family, config.cpuid.model, config.cpuid.stepping]);
    }
    // A VLEK is not bound to a chip, and a masked chip does not name itself.
    if config.signer == Signer::Vcek && !config.chip_key_masked {
        put(&mut out, 0x1a0, &config.chip_id);
    }
    put(&mut out, 0x1e0, &config.committed_tcb.to_bytes(config.line));
    put(&mut out, 0x1e8, &version(config.current_version));
    put(&mut out, 0x1ec, &version(config.committed_version));
    put(&mut out, 0x1f0, &config.launch_tcb.to_bytes(config.line));
    if config.report_version >= 5 {
        put(&mut out, 0x1f8, &config.launch_mitigations.to_le_bytes());
        put(&mut out, 0x200, &config.current_mitigations.to_le_bytes());
    }
    out
}

/// The whole report: the signed part, R and S (big endian here, little endian in the report), zeros.
pub(crate) fn assemble(signed: &[u8; SIGNED_BYTES], r: &[u8; 48], s: &[u8; 48]) -> Vec<u8> {
    let reversed = |number: &[u8; 48]| {
        let mut number = *number;
        number.reverse();
        number
    };
    let mut out = vec![0; REPORT_BYTES];
    put(&mut out, 0, signed);
    put(&mut out, R_AT, &reversed(r));
    put(&mut out, S_AT, &reversed(s));
    out
}

fn key_info(config: &MachineConfig) -> u32 {
    let signing_key: u32 = match config.signer {
        Signer::Vcek => 0,
        Signer::Vlek => 1,
    };
    let author = if config.author_key_enabled { AUTHOR_KEY_ENABLED } else { 0 };
    let masked = if config.chip_key_masked { CHIP_KEY_MASKED } else { 0 };
    signing_key << SIGNING_KEY_SHIFT | author | masked
}

fn version(version: FirmwareVersion) -> [u8; 3] {
    [version.build, version.minor, version.major]
}

/// Writes `bytes` at `offset`. All offsets are constants of the table above.
fn put(out: &mut [u8], offset: usize, bytes: &[u8]) {
    for (to, from) in out.iter_mut().skip(offset).zip(bytes) {
        *to = *from;
    }
}
