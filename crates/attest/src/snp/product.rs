//! AMD's product lines, how a report and a certificate name them, and what is known about their resistance.

use core::fmt;

use serde::{Deserialize, Serialize};

/// A line of processors with its own root of trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ProductLine {
    /// EPYC 7003 (Zen 3).
    Milan,
    /// EPYC 9004 and 8004 (Zen 4); Bergamo and Siena are issued under Genoa's root too.
    Genoa,
    /// EPYC 9005 (Zen 5).
    Turin,
}

/// CPUID family, model and stepping of a version 3 report, extended fields combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cpuid {
    /// 0x19 for Zen 3 and Zen 4, 0x1a for Zen 5.
    pub family: u8,
    /// Extended and base model.
    pub model: u8,
    /// Stepping.
    pub stepping: u8,
}

/// Whether the machine's own host is among those from whom a guest's report protects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostTrust {
    /// No published attack lets host software forge a report.
    HostUntrusted,
    /// Host software can forge reports; a report proves the provider's word.
    ProviderTrusted,
}

impl ProductLine {
    /// Every line whose roots are embedded.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// As in certificate names and in `https://kdsintf.amd.com/vcek/v1/{line}`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// The line with exactly this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|line| line.name() == name)
    }

    /// The line of a CPUID (AMD 56860, and the table in spec/attest.md §4).
    pub fn from_cpuid(cpuid: Cpuid) -> Option<Self> {
        match (cpuid.family, cpuid.model) {
            (0x19, 0x00..=0x0f) => Some(Self::Milan),
            (0x19, 0x10..=0x1f | 0xa0..=0xaf) => Some(Self::Genoa),
            (0x1a, 0x00..=0x11) => Some(Self::Turin),
            _ => None,
        }
    }

    /// Octets of the chip's identity in its VCEK certificate; the rest of CHIP_ID is zero.
    pub fn hardware_id_len(self) -> usize {
        match self {
            Self::Milan | Self::Genoa => 64,
            Self::Turin => 8,
        }
    }

    /// What the host of such a machine can do, by what is published.
    pub fn host_trust(self) -> HostTrust {
        match self {
            Self::Milan => HostTrust::ProviderTrusted,
            Self::Genoa | Self::Turin => HostTrust::HostUntrusted,
        }
    }

    /// Why [`Self::host_trust`] says so.
    pub fn host_trust_reason(self) -> &'static str {
        match self {
            Self::Milan => {
                "host software can extract the root VCEK seed of EPYC Milan and sign reports for any TCB \
                 (MilanLaunchy, arXiv 2605.12990)"
            }
            Self::Genoa | Self::Turin => "no published attack lets host software forge reports of this line",
        }
    }
}

impl fmt::Display for ProductLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Cpuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}h/{:02x}h/{:02x}h", self.family, self.model, self.stepping)
    }
}

impl HostTrust {
    /// As in policies and in claims.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HostUntrusted => "host-untrusted",
            Self::ProviderTrusted => "provider-trusted",
        }
    }
}

impl fmt::Display for HostTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(family: u8, model: u8) -> Option<ProductLine> {
        ProductLine::from_cpuid(Cpuid { family, model, stepping: 1 })
    }

    #[test]
    fn models_at_the_edges_of_each_range() {
        for (family, model, expected) in [
            (0x19, 0x00, Some(ProductLine::Milan)),
            (0x19, 0x0f, Some(ProductLine::Milan)),
            (0x19, 0x10, Some(ProductLine::Genoa)),
            (0x19, 0x1f, Some(ProductLine::Genoa)),
            (0x19, 0x20, None),
            (0x19, 0x9f, None),
            (0x19, 0xa0, Some(ProductLine::Genoa)),
            (0x19, 0xaf, Some(ProductLine::Genoa)),
            (0x19, 0xb0, None),
            (0x1a, 0x00, Some(ProductLine::Turin)),
            (0x1a, 0x11, Some(ProductLine::Turin)),
            (0x1a, 0x12, None),
            (0x1a, 0x50, None),
            (0x17, 0x31, None),
            (0x00, 0x00, None),
        ] {
            assert_eq!(line(family, model), expected, "{family:02x}/{model:02x}");
        }
    }

    #[test]
    fn names_are_exact() {
        assert_eq!(ProductLine::from_name("Genoa"), Some(ProductLine::Genoa));
        for name in ["genoa", "Genoa-B1", "", "Venice", "Bergamo"] {
            assert_eq!(ProductLine::from_name(name), None, "{name}");
        }
    }

    #[test]
    fn milan_is_trusted_no_further_than_its_provider() {
        assert_eq!(ProductLine::Milan.host_trust(), HostTrust::ProviderTrusted);
        assert_eq!(ProductLine::Genoa.host_trust(), HostTrust::HostUntrusted);
        assert_eq!(ProductLine::Turin.host_trust(), HostTrust::HostUntrusted);
    }
}
