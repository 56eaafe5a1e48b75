//! The only module that calls a cryptographic library. A second backend (for WebAssembly) replaces this file's
//! private items and nothing else.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use subtle::ConstantTimeEq;

/// A scalar of P-384, big-endian.
pub(crate) type Scalar = [u8; 48];

/// An uncompressed point of P-384: 0x04, x, y.
pub(crate) type P384Point = [u8; 97];

/// The signature algorithm of every AMD certificate and revocation list: RSASSA-PSS, SHA-384, MGF1 with SHA-384, salt
/// of 48 octets. AMD writes the same parameters in two ways (spec/attest.md §5), and both are exact byte strings here.
pub(crate) static RSA_PSS_SHA384: &[&dyn SignatureVerificationAlgorithm] =
    &[&RsaPssSha384 { parameters: alg_id::RSA_PSS_SHA384 }, &RsaPssSha384 { parameters: EXPLICIT_TRAILER }];

/// The signature algorithm of Nitro's and NVIDIA's certificates: ECDSA P-384 with SHA-384.
pub(crate) static ECDSA_P384: &[&dyn SignatureVerificationAlgorithm] =
    &[webpki::aws_lc_rs::ECDSA_P384_SHA384];

/// Order of the P-384 group, FIPS 186-5 / SEC 2 §2.5.1.
const P384_ORDER: Scalar = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf, 0x58, 0x1a,
    0x0d, 0xb2, 0x48, 0xb0, 0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73,
];

/// RSASSA-PSS-params with `trailerField` written out although it has its default value: every ARK, ASK and ASVK, and
/// the VEKs issued until 2023.
const EXPLICIT_TRAILER: AlgorithmIdentifier = AlgorithmIdentifier::from_slice(&[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, // id-RSASSA-PSS
    0x30, 0x39, //
    0xa0, 0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05,
    0x00, // SHA-384
    0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, // MGF1
    0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05,
    0x00, // with SHA-384
    0xa2, 0x03, 0x02, 0x01, 0x30, // salt 48
    0xa3, 0x03, 0x02, 0x01, 0x01, // trailerField 1
]);

/// Whether an integer is in 1..n-1 of P-384.
pub(crate) fn is_p384_scalar(value: &Scalar) -> bool {
    *value != [0; 48] && *value < P384_ORDER
}

/// Verifies ECDSA P-384 with SHA-384 over `message`.
pub(crate) fn verify_p384_sha384(key: &P384Point, message: &[u8], r: &Scalar, s: &Scalar) -> bool {
    let mut signature = [0_u8; 96];
    let (left, right) = signature.split_at_mut(48);
    left.copy_from_slice(r);
    right.copy_from_slice(s);
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key).verify(message, &signature).is_ok()
}

/// Verifies RSASSA-PKCS1-v1_5 with SHA-256 over `message` by the key with this modulus and the exponent 65537.
pub(crate) fn verify_rsa2048_sha256(modulus: &[u8; 256], message: &[u8], signature: &[u8; 256]) -> bool {
    RsaPublicKeyComponents { n: modulus.as_slice(), e: [1_u8, 0, 1].as_slice() }
        .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
        .is_ok()
}

/// SHA-256 of `message`.
pub(crate) fn sha256(message: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, message).as_ref().to_vec()
}

/// SHA-384 of `message`.
pub(crate) fn sha384(message: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA384, message).as_ref().to_vec()
}

/// SHA-512 of `message`.
pub(crate) fn sha512(message: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA512, message).as_ref().to_vec()
}

/// Compares secrets-adjacent values without a data-dependent branch.
pub(crate) fn equal(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

/// RSASSA-PSS with one exact encoding of its parameters.
#[derive(Debug)]
struct RsaPssSha384 {
    parameters: AlgorithmIdentifier,
}

impl SignatureVerificationAlgorithm for RsaPssSha384 {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, key)
            .verify(message, signature)
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.parameters
    }
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
    fn the_two_parameter_encodings_differ_only_in_the_trailer_field() {
        let short = alg_id::RSA_PSS_SHA384;
        let long = EXPLICIT_TRAILER;
        assert_eq!(long.as_ref().len(), short.as_ref().len() + 5);
        assert_eq!(long.as_ref()[13..short.as_ref().len()], short.as_ref()[13..]);
    }

    #[test]
    fn equality_needs_equal_lengths() {
        assert!(equal(&[1, 2], &[1, 2]));
        assert!(!equal(&[1, 2], &[1, 2, 0]));
        assert!(!equal(&[], &[0]));
    }
}
