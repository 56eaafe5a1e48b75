//! Hashes of a log. Source: TCG Algorithm Registry, TPM_ALG_ID.

use crate::crypto;

/// A hash that a log may have digests of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bank {
    /// 0x0004. Never appraised.
    Sha1,
    /// 0x000B.
    Sha256,
    /// 0x000C.
    Sha384,
    /// 0x000D. Read, not appraised: no evidence has registers of it.
    Sha512,
    /// 0x0012, SM3-256. Read, not appraised.
    Sm3,
}

impl Bank {
    /// By TPM_ALG_ID.
    pub(crate) fn of(id: u16) -> Option<Self> {
        [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512, Self::Sm3]
            .into_iter()
            .find(|bank| bank.id() == id)
    }

    /// TPM_ALG_ID.
    pub fn id(self) -> u16 {
        match self {
            Self::Sha1 => 0x0004,
            Self::Sha256 => 0x000b,
            Self::Sha384 => 0x000c,
            Self::Sha512 => 0x000d,
            Self::Sm3 => 0x0012,
        }
    }

    /// Octets of a digest.
    pub fn digest_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 | Self::Sm3 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// As people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA-1",
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
            Self::Sm3 => "SM3-256",
        }
    }

    /// The hash; `None` for those that nothing is appraised in.
    pub(crate) fn hash(self, message: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Sha256 => Some(crypto::sha256(message).to_vec()),
            Self::Sha384 => Some(crypto::sha384(message).to_vec()),
            Self::Sha1 | Self::Sha512 | Self::Sm3 => None,
        }
    }
}
