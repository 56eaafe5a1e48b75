//! The table `event-log` of a platform, as it is written in a policy file.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::bank::Bank;
use super::dstack::DstackVersion;
use super::policy::{LogPolicy, LogTerms, RegisterTerms};
use crate::policy::file::{DangerFile, ListOrAny, written};
use crate::policy::{Expected, PolicyError};

/// `[tdx.event-log]` and its like.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct LogFile {
    #[serde(default)]
    other_registers: DangerFile,
    /// Keys are decimal numbers.
    register: BTreeMap<String, RegisterFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegisterFile {
    events: EventsFile,
    #[serde(default)]
    required: Vec<EntryFile>,
}

/// `"none"`, or what [`ListOrAny`] is.
#[derive(Deserialize)]
#[serde(untagged)]
enum EventsFile {
    Word(String),
    Listed(ListOrAny<EntryFile>),
}

/// One event: its digest, or what it is the digest of.
#[derive(Deserialize)]
#[serde(untagged)]
enum EntryFile {
    Digest(String),
    Text(TextFile),
    Dstack(DstackFile),
}

/// `{ text = "…" }`: the hash of these UTF-8 octets.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextFile {
    text: String,
}

/// `{ event = "app-id", payload = "hexadecimal" }`: an event of dstack's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DstackFile {
    event: String,
    payload: String,
    /// 1 or 2; see [`DstackVersion`].
    #[serde(default = "first")]
    version: u64,
}

fn first() -> u64 {
    1
}

impl LogFile {
    /// `field` names the table; `bank` and `registers` are the platform's.
    pub(crate) fn into_policy(
        file: Option<Self>,
        field: &'static str,
        bank: Bank,
        registers: u8,
    ) -> Result<LogPolicy, PolicyError> {
        let Some(file) = file else {
            return Ok(LogPolicy::NotAsked);
        };
        let mut terms = BTreeMap::new();
        for (key, register) in file.register {
            let number = (0..registers).find(|number| number.to_string() == key);
            let number = number.ok_or(PolicyError::NoSuchRegister { field, found: key })?;
            terms.insert(number, register.into_terms(field, bank)?);
        }
        if terms.is_empty() {
            return Err(PolicyError::EmptyList { field });
        }
        Ok(LogPolicy::Demanded(LogTerms {
            registers: terms,
            other_registers: file.other_registers.into_danger(field)?,
        }))
    }
}

impl RegisterFile {
    fn into_terms(self, field: &'static str, bank: Bank) -> Result<RegisterTerms, PolicyError> {
        let digests = |list: &[EntryFile]| {
            list.iter().map(|entry| entry.digest(field, bank)).collect::<Result<Vec<_>, _>>()
        };
        let events = match self.events {
            EventsFile::Word(word) if word == "none" => Expected::OneOf(Vec::new()),
            EventsFile::Word(found) => return Err(PolicyError::UnknownWord { field, found }),
            EventsFile::Listed(ListOrAny::Any(reason)) => Expected::Any { reason: written(reason, field)? },
            EventsFile::Listed(ListOrAny::List(list)) if list.is_empty() => {
                return Err(PolicyError::EmptyList { field });
            }
            EventsFile::Listed(ListOrAny::List(list)) => Expected::OneOf(digests(&list)?),
        };
        let required = digests(&self.required)?;
        // Any event, and none required: such terms would ask nothing of a register that they seem to be about.
        if required.is_empty() && matches!(events, Expected::Any { .. }) {
            return Err(PolicyError::EmptyList { field });
        }
        Ok(RegisterTerms { events, required })
    }
}

impl EntryFile {
    fn digest(&self, field: &'static str, bank: Bank) -> Result<Vec<u8>, PolicyError> {
        let expected = bank.digest_len();
        match self {
            Self::Digest(text) => {
                let digest = hex::decode(text).map_err(|_| PolicyError::NotHex { field })?;
                let found = digest.len();
                if found == expected {
                    Ok(digest)
                } else {
                    Err(PolicyError::WrongLength { field, expected, found })
                }
            }
            Self::Text(file) => bank.hash(file.text.as_bytes()).ok_or(PolicyError::EmptyList { field }),
            Self::Dstack(file) => {
                // The digest does not say where the name ends.
                if file.event.contains(':') || bank != Bank::Sha384 {
                    return Err(PolicyError::UnknownWord { field, found: file.event.clone() });
                }
                let version = match file.version {
                    1 => DstackVersion::V1,
                    2 => DstackVersion::V2,
                    found => return Err(PolicyError::OutOfRange { field, found }),
                };
                let payload = hex::decode(&file.payload).map_err(|_| PolicyError::NotHex { field })?;
                bank.hash(&version.measured(&file.event, &payload)).ok_or(PolicyError::EmptyList { field })
            }
        }
    }
}

#[cfg(test)]
mod tests;
