//! The evidence of one attester, recognised by the members that only it has.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{alone, snp};
use crate::azure;
use crate::bundle::error::BundleError;
use crate::bundle::members::{self, Members};
use crate::bundle::{Carried, NotAsked, Opened};
use crate::eventlog::EventLog;
use crate::evidence::{Evidence, Platform};

/// More certificates are refused; a table has up to 5.
const MAX_CERTIFICATES: usize = 16;
/// Longer certificates and lists are refused.
const MAX_CERTIFICATE: usize = 64 * 1024;
/// More PCRs a TPM does not have.
const MAX_PCRS: usize = 24;

/// Whose evidence it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Snp,
    Tdx,
    AzureSnp,
    AzureTdx,
}

impl Kind {
    /// By the members that mark it.
    pub(super) fn of(members: &Map<String, Value>) -> Option<Self> {
        let has = |name| members.contains_key(name);
        if members.get("attestation_report").is_some_and(Value::is_object) {
            Some(Self::Snp)
        } else if has("quote") && has("cc_eventlog") {
            Some(Self::Tdx)
        } else if has("hcl_report") && has("tpm_quote") {
            Some(if has("td_quote") { Self::AzureTdx } else { Self::AzureSnp })
        } else {
            None
        }
    }
}

pub(super) fn open(members: Map<String, Value>) -> Result<Opened, BundleError> {
    let kind = Kind::of(&members).ok_or(BundleError::UnknownSystem)?;
    let members = Members::of(Value::Object(members), "the evidence")?;
    match kind {
        Kind::Snp => of_snp(members),
        Kind::Tdx => of_tdx(members),
        Kind::AzureSnp | Kind::AzureTdx => of_azure(members, kind),
    }
}

fn of_snp(mut members: Members) -> Result<Opened, BundleError> {
    let report = snp::report(members.object("attestation_report")?)?;
    let certificates = members.given("cert_chain");
    members.end()?;
    let evidence = Evidence::parse(&report)?;
    if evidence.snp().is_none() {
        return Err(BundleError::Platform { named: Platform::SevSnp, found: evidence.platform() });
    }
    let mut opened = alone("snp", evidence, false);
    let Some(certificates) = certificates else { return Ok(opened) };
    let (mut vek, mut crl) = (None, None);
    for entry in members::list(certificates, "cert_chain", MAX_CERTIFICATES)? {
        let mut entry = Members::of(entry, "cert_chain")?;
        let kind = entry.take("cert_chain.cert_type")?;
        let data = entry.bytes("cert_chain.data", MAX_CERTIFICATE)?;
        entry.end()?;
        // Roots and intermediates are the verifier's own; of others nothing is known.
        let target = match kind.as_str() {
            Some("VCEK" | "VLEK") => &mut vek,
            Some("CRL") => &mut crl,
            _ => continue,
        };
        if target.replace(data).is_some() {
            let name = kind.as_str().unwrap_or_default().to_owned();
            return Err(BundleError::Duplicate { member: "cert_chain", name });
        }
    }
    opened.carried = vek.map(|vek| Carried::Amd { vek, crl });
    Ok(opened)
}

fn of_tdx(mut members: Members) -> Result<Opened, BundleError> {
    let quote = members.base64("quote")?;
    let log = members.given("cc_eventlog").map(|log| members::text(log, "cc_eventlog")).transpose()?;
    let older_log = members.given("aa_eventlog");
    members.end()?;
    let evidence = Evidence::parse(&quote)?;
    if evidence.tdx().is_none() {
        return Err(BundleError::Platform { named: Platform::Tdx, found: evidence.platform() });
    }
    let mut opened = alone("tdx", evidence, false);
    if let Some(log) = log.filter(|log| !log.is_empty()) {
        opened.event_log = Some(EventLog::parse(&members::base64(&log, "cc_eventlog")?)?);
    }
    if older_log.is_some() {
        opened.not_asked.push(NotAsked {
            what: "aa_eventlog".to_owned(),
            why: "the agent's events in a text of its own, as they were written before they came into cc_eventlog",
        });
    }
    Ok(opened)
}

/// The parts are put into the one document that is read here (spec/attest.md §13.1); each is what arrived.
fn of_azure(mut members: Members, kind: Kind) -> Result<Opened, BundleError> {
    let version = members.number("version", u64::MAX)?;
    let user_data = match version {
        1 => false,
        2 => true,
        other => return Err(BundleError::Version { member: "version", found: other.to_string() }),
    };
    let hcl_report = members.base64_url("hcl_report")?;
    let mut quote = members.object("tpm_quote")?;
    let signature = members::hex_bytes(&quote.text("tpm_quote.signature")?, "tpm_quote.signature")?;
    let message = members::hex_bytes(&quote.text("tpm_quote.message")?, "tpm_quote.message")?;
    let mut pcrs = Vec::new();
    for (index, value) in (0_u8..).zip(quote.list("tpm_quote.pcrs", MAX_PCRS)?) {
        let value: [u8; 32] = members::hex(&members::text(value, "tpm_quote.pcrs")?, "tpm_quote.pcrs")?;
        pcrs.push(json!([index, hex::encode(value)]));
    }
    quote.end()?;
    let mut document = json!({
        "format": azure::FORMAT,
        "hcl_report": STANDARD.encode(hcl_report),
        "quote": STANDARD.encode(message),
        "signature": STANDARD.encode(signature),
        "pcrs": pcrs,
    });
    let (variant, carried) = match kind {
        Kind::AzureTdx => {
            let quote = STANDARD.encode(members.base64_url("td_quote")?);
            if let Some(members) = document.as_object_mut() {
                members.insert("td_quote".to_owned(), quote.into());
            }
            ("az-tdx-vtpm", None)
        }
        _ => {
            let vek = members.base64_url("vcek")?;
            ("az-snp-vtpm", Some(Carried::Amd { vek, crl: None }))
        }
    };
    members.end()?;
    let evidence = Evidence::parse(document.to_string().as_bytes())?;
    Ok(Opened { carried, ..alone(variant, evidence, user_data) })
}
