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
    /// `None` of Revoked.
    pub(crate) fn of(status: dcap_qvl::TcbStatus) -> Option<Self> {
        use dcap_qvl::TcbStatus as Theirs;
        match status {
            Theirs::UpToDate => Some(Self::UpToDate),
            Theirs::SWHardeningNeeded => Some(Self::SwHardeningNeeded),
            Theirs::ConfigurationNeeded => Some(Self::ConfigurationNeeded),
            Theirs::ConfigurationAndSWHardeningNeeded => Some(Self::ConfigurationAndSwHardeningNeeded),
            Theirs::OutOfDate => Some(Self::OutOfDate),
            Theirs::OutOfDateConfigurationNeeded => Some(Self::OutOfDateConfigurationNeeded),
            Theirs::TDRelaunchAdvised => Some(Self::TdRelaunchAdvised),
            Theirs::TDRelaunchAdvisedConfigurationNeeded => Some(Self::TdRelaunchAdvisedConfigurationNeeded),
            Theirs::Revoked => None,
        }
    }

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
