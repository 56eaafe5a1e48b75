//! Collateral: what Intel says about the platform and the quoting enclave (rules TDX-03 to TDX-05). Read to name what is
//! missing, foreign, out of date or revoked; whether Intel said it is rule TDX-06's.

use ::der::DateTime;
use dcap_qvl::{QuoteCollateralV3, intel};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::dcap::Dcap;
use super::pck::PlatformFlag;
use super::quote::{PCK_CHAIN, Quote};
use super::reject::TdxRejection;
use crate::time::UnixTime;
use crate::x509::Certificate;

/// Longest collateral that is looked at. Recorded ones have 25 KiB at most; the PCK revocation list may grow.
pub const MAX_COLLATERAL: usize = 1024 * 1024;

/// Most certificates in one chain.
const MAX_CHAIN: usize = 4;

/// As Intel's services and the caches in front of them give it, in one JSON object; binary fields are hexadecimal.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    pck_crl_issuer_chain: String,
    #[serde(default)]
    root_ca_crl: String,
    #[serde(default)]
    pck_crl: String,
    #[serde(default)]
    tcb_info_issuer_chain: String,
    #[serde(default)]
    tcb_info: String,
    #[serde(default)]
    tcb_info_signature: String,
    #[serde(default)]
    qe_identity_issuer_chain: String,
    #[serde(default)]
    qe_identity: String,
    #[serde(default)]
    qe_identity_signature: String,
    #[serde(default)]
    pck_certificate_chain: Option<String>,
}

/// Collateral that was read, believed by nobody yet.
pub(crate) struct Collateral {
    pub(crate) whole: QuoteCollateralV3,
    pub(crate) fmspc: [u8; 6],
    /// The lower of the evaluation data numbers of TCB info and QE identity.
    pub(crate) evaluation: u32,
    pub(crate) flags: Vec<PlatformFlag>,
    documents: Vec<Document>,
    certificates: Vec<(&'static str, Certificate)>,
    revoked: Vec<Vec<u8>>,
}

/// What of the TCB info is read here; the DCAP library reads the rest. Members that are not named are Intel's.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TcbInfo {
    id: String,
    version: u8,
    issue_date: String,
    next_update: String,
    fmspc: String,
    pce_id: String,
    #[serde(rename = "tcbEvaluationDataNumber")]
    evaluation: u32,
}

/// The same of the QE identity.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct QeIdentity {
    id: String,
    version: u8,
    issue_date: String,
    next_update: String,
    #[serde(rename = "tcbEvaluationDataNumber")]
    evaluation: u32,
}

struct Document {
    what: &'static str,
    from: UnixTime,
    until: UnixTime,
}

impl Collateral {
    /// TDX-03.
    pub(crate) fn read(json: &[u8], quote: &Quote) -> Result<Self, TdxRejection> {
        if json.is_empty() {
            return Err(TdxRejection::Missing { what: "content" });
        }
        if json.len() > MAX_COLLATERAL {
            return Err(TdxRejection::TooLong { found: json.len() });
        }
        let file: File = serde_json::from_slice(json).map_err(|_| malformed("the collateral"))?;
        let chain = file.pck_certificate_chain.as_deref();
        // A chain that somebody else recorded would take the place of the quote's own: it is not looked at.
        let (own, brought) = match (quote.certification(), chain) {
            (PCK_CHAIN, _) => (quote.certificates().to_vec(), None),
            (_, Some(chain)) => (chain.as_bytes().to_vec(), Some(chain.to_owned())),
            (_, None) => return Err(TdxRejection::Missing { what: "PCK certificate chain" }),
        };
        let whole = QuoteCollateralV3 {
            pck_crl_issuer_chain: present(file.pck_crl_issuer_chain, "PCK CRL issuer chain")?,
            root_ca_crl: binary(file.root_ca_crl, "root CA CRL")?,
            pck_crl: binary(file.pck_crl, "PCK CRL")?,
            tcb_info_issuer_chain: present(file.tcb_info_issuer_chain, "TCB info issuer chain")?,
            tcb_info: present(file.tcb_info, "TCB info")?,
            tcb_info_signature: binary(file.tcb_info_signature, "TCB info signature")?,
            qe_identity_issuer_chain: present(file.qe_identity_issuer_chain, "QE identity issuer chain")?,
            qe_identity: present(file.qe_identity, "QE identity")?,
            qe_identity_signature: binary(file.qe_identity_signature, "QE identity signature")?,
            pck_certificate_chain: brought,
        };

        let mut certificates = chain_of(text(&own)?, "PCK certificate chain")?;
        let (_, leaf) = certificates.first().ok_or(TdxRejection::Missing { what: "PCK certificate" })?;
        let pck = intel::parse_pck_extension_with::<Dcap>(&leaf.der)
            .map_err(|_| malformed("PCK certificate's extension"))?;
        certificates.extend(chain_of(whole.tcb_info_issuer_chain.as_bytes(), "TCB info issuer chain")?);
        // Intel signs both with one certificate, and sends the same chain with both.
        if whole.qe_identity_issuer_chain != whole.tcb_info_issuer_chain {
            certificates
                .extend(chain_of(whole.qe_identity_issuer_chain.as_bytes(), "QE identity issuer chain")?);
        }

        let tcb: TcbInfo = serde_json::from_str(&whole.tcb_info).map_err(|_| malformed("TCB info"))?;
        if tcb.id != "TDX" || tcb.version != 3 {
            return Err(TdxRejection::TcbInfoKind { id: tcb.id, version: tcb.version });
        }
        same("FMSPC", &tcb.fmspc, &pck.fmspc)?;
        same("PCE id", &tcb.pce_id, &pck.pce_id)?;
        let qe: QeIdentity =
            serde_json::from_str(&whole.qe_identity).map_err(|_| malformed("QE identity"))?;
        if qe.id != "TD_QE" || !matches!(qe.version, 2 | 3) {
            return Err(TdxRejection::QeIdentityKind { id: qe.id, version: qe.version });
        }

        let mut documents = vec![
            dated("TCB info", &tcb.issue_date, &tcb.next_update)?,
            dated("QE identity", &qe.issue_date, &qe.next_update)?,
        ];
        let mut revoked = Vec::new();
        for (what, der) in [("root CA CRL", &whole.root_ca_crl), ("PCK CRL", &whole.pck_crl)] {
            documents.push(list(what, der, &mut revoked)?);
        }
        let evaluation = tcb.evaluation.min(qe.evaluation);
        Ok(Self {
            fmspc: pck.fmspc,
            evaluation,
            flags: PlatformFlag::of(&pck),
            whole,
            documents,
            certificates,
            revoked,
        })
    }

    /// TDX-04. Last second at which all is in date.
    pub(crate) fn in_date(&self, now: UnixTime) -> Result<UnixTime, TdxRejection> {
        let documents = self.documents.iter().map(|one| (one.what, one.from, one.until));
        let certificates = self.certificates.iter().map(|(what, one)| (*what, one.not_before, one.not_after));
        let mut last = UnixTime(u64::MAX);
        for (what, from, until) in documents.chain(certificates) {
            if now < from {
                return Err(TdxRejection::NotYetValid { what, from, now });
            }
            if now > until {
                return Err(TdxRejection::Expired { what, until, now });
            }
            last = last.min(until);
        }
        Ok(last)
    }

    /// TDX-05. Both lists are asked about every certificate.
    pub(crate) fn not_revoked(&self) -> Result<usize, TdxRejection> {
        for (what, certificate) in &self.certificates {
            if self.revoked.contains(&certificate.serial) {
                return Err(TdxRejection::Revoked { what, serial: hex::encode(&certificate.serial) });
            }
        }
        Ok(self.revoked.len())
    }
}

fn malformed(what: &'static str) -> TdxRejection {
    TdxRejection::Malformed { what }
}

/// The chain as text, and nothing else: Intel's quoting enclave ends it with one zero byte or with none.
fn text(pem: &[u8]) -> Result<&[u8], TdxRejection> {
    let text = pem.strip_suffix(&[0]).unwrap_or(pem);
    let is_text = |octet: &u8| octet.is_ascii_graphic() || matches!(octet, b' ' | b'\n' | b'\r');
    if text.iter().all(is_text) { Ok(text) } else { Err(malformed("PCK certificate chain")) }
}

fn present(text: String, what: &'static str) -> Result<String, TdxRejection> {
    if text.is_empty() { Err(TdxRejection::Missing { what }) } else { Ok(text) }
}

fn binary(text: String, what: &'static str) -> Result<Vec<u8>, TdxRejection> {
    hex::decode(present(text, what)?).map_err(|_| malformed(what))
}

fn same(what: &'static str, collateral: &str, quote: &[u8]) -> Result<(), TdxRejection> {
    if hex::decode(collateral).is_ok_and(|bytes| bytes == quote) {
        return Ok(());
    }
    Err(TdxRejection::TcbInfoPlatform { what, collateral: collateral.to_owned(), quote: hex::encode(quote) })
}

fn chain_of(pem: &[u8], what: &'static str) -> Result<Vec<(&'static str, Certificate)>, TdxRejection> {
    let mut chain = Vec::new();
    for section in CertificateDer::pem_slice_iter(pem) {
        let der = section.map_err(|_| malformed(what))?;
        if chain.len() == MAX_CHAIN {
            return Err(malformed(what));
        }
        chain.push((what, Certificate::parse(&der).map_err(|_| malformed(what))?));
    }
    if chain.is_empty() { Err(TdxRejection::Missing { what }) } else { Ok(chain) }
}

fn dated(what: &'static str, from: &str, until: &str) -> Result<Document, TdxRejection> {
    Ok(Document { what, from: date(what, from)?, until: date(what, until)? })
}

fn date(what: &'static str, text: &str) -> Result<UnixTime, TdxRejection> {
    let date: DateTime = text.parse().map_err(|_| malformed(what))?;
    Ok(UnixTime(date.unix_duration().as_secs()))
}

fn list(what: &'static str, der: &[u8], revoked: &mut Vec<Vec<u8>>) -> Result<Document, TdxRejection> {
    let (rest, list) = CertificateRevocationList::from_der(der).map_err(|_| malformed(what))?;
    if !rest.is_empty() {
        return Err(malformed(what));
    }
    let seconds = |timestamp: i64| u64::try_from(timestamp).map(UnixTime).map_err(|_| malformed(what));
    let until =
        list.next_update().ok_or(TdxRejection::Missing { what: "date of the next revocation list" })?;
    revoked.extend(list.iter_revoked_certificates().map(|entry| entry.raw_serial().to_vec()));
    Ok(Document { what, from: seconds(list.last_update().timestamp())?, until: seconds(until.timestamp())? })
}
