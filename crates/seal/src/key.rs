//! The model key, the identity that it belongs to, and the text form of both for key files.

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use subtle::ConstantTimeEq as _;
use thiserror::Error;
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

use crate::manifest::MAX_INTEGER;

/// A sealed model's 32-byte key: one per (model, version), from a cryptographic random generator.
///
/// Wiped on drop. It cannot be printed, cloned or serialised; [`ModelKey::expose`] is the only way out.
///
/// ```compile_fail,E0277
/// println!("{:?}", casemate_seal::ModelKey::from_bytes([0; 32]));
/// ```
/// ```compile_fail,E0599
/// let second = casemate_seal::ModelKey::from_bytes([0; 32]).clone();
/// ```
#[derive(ZeroizeOnDrop)]
pub struct ModelKey([u8; 32]);

/// Which model, and which version of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelId {
    /// The model's UUID (RFC 9562), as bytes in text order.
    pub uuid: [u8; 16],
    /// Version of the model, at most 2^53 - 1. A broker refuses versions below its floor.
    pub version: u64,
}

/// A model key with the identity that it belongs to: what `casemate seal` hands to the broker.
pub struct KeyFile {
    /// The model.
    pub id: ModelId,
    /// Its key.
    pub key: ModelKey,
}

/// A text that is not a UUID in its one accepted form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a UUID in lower-case 8-4-4-4-12 form")]
pub struct UuidError;

/// Why a key file was refused. No variant carries any of its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyFileError {
    /// Not JSON, not these four members, a member twice, or more than this.
    #[error("not a model key file: line {line}, column {column}")]
    Malformed {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// The `format` member names something else.
    #[error("the key file's format is not {KEY_FILE_FORMAT}")]
    Format,
    /// The `uuid` member is not a UUID.
    #[error("the key file's uuid is not a UUID in lower-case 8-4-4-4-12 form")]
    Uuid,
    /// The `version` member is above 2^53 - 1.
    #[error("the key file's version {found} is above {MAX_INTEGER}")]
    Version {
        /// The value found.
        found: u64,
    },
    /// The `key` member is not 32 bytes of base64url without padding.
    #[error("the key file's key is not 32 bytes in base64url without padding")]
    Key,
}

/// The `format` member of a key file.
const KEY_FILE_FORMAT: &str = "casemate-model-key/v1";
/// Separates the key commitment from every other use of SHA-256.
const COMMITMENT_LABEL: &[u8] = b"sealed-model/v1 mk";

impl ModelKey {
    /// Takes the key.
    pub fn from_bytes(mut bytes: [u8; 32]) -> Self {
        let key = Self(bytes);
        bytes.zeroize();
        key
    }

    /// The key itself.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// SHA-256(`"sealed-model/v1 mk"` || key): public, names the key without telling it (SEAL-12).
    pub fn commitment(&self) -> [u8; 32] {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(COMMITMENT_LABEL);
        hash.update(&self.0);
        hash.finish().as_ref().try_into().unwrap_or_default()
    }

    /// Whether this key is the one that `commitment` names; in constant time.
    pub fn matches(&self, commitment: &[u8; 32]) -> bool {
        self.commitment().ct_eq(commitment).into()
    }
}

impl ModelId {
    /// Reads a UUID in its one accepted form: lower case, `8-4-4-4-12`.
    ///
    /// # Errors
    /// [`UuidError`] for anything else.
    pub fn parse_uuid(text: &str) -> Result<[u8; 16], UuidError> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let mut uuid = [0; 16];
        hex::decode_to_slice(digits, &mut uuid).map_err(|_| UuidError)?;
        if uuid_text(&uuid) == text { Ok(uuid) } else { Err(UuidError) }
    }

    /// The UUID in lower-case `8-4-4-4-12` form.
    pub fn uuid_text(&self) -> String {
        uuid_text(&self.uuid)
    }

    /// The context of one file's blob (SEAL-05): binds model, version and name to the derived keys.
    pub(crate) fn context(&self, name: &str) -> Vec<u8> {
        let mut context = b"sealed-model/v1\0".to_vec();
        context.extend(self.uuid);
        context.extend(self.version.to_be_bytes());
        // Names are at most MAX_NAME_LEN bytes; a longer one cannot collide with any of them either way.
        context.extend(u32::try_from(name.len()).unwrap_or(u32::MAX).to_be_bytes());
        context.extend(name.as_bytes());
        context
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} version {}", self.uuid_text(), self.version)
    }
}

impl KeyFile {
    /// One line of JSON: `{"format":"casemate-model-key/v1","uuid":…,"version":…,"key":<base64url>}`.
    pub fn to_json(&self) -> Zeroizing<String> {
        let key = Zeroizing::new(URL_SAFE_NO_PAD.encode(self.key.expose()));
        // The text is shorter than its buffer, so it never moves and leaves no copy behind.
        let mut text = Zeroizing::new(String::with_capacity(256));
        for part in [
            r#"{"format":""#,
            KEY_FILE_FORMAT,
            r#"","uuid":""#,
            &self.id.uuid_text(),
            r#"","version":"#,
            &self.id.version.to_string(),
            r#","key":""#,
            &key,
            "\"}\n",
        ] {
            text.push_str(part);
        }
        text
    }

    /// Reads what [`KeyFile::to_json`] writes.
    ///
    /// # Errors
    /// [`KeyFileError`], by the first mistake found.
    pub fn from_json(text: &str) -> Result<Self, KeyFileError> {
        // The members are borrowed from the text: the parser makes no copy of the key.
        let wire: KeyFileWire<'_> = serde_json::from_str(text)
            .map_err(|error| KeyFileError::Malformed { line: error.line(), column: error.column() })?;
        if wire.format != KEY_FILE_FORMAT {
            return Err(KeyFileError::Format);
        }
        let uuid = ModelId::parse_uuid(wire.uuid).map_err(|_| KeyFileError::Uuid)?;
        if wire.version > MAX_INTEGER {
            return Err(KeyFileError::Version { found: wire.version });
        }
        let mut bytes = Zeroizing::new([0u8; 32]);
        // decode_slice wants room for its estimate, which may exceed the exact length.
        let mut room = Zeroizing::new([0u8; 48]);
        let len =
            URL_SAFE_NO_PAD.decode_slice(wire.key, room.as_mut_slice()).map_err(|_| KeyFileError::Key)?;
        let decoded = room.get(..len).ok_or(KeyFileError::Key)?;
        if decoded.len() != bytes.len() {
            return Err(KeyFileError::Key);
        }
        bytes.copy_from_slice(decoded);
        Ok(Self { id: ModelId { uuid, version: wire.version }, key: ModelKey::from_bytes(*bytes) })
    }
}

impl KeyFileError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "seal.key-file.malformed",
            Self::Format => "seal.key-file.format",
            Self::Uuid => "seal.key-file.uuid",
            Self::Version { .. } => "seal.key-file.version",
            Self::Key => "seal.key-file.key",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFileWire<'a> {
    format: &'a str,
    uuid: &'a str,
    version: u64,
    key: &'a str,
}

fn uuid_text(uuid: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (i, byte) in uuid.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&hex::encode([*byte]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "00112233-4455-6677-8899-aabbccddeeff";

    fn file() -> KeyFile {
        let id = ModelId { uuid: ModelId::parse_uuid(UUID).unwrap(), version: 17 };
        KeyFile { id, key: ModelKey::from_bytes(std::array::from_fn(|i| i as u8)) }
    }

    #[test]
    fn uuid_has_one_form() {
        assert_eq!(ModelId { uuid: ModelId::parse_uuid(UUID).unwrap(), version: 0 }.uuid_text(), UUID);
        for bad in [
            "",
            "00112233445566778899aabbccddeeff",
            "00112233-4455-6677-8899-AABBCCDDEEFF",
            "{00112233-4455-6677-8899-aabbccddeeff}",
            "00112233-4455-6677-8899-aabbccddeef",
            "00112233-4455-6677-8899-aabbccddeeff0",
            "0011223-34455-6677-8899-aabbccddeeff",
            "-00112233-4455-6677-8899-aabbccddeeff",
            "0011223g-4455-6677-8899-aabbccddeeff",
        ] {
            assert_eq!(ModelId::parse_uuid(bad), Err(UuidError), "{bad}");
        }
    }

    #[test]
    fn context_layout() {
        let id = ModelId { uuid: [0xab; 16], version: 0x0102 };
        let context = id.context("w/é");
        assert_eq!(
            hex::encode(context),
            "7365616c65642d6d6f64656c2f763100abababababababababababababababab000000000000010200000004772fc3a9"
        );
    }

    #[test]
    fn key_file_round_trip() {
        let text = file().to_json();
        assert_eq!(
            text.as_str(),
            "{\"format\":\"casemate-model-key/v1\",\"uuid\":\"00112233-4455-6677-8899-aabbccddeeff\",\
             \"version\":17,\"key\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\"}\n"
        );
        let back = KeyFile::from_json(&text).unwrap();
        assert_eq!(back.id, file().id);
        assert_eq!(back.key.expose(), file().key.expose());
    }

    #[test]
    fn key_file_mistakes_have_names() {
        let good = file().to_json().to_string();
        let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
        let cases = [
            (String::new(), "seal.key-file.malformed"),
            (good.replace("{\"format\"", "{\"x\":1,\"format\""), "seal.key-file.malformed"),
            (good.replace("\"version\":17,", ""), "seal.key-file.malformed"),
            (good.replace("\"version\":17", "\"version\":17,\"version\":17"), "seal.key-file.malformed"),
            (good.replace("17", "-1"), "seal.key-file.malformed"),
            (good.replace("17", "17.0"), "seal.key-file.malformed"),
            (good.replace("17", "\"17\""), "seal.key-file.malformed"),
            (good.replace("casemate-", "\\u0063asemate-"), "seal.key-file.malformed"),
            (format!("{good}{good}"), "seal.key-file.malformed"),
            (good.replace("/v1", "/v2"), "seal.key-file.format"),
            (good.replace("aabb", "AABB"), "seal.key-file.uuid"),
            (good.replace("17", "9007199254740992"), "seal.key-file.version"),
            (good.replace(key, ""), "seal.key-file.key"),
            (good.replace(key, &key[..42]), "seal.key-file.key"),
            (good.replace(key, &format!("{key}=")), "seal.key-file.key"),
            (good.replace(key, &format!("{key}AAAA")), "seal.key-file.key"),
            (good.replace(key, &format!("{key}{key}")), "seal.key-file.key"),
            (good.replace("Hh8", "Hh9"), "seal.key-file.key"),
            (good.replace("AAECAw", "AAEC+w"), "seal.key-file.key"),
        ];
        for (text, code) in cases {
            assert_ne!(text, good);
            assert_eq!(KeyFile::from_json(&text).err().map(|e| e.code()), Some(code), "{text}");
        }
    }

    #[test]
    fn commitment_is_the_labelled_hash() {
        let key = ModelKey::from_bytes([0; 32]);
        let mut input = b"sealed-model/v1 mk".to_vec();
        input.extend([0; 32]);
        assert_eq!(key.commitment(), digest::digest(&digest::SHA256, &input).as_ref());
        assert!(key.matches(&key.commitment()));
        assert!(!key.matches(&ModelKey::from_bytes([1; 32]).commitment()));
    }
}
