//! Whether certificates are revoked, by answers that somebody fetched (OCSP, RFC 6960). Nothing is asked here.
//!
//! An answer counts for a certificate when it names it (CertID: hashes of the issuer's name and key, serial number), is
//! signed by the issuer or by a responder that the issuer appointed (extendedKeyUsage OCSPSigning, §4.2.2.2), is in date,
//! and carries the nonce of the request where one was sent.

mod request;
mod response;

#[cfg(test)]
mod tests;

use thiserror::Error;

use crate::chain::{self, ChainError, Profile};
use crate::crypto;
use crate::der;
use crate::snp::RejectionKind;
use crate::time::UnixTime;
use crate::x509::Certificate;
pub(crate) use request::{certificate_id, request};
use response::{Answer, CertId, Status};

/// Longer lists of answers are refused: eight GPUs, four switches and their manifests need about 60.
const MAX_ANSWERS: usize = 256;

/// An answer as it was fetched, and the nonce of the request that it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OcspResponse {
    /// OCSPResponse, DER.
    pub der: Vec<u8>,
    /// What the request had.
    pub nonce: OcspNonce,
}

/// The nonce of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OcspNonce {
    /// None was sent: thisUpdate and nextUpdate alone say how old the answer may be.
    NotSent,
    /// These octets, without their OCTET STRING; the answer must repeat them.
    Sent(Vec<u8>),
}

/// Why nothing clears a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OcspError {
    /// There is no answer about it.
    #[error("no answer about revocation of {certificate}")]
    Missing {
        /// Common name.
        certificate: String,
    },
    /// More answers than any machine needs.
    #[error("{found} answers about revocation, more than {MAX_ANSWERS}")]
    TooMany {
        /// Answers that were given.
        found: usize,
    },
    /// Too long, or not one BasicOCSPResponse in DER.
    #[error("an answer about revocation is not one OCSP response in DER")]
    Malformed,
    /// The responder did not answer.
    #[error("the responder answered with status {status} and nothing else")]
    Unsuccessful {
        /// OCSPResponseStatus: 1 malformedRequest, 2 internalError, 3 tryLater, 5 sigRequired, 6 unauthorized.
        status: u8,
    },
    /// A critical extension that is not known here.
    #[error("an answer about revocation has a critical extension that is not known here")]
    CriticalExtension,
    /// Signed neither by the issuer nor by a responder of its.
    #[error("the responder is not appointed by the issuer of {certificate}: {error}")]
    Responder {
        /// Common name of the certificate asked about.
        certificate: String,
        /// What is wrong with the responder's certificate.
        error: ChainError,
    },
    /// Not signed by the responder's key, with the platform's algorithm.
    #[error("the answer about {certificate} is not signed by its issuer or a responder of its issuer's")]
    Signature {
        /// Common name.
        certificate: String,
    },
    /// The nonce of the request is not in the answer.
    #[error("the answer about {certificate} does not carry the request's nonce")]
    Nonce {
        /// Common name.
        certificate: String,
    },
    /// An answer that never ends.
    #[error("the answer about {certificate} has no nextUpdate")]
    NoNextUpdate {
        /// Common name.
        certificate: String,
    },
    /// Time is before thisUpdate.
    #[error("the answer about {certificate} holds from {this_update}, and the time is {now}")]
    NotYetValid {
        /// Common name.
        certificate: String,
        /// Its first valid second.
        this_update: UnixTime,
        /// The time that was given.
        now: UnixTime,
    },
    /// Time is after nextUpdate.
    #[error("the answer about {certificate} held until {next_update}, and the time is {now}")]
    Expired {
        /// Common name.
        certificate: String,
        /// Its last valid second.
        next_update: UnixTime,
        /// The time that was given.
        now: UnixTime,
    },
    /// The responder does not know it.
    #[error("the responder does not know {certificate}")]
    Unknown {
        /// Common name.
        certificate: String,
    },
    /// Revoked for good.
    #[error("{certificate} is revoked{}", reason.map_or_else(String::new, |reason| format!(", reason {reason}")))]
    Revoked {
        /// Common name.
        certificate: String,
        /// CRLReason (RFC 5280 §5.3.1), where the answer has one.
        reason: Option<u8>,
    },
}

/// A certificate that is not revoked for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cleared {
    /// On hold: NVIDIA may take it back or revoke it.
    pub(crate) on_hold: bool,
    /// First second at which every answer about it counts.
    pub(crate) this_update: UnixTime,
    /// Last second at which every answer about it counts.
    pub(crate) next_update: UnixTime,
}

/// Answers that have the right form, with the nonces of their requests.
pub(crate) struct Answers<'a> {
    answers: Vec<(Answer<'a>, &'a OcspNonce)>,
}

impl OcspError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "ocsp.missing",
            Self::TooMany { .. } => "ocsp.too-many",
            Self::Malformed => "ocsp.malformed",
            Self::Unsuccessful { .. } => "ocsp.unsuccessful",
            Self::CriticalExtension => "ocsp.extension",
            Self::Responder { .. } => "ocsp.responder",
            Self::Signature { .. } => "ocsp.signature",
            Self::Nonce { .. } => "ocsp.nonce",
            Self::NoNextUpdate { .. } => "ocsp.no-next-update",
            Self::NotYetValid { .. } => "ocsp.not-yet-valid",
            Self::Expired { .. } => "ocsp.expired",
            Self::Unknown { .. } => "ocsp.unknown",
            Self::Revoked { .. } => "ocsp.revoked",
        }
    }

    /// What kind of answer this is.
    pub fn kind(&self) -> RejectionKind {
        match self {
            Self::Missing { .. } | Self::Unsuccessful { .. } => RejectionKind::Missing,
            Self::NotYetValid { .. } | Self::Expired { .. } => RejectionKind::Stale,
            Self::TooMany { .. }
            | Self::Malformed
            | Self::CriticalExtension
            | Self::Responder { .. }
            | Self::Signature { .. }
            | Self::Nonce { .. }
            | Self::NoNextUpdate { .. }
            | Self::Unknown { .. }
            | Self::Revoked { .. } => RejectionKind::NotGenuine,
        }
    }
}

impl<'a> Answers<'a> {
    /// Reads all answers; one that is not an answer is refused, whomever it was meant for.
    pub(crate) fn read(responses: &'a [OcspResponse]) -> Result<Self, OcspError> {
        if responses.len() > MAX_ANSWERS {
            return Err(OcspError::TooMany { found: responses.len() });
        }
        let read = |response: &'a OcspResponse| Ok((Answer::parse(&response.der)?, &response.nonce));
        Ok(Self { answers: responses.iter().map(read).collect::<Result<_, _>>()? })
    }

    /// What the answers say about a certificate. Every answer that names it must hold; the worst of them counts.
    pub(crate) fn about(
        &self,
        subject: &Certificate,
        issuer: &Certificate,
        profile: &Profile,
        now: UnixTime,
    ) -> Result<Cleared, OcspError> {
        let certificate = || subject.subject_cn.clone();
        let mut cleared: Option<Cleared> = None;
        for (answer, nonce) in &self.answers {
            let mut named =
                answer.singles.iter().filter(|single| names(&single.id, subject, issuer)).peekable();
            if named.peek().is_none() {
                continue;
            }
            signed(answer, subject, issuer, profile, now)?;
            if let OcspNonce::Sent(sent) = nonce
                && answer.nonce != Some(sent.as_slice())
            {
                return Err(OcspError::Nonce { certificate: certificate() });
            }
            for single in named {
                let next_update = single
                    .next_update
                    .ok_or_else(|| OcspError::NoNextUpdate { certificate: certificate() })?;
                let this_update = single.this_update;
                if now < this_update {
                    return Err(OcspError::NotYetValid { certificate: certificate(), this_update, now });
                }
                if now > next_update {
                    return Err(OcspError::Expired { certificate: certificate(), next_update, now });
                }
                let on_hold = match single.status {
                    Status::Good => false,
                    Status::Revoked { reason: Some(response::CERTIFICATE_HOLD) } => true,
                    Status::Revoked { reason } => {
                        return Err(OcspError::Revoked { certificate: certificate(), reason });
                    }
                    Status::Unknown => return Err(OcspError::Unknown { certificate: certificate() }),
                };
                let before = cleared.unwrap_or(Cleared { on_hold: false, this_update, next_update });
                cleared = Some(Cleared {
                    on_hold: on_hold || before.on_hold,
                    this_update: this_update.max(before.this_update),
                    next_update: next_update.min(before.next_update),
                });
            }
        }
        cleared.ok_or_else(|| OcspError::Missing { certificate: certificate() })
    }
}

/// Whether a CertID is that of this certificate of this issuer.
fn names(id: &CertId<'_>, subject: &Certificate, issuer: &Certificate) -> bool {
    let hash: fn(&[u8]) -> Vec<u8> = match id.hash {
        response::Hash::Sha256 => |octets| crypto::sha256(octets).to_vec(),
        response::Hash::Sha384 => |octets| crypto::sha384(octets).to_vec(),
        response::Hash::Other => return false,
    };
    let Some((_, key)) = der::public_key(&issuer.spki) else { return false };
    id.serial == subject.serial
        && id.issuer_name_hash == hash(&issuer.subject).as_slice()
        && id.issuer_key_hash == hash(key).as_slice()
}

/// By a responder that the issuer appointed, or by the issuer.
fn signed(
    answer: &Answer<'_>,
    subject: &Certificate,
    issuer: &Certificate,
    profile: &Profile,
    now: UnixTime,
) -> Result<(), OcspError> {
    let certificate = || subject.subject_cn.clone();
    let mut refused = None;
    for der in &answer.certificates {
        let Ok(responder) = Certificate::parse(der) else { continue };
        match chain::validate_responder(issuer, &responder, profile, now) {
            Ok(()) if chain::is_signed_by(&answer.signed, &responder.spki, profile) => return Ok(()),
            Ok(()) => return Err(OcspError::Signature { certificate: certificate() }),
            Err(error) => refused = Some(error),
        }
    }
    if chain::is_signed_by(&answer.signed, &issuer.spki, profile) {
        return Ok(());
    }
    Err(match refused {
        Some(error) => OcspError::Responder { certificate: certificate(), error },
        None => OcspError::Signature { certificate: certificate() },
    })
}
