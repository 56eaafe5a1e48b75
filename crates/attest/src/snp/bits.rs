//! The bit fields of a report: guest policy, platform information, key information.

use serde::{Deserialize, Serialize};

/// POLICY (report offset 0x008): what the guest's owner asked the firmware to enforce at launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestPolicy(pub(crate) u64);

/// PLATFORM_INFO (report offset 0x040): how the machine is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlatformInfo(pub(crate) u64);

/// KEY_INFO (report offset 0x048): which key signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyInfo(pub(crate) u32);

/// Something that a guest policy permits and that weakens the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestPermission {
    /// Bit 16: simultaneous multithreading may be on.
    Smt,
    /// Bit 21: CXL devices may be populated.
    Cxl,
}

/// Something that a guest policy demands and that strengthens the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestProtection {
    /// Bit 20: runs on one socket only.
    SingleSocket,
    /// Bit 22: memory encryption with AES-256-XTS.
    #[serde(rename = "aes-256-xts")]
    Aes256Xts,
    /// Bit 23: power measurement (RAPL) is off.
    RaplDisabled,
    /// Bit 24: the host cannot read ciphertext.
    CiphertextHiding,
    /// Bit 25: the host cannot move or swap the guest's pages.
    PageSwapDisabled,
}

/// A property of a platform that weakens its guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlatformWeakness {
    /// Bit 0: simultaneous multithreading is on.
    Smt,
}

/// A property of a platform that strengthens its guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlatformProtection {
    /// Bit 1: all memory is encrypted.
    Tsme,
    /// Bit 2: memory has error correction.
    Ecc,
    /// Bit 3: power measurement (RAPL) is off.
    RaplDisabled,
    /// Bit 4: the host cannot read ciphertext.
    CiphertextHiding,
    /// Bit 5: the firmware found no aliased memory at boot (BadRAM, CVE-2024-21944); reports of version 3 and later.
    AliasCheckComplete,
}

/// A PLATFORM_INFO bit that no rule decides on, and where it is known from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct InformationalBit {
    /// Position, from 0.
    pub bit: u8,
    /// What is known about it.
    pub note: &'static str,
    /// Where that is known from.
    pub source: &'static str,
}

/// PLATFORM_INFO bits without a rule. They are reported and refuse nothing; every bit that is not here and has no rule
/// is reported as unknown.
pub const INFORMATIONAL_PLATFORM_BITS: &[InformationalBit] = &[
    InformationalBit {
        bit: 6,
        note: "reserved in AMD's documents, and set by genuine Turin processors",
        source: "recorded report of an EPYC Turin 1Ah/02h/01h, PLATFORM_INFO 0x67, signature verified under ARK-Turin",
    },
    InformationalBit {
        bit: 7,
        note: "SEV-TIO (trusted I/O) is enabled",
        source: "AMD 56860, ATTESTATION_REPORT, PLATFORM_INFO",
    },
];

/// The key that signed a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signer {
    /// Versioned chip endorsement key: this one processor.
    Vcek,
    /// Versioned loaded endorsement key: some processor of one cloud provider.
    Vlek,
}

impl GuestPolicy {
    /// POLICY as it is in the report.
    pub fn raw(self) -> u64 {
        self.0
    }

    /// Least firmware ABI version (major, minor) that the guest's owner accepts.
    pub fn abi(self) -> (u8, u8) {
        let [minor, major, ..] = self.0.to_le_bytes();
        (major, minor)
    }

    /// Bit 18: a migration agent may move the guest.
    pub fn migration_agent(self) -> bool {
        bit(self.0, 18)
    }

    /// Bit 19: the host may decrypt the guest's memory.
    pub fn debug(self) -> bool {
        bit(self.0, 19)
    }

    /// Whether the policy permits this.
    pub fn permits(self, permission: GuestPermission) -> bool {
        match permission {
            GuestPermission::Smt => bit(self.0, 16),
            GuestPermission::Cxl => bit(self.0, 21),
        }
    }

    /// Whether the policy demands this.
    pub fn demands(self, protection: GuestProtection) -> bool {
        match protection {
            GuestProtection::SingleSocket => bit(self.0, 20),
            GuestProtection::Aes256Xts => bit(self.0, 22),
            GuestProtection::RaplDisabled => bit(self.0, 23),
            GuestProtection::CiphertextHiding => bit(self.0, 24),
            GuestProtection::PageSwapDisabled => bit(self.0, 25),
        }
    }

    /// Bit 17, which is always one.
    pub(crate) fn reserved_one(self) -> bool {
        bit(self.0, 17)
    }

    /// Bits 63:26, which are always zero.
    pub(crate) fn reserved_zero(self) -> u64 {
        self.0 & !((1 << 26) - 1)
    }
}

impl GuestPermission {
    /// Every permission.
    pub const ALL: [Self; 2] = [Self::Smt, Self::Cxl];

    /// As in policies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Smt => "smt",
            Self::Cxl => "cxl",
        }
    }
}

impl GuestProtection {
    /// Every protection.
    pub const ALL: [Self; 5] = [
        Self::SingleSocket,
        Self::Aes256Xts,
        Self::RaplDisabled,
        Self::CiphertextHiding,
        Self::PageSwapDisabled,
    ];

    /// As in policies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SingleSocket => "single-socket",
            Self::Aes256Xts => "aes-256-xts",
            Self::RaplDisabled => "rapl-disabled",
            Self::CiphertextHiding => "ciphertext-hiding",
            Self::PageSwapDisabled => "page-swap-disabled",
        }
    }
}

impl PlatformInfo {
    /// PLATFORM_INFO as it is in the report.
    pub fn raw(self) -> u64 {
        self.0
    }

    /// Whether the platform has this property.
    pub fn has(self, protection: PlatformProtection) -> bool {
        match protection {
            PlatformProtection::Tsme => bit(self.0, 1),
            PlatformProtection::Ecc => bit(self.0, 2),
            PlatformProtection::RaplDisabled => bit(self.0, 3),
            PlatformProtection::CiphertextHiding => bit(self.0, 4),
            PlatformProtection::AliasCheckComplete => bit(self.0, 5),
        }
    }

    /// Whether the platform has this weakness.
    pub fn shows(self, weakness: PlatformWeakness) -> bool {
        match weakness {
            PlatformWeakness::Smt => bit(self.0, 0),
        }
    }

    /// Facts of [`INFORMATIONAL_PLATFORM_BITS`] that hold here.
    pub fn informational(self) -> Vec<InformationalBit> {
        INFORMATIONAL_PLATFORM_BITS.iter().filter(|fact| bit(self.0, fact.bit)).copied().collect()
    }

    /// Bits that are set and that nothing in this crate knows.
    pub fn unknown(self) -> u64 {
        let decided = 0b11_1111;
        let informational =
            INFORMATIONAL_PLATFORM_BITS.iter().fold(0_u64, |mask, fact| mask | mask_of(fact.bit));
        self.0 & !(decided | informational)
    }
}

impl PlatformWeakness {
    /// Every weakness.
    pub const ALL: [Self; 1] = [Self::Smt];

    /// As in policies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Smt => "smt",
        }
    }
}

impl PlatformProtection {
    /// Every protection.
    pub const ALL: [Self; 5] =
        [Self::Tsme, Self::Ecc, Self::RaplDisabled, Self::CiphertextHiding, Self::AliasCheckComplete];

    /// As in policies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tsme => "tsme",
            Self::Ecc => "ecc",
            Self::RaplDisabled => "rapl-disabled",
            Self::CiphertextHiding => "ciphertext-hiding",
            Self::AliasCheckComplete => "alias-check-complete",
        }
    }
}

impl KeyInfo {
    /// KEY_INFO as it is in the report.
    pub fn raw(self) -> u32 {
        self.0
    }

    /// Bit 0: AUTHOR_KEY_DIGEST is meaningful.
    pub fn author_key_enabled(self) -> bool {
        self.0 & 1 != 0
    }

    /// Bit 1: the host hid the chip's identity, and the report is not signed.
    pub fn chip_key_masked(self) -> bool {
        self.0 & 2 != 0
    }

    /// Bits 4:2, the signing key's number.
    pub fn signing_key(self) -> u32 {
        (self.0 >> 2) & 0b111
    }

    /// The signing key; `None` for "none" (7) and for numbers without a meaning.
    pub fn signer(self) -> Option<Signer> {
        match self.signing_key() {
            0 => Some(Signer::Vcek),
            1 => Some(Signer::Vlek),
            _ => None,
        }
    }

    /// Bits 31:5, which are always zero.
    pub(crate) fn reserved_zero(self) -> u32 {
        self.0 & !0b1_1111
    }
}

impl Signer {
    /// As in claims.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vcek => "vcek",
            Self::Vlek => "vlek",
        }
    }

    /// The common name of its certificate.
    pub(crate) fn common_name(self) -> &'static str {
        match self {
            Self::Vcek => "SEV-VCEK",
            Self::Vlek => "SEV-VLEK",
        }
    }
}

fn bit(value: u64, position: u8) -> bool {
    value & mask_of(position) != 0
}

fn mask_of(position: u8) -> u64 {
    1_u64.checked_shl(u32::from(position)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guest_policy_bit_has_one_meaning() {
        let only = |position: u32| GuestPolicy(1 << position);
        assert!(only(16).permits(GuestPermission::Smt));
        assert!(only(17).reserved_one());
        assert!(only(18).migration_agent());
        assert!(only(19).debug());
        assert!(only(20).demands(GuestProtection::SingleSocket));
        assert!(only(21).permits(GuestPermission::Cxl));
        assert!(only(22).demands(GuestProtection::Aes256Xts));
        assert!(only(23).demands(GuestProtection::RaplDisabled));
        assert!(only(24).demands(GuestProtection::CiphertextHiding));
        assert!(only(25).demands(GuestProtection::PageSwapDisabled));
        for position in 0..64 {
            let policy = only(position);
            let meanings = GuestPermission::ALL.into_iter().filter(|&p| policy.permits(p)).count()
                + GuestProtection::ALL.into_iter().filter(|&p| policy.demands(p)).count()
                + [policy.migration_agent(), policy.debug(), policy.reserved_one()]
                    .into_iter()
                    .filter(|&b| b)
                    .count()
                + usize::from(policy.reserved_zero() != 0)
                + usize::from(policy.abi() != (0, 0));
            assert_eq!(meanings, 1, "bit {position}");
        }
        assert_eq!(GuestPolicy(0x3_0a1f).abi(), (0x0a, 0x1f));
    }

    #[test]
    fn every_platform_bit_is_decided_informational_or_unknown() {
        for position in 0..64 {
            let info = PlatformInfo(1 << position);
            let decided = PlatformProtection::ALL.into_iter().filter(|&p| info.has(p)).count()
                + PlatformWeakness::ALL.into_iter().filter(|&w| info.shows(w)).count();
            let informational = info.informational().len();
            let unknown = usize::from(info.unknown() != 0);
            assert_eq!(decided + informational + unknown, 1, "bit {position}");
        }
        let turin = PlatformInfo(0x67);
        assert_eq!(turin.unknown(), 0);
        assert_eq!(turin.informational().iter().map(|fact| fact.bit).collect::<Vec<_>>(), [6]);
    }

    #[test]
    fn only_two_signing_keys_have_a_certificate() {
        for number in 0..8_u32 {
            let signer = KeyInfo(number << 2).signer();
            let expected = [Some(Signer::Vcek), Some(Signer::Vlek)].get(number as usize).copied().flatten();
            assert_eq!(signer, expected, "{number}");
        }
        assert!(KeyInfo(0b01).author_key_enabled() && !KeyInfo(0b10).author_key_enabled());
        assert!(KeyInfo(0b10).chip_key_masked() && !KeyInfo(0b01).chip_key_masked());
        assert_eq!(KeyInfo(0b1_1111).reserved_zero(), 0);
        assert_ne!(KeyInfo(0b10_0000).reserved_zero(), 0);
    }
}
