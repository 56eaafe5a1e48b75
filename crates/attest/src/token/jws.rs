//! A JSON Web Signature in its compact form (RFC 7515 §7.1), read strictly; nothing of it is believed yet.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::json;

/// Longest token that is looked at: recorded ones have 12 KiB at most, with certificates.
pub const MAX_TOKEN: usize = 128 * 1024;

/// Most certificates in a header's `x5c`.
const MAX_CERTIFICATES: usize = 6;

/// Members of a header that are known. `jku`, `x5t` and `x5t#S256` name keys and certificates for readers who would fetch
/// them; no rule reads them. Every other member, `crit` and `x5u` among them, is refused; `jwk` is too, except in the tokens of
/// verifiers who always send one, where no rule reads it.
const KNOWN: [&str; 9] = ["alg", "kid", "typ", "cty", "jku", "jwk", "x5c", "x5t", "x5t#S256"];

/// A signature algorithm (RFC 7518 §3.1). There are no others: neither `none` nor a keyed hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA P-256 with SHA-256.
    Es256,
    /// ECDSA P-384 with SHA-384.
    Es384,
}

/// Header, claims and signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Jws {
    pub(crate) header: Header,
    pub(crate) claims: Map<String, Value>,
    /// The text that is signed: the first two parts with the dot between them.
    pub(crate) signed: String,
    pub(crate) signature: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: Option<String>,
    /// DER, the signer's first; empty where the header has none.
    pub(crate) certificates: Vec<Vec<u8>>,
    /// Whether it brings a key, which nobody looks at.
    pub(crate) has_key: bool,
}

/// Why bytes are not a token.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Longer than any token.
    #[error("a token has at most {MAX_TOKEN} bytes, not {found}")]
    TooLong {
        /// Bytes that arrived.
        found: usize,
    },
    /// Not three parts of base64url.
    #[error("the token's {part} is not base64url without padding")]
    Encoding {
        /// Which.
        part: &'static str,
    },
    /// Not three parts.
    #[error("a token has three parts with two dots between them")]
    Parts,
    /// Not JSON, no object, or with a member twice.
    #[error("the token's {part} is not understood: {error}")]
    Json {
        /// Which.
        part: &'static str,
        /// What is wrong.
        error: String,
    },
    /// A header member that must be understood to be safe, or that nobody knows.
    #[error("the token's header has {member:?}")]
    Header {
        /// Which.
        member: String,
    },
    /// A header member of another type.
    #[error("the token's header has an unreadable {member:?}")]
    Member {
        /// Which.
        member: &'static str,
    },
    /// `none`, a keyed hash, or anything else.
    #[error("the token's algorithm {found:?} is not accepted")]
    Algorithm {
        /// In the header.
        found: String,
    },
    /// Not a bundle of an overall token and devices' tokens.
    #[error("the bundle is not understood: {0}")]
    Bundle(String),
    /// Claims of nobody that is known here.
    #[error("the token is of no known issuer: {found}")]
    Kind {
        /// What stands there.
        found: String,
    },
}

impl Algorithm {
    /// As in a header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
        }
    }
}

impl Jws {
    /// As [`Self::parse`], without a key in the header.
    pub(crate) fn parse_without_key(text: &[u8]) -> Result<Self, TokenError> {
        Self::parse(text)?.without_key()
    }

    pub(crate) fn without_key(self) -> Result<Self, TokenError> {
        if self.header.has_key { Err(TokenError::Header { member: "jwk".to_owned() }) } else { Ok(self) }
    }

    /// TOK-01: exactly the compact form.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, TokenError> {
        if text.len() > MAX_TOKEN {
            return Err(TokenError::TooLong { found: text.len() });
        }
        let text = core::str::from_utf8(text).map_err(|_| TokenError::Parts)?;
        let (signed, signature) = text.rsplit_once('.').ok_or(TokenError::Parts)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Parts)?;
        if payload.contains('.') {
            return Err(TokenError::Parts);
        }
        Ok(Self {
            header: Header::parse(object(header, "header")?)?,
            claims: object(payload, "payload")?,
            signed: signed.to_owned(),
            signature: decode(signature, "signature")?,
        })
    }
}

impl Header {
    fn parse(members: Map<String, Value>) -> Result<Self, TokenError> {
        if let Some(member) = members.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            return Err(TokenError::Header { member: member.clone() });
        }
        let algorithm = text(&members, "alg")?.ok_or(TokenError::Member { member: "alg" })?;
        if let Some(kind) = text(&members, "typ")?
            && !kind.eq_ignore_ascii_case("jwt")
        {
            return Err(TokenError::Member { member: "typ" });
        }
        Ok(Self {
            algorithm: match algorithm {
                "RS256" => Algorithm::Rs256,
                "ES256" => Algorithm::Es256,
                "ES384" => Algorithm::Es384,
                _ => return Err(TokenError::Algorithm { found: algorithm.to_owned() }),
            },
            key_id: text(&members, "kid")?.map(str::to_owned),
            has_key: members.contains_key("jwk"),
            certificates: match members.get("x5c") {
                None => Vec::new(),
                Some(list) => certificates(list).ok_or(TokenError::Member { member: "x5c" })?,
            },
        })
    }
}

/// Standard base64, unlike everything else (RFC 7515 §4.1.6).
fn certificates(list: &Value) -> Option<Vec<Vec<u8>>> {
    let list = list.as_array()?;
    if list.is_empty() || list.len() > MAX_CERTIFICATES {
        return None;
    }
    list.iter().map(|one| STANDARD.decode(one.as_str()?).ok()).collect()
}

fn text<'a>(members: &'a Map<String, Value>, member: &'static str) -> Result<Option<&'a str>, TokenError> {
    match members.get(member) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(TokenError::Member { member }),
    }
}

fn object(part: &str, which: &'static str) -> Result<Map<String, Value>, TokenError> {
    match json::parse(&decode(part, which)?) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(TokenError::Json { part: which, error: "it is not an object".to_owned() }),
        Err(error) => Err(TokenError::Json { part: which, error: error.to_string() }),
    }
}

/// Canonical: no padding, and no bits left over that could differ.
fn decode(part: &str, which: &'static str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Encoding { part: which })
}

impl TokenError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "token.too-long",
            Self::Encoding { .. } => "token.encoding",
            Self::Parts => "token.parts",
            Self::Json { .. } => "token.json",
            Self::Header { .. } => "token.header",
            Self::Member { .. } => "token.header-member",
            Self::Algorithm { .. } => "token.algorithm",
            Self::Bundle(_) => "nras.bundle",
            Self::Kind { .. } => "token.kind",
        }
    }
}
