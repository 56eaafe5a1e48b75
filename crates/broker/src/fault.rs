//! Everything that a call can fail with, and the one place that turns it into an HTTP answer.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use casemate_attest::{Denied, ParseError, Rejected};
use casemate_protocol::additional::AdditionalError;
use casemate_protocol::jwe::JweError;
use casemate_protocol::kbs::{ErrorInformation, KbsError};

use crate::chance::EntropyError;
use crate::decide::Denial;
use crate::resource::{ResourcePath, ResourcePathError};
use crate::session::SessionFault;
use crate::store::{EncryptError, StoreError};
use crate::token::TokenError;

/// Why a call failed.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the body is longer than {limit} bytes, or it broke off")]
    Body { limit: usize },
    #[error("the body is not the JSON of this call (line {line}, column {column})")]
    Syntax { line: usize, column: usize },
    #[error("the body names the member `{member}` twice")]
    DuplicateMember { member: String },
    #[error("{part} is not what RCAR 0.4.0 has there")]
    Shape { part: &'static str },
    #[error("this broker speaks version {} and not `{found}`", casemate_protocol::kbs::VERSION)]
    Version { found: String },
    #[error("this broker verifies evidence of {} and not of `{found}`", casemate_protocol::kbs::TEES.join(", "))]
    Tee { found: String },
    #[error(
        "this broker hashes with {}, which the client does not offer",
        casemate_protocol::kbs::HASH_ALGORITHM
    )]
    HashAlgorithm,
    #[error("initialisation data is not part of this profile, and nothing binds it")]
    InitData,
    #[error("{0}")]
    Additional(Box<AdditionalError>),
    #[error("the request names no session")]
    NoSession,
    #[error("the request names two sessions")]
    TwoSessions,
    #[error("{}", session_message(*.0))]
    Session(SessionFault),
    #[error("the nonce is not the one of this session")]
    Nonce,
    #[error("this session was attested by another request")]
    NonceUsed,
    #[error("the evidence cannot be read: {0}")]
    Evidence(#[from] ParseError),
    #[error(transparent)]
    Message(#[from] KbsError),
    #[error("{0}")]
    Rejected(Box<Rejected>),
    #[error("{0}")]
    Denied(Box<Denied>),
    #[error("the attested key cannot be encrypted to: {0}")]
    Recipient(JweError),
    #[error(transparent)]
    Path(#[from] ResourcePathError),
    #[error("there is nothing at this path")]
    NoPlugin,
    #[error("this path has no such method")]
    Method,
    #[error("there is no key at {resource}")]
    NoKey { resource: ResourcePath },
    #[error(transparent)]
    Release(#[from] Denial),
    #[error("{0}")]
    Store(StoreError),
    #[error("{0}")]
    Entropy(#[from] EntropyError),
    #[error("{0}")]
    Token(#[from] TokenError),
    #[error("a worker ended without an answer")]
    Worker,
}

/// Prefix of the `type` member of every error answer.
const ERRORS: &str = "https://github.com/confidential-containers/kbs/errors";

impl Fault {
    /// The stable code.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Body { .. } => "kbs.body",
            Self::Syntax { .. } => "kbs.json",
            Self::DuplicateMember { .. } => "kbs.duplicate-member",
            Self::Shape { .. } => "kbs.malformed",
            Self::Version { .. } => "kbs.version",
            Self::Tee { .. } => "kbs.tee",
            Self::HashAlgorithm => "kbs.hash-algorithm",
            Self::InitData => "kbs.init-data",
            Self::Additional(error) => error.code(),
            Self::NoSession => "kbs.session.missing",
            Self::TwoSessions => "kbs.session.ambiguous",
            Self::Session(SessionFault::Unknown) => "kbs.session.unknown",
            Self::Session(SessionFault::Expired) => "kbs.session.expired",
            Self::Session(SessionFault::NotAttested) => "kbs.session.not-attested",
            Self::Nonce => "kbs.nonce",
            Self::NonceUsed => "kbs.nonce.used",
            Self::Evidence(error) => error.code(),
            Self::Message(error) => error.code(),
            Self::Rejected(rejected) => rejected.code(),
            Self::Denied(denied) => denied.code(),
            Self::Recipient(error) => error.code(),
            Self::Path(error) => error.code(),
            Self::NoPlugin => "kbs.path",
            Self::Method => "kbs.method",
            Self::NoKey { .. } => "release.key.missing",
            Self::Release(denial) => denial.code(),
            Self::Store(error) => error.code(),
            Self::Entropy(error) => error.code(),
            Self::Token(error) => error.code(),
            Self::Worker => "broker.worker",
        }
    }

    /// The one mapping from errors to HTTP: status, and the `<Kind>` that confidential-containers clients log.
    ///
    /// 401 tells such a client to attest again and retry a few times; every other status ends its attempt. So a refusal
    /// that a new attestation cannot change (403, 404) is not 401.
    fn answer(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Body { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLarge"),
            Self::Syntax { .. } | Self::DuplicateMember { .. } | Self::Shape { .. } => {
                (StatusCode::BAD_REQUEST, "MalformedRequest")
            }
            Self::Version { .. } | Self::Tee { .. } | Self::HashAlgorithm => {
                (StatusCode::UNAUTHORIZED, "ProtocolVersion")
            }
            Self::NoSession | Self::TwoSessions | Self::Session(_) => {
                (StatusCode::UNAUTHORIZED, "TokenNotFound")
            }
            Self::InitData
            | Self::Additional(_)
            | Self::Nonce
            | Self::NonceUsed
            | Self::Evidence(_)
            | Self::Message(_)
            | Self::Rejected(_)
            | Self::Denied(_) => (StatusCode::UNAUTHORIZED, "AttestationError"),
            Self::Recipient(_) => (StatusCode::UNAUTHORIZED, "JweError"),
            Self::Path(_) => (StatusCode::NOT_FOUND, "InvalidRequestPath"),
            Self::NoPlugin => (StatusCode::NOT_FOUND, "PluginNotFound"),
            Self::NoKey { .. } => (StatusCode::NOT_FOUND, "ResourceNotFound"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
            // Its five minutes have not passed and its evidence has: a new attestation can help.
            Self::Release(Denial::Expired { .. }) => (StatusCode::UNAUTHORIZED, "TokenNotFound"),
            Self::Release(
                Denial::NotBound
                | Denial::Simulated
                | Denial::NotSimulated
                | Denial::BelowFloor { .. }
                | Denial::Unpinned(_)
                | Denial::Authority { .. }
                | Denial::NotMet { .. }
                | Denial::Upstream { .. },
            ) => (StatusCode::FORBIDDEN, "PolicyDeny"),
            Self::Store(_) | Self::Entropy(_) | Self::Token(_) | Self::Worker => {
                (StatusCode::INTERNAL_SERVER_ERROR, "InternalError")
            }
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoKey { resource } => Self::NoKey { resource },
            other => Self::Store(other),
        }
    }
}

impl From<EncryptError> for Fault {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::Entropy(error) => Self::Entropy(error),
            EncryptError::Jwe(error) => Self::Recipient(error),
        }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let (status, kind) = self.answer();
        let code = self.code();
        // A stranger learns the code of a fault of ours, and the log the rest.
        let detail = if status.is_server_error() {
            tracing::error!(code, fault = %self, "the broker failed");
            format!("{code}: the broker failed; its log says more")
        } else {
            tracing::info!(code, reason = %self, "refused");
            format!("{code}: {self}")
        };
        let body = ErrorInformation { error_type: format!("{ERRORS}/{kind}"), detail };
        (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
    }
}

fn session_message(fault: SessionFault) -> &'static str {
    match fault {
        SessionFault::Unknown => "there is no such session: attest again",
        SessionFault::Expired => "the session has ended: attest again",
        SessionFault::NotAttested => "the session has presented no evidence yet",
    }
}
