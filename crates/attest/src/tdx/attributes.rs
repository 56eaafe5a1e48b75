//! TDATTRIBUTES. Source: Intel TDX Module ABI, ATTRIBUTES.

use serde::{Deserialize, Serialize};

/// DEBUG (bit 0) and the rest of TUD, "TD under debug" (bits 7:1): zero in production.
pub(crate) const TUD: u64 = 0xff;
/// Of TUD, bits 3:1 and 7: they have no meaning.
pub(crate) const TUD_RESERVED: u64 = 0x8e;
/// SERVTD_EXT.
pub(crate) const SERVTD_EXT: u64 = 1 << 17;
/// SEPT_VE_DISABLE.
pub(crate) const SEPT_VE_DISABLE: u64 = 1 << 28;
/// MIGRATABLE.
pub(crate) const MIGRATABLE: u64 = 1 << 29;

/// An attribute that a policy may accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attribute {
    /// Bit 16, ICSSD.
    Icssd,
    /// Bit 27, linear address space separation.
    Lass,
    /// Bit 30, supervisor protection keys.
    Pks,
    /// Bit 31, key locker.
    Kl,
    /// Bit 62, TPA.
    Tpa,
    /// Bit 63, performance monitoring.
    Perfmon,
}

impl Attribute {
    /// All of them, from the lowest bit.
    pub const ALL: [Self; 6] = [Self::Icssd, Self::Lass, Self::Pks, Self::Kl, Self::Tpa, Self::Perfmon];

    /// As in policies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Icssd => "icssd",
            Self::Lass => "lass",
            Self::Pks => "pks",
            Self::Kl => "kl",
            Self::Tpa => "tpa",
            Self::Perfmon => "perfmon",
        }
    }

    pub(crate) const fn mask(self) -> u64 {
        match self {
            Self::Icssd => 1 << 16,
            Self::Lass => 1 << 27,
            Self::Pks => 1 << 30,
            Self::Kl => 1 << 31,
            Self::Tpa => 1 << 62,
            Self::Perfmon => 1 << 63,
        }
    }
}

/// Bits without a meaning here.
pub(crate) fn reserved(attributes: u64) -> u64 {
    let named = Attribute::ALL
        .iter()
        .fold(TUD | SERVTD_EXT | SEPT_VE_DISABLE | MIGRATABLE, |sum, attribute| sum | attribute.mask());
    attributes & !named
}
