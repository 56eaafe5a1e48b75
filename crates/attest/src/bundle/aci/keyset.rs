//! The workload keyset (ACI §3.1): the keys of a service by their roles, until when.
//!
//! Its digest is over the canonical form of what was parsed. So everything that two writers of that form could write in two
//! ways is refused before: names outside ASCII, and numbers that are not integers which a double holds exactly.

use serde_json::Value;

use crate::bundle::BoundValue;
use crate::bundle::error::BundleError;
use crate::bundle::members::{self, Members};
use crate::bundle::refused::BundleDenial;
use crate::checks::Finding;
use crate::crypto;
use crate::json;

/// More keys of one role are refused.
const MAX_KEYS: usize = 64;
/// Longer keys and names are refused; an uncompressed point has 130 digits.
const MAX_TEXT: usize = 4096;
/// 2^53 - 1: RFC 8785 §3.1 has IEEE 754 doubles (RFC 7493 §2.2).
const MAX_INTEGER: u64 = 9_007_199_254_740_991;

const KEYSET: &str = "attestation.workload_keyset";
const SIGNING: &str = "attestation.workload_keyset.receipt_signing_keys";
const E2EE: &str = "attestation.workload_keyset.e2ee_public_keys";
const TLS: &str = "attestation.workload_keyset.tls_public_keys";

/// A keyset, and its canonical form.
#[derive(Debug, Clone)]
pub(super) struct Keyset {
    canonical: Vec<u8>,
    subject: Option<String>,
    not_after: u64,
    signing: Vec<Key>,
    e2ee: Vec<Key>,
    tls: Vec<TlsKey>,
}

#[derive(Debug, Clone)]
struct Key {
    id: String,
    algorithm: String,
    /// As it is written.
    public: String,
}

#[derive(Debug, Clone)]
struct TlsKey {
    spki_sha256: [u8; 32],
    domain: Option<String>,
}

impl Keyset {
    pub(super) fn read(value: Value) -> Result<Self, BundleError> {
        plain(&value)?;
        let canonical = serde_json_canonicalizer::to_vec(&value).map_err(|_| BundleError::Encoding {
            member: KEYSET,
            expected: "JSON that RFC 8785 can write",
        })?;
        let mut keyset = Members::of(value, KEYSET)?;
        let subject = keyset.given("attestation.workload_keyset.subject");
        let subject = subject.map(|value| short(value, "attestation.workload_keyset.subject")).transpose()?;
        let not_after = keyset.take("attestation.workload_keyset.not_after")?;
        let not_after = not_after.as_u64().ok_or(BundleError::Type {
            member: "attestation.workload_keyset.not_after",
            expected: "seconds since 1970",
        })?;
        let signing = keys(keyset.list(SIGNING, MAX_KEYS)?, SIGNING)?;
        let e2ee = keys(keyset.list(E2EE, MAX_KEYS)?, E2EE)?;
        let tls = keyset.given(TLS).map(|list| members::list(list, TLS, MAX_KEYS)).transpose()?;
        let tls = tls.unwrap_or_default().into_iter().map(tls_key).collect::<Result<Vec<_>, _>>()?;
        keyset.end()?;
        Ok(Self { canonical, subject, not_after, signing, e2ee, tls })
    }

    /// SHA-256 of the canonical form.
    pub(super) fn digest(&self) -> [u8; 32] {
        crypto::sha256(&self.canonical)
    }

    /// The first second at which it is no longer accepted.
    pub(super) fn not_after(&self) -> u64 {
        self.not_after
    }

    /// BUN-A01.
    pub(super) fn roles(&self) -> Result<((), Finding), BundleDenial> {
        let both = self
            .signing
            .iter()
            .find(|key| self.e2ee.iter().any(|other| other.public.eq_ignore_ascii_case(&key.public)));
        if let Some(key) = both {
            return Err(BundleDenial::TwoRoles { id: json::shorten(&key.id) });
        }
        let finding = format!(
            "{} to sign receipts, {} for encryption, {} for TLS",
            self.signing.len(),
            self.e2ee.len(),
            self.tls.len()
        );
        Ok(((), Finding::Pass(finding)))
    }

    /// What the statement binds: the digest, and every key that is written as its role's keys are.
    pub(super) fn values(&self, digest: &[u8; 32]) -> Vec<BoundValue> {
        let mut values = vec![BoundValue::new("keyset-sha256", digest)];
        if let Some(subject) = &self.subject {
            values.push(BoundValue::new("keyset-subject", subject.as_bytes()));
        }
        for (name, keys) in [("receipt-key", &self.signing), ("e2ee-key", &self.e2ee)] {
            for key in keys {
                // An algorithm of its own may have an encoding of its own, which is shown as it is written.
                let public = hex::decode(&key.public).unwrap_or_else(|_| key.public.clone().into_bytes());
                let of = format!("{} ({})", json::shorten(&key.id), json::shorten(&key.algorithm));
                values.push(BoundValue::new(name, &public).of(of));
            }
        }
        for key in &self.tls {
            // A key of one host is no key of another: it has a name of its own, so that nobody takes it for one.
            values.push(match &key.domain {
                None => BoundValue::new("tls-spki-sha256", &key.spki_sha256),
                Some(domain) => BoundValue::new("tls-spki-sha256-of-host", &key.spki_sha256)
                    .of(json::shorten_to(domain, 253)),
            });
        }
        values
    }
}

fn keys(list: Vec<Value>, path: &'static str) -> Result<Vec<Key>, BundleError> {
    let mut keys: Vec<Key> = Vec::with_capacity(list.len());
    for key in list {
        let mut key = Members::of(key, path)?;
        let mut text = |name| short(key.take(name)?, path);
        let (id, algorithm, public) = (text("key_id")?, text("algo")?, text("public_key")?);
        key.end()?;
        if id.is_empty() || keys.iter().any(|earlier| earlier.id == id) {
            return Err(BundleError::Duplicate { member: path, name: json::shorten(&id) });
        }
        keys.push(Key { id, algorithm, public });
    }
    Ok(keys)
}

fn tls_key(key: Value) -> Result<TlsKey, BundleError> {
    let mut key = Members::of(key, TLS)?;
    let spki_sha256 = key.hex("attestation.workload_keyset.tls_public_keys.spki_sha256")?;
    let domain = key.given("domain").map(|domain| short(domain, TLS)).transpose()?;
    key.end()?;
    Ok(TlsKey { spki_sha256, domain })
}

fn short(value: Value, member: &'static str) -> Result<String, BundleError> {
    let text = members::text(value, member)?;
    if text.len() > MAX_TEXT {
        return Err(BundleError::TooMany { member, found: text.len(), maximum: MAX_TEXT });
    }
    Ok(text)
}

/// Nothing that the canonical form could be two of.
fn plain(value: &Value) -> Result<(), BundleError> {
    let wrong = BundleError::Encoding { member: KEYSET, expected: "JSON with names in ASCII, and integers" };
    match value {
        Value::Number(number) if number.as_u64().is_some_and(|number| number <= MAX_INTEGER) => Ok(()),
        Value::Number(_) => Err(wrong),
        Value::Object(members) if !members.keys().all(|name| name.is_ascii()) => Err(wrong),
        Value::Object(members) => members.values().try_for_each(plain),
        Value::Array(items) => items.iter().try_for_each(plain),
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}
