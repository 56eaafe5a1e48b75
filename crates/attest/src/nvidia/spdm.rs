//! SPDM 1.1 GET_MEASUREMENTS request and MEASUREMENTS response, concatenated as NVIDIA's driver delivers them
//! (DMTF DSP0274 1.1.0 §10.11). Integers are little-endian.
//!
//! ```text
//! offset       size  field                      value
//! 0               1  SPDMVersion                0x11
//! 1               1  RequestResponseCode        0xE0 GET_MEASUREMENTS
//! 2               1  Param1                     0x01: a signature is asked for
//! 3               1  Param2                     0xFF: all measurements
//! 4              32  Nonce                      the verifier's
//! 36              1  SlotIDParam                0
//! 37              1  SPDMVersion                0x11
//! 38              1  RequestResponseCode        0x60 MEASUREMENTS
//! 39              1  Param1                     0
//! 40              1  Param2                     0: slot
//! 41              1  NumberOfBlocks             n: 64 for GPUs, 31 for LS10
//! 42              3  MeasurementRecordLength    n * 55
//! 45         n * 55  blocks
//!                      0   1  Index             1..n, in this order
//!                      1   1  Specification     1: DMTF
//!                      2   2  Size              51
//!                      4   1  ValueType         1: mutable firmware, digest
//!                      5   2  ValueSize         48
//!                      7  48  Value             zeros where there is nothing to measure
//! 45+n*55        32  Nonce                      the device's
//! +32             2  OpaqueLength               m
//! +34             m  opaque data                `opaque.rs`
//! +34+m          96  Signature                  R, S, big-endian
//! ```
//!
//! The signature is over everything before it, the request included.

use thiserror::Error;

use super::opaque::{Opaque, OpaqueError};
use crate::crypto::Scalar;

/// Longer reports are refused before they are parsed; a GPU's has about 4.1 KiB.
const MAX_REPORT: usize = 16 * 1024;

/// Octets of a measurement.
pub const MEASUREMENT_LEN: usize = 48;

/// Octets of the verifier's nonce.
pub const NONCE_LEN: usize = 32;

const REQUEST: [u8; 4] = [0x11, 0xe0, 0x01, 0xff];
const RESPONSE: [u8; 4] = [0x11, 0x60, 0x00, 0x00];
const BLOCK_HEADER: [u8; 6] = [0x01, 51, 0, 0x01, 48, 0];
const BLOCK_LEN: usize = 55;

/// A report: exactly the octets that arrived, and what was read from them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spdm {
    bytes: Vec<u8>,
    nonce: [u8; NONCE_LEN],
    record: Vec<u8>,
    measurements: Vec<[u8; MEASUREMENT_LEN]>,
    opaque: Opaque,
    signed_len: usize,
    r: Scalar,
    s: Scalar,
}

/// Why bytes are not a report of an NVIDIA device (rule NV-01).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpdmError {
    /// More than any device writes.
    #[error("the report has {found} bytes, more than {MAX_REPORT}")]
    TooLong {
        /// Bytes that arrived.
        found: usize,
    },
    /// The bytes end before the structure does.
    #[error("the report ends within its {part}")]
    Truncated {
        /// Where.
        part: &'static str,
    },
    /// Bytes follow the signature.
    #[error("the report has {found} bytes after its signature")]
    Trailing {
        /// How many.
        found: usize,
    },
    /// Not a request of SPDM 1.1 for all measurements, signed, of slot 0.
    #[error("the request is not SPDM 1.1 GET_MEASUREMENTS for all measurements, signed, of slot 0")]
    Request,
    /// Not the response of SPDM 1.1 to it.
    #[error("the response is not SPDM 1.1 MEASUREMENTS of slot 0")]
    Response,
    /// NumberOfBlocks and MeasurementRecordLength contradict each other, or there is no block.
    #[error("{blocks} measurement blocks cannot have {length} bytes")]
    RecordLength {
        /// NumberOfBlocks.
        blocks: u8,
        /// MeasurementRecordLength.
        length: usize,
    },
    /// A block that is not one DMTF digest of 48 bytes.
    #[error("measurement block {position} is not a DMTF digest of 48 bytes")]
    Block {
        /// From 1.
        position: usize,
    },
    /// The blocks are not numbered 1, 2, 3 ...
    #[error("measurement block {position} has the index {found}")]
    Index {
        /// From 1.
        position: usize,
        /// Index in the block.
        found: u8,
    },
    /// The opaque data.
    #[error(transparent)]
    Opaque(#[from] OpaqueError),
}

impl SpdmError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "nvidia.format.too-long",
            Self::Truncated { .. } => "nvidia.format.truncated",
            Self::Trailing { .. } => "nvidia.format.trailing",
            Self::Request => "nvidia.format.request",
            Self::Response => "nvidia.format.response",
            Self::RecordLength { .. } => "nvidia.format.record-length",
            Self::Block { .. } => "nvidia.format.block",
            Self::Index { .. } => "nvidia.format.index",
            Self::Opaque(error) => error.code(),
        }
    }
}

impl Spdm {
    /// Reads a report of exactly this layout and length.
    pub(crate) fn parse(input: &[u8]) -> Result<Self, SpdmError> {
        if input.len() > MAX_REPORT {
            return Err(SpdmError::TooLong { found: input.len() });
        }
        let mut reader = Reader { rest: input };
        let request: [u8; 4] = reader.array("request")?;
        let nonce = reader.array("request")?;
        let [slot] = reader.array("request")?;
        if request != REQUEST || slot != 0 {
            return Err(SpdmError::Request);
        }
        let response: [u8; 4] = reader.array("response header")?;
        if response != RESPONSE {
            return Err(SpdmError::Response);
        }
        let [blocks, low, middle, high] = reader.array("response header")?;
        let length =
            usize::from(low) | usize::from(middle).wrapping_shl(8) | usize::from(high).wrapping_shl(16);
        if blocks == 0 || usize::from(blocks).checked_mul(BLOCK_LEN) != Some(length) {
            return Err(SpdmError::RecordLength { blocks, length });
        }
        let record = reader.take(length, "measurement record")?.to_vec();
        let measurements = read_blocks(&record)?;
        reader.take(NONCE_LEN, "responder's nonce")?;
        let opaque_len = u16::from_le_bytes(reader.array("opaque length")?);
        let opaque = Opaque::parse(reader.take(usize::from(opaque_len), "opaque data")?)?;
        let signed_len = input.len().saturating_sub(reader.rest.len());
        let r = reader.array("signature")?;
        let s = reader.array("signature")?;
        if !reader.rest.is_empty() {
            return Err(SpdmError::Trailing { found: reader.rest.len() });
        }
        Ok(Self { bytes: input.to_vec(), nonce, record, measurements, opaque, signed_len, r, s })
    }

    /// Exactly the octets that arrived.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The octets that the signature covers.
    pub(crate) fn signed(&self) -> &[u8] {
        self.bytes.get(..self.signed_len).unwrap_or_default()
    }

    /// R and S.
    pub(crate) fn signature(&self) -> (Scalar, Scalar) {
        (self.r, self.s)
    }

    /// The nonce of the request: the verifier's.
    pub(crate) fn nonce(&self) -> &[u8; NONCE_LEN] {
        &self.nonce
    }

    /// All measurement blocks, as they arrived.
    pub(crate) fn record(&self) -> &[u8] {
        &self.record
    }

    /// The measurements; the one with SPDM index 1 comes first.
    pub(crate) fn measurements(&self) -> &[[u8; MEASUREMENT_LEN]] {
        &self.measurements
    }

    /// What the device says about itself.
    pub(crate) fn opaque(&self) -> &Opaque {
        &self.opaque
    }
}

fn read_blocks(record: &[u8]) -> Result<Vec<[u8; MEASUREMENT_LEN]>, SpdmError> {
    let mut measurements = Vec::new();
    for (position, block) in (1..).zip(record.chunks(BLOCK_LEN)) {
        let mut reader = Reader { rest: block };
        let [index] = reader.array("measurement record")?;
        let header: [u8; 6] = reader.array("measurement record")?;
        if header != BLOCK_HEADER {
            return Err(SpdmError::Block { position });
        }
        if usize::from(index) != position {
            return Err(SpdmError::Index { position, found: index });
        }
        measurements.push(reader.array("measurement record")?);
    }
    Ok(measurements)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize, part: &'static str) -> Result<&'a [u8], SpdmError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(SpdmError::Truncated { part })?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, part: &'static str) -> Result<[u8; N], SpdmError> {
        self.take(N, part)?.try_into().map_err(|_| SpdmError::Truncated { part })
    }
}
