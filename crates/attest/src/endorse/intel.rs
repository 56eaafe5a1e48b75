//! The answers of Intel's Provisioning Certification Service, API version 4: what of them is kept, and for how long it
//! holds. Whether Intel signed it is decided with the quote at hand (rule TDX-06).

use ::der::DateTime;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use crate::tdx::{QeIdentity, TcbInfo};
use crate::time::UnixTime;

/// The nine fields that [`crate::Endorsements::tdx`] takes; binary ones are hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collateral {
    /// PCK CRL, DER in hexadecimal.
    pub pck_crl: String,
    /// Its issuer's chain, PEM.
    pub pck_crl_issuer_chain: String,
    /// QE identity, exactly the bytes that are signed.
    pub qe_identity: String,
    /// Its issuer's chain, PEM.
    pub qe_identity_issuer_chain: String,
    /// Its signature, hexadecimal.
    pub qe_identity_signature: String,
    /// Root CA CRL, DER in hexadecimal.
    pub root_ca_crl: String,
    /// TCB info, exactly the bytes that are signed.
    pub tcb_info: String,
    /// Its issuer's chain, PEM.
    pub tcb_info_issuer_chain: String,
    /// Its signature, hexadecimal.
    pub tcb_info_signature: String,
}

/// From when until when something holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dated {
    /// First second.
    pub from: UnixTime,
    /// Last second.
    pub until: UnixTime,
}

/// A JSON document of Intel's with its signature beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedDocument {
    /// Exactly the bytes that are signed.
    pub text: String,
    /// Hexadecimal.
    pub signature: String,
    /// By its own dates.
    pub dated: Dated,
}

/// Why an answer is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AnswerError {
    /// Not of the form that the service's documentation gives.
    #[error("the answer is not {what}")]
    Form {
        /// What was asked for.
        what: &'static str,
    },
    /// Of another kind of TEE, or another platform's.
    #[error("the answer is {what} of {found}, not of {asked}")]
    Other {
        /// What was asked for.
        what: &'static str,
        /// For which one.
        asked: String,
        /// For which one it came.
        found: String,
    },
}

#[derive(Deserialize)]
struct TcbInfoAnswer<'a> {
    #[serde(rename = "tcbInfo", borrow)]
    document: &'a RawValue,
    signature: String,
}

#[derive(Deserialize)]
struct QeIdentityAnswer<'a> {
    #[serde(rename = "enclaveIdentity", borrow)]
    document: &'a RawValue,
    signature: String,
}

impl AnswerError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Form { .. } => "endorse.answer.form",
            Self::Other { .. } => "endorse.answer.other",
        }
    }
}

impl Dated {
    /// Whether it holds at this time.
    pub fn holds(self, now: UnixTime) -> bool {
        self.from <= now && now <= self.until
    }
}

/// `GET /tdx/certification/v4/tcb?fmspc=…`.
///
/// # Errors
/// Where the body is not a TDX TCB info of this platform.
pub fn tcb_info(body: &[u8], fmspc: &[u8; 6]) -> Result<SignedDocument, AnswerError> {
    const WHAT: &str = "TDX TCB info";
    let answer: TcbInfoAnswer<'_> = serde_json::from_slice(body).map_err(|_| form(WHAT))?;
    let info = TcbInfo::parse(answer.document.get()).ok_or(form(WHAT))?;
    other(WHAT, "TDX", &info.id)?;
    other(WHAT, &hex::encode_upper(fmspc), &info.fmspc.to_ascii_uppercase())?;
    signed(WHAT, answer.document, answer.signature, &info.issue_date, &info.next_update)
}

/// `GET /tdx/certification/v4/qe/identity`.
///
/// # Errors
/// Where the body is not the identity of the TD quoting enclave.
pub fn qe_identity(body: &[u8]) -> Result<SignedDocument, AnswerError> {
    const WHAT: &str = "QE identity";
    let answer: QeIdentityAnswer<'_> = serde_json::from_slice(body).map_err(|_| form(WHAT))?;
    let identity = QeIdentity::parse(answer.document.get()).ok_or(form(WHAT))?;
    other(WHAT, "TD_QE", &identity.id)?;
    signed(WHAT, answer.document, answer.signature, &identity.issue_date, &identity.next_update)
}

/// A revocation list in DER, or its hexadecimal text as a PCCS gives it. Returns the DER and its dates.
///
/// # Errors
/// Where it is not exactly one list with a date of the next.
pub fn revocation_list(body: &[u8]) -> Result<(Vec<u8>, Dated), AnswerError> {
    const WHAT: &str = "a certificate revocation list";
    let der = match body.first() {
        Some(0x30) if body.get(1).is_some_and(|second| *second >= 0x80) => body.to_vec(),
        _ => hex::decode(body.trim_ascii()).map_err(|_| form(WHAT))?,
    };
    let (rest, list) = CertificateRevocationList::from_der(&der).map_err(|_| form(WHAT))?;
    let until = list.next_update().ok_or(form(WHAT))?;
    if !rest.is_empty() {
        return Err(form(WHAT));
    }
    let seconds = |timestamp: i64| u64::try_from(timestamp).map(UnixTime).map_err(|_| form(WHAT));
    let dated = Dated { from: seconds(list.last_update().timestamp())?, until: seconds(until.timestamp())? };
    Ok((der, dated))
}

/// The name of the authority that signed a revocation list, DER: what tells the lists of several apart.
///
/// # Errors
/// Where the DER does not begin with a list.
pub(super) fn list_issuer(der: &[u8]) -> Result<Vec<u8>, AnswerError> {
    let list = CertificateRevocationList::from_der(der);
    let (_, list) = list.map_err(|_| form("a certificate revocation list"))?;
    Ok(list.issuer().as_raw().to_vec())
}

fn form(what: &'static str) -> AnswerError {
    AnswerError::Form { what }
}

fn other(what: &'static str, asked: &str, found: &str) -> Result<(), AnswerError> {
    if asked == found {
        return Ok(());
    }
    // A stranger's text: only as long as a name may be.
    let found = found.chars().filter(char::is_ascii_graphic).take(24).collect();
    Err(AnswerError::Other { what, asked: asked.to_owned(), found })
}

fn signed(
    what: &'static str,
    document: &RawValue,
    signature: String,
    from: &str,
    until: &str,
) -> Result<SignedDocument, AnswerError> {
    if signature.len() != 128 || hex::decode(&signature).is_err() {
        return Err(form(what));
    }
    let date = |text: &str| {
        let date: DateTime = text.parse().map_err(|_| form(what))?;
        Ok(UnixTime(date.unix_duration().as_secs()))
    };
    let dated = Dated { from: date(from)?, until: date(until)? };
    Ok(SignedDocument { text: document.get().to_owned(), signature, dated })
}
