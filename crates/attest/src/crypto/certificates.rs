//! The signature algorithms of certificates and of what authorities sign, for `rustls-webpki` and for the DCAP library.
//! The parameters are exact byte strings: an algorithm identifier that is spelled otherwise is another algorithm.

use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};

use super::{Scheme, verify};

/// The signature algorithm of every AMD certificate and revocation list: RSASSA-PSS, SHA-384, MGF1 with SHA-384, salt
/// of 48 octets. AMD writes the same parameters in two ways (spec/attest.md §5), and both are exact byte strings here.
pub(crate) static RSA_PSS_SHA384: &[&dyn SignatureVerificationAlgorithm] = &[
    &Algorithm {
        key: alg_id::RSA_ENCRYPTION,
        signature: alg_id::RSA_PSS_SHA384,
        scheme: Scheme::RsaPssSha384,
    },
    &Algorithm { key: alg_id::RSA_ENCRYPTION, signature: EXPLICIT_TRAILER, scheme: Scheme::RsaPssSha384 },
];

/// The signature algorithm of Nitro's and NVIDIA's certificates: ECDSA P-384 with SHA-384.
pub(crate) static ECDSA_P384: &[&dyn SignatureVerificationAlgorithm] = &[&P384_SHA384];

/// The one signature algorithm of Intel's certificates, revocation lists and collateral: ECDSA P-256 with SHA-256.
pub(crate) static ECDSA_P256: &dyn SignatureVerificationAlgorithm = &P256_SHA256;

/// RSASSA-PKCS1-v1_5 with SHA-256, SHA-384 and SHA-512.
pub(crate) static RSA_PKCS1: &[&dyn SignatureVerificationAlgorithm] = &[
    &Algorithm {
        key: alg_id::RSA_ENCRYPTION,
        signature: alg_id::RSA_PKCS1_SHA256,
        scheme: Scheme::RsaPkcs1Sha256,
    },
    &Algorithm {
        key: alg_id::RSA_ENCRYPTION,
        signature: alg_id::RSA_PKCS1_SHA384,
        scheme: Scheme::RsaPkcs1Sha384,
    },
    &Algorithm {
        key: alg_id::RSA_ENCRYPTION,
        signature: alg_id::RSA_PKCS1_SHA512,
        scheme: Scheme::RsaPkcs1Sha512,
    },
];

static P256_SHA256: Algorithm =
    Algorithm { key: alg_id::ECDSA_P256, signature: alg_id::ECDSA_SHA256, scheme: Scheme::EcdsaP256Sha256 };

static P384_SHA384: Algorithm =
    Algorithm { key: alg_id::ECDSA_P384, signature: alg_id::ECDSA_SHA384, scheme: Scheme::EcdsaP384Sha384 };

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

/// One scheme with one exact spelling of its identifiers.
#[derive(Debug)]
struct Algorithm {
    key: AlgorithmIdentifier,
    signature: AlgorithmIdentifier,
    scheme: Scheme,
}

impl SignatureVerificationAlgorithm for Algorithm {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        if verify(self.scheme, key, message, signature) { Ok(()) } else { Err(InvalidSignature) }
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.key
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_parameter_encodings_differ_only_in_the_trailer_field() {
        let short = alg_id::RSA_PSS_SHA384;
        let long = EXPLICIT_TRAILER;
        assert_eq!(long.as_ref().len(), short.as_ref().len() + 5);
        assert_eq!(long.as_ref()[13..short.as_ref().len()], short.as_ref()[13..]);
    }
}
