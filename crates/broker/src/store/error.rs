//! Why the key store refused.

use std::io;
use std::path::PathBuf;

use super::audit::AuditFault;
use crate::anchors::AnchorIdentity;
use crate::chance::EntropyError;
use crate::policy::PolicyError;
use crate::resource::ResourcePath;

/// Why a key store could not be used. No variant carries key material.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum StoreError {
    /// [`Store::create`](super::Store::create) never overwrites.
    #[error("{} exists already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// There is no store here. [`Store::open`](super::Store::open) never makes one.
    #[error("there is no key store at {}", path.display())]
    NoStore {
        /// The file.
        path: PathBuf,
    },
    /// The file is not a key store, or one of another format.
    #[error("{} is not a key store of format {}", path.display(), super::FORMAT)]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// A file could not be read or written.
    #[error("{}: {kind}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        kind: io::ErrorKind,
    },
    /// Others than the owner could read the store root key.
    #[error("{} has mode {mode:04o}; the store root key must be readable by its owner only (0600)", path.display())]
    RootKeyMode {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The store root key is 32 bytes.
    #[error("{} has {len} bytes; a store root key has {}", path.display(), super::root::ROOT_KEY_LEN)]
    RootKeyLength {
        /// The key file.
        path: PathBuf,
        /// Bytes found, at most one more than expected.
        len: usize,
    },
    /// The store was created under another root key, or its header was edited.
    #[error("this root key does not belong to this key store")]
    RootKey,
    /// The store was created for another root of trust. Production and simulated keys never mix.
    #[error("this key store is for evidence under `{recorded}`, and the broker trusts `{given}`")]
    Anchors {
        /// What the store was created for.
        recorded: AnchorIdentity,
        /// What the broker trusts.
        given: AnchorIdentity,
    },
    /// The policy is not one that the broker takes.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// There is a key at this path, and nobody said to replace it.
    #[error("there is a key at {resource} already")]
    KeyExists {
        /// The path.
        resource: ResourcePath,
    },
    /// There is no key at this path.
    #[error("there is no key at {resource}")]
    NoKey {
        /// The path.
        resource: ResourcePath,
    },
    /// A secret has 1 to [`MAX_SECRET_LEN`](super::MAX_SECRET_LEN) bytes.
    #[error("a secret of {len} bytes cannot be stored (1 to {})", super::MAX_SECRET_LEN)]
    SecretLength {
        /// Bytes given.
        len: usize,
    },
    /// Versions and floors are at most 2^53 - 1.
    #[error("version {version} is above {}", super::MAX_VERSION)]
    VersionRange {
        /// The version given.
        version: u64,
    },
    /// The key's version is below the model's floor, so it could never be released.
    #[error("version {version} is below this model's floor {floor}")]
    BelowFloor {
        /// The key's version.
        version: u64,
        /// The floor.
        floor: u64,
    },
    /// Floors only rise.
    #[error("the floor is {current} and cannot go down to {asked}")]
    FloorFalls {
        /// The floor.
        current: u64,
        /// What was asked for.
        asked: u64,
    },
    /// A model's floor is missing from the database or was edited.
    #[error("the version floor of a model was removed or edited in the database")]
    FloorTampered,
    /// The stored key, its policy, model, version or path was edited or swapped.
    #[error("the key at {resource} does not belong to its policy, model and path: the database was edited")]
    KeyTampered {
        /// The path.
        resource: ResourcePath,
    },
    /// The key or its policy changed after the decision.
    #[error("the key at {resource} changed after the decision to release it")]
    Changed {
        /// The path.
        resource: ResourcePath,
    },
    /// The audit log is not what was written.
    #[error(transparent)]
    Audit(#[from] AuditFault),
    /// SQLite failed.
    #[error("the database failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// There are no random bytes.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// A primitive refused its input, which its types should rule out.
    #[error("a cryptographic operation failed")]
    Crypto,
}

impl StoreError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Exists { .. } => "store.exists",
            Self::NoStore { .. } => "store.missing",
            Self::Format { .. } => "store.format",
            Self::File { .. } => "store.file",
            Self::RootKeyMode { .. } => "store.root-key.mode",
            Self::RootKeyLength { .. } => "store.root-key.length",
            Self::RootKey => "store.root-key.wrong",
            Self::Anchors { .. } => "store.anchors",
            Self::Policy(error) => error.code(),
            Self::KeyExists { .. } => "store.key.exists",
            Self::NoKey { .. } => "store.key.missing",
            Self::SecretLength { .. } => "store.key.length",
            Self::VersionRange { .. } => "store.version.range",
            Self::BelowFloor { .. } => "store.version.below-floor",
            Self::FloorFalls { .. } => "store.floor.falls",
            Self::FloorTampered => "store.floor.tampered",
            Self::KeyTampered { .. } => "store.key.tampered",
            Self::Changed { .. } => "store.key.changed",
            Self::Audit(fault) => fault.code(),
            Self::Database(_) => "store.database",
            Self::Entropy(error) => error.code(),
            Self::Crypto => "store.crypto",
        }
    }
}
