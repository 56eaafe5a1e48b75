//! The signed manifest of a sealed model (`spec/sealed-model.md` sections 5 and 6).
//!
//! ```text
//! sealed.json   DSSE envelope, canonical JSON      envelope.rs
//!   payload     in-toto Statement v1, canonical    statement.rs
//! ```
//!
//! The signature is checked over the payload bytes as received; only then are they parsed, and what was
//! parsed must give the same bytes again, so that one manifest has one encoding.

mod build;
mod envelope;
mod error;
mod statement;

use aws_lc_rs::digest;
use thiserror::Error;

pub use self::build::ManifestBuilder;
use self::envelope::Envelope;
pub use self::error::ManifestError;
use self::statement::Statement;
use crate::blob::{HEADER_LEN, Layout, blob_name};
use crate::key::ModelId;
use crate::publisher::PublisherKey;

/// DSSE payload type of `sealed.json`.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// in-toto predicate type of `sealed.json`.
pub const PREDICATE_TYPE: &str = "https://casemate.dev/sealed-model/v1";
/// The one suite of format 1.
pub const SUITE: &str = "cobblestone-256";
/// Longest `sealed.json`, in bytes: room for [`MAX_FILES`] entries with the longest names.
pub const MAX_ENVELOPE_LEN: usize = 8 << 20;
/// Most files of a model: the largest published models have some hundreds.
pub const MAX_FILES: usize = 4096;
/// Most signatures on a manifest.
pub const MAX_SIGNATURES: usize = 16;
/// Most recipients of a manifest.
pub const MAX_RECIPIENTS: usize = 16;
/// Longest URI of a recipient, in bytes.
pub const MAX_URI_LEN: usize = 512;
/// Greatest integer in a manifest: 2^53 - 1, the greatest that canonical JSON (RFC 8785) writes exactly.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// A manifest whose signature, form and content have been verified. It exists only as the result of
/// [`Manifest::verify`]:
///
/// ```compile_fail,E0599
/// let manifest = casemate_seal::Manifest::default();
/// ```
/// ```compile_fail
/// let manifest = casemate_seal::Manifest { ..unreachable!() };
/// ```
#[derive(Debug)]
pub struct Manifest {
    statement: Statement,
    digest: [u8; 32],
    signers: Vec<PublisherKey>,
}

/// One file of a sealed model, as the manifest pins it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Relative path with `/` between its parts; safe to join to a directory (SEAL-21).
    pub name: String,
    /// Plaintext bytes.
    pub size: u64,
    /// The blob's salt and commitment: pins this very ciphertext.
    pub header: [u8; HEADER_LEN],
    /// SHA-256 of the plaintext.
    pub sha256: [u8; 32],
}

/// Somebody who can give the model key to an enclave that proves itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recipient {
    /// A key broker that speaks the confidential-containers KBS protocol.
    Kbs {
        /// `kbs:///<repository>/<type>/<tag>`: the resource that holds the key.
        uri: String,
    },
}

/// Why a recipient was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecipientError {
    /// A type that this version does not know.
    #[error("unknown recipient type `{found}`")]
    UnknownType {
        /// The type found (shortened).
        found: String,
    },
    /// Longer than [`MAX_URI_LEN`].
    #[error("the URI has {len} bytes, more than {MAX_URI_LEN}")]
    UriTooLong {
        /// Bytes found.
        len: usize,
    },
    /// Not `kbs:///repository/type/tag`, each part of letters, digits, `-`, `_` and `.`.
    #[error("the URI is not of the form kbs:///repository/type/tag")]
    UriForm,
}

// === impl Manifest ===

impl Manifest {
    /// Verifies `sealed.json`.
    ///
    /// At least one signature must be by a key in `trusted`; every signature by such a key must verify.
    /// Signatures by other keys count for nothing, so that a publisher can change keys.
    ///
    /// # Errors
    /// [`ManifestError`], by the first rule broken.
    pub fn verify(envelope: &[u8], trusted: &[PublisherKey]) -> Result<Self, ManifestError> {
        let envelope = Envelope::parse(envelope)?;
        let signers = envelope.signers(trusted)?;
        let statement = Statement::parse(&envelope.payload)?;
        if statement.to_payload()? != envelope.payload {
            return Err(ManifestError::NotCanonical { document: "payload" });
        }
        Ok(Self { statement, digest: sha256(&envelope.payload), signers })
    }

    /// The manifest digest MD: SHA-256 of the signed payload. What policies, evidence and receipts name.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Model and version.
    pub fn id(&self) -> ModelId {
        self.statement.id
    }

    /// The model's display name.
    pub fn name(&self) -> &str {
        &self.statement.name
    }

    /// The digest of the plaintext model in the sense of OpenSSF Model Signing: SHA-256 over the files'
    /// SHA-256 digests in order of their names.
    pub fn root_digest(&self) -> [u8; 32] {
        root_digest(&self.statement.files)
    }

    /// When the manifest was made, in seconds since 1970: what the publisher's clock said.
    pub fn created(&self) -> u64 {
        self.statement.created
    }

    /// The commitment of the model key; see [`crate::ModelKey::matches`].
    pub fn mk_commitment(&self) -> &[u8; 32] {
        &self.statement.mk_commitment
    }

    /// The files, in order of their names. At least one.
    pub fn files(&self) -> &[FileEntry] {
        &self.statement.files
    }

    /// The number of the file with this name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.statement.files.binary_search_by(|file| file.name.as_str().cmp(name)).ok()
    }

    /// Who can release the key. At least one.
    pub fn recipients(&self) -> &[Recipient] {
        &self.statement.recipients
    }

    /// The trusted keys whose signatures verified. At least one.
    pub fn signers(&self) -> &[PublisherKey] {
        &self.signers
    }

    /// Plaintext bytes of all files together.
    pub fn total_size(&self) -> u64 {
        self.statement.files.iter().fold(0, |sum, file| sum.saturating_add(file.size))
    }
}

// === impl FileEntry ===

impl FileEntry {
    /// Where the blob is stored, relative to `sealed.json`: `blobs/<32 hex digits>`.
    pub fn blob_name(&self) -> String {
        blob_name(&self.header)
    }

    /// Length of the blob, in bytes.
    pub fn blob_len(&self) -> u64 {
        Layout::of_plain(self.size).map_or(u64::MAX, |layout| layout.blob_len())
    }
}

// === impl Recipient ===

impl Recipient {
    /// A broker's resource, `kbs:///repository/type/tag`.
    ///
    /// # Errors
    /// [`RecipientError::UriTooLong`] or [`RecipientError::UriForm`].
    pub fn kbs(uri: &str) -> Result<Self, RecipientError> {
        if uri.len() > MAX_URI_LEN {
            return Err(RecipientError::UriTooLong { len: uri.len() });
        }
        let path = uri.strip_prefix("kbs:///").ok_or(RecipientError::UriForm)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let part_ok = |part: &str| !matches!(part, "" | "." | "..") && part.chars().all(allowed);
        if path.split('/').count() == 3 && path.split('/').all(part_ok) {
            Ok(Self::Kbs { uri: uri.to_owned() })
        } else {
            Err(RecipientError::UriForm)
        }
    }

    /// The three parts of a broker's resource: repository, type, tag.
    pub fn kbs_path(&self) -> Option<(&str, &str, &str)> {
        let Self::Kbs { uri } = self;
        let mut parts = uri.strip_prefix("kbs:///")?.split('/');
        Some((parts.next()?, parts.next()?, parts.next()?))
    }
}

impl RecipientError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownType { .. } => "seal.recipient.unknown-type",
            Self::UriTooLong { .. } => "seal.recipient.uri-too-long",
            Self::UriForm => "seal.recipient.uri-form",
        }
    }
}

fn root_digest(files: &[FileEntry]) -> [u8; 32] {
    let mut hash = digest::Context::new(&digest::SHA256);
    for file in files {
        hash.update(&file.sha256);
    }
    hash.finish().as_ref().try_into().unwrap_or_default()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kbs_uris() {
        let good = Recipient::kbs("kbs:///default/model-key/smol_1.0").unwrap();
        assert_eq!(good.kbs_path(), Some(("default", "model-key", "smol_1.0")));
        let long = format!("kbs:///a/b/{}", "c".repeat(MAX_URI_LEN));
        for (uri, code) in [
            ("", "seal.recipient.uri-form"),
            ("kbs://host/a/b/c", "seal.recipient.uri-form"),
            ("https:///a/b/c", "seal.recipient.uri-form"),
            ("KBS:///a/b/c", "seal.recipient.uri-form"),
            ("kbs:///a/b", "seal.recipient.uri-form"),
            ("kbs:///a/b/c/d", "seal.recipient.uri-form"),
            ("kbs:///a//c", "seal.recipient.uri-form"),
            ("kbs:///a/../c", "seal.recipient.uri-form"),
            ("kbs:///a/b/c?x", "seal.recipient.uri-form"),
            ("kbs:///a/b/c%2e", "seal.recipient.uri-form"),
            ("kbs:///a/b/é", "seal.recipient.uri-form"),
            (&long, "seal.recipient.uri-too-long"),
        ] {
            assert_eq!(Recipient::kbs(uri).map_err(|e| e.code()), Err(code), "{uri}");
        }
    }
}
