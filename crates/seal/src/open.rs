//! Opening sealed files: the right key, the pinned header, then every chunk.

use std::io;

use subtle::ConstantTimeEq as _;
use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

use crate::aead::{Provider, Refused};
use crate::blob::{BlobKey, CHUNK_PLAIN_LEN, HEADER_LEN, Layout, LayoutError, SPAN_CHUNKS, salt_of};
use crate::key::ModelKey;
use crate::manifest::{FileEntry, Manifest};
use crate::spans::{Fault, ReadAt, Target, Walk, WriteAt, open_chunks};

/// Opens one file of one model. It takes a verified manifest and a matching key to make one; it holds the file's derived keys, which its constructor proved to be those that
/// the signed manifest pins.
pub struct Opener {
    key: BlobKey,
    file: FileEntry,
    layout: Layout,
    mode: VerifyMode,
}

/// How much is verified while opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyMode {
    /// Every chunk's tag. Stops everybody who does not hold the model key.
    Aead,
    /// Also the file's SHA-256 in the signed manifest: stops those too who hold the model key (another
    /// attested server, a former one) but not the publisher's. Costs a sequential hash.
    Full,
}

/// Why a file did not open.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The manifest has no file with this number.
    #[error("the manifest has {files} files, none with number {index}")]
    NoSuchFile {
        /// The number asked for, from 0.
        index: usize,
        /// Files in the manifest.
        files: usize,
    },
    /// The model key is not the one that the manifest names.
    #[error("the model key is not the one that the manifest names")]
    WrongKey,
    /// The blob's pinned header does not commit to this key, model, version and file name.
    #[error("{file}: the header does not commit to this key, model, version and file name")]
    Commitment {
        /// The file.
        file: String,
    },
    /// The stored blob is shorter than the manifest says.
    #[error("{file}: the blob is truncated: {actual} of {expected} bytes")]
    Truncated {
        /// The file.
        file: String,
        /// Bytes that the manifest calls for.
        expected: u64,
        /// Bytes stored.
        actual: u64,
    },
    /// The stored blob is longer than the manifest says.
    #[error("{file}: the blob has trailing bytes: {actual} where {expected} are expected")]
    Trailing {
        /// The file.
        file: String,
        /// Bytes that the manifest calls for.
        expected: u64,
        /// Bytes stored.
        actual: u64,
    },
    /// The stored blob's header is not the one that the manifest pins: another blob, or an older one.
    #[error("{file}: the blob's header is not the one that the manifest pins")]
    Header {
        /// The file.
        file: String,
    },
    /// A chunk does not verify: changed, moved or exchanged.
    #[error("{file}: chunk {chunk} does not verify: it was changed, moved or exchanged")]
    Chunk {
        /// The file.
        file: String,
        /// Number of the chunk, from 0.
        chunk: u64,
    },
    /// Every chunk verifies, yet the plaintext is not what the publisher signed.
    #[error("{file}: the plaintext's SHA-256 is not the one that the publisher signed")]
    Digest {
        /// The file.
        file: String,
    },
    /// The destination is not as long as the file.
    #[error("{file}: the destination has {actual} bytes, the file {expected}")]
    Destination {
        /// The file.
        file: String,
        /// The file's size, in bytes.
        expected: u64,
        /// The destination's size, in bytes.
        actual: u64,
    },
    /// The range asked for is not within the file.
    #[error("{file}: no range of {len} bytes at {offset} in a file of {size} bytes")]
    Range {
        /// The file.
        file: String,
        /// First byte asked for.
        offset: u64,
        /// Bytes asked for.
        len: u64,
        /// The file's size, in bytes.
        size: u64,
    },
    /// The blob could not be read.
    #[error("{file}: reading the blob at byte {offset}: {kind}")]
    Read {
        /// The file.
        file: String,
        /// Byte of the blob.
        offset: u64,
        /// What the source said.
        kind: io::ErrorKind,
    },
    /// The destination could not be written.
    #[error("{file}: writing at byte {offset}: {kind}")]
    Write {
        /// The file.
        file: String,
        /// Byte of the plaintext.
        offset: u64,
        /// What the destination said.
        kind: io::ErrorKind,
    },
    /// The file's size is beyond the format.
    #[error("{file}: {problem}")]
    Layout {
        /// The file.
        file: String,
        /// The limit broken.
        problem: LayoutError,
    },
    /// The cryptographic library refused to work.
    #[error("the cryptographic library refused to derive the file's keys")]
    Library,
}

impl Opener {
    /// Derives the keys of file number `index` of `manifest` and proves that they are the pinned ones, before
    /// any chunk is looked at.
    ///
    /// # Errors
    /// [`OpenError::NoSuchFile`], [`OpenError::WrongKey`], [`OpenError::Commitment`].
    pub fn new(key: &ModelKey, manifest: &Manifest, index: usize) -> Result<Self, OpenError> {
        Self::with_provider(Provider::detect(), key, manifest, index)
    }

    /// The same opener with another mode. A new opener has [`VerifyMode::Aead`].
    #[must_use]
    pub fn verify(self, mode: VerifyMode) -> Self {
        Self { mode, ..self }
    }

    /// The file that this opens.
    pub fn file(&self) -> &FileEntry {
        &self.file
    }

    /// The blob's layout: its length, and where each chunk lies.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Opens the whole file from `source` to `destination`, with up to `threads` threads, the calling one
    /// included. `progress` is called from any of them with the number of plaintext bytes just delivered (a
    /// difference, not a total).
    ///
    /// All or nothing, by contract: only verified chunks are delivered, but they are delivered as they
    /// verify, so after an error the destination holds part of the file and **the caller discards it**.
    ///
    /// # Errors
    /// [`OpenError`]. With several damaged chunks the lowest is named, whatever the number of threads.
    pub fn open(
        &self,
        source: &dyn ReadAt,
        destination: &dyn WriteAt,
        threads: usize,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), OpenError> {
        self.check_source(source)?;
        self.walk(source, Target::Writer(destination), threads, progress)
    }

    /// Opens the whole file into memory that is exactly as long as the file; saves the copy that
    /// [`Opener::open`] makes. After an error the memory is wiped.
    ///
    /// # Errors
    /// As [`Opener::open`], and [`OpenError::Destination`].
    pub fn open_into_slice(
        &self,
        source: &dyn ReadAt,
        destination: &mut [u8],
        threads: usize,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), OpenError> {
        let opened = self
            .check_source(source)
            .and_then(|()| self.walk(source, Target::Slice(&mut *destination), threads, progress));
        opened.inspect_err(|_| destination.zeroize())
    }

    /// Opens `out.len()` bytes of plaintext from `offset` on, and only the chunks that cover them. After an
    /// error `out` is wiped. The blob's stored header is not read: the keys come from the pinned one.
    ///
    /// # Errors
    /// [`OpenError::Range`], [`OpenError::Truncated`], [`OpenError::Trailing`], [`OpenError::Read`],
    /// [`OpenError::Chunk`].
    pub fn open_range(&self, source: &dyn ReadAt, offset: u64, out: &mut [u8]) -> Result<(), OpenError> {
        self.fill_range(source, offset, out).inspect_err(|_| out.zeroize())
    }

    /// As `new`, with a library of the caller's choice: for measurements and conformance tests.
    ///
    /// # Errors
    /// As `new`.
    pub fn with_provider(
        provider: Provider,
        key: &ModelKey,
        manifest: &Manifest,
        index: usize,
    ) -> Result<Self, OpenError> {
        let files = manifest.files();
        let file = files.get(index).ok_or(OpenError::NoSuchFile { index, files: files.len() })?.clone();
        if !key.matches(manifest.mk_commitment()) {
            return Err(OpenError::WrongKey);
        }
        let layout = Layout::of_plain(file.size)
            .map_err(|problem| OpenError::Layout { file: file.name.clone(), problem })?;
        let context = manifest.id().context(&file.name);
        let key = BlobKey::derive(provider, key.expose(), &salt_of(&file.header), &context)
            .map_err(|Refused| OpenError::Library)?;
        if !key.commits_to(&file.header) {
            return Err(OpenError::Commitment { file: file.name });
        }
        Ok(Self { key, file, layout, mode: VerifyMode::Aead })
    }

    /// The blob's length, then its header (SEAL-08, SEAL-09).
    fn check_source(&self, source: &dyn ReadAt) -> Result<(), OpenError> {
        self.check_length(source)?;
        let mut header = [0; HEADER_LEN];
        source.read_exact_at(&mut header, 0).map_err(|error| self.read_error(0, &error))?;
        if bool::from(header.ct_eq(&self.file.header)) {
            Ok(())
        } else {
            Err(OpenError::Header { file: self.file.name.clone() })
        }
    }

    fn check_length(&self, source: &dyn ReadAt) -> Result<(), OpenError> {
        let actual = source.len().map_err(|error| self.read_error(0, &error))?;
        let expected = self.layout.blob_len();
        let file = || self.file.name.clone();
        match actual.cmp(&expected) {
            std::cmp::Ordering::Less => Err(OpenError::Truncated { file: file(), expected, actual }),
            std::cmp::Ordering::Greater => Err(OpenError::Trailing { file: file(), expected, actual }),
            std::cmp::Ordering::Equal => Ok(()),
        }
    }

    fn walk(
        &self,
        source: &dyn ReadAt,
        target: Target<'_>,
        threads: usize,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), OpenError> {
        let hash = self.mode == VerifyMode::Full;
        let walk = Walk { key: &self.key, layout: self.layout, source, threads, hash, progress };
        let found = walk.run(target).map_err(|fault| self.fault(fault))?;
        match (self.mode, found) {
            (VerifyMode::Aead, _) => Ok(()),
            (VerifyMode::Full, Some(found)) if found == self.file.sha256 => Ok(()),
            (VerifyMode::Full, _) => Err(OpenError::Digest { file: self.file.name.clone() }),
        }
    }

    fn fill_range(&self, source: &dyn ReadAt, offset: u64, mut out: &mut [u8]) -> Result<(), OpenError> {
        let len = out.len() as u64;
        let size = self.layout.plain_len();
        let end = offset.checked_add(len).filter(|end| *end <= size);
        let Some(end) = end else {
            return Err(OpenError::Range { file: self.file.name.clone(), offset, len, size });
        };
        self.check_length(source)?;
        if len == 0 {
            return Ok(());
        }
        let chunk_len = CHUNK_PLAIN_LEN as u64;
        let mut first = offset.checked_div(chunk_len).unwrap_or(0);
        let last = end.div_ceil(chunk_len);
        let mut skip = usize::try_from(offset.saturating_sub(self.layout.plain_offset(first))).unwrap_or(0);
        let mut sealed = Zeroizing::new(Vec::new());
        let mut plain = Zeroizing::new(Vec::new());
        while first < last {
            let next = first.saturating_add(SPAN_CHUNKS).min(last);
            let at = self.layout.chunk_offset(first);
            resize(&mut sealed, self.layout.chunk_offset(next).saturating_sub(at));
            resize(
                &mut plain,
                self.layout.plain_offset(next).saturating_sub(self.layout.plain_offset(first)),
            );
            source.read_exact_at(&mut sealed, at).map_err(|error| self.read_error(at, &error))?;
            open_chunks(&self.key, first, &mut sealed, &mut plain).map_err(|fault| self.fault(fault))?;
            let from = plain.get(skip..).unwrap_or_default();
            let len = from.len().min(out.len());
            let (part, rest) = std::mem::take(&mut out).split_at_mut(len);
            for (to, from) in part.iter_mut().zip(from) {
                *to = *from;
            }
            (out, skip, first) = (rest, 0, next);
        }
        Ok(())
    }

    fn fault(&self, fault: Fault) -> OpenError {
        let file = self.file.name.clone();
        match fault {
            Fault::Chunk(chunk) => OpenError::Chunk { file, chunk },
            Fault::Read { offset, kind } => OpenError::Read { file, offset, kind },
            Fault::Write { offset, kind } => OpenError::Write { file, offset, kind },
            Fault::Destination { expected, actual } => OpenError::Destination { file, expected, actual },
        }
    }

    fn read_error(&self, offset: u64, error: &io::Error) -> OpenError {
        OpenError::Read { file: self.file.name.clone(), offset, kind: error.kind() }
    }
}

impl OpenError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoSuchFile { .. } => "seal.open.no-such-file",
            Self::WrongKey => "seal.key.mismatch",
            Self::Commitment { .. } => "seal.blob.commitment",
            Self::Truncated { .. } => "seal.blob.truncated",
            Self::Trailing { .. } => "seal.blob.trailing",
            Self::Header { .. } => "seal.blob.header",
            Self::Chunk { .. } => "seal.chunk.tampered",
            Self::Digest { .. } => "seal.file.digest",
            Self::Destination { .. } => "seal.open.destination",
            Self::Range { .. } => "seal.open.range",
            Self::Read { .. } => "seal.io.read",
            Self::Write { .. } => "seal.io.write",
            Self::Layout { problem, .. } => problem.code(),
            Self::Library => "seal.crypto.library",
        }
    }
}

/// Makes `buffer` exactly `len` zero bytes long.
fn resize(buffer: &mut Zeroizing<Vec<u8>>, len: u64) {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if buffer.len() < len {
        **buffer = vec![0; len];
    }
    buffer.truncate(len);
}
