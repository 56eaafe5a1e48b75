//! Keys of an issuer (RFC 7517), given by the relying party. They are trust anchors: whoever chooses them chooses who is
//! believed.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use thiserror::Error;

use super::jws::Algorithm;
use crate::crypto;
use crate::der;
use crate::json::{self, JsonError};
use crate::x509::{Certificate, PublicKey};

/// Larger sets are refused before they are parsed. Recorded ones have 60 KiB at most, with quotes in certificates.
const MAX_SET: usize = 1024 * 1024;

/// A public key of an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    /// Big-endian.
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    P256(Box<[u8; 65]>),
    P384(Box<[u8; 97]>),
}

/// Keys by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeySet {
    keys: Vec<Named>,
}

/// A key with its name, and the certificates that stand with it: nothing here says that they are right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) key_id: String,
    pub(crate) key: Key,
    /// DER, the key's own first.
    pub(crate) certificates: Vec<Vec<u8>>,
}

/// Why a set of keys is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeySetError {
    /// Longer than any.
    #[error("a JSON Web Key Set has at most {MAX_SET} bytes, not {found}")]
    TooLong {
        /// Bytes that arrived.
        found: usize,
    },
    /// Not JSON, or a member twice.
    #[error("the JSON Web Key Set is not understood: {0}")]
    Json(JsonError),
    /// Not `{"keys": [...]}`.
    #[error("the JSON Web Key Set has no list of keys")]
    NoKeys,
    /// A key that cannot be read, or has no name.
    #[error("key {position} of the JSON Web Key Set is not understood")]
    Key {
        /// From 1.
        position: usize,
    },
    /// A key that is for something else than verifying signatures with its algorithm.
    #[error("key {position} of the JSON Web Key Set is not for verifying tokens: its {member:?} says so")]
    Purpose {
        /// From 1.
        position: usize,
        /// `alg`, `use` or `key_ops`.
        member: &'static str,
    },
    /// Two keys of one name.
    #[error("two keys of the JSON Web Key Set are named {key_id:?}")]
    Duplicate {
        /// Which.
        key_id: String,
    },
}

impl KeySet {
    /// Keys for encryption are left out; every other key must be readable, and for verifying signatures.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        if text.len() > MAX_SET {
            return Err(KeySetError::TooLong { found: text.len() });
        }
        let set = json::parse(text).map_err(KeySetError::Json)?;
        let list = set.get("keys").and_then(Value::as_array).ok_or(KeySetError::NoKeys)?;
        let mut keys: Vec<Named> = Vec::new();
        for (jwk, position) in list.iter().zip(1_usize..) {
            let jwk = jwk.as_object().ok_or(KeySetError::Key { position })?;
            if jwk.get("use").is_some_and(|purpose| purpose == "enc") {
                continue;
            }
            let key = Key::parse(jwk).ok_or(KeySetError::Key { position })?;
            if let Some(member) = key.other_purpose(jwk) {
                return Err(KeySetError::Purpose { position, member });
            }
            let key_id = text_of(jwk, "kid").ok_or(KeySetError::Key { position })?.to_owned();
            if keys.iter().any(|other| other.key_id == key_id) {
                return Err(KeySetError::Duplicate { key_id });
            }
            keys.push(Named { key_id, key, certificates: certificates(jwk) });
        }
        if keys.is_empty() { Err(KeySetError::NoKeys) } else { Ok(Self { keys }) }
    }

    pub(crate) fn find(&self, key_id: &str) -> Option<&Named> {
        self.keys.iter().find(|named| named.key_id == key_id)
    }

    /// The key of a set of one.
    pub(crate) fn only(&self) -> Option<&Named> {
        match self.keys.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }
}

impl Key {
    /// The members of its type, or where there are none, the first certificate's key: some issuers publish no more.
    fn parse(jwk: &Map<String, Value>) -> Option<Self> {
        let number = |member| URL_SAFE_NO_PAD.decode(text_of(jwk, member)?).ok();
        match text_of(jwk, "kty")? {
            "RSA" if jwk.contains_key("n") => {
                Some(Self::Rsa { modulus: number("n")?, exponent: number("e")? })
            }
            "RSA" => Self::from_der(&STANDARD.decode(jwk.get("x5c")?.get(0)?.as_str()?).ok()?),
            "EC" => {
                let point = [vec![0x04], number("x")?, number("y")?].concat();
                match text_of(jwk, "crv")? {
                    "P-256" => Some(Self::P256(Box::new(point.try_into().ok()?))),
                    "P-384" => Some(Self::P384(Box::new(point.try_into().ok()?))),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The member of the set, where there is one, that says that the key is for something else than it is used for here:
    /// verifying signatures with the one algorithm of its kind (RFC 7517 §4.2 to §4.4).
    fn other_purpose(&self, jwk: &Map<String, Value>) -> Option<&'static str> {
        let algorithm = match self {
            Self::Rsa { .. } => Algorithm::Rs256,
            Self::P256(_) => Algorithm::Es256,
            Self::P384(_) => Algorithm::Es384,
        };
        let contradicts = |member: &'static str, agrees: &dyn Fn(&Value) -> bool| {
            jwk.get(member).is_some_and(|value| !agrees(value)).then_some(member)
        };
        contradicts("alg", &|alg| alg == algorithm.as_str())
            .or_else(|| contradicts("use", &|purpose| purpose == "sig"))
            .or_else(|| contradicts("key_ops", &verifies_only_once))
    }

    /// Of a certificate, whose other fields are not looked at here. Certificates with quotes in them have extensions that
    /// only this part of X.509 reads.
    fn from_der(der: &[u8]) -> Option<Self> {
        use x509_parser::prelude::FromDer;
        let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(der).ok()?;
        Self::from_spki(certificate.public_key().raw)
    }

    fn from_spki(spki: &[u8]) -> Option<Self> {
        let (_, key) = der::public_key(spki)?;
        match key.len() {
            65 => Some(Self::P256(Box::new(key.try_into().ok()?))),
            97 => Some(Self::P384(Box::new(key.try_into().ok()?))),
            _ => {
                let (modulus, exponent) = der::rsa_public_key(key)?;
                Some(Self::Rsa { modulus: modulus.to_vec(), exponent: exponent.to_vec() })
            }
        }
    }

    /// Of a certificate that was validated.
    pub(crate) fn of(certificate: &Certificate) -> Option<Self> {
        match certificate.key {
            PublicKey::Other => None,
            PublicKey::Rsa { .. } | PublicKey::P384(_) => Self::from_spki(&certificate.spki),
        }
    }

    /// Whether this key made the signature, with this algorithm and no other.
    pub(crate) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match (self, algorithm) {
            (Self::Rsa { modulus, exponent }, Algorithm::Rs256) => {
                crypto::verify_rsa_pkcs1_sha256(modulus, exponent, message, signature)
            }
            (Self::P256(point), Algorithm::Es256) => signature
                .try_into()
                .is_ok_and(|signature| crypto::verify_p256_sha256(point, message, signature)),
            (Self::P384(point), Algorithm::Es384) => {
                signature.split_at_checked(48).is_some_and(|(r, s)| match (r.try_into(), s.try_into()) {
                    (Ok(r), Ok(s)) => crypto::verify_p384_sha384(point, message, r, s),
                    _ => false,
                })
            }
            (Self::Rsa { .. }, Algorithm::Es256 | Algorithm::Es384)
            | (Self::P256(_), Algorithm::Rs256 | Algorithm::Es384)
            | (Self::P384(_), Algorithm::Rs256 | Algorithm::Es256) => false,
        }
    }
}

/// Operations of a key, each a text and none twice, `verify` among them.
fn verifies_only_once(operations: &Value) -> bool {
    let Some(operations) = operations.as_array() else { return false };
    let alone = |text: &Value| operations.iter().filter(|other| *other == text).count() == 1;
    operations.iter().all(|text| text.is_string() && alone(text))
        && operations.iter().any(|text| text == "verify")
}

/// None, where one of them cannot be read.
fn certificates(jwk: &Map<String, Value>) -> Vec<Vec<u8>> {
    let list = jwk.get("x5c").and_then(Value::as_array);
    let decoded = list.map(|list| list.iter().map(|one| STANDARD.decode(one.as_str()?).ok()).collect());
    decoded.flatten().unwrap_or_default()
}

fn text_of<'a>(members: &'a Map<String, Value>, member: &str) -> Option<&'a str> {
    members.get(member)?.as_str()
}

impl KeySetError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "jwks.too-long",
            Self::Json(_) => "jwks.json",
            Self::NoKeys => "jwks.no-keys",
            Self::Key { .. } => "jwks.key",
            Self::Purpose { .. } => "jwks.purpose",
            Self::Duplicate { .. } => "jwks.duplicate",
        }
    }
}
