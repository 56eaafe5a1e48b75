//! Attestation documents of Tinfoil (spec/bundles.md §3): version 3, version 2, and version 2 with what a client needs
//! beside it.
//!
//! ```text
//! v3  REPORT_DATA = SHA-256("https://tinfoil.sh/report-data/v1" || nonce || SHA-256(crypto_material)
//!                           || SHA-256(device_evidence)) || 32 zeros
//! v2  REPORT_DATA = SHA-256(SubjectPublicKeyInfo of the TLS key) || X25519 key for HPKE
//! ```

mod collateral;
mod gzip;
mod v2;
mod v3;

use serde_json::{Map, Value};

use super::error::BundleError;
use super::refused::BundleDenial;
use super::{Bound, BoundValue, Opened};
use crate::checks::{Finding, Ledger};
use crate::json;
use crate::rules::bundle as rule;

/// Every format of Tinfoil's documents begins so.
const PREDICATE: &str = "https://tinfoil.sh/predicate/";
const V3: &str = "https://tinfoil.sh/predicate/attestation/v3";
const SNP_V2: &str = "https://tinfoil.sh/predicate/sev-snp-guest/v2";
const TDX_V2: &str = "https://tinfoil.sh/predicate/tdx-guest/v2";

/// SHA-256 of the SubjectPublicKeyInfo of the TLS key.
pub(super) const TLS: &str = "tls-spki-sha256";
/// X25519 key for HPKE.
pub(super) const HPKE: &str = "hpke-x25519";

/// What a document binds.
#[derive(Debug, Clone)]
pub(crate) enum Tinfoil {
    /// Version 3.
    V3(v3::Sections),
    /// Version 2, and the certificate that stands beside it in its bundle.
    V2(v2::Keys),
}

/// Whether this is a document of Tinfoil, or a version 2 document in its bundle.
pub(super) fn is_marked(members: &Map<String, Value>) -> bool {
    let report = members.get("enclaveAttestationReport").and_then(|report| report.get("format"));
    [members.get("format"), report]
        .into_iter()
        .flatten()
        .any(|format| format.as_str().is_some_and(|format| format.starts_with(PREDICATE)))
}

pub(super) fn open(members: Map<String, Value>) -> Result<Opened, BundleError> {
    if members.contains_key("enclaveAttestationReport") {
        return v2::open_bundle(members);
    }
    match members.get("format").and_then(Value::as_str) {
        Some(V3) => v3::open(members),
        Some(SNP_V2 | TDX_V2) => v2::open(members),
        Some(other) => Err(unknown("format", other)),
        None => Err(BundleError::Missing { member: "format" }),
    }
}

impl Tinfoil {
    /// BUN-T01 and BUN-T02.
    pub(super) fn bind(&self, opened: &Opened, ledger: &mut Ledger) -> Result<Bound, BundleDenial> {
        match self {
            Self::V3(sections) => {
                let nonce = opened.nonce.as_deref().unwrap_or_default();
                let report_data = ledger.record(&rule::DIGESTS, sections.digests(nonce))?;
                let values = ledger.record(&rule::KEYS, sections.keys())?;
                Ok(Bound { report_data: Some(report_data), values, until: None })
            }
            Self::V2(keys) => {
                let none = Finding::Pass("this version states none".to_owned());
                let none: Result<_, BundleDenial> = Ok(((), none));
                ledger.record(&rule::DIGESTS, none)?;
                let values = ledger.record(&rule::KEYS, keys.named())?;
                Ok(Bound { report_data: None, values, until: None })
            }
        }
    }
}

/// A format, version or algorithm of Tinfoil's that is not known here.
fn unknown(member: &'static str, found: &str) -> BundleError {
    BundleError::Version { member, found: json::shorten(found) }
}

/// The TLS key and the one for HPKE.
fn values(tls: &[u8], hpke: Option<&[u8]>) -> Vec<BoundValue> {
    let value = |name, bytes: &[u8]| BoundValue::new(name, bytes);
    let tls = value(TLS, tls);
    [tls].into_iter().chain(hpke.map(|key| value(HPKE, key))).collect()
}
