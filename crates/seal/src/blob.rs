//! One Cobblestone-256 blob: layout arithmetic and key derivation (`spec/sealed-model.md` sections 3 and 4).
//!
//! ```text
//! offset        size  field
//!      0          24  salt
//!     24          32  commitment
//!     56 + 16400k  16400  chunk k: AES-256-GCM of plaintext bytes 16384k .. 16384k+16383, tag at its end
//!     ...        16..16399  final chunk: 0 to 16383 plaintext bytes and the tag
//! ```
//!
//! The final chunk is always shorter than the others, so that its length marks the end: cutting a blob at a
//! chunk boundary leaves a blob whose last chunk is full, which no reader accepts.

use aws_lc_rs::{digest, hkdf};
use subtle::ConstantTimeEq as _;
use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

use crate::aead::{Aead, Provider, Refused};

/// Bytes of salt at the start of a blob.
pub const SALT_LEN: usize = 24;
/// Bytes of salt and commitment that precede the chunks.
pub const HEADER_LEN: usize = 56;
/// Plaintext bytes in every chunk but the last.
pub const CHUNK_PLAIN_LEN: usize = 16_384;
/// Bytes of authentication tag at the end of each chunk.
pub const TAG_LEN: usize = 16;
/// Bytes of every chunk but the last, as stored.
pub const CHUNK_SEALED_LEN: usize = 16_400;
/// Longest plaintext, in bytes: Cobblestone counts at most 2^38 chunks, and the last one is never full. The
/// bound keeps what one derived key encrypts far below AES-GCM's limits (`spec/sealed-model.md` section 8).
pub const MAX_FILE_LEN: u64 = (1 << 52) - 1;
/// Chunks that one worker takes at a time: 8,396,800 stored bytes, a good part size for object stores too.
pub const SPAN_CHUNKS: u64 = 512;

const COMMITMENT_LEN: usize = 32;
const INFO_LABEL: &[u8] = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0";

const _: () = assert!(SALT_LEN + COMMITMENT_LEN == HEADER_LEN);
const _: () = assert!(CHUNK_PLAIN_LEN + TAG_LEN == CHUNK_SEALED_LEN);
const _: () = assert!(MAX_FILE_LEN == (1 << 38) * (CHUNK_PLAIN_LEN as u64) - 1);

/// The name under which a blob is stored: `blobs/` and the hex form of the first 16 bytes of
/// SHA-256(header). It says nothing about the file inside.
pub fn blob_name(header: &[u8; HEADER_LEN]) -> String {
    let hash = digest::digest(&digest::SHA256, header);
    let id: Vec<u8> = hash.as_ref().iter().copied().take(16).collect();
    format!("blobs/{}", hex::encode(id))
}

/// Where everything lies in a blob of a given plaintext length. Pure arithmetic; nothing here is secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    plain_len: u64,
}

/// Why no blob has this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LayoutError {
    /// The plaintext is longer than [`MAX_FILE_LEN`].
    #[error("a file of {len} bytes is longer than the format's limit of {MAX_FILE_LEN} bytes")]
    TooLong {
        /// Plaintext length, in bytes.
        len: u64,
    },
    /// The blob is too short for a header and one chunk.
    #[error("a blob of {len} bytes is too short for its header and one chunk")]
    TooShort {
        /// Blob length, in bytes.
        len: u64,
    },
    /// The blob ends inside a tag, or its last chunk is full: something is missing at its end.
    #[error("a blob of {len} bytes does not end in a short chunk: its end is missing")]
    NoFinalChunk {
        /// Blob length, in bytes.
        len: u64,
    },
}

impl LayoutError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "seal.file.too-large",
            Self::TooShort { .. } => "seal.blob.too-short",
            Self::NoFinalChunk { .. } => "seal.blob.no-final-chunk",
        }
    }
}

impl Layout {
    /// The layout of a plaintext of `len` bytes.
    ///
    /// # Errors
    /// [`LayoutError::TooLong`] above [`MAX_FILE_LEN`].
    pub fn of_plain(len: u64) -> Result<Self, LayoutError> {
        if len > MAX_FILE_LEN {
            return Err(LayoutError::TooLong { len });
        }
        Ok(Self { plain_len: len })
    }

    /// The layout of a stored blob of `len` bytes (SEAL-07).
    ///
    /// # Errors
    /// Any [`LayoutError`]: most lengths that are not a blob's can be told without decrypting.
    pub fn of_blob(len: u64) -> Result<Self, LayoutError> {
        let sealed = CHUNK_SEALED_LEN as u64;
        let body = len.checked_sub(HEADER_LEN as u64).ok_or(LayoutError::TooShort { len })?;
        if body < TAG_LEN as u64 {
            return Err(LayoutError::TooShort { len });
        }
        let full = body.checked_div(sealed).unwrap_or(0);
        let last = body.checked_rem(sealed).unwrap_or(0);
        let last_plain = last.checked_sub(TAG_LEN as u64).ok_or(LayoutError::NoFinalChunk { len })?;
        let plain_len = full
            .checked_mul(CHUNK_PLAIN_LEN as u64)
            .and_then(|full| full.checked_add(last_plain))
            .ok_or(LayoutError::TooLong { len })?;
        Self::of_plain(plain_len)
    }

    /// Plaintext bytes.
    pub fn plain_len(&self) -> u64 {
        self.plain_len
    }

    /// Number of chunks, the final one included: at least 1, at most 2^38.
    pub fn chunks(&self) -> u64 {
        self.full_chunks().saturating_add(1)
    }

    /// Stored bytes, header included.
    pub fn blob_len(&self) -> u64 {
        (HEADER_LEN as u64)
            .saturating_add(self.plain_len)
            .saturating_add(self.chunks().saturating_mul(TAG_LEN as u64))
    }

    /// Stored offset of chunk `k`, in bytes from the start of the blob; past the end for `k >= chunks()`.
    pub fn chunk_offset(&self, k: u64) -> u64 {
        let at = (HEADER_LEN as u64).saturating_add(k.saturating_mul(CHUNK_SEALED_LEN as u64));
        at.min(self.blob_len())
    }

    /// Plaintext offset of chunk `k`, in bytes; the end of the file for `k >= chunks()`.
    pub fn plain_offset(&self, k: u64) -> u64 {
        k.saturating_mul(CHUNK_PLAIN_LEN as u64).min(self.plain_len)
    }

    fn full_chunks(&self) -> u64 {
        self.plain_len.checked_div(CHUNK_PLAIN_LEN as u64).unwrap_or(0)
    }
}

/// The keys of one blob: what HKDF gives for (input key, salt, context).
pub(crate) struct BlobKey {
    aead: Aead,
    base_nonce: [u8; 12],
    commitment: [u8; COMMITMENT_LEN],
}

impl BlobKey {
    /// HKDF-Expand (RFC 5869) over SHA-512 with `input_key` as the pseudorandom key (SEAL-04).
    pub(crate) fn derive(
        provider: Provider,
        input_key: &[u8; 32],
        salt: &[u8; SALT_LEN],
        context: &[u8],
    ) -> Result<Self, Refused> {
        let mut okm = Zeroizing::new([0u8; 76]);
        hkdf::Prk::new_less_safe(hkdf::HKDF_SHA512, input_key)
            .expand(&[INFO_LABEL, salt, context], OkmLen)
            .and_then(|okm_source| okm_source.fill(okm.as_mut_slice()))
            .map_err(|_| Refused)?;
        let (key, rest) = okm.split_first_chunk::<32>().ok_or(Refused)?;
        let (base_nonce, rest) = rest.split_first_chunk::<12>().ok_or(Refused)?;
        let commitment = rest.first_chunk::<COMMITMENT_LEN>().ok_or(Refused)?;
        Ok(Self { aead: Aead::new(provider, key)?, base_nonce: *base_nonce, commitment: *commitment })
    }

    /// The header of the blob that this key seals.
    pub(crate) fn header(&self, salt: &[u8; SALT_LEN]) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        let (left, right) = header.split_at_mut(SALT_LEN);
        left.copy_from_slice(salt);
        right.copy_from_slice(&self.commitment);
        header
    }

    /// Whether `header` commits to this key; in constant time (SEAL-06).
    pub(crate) fn commits_to(&self, header: &[u8; HEADER_LEN]) -> bool {
        let (_, commitment) = header.split_at(SALT_LEN);
        self.commitment.as_slice().ct_eq(commitment).into()
    }

    /// Opens chunk `k`. `sealed` is overwritten. On refusal `plain` is wiped.
    pub(crate) fn open_chunk(&self, k: u64, sealed: &mut [u8], plain: &mut [u8]) -> Result<(), Refused> {
        self.aead.open(self.nonce(k), sealed, plain).inspect_err(|_| plain.zeroize())
    }

    /// Seals chunk `k`: one call per `k` in the life of a key.
    pub(crate) fn seal_chunk(&self, k: u64, plain: &[u8], sealed: &mut [u8]) -> Result<(), Refused> {
        self.aead.seal(self.nonce(k), plain, sealed)
    }

    /// base_nonce XOR BE96(k): `k` is below 2^38, so only the low eight bytes change.
    fn nonce(&self, k: u64) -> [u8; 12] {
        let mut nonce = self.base_nonce;
        for (byte, count) in nonce.iter_mut().skip(4).zip(k.to_be_bytes()) {
            *byte ^= count;
        }
        nonce
    }
}

/// The salt of a header.
pub(crate) fn salt_of(header: &[u8; HEADER_LEN]) -> [u8; SALT_LEN] {
    let mut salt = [0; SALT_LEN];
    for (to, from) in salt.iter_mut().zip(header) {
        *to = *from;
    }
    salt
}

/// Output length of the derivation: 32 key + 12 nonce + 32 commitment.
struct OkmLen;

impl hkdf::KeyType for OkmLen {
    fn len(&self) -> usize {
        76
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_and_its_inverse_agree_around_every_boundary() {
        for chunks in [0u64, 1, 2, 511, 512, 513, (1 << 38) - 1] {
            for delta in [-1i64, 0, 1, 2, 16383] {
                let Some(len) = (chunks * 16384).checked_add_signed(delta) else { continue };
                if len > MAX_FILE_LEN {
                    continue;
                }
                let layout = Layout::of_plain(len).unwrap();
                assert_eq!(layout.chunks(), len / 16384 + 1);
                assert_eq!(layout.blob_len(), 56 + len + 16 * (len / 16384 + 1));
                assert_eq!(Layout::of_blob(layout.blob_len()), Ok(layout), "plaintext of {len}");
            }
        }
    }

    #[test]
    fn lengths_that_no_blob_has() {
        for len in [0, 1, 55, 56, 71] {
            assert_eq!(Layout::of_blob(len), Err(LayoutError::TooShort { len }));
        }
        for rest in 0..16 {
            let len = 56 + 16400 + rest;
            assert_eq!(Layout::of_blob(len), Err(LayoutError::NoFinalChunk { len }));
        }
        assert_eq!(Layout::of_blob(72).unwrap().plain_len(), 0);
        assert_eq!(Layout::of_blob(56 + 16400 + 16).unwrap().plain_len(), 16384);
        let longest = Layout::of_plain(MAX_FILE_LEN).unwrap();
        assert_eq!(longest.chunks(), 1 << 38);
        assert_eq!(Layout::of_plain(1 << 52), Err(LayoutError::TooLong { len: 1 << 52 }));
        assert_eq!(Layout::of_blob(longest.blob_len() + 17).unwrap_err().code(), "seal.file.too-large");
        assert_eq!(Layout::of_blob(u64::MAX).unwrap_err().code(), "seal.file.too-large");
    }

    #[test]
    fn offsets() {
        let layout = Layout::of_plain(40_000).unwrap();
        assert_eq!((layout.chunk_offset(0), layout.plain_offset(0)), (56, 0));
        assert_eq!((layout.chunk_offset(2), layout.plain_offset(2)), (56 + 32_800, 32_768));
        assert_eq!((layout.chunk_offset(3), layout.plain_offset(3)), (layout.blob_len(), 40_000));
    }

    #[test]
    fn the_counter_changes_the_last_bytes_of_the_nonce() {
        let key = BlobKey::derive(Provider::Ring, &[1; 32], &[2; 24], b"x").unwrap();
        let zero = key.nonce(0);
        assert_eq!(zero, key.base_nonce);
        let other = key.nonce(0x0102);
        assert_eq!(other[..10], zero[..10]);
        assert_eq!((other[10] ^ zero[10], other[11] ^ zero[11]), (1, 2));
    }
}
