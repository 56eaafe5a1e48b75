//! The store root key: a file of 32 bytes from which the store's two working keys are derived.
//!
//! ```text
//! prk  = HKDF-Extract(SHA-256, salt = "casemate/broker-store/v1", root key)
//! wrap = HKDF-Expand(prk, "wrap")   AES-256-GCM, wraps every stored key
//! mac  = HKDF-Expand(prk, "mac")    HMAC-SHA-256, authenticates the header, the floors and the end of the audit log
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, hmac};
use zeroize::Zeroizing;

use super::StoreError;
use crate::chance::{Entropy, random};

/// Bytes of a store root key.
pub(super) const ROOT_KEY_LEN: usize = 32;
const SALT: &[u8] = b"casemate/broker-store/v1";

/// The working keys of a store.
pub(super) struct RootKey {
    wrap: LessSafeKey,
    mac: hmac::Key,
}

impl RootKey {
    /// Makes a new root key and writes it to `path`, which must not exist, readable by its owner only.
    pub(super) fn create(path: &Path, entropy: &dyn Entropy) -> Result<Self, StoreError> {
        let mut bytes = Zeroizing::new([0; ROOT_KEY_LEN]);
        entropy.fill(bytes.as_mut_slice())?;
        let mut file = create_private(path)?;
        let written = file.write_all(bytes.as_slice()).and_then(|()| file.sync_all());
        if let Err(error) = written {
            // Half a root key must not stay; if it cannot be removed either, the first error says why.
            let _ = fs::remove_file(path);
            return Err(file_error(path, &error));
        }
        Self::derive(&bytes)
    }

    /// Reads a root key that only its owner can read.
    pub(super) fn read(path: &Path) -> Result<Self, StoreError> {
        let mut file = File::open(path).map_err(|error| file_error(path, &error))?;
        // The permissions of the file that is open, not of whatever has this name now.
        let mode = file.metadata().map_err(|error| file_error(path, &error))?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(StoreError::RootKeyMode { path: path.to_owned(), mode });
        }
        // One byte more than a key has tells a longer file; the capacity leaves no copy behind a reallocation.
        let mut bytes = Zeroizing::new(Vec::with_capacity(2 * ROOT_KEY_LEN));
        Read::take(&mut file, LONGER).read_to_end(&mut bytes).map_err(|error| file_error(path, &error))?;
        let key = <&[u8; ROOT_KEY_LEN]>::try_from(bytes.as_slice());
        Self::derive(key.map_err(|_| StoreError::RootKeyLength { path: path.to_owned(), len: bytes.len() })?)
    }

    fn derive(bytes: &[u8; ROOT_KEY_LEN]) -> Result<Self, StoreError> {
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(bytes.as_slice());
        let wrap = prk.expand(&[b"wrap"], &AES_256_GCM).map_err(|_| StoreError::Crypto)?;
        let mac = prk.expand(&[b"mac"], hmac::HMAC_SHA256).map_err(|_| StoreError::Crypto)?;
        Ok(Self { wrap: LessSafeKey::new(UnboundKey::from(wrap)), mac: hmac::Key::from(mac) })
    }

    /// `nonce(12) || ciphertext || tag(16)`. Random nonces: one root key wraps far fewer than 2^32 keys.
    pub(super) fn wrap(
        &self,
        secret: &[u8],
        aad: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, StoreError> {
        let nonce: [u8; NONCE_LEN] = random(entropy)?;
        // Allocated once, so that no copy of the secret stays behind a reallocation; encrypted in place.
        let mut wrapped = Zeroizing::new(Vec::with_capacity(secret.len().saturating_add(TAG_LEN)));
        wrapped.extend_from_slice(secret);
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        self.wrap
            .seal_in_place_append_tag(nonce_used, Aad::from(aad), &mut *wrapped)
            .map_err(|_| StoreError::Crypto)?;
        Ok([nonce.as_slice(), wrapped.as_slice()].concat())
    }

    /// The secret in `wrapped`; `None` if anything, `aad` included, is not what was wrapped.
    pub(super) fn unwrap(&self, wrapped: &[u8], aad: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = wrapped.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut secret = Zeroizing::new(sealed.to_vec());
        let len = self.wrap.open_in_place(nonce, Aad::from(aad), secret.as_mut_slice()).ok()?.len();
        secret.truncate(len);
        Some(secret)
    }

    /// HMAC-SHA-256 over `label || 0x00 || data`.
    pub(super) fn tag(&self, label: &str, data: &[u8]) -> Vec<u8> {
        hmac::sign(&self.mac, &labelled(label, data)).as_ref().to_vec()
    }

    /// Whether `tag` is [`RootKey::tag`] of `data`, in constant time.
    pub(super) fn is_tag(&self, label: &str, data: &[u8], tag: &[u8]) -> bool {
        hmac::verify(&self.mac, &labelled(label, data), tag).is_ok()
    }
}

/// Creates a file that must not exist, for its owner only.
pub(super) fn create_private(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            return StoreError::Exists { path: path.to_owned() };
        }
        file_error(path, &error)
    })
}

pub(super) fn file_error(path: &Path, error: &io::Error) -> StoreError {
    StoreError::File { path: path.to_owned(), kind: error.kind() }
}

fn labelled(label: &str, data: &[u8]) -> Vec<u8> {
    [label.as_bytes(), &[0], data].concat()
}

const TAG_LEN: usize = 16;
const LONGER: u64 = ROOT_KEY_LEN as u64 + 1;
