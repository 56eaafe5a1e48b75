//! The table `[nras]` of a policy file.

use serde::Deserialize;

use super::NrasPolicy;
use crate::policy::PolicyError;
use crate::policy::file::{DangerFile, ListOrAny, values};
use crate::token::policy_file::{some, text};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct NrasFile {
    issuers: Vec<String>,
    gpus: u64,
    switches: u64,
    devices: ListOrAny<String>,
    hardware: ListOrAny<String>,
    driver: ListOrAny<String>,
    firmware: ListOrAny<String>,
    #[serde(default)]
    debug: DangerFile,
    #[serde(default)]
    revocation: DangerFile,
    #[serde(default)]
    warnings: DangerFile,
}

impl NrasFile {
    pub(crate) fn into_policy(self) -> Result<NrasPolicy, PolicyError> {
        if self.gpus == 0 && self.switches == 0 {
            return Err(PolicyError::OutOfRange { field: "nras.gpus", found: 0 });
        }
        Ok(NrasPolicy {
            issuers: some(self.issuers, "nras.issuers")?,
            gpus: self.gpus,
            switches: self.switches,
            devices: values(self.devices, "nras.devices", text)?,
            hardware: values(self.hardware, "nras.hardware", text)?,
            driver: values(self.driver, "nras.driver", text)?,
            firmware: values(self.firmware, "nras.firmware", text)?,
            debug: self.debug.into_danger("nras.debug")?,
            revocation: self.revocation.into_danger("nras.revocation")?,
            warnings: self.warnings.into_danger("nras.warnings")?,
        })
    }
}
