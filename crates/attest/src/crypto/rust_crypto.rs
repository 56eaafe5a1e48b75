//! The RustCrypto crates: pure Rust, for WebAssembly.
//!
//! `rsa` is used for verification alone: RUSTSEC-2023-0071 concerns operations with a private key.

use p256::ecdsa as ecdsa256;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p384::ecdsa as ecdsa384;
use rsa::traits::SignatureScheme;
use rsa::{BoxedUint, Pkcs1v15Sign, Pss, PublicKey};
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::{MAX_RSA_MODULUS, MIN_RSA_MODULUS, P384Point, Scalar, Scheme};
use crate::der;

/// The library's own default ends at 4096 bits.
const MAX_RSA_BITS: usize = MAX_RSA_MODULUS * 8;
const MIN_RSA_BITS: usize = MIN_RSA_MODULUS * 8;

/// Octets of salt in every RSASSA-PSS signature here: the length of the digest.
const SALT: usize = 48;

pub(super) fn verify(scheme: Scheme, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    match scheme {
        Scheme::EcdsaP256Sha256 => p256(key, &sha256(message), signature),
        Scheme::EcdsaP384Sha384 => p384(key, &sha384(message), signature),
        Scheme::RsaPssSha384 => rsa_der(key, Pss::<Sha384>::new_with_salt(SALT), &sha384(message), signature),
        Scheme::RsaPkcs1Sha256 => rsa_der(key, Pkcs1v15Sign::new::<Sha256>(), &sha256(message), signature),
        Scheme::RsaPkcs1Sha384 => rsa_der(key, Pkcs1v15Sign::new::<Sha384>(), &sha384(message), signature),
        Scheme::RsaPkcs1Sha512 => rsa_der(key, Pkcs1v15Sign::new::<Sha512>(), &sha512(message), signature),
    }
}

/// A key for [`Scheme::RsaPssSha384`] that was read once.
pub(super) struct PssKey(PublicKey);

impl PssKey {
    pub(super) fn read(key: &[u8]) -> Option<Self> {
        let (modulus, exponent) = der::rsa_public_key(key)?;
        read_rsa(modulus, exponent).map(Self)
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verify(Pss::<Sha384>::new_with_salt(SALT), &sha384(message), signature).is_ok()
    }
}

pub(super) fn ecdsa_p384_sha384(key: &P384Point, message: &[u8], r: &Scalar, s: &Scalar) -> bool {
    let Ok(signature) = ecdsa384::Signature::from_scalars(*r, *s) else { return false };
    ecdsa384::VerifyingKey::from_sec1_bytes(key)
        .is_ok_and(|key| key.verify_prehash(&sha384(message), &signature).is_ok())
}

pub(super) fn ecdsa_p256_sha256(key: &[u8; 65], message: &[u8], signature: &[u8; 64]) -> bool {
    let Ok(signature) = ecdsa256::Signature::from_slice(signature) else { return false };
    ecdsa256::VerifyingKey::from_sec1_bytes(key)
        .is_ok_and(|key| key.verify_prehash(&sha256(message), &signature).is_ok())
}

pub(super) fn rsa_pkcs1_sha256(modulus: &[u8], exponent: &[u8], message: &[u8], signature: &[u8]) -> bool {
    rsa(modulus, exponent, Pkcs1v15Sign::new::<Sha256>(), &sha256(message), signature)
}

pub(super) fn sha256(message: &[u8]) -> [u8; 32] {
    Sha256::digest(message).into()
}

pub(super) fn sha384(message: &[u8]) -> [u8; 48] {
    Sha384::digest(message).into()
}

pub(super) fn sha512(message: &[u8]) -> [u8; 64] {
    Sha512::digest(message).into()
}

fn p256(key: &[u8], digest: &[u8], signature: &[u8]) -> bool {
    let Ok(signature) = ecdsa256::Signature::from_der(signature) else { return false };
    ecdsa256::VerifyingKey::from_sec1_bytes(key)
        .is_ok_and(|key| key.verify_prehash(digest, &signature).is_ok())
}

fn p384(key: &[u8], digest: &[u8], signature: &[u8]) -> bool {
    let Ok(signature) = ecdsa384::Signature::from_der(signature) else { return false };
    ecdsa384::VerifyingKey::from_sec1_bytes(key)
        .is_ok_and(|key| key.verify_prehash(digest, &signature).is_ok())
}

/// The key is an RSAPublicKey in DER (RFC 8017 appendix A.1.1).
fn rsa_der(key: &[u8], scheme: impl SignatureScheme, digest: &[u8], signature: &[u8]) -> bool {
    let Some((modulus, exponent)) = der::rsa_public_key(key) else { return false };
    rsa(modulus, exponent, scheme, digest, signature)
}

fn rsa(
    modulus: &[u8],
    exponent: &[u8],
    scheme: impl SignatureScheme,
    digest: &[u8],
    signature: &[u8],
) -> bool {
    read_rsa(modulus, exponent).is_some_and(|key| key.verify(scheme, digest, signature).is_ok())
}

fn read_rsa(modulus: &[u8], exponent: &[u8]) -> Option<PublicKey> {
    let (modulus, exponent) =
        (BoxedUint::from_be_slice_vartime(modulus), BoxedUint::from_be_slice_vartime(exponent));
    PublicKey::new_with_size_limits(modulus, exponent, MIN_RSA_BITS..=MAX_RSA_BITS).ok()
}
