//! The policy as it is written in a file: shapes that serde reads, then values that make sense.

use core::fmt;
use core::marker::PhantomData;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Danger, Expected, PlatformPolicy, Policy, PolicyError};
use crate::azure::policy_file::AzureFile;
use crate::gce::GceFile;
use crate::nitro::NitroFile;
use crate::nvidia::policy_file::NvidiaFile;
use crate::snp::{
    Abi, Floor, GuestPermission, GuestProtection, HostTrustPolicy, MinimumTcb, PlatformProtection,
    PlatformWeakness, SnpPolicy, Tcb, Version,
};
use crate::tdx::TdxFile;
use crate::token::policy_file::{ConfidentialSpaceFile, EarFile, MaaFile, NrasFile};

/// A policy file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct PolicyFile {
    #[serde(rename = "sev-snp", default)]
    snp: Option<SnpFile>,
    #[serde(default)]
    nitro: Option<NitroFile>,
    #[serde(default)]
    tdx: Option<TdxFile>,
    #[serde(default)]
    azure: Option<AzureFile>,
    #[serde(rename = "gce-vtpm", default)]
    gce: Option<GceFile>,
    #[serde(default)]
    maa: Option<MaaFile>,
    #[serde(default)]
    confidential_space: Option<ConfidentialSpaceFile>,
    #[serde(default)]
    nras: Option<NrasFile>,
    #[serde(default)]
    ear: Option<EarFile>,
    #[serde(default)]
    nvidia: Option<NvidiaFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct SnpFile {
    measurement: ListOrAny<String>,
    host_data: ListOrAny<String>,
    id_key_digest: ListOrAny<String>,
    author_key_digest: ListOrAny<String>,
    family_id: ListOrAny<String>,
    image_id: ListOrAny<String>,
    chip_id: ListOrAny<String>,
    #[serde(default)]
    vlek_providers: Vec<String>,
    vmpl: ListOrAny<u64>,
    minimum_guest_svn: u32,
    minimum_report_version: u32,
    minimum_abi: AbiFile,
    #[serde(default)]
    minimum_tcb: MinimumTcbFile,
    #[serde(default)]
    host_trust: HostTrustFile,
    #[serde(default)]
    debug: DangerFile,
    #[serde(default)]
    migration_agent: DangerFile,
    #[serde(default)]
    provisional_firmware: DangerFile,
    #[serde(default)]
    guest_may: Vec<GuestPermission>,
    guest_must: Vec<GuestProtection>,
    #[serde(default)]
    platform_may: Vec<PlatformWeakness>,
    platform_must: Vec<PlatformProtection>,
    launch_mitigations: u64,
    current_mitigations: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AbiFile {
    major: u8,
    minor: u8,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct MinimumTcbFile {
    milan: Option<TcbFile>,
    genoa: Option<TcbFile>,
    turin: Option<TcbFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct TcbFile {
    fmc: Option<u8>,
    bootloader: u8,
    tee: u8,
    snp: u8,
    microcode: u8,
}

/// `[a, b]` or `{ any = "reason" }`.
pub(crate) enum ListOrAny<T> {
    List(Vec<T>),
    Any(String),
}

/// `"refuse"` or `{ danger-allow = "reason" }`.
#[derive(Default)]
pub(crate) enum DangerFile {
    #[default]
    Refuse,
    Allow(String),
}

/// `"host-untrusted"` or `{ provider-trusted = "reason" }`.
#[derive(Default)]
enum HostTrustFile {
    #[default]
    HostUntrusted,
    ProviderTrusted(String),
}

impl TryFrom<PolicyFile> for Policy {
    type Error = PolicyError;

    fn try_from(file: PolicyFile) -> Result<Self, PolicyError> {
        let tables = [
            file.snp.is_some(),
            file.nitro.is_some(),
            file.tdx.is_some(),
            file.azure.is_some(),
            file.maa.is_some(),
            file.confidential_space.is_some(),
            file.nras.is_some(),
            file.ear.is_some(),
            file.gce.is_some(),
            file.nvidia.is_some(),
        ];
        if !tables.contains(&true) {
            return Err(PolicyError::NoPlatform);
        }
        Ok(Self {
            snp: terms(file.snp.map(SnpFile::into_policy))?,
            nitro: terms(file.nitro.map(NitroFile::into_policy))?,
            tdx: terms(file.tdx.map(TdxFile::into_policy))?,
            azure: terms(file.azure.map(AzureFile::into_policy))?,
            gce: terms(file.gce.map(GceFile::into_policy))?,
            maa: terms(file.maa.map(MaaFile::into_policy))?,
            confidential_space: terms(file.confidential_space.map(ConfidentialSpaceFile::into_policy))?,
            nras: terms(file.nras.map(NrasFile::into_policy))?,
            ear: terms(file.ear.map(EarFile::into_policy))?,
            nvidia: terms(file.nvidia.map(NvidiaFile::into_policy))?,
        })
    }
}

impl SnpFile {
    pub(crate) fn into_policy(self) -> Result<SnpPolicy, PolicyError> {
        Ok(SnpPolicy {
            measurement: hex_values(self.measurement, "sev-snp.measurement")?,
            host_data: hex_values(self.host_data, "sev-snp.host-data")?,
            id_key_digest: hex_values(self.id_key_digest, "sev-snp.id-key-digest")?,
            author_key_digest: hex_values(self.author_key_digest, "sev-snp.author-key-digest")?,
            family_id: hex_values(self.family_id, "sev-snp.family-id")?,
            image_id: hex_values(self.image_id, "sev-snp.image-id")?,
            chip_id: hex_values(self.chip_id, "sev-snp.chip-id")?,
            vlek_providers: self.vlek_providers,
            vmpl: values(self.vmpl, "sev-snp.vmpl", |&level| match u8::try_from(level) {
                Ok(level @ 0..=3) => Ok(level),
                _ => Err(PolicyError::OutOfRange { field: "sev-snp.vmpl", found: level }),
            })?,
            minimum_guest_svn: self.minimum_guest_svn,
            minimum_report_version: Version::from_number(self.minimum_report_version).ok_or(
                PolicyError::OutOfRange {
                    field: "sev-snp.minimum-report-version",
                    found: u64::from(self.minimum_report_version),
                },
            )?,
            minimum_abi: Abi { major: self.minimum_abi.major, minor: self.minimum_abi.minor },
            minimum_tcb: MinimumTcb {
                milan: floor(self.minimum_tcb.milan, false, "sev-snp.minimum-tcb.milan")?,
                genoa: floor(self.minimum_tcb.genoa, false, "sev-snp.minimum-tcb.genoa")?,
                turin: floor(self.minimum_tcb.turin, true, "sev-snp.minimum-tcb.turin")?,
            },
            host_trust: match self.host_trust {
                HostTrustFile::HostUntrusted => HostTrustPolicy::HostUntrusted,
                HostTrustFile::ProviderTrusted(reason) => {
                    HostTrustPolicy::ProviderTrusted { reason: written(reason, "sev-snp.host-trust")? }
                }
            },
            debug: self.debug.into_danger("sev-snp.debug")?,
            migration_agent: self.migration_agent.into_danger("sev-snp.migration-agent")?,
            provisional_firmware: self.provisional_firmware.into_danger("sev-snp.provisional-firmware")?,
            guest_may: self.guest_may,
            guest_must: self.guest_must,
            platform_may: self.platform_may,
            platform_must: self.platform_must,
            launch_mitigations: self.launch_mitigations,
            current_mitigations: self.current_mitigations,
        })
    }
}

impl DangerFile {
    pub(crate) fn into_danger(self, field: &'static str) -> Result<Danger, PolicyError> {
        match self {
            Self::Refuse => Ok(Danger::Refuse),
            Self::Allow(reason) => Ok(Danger::Allow { reason: written(reason, field)? }),
        }
    }
}

/// A platform that is not written down is not accepted.
pub(crate) fn terms<P>(written: Option<Result<P, PolicyError>>) -> Result<PlatformPolicy<P>, PolicyError> {
    match written {
        None => Ok(PlatformPolicy::NotAccepted),
        Some(terms) => Ok(PlatformPolicy::Accepted(terms?)),
    }
}

pub(crate) fn values<T, U>(
    file: ListOrAny<T>,
    field: &'static str,
    read: impl Fn(&T) -> Result<U, PolicyError>,
) -> Result<Expected<U>, PolicyError> {
    match file {
        ListOrAny::Any(reason) => Ok(Expected::Any { reason: written(reason, field)? }),
        ListOrAny::List(list) if list.is_empty() => Err(PolicyError::EmptyList { field }),
        ListOrAny::List(list) => Ok(Expected::OneOf(list.iter().map(read).collect::<Result<_, _>>()?)),
    }
}

pub(crate) fn hex_values<const N: usize>(
    file: ListOrAny<String>,
    field: &'static str,
) -> Result<Expected<[u8; N]>, PolicyError> {
    values(file, field, |text| {
        let bytes = hex::decode(text).map_err(|_| PolicyError::NotHex { field })?;
        let found = bytes.len();
        bytes.try_into().map_err(|_| PolicyError::WrongLength { field, expected: N, found })
    })
}

fn floor(file: Option<TcbFile>, has_fmc: bool, field: &'static str) -> Result<Floor, PolicyError> {
    let Some(tcb) = file else {
        return Ok(Floor::NotAccepted);
    };
    let fmc = match (has_fmc, tcb.fmc) {
        (true, Some(fmc)) => fmc,
        (false, None) => 0,
        (true, None) | (false, Some(_)) => return Err(PolicyError::FmcComponent { field }),
    };
    Ok(Floor::AtLeast(Tcb {
        fmc,
        bootloader: tcb.bootloader,
        tee: tcb.tee,
        snp: tcb.snp,
        microcode: tcb.microcode,
    }))
}

pub(crate) fn written(reason: String, field: &'static str) -> Result<String, PolicyError> {
    if reason.trim().is_empty() { Err(PolicyError::EmptyReason { field }) } else { Ok(reason) }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ListOrAny<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Values<T> {
            type Value = ListOrAny<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of values, or { any = \"reason\" }")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(ListOrAny::List(values))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                only_key(map, "any").map(ListOrAny::Any)
            }
        }

        deserializer.deserialize_any(Values(PhantomData))
    }
}

impl<'de> Deserialize<'de> for DangerFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let choice = Choice { word: "refuse", key: "danger-allow" };
        Ok(match deserializer.deserialize_any(choice)? {
            None => Self::Refuse,
            Some(reason) => Self::Allow(reason),
        })
    }
}

impl<'de> Deserialize<'de> for HostTrustFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let choice = Choice { word: "host-untrusted", key: "provider-trusted" };
        Ok(match deserializer.deserialize_any(choice)? {
            None => Self::HostUntrusted,
            Some(reason) => Self::ProviderTrusted(reason),
        })
    }
}

/// Reads `"word"` as `None`, and `{ key = "reason" }` as `Some(reason)`.
struct Choice {
    word: &'static str,
    key: &'static str,
}

impl<'de> Visitor<'de> for Choice {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\", or {{ {} = \"reason\" }}", self.word, self.key)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
        if value == self.word { Ok(None) } else { Err(E::invalid_value(de::Unexpected::Str(value), &self)) }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        only_key(map, self.key).map(Some)
    }
}

fn only_key<'de, A: MapAccess<'de>>(mut map: A, key: &'static str) -> Result<String, A::Error> {
    let mut reason = None;
    while let Some(found) = map.next_key::<String>()? {
        if found != key {
            return Err(de::Error::custom(format_args!("unknown key `{found}`, expected only `{key}`")));
        }
        reason = Some(map.next_value()?);
    }
    reason.ok_or_else(|| de::Error::missing_field(key))
}
