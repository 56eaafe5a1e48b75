//! Receipts on a disk that the host reads: encrypted, each under a name that says nothing (spec/receipts.md, RCP-13).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::{hkdf, rand};
use casemate_attest::UnixTime;

use super::{Entry, LIFETIME};

/// A folder of receipts.
pub struct ReceiptFolder {
    path: PathBuf,
    key: LessSafeKey,
}

/// Why receipts cannot be kept in a folder.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It is none, or cannot be written to.
    #[error("the folder of receipts {}: {source}", path.display())]
    Folder {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The cryptographic library refused, or gave no random bytes.
    #[error("a receipt cannot be encrypted")]
    Library,
}

impl FolderError {
    /// The stable code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Folder { .. } => "receipt.folder",
            Self::Library => "receipt.encryption",
        }
    }
}

impl ReceiptFolder {
    /// This folder, under a key that is derived from the model's: whoever is given that one by the broker, and nobody else, reads it.
    ///
    /// # Errors
    /// [`FolderError::Folder`] where it cannot be made or written to.
    pub fn open(path: &Path, model_key: &[u8; 32]) -> Result<Self, FolderError> {
        let failed = |source| FolderError::Folder { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(failed)?;
        let probe = path.join(PROBE);
        fs::write(&probe, b"").and_then(|()| fs::remove_file(&probe)).map_err(failed)?;
        let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, DOMAIN).extract(model_key);
        let derived = derived.expand(&[b"folder"], &AES_256_GCM).map_err(|_| FolderError::Library)?;
        let key = LessSafeKey::new(UnboundKey::from(derived));
        Ok(Self { path: path.to_owned(), key })
    }

    /// Keeps it: a file that is there whole or not at all.
    pub(super) fn write(&self, id: &str, entry: &Entry) -> Result<(), FolderError> {
        let name = name(id);
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| FolderError::Library)?;
        let mut text = serde_json::to_vec(entry).map_err(|_| FolderError::Library)?;
        let (once, aad) = (Nonce::assume_unique_for_key(nonce), Aad::from(name.as_bytes()));
        self.key.seal_in_place_append_tag(once, aad, &mut text).map_err(|_| FolderError::Library)?;
        let (path, partial) = (self.path.join(&name), self.path.join(format!("{name}.part")));
        let written =
            fs::write(&partial, [&nonce, &text[..]].concat()).and_then(|()| fs::rename(&partial, &path));
        written.map_err(|source| FolderError::Folder { path, source })
    }

    /// What was kept under this id; what is changed, or of another model, is not there.
    pub(super) fn read(&self, id: &str) -> Option<Entry> {
        self.open_file(&name(id))
    }

    /// Removes the files whose receipts are too old. Files that are of another model's receipts go by the time that the file system has.
    pub(super) fn expire(&self, now: UnixTime) {
        let Ok(files) = fs::read_dir(&self.path) else { return };
        let over = |at: u64| now.0.saturating_sub(at) >= LIFETIME;
        for file in files.flatten() {
            let entry = file.file_name().to_str().and_then(|name| self.open_file(name));
            let at = entry.map(|entry| entry.at).or_else(|| {
                let modified = file.metadata().ok()?.modified().ok()?;
                Some(modified.duration_since(UNIX_EPOCH).ok()?.as_secs())
            });
            if at.is_some_and(over) {
                let _ = fs::remove_file(file.path());
            }
        }
    }

    fn open_file(&self, name: &str) -> Option<Entry> {
        let path = self.path.join(name);
        if fs::metadata(&path).ok()?.len() > LONGEST {
            return None;
        }
        let bytes = fs::read(path).ok()?;
        let (nonce, rest) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let (nonce, mut rest) = (Nonce::assume_unique_for_key(*nonce), rest.to_vec());
        let text = self.key.open_in_place(nonce, Aad::from(name.as_bytes()), &mut rest).ok()?;
        serde_json::from_slice(text).ok()
    }
}

/// A file's name: who knows an id finds its file, and not the other way round.
fn name(id: &str) -> String {
    let mut hash = Context::new(&SHA256);
    hash.update(DOMAIN);
    hash.update(id.as_bytes());
    hex::encode(hash.finish().as_ref())
}

const DOMAIN: &[u8] = b"casemate/receipt-folder/v1\0";
const PROBE: &str = ".writable";
/// A longer file is none of ours.
const LONGEST: u64 = 128 * 1024;
