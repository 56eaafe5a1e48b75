//! Every way in which a request fails, and the one place that gives each its HTTP status, code and form.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use casemate_engine::{EngineError, SchemaFault, TemplateFault, UpstreamFault};
use casemate_protocol::sealed::SealedError;
use serde_json::{Value, json};

use super::attest::AttestSourceError;
use crate::receipts::Unsigned;
use crate::sealed::Unopened;
use crate::tenants::Busy;

/// When a client may come back after `429` where nobody can tell, in seconds.
const RETRY_AFTER: u64 = 1;

/// A refused or failed request. No variant holds what a client wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// There is no such route.
    #[error("there is no such route")]
    NotFound,
    /// The route exists and does not take this method.
    #[error("this route does not take this method")]
    MethodNotAllowed,
    /// The body is not announced as JSON.
    #[error("the content type must be application/json")]
    NotJson,
    /// The body is not announced as a sealed request.
    #[error("the content type must be message/ohttp-chunked-req")]
    NotSealed,
    /// A sealed request that cannot be opened here, or was opened before.
    #[error(transparent)]
    Unopened(#[from] Unopened),
    /// The body is larger than the limit.
    #[error("the body is larger than {limit} bytes")]
    BodyTooLarge {
        /// The bound in bytes.
        limit: usize,
    },
    /// The body ended early or the connection failed.
    #[error("the body could not be read")]
    BodyUnreadable,
    /// The body is not JSON.
    #[error("the body is not JSON: line {line}, column {column}")]
    Malformed {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// The body is JSON of another shape: a wrong type, a missing or a repeated field.
    #[error("the body does not have this route's shape: line {line}, column {column}")]
    Shape {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// A field that this route does not know. Ignoring it could change the answer.
    #[error("the body has a field that this route does not know: line {line}, column {column}")]
    UnknownField {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// A field is missing.
    #[error("{param} is missing")]
    Missing {
        /// Which field.
        param: &'static str,
    },
    /// A field's value is not in its range.
    #[error("{param} must be {expected}")]
    OutOfRange {
        /// Which field.
        param: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// A known field asks for something that this server does not do, and that would change the answer.
    #[error("{param} is not supported with this value")]
    Unsupported {
        /// Which field.
        param: &'static str,
    },
    /// More tokens are asked for than any request gets.
    #[error("{param} must be between 1 and {limit}")]
    TooManyTokens {
        /// Which field.
        param: &'static str,
        /// The bound.
        limit: u32,
    },
    /// The prompt is empty.
    #[error("the prompt is empty")]
    PromptEmpty,
    /// The prompt has too many characters.
    #[error("the prompt has {chars} characters, above {limit}")]
    PromptTooLong {
        /// Unicode scalar values.
        chars: usize,
        /// The bound.
        limit: usize,
    },
    /// The request names a model that is not loaded.
    #[error("this server does not serve that model; GET /v1/models names the one it serves")]
    UnknownModel,
    /// There is no such receipt, or none of this tenant's.
    #[error("there is no such receipt, or not any more")]
    NoReceipt,
    /// An answer could not be given a receipt.
    #[error("the answer cannot be given a receipt: {0}")]
    Unsigned(Unsigned),
    /// A server with tenants was asked without a key, or with two.
    #[error("this server wants a key: Authorization: Bearer KEY")]
    NoKey,
    /// The key is nobody's.
    #[error("the key is not known")]
    UnknownKey,
    /// The key was good once.
    #[error("the key has expired")]
    ExpiredKey,
    /// The tenant uses as much as it may.
    #[error("{}", match .0 {
        Busy::Concurrent { limit } => format!("{limit} requests of this tenant run already"),
        Busy::Requests { limit, .. } => format!("this tenant may ask {limit} times in a minute"),
        Busy::Tokens { limit, .. } => format!("this tenant may use {limit} tokens in a minute"),
    })]
    Busy(Busy),
    /// The query of `GET /attest` is not `nonce=` once.
    #[error("the query must be empty or nonce=")]
    Query,
    /// The nonce is not 32 bytes in hexadecimal.
    #[error("the nonce must be 64 hexadecimal digits")]
    Nonce,
    /// No attestation document could be made.
    #[error("no attestation document can be made now")]
    Attest(AttestSourceError),
    /// A client that comes now would not be served, for this reason.
    #[error("this server is not ready: {0}")]
    NotReady(AttestSourceError),
    /// Every client would refuse the evidence.
    #[error("this server is not ready: its endorsements have run out")]
    EndorsementsExpired,
    /// It was told to stop.
    #[error("this server was told to stop and takes requests only for a while")]
    Draining,
    /// The engine refused or failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The engine ended the answer although nobody asked for it.
    #[error("the answer was interrupted")]
    Interrupted,
}

impl ApiError {
    /// The stable name of the error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            ApiError::NotFound => "request.route.unknown",
            ApiError::MethodNotAllowed => "request.method.not-allowed",
            ApiError::NotJson | ApiError::NotSealed => "request.content-type",
            ApiError::Unopened(error) => error.code(),
            ApiError::BodyTooLarge { .. } => "request.body.too-large",
            ApiError::BodyUnreadable => "request.body.unreadable",
            ApiError::Malformed { .. } => "request.body.malformed",
            ApiError::Shape { .. } => "request.body.shape",
            ApiError::UnknownField { .. } => "request.field.unknown",
            ApiError::Missing { .. } => "request.field.missing",
            ApiError::OutOfRange { .. } => "request.field.out-of-range",
            ApiError::Unsupported { .. } => "request.field.unsupported",
            ApiError::TooManyTokens { .. } => "request.max-tokens.out-of-range",
            ApiError::PromptEmpty => "request.prompt.empty",
            ApiError::PromptTooLong { .. } => "request.prompt.too-long",
            ApiError::UnknownModel => "request.model.unknown",
            ApiError::NoReceipt => "request.receipt.unknown",
            ApiError::Unsigned(error) => error.code(),
            ApiError::NoKey => "request.key.missing",
            ApiError::UnknownKey => "request.key.unknown",
            ApiError::ExpiredKey => "request.key.expired",
            ApiError::Busy(Busy::Concurrent { .. }) => "request.tenant.concurrent",
            ApiError::Busy(Busy::Requests { .. }) => "request.tenant.requests",
            ApiError::Busy(Busy::Tokens { .. }) => "request.tenant.tokens",
            ApiError::Query => "request.query",
            ApiError::Nonce => "request.nonce",
            ApiError::Attest(error) | ApiError::NotReady(error) => error.code,
            ApiError::EndorsementsExpired => "staple.expired",
            ApiError::Draining => "serve.draining",
            ApiError::Engine(error) => error.code(),
            ApiError::Interrupted => "engine.interrupted",
        }
    }

    /// The HTTP status. A new variant must choose one.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            ApiError::NotFound | ApiError::UnknownModel | ApiError::NoReceipt => StatusCode::NOT_FOUND,
            ApiError::Unsigned(_) => StatusCode::INTERNAL_SERVER_ERROR,
            ApiError::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            ApiError::Unopened(error) => unopened_status(*error),
            ApiError::NotJson | ApiError::NotSealed => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ApiError::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            ApiError::BodyUnreadable
            | ApiError::Malformed { .. }
            | ApiError::Shape { .. }
            | ApiError::UnknownField { .. }
            | ApiError::Missing { .. }
            | ApiError::OutOfRange { .. }
            | ApiError::Unsupported { .. }
            | ApiError::TooManyTokens { .. }
            | ApiError::PromptEmpty
            | ApiError::PromptTooLong { .. }
            | ApiError::Query
            | ApiError::Nonce => StatusCode::BAD_REQUEST,
            ApiError::NoKey | ApiError::UnknownKey | ApiError::ExpiredKey => StatusCode::UNAUTHORIZED,
            ApiError::Busy(_) => StatusCode::TOO_MANY_REQUESTS,
            ApiError::Attest(_)
            | ApiError::NotReady(_)
            | ApiError::EndorsementsExpired
            | ApiError::Draining
            | ApiError::Interrupted => StatusCode::SERVICE_UNAVAILABLE,
            ApiError::Engine(error) => engine_status(error),
        }
    }

    /// The field that is wrong, where it is one.
    fn param(&self) -> Option<&'static str> {
        match self {
            ApiError::Missing { param }
            | ApiError::OutOfRange { param, .. }
            | ApiError::Unsupported { param }
            | ApiError::TooManyTokens { param, .. } => Some(param),
            ApiError::UnknownModel => Some("model"),
            ApiError::PromptEmpty | ApiError::PromptTooLong { .. } => Some("prompt"),
            ApiError::Nonce => Some("nonce"),
            ApiError::NotFound
            | ApiError::MethodNotAllowed
            | ApiError::NotJson
            | ApiError::NotSealed
            | ApiError::Unopened(_)
            | ApiError::BodyTooLarge { .. }
            | ApiError::BodyUnreadable
            | ApiError::Malformed { .. }
            | ApiError::Shape { .. }
            | ApiError::UnknownField { .. }
            | ApiError::NoReceipt
            | ApiError::Unsigned(_)
            | ApiError::NoKey
            | ApiError::UnknownKey
            | ApiError::ExpiredKey
            | ApiError::Busy(_)
            | ApiError::Query
            | ApiError::Attest(_)
            | ApiError::NotReady(_)
            | ApiError::EndorsementsExpired
            | ApiError::Draining
            | ApiError::Engine(_)
            | ApiError::Interrupted => None,
        }
    }

    /// The body: OpenAI's form for its routes, ours elsewhere.
    pub(super) fn body(&self, shape: Shape) -> Value {
        match shape {
            Shape::Casemate => json!({"error": {"code": self.code(), "message": self.to_string()}}),
            Shape::OpenAi => json!({"error": {
                "message": self.to_string(),
                "type": self.kind(),
                "param": self.param(),
                "code": self.code(),
            }}),
            Shape::Anthropic => json!({"type": "error", "error": {
                "type": self.anthropic_kind(),
                "message": self.to_string(),
                "code": self.code(),
            }}),
        }
    }

    /// The whole answer.
    pub(super) fn render(&self, shape: Shape) -> Response {
        let mut response = (self.status(), axum::Json(self.body(shape))).into_response();
        let headers = response.headers_mut();
        match self.status() {
            StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(self.retry_after()));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }

    /// When a client may come back, in seconds.
    fn retry_after(&self) -> u64 {
        match self {
            ApiError::Busy(Busy::Requests { seconds, .. } | Busy::Tokens { seconds, .. }) => *seconds,
            _ => RETRY_AFTER,
        }
    }

    /// OpenAI's `type`.
    fn kind(&self) -> &'static str {
        let status = self.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            "rate_limit_error"
        } else if status == StatusCode::UNAUTHORIZED {
            "authentication_error"
        } else if status.is_client_error() {
            "invalid_request_error"
        } else {
            "server_error"
        }
    }

    /// Anthropic's `type`.
    fn anthropic_kind(&self) -> &'static str {
        match self.status() {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "api_error",
        }
    }
}

/// The error travels beside an empty body; the outermost layer knows the route and renders it.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status();
        response.extensions_mut().insert(self);
        response
    }
}

/// The form of an error's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `{"error":{"code","message"}}`
    Casemate,
    /// `{"error":{"message","type","param","code"}}`
    OpenAi,
    /// `{"type":"error","error":{"type","message","code"}}`, where `code` is ours.
    Anthropic,
}

impl Shape {
    pub(super) fn of(path: &str) -> Self {
        if path == "/v1/messages" {
            Shape::Anthropic
        } else if path == "/v1" || path.starts_with("/v1/") {
            Shape::OpenAi
        } else {
            Shape::Casemate
        }
    }
}

/// Another key's request is another server's (RFC 9110 §15.5.20): whoever sent it asks for the newest keys.
fn unopened_status(error: Unopened) -> StatusCode {
    match error {
        Unopened::Sealed(SealedError::UnknownKey { .. }) | Unopened::UsedUp { .. } => {
            StatusCode::MISDIRECTED_REQUEST
        }
        // The numbers of keys are few: another replica's key of the same number opens nothing.
        Unopened::Sealed(SealedError::NotAuthentic { number: 0 }) => StatusCode::MISDIRECTED_REQUEST,
        Unopened::Sealed(_) => StatusCode::BAD_REQUEST,
        Unopened::Replayed => StatusCode::CONFLICT,
        Unopened::Clock | Unopened::Randomness => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn engine_status(error: &EngineError) -> StatusCode {
    match error {
        EngineError::QueueFull { .. } | EngineError::Upstream(UpstreamFault::Busy) => {
            StatusCode::TOO_MANY_REQUESTS
        }
        EngineError::Upstream(UpstreamFault::Refused { .. } | UpstreamFault::Untold { .. }) => {
            StatusCode::BAD_REQUEST
        }
        EngineError::Upstream(UpstreamFault::Failed { .. } | UpstreamFault::Answer { .. }) => {
            StatusCode::BAD_GATEWAY
        }
        EngineError::Upstream(UpstreamFault::Silent { .. }) => StatusCode::GATEWAY_TIMEOUT,
        EngineError::Upstream(UpstreamFault::NotReady | UpstreamFault::Unreachable) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        EngineError::PromptEmpty
        | EngineError::PromptTooLong { .. }
        | EngineError::PromptTooManyBytes { .. }
        | EngineError::ContextOverflow { .. }
        | EngineError::Stop(_)
        | EngineError::Temperature
        | EngineError::TopP
        | EngineError::MinP
        | EngineError::Penalty
        | EngineError::Bias { .. }
        | EngineError::NoMessages
        | EngineError::InputTooLong { .. }
        | EngineError::InputsTooLong { .. }
        | EngineError::TokenUnknown { .. }
        | EngineError::Template(TemplateFault::Refused | TemplateFault::TooLong) => StatusCode::BAD_REQUEST,
        EngineError::Schema(
            SchemaFault::NotAnObject
            | SchemaFault::Refused
            | SchemaFault::Bytes { .. }
            | SchemaFault::Nesting { .. }
            | SchemaFault::Values { .. }
            | SchemaFault::References { .. }
            | SchemaFault::Work,
        ) => StatusCode::BAD_REQUEST,
        EngineError::NoTemplate
        | EngineError::NoEmbeddings
        | EngineError::EmbedsOnly
        | EngineError::NoVocabulary
        | EngineError::Schema(SchemaFault::Unavailable) => StatusCode::NOT_IMPLEMENTED,
        EngineError::Stopped
        | EngineError::Cancelled
        | EngineError::Ended(_)
        | EngineError::Hung { .. }
        | EngineError::Protocol { .. } => StatusCode::SERVICE_UNAVAILABLE,
        EngineError::Template(TemplateFault::Syntax | TemplateFault::Failed)
        | EngineError::Unreadable { .. }
        | EngineError::NotGguf
        | EngineError::Gguf(_)
        | EngineError::Refused { .. }
        | EngineError::NotDecoder { .. }
        | EngineError::NoPooling { .. }
        | EngineError::NoVector
        | EngineError::Context { .. }
        | EngineError::Cpu { .. }
        | EngineError::Threads { .. }
        | EngineError::Parallel { .. }
        | EngineError::Thread { .. }
        | EngineError::Compute { .. }
        | EngineError::Reported { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
