//! The sealed-model format: encrypted weights and a signed manifest (`spec/sealed-model.md`).
//!
//! A sealed model is a directory:
//!
//! ```text
//! sealed.json              signed manifest: a DSSE envelope around an in-toto statement
//! blobs/<32 hex digits>    one Cobblestone-256 blob per file (c2sp.org/chunked-encryption@v1)
//! ```
//!
//! The steps of a reader, each of which takes the proof that the step before returned:
//!
//! ```text
//! Manifest::verify(bytes, trusted publishers) -> Manifest    signed, canonical, every rule holds
//! Opener::new(&model_key, &manifest, index)   -> Opener      right key, right blob header
//! opener.open(&blob, &destination, threads, ..)              every chunk authenticated
//! ```
//!
//! This crate does no file I/O, reads no clock and draws no randomness: sources and destinations are the
//! traits [`ReadAt`] and [`WriteAt`], times and salts are arguments. It starts threads only inside a call
//! and joins them before the call returns.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::panic
    )
)]

mod aead;
mod blob;
mod json;
mod key;
mod manifest;
mod name;
mod open;
mod publisher;
mod seal;
mod spans;
mod unpinned;

pub use aead::Provider;
pub use blob::{
    CHUNK_PLAIN_LEN, CHUNK_SEALED_LEN, HEADER_LEN, Layout, LayoutError, MAX_FILE_LEN, SALT_LEN, SPAN_CHUNKS,
    TAG_LEN, blob_name,
};
pub use key::{KeyFile, KeyFileError, ModelId, ModelKey, UuidError};
pub use manifest::{
    FileEntry, MAX_ENVELOPE_LEN, MAX_FILES, MAX_INTEGER, MAX_RECIPIENTS, MAX_SIGNATURES, MAX_URI_LEN,
    Manifest, ManifestBuilder, ManifestError, PAYLOAD_TYPE, PREDICATE_TYPE, Recipient, RecipientError, SUITE,
};
pub use name::{
    MAX_MODEL_NAME_LEN, MAX_NAME_LEN, MAX_SEGMENT_LEN, NameError, check_file_name, check_model_name,
};
pub use open::{OpenError, Opener, VerifyMode};
pub use publisher::{PublisherError, PublisherKey, PublisherSecret};
pub use seal::{SealError, Sealer};
pub use spans::{ReadAt, WriteAt};
pub use unpinned::{BlobError, danger_open_unpinned};
