//! TPMT_PUBLIC of an attestation key (TPM 2.0 Part 2, 12.2.4). Big-endian.
//!
//! ```text
//! size  field
//! 2     type              0x0001, RSA
//! 2     nameAlg           0x000B, SHA-256
//! 4     objectAttributes  1 fixedTPM, 4 fixedParent, 5 sensitiveDataOrigin, 16 restricted, 18 sign; not 17 decrypt
//! 2 + n authPolicy        at most 32 octets
//! 2     symmetric         0x0010, none
//! 2, 2  scheme            0x0014 RSASSA, 0x000B SHA-256
//! 2     keyBits           2048
//! 4     exponent          0, which is 65537
//! 2 + n unique            the modulus, 256 octets
//! ```
//!
//! A *restricted* signing key signs nothing that the TPM did not make: that is what makes a signed quote a quote.

use thiserror::Error;

use super::ALG_SHA256;
use super::reader::Reader;
use super::signature::AttestationKey;
use crate::crypto;

/// fixedTPM, fixedParent, sensitiveDataOrigin, restricted, sign.
const REQUIRED: u32 = (1 << 1) | (1 << 4) | (1 << 5) | (1 << 16) | (1 << 18);
/// decrypt.
const FORBIDDEN: u32 = 1 << 17;
/// TPM_RH_ENDORSEMENT: the hierarchy under which an attestation key is made.
const ENDORSEMENT: [u8; 4] = [0x40, 0x00, 0x00, 0x0b];
/// Longest policy digest of a key named with SHA-256.
const MAX_POLICY: usize = 32;

/// A public area with the form above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AkPublic {
    bytes: Vec<u8>,
    pub(crate) key: AttestationKey,
}

/// Why bytes are not the public area of an attestation key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PublicError {
    /// It ends within a field, or something follows.
    #[error("the public area has another length than its fields")]
    Length,
    /// A field has another value than it must have.
    #[error("the public area's {field} is not that of an attestation key")]
    Value {
        /// As in the TPM specification.
        field: &'static str,
    },
    /// A key that may sign what the TPM did not make, or that can leave it.
    #[error(
        "the key's attributes {found:#010x} are not those of a restricted signing key that stays in its TPM"
    )]
    Attributes {
        /// objectAttributes.
        found: u32,
    },
}

impl AkPublic {
    /// Takes the bytes as they are.
    ///
    /// # Errors
    /// Every departure from the table at the head of this file.
    pub fn parse(input: &[u8]) -> Result<Self, PublicError> {
        let mut reader = Reader::new(input);
        let expect = |field, good: bool| if good { Ok(()) } else { Err(PublicError::Value { field }) };
        let short = PublicError::Length;
        expect("type", reader.u16().ok_or(short.clone())? == 0x0001)?;
        expect("nameAlg", reader.u16().ok_or(short.clone())? == ALG_SHA256)?;
        let attributes = reader.u32().ok_or(short.clone())?;
        if attributes & REQUIRED != REQUIRED || attributes & FORBIDDEN != 0 {
            return Err(PublicError::Attributes { found: attributes });
        }
        let policy = usize::from(reader.u16().ok_or(short.clone())?);
        expect("authPolicy", policy <= MAX_POLICY)?;
        reader.take(policy).ok_or(short.clone())?;
        expect("symmetric", reader.u16().ok_or(short.clone())? == 0x0010)?;
        expect("scheme", reader.u16().ok_or(short.clone())? == 0x0014)?;
        expect("scheme", reader.u16().ok_or(short.clone())? == ALG_SHA256)?;
        expect("keyBits", reader.u16().ok_or(short.clone())? == 2048)?;
        expect("exponent", reader.u32().ok_or(short.clone())? == 0)?;
        let length = usize::from(reader.u16().ok_or(short.clone())?);
        let modulus = reader.take(length).ok_or(short.clone())?;
        if reader.left() != 0 {
            return Err(short);
        }
        let key = AttestationKey::new(modulus).ok_or(PublicError::Value { field: "unique" })?;
        Ok(Self { bytes: input.to_vec(), key })
    }

    /// The key's Name: nameAlg, and the hash of the public area.
    pub fn name(&self) -> [u8; 34] {
        named(&self.bytes)
    }

    /// The Qualified Name of a primary key of the endorsement hierarchy: what a quote says who signed it.
    pub fn qualified_name(&self) -> [u8; 34] {
        named(&[&ENDORSEMENT[..], &self.name()].concat())
    }
}

fn named(octets: &[u8]) -> [u8; 34] {
    let mut name = [0; 34];
    for (target, source) in
        name.iter_mut().zip(ALG_SHA256.to_be_bytes().into_iter().chain(crypto::sha256(octets)))
    {
        *target = source;
    }
    name
}

impl PublicError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Length => "tpm.public.length",
            Self::Value { .. } => "tpm.public.value",
            Self::Attributes { .. } => "tpm.public.attributes",
        }
    }
}
