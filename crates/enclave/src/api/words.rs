//! `POST /tokenize` and `POST /detokenize`: a text as the model's tokens, and back, in llama-server's shape.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use casemate_engine::EngineError;
use casemate_protocol::Plaintext;
use serde::Deserialize;
use serde_json::json;

use super::embeddings::number;
use super::entry::entered;
use super::error::ApiError;
use super::{ApiState, body};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenizeRequest {
    content: Option<Plaintext<String>>,
    add_special: Option<bool>,
    // Control tokens that are written in a text are text.
    parse_special: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DetokenizeRequest {
    tokens: Option<Plaintext<Vec<u64>>>,
}

pub(super) async fn tokenize(State(state): State<ApiState>, request: Request) -> Result<Response, ApiError> {
    let visit = entered(&request).visit;
    let TokenizeRequest { content, add_special, parse_special } = body::json(&state, request).await?;
    if parse_special == Some(true) {
        return Err(ApiError::Unsupported { param: "parse_special" });
    }
    let text = content.ok_or(ApiError::Missing { param: "content" })?.into_inner();
    let engine = Arc::clone(&state.engine);
    let tokens = blocking(move || {
        let tokens = engine.tokenise(text, add_special.unwrap_or(false));
        drop(visit);
        tokens
    })
    .await?;
    let tokens = Plaintext::new(tokens);
    let context = state.engine.info().context_tokens;
    let count = tokens.expose().len();
    Ok(Json(json!({"tokens": tokens.expose(), "count": count, "max_model_len": context})).into_response())
}

pub(super) async fn detokenize(
    State(state): State<ApiState>,
    request: Request,
) -> Result<Response, ApiError> {
    let visit = entered(&request).visit;
    let DetokenizeRequest { tokens } = body::json(&state, request).await?;
    let tokens = tokens.ok_or(ApiError::Missing { param: "tokens" })?;
    let tokens = tokens.expose().iter().map(|token| number(*token)).collect();
    let engine = Arc::clone(&state.engine);
    let text = blocking(move || {
        let text = engine.detokenise(tokens);
        drop(visit);
        text
    })
    .await?;
    let text = Plaintext::new(text);
    Ok(Json(json!({"content": text.expose()})).into_response())
}

/// The engine's answer, from a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, ApiError> {
    // An engine that panicked.
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.unwrap_or(Err(EngineError::Stopped))?)
}
