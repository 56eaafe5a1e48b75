//! Whose machine it is (spec/channel.md §9, CH-20 and CH-21): a signature over the runtime statement by a key, or under a name, that the
//! policy names.

use std::time::Duration;

use casemate_attest::{Check, Outcome, Rule, UnixTime};
use casemate_protocol::document::{DocumentError, DocumentOperator};
use casemate_protocol::operator::signed_bytes;
use rustls::SignatureScheme;
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs as provider};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, TrustAnchor};
use webpki::{EndEntityCert, KeyUsage, RawPublicKeyEntity};

/// Whose machines a client accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperatorRule {
    /// Anybody's that meets the rest. Listed as waived.
    NotAsked,
    /// The operators who have these keys.
    Keys(Vec<[u8; 32]>),
    /// The operators who have a certificate for one of these names.
    Names {
        /// DNS names.
        names: Vec<ServerName<'static>>,
        /// Whose certificates are believed.
        authorities: Authorities,
    },
}

/// Who may say whose name a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorities {
    /// The public ones that Mozilla lists.
    Public,
    /// These.
    These(Vec<TrustAnchor<'static>>),
}

/// Why an operator is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperatorError {
    /// The document names none.
    #[error("the server shows no operator, and the policy demands one")]
    Missing,
    /// The document's part about the operator cannot be read.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Another key.
    #[error("the operator's key is {found}, which the policy does not name")]
    Key {
        /// SHA-256 of its SubjectPublicKeyInfo.
        found: String,
    },
    /// No certificate, or one that is not good.
    #[error("the operator's certificate is not good: {what}")]
    Certificate {
        /// What is wrong.
        what: String,
    },
    /// A good certificate for another name.
    #[error("the operator's certificate is for none of the names of the policy")]
    Name,
    /// The certificate is of another key than the one that signed.
    #[error("the operator's certificate is of another key than the one that signs")]
    OtherKey,
    /// An algorithm that is not accepted.
    #[error("the operator's signature is of an algorithm that is not accepted")]
    Scheme,
    /// The signature is not of this statement and key.
    #[error("the operator did not sign this runtime statement")]
    Signature,
}

impl OperatorError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "operator.missing",
            Self::Document(e) => e.code(),
            Self::Key { .. } => "operator.key",
            Self::Certificate { .. } => "operator.certificate",
            Self::Name => "operator.name",
            Self::OtherKey => "operator.other-key",
            Self::Scheme => "operator.scheme",
            Self::Signature => "operator.signature",
        }
    }
}

/// A refused operator with the checks of this module.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct OperatorRefused {
    /// Why.
    pub reason: OperatorError,
    /// Every rule of this module in order; those after the failure are not reached.
    pub checks: Vec<Check>,
}

/// The rules of spec/channel.md §9, in order.
pub static RULES: [Rule; 2] = [
    Rule {
        id: "CH-20",
        title: "operator is one of ours",
        spec: "channel.md §9 CH-20",
        why: "Genuine hardware with the right code may stand in anybody's cellar, whoever opens its memory there.",
    },
    Rule {
        id: "CH-21",
        title: "operator signed this runtime statement",
        spec: "channel.md §9 CH-21",
        why: "A signature that was made for another machine, or for another time, says nothing about this one.",
    },
];

/// Holds what a document shows of its operator against `rule`: `document` is the statement's text, which the evidence was found to bind, and
/// `until` the end of that statement.
///
/// # Errors
/// [`OperatorRefused`], with the first rule that does not hold.
pub fn check(
    shown: Option<&DocumentOperator>,
    document: &str,
    rule: &OperatorRule,
    now: UnixTime,
    until: UnixTime,
) -> Result<Vec<Check>, OperatorRefused> {
    let [whose, signed] = &RULES;
    let row = |rule, outcome, compared: String| Check { rule, outcome, compared };
    if *rule == OperatorRule::NotAsked {
        let compared = "no operator is named: anybody's machine that meets the rest";
        return Ok(vec![row(whose, Outcome::Waived, compared.to_owned())]);
    }
    let failed = |before: Vec<Check>, rule: &'static Rule, reason: OperatorError| {
        let mut checks = before;
        checks.push(row(rule, Outcome::Fail, reason.to_string()));
        let rest = RULES.iter().skip(checks.len());
        checks.extend(rest.map(|rule| row(rule, Outcome::NotReached, String::new())));
        OperatorRefused { reason, checks }
    };
    // CH-20
    let (found, spki, signature) = shown
        .ok_or(OperatorError::Missing)
        .and_then(|shown| named(shown, rule, now, until))
        .map_err(|reason| failed(Vec::new(), whose, reason))?;
    let mut checks = vec![row(whose, Outcome::Pass, found)];
    // CH-21
    let scheme = shown.map_or("", |shown| shown.scheme.as_str());
    match is_signed(scheme, &spki, &signature, document) {
        Ok(()) => checks.push(row(signed, Outcome::Pass, scheme.to_owned())),
        Err(reason) => return Err(failed(checks, signed, reason)),
    }
    Ok(checks)
}

/// The rows of [`RULES`] as not reached, for a report that ended before the operator was looked at.
pub fn not_reached() -> Vec<Check> {
    let row = |rule| Check { rule, outcome: Outcome::NotReached, compared: String::new() };
    RULES.iter().map(row).collect()
}

/// CH-20: who it is, in words, with the key's SubjectPublicKeyInfo and the signature.
fn named(
    shown: &DocumentOperator,
    rule: &OperatorRule,
    now: UnixTime,
    until: UnixTime,
) -> Result<(String, Vec<u8>, Vec<u8>), OperatorError> {
    let spki = shown.spki_bytes()?;
    let (certificates, signature) = (shown.certificate_bytes()?, shown.signature_bytes()?);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &spki);
    let found = hex::encode(digest);
    let said = match rule {
        OperatorRule::NotAsked => String::new(),
        OperatorRule::Keys(keys) => {
            if !keys.iter().any(|key| key == digest.as_ref()) {
                return Err(OperatorError::Key { found });
            }
            format!("key {found}")
        }
        OperatorRule::Names { names, authorities } => {
            let bad = |error: webpki::Error| OperatorError::Certificate { what: format!("{error:?}") };
            let none = || OperatorError::Certificate { what: "there is none".to_owned() };
            let (leaf, above) = certificates.split_first().ok_or_else(none)?;
            let leaf = CertificateDer::from(leaf.as_slice());
            let above: Vec<_> = above.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
            let certificate = EndEntityCert::try_from(&leaf).map_err(bad)?;
            let authorities = match authorities {
                Authorities::Public => webpki_roots::TLS_SERVER_ROOTS,
                Authorities::These(these) => these,
            };
            // Good now, and for as long as the statement.
            for time in [now, until] {
                let time = rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs(time.0));
                let (algorithms, usage) = (algorithms().all, KeyUsage::server_auth());
                certificate
                    .verify_for_usage(algorithms, authorities, &above, time, usage, None, None)
                    .map_err(bad)?;
            }
            let name = names.iter().find(|name| certificate.verify_is_valid_for_subject_name(name).is_ok());
            let name = name.ok_or(OperatorError::Name)?;
            if certificate.subject_public_key_info().as_ref() != spki {
                return Err(OperatorError::OtherKey);
            }
            format!("{}, key {found}", name.to_str())
        }
    };
    Ok((said, spki, signature))
}

/// CH-21.
fn is_signed(scheme: &str, spki: &[u8], signature: &[u8], document: &str) -> Result<(), OperatorError> {
    let scheme = match scheme {
        "ed25519" => SignatureScheme::ED25519,
        "ecdsa_secp256r1_sha256" => SignatureScheme::ECDSA_NISTP256_SHA256,
        "ecdsa_secp384r1_sha384" => SignatureScheme::ECDSA_NISTP384_SHA384,
        "rsa_pss_rsae_sha256" => SignatureScheme::RSA_PSS_SHA256,
        "rsa_pss_rsae_sha384" => SignatureScheme::RSA_PSS_SHA384,
        "rsa_pss_rsae_sha512" => SignatureScheme::RSA_PSS_SHA512,
        _ => return Err(OperatorError::Scheme),
    };
    let spki = SubjectPublicKeyInfoDer::from(spki);
    let key = RawPublicKeyEntity::try_from(&spki).map_err(|_| OperatorError::Signature)?;
    let known = algorithms().mapping.iter().find(|(known, _)| *known == scheme);
    let (_, ways) = known.ok_or(OperatorError::Scheme)?;
    let message = signed_bytes(document);
    let good = ways.iter().any(|way| key.verify_signature(*way, &message, signature).is_ok());
    if good { Ok(()) } else { Err(OperatorError::Signature) }
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    provider::default_provider().signature_verification_algorithms
}

#[cfg(test)]
mod tests;
