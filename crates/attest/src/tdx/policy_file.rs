//! `[tdx]` of a policy file.

use serde::Deserialize;

use super::attributes::Attribute;
use super::body::ModuleSvn;
use super::pck::PlatformFlag;
use super::policy::TdxPolicy;
use super::status::TcbStatus;
use crate::eventlog::{Bank, LogFile, RTMRS};
use crate::policy::PolicyError;
use crate::policy::file::{DangerFile, ListOrAny, hex_values};

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct TdxFile {
    tcb_statuses: Vec<TcbStatus>,
    #[serde(default)]
    advisories: Vec<String>,
    minimum_evaluation: u32,
    minimum_module: ModuleFile,
    mrseam: ListOrAny<String>,
    #[serde(default)]
    debug: DangerFile,
    #[serde(default)]
    service_td_extension: DangerFile,
    mrservicetd: ListOrAny<String>,
    #[serde(default)]
    attributes_may: Vec<Attribute>,
    platform_may: Vec<PlatformFlag>,
    xfam_may: u64,
    mrtd: ListOrAny<String>,
    rtmr0: ListOrAny<String>,
    rtmr1: ListOrAny<String>,
    rtmr2: ListOrAny<String>,
    rtmr3: ListOrAny<String>,
    mrconfigid: ListOrAny<String>,
    mrowner: ListOrAny<String>,
    mrownerconfig: ListOrAny<String>,
    #[serde(default)]
    event_log: Option<LogFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModuleFile {
    major: u8,
    minor: u8,
}

impl TdxFile {
    pub(crate) fn into_policy(self) -> Result<TdxPolicy, PolicyError> {
        if self.tcb_statuses.is_empty() {
            return Err(PolicyError::EmptyList { field: "tdx.tcb-statuses" });
        }
        Ok(TdxPolicy {
            tcb_statuses: self.tcb_statuses,
            advisories: self.advisories,
            minimum_evaluation: self.minimum_evaluation,
            minimum_module: ModuleSvn { major: self.minimum_module.major, minor: self.minimum_module.minor },
            mr_seam: hex_values(self.mrseam, "tdx.mrseam")?,
            debug: self.debug.into_danger("tdx.debug")?,
            service_td_extension: self.service_td_extension.into_danger("tdx.service-td-extension")?,
            mr_service_td: hex_values(self.mrservicetd, "tdx.mrservicetd")?,
            attributes_may: self.attributes_may,
            platform_may: self.platform_may,
            xfam_may: self.xfam_may,
            mrtd: hex_values(self.mrtd, "tdx.mrtd")?,
            rtmr0: hex_values(self.rtmr0, "tdx.rtmr0")?,
            rtmr1: hex_values(self.rtmr1, "tdx.rtmr1")?,
            rtmr2: hex_values(self.rtmr2, "tdx.rtmr2")?,
            rtmr3: hex_values(self.rtmr3, "tdx.rtmr3")?,
            mr_config_id: hex_values(self.mrconfigid, "tdx.mrconfigid")?,
            mr_owner: hex_values(self.mrowner, "tdx.mrowner")?,
            mr_owner_config: hex_values(self.mrownerconfig, "tdx.mrownerconfig")?,
            event_log: LogFile::into_policy(self.event_log, "tdx.event-log", Bank::Sha384, RTMRS)?,
        })
    }
}

#[cfg(test)]
mod tests;
