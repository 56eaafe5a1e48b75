//! The policy's table `[azure]` as it is written in a file.

use core::fmt;
use std::collections::BTreeMap;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::policy::{AzurePolicy, UserDataTerms};
use super::runtime::VmId;
use crate::eventlog::{Bank, LogFile, LogPolicy, STATIC_PCRS};
use crate::policy::file::{DangerFile, ListOrAny, SnpFile, hex_values, terms, values};
use crate::policy::{PlatformPolicy, PolicyError};
use crate::tdx::TdxFile;
use crate::tpm::pcr_terms;

/// `[azure]`, with the terms for the hardware underneath in `[azure.sev-snp]` and `[azure.tdx]`, one of them at least.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct AzureFile {
    #[serde(default)]
    sev_snp: Option<SnpFile>,
    #[serde(default)]
    tdx: Option<TdxFile>,
    vm_id: ListOrAny<String>,
    user_data: UserDataFile,
    /// Keys are decimal numbers.
    pcrs: BTreeMap<String, ListOrAny<String>>,
    #[serde(default)]
    secure_boot_off: DangerFile,
    #[serde(default)]
    console: DangerFile,
    #[serde(default)]
    ak_uncertified: DangerFile,
    #[serde(default)]
    event_log: Option<LogFile>,
}

/// `"exchange"`, or as other values are written.
enum UserDataFile {
    Exchange,
    Value(ListOrAny<String>),
}

impl AzureFile {
    pub(crate) fn into_policy(self) -> Result<AzurePolicy, PolicyError> {
        if self.sev_snp.is_none() && self.tdx.is_none() {
            return Err(PolicyError::NoPlatform);
        }
        let tdx = terms(self.tdx.map(TdxFile::into_policy))?;
        if matches!(&tdx, PlatformPolicy::Accepted(tdx) if tdx.event_log != LogPolicy::NotAsked) {
            return Err(PolicyError::NoSuchRegister {
                field: "azure.tdx.event-log",
                found: "RTMR".to_owned(),
            });
        }
        Ok(AzurePolicy {
            snp: terms(self.sev_snp.map(SnpFile::into_policy))?,
            tdx,
            secure_boot_off: self.secure_boot_off.into_danger("azure.secure-boot-off")?,
            console: self.console.into_danger("azure.console")?,
            ak_uncertified: self.ak_uncertified.into_danger("azure.ak-uncertified")?,
            vm_id: values(self.vm_id, "azure.vm-id", |text| {
                VmId::parse(text).ok_or(PolicyError::NotUuid { field: "azure.vm-id" })
            })?,
            pcrs: pcr_terms(self.pcrs, "azure.pcrs")?,
            user_data: match self.user_data {
                UserDataFile::Exchange => UserDataTerms::Exchange,
                UserDataFile::Value(values) => UserDataTerms::Value(hex_values(values, "azure.user-data")?),
            },
            event_log: LogFile::into_policy(self.event_log, "azure.event-log", Bank::Sha256, STATIC_PCRS)?,
        })
    }
}

impl<'de> Deserialize<'de> for UserDataFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Terms;

        impl<'de> Visitor<'de> for Terms {
            type Value = UserDataFile;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"exchange\", a list of values, or { any = \"reason\" }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                match text {
                    "exchange" => Ok(UserDataFile::Exchange),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                ListOrAny::deserialize(SeqAccessDeserializer::new(list)).map(UserDataFile::Value)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                ListOrAny::deserialize(MapAccessDeserializer::new(map)).map(UserDataFile::Value)
            }
        }

        deserializer.deserialize_any(Terms)
    }
}
