//! Why a manifest was refused.

use thiserror::Error;

use super::{
    MAX_ENVELOPE_LEN, MAX_FILES, MAX_INTEGER, MAX_RECIPIENTS, MAX_SIGNATURES, PAYLOAD_TYPE, PREDICATE_TYPE,
    RecipientError, SUITE,
};
use crate::blob::MAX_FILE_LEN;
use crate::json::JsonError;
use crate::name::NameError;
use crate::publisher::PublisherError;

/// Why a manifest was refused. Texts from the manifest are shortened and escaped. `index` counts files,
/// recipients or signatures from 0.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ManifestError {
    // --- form of the JSON documents
    /// `sealed.json` is longer than [`MAX_ENVELOPE_LEN`].
    #[error("the manifest has {len} bytes, more than {MAX_ENVELOPE_LEN}")]
    Oversized {
        /// Bytes found.
        len: usize,
    },
    /// Not JSON.
    #[error("the {document} is not JSON: line {line}, column {column}")]
    Syntax {
        /// `envelope` or `payload`.
        document: &'static str,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// An object names a member twice.
    #[error("the {document} names the member `{member}` twice")]
    DuplicateMember {
        /// `envelope` or `payload`.
        document: &'static str,
        /// The member.
        member: String,
    },
    /// A member is missing.
    #[error("{at}: the member `{field}` is missing")]
    Missing {
        /// The object.
        at: &'static str,
        /// The member.
        field: &'static str,
    },
    /// A member that the format does not have.
    #[error("{at}: unknown member `{member}`")]
    Unknown {
        /// The object.
        at: &'static str,
        /// The member.
        member: String,
    },
    /// A member has the wrong JSON type.
    #[error("{at}: the member `{field}` is not of type {expected}")]
    Type {
        /// The object.
        at: &'static str,
        /// The member; empty for the object itself.
        field: &'static str,
        /// The type expected.
        expected: &'static str,
    },
    /// Not in canonical form (RFC 8785).
    #[error("the {document} is not in canonical form (RFC 8785)")]
    NotCanonical {
        /// `envelope` or `payload`.
        document: &'static str,
    },
    /// Not standard base64 with padding (RFC 4648 section 4), or not of the right length.
    #[error("the member `{field}` is not base64 of the right length")]
    Base64 {
        /// The member.
        field: &'static str,
    },
    /// Not lower-case hex of the right length.
    #[error("the member `{field}` is not lower-case hex of the right length")]
    Hex {
        /// The member.
        field: &'static str,
    },
    /// An integer above 2^53 - 1.
    #[error("the member `{field}` is {found}, above {MAX_INTEGER}")]
    Integer {
        /// The member.
        field: &'static str,
        /// The value found.
        found: u64,
    },

    // --- signature
    /// The DSSE payload type is another one.
    #[error("the payload type is `{found}`, not {PAYLOAD_TYPE}")]
    PayloadType {
        /// The type found.
        found: String,
    },
    /// The manifest has no signature.
    #[error("the manifest is not signed")]
    Unsigned,
    /// More signatures than the limit.
    #[error("the manifest has {count} signatures, more than {MAX_SIGNATURES}")]
    TooManySignatures {
        /// Signatures found.
        count: usize,
    },
    /// The signatures are not in ascending order of their key ids, or two have the same.
    #[error("signature {index} is not in ascending order of key ids")]
    SignatureOrder {
        /// The signature.
        index: usize,
    },
    /// The caller trusts no publisher.
    #[error("no publisher key is trusted")]
    NoTrustedPublisher,
    /// No signature is by a trusted publisher.
    #[error("no signature is by a trusted publisher; signed by {keyids:?}")]
    UnknownPublisher {
        /// The key ids found.
        keyids: Vec<String>,
    },
    /// A trusted publisher's signature does not verify.
    #[error("the signature of the trusted publisher {keyid} does not verify")]
    BadSignature {
        /// The key id.
        keyid: String,
    },

    // --- statement
    /// The payload is not an in-toto Statement v1.
    #[error("the statement type is `{found}`")]
    StatementType {
        /// The type found.
        found: String,
    },
    /// The predicate is another one.
    #[error("the predicate type is `{found}`, not {PREDICATE_TYPE}")]
    PredicateType {
        /// The type found.
        found: String,
    },
    /// A format version that this program does not know.
    #[error("sealed-model format {found} is unknown; this program reads format 1")]
    Format {
        /// The version found.
        found: u64,
    },
    /// An encryption suite that this program does not know.
    #[error("suite `{found}` is unknown; this program reads {SUITE}")]
    Suite {
        /// The suite found.
        found: String,
    },
    /// The statement has not exactly one subject.
    #[error("the statement has {count} subjects, not one")]
    Subjects {
        /// Subjects found.
        count: usize,
    },
    /// The model's UUID is not in lower-case 8-4-4-4-12 form.
    #[error("the model's uuid is not in lower-case 8-4-4-4-12 form")]
    Uuid,
    /// The model's name breaks a rule.
    #[error("model name refused: {problem}")]
    ModelName {
        /// The rule.
        problem: NameError,
    },
    /// The subject's digest is not that of the files.
    #[error("the subject's digest is not the digest of the files")]
    RootDigest,

    // --- files
    /// The manifest names no file.
    #[error("the manifest names no file")]
    NoFiles,
    /// More files than the limit.
    #[error("the manifest names {count} files, more than {MAX_FILES}")]
    TooManyFiles {
        /// Files found.
        count: usize,
    },
    /// A file's name breaks a rule.
    #[error("file {index}: name refused: {problem}")]
    FileName {
        /// The file.
        index: usize,
        /// The rule.
        problem: NameError,
    },
    /// The files are not in ascending order of their names' bytes.
    #[error("file {index} is not in ascending order of names")]
    FileOrder {
        /// The file.
        index: usize,
    },
    /// Two files have the same name.
    #[error("file {index} has the same name as the one before it")]
    DuplicateName {
        /// The second of them.
        index: usize,
    },
    /// A file has the name of another file's directory.
    #[error("file {index} lies below a path that is itself a file")]
    NameConflict {
        /// The file below.
        index: usize,
    },
    /// A file is larger than the format allows.
    #[error("file {index} has {size} bytes, more than {MAX_FILE_LEN}")]
    FileTooLarge {
        /// The file.
        index: usize,
        /// Its size, in bytes.
        size: u64,
    },
    /// The files together are larger than 2^53 - 1 bytes.
    #[error("the files together have more than {MAX_INTEGER} bytes")]
    TotalTooLarge,
    /// A blob's name does not follow from its header.
    #[error("file {index}: the blob's name does not follow from its header")]
    BlobName {
        /// The file.
        index: usize,
    },
    /// Two files have the same blob.
    #[error("file {index} has the same blob as another file")]
    DuplicateBlob {
        /// The second of them.
        index: usize,
    },

    // --- recipients
    /// The manifest names no recipient.
    #[error("the manifest names no recipient")]
    NoRecipients,
    /// More recipients than the limit.
    #[error("the manifest names {count} recipients, more than {MAX_RECIPIENTS}")]
    TooManyRecipients {
        /// Recipients found.
        count: usize,
    },
    /// A recipient breaks a rule.
    #[error("recipient {index} refused: {problem}")]
    Recipient {
        /// The recipient.
        index: usize,
        /// The rule.
        problem: RecipientError,
    },
    /// Two recipients are the same.
    #[error("recipient {index} is named twice")]
    DuplicateRecipient {
        /// The second of them.
        index: usize,
    },

    // --- making a manifest
    /// The publisher's key cannot sign.
    #[error("signing: {problem}")]
    Signing {
        /// What the key said.
        problem: PublisherError,
    },
}

impl ManifestError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Oversized { .. } => "seal.manifest.oversized",
            Self::Syntax { .. } => "seal.manifest.syntax",
            Self::DuplicateMember { .. } => "seal.manifest.duplicate-member",
            Self::Missing { .. } => "seal.manifest.missing-member",
            Self::Unknown { .. } => "seal.manifest.unknown-member",
            Self::Type { .. } => "seal.manifest.wrong-type",
            Self::NotCanonical { .. } => "seal.manifest.not-canonical",
            Self::Base64 { .. } => "seal.manifest.base64",
            Self::Hex { .. } => "seal.manifest.hex",
            Self::Integer { .. } => "seal.manifest.integer",
            Self::PayloadType { .. } => "seal.manifest.payload-type",
            Self::Unsigned => "seal.signature.none",
            Self::TooManySignatures { .. } => "seal.signature.too-many",
            Self::SignatureOrder { .. } => "seal.signature.order",
            Self::NoTrustedPublisher => "seal.signature.no-trusted-publisher",
            Self::UnknownPublisher { .. } => "seal.signature.unknown-publisher",
            Self::BadSignature { .. } => "seal.signature.bad",
            Self::StatementType { .. } => "seal.manifest.statement-type",
            Self::PredicateType { .. } => "seal.manifest.predicate-type",
            Self::Format { .. } => "seal.manifest.format",
            Self::Suite { .. } => "seal.manifest.suite",
            Self::Subjects { .. } => "seal.manifest.subjects",
            Self::Uuid => "seal.manifest.uuid",
            Self::ModelName { problem } | Self::FileName { problem, .. } => problem.code(),
            Self::RootDigest => "seal.manifest.root-digest",
            Self::NoFiles => "seal.files.none",
            Self::TooManyFiles { .. } => "seal.files.too-many",
            Self::FileOrder { .. } => "seal.files.order",
            Self::DuplicateName { .. } => "seal.files.duplicate-name",
            Self::NameConflict { .. } => "seal.files.name-conflict",
            Self::FileTooLarge { .. } => "seal.file.too-large",
            Self::TotalTooLarge => "seal.files.total-too-large",
            Self::BlobName { .. } => "seal.files.blob-name",
            Self::DuplicateBlob { .. } => "seal.files.duplicate-blob",
            Self::NoRecipients => "seal.recipients.none",
            Self::TooManyRecipients { .. } => "seal.recipients.too-many",
            Self::Recipient { problem, .. } => problem.code(),
            Self::DuplicateRecipient { .. } => "seal.recipients.duplicate",
            Self::Signing { problem } => problem.code(),
        }
    }

    /// A fault of the JSON text of `document` (`envelope` or `payload`).
    pub(super) fn json(document: &'static str, error: JsonError) -> Self {
        match error {
            JsonError::Syntax { line, column } => Self::Syntax { document, line, column },
            JsonError::Duplicate { member } => Self::DuplicateMember { document, member },
            JsonError::Missing { at, field } => Self::Missing { at, field },
            JsonError::Unknown { at, member } => Self::Unknown { at, member },
            JsonError::Type { at, field, expected } => Self::Type { at, field, expected },
        }
    }
}
