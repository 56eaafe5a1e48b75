//! Answers about revocation: OCSP responses in DER (RFC 6960 §4.2.1).

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, SHA384, digest};
use casemate_attest::UnixTime;
use der::DateTime;

use super::party::Party;
use crate::asn1::{BIT_STRING, INTEGER, OCTET_STRING, SEQUENCE, context, oid, sequence, tlv};
use crate::error::SimError;
use crate::store::{Fields, elements};

const ENUMERATED: u8 = 0x0a;
const GENERALIZED_TIME: u8 = 0x18;
const NULL: [u8; 2] = [5, 0];

const ID_SHA1: [u32; 6] = [1, 3, 14, 3, 2, 26];
const ID_SHA256: [u32; 9] = [2, 16, 840, 1, 101, 3, 4, 2, 1];
const ID_SHA384: [u32; 9] = [2, 16, 840, 1, 101, 3, 4, 2, 2];
const ECDSA_WITH_SHA384: [u32; 7] = [1, 2, 840, 10045, 4, 3, 3];
const OCSP_BASIC: [u32; 10] = [1, 3, 6, 1, 5, 5, 7, 48, 1, 1];
const OCSP_NONCE: [u32; 10] = [1, 3, 6, 1, 5, 5, 7, 48, 1, 2];

/// The status of a certificate that is good.
pub const GOOD: [u8; 2] = [0x80, 0];
/// The status of a certificate that the responder does not know.
pub const UNKNOWN: [u8; 2] = [0x82, 0];

/// The status of a revoked certificate, with a reason of RFC 5280 §5.3.1; 6 is a hold.
pub fn revoked(reason: Option<u8>) -> Vec<u8> {
    let reason = reason.map_or_else(Vec::new, |reason| tlv(context(0), &tlv(ENUMERATED, &[reason])));
    tlv(context(1), &[tlv(GENERALIZED_TIME, b"20251230120000Z"), reason].concat())
}

/// A time as answers write it, such as `20260101000000Z`.
///
/// # Errors
/// [`SimError::TimeOutOfRange`].
pub fn generalized_time(at: UnixTime) -> Result<String, SimError> {
    let date = DateTime::from_unix_duration(Duration::from_secs(at.0))
        .map_err(|_| SimError::TimeOutOfRange { at })?;
    Ok(format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}Z",
        date.year(),
        date.month(),
        date.day(),
        date.hour(),
        date.minutes(),
        date.seconds()
    ))
}

/// The hash by which an answer names the issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// A name of SHA-1; the octets are those of SHA-256, because nobody computes SHA-1 here.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
}

/// An answer about one certificate; each field can be made wrong.
#[derive(Clone)]
pub struct Answer<'a> {
    /// Whose certificate it is about.
    pub subject: &'a Party,
    /// Who issued that.
    pub issuer: &'a Party,
    /// Who signs.
    pub responder: &'a Party,
    /// The certificates that are sent along.
    pub sent: Vec<&'a Party>,
    /// [`GOOD`], [`UNKNOWN`] or [`revoked`].
    pub status: Vec<u8>,
    /// GeneralizedTime.
    pub this_update: &'a str,
    /// GeneralizedTime.
    pub next_update: Option<&'a str>,
    /// The nonce of the request.
    pub nonce: Option<Vec<u8>>,
    /// Further extensions, DER.
    pub extension: Vec<u8>,
    /// How the issuer is named.
    pub hash: Hash,
    /// In place of the subject's serial number.
    pub serial: Option<Vec<u8>>,
    /// In place of the hash of the issuer's name.
    pub name_hash: Option<Vec<u8>>,
    /// In place of the hash of the issuer's key.
    pub key_hash: Option<Vec<u8>>,
}

impl<'a> Answer<'a> {
    /// Good, by the issuer itself.
    pub fn new(
        subject: &'a Party,
        issuer: &'a Party,
        this_update: &'a str,
        next_update: Option<&'a str>,
    ) -> Self {
        Self {
            subject,
            issuer,
            responder: issuer,
            sent: Vec::new(),
            status: GOOD.to_vec(),
            this_update,
            next_update,
            nonce: None,
            extension: Vec::new(),
            hash: Hash::Sha256,
            serial: None,
            name_hash: None,
            key_hash: None,
        }
    }

    /// The signed response.
    ///
    /// # Errors
    /// [`SimError::Signing`].
    pub fn der(&self) -> Result<Vec<u8>, SimError> {
        let next = self.next_update.map_or_else(Vec::new, |time| tlv(context(0), &time_of(time)));
        let single =
            sequence(&[self.certificate_id()?, self.status.clone(), time_of(self.this_update), next]);
        let nonce = self.nonce.as_ref().map_or_else(Vec::new, |nonce| {
            sequence(&[oid(&OCSP_NONCE), tlv(OCTET_STRING, &tlv(OCTET_STRING, nonce))])
        });
        let extensions = match [nonce, self.extension.clone()].concat() {
            none if none.is_empty() => none,
            some => tlv(context(1), &tlv(SEQUENCE, &some)),
        };
        let responder = tlv(context(1), fields(self.responder)?.subject);
        let produced = time_of(self.this_update);
        let data = sequence(&[responder, produced, sequence(&[single]), extensions]);
        let basic = self.signed(data)?;
        let response = sequence(&[oid(&OCSP_BASIC), tlv(OCTET_STRING, &basic)]);
        Ok(sequence(&[tlv(ENUMERATED, &[0]), tlv(context(0), &response)]))
    }

    /// CertID.
    fn certificate_id(&self) -> Result<Vec<u8>, SimError> {
        let (algorithm, hashed) = match self.hash {
            Hash::Sha1 => (oid(&ID_SHA1), &SHA256),
            Hash::Sha256 => (oid(&ID_SHA256), &SHA256),
            Hash::Sha384 => (oid(&ID_SHA384), &SHA384),
        };
        let hash = |bytes: &[u8]| digest(hashed, bytes).as_ref().to_vec();
        let name = self.name_hash.clone().map_or_else(|| Ok(hash(fields(self.issuer)?.subject)), Ok)?;
        let key = self.key_hash.clone().unwrap_or_else(|| hash(self.issuer.public_key()));
        let serial = match &self.serial {
            Some(serial) => tlv(INTEGER, serial),
            None => serial_of(self.subject)?,
        };
        let algorithm = sequence(&[algorithm, NULL.to_vec()]);
        Ok(sequence(&[algorithm, tlv(OCTET_STRING, &name), tlv(OCTET_STRING, &key), serial]))
    }

    /// BasicOCSPResponse.
    fn signed(&self, data: Vec<u8>) -> Result<Vec<u8>, SimError> {
        let signature = self.responder.sign(&data)?;
        let (r, s) = signature.split_at_checked(48).ok_or(SimError::Signing { algorithm: "ECDSA P-384" })?;
        let signature = sequence(&[unsigned(r), unsigned(s)]);
        let certificates = match self.sent.as_slice() {
            [] => Vec::new(),
            sent => {
                let sent: Vec<_> = sent.iter().map(|party| party.der()).collect();
                tlv(context(0), &sequence(&sent))
            }
        };
        let signature = tlv(BIT_STRING, &[&[0][..], &signature].concat());
        Ok(sequence(&[data, sequence(&[oid(&ECDSA_WITH_SHA384)]), signature, certificates]))
    }
}

fn time_of(text: &str) -> Vec<u8> {
    tlv(GENERALIZED_TIME, text.as_bytes())
}

fn fields(party: &Party) -> Result<Fields<'_>, SimError> {
    Fields::read(party.der(), "certificate")
}

/// The INTEGER as it stands in the certificate.
fn serial_of(party: &Party) -> Result<Vec<u8>, SimError> {
    let malformed = SimError::Malformed { object: "certificate" };
    let signed = fields(party)?.signed;
    let serial = elements(signed).ok().and_then(|fields| fields.get(1).map(|serial| serial.to_vec()));
    serial.ok_or(malformed)
}

/// A non-negative INTEGER of a big-endian magnitude.
fn unsigned(magnitude: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = magnitude.iter().copied().skip_while(|byte| *byte == 0).collect();
    if bytes.first().is_none_or(|top| top & 0x80 != 0) {
        bytes.insert(0, 0);
    }
    tlv(INTEGER, &bytes)
}
