//! Sealing one file: plaintext stream in, Cobblestone-256 blob out, and the manifest entry that pins it.

use std::io::{self, Read, Write};
use std::thread;

use aws_lc_rs::digest;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::aead::{Provider, Refused};
use crate::blob::{
    BlobKey, CHUNK_PLAIN_LEN, CHUNK_SEALED_LEN, HEADER_LEN, Layout, MAX_FILE_LEN, SALT_LEN, TAG_LEN,
    blob_name,
};
use crate::key::{ModelId, ModelKey};
use crate::manifest::{FileEntry, MAX_INTEGER};
use crate::name::{NameError, check_file_name};

/// Seals one file. It is used up by [`Sealer::seal`]: one salt never seals two plaintexts.
pub struct Sealer {
    key: BlobKey,
    name: String,
    header: [u8; HEADER_LEN],
}

/// Why a file could not be sealed. The destination then holds part of a blob that nothing refers to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SealError {
    /// The name is not one that a manifest may carry.
    #[error("file name refused: {problem}")]
    Name {
        /// The rule broken.
        problem: NameError,
    },
    /// The model's version does not fit a JSON integer.
    #[error("version {version} is above {MAX_INTEGER}")]
    Version {
        /// The version given.
        version: u64,
    },
    /// The file has more bytes than the format counts.
    #[error("{file}: longer than the format's limit of {MAX_FILE_LEN} bytes")]
    TooLarge {
        /// The file.
        file: String,
    },
    /// The plaintext could not be read.
    #[error("{file}: reading at byte {offset}: {kind}")]
    Read {
        /// The file.
        file: String,
        /// Plaintext bytes read before.
        offset: u64,
        /// What the source said.
        kind: io::ErrorKind,
    },
    /// The blob could not be written.
    #[error("{file}: writing the sealed blob: {kind}")]
    Write {
        /// The file.
        file: String,
        /// What the destination said.
        kind: io::ErrorKind,
    },
    /// The cryptographic library refused to work.
    #[error("the cryptographic library refused to encrypt")]
    Library,
}

/// Plaintext bytes that are read, hashed, sealed and written together: 256 chunks.
const BATCH_LEN: usize = 256 * CHUNK_PLAIN_LEN;
const BATCH_SEALED_LEN: usize = 256 * CHUNK_SEALED_LEN;
/// Threads beyond this number are not started.
const MAX_THREADS: usize = 64;

impl Sealer {
    /// Derives the keys of one file of one model. `salt` is 24 bytes from a cryptographic random generator,
    /// fresh for every file and every sealing.
    ///
    /// # Errors
    /// [`SealError::Name`], [`SealError::Version`], or [`SealError::Library`].
    pub fn new(key: &ModelKey, id: &ModelId, name: &str, salt: &[u8; SALT_LEN]) -> Result<Self, SealError> {
        Self::with_provider(Provider::detect(), key, id, name, salt)
    }

    /// The blob's header.
    pub fn header(&self) -> &[u8; HEADER_LEN] {
        &self.header
    }

    /// The name under which the blob is to be stored; known before sealing.
    pub fn blob_name(&self) -> String {
        blob_name(&self.header)
    }

    /// Seals all of `source` to `destination`, with up to `threads` threads (one of them hashes), and gives
    /// the entry for the manifest. `progress` is called with the number of plaintext bytes just sealed (a
    /// difference, not a total).
    ///
    /// # Errors
    /// [`SealError`]; the destination is then to be deleted.
    pub fn seal(
        self,
        source: &mut dyn Read,
        destination: &mut dyn Write,
        threads: usize,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<FileEntry, SealError> {
        let write = |error: io::Error| SealError::Write { file: self.name.clone(), kind: error.kind() };
        destination.write_all(&self.header).map_err(write)?;

        let mut plain = Zeroizing::new(vec![0; BATCH_LEN]);
        let mut sealed = vec![0; BATCH_SEALED_LEN];
        let mut hash = digest::Context::new(&digest::SHA256);
        let mut size = 0u64;
        loop {
            let len = self.fill(source, &mut plain, size)?;
            let batch = plain.get(..len).unwrap_or_default();
            let last = len < BATCH_LEN;
            let first = Layout::of_plain(size).map_err(|_| self.too_large())?.chunks().saturating_sub(1);
            size = size.saturating_add(len as u64);
            Layout::of_plain(size).map_err(|_| self.too_large())?;

            let sealed_len = sealed_batch_len(len, last);
            let out = sealed.get_mut(..sealed_len).ok_or(SealError::Library)?;
            self.seal_batch(first, batch, out, threads, &mut hash).map_err(|Refused| SealError::Library)?;
            destination.write_all(out).map_err(write)?;
            progress(len as u64);
            if last {
                break;
            }
        }
        destination.flush().map_err(write)?;
        let sha256 = hash.finish().as_ref().try_into().map_err(|_| SealError::Library)?;
        Ok(FileEntry { name: self.name, size, header: self.header, sha256 })
    }

    /// As `new`, with a library of the caller's choice: for measurements and conformance tests.
    ///
    /// # Errors
    /// As `new`.
    pub fn with_provider(
        provider: Provider,
        key: &ModelKey,
        id: &ModelId,
        name: &str,
        salt: &[u8; SALT_LEN],
    ) -> Result<Self, SealError> {
        check_file_name(name).map_err(|problem| SealError::Name { problem })?;
        if id.version > MAX_INTEGER {
            return Err(SealError::Version { version: id.version });
        }
        let key = BlobKey::derive(provider, key.expose(), salt, &id.context(name))
            .map_err(|Refused| SealError::Library)?;
        let header = key.header(salt);
        Ok(Self { key, name: name.to_owned(), header })
    }

    /// Reads until `buffer` is full or the source ends; gives the bytes read.
    fn fill(&self, source: &mut dyn Read, buffer: &mut [u8], offset: u64) -> Result<usize, SealError> {
        let mut len = 0usize;
        while let Some(room) = buffer.get_mut(len..).filter(|room| !room.is_empty()) {
            match source.read(room) {
                Ok(0) => break,
                Ok(n) => len = len.saturating_add(n),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let offset = offset.saturating_add(len as u64);
                    return Err(SealError::Read { file: self.name.clone(), offset, kind: error.kind() });
                }
            }
        }
        Ok(len.min(buffer.len()))
    }

    /// Hashes and seals one batch, whose first chunk has number `first`.
    fn seal_batch(
        &self,
        first: u64,
        plain: &[u8],
        sealed: &mut [u8],
        threads: usize,
        hash: &mut digest::Context,
    ) -> Result<(), Refused> {
        let workers = threads.min(MAX_THREADS).saturating_sub(1);
        if workers == 0 {
            hash.update(plain);
            return seal_chunks(&self.key, first, plain, sealed);
        }
        // Every worker gets the same number of whole chunks, the last one what is left.
        let share = sealed.len().div_ceil(CHUNK_SEALED_LEN).div_ceil(workers).max(1);
        thread::scope(|scope| {
            let mut running = Vec::with_capacity(workers);
            let mut rest = plain;
            let numbers = (first..).step_by(share);
            for (number, out) in numbers.zip(sealed.chunks_mut(share.saturating_mul(CHUNK_SEALED_LEN))) {
                let len = share.saturating_mul(CHUNK_PLAIN_LEN).min(rest.len());
                let (part, after) = rest.split_at(len);
                rest = after;
                running.push(scope.spawn(move || seal_chunks(&self.key, number, part, out)));
            }
            hash.update(plain);
            running.into_iter().try_for_each(|worker| worker.join().unwrap_or(Err(Refused)))
        })
    }

    fn too_large(&self) -> SealError {
        SealError::TooLarge { file: self.name.clone() }
    }
}

impl SealError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name { problem } => problem.code(),
            Self::Version { .. } => "seal.manifest.integer",
            Self::TooLarge { .. } => "seal.file.too-large",
            Self::Read { .. } => "seal.io.read",
            Self::Write { .. } => "seal.io.write",
            Self::Library => "seal.crypto.library",
        }
    }
}

/// Sealed length of a batch: whole chunks, and in the last batch one short chunk, which may be empty.
fn sealed_batch_len(len: usize, last: bool) -> usize {
    let full = len.checked_div(CHUNK_PLAIN_LEN).unwrap_or(0);
    let tags = if last { full.saturating_add(1) } else { full };
    len.saturating_add(tags.saturating_mul(TAG_LEN))
}

fn seal_chunks(key: &BlobKey, first: u64, mut plain: &[u8], sealed: &mut [u8]) -> Result<(), Refused> {
    for (k, out) in (first..).zip(sealed.chunks_mut(CHUNK_SEALED_LEN)) {
        let (part, rest) = plain.split_at(plain.len().min(CHUNK_PLAIN_LEN));
        key.seal_chunk(k, part, out)?;
        plain = rest;
    }
    if plain.is_empty() { Ok(()) } else { Err(Refused) }
}
