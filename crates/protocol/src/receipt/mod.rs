//! Receipts: what an attested machine says of one answer that it gave (spec/receipts.md).
//!
//! A receipt names hashes of the request's and the answer's bytes, the model, how tokens were chosen, and what was used. It is signed with a key
//! that the runtime statement names, so that whoever verified the machine, or keeps its attestation document, can check it later without a
//! network. The hashes are salted: a receipt alone says nothing of what was asked.
//!
//! Nothing here reads a clock, and randomness is an argument.

mod check;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::statement::Stated;

pub use check::{Digests, RULES, ReceiptError, ReceiptRefused, VerifiedReceipt, check, follows, not_reached};
pub use stream::{StreamEnd, StreamReader};

/// The only form that we read and write.
pub const API_VERSION: &str = "casemate.receipt/1";
/// And that of the file or header which carries it.
pub const SCHEMA: &str = "casemate.signed-receipt/1";
/// A longer one is refused before it is parsed; ours have under 3 KiB.
pub const MAX_LEN: usize = 64 * 1024;
/// Where a server hands out receipts, by their ids.
pub const PATH: &str = "/v1/receipts/";
/// Header of an answer: the receipt's id.
pub const ID_HEADER: &str = "casemate-receipt-id";
/// Header of an answer that is whole: the signed receipt, in base64.
pub const HEADER: &str = "casemate-receipt";
/// In a stream of Server-Sent Events: the comment that has the signed receipt, in base64, begins with this.
pub const COMMENT: &str = ": casemate-receipt ";

const DOMAIN: &[u8] = b"casemate/receipt/v1";
const BODY_DOMAIN: &[u8] = b"casemate/receipt-body/v1";
/// SubjectPublicKeyInfo of an Ed25519 key up to its 32 bytes (RFC 8410 section 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// What is said of one answer. Its names are those of receipts of the ACI specification (section 7), where it has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Always [`API_VERSION`].
    pub api_version: String,
    /// 32 hexadecimal digits by chance.
    pub receipt_id: String,
    /// How many receipts this boot of the machine gave before.
    pub sequence: u64,
    /// [`Receipt::digest`] of the one before; `none` of the first.
    pub previous: Stated,
    /// When the answer ended, in seconds since 1970, by the machine's clock.
    pub served_at: u64,
    /// Of the request.
    pub method: String,
    /// The request's path.
    pub endpoint: String,
    /// The name under which the model is served.
    pub model: String,
    /// Digest of its signed manifest.
    pub manifest_sha256: Stated,
    /// How tokens were chosen, what the request left open included; decimal numbers as text. Empty for vectors.
    pub parameters: BTreeMap<String, String>,
    /// What was used.
    pub usage: ReceiptUsage,
    /// SHA-256 of the evidence in the attestation document that the server had ready (`GET /attest` without a nonce) when the answer ended.
    pub evidence_sha256: Stated,
    /// What happened, in this order.
    pub event_log: Vec<ReceiptEvent>,
    /// The server's software and version.
    pub software: String,
    /// SHA-256 of the signing key's SubjectPublicKeyInfo.
    pub key_id: Stated,
}

/// Tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptUsage {
    /// Of the prompt.
    pub prompt_tokens: u64,
    /// Of all answers to it together.
    pub completion_tokens: u64,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
pub enum ReceiptEvent {
    /// The request's body arrived.
    #[serde(rename = "request.received")]
    RequestReceived {
        /// [`body_hash`] of its bytes.
        body_hash: Stated,
    },
    /// The answer's body was given out.
    #[serde(rename = "response.returned")]
    ResponseReturned {
        /// [`body_hash`] of its bytes, up to where a stream has its receipt.
        body_hash: Stated,
    },
}

/// A receipt as it is kept and sent: with its signature, and with what opens its hashes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedReceipt {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The canonical text (RFC 8785) of a [`Receipt`]: the bytes that are signed.
    pub receipt: String,
    /// The signing key: 32 bytes (RFC 8032), in base64.
    pub public_key: String,
    /// 64 bytes, in base64.
    pub signature: String,
    /// Salt of the request's hash; whoever hands a receipt on may put `none` here.
    pub request_salt: Stated,
    /// Salt of the answer's hash, alike.
    pub response_salt: Stated,
}

/// The key that signs the receipts of one boot. It cannot be printed, and is overwritten when it is dropped.
pub struct ReceiptKey(SigningKey);

/// The salted hash of a body, of which `digest` is SHA-256:
/// `SHA-256("casemate/receipt-body/v1" || 0x00 || salt || digest)`.
///
/// Whoever reads a stream need not know the salt before its end.
#[must_use]
pub fn body_hash(salt: &[u8; 32], digest: &[u8; 32]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(BODY_DOMAIN);
    hash.update([0]);
    hash.update(salt);
    hash.update(digest);
    hash.finalize().into()
}

/// `"casemate/receipt/v1" || 0x00 || receipt`.
fn signed_bytes(receipt: &str) -> Vec<u8> {
    [DOMAIN, &[0], receipt.as_bytes()].concat()
}

/// SHA-256 of the SubjectPublicKeyInfo of an Ed25519 key.
fn spki_sha256(key: &[u8; 32]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(SPKI_PREFIX);
    hash.update(key);
    hash.finalize().into()
}

// === impl ReceiptKey ===

impl ReceiptKey {
    /// Of 32 bytes from a cryptographic random generator.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// SHA-256 of the public key's SubjectPublicKeyInfo: what the runtime statement names.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        spki_sha256(self.0.verifying_key().as_bytes())
    }

    /// Signs. The receipt's `key_id` becomes this key's.
    ///
    /// # Errors
    /// [`ReceiptError::NotCanonical`] where it cannot be written.
    pub fn sign(&self, receipt: &Receipt, salts: [[u8; 32]; 2]) -> Result<SignedReceipt, ReceiptError> {
        let receipt = Receipt { key_id: Stated::Is(self.sha256()), ..receipt.clone() }.to_canonical()?;
        let signature = self.0.sign(&signed_bytes(&receipt)).to_bytes();
        let [request, response] = salts;
        Ok(SignedReceipt {
            schema: SCHEMA.to_owned(),
            receipt,
            public_key: STANDARD.encode(self.0.verifying_key().as_bytes()),
            signature: STANDARD.encode(signature),
            request_salt: Stated::Is(request),
            response_salt: Stated::Is(response),
        })
    }
}

// === impl Receipt ===

impl Receipt {
    /// The canonical text.
    ///
    /// # Errors
    /// [`ReceiptError::NotCanonical`] where it cannot be written.
    pub fn to_canonical(&self) -> Result<String, ReceiptError> {
        serde_json_canonicalizer::to_string(self).map_err(|_| ReceiptError::NotCanonical)
    }

    /// SHA-256 of its canonical text: what the next one names as `previous`.
    #[must_use]
    pub fn digest(text: &str) -> [u8; 32] {
        Sha256::digest(text.as_bytes()).into()
    }
}

// === impl SignedReceipt ===

impl SignedReceipt {
    /// Reads a kept receipt.
    ///
    /// # Errors
    /// [`ReceiptError::TooLong`], [`ReceiptError::Malformed`] or [`ReceiptError::Schema`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        if bytes.len() > MAX_LEN {
            return Err(ReceiptError::TooLong { len: bytes.len() });
        }
        let parsed: Self = serde_json::from_slice(bytes)
            .map_err(|_| ReceiptError::Malformed { what: "the signed receipt" })?;
        if parsed.schema != SCHEMA {
            return Err(ReceiptError::Schema);
        }
        Ok(parsed)
    }

    /// Reads what [`SignedReceipt::to_base64`] wrote: a header's value, or what stands behind [`COMMENT`].
    ///
    /// # Errors
    /// As [`SignedReceipt::parse`].
    pub fn from_base64(text: &[u8]) -> Result<Self, ReceiptError> {
        if text.len() > MAX_LEN {
            return Err(ReceiptError::TooLong { len: text.len() });
        }
        let bytes =
            STANDARD.decode(text.trim_ascii()).map_err(|_| ReceiptError::Malformed { what: "the base64" })?;
        Self::parse(&bytes)
    }

    /// As JSON.
    ///
    /// # Errors
    /// [`ReceiptError::NotCanonical`] where it cannot be written.
    pub fn to_json(&self) -> Result<String, ReceiptError> {
        serde_json::to_string(self).map_err(|_| ReceiptError::NotCanonical)
    }

    /// As JSON, in base64: one line without spaces.
    ///
    /// # Errors
    /// As [`SignedReceipt::to_json`].
    pub fn to_base64(&self) -> Result<String, ReceiptError> {
        Ok(STANDARD.encode(self.to_json()?))
    }

    fn key(&self) -> Option<[u8; 32]> {
        STANDARD.decode(&self.public_key).ok()?.try_into().ok()
    }

    /// Whether the signature is the key's, over the text as it is here. Keys of small order and malleable signatures are refused (RFC 8032
    /// section 5.1.7, without cofactors).
    fn is_signed(&self) -> bool {
        let signature =
            STANDARD.decode(&self.signature).ok().and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
        let key = self.key().and_then(|key| VerifyingKey::from_bytes(&key).ok());
        let (Some(signature), Some(key)) = (signature, key) else { return false };
        key.verify_strict(&signed_bytes(&self.receipt), &signature.into()).is_ok()
    }
}
