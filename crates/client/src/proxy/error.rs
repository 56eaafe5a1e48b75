//! What an application is told where there is no answer of a verified server: the one place that maps it to HTTP.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::receipts::ReceiptFault;
use crate::peer::PeerError;
use crate::pool::PoolError;
use crate::server::SendError;

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// A name in `Host` that is not this machine's: a page in a browser that found a way here.
    #[error("the proxy is called by another name than this machine's; nothing was sent")]
    Host,
    /// A page of another site.
    #[error("a page of another site may not use the proxy; nothing was sent")]
    Origin,
    /// Not a path of the API.
    #[error("the proxy forwards /v1/… and has /health; nothing was sent")]
    Path,
    /// Too long a body.
    #[error("the body is longer than {limit} bytes; nothing was sent")]
    TooLong {
        /// The most that is taken.
        limit: usize,
    },
    /// The application did not finish its request.
    #[error("the body did not arrive within {seconds} seconds; nothing was sent")]
    Slow {
        /// The most that is waited.
        seconds: u64,
    },
    /// The application's connection broke.
    #[error("the body broke off; nothing was sent")]
    Cut,
    /// As many requests as the proxy carries.
    #[error("the proxy carries {most} requests already; nothing was sent")]
    Busy {
        /// How many.
        most: usize,
    },
    /// The answer has no good receipt, and this proxy wants one.
    #[error("the answer is not handed on: {0}")]
    Receipt(#[from] ReceiptFault),
    /// No verified server answered.
    #[error("{}", no_answer(.0))]
    Pool(#[from] PoolError),
}

impl ProxyError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Host => "proxy.host",
            Self::Origin => "proxy.origin",
            Self::Path => "proxy.path",
            Self::TooLong { .. } => "proxy.body",
            Self::Slow { .. } => "proxy.slow",
            Self::Cut => "proxy.cut",
            Self::Busy { .. } => "proxy.busy",
            Self::Receipt(fault) => fault.code(),
            Self::Pool(error) => error.code(),
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Host | Self::Origin => StatusCode::FORBIDDEN,
            Self::Path => StatusCode::NOT_FOUND,
            Self::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Cut => StatusCode::BAD_REQUEST,
            Self::Busy { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Receipt(ReceiptFault::NotKept { .. }) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Receipt(_) => StatusCode::BAD_GATEWAY,
            Self::Pool(error) if error.unreachable() => StatusCode::SERVICE_UNAVAILABLE,
            Self::Pool(
                PoolError::Peer { error: PeerError::Clock | PeerError::Randomness, .. }
                | PoolError::Send { error: SendError::Randomness, .. },
            ) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Pool(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// In the form of the API that was asked.
    pub(super) fn answer(&self, anthropic: bool) -> Response {
        let (code, message) = (self.code(), self.to_string());
        tracing::info!(code, "no answer: {message}");
        let body = if anthropic {
            json!({ "type": "error", "error": { "type": "api_error", "message": format!("{message} [{code}]") } })
        } else {
            json!({ "error": { "message": message, "type": "proxy_error", "param": null, "code": code } })
        };
        (self.status(), [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
    }
}

/// What was sent, which is nothing before a server is verified.
fn no_answer(error: &PoolError) -> String {
    match error {
        PoolError::Peer { .. } if error.unreachable() => {
            format!("no server can be reached; nothing was sent: {error}")
        }
        PoolError::Peer { .. } => format!("the server is not verified; nothing was sent: {error}"),
        PoolError::Send { .. } => format!("the verified server did not answer: {error}"),
        PoolError::Empty => error.to_string(),
    }
}
