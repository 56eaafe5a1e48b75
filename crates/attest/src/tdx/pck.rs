//! What the PCK certificate says of the platform: its extension 1.2.840.113741.1.13.1.7, "Configuration". Source: Intel SGX
//! PCK Certificate and CRL Profile. Certificates of the Platform CA have it; those of the Processor CA have none.

use dcap_qvl::intel::PckExtension;
use serde::{Deserialize, Serialize};

/// Something about the platform that a policy may accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlatformFlag {
    /// Processor packages can be added to the platform later.
    DynamicPlatform,
    /// Intel's registration service keeps the platform's root keys.
    CachedKeys,
    /// Simultaneous multithreading is on.
    Smt,
    /// The certificate does not say: it is of the Processor CA, or leaves a flag out.
    Unstated,
}

impl PlatformFlag {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::DynamicPlatform, Self::CachedKeys, Self::Smt, Self::Unstated];

    /// As in policies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DynamicPlatform => "dynamic-platform",
            Self::CachedKeys => "cached-keys",
            Self::Smt => "smt",
            Self::Unstated => "unstated",
        }
    }

    /// Those that a certificate has. One that leaves any of the three out has [`PlatformFlag::Unstated`].
    pub(crate) fn of(pck: &PckExtension) -> Vec<Self> {
        let stated = [
            (Self::DynamicPlatform, pck.dynamic_platform),
            (Self::CachedKeys, pck.cached_keys),
            (Self::Smt, pck.smt_enabled),
        ];
        let unstated = stated.iter().any(|(_, value)| value.is_none()).then_some(Self::Unstated);
        stated
            .into_iter()
            .filter(|(_, value)| *value == Some(true))
            .map(|(flag, _)| flag)
            .chain(unstated)
            .collect()
    }
}
