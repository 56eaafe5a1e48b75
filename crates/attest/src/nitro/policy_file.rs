//! `[nitro]` of a policy file.

use serde::Deserialize;

use super::policy::NitroPolicy;
use crate::policy::PolicyError;
use crate::policy::file::{DangerFile, ListOrAny, hex_values};

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct NitroFile {
    #[serde(default)]
    debug: DangerFile,
    maximum_age: u64,
    pcr0: ListOrAny<String>,
    pcr1: ListOrAny<String>,
    pcr2: ListOrAny<String>,
    pcr3: ListOrAny<String>,
    pcr4: ListOrAny<String>,
    pcr8: ListOrAny<String>,
}

impl NitroFile {
    pub(crate) fn into_policy(self) -> Result<NitroPolicy, PolicyError> {
        Ok(NitroPolicy {
            debug: self.debug.into_danger("nitro.debug")?,
            maximum_age: self.maximum_age,
            pcr0: hex_values(self.pcr0, "nitro.pcr0")?,
            pcr1: hex_values(self.pcr1, "nitro.pcr1")?,
            pcr2: hex_values(self.pcr2, "nitro.pcr2")?,
            pcr3: hex_values(self.pcr3, "nitro.pcr3")?,
            pcr4: hex_values(self.pcr4, "nitro.pcr4")?,
            pcr8: hex_values(self.pcr8, "nitro.pcr8")?,
        })
    }
}
