//! The numbered rules of spec/attest.md, for each platform in the order in which they are applied.

pub(crate) mod azure;
pub(crate) mod bundle;
pub(crate) mod bundle_aci;
pub(crate) mod bundle_coco;
pub(crate) mod bundle_dstack;
pub(crate) mod ear;
pub(crate) mod event_log;
pub(crate) mod gce;
pub(crate) mod nitro;
pub(crate) mod nras;
pub(crate) mod nvidia;
pub(crate) mod nvidia_rim;
pub(crate) mod sev_snp;
pub(crate) mod tdx;
pub(crate) mod token;

pub use azure::{AZURE, azure_vtpm, azure_vtpm_tdx};
pub use bundle::{BUNDLE, TINFOIL};
pub use bundle_aci::ACI;
pub use bundle_coco::COCO;
pub use bundle_dstack::DSTACK;
pub use ear::EAR;
pub use event_log::EVENT_LOG;
pub use gce::GCE;
pub use nitro::NITRO;
pub use nras::NRAS;
pub use nvidia::NVIDIA;
pub use nvidia_rim::NVIDIA_RIM;
pub use sev_snp::SEV_SNP;
pub use tdx::TDX;
pub use token::{CONFIDENTIAL_SPACE, MAA};

use crate::evidence::Platform;

/// A rule: what must hold, and where it is specified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Stable number, such as `SNP-09`.
    pub id: &'static str,
    /// What must hold, in a few words.
    pub title: &'static str,
    /// Where it is specified.
    pub spec: &'static str,
    /// Why it is there: what goes wrong without it.
    pub why: &'static str,
}

/// One platform's rules: a list of them all, and a name for each.
macro_rules! rules {
    ($(#[$about:meta])* $list:ident $($name:ident $id:literal $title:literal $spec:literal $why:literal)*) => {
        $(#[$about])*
        pub static $list: &[Rule] = &[$(Rule { id: $id, title: $title, spec: $spec, why: $why }),*];
        $(pub(crate) static $name: Rule = Rule { id: $id, title: $title, spec: $spec, why: $why };)*
    };
}
pub(crate) use rules;

/// Every rule, by the platform that brought it.
pub static ALL: &[&[Rule]] = &[
    SEV_SNP,
    NITRO,
    AZURE,
    NVIDIA,
    NVIDIA_RIM,
    TDX,
    MAA,
    CONFIDENTIAL_SPACE,
    EVENT_LOG,
    GCE,
    BUNDLE,
    TINFOIL,
    DSTACK,
    ACI,
    COCO,
    NRAS,
    EAR,
];

/// The rules for evidence of this platform.
pub fn of(platform: Platform) -> &'static [Rule] {
    match platform {
        Platform::SevSnp => SEV_SNP,
        Platform::Nitro => NITRO,
        Platform::Tdx => TDX,
        Platform::AzureVtpm => azure_vtpm(),
        Platform::AzureVtpmTdx => azure_vtpm_tdx(),
        Platform::GceVtpm => GCE,
    }
}

/// Why the rule with this id exists.
pub fn explain(id: &str) -> Option<&'static str> {
    ALL.iter().copied().flatten().find(|rule| rule.id == id).map(|rule| rule.why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_count_up_without_a_gap() {
        for (rules, family) in ALL.iter().zip([
            "SNP-", "NIT-", "AZ-", "NV-", "RIM-", "TDX-", "MAA-", "CS-", "LOG-", "GV-", "BUN-", "BUN-T",
            "BUN-D", "BUN-A", "BUN-C", "NRAS-", "EAR-",
        ]) {
            for (index, rule) in rules.iter().enumerate() {
                assert_eq!(rule.id, format!("{family}{:02}", index + 1));
                assert!(rule.spec.ends_with(rule.id), "{}", rule.id);
                assert_eq!(explain(rule.id), Some(rule.why));
            }
        }
        assert_eq!(explain("SNP-00"), None);
        assert_eq!(explain(""), None);
    }
}
