//! The table `[ear]` of a policy file.

use serde::Deserialize;

use super::EarPolicy;
use super::tier::CLAIMS;
use crate::policy::PolicyError;
use crate::policy::file::{DangerFile, ListOrAny, values};
use crate::token::policy_file::{some, text};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct EarFile {
    issuers: Vec<String>,
    profiles: Vec<String>,
    developers: ListOrAny<String>,
    submodules: Vec<String>,
    affirmed: ListOrAny<String>,
    appraisal_policies: ListOrAny<String>,
    #[serde(default)]
    not_affirming: DangerFile,
}

impl EarFile {
    pub(crate) fn into_policy(self) -> Result<EarPolicy, PolicyError> {
        Ok(EarPolicy {
            issuers: some(self.issuers, "ear.issuers")?,
            profiles: some(self.profiles, "ear.profiles")?,
            developers: values(self.developers, "ear.developers", text)?,
            submodules: some(self.submodules, "ear.submodules")?,
            affirmed: values(self.affirmed, "ear.affirmed", |claim| {
                if CLAIMS.contains(&claim.as_str()) {
                    return Ok(claim.clone());
                }
                Err(PolicyError::UnknownWord { field: "ear.affirmed", found: claim.clone() })
            })?,
            appraisal_policies: values(self.appraisal_policies, "ear.appraisal-policies", text)?,
            not_affirming: self.not_affirming.into_danger("ear.not-affirming")?,
        })
    }
}
