//! The signature over a quote, and the key that makes it.

use thiserror::Error;

use super::ALG_SHA256;
use super::reader::Reader;
use crate::crypto;

/// TPM_ALG_RSASSA: RSASSA-PKCS1-v1_5.
const ALG_RSASSA: u16 = 0x0014;
/// Octets of a signature by an RSA-2048 key.
const SIGNATURE_LEN: usize = 256;
/// TPMT_SIGNATURE: sigAlg 2, hash 2, size 2, then the signature.
const TPMT_LEN: usize = 6 + SIGNATURE_LEN;

/// A signature by an RSA-2048 key: RSASSA-PKCS1-v1_5 with SHA-256.
#[derive(Clone, PartialEq, Eq)]
pub struct QuoteSignature(Box<[u8; SIGNATURE_LEN]>);

/// The public half of an attestation key: RSA with 2048 bits and the exponent 65537, whatever bytes were asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AttestationKey {
    modulus: Box<[u8; 256]>,
}

/// Why bytes are not a signature that can be checked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// Neither 256 bytes nor a TPMT_SIGNATURE around them.
    #[error("a signature of {found} bytes is neither of RSA-2048 nor a TPMT_SIGNATURE with one")]
    Length {
        /// Octets that arrived.
        found: usize,
    },
    /// A TPMT_SIGNATURE of another scheme, hash or size.
    #[error("the TPMT_SIGNATURE is not RSASSA with SHA-256 and 256 bytes")]
    Scheme,
}

impl QuoteSignature {
    /// Takes 256 bytes, or the TPMT_SIGNATURE around them: RSASSA (0x0014), SHA-256 (0x000B), size 256.
    ///
    /// # Errors
    /// Another length, another scheme.
    pub fn parse(input: &[u8]) -> Result<Self, SignatureError> {
        let length = SignatureError::Length { found: input.len() };
        if let Ok(raw) = <[u8; SIGNATURE_LEN]>::try_from(input) {
            return Ok(Self(Box::new(raw)));
        }
        if input.len() != TPMT_LEN {
            return Err(length);
        }
        let mut reader = Reader::new(input);
        let head = (reader.u16(), reader.u16(), reader.u16().map(usize::from));
        if head != (Some(ALG_RSASSA), Some(ALG_SHA256), Some(SIGNATURE_LEN)) {
            return Err(SignatureError::Scheme);
        }
        reader.array().map(|raw| Self(Box::new(raw))).ok_or(length)
    }
}

impl AttestationKey {
    /// A key with this modulus; `None` unless it has exactly 2048 bits and is odd.
    pub(crate) fn new(modulus: &[u8]) -> Option<Self> {
        let modulus: [u8; 256] = modulus.try_into().ok()?;
        let full = modulus.first().is_some_and(|octet| octet & 0x80 != 0);
        let odd = modulus.last().is_some_and(|octet| octet & 1 == 1);
        (full && odd).then(|| Self { modulus: Box::new(modulus) })
    }

    /// Big-endian.
    pub(crate) fn modulus(&self) -> &[u8; 256] {
        &self.modulus
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &QuoteSignature) -> bool {
        crypto::verify_rsa_pkcs1_sha256(self.modulus.as_slice(), &[1, 0, 1], message, signature.0.as_slice())
    }
}

impl core::fmt::Debug for QuoteSignature {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("QuoteSignature")
    }
}

impl SignatureError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Length { .. } => "tpm.signature.length",
            Self::Scheme => "tpm.signature.scheme",
        }
    }
}
