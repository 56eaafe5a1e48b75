//! One report: its members, each with its form. Members that are not known here are listed and not looked at, since servers
//! add some with every release; none of them decides anything.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::stated::Stated;
use super::{Algorithm, Dstack, Signer};
use crate::bundle::error::BundleError;
use crate::bundle::members::{self, Members};
use crate::bundle::{Content, MAX_DEVICES, NotAsked, Opened};
use crate::eventlog::EventLog;
use crate::evidence::{Evidence, Platform};
use crate::json;
use crate::nvidia::GpuEvidence;

/// Longer addresses are refused before they are decoded; an Ed25519 key has 64 digits.
const MAX_ADDRESS: usize = 128;

/// And longer keys; an uncompressed point has 132 digits with what may be before it.
const MAX_KEY: usize = 256;

/// What else a report may have, and why it is not looked at.
const NOT_ASKED: &[(&str, &str)] = &[
    ("model_name", "the server's own word: nothing binds the name of a model"),
    ("compose_manager_attestation", "a quote of its own, which is not verified here"),
    ("ohttp_key_config", "no rule binds it to the evidence"),
    ("ohttp_attestation", "a signature by the signer, which is not verified here"),
    ("tls_certificate", "the fingerprint of a key is bound, and the certificate is not held against it"),
    ("vm_config", "the host's word: the registers that the policy names say what was started"),
    ("attestation", "of ACI, whose keyset this quote does not bind"),
    ("workload_keyset_digest", "of ACI, whose keyset this quote does not bind"),
    ("service_capabilities", "of ACI, whose keyset this quote does not bind"),
    ("api_version", "of ACI, whose keyset this quote does not bind"),
];

/// Why a member that has no rule is not looked at.
pub(super) fn why(name: &str) -> &'static str {
    let known = NOT_ASKED.iter().find(|(known, _)| *known == name);
    known.map_or("not known here; nothing authenticates it", |(_, why)| why)
}

pub(super) fn open(report: Map<String, Value>, mut not_asked: Vec<NotAsked>) -> Result<Opened, BundleError> {
    let mut report = Members::of(Value::Object(report), "the report")?;
    let evidence = quote(&report.text("intel_quote")?, "intel_quote")?;
    let algorithm = match report.text("signing_algo")?.as_str() {
        "ecdsa" => Algorithm::Ecdsa,
        "ed25519" => Algorithm::Ed25519,
        other => return Err(BundleError::Version { member: "signing_algo", found: json::shorten(other) }),
    };
    let address = address(&report.text("signing_address")?, algorithm)?;
    let public = report.given("signing_public_key").map(public_key).transpose()?;
    let nonce = hex32(&report.text("request_nonce")?, "request_nonce")?;
    let tls = match report.given("tls_cert_fingerprint") {
        None => None,
        Some(value) => Some(hex32(&members::text(value, "tls_cert_fingerprint")?, "tls_cert_fingerprint")?),
    };
    let event_log = event_log(report.given("event_log"), "event_log")?;
    let stated = Stated::read(&mut report)?;
    let (devices, device_nonce) = devices(report.given("nvidia_payload"))?;
    not_asked.extend(
        report.rest().into_iter().map(|name| NotAsked { why: why(&name), what: json::shorten(&name) }),
    );
    not_asked.extend(stated.not_asked());
    let variant = if tls.is_some() { "signer and TLS key" } else { "signer" };
    let signer = Signer { algorithm, address, public };
    Ok(Opened {
        variant,
        evidence,
        carried: None,
        event_log,
        devices,
        // Every device answers the nonce of the report.
        device_nonce: Some(nonce),
        nonce: Some(nonce.to_vec()),
        content: Content::Dstack(Dstack { signer, tls, nonce, device_nonce, stated }),
        not_asked,
    })
}

/// A TDX quote in hexadecimal.
pub(in crate::bundle) fn quote(text: &str, member: &'static str) -> Result<Evidence, BundleError> {
    let evidence = Evidence::parse(&decoded(text, member)?)?;
    match evidence.platform() {
        Platform::Tdx => Ok(evidence),
        found => Err(BundleError::Platform { named: Platform::Tdx, found }),
    }
}

/// dstack's list, or the text of it.
pub(in crate::bundle) fn event_log(
    value: Option<Value>,
    member: &'static str,
) -> Result<Option<EventLog>, BundleError> {
    let list = match value {
        None => return Ok(None),
        Some(Value::String(text)) => members::parse(text.as_bytes(), member)?,
        Some(value) => value,
    };
    match list {
        Value::Array(_) => Ok(Some(EventLog::of_dstack(&list)?)),
        _ => Err(BundleError::Type { member, expected: "a list of events, or the text of one" }),
    }
}

/// Hexadecimal in either case: servers repeat a nonce as they were asked with it.
pub(in crate::bundle) fn decoded(text: &str, member: &'static str) -> Result<Vec<u8>, BundleError> {
    hex::decode(text).map_err(|_| BundleError::Encoding { member, expected: "hexadecimal" })
}

fn hex32(text: &str, member: &'static str) -> Result<[u8; 32], BundleError> {
    let bytes = decoded(text, member)?;
    let found = bytes.len();
    bytes.try_into().map_err(|_| BundleError::Length { member, expected: 32, found })
}

/// An address has `0x` before it, an Ed25519 key has not.
fn address(text: &str, algorithm: Algorithm) -> Result<Vec<u8>, BundleError> {
    const MEMBER: &str = "signing_address";
    let digits = match algorithm {
        Algorithm::Ecdsa => text.strip_prefix("0x"),
        Algorithm::Ed25519 => Some(text),
    };
    match digits {
        Some(digits) if digits.len() <= MAX_ADDRESS => decoded(digits, MEMBER),
        _ => Err(BundleError::Encoding { member: MEMBER, expected: "an address in hexadecimal" }),
    }
}

fn public_key(value: Value) -> Result<Vec<u8>, BundleError> {
    const MEMBER: &str = "signing_public_key";
    let text = members::text(value, MEMBER)?;
    if text.len() > MAX_KEY {
        return Err(BundleError::Encoding { member: MEMBER, expected: "a public key in hexadecimal" });
    }
    decoded(text.strip_prefix("0x").unwrap_or(&text), MEMBER)
}

type Devices = (Vec<GpuEvidence>, Option<[u8; 32]>);

/// `{"nonce":…,"evidence_list":[{"certificate":…,"evidence":…}],"arch":…}`, or the text of it. What else stands there is a
/// label: the certificates say what a device is.
fn devices(payload: Option<Value>) -> Result<Devices, BundleError> {
    let payload = match payload {
        None => return Ok((Vec::new(), None)),
        Some(Value::String(text)) if text.is_empty() => return Ok((Vec::new(), None)),
        Some(Value::String(text)) => members::parse(text.as_bytes(), "nvidia_payload")?,
        Some(value) => value,
    };
    let mut payload = Members::of(payload, "nvidia_payload")?;
    let list = payload.list("nvidia_payload.evidence_list", MAX_DEVICES)?;
    let nonce = hex32(&payload.text("nvidia_payload.nonce")?, "nvidia_payload.nonce")?;
    let devices = list.into_iter().map(device).collect::<Result<Vec<_>, _>>()?;
    Ok((devices, Some(nonce)))
}

fn device(value: Value) -> Result<GpuEvidence, BundleError> {
    let mut device = Members::of(value, "nvidia_payload.evidence_list")?;
    let mut decode = |path: &'static str| {
        let text = device.text(path)?;
        STANDARD
            .decode(text)
            .map_err(|_| BundleError::Encoding { member: path, expected: "standard base64 with padding" })
    };
    let report = decode("nvidia_payload.evidence_list.evidence")?;
    let chain = decode("nvidia_payload.evidence_list.certificate")?;
    Ok(GpuEvidence::parse(&report, &chain)?)
}
