//! TPMS_ATTEST of type TPM_ST_ATTEST_QUOTE (TPM 2.0 Part 2, 10.12.8 and 10.12.12). Big-endian.
//!
//! ```text
//! size   field
//! 4      magic               0xFF544347: TPM_GENERATED, so that no other signed message can be one
//! 2      type                0x8018: TPM_ST_ATTEST_QUOTE
//! 2 + n  qualifiedSigner     TPM2B_NAME of the signing key
//! 2 + n  extraData           TPM2B_DATA: what the asker bound
//! 17     clockInfo           clock 8, resetCount 4, restartCount 4, safe 1 (0 or 1)
//! 8      firmwareVersion
//! 4      pcrSelect.count     then as often:
//!        2 hash, 1 sizeofSelect (3), 3 pcrSelect
//! 2 + n  pcrDigest           TPM2B_DIGEST over the selected values
//! ```
//!
//! Nothing follows.

use core::fmt;

use serde::Serialize;
use thiserror::Error;

use super::ALG_SHA256;
use super::pcr::{PcrSelection, PcrValues, SelectedPcrs};
use super::reader::Reader;
use super::reject::QuoteRejection;
use super::signature::{AttestationKey, QuoteSignature};
use crate::crypto;

/// Longer quotes are refused before they are parsed; recorded ones have 122 to 161 bytes.
pub const MAX_QUOTE: usize = 512;

/// TPM_GENERATED_VALUE: 0xFF, "TCG".
const MAGIC: u32 = 0xff54_4347;
/// TPM_ST_ATTEST_QUOTE.
const TYPE_QUOTE: u16 = 0x8018;
/// A TPMT_HA: algorithm and at most a SHA-512 digest. Bounds names, qualifying data and, with room, the digest.
const MAX_TPM2B: usize = 2 + 64;
/// Banks that a TPM may have.
const MAX_BANKS: u32 = 16;
/// Octets of a PC Client TPM's selection: 24 PCRs.
const SELECT_OCTETS: u8 = 3;

/// A quote as it arrived. Believed by nobody yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Quote {
    bytes: Vec<u8>,
    qualified_signer: Vec<u8>,
    extra_data: Vec<u8>,
    clock: ClockInfo,
    firmware_version: u64,
    selections: Vec<PcrSelection>,
    pcr_digest: Vec<u8>,
}

/// TPMS_CLOCK_INFO. A claim: it ties quotes of one boot together, and no rule decides on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ClockInfo {
    /// Milliseconds that the TPM was powered.
    pub clock: u64,
    /// Resets of the TPM.
    pub reset_count: u32,
    /// Restarts and resumes since the last reset.
    pub restart_count: u32,
    /// Whether no larger clock was reported before.
    pub safe: bool,
}

/// Why bytes are not a quote.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum QuoteError {
    /// More than a quote needs.
    #[error("a quote of {found} bytes is longer than {MAX_QUOTE}")]
    TooLong {
        /// Octets that arrived.
        found: usize,
    },
    /// It ends within a field.
    #[error("the quote ends within {field}")]
    Truncated {
        /// As in the TPM specification.
        field: &'static str,
    },
    /// Not made by a TPM.
    #[error("magic {found:#010x} is not TPM_GENERATED")]
    Magic {
        /// What is there.
        found: u32,
    },
    /// Another kind of attestation.
    #[error("attestation type {found:#06x} is not a quote")]
    Type {
        /// What is there.
        found: u16,
    },
    /// A sized field is longer than the specification permits.
    #[error("{field} has {found} bytes, more than a TPM writes")]
    FieldTooLong {
        /// As in the TPM specification.
        field: &'static str,
        /// Its length.
        found: usize,
    },
    /// A TPMI_YES_NO is neither.
    #[error("clockInfo.safe is {found:#04x}, neither yes nor no")]
    Safe {
        /// What is there.
        found: u8,
    },
    /// More banks than a TPM has.
    #[error("the selection has {found} banks")]
    Banks {
        /// TPML_PCR_SELECTION.count.
        found: u32,
    },
    /// A selection of another width than a PC Client TPM's.
    #[error("a selection has {found} octets instead of 3")]
    SelectionWidth {
        /// sizeofSelect.
        found: u8,
    },
    /// Something follows.
    #[error("{found} bytes follow the quote")]
    Trailing {
        /// How many.
        found: usize,
    },
}

impl Quote {
    /// Takes the bytes as they are.
    ///
    /// # Errors
    /// Every departure from the table at the head of this file.
    pub fn parse(input: &[u8]) -> Result<Self, QuoteError> {
        if input.len() > MAX_QUOTE {
            return Err(QuoteError::TooLong { found: input.len() });
        }
        let mut reader = Reader::new(input);
        let ends = |field| QuoteError::Truncated { field };
        let magic = reader.u32().ok_or(ends("magic"))?;
        if magic != MAGIC {
            return Err(QuoteError::Magic { found: magic });
        }
        let kind = reader.u16().ok_or(ends("type"))?;
        if kind != TYPE_QUOTE {
            return Err(QuoteError::Type { found: kind });
        }
        let qualified_signer = sized(&mut reader, "qualifiedSigner")?;
        let extra_data = sized(&mut reader, "extraData")?;
        let clock = ClockInfo {
            clock: reader.u64().ok_or(ends("clockInfo"))?,
            reset_count: reader.u32().ok_or(ends("clockInfo"))?,
            restart_count: reader.u32().ok_or(ends("clockInfo"))?,
            safe: match reader.u8().ok_or(ends("clockInfo"))? {
                0 => false,
                1 => true,
                found => return Err(QuoteError::Safe { found }),
            },
        };
        let firmware_version = reader.u64().ok_or(ends("firmwareVersion"))?;
        let selections = selections(&mut reader)?;
        let pcr_digest = sized(&mut reader, "pcrDigest")?;
        if reader.left() != 0 {
            return Err(QuoteError::Trailing { found: reader.left() });
        }
        Ok(Self {
            bytes: input.to_vec(),
            qualified_signer,
            extra_data,
            clock,
            firmware_version,
            selections,
            pcr_digest,
        })
    }

    /// Exactly the bytes that arrived.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// TPM2B_NAME of the key that signed, without its size.
    pub fn qualified_signer(&self) -> &[u8] {
        &self.qualified_signer
    }

    /// What the asker bound: the qualifying data of TPM2_Quote.
    pub fn extra_data(&self) -> &[u8] {
        &self.extra_data
    }

    /// The TPM's clock.
    pub fn clock(&self) -> ClockInfo {
        self.clock
    }

    /// The TPM's firmware, in its vendor's own form.
    pub fn firmware_version(&self) -> u64 {
        self.firmware_version
    }

    /// The selections, in the order in which they were written.
    pub fn selections(&self) -> &[PcrSelection] {
        &self.selections
    }

    /// Whether this key signed exactly these bytes: RSASSA-PKCS1-v1_5 with SHA-256.
    ///
    /// # Errors
    /// [`QuoteRejection::Signature`].
    pub(crate) fn signed_by(
        &self,
        key: &AttestationKey,
        signature: &QuoteSignature,
    ) -> Result<(), QuoteRejection> {
        if key.verifies(&self.bytes, signature) { Ok(()) } else { Err(QuoteRejection::Signature) }
    }

    /// The values, if they are those of exactly the PCRs that were quoted, in one bank of SHA-256, and have the digest
    /// that was quoted. It says nothing about who signed.
    ///
    /// # Errors
    /// [`QuoteRejection`], with what differs.
    pub fn select(&self, values: &PcrValues) -> Result<SelectedPcrs, QuoteRejection> {
        let [selection] = self.selections.as_slice() else {
            return Err(QuoteRejection::Banks { found: self.selections.len() });
        };
        if selection.bank != ALG_SHA256 {
            return Err(QuoteRejection::Bank { found: selection.bank });
        }
        let (quoted, given) = (selection.indices(), values.indices());
        if quoted != given {
            return Err(QuoteRejection::Selection { quoted, given });
        }
        if !crypto::equal(&crypto::sha256(&values.concatenated()), &self.pcr_digest) {
            return Err(QuoteRejection::Digest);
        }
        Ok(SelectedPcrs(values.clone()))
    }
}

impl fmt::Debug for Quote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Quote({} bytes, extraData {})", self.bytes.len(), hex::encode(&self.extra_data))
    }
}

impl QuoteError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "tpm.quote.too-long",
            Self::Truncated { .. } => "tpm.quote.truncated",
            Self::Magic { .. } => "tpm.quote.magic",
            Self::Type { .. } => "tpm.quote.type",
            Self::FieldTooLong { .. } => "tpm.quote.field-too-long",
            Self::Safe { .. } => "tpm.quote.safe",
            Self::Banks { .. } => "tpm.quote.bank-count",
            Self::SelectionWidth { .. } => "tpm.quote.selection-width",
            Self::Trailing { .. } => "tpm.quote.trailing",
        }
    }
}

/// A TPM2B: two octets of length, then as many octets.
fn sized(reader: &mut Reader<'_>, field: &'static str) -> Result<Vec<u8>, QuoteError> {
    let ends = QuoteError::Truncated { field };
    let Some(length) = reader.u16().map(usize::from) else {
        return Err(ends);
    };
    if length > MAX_TPM2B {
        return Err(QuoteError::FieldTooLong { field, found: length });
    }
    reader.take(length).map(<[u8]>::to_vec).ok_or(ends)
}

fn selections(reader: &mut Reader<'_>) -> Result<Vec<PcrSelection>, QuoteError> {
    let ends = || QuoteError::Truncated { field: "pcrSelect" };
    let count = reader.u32().ok_or_else(ends)?;
    if count > MAX_BANKS {
        return Err(QuoteError::Banks { found: count });
    }
    let mut selections = Vec::new();
    for _ in 0..count {
        let bank = reader.u16().ok_or_else(ends)?;
        let width = reader.u8().ok_or_else(ends)?;
        if width != SELECT_OCTETS {
            return Err(QuoteError::SelectionWidth { found: width });
        }
        let [low, middle, high] = reader.array().ok_or_else(ends)?;
        selections.push(PcrSelection { bank, bits: u32::from_le_bytes([low, middle, high, 0]) });
    }
    Ok(selections)
}
