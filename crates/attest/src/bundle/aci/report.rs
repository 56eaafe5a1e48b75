//! The report's members (ACI §4.1 and §4.2, the `tdx` evidence of dstack).

use serde_json::{Map, Value};

use super::Aci;
use super::keyset::Keyset;
use crate::bundle::dstack::{decoded, event_log, quote};
use crate::bundle::error::BundleError;
use crate::bundle::members::{self, Members};
use crate::bundle::{Content, NotAsked, Opened};
use crate::json;

/// The version that is known here.
const VERSION: &str = "aci/1";

/// Members that have no rule, and why.
const NOT_ASKED: &[(&str, &str)] = &[
    ("source_provenance", "the service's own word: the policy's terms for RTMR3 name the compose file"),
    ("service_capabilities", "the service's own word"),
    ("vm_config", "the host's word: the registers that the policy names say what was started"),
    ("key_custody", "a chain of secp256k1 signatures, which is not verified here"),
    ("downstream_tls_binding", "names a key of the keyset; the keyset is what is bound"),
];

pub(super) fn open(members: Map<String, Value>) -> Result<Opened, BundleError> {
    let mut report = Members::of(Value::Object(members), "the report")?;
    known(&report.text("api_version")?, VERSION, "api_version")?;
    let stated_digest = digest(&report.text("workload_keyset_digest")?)?;
    let mut attestation = report.object("attestation")?;
    // Other evidence has no form in the specification.
    known(&attestation.text("attestation.tee_type")?, "tdx", "attestation.tee_type")?;
    let keyset = Keyset::read(attestation.take("attestation.workload_keyset")?)?;
    let stated_report_data = attestation.hex("attestation.report_data")?;

    let mut evidence = attestation.object("attestation.evidence")?;
    let quote = quote(&evidence.text("attestation.evidence.quote")?, "attestation.evidence.quote")?;
    let mut text = |path| evidence.given(path).map(|value| members::text(value, path)).transpose();
    let stated_slot = text("attestation.evidence.quote_report_data")?
        .map(|text| decoded(&text, "attestation.evidence.quote_report_data"))
        .transpose()?;
    let app_compose = text("attestation.evidence.app_compose")?;
    let event_log = event_log(evidence.given("event_log"), "attestation.evidence.event_log")?;

    let rest = [("", report), ("attestation.", attestation), ("attestation.evidence.", evidence)];
    let not_asked = rest.into_iter().flat_map(|(within, members)| {
        members.rest().into_iter().map(move |name| NotAsked {
            what: format!("{within}{}", json::shorten(&name)),
            why: NOT_ASKED
                .iter()
                .find(|(known, _)| *known == name)
                .map_or("not known here; nothing authenticates it", |(_, why)| why),
        })
    });
    let not_asked = not_asked.collect();
    Ok(Opened {
        variant: VERSION,
        evidence: quote,
        carried: None,
        event_log,
        devices: Vec::new(),
        device_nonce: None,
        // The report does not repeat it: it goes into the statement.
        nonce: None,
        content: Content::Aci(Aci { keyset, stated_digest, stated_report_data, stated_slot, app_compose }),
        not_asked,
    })
}

fn known(found: &str, expected: &str, member: &'static str) -> Result<(), BundleError> {
    if found == expected { Ok(()) } else { Err(BundleError::Version { member, found: json::shorten(found) }) }
}

fn digest(text: &str) -> Result<[u8; 32], BundleError> {
    const MEMBER: &str = "workload_keyset_digest";
    let digits = text.strip_prefix("sha256:");
    let digits =
        digits.ok_or(BundleError::Encoding { member: MEMBER, expected: "sha256: and hexadecimal" })?;
    members::hex(digits, MEMBER)
}
