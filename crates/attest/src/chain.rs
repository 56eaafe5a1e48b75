//! Certificate path validation (RFC 5280) and revocation lists, for every platform.
//!
//! `rustls-webpki` builds the path and verifies names, signatures, validity and basic constraints. It does not look at
//! keyUsage, at the validity of the trust anchor, or at the size of a key; this module does, so that an error can also
//! name the certificate at fault.

mod lists;

pub(crate) use lists::{distribution_points, path_revocation};

use core::fmt;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm};
use thiserror::Error;
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use crate::der;
use crate::snp::RejectionKind;
use crate::time::UnixTime;
use crate::x509::{Certificate, KeyUsage, PublicKey};

/// Longer paths are refused before a signature is looked at: Nitro has three authorities below the root, NVIDIA three.
const MAX_INTERMEDIATES: usize = 8;

/// Larger revocation lists are refused before they are parsed.
const MAX_CRL: usize = 1024 * 1024;

/// id-kp-OCSPSigning, 1.3.6.1.5.5.7.3.9.
const OCSP_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x09];

/// A trust anchor, and the certificates between it and the leaf. All are the verifier's own, never the prover's.
pub(crate) struct Issuers<'a> {
    pub(crate) anchor: &'a Certificate,
    /// The certificate that issued the leaf.
    pub(crate) intermediate: &'a Certificate,
}

/// What a platform's certificates must look like beyond RFC 5280.
pub(crate) struct Profile {
    /// Exact signature algorithms, parameters included.
    pub(crate) algorithms: &'static [&'static dyn SignatureVerificationAlgorithm],
    pub(crate) issuer_key: fn(&PublicKey) -> bool,
    pub(crate) leaf_key: fn(&PublicKey) -> bool,
}

/// Which certificate of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The pinned root.
    Root,
    /// The certificate that the root issued.
    Intermediate,
    /// The certificate whose key signs evidence.
    Leaf,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root certificate",
            Self::Intermediate => "intermediate certificate",
            Self::Leaf => "leaf certificate",
        })
    }
}

/// Why a path is not valid.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChainError {
    /// Time is before notBefore.
    #[error("the {role} is not valid before {not_before}, and the time is {now}")]
    NotYetValid {
        /// Certificate at fault.
        role: Role,
        /// Its first valid second.
        not_before: UnixTime,
        /// The time that was given.
        now: UnixTime,
    },
    /// Time is after notAfter.
    #[error("the {role} expired at {not_after}, and the time is {now}")]
    Expired {
        /// Certificate at fault.
        role: Role,
        /// Its last valid second.
        not_after: UnixTime,
        /// The time that was given.
        now: UnixTime,
    },
    /// An issuer without basicConstraints cA.
    #[error("the {role} is not a certificate authority")]
    NotAuthority {
        /// Certificate at fault.
        role: Role,
    },
    /// A leaf that could issue certificates.
    #[error("the leaf certificate is a certificate authority")]
    LeafIsAuthority,
    /// keyUsage is absent from an issuer, or does not permit what the key is used for.
    #[error("the {role}'s key usage does not permit its use")]
    KeyUsage {
        /// Certificate at fault.
        role: Role,
    },
    /// Not the key type, size or exponent of this platform.
    #[error("the {role}'s key is not of the kind that this platform uses")]
    KeyType {
        /// Certificate at fault.
        role: Role,
    },
    /// More intermediate certificates than any platform has.
    #[error("the certificate path has {found} intermediate certificates, more than {MAX_INTERMEDIATES}")]
    TooLong {
        /// Intermediate certificates that arrived.
        found: usize,
    },
    /// No certificate that the verifier holds has the issuer's name.
    #[error("no pinned certificate issued the leaf certificate")]
    UnknownIssuer,
    /// A certificate's signature does not verify under its issuer's key.
    #[error("a certificate's signature is not by its issuer's key")]
    Signature,
    /// Not the platform's signature algorithm with exactly its parameters.
    #[error("a certificate is signed with another algorithm or other parameters than this platform uses")]
    Algorithm,
    /// Anything else that RFC 5280 path validation refuses.
    #[error("the certificate path is not valid: {0:?}")]
    Path(webpki::Error),
}

impl ChainError {
    /// What kind of answer this is.
    pub fn kind(&self) -> RejectionKind {
        match self {
            Self::NotYetValid { .. } | Self::Expired { .. } => RejectionKind::Stale,
            Self::NotAuthority { .. }
            | Self::LeafIsAuthority
            | Self::KeyUsage { .. }
            | Self::KeyType { .. }
            | Self::TooLong { .. }
            | Self::UnknownIssuer
            | Self::Signature
            | Self::Algorithm
            | Self::Path(_) => RejectionKind::NotGenuine,
        }
    }

    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotYetValid { .. } => "x509.not-yet-valid",
            Self::Expired { .. } => "x509.expired",
            Self::NotAuthority { .. } => "x509.not-an-authority",
            Self::LeafIsAuthority => "x509.leaf-is-authority",
            Self::KeyUsage { .. } => "x509.key-usage",
            Self::KeyType { .. } => "x509.key-type",
            Self::TooLong { .. } => "x509.path-too-long",
            Self::UnknownIssuer => "x509.unknown-issuer",
            Self::Signature => "x509.signature",
            Self::Algorithm => "x509.algorithm",
            Self::Path(_) => "x509.path",
        }
    }
}

/// Why a revocation list does not clear a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CrlError {
    /// None was given.
    #[error("the revocation list is missing")]
    Missing,
    /// None of the authority that issued a certificate, though the certificate names one.
    #[error("the {role} names a revocation list of {issuer:?}, and none of that authority was given")]
    MissingOf {
        /// Certificate that is not looked up.
        role: Role,
        /// Common name of its issuer.
        issuer: String,
    },
    /// A certificate that could be in no list, and that lives too long to go without.
    #[error("the {role}, issued by {issuer:?}, lives longer than a day and names no revocation list")]
    Unlisted {
        /// Certificate that is not looked up.
        role: Role,
        /// Common name of its issuer.
        issuer: String,
    },
    /// What a certificate says of its list cannot be read, or is of some reasons only, or of another issuer's list.
    #[error("what the {role} says of its revocation list cannot be read, or is of a part of one")]
    DistributionPoint {
        /// Certificate at fault.
        role: Role,
    },
    /// More than there are authorities.
    #[error("{found} revocation lists are more than there are authorities")]
    TooMany {
        /// Lists that were given.
        found: usize,
    },
    /// Not one complete version 2 CRL in DER with a nextUpdate, or more than 1 MiB.
    #[error("the revocation list is not one complete X.509 CRL in DER")]
    Malformed,
    /// It covers only some certificates or reasons, or what changed since another list.
    #[error("the revocation list is a delta, or limited in scope by an issuingDistributionPoint")]
    Scoped,
    /// Issued by somebody else.
    #[error("the revocation list is not issued by an authority that it could be of")]
    Issuer,
    /// Not signed by its issuer's key with the platform's algorithm.
    #[error("the revocation list is not signed by its issuer's key")]
    Signature,
    /// The issuer's key usage does not include cRLSign.
    #[error("the issuer may not sign revocation lists")]
    KeyUsage,
    /// Time is before thisUpdate.
    #[error("the revocation list is issued at {this_update}, and the time is {now}")]
    NotYetValid {
        /// Its first valid second.
        this_update: UnixTime,
        /// The time that was given.
        now: UnixTime,
    },
    /// Time is after nextUpdate.
    #[error("the revocation list expired at {next_update}, and the time is {now}")]
    Expired {
        /// Its last valid second.
        next_update: UnixTime,
        /// The time that was given.
        now: UnixTime,
    },
    /// A certificate of the path is listed.
    #[error("the {role} with the serial number {serial} is revoked")]
    Revoked {
        /// Certificate at fault.
        role: Role,
        /// Its serial number, hexadecimal.
        serial: String,
    },
}

impl CrlError {
    /// What kind of answer this is.
    pub fn kind(&self) -> RejectionKind {
        match self {
            Self::Missing | Self::MissingOf { .. } | Self::Unlisted { .. } => RejectionKind::Missing,
            Self::NotYetValid { .. } | Self::Expired { .. } => RejectionKind::Stale,
            Self::DistributionPoint { .. }
            | Self::TooMany { .. }
            | Self::Malformed
            | Self::Scoped
            | Self::Issuer
            | Self::Signature
            | Self::KeyUsage
            | Self::Revoked { .. } => RejectionKind::NotGenuine,
        }
    }

    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing | Self::MissingOf { .. } => "crl.missing",
            Self::Unlisted { .. } => "crl.unlisted",
            Self::DistributionPoint { .. } => "crl.distribution-point",
            Self::TooMany { .. } => "crl.too-many",
            Self::Malformed => "crl.malformed",
            Self::Scoped => "crl.scoped",
            Self::Issuer => "crl.issuer",
            Self::Signature => "crl.signature",
            Self::KeyUsage => "crl.key-usage",
            Self::NotYetValid { .. } => "crl.not-yet-valid",
            Self::Expired { .. } => "crl.expired",
            Self::Revoked { .. } => "crl.revoked",
        }
    }
}

/// A revocation list that was signed by the root, is in date, and lists nothing of the path.
pub(crate) struct Cleared {
    pub(crate) this_update: UnixTime,
    pub(crate) next_update: UnixTime,
}

/// The anchor is what it must be at this time. Pinning is by identity: the anchor is one of the verifier's own.
pub(crate) fn check_anchor(anchor: &Certificate, profile: &Profile, now: UnixTime) -> Result<(), ChainError> {
    check_validity(anchor, Role::Root, now)?;
    check_authority(anchor, Role::Root, profile)
}

/// Validates anchor -> intermediate -> leaf. Returns the last second at which all of the three are valid.
pub(crate) fn validate(
    issuers: &Issuers<'_>,
    leaf: &Certificate,
    profile: &Profile,
    now: UnixTime,
) -> Result<UnixTime, ChainError> {
    validate_path(issuers.anchor, &[issuers.intermediate], leaf, profile, now)
}

/// Validates anchor -> intermediates -> leaf, whoever brought the intermediates: each must be what an authority of this
/// platform is, used or not. Returns the last second at which all of them are valid.
pub(crate) fn validate_path(
    anchor: &Certificate,
    intermediates: &[&Certificate],
    leaf: &Certificate,
    profile: &Profile,
    now: UnixTime,
) -> Result<UnixTime, ChainError> {
    path(anchor, intermediates, leaf, profile, now, NoExtendedKeyUsage)
}

/// As [`validate_path`], for certificates whose extended key usages the caller has looked at.
pub(crate) fn validate_path_of_purpose(
    anchor: &Certificate,
    intermediates: &[&Certificate],
    leaf: &Certificate,
    profile: &Profile,
    now: UnixTime,
) -> Result<UnixTime, ChainError> {
    path(anchor, intermediates, leaf, profile, now, LookedAt)
}

fn path(
    anchor: &Certificate,
    intermediates: &[&Certificate],
    leaf: &Certificate,
    profile: &Profile,
    now: UnixTime,
    usage: impl ExtendedKeyUsageValidator,
) -> Result<UnixTime, ChainError> {
    if intermediates.len() > MAX_INTERMEDIATES {
        return Err(ChainError::TooLong { found: intermediates.len() });
    }
    check_anchor(anchor, profile, now)?;
    for intermediate in intermediates {
        check_validity(intermediate, Role::Intermediate, now)?;
        check_authority(intermediate, Role::Intermediate, profile)?;
    }
    check_validity(leaf, Role::Leaf, now)?;
    check_leaf(leaf, profile)?;

    verify_path(anchor, intermediates, leaf, profile, now, usage)?;

    let ends = intermediates.iter().map(|certificate| certificate.not_after);
    Ok(ends.fold(anchor.not_after.min(leaf.not_after), UnixTime::min))
}

/// Validates a certificate that its issuer appointed to answer about revocation (RFC 6960 §4.2.2.2): issued by it directly,
/// valid, no authority, for signatures, with the extendedKeyUsage OCSPSigning and no other. The issuer is validated
/// already. Whether the responder is itself revoked is not asked; its validity bounds it.
pub(crate) fn validate_responder(
    issuer: &Certificate,
    responder: &Certificate,
    profile: &Profile,
    now: UnixTime,
) -> Result<(), ChainError> {
    check_validity(responder, Role::Leaf, now)?;
    check_leaf(responder, profile)?;
    verify_path(issuer, &[], responder, profile, now, OnlyOcspSigning)
}

/// Whether the key of this SubjectPublicKeyInfo signed, with one of the profile's algorithms.
pub(crate) fn is_signed_by(signed: &der::Signed<'_>, spki: &[u8], profile: &Profile) -> bool {
    is_signed_with(profile.algorithms, signed, spki)
}

/// Whether the key of this SubjectPublicKeyInfo signed, with one of these algorithms.
pub(crate) fn is_signed_with(
    algorithms: &[&dyn SignatureVerificationAlgorithm],
    signed: &der::Signed<'_>,
    spki: &[u8],
) -> bool {
    let Some((key_algorithm, key)) = der::public_key(spki) else { return false };
    algorithms
        .iter()
        .filter(|algorithm| algorithm.signature_alg_id().as_ref() == signed.algorithm)
        .filter(|algorithm| algorithm.public_key_alg_id().as_ref() == key_algorithm)
        .any(|algorithm| algorithm.verify_signature(key, signed.to_be_signed, signed.signature).is_ok())
}

/// Verifies a revocation list of the anchor, and that it lists neither the intermediate nor the leaf.
///
/// The leaf's serial number is looked up too, although the anchor did not issue it: AMD reserves the right to list it.
pub(crate) fn check_revocation(
    crl_der: &[u8],
    issuers: &Issuers<'_>,
    leaf: &Certificate,
    profile: &Profile,
    now: UnixTime,
) -> Result<Cleared, CrlError> {
    let (signed, fields, list) = read_list(crl_der)?;
    if fields.issuer != issuers.anchor.subject.as_slice() {
        return Err(CrlError::Issuer);
    }
    if !matches!(issuers.anchor.key_usage, KeyUsage::Present { crl_sign: true, .. }) {
        return Err(CrlError::KeyUsage);
    }
    if !is_signed_by(&signed, &issuers.anchor.spki, profile) {
        return Err(CrlError::Signature);
    }

    fields.holds(now)?;
    if list.issuing_distribution_point().is_some() {
        return Err(CrlError::Scoped);
    }
    look_up(&list, issuers.intermediate, Role::Intermediate)?;
    look_up(&list, leaf, Role::Leaf)?;
    Ok(Cleared { this_update: fields.this_update, next_update: fields.next_update })
}

/// What a revocation list says of itself, believed by nobody.
struct ListFields<'a> {
    /// `Name`, DER.
    issuer: &'a [u8],
    this_update: UnixTime,
    next_update: UnixTime,
}

impl ListFields<'_> {
    fn holds(&self, now: UnixTime) -> Result<(), CrlError> {
        let Self { this_update, next_update, .. } = *self;
        if now < this_update {
            return Err(CrlError::NotYetValid { this_update, now });
        }
        if now > next_update {
            return Err(CrlError::Expired { next_update, now });
        }
        Ok(())
    }
}

type ReadList<'a> = (der::Signed<'a>, ListFields<'a>, webpki::CertRevocationList<'a>);

/// Reads exactly one list.
fn read_list(crl_der: &[u8]) -> Result<ReadList<'_>, CrlError> {
    if crl_der.is_empty() {
        return Err(CrlError::Missing);
    }
    if crl_der.len() > MAX_CRL {
        return Err(CrlError::Malformed);
    }
    let signed = der::signed(crl_der).ok_or(CrlError::Malformed)?;
    let list = webpki::BorrowedCertRevocationList::from_der(crl_der).map_err(list_error)?;
    let (rest, fields) = CertificateRevocationList::from_der(crl_der).map_err(|_| CrlError::Malformed)?;
    if !rest.is_empty() {
        return Err(CrlError::Malformed);
    }
    let time = |timestamp: i64| u64::try_from(timestamp).map(UnixTime).map_err(|_| CrlError::Malformed);
    let this_update = time(fields.last_update().timestamp())?;
    let next_update = time(fields.next_update().ok_or(CrlError::Malformed)?.timestamp())?;
    let fields = ListFields { issuer: fields.tbs_cert_list.issuer.as_raw(), this_update, next_update };
    Ok((signed, fields, list.into()))
}

/// Whether the list names the certificate, whatever the reason. Serial numbers are compared as they are written.
fn look_up(list: &webpki::CertRevocationList<'_>, subject: &Certificate, role: Role) -> Result<(), CrlError> {
    match list.find_serial(&subject.serial).map_err(list_error)? {
        Some(_) => Err(CrlError::Revoked { role, serial: hex::encode(&subject.serial) }),
        None => Ok(()),
    }
}

/// Lists that webpki does not read since they are parts of one are told from those that are none.
fn list_error(error: webpki::Error) -> CrlError {
    match error {
        webpki::Error::UnsupportedDeltaCrl
        | webpki::Error::UnsupportedIndirectCrl
        | webpki::Error::UnsupportedRevocationReasonsPartitioning
        | webpki::Error::UnsupportedCrlIssuingDistributionPoint => CrlError::Scoped,
        _ => CrlError::Malformed,
    }
}

/// Names, signatures, validity and basic constraints, by webpki.
fn verify_path(
    anchor: &Certificate,
    intermediates: &[&Certificate],
    leaf: &Certificate,
    profile: &Profile,
    now: UnixTime,
    purposes: impl ExtendedKeyUsageValidator,
) -> Result<(), ChainError> {
    let anchor_der = CertificateDer::from(anchor.der.as_slice());
    let anchors = [webpki::anchor_from_trusted_cert(&anchor_der).map_err(path_error)?];
    let chain: Vec<_> =
        intermediates.iter().map(|certificate| CertificateDer::from(certificate.der.as_slice())).collect();
    let leaf_der = CertificateDer::from(leaf.der.as_slice());
    let end_entity = EndEntityCert::try_from(&leaf_der).map_err(path_error)?;
    let time = rustls_pki_types::UnixTime::since_unix_epoch(core::time::Duration::from_secs(now.0));
    end_entity
        .verify_for_usage(profile.algorithms, &anchors, &chain, time, purposes, None, None)
        .map(drop)
        .map_err(path_error)
}

fn check_validity(certificate: &Certificate, role: Role, now: UnixTime) -> Result<(), ChainError> {
    if now < certificate.not_before {
        return Err(ChainError::NotYetValid { role, not_before: certificate.not_before, now });
    }
    if now > certificate.not_after {
        return Err(ChainError::Expired { role, not_after: certificate.not_after, now });
    }
    Ok(())
}

fn check_authority(certificate: &Certificate, role: Role, profile: &Profile) -> Result<(), ChainError> {
    if !certificate.is_ca {
        return Err(ChainError::NotAuthority { role });
    }
    if !matches!(certificate.key_usage, KeyUsage::Present { certificate_sign: true, .. }) {
        return Err(ChainError::KeyUsage { role });
    }
    if !(profile.issuer_key)(&certificate.key) {
        return Err(ChainError::KeyType { role });
    }
    Ok(())
}

/// A leaf need not restrict its key usage (AMD's do not), but must not exclude signatures where it does.
fn check_leaf(leaf: &Certificate, profile: &Profile) -> Result<(), ChainError> {
    if leaf.is_ca {
        return Err(ChainError::LeafIsAuthority);
    }
    if matches!(leaf.key_usage, KeyUsage::Present { digital_signature: false, .. }) {
        return Err(ChainError::KeyUsage { role: Role::Leaf });
    }
    if !(profile.leaf_key)(&leaf.key) {
        return Err(ChainError::KeyType { role: Role::Leaf });
    }
    Ok(())
}

fn path_error(error: webpki::Error) -> ChainError {
    match error {
        webpki::Error::UnknownIssuer => ChainError::UnknownIssuer,
        webpki::Error::InvalidSignatureForPublicKey => ChainError::Signature,
        webpki::Error::SignatureAlgorithmMismatch
        | webpki::Error::UnsupportedSignatureAlgorithmContext(_)
        | webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => ChainError::Algorithm,
        other => ChainError::Path(other),
    }
}

/// These certificates sign evidence and nothing of the web: none of them may carry an extendedKeyUsage.
struct NoExtendedKeyUsage;

impl ExtendedKeyUsageValidator for NoExtendedKeyUsage {
    fn validate(&self, mut purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        match purposes.next() {
            None => Ok(()),
            Some(_) => Err(webpki::Error::BadDer),
        }
    }
}

/// Extended key usages were looked at before.
struct LookedAt;

impl ExtendedKeyUsageValidator for LookedAt {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

/// A responder's certificate serves for nothing else.
struct OnlyOcspSigning;

impl ExtendedKeyUsageValidator for OnlyOcspSigning {
    fn validate(&self, mut purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let purpose = purposes.next().ok_or(webpki::Error::BadDer)??;
        if purpose == KeyPurposeId::new(OCSP_SIGNING) && purposes.next().is_none() {
            return Ok(());
        }
        Err(webpki::Error::BadDer)
    }
}

#[cfg(test)]
mod tests;
