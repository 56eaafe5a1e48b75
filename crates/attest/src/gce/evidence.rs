//! `attest.Attestation` of go-tpm-tools (github.com/google/go-tpm-tools, proto/attest.proto and proto/tpm.proto).
//!
//! ```text
//! Attestation                              Quote                       PCRs
//! 1 ak_pub, TPMT_PUBLIC        once        1 quote, TPMS_ATTEST        1 hash, a TPM_ALG_ID
//! 2 quotes, one for each bank  1..=8       2 raw_sig, TPMT_SIGNATURE   2 pcrs, for each: 1 index (absent is 0), 2 value
//! 3 event_log                  once        3 pcrs
//! 6 ak_cert, DER               once
//! 4, 5, 7, 8, 9                not looked at: instance_info (the certificate has it), canonical_event_log,
//!                              intermediate_certs (the verifier's own), the hardware's evidence
//! ```
//!
//! Nothing else. The quote of the SHA-256 bank is the one that counts; those of other banks are not looked into.

use core::fmt;

use thiserror::Error;

use super::protobuf::{Fields, ProtobufError, Value, once};
use crate::eventlog::MAX_LOG;
use crate::tpm::{
    self, ALG_SHA256, AkCertificateError, AkPublic, PcrError, PcrValues, PublicError, Quote, QuoteError,
    QuoteSignature, SignatureError,
};

/// Longer evidence is refused before it is parsed: a log, and recorded evidence without one takes 6 KiB.
pub(crate) const MAX_EVIDENCE: usize = MAX_LOG + 64 * 1024;
/// Banks that a TPM may have and that are quoted.
const MAX_QUOTES: usize = 8;

/// Evidence as it arrived. Believed by nobody yet.
#[derive(Clone, PartialEq, Eq)]
pub struct GceEvidence {
    bytes: Vec<u8>,
    pub(super) public: AkPublic,
    pub(super) quote: Quote,
    pub(super) signature: QuoteSignature,
    pub(super) pcrs: PcrValues,
    pub(super) certificate: Vec<u8>,
    pub(crate) event_log: Vec<u8>,
}

/// Why bytes are not such evidence.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GceFormatError {
    /// More than evidence needs.
    #[error("evidence of {found} bytes is longer than {MAX_EVIDENCE}")]
    TooLong {
        /// Octets that arrived.
        found: usize,
    },
    /// The message.
    #[error(transparent)]
    Protobuf(#[from] ProtobufError),
    /// No quote of the SHA-256 bank, or two.
    #[error("{found} quotes are of the SHA-256 bank instead of one; no other bank is appraised")]
    Sha256Quotes {
        /// How many.
        found: usize,
    },
    /// More quotes than a TPM has banks.
    #[error("the evidence has more than {MAX_QUOTES} quotes")]
    TooManyQuotes,
    /// A PCR's value has another length than the bank's hash.
    #[error("the value of PCR {index} has {found} bytes instead of 32")]
    PcrLength {
        /// Which.
        index: u64,
        /// Its length.
        found: usize,
    },
    /// The public area of the key.
    #[error(transparent)]
    Public(#[from] PublicError),
    /// The quote.
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// The quote's signature.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The list of PCR values.
    #[error(transparent)]
    Pcr(#[from] PcrError),
}

/// Whether bytes start as an attestation does: field 1, of two octets of length, with an RSA key named by SHA-256.
pub(crate) fn looks_like(input: &[u8]) -> bool {
    input.first() == Some(&0x0a) && input.get(3..7) == Some(&[0x00, 0x01, 0x00, 0x0b])
}

impl GceEvidence {
    /// Takes the bytes as they are.
    ///
    /// # Errors
    /// Every departure from the form at the head of this file and from the forms of its parts.
    pub fn parse(input: &[u8]) -> Result<Self, GceFormatError> {
        if input.len() > MAX_EVIDENCE {
            return Err(GceFormatError::TooLong { found: input.len() });
        }
        let (mut public, mut log, mut certificate) = (None, None, None);
        let mut quotes = Vec::new();
        let mut skipped = [None; 10];
        let mut fields = Fields::of(input);
        while let Some((field, value)) = fields.next()? {
            match (field, value) {
                (1, Value::Octets(octets)) => once(&mut public, field, octets)?,
                (2, Value::Octets(octets)) if quotes.len() < MAX_QUOTES => quotes.push(octets),
                (2, Value::Octets(_)) => return Err(GceFormatError::TooManyQuotes),
                (3, Value::Octets(octets)) => once(&mut log, field, octets)?,
                (6, Value::Octets(octets)) => once(&mut certificate, field, octets)?,
                (7, Value::Octets(_)) => {}
                (4 | 5 | 8 | 9, Value::Octets(_)) => {
                    let place = usize::try_from(field).ok().and_then(|field| skipped.get_mut(field));
                    once(place.ok_or(ProtobufError::Field { field })?, field, ())?;
                }
                _ => return Err(ProtobufError::Field { field }.into()),
            }
        }
        let missing = |field| ProtobufError::Missing { field };
        let public = public.ok_or(missing(1))?;
        let mut sha256 = Vec::new();
        for quote in quotes {
            let quote = QuoteMessage::parse(quote)?;
            if quote.hash == u64::from(ALG_SHA256) {
                sha256.push(quote);
            }
        }
        let [quote] = sha256.as_slice() else {
            return Err(GceFormatError::Sha256Quotes { found: sha256.len() });
        };
        Ok(Self {
            bytes: input.to_vec(),
            public: AkPublic::parse(public)?,
            quote: Quote::parse(quote.quote)?,
            signature: QuoteSignature::parse(quote.signature)?,
            pcrs: pcr_values(quote.pcrs)?,
            certificate: certificate.ok_or(missing(6))?.to_vec(),
            event_log: log.unwrap_or_default().to_vec(),
        })
    }

    /// Exactly the bytes that arrived.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The public area of the attestation key. Reading a field of it proves nothing.
    pub fn public(&self) -> &AkPublic {
        &self.public
    }

    /// Whether the certificate in it is of its key (GV-06), under whatever authority. It says nothing about who signed either.
    ///
    /// # Errors
    /// A certificate that cannot be read.
    pub fn is_of_its_key(&self) -> Result<bool, AkCertificateError> {
        Ok(tpm::is_key_of(&self.public.key, &tpm::leaf(&self.certificate)?))
    }

    /// Of the key, DER, as it arrived.
    pub(crate) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The quote. Reading a field of it proves nothing.
    pub fn quote(&self) -> &Quote {
        &self.quote
    }

    /// The event log, as it came; empty where none did. Nothing in it is believed.
    pub fn event_log(&self) -> &[u8] {
        &self.event_log
    }
}

/// One quote of the message, its PCR values not yet looked into.
struct QuoteMessage<'a> {
    quote: &'a [u8],
    signature: &'a [u8],
    hash: u64,
    pcrs: &'a [u8],
}

impl<'a> QuoteMessage<'a> {
    fn parse(message: &'a [u8]) -> Result<Self, ProtobufError> {
        let (mut quote, mut signature, mut pcrs) = (None, None, None);
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            match (field, value) {
                (1, Value::Octets(octets)) => once(&mut quote, field, octets)?,
                (2, Value::Octets(octets)) => once(&mut signature, field, octets)?,
                (3, Value::Octets(octets)) => once(&mut pcrs, field, octets)?,
                _ => return Err(ProtobufError::Field { field }),
            }
        }
        let missing = |field| ProtobufError::Missing { field };
        let pcrs = pcrs.ok_or(missing(3))?;
        let mut hash = None;
        let mut fields = Fields::of(pcrs);
        while let Some((field, value)) = fields.next()? {
            match (field, value) {
                (1, Value::Number(number)) => once(&mut hash, field, number)?,
                (2, Value::Octets(_)) => {}
                _ => return Err(ProtobufError::Field { field }),
            }
        }
        Ok(Self {
            quote: quote.ok_or(missing(1))?,
            signature: signature.ok_or(missing(2))?,
            hash: hash.ok_or(missing(1))?,
            pcrs,
        })
    }
}

/// A map of Protocol Buffers has no order; a key twice is refused.
fn pcr_values(pcrs: &[u8]) -> Result<PcrValues, GceFormatError> {
    let mut values = Vec::new();
    let mut fields = Fields::of(pcrs);
    while let Some((_, value)) = fields.next()? {
        let Value::Octets(entry) = value else { continue };
        let (mut index, mut value) = (None, None);
        let mut entry = Fields::of(entry);
        while let Some((field, found)) = entry.next()? {
            match (field, found) {
                (1, Value::Number(number)) => once(&mut index, field, number)?,
                (2, Value::Octets(octets)) => once(&mut value, field, octets)?,
                _ => return Err(ProtobufError::Field { field }.into()),
            }
        }
        let index = index.unwrap_or(0);
        let value = value.ok_or(ProtobufError::Missing { field: 2 })?;
        let value = value.try_into().map_err(|_| GceFormatError::PcrLength { index, found: value.len() })?;
        let index = u8::try_from(index).map_err(|_| PcrError::Index { index: u8::MAX })?;
        values.push((index, value));
    }
    values.sort_unstable();
    Ok(PcrValues::new(values)?)
}

impl fmt::Debug for GceEvidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GceEvidence({} bytes, {:?})", self.bytes.len(), self.quote)
    }
}

impl GceFormatError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "gce.format.too-long",
            Self::Protobuf(error) => error.code(),
            Self::Sha256Quotes { .. } => "gce.format.sha256-quotes",
            Self::TooManyQuotes => "gce.format.too-many-quotes",
            Self::PcrLength { .. } => "gce.format.pcr-length",
            Self::Public(error) => error.code(),
            Self::Quote(error) => error.code(),
            Self::Signature(error) => error.code(),
            Self::Pcr(error) => error.code(),
        }
    }
}
