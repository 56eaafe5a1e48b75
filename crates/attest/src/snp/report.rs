//! The attestation report: a view of exactly the 1184 octets that arrived (AMD 56860, ATTESTATION_REPORT).
//!
//! Everything is little-endian. MBZ: must be zero.
//!
//! ```text
//! offset  size  field                    notes
//! 0x000      4  VERSION                  2, 3, 4 (the layout of 3) or 5
//! 0x004      4  GUEST_SVN
//! 0x008      8  POLICY                   bit 17 is one; 63:26 MBZ
//! 0x010     16  FAMILY_ID
//! 0x020     16  IMAGE_ID
//! 0x030      4  VMPL                     0..3, or 0xFFFFFFFF where the host asked
//! 0x034      4  SIGNATURE_ALGO           1: ECDSA P-384 with SHA-384
//! 0x038      8  CURRENT_TCB
//! 0x040      8  PLATFORM_INFO
//! 0x048      4  KEY_INFO                 31:5 MBZ
//! 0x04C      4  reserved                 MBZ
//! 0x050     64  REPORT_DATA
//! 0x090     48  MEASUREMENT
//! 0x0C0     32  HOST_DATA
//! 0x0E0     48  ID_KEY_DIGEST
//! 0x110     48  AUTHOR_KEY_DIGEST
//! 0x140     32  REPORT_ID
//! 0x160     32  REPORT_ID_MA
//! 0x180      8  REPORTED_TCB
//! 0x188      3  CPUID family, model, stepping   version 3 and later; MBZ before
//! 0x18B     21  reserved                 MBZ
//! 0x1A0     64  CHIP_ID
//! 0x1E0      8  COMMITTED_TCB
//! 0x1E8      3  CURRENT build, minor, major
//! 0x1EB      1  reserved                 MBZ
//! 0x1EC      3  COMMITTED build, minor, major
//! 0x1EF      1  reserved                 MBZ
//! 0x1F0      8  LAUNCH_TCB
//! 0x1F8      8  LAUNCH_MIT_VECTOR        version 5; MBZ before
//! 0x200      8  CURRENT_MIT_VECTOR       version 5; MBZ before
//! 0x208    152  reserved                 MBZ
//! 0x2A0     72  R                        48 octets; 0x2D0..0x2E8 MBZ
//! 0x2E8     72  S                        48 octets; 0x318..0x330 MBZ
//! 0x330    368  padding, not signed      MBZ
//! ```
//!
//! The signature is over 0x000..0x2A0.

use core::fmt;

use serde::Serialize;
use thiserror::Error;

use super::bits::{GuestPolicy, KeyInfo, PlatformInfo};
use super::product::Cpuid;
use super::tcb::RawTcb;
use crate::crypto::Scalar;

/// Octets of a report.
pub const REPORT_LEN: usize = 0x4a0;

/// Octets that the signature covers, from the start.
pub const SIGNED_LEN: usize = 0x2a0;

/// VMPL of a report that the host asked for instead of the guest.
pub const HOST_REQUESTED_VMPL: u32 = 0xffff_ffff;

/// A report with the layout of its version and every must-be-zero octet zero. Believed by nobody yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Report {
    bytes: Box<[u8; REPORT_LEN]>,
    version: Version,
}

/// The report versions that are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "u32")]
pub enum Version {
    /// Without CPUID.
    V2,
    /// With CPUID.
    V3,
    /// The layout of version 3.
    V4,
    /// With mitigation vectors.
    V5,
}

/// Firmware version, not security version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FirmwareVersion {
    /// Major.
    pub major: u8,
    /// Minor.
    pub minor: u8,
    /// Build.
    pub build: u8,
}

/// Why bytes are not a report.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReportError {
    /// Not exactly 1184 octets.
    #[error("a SEV-SNP report has {REPORT_LEN} bytes, and {found} arrived")]
    Length {
        /// Octets that arrived.
        found: usize,
    },
    /// A version whose layout is not known.
    #[error("report version {found} is not one of 2, 3, 4, 5")]
    Version {
        /// VERSION.
        found: u32,
    },
    /// A reserved octet is set.
    #[error("the reserved byte at {offset:#05x} is {value:#04x} and must be zero")]
    Reserved {
        /// From the start of the report.
        offset: usize,
        /// What is there.
        value: u8,
    },
    /// Guest policy bit 17 is clear.
    #[error("guest policy {policy:#x} has bit 17 clear, which is always one")]
    PolicyBit17 {
        /// POLICY.
        policy: u64,
    },
    /// Guest policy bits without a known meaning.
    #[error("guest policy {policy:#x} has reserved bits set")]
    PolicyReserved {
        /// POLICY.
        policy: u64,
    },
    /// VMPL is neither a level nor the host's mark.
    #[error("VMPL {found:#x} is not a privilege level")]
    Vmpl {
        /// VMPL.
        found: u32,
    },
    /// Another signature algorithm, or none.
    #[error("signature algorithm {found} is not 1, ECDSA P-384 with SHA-384")]
    SignatureAlgorithm {
        /// SIGNATURE_ALGO.
        found: u32,
    },
    /// KEY_INFO bits without a known meaning.
    #[error("key information {found:#x} has reserved bits set")]
    KeyInfoReserved {
        /// KEY_INFO.
        found: u32,
    },
    /// R or S has more than 48 octets.
    #[error("the signature's byte at {offset:#05x} is {value:#04x} and must be zero")]
    SignatureTail {
        /// From the start of the report.
        offset: usize,
        /// What is there.
        value: u8,
    },
    /// The unsigned rest of the report is not zero.
    #[error("the padding byte at {offset:#05x} is {value:#04x} and must be zero")]
    Padding {
        /// From the start of the report.
        offset: usize,
        /// What is there.
        value: u8,
    },
}

/// A field's place. `at` does not compile for a field that leaves the report.
struct Field<const N: usize>(usize);

impl<const N: usize> Field<N> {
    const fn at(offset: usize) -> Self {
        assert!(offset.saturating_add(N) <= REPORT_LEN);
        Self(offset)
    }

    const fn end(&self) -> usize {
        self.0.saturating_add(N)
    }
}

const VERSION: Field<4> = Field::at(0x000);
const GUEST_SVN: Field<4> = Field::at(0x004);
const POLICY: Field<8> = Field::at(0x008);
const FAMILY_ID: Field<16> = Field::at(0x010);
const IMAGE_ID: Field<16> = Field::at(0x020);
const VMPL: Field<4> = Field::at(0x030);
const SIGNATURE_ALGO: Field<4> = Field::at(0x034);
const CURRENT_TCB: Field<8> = Field::at(0x038);
const PLATFORM_INFO: Field<8> = Field::at(0x040);
const KEY_INFO: Field<4> = Field::at(0x048);
const RESERVED_04C: Field<4> = Field::at(0x04c);
const REPORT_DATA: Field<64> = Field::at(0x050);
const MEASUREMENT: Field<48> = Field::at(0x090);
const HOST_DATA: Field<32> = Field::at(0x0c0);
const ID_KEY_DIGEST: Field<48> = Field::at(0x0e0);
const AUTHOR_KEY_DIGEST: Field<48> = Field::at(0x110);
const REPORT_ID: Field<32> = Field::at(0x140);
const REPORT_ID_MA: Field<32> = Field::at(0x160);
const REPORTED_TCB: Field<8> = Field::at(0x180);
const CPUID: Field<3> = Field::at(0x188);
const RESERVED_18B: Field<21> = Field::at(0x18b);
const CHIP_ID: Field<64> = Field::at(0x1a0);
const COMMITTED_TCB: Field<8> = Field::at(0x1e0);
const CURRENT_VERSION: Field<3> = Field::at(0x1e8);
const RESERVED_1EB: Field<1> = Field::at(0x1eb);
const COMMITTED_VERSION: Field<3> = Field::at(0x1ec);
const RESERVED_1EF: Field<1> = Field::at(0x1ef);
const LAUNCH_TCB: Field<8> = Field::at(0x1f0);
const LAUNCH_MIT_VECTOR: Field<8> = Field::at(0x1f8);
const CURRENT_MIT_VECTOR: Field<8> = Field::at(0x200);
const RESERVED_208: Field<152> = Field::at(0x208);
const SIGNED: Field<SIGNED_LEN> = Field::at(0x000);
const R: Field<48> = Field::at(0x2a0);
const R_TAIL: Field<24> = Field::at(0x2d0);
const S: Field<48> = Field::at(0x2e8);
const S_TAIL: Field<24> = Field::at(0x318);
const PADDING: Field<368> = Field::at(0x330);

// No gap and no overlap: every field begins where the one before it ends.
const _: () = assert!(REPORT_LEN == 1184);
const _: () =
    assert!(VERSION.end() == GUEST_SVN.0 && GUEST_SVN.end() == POLICY.0 && POLICY.end() == FAMILY_ID.0);
const _: () =
    assert!(FAMILY_ID.end() == IMAGE_ID.0 && IMAGE_ID.end() == VMPL.0 && VMPL.end() == SIGNATURE_ALGO.0);
const _: () = assert!(SIGNATURE_ALGO.end() == CURRENT_TCB.0 && CURRENT_TCB.end() == PLATFORM_INFO.0);
const _: () = assert!(PLATFORM_INFO.end() == KEY_INFO.0 && KEY_INFO.end() == RESERVED_04C.0);
const _: () = assert!(RESERVED_04C.end() == REPORT_DATA.0 && REPORT_DATA.end() == MEASUREMENT.0);
const _: () = assert!(MEASUREMENT.end() == HOST_DATA.0 && HOST_DATA.end() == ID_KEY_DIGEST.0);
const _: () = assert!(ID_KEY_DIGEST.end() == AUTHOR_KEY_DIGEST.0 && AUTHOR_KEY_DIGEST.end() == REPORT_ID.0);
const _: () = assert!(REPORT_ID.end() == REPORT_ID_MA.0 && REPORT_ID_MA.end() == REPORTED_TCB.0);
const _: () = assert!(REPORTED_TCB.end() == CPUID.0 && CPUID.end() == RESERVED_18B.0);
const _: () = assert!(RESERVED_18B.end() == CHIP_ID.0 && CHIP_ID.end() == COMMITTED_TCB.0);
const _: () = assert!(COMMITTED_TCB.end() == CURRENT_VERSION.0 && CURRENT_VERSION.end() == RESERVED_1EB.0);
const _: () = assert!(RESERVED_1EB.end() == COMMITTED_VERSION.0 && COMMITTED_VERSION.end() == RESERVED_1EF.0);
const _: () = assert!(RESERVED_1EF.end() == LAUNCH_TCB.0 && LAUNCH_TCB.end() == LAUNCH_MIT_VECTOR.0);
const _: () =
    assert!(LAUNCH_MIT_VECTOR.end() == CURRENT_MIT_VECTOR.0 && CURRENT_MIT_VECTOR.end() == RESERVED_208.0);
const _: () =
    assert!(RESERVED_208.end() == R.0 && SIGNED.end() == R.0 && R.end() == R_TAIL.0 && R_TAIL.end() == S.0);
const _: () = assert!(S.end() == S_TAIL.0 && S_TAIL.end() == PADDING.0 && PADDING.end() == REPORT_LEN);

impl Report {
    /// Takes the bytes as they arrived and checks their form (rule SNP-01).
    pub fn parse(input: &[u8]) -> Result<Self, ReportError> {
        let bytes: [u8; REPORT_LEN] =
            input.try_into().map_err(|_| ReportError::Length { found: input.len() })?;
        let version = u32::from_le_bytes(read(&bytes, VERSION));
        let version = Version::from_number(version).ok_or(ReportError::Version { found: version })?;
        let report = Self { bytes: Box::new(bytes), version };

        let policy = report.guest_policy();
        if !policy.reserved_one() {
            return Err(ReportError::PolicyBit17 { policy: policy.raw() });
        }
        if policy.reserved_zero() != 0 {
            return Err(ReportError::PolicyReserved { policy: policy.raw() });
        }
        if report.vmpl() > 3 && !report.is_host_requested() {
            return Err(ReportError::Vmpl { found: report.vmpl() });
        }
        let algorithm = u32::from_le_bytes(report.read(SIGNATURE_ALGO));
        if algorithm != 1 {
            return Err(ReportError::SignatureAlgorithm { found: algorithm });
        }
        if report.key_info().reserved_zero() != 0 {
            return Err(ReportError::KeyInfoReserved { found: report.key_info().raw() });
        }
        report.check_zero()?;
        Ok(report)
    }

    /// All of the report, as it arrived.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// What the signature is over.
    pub fn signed(&self) -> [u8; SIGNED_LEN] {
        self.read(SIGNED)
    }

    /// VERSION.
    pub fn version(&self) -> Version {
        self.version
    }

    /// GUEST_SVN: the guest image's own security version.
    pub fn guest_svn(&self) -> u32 {
        u32::from_le_bytes(self.read(GUEST_SVN))
    }

    /// POLICY.
    pub fn guest_policy(&self) -> GuestPolicy {
        GuestPolicy(u64::from_le_bytes(self.read(POLICY)))
    }

    /// FAMILY_ID, from the ID block.
    pub fn family_id(&self) -> [u8; 16] {
        self.read(FAMILY_ID)
    }

    /// IMAGE_ID, from the ID block.
    pub fn image_id(&self) -> [u8; 16] {
        self.read(IMAGE_ID)
    }

    /// VMPL of the software that asked for the report; [`HOST_REQUESTED_VMPL`] where it was the host.
    pub fn vmpl(&self) -> u32 {
        u32::from_le_bytes(self.read(VMPL))
    }

    /// Whether the host asked for the report, so that the host chose REPORT_DATA.
    pub fn is_host_requested(&self) -> bool {
        self.vmpl() == HOST_REQUESTED_VMPL
    }

    /// CURRENT_TCB: the firmware that runs.
    pub fn current_tcb(&self) -> RawTcb {
        RawTcb(self.read(CURRENT_TCB))
    }

    /// PLATFORM_INFO.
    pub fn platform_info(&self) -> PlatformInfo {
        PlatformInfo(u64::from_le_bytes(self.read(PLATFORM_INFO)))
    }

    /// KEY_INFO.
    pub fn key_info(&self) -> KeyInfo {
        KeyInfo(u32::from_le_bytes(self.read(KEY_INFO)))
    }

    /// REPORT_DATA: what the guest bound into the report.
    pub fn report_data(&self) -> [u8; 64] {
        self.read(REPORT_DATA)
    }

    /// MEASUREMENT: the launch digest.
    pub fn measurement(&self) -> [u8; 48] {
        self.read(MEASUREMENT)
    }

    /// HOST_DATA: what the host bound at launch.
    pub fn host_data(&self) -> [u8; 32] {
        self.read(HOST_DATA)
    }

    /// ID_KEY_DIGEST: the key that signed the ID block; zero without one.
    pub fn id_key_digest(&self) -> [u8; 48] {
        self.read(ID_KEY_DIGEST)
    }

    /// AUTHOR_KEY_DIGEST: the key that certified the ID key; meaningful where KEY_INFO says so.
    pub fn author_key_digest(&self) -> [u8; 48] {
        self.read(AUTHOR_KEY_DIGEST)
    }

    /// REPORT_ID of this guest.
    pub fn report_id(&self) -> [u8; 32] {
        self.read(REPORT_ID)
    }

    /// REPORT_ID of the migration agent; all ones without one.
    pub fn report_id_ma(&self) -> [u8; 32] {
        self.read(REPORT_ID_MA)
    }

    /// REPORTED_TCB: the firmware that the signing key was derived for.
    pub fn reported_tcb(&self) -> RawTcb {
        RawTcb(self.read(REPORTED_TCB))
    }

    /// CPUID; `None` in version 2.
    pub fn cpuid(&self) -> Option<Cpuid> {
        let [family, model, stepping] = self.read(CPUID);
        (self.version >= Version::V3).then_some(Cpuid { family, model, stepping })
    }

    /// CHIP_ID; zero where the signer is a VLEK or the identity is masked.
    pub fn chip_id(&self) -> [u8; 64] {
        self.read(CHIP_ID)
    }

    /// COMMITTED_TCB: the firmware below which the machine cannot be rolled back.
    pub fn committed_tcb(&self) -> RawTcb {
        RawTcb(self.read(COMMITTED_TCB))
    }

    /// Version of the firmware that runs.
    pub fn current_version(&self) -> FirmwareVersion {
        FirmwareVersion::from_bytes(self.read(CURRENT_VERSION))
    }

    /// Version of the firmware that is committed.
    pub fn committed_version(&self) -> FirmwareVersion {
        FirmwareVersion::from_bytes(self.read(COMMITTED_VERSION))
    }

    /// LAUNCH_TCB: the firmware that ran when the guest was launched.
    pub fn launch_tcb(&self) -> RawTcb {
        RawTcb(self.read(LAUNCH_TCB))
    }

    /// LAUNCH_MIT_VECTOR; `None` before version 5.
    pub fn launch_mitigations(&self) -> Option<u64> {
        (self.version >= Version::V5).then_some(u64::from_le_bytes(self.read(LAUNCH_MIT_VECTOR)))
    }

    /// CURRENT_MIT_VECTOR; `None` before version 5.
    pub fn current_mitigations(&self) -> Option<u64> {
        (self.version >= Version::V5).then_some(u64::from_le_bytes(self.read(CURRENT_MIT_VECTOR)))
    }

    /// The signature's R and S, big-endian.
    pub(crate) fn signature(&self) -> (Scalar, Scalar) {
        let (mut r, mut s) = (self.read(R), self.read(S));
        r.reverse();
        s.reverse();
        (r, s)
    }

    fn read<const N: usize>(&self, field: Field<N>) -> [u8; N] {
        read(&self.bytes, field)
    }

    fn check_zero(&self) -> Result<(), ReportError> {
        let reserved = |(offset, value)| ReportError::Reserved { offset, value };
        self.zero(RESERVED_04C).map_err(reserved)?;
        if self.version < Version::V3 {
            self.zero(CPUID).map_err(reserved)?;
        }
        self.zero(RESERVED_18B).map_err(reserved)?;
        self.zero(RESERVED_1EB).map_err(reserved)?;
        self.zero(RESERVED_1EF).map_err(reserved)?;
        if self.version < Version::V5 {
            self.zero(LAUNCH_MIT_VECTOR).map_err(reserved)?;
            self.zero(CURRENT_MIT_VECTOR).map_err(reserved)?;
        }
        self.zero(RESERVED_208).map_err(reserved)?;
        let tail = |(offset, value)| ReportError::SignatureTail { offset, value };
        self.zero(R_TAIL).map_err(tail)?;
        self.zero(S_TAIL).map_err(tail)?;
        self.zero(PADDING).map_err(|(offset, value)| ReportError::Padding { offset, value })
    }

    /// The first octet of the field that is not zero, as (offset in the report, value).
    fn zero<const N: usize>(&self, field: Field<N>) -> Result<(), (usize, u8)> {
        let end = field.end();
        match (field.0..end).zip(self.read(field)).find(|(_, value)| *value != 0) {
            None => Ok(()),
            Some(found) => Err(found),
        }
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Report(version {}, {} bytes)", self.version.number(), REPORT_LEN)
    }
}

impl Version {
    /// VERSION as it is in the report.
    pub fn number(self) -> u32 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
            Self::V4 => 4,
            Self::V5 => 5,
        }
    }

    /// The version with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        [Self::V2, Self::V3, Self::V4, Self::V5].into_iter().find(|version| version.number() == number)
    }
}

impl From<Version> for u32 {
    fn from(version: Version) -> Self {
        version.number()
    }
}

impl FirmwareVersion {
    fn from_bytes([build, minor, major]: [u8; 3]) -> Self {
        Self { major, minor, build }
    }
}

impl fmt::Display for FirmwareVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.build)
    }
}

impl ReportError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Length { .. } => "snp.format.length",
            Self::Version { .. } => "snp.format.version",
            Self::Reserved { .. } => "snp.format.reserved",
            Self::PolicyBit17 { .. } => "snp.format.policy-bit-17",
            Self::PolicyReserved { .. } => "snp.format.policy-reserved",
            Self::Vmpl { .. } => "snp.format.vmpl",
            Self::SignatureAlgorithm { .. } => "snp.format.signature-algorithm",
            Self::KeyInfoReserved { .. } => "snp.format.key-info-reserved",
            Self::SignatureTail { .. } => "snp.format.signature-tail",
            Self::Padding { .. } => "snp.format.padding",
        }
    }
}

fn read<const N: usize>(bytes: &[u8; REPORT_LEN], field: Field<N>) -> [u8; N] {
    let mut value = [0; N];
    // `Field::at` proved offset + N <= REPORT_LEN when this crate was compiled, so the iterator yields N octets.
    for (target, source) in value.iter_mut().zip(bytes.iter().skip(field.0)) {
        *target = *source;
    }
    value
}

#[cfg(test)]
pub(crate) mod tests;
