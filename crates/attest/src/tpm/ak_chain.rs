//! The certificate of a virtual TPM's attestation key, and the path to its provider's root (RFC 5280).
//!
//! Beyond the path: RSA keys and RSASSA-PKCS1-v1_5 throughout, and extended key usages of TPM certificates only. webpki
//! knows no such purpose, so it is looked at here, for every certificate of the path below the root.

use rustls_pki_types::CertificateDer;

use super::roots::{Provider, VtpmRoot};
use super::signature::AttestationKey;
use crate::chain::{self, ChainError, CrlError, Profile, Role};
use crate::checks::Finding;
use crate::crypto;
use crate::der;
use crate::endorsements::Revocation;
use crate::time::UnixTime;
use crate::x509::{Certificate, CertificateError, PublicKey};

/// tcg-kp-EKCertificate, 2.23.133.8.1: what Google's certificates carry.
pub(crate) const EK_CERTIFICATE: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x01];
/// tcg-kp-AIKCertificate, 2.23.133.8.3: what Microsoft's carry.
pub(crate) const AIK_CERTIFICATE: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x03];

/// extKeyUsage.
const EXTENDED_KEY_USAGE: &str = "2.5.29.37";
/// Certificates between the leaf and the root: both providers have one.
const MAX_INTERMEDIATES: usize = 4;
/// OBJECT IDENTIFIER.
const OID: u8 = 0x06;

static PROFILE: Profile = Profile {
    algorithms: crypto::RSA_PKCS1,
    issuer_key: |key| matches!(key, PublicKey::Rsa { bits: 2048..=4096, exponent: 65537 }),
    leaf_key: |key| matches!(key, PublicKey::Rsa { bits: 2048, exponent: 65537 }),
};

/// Whether a leaf must carry the purpose, or may also carry none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeafPurpose {
    /// Microsoft's always do.
    Required,
    /// Google's newer leaves carry none.
    IfAny,
}

/// Why a certificate does not vouch for a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AkCertificateError {
    /// A certificate of the path cannot be judged.
    #[error("the {role}: {error}")]
    Certificate {
        /// Which.
        role: Role,
        /// What is wrong with it.
        error: CertificateError,
    },
    /// The verifier holds no root of the provider's by the name of the topmost issuer.
    #[error("no root named {issuer:?} is pinned for virtual TPMs")]
    RootMissing {
        /// The topmost certificate's issuer.
        issuer: String,
    },
    /// No intermediate certificate, or too many.
    #[error("{found} certificates between leaf and root are none or more than {MAX_INTERMEDIATES}")]
    Intermediates {
        /// How many arrived.
        found: usize,
    },
    /// The path.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// An extended key usage of something else, or none where there must be one.
    #[error("the {role} is not for keys of TPMs: its extended key usage is another")]
    Purpose {
        /// Which.
        role: Role,
    },
    /// The certificate vouches for another key.
    #[error("the certificate is of another key than the attestation key")]
    OtherKey,
}

/// A certified key: made only by [`certify`].
#[derive(Debug)]
pub(crate) struct CertifiedAk {
    pub(crate) root: String,
    pub(crate) issuer: String,
    pub(crate) valid_until: UnixTime,
}

/// A leaf as it arrived.
pub(crate) fn leaf(der: &[u8]) -> Result<Certificate, AkCertificateError> {
    // Google's older leaves have an empty subject; whose they are is in an extension.
    Certificate::parse_unnamed(der)
        .map_err(|error| AkCertificateError::Certificate { role: Role::Leaf, error })
}

/// Certificates in DER, or one PEM text: the intermediates, from the leaf's issuer up.
pub(crate) fn intermediates(ders: &[Vec<u8>]) -> Result<Vec<Certificate>, AkCertificateError> {
    if !(1..=MAX_INTERMEDIATES).contains(&ders.len()) {
        return Err(AkCertificateError::Intermediates { found: ders.len() });
    }
    let read = |der: &Vec<u8>| {
        Certificate::parse(der)
            .map_err(|error| AkCertificateError::Certificate { role: Role::Intermediate, error })
    };
    ders.iter().map(read).collect()
}

/// The provider's root by whom the topmost certificate says that it was issued.
pub(crate) fn root_of<'a>(
    roots: &'a [VtpmRoot],
    provider: Provider,
    intermediates: &[Certificate],
) -> Result<&'a Certificate, AkCertificateError> {
    let issuer = intermediates.last().map(|top| top.issuer_cn.clone()).unwrap_or_default();
    let root = roots.iter().find(|root| root.provider == provider && root.certificate.subject_cn == issuer);
    root.map(|root| &root.certificate).ok_or(AkCertificateError::RootMissing { issuer })
}

/// Validates root -> intermediates -> leaf at this time.
pub(crate) fn validate(
    root: &Certificate,
    intermediates: &[Certificate],
    leaf: &Certificate,
    (purpose, of_leaf): (&[u8], LeafPurpose),
    now: UnixTime,
) -> Result<UnixTime, AkCertificateError> {
    for certificate in intermediates {
        check_purpose(certificate, Role::Intermediate, purpose, LeafPurpose::Required)?;
    }
    check_purpose(leaf, Role::Leaf, purpose, of_leaf)?;
    let issuers: Vec<_> = intermediates.iter().collect();
    Ok(chain::validate_path_of_purpose(root, &issuers, leaf, &PROFILE, now)?)
}

/// Whether a certificate of the path, which is validated, is on a list of its issuer's.
pub(crate) fn revocation(
    revocation: &Revocation,
    root: &Certificate,
    intermediates: &[Certificate],
    leaf: &Certificate,
    now: UnixTime,
) -> Result<(UnixTime, Finding), CrlError> {
    let path: Vec<_> = [root].into_iter().chain(intermediates.iter().rev()).chain([leaf]).collect();
    chain::path_revocation(revocation, &path, &PROFILE, now)
}

/// The whole of it, for a certificate that comes beside evidence: it is of this key, and leads to a root of the
/// provider's.
pub(crate) fn certify(
    key: &AttestationKey,
    leaf_der: &[u8],
    intermediate_ders: &[Vec<u8>],
    (roots, provider): (&[VtpmRoot], Provider),
    purpose: (&[u8], LeafPurpose),
    now: UnixTime,
) -> Result<CertifiedAk, AkCertificateError> {
    let leaf = leaf(trimmed(leaf_der))?;
    let intermediates = intermediates(intermediate_ders)?;
    let root = root_of(roots, provider, &intermediates)?;
    let valid_until = validate(root, &intermediates, &leaf, purpose, now)?;
    if !is_key_of(key, &leaf) {
        return Err(AkCertificateError::OtherKey);
    }
    Ok(CertifiedAk { root: root.subject_cn.clone(), issuer: leaf.issuer_cn, valid_until })
}

/// Whether the certificate's key is this one: the modulus; both have the exponent 65537.
pub(crate) fn is_key_of(key: &AttestationKey, certificate: &Certificate) -> bool {
    let modulus = der::public_key(&certificate.spki).and_then(|(_, key)| der::rsa_public_key(key));
    matches!(modulus, Some((modulus, _)) if crypto::equal(modulus, key.modulus()))
}

/// An NV index is larger than the certificate in it, and the rest is zero: the certificate without that rest.
fn trimmed(nv: &[u8]) -> &[u8] {
    match der::take(nv, der::SEQUENCE) {
        Some((element, rest)) if rest.iter().all(|&octet| octet == 0) => element.whole,
        _ => nv,
    }
}

fn check_purpose(
    certificate: &Certificate,
    role: Role,
    purpose: &[u8],
    presence: LeafPurpose,
) -> Result<(), AkCertificateError> {
    let wrong = AkCertificateError::Purpose { role };
    let Some(extension) = certificate.extension(EXTENDED_KEY_USAGE) else {
        return if presence == LeafPurpose::IfAny { Ok(()) } else { Err(wrong) };
    };
    let mut rest = der::only(extension, der::SEQUENCE).ok_or(wrong.clone())?;
    let mut found = false;
    while !rest.is_empty() {
        let (element, after) = der::take(rest, OID).ok_or(wrong.clone())?;
        found |= element.content == purpose;
        rest = after;
    }
    if found { Ok(()) } else { Err(wrong) }
}

/// Certificates of a PEM text, or of one in DER.
pub fn certificates(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    use rustls_pki_types::pem::PemObject as _;
    if bytes.first() == Some(&der::SEQUENCE) {
        return Some(vec![bytes.to_vec()]);
    }
    CertificateDer::pem_slice_iter(bytes).map(|section| section.ok().map(|der| der.to_vec())).collect()
}

impl AkCertificateError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Certificate { error, .. } => error.code(),
            Self::RootMissing { .. } => "tpm.certificate.root-missing",
            Self::Intermediates { .. } => "tpm.certificate.intermediates",
            Self::Chain(error) => error.code(),
            Self::Purpose { .. } => "tpm.certificate.purpose",
            Self::OtherKey => "tpm.certificate.other-key",
        }
    }

    /// What kind of answer this is.
    pub fn kind(&self) -> crate::snp::RejectionKind {
        use crate::snp::RejectionKind;
        match self {
            Self::Chain(error) => error.kind(),
            Self::Intermediates { found: 0 } => RejectionKind::Missing,
            Self::Certificate { error: CertificateError::Missing, .. } => RejectionKind::Missing,
            Self::Certificate { .. } | Self::RootMissing { .. } | Self::Intermediates { .. } => {
                RejectionKind::NotGenuine
            }
            Self::Purpose { .. } | Self::OtherKey => RejectionKind::NotGenuine,
        }
    }
}

#[cfg(test)]
mod tests;
