//! OCSPResponse in DER (RFC 6960 §4.2.1).
//!
//! ```text
//! OCSPResponse       SEQUENCE { ENUMERATED status = 0, [0] { SEQUENCE { OID id-pkix-ocsp-basic, OCTET STRING basic } } }
//! BasicOCSPResponse  SEQUENCE { ResponseData, AlgorithmIdentifier, BIT STRING, [0] { SEQUENCE OF Certificate } OPTIONAL }
//! ResponseData       SEQUENCE { [0] version DEFAULT v1, [1] byName or [2] byKey, producedAt, SEQUENCE OF SingleResponse,
//!                               [1] { Extensions } OPTIONAL }
//! SingleResponse     SEQUENCE { CertID, status, thisUpdate, [0] { nextUpdate } OPTIONAL, [1] { Extensions } OPTIONAL }
//! CertID             SEQUENCE { AlgorithmIdentifier, issuerNameHash, issuerKeyHash, serialNumber }
//! status             [0] good, [1] { revocationTime, [0] { ENUMERATED reason } OPTIONAL } revoked, [2] unknown
//! ```
//!
//! Times are GeneralizedTime. The responder's identity is not looked at: it says who is meant to have signed, and the
//! signature says who has.

use ::der::Decode;
use ::der::asn1::GeneralizedTime;

use super::OcspError;
use crate::der::{
    self, BIT_STRING, BOOLEAN, ENUMERATED, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, Signed,
};
use crate::time::UnixTime;

/// Longer answers are refused before they are parsed; with a responder's certificate they have about 2 KiB.
const MAX_RESPONSE: usize = 64 * 1024;
/// More statuses or extensions are refused.
const MAX_ITEMS: usize = 64;
/// More certificates are refused: each may cost a signature. A responder sends its own, and at most its issuer's.
const MAX_CERTIFICATES: usize = 4;

/// CRLReason certificateHold (RFC 5280 §5.3.1).
pub(super) const CERTIFICATE_HOLD: u8 = 6;

const GENERALIZED_TIME: u8 = 0x18;
/// `[0]`, `[1]` and `[2]`, constructed.
const CONTEXT: [u8; 3] = [0xa0, 0xa1, 0xa2];
/// `[0]` and `[2]`, primitive.
const GOOD: u8 = 0x80;
const UNKNOWN: u8 = 0x82;

/// id-pkix-ocsp-basic, 1.3.6.1.5.5.7.48.1.1.
const BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
/// id-pkix-ocsp-nonce, 1.3.6.1.5.5.7.48.1.2.
pub(super) const NONCE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x02];
const SHA256: &[u8] = &[0x06, 9, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
pub(super) const SHA384: &[u8] = &[0x06, 9, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];

/// A BasicOCSPResponse, believed by nobody.
pub(super) struct Answer<'a> {
    pub(super) signed: Signed<'a>,
    pub(super) singles: Vec<Single<'a>>,
    pub(super) nonce: Option<&'a [u8]>,
    /// DER of each certificate that was sent along.
    pub(super) certificates: Vec<&'a [u8]>,
}

/// What it says about one certificate.
pub(super) struct Single<'a> {
    pub(super) id: CertId<'a>,
    pub(super) status: Status,
    pub(super) this_update: UnixTime,
    pub(super) next_update: Option<UnixTime>,
}

pub(super) struct CertId<'a> {
    pub(super) hash: Hash,
    pub(super) issuer_name_hash: &'a [u8],
    pub(super) issuer_key_hash: &'a [u8],
    /// Content octets of the INTEGER.
    pub(super) serial: &'a [u8],
}

/// SHA-1 is `Other`: such an answer names nobody here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Good,
    Revoked { reason: Option<u8> },
    Unknown,
}

impl<'a> Answer<'a> {
    pub(super) fn parse(input: &'a [u8]) -> Result<Self, OcspError> {
        if input.len() > MAX_RESPONSE {
            return Err(OcspError::Malformed);
        }
        let basic = basic(input)?;
        let (signed, certificates) = envelope(basic).ok_or(OcspError::Malformed)?;
        let (singles, extensions) = data(signed.to_be_signed).ok_or(OcspError::Malformed)?;
        let nonce = match extensions {
            Some(extensions) => response_extensions(extensions)?,
            None => None,
        };
        let singles = singles.into_iter().map(single).collect::<Result<_, _>>()?;
        Ok(Self { signed, singles, nonce, certificates })
    }
}

/// The octets of the BasicOCSPResponse.
fn basic(input: &[u8]) -> Result<&[u8], OcspError> {
    let malformed = OcspError::Malformed;
    let body = der::only(input, SEQUENCE).ok_or(OcspError::Malformed)?;
    let (status, rest) = der::take(body, ENUMERATED).ok_or(OcspError::Malformed)?;
    match status.content {
        [0] => {}
        [status] => return Err(OcspError::Unsuccessful { status: *status }),
        _ => return Err(malformed),
    }
    let bytes = || {
        let bytes = der::only(der::only(rest, CONTEXT[0])?, SEQUENCE)?;
        let (kind, rest) = der::take(bytes, OBJECT_IDENTIFIER)?;
        der::only(rest, OCTET_STRING).filter(|_| kind.content == BASIC)
    };
    bytes().ok_or(malformed)
}

fn envelope(basic: &[u8]) -> Option<(Signed<'_>, Vec<&[u8]>)> {
    let body = der::only(basic, SEQUENCE)?;
    let (data, rest) = der::take(body, SEQUENCE)?;
    let (algorithm, rest) = der::take(rest, SEQUENCE)?;
    let (signature, rest) = der::take(rest, BIT_STRING)?;
    let (&unused_bits, signature) = signature.content.split_first()?;
    let certificates = if rest.is_empty() {
        Vec::new()
    } else {
        elements(der::only(der::only(rest, CONTEXT[0])?, SEQUENCE)?)?
    };
    let signed = Signed { to_be_signed: data.whole, algorithm: algorithm.content, signature };
    (unused_bits == 0 && certificates.len() <= MAX_CERTIFICATES).then_some((signed, certificates))
}

/// ResponseData: its SingleResponses, whole, and the content of its extensions.
type Data<'a> = (Vec<&'a [u8]>, Option<&'a [u8]>);

fn data(whole: &[u8]) -> Option<Data<'_>> {
    let mut rest = der::only(whole, SEQUENCE)?;
    if let Some((version, after)) = der::take(rest, CONTEXT[0]) {
        if der::only(version.content, INTEGER)? != [0] {
            return None;
        }
        rest = after;
    }
    let responder = *rest.first().filter(|&tag| CONTEXT.get(1..).is_some_and(|tags| tags.contains(tag)))?;
    let (_, rest) = der::take(rest, responder)?;
    let (produced_at, rest) = der::take(rest, GENERALIZED_TIME)?;
    time(produced_at.whole)?;
    let (singles, rest) = der::take(rest, SEQUENCE)?;
    let extensions = if rest.is_empty() { None } else { Some(der::only(rest, CONTEXT[1])?) };
    Some((elements(singles.content)?, extensions))
}

fn single(whole: &[u8]) -> Result<Single<'_>, OcspError> {
    let read = || {
        let body = der::only(whole, SEQUENCE)?;
        let (id, rest) = der::take(body, SEQUENCE)?;
        let (status, rest) = status(rest)?;
        let (this_update, mut rest) = der::take(rest, GENERALIZED_TIME)?;
        let mut next_update = None;
        if let Some((element, after)) = der::take(rest, CONTEXT[0]) {
            next_update = Some(time(element.content)?);
            rest = after;
        }
        let extensions = if rest.is_empty() { None } else { Some(der::only(rest, CONTEXT[1])?) };
        let this_update = time(this_update.whole)?;
        Some((Single { id: certificate_id(id.content)?, status, this_update, next_update }, extensions))
    };
    let (single, extensions) = read().ok_or(OcspError::Malformed)?;
    if let Some(content) = extensions {
        for extension in self::extensions(content).ok_or(OcspError::Malformed)? {
            if extension.critical {
                return Err(OcspError::CriticalExtension);
            }
        }
    }
    Ok(single)
}

fn certificate_id(content: &[u8]) -> Option<CertId<'_>> {
    let (algorithm, rest) = der::take(content, SEQUENCE)?;
    let (name, rest) = der::take(rest, OCTET_STRING)?;
    let (key, rest) = der::take(rest, OCTET_STRING)?;
    let serial = der::only(rest, INTEGER)?;
    let is = |oid: &[u8]| {
        algorithm.content.strip_prefix(oid).is_some_and(|parameters| matches!(parameters, [] | [5, 0]))
    };
    let hash = if is(SHA256) {
        Hash::Sha256
    } else if is(SHA384) {
        Hash::Sha384
    } else {
        Hash::Other
    };
    Some(CertId { hash, issuer_name_hash: name.content, issuer_key_hash: key.content, serial })
}

fn status(input: &[u8]) -> Option<(Status, &[u8])> {
    let (element, rest) = der::take(input, *input.first()?)?;
    let status = match *input.first()? {
        GOOD if element.content.is_empty() => Status::Good,
        UNKNOWN if element.content.is_empty() => Status::Unknown,
        tag if tag == CONTEXT[1] => {
            let (at, reason) = der::take(element.content, GENERALIZED_TIME)?;
            time(at.whole)?;
            let reason = if reason.is_empty() {
                None
            } else {
                match der::only(der::only(reason, CONTEXT[0])?, ENUMERATED)? {
                    [reason] => Some(*reason),
                    _ => return None,
                }
            };
            Status::Revoked { reason }
        }
        _ => return None,
    };
    Some((status, rest))
}

struct Extension<'a> {
    oid: &'a [u8],
    critical: bool,
    value: &'a [u8],
}

/// The nonce's octets; other extensions must not be critical.
fn response_extensions(content: &[u8]) -> Result<Option<&[u8]>, OcspError> {
    let mut nonce = None;
    for extension in extensions(content).ok_or(OcspError::Malformed)? {
        if extension.oid == NONCE {
            let octets = der::only(extension.value, OCTET_STRING).ok_or(OcspError::Malformed)?;
            if nonce.replace(octets).is_some() {
                return Err(OcspError::Malformed);
            }
        } else if extension.critical {
            return Err(OcspError::CriticalExtension);
        }
    }
    Ok(nonce)
}

fn extensions(content: &[u8]) -> Option<Vec<Extension<'_>>> {
    elements(der::only(content, SEQUENCE)?)?
        .into_iter()
        .map(|whole| {
            let (oid, mut rest) = der::take(der::only(whole, SEQUENCE)?, OBJECT_IDENTIFIER)?;
            let mut critical = false;
            if let Some((element, after)) = der::take(rest, BOOLEAN) {
                if element.content != [0xff] {
                    return None;
                }
                critical = true;
                rest = after;
            }
            Some(Extension { oid: oid.content, critical, value: der::only(rest, OCTET_STRING)? })
        })
        .collect()
}

/// The SEQUENCEs that fill the input.
fn elements(mut rest: &[u8]) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (element, after) = der::take(rest, SEQUENCE)?;
        found.push(element.whole);
        if found.len() > MAX_ITEMS {
            return None;
        }
        rest = after;
    }
    Some(found)
}

/// A whole GeneralizedTime, `YYYYMMDDHHMMSSZ`.
fn time(whole: &[u8]) -> Option<UnixTime> {
    let time = GeneralizedTime::from_der(whole).ok()?;
    Some(UnixTime(time.to_unix_duration().as_secs()))
}
