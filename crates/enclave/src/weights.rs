//! Sealed weights, opened straight into an anonymous memory file that the engine maps.
//!
//! One copy of the plaintext, in memory, never on a disk (invariant 5). The memory file is sealed against every change
//! before the engine sees it, so what was verified is what runs.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use casemate_seal::{FileEntry, Manifest, ModelKey, OpenError, Opener, ReadAt, VerifyMode, WriteAt};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

/// A sealed model's files, opened before privileges were dropped; nothing of them is believed.
pub(crate) struct SealedFiles {
    envelope: Vec<u8>,
    directory: PathBuf,
}

/// The plaintext of one file in memory.
pub(crate) struct MemoryFile {
    file: File,
}

/// Why the weights cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// A file of the sealed model cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// `sealed.json` is larger than any manifest that we accept.
    #[error("{} has more than {MAX_ENVELOPE} bytes", path.display())]
    EnvelopeTooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The engine loads exactly one GGUF file.
    #[error("the sealed model has {found} GGUF files; the embedded engine loads exactly one")]
    NotOneGguf {
        /// How many there are.
        found: usize,
    },
    /// A blob does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The memory file could not be made.
    #[error("cannot {what}: {source}")]
    Memory {
        /// What was attempted.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

impl WeightsError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "weights.unreadable",
            Self::EnvelopeTooLarge { .. } => "weights.envelope-too-large",
            Self::NotOneGguf { .. } => "weights.not-one-gguf",
            Self::Open(e) => e.code(),
            Self::Memory { .. } => "weights.memory",
        }
    }
}

// === impl SealedFiles ===

impl SealedFiles {
    /// Reads `sealed.json` of the sealed model in `directory`.
    pub(crate) fn read(directory: &Path) -> Result<Self, WeightsError> {
        let path = directory.join("sealed.json");
        let unreadable = |source| WeightsError::Unreadable { path: path.clone(), source };
        let mut envelope = Vec::new();
        let file = File::open(&path).map_err(unreadable)?;
        file.take(MAX_ENVELOPE + 1).read_to_end(&mut envelope).map_err(unreadable)?;
        if envelope.len() as u64 > MAX_ENVELOPE {
            return Err(WeightsError::EnvelopeTooLarge { path });
        }
        Ok(Self { envelope, directory: directory.to_owned() })
    }

    /// The signed manifest as it was read; [`Manifest::verify`] decides.
    pub(crate) fn envelope(&self) -> &[u8] {
        &self.envelope
    }

    /// Opens the blob of the manifest's only GGUF file. Call it while still allowed to read the file.
    pub(crate) fn gguf(&self, manifest: &Manifest) -> Result<SealedFile, WeightsError> {
        let is_gguf = |f: &FileEntry| f.name.ends_with(".gguf");
        let found = manifest.files().iter().filter(|f| is_gguf(f)).count();
        let index = manifest.files().iter().position(is_gguf).filter(|_| found == 1);
        let Some((index, entry)) = index.and_then(|i| Some((i, manifest.files().get(i)?))) else {
            return Err(WeightsError::NotOneGguf { found });
        };
        self.open(index, entry)
    }

    /// Opens the blobs of all files.
    pub(crate) fn all(&self, manifest: &Manifest) -> Result<Vec<SealedFile>, WeightsError> {
        manifest.files().iter().enumerate().map(|(index, entry)| self.open(index, entry)).collect()
    }

    fn open(&self, index: usize, entry: &FileEntry) -> Result<SealedFile, WeightsError> {
        let path = self.directory.join(entry.blob_name());
        let file = File::open(&path).map_err(|source| WeightsError::Unreadable { path, source })?;
        Ok(SealedFile { index, name: entry.name.clone(), size: entry.size, blob: BlobFile(file) })
    }
}

/// An encrypted file of the model, open for reading.
pub(crate) struct SealedFile {
    index: usize,
    name: String,
    size: u64,
    blob: BlobFile,
}

impl SealedFile {
    /// Its name in the model.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Plaintext size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Decrypts into memory on `threads` threads. On any error the memory is given back and nothing is left.
    pub(crate) fn unseal(
        &self,
        key: &ModelKey,
        manifest: &Manifest,
        threads: usize,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<MemoryFile, WeightsError> {
        // Not only the key holder's ciphertext but the publisher's plaintext: the statement names the manifest's digest,
        // and whoever else was ever given the key could make other chunks that open under it (SEAL-11).
        let opener = Opener::new(key, manifest, self.index)?.verify(VerifyMode::Full);
        let memory = MemoryFile::create(self.size)?;
        opener.open(&self.blob, &memory, threads, progress)?;
        memory.freeze()?;
        Ok(memory)
    }
}

// === impl MemoryFile ===

impl MemoryFile {
    fn create(size: u64) -> Result<Self, WeightsError> {
        let failed = |source: io::Error| WeightsError::Memory { what: "make the memory file", source };
        let fd = memfd_create(c"casemate-weights", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .map_err(|e| failed(e.into()))?;
        let file = File::from(fd);
        file.set_len(size).map_err(failed)?;
        Ok(Self { file })
    }

    /// No growing, no shrinking, no writing, and no lifting of these seals.
    fn freeze(&self) -> Result<(), WeightsError> {
        let all = SealFlags::GROW | SealFlags::SHRINK | SealFlags::WRITE | SealFlags::SEAL;
        fcntl_add_seals(self.file.as_fd(), all)
            .map_err(|e| WeightsError::Memory { what: "seal the memory file", source: e.into() })
    }

    /// The memory file, open for reading only: what another process may be given.
    pub(crate) fn read_only(&self) -> Result<File, WeightsError> {
        File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
            .map_err(|source| WeightsError::Memory { what: "open the memory file for reading", source })
    }
}

impl WriteAt for MemoryFile {
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(buf, offset)
    }
}

struct BlobFile(File);

impl ReadAt for BlobFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

/// A manifest of ten thousand files has about 4 MiB.
const MAX_ENVELOPE: u64 = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frozen_memory_cannot_change_and_can_be_reopened() {
        let memory = MemoryFile::create(8).unwrap();
        memory.write_all_at(b"weights!", 0).unwrap();
        memory.freeze().unwrap();
        assert!(memory.write_all_at(b"x", 0).is_err());
        assert!(memory.file.set_len(9).is_err());
        let mut text = String::new();
        memory.read_only().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "weights!");
        assert!(memory.read_only().unwrap().write_all_at(b"x", 0).is_err());
    }
}
