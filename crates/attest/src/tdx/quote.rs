//! The quote: a byte layout (rule TDX-01). Nothing here is believed.
//!
//! Source: Intel TDX DCAP Quoting Library API, "Quote format" (versions 4 and 5). All numbers are little endian.
//!
//! ```text
//! 0    2    version (4, 5)             48   2   v5: body type (2 TD 1.0, 3 TD 1.5, 4 TD 1.5 extended)
//! 2    2    attestation key type (2)   50   4   v5: body size (584, 648, 885)
//! 4    4    TEE type (0x81)            48 / 54  body; the signature is over everything up to its end
//! 8    4    reserved (0)               then 4   length of the signature data, then
//! 12   16   QE vendor                  0    64  signature       128  2  certification type (6)
//! 28   20   user data                  64   64  key             130  4  length, then
//!      134  384  QE report             582  2   length of QE authentication data (32), then it, then
//!      518  64   its signature              2   certification type (5), 4 length, the PCK certificate chain
//! ```

use core::ops::Range;

use super::body::{Body, Field};
use super::format::QuoteError;
use super::qe::QE_REPORT_LEN;

/// Longest quote that is looked at, padding included. Recorded ones have 8000 bytes at most.
pub const MAX_QUOTE: usize = 16 * 1024;

/// QE vendor: Intel, 939a7233-f79c-4ca9-940a-0db3957f0607.
const INTEL: [u8; 16] =
    [0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07];

const TEE_SGX: u32 = 0;
const TEE_TDX: u32 = 0x81;
const ECDSA_P256: u16 = 2;
/// Certification data that holds the QE report.
const QE_REPORT: u16 = 6;
/// Certification data that holds the PCK certificate chain.
pub(crate) const PCK_CHAIN: u16 = 5;
/// Certification data that names the platform, in plain or encrypted, and leaves its PCK certificate to the collateral.
const PLATFORM_NAMES: [u16; 3] = [1, 2, 3];
const QE_AUTH_LEN: usize = 32;

/// A quote as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    bytes: Vec<u8>,
    version: u16,
    body: Body,
    body_at: usize,
    signed_len: usize,
    len: usize,
    certification: u16,
    certificates: Range<usize>,
}

/// Signatures and keys of a quote. Its form was checked; nothing of it is believed.
pub(crate) struct Authentication<'a> {
    /// The attestation key's, over header and body: r and s, 32 bytes each.
    pub(crate) signature: &'a [u8; 64],
    /// The attestation key: x and y.
    pub(crate) key: &'a [u8; 64],
    pub(crate) qe_report: &'a [u8; QE_REPORT_LEN],
    /// The PCK's, over the QE report.
    pub(crate) qe_signature: &'a [u8; 64],
    pub(crate) qe_authentication: &'a [u8; QE_AUTH_LEN],
}

/// Whether the bytes mean to be a DCAP quote, of whatever version and TEE.
pub(crate) fn looks_like(input: &[u8]) -> bool {
    let mut reader = Reader { input, at: 0 };
    let (Ok(version), Ok(key), Ok(tee)) = (reader.u16(), reader.u16(), reader.u32()) else {
        return false;
    };
    input.get(12..28) == Some(&INTEL)
        || (matches!(version, 3..=5) && matches!(key, 2 | 3) && matches!(tee, TEE_SGX | TEE_TDX))
}

impl Quote {
    /// Takes the bytes as they arrived and checks their form (rule TDX-01).
    ///
    /// # Errors
    /// Every departure from the layout; a version 3 quote and an SGX quote by their names.
    pub fn parse(input: &[u8]) -> Result<Self, QuoteError> {
        if input.len() > MAX_QUOTE {
            return Err(QuoteError::TooLong { found: input.len() });
        }
        let mut reader = Reader { input, at: 0 };
        let version = reader.u16()?;
        match version {
            3 => return Err(QuoteError::Sgx),
            4 | 5 => {}
            found => return Err(QuoteError::Version { found }),
        }
        let key = reader.u16()?;
        if key != ECDSA_P256 {
            return Err(QuoteError::KeyType { found: key });
        }
        match reader.u32()? {
            TEE_TDX => {}
            TEE_SGX => return Err(QuoteError::Sgx),
            found => return Err(QuoteError::TeeType { found }),
        }
        if reader.u32()? != 0 {
            return Err(QuoteError::Reserved { offset: 8 });
        }
        if reader.bytes(16)? != INTEL {
            return Err(QuoteError::Vendor);
        }
        reader.bytes(20)?;
        let body = if version == 4 { Body::Td10 } else { body(&mut reader)? };
        let body_at = reader.at;
        reader.bytes(body.len())?;
        let signed_len = reader.at;

        let end = reader.nested()?;
        reader.bytes(64 + 64)?;
        let outer = reader.u16()?;
        if outer != QE_REPORT {
            return Err(QuoteError::Certification { found: outer });
        }
        reader.fills(end)?;
        let qe_report = reader.bytes(QE_REPORT_LEN)?;
        if qe_report.get(352..384).is_none_or(|tail| tail.iter().any(|&octet| octet != 0)) {
            return Err(QuoteError::QeReportData);
        }
        reader.bytes(64)?;
        let auth_len = usize::from(reader.u16()?);
        if auth_len != QE_AUTH_LEN {
            return Err(QuoteError::QeAuthentication { found: auth_len });
        }
        reader.bytes(auth_len)?;
        let certification = reader.u16()?;
        if certification != PCK_CHAIN && !PLATFORM_NAMES.contains(&certification) {
            return Err(QuoteError::PckCertification { found: certification });
        }
        let certificates = reader.fills(end)?..end;

        let tail = input.get(end..).ok_or(QuoteError::Truncated)?;
        if let Some(offset) = tail.iter().position(|&octet| octet != 0) {
            return Err(QuoteError::Trailing { offset: end.saturating_add(offset) });
        }
        Ok(Self {
            bytes: input.to_vec(),
            version,
            body,
            body_at,
            signed_len,
            len: end,
            certification,
            certificates,
        })
    }

    /// All of the quote, as it arrived, with its padding.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The quote without its padding.
    pub fn unpadded(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// How many bytes, from the first, the attestation key signed: header and body.
    pub fn signed_len(&self) -> usize {
        self.signed_len
    }

    /// Version: 4 or 5.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// Layout of the body.
    pub fn body(&self) -> Body {
        self.body
    }

    /// Header and body: what the attestation key signed.
    pub(crate) fn signed(&self) -> &[u8] {
        self.bytes.get(..self.signed_len).unwrap_or_default()
    }

    /// What stands behind the body, by its offset in the signature data.
    pub(crate) fn authentication(&self) -> Option<Authentication<'_>> {
        let data = self.bytes.get(self.signed_len.checked_add(4)?..)?;
        Some(Authentication {
            signature: part(data, 0)?,
            key: part(data, 64)?,
            qe_report: part(data, 134)?,
            qe_signature: part(data, 518)?,
            qe_authentication: part(data, 584)?,
        })
    }

    /// Kind of the inner certification data; 5 is a PCK certificate chain.
    pub(crate) fn certification(&self) -> u16 {
        self.certification
    }

    /// The inner certification data.
    pub(crate) fn certificates(&self) -> &[u8] {
        self.bytes.get(self.certificates.clone()).unwrap_or_default()
    }

    /// A field that every body has.
    pub(crate) fn read<const N: usize>(&self, field: Field<N>) -> [u8; N] {
        // Every body is at least as long as the last common field; `body.rs` asserts it at compile time.
        self.read_if(field, true).unwrap_or([0; N])
    }

    /// A field that only some bodies have.
    pub(crate) fn read_if<const N: usize>(&self, field: Field<N>, present: bool) -> Option<[u8; N]> {
        let start = self.body_at.checked_add(field.0)?;
        let end = start.checked_add(N)?;
        if !present || end > self.signed_len {
            return None;
        }
        self.bytes.get(start..end)?.try_into().ok()
    }
}

/// Version 5 says which body it has, and how long that is.
fn body(reader: &mut Reader<'_>) -> Result<Body, QuoteError> {
    let (kind, size) = (reader.u16()?, reader.u32()?);
    let body = match kind {
        1 => return Err(QuoteError::Sgx),
        2 => Body::Td10,
        3 => Body::Td15,
        4 => Body::Td15Extended,
        found => return Err(QuoteError::BodyType { found }),
    };
    if usize::try_from(size) != Ok(body.len()) {
        return Err(QuoteError::BodySize { found: size, expected: body.len() });
    }
    Ok(body)
}

fn part<const N: usize>(data: &[u8], offset: usize) -> Option<&[u8; N]> {
    data.get(offset..)?.first_chunk()
}

struct Reader<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> Result<&'a [u8], QuoteError> {
        let end = self.at.checked_add(len).ok_or(QuoteError::Truncated)?;
        let bytes = self.input.get(self.at..end).ok_or(QuoteError::Truncated)?;
        self.at = end;
        Ok(bytes)
    }

    fn u16(&mut self) -> Result<u16, QuoteError> {
        self.bytes(2)?.try_into().map(u16::from_le_bytes).map_err(|_| QuoteError::Truncated)
    }

    fn u32(&mut self) -> Result<u32, QuoteError> {
        self.bytes(4)?.try_into().map(u32::from_le_bytes).map_err(|_| QuoteError::Truncated)
    }

    /// Reads a length, and says where what has it ends.
    fn nested(&mut self) -> Result<usize, QuoteError> {
        let len = usize::try_from(self.u32()?).map_err(|_| QuoteError::Truncated)?;
        let end = self.at.checked_add(len).ok_or(QuoteError::Truncated)?;
        if end > self.input.len() {
            return Err(QuoteError::Truncated);
        }
        Ok(end)
    }

    /// Reads a length that must reach exactly to `end`, and says where what has it starts.
    fn fills(&mut self, end: usize) -> Result<usize, QuoteError> {
        if self.nested()? != end {
            return Err(QuoteError::Nesting);
        }
        Ok(self.at)
    }
}
