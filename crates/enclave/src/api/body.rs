//! Reads a JSON body.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use zeroize::Zeroizing;

use super::ApiState;
use super::error::ApiError;

/// Reads and parses the body. Every byte that arrives is counted, also of a request that is then refused.
pub(super) async fn json<T: DeserializeOwned>(state: &ApiState, request: Request) -> Result<T, ApiError> {
    let (head, body) = request.into_parts();
    let bytes = read_up_to(state, body, state.limits.body_bytes).await?;
    if !is_json(&head.headers) {
        return Err(ApiError::NotJson);
    }
    serde_json::from_slice(&bytes).map_err(|e| fault(&e))
}

/// The buffer is overwritten when it is dropped.
pub(super) async fn read_up_to(
    state: &ApiState,
    body: Body,
    limit: usize,
) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    let mut bytes = Zeroizing::new(Vec::new());
    let mut frames = body.into_data_stream();
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|_| ApiError::BodyUnreadable)?;
        state.metrics.count_body_bytes(frame.len());
        if bytes.len().saturating_add(frame.len()) > limit {
            return Err(ApiError::BodyTooLarge { limit });
        }
        bytes.extend_from_slice(&frame);
    }
    Ok(bytes)
}

/// `application/json`, with any parameter such as a charset.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// Keeps the place only: the parser's message quotes the body.
fn fault(error: &serde_json::Error) -> ApiError {
    let (line, column) = (error.line(), error.column());
    match error.classify() {
        Category::Io | Category::Syntax | Category::Eof => ApiError::Malformed { line, column },
        Category::Data if Zeroizing::new(error.to_string()).starts_with("unknown field ") => {
            ApiError::UnknownField { line, column }
        }
        Category::Data => ApiError::Shape { line, column },
    }
}
