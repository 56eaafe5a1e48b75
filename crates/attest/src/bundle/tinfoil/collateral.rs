//! The collateral of a version 3 document. What a vendor signed becomes endorsements; the rest is listed as not asked.

use serde_json::{Map, Value};

use super::v3::once;
use crate::bundle::error::BundleError;
use crate::bundle::members::{self, Members};
use crate::bundle::{Carried, NotAsked};
use crate::endorse::{self, Collateral};
use crate::evidence::{Evidence, Platform};
use crate::json;

const AMD_VCEK: &str = "https://tinfoil.sh/collateral/amd-vcek/v1";
const AMD_CRL: &str = "https://tinfoil.sh/collateral/amd-crl/v1";
const INTEL_PCS: &str = "https://tinfoil.sh/collateral/intel-pcs/v1";
const ENDORSEMENT: &str = "endorsement";
const REFERENCE_VALUES: &str = "reference-values";
/// The subject of what endorses the CPU.
const CPU: &str = "cpu";

/// More entries are refused; documents have 3 to 8.
pub(super) const MAX_ENTRIES: usize = 64;
/// More answers of Intel's are refused; a quote needs 4.
const MAX_RESPONSES: usize = 16;

/// What the entries have for the CPU.
#[derive(Default)]
struct Found {
    vek: Option<Vec<u8>>,
    crl: Option<Vec<u8>>,
    intel: Option<Vec<u8>>,
}

/// Each entry has a name of its own. The first of a format counts, and a second one is refused.
pub(super) fn open(
    entries: Vec<Value>,
    evidence: &Evidence,
    not_asked: &mut Vec<NotAsked>,
) -> Result<Option<Carried>, BundleError> {
    let mut ids = Vec::with_capacity(entries.len());
    let mut found = Found::default();
    for entry in entries {
        let mut entry = Members::of(entry, "collateral")?;
        let id = entry.text("collateral.id")?;
        let role = entry.text("collateral.role")?;
        let format = entry.text("collateral.format")?;
        let subjects = match entry.optional("collateral.subjects") {
            None => Vec::new(),
            Some(subjects) => members::list(subjects, "collateral.subjects", MAX_ENTRIES)?,
        };
        let data = entry.take("collateral.data")?;
        entry.end()?;
        once(&mut ids, id.clone(), "collateral")?;
        if ![ENDORSEMENT, REFERENCE_VALUES].contains(&role.as_str()) {
            return Err(BundleError::Version { member: "collateral.role", found: json::shorten(&role) });
        }
        let of_cpu = role == ENDORSEMENT && subjects.iter().any(|subject| subject == CPU);
        let target = match format.as_str() {
            AMD_VCEK if of_cpu => &mut found.vek,
            AMD_CRL if of_cpu => &mut found.crl,
            INTEL_PCS if of_cpu => &mut found.intel,
            _ => {
                let what = format!("collateral {:?}: {}", json::shorten(&id), json::shorten(&format));
                let why = "code provenance, releases and witnesses are not verified here: the policy names the measurements";
                not_asked.push(NotAsked { what, why });
                continue;
            }
        };
        let value = match format.as_str() {
            AMD_VCEK => vcek(data)?,
            AMD_CRL => crl(data)?,
            _ => intel(data, evidence)?,
        };
        if target.replace(value).is_some() {
            return Err(BundleError::Duplicate { member: "collateral", name: json::shorten(&format) });
        }
    }
    let Found { vek, crl, intel } = found;
    Ok(match evidence.platform() {
        Platform::SevSnp => vek.map(|vek| Carried::Amd { vek, crl }),
        Platform::Tdx => intel.map(|collateral| Carried::Intel { collateral }),
        _ => None,
    })
}

/// The chain beside the certificate is not read: roots and intermediates are the verifier's own.
fn vcek(data: Value) -> Result<Vec<u8>, BundleError> {
    let mut data = Members::of(data, "collateral.data")?;
    let der = data.base64("collateral.data.vcek_der_base64")?;
    data.text("collateral.data.cert_chain_pem")?;
    data.end()?;
    Ok(der)
}

fn crl(data: Value) -> Result<Vec<u8>, BundleError> {
    let mut data = Members::of(data, "collateral.data")?;
    let der = data.base64("collateral.data.crl_der_base64")?;
    data.end()?;
    Ok(der)
}

/// Intel's answers, each with the issuers of what it signs in a header of its own.
struct Answer {
    url: String,
    headers: Map<String, Value>,
    body: Vec<u8>,
}

/// As [`crate::Endorsements::tdx`] takes it.
fn intel(data: Value, evidence: &Evidence) -> Result<Vec<u8>, BundleError> {
    let mut data = Members::of(data, "collateral.data")?;
    let responses = data.list("collateral.data.responses", MAX_RESPONSES)?;
    data.end()?;
    let answers = responses.into_iter().map(answer).collect::<Result<Vec<_>, _>>()?;
    let wrong = || BundleError::Type {
        member: "collateral.data.responses",
        expected: "Intel's answers for this quote",
    };
    let quote = evidence.tdx().ok_or_else(wrong)?;
    let fmspc = endorse::fmspc(quote).map_err(|_| wrong())?;
    let one = |path: &str| {
        let mut of_path = answers.iter().filter(|answer| answer.url.contains(path));
        match (of_path.next(), of_path.next()) {
            (Some(answer), None) => Ok(answer),
            _ => Err(BundleError::Missing { member: "collateral.data.responses" }),
        }
    };
    let (info, identity) = (one("/tdx/certification/v4/tcb?")?, one("/tdx/certification/v4/qe/identity")?);
    let (pck, root) = (one("/certification/v4/pckcrl?")?, one("IntelSGXRootCA.der")?);
    let tcb_info = endorse::tcb_info(&info.body, &fmspc).map_err(|_| wrong())?;
    let qe_identity = endorse::qe_identity(&identity.body).map_err(|_| wrong())?;
    let list = |answer: &Answer| {
        endorse::revocation_list(&answer.body).map(|(der, _)| hex::encode(der)).map_err(|_| wrong())
    };
    let collateral = Collateral {
        pck_crl: list(pck)?,
        pck_crl_issuer_chain: pck.chain("sgx-pck-crl-issuer-chain")?,
        qe_identity: qe_identity.text,
        qe_identity_issuer_chain: identity.chain("sgx-enclave-identity-issuer-chain")?,
        qe_identity_signature: qe_identity.signature,
        root_ca_crl: list(root)?,
        tcb_info: tcb_info.text,
        tcb_info_issuer_chain: info.chain("tcb-info-issuer-chain")?,
        tcb_info_signature: tcb_info.signature,
    };
    serde_json::to_vec(&collateral).map_err(|_| wrong())
}

fn answer(response: Value) -> Result<Answer, BundleError> {
    let mut response = Members::of(response, "collateral.data.responses")?;
    let url = response.text("collateral.data.responses.url")?;
    let headers = match response.take("collateral.data.responses.headers")? {
        Value::Object(headers) => headers,
        _ => {
            return Err(BundleError::Type {
                member: "collateral.data.responses.headers",
                expected: "an object",
            });
        }
    };
    let body = response.base64("collateral.data.responses.body_base64")?;
    response.end()?;
    Ok(Answer { url, headers, body })
}

impl Answer {
    /// A chain in PEM, percent-encoded, in the one header of this name.
    fn chain(&self, name: &str) -> Result<String, BundleError> {
        const MEMBER: &str = "collateral.data.responses.headers";
        let mut named = self.headers.iter().filter(|(header, _)| header.eq_ignore_ascii_case(name));
        let (Some((_, values)), None) = (named.next(), named.next()) else {
            return Err(BundleError::Missing { member: MEMBER });
        };
        let wrong = BundleError::Type { member: MEMBER, expected: "lists of one text each" };
        match values.as_array().map(Vec::as_slice) {
            Some([Value::String(text)]) => percent_decoded(text)
                .ok_or(BundleError::Encoding { member: MEMBER, expected: "percent-encoded text" }),
            _ => Err(wrong),
        }
    }
}

/// RFC 3986 §2.1.
fn percent_decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.extend(hex::decode(digits).ok()?);
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}
