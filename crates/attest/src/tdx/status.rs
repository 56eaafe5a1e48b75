//! TCB status. Source: Intel PCS API v4, `tcbStatus`; Intel QVL for the two of TD 1.5.

use core::fmt;

use serde::{Deserialize, Serialize};

/// How well a platform is patched, spelled as Intel spells it. Revoked is never accepted, and is no value here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TcbStatus {
    /// Nothing is known to be missing.
    UpToDate,
    /// Software must mitigate.
    #[serde(rename = "SWHardeningNeeded")]
    SwHardeningNeeded,
    /// The platform must be configured.
    ConfigurationNeeded,
    /// Both.
    #[serde(rename = "ConfigurationAndSWHardeningNeeded")]
    ConfigurationAndSwHardeningNeeded,
    /// Known to be vulnerable.
    OutOfDate,
    /// Known to be vulnerable, and must be configured.
    OutOfDateConfigurationNeeded,
    /// Up to date now, but the TD was launched before.
    #[serde(rename = "TDRelaunchAdvised")]
    TdRelaunchAdvised,
    /// The same, and must be configured.
    #[serde(rename = "TDRelaunchAdvisedConfigurationNeeded")]
    TdRelaunchAdvisedConfigurationNeeded,
}

impl TcbStatus {
    /// `None` of Revoked, and of words that Intel does not use.
    pub(crate) fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    const ALL: [Self; 8] = [
        Self::UpToDate,
        Self::SwHardeningNeeded,
        Self::ConfigurationNeeded,
        Self::ConfigurationAndSwHardeningNeeded,
        Self::OutOfDate,
        Self::OutOfDateConfigurationNeeded,
        Self::TdRelaunchAdvised,
        Self::TdRelaunchAdvisedConfigurationNeeded,
    ];

    /// As Intel spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UpToDate => "UpToDate",
            Self::SwHardeningNeeded => "SWHardeningNeeded",
            Self::ConfigurationNeeded => "ConfigurationNeeded",
            Self::ConfigurationAndSwHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            Self::OutOfDate => "OutOfDate",
            Self::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
            Self::TdRelaunchAdvised => "TDRelaunchAdvised",
            Self::TdRelaunchAdvisedConfigurationNeeded => "TDRelaunchAdvisedConfigurationNeeded",
        }
    }
}

impl fmt::Display for TcbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dcap_library_spells_every_status_as_intel_does() {
        use dcap_qvl::TcbStatus as Theirs;
        for (theirs, ours) in [
            (Theirs::UpToDate, Some(TcbStatus::UpToDate)),
            (Theirs::SWHardeningNeeded, Some(TcbStatus::SwHardeningNeeded)),
            (Theirs::ConfigurationNeeded, Some(TcbStatus::ConfigurationNeeded)),
            (Theirs::ConfigurationAndSWHardeningNeeded, Some(TcbStatus::ConfigurationAndSwHardeningNeeded)),
            (Theirs::OutOfDate, Some(TcbStatus::OutOfDate)),
            (Theirs::OutOfDateConfigurationNeeded, Some(TcbStatus::OutOfDateConfigurationNeeded)),
            (Theirs::TDRelaunchAdvised, Some(TcbStatus::TdRelaunchAdvised)),
            (
                Theirs::TDRelaunchAdvisedConfigurationNeeded,
                Some(TcbStatus::TdRelaunchAdvisedConfigurationNeeded),
            ),
            (Theirs::Revoked, None),
        ] {
            assert_eq!(TcbStatus::named(&theirs.to_string()), ours);
        }
        assert_eq!(TcbStatus::named("uptodate"), None);
    }
}
