//! Whose key signs a token: named by the relying party, or under a pinned certificate.

use super::anchors::TokenAnchors;
use super::errors::TokenRejection;
use super::jws::{Algorithm, Jws};
use super::keys::{Key, Named};
use super::{Token, TokenKind};
use crate::chain::{self, Profile, Role};
use crate::checks::Finding;
use crate::crypto;
use crate::time::UnixTime;
use crate::x509::{Certificate, PublicKey};

/// RFC 5280 §4.2.1.12.
const EXTENDED_KEY_USAGE: &str = "2.5.29.37";

/// A list of tcg-kp-EKCertificate, 2.23.133.8.1, alone: what the recorded intermediate of Google's has.
const GOOGLE_PURPOSE: &[u8] = &[0x30, 0x07, 0x06, 0x05, 0x67, 0x81, 0x05, 0x08, 0x01];

/// Google's certificates of Confidential Space.
const GOOGLE_PROFILE: Profile =
    Profile { algorithms: crypto::RSA_PKCS1, issuer_key: is_rsa, leaf_key: is_rsa };

/// NVIDIA's certificates of its attestation service: the pinned one has an RSA key, the tokens' P-384.
const NRAS_PROFILE: Profile =
    Profile { algorithms: crypto::RSA_PKCS1, issuer_key: is_rsa, leaf_key: is_p384 };

/// A token's key, and the last second at which certificates for it are valid.
pub(crate) struct Signer {
    pub(crate) key: Key,
    pub(crate) until: UnixTime,
    /// Which key that is, for a person to read.
    whose: String,
}

/// Of a token, or of each of a bundle's.
pub(crate) fn signers(
    token: &Token,
    anchors: &TokenAnchors,
    now: UnixTime,
) -> Result<(Vec<Signer>, Finding), TokenRejection> {
    let issuer = token.issuer(anchors);
    let signers: Vec<_> =
        token.tokens().map(|jws| signer(token.kind, jws, issuer, anchors, now)).collect::<Result<_, _>>()?;
    let mut words: Vec<_> = signers.iter().map(|signer| signer.whose.as_str()).collect();
    words.dedup();
    let compared = words.join(", ");
    Ok((signers, Finding::Pass(compared)))
}

fn signer(
    kind: TokenKind,
    jws: &Jws,
    issuer: &str,
    anchors: &TokenAnchors,
    now: UnixTime,
) -> Result<Signer, TokenRejection> {
    let header = &jws.header;
    let (accepted, expected): (&[Algorithm], _) = match kind {
        TokenKind::Maa | TokenKind::ConfidentialSpace => (&[Algorithm::Rs256], "RS256"),
        TokenKind::Nras => (&[Algorithm::Es384], "ES384"),
        TokenKind::Ear => (&[Algorithm::Es256, Algorithm::Es384], "ES256 or ES384"),
    };
    if !accepted.contains(&header.algorithm) {
        return Err(TokenRejection::Algorithm { kind, expected, found: header.algorithm });
    }
    // Certificates in the header of other tokens are not looked at: the issuer's keys are known without them.
    let has_certificates = !header.certificates.is_empty();
    match (kind, anchors.nras_keys()) {
        (TokenKind::ConfidentialSpace, _) if has_certificates => {
            let root = anchors.confidential_space().ok_or(TokenRejection::RootMissing { kind })?;
            let path = header.certificates.get(..2).unwrap_or(&header.certificates);
            certified(path, root, &GOOGLE_PROFILE, googles_purposes, now)
        }
        (TokenKind::Nras, _) if has_certificates => nras_certified(&header.certificates, anchors, now),
        (TokenKind::Nras, Some(keys)) if anchors.keys_of(issuer).is_none() => {
            let key_id = header.key_id.as_deref().ok_or(TokenRejection::KeyUnnamed)?;
            let missing = || TokenRejection::Key { key_id: key_id.to_owned() };
            let Named { key, certificates, .. } = keys.find(key_id).ok_or_else(missing)?;
            let signer = nras_certified(certificates, anchors, now)?;
            if signer.key == *key { Ok(signer) } else { Err(missing()) }
        }
        _ => named(kind, jws, issuer, anchors),
    }
}

/// By the keys that the relying party named. A result without `kid` is by the key of a set of one.
fn named(kind: TokenKind, jws: &Jws, issuer: &str, anchors: &TokenAnchors) -> Result<Signer, TokenRejection> {
    let keys = anchors.keys_of(issuer).ok_or_else(|| TokenRejection::Issuer { issuer: issuer.to_owned() })?;
    let named = match &jws.header.key_id {
        Some(key_id) => keys.find(key_id).ok_or_else(|| TokenRejection::Key { key_id: key_id.to_owned() })?,
        None if kind == TokenKind::Ear => keys.only().ok_or(TokenRejection::KeyUnnamed)?,
        None => return Err(TokenRejection::KeyUnnamed),
    };
    let whose = format!("{issuer}, key {}", named.key_id);
    Ok(Signer { key: named.key.clone(), until: UnixTime(u64::MAX), whose })
}

/// Up to the pinned intermediate, which NVIDIA sends too; it and what comes after it are not looked at.
fn nras_certified(
    certificates: &[Vec<u8>],
    anchors: &TokenAnchors,
    now: UnixTime,
) -> Result<Signer, TokenRejection> {
    let root = anchors.nras().ok_or(TokenRejection::RootMissing { kind: TokenKind::Nras })?;
    let end = certificates.iter().position(|der| *der == root.der).unwrap_or(certificates.len());
    // No certificate of NVIDIA's was at hand that would say for what it is.
    let any_purpose: Purposes = |_, _| Ok(());
    certified(certificates.get(..end).unwrap_or_default(), root, &NRAS_PROFILE, any_purpose, now)
}

/// What extended key usages of a leaf and of intermediates must be.
type Purposes = fn(&Certificate, &[Certificate]) -> Result<(), TokenRejection>;

/// Leaf and intermediates from the token, the root from here.
fn certified(
    certificates: &[Vec<u8>],
    root: &Certificate,
    profile: &Profile,
    purposes: Purposes,
    now: UnixTime,
) -> Result<Signer, TokenRejection> {
    let parsed: Vec<Certificate> = certificates
        .iter()
        .map(|der| Certificate::parse(der).map_err(TokenRejection::Certificate))
        .collect::<Result<_, _>>()?;
    let [leaf, intermediates @ ..] = parsed.as_slice() else { return Err(TokenRejection::KeyUnnamed) };
    purposes(leaf, intermediates)?;
    let intermediates: Vec<_> = intermediates.iter().collect();
    let until = chain::validate_path_of_purpose(root, &intermediates, leaf, profile, now)?;
    let key = Key::of(leaf).ok_or(TokenRejection::KeyUnnamed)?;
    Ok(Signer { key, until, whose: format!("{} under {}", leaf.subject_cn, root.subject_cn) })
}

/// Google's intermediates are for this one purpose, and its leaves say none. Another purpose is another ecosystem's.
fn googles_purposes(leaf: &Certificate, intermediates: &[Certificate]) -> Result<(), TokenRejection> {
    for intermediate in intermediates {
        if intermediate.extension(EXTENDED_KEY_USAGE) != Some(GOOGLE_PURPOSE) {
            return Err(TokenRejection::CertificatePurpose { role: Role::Intermediate });
        }
    }
    match leaf.extension(EXTENDED_KEY_USAGE) {
        None => Ok(()),
        Some(_) => Err(TokenRejection::CertificatePurpose { role: Role::Leaf }),
    }
}

fn is_rsa(key: &PublicKey) -> bool {
    matches!(key, PublicKey::Rsa { bits: 2048..=8192, exponent: 65537 })
}

fn is_p384(key: &PublicKey) -> bool {
    matches!(key, PublicKey::P384(_))
}
