//! `[gce-vtpm]` of a policy file.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::policy::GcePolicy;
use crate::eventlog::{Bank, LogFile, STATIC_PCRS};
use crate::policy::PolicyError;
use crate::policy::file::{DangerFile, ListOrAny, values};
use crate::tpm::pcr_terms;

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct GceFile {
    #[serde(default)]
    memory_encryption_unproven: DangerFile,
    project_id: ListOrAny<String>,
    zone: ListOrAny<String>,
    instance_id: ListOrAny<u64>,
    /// Keys are decimal numbers.
    pcrs: BTreeMap<String, ListOrAny<String>>,
    #[serde(default)]
    event_log: Option<LogFile>,
}

impl GceFile {
    pub(crate) fn into_policy(self) -> Result<GcePolicy, PolicyError> {
        Ok(GcePolicy {
            memory_encryption_unproven: self
                .memory_encryption_unproven
                .into_danger("gce-vtpm.memory-encryption-unproven")?,
            project_id: values(self.project_id, "gce-vtpm.project-id", |text| Ok(text.clone()))?,
            zone: values(self.zone, "gce-vtpm.zone", |text| Ok(text.clone()))?,
            instance_id: values(self.instance_id, "gce-vtpm.instance-id", |&number| Ok(number))?,
            pcrs: pcr_terms(self.pcrs, "gce-vtpm.pcrs")?,
            event_log: LogFile::into_policy(self.event_log, "gce-vtpm.event-log", Bank::Sha256, STATIC_PCRS)?,
        })
    }
}

#[cfg(test)]
mod tests;
