//! The attestation document of the Nitro Security Module: COSE_Sign1 (RFC 9052 §4.2) around a CBOR map (AWS Nitro Enclaves
//! NSM API, `docs/attestation_process.md` §2.2 and §3).
//!
//! ```text
//! offset  size  bytes         COSE_Sign1, one way to write it
//!      0     1  84            array of 4; a tag 18 (d2) may stand before it
//!      1     5  44 a1013822   protected header { alg: ES384 }
//!      6     1  a0            unprotected header, empty
//!      7   1-3  40..57, 58 n, 59 n n   payload, byte string with the shortest length
//!      .     n  payload       map of 9: module_id, digest, timestamp, pcrs, certificate, cabundle, public_key, user_data,
//!                             nonce; definite lengths, each key once
//!      .     2  58 60         signature, byte string of 96
//!      .    96  R || S
//! ```

use std::collections::BTreeMap;
use std::ops::Range;

use minicbor::data::Type;
use minicbor::decode::{Decoder, Error as CborError};
use thiserror::Error;

/// Largest document: AWS's own limit (`attestation_process.md` §2.2).
pub const MAX_DOCUMENT: usize = 16 * 1024;
/// Bytes of a PCR: SHA-384, the only digest that the module names.
pub const PCR_LEN: usize = 48;

/// PCR indices are 0 to 31.
const PCR_COUNT: usize = 32;
/// Bytes of a text: module ids have about 40.
const MAX_TEXT: usize = 256;
/// `user_data`, `nonce`: AWS's limit is 512, the CDDL's is 1024; the larger one.
const MAX_BYTES: usize = 1024;
/// A certificate (CDDL: 1..1024) and how many stand in `cabundle`: AWS uses four.
const MAX_CABUNDLE: usize = 8;

const TAG: u8 = 0xd2;
/// Array of 4, protected header with ES384 only, empty unprotected header.
const HEAD: [u8; 7] = [0x84, 0x44, 0xa1, 0x01, 0x38, 0x22, 0xa0];
/// What stands before the signature.
const SIGNATURE_HEAD: [u8; 2] = [0x58, 0x60];
/// `Sig_structure` up to the payload: array of 4, "Signature1", protected header, no external data (RFC 9052 §4.4).
const TO_BE_SIGNED_HEAD: [u8; 18] = [
    0x84, 0x6a, b'S', b'i', b'g', b'n', b'a', b't', b'u', b'r', b'e', b'1', 0x44, 0xa1, 0x01, 0x38, 0x22,
    0x40,
];

/// A document as it arrived. Reading a field of it proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    bytes: Vec<u8>,
    /// The payload with its CBOR head, as it is signed.
    payload: Range<usize>,
    signature: [u8; 96],
    module_id: String,
    timestamp_ms: u64,
    pcrs: BTreeMap<u8, [u8; PCR_LEN]>,
    certificate: Vec<u8>,
    cabundle: Vec<Vec<u8>>,
    public_key: Option<Vec<u8>>,
    user_data: Option<Vec<u8>>,
    nonce: Option<Vec<u8>>,
}

/// Why bytes are not a document: NIT-01.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DocumentError {
    /// Longer than [`MAX_DOCUMENT`].
    #[error("the Nitro document has {found} bytes, more than {MAX_DOCUMENT}")]
    TooLong {
        /// Bytes that arrived.
        found: usize,
    },
    /// Not COSE_Sign1 with exactly these headers.
    #[error("the Nitro document is not COSE_Sign1 with ES384 as its only header")]
    Headers,
    /// A length that is cut off, or not written in the shortest way.
    #[error("the Nitro document's {part} is cut off or not in its shortest form")]
    Framing {
        /// "payload" or "signature".
        part: &'static str,
    },
    /// Bytes after the end.
    #[error("{found} bytes follow the Nitro document's {part}")]
    Trailing {
        /// "signature" or "payload".
        part: &'static str,
        /// How many.
        found: usize,
    },
    /// The payload is not CBOR of the known shape.
    #[error("the Nitro document's payload is malformed at byte {at}")]
    Malformed {
        /// Offset in the payload.
        at: usize,
    },
    /// A key that is not one of the nine.
    #[error("the Nitro document's payload has the unknown key {key:?}")]
    UnknownKey {
        /// The key.
        key: String,
    },
    /// A key, or a PCR, twice.
    #[error("the Nitro document's payload has {key} twice")]
    Duplicate {
        /// The key.
        key: String,
    },
    /// A key that must be there is not.
    #[error("the Nitro document's payload has no {key}")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// A value outside its limits.
    #[error("the Nitro document's {key} is not what it must be")]
    Value {
        /// The key.
        key: &'static str,
    },
}

/// Whether bytes begin like a COSE_Sign1 array of four with a protected header of four bytes.
pub(crate) fn looks_like(input: &[u8]) -> bool {
    matches!(input, [TAG, 0x84, ..] | [0x84, 0x44, ..])
}

impl Document {
    /// Reads a document (NIT-01).
    ///
    /// # Errors
    /// Every departure from the one layout at the top of this file.
    pub fn parse(input: &[u8]) -> Result<Self, DocumentError> {
        if input.len() > MAX_DOCUMENT {
            return Err(DocumentError::TooLong { found: input.len() });
        }
        let untagged = input.strip_prefix(&[TAG]).unwrap_or(input);
        let body = untagged.strip_prefix(&HEAD).ok_or(DocumentError::Headers)?;
        let (content, after) = byte_string(body).ok_or(DocumentError::Framing { part: "payload" })?;
        let signature_part = || DocumentError::Framing { part: "signature" };
        let signature = after.strip_prefix(&SIGNATURE_HEAD).ok_or_else(signature_part)?;
        let (signature, rest) = signature.split_at_checked(96).ok_or_else(signature_part)?;
        if !rest.is_empty() {
            return Err(DocumentError::Trailing { part: "signature", found: rest.len() });
        }
        let start = input.len().saturating_sub(body.len());
        let end = input.len().saturating_sub(after.len());

        let fields = Fields::read(content)?;
        Ok(Self {
            bytes: input.to_vec(),
            payload: start..end,
            signature: signature.try_into().map_err(|_| signature_part())?,
            module_id: fields.module_id.ok_or(DocumentError::Missing { key: "module_id" })?,
            timestamp_ms: fields.timestamp.ok_or(DocumentError::Missing { key: "timestamp" })?,
            pcrs: fields.pcrs.ok_or(DocumentError::Missing { key: "pcrs" })?,
            certificate: fields.certificate.ok_or(DocumentError::Missing { key: "certificate" })?,
            cabundle: fields.cabundle.ok_or(DocumentError::Missing { key: "cabundle" })?,
            public_key: fields.public_key.ok_or(DocumentError::Missing { key: "public_key" })?,
            user_data: fields.user_data.ok_or(DocumentError::Missing { key: "user_data" })?,
            nonce: fields.nonce.ok_or(DocumentError::Missing { key: "nonce" })?,
        })
    }

    /// Exactly the bytes that arrived.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The module that made the document: instance id and enclave id.
    pub fn module_id(&self) -> &str {
        &self.module_id
    }

    /// Milliseconds since 1970.
    pub fn timestamp_ms(&self) -> u64 {
        self.timestamp_ms
    }

    /// A PCR, where the document has it.
    pub fn pcr(&self, index: u8) -> Option<&[u8; PCR_LEN]> {
        self.pcrs.get(&index)
    }

    /// Every PCR that the document has.
    pub fn pcrs(&self) -> &BTreeMap<u8, [u8; PCR_LEN]> {
        &self.pcrs
    }

    /// Whether PCR0, PCR1 or PCR2 is zero or absent: an enclave in debug mode measures nothing.
    pub fn debug(&self) -> bool {
        (0..3).any(|index| self.pcr(index).is_none_or(|value| *value == [0; PCR_LEN]))
    }

    /// What the enclave put in as a public key.
    pub fn public_key(&self) -> Option<&[u8]> {
        self.public_key.as_deref()
    }

    /// What the enclave bound.
    pub fn user_data(&self) -> Option<&[u8]> {
        self.user_data.as_deref()
    }

    /// What the enclave put in as a nonce.
    pub fn nonce(&self) -> Option<&[u8]> {
        self.nonce.as_deref()
    }

    /// DER of the certificate of the key that signed.
    pub(crate) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// DER of the issuers, without the root that the document brings: it is not looked at.
    pub(crate) fn intermediates(&self) -> &[Vec<u8>] {
        self.cabundle.get(1..).unwrap_or_default()
    }

    /// `Sig_structure`, of the bytes that arrived.
    pub(crate) fn signed(&self) -> Vec<u8> {
        [&TO_BE_SIGNED_HEAD, self.bytes.get(self.payload.clone()).unwrap_or_default()].concat()
    }

    /// R and S, big-endian.
    pub(crate) fn signature(&self) -> ([u8; 48], [u8; 48]) {
        let (mut r, mut s) = ([0; 48], [0; 48]);
        let (left, right) = self.signature.split_at(48);
        r.copy_from_slice(left);
        s.copy_from_slice(right);
        (r, s)
    }
}

impl DocumentError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "nitro.format.too-long",
            Self::Headers => "nitro.format.headers",
            Self::Framing { .. } => "nitro.format.framing",
            Self::Trailing { .. } => "nitro.format.trailing",
            Self::Malformed { .. } => "nitro.format.malformed",
            Self::UnknownKey { .. } => "nitro.format.unknown-key",
            Self::Duplicate { .. } => "nitro.format.duplicate",
            Self::Missing { .. } => "nitro.format.missing",
            Self::Value { .. } => "nitro.format.value",
        }
    }
}

/// The payload's members; the outer `Option` is "was it there", the inner one CBOR's null.
#[derive(Default)]
struct Fields {
    module_id: Option<String>,
    digest: Option<()>,
    timestamp: Option<u64>,
    pcrs: Option<BTreeMap<u8, [u8; PCR_LEN]>>,
    certificate: Option<Vec<u8>>,
    cabundle: Option<Vec<Vec<u8>>>,
    public_key: Option<Option<Vec<u8>>>,
    user_data: Option<Option<Vec<u8>>>,
    nonce: Option<Option<Vec<u8>>>,
}

impl Fields {
    fn read(payload: &[u8]) -> Result<Self, DocumentError> {
        let mut cbor = Decoder::new(payload);
        let mut fields = Self::default();
        // At most nine known keys, each once: more members end the loop with an error.
        for _ in 0..definite(cbor.map(), &cbor)? {
            let key = cbor.str().map_err(malformed(&cbor))?;
            match key {
                "module_id" => once(key, &mut fields.module_id, text(&mut cbor, "module_id"))?,
                "digest" => once(key, &mut fields.digest, digest(&mut cbor))?,
                "timestamp" => once(key, &mut fields.timestamp, timestamp(&mut cbor))?,
                "pcrs" => once(key, &mut fields.pcrs, pcrs(&mut cbor))?,
                "certificate" => once(key, &mut fields.certificate, bytes(&mut cbor, "certificate"))?,
                "cabundle" => once(key, &mut fields.cabundle, cabundle(&mut cbor))?,
                "public_key" => once(key, &mut fields.public_key, optional(&mut cbor, "public_key"))?,
                "user_data" => once(key, &mut fields.user_data, optional(&mut cbor, "user_data"))?,
                "nonce" => once(key, &mut fields.nonce, optional(&mut cbor, "nonce"))?,
                other => {
                    return Err(DocumentError::UnknownKey { key: other.chars().take(MAX_TEXT).collect() });
                }
            }
        }
        let rest = payload.len().saturating_sub(cbor.position());
        if rest != 0 {
            return Err(DocumentError::Trailing { part: "payload", found: rest });
        }
        fields.digest.ok_or(DocumentError::Missing { key: "digest" })?;
        Ok(fields)
    }
}

fn once<T>(key: &str, slot: &mut Option<T>, value: Result<T, DocumentError>) -> Result<(), DocumentError> {
    match slot.replace(value?) {
        None => Ok(()),
        Some(_) => Err(DocumentError::Duplicate { key: key.to_owned() }),
    }
}

fn text(cbor: &mut Decoder<'_>, key: &'static str) -> Result<String, DocumentError> {
    let text = cbor.str().map_err(malformed(cbor))?;
    let printable = text.bytes().all(|byte| matches!(byte, 0x21..=0x7e));
    if text.is_empty() || text.len() > MAX_TEXT || !printable {
        return Err(DocumentError::Value { key });
    }
    Ok(text.to_owned())
}

fn digest(cbor: &mut Decoder<'_>) -> Result<(), DocumentError> {
    match cbor.str().map_err(malformed(cbor))? {
        "SHA384" => Ok(()),
        _ => Err(DocumentError::Value { key: "digest" }),
    }
}

fn timestamp(cbor: &mut Decoder<'_>) -> Result<u64, DocumentError> {
    match cbor.u64().map_err(malformed(cbor))? {
        0 => Err(DocumentError::Value { key: "timestamp" }),
        milliseconds => Ok(milliseconds),
    }
}

fn pcrs(cbor: &mut Decoder<'_>) -> Result<BTreeMap<u8, [u8; PCR_LEN]>, DocumentError> {
    let count = definite(cbor.map(), cbor)?;
    let mut pcrs = BTreeMap::new();
    for _ in 0..count {
        let index = cbor.u8().map_err(malformed(cbor))?;
        let value = cbor.bytes().map_err(malformed(cbor))?;
        let value = value.try_into().map_err(|_| DocumentError::Value { key: "pcrs" })?;
        if usize::from(index) >= PCR_COUNT {
            return Err(DocumentError::Value { key: "pcrs" });
        }
        if pcrs.insert(index, value).is_some() {
            return Err(DocumentError::Duplicate { key: format!("PCR {index}") });
        }
    }
    if pcrs.is_empty() { Err(DocumentError::Value { key: "pcrs" }) } else { Ok(pcrs) }
}

fn cabundle(cbor: &mut Decoder<'_>) -> Result<Vec<Vec<u8>>, DocumentError> {
    let count = definite(cbor.array(), cbor)?;
    if count == 0 || count > MAX_CABUNDLE as u64 {
        return Err(DocumentError::Value { key: "cabundle" });
    }
    (0..count).map(|_| bytes(cbor, "cabundle")).collect()
}

fn optional(cbor: &mut Decoder<'_>, key: &'static str) -> Result<Option<Vec<u8>>, DocumentError> {
    if cbor.datatype().map_err(malformed(cbor))? == Type::Null {
        cbor.null().map_err(malformed(cbor))?;
        return Ok(None);
    }
    let value = cbor.bytes().map_err(malformed(cbor))?;
    if value.len() > MAX_BYTES { Err(DocumentError::Value { key }) } else { Ok(Some(value.to_vec())) }
}

/// A certificate: 1 to 1024 bytes.
fn bytes(cbor: &mut Decoder<'_>, key: &'static str) -> Result<Vec<u8>, DocumentError> {
    let value = cbor.bytes().map_err(malformed(cbor))?;
    if value.is_empty() || value.len() > MAX_BYTES {
        return Err(DocumentError::Value { key });
    }
    Ok(value.to_vec())
}

fn definite(length: Result<Option<u64>, CborError>, cbor: &Decoder<'_>) -> Result<u64, DocumentError> {
    length.ok().flatten().ok_or(DocumentError::Malformed { at: cbor.position() })
}

fn malformed(cbor: &Decoder<'_>) -> impl FnOnce(CborError) -> DocumentError + use<> {
    let at = cbor.position();
    move |_| DocumentError::Malformed { at }
}

/// A byte string with the shortest length that CBOR has for it, and what follows.
fn byte_string(input: &[u8]) -> Option<(&[u8], &[u8])> {
    match input {
        [head @ 0x40..=0x57, rest @ ..] => rest.split_at_checked(usize::from(head & 0x1f)),
        [0x58, length @ 24..=255, rest @ ..] => rest.split_at_checked(usize::from(*length)),
        [0x59, high @ 1..=255, low, rest @ ..] => {
            rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))
        }
        _ => None,
    }
}
