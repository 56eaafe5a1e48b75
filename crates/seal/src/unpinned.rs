//! Opening a bare Cobblestone-256 blob, without a manifest: for conformance vectors and fuzzing.

use thiserror::Error;

use crate::aead::{Provider, Refused};
use crate::blob::{BlobKey, HEADER_LEN, Layout, LayoutError, salt_of};
use crate::spans::{Fault, Target, Walk};

/// Why a bare blob did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BlobError {
    /// No blob has this length.
    #[error("{0}")]
    Layout(LayoutError),
    /// The header does not commit to this key and context.
    #[error("the header does not commit to this key and context")]
    Commitment,
    /// A chunk does not verify.
    #[error("chunk {chunk} does not verify")]
    Chunk {
        /// Number of the chunk, from 0.
        chunk: u64,
    },
    /// The plaintext does not fit this machine's memory, or the cryptographic library refused to work.
    #[error("the blob cannot be processed on this machine")]
    Unable,
}

/// Opens a whole blob in memory, trusting whatever header it brings.
///
/// **Danger**: nothing here says whose blob it is, which model it belongs to or whether it is the current one:
/// that is the manifest's work. Programs use [`crate::Opener`].
///
/// # Errors
/// [`BlobError`].
pub fn danger_open_unpinned(
    provider: Provider,
    key: &[u8; 32],
    context: &[u8],
    blob: &[u8],
) -> Result<Vec<u8>, BlobError> {
    let layout = Layout::of_blob(blob.len() as u64).map_err(BlobError::Layout)?;
    let header = blob.first_chunk::<HEADER_LEN>().ok_or(BlobError::Unable)?;
    let key =
        BlobKey::derive(provider, key, &salt_of(header), context).map_err(|Refused| BlobError::Unable)?;
    if !key.commits_to(header) {
        return Err(BlobError::Commitment);
    }
    let len = usize::try_from(layout.plain_len()).map_err(|_| BlobError::Unable)?;
    let mut plain = vec![0; len];
    let walk = Walk { key: &key, layout, source: &blob, threads: 1, hash: false, progress: &|_| {} };
    match walk.run(Target::Slice(&mut plain)) {
        Ok(_) => Ok(plain),
        Err(Fault::Chunk(chunk)) => Err(BlobError::Chunk { chunk }),
        Err(Fault::Read { .. } | Fault::Write { .. } | Fault::Destination { .. }) => Err(BlobError::Unable),
    }
}

impl BlobError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Layout(problem) => problem.code(),
            Self::Commitment => "seal.blob.commitment",
            Self::Chunk { .. } => "seal.chunk.tampered",
            Self::Unable => "seal.crypto.library",
        }
    }
}
