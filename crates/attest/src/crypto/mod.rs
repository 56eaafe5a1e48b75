//! The only module that calls a cryptographic library.
//!
//! There are two backends of the same three functions: `aws-lc-rs` natively, and the pure Rust crates of RustCrypto for
//! WebAssembly. What is accepted is decided here, before either is called, so that both give the same verdicts: the whole
//! test suite runs on both (`scripts/test-backends.sh`).

#[cfg(not(any(target_arch = "wasm32", casemate_rustcrypto)))]
#[path = "aws_lc.rs"]
mod backend;
#[cfg(any(target_arch = "wasm32", casemate_rustcrypto))]
#[path = "rust_crypto.rs"]
mod backend;
mod cache;
mod certificates;
mod pinned;

use sha3::Digest as _;
use subtle::ConstantTimeEq;

pub use cache::IssuerCache;
pub(crate) use certificates::{ECDSA_P256, ECDSA_P384, RSA_PKCS1, RSA_PSS_SHA384};
pub(crate) use pinned::pin;

use crate::der;

/// A scalar of P-384, big-endian.
pub(crate) type Scalar = [u8; 48];

/// An uncompressed point of P-384: 0x04, x, y.
pub(crate) type P384Point = [u8; 97];

/// Numbers longer than this in an RSA key are refused before any arithmetic: 8192 bits.
const MAX_RSA_MODULUS: usize = 1024;

/// And shorter than this: 2048 bits.
const MIN_RSA_MODULUS: usize = 256;

/// Order of the P-384 group, FIPS 186-5 / SEC 2 §2.5.1.
const P384_ORDER: Scalar = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf, 0x58, 0x1a,
    0x0d, 0xb2, 0x48, 0xb0, 0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73,
];

/// What a signature is made with. ECDSA signatures are in DER here, and keys as in a SubjectPublicKeyInfo's bit string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    EcdsaP256Sha256,
    EcdsaP384Sha384,
    RsaPssSha384,
    RsaPkcs1Sha256,
    RsaPkcs1Sha384,
    RsaPkcs1Sha512,
}

/// Whether an integer is in 1..n-1 of P-384.
pub(crate) fn is_p384_scalar(value: &Scalar) -> bool {
    *value != [0; 48] && *value < P384_ORDER
}

/// Verifies ECDSA P-384 with SHA-384 over `message`.
pub(crate) fn verify_p384_sha384(key: &P384Point, message: &[u8], r: &Scalar, s: &Scalar) -> bool {
    backend::ecdsa_p384_sha384(key, message, r, s)
}

/// Verifies ECDSA P-256 with SHA-256 over `message`; the signature is r and s, 32 bytes each, big-endian (RFC 7518 §3.4).
pub(crate) fn verify_p256_sha256(key: &[u8; 65], message: &[u8], signature: &[u8; 64]) -> bool {
    key.first() == Some(&0x04) && backend::ecdsa_p256_sha256(key, message, signature)
}

/// Verifies RSASSA-PKCS1-v1_5 with SHA-256 over `message`. Modulus and exponent are big-endian without leading zeros; the
/// modulus has 2048 to 8192 bits, the exponent is 65537.
pub(crate) fn verify_rsa_pkcs1_sha256(
    modulus: &[u8],
    exponent: &[u8],
    message: &[u8],
    signature: &[u8],
) -> bool {
    is_rsa_key(modulus, exponent)
        && signature.len() == modulus.len()
        && backend::rsa_pkcs1_sha256(modulus, exponent, message, signature)
}

/// Verifies a signature of this scheme. The key is what a SubjectPublicKeyInfo's bit string holds, an ECDSA signature is an
/// Ecdsa-Sig-Value in DER.
fn verify(scheme: Scheme, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    // Libraries differ in what they take beyond these: compressed points, other lengths, other exponents.
    let well_formed = match scheme {
        Scheme::EcdsaP256Sha256 => key.len() == 65 && key.first() == Some(&0x04),
        Scheme::EcdsaP384Sha384 => key.len() == 97 && key.first() == Some(&0x04),
        Scheme::RsaPssSha384 | Scheme::RsaPkcs1Sha256 | Scheme::RsaPkcs1Sha384 | Scheme::RsaPkcs1Sha512 => {
            der::rsa_public_key(key).is_some_and(|(modulus, exponent)| {
                is_rsa_key(modulus, exponent) && signature.len() == modulus.len()
            })
        }
    };
    well_formed
        && pinned::once(scheme, key, message, signature, || {
            cache::once(scheme, key, message, signature, || pinned::verify(scheme, key, message, signature))
        })
}

/// 2048 to 8192 bits, in whole octets, with the exponent 65537: what every vendor's keys are.
fn is_rsa_key(modulus: &[u8], exponent: &[u8]) -> bool {
    (MIN_RSA_MODULUS..=MAX_RSA_MODULUS).contains(&modulus.len())
        && modulus.first().is_some_and(|first| *first >= 0x80)
        && modulus.last().is_some_and(|last| last & 1 == 1)
        && exponent == [1, 0, 1]
}

/// SHA-256 of `message`.
pub(crate) fn sha256(message: &[u8]) -> [u8; 32] {
    backend::sha256(message)
}

/// SHA-384 of `message`.
pub(crate) fn sha384(message: &[u8]) -> [u8; 48] {
    backend::sha384(message)
}

/// SHA-512 of `message`.
pub(crate) fn sha512(message: &[u8]) -> [u8; 64] {
    backend::sha512(message)
}

/// Keccak-256 of `message`, as Ethereum has it: not SHA3-256, which pads otherwise.
pub(crate) fn keccak256(message: &[u8]) -> [u8; 32] {
    sha3::Keccak256::digest(message).into()
}

/// Compares secrets-adjacent values without a data-dependent branch.
pub(crate) fn equal(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_end_below_the_group_order() {
        let mut below = P384_ORDER;
        below[47] -= 1;
        let mut above = P384_ORDER;
        above[47] += 1;
        let mut one = [0; 48];
        one[47] = 1;
        assert!(is_p384_scalar(&one));
        assert!(is_p384_scalar(&below));
        assert!(!is_p384_scalar(&[0; 48]));
        assert!(!is_p384_scalar(&P384_ORDER));
        assert!(!is_p384_scalar(&above));
        assert!(!is_p384_scalar(&[0xff; 48]));
    }

    #[test]
    fn keccak_is_ethereums() {
        let empty = "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470";
        assert_eq!(hex::encode(keccak256(b"")), empty);
    }

    #[test]
    fn equality_needs_equal_lengths() {
        assert!(equal(&[1, 2], &[1, 2]));
        assert!(!equal(&[1, 2], &[1, 2, 0]));
        assert!(!equal(&[], &[0]));
    }
}
