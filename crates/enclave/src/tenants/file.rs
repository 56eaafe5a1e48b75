//! The file of API keys: JSON, total, without a secret in it.
//!
//! ```json
//! {"format": "casemate/api-keys/1", "tenants": [{"name": "acme",
//!  "limits": {"concurrent": 4, "requests_per_minute": null, "tokens_per_minute": 60000},
//!  "keys": [{"id": "9f3a61c2", "sha256": "…", "not_after": null}]}]}
//! ```
//!
//! `null` is no limit, and a key for ever: somebody has written it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// All tenants with the hashes of their keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKeysFile {
    format: Format,
    /// Each name once.
    pub tenants: Vec<TenantEntry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Format {
    #[serde(rename = "casemate/api-keys/1")]
    Version1,
}

/// One tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantEntry {
    /// 1 to 64 letters, digits, `.`, `-` and `_`.
    pub name: String,
    /// What it may use.
    pub limits: TenantLimits,
    /// Its keys.
    pub keys: Vec<ApiKeyEntry>,
}

/// What a tenant may use; `None` is without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantLimits {
    /// Requests at the same time.
    #[serde(deserialize_with = "written")]
    pub concurrent: Option<u32>,
    /// Requests in a minute.
    #[serde(deserialize_with = "written")]
    pub requests_per_minute: Option<u32>,
    /// Tokens in a minute, of prompts and answers.
    #[serde(deserialize_with = "written")]
    pub tokens_per_minute: Option<u32>,
}

impl TenantLimits {
    /// Without limits.
    pub const NONE: Self = Self { concurrent: None, requests_per_minute: None, tokens_per_minute: None };
}

/// One key, of which only the hash is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyEntry {
    /// Names it for people: 8 hexadecimal digits.
    pub id: String,
    /// SHA-256 of the key's text.
    #[serde(with = "hex")]
    pub sha256: [u8; 32],
    /// The last second at which it is good, since 1970; `None` is for ever.
    #[serde(deserialize_with = "written")]
    pub not_after: Option<u64>,
}

/// A key that was just made: its text is nowhere else.
pub struct NewKey {
    /// Names it for people.
    pub id: String,
    /// For the tenant.
    pub key: String,
}

/// What is wrong with a file of API keys, or with what is asked of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read, or is larger than any that is used.
    #[error("it cannot be read, or has more than {MAX_FILE} bytes")]
    Unreadable,
    /// It is not JSON of this form.
    #[error("it is not a file of API keys: line {line}, column {column}")]
    Form {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// A name that is none.
    #[error("{name:?} is no name of a tenant: 1 to 64 letters, digits, dots, hyphens and underscores")]
    Name {
        /// As given, at most 64 characters of it.
        name: String,
    },
    /// A tenant, or a key, that is there twice.
    #[error("{what} {name} is there twice")]
    Twice {
        /// What it is.
        what: &'static str,
        /// Which.
        name: String,
    },
    /// There is no such key.
    #[error("there is no key {id}")]
    NoSuchKey {
        /// As given.
        id: String,
    },
    /// A limit of 0 lets nobody in: revoke the keys instead.
    #[error("tenant {name} has a limit of 0")]
    Zero {
        /// Whose.
        name: String,
    },
}

impl KeysError {
    /// The stable code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable => "keys.unreadable",
            Self::Form { .. } => "keys.form",
            Self::Name { .. } => "keys.name",
            Self::Twice { .. } => "keys.twice",
            Self::NoSuchKey { .. } => "keys.no-such-key",
            Self::Zero { .. } => "keys.zero",
        }
    }
}

impl Default for ApiKeysFile {
    fn default() -> Self {
        Self { format: Format::Version1, tenants: Vec::new() }
    }
}

impl ApiKeysFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn parse(text: &str) -> Result<Self, KeysError> {
        let form = |e: serde_json::Error| KeysError::Form { line: e.line(), column: e.column() };
        let file: Self = serde_json::from_str(text).map_err(form)?;
        file.check()?;
        Ok(file)
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn read(path: &Path) -> Result<Self, KeysError> {
        let mut text = String::new();
        let file = File::open(path).map_err(|_| KeysError::Unreadable)?;
        file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(|_| KeysError::Unreadable)?;
        if text.len() as u64 > MAX_FILE {
            return Err(KeysError::Unreadable);
        }
        Self::parse(&text)
    }

    /// As it is read.
    #[must_use]
    pub fn render(&self) -> String {
        // Strings, numbers and lists: there is nothing that cannot be written.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Adds a key for a tenant, which it makes where it is not there; `limits` are its limits from now on. `secret` are 32 random
    /// bytes.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn add(
        &mut self,
        name: &str,
        limits: TenantLimits,
        not_after: Option<u64>,
        secret: [u8; 32],
    ) -> Result<NewKey, KeysError> {
        let key = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(secret));
        let mut sha256 = [0; 32];
        for (to, from) in sha256.iter_mut().zip(digest(&SHA256, key.as_bytes()).as_ref()) {
            *to = *from;
        }
        // Of the hash, so that it says nothing of the key.
        let id = hex::encode(sha256.get(..4).unwrap_or_default());
        let entry = ApiKeyEntry { id: id.clone(), sha256, not_after };
        let mut changed = self.clone();
        match changed.tenants.iter_mut().find(|tenant| tenant.name == name) {
            Some(tenant) => {
                tenant.limits = limits;
                tenant.keys.push(entry);
            }
            None => changed.tenants.push(TenantEntry { name: name.to_owned(), limits, keys: vec![entry] }),
        }
        changed.check()?;
        *self = changed;
        Ok(NewKey { id, key })
    }

    /// Takes a key away.
    ///
    /// # Errors
    /// [`KeysError::NoSuchKey`].
    pub fn revoke(&mut self, id: &str) -> Result<(), KeysError> {
        for tenant in &mut self.tenants {
            if let Some(at) = tenant.keys.iter().position(|key| key.id == id) {
                tenant.keys.remove(at);
                return Ok(());
            }
        }
        Err(KeysError::NoSuchKey { id: id.chars().take(64).collect() })
    }

    fn check(&self) -> Result<(), KeysError> {
        let (mut names, mut ids) = (BTreeSet::new(), BTreeSet::new());
        for tenant in &self.tenants {
            let name = &tenant.name;
            let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            if !(1..=64).contains(&name.len()) || !name.chars().all(letter) {
                return Err(KeysError::Name { name: name.chars().take(64).collect() });
            }
            if !names.insert(name) {
                return Err(KeysError::Twice { what: "tenant", name: name.clone() });
            }
            let TenantLimits { concurrent, requests_per_minute, tokens_per_minute } = tenant.limits;
            if [concurrent, requests_per_minute, tokens_per_minute].contains(&Some(0)) {
                return Err(KeysError::Zero { name: name.clone() });
            }
            for key in &tenant.keys {
                if !ids.insert(&key.id) {
                    return Err(KeysError::Twice { what: "key", name: key.id.clone() });
                }
            }
        }
        Ok(())
    }
}

/// `null` or a value, but written: serde takes a missing field of a plain `Option` for `None`.
fn written<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(from)
}

/// A hundred thousand keys have about 16 MiB.
const MAX_FILE: u64 = 64 << 20;
/// By which leaked keys are found.
const PREFIX: &str = "casemate-";

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> ApiKeysFile {
        let mut file = ApiKeysFile::default();
        let limits = TenantLimits { concurrent: Some(4), ..TenantLimits::NONE };
        file.add("acme", limits, Some(7), [1; 32]).unwrap();
        file
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let mut file = sample();
        let new = file.add("acme", TenantLimits::NONE, None, [2; 32]).unwrap();
        assert!(new.key.starts_with("casemate-AgIC") && new.key.len() == 52, "{}", new.key);
        assert_eq!(file.tenants.len(), 1);
        assert_eq!(file.tenants[0].limits, TenantLimits::NONE, "from now on");
        let text = file.render();
        assert!(!text.contains(&new.key) && text.contains(&new.id));
        assert_eq!(ApiKeysFile::parse(&text), Ok(file.clone()));
        file.revoke(&new.id).unwrap();
        assert_eq!(file.tenants[0].keys.len(), 1);
        assert_eq!(file.revoke(&new.id).unwrap_err().code(), "keys.no-such-key");
    }

    #[test]
    fn one_mistake_each_has_its_code() {
        let text = sample().render();
        let code = |text: String| ApiKeysFile::parse(&text).err().map(|e| e.code());
        assert_eq!(code(text.clone()), None);
        for (from, to, expected) in [
            ("api-keys/1", "api-keys/2", "keys.form"),
            ("\"concurrent\": 4,", "", "keys.form"),
            ("\"not_after\": 7", "\"not_after\": \"7\"", "keys.form"),
            ("\"not_after\": 7", "\"not_before\": 7", "keys.form"),
            ("\"concurrent\": 4", "\"concurrent\": -4", "keys.form"),
            ("\"concurrent\": 4", "\"concurrent\": 0", "keys.zero"),
            ("\"acme\"", "\"\"", "keys.name"),
            ("\"acme\"", "\"a b\"", "keys.name"),
        ] {
            assert!(text.contains(from), "{from}");
            assert_eq!(code(text.replace(from, to)), Some(expected), "{to}");
        }
        let mut twice = sample();
        twice.tenants.push(twice.tenants[0].clone());
        assert_eq!(code(twice.render()), Some("keys.twice"));
        let mut twice = sample();
        let key = twice.tenants[0].keys[0].clone();
        twice.tenants[0].keys.push(key);
        assert_eq!(code(twice.render()), Some("keys.twice"));
        let mut file = sample();
        assert_eq!(
            file.add("a/b", TenantLimits::NONE, None, [2; 32]).err().map(|e| e.code()),
            Some("keys.name")
        );
        assert_eq!(file, sample(), "nothing is half done");
    }
}
