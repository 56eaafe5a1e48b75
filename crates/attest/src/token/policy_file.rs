//! The tables `[maa]` and `[confidential-space]` of a policy file; the others have files of their own.

use serde::Deserialize;

pub(crate) use super::ear::policy_file::EarFile;
pub(crate) use super::nras::policy_file::NrasFile;
use super::{ConfidentialSpacePolicy, MaaPolicy, MaaTdx, MinimumSvn};
use crate::policy::PolicyError;
use crate::policy::file::{DangerFile, ListOrAny, hex_values, values};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct MaaFile {
    issuers: Vec<String>,
    tee: ListOrAny<String>,
    measurement: ListOrAny<String>,
    host_data: ListOrAny<String>,
    id_key_digest: ListOrAny<String>,
    author_key_digest: ListOrAny<String>,
    tdx: Option<MaaTdxFile>,
    minimum_svn: MinimumSvnFile,
    #[serde(default)]
    debug: DangerFile,
    #[serde(default)]
    migration: DangerFile,
    #[serde(default)]
    no_secure_boot: DangerFile,
    policy_hash: ListOrAny<String>,
    vm_id: ListOrAny<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct MaaTdxFile {
    mr_seam: ListOrAny<String>,
    mr_signer_seam: ListOrAny<String>,
    xfam: ListOrAny<String>,
    rtmr0: ListOrAny<String>,
    rtmr1: ListOrAny<String>,
    rtmr2: ListOrAny<String>,
    rtmr3: ListOrAny<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct MinimumSvnFile {
    bootloader: u64,
    tee: u64,
    snp: u64,
    microcode: u64,
    tdx_module: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct ConfidentialSpaceFile {
    audience: Vec<String>,
    hardware: ListOrAny<String>,
    tcb_status: ListOrAny<String>,
    minimum_version: u64,
    #[serde(default)]
    debug: DangerFile,
    #[serde(default)]
    unsupported: DangerFile,
    image_digest: ListOrAny<String>,
    #[serde(default)]
    overrides: DangerFile,
    project: ListOrAny<String>,
    zone: ListOrAny<String>,
    service_accounts: ListOrAny<String>,
}

impl MaaFile {
    pub(crate) fn into_policy(self) -> Result<MaaPolicy, PolicyError> {
        let svn = self.minimum_svn;
        Ok(MaaPolicy {
            issuers: some(self.issuers, "maa.issuers")?,
            tee: values(self.tee, "maa.tee", text)?,
            measurement: hex_values(self.measurement, "maa.measurement")?,
            host_data: hex_values(self.host_data, "maa.host-data")?,
            id_key_digest: hex_values(self.id_key_digest, "maa.id-key-digest")?,
            author_key_digest: hex_values(self.author_key_digest, "maa.author-key-digest")?,
            tdx: self.tdx.map(MaaTdxFile::into_terms).transpose()?,
            minimum_svn: MinimumSvn {
                bootloader: svn.bootloader,
                tee: svn.tee,
                snp: svn.snp,
                microcode: svn.microcode,
                tdx_module: svn.tdx_module,
            },
            debug: self.debug.into_danger("maa.debug")?,
            migration: self.migration.into_danger("maa.migration")?,
            no_secure_boot: self.no_secure_boot.into_danger("maa.no-secure-boot")?,
            policy_hash: values(self.policy_hash, "maa.policy-hash", text)?,
            vm_id: values(self.vm_id, "maa.vm-id", text)?,
        })
    }
}

impl MaaTdxFile {
    fn into_terms(self) -> Result<MaaTdx, PolicyError> {
        Ok(MaaTdx {
            mr_seam: hex_values(self.mr_seam, "maa.tdx.mr-seam")?,
            mr_signer_seam: hex_values(self.mr_signer_seam, "maa.tdx.mr-signer-seam")?,
            xfam: hex_values(self.xfam, "maa.tdx.xfam")?,
            rtmr: [
                hex_values(self.rtmr0, "maa.tdx.rtmr0")?,
                hex_values(self.rtmr1, "maa.tdx.rtmr1")?,
                hex_values(self.rtmr2, "maa.tdx.rtmr2")?,
                hex_values(self.rtmr3, "maa.tdx.rtmr3")?,
            ],
        })
    }
}

impl ConfidentialSpaceFile {
    pub(crate) fn into_policy(self) -> Result<ConfidentialSpacePolicy, PolicyError> {
        Ok(ConfidentialSpacePolicy {
            audience: some(self.audience, "confidential-space.audience")?,
            hardware: values(self.hardware, "confidential-space.hardware", text)?,
            tcb_status: values(self.tcb_status, "confidential-space.tcb-status", text)?,
            minimum_version: self.minimum_version,
            debug: self.debug.into_danger("confidential-space.debug")?,
            unsupported: self.unsupported.into_danger("confidential-space.unsupported")?,
            image_digest: values(self.image_digest, "confidential-space.image-digest", text)?,
            overrides: self.overrides.into_danger("confidential-space.overrides")?,
            project: values(self.project, "confidential-space.project", text)?,
            zone: values(self.zone, "confidential-space.zone", text)?,
            service_accounts: values(self.service_accounts, "confidential-space.service-accounts", text)?,
        })
    }
}

#[allow(clippy::ptr_arg, reason = "the signature that `values` takes")]
pub(crate) fn text(value: &String) -> Result<String, PolicyError> {
    Ok(value.clone())
}

pub(crate) fn some(list: Vec<String>, field: &'static str) -> Result<Vec<String>, PolicyError> {
    if list.is_empty() { Err(PolicyError::EmptyList { field }) } else { Ok(list) }
}
