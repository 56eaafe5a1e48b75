//! `aws-lc-rs`: AWS-LC, C and assembly.

use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_FIXED,
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA384, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};

use super::{P384Point, Scalar, Scheme};

pub(super) fn verify(scheme: Scheme, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let algorithm: &'static dyn VerificationAlgorithm = match scheme {
        Scheme::EcdsaP256Sha256 => &ECDSA_P256_SHA256_ASN1,
        Scheme::EcdsaP384Sha384 => &ECDSA_P384_SHA384_ASN1,
        Scheme::RsaPssSha384 => &RSA_PSS_2048_8192_SHA384,
        Scheme::RsaPkcs1Sha256 => &RSA_PKCS1_2048_8192_SHA256,
        Scheme::RsaPkcs1Sha384 => &RSA_PKCS1_2048_8192_SHA384,
        Scheme::RsaPkcs1Sha512 => &RSA_PKCS1_2048_8192_SHA512,
    };
    UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
}

/// A key for [`Scheme::RsaPssSha384`] that was read once, with what the library computes of it.
pub(super) struct PssKey(ParsedPublicKey);

impl PssKey {
    pub(super) fn read(key: &[u8]) -> Option<Self> {
        ParsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, key).ok().map(Self)
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verify_sig(message, signature).is_ok()
    }
}

pub(super) fn ecdsa_p384_sha384(key: &P384Point, message: &[u8], r: &Scalar, s: &Scalar) -> bool {
    let mut signature = [0_u8; 96];
    let (left, right) = signature.split_at_mut(48);
    left.copy_from_slice(r);
    right.copy_from_slice(s);
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key).verify(message, &signature).is_ok()
}

pub(super) fn ecdsa_p256_sha256(key: &[u8; 65], message: &[u8], signature: &[u8; 64]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(message, signature).is_ok()
}

pub(super) fn rsa_pkcs1_sha256(modulus: &[u8], exponent: &[u8], message: &[u8], signature: &[u8]) -> bool {
    RsaPublicKeyComponents { n: modulus, e: exponent }
        .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
        .is_ok()
}

pub(super) fn sha256(message: &[u8]) -> [u8; 32] {
    fixed(digest::digest(&SHA256, message).as_ref())
}

pub(super) fn sha384(message: &[u8]) -> [u8; 48] {
    fixed(digest::digest(&SHA384, message).as_ref())
}

pub(super) fn sha512(message: &[u8]) -> [u8; 64] {
    fixed(digest::digest(&SHA512, message).as_ref())
}

/// A digest has the length of its algorithm; the library's type does not say so.
fn fixed<const N: usize>(digest: &[u8]) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(digest);
    value
}
