//! Why AWS KMS gave no key (spec/kms.md §3).

use std::io;
use std::path::PathBuf;

use crate::attester::AttesterError;
use crate::transport::VsockError;

/// Why there is no key from AWS KMS.
#[derive(Debug, thiserror::Error)]
pub enum KmsError {
    /// A file of the ciphertext, the credentials or the authorities.
    #[error("cannot use {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// The address is not `https://host[:port]`.
    #[error("`{url}` is not the https address of a KMS endpoint")]
    Endpoint {
        /// What was given.
        url: String,
    },
    /// TLS could not be configured.
    #[error("the authorities of KMS's TLS cannot be used: {0}")]
    Authority(#[source] rustls::Error),
    /// What came over vsock is not credentials, or did not come in time.
    #[error("credentials: {reason}")]
    Credentials {
        /// What is wrong. Nothing of them is in it.
        reason: &'static str,
    },
    /// No connection over the vsock that was written (CH-15).
    #[error("KMS, or who has credentials for it: {0}")]
    Vsock(#[source] VsockError),
    /// No connection, or it broke.
    #[error("KMS at {endpoint} cannot be reached: {source}")]
    Unreachable {
        /// The address.
        endpoint: String,
        /// The reason.
        source: io::Error,
    },
    /// This machine names no recipient.
    #[error(transparent)]
    Attester(#[from] AttesterError),
    /// No key pair could be made.
    #[error("no RSA key pair could be made")]
    KeyPair,
    /// No signature without a time.
    #[error("the machine's clock shows no time that a request could be signed at")]
    Clock,
    /// KMS gave no key.
    #[error("KMS refuses with {name} (status {status}): {message}")]
    Refused {
        /// What it comes to.
        refusal: Refusal,
        /// HTTP's status.
        status: u16,
        /// AWS's name for it.
        name: String,
        /// Its words.
        message: String,
    },
    /// The answer is not one of KMS's.
    #[error("KMS's answer {what}")]
    Answer {
        /// What is wrong.
        what: &'static str,
    },
    /// The answer is of another KMS key than the one that was asked.
    #[error("KMS answers for the key {found}, which was not asked")]
    OtherKey {
        /// Its name.
        found: String,
    },
    /// The answer holds the key itself.
    #[error("KMS answers in the clear, as if nobody had attested; the model key is to be replaced")]
    InTheClear,
    /// What was encrypted for this enclave is not a CMS envelope of the one form.
    #[error("KMS's envelope at byte {at}: {what}")]
    Envelope {
        /// Where.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// What is in the envelope has not the length of a model key.
    #[error("KMS's envelope holds {found} encrypted bytes, and a model key has {expected}")]
    KeyLength {
        /// Encrypted bytes found.
        found: usize,
        /// Those of 32 with padding.
        expected: usize,
    },
    /// What is in the envelope is not the key of the manifest, or is not for this enclave. Which of it is nobody's to know (KMS-10).
    #[error("what KMS encrypted is not the key of this model for this enclave")]
    NotTheKey,
}

/// What a refusal of KMS's comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The key policy says no: another enclave, another context, another caller.
    Denied,
    /// The credentials are expired, of nobody, or did not sign this.
    Credentials,
    /// The ciphertext is of another key or another context, or changed.
    Ciphertext,
    /// The key is disabled, deleted or not there.
    Key,
    /// Too many requests, or a fault of the service's: it may pass.
    Busy,
    /// Anything else.
    Other,
}

impl Refusal {
    /// By AWS's names ("Decrypt", "Errors", and "Common Errors" of the KMS API Reference).
    pub(super) fn of(name: &str, status: u16) -> Self {
        match name {
            "AccessDeniedException" => Self::Denied,
            "ExpiredTokenException"
            | "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "InvalidClientTokenId"
            | "IncompleteSignature"
            | "IncompleteSignatureException"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "RequestExpired"
            | "ExpiredToken"
            | "NotAuthorized"
            | "OptInRequired" => Self::Credentials,
            "InvalidCiphertextException" | "IncorrectKeyException" | "InvalidKeyUsageException" => {
                Self::Ciphertext
            }
            "DisabledException" | "NotFoundException" | "KMSInvalidStateException" => Self::Key,
            "ThrottlingException"
            | "LimitExceededException"
            | "KMSInternalException"
            | "DependencyTimeoutException"
            | "KeyUnavailableException"
            | "ServiceUnavailable"
            | "ServiceUnavailableException"
            | "InternalFailure" => Self::Busy,
            _ if status == 429 || status >= 500 => Self::Busy,
            _ => Self::Other,
        }
    }
}

impl KmsError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "kms.file",
            Self::Endpoint { .. } => "kms.endpoint",
            Self::Authority(_) => "kms.authority",
            Self::Credentials { .. } => "kms.credentials",
            Self::Vsock(e) => e.code(),
            Self::Unreachable { .. } => "kms.unreachable",
            Self::Attester(e) => e.code(),
            Self::KeyPair => "kms.key-pair",
            Self::Clock => "kms.clock",
            Self::Refused { refusal, .. } => match refusal {
                Refusal::Denied => "kms.denied",
                Refusal::Credentials => "kms.credentials-refused",
                Refusal::Ciphertext => "kms.ciphertext-refused",
                Refusal::Key => "kms.key-state",
                Refusal::Busy => "kms.busy",
                Refusal::Other => "kms.refused",
            },
            Self::Answer { .. } => "kms.answer",
            Self::OtherKey { .. } => "kms.other-key",
            Self::InTheClear => "kms.in-the-clear",
            Self::Envelope { .. } => "kms.envelope",
            Self::KeyLength { .. } => "kms.key-length",
            Self::NotTheKey => "kms.not-the-key",
        }
    }

    /// What the operator can do about it, where we know.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Refused { refusal: Refusal::Denied, .. } => Some(
                "the key policy decides: does it name this enclave's PCRs, this role, and this manifest's digest in the encryption context?",
            ),
            Self::Refused { refusal: Refusal::Credentials, .. } | Self::Credentials { .. } => Some(
                "credentials are those of `aws configure export-credentials --format process`, and live for hours at most",
            ),
            Self::Refused { refusal: Refusal::Ciphertext, .. } => {
                Some("was it encrypted under this KMS key, and for this manifest? see `casemate kms`")
            }
            Self::Unreachable { .. } => {
                Some("inside an enclave KMS is reached through its parent: --kms-via vsock:3:PORT")
            }
            Self::Attester(e) => e.hint(),
            Self::Vsock(e) => e.hint(),
            Self::NotTheKey => {
                Some("was the key of this very model encrypted, and did nobody change the answer?")
            }
            Self::File { .. }
            | Self::Endpoint { .. }
            | Self::Authority(_)
            | Self::KeyPair
            | Self::Clock
            | Self::Refused { .. }
            | Self::Answer { .. }
            | Self::OtherKey { .. }
            | Self::InTheClear
            | Self::Envelope { .. }
            | Self::KeyLength { .. } => None,
        }
    }

    /// Whether the same may succeed a moment later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Refused { refusal: Refusal::Busy, .. } => true,
            Self::Vsock(source) => source.may_pass(),
            _ => false,
        }
    }
}

/// A peer's words for a log and a terminal: short, and without control characters.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}
