//! A detached EAT bundle (RFC 9711 §5): an overall token that has its submodules' digests, and the submodules' tokens.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::checks::Finding;
use crate::crypto;
use crate::json;
use crate::token::claims::View;
use crate::token::errors::TokenRejection;
use crate::token::jws::{Jws, MAX_TOKEN, TokenError};

/// Most devices of a bundle: a machine has 8 GPUs and 4 switches, the largest that share one fabric have 72 and 18.
const MAX_DEVICES: usize = 128;

/// A submodule's token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Submodule {
    pub(crate) name: String,
    /// The token as it arrived, which is what is digested.
    text: String,
    pub(crate) jws: Jws,
}

/// What a bundle is made of.
pub(crate) struct Bundle {
    pub(crate) overall: Jws,
    pub(crate) submodules: Vec<Submodule>,
}

/// Whether bytes are a list whose first element is a list, as nothing else here is.
pub(crate) fn is_bundle(input: &[u8]) -> bool {
    let rest = input.trim_ascii().strip_prefix(b"[");
    rest.is_some_and(|rest| rest.trim_ascii_start().starts_with(b"["))
}

impl Bundle {
    /// `[["JWT", overall], {name: token, …}]` and nothing else.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, TokenError> {
        if text.len() > MAX_TOKEN {
            return Err(TokenError::TooLong { found: text.len() });
        }
        let wrong = |what: &str| TokenError::Bundle(what.to_owned());
        let value = json::parse(text).map_err(|error| wrong(&error.to_string()))?;
        let Some([first, Value::Object(members)]) = value.as_array().map(Vec::as_slice) else {
            return Err(wrong("it is not a list of a token and an object"));
        };
        let Some([Value::String(kind), Value::String(overall)]) = first.as_array().map(Vec::as_slice) else {
            return Err(wrong("its first element is not a kind and a token"));
        };
        if kind != "JWT" {
            return Err(wrong("its first token is not a JWT"));
        }
        if members.is_empty() || members.len() > MAX_DEVICES {
            return Err(wrong("it has no submodules, or too many"));
        }
        let submodules = members.iter().map(|(name, token)| {
            let text = token.as_str().ok_or_else(|| wrong("a submodule is not a token"))?.to_owned();
            Ok(Submodule { name: name.clone(), jws: Jws::parse_without_key(text.as_bytes())?, text })
        });
        Ok(Self {
            submodules: submodules.collect::<Result<_, TokenError>>()?,
            overall: Jws::parse_without_key(overall.as_bytes())?,
        })
    }
}

/// NRAS-05: the submodules are exactly those whose digests the overall token has, and the same issuer's.
pub(crate) fn whole(
    overall: &Map<String, Value>,
    submodules: &[Submodule],
) -> Result<((), Finding), TokenRejection> {
    let expected = digests(overall).ok_or(TokenRejection::SubmodulesUnreadable)?;
    let names: Vec<_> = submodules.iter().map(|one| one.name.as_str()).collect();
    let is_same = names.len() == expected.len() && names.iter().all(|name| expected.contains_key(*name));
    if !is_same {
        let expected = expected.into_keys().map(str::to_owned).collect();
        return Err(TokenRejection::Submodules {
            expected,
            found: names.into_iter().map(str::to_owned).collect(),
        });
    }
    for Submodule { name, text, jws } in submodules {
        let digest = crypto::sha256(text.as_bytes());
        if expected.get(name.as_str()).is_none_or(|expected| expected.as_slice() != digest) {
            return Err(TokenRejection::SubmoduleDigest { name: name.clone() });
        }
        let issuer = jws.claims.get("iss").and_then(Value::as_str);
        if issuer.is_none() || issuer != overall.get("iss").and_then(Value::as_str) {
            return Err(TokenRejection::SubmoduleIssuer { name: name.clone() });
        }
    }
    Ok(((), Finding::Pass(format!("SHA-256 of {}", names.join(", ")))))
}

/// `submods` is `{name: ["DIGEST", ["SHA-256", hexadecimal]], …}`.
fn digests(overall: &Map<String, Value>) -> Option<BTreeMap<&str, Vec<u8>>> {
    let mut digests = BTreeMap::new();
    for (name, value) in View(overall).get(&["submods"])?.as_object()? {
        let [kind, digest] = value.as_array()?.as_slice() else { return None };
        let [algorithm, digest] = digest.as_array()?.as_slice() else { return None };
        if kind != "DIGEST" || algorithm != "SHA-256" {
            return None;
        }
        digests.insert(name.as_str(), hex::decode(digest.as_str()?).ok()?);
    }
    Some(digests)
}
